/* divide_count.c - lending as others do it: Kueue-like cohorts, and Lyra-like loans of whole nodes
 *
 * Devices are counted. A lease that grows takes what is free; the rest it waits for while jobs are
 * preempted, who leave when their notice is over. Freed devices go to leases first, then to the queue;
 * between the preemption and then, nothing keeps the queue from devices that come free otherwise.
 *
 * cohort: best-effort FIFO, no reservations. Victims: jobs above the public nominal, newest first, then
 * whoever turned out not to be needed is let be, in reverse (Kueue's fill back).
 *
 * lyra: the public part is shared by the device, the private part lent by whole nodes. Shortest requested
 * time first. Nodes come back where it costs least: a node costs, for each job on it, the reciprocal of
 * the number of lent nodes this job is on (a job is lost whole); then how many devices those jobs hold.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/divide.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

enum { EVENT_END = 0, EVENT_LEAVE };

struct piece { uint32_t node, units; };
struct running {
	int64_t start_ms, told_ms; /* told_ms -1: not told to leave */
	uint32_t attempt;
	uint32_t own;   /* devices of the public part (lyra) */
	struct piece *on; /* lent nodes */
	uint32_t on_n;
	bool active;
};

struct count {
	struct divide_book *book;
	const struct divide_setup *in;
	struct divide_run *out;
	bool whole_nodes;
	struct divide_heap events;
	struct running *job; /* by job */
	uint32_t *live, live_n;   /* running jobs in order of start */
	uint32_t *queue;
	size_t queue_n;
	uint32_t held;    /* devices of running jobs */
	uint32_t leaving; /* of these, of jobs that were told */
	/* lyra */
	uint32_t own_free;
	uint32_t lendable_n; /* private nodes */
	uint32_t *node_held; /* devices held on each */
	bool *back;          /* node is being returned or is not lent */
	uint32_t lent_n;     /* nodes that are lent: !back */
	struct divide_use use;
	int64_t now_ms;
	size_t ended;
};

static const struct divide_job *spec(const struct count *c, uint32_t job) { return &c->in->trace->jobs[job]; }

static bool precedes(const struct count *c, uint32_t a, uint32_t b)
{
	if (c->whole_nodes && spec(c, a)->limit_ms != spec(c, b)->limit_ms)
		return spec(c, a)->limit_ms < spec(c, b)->limit_ms;
	return a < b;
}

static void enqueue(struct count *c, uint32_t job)
{
	size_t low = 0, high = c->queue_n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (precedes(c, c->queue[mid], job))
			low = mid + 1;
		else
			high = mid;
	}
	memmove(c->queue + low + 1, c->queue + low, (c->queue_n - low) * sizeof *c->queue);
	c->queue[low] = job;
	c->queue_n++;
}

static void start(struct count *c, uint32_t job)
{
	struct running *r = &c->job[job];
	struct divide_done *done = &c->out->done[job];

	divide_job_started(c->out, done, c->now_ms);
	r->active = true;
	r->attempt++;
	r->start_ms = c->now_ms;
	r->told_ms = -1;
	c->held += spec(c, job)->units;
	c->live[c->live_n++] = job;
	divide_heap_add(&c->events, c->now_ms + divide_attempt_ms(c->in, done), EVENT_END, job, r->attempt);
}

static void stop(struct count *c, uint32_t job)
{
	struct running *r = &c->job[job];
	uint32_t at = 0;

	while (c->live[at] != job)
		at++;
	memmove(c->live + at, c->live + at + 1, (--c->live_n - at) * sizeof *c->live);
	c->held -= spec(c, job)->units;
	if (r->told_ms >= 0)
		c->leaving -= spec(c, job)->units;
	c->own_free += r->own;
	for (uint32_t i = 0; i < r->on_n; i++)
		c->node_held[r->on[i].node] -= r->on[i].units;
	free(r->on);
	r->on = NULL;
	r->on_n = r->own = 0;
	r->active = false;
}

static void tell(struct count *c, uint32_t job)
{
	struct running *r = &c->job[job];

	r->told_ms = c->now_ms;
	c->leaving += spec(c, job)->units;
	divide_heap_add(&c->events, divide_leaves_ms(c->in, c->now_ms, c->now_ms + c->in->notice_ms), EVENT_LEAVE, job,
			r->attempt);
}

/* ---- cohort -------------------------------------------------------------------------------------------------- */

static uint32_t machine(const struct count *c) { return c->in->nodes * c->in->per_node; }

static uint32_t idle(const struct count *c) { return machine(c) - c->held - c->book->leased; }

static void preempt_newest(struct count *c)
{
	uint32_t lacking = c->book->wanted - c->book->leased, coming = idle(c) + c->leaving, first = c->live_n;
	uint32_t borrowed = c->held > c->in->public_units ? c->held - c->in->public_units : 0;
	uint32_t gone = c->leaving, chosen = 0;
	bool *out;

	if (lacking <= coming)
		return;
	out = xcalloc(c->live_n + 1, sizeof *out);
	while (first > 0 && coming < lacking) {
		uint32_t job = c->live[--first];

		if (c->job[job].told_ms >= 0)
			continue;
		if (gone >= borrowed)
			break; /* what is left is within the public nominal */
		out[first] = true;
		coming += spec(c, job)->units;
		gone += spec(c, job)->units;
		chosen++;
	}
	for (uint32_t i = first; i < c->live_n && chosen; i++) /* fill back: the last one chosen first */
		if (out[i] && coming - spec(c, c->live[i])->units >= lacking) {
			out[i] = false;
			coming -= spec(c, c->live[i])->units;
		}
	for (uint32_t i = first; i < c->live_n; i++)
		if (out[i])
			tell(c, c->live[i]);
	free(out);
}

static void start_fifo(struct count *c)
{
	size_t kept = 0;
	uint32_t open = idle(c); /* leases in want of devices have been served before */

	for (size_t i = 0; i < c->queue_n; i++) {
		uint32_t job = c->queue[i], units = spec(c, job)->units;

		if (units > open) {
			c->queue[kept++] = job;
			continue;
		}
		open -= units;
		start(c, job);
	}
	c->queue_n = kept;
}

/* ---- lyra ----------------------------------------------------------------------------------------------------- */

/* Private nodes that the leases leave whole. */
static uint32_t may_lend(const struct count *c)
{
	uint32_t busy = (c->book->wanted + c->in->per_node - 1) / c->in->per_node;

	return busy < c->lendable_n ? c->lendable_n - busy : 0;
}

static double node_cost(const struct count *c, uint32_t node, uint32_t *ret_units)
{
	double cost = 0;

	*ret_units = 0;
	for (uint32_t i = 0; i < c->live_n; i++) {
		const struct running *r = &c->job[c->live[i]];

		if (r->told_ms >= 0)
			continue;
		for (uint32_t k = 0; k < r->on_n; k++)
			if (r->on[k].node == node) {
				cost += 1.0 / r->on_n;
				*ret_units += spec(c, c->live[i])->units;
			}
	}
	return cost;
}

static void recall_nodes(struct count *c)
{
	uint32_t allowed = may_lend(c);

	while (c->lent_n > allowed) {
		uint32_t best = UINT32_MAX, best_units = 0;
		double best_cost = 0;

		for (uint32_t n = 0; n < c->lendable_n; n++) {
			uint32_t units = 0;
			double cost;

			if (c->back[n])
				continue;
			cost = c->node_held[n] ? node_cost(c, n, &units) : 0;
			if (best == UINT32_MAX || cost < best_cost || (cost <= best_cost && units < best_units)) {
				best = n;
				best_cost = cost;
				best_units = units;
			}
			if (cost <= 0 && !units)
				break;
		}
		c->back[best] = true;
		c->lent_n--;
		for (uint32_t i = 0; i < c->live_n; i++) {
			struct running *r = &c->job[c->live[i]];

			for (uint32_t k = 0; k < r->on_n; k++)
				if (r->on[k].node == best && r->told_ms < 0)
					tell(c, c->live[i]);
		}
	}
}

static void lend_nodes(struct count *c)
{
	uint32_t allowed = may_lend(c), leaving = 0;

	for (uint32_t n = 0; n < c->lendable_n; n++) /* on their way back: not there to be lent, nor to be leased */
		leaving += c->back[n] && c->node_held[n];
	for (uint32_t n = 0; n < c->lendable_n && c->lent_n + leaving < allowed; n++)
		if (c->back[n] && !c->node_held[n]) {
			c->back[n] = false;
			c->lent_n++;
		}
}

static bool place_nodes(struct count *c, uint32_t job)
{
	uint32_t need = spec(c, job)->units, found = 0, pieces = 0;
	struct running *r = &c->job[job];

	if (need <= c->own_free) {
		c->own_free -= need;
		r->own = need;
		return true;
	}
	for (uint32_t n = 0; n < c->lendable_n; n++)
		found += c->back[n] ? 0 : c->in->per_node - c->node_held[n];
	if (need > found + c->own_free)
		return false;
	r->own = need > found ? need - found : 0; /* no job is split between the sides without need */
	c->own_free -= r->own;
	need -= r->own;
	r->on = xcalloc(need, sizeof *r->on);
	/* the fullest node that holds all of it, else emptiest nodes first */
	while (need) {
		uint32_t best = UINT32_MAX, best_free = 0, take;

		for (uint32_t n = 0; n < c->lendable_n; n++) {
			uint32_t open = c->back[n] ? 0 : c->in->per_node - c->node_held[n];

			if (!open)
				continue;
			if (best == UINT32_MAX || (open >= need && (best_free < need || open < best_free)) ||
			    (best_free < need && open > best_free)) {
				best = n;
				best_free = open;
			}
		}
		ENSURE(best != UINT32_MAX);
		take = best_free < need ? best_free : need;
		c->node_held[best] += take;
		r->on[pieces++] = (struct piece){best, take};
		need -= take;
	}
	r->on_n = pieces;
	return true;
}

static void start_shortest(struct count *c)
{
	size_t kept = 0, i = 0;

	for (; i < c->queue_n; i++) {
		uint32_t job = c->queue[i];

		if (place_nodes(c, job))
			start(c, job);
		else
			c->queue[kept++] = job;
	}
	c->queue_n = kept;
}

/* ---- playing --------------------------------------------------------------------------------------------------- */

/* Devices that leases may take now. */
static uint32_t for_leases(const struct count *c)
{
	uint32_t held = 0;

	if (!c->whole_nodes)
		return idle(c);
	for (uint32_t n = 0; n < c->lendable_n; n++)
		held += c->back[n] ? c->node_held[n] : c->in->per_node;
	ENSURE(held + c->book->leased <= c->in->private_units);
	return c->in->private_units - held - c->book->leased;
}

static void serve_leases(struct count *c)
{
	uint32_t open = for_leases(c);

	for (uint32_t p = 0; p < c->in->demand->providers_n && open; p++) {
		uint32_t lacks = c->book->want[p] > c->book->have[p] ? c->book->want[p] - c->book->have[p] : 0;

		if (!lacks)
			continue;
		lacks = lacks < open ? lacks : open;
		open -= lacks;
		divide_book_have(c->book, c->now_ms, p, c->book->have[p] + lacks);
	}
	for (uint32_t p = 0; p < c->in->demand->providers_n; p++)
		if (c->book->open[p].n)
			divide_book_recalled(c->book, p);
}

static void happened(struct count *c, const struct divide_event *e)
{
	uint32_t job = (uint32_t)e->id;
	struct running *r = &c->job[job];

	if (!r->active || r->attempt != (uint32_t)e->value)
		return; /* it left before */
	if (e->kind == EVENT_END) {
		stop(c, job);
		divide_job_ended(c->in, c->out, job, c->now_ms);
		c->ended++;
		return;
	}
	divide_job_cut(c->in, c->out, job, r->start_ms, r->told_ms, c->now_ms);
	stop(c, job);
	enqueue(c, job);
}

static void decide(struct count *c)
{
	if (c->whole_nodes)
		recall_nodes(c);
	serve_leases(c);
	if (c->whole_nodes) {
		lend_nodes(c);
		start_shortest(c);
	} else {
		preempt_newest(c);
		start_fifo(c);
	}
	c->use.guaranteed = c->held < c->in->public_units ? c->held : c->in->public_units;
	c->use.loaned = c->held - c->use.guaranteed;
	c->use.waiting = (uint32_t)c->queue_n;
}

static void play(struct count *c, divide_progress_fn *progress, void *arg)
{
	const struct divide_trace *tr = c->in->trace;
	const struct demand *d = c->in->demand;
	uint64_t step = 0;
	size_t next = 0;

	while (c->ended < tr->jobs_n) {
		int64_t t_ms = divide_heap_next(&c->events);

		if (next < tr->jobs_n && tr->jobs[next].submit_ms < t_ms)
			t_ms = tr->jobs[next].submit_ms;
		if (d->steps_n && divide_step(d, step).at_ms < t_ms)
			t_ms = divide_step(d, step).at_ms;
		ENSURE(t_ms != INT64_MAX);
		divide_pass(c->book, &c->now_ms, t_ms, &c->use);
		while (divide_heap_next(&c->events) == t_ms) {
			struct divide_event e = divide_heap_pop(&c->events);

			happened(c, &e);
		}
		while (d->steps_n && divide_step(d, step).at_ms == t_ms) {
			struct demand_step s = divide_step(d, step++);

			divide_book_want(c->book, t_ms, s.provider, s.units);
			if (c->book->have[s.provider] > s.units)
				divide_book_have(c->book, t_ms, s.provider, s.units);
		}
		for (; next < tr->jobs_n && tr->jobs[next].submit_ms == t_ms; next++)
			enqueue(c, (uint32_t)next);
		decide(c);
		if (progress)
			progress(arg, c->ended, tr->jobs_n);
	}
}

int divide_run_count(struct divide_book *b, bool whole_nodes, divide_progress_fn *progress, void *arg, struct err *err)
{
	struct count c = {.book = b, .in = b->in, .out = b->out, .whole_nodes = whole_nodes};
	size_t n = b->in->trace->jobs_n + 1;

	(void)err; /* counting has nothing to refuse */
	c.job = xcalloc(n, sizeof *c.job);
	c.live = xcalloc(n, sizeof *c.live);
	c.queue = xcalloc(n, sizeof *c.queue);
	c.own_free = b->in->public_units;
	c.lendable_n = b->in->private_units / b->in->per_node;
	c.node_held = xcalloc(c.lendable_n + 1, sizeof *c.node_held);
	c.back = xcalloc(c.lendable_n + 1, sizeof *c.back);
	memset(c.back, true, c.lendable_n * sizeof *c.back);
	play(&c, progress, arg);
	divide_book_close(b, c.now_ms);
	free(c.events.at);
	free(c.job);
	free(c.live);
	free(c.queue);
	free(c.node_held);
	free(c.back);
	return 0;
}
