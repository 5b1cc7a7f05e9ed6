/* cmd_jobs.c - sluis-sim jobs: a batch log through a queueing policy */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/jobsim.h"
#include "daemon/sim/main/cmd.h"
#include "daemon/sim/swf.h"
#include "daemon/sim/text.h"
#include "proto/base/ensure.h"

static const char help_text[] =
	"usage: sluis-sim jobs --trace FILE.swf[.gz] --policy POLICY [OPTION ...]\n"
	"\n"
	"  --trace FILE         batch log in the Standard Workload Format, plain or gzip\n"
	"  --procs N            processors of the machine (default: MaxProcs of the log)\n"
	"  --policy POLICY      fcfs, easy, easy-sjbf or sluis\n"
	"  --estimate ESTIMATE  requested, perfect or tsafrir (default: tsafrir for sluis, else requested)\n"
	"  --no-request HOW     jobs without a requested time: drop (default) or run (take the run time)\n"
	"  --bad-lines HOW      lines that cannot be read: refuse the file (default), or skip and count them\n"
	"  --csv FILE           also write one line per job: job,submit_s,wait_s,run_s,procs,slowdown\n"
	"  --json               print one JSON object\n";

struct options {
	const char *trace;
	const char *policy_name;
	const char *estimate_name;
	const char *csv;
	int64_t procs;
	bool request_from_run, json;
	struct bad_lines bad;
	const struct jobsim_policy *policy;
	enum jobsim_estimate estimate;
};

/* 0 to go on, or an exit status with *ret_done set. */
static int parse_options(int argc, char **argv, struct options *o, bool *ret_done)
{
	enum { TRACE = 1, PROCS, POLICY, ESTIMATE, NO_REQUEST, BAD_LINES, CSV, JSON, HELP };
	static const struct option longs[] = {
		{"trace", required_argument, NULL, TRACE}, {"procs", required_argument, NULL, PROCS},
		{"policy", required_argument, NULL, POLICY}, {"estimate", required_argument, NULL, ESTIMATE},
		{"no-request", required_argument, NULL, NO_REQUEST}, {"bad-lines", required_argument, NULL, BAD_LINES},
		{"csv", required_argument, NULL, CSV}, {"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, HELP}, {NULL, 0, NULL, 0},
	};
	struct err err;
	int c;

	*ret_done = true;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case TRACE: o->trace = optarg; break;
		case PROCS:
			if (parse_int("--procs", optarg, 1, 100000000, &o->procs, &err))
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
			if (parse_bad_lines(optarg, &o->bad, &err))
				return usage("%s", err.msg);
			break;
		case CSV: o->csv = optarg; break;
		case JSON: o->json = true; break;
		case HELP: (void)fputs(help_text, stdout); return 0;
		default: return EXIT_USAGE; /* getopt has said why */
		}
	}
	if (optind < argc)
		return usage("'%s' is not an option", argv[optind]);
	if (!o->trace || !o->policy_name)
		return usage("--trace and --policy are needed");
	o->policy = jobsim_policy_find(o->policy_name);
	if (!o->policy)
		return usage("'%s' is not a policy: fcfs, easy, easy-sjbf or sluis", o->policy_name);
	if (!o->estimate_name)
		o->estimate_name = strcmp(o->policy_name, "sluis") == 0 ? "tsafrir" : "requested";
	for (; o->estimate < ESTIMATE_COUNT; o->estimate++)
		if (strcmp(jobsim_estimate_names[o->estimate], o->estimate_name) == 0)
			break;
	if (o->estimate == ESTIMATE_COUNT)
		return usage("'%s' is not an estimate: requested, perfect or tsafrir", o->estimate_name);
	*ret_done = false;
	return 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* What a run is known by, beside its result. */
struct run {
	const struct options *o;
	char sha256[TEXT_HEX_BYTES];
	size_t read_n;
	struct swf swf;
	struct swf_dropped dropped;
	int64_t *start_s;
	struct jobsim_result result;
};

static void spread_json(struct buf *b, const char *name, const struct jobsim_spread *d)
{
	buf_addf(b, "  \"%s\": {\"mean\": %.15g, \"p50\": %.15g, \"p95\": %.15g, \"p99\": %.15g, \"max\": %.15g},\n", name,
		 d->mean, d->p50, d->p95, d->p99, d->max);
}

static void print_json(struct buf *b, const struct run *r)
{
	const struct swf_dropped *d = &r->dropped;

	buf_addf(b, "{\n  \"version\": \"%s\",\n  \"trace\": ", SLUIS_VERSION);
	json_string(b, base_name(r->o->trace));
	buf_addf(b, ",\n  \"trace_sha256\": \"%s\",\n  \"procs\": %" PRId64 ",\n  \"policy\": \"%s\",\n", r->sha256,
		 r->o->procs, r->o->policy->name);
	buf_addf(b, "  \"estimate\": \"%s\",\n  \"jobs_read\": %zu,\n  \"jobs_simulated\": %zu,\n", r->o->estimate_name,
		 r->read_n, r->swf.jobs_n);
	buf_addf(b, "  \"bad_lines\": %zu,\n  \"jobs_dropped\": {\"all\": %zu, \"too_large\": %zu, \"no_size\": %zu, "
		 "\"no_submit\": %zu, \"no_run\": %zu, \"no_request\": %zu},\n", r->o->bad.n, d->all, d->too_large,
		 d->no_size, d->no_submit, d->no_run, d->no_request);
	buf_addf(b, "  \"jobs_cut_at_request\": %zu,\n  \"jobs_out_of_order\": %zu,\n", d->overran, d->out_of_order);
	spread_json(b, "wait_s", &r->result.wait_s);
	spread_json(b, "bounded_slowdown", &r->result.slowdown);
	spread_json(b, "flow_s", &r->result.flow_s);
	buf_addf(b, "  \"span_s\": %" PRId64 ",\n  \"utilisation\": %.15g\n}\n",
		 r->result.last_end_s - r->result.first_submit_s, r->result.utilisation);
}

static void spread_text(struct buf *b, const char *name, const struct jobsim_spread *d)
{
	buf_addf(b, "%-18s %14.4f %12.4f %12.4f %12.4f %12.4f\n", name, d->mean, d->p50, d->p95, d->p99, d->max);
}

static void print_text(struct buf *b, const struct run *r)
{
	const struct swf_dropped *d = &r->dropped;

	buf_addf(b, "trace              %s\n", base_name(r->o->trace));
	buf_addf(b, "processors         %" PRId64 "\n", r->o->procs);
	buf_addf(b, "policy             %s: %s\n", r->o->policy->name, r->o->policy->text);
	buf_addf(b, "estimate           %s\n", r->o->estimate_name);
	buf_addf(b, "jobs               %zu read, %zu simulated, %zu dropped\n", r->read_n, r->swf.jobs_n, d->all);
	if (d->all)
		buf_addf(b, "dropped            %zu too large, %zu without size, %zu without submission, %zu did not run, "
			 "%zu without request\n", d->too_large, d->no_size, d->no_submit, d->no_run, d->no_request);
	print_bad_lines(b, &r->o->bad);
	buf_addf(b, "cut at request     %zu\n\n", d->overran);
	buf_addf(b, "%-18s %14s %12s %12s %12s %12s\n", "", "mean", "p50", "p95", "p99", "max");
	spread_text(b, "wait s", &r->result.wait_s);
	spread_text(b, "bounded slowdown", &r->result.slowdown);
	spread_text(b, "flow s", &r->result.flow_s);
	buf_addf(b, "\nutilisation        %.4f\n", r->result.utilisation);
}

static int write_csv(const struct run *r, struct err *err)
{
	FILE *f = fopen(r->o->csv, "w");
	int failed = 0;

	if (!f)
		return err_set_errno(err, ERR_IO, "cannot write '%s'", r->o->csv);
	failed |= fputs("job,submit_s,wait_s,run_s,procs,slowdown\n", f) < 0;
	for (size_t i = 0; i < r->swf.jobs_n; i++) {
		const struct swf_job *j = &r->swf.jobs[i];
		int64_t wait_s = r->start_s[i] - j->submit_s, bound_s = j->run_s > 10 ? j->run_s : 10;
		double slow = (double)(wait_s + j->run_s) / (double)bound_s;

		failed |= fprintf(f, "%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%.6f\n", j->id,
				  j->submit_s, wait_s, j->run_s, j->procs, slow > 1 ? slow : 1.0) < 0;
	}
	failed |= fclose(f) != 0;
	return failed ? err_set(err, ERR_IO, "cannot write '%s'", r->o->csv) : 0;
}

static int load(struct options *o, struct run *run, struct err *err)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	int r = text_load(o->trace, &text, run->sha256, err);

	if (r == 0)
		r = swf_parse(o->trace, (const char *)text.data, text.len, &o->bad, &run->swf, err);
	if (r)
		return r;
	if (!o->procs)
		o->procs = run->swf.max_procs > 0 ? run->swf.max_procs : run->swf.max_nodes;
	if (o->procs < 1) {
		(void)err_set(err, ERR_INVAL, "'%s' does not say how large the machine is", o->trace);
		return err_hint(err, "give it with --procs");
	}
	run->read_n = run->swf.jobs_n;
	swf_filter(&run->swf, o->procs, o->request_from_run, &run->dropped);
	if (run->swf.jobs_n > 0)
		return 0;
	(void)err_set(err, ERR_INVAL, "'%s' has no job that can be simulated, %zu were dropped", o->trace,
		      run->dropped.all);
	return run->dropped.no_request ? err_hint(err, "--no-request run takes the run time for a missing request")
				       : ERR_INVAL;
}

static int simulate(struct options *o, struct run *run, struct err *err)
{
	struct progress progress;
	int r = load(o, run, err);

	if (r)
		return r;
	run->start_s = xmalloc(run->swf.jobs_n * sizeof *run->start_s);
	progress_begin(&progress, "jobs");
	r = jobsim_run(run->swf.jobs, run->swf.jobs_n, o->procs, o->policy, o->estimate, progress_step, &progress,
		       run->start_s, err);
	progress_end(&progress);
	if (r)
		return r;
	jobsim_measure(run->swf.jobs, run->swf.jobs_n, o->procs, run->start_s, &run->result);
	return o->csv ? write_csv(run, err) : 0;
}

int cmd_jobs(int argc, char **argv)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;
	struct options o = {0};
	struct run run = {.o = &o};
	struct err err = {0};
	bool done;
	int status = parse_options(argc, argv, &o, &done);

	if (done)
		return status;
	if (simulate(&o, &run, &err)) {
		status = fail(&err);
	} else {
		if (o.json)
			print_json(&out, &run);
		else
			print_text(&out, &run);
		status = print_out(&out);
	}
	free(run.start_s);
	swf_done(&run.swf);
	return status;
}
