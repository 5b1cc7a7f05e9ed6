/* test_swf.c - the reader of batch logs
 *
 * Without these a shifted field or a silently skipped line would change every figure we publish.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

#include "daemon/sim/jobsim.h"
#include "daemon/sim/jobsim_core.h"
#include "daemon/sim/swf.h"
#include "daemon/sim/text.h"
#include "proto/base/ensure.h"

static int parse_with(const char *text, struct bad_lines *bad, struct swf *swf, struct err *err)
{
	*swf = (struct swf){0};
	if (err)
		*err = (struct err){0};
	return swf_parse("log.swf", text, strlen(text), bad, swf, err);
}

static int parse(const char *text, struct swf *swf, struct err *err) { return parse_with(text, NULL, swf, err); }

static void fields_and_header(void **state)
{
	struct swf swf;
	struct err err;

	(void)state;
	assert_int_equal(parse("; Version: 2.2\n"
			       ";MaxNodes: 338 (batch partition; 512 total)\r\n"
			       "; MaxProcs:\t430\n"
			       "; MaxProcs: 999\n"
			       "\n"
			       "    7   60 11 937 16 142.00 -1 32 35100 -1 1 97 -1 307 3 -1 -1 -1\r\n"
			       "8 61 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1", &swf, &err), 0);
	assert_int_equal(swf.max_nodes, 338);
	assert_int_equal(swf.max_procs, 430); /* the first one counts */
	assert_int_equal(swf.jobs_n, 2);
	assert_int_equal(swf.jobs[0].id, 7);
	assert_int_equal(swf.jobs[0].submit_s, 60);
	assert_int_equal(swf.jobs[0].run_s, 937);
	assert_int_equal(swf.jobs[0].allocated, 16);
	assert_int_equal(swf.jobs[0].procs, 32);
	assert_int_equal(swf.jobs[0].request_s, 35100);
	assert_int_equal(swf.jobs[0].user, 97);
	assert_int_equal(swf.jobs[0].line, 6);
	assert_int_equal(swf.jobs[1].user, -1);
	swf_done(&swf);
}

/* Every way a line can be wrong is named with its place. */
static void bad_lines_are_named(void **state)
{
	static const struct { const char *line, *says; } cases[] = {
		{"1 2 3", "log.swf:2: 3 fields, a job has 18"},
		{"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19", "log.swf:2: more than 18 fields"},
		{"1 2 3 4 5 6 7 8 x 10 11 12 13 14 15 16 17 18", "log.swf:2: field 9 (requested time) is not a number"},
		{"1 2 3 4s 5 6 7 8 9 10 11 12 13 14 15 16 17 18", "log.swf:2: field 4 (run time) is not a number"},
		{"1 - 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18", "log.swf:2: field 2 (submit time) is not a number"},
		{"1 99999999999999999999 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18",
		 "log.swf:2: field 2 (submit time) is beyond 3000000000 s, the longest that is simulated"},
		{"1 2 3 3000000001 5 6 7 8 9 10 11 12 13 14 15 16 17 18",
		 "log.swf:2: field 4 (run time) is beyond 3000000000 s, the longest that is simulated"},
		{"1 2 3 4 5 6 7 8 -9000000000.5 10 11 12 13 14 15 16 17 18",
		 "log.swf:2: field 9 (requested time) is beyond 3000000000 s, the longest that is simulated"},
		{"1 2 3 4 5 6 7 8 9 10 11 9223372036854775807 13 14 15 16 17 18",
		 "log.swf:2: field 12 (user) is beyond 1000000000000"},
		{"1 2 3 4 5 6 7 8 9 10 11 .5 13 14 15 16 17 18", "log.swf:2: field 12 (user) is not a number"},
	};
	char text[256];
	struct swf swf;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		(void)snprintf(text, sizeof text, "; comment\n%s\n1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\n",
			       cases[i].line);
		struct bad_lines skip = {.skip = true}, refuse = {.skip = false};

		assert_int_equal(parse(text, &swf, &err), ERR_FORMAT);
		assert_string_equal(err.msg, cases[i].says);
		assert_string_equal(err.hint, "--bad-lines skip leaves such lines out and counts them");
		swf_done(&swf);
		assert_int_equal(parse_with(text, &refuse, &swf, NULL), ERR_FORMAT);
		swf_done(&swf);
		assert_int_equal(parse_with(text, &skip, &swf, &err), 0);
		assert_int_equal(swf.jobs_n, 1);
		assert_int_equal(skip.n, 1);
		assert_string_equal(skip.first.msg, cases[i].says);
		swf_done(&swf);
	}
}

/* A size of the machine that cannot be is told apart from one that is not said. */
static void sizes_of_the_machine(void **state)
{
	static const struct { const char *header; int64_t procs; unsigned bad_line; } cases[] = {
		{"; MaxProcs: 100000000\n", 100000000, 0},
		{"; MaxProcs: 100000001\n", -1, 1},
		{"; x\n; MaxProcs: 9223372036854775807\n", -1, 2},
		{"; MaxProcs: 0\n; MaxProcs: -5\n; MaxProcs: 7\n", 7, 1},
		{"; MaxProcs: -1\n; MaxNodes: unknown\n", -1, 0},
		{"; MaxProcs: 8\n; MaxNodes: -3\n", 8, 2},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct swf swf;
		struct err err;

		assert_int_equal(parse(cases[i].header, &swf, &err), 0);
		assert_int_equal(swf.max_procs, cases[i].procs);
		assert_int_equal(swf.bad_size_line, cases[i].bad_line);
		swf_done(&swf);
	}
}

/* Whatever the reader lets through every policy takes. */
static void the_longest_times_are_simulated(void **state)
{
	static const char text[] = "1 0 -1 3000000000 4 -1 -1 4 3000000000 -1 1 1 1 1 1 1 -1 -1\n"
				   "2 3000000000 -1 3000000000 4 -1 -1 4 3000000000 -1 1 1 1 1 1 1 -1 -1\n";
	struct swf_dropped dropped;
	int64_t start_s[2];
	struct swf swf;
	struct err err;

	(void)state;
	assert_int_equal(parse(text, &swf, &err), 0);
	swf_filter(&swf, 4, false, &dropped);
	assert_int_equal(swf.jobs_n, 2);
	for (size_t i = 0; jobsim_policies[i]; i++) {
		assert_int_equal(jobsim_run(swf.jobs, 2, 4, jobsim_policies[i], ESTIMATE_REQUESTED, NULL, NULL, start_s, &err), 0);
		assert_int_equal(start_s[0], 0);
		assert_int_equal(start_s[1], 3000000000);
	}
	if (jobsim_core_run(swf.jobs, 2, 4, NULL, NULL, start_s, NULL, &err))
		fail_msg("%s", err.msg);
	assert_in_range(start_s[1], 3000000000, 3000000010);
	swf_done(&swf);
}

/* The log of a large site: more users than one token enrols; and a job that the core would not place is refused. */
static void many_users_and_wide_jobs(void **state)
{
	enum { JOBS = 10001 };
	struct swf_job *jobs = calloc(JOBS, sizeof *jobs);
	int64_t *start_s = calloc(JOBS, sizeof *start_s);
	struct err err;

	(void)state;
	for (int i = 0; i < JOBS; i++)
		jobs[i] = (struct swf_job){.submit_s = i, .run_s = 60, .request_s = 60, .procs = 1, .user = i, .line = (unsigned)i + 1};
	if (jobsim_core_run(jobs, JOBS, 80, NULL, NULL, start_s, NULL, &err))
		fail_msg("%s", err.msg);
	assert_in_range(start_s[JOBS - 1], JOBS - 1, JOBS + 9);
	jobs[7].procs = 2049;
	assert_int_equal(jobsim_core_run(jobs, JOBS, 2053, NULL, NULL, start_s, NULL, &err), ERR_RANGE);
	assert_string_equal(err.msg, "the job of line 8 has 2049 processors: policy core takes up to 2048 on a machine of 2053, 2048 "
				     "nodes of 1");
	free(jobs);
	free(start_s);
}

/* Each rule of the filter takes exactly its own job; what is left is in order of submission. */
static void filter_counts_each_reason(void **state)
{
	static const char text[] =
		"1 50 -1 10 4 -1 -1 4 20 -1 1 1 1 -1 -1 -1 -1 -1\n"   /* kept */
		"2 10 -1 10 9 -1 -1 4 20 -1 1 1 1 -1 -1 -1 -1 -1\n"   /* allocated more than there is */
		"3 11 -1 10 4 -1 -1 9 20 -1 1 1 1 -1 -1 -1 -1 -1\n"   /* requested more */
		"4 12 -1 10 -1 -1 -1 -1 20 -1 1 1 1 -1 -1 -1 -1 -1\n" /* no size */
		"5 13 -1 0 4 -1 -1 4 20 -1 1 1 1 -1 -1 -1 -1 -1\n"    /* did not run */
		"6 14 -1 10 4 -1 -1 4 -1 -1 1 1 1 -1 -1 -1 -1 -1\n"   /* no request */
		"7 -1 -1 10 4 -1 -1 4 20 -1 1 1 1 -1 -1 -1 -1 -1\n"   /* no submission */
		"8 40 -1 90 3 -1 -1 -1 20 -1 1 1 1 -1 -1 -1 -1 -1\n"  /* kept: allocated, cut, out of order */
		"9 40 -1 10 -1 -1 -1 8 20 -1 1 1 1 -1 -1 -1 -1 -1\n"; /* kept: the whole machine */
	struct swf_dropped d;
	struct swf swf;
	struct err err;

	(void)state;
	assert_int_equal(parse(text, &swf, &err), 0);
	swf_filter(&swf, 8, false, &d);
	assert_int_equal(d.too_large, 2);
	assert_int_equal(d.no_size, 1);
	assert_int_equal(d.no_run, 1);
	assert_int_equal(d.no_request, 1);
	assert_int_equal(d.no_submit, 1);
	assert_int_equal(d.all, 6);
	assert_int_equal(d.overran, 1);
	assert_int_equal(d.out_of_order, 2);
	assert_int_equal(swf.jobs_n, 3);
	assert_int_equal(swf.jobs[0].id, 8);
	assert_int_equal(swf.jobs[0].procs, 3);
	assert_int_equal(swf.jobs[0].run_s, 20);
	assert_int_equal(swf.jobs[1].id, 9); /* file order among equals */
	assert_int_equal(swf.jobs[2].id, 1);
	swf_done(&swf);

	assert_int_equal(parse(text, &swf, &err), 0);
	swf_filter(&swf, 8, true, &d);
	assert_int_equal(d.no_request, 0);
	assert_int_equal(swf.jobs_n, 4);
	swf_done(&swf);
}

static void write_file(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

/* Plain and packed files give the same bytes and digest; a packed file cut short is refused. */
static void files_plain_and_packed(void **state)
{
	char dir[] = "/tmp/sluis-swf-XXXXXX", plain[64], packed[64], missing[64];
	char sha_plain[TEXT_HEX_BYTES], sha_packed[TEXT_HEX_BYTES];
	struct buf text = BUF_INIT, again = BUF_INIT, raw = BUF_INIT;
	struct err err;
	gzFile gz;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(plain, sizeof plain, "%s/a.swf", dir);
	(void)snprintf(packed, sizeof packed, "%s/a.swf.gz", dir);
	(void)snprintf(missing, sizeof missing, "%s/none", dir);
	for (int i = 0; i < 20000; i++)
		buf_addf(&text, "%d %d\n", i, i * 7919);
	write_file(plain, text.data, text.len);
	gz = gzopen(packed, "wb");
	assert_int_equal(gzwrite(gz, text.data, (unsigned)text.len), (int)text.len);
	assert_int_equal(gzclose(gz), Z_OK);

	assert_int_equal(text_load(plain, &again, sha_plain, &err), 0);
	assert_int_equal(again.len, text.len);
	buf_reset(&again);
	assert_int_equal(text_load(packed, &again, sha_packed, &err), 0);
	assert_int_equal(again.len, text.len);
	assert_memory_equal(again.data, text.data, text.len);
	assert_string_equal(sha_plain, sha_packed);
	assert_int_equal(strlen(sha_plain), 64);

	assert_int_equal(text_load(missing, &again, NULL, &err), ERR_NOTFOUND);
	write_file(plain, "\xef\xbb\xbf; x\n", 7); /* the mark that some editors put first */
	buf_reset(&again);
	assert_int_equal(text_load(plain, &again, NULL, &err), 0);
	assert_string_equal(buf_cstr(&again), "; x\n");
	{
		FILE *f = fopen(packed, "rb");

		raw.len = fread(buf_reserve(&raw, 1 << 20), 1, 1 << 20, f);
		assert_int_equal(fclose(f), 0);
	}
	write_file(packed, raw.data, raw.len / 2);
	buf_reset(&again);
	assert_int_equal(text_load(packed, &again, NULL, &err), ERR_TRUNCATED);
	assert_int_equal(unlink(plain), 0);
	assert_int_equal(unlink(packed), 0);
	assert_int_equal(rmdir(dir), 0);
	buf_done(&text);
	buf_done(&again);
	buf_done(&raw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_and_header),
		cmocka_unit_test(bad_lines_are_named),
		cmocka_unit_test(sizes_of_the_machine),
		cmocka_unit_test(the_longest_times_are_simulated),
		cmocka_unit_test(many_users_and_wide_jobs),
		cmocka_unit_test(filter_counts_each_reason),
		cmocka_unit_test(files_plain_and_packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
