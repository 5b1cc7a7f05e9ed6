/* golden.h - published results that the simulator must reproduce before it claims new ones
 *
 * EASY rows: mean bounded slowdown of the runs published with Gaussier, Glesser, Reis & Trystram,
 * "Improving Backfilling by using Machine Learning to Predict Running Times", SC 2015 (data set
 * jad-darrous/predictsim), equal to 12 digits.
 */
#ifndef SLUIS_DAEMON_SIM_GOLDEN_H
#define SLUIS_DAEMON_SIM_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/err.h"

struct golden_row {
	const char *log;
	const char *file; /* below DATA/swf */
	const char *policy;
	const char *estimate;
	double expected; /* mean bounded slowdown */
};
extern const struct golden_row golden_rows[];
extern const size_t golden_rows_n;

/* Equal to 12 significant digits. */
bool golden_equal(double value, double expected);

struct golden_report {
	const char *name; /* borrowed for the call */
	double value;
	double expected;
	bool ok;
};
typedef void golden_report_fn(void *arg, const struct golden_report *report);

/* Run the EASY rows of `log` (NULL: of all) over the files in data_dir/swf and report each.
 * Errors of the trace readers; a wrong value is not an error, it is reported with ok = false. */
int golden_easy(const char *data_dir, const char *log, golden_report_fn *report, void *arg, struct err *err) NODISCARD;

/* The folder with the recorded data: $SLUIS_DATA, else ../shared/data. */
const char *golden_data_dir(void);

#endif
