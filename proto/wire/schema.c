/* schema.c - the codec that walks the tables; see schema.h
 *
 * Encoder and decoder of each field type sit side by side. decode(encode(x)) equals x, and
 * encode(decode(b)) equals b for every b without ignored keys, because the decoder refuses what the
 * encoder would have left out or written shorter.
 */
#include "proto/wire/schema.h"

#include <inttypes.h>
#include <string.h>

#include "proto/base/ckd.h"
#include "proto/base/ensure.h"
#include "proto/wire/cursor.h"
#include "proto/wire/pack.h"

static const void *at(const void *obj, const struct field *f)
{
	return (const uint8_t *)obj + f->offset;
}

static void *at_mut(void *obj, const struct field *f) { return (uint8_t *)obj + f->offset; }

/* ---- reading members ------------------------------------------------------------------------- */

static uint64_t load_uint(const void *p, const struct field *f)
{
	switch ((enum field_type)f->type) {
	case FIELD_U8: return *(const uint8_t *)p;
	case FIELD_U16: return *(const uint16_t *)p;
	case FIELD_U32: return *(const uint32_t *)p;
	case FIELD_U64: return *(const uint64_t *)p;
	case FIELD_BOOL: return *(const bool *)p;
	case FIELD_I8: case FIELD_I32: case FIELD_I64: case FIELD_STR: case FIELD_FIXED:
	case FIELD_WORDS: case FIELD_TEXT: case FIELD_BYTES: case FIELD_STRUCT: case FIELD_LIST:
	case FIELD_ARRAY:
	default: UNREACHABLE();
	}
}

static int64_t load_int(const void *p, const struct field *f)
{
	if (f->type == FIELD_I8)
		return *(const int8_t *)p;
	if (f->type == FIELD_I32)
		return *(const int32_t *)p;
	ENSURE(f->type == FIELD_I64);
	return *(const int64_t *)p;
}

static const char *load_text(const void *p)
{
	const char *s = *(const char *const *)p;

	return s ? s : "";
}

static uint32_t load_count(const void *obj, const struct field *f)
{
	const uint8_t *p = (const uint8_t *)obj + f->count_offset;

	return f->type == FIELD_ARRAY ? *(const uint16_t *)(const void *)p :
					*(const uint32_t *)(const void *)p;
}

/* First element of a FIELD_LIST or FIELD_ARRAY. */
static const uint8_t *load_elems(const void *obj, const struct field *f)
{
	const void *p = at(obj, f);

	return f->type == FIELD_ARRAY ? p : *(const uint8_t *const *)p;
}

static uint32_t words_n(const void *p, const struct field *f)
{
	const uint64_t *w = p;
	uint32_t n = f->size / 8;

	while (n > 0 && w[n - 1] == 0)
		n--;
	return n;
}

static bool all_zero(const void *p, uint32_t size)
{
	const uint8_t *b = p;
	uint8_t any = 0;

	for (uint32_t i = 0; i < size; i++)
		any |= b[i];
	return any == 0;
}

static bool field_is_zero(const void *obj, const struct field *f)
{
	const void *p = at(obj, f);

	switch ((enum field_type)f->type) {
	case FIELD_U8: case FIELD_BOOL: case FIELD_I8: case FIELD_STR: return *(const uint8_t *)p == 0;
	case FIELD_U16: return *(const uint16_t *)p == 0;
	case FIELD_U32: return *(const uint32_t *)p == 0;
	case FIELD_I32: return *(const int32_t *)p == 0;
	case FIELD_U64: return *(const uint64_t *)p == 0;
	case FIELD_I64: return *(const int64_t *)p == 0;
	case FIELD_FIXED: return all_zero(p, f->size);
	case FIELD_WORDS: return words_n(p, f) == 0;
	case FIELD_TEXT: return *load_text(p) == '\0';
	case FIELD_BYTES: return ((const struct bytes *)p)->len == 0;
	case FIELD_STRUCT: return schema_is_zero(f->sub, p);
	case FIELD_LIST: case FIELD_ARRAY: return load_count(obj, f) == 0;
	default: UNREACHABLE();
	}
}

bool schema_is_zero(const struct schema *schema, const void *obj)
{
	for (uint32_t i = 0; i < schema->fields_n; i++)
		if (!field_is_zero(obj, &schema->fields[i]))
			return false;
	return true;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static void encode_text(const char *text, size_t len, bool one_line, struct buf *out)
{
	const uint8_t *s = (const uint8_t *)text;
	size_t start;

	if (wire_text_ok(text, len, one_line)) {
		pack_str(out, text, (uint32_t)len);
		return;
	}
	/* Same length, so the header is right and only bad bytes are overwritten. */
	pack_str(out, text, (uint32_t)len);
	start = out->len - len;
	for (size_t i = 0; i < len;) {
		unsigned n = wire_utf8_len(s + i, len - i);

		if (!n || (one_line && n == 1 && (s[i] < 0x20 || s[i] == 0x7f))) {
			out->data[start + i] = '?';
			n = 1;
		}
		i += n;
	}
}

static void encode_elem(const struct schema *sub, const void *elem, struct buf *out);

static void encode_field(const void *obj, const struct field *f, struct buf *out)
{
	const void *p = at(obj, f);
	uint32_t n;
	size_t len;

	switch ((enum field_type)f->type) {
	case FIELD_U8:
		if (f->names)
			for (uint8_t i = 0; i <= *(const uint8_t *)p; i++)
				ENSURE(f->names[i]);
		pack_uint(out, load_uint(p, f));
		break;
	case FIELD_U16: case FIELD_U32: case FIELD_U64: pack_uint(out, load_uint(p, f)); break;
	case FIELD_I8: case FIELD_I32: case FIELD_I64: pack_int(out, load_int(p, f)); break;
	case FIELD_BOOL: pack_bool(out, *(const bool *)p); break;
	case FIELD_STR:
		len = strnlen(p, f->size);
		ENSURE(len < f->size);
		encode_text(p, len, true, out);
		break;
	case FIELD_FIXED: pack_bin(out, p, f->size); break;
	case FIELD_WORDS:
		n = words_n(p, f);
		pack_array(out, n);
		for (uint32_t i = 0; i < n; i++)
			pack_uint(out, ((const uint64_t *)p)[i]);
		break;
	case FIELD_TEXT:
		len = strlen(load_text(p));
		ENSURE(len <= f->size);
		encode_text(load_text(p), len, false, out);
		break;
	case FIELD_BYTES:
		ENSURE(((const struct bytes *)p)->len <= f->size);
		pack_bin(out, ((const struct bytes *)p)->data, ((const struct bytes *)p)->len);
		break;
	case FIELD_STRUCT: schema_encode(f->sub, p, out); break;
	case FIELD_LIST: case FIELD_ARRAY:
		n = load_count(obj, f);
		ENSURE(n <= f->max);
		pack_array(out, n);
		for (uint32_t i = 0; i < n; i++)
			encode_elem(f->sub, load_elems(obj, f) + (size_t)i * f->elem, out);
		break;
	default: UNREACHABLE();
	}
}

void schema_encode(const struct schema *schema, const void *obj, struct buf *out)
{
	uint64_t present[4] = {0}; /* a key is one byte, so there are at most 256 fields */
	uint32_t n = 0;

	ENSURE(schema->fields_n <= 256);
	for (uint32_t i = 0; i < schema->fields_n; i++)
		if (!field_is_zero(obj, &schema->fields[i])) {
			present[i / 64] |= UINT64_C(1) << (i % 64);
			n++;
		}
	pack_map(out, n);
	for (uint32_t w = 0; w < 4; w++)
		for (uint64_t bits = present[w]; bits; bits &= bits - 1) {
			const struct field *f = &schema->fields[w * 64 + (uint32_t)__builtin_ctzll(bits)];

			pack_uint(out, f->key);
			encode_field(obj, f, out);
		}
}

static void encode_elem(const struct schema *sub, const void *elem, struct buf *out)
{
	if (sub->bare)
		encode_field(elem, &sub->fields[0], out);
	else
		schema_encode(sub, elem, out);
}

/* ---- decoding -------------------------------------------------------------------------------- */

struct decoder {
	struct cursor c;
	struct arena *arena;
	struct err *err;
	const struct schema *schema; /* of the field being decoded, for messages */
};

static int bad(struct decoder *d, const struct field *f, int code, const char *what)
{
	return err_set(d->err, code, "%s.%s: %s", d->schema->name, f->name, what);
}

static int next(struct decoder *d, const struct field *f, enum wire_kind kind, struct wire_item *item)
{
	int r = cursor_next(&d->c, item);

	if (r)
		return bad(d, f, r, err_text(r));
	if (item->kind != kind)
		return bad(d, f, ERR_FORMAT, "another type is expected");
	return 0;
}

static int decode_uint(struct decoder *d, const struct field *f, void *p)
{
	struct wire_item item;
	uint64_t max = UINT64_MAX;
	int r = next(d, f, WIRE_UINT, &item);

	if (r)
		return r;
	if (f->type != FIELD_U64)
		max = f->type == FIELD_U8 ? UINT8_MAX : f->type == FIELD_U16 ? UINT16_MAX : UINT32_MAX;
	if (item.u > max)
		return bad(d, f, ERR_FORMAT, "the number is too large");
	if (f->names)
		for (uint64_t i = 0; i <= item.u; i++)
			if (!f->names[i])
				return bad(d, f, ERR_FORMAT, "no such value");
	if (f->type == FIELD_U8)
		*(uint8_t *)p = (uint8_t)item.u;
	else if (f->type == FIELD_U16)
		*(uint16_t *)p = (uint16_t)item.u;
	else if (f->type == FIELD_U32)
		*(uint32_t *)p = (uint32_t)item.u;
	else
		*(uint64_t *)p = item.u;
	return 0;
}

static int decode_int(struct decoder *d, const struct field *f, void *p)
{
	struct wire_item item;
	int r = cursor_next(&d->c, &item);

	if (r)
		return bad(d, f, r, err_text(r));
	if (item.kind == WIRE_UINT) {
		if (item.u > INT64_MAX)
			return bad(d, f, ERR_FORMAT, "the number is too large");
		item.i = (int64_t)item.u;
	} else if (item.kind != WIRE_NEGINT) {
		return bad(d, f, ERR_FORMAT, "another type is expected");
	}
	if (f->type == FIELD_I64) {
		*(int64_t *)p = item.i;
		return 0;
	}
	if (item.i < (f->type == FIELD_I8 ? INT8_MIN : INT32_MIN) ||
	    item.i > (f->type == FIELD_I8 ? INT8_MAX : INT32_MAX))
		return bad(d, f, ERR_FORMAT, "the number is too large");
	if (f->type == FIELD_I8)
		*(int8_t *)p = (int8_t)item.i;
	else
		*(int32_t *)p = (int32_t)item.i;
	return 0;
}

static int decode_text(struct decoder *d, const struct field *f, void *p)
{
	struct wire_item item;
	bool inside = f->type == FIELD_STR;
	char *copy;
	int r = next(d, f, WIRE_STR, &item);

	if (r)
		return r;
	if (inside ? item.n >= f->size : item.n > f->size)
		return bad(d, f, ERR_TOOBIG, "the text is too long");
	if (!wire_text_ok(item.data, item.n, inside))
		return bad(d, f, ERR_FORMAT, "a control character");
	if (inside) {
		memcpy(p, item.data, item.n); /* obj was zeroed: NUL-terminated */
		return 0;
	}
	copy = arena_alloc(d->arena, (size_t)item.n + 1);
	memcpy(copy, item.data, item.n);
	*(const char **)p = copy;
	return 0;
}

static int decode_bytes(struct decoder *d, const struct field *f, void *p)
{
	struct wire_item item;
	int r = next(d, f, WIRE_BIN, &item);

	if (r)
		return r;
	if (f->type == FIELD_FIXED) {
		if (item.n != f->size)
			return bad(d, f, ERR_FORMAT, "wrong number of bytes");
		memcpy(p, item.data, item.n);
		return 0;
	}
	if (item.n > f->size)
		return bad(d, f, ERR_TOOBIG, "too many bytes");
	((struct bytes *)p)->data = arena_copy(d->arena, item.data, item.n);
	((struct bytes *)p)->len = item.n;
	return 0;
}

static int decode_words(struct decoder *d, const struct field *f, void *p)
{
	struct wire_item item;
	uint32_t n;
	int r = next(d, f, WIRE_ARRAY, &item);

	if (r)
		return r;
	n = item.n;
	if (n > f->size / 8)
		return bad(d, f, ERR_TOOBIG, "too many words");
	for (uint32_t i = 0; i < n; i++) {
		r = next(d, f, WIRE_UINT, &item);
		if (r)
			return r;
		((uint64_t *)p)[i] = item.u;
	}
	if (words_n(p, f) != n)
		return bad(d, f, ERR_FORMAT, "trailing zero words");
	return 0;
}

static int decode_map(struct decoder *d, const struct schema *schema, void *obj, int depth);
static int decode_value(struct decoder *d, const struct field *f, void *obj, int depth);

static int decode_elem(struct decoder *d, const struct schema *sub, void *elem, int depth)
{
	const struct schema *outer = d->schema;
	int r;

	if (!sub->bare)
		return decode_map(d, sub, elem, depth);
	d->schema = sub;
	r = decode_value(d, &sub->fields[0], elem, depth);
	d->schema = outer;
	return r;
}

static int decode_list(struct decoder *d, const struct field *f, void *obj, int depth)
{
	uint8_t *count = (uint8_t *)obj + f->count_offset;
	struct wire_item item;
	uint8_t *elems;
	size_t bytes;
	int r = next(d, f, WIRE_ARRAY, &item);

	if (r)
		return r;
	if (item.n > f->max)
		return bad(d, f, ERR_TOOBIG, "too many elements");
	if (f->type == FIELD_ARRAY) {
		elems = at_mut(obj, f);
		*(uint16_t *)(void *)count = (uint16_t)item.n;
	} else {
		if (ckd_mul(&bytes, (size_t)item.n, (size_t)f->elem))
			return bad(d, f, ERR_TOOBIG, "too many elements");
		elems = arena_alloc(d->arena, bytes);
		*(void **)at_mut(obj, f) = elems;
		*(uint32_t *)(void *)count = item.n;
	}
	for (uint32_t i = 0; i < item.n; i++) {
		r = decode_elem(d, f->sub, elems + (size_t)i * f->elem, depth - 1);
		if (r)
			return r;
	}
	return 0;
}

static int decode_value(struct decoder *d, const struct field *f, void *obj, int depth)
{
	void *p = at_mut(obj, f);
	struct wire_item item;
	int r;

	switch ((enum field_type)f->type) {
	case FIELD_U8: case FIELD_U16: case FIELD_U32: case FIELD_U64: return decode_uint(d, f, p);
	case FIELD_I8: case FIELD_I32: case FIELD_I64: return decode_int(d, f, p);
	case FIELD_BOOL:
		r = next(d, f, WIRE_BOOL, &item);
		*(bool *)p = !r && item.u;
		return r;
	case FIELD_STR: case FIELD_TEXT: return decode_text(d, f, p);
	case FIELD_FIXED: case FIELD_BYTES: return decode_bytes(d, f, p);
	case FIELD_WORDS: return decode_words(d, f, p);
	case FIELD_STRUCT: return decode_map(d, f->sub, p, depth);
	case FIELD_LIST: case FIELD_ARRAY: return decode_list(d, f, obj, depth);
	default: UNREACHABLE();
	}
}

static int decode_map(struct decoder *d, const struct schema *schema, void *obj, int depth)
{
	const struct schema *outer = d->schema;
	const struct field *f = schema->fields, *end = f + schema->fields_n;
	struct wire_item map, key;
	uint64_t last = 0;
	int r = cursor_next(&d->c, &map);

	if (r)
		return err_set(d->err, r, "%s: %s", schema->name, err_text(r));
	if (map.kind != WIRE_MAP)
		return err_set(d->err, ERR_FORMAT, "%s: a map is expected", schema->name);
	if (depth <= 0)
		return err_set(d->err, ERR_TOOBIG, "%s: nested too deeply", schema->name);
	d->schema = schema;
	for (uint32_t i = 0; i < map.n; i++) {
		r = cursor_next(&d->c, &key);
		if (r)
			return err_set(d->err, r, "%s: %s", schema->name, err_text(r));
		if (key.kind != WIRE_UINT || (i > 0 && key.u <= last))
			return err_set(d->err, ERR_FORMAT, "%s: keys have to ascend", schema->name);
		last = key.u;
		while (f < end && f->key < key.u)
			f++;
		if (f < end && f->key == key.u) {
			r = decode_value(d, f, obj, depth - 1);
			if (r)
				return r;
			if (field_is_zero(obj, f))
				return bad(d, f, ERR_FORMAT, "an empty value has to be left out");
			continue;
		}
		if (key.u < SCHEMA_KEY_IGNORABLE)
			return err_set(d->err, ERR_UNKNOWN_FIELD, "%s: unknown field %" PRIu64,
				       schema->name, key.u);
		r = cursor_skip(&d->c, depth - 1);
		if (r)
			return err_set(d->err, r, "%s: field %" PRIu64 ": %s", schema->name, key.u,
				       err_text(r));
	}
	d->schema = outer;
	return 0;
}

int schema_decode(const struct schema *schema, const uint8_t *data, size_t len, void *obj,
		  struct arena *arena, struct err *err)
{
	struct decoder d = {.c = cursor_of(data, len), .arena = arena, .err = err, .schema = schema};
	int r;

	memset(obj, 0, schema->size);
	r = decode_map(&d, schema, obj, WIRE_DEPTH_MAX);
	if (r)
		return r;
	if (cursor_left(&d.c))
		return err_set(err, ERR_FORMAT, "%s: %zu bytes behind its end", schema->name,
			       cursor_left(&d.c));
	return 0;
}

/* ---- equality and copies --------------------------------------------------------------------- */

static bool field_equal(const struct field *f, const void *a, const void *b)
{
	const void *pa = at(a, f), *pb = at(b, f);
	const struct bytes *ba, *bb;
	uint32_t n;

	switch ((enum field_type)f->type) {
	case FIELD_U8: case FIELD_U16: case FIELD_U32: case FIELD_U64: case FIELD_BOOL:
		return load_uint(pa, f) == load_uint(pb, f);
	case FIELD_I8: case FIELD_I32: case FIELD_I64: return load_int(pa, f) == load_int(pb, f);
	case FIELD_STR: return strncmp(pa, pb, f->size) == 0;
	case FIELD_FIXED: case FIELD_WORDS: return memcmp(pa, pb, f->size) == 0;
	case FIELD_TEXT: return strcmp(load_text(pa), load_text(pb)) == 0;
	case FIELD_BYTES:
		ba = pa;
		bb = pb;
		return ba->len == bb->len && (!ba->len || memcmp(ba->data, bb->data, ba->len) == 0);
	case FIELD_STRUCT: return schema_equal(f->sub, pa, pb);
	case FIELD_LIST: case FIELD_ARRAY:
		n = load_count(a, f);
		if (n != load_count(b, f))
			return false;
		for (uint32_t i = 0; i < n; i++)
			if (!schema_equal(f->sub, load_elems(a, f) + (size_t)i * f->elem,
					  load_elems(b, f) + (size_t)i * f->elem))
				return false;
		return true;
	default: UNREACHABLE();
	}
}

bool schema_equal(const struct schema *schema, const void *a, const void *b)
{
	for (uint32_t i = 0; i < schema->fields_n; i++)
		if (!field_equal(&schema->fields[i], a, b))
			return false;
	return true;
}

/* Replace what `obj`, a shallow copy, borrows by copies. */
static void deepen(const struct schema *schema, void *obj, struct arena *arena)
{
	for (uint32_t i = 0; i < schema->fields_n; i++) {
		const struct field *f = &schema->fields[i];
		void *p = at_mut(obj, f);
		uint8_t *elems;
		uint32_t n;

		switch ((enum field_type)f->type) {
		case FIELD_U8: case FIELD_U16: case FIELD_U32: case FIELD_U64: case FIELD_I8:
		case FIELD_I32: case FIELD_I64: case FIELD_BOOL: case FIELD_STR: case FIELD_FIXED:
		case FIELD_WORDS:
			break;
		case FIELD_TEXT:
			if (*(const char **)p)
				*(const char **)p = arena_copy(arena, load_text(p), strlen(load_text(p)) + 1);
			break;
		case FIELD_BYTES:
			((struct bytes *)p)->data = arena_copy(arena, ((struct bytes *)p)->data,
							       ((struct bytes *)p)->len);
			break;
		case FIELD_STRUCT: deepen(f->sub, p, arena); break;
		case FIELD_LIST: case FIELD_ARRAY:
			n = load_count(obj, f);
			elems = p;
			if (f->type == FIELD_LIST) {
				elems = arena_copy(arena, *(void **)p, (size_t)n * f->elem);
				*(void **)p = n ? elems : NULL;
			}
			for (uint32_t k = 0; k < n; k++)
				deepen(f->sub, elems + (size_t)k * f->elem, arena);
			break;
		default: UNREACHABLE();
		}
	}
}

void schema_copy(const struct schema *schema, void *dst, const void *src, struct arena *arena)
{
	memcpy(dst, src, schema->size);
	deepen(schema, dst, arena);
}
