/* golden.c - see golden.h */
#include "daemon/sim/golden.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/jobsim.h"
#include "daemon/sim/swf.h"
#include "daemon/sim/text.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"

#define KTH "KTH-SP2", "KTH-SP2-1996-2.swf.gz"
#define CTC "CTC-SP2", "CTC-SP2-1996-3.1-cln.swf.gz"
#define BLUE "SDSC-BLUE", "SDSC-BLUE-2000-4.1-cln.swf.gz"

const struct golden_row golden_rows[] = {
	{KTH, "easy", "requested", 92.5765397336295},
	{KTH, "easy-sjbf", "requested", 69.4054005803035},
	{KTH, "easy", "perfect", 71.7223851124418},
	{KTH, "easy-sjbf", "perfect", 49.8477189313406},
	{KTH, "easy", "tsafrir", 65.7235894400489},
	{KTH, "easy-sjbf", "tsafrir", 62.8568827272923},
	{CTC, "easy", "requested", 49.5712902189859},
	{CTC, "easy-sjbf", "requested", 30.0410695214457},
	{CTC, "easy", "perfect", 37.1654014851933},
	{CTC, "easy-sjbf", "perfect", 17.5716874376194},
	{CTC, "easy", "tsafrir", 35.3239606755004},
	{CTC, "easy-sjbf", "tsafrir", 26.5337857227919},
	{BLUE, "easy", "requested", 36.5233635393129},
	{BLUE, "easy-sjbf", "requested", 19.8260115151715},
	{BLUE, "easy", "perfect", 30.6214539423518},
	{BLUE, "easy-sjbf", "perfect", 13.1775880058696},
	{BLUE, "easy", "tsafrir", 26.583609881077},
	{BLUE, "easy-sjbf", "tsafrir", 16.826861218912},
};
const size_t golden_rows_n = ARRAY_LEN(golden_rows);

const char *golden_data_dir(void)
{
	const char *dir = getenv("SLUIS_DATA");

	return dir && *dir ? dir : "../shared/data";
}

bool golden_equal(double value, double expected) { return fabs(value - expected) <= 5e-13 * fabs(expected); }

static int load(const char *data_dir, const char *file, struct swf *swf, struct err *err)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT, text = BUF_INIT;
	struct swf_dropped dropped;
	int r;

	buf_addf(&path, "%s/swf/%s", data_dir, file);
	r = text_load(buf_cstr(&path), &text, NULL, err);
	if (r == 0)
		r = swf_parse(file, (const char *)text.data, text.len, false, swf, err);
	if (r == 0)
		swf_filter(swf, swf->max_procs, false, &dropped);
	return r;
}

static enum jobsim_estimate estimate_of(const char *name)
{
	for (int i = 0; i < ESTIMATE_COUNT; i++)
		if (strcmp(jobsim_estimate_names[i], name) == 0)
			return (enum jobsim_estimate)i;
	UNREACHABLE();
}

static int run_row(const struct golden_row *row, const struct swf *swf, golden_report_fn *report, void *arg,
		   struct err *err)
{
	int64_t *start_s = xmalloc(swf->jobs_n * sizeof *start_s);
	struct jobsim_result result;
	char name[96];
	int r = jobsim_run(swf->jobs, swf->jobs_n, swf->max_procs, jobsim_policy_find(row->policy),
			   estimate_of(row->estimate), NULL, NULL, start_s, err);

	if (r == 0) {
		jobsim_measure(swf->jobs, swf->jobs_n, swf->max_procs, start_s, &result);
		(void)snprintf(name, sizeof name, "%s %s %s", row->log, row->policy, row->estimate);
		report(arg, &(struct golden_report){name, result.slowdown.mean, row->expected,
						    golden_equal(result.slowdown.mean, row->expected)});
	}
	free(start_s);
	return r;
}

int golden_easy(const char *data_dir, const char *log, golden_report_fn *report, void *arg, struct err *err)
{
	const char *loaded = "";
	struct swf swf = {0};
	int r = 0;

	for (size_t i = 0; r == 0 && i < golden_rows_n; i++) {
		const struct golden_row *row = &golden_rows[i];

		if (log && strcmp(row->log, log) != 0)
			continue;
		if (strcmp(loaded, row->file) != 0) {
			swf_done(&swf);
			r = load(data_dir, row->file, &swf, err);
			loaded = row->file;
		}
		if (r == 0)
			r = run_row(row, &swf, report, arg, err);
	}
	swf_done(&swf);
	return r;
}
