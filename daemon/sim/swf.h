/* swf.h - batch logs in the Standard Workload Format
 *
 * One job per line, 18 blank-separated numbers, -1 for unknown; lines that begin with ';' are
 * comments, some of which name the size of the machine ("; MaxProcs: 100").
 *
 * Source: Chapin et al., "Benchmarks and Standards for the Evaluation of Parallel Job Schedulers",
 * 1999, and the Parallel Workloads Archive, version 2.2 of the format.
 */
#ifndef SLUIS_DAEMON_SIM_SWF_H
#define SLUIS_DAEMON_SIM_SWF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/sim/text.h"
#include "proto/base/err.h"

/* The largest machine, and the longest submission, run and request, 95 years: what the policies and the core of sluisd,
 * which takes a time limit of a century, add to them stays within their bounds. */
#define SWF_PROCS_MAX INT64_C(100000000)
#define SWF_TIME_MAX_S INT64_C(3000000000)

/* Times in s, sizes in processors, -1 unknown. */
struct swf_job {
	int64_t id;
	int64_t submit_s;
	int64_t run_s;
	int64_t request_s;
	int64_t allocated;
	int64_t procs; /* requested; after swf_filter() the size of the job */
	int64_t user;
	unsigned line;
};

struct swf {
	struct swf_job *jobs; /* in file order */
	size_t jobs_n;
	int64_t max_procs; /* from the header, -1 if absent */
	int64_t max_nodes;
	unsigned bad_size_line; /* the first line of the header whose size is not from 1 to SWF_PROCS_MAX; 0: none */
};

/* Read `bytes` of `text`; `name` is the file for messages. A line that is no job and no comment is
 * refused with ERR_FORMAT and "name:line: what", or left out and counted in `bad` (text.h); so is one with a time
 * beyond SWF_TIME_MAX_S.
 * ret_swf must be zeroed; swf_done() frees it, also after an error. */
int swf_parse(const char *name, const char *text, size_t bytes, struct bad_lines *bad, struct swf *ret_swf,
	      struct err *err) NODISCARD;
void swf_done(struct swf *swf);

/* Why jobs were left out, each job counted once, under the first that holds. */
struct swf_dropped {
	size_t too_large;  /* requested or allocated more than the machine has */
	size_t no_size;    /* neither requested nor allocated is positive */
	size_t no_submit;  /* negative submission time */
	size_t no_run;     /* did not run */
	size_t no_request; /* no requested time */
	size_t all;
	size_t out_of_order; /* kept, but submitted earlier than a line before it */
	size_t overran;      /* kept, but ran longer than requested: cut there */
};

/* Keep the jobs a simulation of `procs` processors can use and put them in order of submission (equal
 * times in file order): size = requested processors, or allocated where unknown; run = at most the
 * requested time. With `request_from_run` an unknown requested time is the run time. */
void swf_filter(struct swf *swf, int64_t procs, bool request_from_run, struct swf_dropped *ret_dropped);

/* Users of jobs as 0..n-1, ascending by their numbers in the log, which may be any. `of` is the caller's
 * to free. O(jobs log jobs). */
struct swf_users { uint32_t *of; uint32_t n; };
void swf_users(const struct swf_job *jobs, size_t n, struct swf_users *ret_users);

#endif
