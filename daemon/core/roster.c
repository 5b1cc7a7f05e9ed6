/* roster.c - see roster.h
 *
 * Topology order: pod by pod, leaf by leaf, node by id; a group stands where its first node would. Two
 * clusters that enrolled the same nodes in the same order place alike.
 *
 * Invariant (rosters_check): view[v].key[at] is node_key() of the node, live and broken are sums over nodes.
 */
#include "daemon/core/roster.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"

/* ---- groups ------------------------------------------------------------------------------------- */

static const char *label_value(const struct node *n, const char *key)
{
	for (uint32_t i = 0; i < n->labels_n; i++)
		if (!strcmp(n->labels[i].key, key))
			return n->labels[i].value;
	return NULL;
}

static int text_cmp(const void *pa, const void *pb)
{
	const char *a, *b;

	memcpy(&a, pa, sizeof a);
	memcpy(&b, pb, sizeof b);
	return strcmp(a, b);
}

void node_group(const struct node *n, enum bucket_level level, char ret[LABEL_BYTES])
{
	const char *value = label_value(n, level == LEVEL_LEAF ? "leaf" : "pod");
	char text[LABEL_BYTES], *part[LABEL_BYTES / 2 + 1], *end;
	uint32_t n_parts = 0;

	if (!value)
		value = label_value(n, level == LEVEL_LEAF ? "rack" : "site");
	memset(ret, 0, LABEL_BYTES);
	if (!value)
		return;
	TEXT_SET(text, value);
	for (char *p = text; p && *p; p = end) {
		end = strchr(p, ',');
		if (end)
			*end++ = '\0';
		if (*p)
			part[n_parts++] = p;
	}
	if (n_parts > 1)
		qsort(part, n_parts, sizeof *part, text_cmp);
	for (uint32_t i = 0; i < n_parts; i++) {
		size_t used = strlen(ret);

		if (i && used + 1 < LABEL_BYTES)
			ret[used++] = ',';
		text_set(ret + used, LABEL_BYTES - used, part[i]);
	}
}

/* ---- making the rosters ----------------------------------------------------------------------------- */

struct spot {
	struct node_s *n;
	uint64_t first[LEVELS]; /* id of the first node of its groups */
	char name[LEVELS][LABEL_BYTES];
};

static int by_name(const void *pa, const void *pb)
{
	const struct spot *a = pa, *b = pb;

	for (int l = LEVELS; l-- > 0;) {
		int r = strcmp(a->name[l], b->name[l]);

		if (r)
			return r;
	}
	return a->n->r.id < b->n->r.id ? -1 : a->n->r.id > b->n->r.id;
}

static int by_place(const void *pa, const void *pb)
{
	const struct spot *a = pa, *b = pb;

	for (int l = LEVELS; l-- > 0;)
		if (a->first[l] != b->first[l])
			return a->first[l] < b->first[l] ? -1 : 1;
	return a->n->r.id < b->n->r.id ? -1 : a->n->r.id > b->n->r.id;
}

/* Are two neighbours in order of name in the same group? A leaf lies in one pod. */
static bool together(const struct spot *a, const struct spot *b, int level)
{
	for (int l = level; l < LEVELS; l++)
		if (strcmp(a->name[l], b->name[l]) != 0)
			return false;
	return true;
}

static void order(struct spot *s, uint32_t n)
{
	qsort(s, n, sizeof *s, by_name);
	for (int l = 0; l < LEVELS; l++)
		for (uint32_t i = 0, end; i < n; i = end) {
			uint64_t first = s[i].n->r.id;

			for (end = i + 1; end < n && together(&s[i], &s[end], l); end++)
				first = s[end].n->r.id < first ? s[end].n->r.id : first;
			for (uint32_t k = i; k < end; k++)
				s[k].first[l] = first;
		}
	qsort(s, n, sizeof *s, by_place);
}

static void roster_free(struct roster *p)
{
	if (!p)
		return;
	for (int v = 0; v < ROSTER_VIEWS; v++) {
		buckets_done(&p->view[v]);
		for (int i = 0; i < RANKS_KEPT; i++)
			free(p->rank[v][i].of);
	}
	free(p->node);
	free(p->cand);
	free(p->undo);
	free(p);
}

void rosters_done(struct core *c)
{
	for (int f = 0; f <= FLAVORS_MAX; f++) {
		roster_free(c->roster[f]);
		c->roster[f] = NULL;
	}
}

static struct roster *roster_make(uint16_t flavor, uint32_t per_node, struct spot *s, uint32_t n)
{
	struct roster *p = xcalloc(1, sizeof *p);
	struct bucket_spot *spot = xcalloc(n, sizeof *spot);

	order(s, n);
	p->flavor = flavor;
	p->per_node = per_node;
	p->nodes_n = n;
	p->node = xcalloc(n, sizeof(struct node_s *));
	p->cand = xcalloc(n, sizeof *p->cand);
	for (uint32_t i = 0; i < n; i++) {
		p->node[i] = s[i].n;
		for (uint32_t k = 0; k < s[i].n->seats_n; k++)
			if (s[i].n->seat[k].flavor == flavor)
				s[i].n->seat[k].at = i;
		for (int l = 0; l < LEVELS; l++) {
			spot[i].group[l] = i ? spot[i - 1].group[l] + (s[i].first[l] != s[i - 1].first[l]) : 0;
			spot[i].known[l] = s[i].name[l][0] != '\0';
		}
	}
	for (int v = 0; v < ROSTER_VIEWS; v++)
		buckets_init(&p->view[v], n, spot);
	free(spot);
	return p;
}

static bool mix_make(const struct core *c, struct roster *p);

static void rosters_rebuild(struct core *c)
{
	struct spot *all = xcalloc(c->nodes.count + 1, sizeof *all), *some = xcalloc(c->nodes.count + 1, sizeof *some);
	uint32_t all_n = 0;

	rosters_done(c);
	c->rosters_stale = false;
	EACH(c, nodes, node_s, n) {
		all[all_n].n = n;
		for (int l = 0; l < LEVELS; l++)
			node_group(&n->r, (enum bucket_level)l, all[all_n].name[l]);
		all_n++;
		for (uint32_t k = 0; k < n->seats_n; k++)
			n->seat[k].live[ROSTER_FREE] = n->seat[k].live[ROSTER_IDLE] = n->seat[k].broken =
				n->seat[k].pinned = false;
	}
	for (uint16_t f = 0; f <= FLAVORS_MAX; f++) {
		uint32_t n = 0;

		for (uint32_t i = 0; i < all_n; i++)
			for (uint32_t k = 0; k < all[i].n->seats_n; k++)
				if (all[i].n->seat[k].flavor == f)
					some[n++] = all[i];
		if (n)
			c->roster[f] = roster_make(f, f && flavor_of(c, f) ? flavor_of(c, f)->devices_per_node : 0, some, n);
		if (n)
			(void)mix_make(c, c->roster[f]);
	}
	free(all);
	free(some);
	EACH(c, nodes, node_s, n)
		node_index(c, n);
}

struct roster *roster_of(const struct core *c, uint16_t flavor)
{
	const struct flavor *f = flavor_of(c, flavor);

	if (c->rosters_stale) { /* a cache: making it anew changes no decision */
		struct core *mut;

		memcpy(&mut, &c, sizeof mut);
		rosters_rebuild(mut);
	}
	return f ? c->roster[f->unit == UNIT_CORE ? 0 : flavor] : NULL;
}

/* ---- keeping them -------------------------------------------------------------------------------- */

struct bucket_key roster_key(const struct core *c, const struct roster *p, const struct node_s *n,
			     const struct seat *s, uint64_t devices, uint32_t cores, uint32_t memory_mib)
{
	uint64_t memory = node_memory_mib(&n->r), all, mine;
	struct bucket_key k = {0};

	if (!p->flavor) {
		k.free = (uint16_t)cores;
		k.size = (uint16_t)n->cores_usable_n;
		k.whole = cores && cores == n->cores_usable_n;
		k.served = k.free; /* memory goes with the cores */
		return k;
	}
	k.free = (uint16_t)popcount64(devices);
	k.size = (uint16_t)popcount64(s->mask);
	k.served = k.free;
	mine = share_weight(c, n, p->flavor, &all);
	if (cores * all < k.served * mine * n->cores_usable_n)
		k.served = (uint16_t)(cores * all / (mine * n->cores_usable_n));
	if (memory_mib * all < k.served * mine * memory)
		k.served = (uint16_t)(memory_mib * all / (mine * memory));
	k.broken = n->fraction_parts > 0;
	k.whole = k.free && k.free == k.size && k.size == p->per_node;
	return k;
}

static bool in_view(const struct node *n, enum roster_view view)
{
	return view == ROSTER_FREE ? n->state == NODE_READY && n->admin == NODE_ENABLED :
				   n->state != NODE_DOWN && n->state != NODE_JOINING;
}

static struct bucket_key node_key(const struct core *c, const struct roster *p, const struct node_s *n, const struct seat *s,
				  enum roster_view view)
{
	struct bucket_key k = {0};
	uint32_t cores = 0, memory = node_memory_mib(&n->r), held = n->memory_held_mib + n->memory_claimed_mib;

	if (!in_view(&n->r, view))
		return k;
	if (view == ROSTER_IDLE) {
		k = roster_key(c, p, n, s, s->mask, n->cores_usable_n, memory);
		k.broken = false;
		return k;
	}
	if (s->flavor && n->carrier.flavor == s->flavor)
		return k; /* its owner's alone */
	for (uint32_t w = 0; w < n->core_words; w++)
		cores += popcount64(n->cores_usable[w] & ~n->cores_held[w] & ~n->cores_claimed[w]);
	return roster_key(c, p, n, s, s->mask & ~n->held & ~n->claimed, cores, memory > held ? memory - held : 0);
}

void node_index(struct core *c, struct node_s *n)
{
	if (c->rosters_stale)
		return;
	for (uint32_t i = 0; i < n->seats_n; i++) {
		struct seat *s = &n->seat[i];
		struct roster *p = c->roster[s->flavor];

		for (int v = 0; v < ROSTER_VIEWS; v++) {
			bool live = in_view(&n->r, (enum roster_view)v) && (s->mask || !s->flavor);

			p->live[v] += (uint32_t)live - s->live[v];
			s->live[v] = live;
			buckets_put(&p->view[v], s->at, node_key(c, p, n, s, (enum roster_view)v));
		}
		p->broken += (uint32_t)(s->live[ROSTER_FREE] && n->fraction_parts) - s->broken;
		s->broken = s->live[ROSTER_FREE] && n->fraction_parts;
		p->pinned += (uint32_t)(n->pins_n > 0) - s->pinned;
		s->pinned = n->pins_n > 0;
	}
}

int rosters_check(const struct core *c, struct err *err)
{
	if (c->rosters_stale)
		return 0;
	for (int f = 0; f <= FLAVORS_MAX; f++) {
		const struct roster *p = c->roster[f];
		uint32_t live[ROSTER_VIEWS] = {0}, broken = 0, pinned = 0, seats = 0;

		EACH(c, nodes, node_s, n)
			seats += node_seat(n, (uint16_t)f) != NULL;
		if (seats != (p ? p->nodes_n : 0))
			return err_set(err, ERR_CORRUPT, "roster %d has nodes that are not there, or lacks some", f);
		for (uint32_t i = 0; p && i < p->nodes_n; i++) {
			const struct node_s *n = p->node[i];
			const struct seat *s = node_seat(n, (uint16_t)f);

			if (!s || s->at != i)
				return err_set(err, ERR_CORRUPT, "roster %d does not know where node %u is", f, n->r.id);
			for (int v = 0; v < ROSTER_VIEWS; v++) {
				struct bucket_key want = node_key(c, p, n, s, (enum roster_view)v),
						  have = p->view[v].key[i];

				live[v] += in_view(&n->r, (enum roster_view)v) && (s->mask || !f);
				if (want.free != have.free || want.served != have.served || want.size != have.size ||
				    want.broken != have.broken || want.whole != have.whole || p->cand[i])
					return err_set(err, ERR_CORRUPT, "roster %d is wrong about node %u", f, n->r.id);
			}
			broken += in_view(&n->r, ROSTER_FREE) && (s->mask || !f) && n->fraction_parts;
			pinned += n->pins_n > 0;
		}
		if (p && (live[ROSTER_FREE] != p->live[ROSTER_FREE] || live[ROSTER_IDLE] != p->live[ROSTER_IDLE] ||
			  broken != p->broken || pinned != p->pinned || p->undo_n))
			return err_set(err, ERR_CORRUPT, "roster %d counts its nodes wrong", f);
	}
	return 0;
}

/* ---- for place() ------------------------------------------------------------------------------------ */

void arrivals_count(struct core *c, uint16_t flavor, uint8_t shape, uint32_t units, uint32_t chunk, bool add)
{
	uint32_t size = chunk ? chunk : units, n;

	if (flavor > FLAVORS_MAX || !units)
		return;
	if (size > DEVICES_PER_NODE_MAX)
		size = DEVICES_PER_NODE_MAX;
	n = (units + size - 1) / size;
	if (shape == SHAPE_NODE) { /* counted apart: how many devices that is, the flavor says, and may say anew */
		size = 0;
		n = units;
	}
	c->arrivals[flavor][size] += add ? n : UINT64_MAX - n + 1;
	c->arrivals_changed[flavor] = true;
}

/* Its highest bit alone. */
static int64_t rounded(uint64_t n) { return n ? INT64_C(1) << (63 - __builtin_clzll(n)) : 0; }

/* Bring the mix up to date. TRUE if it changed. */
static bool mix_make(const struct core *c, struct roster *p)
{
	const uint64_t *count = c->arrivals[p->flavor];
	uint32_t per_node = p->per_node < 1 ? 1 : p->per_node < DEVICES_PER_NODE_MAX ? p->per_node : DEVICES_PER_NODE_MAX;
	struct frag_typical typical[DEVICES_PER_NODE_MAX];
	int64_t weight[DEVICES_PER_NODE_MAX + 1] = {0}, parts = 0, whole;
	uint64_t whole_n = count[0];
	size_t n = 0, same = 0;

	for (uint32_t size = per_node; size <= DEVICES_PER_NODE_MAX; size++)
		whole_n += count[size];
	for (uint32_t size = 1; size < per_node; size++)
		parts += weight[size] = rounded(count[size]);
	whole = parts ? rounded(whole_n) * MIX_WEIGHT / (parts + rounded(whole_n)) : MIX_WEIGHT;
	whole = max64(whole, MIX_WHOLE_MIN);
	for (uint32_t size = 1; size <= per_node; size++) {
		int64_t w = size == per_node ? whole : parts ? weight[size] * (MIX_WEIGHT - whole) / parts : 0;

		if (w)
			typical[n++] = (struct frag_typical){
				.shape = {.cpu_milli = (int32_t)size * FRAG_DEVICE, .devices = (int32_t)size,
					  .device_milli = FRAG_DEVICE, .models = 1},
				.weight = w,
			};
	}
	for (size_t i = 0; i < n && n == p->mix.n; i++)
		same += typical[i].weight == p->typical[i].weight &&
			typical[i].shape.devices == p->typical[i].shape.devices;
	if (same == n)
		return false;
	memcpy(p->typical, typical, n * sizeof *typical);
	p->mix = (struct frag_mix){.typical = p->typical, .n = n};
	for (size_t i = 0; i < n; i++)
		p->mix.weight += typical[i].weight;
	return true;
}

/* 0..49; more is better. Amounts of cores and memory are counted in shares of a device. */
static uint32_t score(const struct roster *p, const struct bucket_key *k, uint32_t need)
{
	struct frag_shape s = {.cpu_milli = (int32_t)need * FRAG_DEVICE, .devices = (int32_t)need,
			       .device_milli = FRAG_DEVICE, .models = 1};
	struct frag_node n = {.cpu_milli = k->served * FRAG_DEVICE, .devices = k->free, .model = 1}, after;

	for (int32_t i = 0; i < n.devices; i++)
		n.device_milli[i] = FRAG_DEVICE;
	if (!frag_fits(&n, &s))
		return 0;
	after = frag_after(&n, &s, 0);
	return (uint32_t)frag_steps(frag_lost(&p->mix, &n) - frag_lost(&p->mix, &after), p->mix.weight) / 2;
}

static uint32_t rank_one(const struct roster *p, const struct bucket_key *k, uint32_t need, bool careful)
{
	uint32_t r;

	if (k->free < need)
		return BUCKETS_NONE;
	if (!need)
		return (uint32_t)UINT16_MAX - k->free;
	r = (uint32_t)k->size << RANK_SIZE | k->free;
	if (p->flavor)
		r |= (FRAG_STEPS / 2 - 1 - score(p, k, need)) << RANK_SCORE;
	if (k->served < need)
		r |= RANK_UNSERVED;
	if (careful && !k->broken)
		r |= RANK_CLEAN;
	return r;
}
_Static_assert(CORES_PER_NODE_MAX < 1 << RANK_SIZE && DEVICES_PER_NODE_MAX < 1 << RANK_SIZE,
	       "sizes fit their bits of a rank");

const uint32_t *roster_rank(const struct core *c, struct roster *p, enum roster_view view, uint32_t need, bool careful)
{
	const struct buckets *b = &p->view[view];
	struct roster_rank *r = &p->rank[view][(need * 2 + careful) % RANKS_KEPT];

	if (c->arrivals_changed[p->flavor] && p->flavor) {
		bool *changed;
		const bool *flag = &c->arrivals_changed[p->flavor];

		memcpy(&changed, &flag, sizeof changed); /* a cache */
		*changed = false;
		if (mix_make(c, p))
			for (int i = 0; i < ROSTER_VIEWS * RANKS_KEPT; i++)
				p->rank[i / RANKS_KEPT][i % RANKS_KEPT].n = 0;
	}
	if (r->need != need || r->careful != careful)
		r->n = 0;
	r->need = need;
	r->careful = careful;
	if (r->cap < b->buckets_n) {
		r->cap = b->buckets_cap;
		r->of = xrealloc(r->of, r->cap * sizeof *r->of);
	}
	for (; r->n < b->buckets_n; r->n++)
		r->of[r->n] = rank_one(p, &b->bucket[r->n].key, need, careful);
	return r->of;
}

void roster_put(struct roster *p, enum roster_view view, uint32_t at, struct bucket_key key)
{
	if (p->undo_n == p->undo_cap) {
		p->undo_cap = p->undo_cap ? p->undo_cap * 2 : 64;
		p->undo = xrealloc(p->undo, p->undo_cap * sizeof *p->undo);
	}
	p->undo[p->undo_n++] = (struct roster_undo){at, p->view[view].key[at]};
	buckets_put(&p->view[view], at, key);
}

void roster_undo(struct roster *p, enum roster_view view, uint32_t length)
{
	while (p->undo_n > length) {
		p->undo_n--;
		buckets_put(&p->view[view], p->undo[p->undo_n].at, p->undo[p->undo_n].key);
	}
}
