/* cmd.h - what the files of sluisctl share: one run, its command line, its answers
 *
 *     main.c, run.c   one run: read the command line, do the command, exit status
 *     args.c          the command line by the tables of commands.def
 *     help.c          --help, help topics, completion: the same tables
 *     conn.c          where sluisd is, which key, questions and commands
 *     errors.c        refusals in three parts, exit statuses
 *     render.c        tables, tab-separated text, JSON by the wire's schemas
 *     text.c, bar.c   times, numbers, ids; the picture of the division
 *     cmd_*.c         the commands, a file per noun
 *
 * A command returns its exit status. It writes its answer to c->out and everything else to c->errs,
 * so that tests run commands without a process.
 */
#ifndef SLUIS_CTL_CMD_H
#define SLUIS_CTL_CMD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/buf.h"
#include "proto/base/err.h"
#include "proto/base/instant.h"
#include "proto/client/client.h"
#include "proto/config/config.h"
#include "proto/model/names.h"
#include "proto/model/reason.h"
#include "proto/wire/tables.h"

/* A contract with scripts (sluisctl(1), EXIT STATUS). */
enum {
	EXIT_DONE = 0,
	EXIT_OTHER = 1,    /* any other failure; `diff --exit-code`: differs; `verify`: not intact */
	EXIT_USAGE = 2,    /* unknown flag, bad value, bad line of a script or file */
	EXIT_REFUSED = 3,  /* authority, policy, budget */
	EXIT_NOTFOUND = 4,
	EXIT_CONFLICT = 5, /* version, idempotency key, state */
	EXIT_NEVER = 6,    /* can never run as asked */
	EXIT_UNKNOWN = 7,  /* no answer; safe to repeat */
	EXIT_TIMEOUT = 8,  /* the time of `wait` passed */
	EXIT_GONE = 9,     /* the lease is gone: ask anew */
	EXIT_RECALLED = 10, /* the lease is being recalled (keep --exit-on-recall) */
	EXIT_PROPOSED = 11, /* nothing changed yet: a second person has to agree */
	EXIT_INTERRUPTED = 130,
};

/* ---- the command line (args.c, commands.def) ------------------------------------------------- */

struct opt {
	const char *name;
	char key;          /* 0: no short form */
	const char *value; /* what it takes, for help; NULL: nothing. "[=X]": may be left out */
	const char *doc;
};

struct ctl;
struct call;
typedef int command_fn(struct ctl *c, const struct call *call);

struct ctl_command {
	const char *noun;
	const char *verb;  /* "" where the noun alone is the command */
	const char *alias; /* everyday name, or NULL */
	command_fn *run;
	const char *args; /* for help: "JOB..." */
	int args_min, args_max; /* -1: any number */
	const char *doc;
	const struct opt *opts; /* ends with a NULL name */
	const char *example;
	const char *exits; /* "0 2 3 7" */
};
enum { ARGS_JOB = -2 }; /* args_max: words are job options, then the script or -- COMMAND */

extern const struct ctl_command command_table[];
extern const size_t command_count;
extern const struct opt global_opts[];

enum { CALL_VALUES_MAX = 64 };
struct call {
	const struct ctl_command *cmd;
	struct { const struct opt *opt; const char *value; } values[CALL_VALUES_MAX];
	size_t values_n;
	const char **args; /* arguments without options */
	size_t args_n;
	const char **rest; /* behind `--` */
	size_t rest_n;
	bool has_rest;
};

/* The command whose everyday name, or noun and verb, are written out. NULL. */
const struct ctl_command *command_find(const char *noun, const char *verb);
/* Name as people type it: "queue", "job show". */
const char *command_title(const struct ctl_command *cmd, char out[64]);
/* Read a command line. `words` are argv[1..]. Options of every command (c's fields) are taken out.
 * EXIT_USAGE after printing what is wrong; a call without command asks for help. */
int args_parse(struct ctl *c, const char *const *words, size_t n, struct call *ret_call);
/* Was the option given? Its value, the last one given, or NULL. The option has to be in the table. */
bool call_has(const struct call *call, const char *name);
const char *call_get(const struct call *call, const char *name);
/* The i-th value of an option that may be repeated, or NULL. */
const char *call_nth(const struct call *call, const char *name, size_t i);

/* ---- one run --------------------------------------------------------------------------------- */

enum { FACT_LINES_MAX = 8, TRY_LINES_MAX = 6, LINE_BYTES = 256 };
struct fault_line { char key[16]; char text[LINE_BYTES]; };

struct ctl {
	FILE *out, *errs;
	const struct ctl_command *cmd; /* the one that runs, or NULL */
	const char *about; /* its first argument: the job, lease ... that it is about, or NULL */
	bool tty;     /* out is a terminal */
	bool errtty;  /* errs is one, so progress may be shown */
	bool ascii;   /* no Unicode */
	bool colors;
	int columns;  /* of the terminal */
	int64_t now_ms; /* wall clock at the start, or of this turn of --watch */

	/* options of every command */
	bool json, plain, no_header, wide, quiet, verbose, dry_run, yes, help, version;
	const char *json_fields, *column_list, *sort;
	const char *opt_endpoint, *opt_key, *opt_server_key, *opt_cluster, *opt_state_dir, *opt_color;
	const char *reason;
	int64_t watch_ms; /* 0: once */
	int timeout_ms;
	bool timeout_given;
	bool have_idem;
	uint8_t idem[IDEM_KEY_BYTES];
	uint64_t expect_version;
	bool have_expect;
	uint64_t approves;      /* the approval that tell() grants, with the body it was proposed with */
	struct bytes body_sent;

	/* where sluisd is (conn.c) */
	bool resolved;
	struct client *client;
	char endpoint[512];
	char endpoint_from[4200]; /* with the path of a file */
	char key_file[4096];
	char key_from[4200];
	uint8_t server_key[32];
	bool have_server_key;
	uint8_t server_key_next[32]; /* tried when the first one fails */
	bool have_server_key_next;
	char enrol_endpoint[512];
	char context[NAME_BYTES];
	bool context_own; /* it is the user's own file that names it */
	char project[TEXT_BYTES];

	/* who answers instead of sluisd; NULL: nobody (tests) */
	int (*ask_instead)(struct ctl *c, const struct query *q, void *ret_view, struct err *err);
	int (*tell_instead)(struct ctl *c, uint16_t type, const void *body, struct bytes payload,
			    struct client_reply *ret_reply, struct err *err);

	/* the fault being told (errors.c) */
	struct fault_line facts[FACT_LINES_MAX];
	size_t facts_n;
	char tries[TRY_LINES_MAX][LINE_BYTES];
	size_t tries_n;

	uint64_t seq; /* of the job that job_look() found */
	struct arena arena; /* lives as long as the run */
};

/* Do one command line. Everything `c` owns is freed. Returns the exit status. */
int ctl_run(struct ctl *c, const char *const *words, size_t n);
void ctl_done(struct ctl *c);
/* Before what cannot be undone: on a terminal the name has to be typed, unless --yes. 0: go on. */
int sure(struct ctl *c, const char *what, const char *name);

/* ---- errors.c -------------------------------------------------------------------------------- */

/* Note facts and ways out; fault() prints them. */
void fact(struct ctl *c, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);
void try_next(struct ctl *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Print "sluisctl: WHAT: MESSAGE (reason N)", the facts and the ways out (err->hint is the last one),
 * or the same as JSON. `fmt` says what was tried ("cannot submit train.sh"); NULL: the message alone.
 * Returns the exit status of the code. */
int fault(struct ctl *c, const struct err *err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* A mistake on the command line. */
int usage_fault(struct ctl *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* All errors of a file, or of a script's directives. */
int config_fault(struct ctl *c, struct config_errors *errs);
int exit_of(int code, int reason);
/* The daemon knows no clock but UTC: instants in what it says are told by the clock of here, as all others. In place,
 * for it gets no longer; nothing with --json and --plain. */
void local_times(const struct ctl *c, char *text);

/* ---- conn.c ---------------------------------------------------------------------------------- */

/* Settle endpoint, key and context from options, environment and files, once; 0, or an exit status after
 * telling the fault. ask() and tell() do it by themselves. */
int conn_resolve(struct ctl *c);
/* Ask. Connects first. 0, or the exit status after telling the fault ("cannot DOING"). */
int ask(struct ctl *c, const struct query *q, void *ret_view, const char *doing);
/* The same, the error left to the caller, who has called conn_resolve. */
int ask_err(struct ctl *c, const struct query *q, void *ret_view, int timeout_ms, struct err *err);
/* Command. `payload` may be empty. */
int tell(struct ctl *c, uint16_t type, const void *body, struct bytes payload, struct client_reply *ret_reply,
	 const char *doing);
int tell_err(struct ctl *c, uint16_t type, const void *body, struct bytes payload, int timeout_ms,
	     struct client_reply *ret_reply, struct err *err);
int conn_open(struct ctl *c, struct err *err);
/* ---- contexts.c ------------------------------------------------------------------------------ */

struct ctl_conf;
struct context_conf;
/* The user's own sluisctl.conf, empty when there is none; 0 or the exit status after telling the fault. */
int conf_read(struct ctl *c, struct ctl_conf *ret, const char **ret_path);
int conf_write(struct ctl *c, const struct ctl_conf *conf, const char *path);
/* The context of that name, made when there is none. */
struct context_conf *context_put(struct ctl_conf *conf, const char *name);
/* "keys/eva.key" below the user's folder, made with its parents. */
int key_path(struct ctl *c, const char *name, const char **ret, struct err *err);
/* Before the end of a run in which a server greeted: keep in the context which key the server has, and which one it will have next. */
void context_learn(struct ctl *c);

/* ---- files ------------------------------------------------------------------------------------ */

/* Home of a user's files, "~/.config/sluis" in full. ERR_NOTFOUND without $HOME. */
int conf_home(char out[4096], struct err *err);
/* "~/x" in full. */
const char *home_path(struct ctl *c, const char *path);
/* A whole file, at most `max` bytes; "-" is standard input. */
int read_whole(const char *path, size_t max, struct buf *out, struct err *err) NODISCARD;
/* Replace a file as a whole. */
int write_whole(const char *path, const void *data, size_t len, unsigned mode, struct err *err) NODISCARD;

/* ---- render.c -------------------------------------------------------------------------------- */

enum {
	COL_RIGHT = 1,
	COL_SHRINK = 2, /* may be cut on a terminal that is too narrow */
	COL_WIDE = 4,	/* only with --wide, --plain or --columns */
	COL_REST = 8,	/* never cut: takes what is left, and more lines if that is too little; one of a table, its last */
	COL_TAIL = 16,	/* cut at its beginning */
};
struct column { const char *name; const char *title; int flags; };

struct table;
struct table *table_new(struct ctl *c, const struct column *cols, size_t n);
void table_row(struct table *t);
/* The next cell of the row. Text from outside is neutralised. */
void table_cell(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Print and free. 0, or EXIT_USAGE for an unknown column. */
int table_print(struct table *t);
/* A line, made safe; on a terminal that is too narrow for it broken at blanks, what follows indented. */
void fold_line(struct ctl *c, size_t indent, const char *text);

/* An object by its schema: field names as keys, enums as words, fixed bytes as hex, nested records
 * (job, spec, lease ...) lifted to the top, the outer value winning; instants also as RFC 3339. */
json_t *json_of(const struct schema *schema, const void *obj);
typedef void json_fix_fn(json_t *item, const void *obj);
/* {"api","kind","seq","items":[...]}, or "item":{...}. --json=FIELD,... keeps only those. 0 or EXIT_USAGE. */
int json_list(struct ctl *c, const char *kind, uint64_t seq, const struct schema *item, const void *items,
	      uint32_t n, json_fix_fn *fix);
int json_item(struct ctl *c, const char *kind, uint64_t seq, json_t *item);
/* After a change: JSON, or with -q the bare id, or the line. */
int done_line(struct ctl *c, const char *kind, const struct client_reply *reply, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
/* At most one line of what is likely next; nothing with -q and JSON. */
void next_line(struct ctl *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* On stderr, if that is a terminal rewritten in place, else only when it changed. */
void progress(struct ctl *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
void progress_end(struct ctl *c);

/* ---- text.c ---------------------------------------------------------------------------------- */

/* All return arena text. */
const char *text_f(struct ctl *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *text_safe(struct ctl *c, const char *s); /* control bytes as \xNN */
const char *text_count(struct ctl *c, int64_t n);    /* 48,213 */
const char *text_age(struct ctl *c, int64_t ms);     /* 4m47s; "-" below zero */
/* Local time for people: "14:02", "24 Nov 14:02", "2026-12-23"; RFC 3339 in --plain. "-" for 0 and never. */
const char *text_time(struct ctl *c, int64_t ms);
const char *text_date(struct ctl *c, int64_t ms);
const char *text_gpuh(struct ctl *c, int64_t rums);  /* 1,412.0 */
const char *text_size(struct ctl *c, uint8_t shape, uint32_t units, uint16_t per_node, const char *flavor);
const char *text_nodes(struct ctl *c, const char *nodes); /* "h1,h1,h2" as h1*2,h2 */
const char *text_path_last(const char *path); /* last part of a/b/c */
const char *text_plural(uint64_t n, const char *one, const char *many);
const char *text_hex(struct ctl *c, const uint8_t *p, size_t n);
bool all_zero(const uint8_t *p, size_t n);

/* A job: "1042", "job-1042", child "1043_7", task "1042.3". index and task are -1 when absent. */
struct job_name { uint64_t id; int64_t index; int64_t task; };
int job_name_parse(const char *text, struct job_name *ret, struct err *err) NODISCARD;
int lease_name_parse(const char *text, uint64_t *ret, struct err *err) NODISCARD;
int id_parse(const char *text, const char *noun, uint64_t *ret, struct err *err) NODISCARD;
/* Values of options; a usage fault names the option. 0 or EXIT_USAGE. */
int opt_duration(struct ctl *c, const struct call *call, const char *name, int64_t *ret_ms); /* 90s: never without a unit */
int opt_job_time(struct ctl *c, const struct call *call, const char *name, int64_t *ret_ms); /* as Slurm has it, too: 30, 1:00:00 */
int opt_instant(struct ctl *c, const struct call *call, const char *name, int64_t *ret_ms);
int opt_count(struct ctl *c, const struct call *call, const char *name, int64_t min, int64_t max, int64_t *ret);
/* Index of an option's word in a names table. */
int opt_word(struct ctl *c, const struct call *call, const char *name, const char *const *names, int *ret);
/* Copy into a fixed text; a usage fault when it is too long or no text for the wire. */
int opt_copy(struct ctl *c, const char *what, const char *value, char *to, size_t size);
#define OPT_COPY(c, what, value, to) opt_copy(c, what, value, to, sizeof(to))
/* KEY=VALUE ... into requires. */
int opt_requires(struct ctl *c, const struct call *call, struct require *to, uint32_t *ret_n);

/* What a long loop makes in the arena is forgotten with each turn: swap in a fresh one, and back. */
struct arena scratch_begin(struct ctl *c);
void scratch_end(struct ctl *c, struct arena keep);
void sleep_ms(int64_t ms);
extern volatile int stop_signal; /* set by SIGINT and SIGTERM where a command waits */
void stop_catch(void);

/* ---- shared by commands ---------------------------------------------------------------------- */

/* One job with its child or task name; 0 or an exit status. */
int job_look(struct ctl *c, const char *name, struct job_view *ret, struct job_name *ret_name, const char *doing);
int lease_look(struct ctl *c, uint64_t id, struct lease_view *ret, const char *doing);
int job_exit_status(const struct job_view *v);
/* Block until the job has ended, telling changes on stderr; its exit status. */
int job_wait_end(struct ctl *c, uint64_t id, int64_t until_ms, int *ret_status);
int job_logs(struct ctl *c, uint64_t id, uint32_t task, uint32_t attempt, bool err_stream, bool follow, int64_t tail);
void json_fix_job(json_t *item, const void *obj);
void json_fix_lease(json_t *item, const void *obj);
void lease_print(struct ctl *c, const struct lease_view *v, uint64_t seq, int64_t t_ms);
int node_print(struct ctl *c, const char *name);
int status_print(struct ctl *c);
int queue_print(struct ctl *c, const struct call *call);
int help_run(struct ctl *c, const struct call *call);
void help_command(FILE *f, const struct ctl_command *cmd);
void help_top(FILE *f);
const char *command_nearest(const char *word);

#define COMMAND(noun, verb, alias, fn, ...) command_fn fn;
#define GLOBAL(...)
#include "ctl/commands.def"
#undef COMMAND
#undef GLOBAL

#endif
