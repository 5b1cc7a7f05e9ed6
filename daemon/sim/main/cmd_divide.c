/* cmd_divide.c - sluis-sim divide: training jobs and leases on one divided pool */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/divide.h"
#include "daemon/sim/divide_report.h"
#include "daemon/sim/main/cmd.h"
#include "daemon/sim/snapshot.h"
#include "daemon/sim/text.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

static const char help_text[] =
	"usage: sluis-sim divide --nodes NxD --jobs FILE --demand FILE --policy POLICY[,...] [OPTION ...]\n"
	"       sluis-sim divide --snapshot FILE --policy POLICY[,...] [OPTION ...]\n"
	"\n"
	"  --snapshot FILE      a cluster as it stands, written by sluisctl snapshot, in place of --nodes, --jobs and\n"
	"                       --demand; each of them may still be given\n"
	"  --flavor NAME        of the snapshot (default: the one with most devices)\n"
	"  --nodes NxD          N nodes of D devices\n"
	"  --jobs FILE          training jobs: digest of the Philly trace, or a batch log (SWF)\n"
	"  --demand FILE        leases: provider,at_s,devices; request rates; or service instances\n"
	"  --policy POLICY      static, walled, cohort, lyra, sluis, clairvoyant (knows run times and demand, yet is no\n"
	"                       bound), or several with commas, or all\n"
	"  --public PERCENT     share of the public side (default 20, or that of the snapshot)\n"
	"  --peak PERCENT       scale the demand so that its peak is so much of the private side (default 100;\n"
	"                       a snapshot: as it is)\n"
	"  --rate-device X      devices per request/s or instance instead: service time / target load\n"
	"  --from DAYS          begin so far into the trace (default 0)\n"
	"  --days DAYS          jobs submitted in so many days (default 14)\n"
	"  --checkpoint SECONDS a job saves its state every so often (default 1800; 0: never)\n"
	"  --restart SECONDS    loading it again takes (default 120)\n"
	"  --save SECONDS       jobs save on notice, which takes (default 0: they do not)\n"
	"  --notice SECONDS     before a recalled job is stopped (default 120)\n"
	"  --recall SECONDS     promised to a lease that grows (default 300)\n"
	"  --risk PERCENT       lend no device that is wanted back before the job ends with a greater chance (default 70;\n"
	"                       100: lend all)\n"
	"  --age-guard DAYS     sluis: a job that waits longer goes before all that do not (default 2)\n"
	"  --one-project        all jobs are of one project: no shares between projects and users\n"
	"  --bad-lines HOW      lines that cannot be read: refuse the file (default), or skip and count them\n"
	"  --check              walk the invariants of the core once a simulated hour\n"
	"  -o DIR               write tables and pictures there\n"
	"  --json               print one JSON object\n";

struct options {
	const char *snapshot, *flavor, *jobs, *demand, *out;
	double rate_device;
	int64_t public_percent, peak_percent, from_days, days, risk_percent, age_guard_days;
	bool policy[DIVIDE_POLICIES], one_project, json;
	struct bad_lines bad;
	struct divide_setup in;
};

static int parse_nodes(const char *text, struct divide_setup *in)
{
	char *x, *end;
	unsigned long n, per;

	errno = 0;
	n = strtoul(text, &x, 10);
	per = *x == 'x' ? strtoul(x + 1, &end, 10) : 0;
	if (errno || x == text || *x != 'x' || *end || !n || n > 100000 || !per || per > DEVICES_PER_NODE_MAX ||
	    text[0] == '-' || x[1] == '-' || n * per > DIVIDE_UNITS_MAX)
		return usage("--nodes takes NxD, up to 100000 nodes of up to %d devices and %d devices in all, not '%s'",
			     DEVICES_PER_NODE_MAX, DIVIDE_UNITS_MAX, text);
	in->nodes = (uint32_t)n;
	in->per_node = (uint32_t)per;
	return 0;
}

static int take_policy(struct options *o, size_t k)
{
	if (o->policy[k])
		return usage("the policy '%s' is named twice", divide_policy_names[k]);
	o->policy[k] = true;
	return 0;
}

static int parse_policies(char *text, struct options *o)
{
	for (char *at = text, *save; (at = strtok_r(at, ",", &save)) != NULL; at = NULL) {
		size_t k = 0;

		if (strcmp(at, "all") == 0) {
			for (k = 0; k < DIVIDE_POLICIES; k++)
				if (take_policy(o, k))
					return EXIT_USAGE;
			continue;
		}
		while (k < DIVIDE_POLICIES && strcmp(divide_policy_names[k], at) != 0)
			k++;
		if (k == DIVIDE_POLICIES)
			return usage("'%s' is not a policy: static, walled, cohort, lyra, sluis, clairvoyant or all", at);
		if (take_policy(o, k))
			return EXIT_USAGE;
	}
	return 0;
}

static int seconds(const char *option, const char *text, int64_t low, int64_t *ret_ms, struct err *err)
{
	int r = parse_int(option, text, low, 1000000, ret_ms, err);

	*ret_ms *= MS_PER_S;
	return r;
}

/* 0 to go on, or an exit status with *ret_done set. */
static int parse_options(int argc, char **argv, struct options *o, bool *ret_done)
{
	enum { NODES = 1, SNAPSHOT, FLAVOR, JOBS, DEMAND, POLICY, PUBLIC, PEAK, RATE, FROM, DAYS, CHECKPOINT, RESTART, SAVE, NOTICE, RECALL, RISK, AGE_GUARD, ONE_PROJECT,
	       BAD_LINES, CHECK, JSON, HELP };
	static const struct option longs[] = {
		{"snapshot", required_argument, NULL, SNAPSHOT}, {"flavor", required_argument, NULL, FLAVOR},
		{"nodes", required_argument, NULL, NODES}, {"jobs", required_argument, NULL, JOBS},
		{"demand", required_argument, NULL, DEMAND}, {"policy", required_argument, NULL, POLICY},
		{"public", required_argument, NULL, PUBLIC}, {"peak", required_argument, NULL, PEAK},
		{"rate-device", required_argument, NULL, RATE}, {"from", required_argument, NULL, FROM},
		{"days", required_argument, NULL, DAYS}, {"checkpoint", required_argument, NULL, CHECKPOINT},
		{"restart", required_argument, NULL, RESTART}, {"save", required_argument, NULL, SAVE},
		{"notice", required_argument, NULL, NOTICE}, {"recall", required_argument, NULL, RECALL},
		{"risk", required_argument, NULL, RISK}, {"age-guard", required_argument, NULL, AGE_GUARD},
		{"one-project", no_argument, NULL, ONE_PROJECT},
		{"bad-lines", required_argument, NULL, BAD_LINES}, {"check", no_argument, NULL, CHECK}, {"json", no_argument, NULL, JSON}, {"help", no_argument, NULL, HELP},
		{NULL, 0, NULL, 0},
	};
	struct err err;
	bool any = false;
	char *end;
	int c, r = 0;

	*ret_done = true;
	while (r == 0 && (c = getopt_long(argc, argv, ":o:", longs, NULL)) != -1) {
		int bad = 0;

		switch (c) {
		case NODES: r = parse_nodes(optarg, &o->in); break;
		case SNAPSHOT: o->snapshot = optarg; break;
		case FLAVOR: o->flavor = optarg; break;
		case JOBS: o->jobs = optarg; break;
		case DEMAND: o->demand = optarg; break;
		case POLICY: r = parse_policies(optarg, o); break;
		case PUBLIC: bad = parse_int("--public", optarg, 1, 99, &o->public_percent, &err); break;
		case PEAK: bad = parse_int("--peak", optarg, 1, 100, &o->peak_percent, &err); break;
		case RATE:
			errno = 0;
			o->rate_device = strtod(optarg, &end);
			if (errno || *end || !(o->rate_device > 0 && o->rate_device < 1e6))
				r = usage("--rate-device takes a number above 0 and below 1000000, not '%s'", optarg);
			break;
		case FROM: bad = parse_int("--from", optarg, 0, 10000, &o->from_days, &err); break;
		case DAYS: bad = parse_int("--days", optarg, 1, 1000, &o->days, &err); break;
		case CHECKPOINT: bad = seconds("--checkpoint", optarg, 0, &o->in.checkpoint_ms, &err); break;
		case RESTART: bad = seconds("--restart", optarg, 0, &o->in.restart_ms, &err); break;
		case SAVE: bad = seconds("--save", optarg, 0, &o->in.save_ms, &err); break;
		case NOTICE: bad = seconds("--notice", optarg, 0, &o->in.notice_ms, &err); break;
		case RECALL: bad = seconds("--recall", optarg, 1, &o->in.recall_slo_ms, &err); break;
		case RISK: bad = parse_int("--risk", optarg, 1, 100, &o->risk_percent, &err); break;
		case AGE_GUARD: bad = parse_int("--age-guard", optarg, 1, 10000, &o->age_guard_days, &err); break;
		case ONE_PROJECT: o->one_project = true; break;
		case BAD_LINES: bad = parse_bad_lines(optarg, &o->bad, &err); break;
		case CHECK: o->in.check = true; break;
		case 'o': o->out = optarg; break;
		case JSON: o->json = true; break;
		case HELP: (void)fputs(help_text, stdout); return 0;
		default: return usage_option(c, argv);
		}
		if (bad)
			return usage("%s", err.msg);
	}
	if (r)
		return r;
	if (optind < argc)
		return usage("'%s' is not an option", argv[optind]);
	for (size_t k = 0; k < DIVIDE_POLICIES; k++)
		any |= o->policy[k];
	if (!any || (!o->snapshot && (!o->in.nodes || !o->jobs || !o->demand)))
		return usage("--policy is needed, and --snapshot or --nodes, --jobs and --demand");
	o->in.lend_risk_ppm = (uint32_t)o->risk_percent * 10000;
	o->in.age_guard_ms = o->age_guard_days * MS_PER_DAY;
	*ret_done = false;
	return 0;
}

/* The sides' devices: as asked, as the snapshot has them, or a fifth. */
static void divide_units(struct options *o, const struct snapshot *now)
{
	uint32_t all = o->in.nodes * o->in.per_node;

	if (o->snapshot && now->public_units + now->private_units > 0 && now->public_units + now->private_units <= all)
		all = now->public_units + now->private_units; /* what is promised, without the spare */
	if (o->public_percent < 0 && o->snapshot && all == now->public_units + now->private_units)
		o->in.public_units = now->public_units;
	else
		o->in.public_units = (uint32_t)((uint64_t)all * (uint64_t)(o->public_percent < 0 ? 20 : o->public_percent) / 100);
	o->in.private_units = all - o->in.public_units;
}

/* The largest job that counts. Of a trace what the public side has and sluisd takes, so that all policies do the same
 * work; of a cluster as it stands all that comes to run under the policies that were asked for, on loan too. */
static uint32_t largest(const struct options *o)
{
	uint32_t most = o->in.nodes * o->in.per_node;

	if (o->jobs)
		return divide_units_max(&o->in, DIVIDE_WALLED);
	for (size_t k = 0; k < DIVIDE_POLICIES; k++)
		if (o->policy[k] && divide_units_max(&o->in, (enum divide_policy)k) < most)
			most = divide_units_max(&o->in, (enum divide_policy)k);
	return most;
}

static int load_jobs(struct options *o, const struct snapshot *now, struct divide_report *r, struct divide_trace *trace,
		     struct err *err)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	struct divide_pick pick = {.from_ms = o->from_days * MS_PER_DAY, .span_ms = o->days * MS_PER_DAY,
				   .run_ms_max = o->days * MS_PER_DAY, .units_max = largest(o), .one_tenant = o->one_project};
	int rc;

	if (!o->jobs) {
		snapshot_trace(now, &pick, trace);
		if (trace->jobs_n)
			return 0;
		(void)err_set(err, ERR_INVAL, "'%s' has no job that can be used", o->snapshot);
		return err_hint(err, "%zu read, %zu too large for the %" PRIu32 " devices that jobs can have", trace->read_n,
				trace->too_large_n, pick.units_max);
	}
	r->jobs_name = base_name(o->jobs);
	rc = text_load(o->jobs, &text, r->jobs_sha256, err);
	return rc ? rc : divide_trace_parse(o->jobs, (const char *)text.data, text.len, &o->bad, &pick, trace, err);
}

static int load_demand(struct options *o, const struct snapshot *now, struct divide_report *r, struct demand *demand,
		       struct err *err)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	CLEANUP(demand_curve_done) struct demand_curve curve = {0};
	int64_t percent = o->peak_percent < 0 ? 100 : o->peak_percent;
	struct demand_rule rule = {.per_value = o->rate_device, .scale_down_ms = 5 * MS_PER_MIN, .idle_ms = MS_PER_HOUR,
				   .peak = (uint32_t)((uint64_t)o->in.private_units * (uint64_t)percent / 100)};
	int rc = 0;

	if (!o->demand) {
		snapshot_demand(now, o->days * MS_PER_DAY, &curve);
		if (o->peak_percent < 0)
			rule.per_value = 1; /* as they are */
		else if (!curve.series_n)
			demand_curve_add(&curve, "private", 1); /* nobody leases yet: one that takes the peak */
	} else {
		r->demand_name = base_name(o->demand);
		rc = text_load(o->demand, &text, r->demand_sha256, err);
		if (rc == 0)
			rc = demand_parse(o->demand, (const char *)text.data, text.len, &o->bad, &curve, err);
	}
	return rc ? rc : demand_make(&curve, &rule, demand, err);
}

static int load(struct options *o, struct divide_report *r, struct divide_trace *trace, struct demand *demand,
		struct err *err)
{
	CLEANUP(snapshot_done) struct snapshot now = {0};
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	int rc = 0;

	if (o->snapshot) {
		rc = text_load(o->snapshot, &text, r->jobs_sha256, err);
		if (rc == 0)
			rc = snapshot_parse(o->snapshot, (const char *)text.data, text.len, o->flavor, &now, err);
		if (rc)
			return rc;
		memcpy(r->demand_sha256, r->jobs_sha256, sizeof r->demand_sha256);
		r->jobs_name = r->demand_name = base_name(o->snapshot);
		if (!o->in.nodes) {
			o->in.nodes = now.nodes;
			o->in.per_node = now.per_node;
		}
	}
	divide_units(o, &now);
	o->in.window_ms = o->days * MS_PER_DAY;
	rc = load_demand(o, &now, r, demand, err);
	return rc ? rc : load_jobs(o, &now, r, trace, err);
}

static int write_run(const char *dir, const struct divide_report *r, size_t i, struct err *err)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	const char *policy = divide_policy_names[r->runs[i].policy];
	char name[64];
	int rc;

	divide_jobs_csv(&b, r->in, &r->runs[i]);
	(void)snprintf(name, sizeof name, "jobs-%s.csv", policy);
	rc = write_file(dir, name, &b, err);
	if (rc == 0) {
		divide_minutes_csv(&b, r->in, &r->runs[i]);
		(void)snprintf(name, sizeof name, "minutes-%s.csv", policy);
		rc = write_file(dir, name, &b, err);
	}
	if (rc == 0) {
		divide_picture_division(&b, r, i);
		(void)snprintf(name, sizeof name, "division-%s.svg", policy);
		rc = write_file(dir, name, &b, err);
	}
	if (rc == 0 && r->runs[i].spans_n) {
		divide_picture_gantt(&b, r, i);
		(void)snprintf(name, sizeof name, "gantt-%s.svg", policy);
		rc = write_file(dir, name, &b, err);
	}
	if (rc == 0 && r->results[i].recalls_n) {
		divide_picture_recalls(&b, r, i);
		(void)snprintf(name, sizeof name, "recalls-%s.svg", policy);
		rc = write_file(dir, name, &b, err);
	}
	return rc;
}

static int write_all(const char *dir, const struct divide_report *r, struct err *err)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	int rc = make_dir(dir, err);

	for (size_t i = 0; i < r->runs_n && rc == 0; i++)
		rc = write_run(dir, r, i, err);
	if (rc)
		return rc;
	divide_json(&b, r);
	rc = write_file(dir, "summary.json", &b, err);
	if (rc == 0) {
		divide_picture_wait(&b, r);
		rc = write_file(dir, "wait.svg", &b, err);
	}
	if (rc == 0) {
		divide_picture_queue(&b, r);
		rc = write_file(dir, "queue.svg", &b, err);
	}
	if (rc == 0) {
		divide_picture_lost(&b, r);
		rc = write_file(dir, "lost.svg", &b, err);
	}
	if (rc == 0) {
		divide_picture_compare(&b, r);
		rc = write_file(dir, "compare.svg", &b, err);
	}
	return rc;
}

static int simulate(struct options *o, struct divide_report *r, struct divide_run *runs, struct divide_result *results,
		    struct err *err)
{
	for (size_t k = 0; k < DIVIDE_POLICIES; k++) {
		struct progress progress;
		int rc;

		if (!o->policy[k])
			continue;
		progress_begin(&progress, divide_policy_names[k]);
		rc = divide_run(&o->in, (enum divide_policy)k, progress_step, &progress, &runs[r->runs_n++], err);
		progress_end(&progress);
		if (rc)
			return rc;
		divide_measure(&o->in, &runs[r->runs_n - 1], &results[r->runs_n - 1]);
	}
	r->bound_s = divide_jct_bound_s(&o->in);
	return o->out ? write_all(o->out, r, err) : 0;
}

int cmd_divide(int argc, char **argv)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;
	struct options o = {.public_percent = -1, .peak_percent = -1, .days = 14,
			    .in = {.checkpoint_ms = 30 * MS_PER_MIN, .restart_ms = 2 * MS_PER_MIN,
				   .notice_ms = 2 * MS_PER_MIN, .recall_slo_ms = 5 * MS_PER_MIN,
				   .ttl_ms = 15 * MS_PER_MIN}};
	CLEANUP(divide_trace_done) struct divide_trace trace = {0};
	CLEANUP(demand_done) struct demand demand = {0};
	struct divide_run runs[DIVIDE_POLICIES] = {{0}};
	struct divide_result results[DIVIDE_POLICIES];
	struct divide_report report = {.in = &o.in, .runs = runs, .results = results, .bad = &o.bad};
	struct err err = {0};
	bool done;
	int status = parse_options(argc, argv, &o, &done);

	if (done)
		return status;
	o.in.trace = &trace;
	o.in.demand = &demand;
	if (load(&o, &report, &trace, &demand, &err) || simulate(&o, &report, runs, results, &err)) {
		status = fail(&err);
	} else {
		if (o.json)
			divide_json(&out, &report);
		else
			divide_text(&out, &report);
		status = print_out(&out);
	}
	for (size_t i = 0; i < report.runs_n; i++)
		divide_run_done(&runs[i]);
	return status;
}
