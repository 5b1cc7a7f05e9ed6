/* args.c - the command line, by the tables of commands.def
 *
 * Options may stand anywhere before `--`; those of every command also in front of it. Abbreviations
 * are refused, because each would make a new command a breaking change; the nearest name is told,
 * never run.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/config/directives.h"
#include "proto/config/units.h"

#define O(...) {__VA_ARGS__},
#define GLOBAL(...)
#define COMMAND(noun_, verb_, alias_, fn, args_, least, most, exits_, doc_, example_, ...)                             \
	{.noun = noun_, .verb = verb_, .alias = alias_, .run = fn, .args = args_, .args_min = least,                   \
	 .args_max = most, .doc = doc_, .opts = (const struct opt[]){__VA_ARGS__{0}}, .example = example_,             \
	 .exits = exits_},
const struct ctl_command command_table[] = {
#include "ctl/commands.def"
};
#undef COMMAND
#undef GLOBAL
#define COMMAND(...)
#define GLOBAL(...) {__VA_ARGS__},
const struct opt global_opts[] = {
#include "ctl/commands.def"
	{0},
};
#undef COMMAND
#undef GLOBAL
#undef O
const size_t command_count = ARRAY_LEN(command_table);

/* ---- commands by name ------------------------------------------------------------------------ */

const struct ctl_command *command_find(const char *noun, const char *verb)
{
	for (size_t i = 0; i < command_count; i++) {
		const struct ctl_command *cmd = &command_table[i];

		if (!verb && cmd->alias && !strcmp(cmd->alias, noun))
			return cmd;
		if (!strcmp(cmd->noun, noun) && !strcmp(cmd->verb, verb ? verb : ""))
			return cmd;
	}
	return NULL;
}

const char *command_title(const struct ctl_command *cmd, char out[64])
{
	if (cmd->alias)
		snprintf(out, 64, "%s", cmd->alias);
	else
		snprintf(out, 64, "%s%s%s", cmd->noun, cmd->verb[0] ? " " : "", cmd->verb);
	return out;
}

static bool is_noun(const char *word)
{
	for (size_t i = 0; i < command_count; i++)
		if (!strcmp(command_table[i].noun, word))
			return true;
	return false;
}

/* Nouns and everyday names, then, when none is near, the verbs with their noun. */
static const char *first_word(const void *ctx, size_t i)
{
	(void)ctx;
	return i < command_count ? command_table[i].noun
	       : command_table[i - command_count].alias ? command_table[i - command_count].alias
							: command_table[i - command_count].noun;
}

const char *command_nearest(const char *word)
{
	return config_nearest(word, 2 * command_count, first_word, NULL);
}

static const char *verb_of(const void *noun, size_t i)
{
	/* a verb of another noun is no candidate: its place is taken by a text nobody types */
	return strcmp(command_table[i].noun, noun) ? "\x01\x01\x01\x01\x01\x01\x01\x01" : command_table[i].verb;
}

/* Commands of Slurm that are called otherwise here; README.md has the table. */
static const struct { const char *theirs, *ours; } from_slurm[] = {
	{"sbatch", "sluisctl submit SCRIPT"},
	{"squeue", "sluisctl queue"},
	{"scancel", "sluisctl cancel JOB"},
	{"sinfo", "sluisctl node list"},
	{"sacct", "sluisctl usage, or sluisctl queue --all for the jobs"},
	{"sreport", "sluisctl usage"},
	{"sshare", "sluisctl share"},
	{"scontrol", "sluisctl job show, job requeue, node drain or reservation create: sluisctl help"},
	{"srun", "sluisctl submit --follow -- COMMAND"},
	{"salloc", "sluisctl submit --follow -- COMMAND; capacity without a command is a lease: sluisctl lease request"},
};

/* The one command with this verb, or NULL: "requeue" is typed for "job requeue". */
static const struct ctl_command *only_verb(const char *word)
{
	const struct ctl_command *found = NULL;

	for (size_t i = 0; i < command_count; i++)
		if (!strcmp(command_table[i].verb, word)) {
			if (found)
				return NULL;
			found = &command_table[i];
		}
	return found;
}

static int unknown_command(struct ctl *c, const char *word)
{
	const char *near = command_nearest(word);
	const struct ctl_command *verb = only_verb(word);

	for (size_t i = 0; i < ARRAY_LEN(from_slurm); i++)
		if (!strcmp(from_slurm[i].theirs, word)) {
			try_next(c, "%s", from_slurm[i].ours);
			return usage_fault(c, "unknown command '%s'", word);
		}
	if (verb) {
		try_next(c, "sluisctl %s %s", verb->noun, verb->verb);
		return usage_fault(c, "unknown command '%s'", word);
	}
	for (size_t i = 0; !near && strlen(word) > 1 && i < 2 * command_count; i++) /* an abbreviation */
		if (!strncmp(first_word(NULL, i), word, strlen(word)))
			near = first_word(NULL, i);
	for (size_t i = 0; i < command_count; i++) /* "cordon" alone: a verb without its noun */
		if (!near && !strcmp(command_table[i].verb, word))
			try_next(c, "sluisctl %s %s", command_table[i].noun, word);
	if (near)
		try_next(c, "sluisctl %s", near);
	else if (!c->tries_n)
		try_next(c, "sluisctl help");
	return usage_fault(c, "unknown command '%s'", word);
}

static int unknown_verb(struct ctl *c, const char *noun, const char *verb)
{
	CLEANUP(buf_done) struct buf verbs = BUF_INIT;
	const char *near = verb ? config_nearest(verb, command_count, verb_of, noun) : NULL;

	for (size_t i = 0; i < command_count; i++)
		if (!strcmp(command_table[i].noun, noun))
			buf_addf(&verbs, "%s%s", verbs.len ? ", " : "", command_table[i].verb);
	if (near)
		try_next(c, "sluisctl %s %s", noun, near);
	else
		try_next(c, "one of: %s", buf_cstr(&verbs));
	return verb ? usage_fault(c, "unknown command '%s %s'", noun, verb)
		    : usage_fault(c, "'%s' needs to be told what to do", noun);
}

/* ---- options --------------------------------------------------------------------------------- */

static const struct opt *opt_find(const struct opt *opts, const char *name, size_t len)
{
	for (; opts && opts->name; opts++)
		if (strlen(opts->name) == len && !strncmp(opts->name, name, len))
			return opts;
	return NULL;
}

static const struct opt *opt_find_key(const struct opt *opts, char key)
{
	for (; opts && opts->name; opts++)
		if (opts->key && opts->key == key)
			return opts;
	return NULL;
}

static size_t opts_count(const struct opt *opts)
{
	size_t n = 0;

	while (opts && opts[n].name)
		n++;
	return n;
}

static const char *opt_name(const void *cmd, size_t i)
{
	const struct ctl_command *cm = cmd;
	size_t own = cm ? opts_count(cm->opts) : 0;

	return i < own ? cm->opts[i].name : global_opts[i - own].name;
}

static int unknown_option(struct ctl *c, const struct ctl_command *cmd, const char *name)
{
	char title[64];
	const char *near = config_nearest(name, (cmd ? opts_count(cmd->opts) : 0) + opts_count(global_opts), opt_name,
					  cmd);

	if (near)
		try_next(c, "--%s", near);
	else if (cmd)
		try_next(c, "sluisctl help %s", command_title(cmd, title));
	else
		try_next(c, "sluisctl help");
	return cmd ? usage_fault(c, "unknown option '--%s' of %s", name, command_title(cmd, title))
		   : usage_fault(c, "unknown option '--%s'", name);
}

static int duration_opt(struct ctl *c, const char *name, const char *value, int64_t max_ms, int64_t *ret_ms)
{
	struct err err = {0};
	int64_t ms = 0;

	if (units_duration(value, &ms, &err)) {
		try_next(c, "--%s 10s", name);
		return usage_fault(c, "--%s: %s", name, err.msg);
	}
	if (ms <= 0 || ms > max_ms) {
		try_next(c, "--%s 10s", name);
		return usage_fault(c, "--%s: '%s' is out of range", name, value);
	}
	*ret_ms = ms;
	return 0;
}

static int watch_opt(struct ctl *c, const char *value)
{
	struct err err = {0};
	int64_t s = 2;

	if (value && units_count(value, 1, 3600, &s, &err)) {
		try_next(c, "--watch=5");
		return usage_fault(c, "--watch: %s", err.msg);
	}
	c->watch_ms = s * MS_PER_S;
	return 0;
}

static int global_set(struct ctl *c, const struct opt *opt, const char *value)
{
	const struct { const char *name; bool *flag; } flags[] = {
		{"plain", &c->plain}, {"no-header", &c->no_header}, {"wide", &c->wide}, {"quiet", &c->quiet},
		{"verbose", &c->verbose}, {"dry-run", &c->dry_run}, {"yes", &c->yes}, {"help", &c->help},
		{"version", &c->version},
	};
	const struct { const char *name; const char **text; } texts[] = {
		{"cluster", &c->opt_cluster}, {"endpoint", &c->opt_endpoint}, {"key", &c->opt_key},
		{"server-key", &c->opt_server_key}, {"state-dir", &c->opt_state_dir}, {"columns", &c->column_list},
		{"sort", &c->sort}, {"color", &c->opt_color}, {"reason", &c->reason},
	};
	struct err err = {0};
	int64_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (!strcmp(flags[i].name, opt->name)) {
			*flags[i].flag = true;
			return 0;
		}
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (!strcmp(texts[i].name, opt->name)) {
			*texts[i].text = value;
			return 0;
		}
	if (!strcmp(opt->name, "json")) {
		c->json = true;
		c->json_fields = value;
		return 0;
	}
	if (!strcmp(opt->name, "watch"))
		return watch_opt(c, value);
	if (!strcmp(opt->name, "timeout")) {
		if (duration_opt(c, "timeout", value, MS_PER_DAY, &n))
			return EXIT_USAGE;
		c->timeout_ms = (int)n;
		c->timeout_given = true;
		return 0;
	}
	if (!strcmp(opt->name, "idempotency-key")) {
		if (client_idem_parse(value, c->idem, &err)) {
			try_next(c, "the key as it was printed, or leave the option out");
			return usage_fault(c, "--idempotency-key: %s", err.msg);
		}
		c->have_idem = true;
		return 0;
	}
	ENSURE(!strcmp(opt->name, "expect-version"));
	if (units_count(value, 1, INT64_MAX, &n, &err)) {
		try_next(c, "the number that `sluisctl division show` prints");
		return usage_fault(c, "--expect-version: %s", err.msg);
	}
	c->expect_version = (uint64_t)n;
	c->have_expect = true;
	return 0;
}

static bool is_global(const struct opt *opt)
{
	return opt >= global_opts && opt < global_opts + opts_count(global_opts);
}

static int take(struct ctl *c, struct call *call, const struct opt *opt, const char *value)
{
	if (is_global(opt))
		return global_set(c, opt, value);
	if (call->values_n == CALL_VALUES_MAX) {
		try_next(c, "fewer options");
		return usage_fault(c, "more than %d options", CALL_VALUES_MAX);
	}
	call->values[call->values_n].opt = opt;
	call->values[call->values_n++].value = value;
	return 0;
}

static bool takes_value(const struct opt *opt) { return opt->value && strncmp(opt->value, "[=", 2) != 0; }

/* One long option at words[*i]; moves *i behind its value. */
static int long_option(struct ctl *c, struct call *call, const char *const *words, size_t n, size_t *i)
{
	const char *name = words[*i] + 2, *eq = strchr(name, '='), *value = eq ? eq + 1 : NULL;
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	const struct opt *opt = call->cmd ? opt_find(call->cmd->opts, name, len) : NULL;

	if (!opt)
		opt = opt_find(global_opts, name, len);
	if (!opt)
		return unknown_option(c, call->cmd, text_f(c, "%.*s", (int)(len < 100 ? len : 100), name));
	if (!opt->value && eq) {
		try_next(c, "--%s", opt->name);
		return usage_fault(c, "--%s takes no value", opt->name);
	}
	if (takes_value(opt) && !eq) {
		if (*i + 1 >= n) {
			try_next(c, "--%s %s", opt->name, opt->value);
			return usage_fault(c, "--%s: the value is missing", opt->name);
		}
		value = words[++*i];
	}
	return take(c, call, opt, value);
}

/* -f, -fp VALUE, -pVALUE */
static int short_options(struct ctl *c, struct call *call, const char *const *words, size_t n, size_t *i)
{
	for (const char *p = words[*i] + 1; *p; p++) {
		const struct opt *opt = call->cmd ? opt_find_key(call->cmd->opts, *p) : NULL;
		int r;

		if (!opt)
			opt = opt_find_key(global_opts, *p);
		if (!opt) {
			char title[64];

			try_next(c, call->cmd ? "sluisctl help %s" : "sluisctl help%s",
				 call->cmd ? command_title(call->cmd, title) : "");
			return usage_fault(c, "unknown option '-%c'", *p);
		}
		if (!takes_value(opt)) {
			r = take(c, call, opt, NULL);
			if (r)
				return r;
			continue;
		}
		if (p[1])
			return take(c, call, opt, p[1] == '=' ? p + 2 : p + 1);
		if (*i + 1 >= n) {
			try_next(c, "-%c %s", *p, opt->value);
			return usage_fault(c, "-%c: the value is missing", *p);
		}
		return take(c, call, opt, words[++*i]);
	}
	return 0;
}

/* ---- the line -------------------------------------------------------------------------------- */

/* The words of `submit`: options of every command by their long names are taken out, job options stay with
 * their values, and from the script or `--` on nothing is looked at. */
static int job_words(struct ctl *c, struct call *call, const char *const *words, size_t n, size_t i)
{
	for (; i < n; i++) {
		const char *w = words[i];
		const char *eq = strchr(w, '=');
		const struct job_option *row = NULL;
		char name[64];

		if (w[0] != '-' || !w[1] || !strcmp(w, "--"))
			break;
		if (w[1] == '-') {
			snprintf(name, sizeof name, "%.*s", (int)(eq ? eq - w - 2 : 63), w + 2);
			if (opt_find(global_opts, name, strlen(name))) {
				int r = long_option(c, call, words, n, &i);

				if (r)
					return r;
				continue;
			}
			row = job_option_find(name);
			call->args[call->args_n++] = w;
			if (row && row->argument == OPTION_NEED && !eq && i + 1 < n)
				call->args[call->args_n++] = words[++i];
			continue;
		}
		call->args[call->args_n++] = w;
		for (const char *p = w + 1; *p; p++) {
			row = job_option_find_short(*p, false);
			if (row && row->argument == OPTION_NEED && *p == 'q' && !p[1] && (i + 1 == n || words[i + 1][0] == '-')) {
				try_next(c, "-q CLASS, or --quiet for the bare id");
				return usage_fault(c, "-q of submit is --qos, as with sbatch: the name of a class is missing");
			}
			if (row && row->argument == OPTION_NEED) {
				if (!p[1] && i + 1 < n)
					call->args[call->args_n++] = words[++i];
				break;
			}
		}
	}
	for (; i < n; i++)
		call->args[call->args_n++] = words[i];
	return 0;
}

static int count_args(struct ctl *c, const struct call *call)
{
	const struct ctl_command *cmd = call->cmd;
	char title[64];

	if (cmd->args_max == ARGS_JOB)
		return 0;
	if (call->args_n < (size_t)cmd->args_min) {
		try_next(c, "sluisctl %s %s", command_title(cmd, title), cmd->args);
		return usage_fault(c, "%s: %s is missing", command_title(cmd, title), cmd->args);
	}
	if (cmd->args_max >= 0 && call->args_n > (size_t)cmd->args_max) {
		try_next(c, "sluisctl %s %s", command_title(cmd, title), cmd->args);
		return usage_fault(c, "%s: '%s' is one argument too many", command_title(cmd, title),
				   call->args[cmd->args_max]);
	}
	if (call->has_rest && !strstr(cmd->args, "--")) {
		try_next(c, "sluisctl %s %s", command_title(cmd, title), cmd->args);
		return usage_fault(c, "%s runs no command: nothing may follow --", command_title(cmd, title));
	}
	return 0;
}

/* Find the command at words[*i]; moves behind its name. */
static int take_command(struct ctl *c, struct call *call, const char *const *words, size_t n, size_t *i)
{
	const char *word = words[*i];

	call->cmd = command_find(word, NULL);
	if (call->cmd)
		return 0;
	if (!is_noun(word))
		return unknown_command(c, word);
	while (*i + 1 < n && words[*i + 1][0] == '-') { /* node --json list */
		int r;

		if (!strcmp(words[*i + 1], "--help") || !strcmp(words[*i + 1], "-h"))
			return unknown_verb(c, word, NULL);
		if (words[*i + 1][1] != '-')
			break;
		++*i;
		r = long_option(c, call, words, n, i);
		if (r)
			return r;
	}
	if (*i + 1 >= n)
		return unknown_verb(c, word, NULL);
	call->cmd = command_find(word, words[*i + 1]);
	if (!call->cmd)
		return unknown_verb(c, word, words[*i + 1]);
	++*i;
	return 0;
}

int args_parse(struct ctl *c, const char *const *words, size_t n, struct call *call)
{
	int r = 0;

	*call = (struct call){.args = arena_alloc(&c->arena, (n + 1) * sizeof(char *))};
	for (size_t i = 0; i < n && strcmp(words[i], "--"); i++) /* so that mistakes, too, are told in JSON */
		c->json |= !strcmp(words[i], "--json") || !strncmp(words[i], "--json=", 7);
	for (size_t i = 0; i < n; i++) {
		const char *w = words[i];

		if (call->cmd && call->cmd->args_max == ARGS_JOB) {
			r = job_words(c, call, words, n, i);
			break;
		}
		if (!strcmp(w, "--")) {
			call->has_rest = true;
			call->rest_n = n - i - 1;
			call->rest = arena_copy(&c->arena, &words[i + 1], (call->rest_n + 1) * sizeof(char *));
			break;
		}
		if (w[0] == '-' && w[1] == '-')
			r = long_option(c, call, words, n, &i);
		else if (w[0] == '-' && w[1])
			r = short_options(c, call, words, n, &i);
		else if (!call->cmd)
			r = take_command(c, call, words, n, &i);
		else
			call->args[call->args_n++] = w;
		if (r)
			return r;
	}
	if (r || !call->cmd || c->help || c->version)
		return r;
	return count_args(c, call);
}

static const struct opt *declared(const struct call *call, const char *name)
{
	const struct opt *opt = opt_find(call->cmd->opts, name, strlen(name));

	ENSURE(opt); /* a command asks only for options of its own row */
	return opt;
}

bool call_has(const struct call *call, const char *name)
{
	const struct opt *opt = declared(call, name);

	for (size_t i = 0; i < call->values_n; i++)
		if (call->values[i].opt == opt)
			return true;
	return false;
}

const char *call_get(const struct call *call, const char *name)
{
	const struct opt *opt = declared(call, name);

	for (size_t i = call->values_n; i-- > 0;)
		if (call->values[i].opt == opt)
			return call->values[i].value;
	return NULL;
}

const char *call_nth(const struct call *call, const char *name, size_t nth)
{
	const struct opt *opt = declared(call, name);

	for (size_t i = 0; i < call->values_n; i++)
		if (call->values[i].opt == opt && nth-- == 0)
			return call->values[i].value;
	return NULL;
}
