/* test_directives.c - a researcher's script must mean here what it means elsewhere, or be refused with its line.
 * One case per row of options.def, real scripts, and the texts of refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/limits.h"
#include "proto/config/directives.h"

#define NOW (INT64_C(1795525200) * 1000) /* 2026-11-24T13:00:00Z */

/* Read and resolve a script; errors as printed text in `out` (empty: none). */
static struct job_options resolve(const char *script, char *const *env, const char *command, struct buf *out)
{
	struct job_options o;
	struct directives d = {0};
	struct config_errors errs = CONFIG_ERRORS_INIT;
	struct arena arena = {0};
	struct conf_texts words = {0};
	struct directive items[64];
	size_t count = 0;

	buf_reset(out);
	job_options_init(&o, NOW);
	o.cluster = "ai-factory";
	if (command) {
		assert_int_equal(shell_words(command, &arena, &words, NULL), 0);
		(void)options_from_words(&words, 0, FROM_COMMAND, &arena, items, ARRAY_LEN(items), &count);
	}
	if (directives_read("train.sh", script, strlen(script), &d, &errs) == 0) {
		int code = directives_resolve(&o, &d, env, true, items, count, &errs);

		assert_int_equal(code, errs.count ? ERR_CONFIG : 0);
		directives_done(&d);
	} else {
		assert_true(errs.count > 0);
	}
	config_errors_print(&errs, out);
	(void)buf_cstr(out);
	config_errors_done(&errs);
	arena_done(&arena);
	return o;
}

static struct job_options resolve_ok(const char *script)
{
	struct buf out = BUF_INIT;
	struct job_options o = resolve(script, NULL, NULL, &out);

	if (out.len)
		fail_msg("refused:\n%s", buf_cstr(&out));
	buf_done(&out);
	return o;
}

static void refused_with(const char *script, const char *want)
{
	struct buf out = BUF_INIT;
	struct job_options o = resolve(script, NULL, NULL, &out);

	assert_string_equal(buf_cstr(&out), want);
	buf_done(&out);
	job_options_done(&o);
}

/* Per option: a good value and a bad one; NULL: no value. An empty `bad` means nothing is bad. */
static const struct sample { const char *name, *good, *bad; } samples[] = {
	{"account", "laion", ""}, {"project", "lungnet", ""}, {"stage", "pilot", NULL}, {"job-name", "a b", ""},
	{"comment", "x", ""}, {"partition", "g40,g80", ""}, {"qos", "standby", "gold"}, {"class", "standby", "fast"},
	{"flavor", "h100-80g", ""}, {"nodes", "2-4", "4-2"}, {"ntasks", "16", "0"}, {"ntasks-per-node", "8", "-1"},
	{"tasks-per-node", "8", "x"}, {"ntasks-per-gpu", "1", "0"}, {"tasks-per-gpu", "1", "0"},
	{"ntasks-per-socket", NULL, "2"}, {"cpus-per-task", "12", "1.5"}, {"cpus-per-gpu", "12", "-"},
	{"gpus", "h100:8-32", "32-8"}, {"gpus-per-node", "8", "a:b:c"}, {"gpus-per-task", "1", "1,2"},
	{"gpus-per-socket", NULL, "4"}, {"gres", "gpu:a100:4", "lustre:1"}, {"whole-nodes", NULL, "yes"},
	{"exclusive", NULL, "user"}, {"mem", "8gb", "lots"}, {"mem-per-cpu", "954M", "0"}, {"mem-per-gpu", "64GB", "0"},
	{"elastic", "2..8", "8..2"}, {"time", "1-12:00:00", "UNLIMITED"}, {"time-min", "30", NULL},
	{"begin", "now+1hour", "teatime"}, {"deadline", "2027-01-01", "fika"}, {"dependency", "afterok:20:21,after:3+5", "expand:20"},
	{"kill-on-invalid-dep", "yes", NULL}, {"array", "0-63:2%8", "1,2,4"}, {"hold", NULL, "x"}, {"reservation", "r1", ""},
	{"nice", "-5", NULL}, {"priority", "100", NULL}, {"loan", "ok", "maybe"}, {"notice", "2m", "120"},
	{"exempt", "10m", "ten"}, {"signal", "B:USR1@120", "USR9@10"}, {"checkpoint-command", "./save", ""},
	{"checkpoint-dir", "/scratch", ""}, {"retries", "3", "-1"}, {"requeue", NULL, "1"}, {"no-requeue", NULL, "1"},
	{"stop-on-disconnect", NULL, "1"}, {"topology", "preferred=pod@10", "required=leaf@10"}, {"constraint", "a100&ib|h100", "a*2&b*1"},
	{"require", "jurisdiction=NL", "a b"}, {"nodelist", NULL, "n[017-018]"}, {"exclude", NULL, "n1,n2"},
	{"nodefile", NULL, "hosts"}, {"switches", "1@10:00", "one"}, {"chdir", "/home/eva", ""}, {"output", "%x-%j_%N.out", ""},
	{"error", "/dev/null", ""}, {"input", "in", ""}, {"open-mode", "append", "a"}, {"export", "ALL,A=1,B", "NONE,A"},
	{"env", "A=b=c", "A"}, {"slurm-env", NULL, "1"}, {"container", "img.sif", ""}, {"wait", NULL, "1"},
	{"follow", NULL, "1"}, {"parsable", NULL, "1"}, {"test-only", NULL, "1"}, {"wrap", "hostname", ""},
	{"quiet", NULL, "1"}, {"verbose", NULL, "1"}, {"ignore-pbs", NULL, "1"}, {"help", NULL, "1"}, {"usage", NULL, "1"},
	{"version", NULL, "1"}, {"clusters", "all", "other"}, {"get-user-env", NULL, NULL}, {"gpu-bind", "closest", NULL},
	{"gres-flags", "enforce-binding", "disable-binding"}, {"overcommit", NULL, "1"}, {"oversubscribe", NULL, "1"},
	{"distribution", "block", NULL}, {"hint", "nomultithread", NULL}, {"cpu-bind", "none", NULL}, {"mem-bind", "local", NULL},
	{"extra-node-info", "2:8", NULL}, {"sockets-per-node", "2", NULL}, {"cores-per-socket", "8", NULL},
	{"threads-per-core", "1", NULL}, {"ntasks-per-core", "1", NULL}, {"mincpus", "4", NULL}, {"cpu-freq", "high", NULL},
	{"gpu-freq", "high", NULL}, {"spread-job", NULL, "1"}, {"use-min-nodes", NULL, "1"}, {"wait-all-nodes", "1", NULL},
	{"acctg-freq", "30", NULL}, {"profile", "all", NULL}, {"propagate", NULL, NULL}, {"wckey", "submitit", NULL},
	{"bell", NULL, "1"}, {"delay-boot", "0", NULL}, {"extra", "x", NULL}, {"mail-type", "ALL", NULL}, {"mail-user", "", NULL},
	{"licenses", "", "matlab"}, {"bb", NULL, "x"}, {"bbf", NULL, "x"}, {"uid", NULL, "0"}, {"gid", NULL, "0"},
	{"no-kill", NULL, "off"}, {"core-spec", NULL, "2"}, {"thread-spec", NULL, "2"}, {"tmp", NULL, "10G"}, {"contiguous", NULL, ""},
	{"prefer", NULL, "a"}, {"batch", NULL, "a"}, {"cluster-constraint", NULL, "a"}, {"mcs-label", NULL, "a"},
	{"multi-prog", NULL, ""}, {"export-file", NULL, "f"}, {"power", NULL, "x"}, {"reboot", NULL, ""}, {"network", NULL, "x"},
	{"x11", NULL, ""}, {"nvmps", NULL, ""},
};

static void every_row_of_the_table_does_what_it_says(void **state)
{
	const struct option_where where = {.file = "train.sh", .line = 4, .source = FROM_SLUIS};

	(void)state;
	assert_int_equal(ARRAY_LEN(samples), job_option_count);
	for (size_t i = 0; i < job_option_count; i++) {
		const struct job_option *row = &job_option_table[i];
		const struct sample *s = &samples[i];
		struct job_options o, untouched;
		struct err err = {0};
		int code;

		assert_string_equal(s->name, row->name);
		assert_true(row->meaning[0]);
		job_options_init(&o, NOW);
		job_options_init(&untouched, NOW);
		o.cluster = untouched.cluster = "ai-factory";
		if (row->verdict != VERDICT_NO || strcmp(row->name, "licenses") == 0) {
			code = job_option_set(&o, row->name, s->good, &where, &err);
			if (code)
				fail_msg("--%s=%s: %s", row->name, s->good ? s->good : "", err.msg);
			/* kept is listed, with its line; anything else has changed a member */
			if (row->verdict == VERDICT_KEPT) {
				assert_int_equal(o.kept.count, 1);
				assert_string_equal(o.kept.items[0].name, row->name);
				assert_int_equal(o.kept.items[0].line, 4);
			} else if (strcmp(row->name, "licenses") != 0) {
				struct job_options seen = o;

				seen.arena = untouched.arena;
				if (memcmp(&seen, &untouched, sizeof(seen)) == 0)
					fail_msg("--%s changed nothing", row->name);
			}
		}
		if (s->bad) {
			const char *value = row->argument == OPTION_NONE && s->bad[0] == '\0' ? NULL : s->bad;

			err = (struct err){0};
			code = job_option_set(&o, row->name, value, &where, &err);
			if (code == 0)
				fail_msg("--%s=%s was taken", row->name, s->bad);
			if (!strstr(err.msg, row->name) || !err.hint[0])
				fail_msg("--%s=%s: '%s', '%s'", row->name, s->bad, err.msg, err.hint);
			if (row->verdict == VERDICT_NO)
				assert_true(row->way[0]);
		}
		job_options_done(&o);
	}
}

static void a_public_training_script_is_read_as_slurm_reads_it(void **state)
{
	struct job_options o = resolve_ok("#!/bin/bash\n"
					  "#SBATCH --job-name=openclip   # a comment\n"
					  "#SBATCH --account laion\n"
					  "#SBATCH --partition=\"g40\"\n"
					  "#SBATCH -N2 --ntasks-per-node 8\n"
					  "#SBATCH --gres=gpu:8\n"
					  "#SBATCH --gpus-per-node=8\n"
					  "#SBATCH --cpus-per-task=12\n"
					  "#SBATCH --mem=8gb\n"
					  "##SBATCH --licenses=matlab\n"
					  "# SBATCH --licenses=matlab\n"
					  "#SBATCh --time=1\n"
					  "#SBATCH --mail-user=\n"
					  "#SBATCH -o %x-%j_%N.out\n"
					  "#SBATCH --signal=USR1@90 -t 12:00:00\n"
					  "\n"
					  "srun python train.py\n"
					  "#SBATCH --time=5\n");

	(void)state;
	assert_string_equal(o.name, "openclip");
	assert_string_equal(o.project, "laion");
	assert_string_equal(o.partition, "g40");
	assert_int_equal(o.nodes_min, 2);
	assert_int_equal(o.nodes_max, 2);
	assert_int_equal(o.tasks_per_node, 8);
	assert_int_equal(o.gres_gpus, 8);
	assert_int_equal(o.gpus_per_node, 8);
	assert_int_equal(o.cpus_per_task, 12);
	assert_int_equal(o.mem_mib, 8192);
	assert_string_equal(o.output, "%x-%j_%N.out");
	assert_int_equal(o.signal.number, 10);
	assert_int_equal(o.signal.seconds, 90);
	assert_false(o.signal.batch);
	assert_int_equal(o.time_limit_ms, 12 * MS_PER_HOUR); /* the late one is not read */
	assert_int_equal(o.kept.count, 1);
	assert_string_equal(o.kept.items[0].name, "mail-user");
	assert_int_equal(o.kept.items[0].line, 13);
	assert_true(o.slurm_env);
	job_options_done(&o);
}

static void submitits_script_is_taken(void **state)
{
	struct job_options o = resolve_ok("#!/bin/bash\n\n# Parameters\n"
					  "#SBATCH --array=0-2%3\n#SBATCH --error='/home/eva/log dir/%A_%a_0_log.err'\n"
					  "#SBATCH --gpus-per-node=8\n#SBATCH --job-name=submitit\n#SBATCH --mem=64GB\n"
					  "#SBATCH --nodes=1\n#SBATCH --open-mode=append\n#SBATCH --signal=USR2@90\n"
					  "#SBATCH --time=5\n#SBATCH --wckey=submitit\n\n# command\nexport SUBMITIT_EXECUTOR=slurm\n");

	(void)state;
	assert_int_equal(o.array.first, 0);
	assert_int_equal(o.array.last, 2);
	assert_int_equal(o.array.step, 1);
	assert_int_equal(o.array.running_max, 3);
	assert_string_equal(o.error, "/home/eva/log dir/%A_%a_0_log.err");
	assert_int_equal(o.open_mode, OPEN_APPEND);
	assert_int_equal(o.time_limit_ms, 5 * MS_PER_MIN);
	assert_int_equal(o.kept.count, 1);
	job_options_done(&o);
}

static void later_sources_win(void **state)
{
	char *const env[] = {(char[]){"SBATCH_TIMELIMIT=30"}, (char[]){"SLUIS_SUBMIT_FLAVOR=mi250x"},
			     (char[]){"SBATCH_DEBUG=1"}, (char[]){"SLUIS_SUBMIT_TIME=40"}, (char[]){"PATH=/bin"}, NULL};
	static const char script[] = "#!/bin/sh\n#SLUIS --time 20m --notice 2m\n#SBATCH --time=10 --nice=3\n";
	struct buf out = BUF_INIT;
	struct job_options o = resolve(script, NULL, NULL, &out);

	(void)state;
	assert_int_equal(out.len, 0);
	assert_int_equal(o.time_limit_ms, 20 * MS_PER_MIN); /* #SLUIS, though it stands first */
	assert_int_equal(o.kept.count, 1);
	assert_string_equal(o.kept.items[0].value, "3");
	job_options_done(&o);
	o = resolve(script, env, NULL, &out);
	assert_int_equal(out.len, 0);
	assert_int_equal(o.time_limit_ms, 40 * MS_PER_MIN);
	assert_string_equal(o.flavor, "mi250x");
	job_options_done(&o);
	o = resolve(script, env, "-t 50 -Hv --flavor=cpu", &out);
	assert_int_equal(out.len, 0);
	assert_int_equal(o.time_limit_ms, 50 * MS_PER_MIN);
	assert_string_equal(o.flavor, "cpu");
	assert_true(o.hold);
	assert_true(o.verbose);
	job_options_done(&o);
	buf_done(&out);
}

static void refusals_name_the_line_and_a_way_out(void **state)
{
	(void)state;
	refused_with("#!/bin/bash\n#SBATCH -N 2\n#SBATCH -t 5\n#SBATCH --licenses=matlab\n",
		     "train.sh:4: error: '--licenses=matlab': sluis has no licenses\n"
		     "  try     remove the line, or --constraint LABEL if nodes carry that label\n");
	refused_with("#!/bin/bash\n#SBATCH --time=UNLIMITED\n#SBATCH --tme=5\n#SBATCH --flavor=x\n#SBATCH hetjob\n",
		     "train.sh:2: error: '--time=UNLIMITED': no job runs without a time limit\n"
		     "  try     a time limit, say 24:00:00; none given: the project's default\n"
		     "train.sh:3: error: '--tme': unknown option\n"
		     "  try     --time\n"
		     "train.sh:4: error: '--flavor': sbatch does not know it\n"
		     "  try     #SLUIS --flavor on a line of its own\n"
		     "train.sh:5: error: 'hetjob': one job has one shape\n"
		     "  try     two jobs with --dependency=aftercorr, or --elastic\n");
	refused_with("#!/bin/bash\n#SBATCH --gres=gpu:4 --gpus-per-node=8\n",
		     "train.sh: error: --gres and --gpus-per-node differ\n  try     one of them\n");
	refused_with("#!/bin/bash\necho hi\n#SLUIS --time 5\n",
		     "train.sh:3: error: a #SLUIS line after the first command\n  try     move it above the first command\n");
	refused_with("#!/bin/bash\n#SBATCH -J 'open\n",
		     "train.sh:2: error: a quote (') is not closed\n  try     close it on the same line\n");
}

static void scripts_that_are_none_are_refused_whole(void **state)
{
	struct config_errors errs = CONFIG_ERRORS_INIT;
	struct directives d;
	char *big = calloc(1, SCRIPT_BYTES_MAX + 2);

	(void)state;
	refused_with("#SBATCH -N 1\n", "train.sh:1: error: the first line does not say what runs the script\n"
				       "  try     #!/bin/bash as the first line\n");
	refused_with("#!/bin/bash\r\n#SBATCH -N 1\r\n", "train.sh:1: error: lines end in CR LF, as on Windows\n"
							 "  try     sed -i 's/\\r$//' train.sh\n");
	refused_with("#!/bin/bash\n#PBS -l nodes=2\n",
		     "train.sh:2: error: this is a PBS script\n"
		     "  try     write its limits as #SLUIS lines: --time, --nodes, --gpus-per-node\n");
	struct job_options o = resolve_ok("#!/bin/bash\n#PBS -l nodes=2\n#SBATCH -N 2\n");
	assert_int_equal(o.nodes_min, 2);
	job_options_done(&o);
	assert_int_equal(directives_read("s", "#!/bin/sh\n\0", 11, &d, &errs), ERR_CONFIG);
	assert_non_null(strstr(errs.list[0].text, "NUL"));
	config_errors_done(&errs);
	assert_non_null(big);
	memset(big, '#', SCRIPT_BYTES_MAX + 1);
	big[1] = '!';
	assert_int_equal(directives_read("s", big, SCRIPT_BYTES_MAX + 1, &d, &errs), ERR_CONFIG);
	assert_non_null(strstr(errs.list[0].text, "4 MiB"));
	config_errors_done(&errs);
	free(big);
}

static void notes_keep_what_was_not_read(void **state)
{
	static const char script[] = "#!/bin/sh\n#SBATCh -N 1\n#SBATCH--time=5\ntrue\n#SBATCH -N 2\n";
	struct config_errors errs = CONFIG_ERRORS_INIT;
	struct directives d;

	(void)state;
	assert_int_equal(directives_read("s", script, sizeof(script) - 1, &d, &errs), 0);
	assert_int_equal(d.list.count, 0);
	assert_int_equal(d.notes.count, 3);
	assert_int_equal(d.notes.items[0].line, 2);
	assert_int_equal(d.notes.items[1].line, 3);
	assert_int_equal(d.notes.items[2].line, 5);
	directives_done(&d);
}

static void words_are_a_shells(void **state)
{
	struct arena a = {0};
	struct conf_texts w;

	(void)state;
	assert_int_equal(shell_words("a 'b c' \"d\\\"$e\" f\\ g h#i '' # rest 'open", &a, &w, NULL), 0);
	assert_int_equal(w.count, 6);
	assert_string_equal(w.items[1], "b c");
	assert_string_equal(w.items[2], "d\"$e");
	assert_string_equal(w.items[3], "f g");
	assert_string_equal(w.items[4], "h#i");
	assert_string_equal(w.items[5], "");
	arena_done(&a);
}

static void details_arrive_in_the_struct(void **state)
{
	struct job_options o = resolve_ok("#!/bin/sh\n#SLUIS -d afterok:20:21_3?after:7+5?singleton -C 'a100&ib|h100'\n"
					  "#SLUIS --export=NONE --env A=1 --env B=2 --signal B:TERM@30 --gpus h100:16\n"
					  "#SLUIS -a 2,4,6 --qos urgent --mem 0 --begin now+2h --no-requeue --elastic 2..8\n");

	(void)state;
	assert_int_equal(o.deps.count, 4);
	assert_true(o.deps.any);
	assert_int_equal(o.deps.items[0].kind, DEPEND_AFTEROK);
	assert_int_equal(o.deps.items[0].job, 20);
	assert_int_equal(o.deps.items[0].index, JOB_UNSET);
	assert_int_equal(o.deps.items[1].index, 3);
	assert_int_equal(o.deps.items[2].delay_ms, 5 * MS_PER_MIN);
	assert_int_equal(o.deps.items[3].kind, DEPEND_SINGLETON);
	assert_int_equal(o.constraint.count, 2);
	assert_int_equal(o.constraint.any[0].all.count, 2);
	assert_string_equal(o.constraint.any[0].all.items[1], "ib");
	assert_string_equal(o.constraint.any[1].all.items[0], "h100");
	assert_int_equal(o.export_mode, EXPORT_NONE);
	assert_int_equal(o.env.count, 2);
	assert_string_equal(o.env.items[1], "B=2");
	assert_true(o.signal.batch);
	assert_int_equal(o.gpus, 16);
	assert_string_equal(o.gpu_type, "h100");
	assert_int_equal(o.array.first, 2);
	assert_int_equal(o.array.last, 6);
	assert_int_equal(o.array.step, 2);
	assert_string_equal(o.klass, "urgent");
	assert_int_equal(o.mem_mib, 0);
	assert_int_equal(o.begin_ms, NOW + 2 * MS_PER_HOUR);
	assert_int_equal(o.requeue, 0);
	assert_int_equal(o.elastic_max, 8);
	assert_false(o.slurm_env);
	job_options_done(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_of_the_table_does_what_it_says),
		cmocka_unit_test(a_public_training_script_is_read_as_slurm_reads_it),
		cmocka_unit_test(submitits_script_is_taken),
		cmocka_unit_test(later_sources_win),
		cmocka_unit_test(refusals_name_the_line_and_a_way_out),
		cmocka_unit_test(scripts_that_are_none_are_refused_whole),
		cmocka_unit_test(notes_keep_what_was_not_read),
		cmocka_unit_test(words_are_a_shells),
		cmocka_unit_test(details_arrive_in_the_struct),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
