/* divide.h - training jobs and inference leases on one divided pool of devices, in virtual time
 *
 * A machine of equal nodes is divided into a public part for training jobs and a private part for
 * leases. Providers lease what their demand curve says, firmly, and grow and shrink as it moves; jobs
 * come from a trace. What one side does not use the other may borrow, and how that is done is the policy:
 *
 *   static       two machines: EASY on the public part, nothing is lent
 *   walled       two machines: the core of sluisd with lending switched off; what its order of the queue
 *                is worth alone
 *   cohort       as Kueue's cohorts: best-effort FIFO over everything idle; a lease that grows preempts
 *                the newest borrowers; nothing is kept for whom it was freed
 *   lyra         as Lyra: whole idle nodes are lent, shortest job first; nodes are recalled where that
 *                preempts the smallest share of jobs
 *   sluis        the core of sluisd with agents that obey
 *   clairvoyant  knows run times and demand: lends only what is not wanted back before the job ends. A heuristic,
 *                smallest area first, and no bound: who recalls may well be better. The bound is divide_jct_bound_s()
 *
 * static, cohort, lyra and clairvoyant count devices and never suffer from fragmentation, except that lyra
 * knows the lent nodes; the core places on nodes. All share the rules about work: a job writes a
 * checkpoint every `checkpoint_ms` of progress; recalled, it runs on until its notice is over, and starts
 * again with `restart_ms` of loading and what was done since the checkpoint still to do.
 *
 * Sources: Kueue (cohorts, preemption, fill back); Li et al., "Lyra: Elastic Scheduling for Deep Learning
 * Clusters", EuroSys 2023; Lifka 1995 (EASY).
 */
#ifndef SLUIS_DAEMON_SIM_DIVIDE_H
#define SLUIS_DAEMON_SIM_DIVIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/sim/demand.h"
#include "daemon/sim/jobsim.h"
#include "daemon/sim/swf.h"
#include "proto/base/err.h"
#include "proto/base/instant.h"
#include "proto/base/limits.h"

/* Devices of the largest machine. */
enum { DIVIDE_UNITS_MAX = 1000000 };
#define DIVIDE_AGENT_MS MS_PER_S /* an agent of the core's runs takes so long to prepare, and to prove devices free */

/* ---- what is asked for ---------------------------------------------------------------------------------- */

struct divide_job {
	int64_t submit_ms; /* from the begin of the window */
	int64_t run_ms;
	int64_t limit_ms; /* what was requested; room for one restart */
	uint32_t units;
	uint32_t tenant;
	uint32_t user; /* 1..users_n of the trace: a member of the tenant's project; 0: nobody in particular */
};
struct divide_trace {
	struct divide_job *jobs; /* ascending by submission */
	size_t jobs_n, jobs_cap;
	char (*tenants)[NAME_BYTES];
	uint32_t tenants_n, tenants_cap;
	uint32_t users_n; /* at most MEMBERS_PER_QNODE_MAX of one tenant, each of one */
	size_t read_n, outside_n, too_large_n, cut_n, useless_n; /* useless: no run time or size */
	double device_ms; /* useful work in all */
};
struct divide_pick {
	int64_t from_ms, span_ms; /* of the trace: submitted in there */
	int64_t run_ms_max;       /* longer ones are cut */
	uint32_t units_max;       /* larger ones are left out */
	bool one_tenant;          /* whoever submitted them */
};
/* Read a digest of the Philly trace (columns timestamp, duration, num_gpus and cluster, one tenant per cluster)
 * or a batch log (SWF, one tenant). The requested time of a job without one is the smallest of 15 min,
 * 1 h, 4 h, 12 h, 1, 3, 7, 14, 30, 90 days that is twice its run time. Lines that cannot be read go to
 * `bad` (text.h). ret_trace must be zeroed. */
int divide_trace_parse(const char *name, const char *text, size_t bytes, struct bad_lines *bad,
		       const struct divide_pick *pick, struct divide_trace *ret_trace, struct err *err) NODISCARD;
/* One job more, unless it is too large or has no size or run time, which is counted. `request_ms` 0: unknown. */
void divide_trace_add(struct divide_trace *t, const struct divide_pick *pick, int64_t submit_ms, int64_t run_ms,
		      int64_t request_ms, int64_t units, const char *tenant);
void divide_trace_done(struct divide_trace *t);

enum divide_policy {
	DIVIDE_STATIC = 0,
	DIVIDE_WALLED,
	DIVIDE_COHORT,
	DIVIDE_LYRA,
	DIVIDE_SLUIS,
	DIVIDE_CLAIRVOYANT,
	DIVIDE_POLICIES,
};
extern const char *const divide_policy_names[DIVIDE_POLICIES];

struct command;
struct decision;
/* Hears of every command that the core is given, what it answered (0 or its code) and what it decided, before the facts
 * are applied. */
struct divide_tap {
	void (*decided)(void *arg, int64_t t_ms, const struct command *cmd, int answer, const struct decision *d);
	void *arg;
};

struct divide_setup {
	uint32_t nodes, per_node;
	uint32_t public_units, private_units; /* the division, in devices */
	int64_t window_ms;                    /* what is measured; jobs are submitted in it */
	int64_t checkpoint_ms, restart_ms;    /* checkpoint_ms 0: none, a recalled job begins anew */
	int64_t save_ms; /* a checkpoint written on notice takes so long; 0: jobs do not do that */
	int64_t notice_ms, recall_slo_ms;
	uint32_t lend_risk_ppm; /* 0: the core's own */
	int64_t age_guard_ms;   /* jobs that wait longer go first; 0: two days */
	int64_t ttl_ms; /* of leases; renewed every third of it */
	bool check;     /* walk the core's invariants once a simulated hour */
	bool ask;       /* who submits a job that cannot start asks when it will: divide_done.p50_ms */
	const struct divide_trace *trace;
	const struct demand *demand;
	const struct divide_tap *tap; /* of the core's runs; NULL: nobody listens */
};

/* ---- what came of it ---------------------------------------------------------------------------------------- */

struct divide_done {
	int64_t first_start_ms, end_ms; /* -1: not yet */
	int64_t left_ms;                /* useful work still to do as of its last checkpoint */
	int64_t lost_ms;                /* per device: work done again, loading, saving on notice */
	uint32_t starts, recalls;
	bool waited;           /* it could not start at once */
	int64_t p50_ms, p90_ms; /* when it would start, as it was told then; -1: nothing was */
};
/* A lease grew: `units` more were asked for, and arrived after took_ms (-1: given up before). */
struct divide_growth { int64_t at_ms; int64_t took_ms; uint32_t units; bool recalled; };
/* Devices as they stood at one instant. */
struct divide_sample { int64_t at_ms; uint32_t guaranteed, loaned, leased, wanted; uint32_t waiting; double lost_ms; };
/* `units` devices of a node from `device` on, held by one allocation. */
struct divide_span {
	int64_t from_ms, to_ms;
	uint64_t alloc;
	uint32_t node;         /* from 0 */
	uint8_t device, units;
	uint8_t kind;          /* enum divide_span_kind */
};
enum divide_span_kind { SPAN_GUARANTEED = 0, SPAN_LOAN, SPAN_LEASE };

struct divide_run {
	enum divide_policy policy;
	struct divide_done *done; /* [jobs_n] */
	struct divide_growth *growths;
	size_t growths_n, growths_cap;
	struct divide_sample *samples; /* once a minute, to the end of the window */
	size_t samples_n, samples_cap;
	struct divide_span *spans; /* by end; of the first DIVIDE_SPAN_NODES nodes, in the window; the core's runs only */
	size_t spans_n, spans_cap;
	uint64_t late;    /* (a) growth that arrived after the promised time, or not at all */
	uint64_t refused; /* (b) leases refused, expired or renewals refused within the contract */
	double short_ms;  /* (c) device-ms short of what was due */
	double train_ms, lease_ms; /* device-ms held in the window */
	double train_all_ms;       /* and until the last job ended */
	double lost_ms, lost_window_ms; /* device-ms of training that had to be done again, or was loading */
	double recalled_units; /* devices taken back from jobs */
	uint64_t starts, recalls;
	int64_t end_ms; /* of the last job */
	uint64_t commands, facts, ticks; /* of the core */
	uint64_t claims;
	double real_s;
};

enum { DIVIDE_SPAN_NODES = 32 };

typedef void divide_progress_fn(void *arg, size_t done, size_t all);

/* The most devices that one job or lease of sluisd has: they lie on up to PARTS_PER_ALLOC_MAX nodes. */
uint32_t divide_alloc_max(const struct divide_setup *in);
/* The largest job that comes to run under `policy`, however much is leased: what the public side has and, where the
 * policy lends, what the leases leave at their peak. Uses the division and the demand of `in`. */
uint32_t divide_units_max(const struct divide_setup *in, enum divide_policy policy);
/* Play everything until the last job has ended. ret_run is filled for divide_run_done() also after an
 * error: ERR_RANGE for a setup that cannot work, and whatever the core refuses that it must not. */
int divide_run(const struct divide_setup *in, enum divide_policy policy, divide_progress_fn *progress, void *arg,
	       struct divide_run *ret_run, struct err *err) NODISCARD;
void divide_run_done(struct divide_run *r);

struct divide_result {
	struct jobsim_spread wait_s, jct_s;
	struct jobsim_spread recall_s; /* growth that needed a recall */
	double allocation, goodput; /* shares of the machine in the window */
	double lost_share;          /* of the GPU-hours that training held */
	double preempted_per_1000;  /* starts */
	uint64_t growths_n, recalls_n, open_n;
};
void divide_measure(const struct divide_setup *in, const struct divide_run *r, struct divide_result *ret);

/* No schedule has a lower mean time to completion: all devices that no lease holds as one machine that
 * serves the smallest remaining work first without loss, and no job faster than it runs. In s. */
double divide_jct_bound_s(const struct divide_setup *in);

/* ---- shared by the ways to play (divide_core.c, divide_count.c, divide_plan.c) ------------------------------------- */

struct divide_level { int64_t at_ms; uint32_t level; uint32_t units; bool recalled; };
/* What providers want and have. */
struct divide_book {
	const struct divide_setup *in;
	struct divide_run *out;
	uint32_t *want, *have; /* [providers] */
	uint32_t wanted, leased; /* sums */
	struct { struct divide_level *at; uint32_t n, cap; } *open; /* [providers]: growth on its way, ascending */
};
void divide_book_init(struct divide_book *b, const struct divide_setup *in, struct divide_run *out);
void divide_book_done(struct divide_book *b);
/* The provider wants `units` from now on. */
void divide_book_want(struct divide_book *b, int64_t t_ms, uint32_t provider, uint32_t units);
/* The provider has `units` now. */
void divide_book_have(struct divide_book *b, int64_t t_ms, uint32_t provider, uint32_t units);
/* Growth of the provider that is open waits for a recall. */
void divide_book_recalled(struct divide_book *b, uint32_t provider);
void divide_book_close(struct divide_book *b, int64_t t_ms); /* what is still open is late if overdue */

/* Time passes to t_ms with so many devices in use: integrals and the samples before it. */
struct divide_use { uint32_t guaranteed, loaned, waiting; };
void divide_pass(struct divide_book *b, int64_t *now_ms, int64_t t_ms, const struct divide_use *use);

/* How long the attempt that begins now will run. */
int64_t divide_attempt_ms(const struct divide_setup *in, const struct divide_done *j);
/* It starts. */
void divide_job_started(struct divide_run *r, struct divide_done *j, int64_t t_ms);
/* It ends by itself. */
void divide_job_ended(const struct divide_setup *in, struct divide_run *r, size_t job, int64_t t_ms);
/* It was given notice at told_ms; when does it leave, at the latest at kill_ms? */
int64_t divide_leaves_ms(const struct divide_setup *in, int64_t told_ms, int64_t kill_ms);
/* It is stopped at t_ms after it began at start_ms and was told at told_ms. */
void divide_job_cut(const struct divide_setup *in, struct divide_run *r, size_t job, int64_t start_ms, int64_t told_ms,
		    int64_t t_ms);

/* The demand, unrolled: the k-th step ever. */
struct demand_step divide_step(const struct demand *d, uint64_t k);

/* What happens when: a heap by (time, order of adding). */
struct divide_event { int64_t at_ms; uint64_t seq; uint32_t kind; uint64_t id; int64_t value; };
struct divide_heap { struct divide_event *at; size_t n, cap; uint64_t seq; };
void divide_heap_add(struct divide_heap *h, int64_t at_ms, uint32_t kind, uint64_t id, int64_t value);
struct divide_event divide_heap_pop(struct divide_heap *h);
static inline int64_t divide_heap_next(const struct divide_heap *h) { return h->n ? h->at[0].at_ms : INT64_MAX; }

int divide_run_core(struct divide_book *b, bool lend, divide_progress_fn *progress, void *arg, struct err *err) NODISCARD;
int divide_run_count(struct divide_book *b, bool whole_nodes, divide_progress_fn *progress, void *arg,
		     struct err *err) NODISCARD;
int divide_run_plan(struct divide_book *b, bool clairvoyant, divide_progress_fn *progress, void *arg,
		    struct err *err) NODISCARD;

#endif
