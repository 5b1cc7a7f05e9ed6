/* test_ctl_args.c - what people type: one table makes parser, help, manual and completion, so they agree;
 * a mistake is told with the way out and never becomes another command */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/config/directives.h"

struct run {
	struct ctl c;
	char *out, *errs;
	size_t out_n, errs_n;
};

static void run_open(struct run *r)
{
	*r = (struct run){0};
	r->c.out = open_memstream(&r->out, &r->out_n);
	r->c.errs = open_memstream(&r->errs, &r->errs_n);
	r->c.columns = 80;
	r->c.now_ms = INT64_C(1795478530000);
	assert_non_null(r->c.out);
	assert_non_null(r->c.errs);
}

static void run_close(struct run *r)
{
	fclose(r->c.out);
	fclose(r->c.errs);
	ctl_done(&r->c);
	free(r->out);
	free(r->errs);
}

/* Words of a line as a shell would make them. */
static size_t words_of(const char *line, struct arena *arena, const char *const **ret)
{
	struct conf_texts words = {0};

	assert_int_equal(shell_words(line, arena, &words, NULL), 0);
	*ret = words.items;
	return words.count;
}

static int parse(struct run *r, const char *line, struct call *call)
{
	const char *const *words;
	size_t n = words_of(line, &r->c.arena, &words);
	int status = args_parse(&r->c, words, n, call);

	fflush(r->c.out);
	fflush(r->c.errs);
	return status;
}

static int run_line(struct run *r, const char *line)
{
	const char *const *words;
	size_t n;
	int status;

	run_open(r);
	n = words_of(line, &r->c.arena, &words);
	status = ctl_run(&r->c, words, n);
	fflush(r->c.out);
	fflush(r->c.errs);
	return status;
}

static size_t count_of(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, what)) != NULL; p += strlen(what))
		n++;
	return n;
}

static const struct ctl_command *found(const char *noun, const char *verb)
{
	const struct ctl_command *cmd = command_find(noun, verb);

	assert_non_null(cmd);
	return cmd;
}

/* ---- the table ------------------------------------------------------------------------------- */

static void test_every_command_is_found_and_has_what_help_needs(void **state)
{
	(void)state;
	assert_true(command_count > 60);
	for (size_t i = 0; i < command_count; i++) {
		const struct ctl_command *cmd = &command_table[i];

		assert_ptr_equal(command_find(cmd->noun, cmd->verb), cmd);
		if (cmd->alias)
			assert_ptr_equal(command_find(cmd->alias, NULL), cmd);
		assert_non_null(cmd->run);
		assert_true(cmd->doc[0] != '\0');
		assert_int_equal(strncmp(cmd->example, "sluisctl ", 9), 0);
		assert_true(cmd->exits[0] == '0');
		for (const struct opt *o = cmd->opts; o->name; o++)
			assert_true(o->doc[0] != '\0');
	}
}

static void test_everyday_verbs_are_other_names_of_noun_verbs(void **state)
{
	(void)state;
	assert_ptr_equal(command_find("queue", NULL), found("job", "list"));
	assert_ptr_equal(command_find("submit", NULL), found("job", "submit"));
	assert_ptr_equal(command_find("status", NULL), found("cluster", "status"));
	for (size_t i = 0; i < 8; i++) {
		static const char *const names[] = {"submit", "queue", "explain", "cancel", "logs", "wait", "status", "top"};

		assert_non_null(command_find(names[i], NULL));
	}
}

static void test_every_example_is_a_line_that_parses(void **state)
{
	(void)state;
	for (size_t i = 0; i < command_count; i++) {
		const struct ctl_command *cmd = &command_table[i];
		struct call call;
		struct run r;
		char *line = strdup(cmd->example + 9), *redirect = strstr(line, " > ");

		if (redirect)
			*redirect = '\0';
		run_open(&r);
		assert_int_equal(parse(&r, line, &call), 0);
		assert_ptr_equal(call.cmd, cmd);
		run_close(&r);
		free(line);
	}
}

/* A manual that lists what is not there, or does not list what is, costs its readers an evening. */
static void test_manual_has_every_command_and_option_in_place(void **state)
{
	FILE *f = fopen("ctl/sluisctl.1", "re");
	char *page;
	size_t n, entries = 0;

	(void)state;
	assert_non_null(f);
	page = calloc(1, 1 << 20);
	n = fread(page, 1, (1 << 20) - 1, f);
	fclose(f);
	assert_true(n > 1000);
	for (size_t i = 0; i < command_count; i++) {
		const struct ctl_command *cmd = &command_table[i];
		char head[128];
		char *at, *end, *section;

		snprintf(head, sizeof head, ".It Ic %s%s%s%s%s\n", cmd->noun, cmd->verb[0] ? " " : "", cmd->verb,
			 cmd->alias ? " , Ic " : "", cmd->alias ? cmd->alias : "");
		at = strstr(page, head);
		if (!at)
			fail_msg("the manual lacks %s", head);
		entries++;
		end = strstr(at + 5, ".It Ic ");
		section = strndup(at, end ? (size_t)(end - at) : strlen(at));
		for (const struct opt *o = cmd->opts; o->name; o++) {
			snprintf(head, sizeof head, "Fl -%s", o->name);
			if (!strstr(section, head))
				fail_msg("the manual lacks --%s of %s %s", o->name, cmd->noun, cmd->verb);
		}
		free(section);
	}
	assert_int_equal(count_of(page, ".It Ic "), entries); /* and nothing that is not there */
	for (const struct opt *o = global_opts; o->name; o++) {
		char text[64];

		snprintf(text, sizeof text, "Fl -%s", o->name);
		assert_non_null(strstr(page, text));
	}
	free(page);
}

/* Every run of blanks as one: what was wrapped is found again. */
static char *flat(const char *text)
{
	char *out = calloc(1, strlen(text) + 1), *to = out;

	for (const char *p = text; *p; p++)
		if (!strchr(" \n", *p))
			*to++ = *p;
		else if (to > out && to[-1] != ' ')
			*to++ = ' ';
	return out;
}

static void fits_a_terminal(const char *text, const char *what)
{
	for (const char *p = text; *p; p += strcspn(p, "\n") + 1)
		if (strcspn(p, "\n") > 80 && strncmp(p, "  sluisctl ", 11) != 0) /* an example is a line to paste */
			fail_msg("%s: %.*s", what, (int)strcspn(p, "\n"), p);
}

static void test_help_fits_a_terminal(void **state)
{
	static const char *const lines[] = {"--help", "help exit-codes", "help reasons", "help roles", "help sbatch-compat", "help env", "help lease"};
	struct run r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		assert_int_equal(run_line(&r, lines[i]), 0);
		fits_a_terminal(r.out, lines[i]);
		run_close(&r);
	}
	for (size_t i = 0; i < command_count; i++) {
		char line[128], title[64];

		snprintf(line, sizeof line, "%s --help", command_title(&command_table[i], title));
		assert_int_equal(run_line(&r, line), 0);
		assert_int_equal(strncmp(r.out, "sluisctl ", 9), 0);
		fits_a_terminal(r.out, line);
		run_close(&r);
	}
}

static void test_help_names_every_command_and_its_options(void **state)
{
	struct run top, r;
	char *all;

	(void)state;
	assert_int_equal(run_line(&top, "--help"), 0);
	all = flat(top.out);
	for (size_t i = 0; i < command_count; i++) {
		const struct ctl_command *cmd = &command_table[i];
		char line[128], title[64];

		snprintf(line, sizeof line, "  %s", command_title(cmd, title));
		assert_non_null(strstr(top.out, line));
		assert_non_null(strstr(all, cmd->doc));
		snprintf(line, sizeof line, "%s --help", title);
		assert_int_equal(run_line(&r, line), 0);
		assert_non_null(strstr(r.out, cmd->example));
		assert_non_null(strstr(r.out, cmd->exits));
		for (const struct opt *o = cmd->opts; o->name; o++) {
			snprintf(line, sizeof line, "--%s", o->name);
			assert_non_null(strstr(r.out, line));
		}
		run_close(&r);
	}
	free(all);
	run_close(&top);
}

static void test_help_topics(void **state)
{
	struct run r;

	(void)state;
	assert_int_equal(run_line(&r, "help exit-codes"), 0);
	assert_non_null(strstr(r.out, "\n   9  the lease is gone"));
	run_close(&r);
	assert_int_equal(run_line(&r, "help reasons"), 0);
	assert_non_null(strstr(r.out, "402  the budget does not cover it"));
	run_close(&r);
	assert_int_equal(run_line(&r, "help roles"), 0);
	for (int role = ROLE_ADMIN; role < ROLE_NODE; role++) {
		char line[64];

		snprintf(line, sizeof line, "\n  %s ", role_names[role]);
		assert_non_null(strstr(r.out, line));
	}
	run_close(&r);
	assert_int_equal(run_line(&r, "help sbatch-compat"), 0);
	for (size_t i = 0; i < job_option_count; i++)
		if (!job_option_table[i].own)
			assert_non_null(strstr(r.out, job_option_table[i].name));
	assert_non_null(strstr(r.out, "sluis has no licenses"));
	run_close(&r);
	assert_int_equal(run_line(&r, "help lease"), 0);
	assert_non_null(strstr(r.out, "sluisctl lease keep"));
	run_close(&r);
	assert_int_equal(run_line(&r, "help resons"), 2);
	assert_non_null(strstr(r.errs, "try     sluisctl help reasons"));
	run_close(&r);
}

static void test_completion_has_every_word(void **state)
{
	struct run r;

	(void)state;
	assert_int_equal(run_line(&r, "completion bash"), 0);
	for (size_t i = 0; i < command_count; i++) {
		assert_non_null(strstr(r.out, command_table[i].noun));
		assert_non_null(strstr(r.out, command_table[i].verb));
		for (const struct opt *o = command_table[i].opts; o->name; o++)
			assert_non_null(strstr(r.out, o->name));
	}
	run_close(&r);
}

/* ---- the parser ------------------------------------------------------------------------------ */

static void test_options_stand_anywhere_and_take_values_in_every_spelling(void **state)
{
	static const char *const lines[] = {
		"--json --timeout 3s lease request --provider chat --gpus=8 --wait=10s",
		"lease --json request --gpus 8 --provider=chat --timeout=3s --wait=10s",
		"lease request --provider chat --wait=10s --gpus 8 --timeout 3s --json",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct call call;
		struct run r;

		run_open(&r);
		assert_int_equal(parse(&r, lines[i], &call), 0);
		assert_ptr_equal(call.cmd, found("lease", "request"));
		assert_string_equal(call_get(&call, "provider"), "chat");
		assert_string_equal(call_get(&call, "gpus"), "8");
		assert_string_equal(call_get(&call, "wait"), "10s");
		assert_true(r.c.json);
		assert_int_equal(r.c.timeout_ms, 3000);
		assert_false(call_has(&call, "nodes"));
		run_close(&r);
	}
}

static void test_short_options_join_and_repeats_are_kept(void **state)
{
	struct call call;
	struct run r;

	(void)state;
	run_open(&r);
	assert_int_equal(parse(&r, "logs -qf 12", &call), 0);
	assert_true(call_has(&call, "follow"));
	assert_true(r.c.quiet);
	assert_string_equal(call.args[0], "12");
	run_close(&r);
	run_open(&r);
	assert_int_equal(parse(&r, "queue -ulisa -s PD,R -p gridopt", &call), 0);
	assert_string_equal(call_get(&call, "user"), "lisa");
	assert_string_equal(call_get(&call, "state"), "PD,R");
	assert_string_equal(call_get(&call, "project"), "gridopt");
	run_close(&r);
	run_open(&r);
	assert_int_equal(parse(&r, "lease request --require a=1 --require b=2", &call), 0);
	assert_string_equal(call_nth(&call, "require", 0), "a=1");
	assert_string_equal(call_nth(&call, "require", 1), "b=2");
	assert_null(call_nth(&call, "require", 2));
	run_close(&r);
}

/* What follows the script is the script's; what stands before it is the job's, but for options of every
 * command, which people put anywhere. */
static void test_submit_leaves_the_script_its_own_options(void **state)
{
	struct call call;
	struct run r;

	(void)state;
	run_open(&r);
	assert_int_equal(parse(&r, "submit --json -N 2 --time 1h --dry-run train.sh --json --plain -x", &call), 0);
	assert_true(r.c.json);
	assert_true(r.c.dry_run);
	assert_false(r.c.plain);
	assert_int_equal(call.args_n, 8);
	assert_string_equal(call.args[0], "-N");
	assert_string_equal(call.args[4], "train.sh");
	assert_string_equal(call.args[5], "--json");
	run_close(&r);
	run_open(&r);
	assert_int_equal(parse(&r, "submit --gpus 4 -- python3 --verbose", &call), 0);
	assert_false(r.c.verbose);
	assert_string_equal(call.args[call.args_n - 1], "--verbose");
	run_close(&r);
	run_open(&r); /* a value that looks like an option of ours is a value */
	assert_int_equal(parse(&r, "submit --comment --plain train.sh", &call), 0);
	assert_false(r.c.plain);
	run_close(&r);
}

static void test_two_dashes_end_options(void **state)
{
	struct call call;
	struct run r;

	(void)state;
	run_open(&r);
	assert_int_equal(parse(&r, "lease exec 77 -- nvidia-smi --help", &call), 0);
	assert_int_equal(call.args_n, 1);
	assert_int_equal(call.rest_n, 2);
	assert_string_equal(call.rest[1], "--help");
	assert_false(r.c.help);
	run_close(&r);
}

/* ---- mistakes -------------------------------------------------------------------------------- */

struct mistake { const char *line; int status; const char *says, *tries; };

/* None of these needs a daemon: the mistake is told before anything is sent. */
static const struct mistake mistakes[] = {
	{"lese", 2, "unknown command 'lese'", "sluisctl lease"},
	{"quue", 2, "unknown command 'quue'", "sluisctl queue"},
	{"sbatch job.sh", 2, "unknown command 'sbatch'", "sluisctl submit SCRIPT"},
	{"squeue --me", 2, "unknown command 'squeue'", "sluisctl queue"},
	{"scancel 7", 2, "unknown command 'scancel'", "sluisctl cancel JOB"},
	{"sinfo", 2, "unknown command 'sinfo'", "sluisctl node list"},
	{"sacct -j 7", 2, "unknown command 'sacct'", "sluisctl usage"},
	{"sreport", 2, "unknown command 'sreport'", "sluisctl usage"},
	{"scontrol show job 7", 2, "unknown command 'scontrol'", "sluisctl job show"},
	{"srun hostname", 2, "unknown command 'srun'", "sluisctl submit --follow -- COMMAND"},
	{"salloc -N 1", 2, "unknown command 'salloc'", "sluisctl lease request"},
	{"requeue 7", 2, "unknown command 'requeue'", "sluisctl job requeue"},
	{"submit -q -A x -- true", 2, "-q of submit is --qos", "--quiet"},
	{"submit -q", 2, "-q of submit is --qos", "--quiet"},
	{"drain n017", 2, "unknown command 'drain'", "sluisctl node drain"},
	{"node drian n017", 2, "unknown command 'node drian'", "sluisctl node drain"},
	{"lease", 2, "'lease' needs to be told what to do", "one of: request"},
	{"lease frobnicate 7", 2, "unknown command 'lease frobnicate'", "one of: request"},
	{"que", 2, "unknown command 'que'", "sluisctl queue"},
	{"queue --projekt x", 2, "unknown option '--projekt' of queue", "--project"},
	{"queue --stat running", 2, "unknown option '--stat' of queue", "--state"},
	{"queue -Z", 2, "unknown option '-Z'", "sluisctl help queue"},
	{"--jsn queue", 2, "unknown option '--jsn'", "--json"},
	{"queue --project", 2, "--project: the value is missing", "--project PROJECT"},
	{"queue --me=yes", 2, "--me takes no value", "--me"},
	{"queue --state wandering", 2, "'wandering' is no state of a job", "--state running,pending"},
	{"queue 12x", 2, "'12x' is no job", "1043_7"},
	{"job show", 2, "job show: JOB... is missing", "sluisctl job show JOB..."},
	{"job hold job-", 2, "'job-' is no job", "a number"},
	{"lease show seven", 2, "'seven' is no lease", "77"},
	{"lease accept 1 2", 2, "'2' is one argument too many", "sluisctl lease accept LEASE"},
	{"queue -- x", 2, "nothing may follow --", "sluisctl queue"},
	{"lease exec 7", 2, "which command", "-- COMMAND"},
	{"lease request --provider chat --flavor h100", 2, "how much", "--gpus N"},
	{"lease request --gpus 8 --nodes 1 --provider chat --flavor h100", 2, "not both", "--gpus or --nodes"},
	{"lease request --gpus eight", 2, "--gpus:", "a number from 1"},
	{"lease request --gpus 8 --flavor h100", 2, "who leases", "--provider NAME"},
	{"lease request --class gold", 2, "'gold' is not known", "one of: firm, loan"},
	{"lease request --ttl soon", 2, "--ttl", "try"},
	{"lease request --ttl 30", 2, "'30' has no unit", "--ttl 30s, --ttl 30m or --ttl 30h"},
	{"lease request --gpus 8 --provider chat --flavor h100 --wait=30", 2, "--wait: '30' has no unit", "--wait=30s"},
	{"lease resize 7 --gpus 8 --wait=soon", 2, "--wait: 'soon'", "--wait=90s, 15m"},
	{"wait 7 --timeout 30", 2, "'30' has no unit", "--timeout 30s"},
	{"job update 7 --time forever", 2, "--time", "Slurm's"},
	{"lease request --require jurisdiction", 2, "is not KEY=VALUE", "jurisdiction=NL"},
	{"lease resize 7", 2, "to how much", "--gpus N"},
	{"lease extend 7", 2, "for how long", "--term 30d"},
	{"lease revoke 7", 2, "say why", "--reason"},
	{"node drain n017", 2, "say why", "--reason 'firmware'"},
	{"node cordon n017 --reason x --until whenever", 2, "--until", "try"},
	{"node declare-dead n017", 2, "the boot id is missing", "--boot-id ID"},
	{"node list --state sleepy", 2, "'sleepy' is no state of a node", "draining"},
	{"division apply", 2, "which file", "-f division.yaml"},
	{"division diff -f /nonexistent/division.yaml", 4, "cannot read '/nonexistent/division.yaml'", "sluisctl division export"},
	{"token create printer", 2, "not for 'printer'", "token create node"},
	{"token create node --role admin", 2, "a node has no --role", "token create user"},
	{"token create user --role boss", 2, "'boss' is not known", "one of:"},
	{"token create user --role node", 2, "nobody becomes 'node'", "member"},
	{"token create user --role provider", 2, "names its provider", "--provider NAME"},
	{"token revoke first", 2, "'first' is no token", "a number"},
	{"user accept sluis-join-2.x", 2, "not a join token", "copy the whole line"},
	{"wait 7 --for sunshine", 2, "'sunshine' is no state of a job", "--state"},
	{"wait 7 --timeout x", 2, "--timeout", "try"},
	{"cancel", 2, "which job", "cancel --me"},
	{"cancel 7 --signal BANANA", 2, "'BANANA' is no signal", "--signal USR1"},
	{"job update 7", 2, "nothing to change", "--time"},
	{"job update 7 --class gold", 2, "'gold' is not known", "one of: scavenger"},
	{"job checkpointed 7 --hash abc", 2, "'abc' is no SHA-256", "64 hex digits"},
	{"logs 7 --tail lots", 2, "--tail", "a number"},
	{"top --side left", 2, "'left' is not known", "--side public"},
	{"usage --by colour", 2, "'colour' is not known", "one of: project"},
	{"log verify /nonexistent/log", 4, "cannot open '/nonexistent/log'", "sluisctl log export"},
	{"backup verify /nonexistent/b", 4, "cannot open '/nonexistent/b'", "sluisctl backup list"},
	{"--timeout never status", 2, "--timeout", "--timeout 10s"},
	{"--idempotency-key short status", 2, "32 hex digits", "as it was printed"},
	{"--color pink status", 2, "'pink' is not known", "--color auto"},
	{"--endpoint http://x status", 2, "is no endpoint", "tcp://HOST:PORT"},
	{"--endpoint tcp://127.0.0.1:9 status", 2, "public key of tcp://127.0.0.1:9 is not known", "--server-key KEY"},
	{"--endpoint ipc:///nonexistent/sock status", 7, "sluisd does not listen", "systemctl status sluisd"},
	{"--state-dir /nonexistent status", 7, "no sluisd has written its endpoints", "sluisd --config"},
	{"submit", 2, "neither a script nor a command", "SCRIPT"},
	{"submit /nonexistent/train.sh", 4, "cannot read '/nonexistent/train.sh'", "submit --"},
	{"submit --gpu 4 -- true", 2, "'--gpu': unknown option of submit", "--gpus"},
	{"submit --licenses=matlab -- true", 2, "sluis has no licenses", "--constraint LABEL"},
	{"submit --gpus 4 -- true", 2, "no project pays", "--project NAME"},
	{"submit -A x --flavor f --gpus 0 -- true", 2, "a job of no devices", "1 device or more"},
	{"submit -A x --gpus -1 -- true", 2, "'--gpus=-1': is no number of devices", "4, or h100:4"},
	{"submit -A x --flavor f --gpus 1000000000 -- true", 6, "(reason 102)", "1 to 131072 devices"},
	{"submit -A x --flavor f --nodes 999999 -- true", 6, "(reason 102)", "1 to 131072 devices"},
	{"submit -A x -w n001 -- true", 2, "nodes are chosen by label, not by name", "--constraint LABEL"},
	{"submit -A x --nodefile f -- true", 2, "nodes are chosen by label, not by name", "--constraint LABEL"},
	{"submit -A x --qos gold -- true", 2, "'--qos=gold': is no class", "urgent, normal, standby or scavenger"},
	{"submit -A x --gpus-per-socket 2 -- true", 2, "packages of a node are not counted", "--gpus-per-node"},
	{"submit -A x --flavor h100 --time forever -- true", 2, "--time=forever", "try"},
};

static void test_typical_mistakes_are_told_in_three_parts(void **state)
{
	size_t wrong = 0;

	(void)state;
	assert_true(ARRAY_LEN(mistakes) >= 30);
	for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
		const struct mistake *m = &mistakes[i];
		struct run r;
		int status = run_line(&r, m->line);
		const char *try = strstr(r.errs, "  try     ");

		if (status != m->status || !strstr(r.errs, m->says) || !try ||
		    (strcmp(m->tries, "try") != 0 && !strstr(try, m->tries)) || count_of(r.errs, "  try     ") != 1 ||
		    r.out_n || strstr(r.errs, "ERR_")) { /* the answer stays empty */
			print_error("'%s' ends with %d and says\n%s\n", m->line, status, r.errs);
			wrong++;
		}
		run_close(&r);
	}
	assert_int_equal(wrong, 0);
}

static void test_the_same_mistake_as_json(void **state)
{
	json_t *root, *e;
	struct run r;

	(void)state;
	assert_int_equal(run_line(&r, "--json node drian n017"), 2);
	assert_int_equal(r.out_n, 0);
	root = json_loads(r.errs, 0, NULL);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "api")), "sluis/1");
	e = json_object_get(root, "error");
	assert_string_equal(json_string_value(json_object_get(e, "name")), "INVAL");
	assert_string_equal(json_string_value(json_object_get(e, "message")), "unknown command 'node drian'");
	assert_string_equal(json_string_value(json_array_get(json_object_get(e, "try"), 0)), "sluisctl node drain");
	assert_true(json_is_false(json_object_get(e, "retry")));
	json_decref(root);
	run_close(&r);
}

/* A peer's text must not drive the terminal, and a lost answer must give its key back. */
static void test_faults_are_neutral_and_name_the_key_to_repeat_with(void **state)
{
	struct err err = {.code = ERR_TIMEOUT};
	struct run r;
	json_t *root;

	(void)state;
	run_open(&r);
	snprintf(err.msg, sizeof err.msg, "no answer \033[31mfrom x");
	snprintf(err.hint, sizeof err.hint, "the same command with --idempotency-key %s : it will not act twice",
		 "5f1c09aa5f1c09aa5f1c09aa5f1c09aa");
	fact(&r.c, "needs", "%s", "a\nb");
	assert_int_equal(fault(&r.c, &err, "cannot submit %s", "x.sh"), EXIT_UNKNOWN);
	fflush(r.c.errs);
	assert_string_equal(r.errs, "sluisctl: cannot submit x.sh: no answer  [31mfrom x\n"
				    "  needs   a b\n"
				    "  try     the same command with --idempotency-key 5f1c09aa5f1c09aa5f1c09aa5f1c09aa : "
				    "it will not act twice\n");
	run_close(&r);
	run_open(&r);
	r.c.json = true;
	assert_int_equal(fault(&r.c, &err, NULL), EXIT_UNKNOWN);
	fflush(r.c.errs);
	root = json_loads(r.errs, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(json_object_get(root, "error"), "idempotency_key")),
			    "5f1c09aa5f1c09aa5f1c09aa5f1c09aa");
	assert_true(json_is_true(json_object_get(json_object_get(root, "error"), "retry")));
	json_decref(root);
	run_close(&r);
}

static void test_exit_statuses_are_the_contract(void **state)
{
	(void)state;
	assert_int_equal(exit_of(ERR_DENIED, 0), 3);
	assert_int_equal(exit_of(ERR_BUDGET, 402), 3);
	assert_int_equal(exit_of(ERR_NOTFOUND, 101), 4);
	assert_int_equal(exit_of(ERR_VERSION_MOVED, 0), 5);
	assert_int_equal(exit_of(ERR_IDEM_CONFLICT, 0), 5);
	assert_int_equal(exit_of(ERR_NEVER, 102), 6);
	assert_int_equal(exit_of(ERR_TIMEOUT, 0), 7);
	assert_int_equal(exit_of(ERR_UNREACHABLE, 0), 7);
	assert_int_equal(exit_of(ERR_INTERRUPTED, 0), 130);
	assert_int_equal(exit_of(ERR_CORRUPT, 0), 1);
	assert_int_equal(exit_of(-9999, 0), 1); /* of a later daemon */
}

static int no_settings(void **state)
{
	static const char *const names[] = {"SLUIS_ENDPOINT", "SLUIS_KEY", "SLUIS_SERVER_KEY", "SLUIS_CLUSTER", "SLUIS_PROJECT",
					    "SLUIS_TIMEOUT", "SLUIS_JOB_ID", "XDG_CONFIG_HOME"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		unsetenv(names[i]);
	setenv("HOME", "/nonexistent", 1);
	setenv("TZ", "UTC", 1);
	unsetenv("SLUIS_CONFIG");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_command_is_found_and_has_what_help_needs),
		cmocka_unit_test(test_everyday_verbs_are_other_names_of_noun_verbs),
		cmocka_unit_test(test_every_example_is_a_line_that_parses),
		cmocka_unit_test(test_manual_has_every_command_and_option_in_place),
		cmocka_unit_test(test_help_names_every_command_and_its_options),
		cmocka_unit_test(test_help_fits_a_terminal),
		cmocka_unit_test(test_help_topics),
		cmocka_unit_test(test_completion_has_every_word),
		cmocka_unit_test(test_options_stand_anywhere_and_take_values_in_every_spelling),
		cmocka_unit_test(test_short_options_join_and_repeats_are_kept),
		cmocka_unit_test(test_submit_leaves_the_script_its_own_options),
		cmocka_unit_test(test_two_dashes_end_options),
		cmocka_unit_test(test_typical_mistakes_are_told_in_three_parts),
		cmocka_unit_test(test_the_same_mistake_as_json),
		cmocka_unit_test(test_faults_are_neutral_and_name_the_key_to_repeat_with),
		cmocka_unit_test(test_exit_statuses_are_the_contract),
	};

	return cmocka_run_group_tests(tests, no_settings, NULL);
}
