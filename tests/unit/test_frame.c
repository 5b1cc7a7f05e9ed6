/* test_frame.c - frames and messages, their golden bytes, and PROTOCOL.md
 *
 * Without these tests a rebuilt daemon could stop understanding the agents that are out there, or the
 * document that other programs are written from could drift from the code.
 *
 * SLUIS_WRITE=golden writes golden files that are missing, SLUIS_WRITE=protocol the generated part of
 * PROTOCOL.md (make golden-wire, make protocol).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/ensure.h"
#include "proto/model/names.h"
#include "proto/model/reason.h"
#include "proto/model/record.h"
#include "proto/wire/cursor.h"
#include "proto/wire/message.h"
#include "tests/lib/schema_gen.h"

#define GOLDEN_DIR "tests/data/wire/v1"
#define PROTOCOL "proto/PROTOCOL.md"

static bool writing(const char *what)
{
	const char *s = getenv("SLUIS_WRITE");

	return s && strcmp(s, what) == 0;
}

/* Go to the root of the repository; skip the test when the sources are not at hand. */
static void need_tree(void)
{
	for (int up = 0; up < 4; up++) {
		if (access("proto/wire/messages.def", R_OK) == 0)
			return;
		if (chdir(".."))
			break;
	}
	print_message("needs the source tree: run it from the root of the repository\n");
	skip();
}

/* ---- frames ----------------------------------------------------------------------------------- */

/* The header, byte by byte: other programs are written from this. */
static void the_header_is_as_documented(void **state)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct msg_ping ping = {.nonce = 5};
	struct frame f;

	(void)state;
	message_encode(MSG_PING, UINT64_C(0x0102030405060708), &ping, &b);
	assert_int_equal(b.len, 19);
	assert_memory_equal(b.data, "SLUI\x01\x00\x00\x03\x01\x02\x03\x04\x05\x06\x07\x08\x81\x01\x05", 19);
	assert_int_equal(frame_decode(b.data, b.len, &f, NULL), 0);
	assert_int_equal(f.type, MSG_PING);
	assert_true(f.req == UINT64_C(0x0102030405060708));
	assert_int_equal(f.body_len, 3);
}

static int decode_with(size_t at, uint8_t value)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct frame f;
	struct err err;
	int r;

	message_encode(MSG_PING, 9, &(struct msg_ping){.nonce = 5}, &b);
	b.data[at] = value;
	r = frame_decode(b.data, b.len, &f, &err);
	if (r == ERR_VERSION)
		assert_true(f.req == 9 && f.type == MSG_PING); /* so that the sender can be told */
	return r;
}

static void foreign_frames_are_refused(void **state)
{
	CLEANUP(buf_done) struct buf big = BUF_INIT;
	struct frame f;

	(void)state;
	assert_int_equal(decode_with(0, 'X'), ERR_FORMAT);
	assert_int_equal(decode_with(3, 'i'), ERR_FORMAT);
	assert_int_equal(decode_with(4, 2), ERR_VERSION);
	assert_int_equal(decode_with(4, 0), ERR_VERSION);
	assert_int_equal(decode_with(5, 1), ERR_FORMAT);
	assert_int_equal(decode_with(16, 0x82), ERR_TRUNCATED);
	assert_int_equal(decode_with(16, 0x80), ERR_FORMAT); /* bytes behind the body */
	assert_int_equal(decode_with(5, 0), 0);
	message_encode(MSG_PING, 9, &(struct msg_ping){.nonce = 5}, &big);
	memset(buf_reserve(&big, FRAME_BYTES_MAX), 0, FRAME_BYTES_MAX);
	assert_int_equal(frame_decode(big.data, (size_t)FRAME_BYTES_MAX + 1, &f, NULL), ERR_TOOBIG);
	for (size_t cut = 0; cut < 19; cut++)
		assert_int_equal(frame_decode(big.data, cut, &f, NULL), ERR_TRUNCATED);
}

static const uint16_t TYPES[] = {
#define MESSAGE(name, number, type, doc) number,
#include "proto/wire/messages.def"
#undef MESSAGE
};

/* Every message survives, and its damaged twins are refused or mean exactly what they say. */
static void every_message_round_trips(void **state)
{
	struct prng p;

	(void)state;
	prng_seed(&p, 0xf7a3e);
	for (size_t i = 0; i < ARRAY_LEN(TYPES); i++) {
		const struct schema *s = message_schema(TYPES[i]);

		for (int round = 0; round < 50; round++) {
			CLEANUP(arena_done) struct arena arena = {0};
			CLEANUP(buf_done) struct buf b = BUF_INIT, again = BUF_INIT;
			void *in = arena_alloc(&arena, s->size), *out = arena_alloc(&arena, s->size);
			struct frame f;
			uint8_t *bent;

			schema_random(s, in, 3, &p, &arena);
			message_encode(TYPES[i], prng_next(&p), in, &b);
			assert_int_equal(frame_decode(b.data, b.len, &f, NULL), 0);
			assert_int_equal(f.type, TYPES[i]);
			assert_int_equal(message_decode(&f, out, &arena, NULL), 0);
			assert_true(schema_equal(s, in, out));
			for (int m = 0; m < 40; m++) {
				bent = arena_copy(&arena, b.data, b.len);
				bent[prng_below(&p, b.len)] ^= (uint8_t)(1U << prng_below(&p, 8));
				if (frame_decode(bent, b.len, &f, NULL) || !message_schema(f.type) ||
				    message_schema(f.type) != s || message_decode(&f, out, &arena, NULL))
					continue;
				buf_reset(&again);
				message_encode(f.type, f.req, out, &again);
				if (again.len == b.len) /* shorter: an ignored key was cut off */
					assert_memory_equal(again.data, bent, b.len);
			}
		}
	}
}

static void unknown_messages_are_named(void **state)
{
	struct frame f = {.type = 0x7777, .body = (const uint8_t *)"\x80", .body_len = 1};
	CLEANUP(arena_done) struct arena arena = {0};
	struct msg_ping out;
	struct err err;

	(void)state;
	assert_int_equal(message_decode(&f, &out, &arena, &err), ERR_UNSUPPORTED);
	assert_non_null(strstr(err.msg, "0x7777"));
	assert_null(message_name(0x7777));
	assert_string_equal(message_name(0x0010), "COMMAND");
}

static const uint16_t COMMANDS[] = {
#define X(name, number, body) number,
	COMMAND_TABLE(X)
#undef X
};

/* Every command comes out of its envelope as it went in, with the hash that idempotency rests on. */
static void every_command_comes_out_of_its_envelope(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(COMMANDS); i++) {
		CLEANUP(arena_done) struct arena arena = {0};
		CLEANUP(buf_done) struct buf b = BUF_INIT;
		const struct schema *s = schema_of_command(COMMANDS[i]);
		struct msg_command msg = {.type = COMMANDS[i], .dry_run = true, .idem_key = {1, 2, 3}};
		void *body = arena_alloc(&arena, s->size);
		struct command cmd;
		uint8_t other[16];

		schema_fixture(s, body, &arena);
		schema_encode(s, body, &b);
		msg.body = (struct bytes){b.data, (uint32_t)b.len};
		assert_int_equal(command_decode(&msg, &cmd, &arena, NULL), 0);
		assert_int_equal(cmd.type, COMMANDS[i]);
		assert_true(cmd.dry_run);
		assert_int_equal(cmd.via, VIA_INTERNAL);
		assert_int_equal(cmd.principal, 0);
		assert_memory_equal(cmd.idem_key, msg.idem_key, IDEM_KEY_BYTES);
		assert_true(schema_equal(s, &cmd.tick, body));
		command_body_hash((uint16_t)(COMMANDS[i] + 1), b.data, b.len, other);
		assert_memory_not_equal(cmd.body_hash, other, sizeof other);
		b.data[b.len - 1] ^= 0x40;
		command_body_hash(COMMANDS[i], b.data, b.len, other);
		assert_memory_not_equal(cmd.body_hash, other, sizeof other);
	}
	{
		CLEANUP(arena_done) struct arena arena = {0};
		struct msg_command msg = {.type = 5};
		struct command cmd;

		assert_int_equal(command_decode(&msg, &cmd, &arena, NULL), ERR_UNSUPPORTED);
		msg = (struct msg_command){.type = CMD_RESUME}; /* an empty body is the zero struct */
		assert_int_equal(command_decode(&msg, &cmd, &arena, NULL), 0);
		msg.body = (struct bytes){(const uint8_t *)"\x81\x01", 2};
		assert_int_equal(command_decode(&msg, &cmd, &arena, NULL), ERR_TRUNCATED);
	}
}

/* ---- golden bytes ----------------------------------------------------------------------------- */

struct golden_count { unsigned same, older, written; };

/* Is the older encoding `g` what `f` says, less what was added since? */
static bool within(struct cursor *g, struct cursor *f)
{
	struct wire_item a, b, key_a, key_b;
	const uint8_t *start_a = g->p, *start_b = f->p;

	if (cursor_next(g, &a) || cursor_next(f, &b) || a.kind != b.kind)
		return false;
	if (a.kind == WIRE_ARRAY) {
		if (a.n != b.n)
			return false;
		for (uint32_t i = 0; i < a.n; i++)
			if (!within(g, f))
				return false;
		return true;
	}
	if (a.kind != WIRE_MAP) {
		size_t n = (size_t)(g->p - start_a);

		return n == (size_t)(f->p - start_b) && memcmp(start_a, start_b, n) == 0;
	}
	for (uint32_t i = 0, k = 0; i < a.n; i++) {
		if (cursor_next(g, &key_a))
			return false;
		for (;; k++) {
			if (k == b.n || cursor_next(f, &key_b))
				return false;
			if (key_b.u == key_a.u)
				break;
			if (cursor_skip(f, WIRE_DEPTH_MAX))
				return false;
		}
		k++;
		if (!within(g, f))
			return false;
		if (i + 1 == a.n)
			for (; k < b.n; k++)
				if (cursor_next(f, &key_b) || cursor_skip(f, WIRE_DEPTH_MAX))
					return false;
	}
	return true;
}

static size_t read_hex(const char *path, uint8_t *bytes, size_t max)
{
	FILE *file = fopen(path, "r");
	size_t n = 0;
	unsigned v;

	if (!file)
		return 0;
	while (n < max && fscanf(file, "%2x", &v) == 1)
		bytes[n++] = (uint8_t)v;
	fclose(file);
	return n;
}

static void write_hex(const char *path, const uint8_t *bytes, size_t len)
{
	FILE *file = fopen(path, "wx"); /* golden bytes are written once */

	assert_non_null(file);
	for (size_t i = 0; i < len; i++)
		fprintf(file, "%02x%s", bytes[i], i % 32 == 31 || i + 1 == len ? "\n" : "");
	assert_int_equal(fclose(file), 0);
}

/* Compare one golden file, from byte `skip` on a body of `s`, with `b`. */
static void golden(const char *kind, const char *name, const struct schema *s, const struct buf *b,
		   size_t header, struct golden_count *count)
{
	CLEANUP(arena_done) struct arena arena = {0};
	CLEANUP(buf_done) struct buf again = BUF_INIT;
	uint8_t *bytes = arena_alloc(&arena, 65536);
	void *obj = arena_alloc(&arena, s->size);
	char path[256], low[64] = {0};
	struct err err;
	size_t len;

	for (size_t i = 0; name[i]; i++)
		low[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
	snprintf(path, sizeof path, GOLDEN_DIR "/%s_%s.hex", kind, low);
	len = read_hex(path, bytes, 65536);
	if (!len && writing("golden")) {
		write_hex(path, b->data, b->len);
		count->written++;
		return;
	}
	if (!len)
		print_error("%s is missing: make golden-wire\n", path);
	assert_true(len > header);
	if (schema_decode(s, bytes + header, len - header, obj, &arena, &err))
		print_error("%s: %s\n", path, err.msg);
	assert_int_equal(schema_decode(s, bytes + header, len - header, obj, &arena, &err), 0);
	schema_encode(s, obj, &again);
	assert_int_equal(again.len, len - header);
	assert_memory_equal(again.data, bytes + header, again.len);
	assert_memory_equal(bytes, b->data, header);
	if (len == b->len && memcmp(bytes, b->data, len) == 0) {
		count->same++;
	} else {
		struct cursor g = cursor_of(bytes + header, len - header);
		struct cursor f = cursor_of(b->data + header, b->len - header);

		if (!within(&g, &f))
			print_error("%s: the values have moved\n", path);
		g = cursor_of(bytes + header, len - header);
		f = cursor_of(b->data + header, b->len - header);
		assert_true(within(&g, &f));
		count->older++;
	}
}

static void golden_struct(const char *kind, const char *name, const struct schema *s,
			  struct golden_count *count)
{
	CLEANUP(arena_done) struct arena arena = {0};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	void *obj = arena_alloc(&arena, s->size);

	schema_fixture(s, obj, &arena);
	schema_encode(s, obj, &b);
	golden(kind, name, s, &b, 0, count);
}

/* Bytes that some earlier build wrote, for every record, command, view and message: they decode to the
 * same values for good, and the same values still encode to them. */
static void golden_bytes_stay_readable(void **state)
{
	struct golden_count count = {0};

	(void)state;
	need_tree();
	for (uint8_t kind = 1; kind < RECORD_KINDS; kind++)
		golden_struct("record", record_kind_name(kind), schema_of_record(kind), &count);
	for (size_t i = 0; i < ARRAY_LEN(COMMANDS); i++)
		golden_struct("command", command_name(COMMANDS[i]), schema_of_command(COMMANDS[i]), &count);
	for (uint16_t q = QUERY_STATUS; q <= QUERY_EVENTS; q++)
		golden_struct("view", query_name(q), schema_of_view(q), &count);
	golden_struct("struct", "payload", &schema_payload, &count);
	golden_struct("struct", "inventory", &schema_inventory, &count);
	for (size_t i = 0; i < ARRAY_LEN(TYPES); i++) {
		CLEANUP(arena_done) struct arena arena = {0};
		CLEANUP(buf_done) struct buf b = BUF_INIT;
		const struct schema *s = message_schema(TYPES[i]);
		void *obj = arena_alloc(&arena, s->size);

		schema_fixture(s, obj, &arena);
		message_encode(TYPES[i], UINT64_C(0x1122334455667788), obj, &b);
		golden("message", message_name(TYPES[i]), s, &b, FRAME_HEADER_BYTES, &count);
	}
	print_message("golden files: %u equal, %u with fewer fields, %u written\n", count.same, count.older,
		      count.written);
	assert_true(count.same + count.older + count.written > 90);
}

/* ---- PROTOCOL.md ------------------------------------------------------------------------------ */

#define BEGIN_MARK "<!-- generated by `make protocol`: begin -->\n"
#define END_MARK "<!-- generated: end -->\n"

static const char *enum_of(const struct field *f)
{
#define X(table, ...)                                                                              \
	if (f->names == table##_names)                                                             \
		return #table;
	NAMES_TABLE(X)
#undef X
	if (f->names == inv_vendor_names)
		return "inv_vendor";
	return f->names == inv_health_names ? "inv_health" : "?";
}

static void field_text(const struct field *f, char *text, size_t size)
{
	static const char *const types[] = {
		[FIELD_U8] = "u8", [FIELD_U16] = "u16", [FIELD_U32] = "u32", [FIELD_U64] = "u64",
		[FIELD_I8] = "i8", [FIELD_I32] = "i32", [FIELD_I64] = "i64", [FIELD_BOOL] = "bool",
	};

	switch ((enum field_type)f->type) {
	case FIELD_U8: case FIELD_U16: case FIELD_U32: case FIELD_U64: case FIELD_I8: case FIELD_I32:
	case FIELD_I64: case FIELD_BOOL:
		if (f->names)
			snprintf(text, size, "%u %s enum(%s)", f->key, f->name, enum_of(f));
		else
			snprintf(text, size, "%u %s %s", f->key, f->name, types[f->type]);
		break;
	case FIELD_STR: snprintf(text, size, "%u %s str<%u", f->key, f->name, f->size); break;
	case FIELD_FIXED: snprintf(text, size, "%u %s bin=%u", f->key, f->name, f->size); break;
	case FIELD_WORDS: snprintf(text, size, "%u %s words<=%u", f->key, f->name, f->size / 8); break;
	case FIELD_TEXT: snprintf(text, size, "%u %s text<=%u", f->key, f->name, f->size); break;
	case FIELD_BYTES: snprintf(text, size, "%u %s bin<=%u", f->key, f->name, f->size); break;
	case FIELD_STRUCT: snprintf(text, size, "%u %s {%s}", f->key, f->name, f->sub->name); break;
	case FIELD_LIST: case FIELD_ARRAY:
		snprintf(text, size, "%u %s [%s]<=%u", f->key, f->name, f->sub->name, f->max);
		break;
	default: UNREACHABLE();
	}
}

static void add_struct(struct buf *b, const struct schema *s)
{
	size_t column = strlen(s->name) + 2;

	buf_addf(b, "%s%s:", s->name, s->bare ? " (bare)" : "");
	for (uint32_t i = 0; i < s->fields_n; i++) {
		char text[160];

		field_text(&s->fields[i], text, sizeof text);
		if (column + strlen(text) + 2 > 98) {
			buf_addf(b, "\n   ");
			column = 4;
		}
		buf_addf(b, " %s%s", text, i + 1 < s->fields_n ? "," : "");
		column += strlen(text) + 2;
	}
	buf_addf(b, "\n");
}

static void add_hex(struct buf *b, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf_addf(b, "%s%02x%s", i % 24 ? " " : "    ", bytes[i], i % 24 == 23 || i + 1 == len ? "\n" : "");
}

static void add_example(struct buf *b, const char *what, uint16_t type, uint64_t req, const void *obj)
{
	CLEANUP(buf_done) struct buf frame = BUF_INIT;

	message_encode(type, req, obj, &frame);
	buf_addf(b, "%s\n\n", what);
	add_hex(b, frame.data, frame.len);
	buf_addf(b, "\n");
}

static void add_examples(struct buf *b)
{
	CLEANUP(buf_done) struct buf renew = BUF_INIT, submit = BUF_INIT;
	struct msg_hello hello = {.version_min = 1, .version_max = 1, .program = "sluisctl 0.1.0"};
	struct lease_renew_item item = {.lease = 77, .fence = 3, .renew_seq = 4021};
	struct cmd_lease_renew body = {.items_n = 1, .items = &item};
	struct cmd_job_submit job = {.spec = {.shape = SHAPE_NODE, .klass = JOB_NORMAL, .loan = LOAN_OK,
					      .units = 2, .units_max = 2, .time_limit_ms = 43200000, .name = "lungseg2"},
				     .project = "lungnet", .flavor = "h100-80g"};
	static const uint8_t key[IDEM_KEY_BYTES] = {0x5f, 0x1c, 0x09, 0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
	struct msg_command cmd = {.type = CMD_LEASE_RENEW};
	struct renew_result res = {.lease = 77, .state = LEASE_ACTIVE, .fence = 3, .ttl_ms = 900000,
				   .renew_after_ms = 287000, .recall_in_ms = -1, .units = 48, .units_target = 48};
	struct msg_reply ok = {.seq = 48215, .result = {.renewals_n = 1, .renewals = &res}};
	struct msg_reply no = {.code = ERR_BUDGET, .reason = REASON_HOLD_TOO_LARGE, .message = "the budget does not cover it"};

	schema_encode(&schema_cmd_lease_renew, &body, &renew);
	schema_encode(&schema_cmd_job_submit, &job, &submit);
	buf_addf(b, "### Examples\n\nMade by the encoder itself; the golden bytes in `" GOLDEN_DIR "` have every field.\n\n");
	add_example(b, "PING, request 1, nonce 5:", MSG_PING, 1, &(struct msg_ping){.nonce = 5});
	add_example(b, "HELLO of `sluisctl 0.1.0`, request 2:", MSG_HELLO, 2, &hello);
	cmd.body = (struct bytes){renew.data, (uint32_t)renew.len};
	add_example(b, "COMMAND lease_renew: lease 77, fence 3, renew_seq 4021; request 3:", MSG_COMMAND, 3, &cmd);
	add_example(b, "REPLY to it at seq 48215: active, ttl 900 s, renew after 287 s, 48 of 48 units:", MSG_REPLY, 3, &ok);
	cmd.type = CMD_JOB_SUBMIT;
	memcpy(cmd.idem_key, key, sizeof key);
	cmd.body = (struct bytes){submit.data, (uint32_t)submit.len};
	add_example(b, "COMMAND job_submit: 2 nodes of h100-80g for 12 h, project lungnet; request 4:", MSG_COMMAND, 4, &cmd);
	add_example(b, "REPLY that refuses it, ERR_BUDGET (-62) for reason 402:", MSG_REPLY, 4, &no);
}

static void generate(struct buf *b)
{
	buf_addf(b, "\n### Messages\n\n| number | name | body | says |\n|---|---|---|---|\n");
#define MESSAGE(name, number, type, doc) buf_addf(b, "| 0x%04x | %s | `%s` | %s |\n", number, #name, #type, doc);
#include "proto/wire/messages.def"
#undef MESSAGE
	buf_addf(b, "\n### Commands\n\n| number | name | body |\n|---|---|---|\n");
#define X(name, number, body) buf_addf(b, "| %d | %s | `cmd_%s` |\n", number, command_name(number), #body);
	COMMAND_TABLE(X)
#undef X
	buf_addf(b, "\n### Queries\n\n| number | name | answer |\n|---|---|---|\n");
	for (uint16_t q = QUERY_STATUS; q <= QUERY_EVENTS; q++)
		buf_addf(b, "| %u | %s | `%s` |\n", q, query_name(q), schema_of_view(q)->name);
	buf_addf(b, "\n### Errors\n\n| code | name | text |\n|---|---|---|\n");
#define X(name, number, text) buf_addf(b, "| -%d | %s | %s |\n", number, #name, text);
	ERR_TABLE(X)
#undef X
	buf_addf(b, "\n### Reasons\n\n| number | text |\n|---|---|\n");
#define X(name, number, text) buf_addf(b, "| %d | %s |\n", number, text);
	REASON_TABLE(X)
#undef X
	buf_addf(b, "\n### Enums\n\n```\n");
#define X(table, ...)                                                                              \
	buf_addf(b, "%s:", #table);                                                                \
	for (int v = 0; table##_names[v]; v++)                                                     \
		buf_addf(b, " %d %s%s", v, table##_names[v], table##_names[v + 1] ? "," : "\n");
	NAMES_TABLE(X)
	X(inv_vendor, "")
	X(inv_health, "")
#undef X
	buf_addf(b, "```\n\n### Structs\n\n```\n");
	for (int i = 0; schema_all[i]; i++)
		add_struct(b, schema_all[i]);
	buf_addf(b, "```\n\n");
	add_examples(b);
}

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	char *s = xcalloc(1, 1 << 20);

	assert_non_null(f);
	assert_true(fread(s, 1, (1 << 20) - 1, f) > 0);
	fclose(f);
	return s;
}

/* The document that other programs are written from says what the code does. */
static void protocol_md_is_current(void **state)
{
	CLEANUP(buf_done) struct buf fresh = BUF_INIT;
	char *text, *begin, *end;

	(void)state;
	need_tree();
	generate(&fresh);
	text = slurp(PROTOCOL);
	begin = strstr(text, BEGIN_MARK);
	end = strstr(text, END_MARK);
	assert_true(begin && end && begin < end);
	begin += strlen(BEGIN_MARK);
	if (writing("protocol")) {
		FILE *f = fopen(PROTOCOL, "w");

		assert_non_null(f);
		fprintf(f, "%.*s%s%s", (int)(begin - text), text, buf_cstr(&fresh), end);
		assert_int_equal(fclose(f), 0);
	} else {
		if ((size_t)(end - begin) != fresh.len || memcmp(begin, fresh.data, fresh.len) != 0)
			print_error(PROTOCOL " is behind the tables: make protocol\n");
		assert_int_equal(end - begin, fresh.len);
		assert_memory_equal(begin, fresh.data, fresh.len);
	}
	free(text);
}

/* The example of the renewal, written out by hand from the document: the encoder agrees. */
static void the_documented_renewal_is_what_we_send(void **state)
{
	static const uint8_t by_hand[] = {
		'S', 'L', 'U', 'I', 1, 0, 0x00, 0x10, 0, 0, 0, 0, 0, 0, 0, 3,
		0x82,                                  /* two keys */
		0x01, 83,                              /* type: lease_renew */
		0x04, 0xc4, 12,                        /* body: */
		0x81, 0x01, 0x91,                      /* items, one */
		0x83, 0x01, 77, 0x02, 3, 0x03, 0xcd, 0x0f, 0xb5, /* lease, fence, renew_seq 4021 */
	};
	CLEANUP(arena_done) struct arena arena = {0};
	struct msg_command msg;
	struct command cmd;
	struct frame f;

	(void)state;
	assert_int_equal(frame_decode(by_hand, sizeof by_hand, &f, NULL), 0);
	assert_int_equal(f.type, MSG_COMMAND);
	assert_int_equal(message_decode(&f, &msg, &arena, NULL), 0);
	assert_int_equal(command_decode(&msg, &cmd, &arena, NULL), 0);
	assert_int_equal(cmd.type, CMD_LEASE_RENEW);
	assert_int_equal(cmd.lease_renew.items_n, 1);
	assert_int_equal(cmd.lease_renew.items[0].lease, 77);
	assert_int_equal(cmd.lease_renew.items[0].fence, 3);
	assert_int_equal(cmd.lease_renew.items[0].renew_seq, 4021);
	{
		CLEANUP(buf_done) struct buf b = BUF_INIT;

		message_encode(MSG_COMMAND, 3, &msg, &b);
		assert_int_equal(b.len, sizeof by_hand);
		assert_memory_equal(b.data, by_hand, b.len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_header_is_as_documented),
		cmocka_unit_test(foreign_frames_are_refused),
		cmocka_unit_test(every_message_round_trips),
		cmocka_unit_test(unknown_messages_are_named),
		cmocka_unit_test(every_command_comes_out_of_its_envelope),
		cmocka_unit_test(golden_bytes_stay_readable),
		cmocka_unit_test(protocol_md_is_current),
		cmocka_unit_test(the_documented_renewal_is_what_we_send),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
