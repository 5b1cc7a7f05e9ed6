/* elastic.c - jobs between a least and a most
 *
 * The least (`units`) is the job's gang: placed, counted and kept as any other job's. What is beyond it, up
 * to `units_max`, is surplus: allocations of their own beside the attempt, always on loan, however much quota
 * there is. So a job in sight of its most costs nobody anything: whoever is entitled to devices recalls
 * extras before anything else (claim.c), and the job goes on with what it has left.
 *
 * Two phases: first every waiting job's least, then the surplus. While a job waits that lacks nothing but
 * devices of a flavor, nobody grows in it, and if it would start on what extras of others give back, they
 * give it back. The surplus goes step by step to whoever has least for its least (size / units), so to where
 * the speed-up is steepest as long as it is concave; ties: class, then age. A step is a node, --gpus-per-node,
 * or the least itself where that divides the range, so that all nodes of a job look alike.
 *
 * A job is resized at most once per interval (cluster.resize_ms, 5 min); what a claim takes does not wait for
 * that. Extras are not placed where a reservation or the job's own end would take them back sooner.
 *
 * Budget: an extra holds its price at the loan rate until the job's time limit, and gives back what it did not
 * use when it goes. Nothing is refunded for one that is recalled: the work is where the core is.
 *
 * Source: Xiao et al., "Lyra: Elastic Scheduling for Deep Learning Clusters", EuroSys 2023 (the two phases).
 */
#include "daemon/core/elastic.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_PER_RESIZE = 64, LACKING_MAX = 8 };
static const int64_t RESIZE_MS = 5 * MS_PER_MIN;

bool elastic_is(const struct job_spec *s)
{
	return s->units_max > s->units && s->mode == JOB_COMMAND && !s->array_step;
}

uint32_t elastic_step(const struct core *c, const struct job_spec *s)
{
	const struct flavor *f = flavor_of(c, s->flavor);
	uint32_t range = s->units_max - s->units;

	if (s->shape == SHAPE_NODE)
		return 1;
	if (s->per_node)
		return s->per_node;
	if (range % s->units == 0 && (f->unit == UNIT_CORE || s->units <= f->devices_per_node))
		return s->units;
	return f->unit == UNIT_DEVICE && f->devices_per_node && range % f->devices_per_node == 0 &&
			       s->units % f->devices_per_node == 0 ?
		       f->devices_per_node :
		       1;
}

static int64_t interval_ms(const struct core *c) { return c->cluster.resize_ms > 0 ? c->cluster.resize_ms : RESIZE_MS; }

/* What `units` cost on loan for so long. */
static int64_t hold_of(const struct core *c, const struct job_spec *s, uint32_t units, int64_t ms)
{
	struct job_spec as = *s;

	as.units = units;
	as.time_limit_ms = ms > 0 ? ms : 0;
	return job_hold(c, &as, CLASS_LOAN);
}

static bool is_extra_of(const struct alloc *a, uint64_t job)
{
	return a->extra && a->owner_kind == OWNER_JOB && a->owner == job;
}

/* ---- what happens to extras --------------------------------------------------------------------------- */

void elastic_follow(const struct core *c, struct decision *d, int64_t t, uint64_t job, uint8_t cause, int64_t grace_ms)
{
	if (!job_of(c, job) || !job_of(c, job)->extras_n)
		return;
	EACH(c, loans, alloc_s, a)
		if (is_extra_of(&a->r, job))
			alloc_stop(c, d, t, a->r.id, cause, a->r.state == ALLOC_BINDING ? 0 : grace_ms, 0);
}

void elastic_exited(const struct core *c, struct decision *d, int64_t t, const struct alloc *a)
{
	for (uint32_t i = 0; i < a->parts_n; i++)
		if (a->parts[i].state != PART_EXITED && a->parts[i].tasks)
			return;
	if (a->state != ALLOC_STOPPING)
		alloc_stop(c, d, t, a->id, END_EXIT, 0, 0);
}

void elastic_gone(const struct core *c, struct decision *d, int64_t t, const struct alloc *a)
{
	const struct job *j = peek(c, d, RECORD_JOB, a->owner);
	int64_t back;

	if (!j || j->attempt != a->attempt || !j->held_extra_rums)
		return;
	back = hold_of(c, &j->spec, a->units, a->limit_ms == T_NEVER ? 0 : a->limit_ms - t);
	back = min64(back, j->held_extra_rums);
	EDIT(c, d, RECORD_JOB, job, j->id)->held_extra_rums -= back;
	EDIT(c, d, RECORD_QNODE, qnode, j->spec.project)->stages[j->held_stage].held_rums -= back;
}

int elastic_limit(const struct core *c, struct decision *d, struct job *j, int64_t limit_ms, struct err *err)
{
	EACH(c, loans, alloc_s, a) {
		struct stage *s;
		int64_t more;

		if (!is_extra_of(&a->r, j->id) || a->r.state == ALLOC_STOPPING)
			continue;
		more = hold_of(c, &j->spec, a->r.units, limit_ms) - hold_of(c, &j->spec, a->r.units, a->r.limit_ms);
		EDIT(c, d, RECORD_ALLOC, alloc, a->r.id)->limit_ms = limit_ms;
		if (!j->held_rums)
			continue;
		s = &EDIT(c, d, RECORD_QNODE, qnode, j->spec.project)->stages[j->held_stage];
		if (more > stage_left(s)) {
			err_set(err, ERR_BUDGET, "the stage does not cover the longer time of its extra devices");
			return err_reason(err, REASON_HOLD_TOO_LARGE);
		}
		more = max64(more, -j->held_extra_rums);
		s->held_rums += more;
		j->held_extra_rums += more;
	}
	return 0;
}

uint32_t elastic_nodes_max(const struct core *c, const struct job_spec *s, const struct alloc *core)
{
	return core->parts_n + (s->units_max - s->units) / elastic_step(c, s);
}

/* ---- giving back for whoever waits --------------------------------------------------------------------- */

static bool resized_lately(const struct core *c, int64_t t, const struct job *j)
{
	int64_t due = j->resized_ms + interval_ms(c);

	if (!j->resized_ms || due <= t)
		return false;
	wake_at(&c->scratch->grow_ms, due);
	return true;
}

/* Extras of a flavor, ascending: those that are going already, or also those that can be told to. */
static uint32_t extras_list(const struct core *c, int64_t t, uint16_t flavor, bool going_only, uint64_t *ids)
{
	uint32_t n = 0;

	EACH(c, loans, alloc_s, a) {
		const struct job *j = a->r.extra ? core_job(c, a->r.owner) : NULL;

		if (!j || a->r.flavor != flavor)
			continue;
		if (a->r.state == ALLOC_STOPPING || (!going_only && !resized_lately(c, t, j)))
			ids[n++] = a->r.id;
	}
	return n;
}

static int64_t units_of(const struct core *c, const uint64_t *ids, uint32_t n, uint8_t shape)
{
	int64_t units = 0;

	for (uint32_t i = 0; i < n; i++)
		units += core_alloc(c, ids[i])->shape == shape ? core_alloc(c, ids[i])->units : 0;
	return units;
}

static bool fits_over(const struct core *c, struct place_ask *ask, const uint64_t *ids, uint32_t n, struct arena *arena,
		      struct part **ret, uint32_t *ret_n)
{
	ask->over = PLACE_OVER_LOANS;
	ask->victims = ids;
	ask->victims_n = n;
	return n && place(c, ask, arena, ret, ret_n) == 0;
}

static void tell(const struct core *c, int64_t t, struct decision *d, const struct alloc *a)
{
	alloc_stop(c, d, t, a->id, END_RECALL, a->state == ALLOC_BINDING ? 0 : a->notice_ms, 0);
	EDIT(c, d, RECORD_JOB, job, a->owner)->resized_ms = t;
}

static bool on_parts(const struct alloc *a, const struct part *parts, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < a->parts_n; k++) {
			bool meets = (a->parts[k].devices & parts[i].devices) != 0;

			for (int w = 0; w < CORE_WORDS; w++)
				meets |= (a->parts[k].cores[w] & parts[i].cores[w]) != 0;
			if (meets && a->parts[k].node == parts[i].node)
				return true;
		}
	return false;
}

/* Tell those of `ids` to go whose devices are wanted, and the youngest others until `units` are free of
 * charge, too: devices may lie idle of which the lenders' quota is used up. */
static bool give_back(const struct core *c, int64_t t, struct decision *d, const uint64_t *ids, uint32_t n,
		      const struct part *parts, uint32_t parts_n, int64_t units)
{
	bool told = false;

	for (uint32_t i = 0; i < n; i++) {
		const struct alloc *a = core_alloc(c, ids[i]);

		if (a->state == ALLOC_STOPPING)
			units -= a->units;
		else if (on_parts(a, parts, parts_n)) {
			units -= a->units;
			tell(c, t, d, a);
			told = true;
		}
	}
	for (uint32_t i = n; i-- > 0 && units > 0;) {
		const struct alloc *a = core_alloc(c, ids[i]);

		if (a->state == ALLOC_STOPPING || on_parts(a, parts, parts_n))
			continue;
		units -= a->units;
		tell(c, t, d, a);
		told = true;
	}
	return told;
}

static bool before(const struct job *a, const struct job *b)
{
	return a->submit_seq != b->submit_seq ? a->submit_seq < b->submit_seq : a->id < b->id;
}

/* Those that lack devices of this flavor and nothing else, one for all alike, the oldest LACKING_MAX. */
static uint32_t lacking(const struct core *c, int64_t t, uint16_t flavor, const struct job *ret[LACKING_MAX])
{
	uint32_t n = 0;

	EACH(c, qnodes, qnode_s, q)
		for (uint32_t g = 0; g < q->groups_n; g++)
			for (uint32_t i = 0; q->group[g]->flavor == flavor && i < q->group[g]->n; i++) {
				struct need *need = q->group[g]->need[i];
				const struct job *head;
				uint32_t at = n;

				if (!sched_lacks(c, t, need))
					continue;
				head = core_job(c, timer_first(&need->lines)->id);
				while (at && before(head, ret[at - 1]))
					at--;
				if (at == LACKING_MAX)
					continue;
				if (n < LACKING_MAX)
					n++;
				memmove(&ret[at + 1], &ret[at], (n - 1 - at) * sizeof(ret[0]));
				ret[at] = head;
			}
	return n;
}

/* The least of those that wait comes before the surplus of those that run. */
static bool make_room(const struct core *c, int64_t t, struct decision *d, uint16_t flavor, const struct job *const *who,
		      uint32_t who_n)
{
	uint64_t *ids = arena_alloc(&d->arena, (c->loans.count + 1) * sizeof *ids);

	for (uint32_t i = 0; i < who_n; i++) {
		const struct job *j = who[i];
		const struct quota_tree *tree = tree_of(c, flavor, j->spec.shape);
		struct place_ask ask;
		struct part *parts;
		uint32_t n, extras;
		int64_t missing;

		if (!tree)
			continue;
		missing = j->spec.units - quota_headroom(tree, qnode_of(c, j->spec.project)->at);
		job_place_ask(c, t, j, CLASS_LOAN, &ask);
		extras = extras_list(c, t, flavor, true, ids);
		if (missing <= units_of(c, ids, extras, j->spec.shape) &&
		    fits_over(c, &ask, ids, extras, &d->arena, &parts, &n))
			continue; /* what it needs is coming */
		extras = extras_list(c, t, flavor, false, ids);
		if (missing <= units_of(c, ids, extras, j->spec.shape) &&
		    fits_over(c, &ask, ids, extras, &d->arena, &parts, &n) &&
		    give_back(c, t, d, ids, extras, parts, n, missing))
			return true;
	}
	return false;
}

/* ---- growing ------------------------------------------------------------------------------------------- */

struct hungry { const struct job *job; uint32_t step, size, steps; };

/* size / units as fractions, smallest first; then class, then age. */
static bool poorer(const struct hungry *a, const struct hungry *b)
{
	const struct job *ja = a->job, *jb = b->job;
	uint64_t l = (uint64_t)(a->size + a->steps * a->step) * jb->spec.units;
	uint64_t r = (uint64_t)(b->size + b->steps * b->step) * ja->spec.units;

	if (l != r)
		return l < r;
	if (ja->spec.klass != jb->spec.klass)
		return ja->spec.klass > jb->spec.klass;
	return ja->id < jb->id;
}

static int hungry_cmp(const void *a, const void *b) { return poorer(a, b) ? -1 : 1; }

static int64_t devices_free(const struct core *c, uint16_t flavor)
{
	int64_t n = 0;

	EACH(c, nodes, node_s, node) {
		if (node->r.state != NODE_READY || node->r.admin != NODE_ENABLED)
			continue;
		if (flavor_of(c, flavor)->unit == UNIT_CORE) {
			uint64_t cores[CORE_WORDS];

			memcpy(cores, node->cores_usable, sizeof cores);
			mask_andnot(cores, node->cores_held);
			mask_andnot(cores, node->cores_claimed);
			n += node_is_cpu(node) ? mask_count(cores) : 0;
		} else {
			n += popcount64(node_flavor_mask(node, flavor) & ~node->held & ~node->claimed);
		}
	}
	return n;
}

/* Deal what is free, step by step, to whoever is poorest. */
static void deal(const struct core *c, uint16_t flavor, struct hungry *h, uint32_t n)
{
	int64_t left = devices_free(c, flavor);

	for (;;) {
		struct hungry *next = NULL;

		for (uint32_t i = 0; i < n; i++) {
			const struct job_spec *s = &h[i].job->spec;

			if (h[i].steps < STEPS_PER_RESIZE && h[i].size + (h[i].steps + 1) * h[i].step <= s->units_max &&
			    in_devices(c, flavor, s->shape, h[i].step) <= left && (!next || poorer(&h[i], next)))
				next = &h[i];
		}
		if (!next)
			return;
		next->steps++;
		left -= in_devices(c, flavor, next->job->spec.shape, next->step);
	}
}

/* Nodes it is on already, where each of its nodes has a fixed number of devices. */
static void exclude_own(const struct core *c, struct decision *d, const struct job *j, struct place_ask *ask)
{
	const struct alloc *core = core_alloc(c, j->alloc);
	uint32_t most = core->parts_n + ask->excluded_n, n = ask->excluded_n;
	struct node_ref *refs;

	EACH(c, loans, alloc_s, a)
		most += is_extra_of(&a->r, j->id) ? a->r.parts_n : 0;
	refs = arena_alloc(&d->arena, (most + 1) * sizeof *refs);
	if (n)
		memcpy(refs, ask->excluded, n * sizeof *refs);
	for (uint32_t i = 0; i < core->parts_n; i++)
		refs[n++].node = core->parts[i].node;
	EACH(c, loans, alloc_s, a)
		for (uint32_t i = 0; is_extra_of(&a->r, j->id) && i < a->r.parts_n; i++)
			refs[n++].node = a->r.parts[i].node;
	ask->excluded = refs;
	ask->excluded_n = n;
}

static uint32_t rank_behind(const struct alloc *a, uint32_t rank)
{
	for (uint32_t i = 0; i < a->parts_n; i++)
		if (a->parts[i].rank0 + a->parts[i].tasks > rank)
			rank = a->parts[i].rank0 + a->parts[i].tasks;
	return rank;
}

/* The first behind all that are in use. */
static uint32_t rank_next(const struct core *c, const struct job *j)
{
	uint32_t next = rank_behind(core_alloc(c, j->alloc), 0);

	EACH(c, loans, alloc_s, a)
		if (is_extra_of(&a->r, j->id))
			next = rank_behind(&a->r, next);
	return next;
}

/* So many units more, or 0 and why not is nobody's business: it is surplus. */
static bool grow(const struct core *c, int64_t t, struct decision *d, const struct job *j, uint32_t step, uint32_t steps)
{
	const struct job_spec *s = &j->spec;
	const struct alloc *core = core_alloc(c, j->alloc);
	const struct qnode *q = core_qnode(c, s->project);
	struct grant_ask ask = {.owner_kind = OWNER_JOB, .owner = j->id, .attempt = j->attempt, .qnode = s->project,
				.klass = CLASS_LOAN, .notice_ms = s->notice_ms, .limit_ms = core->limit_ms};
	int64_t hold = hold_of(c, s, step * steps, core->limit_ms - t);
	int64_t back_ms = s->notice_ms + c->cluster.kill_margin_ms + flavor_of(c, s->flavor)->scrub_ms_max;
	uint32_t units = step * steps, rank, n;
	struct part *parts;
	struct job *e;

	if (!loan_in_time(c, s->project, s->flavor, s->shape, units, back_ms) ||
	    quota_ask(c, s->project, s->flavor, s->shape, units, CLASS_LOAN))
		return false;
	if (j->held_rums) {
		const struct stage *st = &q->stages[j->held_stage];

		if (hold > stage_left(st))
			return false;
	} else {
		hold = 0;
	}
	job_place_ask(c, t, j, CLASS_LOAN, &ask.place);
	ask.place.units = units;
	ask.place.chunk = s->shape == SHAPE_GPU ? step : 0;
	ask.place.chunk_parts = true;
	/* not for a moment only */
	ask.place.until_ms = max64(ask.place.until_ms, min64(core->limit_ms, t + interval_ms(c)));
	if (s->per_node)
		exclude_own(c, d, j, &ask.place);
	if (place(c, &ask.place, &d->arena, &parts, &n) || !certify_loan(c, s->flavor, back_ms, parts, n))
		return false;
	rank = rank_next(c, j);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t id;

		job_tasks_fill(s, &parts[i], 1, rank);
		rank += parts[i].tasks;
		id = alloc_make(c, d, t, &ask, &parts[i], 1);
		EDIT(c, d, RECORD_ALLOC, alloc, id)->extra = true;
	}
	e = EDIT(c, d, RECORD_JOB, job, j->id);
	e->resized_ms = t;
	if (hold) {
		e->held_extra_rums += hold;
		EDIT(c, d, RECORD_QNODE, qnode, s->project)->stages[j->held_stage].held_rums += hold;
	}
	return true;
}

static bool grow_in(const struct core *c, int64_t t, struct decision *d, uint16_t flavor)
{
	struct hungry *h = arena_alloc(&d->arena, c->elastic.count * sizeof *h);
	uint32_t n = 0;

	EACH(c, elastic, job_s, j) {
		const struct job *r = job_rec(c, j);
		const struct alloc *core = core_alloc(c, r->alloc);

		if (r->spec.flavor != flavor || !core || core->state != ALLOC_ACTIVE ||
		    r->spec.units + j->extra_units >= r->spec.units_max || resized_lately(c, t, r) ||
		    core->limit_ms - t < interval_ms(c))
			continue;
		h[n].job = r;
		h[n].step = elastic_step(c, &r->spec);
		h[n++].size = r->spec.units + j->extra_units;
	}
	if (!n)
		return false;
	deal(c, flavor, h, n);
	qsort(h, n, sizeof *h, hungry_cmp);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t steps = h[i].steps; steps; steps /= 2)
			if (grow(c, t, d, h[i].job, h[i].step, steps))
				return true;
	return false;
}

int elastic_check(const struct core *c, struct err *err)
{
	uint32_t extras = 0;
	uint64_t counted = 0;

	EACH(c, allocs, alloc_s, a) {
		const struct job *j = a->r.extra ? core_job(c, a->r.owner) : NULL;

		if (!a->r.extra)
			continue;
		extras++;
		if (a->r.klass != CLASS_LOAN || a->r.owner_kind != OWNER_JOB)
			return err_set(err, ERR_CORRUPT, "an extra that cannot be recalled (%" PRIu64 ")", a->r.id);
		if (a->r.state == ALLOC_STOPPING)
			continue;
		if (!j || j->state != JOB_RUNNING || j->attempt != a->r.attempt || !core_alloc(c, j->alloc))
			return err_set(err, ERR_CORRUPT, "an extra outlives its job's core (%" PRIu64 ")", a->r.id);
	}
	EACH(c, jobs, job_s, j) {
		const struct job *r = job_rec(c, j);

		counted += j->extras_n;
		if (j->extra_units && r->spec.units + j->extra_units > r->spec.units_max)
			return err_set(err, ERR_CORRUPT, "a job larger than its most (%" PRIu64 ")", r->id);
		if ((elastic_is(&r->spec) && r->state == JOB_RUNNING) != (idtab_get(&c->elastic, r->id) == j))
			return err_set(err, ERR_CORRUPT, "the list of elastic jobs is not those that run (%" PRIu64 ")", r->id);
	}
	return counted == extras ? 0 : err_set(err, ERR_CORRUPT, "jobs' counts of extras are not those there are");
}

bool sched_elastic(const struct core *c, int64_t t, struct decision *d)
{
	const struct job *who[LACKING_MAX];
	uint32_t who_n;

	c->scratch->grow_ms = 0;
	if (c->cluster.safe_mode || !c->elastic.count)
		return false;
	for (uint16_t f = 1; f <= FLAVORS_MAX; f++) {
		if (!flavor_of(c, f))
			continue;
		who_n = lacking(c, t, f, who);
		if (who_n ? make_room(c, t, d, f, who, who_n) : grow_in(c, t, d, f))
			return true;
	}
	return false;
}
