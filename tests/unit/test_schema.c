/* test_schema.c - without these tests a record could be written that no later start can read, or a
 * peer could hand the core a value that its types should have kept out */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include "proto/base/ensure.h"
#include "proto/model/command.h"
#include "proto/model/names.h"
#include "proto/model/reason.h"
#include "proto/model/record.h"
#include "proto/model/unit.h"
#include "proto/model/view.h"
#include "proto/wire/cursor.h"
#include "proto/wire/message.h"
#include "proto/wire/pack.h"
#include "proto/wire/tables.h"
#include "tests/lib/schema_gen.h"

enum { ROUNDS = 60, MUTATIONS = 40 };

static int decode(const struct schema *s, const void *data, size_t len, void *obj, struct arena *a)
{
	struct err err;
	int r = schema_decode(s, data, len, obj, a, &err);

	if (r)
		assert_true(err.code == r && err.msg[0]);
	return r;
}

/* ---- the tables themselves -------------------------------------------------------------------- */

static int depth_of(const struct schema *s)
{
	int deepest = 0;

	for (uint32_t i = 0; i < s->fields_n; i++) {
		const struct field *f = &s->fields[i];
		int d = f->type == FIELD_WORDS ? 1 : f->sub && !f->sub->bare ? depth_of(f->sub) : 0;

		if (f->type == FIELD_LIST || f->type == FIELD_ARRAY)
			d++;
		deepest = d > deepest ? d : deepest;
	}
	return deepest + 1;
}

/* A table that breaks a rule of the codec would fail far away from its cause. */
static void tables_are_well_formed(void **state)
{
	(void)state;
	for (int i = 0; schema_all[i]; i++) {
		const struct schema *s = schema_all[i];

		assert_true(s->fields_n > 0);
		assert_true(!s->bare || s->fields_n == 1);
		assert_true(depth_of(s) <= WIRE_DEPTH_MAX);
		for (uint32_t k = 0; k < s->fields_n; k++) {
			const struct field *f = &s->fields[k];

			assert_true(f->key > 0);
			assert_true(k == 0 || f->key > s->fields[k - 1].key);
			assert_true(f->offset < s->size);
			assert_true(f->size > 0);
			assert_true(!f->names || f->type == FIELD_U8);
			if (f->type == FIELD_LIST || f->type == FIELD_ARRAY) {
				assert_int_equal(f->elem, f->sub->size);
				assert_true(f->max > 0);
				assert_true(f->count_offset < s->size);
			}
		}
	}
}

/* The text of a source file, or NULL when the tree is not at hand. */
static char *source(const char *path)
{
	static const char *const roots[] = {"", "../", "../../", "../../../"};

	for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
		char full[256];
		FILE *f;
		char *s;

		snprintf(full, sizeof full, "%s%s", roots[i], path);
		f = fopen(full, "r");
		if (!f)
			continue;
		s = xcalloc(1, 1 << 18);
		assert_true(fread(s, 1, (1 << 18) - 1, f) > 0);
		fclose(f);
		return s;
	}
	return NULL;
}

static void blank_comments(char *s)
{
	for (char *p = strstr(s, "/*"); p; p = strstr(p, "/*")) {
		char *end = strstr(p, "*/");

		assert_non_null(end);
		memset(p, ' ', (size_t)(end + 2 - p));
	}
}

/* Is `name` a field of the table, or the count of one? */
static bool in_table(const struct schema *s, const char *name, size_t len)
{
	for (uint32_t k = 0; k < s->fields_n; k++) {
		const char *f = s->fields[k].name;
		size_t n = strlen(f);

		if (n == len && memcmp(f, name, n) == 0)
			return true;
		if (s->fields[k].type == FIELD_LIST && len == n + 2 && memcmp(f, name, n) == 0 &&
		    memcmp(name + n, "_n", 2) == 0)
			return true;
		/* "devices" has its count in device_count, "numa" in numa_count. */
		if (s->fields[k].type == FIELD_ARRAY && len > 6 &&
		    memcmp(name + len - 6, "_count", 6) == 0 && strncmp(f, name, len - 6) == 0)
			return true;
	}
	return false;
}

/* Compare the members in `body`, which begins behind the opening brace, with the table. Returns how
 * many it has, and counts those it has not. */
static unsigned compare_members(const struct schema *s, const char *body, unsigned *missing)
{
	const char *word = body;
	size_t len = 0;
	unsigned n = 0;
	int depth = 0, index = 0;

	for (const char *p = body; depth > 0 || *p != '}'; p++) {
		assert_true(*p);
		depth += (*p == '{') - (*p == '}');
		if (depth > 0)
			continue;
		index += (*p == '[') - (*p == ']');
		if ((*p == ',' || *p == ';') && !index) {
			if (in_table(s, word, len))
				n++;
			else
				print_error("struct %s: '%.*s' has no field\n", s->name, (int)len, word);
			*missing += !in_table(s, word, len);
			len = 0;
		} else if (!index && (*p == '_' || (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
				      (*p >= 'A' && *p <= 'Z'))) {
			if (len == 0 || word + len != p) {
				word = p;
				len = 0;
			}
			len++;
		}
	}
	return n;
}

/* A member that is missing in its table would silently be lost over a restart: every member that the
 * headers declare has a field. */
static void tables_cover_their_structs(void **state)
{
	static const char *const headers[] = {
		"proto/model/alloc.h", "proto/model/approval.h", "proto/model/cluster.h", "proto/model/command.h", "proto/model/forecast.h",
		"proto/model/inventory.h", "proto/model/job.h", "proto/model/lease.h",
		"proto/model/node.h", "proto/model/payload.h", "proto/model/principal.h",
		"proto/model/quota.h", "proto/model/record.h", "proto/model/reservation.h", "proto/model/resource.h",
		"proto/model/unit.h", "proto/model/view.h", "proto/wire/message.h",
	};
	char *text[ARRAY_LEN(headers)];
	unsigned missing = 0;

	(void)state;
	for (size_t h = 0; h < ARRAY_LEN(headers); h++) {
		text[h] = source(headers[h]);
		if (!text[h]) {
			print_message("needs the source tree: run it from the root of the repository\n");
			skip();
		}
		blank_comments(text[h]);
	}
	for (int i = 0; schema_all[i]; i++) {
		const char *body = NULL;
		char head[64];

		snprintf(head, sizeof head, "struct %s {", schema_all[i]->name);
		for (size_t h = 0; h < ARRAY_LEN(headers) && !body; h++)
			body = strstr(text[h], head);
		if (!body)
			print_error("struct %s is nowhere\n", schema_all[i]->name);
		assert_non_null(body);
		assert_true(compare_members(schema_all[i], body + strlen(head), &missing) >=
			    schema_all[i]->fields_n);
	}
	for (size_t h = 0; h < ARRAY_LEN(headers); h++)
		free(text[h]);
	assert_int_equal(missing, 0);
}

/* A word missing or doubled would make a file or a JSON answer ambiguous. */
static void names_are_unique_and_parse_back(void **state)
{
	(void)state;
#define X(table, ...)                                                                              \
	for (uint8_t v = 0; table##_names[v]; v++) {                                               \
		assert_int_equal(table##_parse(table##_names[v]), v);                              \
		assert_string_equal(table##_name(v), table##_names[v]);                            \
	}                                                                                          \
	assert_string_equal(table##_name(255), "?");                                               \
	assert_int_equal(table##_parse("no such word"), ERR_NOTFOUND);
	NAMES_TABLE(X)
#undef X
	assert_string_equal(job_state_code(JOB_PENDING), "PD");
	assert_string_equal(job_state_code(JOB_OOM), "OOM");
	assert_string_equal(job_state_code(200), "?");
	assert_string_equal(reason_text(REASON_LEAF_FULL), "own quota is full");
	assert_string_equal(reason_text(9999), "unknown reason");
	assert_string_equal(record_kind_name(RECORD_JOB), "job");
	assert_null(record_kind_name(200));
	assert_string_equal(query_name(QUERY_EVENTS), "events");
	assert_null(query_name(0));
	assert_null(query_name(999));
	assert_null(command_name(0));
	assert_null(command_name(999));
#define X(name, number, body)                                                                      \
	do {                                                                                       \
		char word[64] = {0};                                                               \
		for (size_t i = 4; i < sizeof #name; i++)                                          \
			word[i - 4] = (char)(#name[i] >= 'A' && #name[i] <= 'Z' ? #name[i] + 32 : #name[i]); \
		assert_string_equal(command_name(name), word);                                     \
	} while (0);
	COMMAND_TABLE(X)
#undef X
}

/* The dispatch tables give each number its own schema and foreign numbers none. */
static void dispatch_finds_the_schema(void **state)
{
	(void)state;
#define X(name, number, type, idexpr) assert_ptr_equal(schema_of_record(number), &schema_##type);
	RECORD_TABLE(X)
#undef X
#define X(name, number, body) assert_ptr_equal(schema_of_command(number), &schema_cmd_##body);
	COMMAND_TABLE(X)
#undef X
	assert_null(schema_of_record(0));
	assert_null(schema_of_record(RECORD_KINDS));
	assert_null(schema_of_command(5));
	assert_null(schema_of_view(0));
	assert_null(schema_of_view(QUERY_SHARES + 1));
	for (uint16_t q = QUERY_STATUS; q <= QUERY_SHARES; q++)
		assert_non_null(schema_of_view(q));
}

/* ---- round trips ------------------------------------------------------------------------------ */

/* Every struct there is survives the wire, and equal structs give equal bytes. */
static void every_struct_round_trips(void **state)
{
	struct prng p;
	uint64_t bytes = 0;

	(void)state;
	prng_seed(&p, 0x5eed0001);
	for (int i = 0; schema_all[i]; i++) {
		const struct schema *s = schema_all[i];

		for (int round = 0; round < ROUNDS; round++) {
			CLEANUP(arena_done) struct arena arena = {0};
			CLEANUP(buf_done) struct buf b = BUF_INIT, again = BUF_INIT;
			void *in = arena_alloc(&arena, s->size), *out = arena_alloc(&arena, s->size);
			void *copy = arena_alloc(&arena, s->size);

			schema_random(s, in, round % 4 == 0 ? 12 : 2, &p, &arena);
			schema_encode(s, in, &b);
			bytes += b.len;
			assert_int_equal(wire_scan(b.data, b.len, NULL), 0);
			assert_int_equal(decode(s, b.data, b.len, out, &arena), 0);
			assert_true(schema_equal(s, in, out));
			schema_encode(s, out, &again);
			assert_int_equal(b.len, again.len);
			assert_memory_equal(b.data, again.data, b.len);
			schema_copy(s, copy, in, &arena);
			assert_true(schema_equal(s, in, copy));
		}
	}
	print_message("%d structs each, %llu bytes\n", ROUNDS, (unsigned long long)bytes);
}

/* schema_equal has to see a difference in every single field, or a test above proves nothing. */
static void equality_sees_every_field(void **state)
{
	struct prng p;

	(void)state;
	prng_seed(&p, 0x5eed0002);
	for (int i = 0; schema_all[i]; i++) {
		const struct schema *s = schema_all[i];

		for (uint32_t k = 0; k < s->fields_n; k++) {
			CLEANUP(arena_done) struct arena arena = {0};
			CLEANUP(buf_done) struct buf b = BUF_INIT;
			struct schema one = *s;
			void *zero = arena_alloc(&arena, s->size), *set = arena_alloc(&arena, s->size);
			void *copy = arena_alloc(&arena, s->size);

			one.fields = &s->fields[k];
			one.fields_n = 1;
			while (schema_is_zero(s, set))
				schema_random(&one, set, 2, &p, &arena);
			assert_true(schema_is_zero(s, zero));
			assert_false(schema_equal(s, zero, set));
			assert_false(schema_equal(s, set, zero));
			schema_copy(s, copy, set, &arena);
			assert_true(schema_equal(s, set, copy));
			schema_encode(s, set, &b);
			assert_true(b.data[0] == 0x81);
			assert_int_equal(b.data[1] == 0xcc ? b.data[2] : b.data[1], s->fields[k].key);
		}
	}
}

/* A copy must not hang on the memory of what it was copied from. */
static void copies_are_deep(void **state)
{
	CLEANUP(arena_done) struct arena b = {0};
	struct string argv[] = {{"python3"}, {NULL}, {"train.py"}};
	char script[] = "#!/bin/sh\n";
	struct payload from = {.script = script, .argv_n = 3, .argv = argv}, to;

	(void)state;
	schema_copy(&schema_payload, &to, &from, &b);
	assert_true(schema_equal(&schema_payload, &from, &to));
	script[0] = 'X';
	argv[0].s = "perl";
	assert_string_equal(to.script, "#!/bin/sh\n");
	assert_string_equal(to.argv[0].s, "python3");
	assert_false(schema_equal(&schema_payload, &from, &to));
}

/* ---- hostile bytes ---------------------------------------------------------------------------- */

static bool has_ignorable(const struct cursor *c0)
{
	struct cursor c = *c0;
	struct wire_item item, key;
	bool found = false;

	if (cursor_next(&c, &item) || (item.kind != WIRE_MAP && item.kind != WIRE_ARRAY))
		return false;
	for (uint32_t i = 0; i < item.n && !found; i++) {
		if (item.kind == WIRE_MAP) {
			assert_int_equal(cursor_next(&c, &key), 0);
			if (key.u >= SCHEMA_KEY_IGNORABLE)
				return true;
		}
		found = has_ignorable(&c);
		assert_int_equal(cursor_skip(&c, WIRE_DEPTH_MAX), 0);
	}
	return found;
}

/* Whatever is accepted is what the encoder would have written: no second spelling of anything. */
static void accepted_means_canonical(const struct schema *s, const uint8_t *data, size_t len)
{
	CLEANUP(arena_done) struct arena arena = {0};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct cursor c = cursor_of(data, len);
	void *obj = arena_alloc(&arena, s->size);

	if (decode(s, data, len, obj, &arena))
		return;
	assert_int_equal(wire_scan(data, len, NULL), 0);
	schema_encode(s, obj, &b);
	if (has_ignorable(&c))
		return;
	assert_int_equal(b.len, len);
	assert_memory_equal(b.data, data, len);
}

/* Cut anywhere, flip anything: an error or a canonical struct, never a crash. Each buffer is exactly
 * as long as the message, so that the sanitizer sees a read behind it. */
static void damaged_messages_are_refused(void **state)
{
	struct prng p;

	(void)state;
	prng_seed(&p, 0x5eed0003);
	for (int i = 0; schema_all[i]; i++) {
		const struct schema *s = schema_all[i];
		CLEANUP(arena_done) struct arena arena = {0};
		CLEANUP(buf_done) struct buf b = BUF_INIT;
		void *in = arena_alloc(&arena, s->size);

		do {
			schema_random(s, in, 2, &p, &arena);
		} while (schema_is_zero(s, in));
		schema_encode(s, in, &b);
		for (size_t cut = 0; cut < b.len && cut < 4000; cut++) {
			CLEANUP(arena_done) struct arena scratch = {0};
			uint8_t *exact = xmalloc(cut);
			void *out = arena_alloc(&scratch, s->size);

			memcpy(exact, b.data, cut);
			assert_int_not_equal(decode(s, exact, cut, out, &scratch), 0);
			assert_int_not_equal(wire_scan(exact, cut, NULL), 0);
			free(exact);
		}
		for (int m = 0; m < MUTATIONS; m++) {
			uint8_t *exact = xmalloc(b.len);

			memcpy(exact, b.data, b.len);
			for (uint64_t n = 1 + prng_below(&p, 3); n > 0; n--)
				exact[prng_below(&p, b.len)] ^= (uint8_t)(1U << prng_below(&p, 8));
			accepted_means_canonical(s, exact, b.len);
			free(exact);
		}
	}
}

struct hostile { const char *what; const char *bytes; size_t len; int code; };
#define HOSTILE(what, bytes, code) {what, bytes, sizeof(bytes) - 1, code}

/* The tricks a codec is tried with, each on struct quota {1 flavor, 2 shape, 3 nominal ...}. */
static void tricks_are_refused(void **state)
{
	static const struct hostile cases[] = {
		HOSTILE("nothing at all", "", ERR_TRUNCATED),
		HOSTILE("an array instead of a map", "\x90", ERR_FORMAT),
		HOSTILE("a million elements announced in five bytes", "\xdf\x00\x10\x00\x00", ERR_TRUNCATED),
		HOSTILE("bytes behind the end", "\x81\x01\x05\x00", ERR_FORMAT),
		HOSTILE("the same key twice", "\x82\x01\x05\x01\x06", ERR_FORMAT),
		HOSTILE("keys that descend", "\x82\x03\x05\x01\x06", ERR_FORMAT),
		HOSTILE("a text as key", "\x81\xa1" "a\x05", ERR_FORMAT),
		HOSTILE("a number that is longer than it needs", "\x81\x01\xcc\x05", ERR_FORMAT),
		HOSTILE("a key that is longer than it needs", "\x81\xcc\x01\x05", ERR_FORMAT),
		HOSTILE("a float", "\x81\x01\xca\x3f\x80\x00\x00", ERR_FORMAT),
		HOSTILE("a double", "\x81\x01\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", ERR_FORMAT),
		HOSTILE("an extension", "\x81\x01\xd4\x01\x05", ERR_FORMAT),
		HOSTILE("nil", "\x81\x01\xc0", ERR_FORMAT),
		HOSTILE("the byte that means nothing", "\x81\x01\xc1", ERR_FORMAT),
		HOSTILE("a negative flavor", "\x81\x01\xff", ERR_FORMAT),
		HOSTILE("a flavor of 17 bits", "\x81\x01\xce\x00\x01\x00\x00", ERR_FORMAT),
		HOSTILE("a shape that is no shape", "\x81\x02\x02", ERR_FORMAT),
		HOSTILE("a zero that should have been left out", "\x81\x01\x00", ERR_FORMAT),
		HOSTILE("a field nobody knows", "\x81\x7f\x05", ERR_UNKNOWN_FIELD),
		HOSTILE("nominal above int64", "\x81\x03\xcf\xff\xff\xff\xff\xff\xff\xff\xff", ERR_FORMAT),
		HOSTILE("a text for a number", "\x81\x01\xa1" "5", ERR_FORMAT),
		HOSTILE("a deep value under an ignorable key",
			"\x81\xcc\x80\x91\x91\x91\x91\x91\x91\x91\x91\x91\x05", ERR_TOOBIG),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(arena_done) struct arena arena = {0};
		struct quota q;
		int r = decode(&schema_quota, cases[i].bytes, cases[i].len, &q, &arena);

		if (r != cases[i].code)
			print_error("%s: %s\n", cases[i].what, r ? err_name(r) : "accepted");
		assert_int_equal(r, cases[i].code);
	}
}

/* Evolution: a newer peer may add what an older one can do without. */
static void unknown_keys_from_128_are_skipped(void **state)
{
	static const uint8_t newer[] = {0x83, 0x01, 0x05, 0xcc, 0x80, 0x92, 0x81, 0x01, 0xa1, 'x',
					0xc3, 0xcd, 0x01, 0x00, 0x07};
	CLEANUP(arena_done) struct arena arena = {0};
	struct quota q;

	(void)state;
	assert_int_equal(decode(&schema_quota, newer, sizeof newer, &q, &arena), 0);
	assert_int_equal(q.flavor, 5);
}

static int decode_name(const char *text, size_t len)
{
	CLEANUP(arena_done) struct arena arena = {0};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct stage s;

	pack_map(&b, 1);
	pack_uint(&b, 1);
	pack_str(&b, text, (uint32_t)len);
	return decode(&schema_stage, b.data, b.len, &s, &arena);
}

/* Names go to logs and terminals: no control characters, no broken UTF-8, no lost tail. */
static void texts_are_judged(void **state)
{
	char longest[FLAVOR_NAME_BYTES + 1];

	(void)state;
	memset(longest, 'a', sizeof longest);
	assert_int_equal(decode_name("stage 2 … é", 14), 0);
	assert_int_equal(decode_name(longest, FLAVOR_NAME_BYTES - 1), 0);
	assert_int_equal(decode_name(longest, FLAVOR_NAME_BYTES), ERR_TOOBIG);
	assert_int_equal(decode_name("", 0), ERR_FORMAT);
	assert_int_equal(decode_name("a\0b", 3), ERR_FORMAT);
	assert_int_equal(decode_name("a\nb", 3), ERR_FORMAT);
	assert_int_equal(decode_name("a\x1b[2J", 5), ERR_FORMAT);
	assert_int_equal(decode_name("a\x7f", 2), ERR_FORMAT);
	assert_int_equal(decode_name("\xff", 1), ERR_FORMAT);
	assert_int_equal(decode_name("\xc0\xaf", 2), ERR_FORMAT);         /* overlong */
	assert_int_equal(decode_name("\xe0\x80\xaf", 3), ERR_FORMAT);     /* overlong */
	assert_int_equal(decode_name("\xed\xa0\x80", 3), ERR_FORMAT);     /* surrogate */
	assert_int_equal(decode_name("\xf4\x90\x80\x80", 4), ERR_FORMAT); /* above U+10FFFF */
	assert_int_equal(decode_name("\xe2\x82", 2), ERR_FORMAT);         /* cut */
}

/* A text cut by a truncating copy must not make a record that the next start refuses. */
static void a_cut_text_is_written_readably(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct stage s = {.name = "caf\xc3"}, back;
	struct payload pl = {.script = "#!/bin/sh\n\xff\n"}, pl_back;

	(void)state;
	schema_encode(&schema_stage, &s, &b);
	assert_int_equal(decode(&schema_stage, b.data, b.len, &back, &arena), 0);
	assert_string_equal(back.name, "caf?");
	snprintf(s.name, sizeof s.name, "a\tb");
	buf_reset(&b);
	schema_encode(&schema_stage, &s, &b);
	assert_int_equal(decode(&schema_stage, b.data, b.len, &back, &arena), 0);
	assert_string_equal(back.name, "a?b");
	buf_reset(&b);
	schema_encode(&schema_payload, &pl, &b);
	assert_int_equal(decode(&schema_payload, b.data, b.len, &pl_back, &arena), 0);
	assert_string_equal(pl_back.script, "#!/bin/sh\n?\n");
}

/* Lists stop at their limit, whatever the bytes announce. */
static void lists_have_a_ceiling(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct job j;

	(void)state;
	for (uint32_t n = EXCLUDED_NODES_MAX; n <= EXCLUDED_NODES_MAX + 1; n++) {
		buf_reset(&b);
		pack_map(&b, 1);
		pack_uint(&b, 34);
		pack_array(&b, n);
		for (uint32_t i = 0; i < n; i++)
			pack_map(&b, 0);
		assert_int_equal(decode(&schema_job, b.data, b.len, &j, &arena),
				 n <= EXCLUDED_NODES_MAX ? 0 : ERR_TOOBIG);
	}
}

/* An empty argument is an argument. */
static void empty_strings_in_a_list_survive(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct string argv[] = {{"echo"}, {""}, {"x"}};
	struct payload in = {.argv_n = 3, .argv = argv}, out;

	(void)state;
	schema_encode(&schema_payload, &in, &b);
	assert_memory_equal(b.data, "\x81\x02\x93\xa4" "echo\xa0\xa1x", b.len);
	assert_int_equal(decode(&schema_payload, b.data, b.len, &out, &arena), 0);
	assert_int_equal(out.argv_n, 3);
	assert_string_equal(out.argv[1].s, "");
}

/* ---- against another implementation ----------------------------------------------------------- */

static bool same_value(struct cursor *c, const msgpack_object *o)
{
	struct wire_item item, key;

	if (cursor_next(c, &item))
		return false;
	switch (item.kind) {
	case WIRE_BOOL: return o->type == MSGPACK_OBJECT_BOOLEAN && o->via.boolean == (item.u == 1);
	case WIRE_UINT: return o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 == item.u;
	case WIRE_NEGINT: return o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER && o->via.i64 == item.i;
	case WIRE_STR:
		return o->type == MSGPACK_OBJECT_STR && o->via.str.size == item.n &&
		       (!item.n || memcmp(o->via.str.ptr, item.data, item.n) == 0);
	case WIRE_BIN:
		return o->type == MSGPACK_OBJECT_BIN && o->via.bin.size == item.n &&
		       (!item.n || memcmp(o->via.bin.ptr, item.data, item.n) == 0);
	case WIRE_ARRAY:
		if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != item.n)
			return false;
		for (uint32_t i = 0; i < item.n; i++)
			if (!same_value(c, &o->via.array.ptr[i]))
				return false;
		return true;
	case WIRE_MAP:
		if (o->type != MSGPACK_OBJECT_MAP || o->via.map.size != item.n)
			return false;
		for (uint32_t i = 0; i < item.n; i++) {
			if (cursor_next(c, &key) || o->via.map.ptr[i].key.via.u64 != key.u)
				return false;
			if (!same_value(c, &o->via.map.ptr[i].val))
				return false;
		}
		return true;
	default: return false;
	}
}

/* What our cursor accepts, msgpack-c accepts too, and both read the same values. */
static void msgpack_c_reads_the_same(void **state)
{
	struct prng p;
	unsigned both = 0;

	(void)state;
	prng_seed(&p, 0x5eed0004);
	for (int i = 0; schema_all[i]; i++) {
		const struct schema *s = schema_all[i];

		for (int round = 0; round < ROUNDS; round++) {
			CLEANUP(arena_done) struct arena arena = {0};
			CLEANUP(buf_done) struct buf b = BUF_INIT;
			void *in = arena_alloc(&arena, s->size);
			msgpack_unpacked u;
			struct cursor c;
			size_t off = 0;

			schema_random(s, in, 3, &p, &arena);
			schema_encode(s, in, &b);
			if (round % 2)
				b.data[prng_below(&p, b.len)] ^= (uint8_t)(1U << prng_below(&p, 8));
			if (wire_scan(b.data, b.len, NULL))
				continue;
			both++;
			msgpack_unpacked_init(&u);
			assert_int_equal(msgpack_unpack_next(&u, (const char *)b.data, b.len, &off),
					 MSGPACK_UNPACK_SUCCESS);
			assert_int_equal(off, b.len);
			c = cursor_of(b.data, b.len);
			assert_true(same_value(&c, &u.data));
			msgpack_unpacked_destroy(&u);
		}
	}
	assert_true(both > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_well_formed),
		cmocka_unit_test(tables_cover_their_structs),
		cmocka_unit_test(names_are_unique_and_parse_back),
		cmocka_unit_test(dispatch_finds_the_schema),
		cmocka_unit_test(every_struct_round_trips),
		cmocka_unit_test(equality_sees_every_field),
		cmocka_unit_test(copies_are_deep),
		cmocka_unit_test(damaged_messages_are_refused),
		cmocka_unit_test(tricks_are_refused),
		cmocka_unit_test(unknown_keys_from_128_are_skipped),
		cmocka_unit_test(texts_are_judged),
		cmocka_unit_test(a_cut_text_is_written_readably),
		cmocka_unit_test(lists_have_a_ceiling),
		cmocka_unit_test(empty_strings_in_a_list_survive),
		cmocka_unit_test(msgpack_c_reads_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
