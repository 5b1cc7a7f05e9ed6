/* test_ctl_submit.c - what a researcher writes is what the daemon is asked: units, tasks, memory, times;
 * and what cannot be asked is refused by name, never dropped */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/submit.h"
#include "proto/base/ensure.h"
#include "proto/model/reason.h"
#include "proto/model/names.h"

static struct flavor flavors[3] = {
	{.id = 4, .name = "h100-80g", .devices_per_node = 8, .weight_milli = 1000},
	{.id = 7, .name = "mi250x", .devices_per_node = 8},
	{.id = 9, .name = "cpu", .unit = UNIT_CORE, .devices_per_node = 64},
};
static struct quota nodes_of_health[1] = {{.flavor = 4, .shape = SHAPE_NODE, .nominal = 2}};
static struct quota gpus_of_memo[1] = {{.flavor = 7, .shape = SHAPE_GPU, .nominal = 8}};
static struct qnode_view tree[4] = {
	{.qnode = {.id = 1, .parent = 1, .kind = QNODE_ROOT, .name = "root"}, .path = ""},
	{.qnode = {.id = 2, .parent = 1, .kind = QNODE_SECTOR, .name = "health", .quotas = nodes_of_health, .quotas_n = 1},
	 .path = "public/health"},
	{.qnode = {.id = 3, .parent = 2, .kind = QNODE_PROJECT, .name = "lungnet"}, .path = "public/health/lungnet"},
	{.qnode = {.id = 5, .parent = 1, .kind = QNODE_PROJECT, .name = "memo", .quotas = gpus_of_memo, .quotas_n = 1},
	 .path = "public/memo"},
};
static const struct view_division division = {.flavors = flavors, .flavors_n = 3, .items = tree, .items_n = 4};

struct made {
	struct job_options o;
	struct submission sub;
	struct arena arena;
	struct err err;
	int code;
};

/* Options as on the command line, a command `true`, and an environment. */
static void make_env(struct made *m, const char *line, const char *script, char *const *env)
{
	static const char *const argv[] = {"/opt/bin/train", "--lr=0.1"};
	struct config_errors errs = CONFIG_ERRORS_INIT;
	struct conf_texts words = {0};
	struct directive items[64];
	size_t n = 0;

	memset(m, 0, sizeof *m);
	job_options_init(&m->o, INT64_C(1795528920000));
	assert_int_equal(shell_words(line, &m->arena, &words, NULL), 0);
	assert_int_equal(options_from_words(&words, 0, FROM_COMMAND, &m->arena, items, 64, &n), words.count);
	if (directives_resolve(&m->o, NULL, NULL, false, items, n, &errs))
		fail_msg("'%s': %s", line, errs.list[0].text);
	m->code = submission_fill(&m->o, script, script ? "dir/train.sh" : NULL, argv, 2, env, "/home/eva",
				  submission_needs_division(&m->o) ? &division : NULL, &m->arena, &m->sub, &m->err);
	config_errors_done(&errs);
}

static void make(struct made *m, const char *line) { make_env(m, line, NULL, NULL); }

static void done(struct made *m)
{
	job_options_done(&m->o);
	arena_done(&m->arena);
}

/* ---- how much -------------------------------------------------------------------------------- */

struct units { const char *line; uint8_t shape; uint32_t units, most; uint16_t per_node, tasks_per_node, tasks_per_unit; };

static const struct units cases[] = {
	{"-A x --flavor f", SHAPE_GPU, 1, 1, 0, 0, 0},
	{"-A x --flavor f --gpus 4", SHAPE_GPU, 4, 4, 0, 0, 0},
	{"-A x --flavor f --gpus 4 --tasks-per-gpu 1", SHAPE_GPU, 4, 4, 0, 0, 1},
	{"-A x --flavor f -N 2", SHAPE_NODE, 2, 2, 0, 0, 0},
	{"-A x --flavor f -N 2-8", SHAPE_NODE, 2, 8, 0, 0, 0},
	{"-A x --flavor f -N 2 --exclusive --ntasks-per-node 4", SHAPE_NODE, 2, 2, 0, 4, 0},
	{"-A memo --flavor mi250x -N 2 --gpus-per-node 8", SHAPE_GPU, 16, 16, 8, 0, 0},
	{"-A memo --flavor mi250x -N 2 --gres=gpu:4", SHAPE_GPU, 8, 8, 4, 0, 0},
	{"-A x --flavor f --gpus-per-node 4", SHAPE_GPU, 4, 4, 4, 0, 0},
	{"-A x --flavor f -N 2 --gpus 8", SHAPE_GPU, 8, 8, 4, 0, 0},
	{"-A x --flavor f -n 8 --gpus-per-task 2", SHAPE_GPU, 16, 16, 0, 1, 0},
	{"-A x --flavor f --gpus 8 -n 8", SHAPE_GPU, 8, 8, 0, 0, 1},
	{"-A x --flavor f --gpus 4 -n 1", SHAPE_GPU, 4, 4, 0, 1, 0},
	{"-A x --flavor f --gpus 4 --elastic 2..8", SHAPE_GPU, 2, 8, 0, 0, 0},
	/* lungnet's sector was promised whole nodes: eight of eight devices are a node */
	{"-A lungnet --flavor h100-80g -N 2 --gpus-per-node 8", SHAPE_NODE, 2, 2, 0, 0, 0},
	{"-A lungnet --flavor h100-80g -N 2 --gpus-per-node 4", SHAPE_GPU, 8, 8, 4, 0, 0},
};

static void test_units_and_tasks_in_every_spelling(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct units *u = &cases[i];
		const struct job_spec *s;
		struct made m;

		make(&m, u->line);
		s = &m.sub.cmd.spec;
		if (m.code)
			fail_msg("'%s' is refused: %s", u->line, m.err.msg);
		if (s->shape != u->shape || s->units != u->units || s->units_max != u->most || s->per_node != u->per_node ||
		    s->tasks_per_node != u->tasks_per_node || s->tasks_per_unit != u->tasks_per_unit)
			fail_msg("'%s' asks for shape %u units %u..%u per node %u tasks %u %u", u->line, s->shape, s->units,
				 s->units_max, s->per_node, s->tasks_per_node, s->tasks_per_unit);
		done(&m);
	}
}

static void test_the_flavor_is_found_when_only_one_can_be_meant(void **state)
{
	static const struct { const char *line, *flavor; } found[] = {
		{"-A lungnet --gpus=h100:2", "h100-80g"}, {"-A lungnet --gres=gpu:mi250x:2", "mi250x"},
		{"-A lungnet -p h100-80g --gpus 1", "h100-80g"}, {"-A memo --gpus 1", "mi250x"},
		{"-A lungnet --flavor special --gpus 1", "special"},
	};
	struct made m;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(found); i++) {
		make(&m, found[i].line);
		assert_int_equal(m.code, 0);
		assert_string_equal(m.sub.cmd.flavor, found[i].flavor);
		done(&m);
	}
	make(&m, "-A lungnet --gpus 1");
	assert_int_equal(m.code, ERR_INVAL);
	assert_string_equal(m.err.hint, "--flavor h100-80g, or --flavor mi250x, or --flavor cpu");
	done(&m);
	make(&m, "-A lungnet -p gpu --gpus 1");
	assert_int_equal(m.code, ERR_INVAL);
	assert_string_equal(m.err.msg, "'gpu' is no flavor of this cluster");
	done(&m);
	make(&m, "-A nobody --gpus 1");
	assert_int_equal(m.code, ERR_NOTFOUND);
	done(&m);
}

/* Each line: a script, the environment, the command line; how many devices that are. */
static void test_the_stronger_source_says_how_many_devices(void **state)
{
	static const struct { const char *script, *env, *line; uint32_t units; } wins[] = {
		{"#SBATCH --gres=gpu:2", NULL, "--gpus 1", 1},
		{"#SBATCH --gpus-per-node=4", NULL, "-G 1", 1},
		{"#SBATCH -G 4", NULL, "--gres gpu:2", 2},
		{"#SBATCH --gpus-per-task=4", NULL, "--gpus-per-node=3", 3},
		{"#SBATCH --gres=gpu:2", "SLUIS_SUBMIT_GPUS=3", "", 3},
		{"#SBATCH --gres=gpu:2", "SLUIS_SUBMIT_GPUS_PER_NODE=3", "--gpus 1", 1},
		{"#SBATCH --gres=gpu:2", NULL, "", 2},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wins); i++) {
		struct config_errors errs = CONFIG_ERRORS_INIT;
		struct directives script = {0};
		struct directive items[8];
		struct conf_texts words = {0};
		struct job_options o;
		struct submission sub;
		struct arena arena = {0};
		struct err err = {0};
		char text[256], env_text[64] = "";
		char *const env[] = {env_text, NULL};
		char *const *left;
		size_t n = 0;

		snprintf(text, sizeof text, "#!/bin/sh\n#SLUIS -A x --flavor f\n%s\ntrue\n", wins[i].script);
		snprintf(env_text, sizeof env_text, "%s", wins[i].env ? wins[i].env : "HOME=/");
		job_options_init(&o, INT64_C(1795528920000));
		assert_int_equal(directives_read("x.sh", text, strlen(text), &script, &errs), 0);
		assert_int_equal(shell_words(wins[i].line, &arena, &words, NULL), 0);
		(void)options_from_words(&words, 0, FROM_COMMAND, &arena, items, 8, &n);
		left = submission_precedence(&script, env, items, n, &arena);
		if (directives_resolve(&o, &script, left, false, items, n, &errs))
			fail_msg("'%s': %s", wins[i].line, errs.list[0].text);
		if (submission_fill(&o, text, "x.sh", NULL, 0, env, "/", NULL, &arena, &sub, &err))
			fail_msg("'%s' beside '%s': %s", wins[i].line, wins[i].script, err.msg);
		assert_int_equal(sub.cmd.spec.units, wins[i].units);
		job_options_done(&o);
		directives_done(&script);
		config_errors_done(&errs);
		arena_done(&arena);
	}
}

static void test_cores_and_memory(void **state)
{
	struct made m;

	(void)state;
	make(&m, "-A x --flavor f --gpus 4 -c 6 --mem-per-gpu 32G");
	assert_int_equal(m.sub.cmd.spec.cpus_per_task, 6);
	assert_int_equal(m.sub.cmd.spec.memory_mib, 4 * 32 * 1024);
	done(&m);
	make(&m, "-A x --flavor f --gpus 4 --tasks-per-gpu 2 --cpus-per-gpu 8 --mem-per-cpu 1G");
	assert_int_equal(m.sub.cmd.spec.cpus_per_task, 4);
	assert_int_equal(m.sub.cmd.spec.memory_mib, 4 * 2 * 4 * 1024);
	done(&m);
	make(&m, "-A x --flavor f --gpus 4 --mem 0");
	assert_int_equal(m.sub.cmd.spec.memory_mib, 0); /* the node's share */
	done(&m);
	make(&m, "-A memo -p cpu -n 8 -c 4"); /* cores are the units there */
	assert_string_equal(m.sub.cmd.flavor, "cpu");
	assert_int_equal(m.sub.cmd.spec.units, 32);
	done(&m);
	make(&m, "-A x --flavor f --mem-per-gpu 900G --gpus 60000");
	assert_int_equal(m.code, ERR_RANGE);
	done(&m);
}

/* What no cluster has is refused as sluisd would: it can never start, 102. */
static void test_more_than_there_ever_are(void **state)
{
	static const char *const LINE[] = {
		"-A x --flavor f --gpus 131073",
		"-A x --flavor f --gpus 1000000000",
		"-A x --flavor f -N 999999",
		"-A x --flavor f --gres=gpu:1000000000",
		"-A x --flavor f -N 1-999999 --gpus-per-node 4",
		"-A x --flavor f -n 999999 --gpus-per-task 1000000000000",
		"-A x --flavor f --elastic 2..999999",
	};
	struct made m;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(LINE); i++) {
		make(&m, LINE[i]);
		if (m.code != ERR_NEVER || m.err.reason != REASON_SHAPE || strcmp(m.err.hint, "1 to 131072 devices") != 0)
			fail_msg("'%s': %s: %s", LINE[i], err_name(m.code), m.err.msg);
		done(&m);
	}
	make(&m, "-A x --flavor f --gpus 131072");
	assert_int_equal(m.code, 0);
	assert_int_equal(m.sub.cmd.spec.units, 131072);
	done(&m);
}

/* ---- terms ----------------------------------------------------------------------------------- */

static void test_times_class_loan_and_stopping(void **state)
{
	const struct job_spec *s;
	struct made m;

	(void)state;
	make(&m, "-A x --flavor f -t 12:00:00 --class urgent --loan ok --notice 2m --exempt 10m --signal B:USR1@300 "
		 "--retries 5 --no-requeue --stop-on-disconnect --array 0-63:2%8 --begin 2026-12-01 --hold");
	s = &m.sub.cmd.spec;
	assert_int_equal(m.code, 0);
	assert_int_equal(s->time_limit_ms, 12 * 3600000);
	assert_int_equal(s->klass, JOB_URGENT);
	assert_int_equal(s->loan, LOAN_OK);
	assert_int_equal(s->notice_ms, 300000); /* Slurm's five minutes before the limit */
	assert_int_equal(s->exempt_ms, 600000);
	assert_int_equal(s->signal, 10);
	assert_int_equal(s->signal_target, SIGNAL_BATCH);
	assert_int_equal(s->retries_infra, 5);
	assert_true(s->no_requeue);
	assert_true(s->stop_on_disconnect);
	assert_true(s->hold);
	assert_int_equal(s->array_last, 63);
	assert_int_equal(s->array_step, 2);
	assert_int_equal(s->array_running_max, 8);
	assert_true(s->begin_ms > 0);
	done(&m);
	make(&m, "-A x --flavor f"); /* nothing said: nothing risked */
	s = &m.sub.cmd.spec;
	assert_int_equal(s->klass, JOB_NORMAL);
	assert_int_equal(s->loan, LOAN_NEVER);
	assert_int_equal(s->time_limit_ms, 0); /* the project's default */
	assert_false(s->no_requeue);
	assert_int_equal(s->retries_infra, 3);
	assert_int_equal(s->array_step, 0);
	done(&m);
}

static void test_dependencies_and_predicates(void **state)
{
	const struct job_spec *s;
	struct made m;

	(void)state;
	make(&m, "-A x --flavor f -d afterok:7:8,afterany:9,singleton -C a&site=ams1 --require jurisdiction=NL");
	s = &m.sub.cmd.spec;
	assert_int_equal(m.code, 0);
	assert_int_equal(s->deps_n, 4);
	assert_int_equal(s->deps[0].type, DEP_AFTEROK);
	assert_int_equal(s->deps[1].job, 8);
	assert_int_equal(s->deps[3].type, DEP_SINGLETON);
	assert_int_equal(s->requires_n, 3);
	assert_string_equal(s->requires[0].key, "a");
	assert_string_equal(s->requires[0].value, "");
	assert_string_equal(s->requires[1].value, "ams1");
	assert_string_equal(s->requires[2].key, "jurisdiction");
	done(&m);
}

/* One leaf or none; one leaf for a time, as Slurm's --switches means it; a pod if there is one. */
static void test_how_close_the_nodes_must_be(void **state)
{
	static const struct { const char *line; uint8_t topology; bool required; int64_t wait_ms; } level[] = {
		{"-A x --flavor f --topology required=leaf", TOPOLOGY_LEAF, true, 0},
		{"-A x --flavor f --topology preferred=pod", TOPOLOGY_POD, false, 0},
		{"-A x --flavor f --topology preferred=leaf@10", TOPOLOGY_LEAF, false, 600000},
		{"-A x --flavor f --switches=1@10:00", TOPOLOGY_LEAF, false, 600000},
		{"-A x --flavor f --switches 1", TOPOLOGY_LEAF, false, 300000},
		{"-A x --flavor f --switches 2", TOPOLOGY_ANY, false, 0}, /* kept: no level */
		{"-A x --flavor f --topology nvlink", TOPOLOGY_ANY, false, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(level); i++) {
		struct made m;

		make(&m, level[i].line);
		assert_int_equal(m.code, 0);
		assert_int_equal(m.sub.cmd.spec.topology, level[i].topology);
		assert_int_equal(m.sub.cmd.spec.topology_required, level[i].required);
		assert_int_equal(m.sub.cmd.spec.topology_wait_ms, level[i].wait_ms);
		done(&m);
	}
}

/* What would be lost on the way is refused instead. */
static void test_what_cannot_be_kept_is_refused_with_a_way_out(void **state)
{
	static const char *const lines[] = {
		"-A x --flavor f -d aftercorr:7", "-A x --flavor f -d afterok:7?afterany:8", "-A x --flavor f -d after:7+10",
		"-A x --flavor f -d afterok:7_3", "-A x --flavor f -C a|b", "-A x --flavor f -N 3 --gpus 8",
		"-A x --flavor f --gpus 0", "-A lungnet --flavor f -N 1 --gpus 0", "-A lungnet --gres=none", "-A lungnet -N 2 --gpus-per-node 0",
		"-A x --flavor f --gpus 8 -N 2 --gpus-per-node 2", "-A x --flavor f --gpus 5 -n 3", "--flavor f --gpus 1",
		"-A x --flavor f --gpus 900000",
		"-A x --flavor f -d afterok:1:2:3:4:5:6:7:8:9",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct made m;

		make(&m, lines[i]);
		if (!m.code)
			fail_msg("'%s' is taken", lines[i]);
		assert_true(m.err.msg[0] != '\0');
		assert_true(m.err.hint[0] != '\0');
		done(&m);
	}
}

/* ---- payload --------------------------------------------------------------------------------- */

static const char *env_of(const struct payload *p, const char *name)
{
	size_t n = strlen(name);

	for (uint32_t i = 0; i < p->env_n; i++)
		if (!strncmp(p->env[i].s, name, n) && p->env[i].s[n] == '=')
			return p->env[i].s + n + 1;
	return NULL;
}

static void test_environment_by_export(void **state)
{
	char *env[] = {strdup("HOME=/home/eva"), strdup("A=1"), strdup("SLUIS_SUBMIT_FLAVOR=x"), strdup("BAD=\xff"), NULL};
	struct made m;

	(void)state;
	make_env(&m, "-A x --flavor f --env B=2 --env A=3", NULL, env);
	assert_string_equal(env_of(&m.sub.payload, "HOME"), "/home/eva");
	assert_string_equal(env_of(&m.sub.payload, "A"), "3"); /* what was given beats what was there */
	assert_string_equal(env_of(&m.sub.payload, "B"), "2");
	assert_null(env_of(&m.sub.payload, "SLUIS_SUBMIT_FLAVOR"));
	assert_null(env_of(&m.sub.payload, "BAD")); /* no UTF-8: cannot travel */
	done(&m);
	make_env(&m, "-A x --flavor f --export NONE", NULL, env);
	assert_int_equal(m.sub.payload.env_n, 0);
	done(&m);
	make_env(&m, "-A x --flavor f --export A,C=5", NULL, env);
	assert_string_equal(env_of(&m.sub.payload, "A"), "1");
	assert_string_equal(env_of(&m.sub.payload, "C"), "5");
	assert_null(env_of(&m.sub.payload, "HOME"));
	done(&m);
	for (size_t i = 0; env[i]; i++)
		free(env[i]);
}

/* SLURM_* steers software: it is for who wrote to Slurm, in #SBATCH lines or as --wrap, and for who asks. */
static void test_who_came_from_slurm_finds_its_variables(void **state)
{
	static const struct { const char *line, *script; bool found; } ways[] = {
		{"-A x --flavor f", NULL, false},
		{"-A x --flavor f", "#!/bin/sh\nhostname\n", false},
		{"-A x --flavor f --slurm-env", NULL, true},
		{"-A x --flavor f --wrap hostname", "#!/bin/sh\nhostname\n", true}, /* the script that sluisctl makes of it */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		struct made m;

		make_env(&m, ways[i].line, ways[i].script, NULL);
		assert_int_equal(m.code, 0);
		if (m.sub.cmd.spec.slurm_env != ways[i].found)
			fail_msg("'%s'%s: SLURM_* %d", ways[i].line, ways[i].script ? " and a script" : "", !ways[i].found);
		done(&m);
	}
}

static void test_script_once_command_everywhere(void **state)
{
	struct made m;

	(void)state;
	make_env(&m, "-A x --flavor f -o out-%j.txt -e err --open-mode append", "#!/bin/sh\n", NULL);
	assert_int_equal(m.sub.cmd.spec.mode, JOB_SCRIPT);
	assert_string_equal(m.sub.cmd.spec.name, "train.sh");
	assert_string_equal(m.sub.payload.script, "#!/bin/sh\n");
	assert_int_equal(m.sub.payload.argv_n, 2);
	assert_string_equal(m.sub.payload.cwd, "/home/eva");
	assert_string_equal(m.sub.payload.output, "out-%j.txt");
	assert_true(m.sub.payload.append);
	done(&m);
	make(&m, "-A x --flavor f -J run -D /data --mail-type=END --nice=5");
	assert_int_equal(m.sub.cmd.spec.mode, JOB_COMMAND);
	assert_string_equal(m.sub.cmd.spec.name, "run");
	assert_null(m.sub.payload.script);
	assert_string_equal(m.sub.payload.argv[0].s, "/opt/bin/train");
	assert_string_equal(m.sub.payload.cwd, "/data");
	assert_int_equal(m.sub.payload.kept_n, 2); /* told, not dropped */
	assert_string_equal(m.sub.payload.kept[0].s, "--mail-type=END");
	assert_string_equal(m.sub.payload.kept[1].s, "--nice=5");
	done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_units_and_tasks_in_every_spelling),
		cmocka_unit_test(test_the_flavor_is_found_when_only_one_can_be_meant),
		cmocka_unit_test(test_the_stronger_source_says_how_many_devices),
		cmocka_unit_test(test_cores_and_memory),
		cmocka_unit_test(test_more_than_there_ever_are),
		cmocka_unit_test(test_times_class_loan_and_stopping),
		cmocka_unit_test(test_dependencies_and_predicates),
		cmocka_unit_test(test_how_close_the_nodes_must_be),
		cmocka_unit_test(test_what_cannot_be_kept_is_refused_with_a_way_out),
		cmocka_unit_test(test_environment_by_export),
		cmocka_unit_test(test_who_came_from_slurm_finds_its_variables),
		cmocka_unit_test(test_script_once_command_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
