/* schema_gen.c - see schema_gen.h */
#include "tests/lib/schema_gen.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/ensure.h"

/* A number of random width, so that every encoded length occurs. */
static uint64_t number(struct prng *p, unsigned bits)
{
	unsigned width = (unsigned)prng_below(p, bits + 1);
	uint64_t v = prng_next(p);

	return width == 0 ? 0 : v >> (64 - width);
}

/* Up to `max` bytes of text; with `lines`, control characters too. */
static size_t text(struct prng *p, char *dst, size_t max, bool lines)
{
	static const char *const chars[] = {"a", "Z", "0", " ", "/", "é", "…", "語", "🚀"};
	size_t want = prng_below(p, max + 1), n = 0;

	while (n < want) {
		const char *c = lines && prng_below(p, 8) == 0 ? "\n" : chars[prng_below(p, ARRAY_LEN(chars))];

		if (n + strlen(c) > max)
			break;
		memcpy(dst + n, c, strlen(c));
		n += strlen(c);
	}
	return n;
}

static void fill(const struct field *f, void *obj, uint32_t list_max, struct prng *p,
		 struct arena *arena)
{
	uint8_t *m = (uint8_t *)obj + f->offset;
	uint8_t *elems = m;
	uint32_t n;
	char *s;

	switch ((enum field_type)f->type) {
	case FIELD_U8:
		for (n = 0; f->names && f->names[n];)
			n++;
		*m = (uint8_t)(f->names ? prng_below(p, n) : number(p, 8));
		break;
	case FIELD_U16: *(uint16_t *)(void *)m = (uint16_t)number(p, 16); break;
	case FIELD_U32: *(uint32_t *)(void *)m = (uint32_t)number(p, 32); break;
	case FIELD_U64: *(uint64_t *)(void *)m = number(p, 64); break;
	case FIELD_I8: *(int8_t *)(void *)m = (int8_t)number(p, 8); break;
	case FIELD_I32: *(int32_t *)(void *)m = (int32_t)(prng_below(p, 2) ? number(p, 31) : ~number(p, 31)); break;
	case FIELD_I64: *(int64_t *)(void *)m = (int64_t)(prng_below(p, 2) ? number(p, 63) : ~number(p, 63)); break;
	case FIELD_BOOL: *(bool *)(void *)m = prng_below(p, 2) == 0; break;
	case FIELD_STR: (void)text(p, (char *)m, f->size - 1, false); break;
	case FIELD_FIXED:
		for (uint32_t i = 0; i < f->size; i++)
			m[i] = (uint8_t)prng_next(p);
		break;
	case FIELD_WORDS:
		n = (uint32_t)prng_below(p, f->size / 8 + 1);
		for (uint32_t i = 0; i < n; i++)
			((uint64_t *)(void *)m)[i] = number(p, 64);
		break;
	case FIELD_TEXT:
		s = arena_alloc(arena, 301);
		(void)text(p, s, f->size < 300 ? f->size : 300, true);
		*(const char **)(void *)m = s;
		break;
	case FIELD_BYTES:
		n = (uint32_t)prng_below(p, 300);
		s = arena_alloc(arena, n);
		for (uint32_t i = 0; i < n; i++)
			s[i] = (char)prng_next(p);
		*(struct bytes *)(void *)m = (struct bytes){(const uint8_t *)s, n};
		break;
	case FIELD_STRUCT: schema_random(f->sub, m, list_max, p, arena); break;
	case FIELD_LIST: case FIELD_ARRAY:
		n = (uint32_t)prng_below(p, (list_max < f->max ? list_max : f->max) + 1);
		if (f->type == FIELD_LIST) {
			elems = arena_alloc(arena, (size_t)n * f->elem);
			*(void **)(void *)m = elems;
			*(uint32_t *)(void *)((uint8_t *)obj + f->count_offset) = n;
		} else {
			*(uint16_t *)(void *)((uint8_t *)obj + f->count_offset) = (uint16_t)n;
		}
		for (uint32_t i = 0; i < n; i++)
			schema_random(f->sub, elems + (size_t)i * f->elem, list_max, p, arena);
		break;
	default: UNREACHABLE();
	}
}

void schema_random(const struct schema *schema, void *obj, uint32_t list_max, struct prng *p,
		   struct arena *arena)
{
	memset(obj, 0, schema->size);
	for (uint32_t i = 0; i < schema->fields_n; i++)
		if (prng_below(p, 4) > 0)
			fill(&schema->fields[i], obj, list_max, p, arena);
}

/* FNV-1a over the path of a field ("job.spec.requires.0.key"). */
static uint64_t path_hash(uint64_t h, const char *name)
{
	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
	return (h ^ '.') * UINT64_C(0x100000001b3);
}

/* A number that needs about as many bytes as the type has. */
static uint64_t fixed_number(uint64_t hash, unsigned bits)
{
	uint64_t v = hash * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits);

	return v ? v : 1;
}

static void fixture(const struct schema *schema, void *obj, uint64_t hash, struct arena *arena);

static void fixture_field(const struct field *f, void *obj, uint64_t h, struct arena *arena)
{
	uint8_t *m = (uint8_t *)obj + f->offset, *elems = m, *count = (uint8_t *)obj + f->count_offset;
	uint32_t n = f->max < 2 ? f->max : 2;
	char text[32];

	switch ((enum field_type)f->type) {
	case FIELD_U8: *m = (uint8_t)(f->names ? 1 : fixed_number(h, 8)); break;
	case FIELD_U16: *(uint16_t *)(void *)m = (uint16_t)fixed_number(h, 16); break;
	case FIELD_U32: *(uint32_t *)(void *)m = (uint32_t)fixed_number(h, 32); break;
	case FIELD_U64: *(uint64_t *)(void *)m = fixed_number(h, 64); break;
	case FIELD_I8: *(int8_t *)(void *)m = (int8_t)-(int)fixed_number(h, 6); break;
	case FIELD_I32: *(int32_t *)(void *)m = -(int32_t)fixed_number(h, 20); break;
	case FIELD_I64:
		*(int64_t *)(void *)m = h & 1 ? -(int64_t)fixed_number(h, 40) : (int64_t)fixed_number(h, 40);
		break;
	case FIELD_BOOL: *(bool *)(void *)m = true; break;
	case FIELD_STR: case FIELD_TEXT:
		snprintf(text, sizeof text, "%.8s-é%04x", f->name, (unsigned)(h & 0xffff));
		if (f->type == FIELD_TEXT)
			*(const char **)(void *)m = arena_copy(arena, text, strlen(text) + 1);
		else
			snprintf((char *)m, f->size, "%s", text);
		break;
	case FIELD_FIXED:
		for (uint32_t i = 0; i < f->size; i++)
			m[i] = (uint8_t)(fixed_number(h + i, 8));
		break;
	case FIELD_WORDS:
		((uint64_t *)(void *)m)[0] = fixed_number(h, 64);
		((uint64_t *)(void *)m)[1] = fixed_number(h, 16);
		break;
	case FIELD_BYTES:
		snprintf(text, sizeof text, "%.8s", f->name);
		*(struct bytes *)(void *)m =
			(struct bytes){arena_copy(arena, text, strlen(text)), (uint32_t)strlen(text)};
		break;
	case FIELD_STRUCT: fixture(f->sub, m, h, arena); break;
	case FIELD_LIST: case FIELD_ARRAY:
		if (f->type == FIELD_LIST) {
			elems = arena_alloc(arena, (size_t)n * f->elem);
			*(void **)(void *)m = elems;
			*(uint32_t *)(void *)count = n;
		} else {
			*(uint16_t *)(void *)count = (uint16_t)n;
		}
		for (uint32_t i = 0; i < n; i++)
			fixture(f->sub, elems + (size_t)i * f->elem, path_hash(h, i ? "1" : "0"), arena);
		break;
	default: UNREACHABLE();
	}
}

static void fixture(const struct schema *schema, void *obj, uint64_t hash, struct arena *arena)
{
	for (uint32_t i = 0; i < schema->fields_n; i++)
		fixture_field(&schema->fields[i], obj, path_hash(hash, schema->fields[i].name), arena);
}

void schema_fixture(const struct schema *schema, void *obj, struct arena *arena)
{
	memset(obj, 0, schema->size);
	fixture(schema, obj, path_hash(UINT64_C(0xcbf29ce484222325), schema->name), arena);
}
