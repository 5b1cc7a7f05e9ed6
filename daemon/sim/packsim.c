/* packsim.c - see packsim.h
 *
 * The score of a (shape of pod, node) pair is kept until something is placed on the node, so an
 * arrival costs one look per node and the few scores that are out of date. All of it is integer, so
 * the result does not depend on the machine: frequencies stay counts, and the sigmoid is a table of
 * the gradients at which it reaches its next step.
 */
#include "daemon/sim/packsim.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

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

const char *const packsim_policy_names[PACK_COUNT] = {"random", "bestfit", "fgd", "sluis"};

/* 1000 ln(p / (1 - p)) at p = 1/100, 2/100, ... 49/100: a gradient in milli-GPU scores 100 sigmoid(g / 1000),
 * cut to an integer. The upper half mirrors it. */
static const int32_t logit_100[49] = {
	-4595, -3892, -3476, -3178, -2944, -2752, -2587, -2442, -2314, -2197, -2091, -1992, -1901, -1815,
	-1735, -1658, -1586, -1516, -1450, -1386, -1325, -1266, -1208, -1153, -1099, -1046, -995, -944,
	-895, -847, -800, -754, -708, -663, -619, -575, -532, -490, -447, -405, -364, -323, -282, -241,
	-201, -160, -120, -80, -40,
};

struct shape { int32_t cpu_milli, memory_mib, gpus, gpu_milli; uint32_t models; };

struct node {
	int32_t cpu_milli, memory_mib; /* left */
	int32_t gpu_milli[OPENB_GPUS_MAX];
	int32_t gpus;
	uint32_t model;
	int64_t fragmented; /* times typical_weight; STALE after a change */
};

/* A shape as far as it decides over fragments: without memory. */
struct typical { struct shape shape; int64_t weight; };

struct pack {
	enum packsim_policy policy;
	struct prng prng;
	struct node *nodes;
	size_t nodes_n;
	struct shape *shapes;
	size_t shapes_n;
	struct typical *typical;
	size_t typical_n;
	int64_t typical_weight; /* sum */
	int16_t *score;         /* [shape][node] */
	uint32_t *feasible;     /* scratch, [node] */
};

static int compare(int64_t a, int64_t b) { return (a > b) - (a < b); }

static int by_shape(const void *va, const void *vb)
{
	const struct shape *a = va, *b = vb;
	int r = compare(a->cpu_milli, b->cpu_milli);

	if (r == 0)
		r = compare(a->gpu_milli, b->gpu_milli);
	if (r == 0)
		r = compare(a->gpus, b->gpus);
	if (r == 0)
		r = compare(a->models, b->models);
	return r ? r : compare(a->memory_mib, b->memory_mib);
}

/* Most frequent first; among equals the larger shape. */
static int by_weight(const void *va, const void *vb)
{
	const struct typical *a = va, *b = vb;

	return a->weight != b->weight ? compare(b->weight, a->weight) : by_shape(&b->shape, &a->shape);
}

static struct shape shape_of(const struct openb_pod *p, bool memory)
{
	return (struct shape){p->cpu_milli, memory ? p->memory_mib : 0, p->gpus, p->gpu_milli, p->models};
}

/* The distinct shapes of all pods, ascending. */
static struct shape *distinct(const struct openb *o, bool memory, size_t *ret_n)
{
	struct shape *s = xmalloc(o->pods_n * sizeof *s);
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

static size_t find_shape(const struct shape *shapes, size_t n, const struct shape *s)
{
	const struct shape *at = bsearch(s, shapes, n, sizeof *s, by_shape);

	ENSURE(at);
	return (size_t)(at - shapes);
}

static void find_typical(struct pack *p, const struct openb *o)
{
	struct shape *shapes = distinct(o, false, &p->typical_n);
	size_t n = 0;

	p->typical = xcalloc(p->typical_n, sizeof *p->typical);
	for (size_t i = 0; i < p->typical_n; i++)
		p->typical[i].shape = shapes[i];
	for (size_t i = 0; i < o->pods_n; i++) {
		struct shape s = shape_of(&o->pods[i], false);

		p->typical[find_shape(shapes, p->typical_n, &s)].weight++;
	}
	qsort(p->typical, p->typical_n, sizeof *p->typical, by_weight);
	while (p->typical_weight * 100 < (int64_t)o->pods_n * TYPICAL_PERCENT)
		p->typical_weight += p->typical[n++].weight;
	p->typical_n = n;
	free(shapes);
}

static bool is_share(const struct shape *s) { return s->gpus == 1 && s->gpu_milli < GPU_MILLI; }

/* Can the GPUs of `n` take `s`? */
static bool gpus_fit(const struct node *n, const struct shape *s)
{
	int32_t found = 0;

	for (int32_t i = 0; i < n->gpus && found < s->gpus; i++)
		found += n->gpu_milli[i] >= s->gpu_milli;
	return found >= s->gpus;
}

static bool fits(const struct node *n, const struct shape *s)
{
	if (n->cpu_milli < s->cpu_milli || n->memory_mib < s->memory_mib)
		return false;
	return s->gpus == 0 || ((s->models & n->model) && gpus_fit(n, s));
}

static int64_t gpu_left(const struct node *n)
{
	int64_t left = 0;

	for (int32_t i = 0; i < n->gpus; i++)
		left += n->gpu_milli[i];
	return left;
}

/* The milli-GPU that a typical pod cannot use, times typical_weight. Pods without GPUs use none. */
static int64_t fragmented(const struct pack *p, const struct node *n)
{
	int64_t left = gpu_left(n), sum = 0;

	if (left == 0)
		return 0;
	for (size_t t = 0; t < p->typical_n; t++) {
		const struct shape *s = &p->typical[t].shape;
		int64_t lost = left;

		if (s->gpus > 0 && n->cpu_milli >= s->cpu_milli && (s->models & n->model) && gpus_fit(n, s)) {
			lost = 0;
			for (int32_t i = 0; i < n->gpus; i++)
				lost += n->gpu_milli[i] < s->gpu_milli ? n->gpu_milli[i] : 0;
		}
		sum += lost * p->typical[t].weight;
	}
	return sum;
}

/* Take `s` from `n`: a share from GPU `gpu`, else the first whole ones. */
static void take(struct node *n, const struct shape *s, int32_t gpu)
{
	int32_t wanted = s->gpus;

	n->cpu_milli -= s->cpu_milli;
	n->memory_mib -= s->memory_mib;
	if (is_share(s)) {
		n->gpu_milli[gpu] -= s->gpu_milli;
		return;
	}
	for (int32_t i = 0; i < n->gpus && wanted > 0; i++) {
		if (n->gpu_milli[i] == GPU_MILLI) {
			n->gpu_milli[i] = 0;
			wanted--;
		}
	}
	ENSURE(wanted == 0);
}

/* The step of 100 sigmoid(gradient / 1000 / weight) that a gradient reaches. */
static int16_t sigmoid_steps(int64_t gradient, int64_t weight)
{
	int16_t low = 0, high = 99;

	while (low < high) { /* the number of thresholds at or below the gradient */
		int16_t mid = (int16_t)((low + high) / 2);
		int64_t at = mid < 49 ? logit_100[mid] : mid == 49 ? 0 : -logit_100[98 - mid];

		if (gradient >= at * weight)
			low = (int16_t)(mid + 1);
		else
			high = mid;
	}
	return low;
}

/* How good is it to leave so much of a GPU? Hardly anything: the GPU is full. Less than shares ask for: what is
 * left is lost, and yet it was not little. Else somebody may still want it. Shares come in few sizes, so the same
 * sums come again and again; the gradient, which weighs all typical pods, tells these three hardly apart. */
static int remainder_of(int32_t left_milli)
{
	return left_milli < FULL_BELOW ? 2 : left_milli < USEFUL_FROM ? 0 : 1;
}

/* Score of the best way to put `s` on `n`, and for a share the GPU. */
static int16_t score_fragments(const struct pack *p, struct node *n, const struct shape *s, int32_t *ret_gpu)
{
	int16_t best = NO_FIT;

	if (n->fragmented == STALE)
		n->fragmented = fragmented(p, n);
	*ret_gpu = 0;
	for (int32_t gpu = 0; gpu < (is_share(s) ? n->gpus : 1); gpu++) {
		struct node after = *n;
		int16_t score;

		if (is_share(s) && n->gpu_milli[gpu] < s->gpu_milli)
			continue;
		take(&after, s, gpu);
		score = sigmoid_steps(n->fragmented - fragmented(p, &after), p->typical_weight);
		if (p->policy == PACK_SLUIS) /* 50 steps: coarser is better, what decides among equals does the rest */
			score = (int16_t)(score / 2 * REMAINDERS + (is_share(s) ? remainder_of(n->gpu_milli[gpu] - s->gpu_milli) : 0));
		if (score > best) {
			best = score;
			*ret_gpu = gpu;
		}
	}
	return best;
}

/* 100 (1 - (cpu left after / 128,000 + gpu left after / 8,000) / 2), cut to an integer. */
static int16_t score_bestfit(const struct node *n, const struct shape *s)
{
	int64_t cpu = n->cpu_milli - s->cpu_milli, gpu = gpu_left(n) - (int64_t)s->gpus * s->gpu_milli;
	int64_t whole = INT64_C(2) * CPU_SCALE * GPU_SCALE;

	return (int16_t)((whole - cpu * GPU_SCALE - gpu * CPU_SCALE) * 100 / whole);
}

/* The GPU with least left that can take the share. */
static int32_t tightest_gpu(const struct node *n, const struct shape *s)
{
	int32_t best = -1;

	for (int32_t i = 0; i < n->gpus; i++)
		if (n->gpu_milli[i] >= s->gpu_milli && (best < 0 || n->gpu_milli[i] < n->gpu_milli[best]))
			best = i;
	return best;
}

static int32_t any_gpu(struct pack *p, const struct node *n, const struct shape *s)
{
	int32_t fitting[OPENB_GPUS_MAX], count = 0;

	for (int32_t i = 0; i < n->gpus; i++)
		if (n->gpu_milli[i] >= s->gpu_milli)
			fitting[count++] = i;
	return count ? fitting[prng_below(&p->prng, (uint64_t)count)] : 0;
}

static int16_t score_of(const struct pack *p, struct node *n, const struct shape *s)
{
	int32_t gpu;

	if (!fits(n, s))
		return NO_FIT;
	switch (p->policy) {
	case PACK_RANDOM:
		return 0;
	case PACK_BESTFIT:
		return score_bestfit(n, s);
	case PACK_FGD:
		return score_fragments(p, n, s, &gpu);
	case PACK_SLUIS:
		/* A pod without GPUs goes where all GPUs are taken: nobody misses the CPUs there. Else where the fewest
		 * GPUs stand beside the CPUs that it takes. */
		return s->gpus == 0 ? gpu_left(n) == 0 : score_fragments(p, n, s, &gpu);
	case PACK_COUNT:
		break;
	}
	UNREACHABLE();
}

/* Is node `a` to be preferred to `b` at equal scores?  a > b. */
static bool tie_goes_to_later(const struct pack *p, const struct node *a, const struct node *b)
{
	if (p->policy == PACK_SLUIS)
		return a->gpus < b->gpus;
	return p->policy == PACK_FGD;
}

static size_t choose(struct pack *p, size_t shape)
{
	const struct shape *s = &p->shapes[shape];
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

static bool place(struct pack *p, size_t shape)
{
	const struct shape *s = &p->shapes[shape];
	size_t at = choose(p, shape);
	struct node *n;
	int32_t gpu = 0;

	if (at == SIZE_MAX)
		return false;
	n = &p->nodes[at];
	if (is_share(s)) {
		if (p->policy == PACK_RANDOM)
			gpu = any_gpu(p, n, s);
		else if (p->policy == PACK_BESTFIT)
			gpu = tightest_gpu(n, s);
		else
			(void)score_fragments(p, n, s, &gpu); /* known to fit */
	}
	take(n, s, gpu);
	n->fragmented = STALE;
	for (size_t i = 0; i < p->shapes_n; i++)
		p->score[i * p->nodes_n + at] = STALE;
	return true;
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

static void run(struct pack *p, const struct openb *o, int64_t until_milli, packsim_progress_fn *progress, void *arg,
		struct packsim_result *r)
{
	uint32_t *order = arrivals(p, o);
	int64_t target = r->capacity_milli / 1000 * until_milli;

	while (r->asked_milli < target) {
		size_t next = r->arrived < o->pods_n ? order[r->arrived] : (size_t)prng_below(&p->prng, o->pods_n);
		struct shape s = shape_of(&o->pods[next], true);
		int64_t milli = (int64_t)s.gpus * s.gpu_milli;

		r->arrived++;
		r->asked_milli += milli;
		if (place(p, find_shape(p->shapes, p->shapes_n, &s))) {
			r->placed++;
			r->allocated_milli += milli;
		}
		if (progress && r->arrived % PROGRESS_EVERY == 0)
			progress(arg, (size_t)r->asked_milli, (size_t)target);
	}
	free(order);
}

static void measure(const struct pack *p, struct packsim_result *r)
{
	double lost = 0;

	for (size_t i = 0; i < p->nodes_n; i++)
		lost += (double)fragmented(p, &p->nodes[i]) / (double)p->typical_weight;
	r->allocation_pct = 100.0 * (double)r->allocated_milli / (double)r->capacity_milli;
	r->fragmented_pct = 100.0 * lost / (double)r->capacity_milli;
	if (r->allocated_milli < r->capacity_milli)
		r->fragmented_idle_pct = 100.0 * lost / (double)(r->capacity_milli - r->allocated_milli);
}

int packsim_run(const struct openb *o, enum packsim_policy policy, uint64_t seed, int64_t until_milli,
		packsim_progress_fn *progress, void *arg, struct packsim_result *ret_result, struct err *err)
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

		p.nodes[i] = (struct node){.cpu_milli = n->cpu_milli, .memory_mib = n->memory_mib, .gpus = n->gpus,
					   .model = n->model, .fragmented = STALE};
		for (int32_t g = 0; g < n->gpus; g++)
			p.nodes[i].gpu_milli[g] = GPU_MILLI;
	}
	p.shapes = distinct(o, true, &p.shapes_n);
	find_typical(&p, o);
	p.score = xmalloc(p.shapes_n * p.nodes_n * sizeof *p.score);
	for (size_t i = 0; i < p.shapes_n * p.nodes_n; i++)
		p.score[i] = STALE;
	p.feasible = xmalloc(p.nodes_n * sizeof *p.feasible);
	run(&p, o, until_milli, progress, arg, ret_result);
	measure(&p, ret_result);
	free(p.nodes);
	free(p.shapes);
	free(p.typical);
	free(p.score);
	free(p.feasible);
	return 0;
}
