/* walk.c - filling structs from a tree by a table (see config.h, "schema and walk")
 *
 * Each type has one setter that turns text into the member's C type. A default goes through the same
 * setter as the file's text, so a table cannot hold a default that a file could not.
 */
#include "proto/config/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/ensure.h"
#include "proto/base/limits.h"
#include "proto/config/units.h"

enum { TEXT_BYTES_MAX = 4096, NAME_BYTES_MAX = NAME_BYTES - 1, SOCKET_PATH_MAX = 107 };

static struct config_error *error_at(struct conf_walk *walk, const struct doc_node *node, const struct doc_node *path_of,
				     uint32_t line, uint32_t col, const char *text)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT;

	if (path_of)
		doc_path(path_of, &path);
	return config_errors_add(walk->errs, node->origin ? node->origin : walk->doc->file, node->origin ? 0 : line, col,
				 "%s%s%s", text, path.len ? " in " : "", buf_cstr(&path));
}

__attribute__((format(printf, 1, 0))) static char *format(const char *fmt, va_list ap)
{
	char *text = NULL;
	int n = vasprintf(&text, fmt, ap);

	ENSURE(n >= 0);
	return text;
}

struct config_error *conf_error(struct conf_walk *walk, const struct doc_node *node, const char *fmt, ...)
{
	struct config_error *e;
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = format(fmt, ap);
	va_end(ap);
	e = error_at(walk, node, node, node->line, node->col, text);
	free(text);
	return e;
}

struct config_error *conf_error_key(struct conf_walk *walk, const struct doc_node *node, const char *fmt, ...)
{
	struct config_error *e;
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = format(fmt, ap);
	va_end(ap);
	e = error_at(walk, node, node->parent, node->key_line ? node->key_line : node->line,
		     node->key_line ? node->key_col : node->col, text);
	free(text);
	return e;
}

/* ---- one value ------------------------------------------------------------------------------ */

/* What a value of the type looks like, for people. */
static const char *type_text(enum conf_type type)
{
	switch (type) {
	case CONF_TEXT: return "a text";
	case CONF_NAME: return "a name of letters, digits, - _ .";
	case CONF_PATH: return "an absolute path";
	case CONF_SECRET: return "a path, or credential:NAME";
	case CONF_ENDPOINT: return "tcp://HOST:PORT, where * is any";
	case CONF_SOCKET: return "an absolute path, or off";
	case CONF_BOOL: return "true or false";
	case CONF_COUNT: return "a whole number";
	case CONF_DURATION: return "a duration with its unit: 90s, 15m, 12h, 30d";
	case CONF_SIZE: case CONF_SIZE_MIB: return "a size with its unit: 512MiB, 64GiB";
	case CONF_SHARE: return "parts per million, or 12.5 %";
	case CONF_INSTANT: return "a date or a time: 2026-12-01, 2026-12-01T14:30+01:00";
	case CONF_ENUM: return "one of the known words";
	case CONF_TEXT_LIST: return "a list: [a, b]";
	case CONF_COUNT_LIST: return "a list of whole numbers: [1000, 1001]";
	case CONF_PAIRS: return "keys and texts: {KEY: value}";
	case CONF_MAP: case CONF_MAP_OF: return "keys and values";
	case CONF_SEQ_OF: return "a list";
	case CONF_CUSTOM: return "another value";
	}
	return "another value";
}

static const char *kind_text(const struct doc_node *node)
{
	switch (node->kind) {
	case DOC_SCALAR: return node->text[0] || node->quoted ? "a single value" : "nothing";
	case DOC_MAP: return "a map";
	case DOC_SEQ: return "a list";
	}
	return "a value";
}

static void wrong_kind(struct conf_walk *walk, const struct conf_row *row, const struct doc_node *node)
{
	config_error_try(conf_error(walk, node, "%s stands where %s belongs", kind_text(node),
				    row->type == CONF_MAP || row->type == CONF_MAP_OF || row->type == CONF_PAIRS ? "a map"
				    : row->type == CONF_TEXT_LIST || row->type == CONF_COUNT_LIST || row->type == CONF_SEQ_OF
					    ? "a list"
					    : "a single value"),
			 "%s", type_text(row->type));
}

static bool name_ok(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len <= NAME_BYTES_MAX &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len;
}

/* tcp://HOST:PORT; HOST a name, an address, [v6] or *; PORT 1..65535 or *. */
static bool endpoint_ok(const char *s)
{
	const char *host = s + 6, *colon;
	int64_t port = 0;

	if (strncmp(s, "tcp://", 6) != 0)
		return false;
	colon = strrchr(host, ':');
	if (!colon || colon == host)
		return false;
	if (*host == '[') {
		if (colon[-1] != ']' ||
		    strspn(host + 1, "0123456789abcdefABCDEF:.") != (size_t)(colon - host) - 2)
			return false;
	} else if (!(colon == host + 1 && *host == '*') &&
		   strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
			   (size_t)(colon - host)) {
		return false;
	}
	return strcmp(colon + 1, "*") == 0 || units_count(colon + 1, 1, 65535, &port, NULL) == 0;
}

static bool text_ok(enum conf_type type, const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > TEXT_BYTES_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	switch (type) {
	case CONF_NAME: return name_ok(s);
	case CONF_PATH: return s[0] == '/' || strncmp(s, "~/", 2) == 0;
	case CONF_SECRET:
		return s[0] == '/' || strncmp(s, "~/", 2) == 0 ||
		       (strncmp(s, "credential:", 11) == 0 && name_ok(s + 11));
	case CONF_ENDPOINT: return endpoint_ok(s);
	case CONF_SOCKET: return strcmp(s, "off") == 0 || (s[0] == '/' && len <= SOCKET_PATH_MAX);
	case CONF_TEXT: case CONF_BOOL: case CONF_COUNT: case CONF_DURATION: case CONF_SIZE: case CONF_SIZE_MIB:
	case CONF_SHARE: case CONF_INSTANT: case CONF_ENUM: case CONF_TEXT_LIST: case CONF_COUNT_LIST: case CONF_PAIRS:
	case CONF_MAP: case CONF_MAP_OF: case CONF_SEQ_OF: case CONF_CUSTOM:
		return true;
	}
	return true;
}

static void set_text(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	const char *copy;

	if (!text_ok(row->type, node->text)) {
		config_error_try(conf_error(walk, node, "'%.100s' is not %s", node->text, type_text(row->type)), "%s",
				 type_text(row->type));
		return;
	}
	copy = arena_copy(walk->arena, node->text, strlen(node->text) + 1);
	memcpy(target, &copy, sizeof(copy));
}

static const char *enum_name(const void *ctx, size_t i)
{
	return ((const char *const *)ctx)[i];
}

static void set_enum(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	CLEANUP(buf_done) struct buf known = BUF_INIT;
	size_t count = 0;
	const char *near;

	for (; row->names[count]; count++) {
		if (strcmp(row->names[count], node->text) == 0) {
			int v = (int)count;

			memcpy(target, &v, sizeof(v));
			return;
		}
		buf_addf(&known, "%s%s", count ? ", " : "", row->names[count]);
	}
	near = config_nearest(node->text, count, enum_name, row->names);
	config_error_try(conf_error(walk, node, "'%.100s' is none of %s", node->text, buf_cstr(&known)), "%s",
			 near ? near : row->names[0]);
}

static void set_bool(struct conf_walk *walk, struct doc_node *node, void *target)
{
	bool v = strcmp(node->text, "true") == 0;

	if (node->quoted || (!v && strcmp(node->text, "false") != 0)) {
		config_error_try(conf_error(walk, node, "'%.100s' is not true or false", node->text), "true or false");
		return;
	}
	memcpy(target, &v, sizeof(v));
}

/* Parse any of the number types. */
static int parse_number(const struct conf_row *row, const struct doc_node *node, int64_t *ret, struct err *err)
{
	const char *s = node->text;

	switch (row->type) {
	case CONF_COUNT: case CONF_COUNT_LIST:
		if (node->quoted)
			return err_set(err, ERR_INVAL, "'%.100s' is a text, not a number", s);
		return units_count(s, 0, INT64_MAX, ret, err);
	case CONF_DURATION: return units_duration(s, ret, err);
	case CONF_SIZE: return units_size(s, ret, err);
	case CONF_SIZE_MIB: return units_size_mib(s, ret, err);
	case CONF_SHARE: return units_share_ppm(s, ret, err);
	case CONF_INSTANT:
		/* a file means the same whenever it is read: no `now`, no time of day alone */
		if (strspn(s, "0123456789") < 4)
			return err_set(err, ERR_INVAL, "'%.100s' is not a date or a time", s);
		return units_instant(s, 0, UNITS_UTC, ret, err);
	case CONF_TEXT: case CONF_NAME: case CONF_PATH: case CONF_SECRET: case CONF_ENDPOINT: case CONF_SOCKET:
	case CONF_BOOL: case CONF_ENUM: case CONF_TEXT_LIST: case CONF_PAIRS: case CONF_MAP: case CONF_MAP_OF:
	case CONF_SEQ_OF: case CONF_CUSTOM:
		break;
	}
	UNREACHABLE();
}

/* A limit of a row as its type prints it. */
static const char *limit_text(enum conf_type type, int64_t v, char out[UNITS_TEXT_BYTES])
{
	if (v == INT64_MAX)
		return "any";
	if (type == CONF_DURATION)
		return units_duration_exact(out, v);
	if (type == CONF_SIZE)
		return units_size_print(out, v);
	if (type == CONF_SIZE_MIB && v <= INT64_MAX >> 20)
		return units_size_print(out, v << 20);
	if (type == CONF_SHARE)
		return units_share_print(out, v);
	snprintf(out, UNITS_TEXT_BYTES, "%lld", (long long)v);
	return out;
}

static bool number(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, int64_t *ret)
{
	int64_t min = row->min, max = row->min == 0 && row->max == 0 ? INT64_MAX : row->max;
	char low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
	struct err err = {0};

	if (parse_number(row, node, ret, &err)) {
		config_error_try(conf_error(walk, node, "%s", err.msg), "%s",
				 err.hint[0] ? err.hint : type_text(row->type));
		return false;
	}
	if (row->type != CONF_INSTANT && (*ret < min || *ret > max)) {
		config_error_try(conf_error(walk, node, "'%.100s' is out of range", node->text), "%s to %s",
				 limit_text(row->type, min, low), limit_text(row->type, max, high));
		return false;
	}
	return true;
}

/* ---- lists ---------------------------------------------------------------------------------- */

static bool scalar(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node)
{
	if (node->bad)
		return false;
	if (node->kind == DOC_SCALAR && (node->text[0] || node->quoted))
		return true;
	struct conf_row one = *row;

	if (row->type == CONF_TEXT_LIST || row->type == CONF_PAIRS)
		one.type = CONF_TEXT;
	if (row->type == CONF_COUNT_LIST)
		one.type = CONF_COUNT;
	wrong_kind(walk, &one, node);
	return false;
}

static void set_texts(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	struct conf_texts list = {.items = arena_alloc(walk->arena, (node->count + 1) * sizeof(char *))};

	for (struct doc_node *n = node->first; n; n = n->next) {
		if (!scalar(walk, row, n))
			continue;
		if (strlen(n->text) > TEXT_BYTES_MAX)
			(void)conf_error(walk, n, "a text is longer than %d bytes", TEXT_BYTES_MAX);
		list.items[list.count++] = arena_copy(walk->arena, n->text, strlen(n->text) + 1);
	}
	memcpy(target, &list, sizeof(list));
}

static void set_counts(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	struct conf_counts list = {.items = arena_alloc(walk->arena, (node->count + 1) * sizeof(int64_t))};

	for (struct doc_node *n = node->first; n; n = n->next) {
		int64_t v = 0;

		if (scalar(walk, row, n) && number(walk, row, n, &v))
			list.items[list.count++] = v;
	}
	memcpy(target, &list, sizeof(list));
}

static void set_pairs(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	struct conf_pairs list = {.items = arena_alloc(walk->arena, (node->count + 1) * sizeof(struct conf_pair))};

	for (struct doc_node *n = node->first; n; n = n->next) {
		struct conf_pair *pair = &list.items[list.count];

		if (!scalar(walk, row, n))
			continue;
		pair->key = arena_copy(walk->arena, n->key, strlen(n->key) + 1);
		pair->value = arena_copy(walk->arena, n->text, strlen(n->text) + 1);
		pair->line = n->line;
		pair->col = n->col;
		list.count++;
	}
	memcpy(target, &list, sizeof(list));
}

/* Structs by key, or in a list. */
static void set_items(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	struct conf_items list = {.items = arena_alloc(walk->arena, (node->count + 1) * row->sub->item_bytes)};

	ENSURE(row->sub->item_bytes >= sizeof(struct conf_head));
	for (struct doc_node *n = node->first; n; n = n->next) {
		char *item = (char *)list.items + list.count * row->sub->item_bytes;
		struct conf_head head = {.line = n->key_line ? n->key_line : n->line,
					 .col = n->key_line ? n->key_col : n->col};

		if (n->bad)
			continue;
		if (n->key) {
			if (!name_ok(n->key))
				config_error_try(conf_error_key(walk, n, "'%.100s' is no name", n->key), "%s",
						 type_text(CONF_NAME));
			head.name = arena_copy(walk->arena, n->key, strlen(n->key) + 1);
		}
		memcpy(item, &head, sizeof(head));
		conf_walk_map(walk, row->sub, n, item);
		list.count++;
	}
	memcpy(target, &list, sizeof(list));
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* The kind of node a type takes. */
static enum doc_kind kind_of(enum conf_type type)
{
	if (type == CONF_TEXT_LIST || type == CONF_COUNT_LIST || type == CONF_SEQ_OF)
		return DOC_SEQ;
	if (type == CONF_PAIRS || type == CONF_MAP || type == CONF_MAP_OF)
		return DOC_MAP;
	return DOC_SCALAR;
}

void conf_value(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	int64_t v = 0;

	if (node->bad)
		return;
	if (row->type == CONF_CUSTOM) {
		row->set(walk, row, node, target);
		return;
	}
	if (row->type == CONF_MAP && node->kind == DOC_MAP) {
		conf_walk_map(walk, row->sub, node, target);
		return;
	}
	if (node->kind != kind_of(row->type) || (node->kind == DOC_SCALAR && node->text[0] == '\0' && !node->quoted)) {
		wrong_kind(walk, row, node);
		return;
	}
	switch (row->type) {
	case CONF_TEXT: case CONF_NAME: case CONF_PATH: case CONF_SECRET: case CONF_ENDPOINT: case CONF_SOCKET:
		set_text(walk, row, node, target);
		return;
	case CONF_BOOL:
		set_bool(walk, node, target);
		return;
	case CONF_COUNT: case CONF_DURATION: case CONF_SIZE: case CONF_SIZE_MIB: case CONF_SHARE: case CONF_INSTANT:
		if (number(walk, row, node, &v))
			memcpy(target, &v, sizeof(v));
		return;
	case CONF_ENUM:
		set_enum(walk, row, node, target);
		return;
	case CONF_TEXT_LIST:
		set_texts(walk, row, node, target);
		return;
	case CONF_COUNT_LIST:
		set_counts(walk, row, node, target);
		return;
	case CONF_PAIRS:
		set_pairs(walk, row, node, target);
		return;
	case CONF_MAP_OF: case CONF_SEQ_OF:
		set_items(walk, row, node, target);
		return;
	case CONF_MAP: case CONF_CUSTOM:
		break;
	}
	UNREACHABLE();
}

static const char *row_key(const void *ctx, size_t i)
{
	return ((const struct conf_schema *)ctx)->rows[i].key;
}

static const struct conf_row *row_find(const struct conf_schema *schema, const char *key)
{
	for (size_t i = 0; i < schema->rows_count; i++)
		if (strcmp(schema->rows[i].key, key) == 0)
			return &schema->rows[i];
	return NULL;
}

static void unknown_key(struct conf_walk *walk, const struct conf_schema *schema, const struct doc_node *node)
{
	struct config_error *e = conf_error_key(walk, node, "unknown key '%.100s'", node->key);
	CLEANUP(buf_done) struct buf known = BUF_INIT;
	const char *near;

	if (!e)
		return; /* the list is full: spare the search */
	near = config_nearest(node->key, schema->rows_count, row_key, schema);
	for (size_t i = 0; i < schema->rows_count && !near; i++)
		buf_addf(&known, "%s%s", i ? ", " : "", schema->rows[i].key);
	config_error_try(e, "%s", near ? near : buf_cstr(&known));
}

void conf_walk_map(struct conf_walk *walk, const struct conf_schema *schema, struct doc_node *node, void *target)
{
	size_t before = walk->errs->count + walk->errs->dropped;

	if (node && node->kind != DOC_MAP) {
		if (!node->bad)
			wrong_kind(walk, &(struct conf_row){.type = CONF_MAP}, node);
		return;
	}
	for (struct doc_node *n = node ? node->first : NULL; n; n = n->next)
		if (!n->bad && !row_find(schema, n->key))
			unknown_key(walk, schema, n);
	for (size_t i = 0; i < schema->rows_count; i++) {
		const struct conf_row *row = &schema->rows[i];
		struct doc_node *child = node ? doc_get(node, row->key) : NULL;
		void *member = (char *)target + row->offset;

		if (child) {
			conf_value(walk, row, child, member);
		} else if (row->required) {
			struct config_error *e;

			e = conf_error(walk, node ? node : walk->doc->root, "key '%s' is missing", row->key);
			config_error_try(e, "%s: %s", row->key, type_text(row->type));
		} else if (row->preset) {
			struct doc_node preset = {.kind = DOC_SCALAR, .text = row->preset};
			size_t count = walk->errs->count + walk->errs->dropped;

			conf_value(walk, row, &preset, member);
			ENSURE(walk->errs->count + walk->errs->dropped == count);
		} else if (row->type == CONF_MAP) {
			conf_walk_map(walk, row->sub, NULL, member);
		}
	}
	if (schema->check && walk->errs->count + walk->errs->dropped == before)
		schema->check(walk, node ? node : walk->doc->root, target);
}

int conf_walk(struct doc *doc, const struct conf_schema *schema, void *target, struct arena *arena, void *ctx,
	      struct config_errors *errs)
{
	struct conf_walk walk = {.doc = doc, .arena = arena, .errs = errs, .ctx = ctx};
	size_t before = errs->count + errs->dropped;

	conf_walk_map(&walk, schema, doc->root, target);
	return errs->count + errs->dropped == before && !doc->flawed ? 0 : ERR_CONFIG;
}

int conf_load(const char *path, const char *name, const char *const *sets, size_t sets_count,
	      const struct conf_schema *schema, void *target, struct arena *arena, struct config_errors *errs)
{
	struct doc *doc = NULL;
	int code = 0, set_code = 0;

	if (path)
		code = doc_read_file(path, &doc, errs);
	else
		doc = doc_new(name);
	if (code)
		return code;
	for (size_t i = 0; i < sets_count; i++)
		if (doc_set(doc, sets[i], errs))
			set_code = ERR_CONFIG;
	code = conf_walk(doc, schema, target, arena, NULL, errs);
	doc_free(doc);
	return code ? code : set_code;
}
