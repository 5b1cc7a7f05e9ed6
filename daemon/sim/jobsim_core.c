/* jobsim_core.c - see jobsim_core.h */
#include "daemon/sim/jobsim_core.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/sim/divide.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

const struct jobsim_policy jobsim_core = {
	.name = "core", .text = "the queue of sluisd itself: fair share between users, smallest area first of each",
};

/* Most devices a node can have so that nodes make up the machine. */
static uint32_t per_node(int64_t procs)
{
	for (uint32_t k = 8; k > 1; k--)
		if (procs % k == 0)
			return k;
	return 1;
}

/* MEMBERS_PER_QNODE_MAX users to a project. */
static void trace_of(const struct swf_job *jobs, size_t n, struct divide_trace *t)
{
	struct swf_users users;
	uint32_t most = MEMBERS_PER_QNODE_MAX;

	t->jobs = xcalloc(n, sizeof *t->jobs);
	t->jobs_n = t->jobs_cap = n;
	swf_users(jobs, n, &users);
	t->users_n = users.n;
	t->tenants_n = t->tenants_cap = (users.n + most - 1) / most;
	t->tenants = xcalloc(t->tenants_n, sizeof *t->tenants);
	for (uint32_t i = 0; i < t->tenants_n; i++)
		(void)snprintf(t->tenants[i], sizeof t->tenants[i], "project-%u", i);
	for (size_t i = 0; i < n; i++) {
		ENSURE(jobs[i].procs <= DIVIDE_UNITS_MAX); /* filtered: none is larger than the machine */
		t->jobs[i] = (struct divide_job){
			.submit_ms = (jobs[i].submit_s - jobs[0].submit_s) * MS_PER_S,
			.run_ms = jobs[i].run_s * MS_PER_S,
			.limit_ms = (jobs[i].request_s + 1) * MS_PER_S, /* who runs to the end is not stopped */
			.units = (uint32_t)jobs[i].procs,
			.tenant = users.of[i] / most,
			.user = users.of[i] + 1,
		};
	}
	free(users.of);
}

static void told_of(const struct divide_trace *t, const struct divide_done *done, struct jobsim_told *told)
{
	double *error = xmalloc((t->jobs_n + 1) * sizeof *error), *wait = xmalloc((t->jobs_n + 1) * sizeof *wait);

	*told = (struct jobsim_told){0};
	for (size_t i = 0; i < t->jobs_n; i++) {
		const struct divide_done *d = &done[i];
		int64_t start_ms = d->first_start_ms - DIVIDE_AGENT_MS; /* when it was given its devices */

		told->waited += d->waited;
		if (!d->waited || d->p90_ms < 0)
			continue;
		error[told->told] = fabs((double)(start_ms - d->p50_ms)) / MS_PER_S;
		wait[told->told++] = (double)(start_ms - t->jobs[i].submit_ms) / MS_PER_S;
		told->early += start_ms <= d->p50_ms;
		told->in_time += start_ms <= d->p90_ms;
	}
	told->error_s = jobsim_spread_of(error, told->told);
	told->wait_s = jobsim_spread_of(wait, told->told);
	free(error);
	free(wait);
}

int jobsim_core_run(const struct swf_job *jobs, size_t n, int64_t procs, jobsim_progress_fn *progress, void *arg,
		    int64_t *ret_start_s, struct jobsim_told *ret_told, struct err *err)
{
	struct divide_trace trace = {0};
	struct demand nobody = {0};
	struct divide_setup in = {
		.per_node = per_node(procs), .recall_slo_ms = MS_PER_MIN,
		.ttl_ms = 30 * MS_PER_DAY, .trace = &trace, .demand = &nobody, .ask = ret_told,
	};
	struct divide_run run = {0};
	int r;

	if (n == 0)
		return 0;
	if (procs > DIVIDE_UNITS_MAX)
		return err_set(err, ERR_RANGE, "%" PRId64 " processors are too many to simulate: policy core takes up to %d",
			       procs, DIVIDE_UNITS_MAX);
	for (size_t i = 0; i < n; i++)
		if (jobs[i].procs > divide_alloc_max(&in))
			return err_set(err, ERR_RANGE, "the job of line %u has %" PRId64 " processors: policy core takes up to %" PRIu32
				       " on a machine of %" PRId64 ", %d nodes of %" PRIu32, jobs[i].line, jobs[i].procs,
				       divide_alloc_max(&in), procs, PARTS_PER_ALLOC_MAX, in.per_node);
	in.nodes = (uint32_t)(procs / in.per_node);
	in.public_units = (uint32_t)procs;
	trace_of(jobs, n, &trace);
	r = divide_run(&in, DIVIDE_WALLED, progress, arg, &run, err);
	for (size_t i = 0; i < n && r == 0; i++)
		ret_start_s[i] = jobs[0].submit_s + (run.done[i].first_start_ms + MS_PER_S - 1) / MS_PER_S;
	if (ret_told && r == 0)
		told_of(&trace, run.done, ret_told);
	divide_run_done(&run);
	divide_trace_done(&trace);
	return r;
}
