/* jobs_report.h - what came of a batch log: text, JSON, tables and pictures */
#ifndef SLUIS_DAEMON_SIM_JOBS_REPORT_H
#define SLUIS_DAEMON_SIM_JOBS_REPORT_H

#include "daemon/sim/jobsim.h"
#include "daemon/sim/jobsim_core.h"
#include "daemon/sim/swf.h"
#include "daemon/sim/text.h"
#include "proto/base/buf.h"

struct jobs_report {
	const char *trace_name; /* without folders */
	char sha256[TEXT_HEX_BYTES];
	int64_t procs;
	const struct jobsim_policy *policy;
	const char *estimate_name;
	size_t read_n;
	struct bad_lines bad;
	struct swf swf; /* what was simulated */
	struct swf_dropped dropped;
	int64_t *start_s; /* [swf.jobs_n] */
	struct jobsim_result result;
	struct jobsim_told told; /* of policy core */
};

void jobs_text(struct buf *out, const struct jobs_report *r);
void jobs_json(struct buf *out, const struct jobs_report *r);
/* One line per job; one per minute from the first submission to the last end. */
void jobs_csv(struct buf *out, const struct jobs_report *r);
void jobs_minutes_csv(struct buf *out, const struct jobs_report *r);
/* Processors in use, and jobs that wait, over time; the distribution of waiting. */
void jobs_picture_busy(struct buf *out, const struct jobs_report *r);
void jobs_picture_queue(struct buf *out, const struct jobs_report *r);
void jobs_picture_wait(struct buf *out, const struct jobs_report *r);
/* Who had which processor on the day with the longest queue: a job gets the lowest numbers that are free. */
void jobs_picture_gantt(struct buf *out, const struct jobs_report *r);

#endif
