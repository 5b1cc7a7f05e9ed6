/* directives.h - job scripts and job options
 *
 * A directive is a line that starts with "#SLUIS" or "#SBATCH" and a blank; reading ends at the first line that
 * is neither blank nor a comment. Words are read as a POSIX shell reads them, without any expansion. Options
 * are applied in the order #SBATCH < #SLUIS < environment < command line, a later one replacing an earlier;
 * what cannot keep its meaning is refused with its line and a way out, never dropped. What is only kept is
 * listed in job_options.kept, so that `explain` can show it.
 *
 * Sources: sbatch(1); directives after the first command are errors, as in Flux RFC 36.
 */
#ifndef SLUIS_PROTO_CONFIG_DIRECTIVES_H
#define SLUIS_PROTO_CONFIG_DIRECTIVES_H

#include "proto/config/config.h"

enum {
	SCRIPT_BYTES_MAX = 4 * 1024 * 1024,
	DIRECTIVES_MAX = 1024,
	JOB_DEPS_MAX = 64,
};

enum option_source { FROM_SBATCH, FROM_SLUIS, FROM_ENV, FROM_COMMAND };
enum option_argument { OPTION_NONE, OPTION_NEED, OPTION_MAY };
enum option_verdict { VERDICT_YES, VERDICT_KEPT, VERDICT_NO };

struct job_options;
struct option_where;

/* A row of options.def. */
struct job_option {
	const char *name;
	char short_name; /* 0: none */
	enum option_argument argument;
	enum option_verdict verdict;
	bool own; /* sluis's own: not in #SBATCH lines */
	int (*apply)(struct job_options *o, const struct job_option *row, const char *value,
		     const struct option_where *where, struct err *err);
	size_t offset;
	const char *meaning, *way;
};
extern const struct job_option job_option_table[];
extern const size_t job_option_count;

/* Row by long name, by short name, or NULL. */
const struct job_option *job_option_find(const char *name);
const struct job_option *job_option_find_short(char c, bool sbatch);
/* The known name nearest to a mistyped one, or NULL. */
const char *job_option_nearest(const char *name);

/* ---- what a job asks for -------------------------------------------------------------------- */

#define JOB_UNSET INT64_C(-1)
enum dep_kind { DEPEND_AFTER, DEPEND_AFTERANY, DEPEND_AFTEROK, DEPEND_AFTERNOTOK, DEPEND_AFTERCORR, DEPEND_SINGLETON };
struct job_dep {
	int kind; /* enum dep_kind */
	uint64_t job; /* 0 for singleton */
	int64_t index; /* array child, or JOB_UNSET */
	int64_t delay_ms; /* of `after` */
};
struct kept_option { const char *name, *value; uint32_t line; enum option_source source; };
struct constraint { struct conf_texts all; }; /* every label of it */
enum job_topology { TOPO_ANY, TOPO_LEAF, TOPO_POD, TOPO_NVLINK };
enum job_export { EXPORT_ALL, EXPORT_NONE, EXPORT_LIST };
enum job_loan_wish { WISH_UNSET, WISH_NEVER, WISH_OK, WISH_ONLY };
enum job_open_mode { OPEN_DEFAULT, OPEN_APPEND, OPEN_TRUNCATE };

/* Everything points into `arena`. Numbers are JOB_UNSET, texts NULL and flags false when not given. */
struct job_options {
	struct arena arena;
	int64_t now_ms; /* what `now+2h` counts from */
	const char *cluster; /* own name, for -M; NULL: not known */

	const char *project, *name, *comment, *partition;
	const char *klass; /* urgent, normal, standby, scavenger */
	const char *flavor, *gpu_type; /* gpu_type: of --gpus=TYPE:N */
	int64_t gpus, gpus_per_node, gpus_per_task, gres_gpus;
	int64_t nodes_min, nodes_max, elastic_min, elastic_max;
	int64_t ntasks, tasks_per_node, tasks_per_gpu, cpus_per_task, cpus_per_gpu;
	int64_t mem_mib, mem_per_cpu_mib, mem_per_gpu_mib; /* mem_mib 0: the node's share */
	bool whole_nodes;

	int64_t time_limit_ms, begin_ms, deadline_ms;
	struct { struct job_dep *items; size_t count; bool any; } deps; /* any: one is enough */
	struct { int64_t first, last, step, running_max; } array; /* first JOB_UNSET: none; running_max 0: no limit */
	bool hold;
	const char *reservation;

	int loan; /* enum job_loan_wish */
	int64_t notice_ms, exempt_ms;
	struct { int number; bool batch; int64_t seconds; } signal; /* number 0: none */
	const char *checkpoint_command, *checkpoint_dir;
	int64_t retries, requeue; /* requeue 1, 0 or JOB_UNSET */
	bool stop_on_disconnect;

	int topology; /* enum job_topology */
	bool topology_required;
	int64_t topology_wait_ms; /* preferred: nothing else until so long after submission; 0: at once */
	struct { struct constraint *any; size_t count; const char *text; } constraint; /* one of `any` */
	struct conf_texts require; /* KEY=VALUE or predicate names */

	const char *chdir, *output, *error, *input;
	int open_mode;	 /* enum job_open_mode */
	int export_mode; /* enum job_export */
	struct conf_texts export_names; /* of EXPORT_LIST */
	struct conf_texts env;		/* NAME=VALUE, from --env and --export */
	bool slurm_env;
	const char *container, *wrap, *clusters;
	bool wait, follow, parsable, test_only, quiet, verbose, ignore_pbs, help, version;

	struct { struct kept_option *items; size_t count, cap; } kept;
};

struct option_where { const char *file; uint32_t line; enum option_source source; };

void job_options_init(struct job_options *o, int64_t now_ms);
void job_options_done(struct job_options *o);
/* Apply one option, by its long name; `value` NULL when none was given. On error nothing of it is applied,
 * err->msg is "'--NAME=VALUE': reason" and err->hint the way out; the caller adds the place. ERR_NOTFOUND: no such
 * option; ERR_INVAL, ERR_RANGE: a bad value; ERR_UNSUPPORTED: refused. */
int job_option_set(struct job_options *o, const char *name, const char *value, const struct option_where *where,
		   struct err *err) NODISCARD;
/* What only all options together show (--gres and --gpus-per-node that differ, min above max). */
int job_options_check(const struct job_options *o, struct err *err) NODISCARD;

/* ---- scripts -------------------------------------------------------------------------------- */

struct directive {
	const char *name;  /* long name as written, or "" for a stray word (`hetjob`) */
	const char *value; /* NULL: none; of a stray word, the word */
	uint32_t line;
	enum option_source source; /* FROM_SBATCH or FROM_SLUIS */
};
struct directive_note { uint32_t line; const char *text; }; /* for explain: a late #SBATCH, a typo */

struct directives {
	struct arena arena;
	const char *file;
	struct { struct directive *items; size_t count; } list;
	struct { struct directive_note *items; size_t count; } notes;
	bool has_sbatch, has_sluis;
};

/* Read a script's directives. Returns ERR_CONFIG with the reasons in errs when the script is refused as a whole
 * (no #!, NUL bytes, CR LF, too large, a PBS script, a quote that is not closed, a late #SLUIS); *ret is then
 * untouched. directives_done frees. */
int directives_read(const char *file, const void *bytes, size_t len, struct directives *ret,
		    struct config_errors *errs) NODISCARD;
void directives_done(struct directives *d);
/* Apply script, environment and command line onto `o` in their order. `env` is environ-like (NULL: none):
 * SLUIS_SUBMIT_<OPTION> always, SBATCH_<OPTION> if `slurm`. `command` are options with source FROM_COMMAND.
 * All errors are collected; ERR_CONFIG if there was one. */
int directives_resolve(struct job_options *o, const struct directives *script, char *const *env, bool slurm,
		       const struct directive *command, size_t command_count, struct config_errors *errs) NODISCARD;

/* Split a line into words as a POSIX shell does, without expansion; a # at the start of a word ends it. The
 * words lie in `arena`. ERR_INVAL: a quote is not closed. */
int shell_words(const char *line, struct arena *arena, struct conf_texts *ret_words, struct err *err) NODISCARD;
/* Read options from words (--key=value, --key value, -kvalue, -k value, --) into directives. Stops at the
 * first word that is no option and returns its index; unknown options are taken as they stand. For
 * FROM_SBATCH and FROM_SLUIS every word is read, stray ones with name "". */
size_t options_from_words(const struct conf_texts *words, uint32_t line, enum option_source source,
			  struct arena *arena, struct directive *items, size_t items_max, size_t *ret_count);

#endif
