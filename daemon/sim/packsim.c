/* packsim.c - see packsim.h
 *
 * The score of a (shape of pod, node) pair is kept until something is placed on the node, so an
 * arrival costs one look per node and the few scores that are out of date. What a score is, the core
 * says as well as this (daemon/core/frag.h).
 */
#include "daemon/sim/packsim.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/frag.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/prng.h"

enum {
	TYPICAL_PERCENT = 95,
	NO_FIT = -1,
	STALE = -2,
	PROGRESS_EVERY = 256,
	/* what a share may leave on its GPU, in thousandths */
	FULL_BELOW = 70,
	USEFUL_FROM = 200,
	REMAINDERS = 3, /* kinds of it */
	/* of the largest node, for best fit */
	CPU_SCALE = 128000,
	GPU_SCALE = 8000,
};
#define POINT_STEP_PCT 0.5

const char *const packsim_policy_names[PACK_COUNT] = {"random", "bestfit", "fgd", "sluis"};

struct node {
	struct frag_node left;
	int64_t fragmented; /* times the mix's weight; STALE after a change */
};

struct pack {
	enum packsim_policy policy;
	struct prng prng;
	struct node *nodes;
	size_t nodes_n;
	struct frag_shape *shapes;
	size_t shapes_n;
	struct frag_typical *typical;
	struct frag_mix mix; /* of those */
	int16_t *score;         /* [shape][node] */
	uint32_t *feasible;     /* scratch, [node] */
};

static int compare(int64_t a, int64_t b) { return (a > b) - (a < b); }

static int by_shape(const void *va, const void *vb)
{
	const struct frag_shape *a = va, *b = vb;
	int r = compare(a->cpu_milli, b->cpu_milli);

	if (r == 0)
		r = compare(a->device_milli, b->device_milli);
	if (r == 0)
		r = compare(a->devices, b->devices);
	if (r == 0)
		r = compare(a->models, b->models);
	return r ? r : compare(a->memory_mib, b->memory_mib);
}

/* Most frequent first; among equals the larger shape. */
static int by_weight(const void *va, const void *vb)
{
	const struct frag_typical *a = va, *b = vb;

	return a->weight != b->weight ? compare(b->weight, a->weight) : by_shape(&b->shape, &a->shape);
}

static struct frag_shape shape_of(const struct openb_pod *p, bool memory)
{
	return (struct frag_shape){p->cpu_milli, memory ? p->memory_mib : 0, p->gpus, p->gpu_milli, p->models};
}

/* The distinct shapes of all pods, ascending. */
static struct frag_shape *distinct(const struct openb *o, bool memory, size_t *ret_n)
{
	struct frag_shape *s = xmalloc(o->pods_n * sizeof *s);
	size_t n = 0;

	for (size_t i = 0; i < o->pods_n; i++)
		s[i] = shape_of(&o->pods[i], memory);
	qsort(s, o->pods_n, sizeof *s, by_shape);
	for (size_t i = 0; i < o->pods_n; i++)
		if (n == 0 || by_shape(&s[i], &s[n - 1]) != 0)
			s[n++] = s[i];
	*ret_n = n;
	return s;
}

static size_t find_shape(const struct frag_shape *shapes, size_t n, const struct frag_shape *s)
{
	const struct frag_shape *at = bsearch(s, shapes, n, sizeof *s, by_shape);

	ENSURE(at);
	return (size_t)(at - shapes);
}

static void find_typical(struct pack *p, const struct openb *o)
{
	size_t shapes_n, n = 0;
	struct frag_shape *shapes = distinct(o, false, &shapes_n);

	p->typical = xcalloc(shapes_n, sizeof *p->typical);
	for (size_t i = 0; i < shapes_n; i++)
		p->typical[i].shape = shapes[i];
	for (size_t i = 0; i < o->pods_n; i++) {
		struct frag_shape s = shape_of(&o->pods[i], false);

		p->typical[find_shape(shapes, shapes_n, &s)].weight++;
	}
	qsort(p->typical, shapes_n, sizeof *p->typical, by_weight);
	while (p->mix.weight * 100 < (int64_t)o->pods_n * TYPICAL_PERCENT)
		p->mix.weight += p->typical[n++].weight;
	p->mix.typical = p->typical;
	p->mix.n = n;
	free(shapes);
}

/* How good is it to leave so much of a GPU? Hardly anything: the GPU is full. Less than shares ask for: what is
 * left is lost, and yet it was not little. Else somebody may still want it. Shares come in few sizes, so the same
 * sums come again and again; the gradient, which weighs all typical pods, tells these three hardly apart. */
static int remainder_of(int32_t left_milli)
{
	return left_milli < FULL_BELOW ? 2 : left_milli < USEFUL_FROM ? 0 : 1;
}

/* Score of the best way to put `s` on `n`, and for a share the GPU. */
static int16_t score_fragments(const struct pack *p, struct node *n, const struct frag_shape *s, int32_t *ret_gpu)
{
	const struct frag_node *left = &n->left;
	int16_t best = NO_FIT;

	if (n->fragmented == STALE)
		n->fragmented = frag_lost(&p->mix, left);
	*ret_gpu = 0;
	for (int32_t gpu = 0; gpu < (frag_is_share(s) ? left->devices : 1); gpu++) {
		struct frag_node after;
		int16_t score;

		if (frag_is_share(s) && left->device_milli[gpu] < s->device_milli)
			continue;
		after = frag_after(left, s, gpu);
		score = frag_steps(n->fragmented - frag_lost(&p->mix, &after), p->mix.weight);
		if (p->policy == PACK_SLUIS) /* 50 steps: coarser is better, what decides among equals does the rest */
			score = (int16_t)(score / 2 * REMAINDERS +
					  (frag_is_share(s) ? remainder_of(left->device_milli[gpu] - s->device_milli) : 0));
		if (score > best) {
			best = score;
			*ret_gpu = gpu;
		}
	}
	return best;
}

/* 100 (1 - (cpu left after / 128,000 + gpu left after / 8,000) / 2), cut to an integer. */
static int16_t score_bestfit(const struct frag_node *n, const struct frag_shape *s)
{
	int64_t cpu = n->cpu_milli - s->cpu_milli, gpu = frag_left(n) - (int64_t)s->devices * s->device_milli;
	int64_t whole = INT64_C(2) * CPU_SCALE * GPU_SCALE;

	return (int16_t)((whole - cpu * GPU_SCALE - gpu * CPU_SCALE) * 100 / whole);
}

/* The GPU with least left that can take the share. */
static int32_t tightest_gpu(const struct frag_node *n, const struct frag_shape *s)
{
	int32_t best = -1;

	for (int32_t i = 0; i < n->devices; i++)
		if (n->device_milli[i] >= s->device_milli && (best < 0 || n->device_milli[i] < n->device_milli[best]))
			best = i;
	return best;
}

static int32_t any_gpu(struct pack *p, const struct frag_node *n, const struct frag_shape *s)
{
	int32_t fitting[OPENB_GPUS_MAX], count = 0;

	for (int32_t i = 0; i < n->devices; i++)
		if (n->device_milli[i] >= s->device_milli)
			fitting[count++] = i;
	return count ? fitting[prng_below(&p->prng, (uint64_t)count)] : 0;
}

static int16_t score_of(const struct pack *p, struct node *n, const struct frag_shape *s)
{
	int32_t gpu;

	if (!frag_fits(&n->left, s))
		return NO_FIT;
	switch (p->policy) {
	case PACK_RANDOM:
		return 0;
	case PACK_BESTFIT:
		return score_bestfit(&n->left, s);
	case PACK_FGD:
		return score_fragments(p, n, s, &gpu);
	case PACK_SLUIS:
		/* A pod without GPUs goes where all GPUs are taken: nobody misses the CPUs there. Else where the fewest
		 * GPUs stand beside the CPUs that it takes. */
		return s->devices == 0 ? frag_left(&n->left) == 0 : score_fragments(p, n, s, &gpu);
	case PACK_COUNT:
		break;
	}
	UNREACHABLE();
}

/* Is node `a` to be preferred to `b` at equal scores?  a > b. */
static bool tie_goes_to_later(const struct pack *p, const struct node *a, const struct node *b)
{
	if (p->policy == PACK_SLUIS)
		return a->left.devices < b->left.devices;
	return p->policy == PACK_FGD;
}

static size_t choose(struct pack *p, size_t shape)
{
	const struct frag_shape *s = &p->shapes[shape];
	int16_t *score = p->score + shape * p->nodes_n;
	size_t best = SIZE_MAX, feasible_n = 0;

	for (size_t i = 0; i < p->nodes_n; i++) {
		if (score[i] == STALE)
			score[i] = score_of(p, &p->nodes[i], s);
		if (score[i] == NO_FIT)
			continue;
		p->feasible[feasible_n++] = (uint32_t)i;
		if (best == SIZE_MAX || score[i] > score[best] ||
		    (score[i] == score[best] && tie_goes_to_later(p, &p->nodes[i], &p->nodes[best])))
			best = i;
	}
	if (p->policy == PACK_RANDOM && feasible_n)
		best = p->feasible[prng_below(&p->prng, feasible_n)];
	return best;
}

/* The node it went to; SIZE_MAX: none. */
static size_t place(struct pack *p, size_t shape)
{
	const struct frag_shape *s = &p->shapes[shape];
	size_t at = choose(p, shape);
	struct node *n;
	int32_t gpu = 0;

	if (at == SIZE_MAX)
		return at;
	n = &p->nodes[at];
	if (frag_is_share(s)) {
		if (p->policy == PACK_RANDOM)
			gpu = any_gpu(p, &n->left, s);
		else if (p->policy == PACK_BESTFIT)
			gpu = tightest_gpu(&n->left, s);
		else
			(void)score_fragments(p, n, s, &gpu); /* known to fit */
	}
	frag_take(&n->left, s, gpu);
	n->fragmented = STALE;
	for (size_t i = 0; i < p->shapes_n; i++)
		p->score[i * p->nodes_n + at] = STALE;
	return at;
}

/* Pods by name, shuffled: indexes into o->pods. */
struct named { const char *name; uint32_t at; };
static int by_name(const void *va, const void *vb)
{
	const struct named *a = va, *b = vb;
	int r = strcmp(a->name, b->name);

	return r ? r : compare(a->at, b->at);
}

static uint32_t *arrivals(struct pack *p, const struct openb *o)
{
	struct named *names = xmalloc(o->pods_n * sizeof *names);
	uint32_t *order = xmalloc(o->pods_n * sizeof *order);

	for (size_t i = 0; i < o->pods_n; i++)
		names[i] = (struct named){o->pods[i].name, (uint32_t)i};
	qsort(names, o->pods_n, sizeof *names, by_name);
	for (size_t i = 0; i < o->pods_n; i++)
		order[i] = names[i].at;
	free(names);
	for (size_t i = o->pods_n; i > 1; i--) {
		size_t k = (size_t)prng_below(&p->prng, i);
		uint32_t swap = order[i - 1];

		order[i - 1] = order[k];
		order[k] = swap;
	}
	return order;
}

static void measure(const struct pack *p, struct packsim_result *r)
{
	double lost = 0;

	for (size_t i = 0; i < p->nodes_n; i++)
		lost += (double)frag_lost(&p->mix, &p->nodes[i].left) / (double)p->mix.weight;
	r->allocation_pct = 100.0 * (double)r->allocated_milli / (double)r->capacity_milli;
	r->fragmented_pct = 100.0 * lost / (double)r->capacity_milli;
	if (r->allocated_milli < r->capacity_milli)
		r->fragmented_idle_pct = 100.0 * lost / (double)(r->capacity_milli - r->allocated_milli);
}

static void log_point(const struct pack *p, struct packsim_log *log, const struct packsim_result *r, bool last)
{
	double asked_pct = 100.0 * (double)r->asked_milli / (double)r->capacity_milli;
	struct packsim_result now = *r;

	if (!last && log->points_n && asked_pct < log->points[log->points_n - 1].asked_pct + POINT_STEP_PCT)
		return;
	measure(p, &now);
	log->points = xrealloc(log->points, (log->points_n + 1) * sizeof *log->points);
	log->points[log->points_n++] = (struct packsim_point){asked_pct, now.allocation_pct, now.fragmented_pct};
}

static void log_arrival(struct packsim_log *log, size_t pod, size_t node)
{
	size_t n = log->arrivals_n;

	if ((n & (n - 1)) == 0) /* a power of two: full */
		log->arrivals = xrealloc(log->arrivals, (n ? n * 2 : 1) * sizeof *log->arrivals);
	log->arrivals[log->arrivals_n++] = (struct packsim_arrival){(uint32_t)pod, node == SIZE_MAX ? PACKSIM_NO_NODE : (uint32_t)node};
}

void packsim_log_done(struct packsim_log *log)
{
	free(log->arrivals);
	free(log->points);
	*log = (struct packsim_log){0};
}

static void run(struct pack *p, const struct openb *o, int64_t until_milli, packsim_progress_fn *progress, void *arg,
		struct packsim_log *log, struct packsim_result *r)
{
	uint32_t *order = arrivals(p, o);
	int64_t target = r->capacity_milli / 1000 * until_milli;

	while (r->asked_milli < target) {
		size_t next = r->arrived < o->pods_n ? order[r->arrived] : (size_t)prng_below(&p->prng, o->pods_n);
		struct frag_shape s = shape_of(&o->pods[next], true);
		int64_t milli = (int64_t)s.devices * s.device_milli;
		size_t node;

		if (log)
			log_point(p, log, r, false);
		r->arrived++;
		r->asked_milli += milli;
		node = place(p, find_shape(p->shapes, p->shapes_n, &s));
		if (node != SIZE_MAX) {
			r->placed++;
			r->allocated_milli += milli;
		}
		if (log)
			log_arrival(log, next, node);
		if (progress && r->arrived % PROGRESS_EVERY == 0)
			progress(arg, (size_t)r->asked_milli, (size_t)target);
	}
	free(order);
	if (log)
		log_point(p, log, r, true);
}

int packsim_run(const struct openb *o, enum packsim_policy policy, uint64_t seed, int64_t until_milli,
		packsim_progress_fn *progress, void *arg, struct packsim_log *log, struct packsim_result *ret_result,
		struct err *err)
{
	struct pack p = {.policy = policy, .nodes_n = o->nodes_n};
	bool any_gpu_pod = false;

	*ret_result = (struct packsim_result){0};
	for (size_t i = 0; i < o->nodes_n; i++)
		ret_result->capacity_milli += (int64_t)o->nodes[i].gpus * GPU_MILLI;
	for (size_t i = 0; i < o->pods_n; i++)
		any_gpu_pod |= o->pods[i].gpus > 0;
	if (ret_result->capacity_milli == 0 || !any_gpu_pod)
		return err_set(err, ERR_INVAL, "nothing to place: no node has a GPU, or no pod asks for one");
	ENSURE(until_milli > 0);
	prng_seed(&p.prng, seed);
	p.nodes = xcalloc(p.nodes_n, sizeof *p.nodes);
	for (size_t i = 0; i < p.nodes_n; i++) {
		const struct openb_node *n = &o->nodes[i];

		p.nodes[i] = (struct node){.left = {.cpu_milli = n->cpu_milli, .memory_mib = n->memory_mib,
						    .devices = n->gpus, .model = n->model}, .fragmented = STALE};
		for (int32_t g = 0; g < n->gpus; g++)
			p.nodes[i].left.device_milli[g] = GPU_MILLI;
	}
	p.shapes = distinct(o, true, &p.shapes_n);
	find_typical(&p, o);
	p.score = xmalloc(p.shapes_n * p.nodes_n * sizeof *p.score);
	for (size_t i = 0; i < p.shapes_n * p.nodes_n; i++)
		p.score[i] = STALE;
	p.feasible = xmalloc(p.nodes_n * sizeof *p.feasible);
	run(&p, o, until_milli, progress, arg, log, ret_result);
	measure(&p, ret_result);
	free(p.nodes);
	free(p.shapes);
	free(p.typical);
	free(p.score);
	free(p.feasible);
	return 0;
}
