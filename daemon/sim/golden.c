/* golden.c - see golden.h */
#include "daemon/sim/golden.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/jobsim.h"
#include "daemon/sim/jobsim_core.h"
#include "daemon/sim/packsim.h"
#include "daemon/sim/swf.h"
#include "daemon/sim/text.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"

#define KTH "KTH-SP2", "KTH-SP2-1996-2.swf.gz"
#define CTC "CTC-SP2", "CTC-SP2-1996-3.1-cln.swf.gz"
#define BLUE "SDSC-BLUE", "SDSC-BLUE-2000-4.1-cln.swf.gz"

const struct golden_row golden_rows[] = {
	{KTH, "easy", "requested", 92.5765397336295, GOLDEN_EQUAL},
	{KTH, "easy-sjbf", "requested", 69.4054005803035, GOLDEN_EQUAL},
	{KTH, "easy", "perfect", 71.7223851124418, GOLDEN_EQUAL},
	{KTH, "easy-sjbf", "perfect", 49.8477189313406, GOLDEN_EQUAL},
	{KTH, "easy", "tsafrir", 65.7235894400489, GOLDEN_EQUAL},
	{KTH, "easy-sjbf", "tsafrir", 62.8568827272923, GOLDEN_EQUAL},
	{CTC, "easy", "requested", 49.5712902189859, GOLDEN_EQUAL},
	{CTC, "easy-sjbf", "requested", 30.0410695214457, GOLDEN_EQUAL},
	{CTC, "easy", "perfect", 37.1654014851933, GOLDEN_EQUAL},
	{CTC, "easy-sjbf", "perfect", 17.5716874376194, GOLDEN_EQUAL},
	{CTC, "easy", "tsafrir", 35.3239606755004, GOLDEN_EQUAL},
	{CTC, "easy-sjbf", "tsafrir", 26.5337857227919, GOLDEN_EQUAL},
	{BLUE, "easy", "requested", 36.5233635393129, GOLDEN_EQUAL},
	{BLUE, "easy-sjbf", "requested", 19.8260115151715, GOLDEN_EQUAL},
	{BLUE, "easy", "perfect", 30.6214539423518, GOLDEN_EQUAL},
	{BLUE, "easy-sjbf", "perfect", 13.1775880058696, GOLDEN_EQUAL},
	{BLUE, "easy", "tsafrir", 26.583609881077, GOLDEN_EQUAL},
	{BLUE, "easy-sjbf", "tsafrir", 16.826861218912, GOLDEN_EQUAL},
	{KTH, "sluis", "tsafrir", 40, GOLDEN_AT_MOST}, /* best published without an oracle: 45.80 */
	{CTC, "sluis", "tsafrir", 26.5337857227919, GOLDEN_AT_MOST},
	{BLUE, "sluis", "tsafrir", 16.826861218912, GOLDEN_AT_MOST},
	/* sluisd knows limits only: at most EASY++, which guesses, and on BLUE at most EASY-SJBF with the same knowledge */
	{KTH, "core", "requested", 62.8568827272923, GOLDEN_AT_MOST},
	{CTC, "core", "requested", 26.5337857227919, GOLDEN_AT_MOST},
	{BLUE, "core", "requested", 19.8260115151715, GOLDEN_AT_MOST},
};
const size_t golden_rows_n = ARRAY_LEN(golden_rows);

#define FGD(list, expected) {list, "fgd", expected, 0.5, GOLDEN_EQUAL}
#define ABOVE(list, expected) {list, "sluis", expected, 0, GOLDEN_AT_LEAST}
const struct golden_pack_row golden_pack_rows[] = {
	{"default", "random", 87.470, 1.0, GOLDEN_EQUAL},
	{"default", "bestfit", 93.076, 0.5, GOLDEN_EQUAL},
	FGD("default", 95.391),
	ABOVE("default", 95.391),
	FGD("cpu050", 95.206),
	ABOVE("cpu050", 95.206),
	FGD("cpu100", 95.354),
	ABOVE("cpu100", 95.354),
	FGD("cpu200", 95.045),
	FGD("cpu250", 93.411),
	ABOVE("cpu250", 93.411),
	FGD("gpushare40", 94.148),
	FGD("gpushare60", 91.401),
	ABOVE("gpushare60", 91.401),
	FGD("gpushare80", 89.305),
	FGD("gpushare100", 86.901),
	ABOVE("gpushare100", 86.901),
	FGD("gpuspec10", 94.949),
	ABOVE("gpuspec10", 94.949),
	FGD("gpuspec20", 94.837),
	FGD("gpuspec25", 94.741),
	ABOVE("gpuspec25", 94.741),
	FGD("gpuspec33", 94.547),
	ABOVE("gpuspec33", 94.547),
	FGD("multigpu20", 95.651),
	ABOVE("multigpu20", 95.651),
	FGD("multigpu30", 96.456),
	FGD("multigpu40", 96.990),
	FGD("multigpu50", 97.178),
};
const size_t golden_pack_rows_n = ARRAY_LEN(golden_pack_rows);

const char *golden_data_dir(void)
{
	const char *dir = getenv("SLUIS_DATA");

	return dir && *dir ? dir : "../shared/data";
}

static bool holds(double value, double expected, double band, enum golden_sense sense)
{
	switch (sense) {
	case GOLDEN_EQUAL: return fabs(value - expected) <= band;
	case GOLDEN_AT_MOST: return value <= expected;
	case GOLDEN_AT_LEAST: return value >= expected;
	}
	UNREACHABLE();
}

static const char *name_of(enum golden_sense sense)
{
	return sense == GOLDEN_EQUAL ? "" : sense == GOLDEN_AT_MOST ? ", at most" : ", at least";
}

/* Equal in 12 digits. */
static double digits_12(double expected) { return 5e-13 * fabs(expected); }

bool golden_equal(double value, double expected) { return holds(value, expected, digits_12(expected), GOLDEN_EQUAL); }

static int load(const char *data_dir, const char *file, struct swf *swf, struct err *err)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT, text = BUF_INIT;
	struct swf_dropped dropped;
	int r;

	buf_addf(&path, "%s/swf/%s", data_dir, file);
	r = text_load(buf_cstr(&path), &text, NULL, err);
	if (r == 0)
		r = swf_parse(file, (const char *)text.data, text.len, NULL, swf, err);
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
	int r = !strcmp(row->policy, jobsim_core.name)
			? jobsim_core_run(swf->jobs, swf->jobs_n, swf->max_procs, NULL, NULL, start_s, NULL, err)
			: jobsim_run(swf->jobs, swf->jobs_n, swf->max_procs, jobsim_policy_find(row->policy),
				     estimate_of(row->estimate), NULL, NULL, start_s, err);

	if (r == 0) {
		jobsim_measure(swf->jobs, swf->jobs_n, swf->max_procs, start_s, &result);
		(void)snprintf(name, sizeof name, "%s %s %s%s", row->log, row->policy, row->estimate, name_of(row->sense));
		report(arg, &(struct golden_report){name, result.slowdown.mean, row->expected, row->sense,
						    holds(result.slowdown.mean, row->expected, digits_12(row->expected),
							  row->sense)});
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

static int read_file(const char *data_dir, const char *file, bool pods, struct openb *o, struct err *err)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT, text = BUF_INIT;
	int r;

	buf_addf(&path, "%s/gpu-traces/openb/%s.csv.gz", data_dir, file);
	r = text_load(buf_cstr(&path), &text, NULL, err);
	if (r)
		return r;
	return (pods ? openb_parse_pods : openb_parse_nodes)(o, file, (const char *)text.data, text.len, NULL,
							      err);
}

int golden_load_openb(const char *data_dir, const char *list, struct openb *ret_openb, struct err *err)
{
	char file[96];
	int r = read_file(data_dir, "openb_node_list_gpu_node", false, ret_openb, err);

	(void)snprintf(file, sizeof file, "openb_pod_list_%s", list);
	return r ? r : read_file(data_dir, file, true, ret_openb, err);
}

static int run_pack_row(const struct golden_pack_row *row, const struct openb *o, golden_report_fn *report, void *arg,
			struct err *err)
{
	enum packsim_policy policy = 0;
	double sum = 0;
	char name[96];

	while (strcmp(packsim_policy_names[policy], row->policy) != 0)
		policy++;
	for (uint64_t seed = GOLDEN_SEED; seed < GOLDEN_SEED + GOLDEN_SEEDS; seed++) {
		struct packsim_result result;
		int r = packsim_run(o, policy, seed, GOLDEN_UNTIL_MILLI, NULL, NULL, NULL, &result, err);

		if (r)
			return r;
		sum += result.allocation_pct;
	}
	sum /= GOLDEN_SEEDS;
	(void)snprintf(name, sizeof name, "openb %s %s%s", row->list, row->policy, name_of(row->sense));
	report(arg, &(struct golden_report){name, sum, row->expected, row->sense,
					    holds(sum, row->expected, row->band, row->sense)});
	return 0;
}

int golden_pack(const char *data_dir, const char *list, golden_report_fn *report, void *arg, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < golden_pack_rows_n; i++) {
		const struct golden_pack_row *row = &golden_pack_rows[i];
		struct openb o = {0};

		if (list && strcmp(list, row->list) != 0)
			continue;
		r = golden_load_openb(data_dir, row->list, &o, err);
		if (r == 0)
			r = run_pack_row(row, &o, report, arg, err);
		else if (r == ERR_NOTFOUND && !list && o.nodes_n > 0)
			r = 0; /* not every list is kept everywhere */
		openb_done(&o);
	}
	return r;
}
