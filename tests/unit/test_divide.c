/* test_divide.c - training jobs and leases on one divided pool
 *
 * Without these a figure about lending could be right by accident: devices counted twice, work forgotten
 * at a recall, a late lease not seen, a baseline that is weaker than what it stands for.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/sim/divide.h"
#include "daemon/sim/divide_report.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/prng.h"

/* ---- demand ------------------------------------------------------------------------------------------------- */

static struct demand demand_of(const char *text, const struct demand_rule *rule)
{
	struct demand_curve c = {0};
	struct demand d;
	struct err err;

	if (demand_parse("demand.csv", text, strlen(text), NULL, &c, &err) || demand_make(&c, rule, &d, &err))
		fail_msg("%s", err.msg);
	demand_curve_done(&c);
	return d;
}

static uint32_t leased_at(const struct demand *d, uint32_t provider, int64_t at_ms)
{
	uint32_t units = 0;

	for (size_t i = 0; i < d->steps_n; i++)
		if (d->steps[i].provider == provider && d->steps[i].at_ms <= at_ms)
			units = d->steps[i].units;
	return units;
}

/* An autoscaler follows a rise at once and a fall after five minutes; the last device goes after an hour. */
static void demand_rises_at_once_and_falls_late(void **state)
{
	struct demand_rule rule = {.per_value = 0.5, .peak = 100, .scale_down_ms = 5 * MS_PER_MIN, .idle_ms = MS_PER_HOUR};
	struct demand d = demand_of("client,window_start_s,rate_rps,cv\n"
				    "0,0,0,0\n0,600,7.9,1\n0,1200,2,1\n0,1800,0,0\n0,86400,0,0\n", &rule);

	(void)state;
	assert_int_equal(d.span_ms, (int64_t)(86400 + 84600) * 1000); /* the last window is as long as the one before */
	assert_int_equal(leased_at(&d, 0, 599999), 0);
	assert_int_equal(leased_at(&d, 0, 600000), 4); /* 7.9 / 2, rounded up */
	assert_int_equal(leased_at(&d, 0, 1499999), 4);
	assert_int_equal(leased_at(&d, 0, 1500000), 1);
	assert_int_equal(leased_at(&d, 0, 2100000), 1);
	assert_int_equal(leased_at(&d, 0, 5399999), 1);
	assert_int_equal(leased_at(&d, 0, 5400000), 0);
	assert_int_equal(d.peak, 4);
	assert_int_equal((int)d.grown, 4);
	demand_done(&d);
}

/* The curve is periodic: what was wanted just before its end is still leased just after its begin. */
static void demand_looks_back_over_the_end(void **state)
{
	struct demand_rule rule = {.per_value = 1, .peak = 100, .scale_down_ms = 5 * MS_PER_MIN, .idle_ms = 0};
	struct demand d = demand_of("provider,at_s,devices\na,0,1\na,3000,6\na,3600,6\n", &rule);

	(void)state;
	assert_int_equal(d.span_ms, 3600000);
	assert_int_equal(leased_at(&d, 0, 0), 6);
	assert_int_equal(leased_at(&d, 0, 299999), 6);
	assert_int_equal(leased_at(&d, 0, 300000), 1);
	assert_int_equal(leased_at(&d, 0, 3000000), 6);
	assert_int_equal(divide_step(&d, d.steps_n).at_ms, 3600000);
	demand_done(&d);
}

/* Instances become one provider per application, alive from creation to deletion; parts without GPU are none. */
static void demand_counts_instances(void **state)
{
	static const char text[] =
		"instance_sn,role,app_name,cpu_request,cpu_limit,gpu_request,gpu_limit,rdma_request,rdma_limit,memory_request,"
		"memory_limit,disk_request,disk_limit,max_instance_per_node,creation_time,scheduled_time,deletion_time\n"
		"i0,HN,app_0,12,12,1,1,25,25,1,1,1,1,8,,,\n"
		"i1,HN,app_0,12,12,1,1,25,25,1,1,1,1,8,100.0,120.0,7200.0\n"
		"i2,CN,app_0,12,12,0,0,25,25,1,1,1,1,8,100.0,120.0,\n"
		"i3,HN,app_1,12,12,1,1,25,25,1,1,1,1,8,,,100\n";
	struct demand_rule rule = {.per_value = 1, .peak = 100};
	struct demand d = demand_of(text, &rule);

	(void)state;
	assert_int_equal(d.providers_n, 2);
	assert_int_equal(d.span_ms, 7200000);
	assert_int_equal(leased_at(&d, 0, 0), 1);
	assert_int_equal(leased_at(&d, 0, 100000), 2);
	assert_int_equal(leased_at(&d, 1, 99999), 1);
	assert_int_equal(leased_at(&d, 1, 100000), 0);
	assert_int_equal(d.peak, 2);
	demand_done(&d);
}

/* Without a scale the demand fills the private side and no more; too large a scale is refused. */
static void demand_is_scaled_to_the_private_side(void **state)
{
	static const char text[] = "provider,at_s,devices\na,0,3\na,600,9\nb,600,1\na,7200,3\n";
	struct demand_rule rule = {.peak = 50};
	struct demand_curve c = {0};
	struct demand d = demand_of(text, &rule);
	struct err err;

	(void)state;
	assert_true(d.peak <= 50 && d.peak >= 49);
	assert_true(d.per_value > 4.8 && d.per_value <= 5);
	demand_done(&d);
	assert_int_equal(demand_parse("d", text, strlen(text), NULL, &c, &err), 0);
	rule.per_value = 6;
	assert_int_equal(demand_make(&c, &rule, &d, &err), ERR_RANGE);
	assert_non_null(strstr(err.msg, "60 devices"));
	demand_done(&d);
	rule = (struct demand_rule){.peak = 1}; /* two providers want something at once */
	assert_int_equal(demand_make(&c, &rule, &d, &err), ERR_RANGE);
	demand_done(&d);
	demand_curve_done(&c);
}

/* What a column is its name in the heading says, wherever it stands. */
static void demand_goes_by_names(void **state)
{
	struct demand_rule rule = {.per_value = 1, .peak = 100};
	struct demand d = demand_of("note,devices,provider,at_s\nx,3,a,0\n,5,a,60\n,0,a,120\n", &rule);

	(void)state;
	assert_int_equal(d.providers_n, 1);
	assert_int_equal(d.span_ms, 120000);
	assert_int_equal(leased_at(&d, 0, 59999), 3);
	assert_int_equal(leased_at(&d, 0, 60000), 5);
	demand_done(&d);
	d = demand_of("deletion_time,gpu_request,role,creation_time,app_name\n600,2,HN,60,b\n", &rule);
	assert_int_equal(leased_at(&d, 0, 59999), 0);
	assert_int_equal(leased_at(&d, 0, 60000), 2);
	assert_int_equal(d.asked, 0);
	demand_done(&d);
}

static void bad_demand_is_named(void **state)
{
	static const struct { const char *text, *says; } cases[] = {
		{"", "the file is empty"},
		{"a,b,c\n1,2,3\n", "demand.csv:1: this is no demand curve"},
		{"provider,at_s,devices\n", "nobody wants anything"},
		{"provider,at_s,devices\na,0\n", "demand.csv:2: 2 fields, the heading has 3"},
		{"provider,at_s,devices\na,0,1\na,x,1\n", "demand.csv:3: field 2 (at_s) is not a number from 0 to 1000000000000"},
		{"provider,at_s,devices\na,0,-1\n", "demand.csv:2: field 3 (devices) is not a number from 0 to"},
		{"provider,at_s,devices\na,0,nan\n", "demand.csv:2: field 3 (devices) is not a number from 0 to"},
		{"provider,at_s,devices\na,0,1e400\n", "demand.csv:2: field 3 (devices) is not a number from 0 to"},
		{"provider,at_s,devices\n,0,4\n", "demand.csv:2: field 1 (provider) is empty"},
		{"provider,at_s,devices\n0123456789012345678901234567890123456789012345678901234567890123,0,4\n",
		 "demand.csv:2: field 1 (provider) is longer than 63 bytes"},
		{"provider,at,devices\na,0,1\n", "demand.csv:1: the heading has no column 'at_s'"},
		{"client,window_start_s,rate_rps\n1,0\n", "demand.csv:2: 2 fields, the heading has 3"},
		{"client,window_start_s,rps\n1,0,1\n", "demand.csv:1: the heading has no column 'rate_rps'"},
		{"instance_sn,role,app_name\ni,HN,a\n", "demand.csv:1: the heading has no column 'gpu_request'"},
		{"role,app_name,gpu_request,creation_time,deletion_time\nHN,a,1,200,100\n",
		 "demand.csv:2: the instance is deleted at 100 s, before it is created at 200 s"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct demand_curve c = {0};
		struct err err = {0};

		assert_int_equal(demand_parse("demand.csv", cases[i].text, strlen(cases[i].text), NULL, &c, &err), ERR_FORMAT);
		if (!strstr(err.msg, cases[i].says))
			fail_msg("'%s' does not say '%s'", err.msg, cases[i].says);
		demand_curve_done(&c);
	}
}

/* ---- traces --------------------------------------------------------------------------------------------------- */

static const struct divide_pick all_of_it = {.span_ms = 100 * MS_PER_DAY, .run_ms_max = 100 * MS_PER_DAY, .units_max = 1000};

/* A job that could never start beside the leases would keep the simulation going for ever. */
static void the_largest_job_is_what_leases_leave(void **state)
{
	struct demand demand = {.peak = 9};
	struct divide_setup in = {.nodes = 3, .per_node = 8, .public_units = 4, .private_units = 20, .demand = &demand};

	(void)state;
	assert_int_equal(divide_units_max(&in, DIVIDE_STATIC), 4);
	assert_int_equal(divide_units_max(&in, DIVIDE_WALLED), 4);
	assert_int_equal(divide_units_max(&in, DIVIDE_COHORT), 15);
	assert_int_equal(divide_units_max(&in, DIVIDE_LYRA), 4); /* two nodes, both have leases */
	assert_int_equal(divide_units_max(&in, DIVIDE_SLUIS), 15);
	assert_int_equal(divide_units_max(&in, DIVIDE_CLAIRVOYANT), 15);
	demand.peak = 20;
	assert_int_equal(divide_units_max(&in, DIVIDE_SLUIS), 4);
	demand.peak = 8;
	assert_int_equal(divide_units_max(&in, DIVIDE_LYRA), 12);
	in.nodes = 5000; /* a job of sluisd lies on up to 2048 of them */
	in.public_units = 20000;
	assert_int_equal(divide_units_max(&in, DIVIDE_WALLED), 2048 * 8);
	assert_int_equal(divide_units_max(&in, DIVIDE_SLUIS), 2048 * 8);
	assert_int_equal(divide_units_max(&in, DIVIDE_STATIC), 20000);
}

static void trace_window_and_limits(void **state)
{
	static const char text[] = "timestamp,duration,num_gpus,gpu_time,cluster\n"
				   "2017-10-09 00:00:10,60.0,1,60.0,b\n"
				   "2017-10-08 00:00:00,450.0,2,900.0,a\n"
				   "2017-10-08 12:00:00,90000.5,4,360002.0,a\n"
				   "2017-10-08 12:00:00,10,9,90,a\n"
				   "2017-10-08 12:00:01,0,1,0,a\n";
	struct divide_pick pick = {.span_ms = MS_PER_DAY, .run_ms_max = MS_PER_DAY, .units_max = 8};
	struct divide_trace t = {0};
	struct err err;

	(void)state;
	assert_int_equal(divide_trace_parse("jobs.csv", text, strlen(text), NULL, &pick, &t, &err), 0);
	assert_int_equal(t.read_n, 5);
	assert_int_equal(t.jobs_n, 2);
	assert_int_equal(t.outside_n, 1);
	assert_int_equal(t.too_large_n, 1);
	assert_int_equal(t.useless_n, 1);
	assert_int_equal(t.cut_n, 1);
	assert_int_equal(t.jobs[0].submit_ms, 0);
	assert_int_equal(t.jobs[0].run_ms, 450000);
	assert_int_equal(t.jobs[0].limit_ms, 15 * MS_PER_MIN); /* exactly twice its run */
	assert_int_equal(t.jobs[0].units, 2);
	assert_string_equal(t.tenants[t.jobs[0].tenant], "a");
	assert_int_equal(t.jobs[1].submit_ms, 12 * MS_PER_HOUR);
	assert_int_equal(t.jobs[1].run_ms, MS_PER_DAY);
	assert_int_equal(t.jobs[1].limit_ms, 3 * MS_PER_DAY);
	divide_trace_done(&t);
	pick.from_ms = MS_PER_DAY;
	assert_int_equal(divide_trace_parse("jobs.csv", text, strlen(text), NULL, &pick, &t, &err), 0);
	assert_int_equal(t.jobs_n, 1);
	assert_int_equal(t.jobs[0].submit_ms, 10000);
	divide_trace_done(&t);
	pick = all_of_it;
	for (int one = 0; one < 2; one++) {
		pick.one_tenant = one;
		assert_int_equal(divide_trace_parse("jobs.csv", text, strlen(text), NULL, &pick, &t, &err), 0);
		assert_int_equal(t.tenants_n, one ? 1 : 2);
		divide_trace_done(&t);
	}
}

/* The heading of a trace decides what its columns are; one that lacks a column is no batch log. */
static void a_trace_goes_by_names(void **state)
{
	static const char text[] = "cluster,num_gpus,duration,timestamp\na,2,450.0,2017-10-08 00:00:00\n";
	static const char lacks[] = "timestamp,duration,gpus,gpu_time,cluster\n2017-10-08 00:00:00,1,1,1,a\n";
	struct divide_trace t = {0};
	struct err err;

	(void)state;
	assert_int_equal(divide_trace_parse("jobs.csv", text, strlen(text), NULL, &all_of_it, &t, &err), 0);
	assert_int_equal(t.jobs[0].run_ms, 450000);
	assert_int_equal(t.jobs[0].units, 2);
	assert_string_equal(t.tenants[0], "a");
	divide_trace_done(&t);
	assert_int_equal(divide_trace_parse("jobs.csv", lacks, strlen(lacks), NULL, &all_of_it, &t, &err), ERR_FORMAT);
	assert_string_equal(err.msg, "jobs.csv:1: the heading has no column 'num_gpus'");
	divide_trace_done(&t);
}

static void trace_of_a_batch_log(void **state)
{
	static const char text[] = "1 100 5 60 4 -1 -1 4 600 -1 1 1 1 1 1 -1 -1 -1\n"
				   "2 50 5 7200 2 -1 -1 -1 3600 -1 1 1 1 1 1 -1 -1 -1\n";
	struct divide_trace t = {0};
	struct err err;

	(void)state;
	assert_int_equal(divide_trace_parse("log.swf", text, strlen(text), NULL, &all_of_it, &t, &err), 0);
	assert_int_equal(t.jobs_n, 2);
	assert_int_equal(t.jobs[0].units, 2);
	assert_int_equal(t.jobs[0].limit_ms, 7200000 + 15 * MS_PER_MIN); /* never below what it ran */
	assert_int_equal(t.jobs[1].submit_ms, 50000);
	assert_int_equal(t.jobs[1].limit_ms, 600000 + 15 * MS_PER_MIN);
	divide_trace_done(&t);
}

static void bad_traces_are_named(void **state)
{
	static const struct { const char *line, *says; int code; } cases[] = {
		{"2017-10-08 00:00:00,1,1,1", "jobs.csv:2: 4 fields, the heading has 5", ERR_FORMAT},
		{"2017-10-08 00:00:00,1,1,1,a,b", "jobs.csv:2: 6 fields, the heading has 5", ERR_FORMAT},
		{"2017-13-08 00:00:00,1,1,1,a", "jobs.csv:2: '2017-13-08 00:00:00' is no time stamp like", ERR_FORMAT},
		{"2017-10-08 00:00:00,x,1,1,a", "jobs.csv:2: field 2 (duration) is not a number from 0 to 3000000000", ERR_FORMAT},
		{"2017-10-08 00:00:00,3000000001,1,1,a", "jobs.csv:2: field 2 (duration) is not a number from 0 to 3000000000",
		 ERR_FORMAT},
		{"2017-10-08 00:00:00,1,1.5,1,a", "jobs.csv:2: field 3 (num_gpus) is not a number from 0 to 100000000", ERR_FORMAT},
		{"2017-10-08 00:00:00,1,9223372036854775807,1,a", "jobs.csv:2: field 3 (num_gpus) is not a number from 0 to 100000000",
		 ERR_FORMAT},
		{"2017-10-08 00:00:00,0,1,1,a", "has no job that can be used", ERR_INVAL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct divide_trace t = {0};
		struct err err = {0};
		char text[256];

		(void)snprintf(text, sizeof text, "timestamp,duration,num_gpus,gpu_time,cluster\n%s\n", cases[i].line);
		assert_int_equal(divide_trace_parse("jobs.csv", text, strlen(text), NULL, &all_of_it, &t, &err), cases[i].code);
		if (!strstr(err.msg, cases[i].says))
			fail_msg("'%s' does not say '%s'", err.msg, cases[i].says);
		divide_trace_done(&t);
	}
}

/* Rates that are beyond any machine are refused by what they sum up to, or scaled down; nothing overflows. */
static void huge_rates_are_refused(void **state)
{
	static const char text[] = "client,window_start_s,rate_rps\n1,0,1\n1,60,888888888881\n2,60,999999999999\n";
	struct demand_rule rule = {.per_value = 0.5, .peak = UINT32_MAX / 8, .scale_down_ms = 1000, .idle_ms = 1000};
	struct demand_curve c = {0};
	struct demand d = {0};
	struct err err = {0};

	(void)state;
	assert_int_equal(demand_parse("d", text, strlen(text), NULL, &c, &err), 0);
	assert_int_equal(demand_make(&c, &rule, &d, &err), ERR_RANGE);
	demand_done(&d);
	rule.per_value = 0;
	rule.peak = 100;
	assert_int_equal(demand_make(&c, &rule, &d, &err), 0);
	assert_in_range(d.peak, 90, 100);
	demand_done(&d);
	demand_curve_done(&c);
}

/* Where that is asked for, bad lines of both inputs are left out and counted together. */
static void bad_lines_are_left_out(void **state)
{
	static const char trace[] = "timestamp,duration,num_gpus,gpu_time,cluster\n"
				    "2017-10-08 00:00:00,60,1,1,a\n2017-10-08 00:00:00,sixty,1,1,a\n2017-10-08 00:01:00,60,2,1,a\n";
	static const char curve[] = "provider,at_s,devices\nchat,0,1\nchat,60,many\nchat,120\nchat,180,4\n";
	struct bad_lines bad = {.skip = true};
	struct demand_curve c = {0};
	struct divide_trace t = {0};
	struct err err = {0};

	(void)state;
	assert_int_equal(divide_trace_parse("jobs.csv", trace, strlen(trace), &bad, &all_of_it, &t, &err), 0);
	assert_int_equal(t.jobs_n, 2);
	assert_int_equal(demand_parse("demand.csv", curve, strlen(curve), &bad, &c, &err), 0);
	assert_int_equal(c.series_n, 1);
	assert_int_equal(c.series[0].points_n, 2);
	assert_int_equal(bad.n, 3);
	assert_string_equal(bad.first.msg, "jobs.csv:3: field 2 (duration) is not a number from 0 to 3000000000");
	divide_trace_done(&t);
	demand_curve_done(&c);
}

/* ---- a small pool ------------------------------------------------------------------------------------------------ */

struct pool {
	struct divide_setup in;
	struct divide_trace trace;
	struct demand demand;
};

static void pool_open(struct pool *p, const char *demand, uint32_t nodes, uint32_t public_units)
{
	static char tenants[2][NAME_BYTES] = {"a", "b"};
	struct demand_rule rule = {.per_value = 1, .peak = nodes * 4 - public_units};

	*p = (struct pool){0};
	p->trace.tenants = tenants;
	p->trace.tenants_n = 2;
	p->demand = demand_of(demand, &rule);
	p->in = (struct divide_setup){.nodes = nodes, .per_node = 4, .public_units = public_units,
				      .private_units = nodes * 4 - public_units, .window_ms = MS_PER_DAY,
				      .checkpoint_ms = 10 * MS_PER_MIN, .restart_ms = MS_PER_MIN, .notice_ms = 2 * MS_PER_MIN,
				      .recall_slo_ms = 5 * MS_PER_MIN, .ttl_ms = 15 * MS_PER_MIN, .check = true,
				      .trace = &p->trace, .demand = &p->demand};
}

static void pool_job(struct pool *p, int64_t submit_min, int64_t run_min, uint32_t units)
{
	p->trace.jobs = xrealloc(p->trace.jobs, (p->trace.jobs_n + 1) * sizeof *p->trace.jobs);
	p->trace.jobs[p->trace.jobs_n++] = (struct divide_job){submit_min * MS_PER_MIN, run_min * MS_PER_MIN,
							       2 * run_min * MS_PER_MIN + MS_PER_HOUR, units,
							       (uint32_t)p->trace.jobs_n % 2, 0};
	p->trace.device_ms += (double)(run_min * MS_PER_MIN) * units;
}

static void pool_close(struct pool *p)
{
	free(p->trace.jobs);
	demand_done(&p->demand);
}

static struct divide_run played(const struct pool *p, enum divide_policy policy)
{
	struct divide_run r;
	struct err err;

	if (divide_run(&p->in, policy, NULL, NULL, &r, &err))
		fail_msg("%s: %s", divide_policy_names[policy], err.msg);
	return r;
}

/* What holds under every policy: nothing is given twice, no work is lost or invented. */
static void sound(const struct pool *p, const struct divide_run *r)
{
	double lost = 0;

	for (size_t i = 0; i < p->trace.jobs_n; i++) {
		const struct divide_done *d = &r->done[i];
		const struct divide_job *j = &p->trace.jobs[i];

		assert_true(d->first_start_ms >= j->submit_ms);
		assert_true(d->end_ms >= d->first_start_ms + j->run_ms + d->lost_ms);
		assert_int_equal(d->starts, d->recalls + 1);
		lost += (double)d->lost_ms * j->units;
	}
	assert_true(fabs(lost - r->lost_ms) < 1);
	assert_true(r->train_all_ms >= p->trace.device_ms + lost - 1);
	for (size_t i = 0; i < r->samples_n; i++)
		assert_true(r->samples[i].guaranteed + r->samples[i].loaned + r->samples[i].leased <= p->in.nodes * 4);
}

/* One job borrows; after an hour a lease wants its devices back. It gets them within the promise, the job
 * loses what it did since its last checkpoint, and ends after all. */
static const char one_rise[] = "provider,at_s,devices\nchat,0,4\nchat,3600,8\nchat,86400,4\n";

static void a_loan_is_recalled(void **state)
{
	static const enum divide_policy lending[] = {DIVIDE_COHORT, DIVIDE_LYRA, DIVIDE_SLUIS};

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(lending); k++) {
		struct pool p;
		struct divide_run r;
		struct divide_result m;

		pool_open(&p, one_rise, 4, 8);
		pool_job(&p, 0, 600, 6);
		pool_job(&p, 1, 115, 6);
		r = played(&p, lending[k]);
		sound(&p, &r);
		divide_measure(&p.in, &r, &m);
		assert_int_equal(r.late + r.refused, 0);
		assert_int_equal(r.recalls, 1);
		assert_int_equal(m.recalls_n, 1);
		assert_true(r.growths[r.growths_n - 1].took_ms >= 2 * MS_PER_MIN);
		assert_true(r.growths[r.growths_n - 1].took_ms <= 2 * MS_PER_MIN + 2000);
		if (lending[k] != DIVIDE_LYRA) {
			/* the second job began as a loan, a minute later: an hour of its work is saved, and loaded again
			 * once the first has ended */
			assert_int_equal(r.done[1].recalls, 1);
			assert_true(r.done[1].lost_ms >= MS_PER_MIN && r.done[1].lost_ms <= 3 * MS_PER_MIN + 2000);
			assert_true(r.done[1].end_ms >= (600 + 55 + 1) * MS_PER_MIN);
			assert_true(r.done[1].end_ms <= (600 + 55 + 4) * MS_PER_MIN);
		}
		divide_run_done(&r);
		pool_close(&p);
	}
}

/* When each job began, ended and how often it was stopped, in minutes. */
struct told { int64_t first_start_min, end_min; uint32_t recalls; };

static void ran_as_told(const struct divide_run *r, const struct told *told, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct divide_done *d = &r->done[i];

		if (d->first_start_ms != told[i].first_start_min * MS_PER_MIN || d->end_ms != told[i].end_min * MS_PER_MIN ||
		    d->recalls != told[i].recalls)
			fail_msg("job %zu: from %g to %g min, stopped %u times", i, (double)d->first_start_ms / MS_PER_MIN,
				 (double)d->end_ms / MS_PER_MIN, d->recalls);
	}
}

/* Kueue's cohort by hand. Best-effort FIFO: who does not fit is overtaken by who does. A lease that grows by five
 * preempts who borrows, newest first: job 5 (one device), 3 (one), 2 (four), six in all; then fill back, from the last
 * one chosen but one: without job 3 five are left, it runs on; without job 5 four would be, it goes. Jobs 0 and 1 are
 * never asked. */
static void cohort_preempts_the_newest_and_fills_back(void **state)
{
	static const struct told told[] = {
		{0, 600, 0},
		{1, 601, 0},
		{2, 600 + 1 + 600 - 60, 1}, /* an hour of work was saved; loading takes a minute */
		{3, 603, 0},
		{600, 1200, 0},		    /* does not fit before the first has ended */
		{5, 600 + 1 + 600 - 50, 1}, /* 57 minutes of work, 50 of them saved */
	};
	struct pool p;
	struct divide_run r;

	(void)state;
	pool_open(&p, "provider,at_s,devices\nchat,0,0\nchat,3600,5\nchat,86400,5\n", 4, 8);
	pool_job(&p, 0, 600, 8); /* the public nominal */
	pool_job(&p, 1, 600, 2); /* all others borrow */
	pool_job(&p, 2, 600, 4);
	pool_job(&p, 3, 600, 1);
	pool_job(&p, 4, 600, 3);
	pool_job(&p, 5, 600, 1);
	p.demand.span_ms = 100 * MS_PER_DAY; /* the curve does not begin anew */
	r = played(&p, DIVIDE_COHORT);
	sound(&p, &r);
	ran_as_told(&r, told, ARRAY_LEN(told));
	assert_int_equal(r.growths_n, 1);
	assert_int_equal(r.growths[0].took_ms, 2 * MS_PER_MIN); /* the notice */
	divide_run_done(&r);
	pool_close(&p);
}

/* Lyra's reclaiming by hand: one public node and four that are lent, shortest job first. Job 1 is on two of them, 2 and
 * 3 share the third, 4 is on the fourth. Two nodes are wanted back. A job costs a node the reciprocal of the nodes that
 * it is on: 1/2, 1/2, 2 and 1. So the first is taken, job 1 is lost as a whole, and its second node comes for nothing:
 * one job of eight devices goes, where newest first would have stopped three. Whole nodes are lent: the three devices that
 * the lease leaves of its eight help nobody, and job 5 waits for a lent node; the shorter job 6 overtakes it there. */
static void lyra_reclaims_whole_nodes_where_fewest_jobs_are_lost(void **state)
{
	static const struct told told[] = {
		{0, 600, 0},
		{1, 402 + 1 + 500 - 60, 1}, /* again when the third and fourth node are free */
		{2, 402, 0},
		{3, 303, 0},
		{4, 204, 0},
		{209, 219, 0},
		{204, 209, 0},
	};
	struct pool p;
	struct divide_run r;

	(void)state;
	pool_open(&p, "provider,at_s,devices\nchat,0,0\nchat,3600,5\nchat,86400,5\n", 5, 4);
	pool_job(&p, 0, 600, 4); /* the public node */
	pool_job(&p, 1, 500, 8);
	pool_job(&p, 2, 400, 2);
	pool_job(&p, 3, 300, 1);
	pool_job(&p, 4, 200, 3);
	pool_job(&p, 70, 10, 3);
	pool_job(&p, 80, 5, 4);
	p.demand.span_ms = 100 * MS_PER_DAY; /* the curve does not begin anew */
	r = played(&p, DIVIDE_LYRA);
	sound(&p, &r);
	ran_as_told(&r, told, ARRAY_LEN(told));
	assert_int_equal(r.growths_n, 1);
	assert_int_equal(r.growths[0].took_ms, 2 * MS_PER_MIN);
	divide_run_done(&r);
	pool_close(&p);
}

/* Saving on notice loses the time of saving and loading, and nothing else. */
static void saving_on_notice_loses_little(void **state)
{
	struct pool p;
	struct divide_run r;

	(void)state;
	pool_open(&p, one_rise, 4, 8);
	p.in.checkpoint_ms = 0;
	p.in.save_ms = 30 * MS_PER_S;
	pool_job(&p, 0, 600, 6);
	pool_job(&p, 1, 115, 6);
	r = played(&p, DIVIDE_SLUIS);
	sound(&p, &r);
	assert_int_equal(r.done[1].recalls, 1);
	assert_int_equal(r.done[1].lost_ms, 90 * MS_PER_S);
	assert_true(r.growths[r.growths_n - 1].took_ms < 40 * MS_PER_S); /* who is ready leaves before the deadline */
	divide_run_done(&r);
	p.in.save_ms = 0; /* without any checkpoint all is lost */
	r = played(&p, DIVIDE_SLUIS);
	assert_true(r.done[1].lost_ms > 60 * MS_PER_MIN);
	divide_run_done(&r);
	pool_close(&p);
}

/* The smallest area comes first, but for who waits longer than the guard. */
static void the_guard_is_as_asked(void **state)
{
	(void)state;
	for (int64_t guard = 1; guard <= 12; guard += 11) {
		struct pool p;
		struct divide_run r;

		pool_open(&p, "provider,at_s,devices\nchat,0,8\nchat,86400,8\n", 4, 8);
		p.in.age_guard_ms = guard * MS_PER_HOUR;
		pool_job(&p, 0, 240, 8);
		pool_job(&p, 1, 180, 8); /* waits longer than an hour once the first ends, and is larger than the third */
		pool_job(&p, 2, 60, 8);
		for (size_t i = 0; i < p.trace.jobs_n; i++)
			p.trace.jobs[i].tenant = 0;
		r = played(&p, DIVIDE_SLUIS);
		sound(&p, &r);
		assert_int_equal(r.done[1].first_start_ms < r.done[2].first_start_ms, guard == 1);
		divide_run_done(&r);
		pool_close(&p);
	}
}

/* What is not lent cannot be borrowed, whatever stands idle; and the clairvoyant lends only what is not wanted
 * back in time. */
static void walls_hold_and_foresight_waits(void **state)
{
	static const enum divide_policy walled[] = {DIVIDE_STATIC, DIVIDE_WALLED};
	struct pool p;
	struct divide_run r;

	(void)state;
	pool_open(&p, one_rise, 4, 8);
	pool_job(&p, 0, 600, 6);
	pool_job(&p, 1, 115, 6);
	pool_job(&p, 2, 50, 2);
	for (size_t k = 0; k < ARRAY_LEN(walled); k++) {
		r = played(&p, walled[k]);
		sound(&p, &r);
		assert_int_equal(r.recalls, 0);
		assert_int_equal(r.late + r.refused, 0);
		assert_true(r.done[1].first_start_ms >= 600 * MS_PER_MIN); /* an end before the limit is seen at once */
		assert_true(r.done[1].first_start_ms <= 600 * MS_PER_MIN + 3000);
		assert_true(r.done[2].first_start_ms < 3 * MS_PER_MIN); /* backfilled beside the first */
		for (size_t i = 0; i < r.samples_n; i++)
			assert_int_equal(r.samples[i].loaned, 0);
		divide_run_done(&r);
	}
	r = played(&p, DIVIDE_CLAIRVOYANT);
	sound(&p, &r);
	assert_int_equal(r.recalls, 0);
	assert_int_equal(r.done[2].first_start_ms, 2 * MS_PER_MIN);
	assert_true(r.done[1].first_start_ms >= 600 * MS_PER_MIN);
	divide_run_done(&r);
	pool_close(&p);
}

/* A job that ends long before its limit makes room at once, whenever it began. */
static void early_ends_make_room(void **state)
{
	static const enum divide_policy walled[] = {DIVIDE_STATIC, DIVIDE_WALLED};
	struct pool p;

	(void)state;
	pool_open(&p, one_rise, 4, 8);
	pool_job(&p, 0, 1, 1); /* the window begins with the first */
	pool_job(&p, 300, 30, 8);
	pool_job(&p, 331, 30, 8);
	for (size_t k = 0; k < ARRAY_LEN(walled); k++) {
		struct divide_run r = played(&p, walled[k]);

		sound(&p, &r);
		assert_true(r.done[2].first_start_ms <= 331 * MS_PER_MIN + 3000);
		divide_run_done(&r);
	}
	pool_close(&p);
}

/* Demand rises and falls again while a node is on its way back: it is lent once more when it is free, and no
 * other in its place, which a lease may be on. */
static void a_node_on_its_way_back_is_not_lent_twice(void **state)
{
	struct pool p;
	struct divide_run r;

	(void)state;
	pool_open(&p, "provider,at_s,devices\nchat,0,4\nchat,3600,8\nchat,3660,4\nchat,86400,4\n", 4, 8);
	pool_job(&p, 0, 600, 6);
	pool_job(&p, 1, 115, 6);
	pool_job(&p, 2, 115, 4);
	r = played(&p, DIVIDE_LYRA);
	sound(&p, &r);
	assert_int_equal(r.recalls, 1);
	assert_int_equal(r.done[1].end_ms - r.done[1].lost_ms, 116 * MS_PER_MIN); /* back as soon as it had left */
	divide_run_done(&r);
	pool_close(&p);
}

/* Growth is late from the promised time on, counts what was short for how long, and growth that is not
 * wanted any more is no violation. */
static void late_growth_is_seen(void **state)
{
	struct pool p;
	struct divide_run r = {0};
	struct divide_book b;

	(void)state;
	pool_open(&p, one_rise, 4, 8);
	divide_book_init(&b, &p.in, &r);
	divide_book_want(&b, 0, 0, 3);
	divide_book_have(&b, 5 * MS_PER_MIN, 0, 3);
	assert_int_equal(r.late, 0);
	divide_book_want(&b, 10 * MS_PER_MIN, 0, 5);
	divide_book_recalled(&b, 0);
	divide_book_want(&b, 11 * MS_PER_MIN, 0, 6);
	divide_book_have(&b, 12 * MS_PER_MIN, 0, 4); /* one in time */
	divide_book_have(&b, 16 * MS_PER_MIN, 0, 5); /* the other a minute late */
	assert_int_equal(r.late, 1);
	assert_true(fabs(r.short_ms - (double)MS_PER_MIN) < 1);
	assert_true(r.growths[1].recalled);
	assert_int_equal(r.growths[1].took_ms, 6 * MS_PER_MIN);
	divide_book_want(&b, 16 * MS_PER_MIN, 0, 5); /* the sixth is given up in time */
	assert_int_equal(r.growths[2].took_ms, -1);
	assert_int_equal(r.late, 1);
	divide_book_want(&b, 20 * MS_PER_MIN, 0, 8);
	divide_book_want(&b, 21 * MS_PER_MIN, 0, 7); /* one of three is: the rest stays due */
	divide_book_close(&b, 30 * MS_PER_MIN);
	assert_int_equal(r.late, 2);
	assert_true(fabs(r.short_ms - 11.0 * (double)MS_PER_MIN) < 1); /* two devices, five minutes more */
	divide_book_done(&b);
	free(r.growths);
	pool_close(&p);
}

/* If the notice is longer than what was promised, growth comes late, and the report says so. */
static void a_broken_promise_is_reported(void **state)
{
	struct pool p;
	struct divide_run r;

	(void)state;
	pool_open(&p, one_rise, 4, 8);
	p.in.recall_slo_ms = MS_PER_MIN;
	pool_job(&p, 0, 600, 6);
	pool_job(&p, 1, 115, 6);
	r = played(&p, DIVIDE_COHORT);
	assert_int_equal(r.late, 1);
	assert_true(fabs(r.short_ms - 4.0 * (double)MS_PER_MIN) < 1); /* four devices were missing, for a minute */
	divide_run_done(&r);
	/* sluisd does not make such a loan: the second job waits for the first */
	r = played(&p, DIVIDE_SLUIS);
	assert_int_equal(r.late, 0);
	assert_int_equal(r.recalls, 0);
	assert_true(r.done[1].first_start_ms >= 600 * MS_PER_MIN);
	divide_run_done(&r);
	pool_close(&p);
}

/* As many nodes as the help promises, or more users than one token enrols: the core takes them in. */
static void a_large_machine_is_set_up(void **state)
{
	struct divide_setup in = {.nodes = 10240, .per_node = 8, .public_units = 16384, .private_units = 65536,
				  .window_ms = MS_PER_DAY, .notice_ms = 2 * MS_PER_MIN, .recall_slo_ms = 5 * MS_PER_MIN,
				  .ttl_ms = 15 * MS_PER_MIN};
	struct demand_rule rule = {.per_value = 1, .peak = 65536};
	struct demand demand = demand_of("provider,at_s,devices\na,0,16000\nb,0,16000\na,60,16384\na,86400,0\n", &rule);
	struct divide_job wide = {0, 10 * MS_PER_MIN, MS_PER_HOUR, 16384, 0, 0};
	static char tenant[1][NAME_BYTES] = {"a"};
	struct divide_trace trace = {.jobs = &wide, .jobs_n = 1, .tenants = tenant, .tenants_n = 1};
	struct divide_run r;
	struct err err;

	(void)state;
	in.trace = &trace;
	in.demand = &demand;
	if (divide_run(&in, DIVIDE_SLUIS, NULL, NULL, &r, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(r.late + r.refused, 0);
	assert_int_equal(r.done[0].starts, 1);
	divide_run_done(&r);
	demand.steps[0].units = 16385;
	assert_int_equal(divide_run(&in, DIVIDE_SLUIS, NULL, NULL, &r, &err), ERR_RANGE);
	assert_non_null(strstr(err.msg, "a provider leases 16385 devices at once, a lease of sluisd has at most 16384 here"));
	divide_run_done(&r);
	demand_done(&demand);
}

/* ---- many ------------------------------------------------------------------------------------------------------- */

static void pool_crowd(struct pool *p, struct buf *text, uint64_t seed)
{
	struct prng g;
	int64_t at = 0;

	prng_seed(&g, seed);
	buf_addf(text, "provider,at_s,devices\n");
	for (int k = 0; k < 6; k++)
		for (int64_t t = 0; t < 86400; t += 600)
			buf_addf(text, "p%d,%d,%d\n", k, (int)t, prng_below(&g, 3) ? 0 : (int)prng_below(&g, 8));
	buf_addf(text, "p0,86400,0\n");
	pool_open(p, buf_cstr(text), 16, 14);
	for (int i = 0; i < 300; i++) {
		at += (int64_t)prng_below(&g, 5);
		pool_job(p, at, 1 + (int64_t)prng_below(&g, prng_below(&g, 4) ? 30 : 300), 1U << prng_below(&g, 4));
	}
}

/* The picture of who had which device is of the run: no device is with two at once, and at every minute as many are
 * with jobs, on loan and not, as the series says, and with leases at least those that serve. */
static void spans_agree(const struct pool *p, const struct divide_run *r)
{
	if (!r->spans_n) {
		assert_true(r->policy != DIVIDE_SLUIS && r->policy != DIVIDE_WALLED);
		return;
	}
	assert_true(p->in.nodes <= DIVIDE_SPAN_NODES);
	for (size_t i = 0; i < r->samples_n; i++) {
		const struct divide_sample *at = &r->samples[i];
		uint64_t taken[DIVIDE_SPAN_NODES] = {0};
		uint32_t held[3] = {0};

		for (size_t k = 0; k < r->spans_n; k++) {
			const struct divide_span *s = &r->spans[k];
			uint64_t devices = ((UINT64_C(1) << s->units) - 1) << s->device;

			if (s->from_ms > at->at_ms || s->to_ms <= at->at_ms)
				continue;
			assert_true(s->node < p->in.nodes && s->device + s->units <= p->in.per_node);
			assert_int_equal(taken[s->node] & devices, 0);
			taken[s->node] |= devices;
			held[s->kind] += s->units;
		}
		assert_int_equal(held[SPAN_GUARANTEED], at->guaranteed);
		assert_int_equal(held[SPAN_LOAN], at->loaned);
		assert_true(held[SPAN_LEASE] >= at->leased);
	}
}

/* Seeds of jobs and leases through every policy, the core checking itself: no lease waits beyond the promise or
 * is refused, no policy beats the bound, and the same seed gives the same bytes. */
static void crowds(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		CLEANUP(buf_done) struct buf text = BUF_INIT, once = BUF_INIT, again = BUF_INIT;
		struct pool p;
		double bound;

		pool_crowd(&p, &text, seed);
		bound = divide_jct_bound_s(&p.in);
		for (int k = 0; k < DIVIDE_POLICIES; k++) {
			struct divide_run r = played(&p, (enum divide_policy)k), r2;
			struct divide_result m;

			sound(&p, &r);
			divide_measure(&p.in, &r, &m);
			assert_int_equal(r.late, 0);
			assert_int_equal(r.refused, 0);
			assert_true(m.jct_s.mean >= bound);
			spans_agree(&p, &r);
			if (k == DIVIDE_SLUIS || k == DIVIDE_COHORT)
				assert_true(r.recalls > 0); /* the story is about something */
			r2 = played(&p, (enum divide_policy)k);
			buf_reset(&once);
			buf_reset(&again);
			divide_jobs_csv(&once, &p.in, &r);
			divide_minutes_csv(&once, &p.in, &r);
			divide_jobs_csv(&again, &p.in, &r2);
			divide_minutes_csv(&again, &p.in, &r2);
			assert_int_equal(once.len, again.len);
			assert_memory_equal(once.data, again.data, once.len);
			divide_run_done(&r);
			divide_run_done(&r2);
		}
		pool_close(&p);
	}
}

/* The report carries every policy, and its pictures are those of the run. */
static void reports(void **state)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct pool p;
	struct divide_run runs[2];
	struct divide_result results[2];
	struct divide_report report = {.in = &p.in, .runs = runs, .results = results, .runs_n = 2, .bound_s = 1,
				       .jobs_name = "jobs\"1\".csv", .demand_name = "demand.csv", .jobs_sha256 = "aa",
				       .demand_sha256 = "bb"};

	(void)state;
	pool_open(&p, one_rise, 4, 8);
	pool_job(&p, 0, 600, 6);
	pool_job(&p, 1, 115, 6);
	runs[0] = played(&p, DIVIDE_STATIC);
	runs[1] = played(&p, DIVIDE_SLUIS);
	for (int i = 0; i < 2; i++)
		divide_measure(&p.in, &runs[i], &results[i]);
	divide_text(&b, &report);
	assert_non_null(strstr(buf_cstr(&b), "queue time, static / this"));
	assert_non_null(strstr(buf_cstr(&b), "lease violations: late                       0            0\n"));
	buf_reset(&b);
	divide_json(&b, &report);
	assert_non_null(strstr(buf_cstr(&b), "\"file\": \"jobs\\\"1\\\".csv\""));
	assert_non_null(strstr(buf_cstr(&b), "\"policy\": \"sluis\""));
	assert_non_null(strstr(buf_cstr(&b), "\"lease_violations\": {\"late\": 0, \"refused\": 0, \"short_gpu_hours\": 0}"));
	buf_reset(&b);
	divide_minutes_csv(&b, &p.in, &runs[1]);
	assert_non_null(strstr(buf_cstr(&b), "\n600,6,6,4,4,0,0,0.0000\n")); /* the second job borrows */
	buf_reset(&b);
	divide_picture_gantt(&b, &report, 1);
	assert_non_null(strstr(buf_cstr(&b), "Who holds which device, 4 nodes: sluis"));
	buf_reset(&b);
	divide_picture_queue(&b, &report);
	divide_picture_lost(&b, &report);
	assert_non_null(strstr(buf_cstr(&b), "Work lost to recalls, so far"));
	buf_reset(&b);
	divide_picture_division(&b, &report, 1);
	assert_non_null(strstr(buf_cstr(&b), "entitled 50 %"));
	buf_reset(&b);
	divide_picture_recalls(&b, &report, 1);
	assert_non_null(strstr(buf_cstr(&b), "<circle"));
	buf_reset(&b);
	divide_picture_wait(&b, &report);
	divide_picture_compare(&b, &report);
	assert_non_null(strstr(buf_cstr(&b), "times better"));
	for (int i = 0; i < 2; i++)
		divide_run_done(&runs[i]);
	pool_close(&p);
}

/* One figure is a bound; the policy that knows the future is not, and the report does not let it pass for one. */
static void the_bound_is_told_from_the_clairvoyant(void **state)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct pool p;
	struct divide_run run;
	struct divide_result result;
	struct divide_report report = {.in = &p.in, .runs = &run, .results = &result, .runs_n = 1, .jobs_name = "j",
				       .demand_name = "d"};

	(void)state;
	pool_open(&p, one_rise, 4, 8);
	pool_job(&p, 0, 600, 6);
	pool_job(&p, 1, 115, 6); /* wanted back after an hour: it waits, and others lend */
	report.bound_s = divide_jct_bound_s(&p.in);
	for (int k = 0; k < 2; k++) {
		const char *text;

		run = played(&p, k ? DIVIDE_CLAIRVOYANT : DIVIDE_LYRA);
		divide_measure(&p.in, &run, &result);
		assert_true(result.jct_s.mean >= report.bound_s);
		buf_reset(&b);
		divide_text(&b, &report);
		text = buf_cstr(&b);
		assert_non_null(strstr(text, "s: no schedule is below\n"));
		assert_int_equal(strstr(text, "clairvoyant a heuristic that knows run times and demand, no bound") != NULL, k);
		buf_reset(&b);
		divide_json(&b, &report);
		assert_non_null(strstr(buf_cstr(&b), k ? "\"knows_future\": true" : "\"knows_future\": false"));
		divide_run_done(&run);
	}
	pool_close(&p);
}

static void setups_that_cannot_work(void **state)
{
	struct pool p;
	struct divide_run r;
	struct err err;

	(void)state;
	pool_open(&p, one_rise, 4, 8);
	p.in.nodes = 250001; /* of four */
	assert_int_equal(divide_run(&p.in, DIVIDE_STATIC, NULL, NULL, &r, &err), ERR_RANGE);
	assert_non_null(strstr(err.msg, "1000000 in all"));
	divide_run_done(&r);
	pool_close(&p);
	pool_open(&p, one_rise, 4, 8);
	pool_job(&p, 0, 10, 9); /* larger than the public side */
	assert_int_equal(divide_run(&p.in, DIVIDE_SLUIS, NULL, NULL, &r, &err), ERR_RANGE);
	divide_run_done(&r);
	p.trace.jobs[0].units = 1;
	p.in.private_units = 9; /* more than there is */
	assert_int_equal(divide_run(&p.in, DIVIDE_SLUIS, NULL, NULL, &r, &err), ERR_RANGE);
	divide_run_done(&r);
	p.in.private_units = 7; /* less than is leased */
	assert_int_equal(divide_run(&p.in, DIVIDE_COHORT, NULL, NULL, &r, &err), ERR_RANGE);
	divide_run_done(&r);
	p.in.private_units = 8;
	p.in.restart_ms = MS_PER_HOUR; /* a job would hit its time limit */
	assert_int_equal(divide_run(&p.in, DIVIDE_COHORT, NULL, NULL, &r, &err), ERR_RANGE);
	divide_run_done(&r);
	pool_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(demand_rises_at_once_and_falls_late),
		cmocka_unit_test(demand_looks_back_over_the_end),
		cmocka_unit_test(demand_counts_instances),
		cmocka_unit_test(demand_is_scaled_to_the_private_side),
		cmocka_unit_test(demand_goes_by_names),
		cmocka_unit_test(bad_demand_is_named),
		cmocka_unit_test(the_largest_job_is_what_leases_leave),
		cmocka_unit_test(trace_window_and_limits),
		cmocka_unit_test(a_trace_goes_by_names),
		cmocka_unit_test(trace_of_a_batch_log),
		cmocka_unit_test(bad_traces_are_named),
		cmocka_unit_test(bad_lines_are_left_out),
		cmocka_unit_test(huge_rates_are_refused),
		cmocka_unit_test(a_loan_is_recalled),
		cmocka_unit_test(cohort_preempts_the_newest_and_fills_back),
		cmocka_unit_test(lyra_reclaims_whole_nodes_where_fewest_jobs_are_lost),
		cmocka_unit_test(saving_on_notice_loses_little),
		cmocka_unit_test(the_guard_is_as_asked),
		cmocka_unit_test(walls_hold_and_foresight_waits),
		cmocka_unit_test(early_ends_make_room),
		cmocka_unit_test(a_node_on_its_way_back_is_not_lent_twice),
		cmocka_unit_test(late_growth_is_seen),
		cmocka_unit_test(a_broken_promise_is_reported),
		cmocka_unit_test(a_large_machine_is_set_up),
		cmocka_unit_test(crowds),
		cmocka_unit_test(reports),
		cmocka_unit_test(the_bound_is_told_from_the_clairvoyant),
		cmocka_unit_test(setups_that_cannot_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
