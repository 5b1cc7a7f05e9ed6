/* cmd_jobs.c - sluis-sim jobs: a batch log through a queueing policy */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/jobs_report.h"
#include "daemon/sim/jobsim_core.h"
#include "daemon/sim/main/cmd.h"
#include "daemon/sim/snapshot.h"
#include "proto/base/ensure.h"

static const char help_text[] =
	"usage: sluis-sim jobs --trace FILE.swf[.gz] | --snapshot FILE  --policy POLICY [OPTION ...]\n"
	"\n"
	"  --trace FILE         batch log in the Standard Workload Format, plain or gzip\n"
	"  --snapshot FILE      what runs and waits in a cluster now, written by sluisctl snapshot\n"
	"  --flavor NAME        of the snapshot (default: the one with most devices)\n"
	"  --procs N            processors of the machine (default: MaxProcs of the log)\n"
	"  --policy POLICY      fcfs, easy, easy-sjbf, sluis, or core: the queue of sluisd itself\n"
	"  --estimate ESTIMATE  requested, perfect or tsafrir (default: tsafrir for sluis, else requested)\n"
	"  --no-request HOW     jobs without a requested time: drop (default) or run (take the run time)\n"
	"  --bad-lines HOW      lines that cannot be read: refuse the file (default), or skip and count them\n"
	"  -o DIR               write tables and pictures there\n"
	"  --json               print one JSON object\n";

struct options {
	const char *trace, *snapshot, *flavor;
	const char *policy_name;
	const char *estimate_name;
	const char *out;
	int64_t procs;
	bool request_from_run, json;
	const struct jobsim_policy *policy;
	enum jobsim_estimate estimate;
};

/* 0 to go on, or an exit status with *ret_done set. */
static int parse_options(int argc, char **argv, struct options *o, struct bad_lines *bad, bool *ret_done)
{
	enum { TRACE = 1, SNAPSHOT, FLAVOR, PROCS, POLICY, ESTIMATE, NO_REQUEST, BAD_LINES, JSON, HELP };
	static const struct option longs[] = {
		{"trace", required_argument, NULL, TRACE}, {"snapshot", required_argument, NULL, SNAPSHOT},
		{"flavor", required_argument, NULL, FLAVOR}, {"procs", required_argument, NULL, PROCS},
		{"policy", required_argument, NULL, POLICY}, {"estimate", required_argument, NULL, ESTIMATE},
		{"no-request", required_argument, NULL, NO_REQUEST}, {"bad-lines", required_argument, NULL, BAD_LINES},
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, HELP}, {NULL, 0, NULL, 0},
	};
	struct err err;
	int c;

	*ret_done = true;
	while ((c = getopt_long(argc, argv, ":o:", longs, NULL)) != -1) {
		switch (c) {
		case TRACE: o->trace = optarg; break;
		case SNAPSHOT: o->snapshot = optarg; break;
		case FLAVOR: o->flavor = optarg; break;
		case PROCS:
			if (parse_int("--procs", optarg, 1, SWF_PROCS_MAX, &o->procs, &err))
				return usage("%s", err.msg);
			break;
		case POLICY: o->policy_name = optarg; break;
		case ESTIMATE: o->estimate_name = optarg; break;
		case NO_REQUEST:
			if (strcmp(optarg, "run") != 0 && strcmp(optarg, "drop") != 0)
				return usage("--no-request takes drop or run, not '%s'", optarg);
			o->request_from_run = strcmp(optarg, "run") == 0;
			break;
		case BAD_LINES:
			if (parse_bad_lines(optarg, bad, &err))
				return usage("%s", err.msg);
			break;
		case 'o': o->out = optarg; break;
		case JSON: o->json = true; break;
		case HELP: (void)fputs(help_text, stdout); return 0;
		default: return usage_option(c, argv);
		}
	}
	if (optind < argc)
		return usage("'%s' is not an option", argv[optind]);
	if (!o->trace == !o->snapshot || !o->policy_name)
		return usage("--policy is needed, and one of --trace and --snapshot");
	o->policy = strcmp(o->policy_name, jobsim_core.name) == 0 ? &jobsim_core : jobsim_policy_find(o->policy_name);
	if (!o->policy)
		return usage("'%s' is not a policy: fcfs, easy, easy-sjbf, sluis or core", o->policy_name);
	if (!o->estimate_name)
		o->estimate_name = strcmp(o->policy_name, "sluis") == 0 ? "tsafrir" : "requested";
	for (; o->estimate < ESTIMATE_COUNT; o->estimate++)
		if (strcmp(jobsim_estimate_names[o->estimate], o->estimate_name) == 0)
			break;
	if (o->policy == &jobsim_core && o->estimate != ESTIMATE_REQUESTED)
		return usage("the core goes by requested times");
	if (o->estimate == ESTIMATE_COUNT)
		return usage("'%s' is not an estimate: requested, perfect or tsafrir", o->estimate_name);
	*ret_done = false;
	return 0;
}

static int load(struct options *o, struct jobs_report *run, struct err *err)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	CLEANUP(snapshot_done) struct snapshot now = {0};
	int r;

	if (o->snapshot)
		o->trace = o->snapshot;
	r = text_load(o->trace, &text, run->sha256, err);
	if (r == 0 && o->snapshot)
		r = snapshot_parse(o->trace, (const char *)text.data, text.len, o->flavor, &now, err);
	if (r == 0 && o->snapshot)
		snapshot_log(&now, &run->swf);
	else if (r == 0)
		r = swf_parse(o->trace, (const char *)text.data, text.len, &run->bad, &run->swf, err);
	if (r)
		return r;
	if (!o->procs && run->swf.bad_size_line) {
		(void)err_set(err, ERR_INVAL, "%s:%u: the size of the machine is not from 1 to %" PRId64, o->trace,
			      run->swf.bad_size_line, SWF_PROCS_MAX);
		return err_hint(err, "give it with --procs");
	}
	if (!o->procs)
		o->procs = run->swf.max_procs > 0 ? run->swf.max_procs : run->swf.max_nodes;
	if (o->procs < 1) {
		(void)err_set(err, ERR_INVAL, "'%s' does not say how large the machine is", o->trace);
		return err_hint(err, "give it with --procs");
	}
	run->trace_name = base_name(o->trace);
	run->procs = o->procs;
	run->policy = o->policy;
	run->estimate_name = o->estimate_name;
	run->read_n = run->swf.jobs_n;
	swf_filter(&run->swf, o->procs, o->request_from_run, &run->dropped);
	if (run->swf.jobs_n > 0)
		return 0;
	(void)err_set(err, ERR_INVAL, "'%s' has no job that can be simulated, %zu were dropped", o->trace,
		      run->dropped.all);
	return run->dropped.no_request ? err_hint(err, "--no-request run takes the run time for a missing request")
				       : ERR_INVAL;
}

static int write_all(const char *dir, const struct jobs_report *run, struct err *err)
{
	static const struct {
		const char *name;
		void (*write)(struct buf *, const struct jobs_report *);
	} files[] = {
		{"summary.json", jobs_json},      {"jobs.csv", jobs_csv},           {"minutes.csv", jobs_minutes_csv},
		{"busy.svg", jobs_picture_busy},  {"queue.svg", jobs_picture_queue}, {"wait.svg", jobs_picture_wait},
		{"gantt.svg", jobs_picture_gantt},
	};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	int r = make_dir(dir, err);

	for (size_t i = 0; i < ARRAY_LEN(files) && r == 0; i++) {
		files[i].write(&b, run);
		r = write_file(dir, files[i].name, &b, err);
	}
	return r;
}

static int simulate(struct options *o, struct jobs_report *run, struct err *err)
{
	struct progress progress;
	int r = load(o, run, err);

	if (r)
		return r;
	run->start_s = xmalloc(run->swf.jobs_n * sizeof *run->start_s);
	progress_begin(&progress, "jobs");
	if (o->policy == &jobsim_core)
		r = jobsim_core_run(run->swf.jobs, run->swf.jobs_n, o->procs, progress_step, &progress, run->start_s, &run->told,
				    err);
	else
		r = jobsim_run(run->swf.jobs, run->swf.jobs_n, o->procs, o->policy, o->estimate, progress_step, &progress,
			       run->start_s, err);
	progress_end(&progress);
	if (r)
		return r;
	jobsim_measure(run->swf.jobs, run->swf.jobs_n, o->procs, run->start_s, &run->result);
	return o->out ? write_all(o->out, run, err) : 0;
}

int cmd_jobs(int argc, char **argv)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;
	struct options o = {0};
	struct jobs_report run = {0};
	struct err err = {0};
	bool done;
	int status = parse_options(argc, argv, &o, &run.bad, &done);

	if (done)
		return status;
	if (simulate(&o, &run, &err)) {
		status = fail(&err);
	} else {
		if (o.json)
			jobs_json(&out, &run);
		else
			jobs_text(&out, &run);
		status = print_out(&out);
	}
	free(run.start_s);
	swf_done(&run.swf);
	return status;
}
