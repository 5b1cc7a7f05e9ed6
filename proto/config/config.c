/* config.c - collecting errors, and reading YAML into a tree (see config.h)
 *
 * The reader is one loop over libyaml's events with a stack of CONFIG_DEPTH_MAX open collections, so
 * no input makes it recurse. A fault that leaves the rest of the file readable (anchor, alias, tag,
 * tab, duplicate key) is noted and reading goes on; a syntax error ends it.
 */
#include "proto/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <yaml.h>

#include "proto/base/ensure.h"

/* ---- errors --------------------------------------------------------------------------------- */

void config_errors_done(struct config_errors *errs)
{
	for (size_t i = 0; i < errs->count; i++) {
		free(errs->list[i].file);
		free(errs->list[i].text);
		free(errs->list[i].try);
	}
	*errs = (struct config_errors)CONFIG_ERRORS_INIT;
}

/* A copy without control characters: what a file says must not steer a terminal. */
static char *neutral(const char *text)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			buf_addf(&b, "\\x%02x", *p);
		else
			buf_add(&b, p, 1);
	}
	return xstrdup(buf_cstr(&b));
}

__attribute__((format(printf, 1, 0))) static char *format_neutral(const char *fmt, va_list ap)
{
	char *raw = NULL, *ret;
	int n = vasprintf(&raw, fmt, ap);

	ENSURE(n >= 0);
	ret = neutral(raw);
	free(raw);
	return ret;
}

struct config_error *config_errors_add(struct config_errors *errs, const char *file, uint32_t line, uint32_t col,
				       const char *fmt, ...)
{
	struct config_error *e;
	va_list ap;

	if (errs->count == CONFIG_ERRORS_MAX) {
		errs->dropped++;
		return NULL;
	}
	e = &errs->list[errs->count++];
	va_start(ap, fmt);
	*e = (struct config_error){.file = neutral(file), .line = line, .col = col, .text = format_neutral(fmt, ap)};
	va_end(ap);
	return e;
}

void config_error_try(struct config_error *error, const char *fmt, ...)
{
	va_list ap;

	if (!error)
		return;
	va_start(ap, fmt);
	free(error->try);
	error->try = format_neutral(fmt, ap);
	va_end(ap);
}

static bool comes_before(const struct config_error *a, const struct config_error *b)
{
	int d = strcmp(a->file, b->file);

	if (d)
		return d < 0;
	if (a->line != b->line)
		return a->line < b->line;
	return a->col < b->col;
}

/* Insertion sort: stable, and the list is short. */
static void errors_sort(struct config_errors *errs)
{
	for (size_t i = 1; i < errs->count; i++) {
		struct config_error e = errs->list[i];
		size_t j = i;

		for (; j > 0 && comes_before(&e, &errs->list[j - 1]); j--)
			errs->list[j] = errs->list[j - 1];
		errs->list[j] = e;
	}
}

/* "file:line:col" with what is known of it. */
static void place_print(const struct config_error *e, struct buf *out)
{
	buf_addf(out, "%s", e->file);
	if (e->line)
		buf_addf(out, ":%u", e->line);
	if (e->line && e->col)
		buf_addf(out, ":%u", e->col);
}

void config_errors_print(struct config_errors *errs, struct buf *out)
{
	errors_sort(errs);
	for (size_t i = 0; i < errs->count; i++) {
		const struct config_error *e = &errs->list[i];

		place_print(e, out);
		buf_addf(out, ": error: %s\n", e->text);
		if (e->try)
			buf_addf(out, "  try     %s\n", e->try);
	}
	if (errs->dropped)
		buf_addf(out, "and %zu more errors\n", errs->dropped);
}

int config_errors_first(struct config_errors *errs, struct err *err)
{
	CLEANUP(buf_done) struct buf place = BUF_INIT;

	if (errs->count == 0)
		return 0;
	errors_sort(errs);
	place_print(&errs->list[0], &place);
	(void)err_set(err, ERR_CONFIG, "%s: %s", buf_cstr(&place), errs->list[0].text);
	if (errs->list[0].try)
		(void)err_hint(err, "%s", errs->list[0].try);
	return ERR_CONFIG;
}

/* Case-blind Levenshtein distance with swaps of neighbours, or 99 for words too long to be a slip. */
static size_t edit_distance(const char *a, const char *b)
{
	enum { WORD_MAX = 48 };
	size_t la = strlen(a), lb = strlen(b);
	size_t row[3][WORD_MAX + 1];

	if (la > WORD_MAX || lb > WORD_MAX)
		return 99;
	for (size_t j = 0; j <= lb; j++)
		row[0][j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			bool same = strncasecmp(a + i - 1, b + j - 1, 1) == 0;
			size_t best = up[j - 1] + !same;

			if (up[j] + 1 < best)
				best = up[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best)
				best = up2[j - 2] + 1;
			now[j] = best;
		}
	}
	return row[la % 3][lb];
}

const char *config_nearest(const char *word, size_t count, const char *(*get)(const void *ctx, size_t i),
			   const void *ctx)
{
	size_t best = 1 + strlen(word) / 4;
	const char *ret = NULL;

	for (size_t i = 0; i < count; i++) {
		const char *name = get(ctx, i);
		size_t d = name ? edit_distance(word, name) : 99;

		if (d < best || (d == best && !ret)) {
			best = d;
			ret = name;
		}
	}
	return ret;
}

/* ---- tree ----------------------------------------------------------------------------------- */

struct doc *doc_new(const char *name)
{
	struct doc *doc = xcalloc(1, sizeof(*doc));

	doc->file = arena_copy(&doc->arena, name, strlen(name) + 1);
	doc->root = arena_alloc(&doc->arena, sizeof(*doc->root));
	doc->root->kind = DOC_MAP;
	doc->root->line = doc->root->col = 1;
	return doc;
}

void doc_free(struct doc *doc)
{
	if (!doc)
		return;
	arena_done(&doc->arena);
	free(doc);
}

struct doc_node *doc_get(const struct doc_node *map, const char *key)
{
	if (map->kind != DOC_MAP)
		return NULL;
	for (struct doc_node *n = map->first; n; n = n->next)
		if (strcmp(n->key, key) == 0)
			return n;
	return NULL;
}

void doc_path(const struct doc_node *node, struct buf *out)
{
	const struct doc_node *chain[CONFIG_DEPTH_MAX * 2];
	size_t n = 0;
	bool first = true;

	for (; node->parent && n < ARRAY_LEN(chain); node = node->parent)
		chain[n++] = node;
	while (n > 0) {
		node = chain[--n];
		if (node->hidden || !node->key)
			continue;
		buf_addf(out, "%s%s", first ? "" : "/", node->key);
		first = false;
	}
}

static void append_child(struct doc_node *parent, struct doc_node *child)
{
	child->parent = parent;
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
	parent->count++;
}

/* What one reading carries. */
struct reader {
	struct doc *doc;
	const char *name;   /* for errors */
	const char *origin; /* for nodes: NULL, or the --set text */
	struct config_errors *errs;
	struct doc_node *stack[CONFIG_DEPTH_MAX];
	size_t depth;
	struct doc_node *root;
	bool broken;     /* the rest cannot be read */
	const char *key; /* of the value to come, in a map */
	bool key_bad;
	uint32_t key_line, key_col;
};

static struct config_error *reader_error(struct reader *r, yaml_mark_t at, const char *text)
{
	/* a --set value has no lines worth naming */
	return config_errors_add(r->errs, r->name, r->origin ? 0 : (uint32_t)at.line + 1, (uint32_t)at.column + 1, "%s",
				 text);
}

static void refuse_anchor_and_tag(struct reader *r, yaml_mark_t at, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor)
		config_error_try(reader_error(r, at, "anchors (&name) are not used here"), "write the value out");
	if (tag)
		config_error_try(reader_error(r, at, "tags (!name) are not used here"), "remove the tag");
}

/* Put a new node under the open collection. NULL: a scalar that became a key, or a fatal error. */
static struct doc_node *reader_node(struct reader *r, enum doc_kind kind, yaml_mark_t at)
{
	struct doc_node *node = arena_alloc(&r->doc->arena, sizeof(*node));
	struct doc_node *parent = r->depth ? r->stack[r->depth - 1] : NULL;

	node->kind = kind;
	node->line = (uint32_t)at.line + 1;
	node->col = (uint32_t)at.column + 1;
	node->origin = r->origin;
	if (!parent) {
		r->root = node;
		return node;
	}
	if (parent->kind == DOC_MAP) {
		ENSURE(r->key);
		node->key = r->key;
		node->bad = r->key_bad;
		node->key_line = r->key_line;
		node->key_col = r->key_col;
		r->key = NULL;
		r->key_bad = false;
	}
	append_child(parent, node);
	return node;
}

static bool wants_key(const struct reader *r)
{
	return r->depth && r->stack[r->depth - 1]->kind == DOC_MAP && !r->key;
}

static void set_key(struct reader *r, const char *text, yaml_mark_t at, bool bad)
{
	r->key = text;
	r->key_bad = bad;
	r->key_line = (uint32_t)at.line + 1;
	r->key_col = (uint32_t)at.column + 1;
}

static void on_scalar(struct reader *r, const yaml_event_t *ev)
{
	const char *value = (const char *)ev->data.scalar.value;
	size_t len = ev->data.scalar.length;
	bool bad = memchr(value, '\0', len) != NULL;
	char *text = arena_copy(&r->doc->arena, value, len + 1);
	struct doc_node *node;

	refuse_anchor_and_tag(r, ev->start_mark, ev->data.scalar.anchor, ev->data.scalar.tag);
	if (bad)
		(void)reader_error(r, ev->start_mark, "a NUL byte has no place in a text");
	if (wants_key(r)) {
		if (len == 0)
			(void)reader_error(r, ev->start_mark, "a key is empty");
		set_key(r, text, ev->start_mark, bad || len == 0);
		return;
	}
	node = reader_node(r, DOC_SCALAR, ev->start_mark);
	node->text = text;
	node->quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	node->bad = node->bad || bad;
}

static int by_key(const void *va, const void *vb)
{
	const struct doc_node *a = *(struct doc_node *const *)va, *b = *(struct doc_node *const *)vb;
	int d = strcmp(a->key, b->key);

	if (d)
		return d;
	if (a->key_line != b->key_line)
		return a->key_line < b->key_line ? -1 : 1;
	return a->key_col < b->key_col ? -1 : a->key_col > b->key_col;
}

/* libyaml does not see a key written twice. Sorting keeps a hostile file at n log n. */
static void find_duplicates(struct reader *r, struct doc_node *map)
{
	struct doc_node **sorted, *n = map->first;

	if (map->count < 2)
		return;
	sorted = xcalloc(map->count, sizeof(struct doc_node *));
	for (size_t i = 0; i < map->count; i++, n = n->next)
		sorted[i] = n;
	qsort(sorted, map->count, sizeof(struct doc_node *), by_key);
	for (size_t i = 1; i < map->count; i++) {
		CLEANUP(buf_done) struct buf path = BUF_INIT;
		struct config_error *e;

		if (strcmp(sorted[i - 1]->key, sorted[i]->key) != 0)
			continue;
		sorted[i]->bad = true;
		doc_path(map, &path);
		e = config_errors_add(r->errs, r->name, r->origin ? 0 : sorted[i]->key_line, sorted[i]->key_col,
				      "key '%s' stands twice%s%s", sorted[i]->key, path.len ? " in " : "",
				      buf_cstr(&path));
		config_error_try(e, "keep one of them; the other is in line %u", sorted[i - 1]->key_line);
	}
	free(sorted);
}

/* Open a map or a list. false: too deep, or a collection as a key. */
static bool on_open(struct reader *r, enum doc_kind kind, const yaml_event_t *ev)
{
	r->broken = true; /* until the end says otherwise */
	if (wants_key(r)) {
		(void)reader_error(r, ev->start_mark, "a key must be a plain word");
		return false;
	}
	if (r->depth == CONFIG_DEPTH_MAX) {
		(void)config_errors_add(r->errs, r->name, r->origin ? 0 : (uint32_t)ev->start_mark.line + 1,
					(uint32_t)ev->start_mark.column + 1, "nested deeper than %d levels",
					CONFIG_DEPTH_MAX);
		return false;
	}
	struct doc_node *node = reader_node(r, kind, ev->start_mark);

	r->stack[r->depth++] = node;
	r->broken = false;
	return true;
}

static void on_alias(struct reader *r, const yaml_event_t *ev)
{
	config_error_try(reader_error(r, ev->start_mark, "aliases (*name) are not used here"), "write the value out");
	if (wants_key(r)) {
		set_key(r, "*", ev->start_mark, true);
		return;
	}
	struct doc_node *node = reader_node(r, DOC_SCALAR, ev->start_mark);

	node->text = "";
	node->bad = true;
}

/* One event. false ends the reading. */
static bool on_event(struct reader *r, const yaml_event_t *ev, size_t *documents)
{
	switch (ev->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (ev->data.document_start.version_directive ||
		    ev->data.document_start.tag_directives.start != ev->data.document_start.tag_directives.end)
			config_error_try(reader_error(r, ev->start_mark, "directives (%YAML, %TAG) are not used here"),
					 "remove the line");
		if (++*documents == 2) {
			config_error_try(reader_error(r, ev->start_mark, "a second document begins here"),
					 "one document per file");
			return false;
		}
		return true;
	case YAML_ALIAS_EVENT:
		on_alias(r, ev);
		return true;
	case YAML_SCALAR_EVENT:
		on_scalar(r, ev);
		return true;
	case YAML_SEQUENCE_START_EVENT:
		refuse_anchor_and_tag(r, ev->start_mark, ev->data.sequence_start.anchor, ev->data.sequence_start.tag);
		return on_open(r, DOC_SEQ, ev);
	case YAML_MAPPING_START_EVENT:
		refuse_anchor_and_tag(r, ev->start_mark, ev->data.mapping_start.anchor, ev->data.mapping_start.tag);
		return on_open(r, DOC_MAP, ev);
	case YAML_MAPPING_END_EVENT:
		find_duplicates(r, r->stack[r->depth - 1]);
		r->depth--;
		return true;
	case YAML_SEQUENCE_END_EVENT:
		r->depth--;
		return true;
	case YAML_STREAM_END_EVENT:
		return false;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		return true;
	}
	return true;
}

/* libyaml takes tabs between words; here they are refused wherever they stand. */
static void find_tabs(struct reader *r, const uint8_t *bytes, size_t len)
{
	yaml_mark_t at = {0};
	bool said = false;

	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\n') {
			at.line++;
			at.column = 0;
			said = false;
			continue;
		}
		if (bytes[i] == '\t' && !said) {
			config_error_try(reader_error(r, at, "a tab"), "blanks");
			said = true;
		}
		if ((bytes[i] & 0xc0) != 0x80) /* columns count characters, as libyaml's do */
			at.column++;
	}
}

static void on_parser_error(struct reader *r, const yaml_parser_t *parser, const uint8_t *bytes, size_t len)
{
	yaml_mark_t at = parser->problem_mark;

	if (parser->error == YAML_READER_ERROR) { /* knows an offset only */
		at = (yaml_mark_t){0};
		for (size_t i = 0; i < parser->problem_offset && i < len; i++) {
			at.column++;
			if (bytes[i] == '\n') {
				at.line++;
				at.column = 0;
			}
		}
	}
	(void)reader_error(r, at, parser->problem ? parser->problem : "not YAML");
}

/* Read bytes into r->root (NULL when there is no document), errors into r->errs. */
static void reader_run(struct reader *r, const void *bytes, size_t len)
{
	yaml_parser_t parser;
	yaml_event_t ev;
	size_t documents = 0;
	bool more = true;

	find_tabs(r, bytes, len);
	if (!yaml_parser_initialize(&parser))
		memory_out(sizeof parser); /* it fails for nothing else */
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, bytes, len);
	while (more) {
		if (!yaml_parser_parse(&parser, &ev)) {
			on_parser_error(r, &parser, bytes, len);
			r->broken = true;
			break;
		}
		more = on_event(r, &ev, &documents);
		yaml_event_delete(&ev);
	}
	yaml_parser_delete(&parser);
}

int doc_read_bytes(const char *name, const void *bytes, size_t len, struct doc **ret_doc, struct config_errors *errs)
{
	size_t before = errs->count + errs->dropped;
	struct doc *doc;
	struct reader r = {.name = name, .errs = errs};

	if (len > CONFIG_BYTES_MAX) {
		(void)config_errors_add(errs, name, 0, 0, "the file is larger than %d MiB", CONFIG_BYTES_MAX >> 20);
		return ERR_CONFIG;
	}
	doc = doc_new(name);
	r.doc = doc;
	reader_run(&r, bytes, len);
	if (r.root && r.root->kind == DOC_MAP)
		doc->root = r.root;
	else if (r.root && !r.root->bad && (r.root->kind == DOC_SEQ || r.root->text[0] != '\0'))
		config_error_try(config_errors_add(errs, name, r.root->line, r.root->col,
						   "the file is no map of keys and values"),
				 "key: value");
	if (r.broken) {
		doc_free(doc);
		return ERR_CONFIG;
	}
	doc->flawed = errs->count + errs->dropped != before;
	*ret_doc = doc;
	return 0;
}

int doc_read_file(const char *path, struct doc **ret_doc, struct config_errors *errs)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	ssize_t n = 0;

	if (fd < 0 || fstat(fd, &st) < 0) {
		(void)config_errors_add(errs, path, 0, 0, "cannot open: %s", strerror(errno));
		if (fd >= 0)
			(void)close(fd); /* nothing was written */
		return ERR_CONFIG;
	}
	if (S_ISDIR(st.st_mode)) {
		(void)config_errors_add(errs, path, 0, 0, "is a directory");
		(void)close(fd);
		return ERR_CONFIG;
	}
	while (b.len <= CONFIG_BYTES_MAX) {
		n = read(fd, buf_reserve(&b, 65536), 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		b.len += (size_t)n;
	}
	if (n < 0)
		(void)config_errors_add(errs, path, 0, 0, "cannot read: %s", strerror(errno));
	(void)close(fd);
	if (n < 0)
		return ERR_CONFIG;
	return doc_read_bytes(path, b.data ? b.data : (const void *)"", b.len, ret_doc, errs);
}

/* ---- --set ---------------------------------------------------------------------------------- */

/* The child `key` of `map` (made if need be), or NULL when `map` is no map. */
static struct doc_node *child_for_set(struct doc *doc, struct doc_node *map, const char *key, const char *origin)
{
	struct doc_node *child;

	if (map->kind != DOC_MAP)
		return NULL;
	child = doc_get(map, key);
	if (child)
		return child;
	child = arena_alloc(&doc->arena, sizeof(*child));
	child->kind = DOC_MAP;
	child->origin = origin;
	child->key = key;
	append_child(map, child);
	return child;
}

int doc_set(struct doc *doc, const char *assignment, struct config_errors *errs)
{
	const char *eq = strchr(assignment, '=');
	CLEANUP(buf_done) struct buf wrapped = BUF_INIT;
	size_t before = errs->count + errs->dropped, keys = 0;
	char *origin, *path, *key, *save = NULL;
	struct doc_node *node = doc->root, *value = NULL;

	buf_addf(&wrapped, "--set %s", assignment);
	origin = arena_copy(&doc->arena, buf_cstr(&wrapped), wrapped.len + 1);
	buf_reset(&wrapped);
	if (!eq || eq == assignment || eq[-1] == '.' || *assignment == '.' || memmem(assignment, (size_t)(eq - assignment), "..", 2)) {
		config_error_try(config_errors_add(errs, origin, 0, 0, "is no path=value"), "--set leases.ttl=10s");
		return ERR_CONFIG;
	}
	if (eq[1] == '[' || eq[1] == '{') {
		struct reader r = {.doc = doc, .name = origin, .origin = origin, .errs = errs};

		buf_addf(&wrapped, "%s", eq + 1);
		reader_run(&r, wrapped.data, wrapped.len);
		value = r.root;
	} else {
		value = arena_alloc(&doc->arena, sizeof(*value));
		value->kind = DOC_SCALAR;
		value->text = arena_copy(&doc->arena, eq + 1, strlen(eq + 1) + 1);
	}
	if (errs->count + errs->dropped != before)
		return ERR_CONFIG;
	ENSURE(value);
	path = arena_copy(&doc->arena, assignment, (size_t)(eq - assignment) + 1);
	path[eq - assignment] = '\0';
	for (key = strtok_r(path, ".", &save); key; key = strtok_r(NULL, ".", &save)) {
		node = ++keys < CONFIG_DEPTH_MAX ? child_for_set(doc, node, key, origin) : NULL;
		if (!node) {
			(void)config_errors_add(errs, origin, 0, 0, "there is no place for '%s' in the file", key);
			return ERR_CONFIG;
		}
	}
	node->kind = value->kind;
	node->quoted = false;
	node->line = node->col = node->key_line = node->key_col = 0;
	node->origin = origin;
	node->text = value->text;
	node->first = value->first;
	node->last = value->last;
	node->count = value->count;
	for (struct doc_node *n = node->first; n; n = n->next)
		n->parent = node;
	return 0;
}

void conf_quote(const char *text, struct buf *out)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+";
	size_t len = strlen(text);

	if (len > 0 && text[0] != '-' && strspn(text, plain) == len) {
		buf_add(out, text, len);
		return;
	}
	buf_add(out, "\"", 1);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			buf_addf(out, "\\%c", *p);
		else if (*p < 0x20 || *p == 0x7f)
			buf_addf(out, "\\x%02x", *p);
		else
			buf_add(out, p, 1);
	}
	buf_add(out, "\"", 1);
}
