/* jobsim.c - see jobsim.h
 *
 * A waiting job is in up to three sorted lists: order of arrival, order of the head, order of the
 * tail. A pass marks what it started; the lists are compacted behind it.
 */
#include "daemon/sim/jobsim.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/backfill.h"
#include "daemon/core/profile.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

enum { BOUND_S = 10, PROGRESS_EVERY = 4096, JOBS_MAX = 1 << 29 };

static const struct jobsim_policy fcfs = {
	.name = "fcfs", .text = "first come, first served, nobody overtakes",
};
static const struct jobsim_policy easy = {
	.name = "easy", .text = "EASY backfilling: one reservation, order of arrival",
	.backfills = true, .pass_if_fits = true, .reservations = 1,
};
static const struct jobsim_policy easy_sjbf = {
	.name = "easy-sjbf", .text = "EASY, shortest job backfilled first",
	.backfills = true, .reservations = 1, .tail = ORDER_SHORTEST,
};
static const struct jobsim_policy sluis = {
	.name = "sluis", .text = "smallest area first, four reservations, short and narrow jobs behind, bounded wait",
	.backfills = true, .reservations = 4, .head = ORDER_AREA, .tail = ORDER_BLEND,
	.guard_s = 2 * 86400,
};
const struct jobsim_policy *const jobsim_policies[] = {&fcfs, &easy, &easy_sjbf, &sluis, NULL};
const char *const jobsim_estimate_names[ESTIMATE_COUNT] = {"requested", "perfect", "tsafrir"};

const struct jobsim_policy *jobsim_policy_find(const char *name)
{
	for (size_t i = 0; jobsim_policies[i]; i++)
		if (strcmp(jobsim_policies[i]->name, name) == 0)
			return jobsim_policies[i];
	return NULL;
}

enum state { NOT_YET = 0, WAITING, RESERVED, RUNNING, ENDED };

struct job {
	int64_t submit_ms;
	int64_t run_ms;
	int64_t request_ms;
	int64_t guess_ms; /* current estimate of the run time */
	int64_t start_ms;
	int64_t procs;
	uint32_t user; /* dense */
	enum state state;
};

/* Jobs ascending by (key, index). */
struct entry { int64_t key; uint32_t job; };
struct list { struct entry *at; size_t n, cap; };

static bool before(struct entry a, struct entry b) { return a.key != b.key ? a.key < b.key : a.job < b.job; }

static void list_add(struct list *l, struct entry e)
{
	size_t low = 0, high = l->n;

	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		l->at = xrealloc(l->at, l->cap * sizeof *l->at);
	}
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (before(l->at[mid], e))
			low = mid + 1;
		else
			high = mid;
	}
	memmove(l->at + low + 1, l->at + low, (l->n - low) * sizeof *l->at);
	l->at[low] = e;
	l->n++;
}

/* A binary heap of the same entries: what will happen, by time. */
static void heap_add(struct list *h, struct entry e)
{
	size_t i = h->n++;

	if (h->n > h->cap) {
		h->cap = h->cap ? 2 * h->cap : 64;
		h->at = xrealloc(h->at, h->cap * sizeof *h->at);
	}
	for (; i && before(e, h->at[(i - 1) / 2]); i = (i - 1) / 2)
		h->at[i] = h->at[(i - 1) / 2];
	h->at[i] = e;
}

static struct entry heap_pop(struct list *h)
{
	struct entry top = h->at[0], last = h->at[--h->n];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
		if (child + 1 < h->n && before(h->at[child + 1], h->at[child]))
			child++;
		if (!before(h->at[child], last))
			break;
		h->at[i] = h->at[child];
	}
	h->at[i] = last;
	return top;
}

struct sim {
	const struct jobsim_policy *policy;
	enum jobsim_estimate estimate;
	struct job *jobs;
	struct predictor *users;
	struct profile guessed; /* running jobs until the end of their estimates */
	struct profile firm;    /* until the end of their requests; only with a guard */
	struct backfill backfill;
	bool guarded; /* this pass is judged by `firm` */
	struct list arrival, head, tail; /* waiting */
	struct list ends;                /* running: key = end, job = start rank */
	struct list overruns;            /* running: key = start + estimate, job = start rank */
	uint32_t *started;               /* start rank -> job */
	uint32_t started_n;
	int64_t now_ms;
};

/* floor(2^20 log2(x)) for x >= 1, in integers: the same on every machine. Squaring x in [1, 2) doubles its
 * logarithm, so each square gives one more binary digit. */
static int64_t log2_20(int64_t x)
{
	int64_t whole = 63 - __builtin_clzll((unsigned long long)x), log = whole;
	uint64_t y = (uint64_t)x << (63 - whole) >> 32; /* x / 2^whole with 31 binary places */

	ENSURE(x >= 1);
	for (int digit = 0; digit < 20; digit++) {
		y = y * y >> 31;
		log *= 2;
		if (y >> 32) {
			y >>= 1;
			log++;
		}
	}
	return log;
}

static int64_t key_of(const struct job *j, enum jobsim_order order)
{
	switch (order) {
	case ORDER_SHORTEST:
		return j->guess_ms;
	case ORDER_BLEND: /* twice the logarithm: a sum instead of a product of ten factors */
		return log2_20(j->procs) + 2 * log2_20(j->request_ms) + 6 * log2_20(j->guess_ms);
	case ORDER_AREA:
		return backfill_area(j->procs, j->request_ms);
	case ORDER_ARRIVAL:
		return 0; /* indexes ascend with arrival */
	}
	UNREACHABLE();
}

static int64_t guess(const struct sim *s, const struct job *j)
{
	switch (s->estimate) {
	case ESTIMATE_REQUESTED:
		return j->request_ms;
	case ESTIMATE_PERFECT:
		return j->run_ms;
	case ESTIMATE_TSAFRIR:
		return predictor_guess(&s->users[j->user], j->request_ms, MS_PER_S);
	case ESTIMATE_COUNT:
		break;
	}
	UNREACHABLE();
}

/* Start a job whose hold is in the profile of this pass; the other profile learns of it here. */
static int start(struct sim *s, uint32_t at, struct err *err)
{
	struct job *j = &s->jobs[at];
	uint32_t rank = s->started_n++;
	int r = 0;

	ENSURE(j->state == WAITING);
	if (s->guarded)
		r = profile_hold(&s->guessed, s->now_ms, s->now_ms + j->guess_ms, j->procs, err);
	else if (s->policy->guard_s)
		r = profile_hold(&s->firm, s->now_ms, s->now_ms + j->request_ms, j->procs, err);
	if (r)
		return r;
	j->state = RUNNING;
	j->start_ms = s->now_ms;
	s->started[rank] = at;
	heap_add(&s->ends, (struct entry){s->now_ms + j->run_ms, rank});
	if (j->guess_ms < j->run_ms)
		heap_add(&s->overruns, (struct entry){s->now_ms + j->guess_ms, rank});
	return BACKFILL_START;
}

/* Offer one job; BACKFILL_START starts it. */
static int offer(struct sim *s, uint32_t at, struct err *err)
{
	struct job *j = &s->jobs[at];
	int64_t length_ms = s->guarded ? j->request_ms : j->guess_ms, reserved_ms;
	int r = backfill_offer(&s->backfill, j->procs, length_ms, &reserved_ms, err);

	if (r == BACKFILL_START)
		return start(s, at, err);
	if (r == BACKFILL_RESERVE)
		j->state = RESERVED;
	return r;
}

static bool is_aged(const struct sim *s, const struct job *j)
{
	return s->policy->guard_s && s->now_ms - j->submit_ms >= s->policy->guard_s * MS_PER_S;
}

/* Offer the waiting jobs of `l` in order until the reservations are used up, or with `aged_only` until
 * one has not aged. Returns BACKFILL_START if the end of the stretch was reached. */
static int offer_heads(struct sim *s, const struct list *l, bool aged_only, struct err *err)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct job *j = &s->jobs[l->at[i].job];
		int r;

		if (j->state != WAITING)
			continue;
		if (aged_only && !is_aged(s, j))
			break;
		r = offer(s, l->at[i].job, err);
		if (r < 0)
			return r;
		if (r != BACKFILL_START && backfill_full(&s->backfill))
			return r;
	}
	return BACKFILL_START;
}

static int offer_tail(struct sim *s, struct err *err)
{
	for (size_t i = 0; i < s->tail.n && s->backfill.free_now > 0; i++) {
		if (s->jobs[s->tail.at[i].job].state == WAITING) {
			int r = offer(s, s->tail.at[i].job, err);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static void compact(struct sim *s, struct list *l)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct job *j = &s->jobs[l->at[i].job];

		if (j->state == RESERVED)
			j->state = WAITING;
		if (j->state == WAITING)
			l->at[kept++] = l->at[i];
	}
	l->n = kept;
}

static int pass(struct sim *s, struct err *err)
{
	const struct jobsim_policy *policy = s->policy;
	int r = BACKFILL_START;

	if (s->arrival.n == 0)
		return 0;
	s->guarded = is_aged(s, &s->jobs[s->arrival.at[0].job]);
	backfill_begin(&s->backfill, s->guarded ? &s->firm : &s->guessed, s->now_ms, policy->reservations);
	if (s->guarded)
		r = offer_heads(s, &s->arrival, true, err);
	if (r == BACKFILL_START)
		r = offer_heads(s, &s->head, false, err);
	if (r >= 0 && policy->backfills)
		r = offer_tail(s, err);
	backfill_end(&s->backfill);
	compact(s, &s->arrival);
	compact(s, &s->head);
	compact(s, &s->tail);
	return r < 0 ? r : 0;
}

static int submit(struct sim *s, uint32_t at, struct err *err)
{
	struct job *j = &s->jobs[at];

	j->guess_ms = guess(s, j);
	j->state = WAITING;
	list_add(&s->arrival, (struct entry){0, at});
	list_add(&s->head, (struct entry){key_of(j, s->policy->head), at});
	list_add(&s->tail, (struct entry){key_of(j, s->policy->tail), at});
	if (s->policy->pass_if_fits && profile_at(&s->guessed, s->now_ms) < j->procs)
		return 0;
	return pass(s, err);
}

/* A job outlived its estimate: from now on it is thought to run as long as it asked. */
static int overrun(struct sim *s, uint32_t at, struct err *err)
{
	struct job *j = &s->jobs[at];

	j->guess_ms = j->request_ms;
	return profile_hold(&s->guessed, s->now_ms, j->start_ms + j->guess_ms, j->procs, err);
}

static int end(struct sim *s, uint32_t at, struct err *err)
{
	struct job *j = &s->jobs[at];
	/* Give back what was thought still to come. */
	int r = profile_hold(&s->guessed, s->now_ms, j->start_ms + j->guess_ms, -j->procs, err);

	if (r == 0 && s->policy->guard_s)
		r = profile_hold(&s->firm, s->now_ms, j->start_ms + j->request_ms, -j->procs, err);
	if (r)
		return r;
	j->state = ENDED;
	predictor_saw(&s->users[j->user], j->run_ms);
	profile_forget(&s->guessed, s->now_ms);
	profile_forget(&s->firm, s->now_ms);
	return pass(s, err);
}

static int run(struct sim *s, size_t n, jobsim_progress_fn *progress, void *arg, struct err *err)
{
	size_t next = 0, ended = 0;
	int r = 0;

	while (r == 0 && ended < n) {
		int64_t t_ms = T_NEVER;

		if (s->overruns.n)
			t_ms = s->overruns.at[0].key;
		if (next < n && s->jobs[next].submit_ms < t_ms)
			t_ms = s->jobs[next].submit_ms;
		if (s->ends.n && s->ends.at[0].key < t_ms)
			t_ms = s->ends.at[0].key;
		ENSURE(t_ms != T_NEVER); /* on an idle machine the head of the queue fits */
		ENSURE(t_ms >= s->now_ms);
		s->now_ms = t_ms;
		if (s->overruns.n && s->overruns.at[0].key == t_ms) {
			r = overrun(s, s->started[heap_pop(&s->overruns).job], err);
		} else if (next < n && s->jobs[next].submit_ms == t_ms) {
			r = submit(s, (uint32_t)next++, err);
		} else {
			r = end(s, s->started[heap_pop(&s->ends).job], err);
			if (++ended % PROGRESS_EVERY == 0 && progress)
				progress(arg, ended, n);
		}
	}
	return r;
}

int jobsim_run(const struct swf_job *in, size_t n, int64_t procs, const struct jobsim_policy *policy,
	       enum jobsim_estimate estimate, jobsim_progress_fn *progress, void *arg, int64_t *ret_start_s,
	       struct err *err)
{
	struct sim s = {.policy = policy, .estimate = estimate, .now_ms = INT64_MIN};
	struct swf_users users;
	int r;

	if (n == 0)
		return 0;
	ENSURE(procs >= 1);
	if (n > JOBS_MAX || procs > SWF_PROCS_MAX)
		return err_set(err, ERR_RANGE, "%zu jobs on %" PRId64 " processors: up to %d and %" PRId64 " are simulated", n, procs,
			       JOBS_MAX, SWF_PROCS_MAX);
	s.jobs = xcalloc(n, sizeof *s.jobs);
	s.started = xcalloc(n, sizeof *s.started);
	swf_users(in, n, &users);
	s.users = xcalloc(users.n, sizeof *s.users);
	for (size_t i = 0; i < n; i++) {
		struct job *j = &s.jobs[i];

		ENSURE(in[i].procs >= 1 && in[i].procs <= procs);
		ENSURE(i == 0 || in[i - 1].submit_s <= in[i].submit_s);
		j->submit_ms = in[i].submit_s * MS_PER_S;
		j->run_ms = in[i].run_s * MS_PER_S;
		j->request_ms = in[i].request_s * MS_PER_S;
		j->procs = in[i].procs;
		j->user = users.of[i];
	}
	free(users.of);
	profile_init(&s.guessed, procs, (uint32_t)(2 * n + 4096));
	profile_init(&s.firm, procs, (uint32_t)(2 * n + 4096));
	backfill_init(&s.backfill);
	r = run(&s, n, progress, arg, err);
	for (size_t i = 0; i < n; i++)
		ret_start_s[i] = s.jobs[i].start_ms / MS_PER_S;
	profile_done(&s.guessed);
	profile_done(&s.firm);
	backfill_done(&s.backfill);
	free(s.arrival.at);
	free(s.head.at);
	free(s.tail.at);
	free(s.ends.at);
	free(s.overruns.at);
	free(s.started);
	free(s.users);
	free(s.jobs);
	return r;
}

static int by_double(const void *va, const void *vb)
{
	double a = *(const double *)va, b = *(const double *)vb;

	return (a > b) - (a < b);
}

/* Nearest rank: the smallest value such that at least `percent` of all are no greater. */
static double rank(const double *sorted, size_t n, size_t percent)
{
	size_t k = (n * percent + 99) / 100;

	return sorted[k ? k - 1 : 0];
}

struct jobsim_spread jobsim_spread_of(double *values, size_t n)
{
	struct jobsim_spread d = {0};
	double sum = 0, lost = 0;

	if (n == 0)
		return d;
	for (size_t i = 0; i < n; i++) { /* Kahan: the same digits for any order of summing */
		double term = values[i] - lost, next = sum + term;

		lost = (next - sum) - term;
		sum = next;
	}
	qsort(values, n, sizeof *values, by_double);
	d.mean = sum / (double)n;
	d.p50 = rank(values, n, 50);
	d.p95 = rank(values, n, 95);
	d.p99 = rank(values, n, 99);
	d.max = values[n - 1];
	return d;
}

void jobsim_measure(const struct swf_job *jobs, size_t n, int64_t procs, const int64_t *start_s,
		    struct jobsim_result *ret_result)
{
	double *wait = xmalloc(n * sizeof *wait), *slow = xmalloc(n * sizeof *slow), *flow = xmalloc(n * sizeof *flow);
	double used = 0;

	*ret_result = (struct jobsim_result){0};
	for (size_t i = 0; i < n; i++) {
		int64_t run_s = jobs[i].run_s, wait_s = start_s[i] - jobs[i].submit_s, end_s = start_s[i] + run_s;
		double bound = (double)(run_s > BOUND_S ? run_s : BOUND_S);

		ENSURE(wait_s >= 0);
		wait[i] = (double)wait_s;
		flow[i] = (double)(wait_s + run_s);
		slow[i] = fmax(1.0, flow[i] / bound);
		used += (double)run_s * (double)jobs[i].procs;
		if (i == 0)
			ret_result->first_submit_s = jobs[0].submit_s;
		if (end_s > ret_result->last_end_s)
			ret_result->last_end_s = end_s;
	}
	ret_result->wait_s = jobsim_spread_of(wait, n);
	ret_result->slowdown = jobsim_spread_of(slow, n);
	ret_result->flow_s = jobsim_spread_of(flow, n);
	if (n)
		ret_result->utilisation = used / ((double)procs *
			(double)(ret_result->last_end_s - ret_result->first_submit_s));
	free(wait);
	free(slow);
	free(flow);
}
