/* config.h - strict YAML into a small tree with positions, and a table-driven walker over it
 *
 * Two steps. `doc_read_*` turns the bytes of one file into a tree of nodes, each with its line and
 * column; values stay text (`jurisdiction: NO` is the two letters N and O). `conf_walk` then
 * compares the tree with a schema, a table of rows, and fills a C struct. Both report into one
 * `struct config_errors` and go on, so a file's errors are all told at once; a struct is handed
 * out only when there was none, so nothing is half applied.
 *
 * Refused while reading: tab, anchor, alias, tag, directive, second document, duplicate key, nesting
 * deeper than CONFIG_DEPTH_MAX, more than CONFIG_BYTES_MAX. Refused while walking: unknown key (the
 * nearest known one is named), wrong type, missing unit, value out of range, missing key.
 *
 * Source: libyaml 0.2.5, event API (YAML 1.1 resolution is not used: the table gives the types).
 */
#ifndef SLUIS_PROTO_CONFIG_CONFIG_H
#define SLUIS_PROTO_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/err.h"

enum {
	CONFIG_DEPTH_MAX = 12,
	CONFIG_BYTES_MAX = 4 * 1024 * 1024,
	CONFIG_ERRORS_MAX = 64, /* more are counted, not kept */
};

/* ---- errors --------------------------------------------------------------------------------- */

struct config_error {
	char *file; /* the file's name, or "--set leases.ttl=10s" */
	uint32_t line, col; /* from 1; 0: the whole file */
	char *text;
	char *try; /* what to do next, or NULL */
};

/* Everything wrong with one or more files. Starts as CONFIG_ERRORS_INIT; owned by the caller. */
struct config_errors {
	struct config_error list[CONFIG_ERRORS_MAX];
	size_t count;
	size_t dropped; /* found after the list was full */
};
#define CONFIG_ERRORS_INIT {0}

void config_errors_done(struct config_errors *errs);
/* Note one error; control characters in the text are neutralised as \xNN. Returns it, so that
 * config_error_try() can add the way out; NULL when the list is full. */
struct config_error *config_errors_add(struct config_errors *errs, const char *file, uint32_t line, uint32_t col,
				       const char *fmt, ...) PRINTF_LIKE(5, 6);
/* What to do next. `error` may be NULL. */
void config_error_try(struct config_error *error, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* `file:line:col: error: text` and `  try     hint` per error, in order of place. */
void config_errors_print(struct config_errors *errs, struct buf *out);
/* The first error (by place) as a struct err with ERR_CONFIG. Returns 0 when there is none. */
int config_errors_first(struct config_errors *errs, struct err *err);

/* The entry of `names` closest to `word` (edit distance <= 1 + length/4, case-blind), or NULL.
 * `get(i)` names the candidates; ties go to the first. Cost: O(count * length^2). */
const char *config_nearest(const char *word, size_t count, const char *(*get)(const void *ctx, size_t i),
			   const void *ctx);

/* ---- tree ----------------------------------------------------------------------------------- */

enum doc_kind { DOC_SCALAR, DOC_MAP, DOC_SEQ };

/* One node. In a map, `key` is its key and key_line/key_col the key's place. */
struct doc_node {
	enum doc_kind kind;
	bool quoted; /* a scalar in quotes or a block scalar: never a number or a boolean */
	bool bad;    /* an error stands here already: say no more about it */
	bool hidden; /* left out of paths (`sectors` in tree/public/health) */
	uint32_t line, col, key_line, key_col;
	const char *origin; /* NULL: the file; else the --set text it came from */
	const char *key;    /* NULL in a sequence */
	const char *text;   /* of a scalar: UTF-8 without NUL */
	struct doc_node *parent, *next, *first, *last;
	size_t count; /* children */
};

struct doc {
	struct arena arena; /* holds everything below */
	const char *file;
	struct doc_node *root; /* a map, perhaps empty; never NULL */
	bool flawed;           /* errors were noted while reading: a walk tells the rest, and fails */
};

/* Read one file, or bytes that call themselves `name`. ERR_CONFIG: it cannot be read as a whole (no such file,
 * syntax, too deep) and *ret_doc is untouched. 0 with errors noted: the rest is readable, and doc->flawed
 * makes conf_walk fail once it has added what it finds. The caller frees with doc_free. Cost: O(bytes)
 * memory. */
int doc_read_file(const char *path, struct doc **ret_doc, struct config_errors *errs) NODISCARD;
int doc_read_bytes(const char *name, const void *bytes, size_t len, struct doc **ret_doc,
		   struct config_errors *errs) NODISCARD;
/* An empty document, for defaults alone. */
struct doc *doc_new(const char *name);
void doc_free(struct doc *doc);
/* Override one value: "leases.ttl=10s", "local_admins=[0, 1000]". Text that begins with [ or { is YAML, other
 * text is the value as it stands. Keys on the way are made (a dot always parts two keys); whether they are
 * known is for the walk. Returns ERR_CONFIG for text that is no assignment. */
int doc_set(struct doc *doc, const char *assignment, struct config_errors *errs) NODISCARD;
/* Child of a map by key, or NULL. */
struct doc_node *doc_get(const struct doc_node *map, const char *key);
/* "tree/public/health" of a node, appended; nothing for the root. */
void doc_path(const struct doc_node *node, struct buf *out);

/* ---- schema and walk ------------------------------------------------------------------------ */

enum conf_type {
	CONF_TEXT,      /* const char *: not empty, no control characters, 4096 bytes at most */
	CONF_NAME,      /* const char *: letters, digits, - _ . (less than NAME_BYTES) */
	CONF_PATH,      /* const char *: absolute, or starts with ~/ */
	CONF_SECRET,    /* const char *: a path or credential:NAME */
	CONF_ENDPOINT,  /* const char *: tcp://HOST:PORT, HOST and PORT may be * */
	CONF_SOCKET,    /* const char *: absolute path of a socket (at most 107 bytes), or `off` */
	CONF_BOOL,      /* bool: true, false */
	CONF_COUNT,     /* int64_t: decimal, within min..max */
	CONF_DURATION,  /* int64_t ms: needs a unit, within min..max ms */
	CONF_SIZE,      /* int64_t bytes: needs a unit, within min..max bytes */
	CONF_SIZE_MIB,  /* int64_t MiB: the same, whole MiB */
	CONF_SHARE,     /* int64_t ppm: an integer of ppm or "12.5 %", within min..max ppm */
	CONF_INSTANT,   /* int64_t ms since 1970 UTC: a date or RFC 3339 */
	CONF_ENUM,      /* int: index into `names` */
	CONF_TEXT_LIST, /* struct conf_texts */
	CONF_COUNT_LIST, /* struct conf_counts, each within min..max */
	CONF_PAIRS,     /* struct conf_pairs: text by free keys */
	CONF_MAP,       /* nested struct, described by `sub` */
	CONF_MAP_OF,    /* struct conf_items: free keys, each a struct described by `sub` */
	CONF_SEQ_OF,    /* struct conf_items: a list of structs described by `sub` */
	CONF_CUSTOM,    /* `set` does it */
};

struct conf_texts { const char **items; size_t count; };
struct conf_counts { int64_t *items; size_t count; };
struct conf_pair { const char *key, *value; uint32_t line, col; };
struct conf_pairs { struct conf_pair *items; size_t count; };
/* Structs of the row's own type; each begins with a struct conf_head. */
struct conf_head { const char *name; uint32_t line, col; };
struct conf_items { void *items; size_t count; };

struct conf_walk;
struct conf_row;
struct conf_schema {
	const struct conf_row *rows;
	size_t rows_count;
	size_t item_bytes; /* sizeof the struct, for CONF_MAP_OF and CONF_SEQ_OF */
	/* Checks across keys once the struct is filled; may be NULL. */
	void (*check)(struct conf_walk *walk, struct doc_node *node, void *target);
};

/* One row. `preset` is the default, written as in a file; NULL leaves zeros. */
struct conf_row {
	const char *key;
	enum conf_type type;
	bool required;
	size_t offset; /* of the member in the struct */
	const char *preset;
	int64_t min, max; /* both 0: from 0 to INT64_MAX */
	const char *const *names; /* CONF_ENUM, NULL at the end */
	const struct conf_schema *sub;
	/* CONF_CUSTOM: `target` is struct + offset; `node` is never NULL. Errors by conf_error(). */
	void (*set)(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target);
	const char *doc; /* one line for people */
};

/* What a walk carries. Setters may use every member. */
struct conf_walk {
	struct doc *doc;
	struct arena *arena; /* what the filled struct points into */
	struct config_errors *errs;
	void *ctx;
};

/* Fill `target` (zeroed by the caller) from doc's root. Text and lists are copied into `arena`.
 * Returns 0, or ERR_CONFIG with the reasons in errs; then `target` must not be used. */
int conf_walk(struct doc *doc, const struct conf_schema *schema, void *target, struct arena *arena, void *ctx,
	      struct config_errors *errs) NODISCARD;
/* The same for one map inside a walk; `node` NULL fills the defaults. */
void conf_walk_map(struct conf_walk *walk, const struct conf_schema *schema, struct doc_node *node, void *target);
/* One value by a row's type, into `member`; for setters that handle part of a map themselves. */
void conf_value(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *member);
/* doc_read_file (path NULL: nothing, called `name`), doc_set for each assignment, conf_walk: what every
 * program does with its own file. Returns as conf_walk. */
int conf_load(const char *path, const char *name, const char *const *sets, size_t sets_count,
	      const struct conf_schema *schema, void *target, struct arena *arena, struct config_errors *errs) NODISCARD;
/* An error at a node's value, " in PATH" of the node appended; conf_error_key: at its key, with the path of
 * the map the key stands in. */
struct config_error *conf_error(struct conf_walk *walk, const struct doc_node *node, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
struct config_error *conf_error_key(struct conf_walk *walk, const struct doc_node *node, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

/* `text` as a YAML scalar, appended: plain where that cannot be misread, else in double quotes. */
void conf_quote(const char *text, struct buf *out);

#endif
