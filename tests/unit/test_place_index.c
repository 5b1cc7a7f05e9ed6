/* test_place_index.c - placing by index against placing by looking at every node
 *
 * Without these a stale bit in the index would give a device that is taken, pass over the node that fits
 * best, or break a node that was promised whole. The model below is the rule itself: it knows no index,
 * no order of its own and no shortcut.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/core/roster.h"
#include "proto/base/prng.h"
#include "tests/lib/hall.h"

/* ---- the model ------------------------------------------------------------------------------------- */

enum { NODES_MAX = 24 };

struct seen {
	const struct node_s *n;
	uint32_t free, cores, memory_mib, size, used;
	uint64_t pod, leaf; /* the least id among its neighbours */
	char pod_name[LABEL_BYTES], leaf_name[LABEL_BYTES];
	bool up, suits, broken, whole;
};

struct model {
	const struct core *c;
	const struct place_ask *ask;
	struct seen node[NODES_MAX]; /* in topology order */
	uint32_t n, suit_n;
	int64_t breakable;
	uint64_t total;
	uint32_t from, to; /* only these nodes */
	struct { uint32_t node, units; } part[4096];
	uint32_t part_n;
};

static bool labelled(const struct node *n, const struct require *r)
{
	for (uint32_t i = 0; i < n->labels_n; i++)
		if (!strcmp(n->labels[i].key, r->key) && (!r->value[0] || !strcmp(n->labels[i].value, r->value)))
			return true;
	return false;
}

static bool goes(const struct place_ask *ask, const struct alloc *a)
{
	bool named = !ask->victims;

	for (uint32_t i = 0; i < ask->victims_n; i++)
		named |= ask->victims[i] == a->id;
	return ask->over == PLACE_OVER_LOANS && a->klass == CLASS_LOAN && named;
}

static bool before(const struct seen *a, const struct seen *b)
{
	if (a->pod != b->pod)
		return a->pod < b->pod;
	return a->leaf != b->leaf ? a->leaf < b->leaf : a->n->r.id < b->n->r.id;
}

static void look(struct model *m)
{
	const struct place_ask *ask = m->ask;
	bool cpu = flavor_of(m->c, ask->flavor)->unit == UNIT_CORE;
	uint32_t per_node = flavor_of(m->c, ask->flavor)->devices_per_node;
	int64_t live = 0, broken = 0;

	EACH(m->c, nodes, node_s, n) {
		struct seen s = {.n = n};
		uint64_t mask = 0, held = 0, all = 0;
		bool up = ask->over == PLACE_EMPTY ? n->r.state != NODE_DOWN && n->r.state != NODE_JOINING :
						     n->r.state == NODE_READY && n->r.admin == NODE_ENABLED;

		for (uint32_t i = 0; i < n->r.devices_n; i++) {
			if (n->r.devices[i].flavor == ask->flavor && !cpu)
				all |= UINT64_C(1) << i;
			if (n->r.devices[i].flavor == ask->flavor && n->r.devices[i].health == DEVICE_OK)
				mask |= UINT64_C(1) << i;
		}
		if (cpu ? n->r.devices_n != 0 : !all)
			continue;
		s.size = cpu ? (uint32_t)n->r.cores_n - n->r.cores_reserved : popcount64(mask);
		s.cores = n->r.cores_n - n->r.cores_reserved;
		s.memory_mib = node_memory_mib(&n->r);
		if (ask->over != PLACE_EMPTY) {
			EACH(m->c, allocs, alloc_s, a)
				for (uint32_t i = 0; i < a->r.parts_n; i++) {
					const struct part *p = &a->r.parts[i];

					if (p->node != n->r.id)
						continue;
					s.broken |= a->r.klass == CLASS_GUARANTEED && a->r.shape == SHAPE_GPU;
					if (goes(ask, &a->r))
						continue;
					held |= p->devices;
					s.cores -= mask_count(p->cores);
					s.memory_mib -= p->memory_mib;
				}
			held |= n->claimed;
			for (int w = 0; w < CORE_WORDS; w++)
				s.cores -= popcount64(n->cores_claimed[w] & ~n->cores_held[w]);
			s.memory_mib -= n->memory_claimed_mib;
		}
		s.free = cpu ? s.cores : popcount64(mask & ~held);
		s.whole = s.free == s.size && s.free && (cpu || s.size == per_node);
		s.up = up;
		s.suits = up && s.free && s.cores >= ask->cpus && s.memory_mib >= ask->memory_mib;
		live += up && (mask || cpu);
		broken += up && mask && s.broken;
		for (uint32_t i = 0; i < ask->requires_n; i++)
			up &= labelled(&n->r, &ask->requires[i]);
		for (uint32_t i = 0; i < ask->excluded_n; i++)
			up &= ask->excluded[i].node != n->r.id;
		s.suits &= up;
		m->suit_n += up && (mask || cpu);
		node_group(&n->r, LEVEL_POD, s.pod_name);
		node_group(&n->r, LEVEL_LEAF, s.leaf_name);
		if (s.suits)
			m->total += ask->shape == SHAPE_NODE ? s.whole : s.free;
		m->node[m->n++] = s;
	}
	m->breakable = live - broken - tree_of(m->c, 1, SHAPE_NODE)->cell[0].own;
	if (ask->flavor != 1)
		m->breakable = live - broken;
	for (uint32_t i = 0; i < m->n; i++) {
		struct seen *s = &m->node[i];

		s->pod = s->leaf = UINT64_MAX;
		for (uint32_t k = 0; k < m->n; k++) {
			const struct seen *o = &m->node[k];
			bool pod = !strcmp(s->pod_name, o->pod_name), leaf = pod && !strcmp(s->leaf_name, o->leaf_name);

			if (pod && o->n->r.id < s->pod)
				s->pod = o->n->r.id;
			if (leaf && o->n->r.id < s->leaf)
				s->leaf = o->n->r.id;
		}
	}
	for (uint32_t i = 1; i < m->n; i++) /* into topology order */
		for (uint32_t k = i; k && before(&m->node[k], &m->node[k - 1]); k--) {
			struct seen swap = m->node[k];

			m->node[k] = m->node[k - 1];
			m->node[k - 1] = swap;
		}
}

static bool careful(const struct model *m)
{
	return m->ask->klass == CLASS_GUARANTEED && flavor_of(m->c, m->ask->flavor)->unit == UNIT_DEVICE &&
	       m->ask->shape == SHAPE_GPU;
}

static bool fits(const struct model *m, const struct seen *s, uint32_t units)
{
	return s->suits && s->free >= units && !(m->ask->distinct && s->used) &&
	       !(careful(m) && !s->broken && m->breakable <= 0);
}

/* Units that still find their share of cores and memory. */
static uint32_t served(const struct model *m, const struct seen *s)
{
	uint32_t k = s->free, of = s->n->r.devices_n;

	if (flavor_of(m->c, m->ask->flavor)->unit == UNIT_CORE)
		return k;
	while (k && ((uint64_t)s->cores * of < (uint64_t)k * (s->n->r.cores_n - s->n->r.cores_reserved) ||
		     (uint64_t)s->memory_mib * of < (uint64_t)k * node_memory_mib(&s->n->r)))
		k--;
	return k;
}

/* What is usually asked for, from the records: how many requests of so many devices on a node, each count cut
 * down to its highest bit; whole nodes at least an eighth. */
static void mix_of(const struct model *m, struct frag_mix *mix, struct frag_typical typical[8])
{
	uint32_t per_node = flavor_of(m->c, m->ask->flavor)->devices_per_node;
	uint64_t count[9] = {0}, parts = 0;
	int64_t whole;

	EACH(m->c, jobs, job_s, j) {
		const struct job_spec *s = &job_rec(m->c, j)->spec;
		uint32_t size = s->shape == SHAPE_NODE ? per_node : s->per_node ? s->per_node : s->units;

		if (s->flavor == m->ask->flavor)
			count[size < per_node ? size : per_node] += s->shape == SHAPE_NODE ? s->units : (s->units + size - 1) / size;
	}
	for (uint32_t i = 1; i <= per_node; i++) {
		uint64_t bit = 1;

		while (count[i] >= 2 * bit)
			bit *= 2;
		count[i] = count[i] ? bit : 0;
		parts += i < per_node ? count[i] : 0;
	}
	whole = parts ? (int64_t)(count[per_node] * 65536 / (parts + count[per_node])) : 65536;
	if (whole < 8192)
		whole = 8192;
	*mix = (struct frag_mix){.typical = typical};
	for (uint32_t i = 1; i <= per_node; i++) {
		int64_t w = i == per_node ? whole : parts ? (int64_t)count[i] * (65536 - whole) / (int64_t)parts : 0;

		if (!w)
			continue;
		typical[mix->n++] = (struct frag_typical){{(int32_t)i * 1000, 0, (int32_t)i, 1000, 1}, w};
		mix->weight += w;
	}
}

/* 0 to 49, where fragmentation grows least. */
static int points(const struct model *m, const struct seen *s, uint32_t units)
{
	struct frag_typical typical[8];
	struct frag_mix mix;
	struct frag_shape want = {(int32_t)units * 1000, 0, (int32_t)units, 1000, 1};
	struct frag_node n = {.cpu_milli = (int32_t)served(m, s) * 1000, .devices = (int32_t)s->free, .model = 1}, after;

	for (uint32_t i = 0; i < s->free; i++)
		n.device_milli[i] = 1000;
	if (!frag_fits(&n, &want))
		return 0;
	mix_of(m, &mix, typical);
	after = frag_after(&n, &want, 0);
	return frag_steps(frag_lost(&mix, &n) - frag_lost(&mix, &after), mix.weight) / 2;
}

/* Is `a` better than `b` for so many units? Equals keep their order. */
static bool better(const struct model *m, const struct seen *a, const struct seen *b, uint32_t units)
{
	bool clean_a = careful(m) && !a->broken, clean_b = careful(m) && !b->broken;
	bool short_a = served(m, a) < units, short_b = served(m, b) < units;

	if (clean_a != clean_b)
		return clean_b;
	if (short_a != short_b)
		return short_b;
	if (flavor_of(m->c, m->ask->flavor)->unit == UNIT_DEVICE && points(m, a, units) != points(m, b, units))
		return points(m, a, units) > points(m, b, units);
	return a->size != b->size ? a->size < b->size : a->free < b->free;
}

static struct seen *best(struct model *m, uint32_t units)
{
	struct seen *at = NULL;

	for (uint32_t i = m->from; i < m->to; i++)
		if (fits(m, &m->node[i], units) && (!at || better(m, &m->node[i], at, units)))
			at = &m->node[i];
	return at;
}

static void give(struct model *m, struct seen *s, uint32_t units)
{
	const struct node *n = &s->n->r;
	uint32_t usable = n->cores_n - n->cores_reserved, memory = node_memory_mib(n), cores;
	bool cpu = flavor_of(m->c, m->ask->flavor)->unit == UNIT_CORE, merged = s->used && !m->ask->chunk_parts;
	uint32_t at = 0;

	if (careful(m) && !s->broken)
		m->breakable--;
	if (m->ask->klass == CLASS_GUARANTEED && m->ask->shape == SHAPE_GPU)
		s->broken = true;
	cores = cpu ? units : usable * units / n->devices_n;
	if (!cpu && m->ask->cpus)
		cores = merged ? 0 : m->ask->cpus;
	else if (!cores)
		cores = 1;
	memory = (uint32_t)((uint64_t)memory * units / (cpu ? usable : n->devices_n));
	if (m->ask->memory_mib)
		memory = merged ? 0 : m->ask->memory_mib;
	s->cores -= cores < s->cores ? cores : s->cores;
	s->memory_mib -= memory < s->memory_mib ? memory : s->memory_mib;
	s->free -= units;
	s->used++;
	if (m->ask->chunk_parts && (s->cores < m->ask->cpus || s->memory_mib < m->ask->memory_mib))
		s->suits = false;
	while (at < m->part_n && !(m->part[at].node == n->id && merged))
		at++;
	if (at == m->part_n) {
		m->part[m->part_n].node = n->id;
		m->part[m->part_n++].units = 0;
	}
	m->part[at].units += units;
}

/* Wholly free nodes of the pod (leaf) that begins with node `first`. */
static uint32_t width(const struct model *m, uint64_t first, bool leaf)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->n; i++)
		n += m->node[i].suits && m->node[i].whole && !m->node[i].used &&
		     (leaf ? m->node[i].leaf : m->node[i].pod) == first;
	return n;
}

/* Take `count` whole nodes, from as few leaves as possible; `pod`: of that one. */
static void leaves(struct model *m, uint32_t count, uint64_t pod)
{
	while (count) {
		uint64_t at = 0;
		uint32_t have = 0, n;

		for (uint32_t i = 0; i < m->n; i++) {
			n = width(m, m->node[i].leaf, true);
			if (!n || (pod && m->node[i].pod != pod))
				continue;
			if (!have || (have < count && n > have) || (n >= count && n < have)) {
				at = m->node[i].leaf;
				have = n;
			}
		}
		assert_true(have);
		for (uint32_t i = 0; i < m->n && count; i++)
			if (m->node[i].leaf == at && m->node[i].suits && m->node[i].whole && !m->node[i].used) {
				m->node[i].used++;
				m->part[m->part_n].node = m->node[i].n->r.id;
				m->part[m->part_n++].units = 1;
				count--;
			}
	}
}

/* The known group (leaf or pod) with the fewest wholly free nodes that suffice: its first node; 0: none. */
static uint64_t tightest(const struct model *m, uint32_t count, bool leaf)
{
	uint64_t at = 0;
	uint32_t have = UINT32_MAX;

	for (uint32_t i = 0; i < m->n; i++) {
		const struct seen *s = &m->node[i];
		uint32_t n = width(m, leaf ? s->leaf : s->pod, leaf);

		if ((leaf ? s->leaf_name : s->pod_name)[0] && n >= count && n < have) {
			at = leaf ? s->leaf : s->pod;
			have = n;
		}
	}
	return at;
}

/* All in one group of the level, or not at all. */
static bool nodes_within(struct model *m, uint32_t count, uint8_t level)
{
	uint64_t leaf = tightest(m, count, true), pod = level == TOPOLOGY_POD ? tightest(m, count, false) : 0;

	if (!leaf && !pod)
		return false;
	for (uint32_t i = 0; i < m->n && leaf; i++)
		m->node[i].suits &= m->node[i].leaf == leaf;
	leaves(m, count, leaf ? 0 : pod);
	return true;
}

static void nodes(struct model *m, uint32_t count)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (width(m, m->node[i].leaf, true) >= count) {
			leaves(m, count, 0);
			return;
		}
	while (count) { /* pods: the one that fits best, or all of the fullest */
		uint64_t at = 0;
		uint32_t have = 0, n;

		for (uint32_t i = 0; i < m->n; i++) {
			n = width(m, m->node[i].pod, false);
			if (!have || (have < count && n > have) || (n >= count && n < have)) {
				at = m->node[i].pod;
				have = n;
			}
		}
		assert_true(have);
		if (have >= count) {
			leaves(m, count, at);
			return;
		}
		for (uint32_t i = 0; i < m->n; i++)
			if (m->node[i].pod == at && m->node[i].suits && m->node[i].whole && !m->node[i].used) {
				m->node[i].used++;
				m->part[m->part_n].node = m->node[i].n->r.id;
				m->part[m->part_n++].units = 1;
				count--;
			}
	}
}

static bool spread(struct model *m, uint32_t units)
{
	struct seen *one = best(m, units);

	while (!one && units) {
		struct seen *most = NULL;
		uint32_t n;

		for (uint32_t i = m->from; i < m->to; i++)
			if (m->node[i].free && fits(m, &m->node[i], 1) && (!most || m->node[i].free > most->free))
				most = &m->node[i];
		if (!most)
			return false;
		n = most->free < units ? most->free : units;
		give(m, most, n);
		units -= n;
		if (units)
			one = best(m, units);
	}
	if (units)
		give(m, one, units);
	return true;
}

static bool chunks(struct model *m, uint32_t units)
{
	while (units) {
		uint32_t n = units < m->ask->chunk ? units : m->ask->chunk;
		struct seen *s = best(m, n);

		if (!s)
			return false;
		give(m, s, n);
		units -= n;
	}
	return true;
}

static bool devices(struct model *m)
{
	return m->ask->chunk ? chunks(m, m->ask->units) : spread(m, m->ask->units);
}

/* devices() within some nodes; as if nothing had been tried when it fails. */
static bool try_range(struct model *m, uint32_t from, uint32_t to)
{
	static struct model saved;

	saved = *m;
	m->from = from;
	m->to = to;
	if (devices(m))
		return true;
	*m = saved;
	return false;
}

/* On one node, else in a group, those with the least free first, else anywhere unless that is forbidden. */
static bool near(struct model *m)
{
	const struct place_ask *ask = m->ask;

	if (!(ask->distinct && ask->units > ask->chunk)) {
		const struct seen *one = best(m, ask->units);

		if (one && try_range(m, (uint32_t)(one - m->node), (uint32_t)(one - m->node) + 1))
			return true;
	}
	for (int leaf = 1; leaf >= (ask->topology != TOPOLOGY_POD); leaf--) {
		bool tried[NODES_MAX] = {false};

		for (;;) {
			uint32_t at = UINT32_MAX, end = 0;
			uint64_t least = UINT64_MAX;

			for (uint32_t i = 0, k; i < m->n; i = k) {
				uint64_t sum = 0;

				for (k = i; k < m->n && (leaf ? m->node[k].leaf == m->node[i].leaf :
								m->node[k].pod == m->node[i].pod); k++)
					sum += m->node[k].up ? m->node[k].free : 0;
				if (!tried[i] && (leaf ? m->node[i].leaf_name : m->node[i].pod_name)[0] &&
				    sum >= ask->units && sum < least) {
					at = i;
					end = k;
					least = sum;
				}
			}
			if (at == UINT32_MAX)
				break;
			tried[at] = true;
			if (try_range(m, at, end))
				return true;
		}
	}
	return !ask->topology_required && devices(m);
}

static int model_place(struct model *m, const struct core *c, const struct place_ask *ask)
{
	uint32_t units = ask->units;
	bool ok;

	memset(m, 0, sizeof *m);
	m->c = c;
	m->ask = ask;
	look(m);
	m->to = m->n;
	if (ask->shape == SHAPE_NODE) {
		ok = m->total >= units;
		if (ok && ask->topology_required && units > 1)
			ok = nodes_within(m, units, ask->topology);
		else if (ok)
			nodes(m, units);
	} else {
		ok = ask->topology ? near(m) : devices(m);
	}
	if (ok)
		return 0;
	return !m->n ? REASON_NO_SHAPE : !m->suit_n ? REASON_NODES_OUT : m->total >= units ? REASON_FRAGMENTED :
											     REASON_NO_SHAPE;
}

/* ---- random halls ------------------------------------------------------------------------------------ */

struct world {
	struct hall h;
	struct prng r;
	uint64_t alloc[512], claim[8];
	uint32_t alloc_n, claim_n;
};

static uint32_t below(struct world *w, uint32_t n) { return (uint32_t)prng_below(&w->r, n); }

static void node_random(struct world *w, uint32_t id)
{
	static const char *const leaf[] = {"", "l1", "l2", "l3", "l1,l2", "l2,l1"}, *const pod[] = {"", "p1", "p2"};
	struct device dev[DEVICES_PER_NODE_MAX];
	struct label label[2];
	struct node n = hall_node(id, below(w, 6) ? 8 : below(w, 9), dev, leaf[below(w, 6)], pod[below(w, 3)], label);

	for (uint32_t i = 0; i < n.devices_n; i++) {
		dev[i].health = below(w, 30) ? DEVICE_OK : DEVICE_FAILED;
		dev[i].flavor = n.devices_n < 6 && i >= 4 ? 2 : 1;
	}
	n.cores_reserved = (uint16_t)below(w, 4);
	hall_put(&w->h, &n);
}

static void node_moves(struct world *w)
{
	struct node n = node_of(w->h.core, 1 + below(w, w->h.nodes_n))->r;

	n.state = below(w, 5) ? NODE_READY : NODE_SUSPECT;
	n.admin = below(w, 5) ? NODE_ENABLED : NODE_CORDONED;
	hall_put(&w->h, &n);
}

static struct place_ask ask_random(struct world *w, struct require *req, struct node_ref *not)
{
	static const uint32_t units[] = {1, 1, 1, 2, 2, 4, 8, 3, 5, 12, 24};
	struct place_ask a = {.flavor = below(w, 9) ? 1 : (uint16_t)(2 + below(w, 2)), .units = units[below(w, 11)],
			      .klass = below(w, 2) ? CLASS_LOAN : CLASS_GUARANTEED};

	if (!below(w, 4))
		a = (struct place_ask){.flavor = below(w, 5) ? 1 : 3, .shape = SHAPE_NODE, .klass = a.klass,
				       .units = 1 + below(w, 6)};
	if (a.shape == SHAPE_GPU && !below(w, 3)) {
		a.chunk = 1 + below(w, 4);
		a.units = a.chunk * (1 + below(w, 4));
		a.distinct = below(w, 2);
		a.chunk_parts = below(w, 2);
	}
	if (a.flavor == 3)
		a.units *= a.shape == SHAPE_NODE ? 1 : 4;
	if (!below(w, 4) && a.flavor != 3)
		a.cpus = (uint16_t)(1 + below(w, 40));
	if (!below(w, 6))
		a.memory_mib = (1 + below(w, 16)) * (HALL_MEMORY_MIB / 17);
	if (!below(w, 8)) {
		TEXT_SET(req->key, "leaf");
		TEXT_SET(req->value, below(w, 2) ? "l1" : "");
		a.requires = req;
		a.requires_n = 1;
	}
	if (!below(w, 3)) {
		a.topology = 1 + (uint8_t)below(w, 2);
		a.topology_required = below(w, 2);
	}
	if (!below(w, 8)) {
		not->node = 1 + below(w, w->h.nodes_n);
		a.excluded = not;
		a.excluded_n = 1;
	}
	return a;
}

/* Somebody asked for something once, and is done with it. */
static void arrival(struct world *w)
{
	struct job j = {.id = 1 + below(w, 40), .state = JOB_COMPLETED,
			.spec = {.flavor = 1, .units = 1 + below(w, 9), .shape = below(w, 4) ? SHAPE_GPU : SHAPE_NODE,
				 .per_node = (uint16_t)below(w, 3)}};
	struct fact f = {.kind = RECORD_JOB, .id = j.id, .job = below(w, 4) ? &j : NULL};

	core_apply(w->h.core, &f);
}

static void compare(struct world *w, const struct place_ask *ask, struct model *m)
{
	int rc = model_place(m, w->h.core, ask), got;
	struct part *parts;
	uint32_t n = 0;
	struct err err;

	got = hall_place(&w->h, ask, &parts, &n);
	if (got != rc || (!rc && n != m->part_n))
		fail_msg("units %u chunk %u shape %u over %u: %d with %u parts, the model says %d with %u", ask->units,
			 ask->chunk, ask->shape, ask->over, got, n, rc, m->part_n);
	for (uint32_t i = 0; !rc && i < n; i++)
		if (parts[i].node != m->part[i].node || parts[i].units != m->part[i].units)
			fail_msg("units %u chunk %u shape %u over %u: part %u is %u units on node %u, the model says %u on %u",
				 ask->units, ask->chunk, ask->shape, ask->over, i, parts[i].units, parts[i].node,
				 m->part[i].units, m->part[i].node);
	if (rosters_check(w->h.core, &err)) /* asking has left no trace */
		fail_msg("%s", err.msg);
	if (!rc && ask->over == PLACE_FREE && below(w, 2)) {
		if (below(w, 12) || w->claim_n == 8)
			w->alloc[w->alloc_n++] = hall_hold(&w->h, ask, parts, n);
		else
			w->claim[w->claim_n++] = hall_claim(&w->h, ask, parts, n);
	}
}

/* Random requests on random halls: the same answer, and the same parts in the same order. */
static void the_index_places_as_the_rule_says(void **state)
{
	static struct model m;
	uint64_t given = 0, asked = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++) {
		static struct world w;
		struct err err;

		memset(&w, 0, sizeof w);
		prng_seed(&w.r, seed);
		hall_open(&w.h, 8, below(&w, 12));
		hall_flavor(&w.h, 2, UNIT_DEVICE, 4);
		hall_flavor(&w.h, 3, UNIT_CORE, 1);
		for (uint32_t i = 1 + below(&w, NODES_MAX); i; i--)
			node_random(&w, i);
		for (int step = 0; step < 400; step++) {
			struct require req = {{0}, {0}};
			struct node_ref not;
			struct place_ask ask = ask_random(&w, &req, &not);
			uint64_t victims[512];

			if (!below(&w, 3) && w.alloc_n) {
				uint32_t k = below(&w, w.alloc_n);

				hall_drop(&w.h, w.alloc[k]);
				w.alloc[k] = w.alloc[--w.alloc_n];
			}
			if (!below(&w, 20) && w.claim_n)
				hall_unclaim(&w.h, w.claim[--w.claim_n]);
			if (!below(&w, 10))
				node_moves(&w);
			if (!below(&w, 3))
				arrival(&w);
			if (!below(&w, 4))
				ask.over = below(&w, 3) ? PLACE_OVER_LOANS : PLACE_EMPTY;
			if (ask.over == PLACE_EMPTY)
				ask.klass = CLASS_LOAN;
			if (ask.over == PLACE_OVER_LOANS && below(&w, 2)) { /* some of them, ascending */
				ask.victims = victims;
				for (uint64_t id = 1; id <= w.h.allocs_n && ask.victims_n < 512; id++)
					if (core_alloc(w.h.core, id) && below(&w, 2))
						victims[ask.victims_n++] = id;
			}
			compare(&w, &ask, &m);
			asked++;
			given += m.part_n > 0;
		}
		assert_int_equal(core_check(w.h.core, &err), 0);
		hall_close(&w.h);
	}
	assert_true(given > 5000);
	printf("# %" PRIu64 " asked, %" PRIu64 " given\n", asked, given);
}

/* Where a node is: hosts on the same set of leaves are one leaf, whatever the order; a rack serves as leaf where
 * there is none. */
static void a_leaf_is_a_set_of_hosts(void **state)
{
	struct place_ask gang = {.flavor = 1, .shape = SHAPE_NODE, .klass = CLASS_LOAN, .units = 2,
				 .topology = TOPOLOGY_LEAF, .topology_required = true};
	struct device dev[8];
	struct label label[2];
	struct part *part;
	struct node n;
	struct hall h;
	char name[LABEL_BYTES];
	uint32_t parts_n;

	(void)state;
	hall_open(&h, 8, 0);
	n = hall_node(1, 8, dev, "l1,l2,l3", "", label);
	hall_put(&h, &n);
	n = hall_node(2, 8, dev, "l1", "", label);
	hall_put(&h, &n);
	assert_int_equal(hall_place(&h, &gang, &part, &parts_n), REASON_FRAGMENTED);
	n = hall_node(3, 8, dev, "l3,l1,l2", "", label);
	hall_put(&h, &n);
	node_group(&n, LEVEL_LEAF, name);
	assert_string_equal(name, "l1,l2,l3");
	assert_int_equal(hall_place(&h, &gang, &part, &parts_n), 0);
	assert_int_equal(part[0].node, 1);
	assert_int_equal(part[1].node, 3);
	n = hall_node(2, 8, dev, "l1", "", label);
	TEXT_SET(label[0].key, "rack");
	node_group(&n, LEVEL_LEAF, name);
	assert_string_equal(name, "l1");
	node_group(&n, LEVEL_POD, name);
	assert_string_equal(name, "");
	hall_close(&h);
}

static void took(struct hall *h, uint32_t node, uint64_t mask)
{
	struct place_ask loan = {.flavor = 1, .klass = CLASS_LOAN};
	struct part p = {.node = node, .devices = mask, .units = popcount64(mask)};

	(void)hall_hold(h, &loan, &p, 1);
}

/* A node of which a reservation keeps most is not the emptiest, and is whole for nobody who stays too long. */
static void what_is_reserved_is_not_free(void **state)
{
	struct place_ask ask = {.flavor = 1, .klass = CLASS_LOAN, .units = 16, .until_ms = 5000};
	struct window window = {.from_ms = 1000, .to_ms = 9000};
	struct part kept = {.node = 1, .devices = 0xfc, .units = 6}, *part;
	struct reservation r = {.id = 1, .state = RESERVATION_CONFIRMED, .spec = {.flavor = 1, .units = 6,
				.windows = &window, .windows_n = 1}, .parts = &kept, .parts_n = 1};
	struct fact f = {.kind = RECORD_RESERVATION, .id = 1, .any = &r};
	struct device dev[8];
	struct label label[2];
	struct hall h;
	struct err err;
	uint32_t n;

	(void)state;
	hall_open(&h, 8, 0);
	for (uint32_t id = 1; id <= 3; id++) {
		struct node node = hall_node(id, 8, dev, "", "", label);

		hall_put(&h, &node);
	}
	core_apply(h.core, &f);
	assert_int_equal(hall_place(&h, &ask, &part, &n), 0);
	assert_int_equal(n, 2); /* eight and eight, and not what is left of the first */
	assert_int_equal(part[0].node, 2);
	assert_int_equal(part[1].node, 3);
	ask.units = 18;
	assert_int_equal(hall_place(&h, &ask, &part, &n), 0);
	assert_int_equal(part[2].devices & 0xfc, 0);
	ask.units = 19;
	assert_int_equal(hall_place(&h, &ask, &part, &n), REASON_RESERVED);
	ask = (struct place_ask){.flavor = 1, .shape = SHAPE_NODE, .klass = CLASS_LOAN, .units = 3, .until_ms = 5000};
	assert_int_equal(hall_place(&h, &ask, &part, &n), REASON_RESERVED);
	ask.until_ms = 999; /* gone before it begins */
	assert_int_equal(hall_place(&h, &ask, &part, &n), 0);
	assert_int_equal(rosters_check(h.core, &err), 0);
	f.any = NULL;
	core_apply(h.core, &f);
	ask.until_ms = 5000;
	assert_int_equal(hall_place(&h, &ask, &part, &n), 0);
	hall_close(&h);
}

/* Where fours are asked for, a single one is taken out of five and not out of four. */
static void what_is_usually_asked_for_is_left_whole(void **state)
{
	struct place_ask one = {.flavor = 1, .klass = CLASS_LOAN, .units = 1};
	struct job j = {.state = JOB_COMPLETED, .spec = {.flavor = 1, .units = 4}};
	struct fact f = {.kind = RECORD_JOB, .job = &j};
	struct device dev[8];
	struct label label[2];
	struct part *part;
	struct hall h;
	uint32_t n;

	(void)state;
	hall_open(&h, 8, 0);
	for (uint32_t id = 1; id <= 2; id++) {
		struct node node = hall_node(id, 8, dev, "", "", label);

		hall_put(&h, &node);
	}
	took(&h, 1, 0x0f);
	took(&h, 2, 0x07);
	assert_int_equal(hall_place(&h, &one, &part, &n), 0);
	assert_int_equal(part[0].node, 1); /* nobody asked for anything yet: the fullest */
	for (f.id = j.id = 1; j.id <= 16; f.id = ++j.id)
		core_apply(h.core, &f);
	assert_int_equal(hall_place(&h, &one, &part, &n), 0);
	assert_int_equal(part[0].node, 2);
	f.job = NULL;
	for (f.id = 1; f.id <= 16; f.id++) /* and forgotten again */
		core_apply(h.core, &f);
	assert_int_equal(hall_place(&h, &one, &part, &n), 0);
	assert_int_equal(part[0].node, 1);
	hall_close(&h);
}

/* A core that read the same records in another order has the same index, and answers alike. */
static void history_leaves_no_trace(void **state)
{
	static struct world w, again;
	struct place_ask ask = {.flavor = 1, .klass = CLASS_LOAN, .units = 3};
	struct part *a, *b;
	uint32_t an, bn;

	(void)state;
	memset(&w, 0, sizeof w);
	memset(&again, 0, sizeof again);
	prng_seed(&w.r, 7);
	hall_open(&w.h, 8, 2);
	hall_open(&again.h, 8, 2);
	for (uint32_t i = 1; i <= 12; i++)
		node_random(&w, i);
	for (int i = 0; i < 60; i++)
		arrival(&w);
	for (int i = 0; i < 300; i++) {
		uint64_t id = hall_start(&w.h, &ask);

		if (id)
			w.alloc[w.alloc_n++] = id;
		while (w.alloc_n && (!id || below(&w, 3) == 0)) {
			uint32_t k = below(&w, w.alloc_n);

			hall_drop(&w.h, w.alloc[k]);
			w.alloc[k] = w.alloc[--w.alloc_n];
			id = 1;
		}
	}
	for (uint32_t i = 12; i; i--)
		hall_put(&again.h, &node_of(w.h.core, i)->r);
	EACH(w.h.core, jobs, job_s, j) {
		struct fact f = {.kind = RECORD_JOB, .id = JOB_GET(j, id), .job = job_rec(w.h.core, j)};

		core_apply(again.h.core, &f);
	}
	EACH(w.h.core, allocs, alloc_s, al) {
		struct fact f = {.kind = RECORD_ALLOC, .id = al->r.id, .alloc = &al->r};

		core_apply(again.h.core, &f);
	}
	while (!hall_place(&w.h, &ask, &a, &an)) {
		assert_int_equal(hall_place(&again.h, &ask, &b, &bn), 0);
		assert_int_equal(an, bn);
		assert_memory_equal(a, b, an * sizeof *a);
		again.h.allocs_n = w.h.allocs_n;
		hall_hold(&w.h, &ask, a, an);
		hall_hold(&again.h, &ask, b, bn);
	}
	assert_int_not_equal(hall_place(&again.h, &ask, &b, &bn), 0);
	hall_close(&w.h);
	hall_close(&again.h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_index_places_as_the_rule_says),
		cmocka_unit_test(a_leaf_is_a_set_of_hosts),
		cmocka_unit_test(what_is_reserved_is_not_free),
		cmocka_unit_test(what_is_usually_asked_for_is_left_whole),
		cmocka_unit_test(history_leaves_no_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
