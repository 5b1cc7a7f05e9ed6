/* jobsim_core.h - a batch log through the queue of sluisd itself
 *
 * The log's users are members of projects of one sector, all work is guaranteed work, and devices are
 * counted, not where they are. Everything else is as in divide.h: commands to the core, agents that obey
 * and take a second to prepare and a second to prove devices free. What the policies of jobsim.h are measured
 * on, the daemon is measured on with fair share, reservations that outlive it, and limits as the only truth
 * about run times.
 */
#ifndef SLUIS_DAEMON_SIM_JOBSIM_CORE_H
#define SLUIS_DAEMON_SIM_JOBSIM_CORE_H

#include "daemon/sim/jobsim.h"

extern const struct jobsim_policy jobsim_core; /* its name and text; none of jobsim_run()'s */

/* What the submitters of jobs that could not start at once were told about their start, and how it went. */
struct jobsim_told {
	size_t waited, told; /* jobs; an estimate is not always possible (daemon/core/estimate.c) */
	size_t early, in_time; /* of those told: no later than p50, than p90 */
	struct jobsim_spread error_s; /* |start - p50| of those told */
	struct jobsim_spread wait_s;  /* of the same jobs, to hold it against */
};

/* As jobsim_run(). `ret_told`: NULL if nobody shall ask. ERR_RANGE also for a machine of more than DIVIDE_UNITS_MAX devices, and for
 * a job on more than PARTS_PER_ALLOC_MAX nodes of it: the most devices up to 8 by which it can be divided. */
int jobsim_core_run(const struct swf_job *jobs, size_t n, int64_t procs, jobsim_progress_fn *progress, void *arg,
		    int64_t *ret_start_s, struct jobsim_told *ret_told, struct err *err) NODISCARD;

#endif
