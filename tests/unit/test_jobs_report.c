/* test_jobs_report.c - the tables and pictures of a batch log
 *
 * An admin reads the series and the pictures, not the simulator: they have to be of the run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/sim/jobs_report.h"
#include "daemon/sim/picture.h"
#include "proto/base/ensure.h"

/* Three jobs on four processors: the second waits for the first, the third runs beside it. */
static const char story[] = "1 1000 -1 180 3 -1 -1 3 180 -1 1 7 1 -1 -1 -1 -1 -1\n"
			    "2 1030 -1 60 2 -1 -1 2 60 -1 1 8 1 -1 -1 -1 -1 -1\n"
			    "3 1060 -1 60 1 -1 -1 1 60 -1 1 9 1 -1 -1 -1 -1 -1\n";

static void simulate(struct jobs_report *r, const char *text, int64_t procs)
{
	*r = (struct jobs_report){.trace_name = "a&b.swf", .sha256 = "cafe", .procs = procs,
				  .policy = jobsim_policy_find("easy"), .estimate_name = "requested"};
	assert_int_equal(swf_parse("a&b.swf", text, strlen(text), NULL, &r->swf, NULL), 0);
	r->read_n = r->swf.jobs_n;
	swf_filter(&r->swf, procs, false, &r->dropped);
	r->start_s = xcalloc(r->swf.jobs_n, sizeof *r->start_s);
	assert_int_equal(jobsim_run(r->swf.jobs, r->swf.jobs_n, procs, r->policy, ESTIMATE_REQUESTED, NULL, NULL, r->start_s,
				    NULL), 0);
	jobsim_measure(r->swf.jobs, r->swf.jobs_n, procs, r->start_s, &r->result);
}

static void done(struct jobs_report *r)
{
	free(r->start_s);
	swf_done(&r->swf);
}

static void tables_are_of_the_run(void **state)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct jobs_report r;

	(void)state;
	simulate(&r, story, 4);
	jobs_csv(&b, &r);
	assert_string_equal(buf_cstr(&b), "job,submit_s,wait_s,run_s,procs,slowdown\n"
					  "1,1000,0,180,3,1.000000\n2,1030,150,60,2,3.500000\n3,1060,0,60,1,1.000000\n");
	buf_reset(&b);
	jobs_minutes_csv(&b, &r);
	assert_string_equal(buf_cstr(&b), "at_s,busy_procs,running_jobs,waiting_jobs,waiting_procs\n"
					  "0,3,1,0,0\n60,4,2,1,2\n120,3,1,1,2\n180,2,1,0,0\n240,0,0,0,0\n");
	buf_reset(&b);
	jobs_json(&b, &r);
	assert_non_null(strstr(buf_cstr(&b), "\"bounded_slowdown\": {\"mean\": 1.83333333333333"));
	assert_non_null(strstr(buf_cstr(&b), "\"jobs_read\": 3,\n  \"jobs_simulated\": 3,\n  \"bad_lines\": 0"));
	buf_reset(&b);
	r.bad.n = 2;
	(void)snprintf(r.bad.first.msg, sizeof r.bad.first.msg, "a&b.swf:7: no job");
	jobs_text(&b, &r);
	assert_non_null(strstr(buf_cstr(&b), "bad lines          2 left out; the first: a&b.swf:7: no job\n"));
	done(&r);
}

static void pictures_are_of_the_run(void **state)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct jobs_report r;

	(void)state;
	simulate(&r, story, 4);
	jobs_picture_gantt(&b, &r);
	assert_non_null(strstr(buf_cstr(&b), "source: a&amp;b.swf cafe; 4 processors; policy easy, estimate requested"));
	/* a day is 860 wide: the first job has three rows for three minutes, the third the fourth row beside it */
	assert_non_null(strstr(buf_cstr(&b), "M76.0 64.0h1.3v35.4h-1.3z"));
	assert_non_null(strstr(buf_cstr(&b), "M76.6 100.0h0.6v11.4h-0.6z"));
	assert_non_null(strstr(buf_cstr(&b), "M77.8 64.0h0.6v23.4h-0.6z")); /* the second, when the first has left */
	buf_reset(&b);
	jobs_picture_busy(&b, &r);
	jobs_picture_queue(&b, &r);
	jobs_picture_wait(&b, &r);
	assert_int_equal(buf_cstr(&b)[0], '<');
	done(&r);
}

/* Ten thousand short jobs in a day: less time is drawn rather than more than fits. */
static void busy_days_are_cut(void **state)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT, b = BUF_INIT;
	struct jobs_report r;

	(void)state;
	for (int i = 0; i < 20000; i++)
		buf_addf(&text, "%d %d -1 30 1 -1 -1 1 30 -1 1 %d 1 -1 -1 -1 -1 -1\n", i + 1, i * 4, i % 11);
	simulate(&r, buf_cstr(&text), 500);
	jobs_picture_gantt(&b, &r);
	assert_true(b.len <= PICTURE_BYTES_MAX);
	assert_non_null(strstr(buf_cstr(&b), "the first 384"));
	done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_of_the_run),
		cmocka_unit_test(pictures_are_of_the_run),
		cmocka_unit_test(busy_days_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
