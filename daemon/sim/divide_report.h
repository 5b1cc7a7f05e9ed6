/* divide_report.h - what came of dividing a pool: text, JSON, tables and pictures */
#ifndef SLUIS_DAEMON_SIM_DIVIDE_REPORT_H
#define SLUIS_DAEMON_SIM_DIVIDE_REPORT_H

#include "daemon/sim/divide.h"
#include "daemon/sim/text.h"
#include "proto/base/buf.h"

struct divide_report {
	const struct divide_setup *in;
	const struct divide_run *runs;
	const struct divide_result *results; /* one per run */
	size_t runs_n;
	const struct bad_lines *bad; /* left out of both files; NULL: none */
	double bound_s; /* divide_jct_bound_s() */
	const char *jobs_name, *demand_name; /* without folders */
	char jobs_sha256[TEXT_HEX_BYTES], demand_sha256[TEXT_HEX_BYTES];
};

void divide_text(struct buf *out, const struct divide_report *r);
void divide_json(struct buf *out, const struct divide_report *r);
/* One line per job, and one per minute of the window. */
void divide_jobs_csv(struct buf *out, const struct divide_setup *in, const struct divide_run *run);
void divide_minutes_csv(struct buf *out, const struct divide_setup *in, const struct divide_run *run);
/* Who holds the devices over time; how long growth took that needed a recall. */
void divide_picture_division(struct buf *out, const struct divide_report *r, size_t run);
void divide_picture_recalls(struct buf *out, const struct divide_report *r, size_t run);
/* Who had which device of the first 32 nodes during the part of the window with most recalls; nothing without spans. */
void divide_picture_gantt(struct buf *out, const struct divide_report *r, size_t run);
/* Jobs that waited, and GPU-hours lost to recalls so far, over time, of all runs. */
void divide_picture_queue(struct buf *out, const struct divide_report *r);
void divide_picture_lost(struct buf *out, const struct divide_report *r);
/* Distribution of waiting times, and the figures side by side, of all runs. */
void divide_picture_wait(struct buf *out, const struct divide_report *r);
void divide_picture_compare(struct buf *out, const struct divide_report *r);

#endif
