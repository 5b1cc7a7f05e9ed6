/* jobsim.h - a batch log through a scheduling policy, in virtual time
 *
 * The machine is a number of processors without topology, as in the published studies of
 * backfilling. Decisions are taken by daemon/core/backfill over daemon/core/profile.
 *
 * Events of one instant, one by one: predictions that ran out, then submissions in order, then ends
 * in order of start. Each submission and each end is followed by a scheduling pass. What is free is
 * read from the profile: a job predicted to end now is already free although its end is still to
 * come. These rules are part of the published figures; another order moves a mean by 0.1 %.
 *
 * The guard bounds the wait of a policy that serves small jobs first. As soon as the oldest waiting job
 * has waited for guard_s, jobs older than that come first in order of arrival, and everything is judged
 * by requested instead of estimated times until no such job is left. Requests are upper bounds, so the
 * reservation of the oldest job can then only move forward: it waits at most guard_s, plus its turn
 * among the jobs that aged before it. Estimates alone cannot give that: with them the same reservation
 * slips whenever a job outlives its estimate.
 */
#ifndef SLUIS_DAEMON_SIM_JOBSIM_H
#define SLUIS_DAEMON_SIM_JOBSIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/sim/swf.h"
#include "proto/base/err.h"

/* How long a job is thought to run. */
enum jobsim_estimate {
	ESTIMATE_REQUESTED = 0,
	ESTIMATE_PERFECT, /* an oracle: upper bound, never a result */
	ESTIMATE_TSAFRIR, /* mean of the user's last two run times, at most the request */
	ESTIMATE_COUNT,
};

/* Orders of waiting jobs; ties are broken by submission. */
enum jobsim_order {
	ORDER_ARRIVAL = 0,
	ORDER_SHORTEST, /* estimated run time */
	ORDER_BLEND,    /* sqrt(processors) x requested time x estimate^3: short first, but a wrong estimate weighs less */
	ORDER_AREA,     /* requested time x processors */
};

struct jobsim_policy {
	const char *name;
	const char *text;           /* one line for people */
	bool backfills;             /* false: the first job that does not fit blocks all */
	bool pass_if_fits;          /* a submission causes a pass only if that job fits now */
	uint32_t reservations;
	enum jobsim_order head;     /* who gets the reservation */
	enum jobsim_order tail;     /* who is tried behind it */
	int64_t guard_s;            /* bound on overtaking, below; 0: none */
};

/* NULL-terminated; jobsim_policy_find() returns NULL for an unknown name. */
extern const struct jobsim_policy *const jobsim_policies[];
const struct jobsim_policy *jobsim_policy_find(const char *name);
extern const char *const jobsim_estimate_names[ESTIMATE_COUNT];

/* Called now and then with the jobs that have ended; `arg` is the caller's. */
typedef void jobsim_progress_fn(void *arg, size_t ended, size_t all);

/* Run `n` jobs (filtered, ascending by submission, none larger than `procs`) and set ret_start_s[i].
 * `policy` and `jobs` are borrowed for the call. ERR_RANGE for amounts beyond the profile's. */
int jobsim_run(const struct swf_job *jobs, size_t n, int64_t procs, const struct jobsim_policy *policy,
	       enum jobsim_estimate estimate, jobsim_progress_fn *progress, void *arg, int64_t *ret_start_s,
	       struct err *err) NODISCARD;

/* One distribution; percentiles by nearest rank. */
struct jobsim_spread { double mean, p50, p95, p99, max; };

/* Of `n` values, which are sorted in place. All zero for n = 0. The mean is summed in the order given. */
struct jobsim_spread jobsim_spread_of(double *values, size_t n);

struct jobsim_result {
	struct jobsim_spread wait_s;
	struct jobsim_spread slowdown; /* max(1, (wait + run) / max(run, 10 s)) */
	struct jobsim_spread flow_s;   /* wait + run */
	double utilisation;            /* used processor-seconds / (processors x span) */
	int64_t first_submit_s;
	int64_t last_end_s;
};
void jobsim_measure(const struct swf_job *jobs, size_t n, int64_t procs, const int64_t *start_s,
		    struct jobsim_result *ret_result);

#endif
