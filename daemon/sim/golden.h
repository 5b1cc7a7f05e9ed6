/* golden.h - published results that the simulator must reproduce before it claims new ones
 *
 * EASY rows: mean bounded slowdown of the runs published with Gaussier, Glesser, Reis & Trystram,
 * "Improving Backfilling by using Machine Learning to Predict Running Times", SC 2015 (data set
 * jad-darrous/predictsim), equal to 12 digits.
 *
 * openb rows: GPU allocation in % when 130 % of the capacity has been asked for, mean of ten seeds, as
 * published with Weng et al., "Beware of Fragmentation", USENIX ATC 2023 (artifact
 * hkust-adsl/kubernetes-scheduler-simulator). That program draws its pods with another generator, so
 * these must agree within a band.
 *
 * Rows of policy "sluis" are claims of our own, held here so that they stay true: at most the mean bounded
 * slowdown that was aimed at or published, at least the allocation published for fragmentation gradient descent.
 */
#ifndef SLUIS_DAEMON_SIM_GOLDEN_H
#define SLUIS_DAEMON_SIM_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/sim/openb.h"
#include "proto/base/err.h"

/* How a value is held against what is expected. */
enum golden_sense { GOLDEN_EQUAL = 0, GOLDEN_AT_MOST, GOLDEN_AT_LEAST };

struct golden_row {
	const char *log;
	const char *file; /* below DATA/swf */
	const char *policy;
	const char *estimate;
	double expected; /* mean bounded slowdown */
	enum golden_sense sense;
};
extern const struct golden_row golden_rows[];
extern const size_t golden_rows_n;

struct golden_pack_row {
	const char *list; /* of pods: DATA/gpu-traces/openb/openb_pod_list_LIST.csv.gz */
	const char *policy;
	double expected; /* allocation in % */
	double band;     /* GOLDEN_EQUAL: plus or minus */
	enum golden_sense sense;
};
extern const struct golden_pack_row golden_pack_rows[];
extern const size_t golden_pack_rows_n;
enum { GOLDEN_SEED = 42, GOLDEN_SEEDS = 10, GOLDEN_UNTIL_MILLI = 1300 };

/* Equal to 12 significant digits. */
bool golden_equal(double value, double expected);

struct golden_report {
	const char *name; /* borrowed for the call */
	double value;
	double expected;
	enum golden_sense sense;
	bool ok;
};
typedef void golden_report_fn(void *arg, const struct golden_report *report);

/* Run the EASY rows of `log` (NULL: of all) over the files in data_dir/swf and report each.
 * Errors of the trace readers; a wrong value is not an error, it is reported with ok = false. */
int golden_easy(const char *data_dir, const char *log, golden_report_fn *report, void *arg, struct err *err) NODISCARD;

/* Run the openb rows of `list` (NULL: of all whose list of pods is there) and report each. */
int golden_pack(const char *data_dir, const char *list, golden_report_fn *report, void *arg, struct err *err) NODISCARD;

/* Read the openb nodes with GPUs and one list of pods. ret_openb must be zeroed. */
int golden_load_openb(const char *data_dir, const char *list, struct openb *ret_openb, struct err *err) NODISCARD;

/* The folder with the recorded data: $SLUIS_DATA, else ../shared/data. */
const char *golden_data_dir(void);

#endif
