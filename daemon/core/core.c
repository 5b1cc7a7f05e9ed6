/* core.c - the state: records, what is derived from them, and how a fact changes both
 *
 * core_apply is the only writer. For each kind it takes back what the old record contributed, copies
 * the new one and adds what that contributes; so any sequence of facts that ends in the same records
 * ends in the same derived state (core_check recomputes it from nothing).
 */
#include "daemon/core/core.h"

#include "daemon/core/elastic.h"
#include "daemon/core/reservation.h"
#include "daemon/core/roster.h"
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- owned copies --------------------------------------------------------------------------- */

struct list_field { uint16_t ptr, count, elem; bool mutable; };
enum { LISTS_MAX = 7 };
struct kind_info { uint32_t size; uint8_t lists_n; struct list_field list[LISTS_MAX]; };
#define L(type, p, n, m) {offsetof(struct type, p), offsetof(struct type, n), sizeof(*((struct type *)0)->p), m}

static const struct kind_info KIND[RECORD_KINDS] = {
	[RECORD_CLUSTER] = {sizeof(struct cluster), 0, {{0}}},
	[RECORD_FLAVOR] = {sizeof(struct flavor), 0, {{0}}},
	[RECORD_QNODE] = {sizeof(struct qnode), 7,
			  {L(qnode, quotas, quotas_n, false), L(qnode, members, members_n, false),
			   L(qnode, stages, stages_n, true), L(qnode, requires, requires_n, false),
			   L(qnode, windows, windows_n, false), L(qnode, window_limits, window_limits_n, false),
			   L(qnode, window_spans, window_spans_n, false)}},
	[RECORD_NODE] = {sizeof(struct node), 2,
			 {L(node, labels, labels_n, false), L(node, devices, devices_n, true)}},
	[RECORD_PRINCIPAL] = {sizeof(struct principal), 0, {{0}}},
	[RECORD_CRED] = {sizeof(struct cred), 0, {{0}}},
	[RECORD_TOKEN] = {sizeof(struct token), 0, {{0}}},
	[RECORD_LEASE] = {sizeof(struct lease), 2,
			  {L(lease, spec.requires, spec.requires_n, false), L(lease, excluded, excluded_n, false)}},
	[RECORD_RENEWAL] = {sizeof(struct renewal), 0, {{0}}},
	[RECORD_JOB] = {sizeof(struct job), 4,
			{L(job, spec.requires, spec.requires_n, false), L(job, spec.deps, spec.deps_n, false),
			 L(job, excluded, excluded_n, false), L(job, ran, ran_n, false)}},
	[RECORD_ALLOC] = {sizeof(struct alloc), 2,
			  {L(alloc, lenders, lenders_n, false), L(alloc, parts, parts_n, true)}},
	[RECORD_CLAIM] = {sizeof(struct claim), 2,
			  {L(claim, victims, victims_n, true), L(claim, parts, parts_n, true)}},
	[RECORD_USAGE] = {sizeof(struct usage), 4,
			  {L(usage, rows, rows_n, true), L(usage, breaches, breaches_n, true),
			   L(usage, recalled, recalled_n, true), L(usage, users, users_n, true)}},
	[RECORD_IDEM] = {sizeof(struct idem), 0, {{0}}},
	[RECORD_APPROVAL] = {sizeof(struct approval), 1,
			     {{offsetof(struct approval, body.data), offsetof(struct approval, body.len), 1, false}}},
	[RECORD_RESERVATION] = {sizeof(struct reservation), 3,
				{L(reservation, spec.windows, spec.windows_n, false),
				 L(reservation, members, members_n, false), L(reservation, parts, parts_n, true)}},
	[RECORD_FORECAST] = {sizeof(struct forecast), 2,
			     {L(forecast, peaks, peaks_n, false), L(forecast, counts, counts_n, false)}},
};

static void **list_ptr(void *rec, const struct list_field *l) { return (void **)(void *)((char *)rec + l->ptr); }
static uint32_t list_count(const void *rec, const struct list_field *l)
{
	uint32_t n;

	memcpy(&n, (const char *)rec + l->count, sizeof n);
	return n;
}

/* Copy src over dst, both of `kind`; dst owned lists of its own, which are freed. src may share them. */
static void own(uint8_t kind, void *dst, const void *src)
{
	const struct kind_info *k = &KIND[kind];
	void *fresh[LISTS_MAX], *stale[LISTS_MAX];

	for (int i = 0; i < k->lists_n; i++) {
		const struct list_field *l = &k->list[i];
		size_t n = (size_t)list_count(src, l) * l->elem;
		const void *from;

		memcpy(&from, (const char *)src + l->ptr, sizeof from);
		fresh[i] = n ? memcpy(xmalloc(n), from, n) : NULL;
		stale[i] = *list_ptr(dst, l);
	}
	memcpy(dst, src, k->size);
	for (int i = 0; i < k->lists_n; i++) {
		*list_ptr(dst, &k->list[i]) = fresh[i];
		free(stale[i]);
	}
}

static void disown(uint8_t kind, void *rec)
{
	for (int i = 0; i < KIND[kind].lists_n; i++)
		free(*list_ptr(rec, &KIND[kind].list[i]));
	memset(rec, 0, KIND[kind].size);
}

/* ---- decisions ------------------------------------------------------------------------------- */

void decision_reset(struct decision *d)
{
	arena_reset(&d->arena);
	d->facts_n = 0;
	d->slots = 0;
	memset(&d->result, 0, sizeof d->result);
	d->rule = 0;
	d->replayed = false;
}

void decision_done(struct decision *d)
{
	arena_done(&d->arena);
	free(d->facts);
	free(d->slot);
	memset(d, 0, sizeof *d);
}

/* Most decisions have a handful of facts; a batch of renewals has thousands. */
enum { FACTS_UNINDEXED = 16 };

static uint32_t slot_of(const struct decision *d, uint8_t kind, uint64_t id)
{
	uint32_t i = (uint32_t)hash_u64(kind, id) & (d->slots - 1);

	while (d->slot[i] && (d->facts[d->slot[i] - 1].kind != kind || d->facts[d->slot[i] - 1].id != id))
		i = (i + 1) & (d->slots - 1);
	return i;
}

static void facts_index(struct decision *d)
{
	d->slots = 64;
	while (d->slots < d->facts_n * 4)
		d->slots *= 2;
	d->slot = xrealloc(d->slot, d->slots * sizeof *d->slot);
	memset(d->slot, 0, d->slots * sizeof *d->slot);
	for (uint32_t i = 0; i < d->facts_n; i++)
		d->slot[slot_of(d, d->facts[i].kind, d->facts[i].id)] = i + 1;
}

static struct fact *fact_find(const struct decision *d, uint8_t kind, uint64_t id)
{
	if (d->slots) {
		uint32_t at = d->slot[slot_of(d, kind, id)];

		return at ? &d->facts[at - 1] : NULL;
	}
	for (uint32_t i = d->facts_n; i-- > 0;)
		if (d->facts[i].kind == kind && d->facts[i].id == id)
			return &d->facts[i];
	return NULL;
}

static struct fact *fact_add(struct decision *d, uint8_t kind, uint64_t id)
{
	if (d->facts_n == d->facts_cap) {
		d->facts_cap = d->facts_cap ? d->facts_cap * 2 : 16;
		d->facts = xrealloc(d->facts, d->facts_cap * sizeof *d->facts);
	}
	d->facts[d->facts_n] = (struct fact){.kind = kind, .id = id};
	if (d->slots)
		d->slot[slot_of(d, kind, id)] = d->facts_n + 1;
	d->facts_n++;
	if (d->facts_n >= FACTS_UNINDEXED && d->facts_n * 2 >= d->slots)
		facts_index(d);
	return &d->facts[d->facts_n - 1];
}

void *edit(const struct core *c, struct decision *d, uint8_t kind, uint64_t id)
{
	const struct kind_info *k = &KIND[kind];
	struct fact *f = fact_find(d, kind, id);
	const void *stored;
	void *rec;

	if (f) {
		ENSURE(f->any);
		memcpy(&rec, &f->any, sizeof rec);
		return rec;
	}
	stored = core_record(c, kind, id);
	ENSURE(stored);
	rec = arena_copy(&d->arena, stored, k->size);
	for (int i = 0; i < k->lists_n; i++) {
		const struct list_field *l = &k->list[i];

		if (l->mutable && list_count(rec, l))
			*list_ptr(rec, l) =
				arena_copy(&d->arena, *list_ptr(rec, l), (size_t)list_count(rec, l) * l->elem);
	}
	fact_add(d, kind, id)->any = rec;
	return rec;
}

void *create(struct decision *d, uint8_t kind, uint64_t id)
{
	struct fact *f = fact_find(d, kind, id);
	void *rec = arena_alloc(&d->arena, KIND[kind].size);

	if (!f)
		f = fact_add(d, kind, id);
	f->any = rec;
	return rec;
}

void drop(struct decision *d, uint8_t kind, uint64_t id)
{
	struct fact *f = fact_find(d, kind, id);

	if (!f)
		f = fact_add(d, kind, id);
	f->any = NULL;
}

const void *peek(const struct core *c, const struct decision *d, uint8_t kind, uint64_t id)
{
	const struct fact *f = fact_find(d, kind, id);

	return f ? f->any : core_record(c, kind, id);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct core *core_new(void)
{
	struct core *c = xcalloc(1, sizeof *c);

	c->scratch = xcalloc(1, sizeof *c->scratch);
	c->scratch->look_max = SCHED_BUDGET;
	c->scratch->stretch50 = c->scratch->stretch90 = 1024;
	c->opened = opened_new();
	plan_init(c);
	return c;
}

#define FREE_ALL(table, wrapper, kind)                                                             \
	EACH(c, table, wrapper, var)                                                               \
	{                                                                                          \
		disown(kind, &var->r);                                                             \
		free(var);                                                                         \
	}                                                                                          \
	idtab_done(&c->table)

static void free_plain(struct idtab *t)
{
	void *p;

	for (uint64_t id = 0; (id = idtab_next(t, id, &p)) != 0;)
		free(p);
	idtab_done(t);
}

void core_free(struct core *c)
{
	if (!c)
		return;
	EACH(c, qnodes, qnode_s, q)
		idtab_done(&q->lent);
	EACH(c, qnodes, qnode_s, q)
		disown(RECORD_USAGE, &q->usage);
	rosters_done(c);
	plan_done(c);
	EACH(c, nodes, node_s, n) {
		free(n->units);
		free(n->pins);
		free(n->seat);
		node_forget_type(c, n);
	}
	lines_done(c);
	EACH(c, qnodes, qnode_s, q)
		loan_classes_done(q);
	idtab_done(&c->hungry);
	idtab_done(&c->loans);
	free(c->loan_keys);
	idtab_done(&c->elastic);
	idtab_done(&c->ended);
	FREE_ALL(qnodes, qnode_s, RECORD_QNODE);
	FREE_ALL(nodes, node_s, RECORD_NODE);
	FREE_ALL(leases, lease_s, RECORD_LEASE);
	EACH(c, jobs, job_s, j) {
		struct job rec;

		job_read(j, &rec);
		disown(RECORD_JOB, &rec);
		free(j->packed);
		free(j);
	}
	idtab_done(&c->jobs);
	opened_free(c->opened);
	FREE_ALL(allocs, alloc_s, RECORD_ALLOC);
	FREE_ALL(claims, claim_s, RECORD_CLAIM);
	FREE_ALL(approvals, approval_s, RECORD_APPROVAL);
	FREE_ALL(reservations, reservation_s, RECORD_RESERVATION);
	free_plain(&c->principals);
	free_plain(&c->creds);
	free_plain(&c->tokens);
	idems_done(c);
	for (int i = 0; i <= FLAVORS_MAX; i++) {
		free(c->flavor[i]);
		disown(RECORD_FORECAST, &c->headroom[i].r);
	}
	for (int i = 0; i < RESOURCES_MAX; i++)
		free(c->tree[i].cell);
	free(c->tree_parent);
	free(c->tree_id);
	free(c->tree_slo_ms);
	free(c->pending);
	timers_done(&c->timers);
	timers_done(&c->live_timers);
	free(c->scratch->fresh);
	free(c->scratch->pick);
	free(c->scratch->order);
	free(c->scratch);
	free(c);
}

/* ---- reading ---------------------------------------------------------------------------------- */

const void *core_record(const struct core *c, uint8_t kind, uint64_t id)
{
	switch ((enum record_kind)kind) {
	case RECORD_CLUSTER: return id == 1 && c->have_cluster ? &c->cluster : NULL;
	case RECORD_FLAVOR: return id <= FLAVORS_MAX ? flavor_of(c, (uint16_t)id) : NULL;
	case RECORD_QNODE: return qnode_of(c, id) ? &qnode_of(c, id)->r : NULL;
	case RECORD_NODE: return node_of(c, id) ? &node_of(c, id)->r : NULL;
	case RECORD_PRINCIPAL: return idtab_get(&c->principals, id);
	case RECORD_CRED: return idtab_get(&c->creds, id);
	case RECORD_TOKEN: return idtab_get(&c->tokens, id);
	case RECORD_LEASE: return lease_of(c, id) ? &lease_of(c, id)->r : NULL;
	case RECORD_RENEWAL: return core_renewal(c, id);
	case RECORD_JOB: return job_of(c, id) ? job_rec(c, job_of(c, id)) : NULL;
	case RECORD_ALLOC: return alloc_of(c, id) ? &alloc_of(c, id)->r : NULL;
	case RECORD_CLAIM: return claim_of(c, id) ? &claim_of(c, id)->r : NULL;
	case RECORD_USAGE: return qnode_of(c, id) && qnode_of(c, id)->usage.qnode ? &qnode_of(c, id)->usage : NULL;
	case RECORD_IDEM: return idem_find(c, id) ? &idem_find(c, id)->r : NULL;
	case RECORD_APPROVAL: {
		const struct approval_s *a = idtab_get(&c->approvals, id);

		return a ? &a->r : NULL;
	}
	case RECORD_RESERVATION: {
		const struct reservation_s *r = idtab_get(&c->reservations, id);

		return r ? &r->r : NULL;
	}
	case RECORD_FORECAST: return id <= FLAVORS_MAX && c->headroom[id].r.flavor ? &c->headroom[id].r : NULL;
	case RECORD_NONE:
	case RECORD_KINDS: break;
	}
	return NULL;
}

uint64_t core_next_id(const struct core *c, uint8_t kind, uint64_t after)
{
	const struct idtab *t = NULL;

	switch ((enum record_kind)kind) {
	case RECORD_CLUSTER: return after < 1 && c->have_cluster ? 1 : 0;
	case RECORD_FLAVOR:
		for (uint64_t id = after + 1; id <= FLAVORS_MAX; id++)
			if (c->flavor[id])
				return id;
		return 0;
	case RECORD_QNODE: t = &c->qnodes; break;
	case RECORD_NODE: t = &c->nodes; break;
	case RECORD_PRINCIPAL: t = &c->principals; break;
	case RECORD_CRED: t = &c->creds; break;
	case RECORD_TOKEN: t = &c->tokens; break;
	case RECORD_LEASE: t = &c->leases; break;
	case RECORD_JOB:
		opened_begin(c); /* a walk over all of them leaves no more open than a decision does */
		t = &c->jobs;
		break;
	case RECORD_ALLOC: t = &c->allocs; break;
	case RECORD_CLAIM: t = &c->claims; break;
	case RECORD_APPROVAL: t = &c->approvals; break;
	case RECORD_RESERVATION: t = &c->reservations; break;
	case RECORD_RENEWAL:
		for (uint64_t id = after; (id = idtab_next(&c->leases, id, NULL)) != 0;)
			if (core_renewal(c, id))
				return id;
		return 0;
	case RECORD_USAGE:
		for (uint64_t id = after; (id = idtab_next(&c->qnodes, id, NULL)) != 0;)
			if (core_record(c, RECORD_USAGE, id))
				return id;
		return 0;
	case RECORD_IDEM: return idem_next(c, after);
	case RECORD_FORECAST:
		for (uint64_t id = after + 1; id <= FLAVORS_MAX; id++)
			if (c->headroom[id].r.flavor)
				return id;
		return 0;
	case RECORD_NONE:
	case RECORD_KINDS: return 0;
	}
	return idtab_next(t, after, NULL);
}

const struct cluster *core_cluster(const struct core *c) { return c->have_cluster ? &c->cluster : NULL; }
const struct job *core_job(const struct core *c, uint64_t id) { return core_record(c, RECORD_JOB, id); }
const struct lease *core_lease(const struct core *c, uint64_t id) { return core_record(c, RECORD_LEASE, id); }
const struct alloc *core_alloc(const struct core *c, uint64_t id) { return core_record(c, RECORD_ALLOC, id); }
const struct claim *core_claim(const struct core *c, uint64_t id) { return core_record(c, RECORD_CLAIM, id); }
const struct node *core_node(const struct core *c, uint32_t id) { return core_record(c, RECORD_NODE, id); }
const struct cred *core_cred(const struct core *c, uint64_t id) { return core_record(c, RECORD_CRED, id); }
const struct qnode *core_qnode(const struct core *c, uint32_t id) { return core_record(c, RECORD_QNODE, id); }
const struct principal *core_principal(const struct core *c, uint32_t id)
{
	return core_record(c, RECORD_PRINCIPAL, id);
}
const struct renewal *core_renewal(const struct core *c, uint64_t lease)
{
	const struct lease_s *l = lease_of(c, lease);

	return l && l->renewal.lease ? &l->renewal : NULL;
}

const struct node *core_node_named(const struct core *c, const char *name)
{
	EACH(c, nodes, node_s, n)
		if (!strcmp(n->r.name, name) && n->r.state != NODE_DOWN)
			return &n->r;
	return NULL;
}

const struct cred *core_cred_of_uid(const struct core *c, uint32_t uid)
{
	EACH(c, creds, cred, cr)
		if (cr->kind == CRED_UID && cr->uid == uid && cr->state == CRED_VALID)
			return cr;
	return NULL;
}

void core_qnode_path(const struct core *c, uint32_t id, char out[TEXT_BYTES])
{
	const char *names[QNODE_DEPTH_MAX + 1];
	size_t used = 0;
	int n = 0;

	for (const struct qnode_s *q = qnode_of(c, id); q && q->r.kind != QNODE_ROOT && n <= QNODE_DEPTH_MAX;
	     q = qnode_of(c, q->r.parent))
		names[n++] = q->r.name;
	out[0] = '\0';
	while (n-- > 0 && used + 1 < TEXT_BYTES) {
		text_set(out + used, TEXT_BYTES - used, names[n]);
		used += strlen(out + used);
		if (n > 0 && used + 1 < TEXT_BYTES) {
			out[used++] = '/';
			out[used] = '\0';
		}
	}
	if (!out[0])
		text_set(out, TEXT_BYTES, "root");
}

int core_qnode_find(const struct core *c, const char *name, uint32_t *ret_id, struct err *err)
{
	size_t len = strlen(name);
	struct name_kept *kept = &c->scratch->names[hash_bytes(0, name, len) % NAMES_KEPT];
	uint32_t found = 0;

	if (!*name)
		return err_set(err, ERR_INVAL, "no project or provider is named");
	if (kept->qnode && !strcmp(kept->name, name)) {
		*ret_id = kept->qnode;
		return 0;
	}
	EACH(c, qnodes, qnode_s, q) {
		char path[TEXT_BYTES];

		if (q->r.retired)
			continue;
		core_qnode_path(c, q->r.id, path);
		if (!strcmp(path, name)) {
			found = q->r.id;
			break;
		}
		if (!strcmp(q->r.name, name) || (strchr(name, '/') && strlen(path) > strlen(name) &&
						 path[strlen(path) - strlen(name) - 1] == '/' &&
						 !strcmp(path + strlen(path) - strlen(name), name))) {
			if (found) {
				char other[TEXT_BYTES];

				core_qnode_path(c, found, other);
				err_set(err, ERR_CONFLICT, "'%s' is not unique", name);
				return err_hint(err, "say %s or %s", other, path);
			}
			found = q->r.id;
		}
	}
	if (!found) {
		err_set(err, ERR_NOTFOUND, "there is no '%s' in the division", name);
		err_hint(err, "sluisctl division show");
		return err_reason(err, REASON_UNKNOWN);
	}
	if (len < sizeof kept->name) { /* asked with every submission; forgotten when the division changes */
		TEXT_SET(kept->name, name);
		kept->qnode = found;
		c->scratch->names_kept = true;
	}
	*ret_id = found;
	return 0;
}

bool qnode_under(const struct core *c, uint32_t id, uint32_t ancestor)
{
	for (const struct qnode_s *q = qnode_of(c, id); q; q = qnode_of(c, q->r.parent)) {
		if (q->r.id == ancestor)
			return true;
		if (q->r.kind == QNODE_ROOT)
			break;
	}
	return false;
}

int64_t qnode_recall_slo(const struct core *c, uint32_t id)
{
	for (const struct qnode_s *q = qnode_of(c, id); q; q = qnode_of(c, q->r.parent)) {
		if (q->r.recall_slo_ms)
			return q->r.recall_slo_ms;
		if (q->r.kind == QNODE_ROOT)
			break;
	}
	return RECALL_SLO_DEFAULT_MS;
}

/* ---- quota trees ------------------------------------------------------------------------------ */

/* Its borrowing limit of one resource over its windows: now, the least and the most there will be. */
static void cell_windows(const struct qnode *q, uint16_t flavor, uint8_t shape, struct quota_cell *cell)
{
	int64_t open = -1;

	for (uint32_t i = 0; i < q->window_limits_n; i++) {
		const struct window_limit *l = &q->window_limits[i];

		if (l->flavor != flavor || l->shape != shape)
			continue;
		cell->borrowing_firm = min64(cell->borrowing_firm, l->borrowing);
		cell->borrowing_most = max64(cell->borrowing_most, l->borrowing);
		if (q->windows_open >> l->window & 1)
			open = max64(open, l->borrowing);
	}
	if (open >= 0)
		cell->borrowing = open;
}

static void trees_rebuild(struct core *c)
{
	uint32_t n = (uint32_t)c->qnodes.count, at = 0;

	for (int r = 0; r < RESOURCES_MAX; r++) {
		free(c->tree[r].cell);
		c->tree[r] = (struct quota_tree){0};
	}
	c->tree_parent = xrealloc(c->tree_parent, (n + 1) * sizeof *c->tree_parent);
	c->tree_id = xrealloc(c->tree_id, (n + 1) * sizeof *c->tree_id);
	c->tree_slo_ms = xrealloc(c->tree_slo_ms, (n + 1) * sizeof *c->tree_slo_ms);
	c->tree_n = n;
	memset(c->promised_whole, 0, sizeof c->promised_whole);
	EACH(c, qnodes, qnode_s, q) { /* ascending ids: parents first */
		const struct qnode_s *up = q->r.kind == QNODE_ROOT ? q : qnode_of(c, q->r.parent);

		q->at = at;
		c->tree_id[at] = q->r.id;
		c->tree_slo_ms[at] = qnode_recall_slo(c, q->r.id);
		ENSURE(up);
		c->tree_parent[at] = up->at;
		at++;
		if (q->r.retired)
			continue;
		for (uint32_t i = 0; i < q->r.quotas_n; i++) {
			const struct quota *u = &q->r.quotas[i];
			struct quota_tree *t = &c->tree[resource_index(u->flavor, u->shape)];

			if (!t->cell) {
				t->cell = xcalloc(n, sizeof *t->cell);
				t->nodes_n = n;
				for (uint32_t k = 0; k < n; k++)
					t->cell[k].borrowing = t->cell[k].borrowing_firm = t->cell[k].borrowing_most =
						t->cell[k].lending = QTY_UNLIMITED;
			}
			t->cell[q->at].own = u->nominal;
			if (u->shape == SHAPE_NODE)
				c->promised_whole[u->flavor] += u->nominal;
			t->cell[q->at].borrowing = u->borrowing;
			t->cell[q->at].borrowing_firm = t->cell[q->at].borrowing_most = u->borrowing;
			t->cell[q->at].lending = u->lending;
		}
	}
	EACH(c, qnodes, qnode_s, q)
		for (uint32_t i = 0; !q->r.retired && i < q->r.window_limits_n; i++) {
			const struct window_limit *l = &q->r.window_limits[i];
			struct quota_tree *t = &c->tree[resource_index(l->flavor, l->shape)];

			if (t->cell)
				cell_windows(&q->r, l->flavor, l->shape, &t->cell[q->at]);
		}
	for (int r = 0; r < RESOURCES_MAX; r++)
		c->tree[r].parent = c->tree_parent;
	c->tree_stale = false;
	EACH(c, allocs, alloc_s, a) {
		struct quota_tree *t = &c->tree[resource_index(a->r.flavor, a->r.shape)];
		int64_t units = 0;

		if (!t->cell || a->r.carried)
			continue;
		for (uint32_t i = 0; i < a->r.parts_n; i++)
			units += a->r.parts[i].units;
		t->cell[qnode_of(c, a->r.qnode)->at].usage_at += units;
		if (a->r.klass == CLASS_GUARANTEED)
			t->cell[qnode_of(c, a->r.qnode)->at].guaranteed_at += units;
	}
	EACH(c, claims, claim_s, m) {
		struct quota_tree *t = &c->tree[resource_index(m->r.flavor, m->r.shape)];

		if (!t->cell)
			continue;
		t->cell[qnode_of(c, m->r.qnode)->at].usage_at += m->r.units;
		if (m->r.klass == CLASS_GUARANTEED)
			t->cell[qnode_of(c, m->r.qnode)->at].guaranteed_at += m->r.units;
	}
	EACH(c, nodes, node_s, node) {
		struct quota_tree *t = &c->tree[resource_index(node->carrier.flavor, SHAPE_NODE)];

		if (!node->carrier.flavor || !t->cell)
			continue;
		t->cell[qnode_of(c, node->carrier.qnode)->at].usage_at++;
		t->cell[qnode_of(c, node->carrier.qnode)->at].guaranteed_at++;
	}
	for (int r = 0; r < RESOURCES_MAX; r++)
		if (c->tree[r].cell)
			quota_rebuild(&c->tree[r]);
	plan_pools_rebuild(c);
	for (uint16_t f = 1; f <= FLAVORS_MAX; f++) {
		c->promised[f] = c->promised_private[f] = 0;
		for (uint8_t s = 0; s < SHAPE_COUNT; s++)
			for (uint32_t i = 0; c->tree[resource_index(f, s)].cell && i < n; i++) {
				int64_t own = in_devices(c, f, s, c->tree[resource_index(f, s)].cell[i].own);

				c->promised[f] += own;
				c->promised_private[f] += own && !qnode_public(c, c->tree_id[i]) ? own : 0;
			}
	}
	c->scratch->deficit_look = true;
	notes_rebuild(c);
	certify_rebuild(c, &c->certify);
	certify_count(c);
}

struct quota_tree *tree_of(const struct core *c, uint16_t flavor, uint8_t shape)
{
	struct core *mut;

	if (c->tree_stale) { /* a cache: rebuilding it changes no decision */
		memcpy(&mut, &c, sizeof mut);
		trees_rebuild(mut);
	}
	memcpy(&mut, &c, sizeof mut);
	return c->tree[resource_index(flavor, shape)].cell ? &mut->tree[resource_index(flavor, shape)] : NULL;
}

void quota_count(struct core *c, uint32_t qnode, uint16_t flavor, uint8_t shape, int64_t units, bool guaranteed)
{
	struct quota_tree *t;

	if (c->tree_stale || !units)
		return; /* the rebuild counts everything anyway */
	t = tree_of(c, flavor, shape);
	if (!t)
		return;
	if (guaranteed) {
		certify_path(c, flavor, shape, qnode_of(c, qnode)->at, -1);
		note_path(c, flavor, shape, qnode_of(c, qnode)->at, -1);
	}
	quota_charge(t, qnode_of(c, qnode)->at, units, guaranteed ? units : 0);
	if (guaranteed) {
		certify_path(c, flavor, shape, qnode_of(c, qnode)->at, 1);
		note_path(c, flavor, shape, qnode_of(c, qnode)->at, 1);
	}
	if (units > 0)
		needs_wake_barred(c, flavor);
}

int quota_ask(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape, int64_t units, uint8_t klass)
{
	const struct quota_tree *t = tree_of(c, flavor, shape);
	const struct qnode_s *q = qnode_of(c, leaf);
	uint32_t at = 0;

	if (!t)
		return REASON_LEAF_FULL;
	if (klass == CLASS_LOAN) {
		if (quota_fits(t, q->at, units, &at))
			return 0;
		return at == 0 ? REASON_LENDERS_BUSY : REASON_BORROWING;
	}
	if (quota_covers(t, q->at, units, &at))
		return 0;
	if (at == q->at && t->cell[at].borrowing_firm)
		return REASON_BORROWING;
	for (uint32_t i = q->at; i; i = t->parent[i])
		if (t->cell[t->parent[i]].own)
			return at == q->at ? REASON_LEAF_FULL : REASON_ANCESTOR_FULL;
	return REASON_LEAF_FULL; /* nothing above it has anything to give */
}

int64_t lender_slo_min(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape)
{
	const struct quota_tree *t = tree_of(c, flavor, shape);
	int64_t min = T_NEVER;

	if (!t)
		return min;
	for (uint32_t i = 1; i < t->nodes_n; i++) {
		int64_t slo;

		if (t->cell[i].own <= 0 || t->cell[i].lending <= 0 || qnode_under(c, leaf, c->tree_id[i]))
			continue;
		slo = qnode_recall_slo(c, c->tree_id[i]);
		if (slo < min)
			min = slo;
	}
	return min;
}

/* ---- what an allocation or claim contributes -------------------------------------------------- */

static void unit_add(struct node_s *n, uint64_t alloc, uint16_t part)
{
	uint32_t i;

	if (n->units_n == n->units_cap) {
		n->units_cap = n->units_cap ? n->units_cap * 2 : 8;
		n->units = xrealloc(n->units, n->units_cap * sizeof *n->units);
	}
	/* by (alloc, part): a list in order of history would differ after a restart, and decisions with it */
	for (i = n->units_n++; i && (n->units[i - 1].alloc > alloc ||
				     (n->units[i - 1].alloc == alloc && n->units[i - 1].part > part));
	     i--)
		n->units[i] = n->units[i - 1];
	n->units[i] = (struct unit_ref){alloc, part};
}

static void unit_remove(struct node_s *n, uint64_t alloc, uint16_t part)
{
	for (uint32_t i = 0; i < n->units_n; i++)
		if (n->units[i].alloc == alloc && n->units[i].part == part) {
			memmove(&n->units[i], &n->units[i + 1], (n->units_n - i - 1) * sizeof *n->units);
			n->units_n--;
			return;
		}
	UNREACHABLE();
}

static void part_account(struct core *c, const struct alloc *a, const struct part *p, bool add)
{
	struct node_s *n = node_of(c, p->node);

	ENSURE(n);
	certify_node(c, n, -1);
	for (uint64_t m = p->devices; m; m &= m - 1) {
		int dev = __builtin_ctzll(m);

		/* I1: a device is in at most one allocation that is not freed */
		ENSURE(n->holder[dev] == (add ? 0 : a->id));
		n->holder[dev] = add ? a->id : 0;
	}
	if (add) {
		n->held |= p->devices;
		if (a->klass == CLASS_LOAN) {
			n->loaned |= p->devices;
			mask_or(n->cores_loaned, p->cores);
		}
		mask_or(n->cores_held, p->cores);
		n->memory_held_mib += p->memory_mib;
		unit_add(n, a->id, p->index);
	} else {
		n->held &= ~p->devices;
		n->loaned &= ~p->devices;
		mask_andnot(n->cores_held, p->cores);
		mask_andnot(n->cores_loaned, p->cores);
		n->memory_held_mib -= p->memory_mib;
		unit_remove(n, a->id, p->index);
	}
	if (a->klass == CLASS_GUARANTEED && a->shape == SHAPE_GPU && !a->carried) {
		ENSURE(add || n->fraction_parts > 0);
		n->fraction_parts += add ? 1 : UINT32_MAX; /* -1 */
	}
	node_index(c, n);
	certify_part(c, a, p, add);
	certify_node(c, n, 1);
}

/* What a lease was granted, has and lacks, around a change of it. */
static void lease_promise(struct core *c, const struct lease_s *l, int sign)
{
	certify_lease(c, l, sign);
	plan_lease(c, l, sign);
	headroom_lease(c, l, sign);
}

static void lease_list(struct lease_s *l, struct alloc_s *a, bool add)
{
	struct alloc_s **at = &l->allocs;

	while (!add && *at != a)
		at = &(*at)->lease_next;
	if (add)
		a->lease_next = *at;
	*at = add ? a : a->lease_next;
}

static void alloc_account(struct core *c, const struct alloc *a, bool add)
{
	int64_t units = 0;

	for (uint32_t i = 0; i < a->parts_n; i++) {
		part_account(c, a, &a->parts[i], add);
		units += a->parts[i].units;
	}
	if (!a->carried)
		quota_count(c, a->qnode, a->flavor, a->shape, add ? units : -units, a->klass == CLASS_GUARANTEED);
	if (a->extra && a->state != ALLOC_STOPPING)
		c->headroom[a->flavor].extra += add ? units : -units;
	if (a->extra && job_of(c, a->owner)) {
		struct job_s *j = job_of(c, a->owner);
		uint32_t n = a->state == ALLOC_STOPPING ? 0 : (uint32_t)units;

		j->extras_n += add ? 1 : UINT32_MAX; /* -1 */
		j->extra_units += add ? n : -n;
	}
	if (a->reservation) {
		struct reservation_s *r = idtab_get(&c->reservations, a->reservation);

		if (r) { /* else it is counted when the reservation comes */
			r->inside += add ? 1 : UINT32_MAX; /* -1 */
			timer_set(&c->timers, &r->timer, RECORD_RESERVATION, r->r.id, reservation_due(r));
		}
	}
	if (a->owner_kind == OWNER_LEASE) {
		struct lease_s *l = lease_of(c, a->owner);
		uint32_t held = 0;

		if (!l)
			return;
		lease_promise(c, l, -1);
		for (uint32_t i = 0; i < a->parts_n; i++)
			if (!a->parts[i].stop)
				held += a->parts[i].units;
		if (a->state == ALLOC_STOPPING)
			held = 0;
		l->units_held += add ? held : -held;
		if (a->state == ALLOC_ACTIVE)
			l->units_active += add ? held : -held;
		l->allocs_n += add ? 1 : UINT32_MAX;
		lease_list(l, alloc_of(c, a->id), add);
		lease_promise(c, l, 1);
	}
}

static void claim_account(struct core *c, const struct claim *m, bool add)
{
	for (uint32_t i = 0; i < m->parts_n; i++) {
		const struct part *p = &m->parts[i];
		struct node_s *n = node_of(c, p->node);

		ENSURE(n);
		certify_node(c, n, -1);
		for (uint64_t bits = p->devices; bits; bits &= bits - 1) {
			int dev = __builtin_ctzll(bits);

			ENSURE(n->claimant[dev] == (add ? 0 : m->id));
			n->claimant[dev] = add ? m->id : 0;
		}
		if (add) {
			n->claimed |= p->devices;
			mask_or(n->cores_claimed, p->cores);
			n->memory_claimed_mib += p->memory_mib;
		} else {
			n->claimed &= ~p->devices;
			mask_andnot(n->cores_claimed, p->cores);
			n->memory_claimed_mib -= p->memory_mib;
		}
		node_index(c, n);
		certify_node(c, n, 1);
	}
	quota_count(c, m->qnode, m->flavor, m->shape, add ? (int64_t)m->units : -(int64_t)m->units,
		    m->klass == CLASS_GUARANTEED);
	if (m->owner_kind == OWNER_LEASE && lease_of(c, m->owner)) {
		struct lease_s *l = lease_of(c, m->owner);

		lease_promise(c, l, -1);
		l->units_claimed += add ? m->units : -m->units;
		lease_promise(c, l, 1);
	}
}

/* ---- timers ------------------------------------------------------------------------------------ */

/* A pending job sleeps until eligible_ms (begin, back-off, cool-down); waking it clears the field. What
 * waits is given up once it could no longer end before its deadline. A reservation is looked after when its
 * instant has passed. */
static int64_t job_due(const struct core *c, const struct job *j)
{
	int64_t due = j->state == JOB_PENDING && j->eligible_ms ? j->eligible_ms : T_NEVER;

	if (job_waits(j) && j->spec.deadline_ms && j->spec.deadline_ms - j->spec.time_limit_ms + 1 < due)
		due = j->spec.deadline_ms - j->spec.time_limit_ms + 1;
	if (j->state == JOB_PENDING && j->reserved_ms)
		due = min64(due, 1 + (j->promised_ms ? j->promised_ms :
						       j->reserved_ms + qnode_recall_slo(c, j->spec.project)));
	return due;
}

/* The notice before a job's time limit. */
int64_t alloc_prenotice_ms(const struct core *c, const struct alloc *a)
{
	const struct job *j = a->owner_kind == OWNER_JOB ? core_job(c, a->owner) : NULL;
	int64_t ahead;

	if (!j || a->limit_ms == T_NEVER)
		return 0;
	ahead = j->spec.signal_ms ? j->spec.signal_ms : j->spec.notice_ms;
	return ahead < j->spec.time_limit_ms ? ahead : j->spec.time_limit_ms / 2;
}

static int64_t node_due(const struct core *c, const struct node *n)
{
	int64_t due = T_NEVER;

	if (n->admin != NODE_ENABLED && n->admin_until_ms)
		due = n->admin_until_ms;
	if (n->state == NODE_UNREACHABLE && !n->lost && n->state_since_ms + c->cluster.lost_after_ms < due)
		due = n->state_since_ms + c->cluster.lost_after_ms;
	return n->drain_next_ms ? min64(due, n->drain_next_ms) : due;
}

static int64_t alloc_due(const struct core *c, const struct alloc *a)
{
	int64_t due = reservation_wants_ms(c, a);

	if (a->state == ALLOC_BINDING)
		due = min64(due, a->bind_by_ms);
	else if (a->state == ALLOC_ACTIVE && a->owner_kind == OWNER_JOB && a->limit_ms != T_NEVER)
		due = min64(due, a->limit_ms - alloc_prenotice_ms(c, a));
	return due;
}

static void lease_timers(struct core *c, struct lease_s *l)
{
	int64_t due = T_NEVER, live = T_NEVER;

	switch ((enum lease_state)l->r.state) {
	case LEASE_OFFERED: due = l->r.offer_until_ms; break;
	case LEASE_ACTIVE:
		due = l->r.term_end_ms;
		live = l->renewal.expires_live_ms;
		break;
	case LEASE_GRACE:
		due = l->r.term_end_ms;
		live = l->renewal.expires_live_ms + l->r.spec.grace_ms;
		break;
	case LEASE_RECALLING: due = l->r.recall_at_ms; break;
	default: break;
	}
	if (!l->renewal.lease)
		live = T_NEVER;
	if (!lease_terminal(l->r.state) && l->r.retry_ms && l->r.retry_ms < due)
		due = l->r.retry_ms;
	timer_set(&c->timers, &l->timer, RECORD_LEASE, l->r.id, due);
	timer_set(&c->live_timers, &l->live_timer, RECORD_LEASE, l->r.id, live);
}

/* ---- pending list ------------------------------------------------------------------------------- */

static void pending_track(struct core *c, struct job_s *j, uint64_t id, bool waits)
{
	if (waits && !j->pending_at) {
		if (c->pending_n == c->pending_cap) {
			c->pending_cap = c->pending_cap ? c->pending_cap * 2 : 256;
			c->pending = xrealloc(c->pending, c->pending_cap * sizeof *c->pending);
		}
		c->pending[c->pending_n++] = id;
		j->pending_at = c->pending_n;
	} else if (!waits && j->pending_at) {
		uint64_t last = c->pending[--c->pending_n];

		if (last != id) {
			c->pending[j->pending_at - 1] = last;
			job_of(c, last)->pending_at = j->pending_at;
		}
		j->pending_at = 0;
	}
}

static void job_count(struct core *c, const struct job *j, bool add)
{
	struct qnode_s *q = qnode_of(c, j->spec.project);

	if (!j->spec.array_step) /* its children arrive one by one */
		arrivals_count(c, j->spec.flavor, j->spec.shape, j->spec.units, j->spec.per_node, add);
	if (!q)
		return;
	if (job_waits(j))
		q->pending += add ? 1 : UINT32_MAX;
	else if (!job_terminal(j->state) && !j->spec.array_step) /* an array runs as its children */
		q->running += add ? 1 : UINT32_MAX;
}

/* ---- apply -------------------------------------------------------------------------------------- */

static bool window_limits_same(const struct qnode *a, const struct qnode *b)
{
	bool same = a->window_limits_n == b->window_limits_n;

	for (uint32_t i = 0; same && i < a->window_limits_n; i++) {
		const struct window_limit *x = &a->window_limits[i], *y = &b->window_limits[i];

		same = x->window == y->window && x->flavor == y->flavor && x->shape == y->shape &&
		       x->borrowing == y->borrowing;
	}
	return same;
}

static bool qnode_same_quota(const struct qnode *a, const struct qnode *b)
{
	return a->parent == b->parent && a->kind == b->kind && a->retired == b->retired &&
	       a->recall_slo_ms == b->recall_slo_ms && a->quotas_n == b->quotas_n &&
	       (!a->quotas_n || !memcmp(a->quotas, b->quotas, a->quotas_n * sizeof *a->quotas)) &&
	       a->windows_open == b->windows_open && window_limits_same(a, b);
}

static void plain_put(struct idtab *t, const struct fact *f, size_t size)
{
	void *p = idtab_get(t, f->id);

	if (!f->any) {
		free(idtab_set(t, f->id, NULL));
		return;
	}
	if (!p) {
		p = xmalloc(size);
		(void)idtab_set(t, f->id, p); /* was empty */
	}
	memcpy(p, f->any, size);
}

#define WRAPPER(table, type, obj)                                                                  \
	struct type *obj = idtab_get(&c->table, f->id);                                            \
	bool fresh = !obj;                                                                         \
	if (fresh && !f->any)                                                                      \
		return;                                                                            \
	if (fresh) {                                                                               \
		obj = xcalloc(1, sizeof *obj);                                                     \
		(void)idtab_set(&c->table, f->id, obj);                                            \
	}

/* Did nothing but budget move? */
static bool qnode_same_but_budget(const struct qnode *a, const struct qnode *b)
{
	return qnode_same_quota(a, b) && a->weight == b->weight && a->frozen == b->frozen &&
	       a->running_jobs_max == b->running_jobs_max && !strcmp(a->name, b->name);
}

/* And it only downwards: then nothing has become possible. */
static bool qnode_only_less(const struct qnode *a, const struct qnode *b)
{
	if (a->stages_n != b->stages_n)
		return false;
	for (uint32_t i = 0; i < a->stages_n; i++) {
		const struct stage *x = &a->stages[i], *y = &b->stages[i];

		if (x->state != y->state || x->from_ms != y->from_ms || x->to_ms != y->to_ms ||
		    stage_left(y) > stage_left(x))
			return false;
	}
	return true;
}

static bool lacks_budget(int reason)
{
	return reason == REASON_STAGE || reason_tier(reason) == 4;
}

static bool lacks_room(int reason) { return reason == REASON_JOB_LIMIT; }

void work_freed(struct core *c, uint16_t flavor)
{
	c->scratch->freed |= UINT64_C(1) << flavor;
	c->scratch->work |= WORK_FREED;
	if (c->plan[flavor].bars)
		c->scratch->work |= WORK_LEASES; /* with windows ahead, leases are judged by the plan */
}

/* Surplus goes to whoever is poorest once nobody who waits lacks it, so both what is taken and what comes free may let
 * somebody grow. */
void work_grow(struct core *c)
{
	if (c->elastic.count)
		c->scratch->work |= WORK_GROW;
}

static void apply_qnode(struct core *c, const struct fact *f)
{
	WRAPPER(qnodes, qnode_s, q)
	bool stale, less;

	ENSURE(f->qnode); /* never deleted: retired */
	stale = fresh || !qnode_same_quota(&q->r, f->qnode);
	less = !fresh && qnode_only_less(&q->r, f->qnode);
	c->tree_stale |= stale;
	c->scratch->deficit_look |= stale; /* the trees are made again before that, and no later in the tick */
	c->scratch->order_stale = true;
	if (fresh || !qnode_same_but_budget(&q->r, f->qnode)) {
		if (c->scratch->names_kept)
			memset(c->scratch->names, 0, sizeof c->scratch->names);
		c->scratch->names_kept = false;
		c->scratch->work |= WORK_ALL;
	} else if (!less) {
		c->scratch->work |= WORK_PROMOTE | WORK_CLAIMS;
		needs_wake_project(c, q, lacks_budget);
	}
	own(RECORD_QNODE, &q->r, f->qnode);
	timer_set(&c->timers, &q->timer, RECORD_QNODE, f->id, qnode_due(&q->r));
	if (stale && !fresh)
		plan_lengths_again(c); /* a recall time is part of it, of all below as well */
}

/* Do both stand at the same place of the fabric? */
static bool nodes_neighbours(const struct node *a, const struct node *b)
{
	for (int l = 0; l < LEVELS; l++) {
		char at[LABEL_BYTES], bt[LABEL_BYTES];

		node_group(a, (enum bucket_level)l, at);
		node_group(b, (enum bucket_level)l, bt);
		if (strcmp(at, bt) != 0)
			return false;
	}
	return true;
}

static void apply_node(struct core *c, const struct fact *f)
{
	WRAPPER(nodes, node_s, n)
	bool moved;

	c->scratch->work |= WORK_ALL;
	if (!fresh)
		plan_node(c, n, false);
	certify_node(c, n, -1);
	deficit_node(c, n, -1);
	c->scratch->deficit_look = true;
	if (!f->node) {
		ENSURE(!n->units_n);
		timer_set(&c->timers, &n->timer, RECORD_NODE, f->id, T_NEVER);
		disown(RECORD_NODE, &n->r);
		ENSURE(!n->pins_n);
		free(n->units);
		free(n->pins);
		free(n->seat);
		node_forget_type(c, n);
		free(idtab_set(&c->nodes, f->id, NULL));
		c->rosters_stale = true;
		return;
	}
	moved = fresh || !nodes_neighbours(&n->r, f->node);
	own(RECORD_NODE, &n->r, f->node);
	moved |= node_derive(c, n);
	c->rosters_stale |= moved;
	node_index(c, n);
	carrier_again(c, n);
	plan_node(c, n, true);
	certify_node(c, n, 1);
	deficit_node(c, n, 1);
	timer_set(&c->timers, &n->timer, RECORD_NODE, f->id, node_due(c, &n->r));
}

/* What stopping the allocation now would cost, and the same where a claim's plan looks. */
static void victim_cost_note(struct core *c, struct alloc_s *a)
{
	victim_key_set(c, a);
	if (a->loan_at)
		c->loan_keys[a->loan_at - 1] = loan_key_of(a);
}

/* The piece of a broken node says until when that is broken. */
static void carried_again(struct core *c, const struct alloc_s *a)
{
	if (a->r.carried)
		carrier_again(c, node_of(c, a->r.parts[0].node));
}

static void apply_job(struct core *c, const struct fact *f)
{
	struct scratch *s = c->scratch;
	struct qnode_s *q;
	WRAPPER(jobs, job_s, j)
	struct job r = {0};
	struct need *need = j->line ? j->line->need : NULL;
	struct alloc_s *alloc;
	bool ended, began;
	int64_t promised_ms;
	uint32_t running;
	uint64_t was;

	if (!fresh)
		job_read(j, &r);
	ended = job_terminal(r.state) && !fresh;
	began = r.first_start_ms;
	promised_ms = r.promised_ms;
	was = r.alloc;
	line_leave(c, j);
	q = qnode_of(c, fresh ? f->job->spec.project : r.spec.project);
	running = q ? q->running : 0;
	if (!fresh)
		job_count(c, &r, false);
	if (!f->job) {
		pending_track(c, j, f->id, false);
		timer_set(&c->timers, &j->timer, RECORD_JOB, f->id, T_NEVER);
		r.reserved_ms = 0;
		plan_hold(c, &r);
		disown(RECORD_JOB, &r);
		(void)idtab_set(&c->ended, f->id, NULL);
		(void)idtab_set(&c->elastic, f->id, NULL);
		(void)idtab_set(&c->jobs, f->id, NULL);
		free(j->packed);
		free(j);
		needs_wake_job(c, f->id);
		return;
	}
	own(RECORD_JOB, &r, f->job);
	job_keep(c, j, &r);
	plan_job(c, &r);
	alloc = r.alloc ? alloc_of(c, r.alloc) : NULL;
	if (alloc)
		carried_again(c, alloc);
	plan_hold(c, &r);
	job_count(c, &r, true);
	pending_track(c, j, f->id, job_waits(&r));
	timer_set(&c->timers, &j->timer, RECORD_JOB, f->id, job_due(c, &r));
	if (alloc)
		victim_cost_note(c, alloc);
	if (was && was != r.alloc && alloc_of(c, was))
		victim_cost_note(c, alloc_of(c, was));
	if (elastic_is(&r.spec))
		(void)idtab_set(&c->elastic, f->id, r.state == JOB_RUNNING ? j : NULL);
	work_grow(c);
	if (job_terminal(r.state) != ended)
		(void)idtab_set(&c->ended, f->id, ended ? NULL : j);
	/* what depends on it; what waits for room under a limit */
	if ((!ended && job_terminal(r.state)) || (!began && r.first_start_ms))
		needs_wake_job(c, f->id);
	if (q && q->running < running && q->r.running_jobs_max)
		needs_wake_project(c, q, lacks_room);
	if (r.promised_ms && r.promised_ms != promised_ms)
		s->promises_given++;
	if (promised_ms && !r.promised_ms && r.promise_broken)
		s->promises_broken++;
	if (promised_ms && r.state == JOB_BINDING)
		s->promises_kept++;
	if (!ended && job_terminal(r.state))
		estimate_ended(s, &r);
	if (r.state == JOB_PENDING) {
		line_join(c, j);
		need_carry(need, j->line->need);
	}
}

/* A lease that still has to be looked at: new, or short of devices. */
static void lease_track(struct core *c, struct lease_s *l)
{
	bool hungry = l->r.state == LEASE_REQUESTED ||
		      ((l->r.state == LEASE_GRANTED || l->r.state == LEASE_BINDING || l->r.state == LEASE_ACTIVE) &&
		       l->units_held < l->r.spec.units);

	(void)idtab_set(&c->hungry, l->r.id, hungry ? l : NULL);
	if (hungry)
		c->scratch->work |= WORK_LEASES;
}

static void lease_count(struct core *c, const struct lease *l, bool add)
{
	struct qnode_s *q = qnode_of(c, l->spec.provider);

	arrivals_count(c, l->spec.flavor, l->spec.shape, l->spec.units,
		       l->spec.units_per_replica ? l->spec.units_per_replica : 1, add);
	if (q && !lease_terminal(l->state))
		q->leases += add ? 1 : UINT32_MAX; /* -1 */
}

static void apply_lease(struct core *c, const struct fact *f)
{
	WRAPPER(leases, lease_s, l)
	if (!fresh) {
		lease_count(c, &l->r, false);
		lease_promise(c, l, -1);
	}
	if (!f->lease) {
		ENSURE(!l->allocs_n);
		timer_set(&c->timers, &l->timer, RECORD_LEASE, f->id, T_NEVER);
		timer_set(&c->live_timers, &l->live_timer, RECORD_LEASE, f->id, T_NEVER);
		disown(RECORD_LEASE, &l->r);
		(void)idtab_set(&c->hungry, f->id, NULL);
		free(idtab_set(&c->leases, f->id, NULL));
		return;
	}
	if (!fresh && l->r.state != f->lease->state && f->lease->state == LEASE_EXPIRED)
		c->scratch->expiries++;
	own(RECORD_LEASE, &l->r, f->lease);
	lease_count(c, &l->r, true);
	lease_promise(c, l, 1);
	if (plan_lease_end(c, l))
		work_freed(c, l->r.spec.flavor); /* who waits for a window may count on its end */
	lease_timers(c, l);
	lease_track(c, l);
}

static void apply_renewal(struct core *c, const struct fact *f)
{
	struct lease_s *l = lease_of(c, f->id);

	if (!l)
		return; /* its lease was dropped in the same batch */
	if (f->renewal)
		l->renewal = *f->renewal;
	else
		memset(&l->renewal, 0, sizeof l->renewal);
	lease_timers(c, l);
}

static void loan_track(struct core *c, struct alloc_s *a, bool add)
{
	if (a->r.klass != CLASS_LOAN)
		return;
	(void)idtab_set(&c->loans, a->r.id, add ? a : NULL);
	if (add && c->loan_keys_n == c->loan_keys_cap) {
		c->loan_keys_cap = c->loan_keys_cap ? c->loan_keys_cap * 2 : 64;
		c->loan_keys = xrealloc(c->loan_keys, c->loan_keys_cap * sizeof *c->loan_keys);
	}
	if (add) {
		a->loan_at = ++c->loan_keys_n; /* victim_cost_note() fills it */
	} else {
		struct loan_key last = c->loan_keys[--c->loan_keys_n];

		if (a->loan_at <= c->loan_keys_n) {
			c->loan_keys[a->loan_at - 1] = last;
			alloc_of(c, last.id)->loan_at = a->loan_at;
		}
		a->loan_at = 0;
	}
}

static void apply_alloc(struct core *c, const struct fact *f)
{
	WRAPPER(allocs, alloc_s, a)
	const struct alloc *any = f->alloc ? f->alloc : &a->r;
	struct lease_s *owner = any->owner_kind == OWNER_LEASE ? lease_of(c, any->owner) : NULL;
	uint32_t parts_n = a->r.parts_n;
	uint8_t klass = a->r.klass, state = a->r.state;
	int64_t until_ms = a->until_ms;

	if (!fresh) {
		alloc_account(c, &a->r, false);
		plan_alloc(c, a, false);
		note_alloc(c, a, false);
	}
	if (!f->alloc) {
		carried_again(c, a);
		c->scratch->work |= WORK_DEVICES;
		work_freed(c, a->r.flavor);
		loan_track(c, a, false);
		timer_set(&c->timers, &a->timer, RECORD_ALLOC, f->id, T_NEVER);
		disown(RECORD_ALLOC, &a->r);
		free(idtab_set(&c->allocs, f->id, NULL));
		if (owner)
			lease_track(c, owner);
		return;
	}
	if (!fresh)
		loan_track(c, a, false);
	own(RECORD_ALLOC, &a->r, f->alloc);
	loan_track(c, a, true);
	alloc_account(c, &a->r, true);
	plan_alloc(c, a, true);
	carried_again(c, a);
	if (fresh && a->r.owner_kind == OWNER_JOB && job_of(c, a->r.owner))
		estimate_score(c->scratch, job_of(c, a->r.owner), a->r.created_ms);
	note_alloc(c, a, true);
	timer_set(&c->timers, &a->timer, RECORD_ALLOC, f->id, alloc_due(c, &a->r));
	victim_cost_note(c, a);
	if (fresh || (a->r.extra && a->r.state != state))
		work_grow(c); /* fewer lack what is kept for others; its job may have another instead */
	if (c->reservations.count)
		c->scratch->work |= WORK_RESERVE; /* one that is short may find what this gives back sooner */
	if (!fresh && (a->r.parts_n < parts_n || a->r.klass != klass)) {
		c->scratch->work |= WORK_DEVICES;
		work_freed(c, a->r.flavor);
	} else if (a->r.klass == CLASS_LOAN && a->r.state == ALLOC_ACTIVE && state != ALLOC_ACTIVE) {
		c->scratch->work |= WORK_PROMOTE;
	}
	if (!fresh && a->until_ms < until_ms && (c->plan[a->r.flavor].holds || until_ms == T_NEVER))
		work_freed(c, a->r.flavor); /* what would delay a reservation may do so no longer; one may be had */
	if (!fresh && a->until_ms < until_ms && c->reservations.count && c->hungry.count)
		c->scratch->work |= WORK_LEASES; /* the calendar leaves more for them */
	if (owner)
		lease_track(c, owner);
}

static void apply_claim(struct core *c, const struct fact *f)
{
	WRAPPER(claims, claim_s, m)
	if (!fresh) {
		claim_account(c, &m->r, false);
		plan_claim(c, m, false);
	}
	c->scratch->work |= WORK_CLAIMS;
	if (!f->claim) {
		c->scratch->work |= WORK_DEVICES;
		work_freed(c, m->r.flavor);
		timer_set(&c->timers, &m->timer, RECORD_CLAIM, f->id, T_NEVER);
		disown(RECORD_CLAIM, &m->r);
		free(idtab_set(&c->claims, f->id, NULL));
		return;
	}
	own(RECORD_CLAIM, &m->r, f->claim);
	claim_account(c, &m->r, true);
	plan_claim(c, m, true);
	timer_set(&c->timers, &m->timer, RECORD_CLAIM, f->id,
		  m->r.breached || m->r.offered ? T_NEVER : m->r.deadline_ms);
}

static void apply_approval(struct core *c, const struct fact *f)
{
	WRAPPER(approvals, approval_s, a)
	if (!f->approval) {
		timer_set(&c->timers, &a->timer, RECORD_APPROVAL, f->id, T_NEVER);
		disown(RECORD_APPROVAL, &a->r);
		free(idtab_set(&c->approvals, f->id, NULL));
		return;
	}
	own(RECORD_APPROVAL, &a->r, f->approval);
	timer_set(&c->timers, &a->timer, RECORD_APPROVAL, f->id, a->r.expires_ms);
}

/* Pins at the nodes, and when what is there has to go. */
static void reservation_move(struct core *c, struct reservation_s *rs, bool add)
{
	const struct reservation *r = &rs->r;

	reservation_account(c, rs, add);
	for (uint32_t i = 0; i < r->parts_n; i++) {
		const struct node_s *n = node_of(c, r->parts[i].node);

		for (uint32_t k = 0; n && k < n->units_n; k++) {
			struct alloc_s *a = alloc_of(c, n->units[k].alloc);

			timer_set(&c->timers, &a->timer, RECORD_ALLOC, a->r.id, alloc_due(c, &a->r));
		}
	}
}

/* Is `b` the same but for what was used and charged, and what is missing of it? That makes nothing possible. */
static bool reservation_same(const struct reservation *a, const struct reservation *b)
{
	bool same = a->state == b->state && a->spec.windows_n == b->spec.windows_n && a->members_n == b->members_n &&
		    a->parts_n == b->parts_n;

	for (uint32_t i = 0; same && i < a->spec.windows_n; i++)
		same = a->spec.windows[i].from_ms == b->spec.windows[i].from_ms &&
		       a->spec.windows[i].to_ms == b->spec.windows[i].to_ms;
	for (uint32_t i = 0; same && i < a->members_n; i++)
		same = a->members[i].qnode == b->members[i].qnode && a->members[i].principal == b->members[i].principal;
	for (uint32_t i = 0; same && i < a->parts_n; i++)
		same = a->parts[i].node == b->parts[i].node && a->parts[i].devices == b->parts[i].devices &&
		       !memcmp(a->parts[i].cores, b->parts[i].cores, sizeof a->parts[i].cores);
	return same;
}

static void apply_reservation(struct core *c, const struct fact *f)
{
	WRAPPER(reservations, reservation_s, r)
	bool same = !fresh && f->reservation && reservation_same(&r->r, f->reservation);

	if (!same)
		c->scratch->work |= WORK_ALL;
	if (!fresh && !same)
		reservation_move(c, r, false);
	if (!f->reservation) {
		timer_set(&c->timers, &r->timer, RECORD_RESERVATION, f->id, T_NEVER);
		disown(RECORD_RESERVATION, &r->r);
		free(idtab_set(&c->reservations, f->id, NULL));
		return;
	}
	own(RECORD_RESERVATION, &r->r, f->reservation);
	if (fresh) /* on the disk its allocations may stand before it */
		EACH(c, allocs, alloc_s, a)
			r->inside += a->r.reservation == f->id;
	if (!same)
		reservation_move(c, r, true);
	timer_set(&c->timers, &r->timer, RECORD_RESERVATION, f->id, reservation_due(r));
}

/* Is `b` the same but for counters? CMD_RECOVER moves last_seen_ms, so a restart orders a whole pass. */
static bool cluster_same_settings(const struct cluster *a, const struct cluster *b)
{
	return a->safe_mode == b->safe_mode && a->down_ms == b->down_ms && a->last_seen_ms == b->last_seen_ms &&
	       a->no_expiry_until_ms == b->no_expiry_until_ms && a->notice_ms == b->notice_ms &&
	       a->kill_margin_ms == b->kill_margin_ms && a->age_guard_ms == b->age_guard_ms &&
	       a->loan_rate_ppm == b->loan_rate_ppm && a->urgent_rate_ppm == b->urgent_rate_ppm &&
	       a->reservations_max == b->reservations_max && a->reservations_each == b->reservations_each &&
	       a->bind_timeout_ms == b->bind_timeout_ms &&
	       a->resize_ms == b->resize_ms;
}

/* But for what sluisd itself keeps in it. */
static bool flavor_same(const struct flavor *a, const struct flavor *b)
{
	return a->unit == b->unit && a->devices_per_node == b->devices_per_node && a->scrub_ms_max == b->scrub_ms_max &&
	       a->retired == b->retired;
}

/* Each kind notes what its change may have made possible (scratch->work): devices, quota, budget and
 * limits that grow, an end others wait for. What only takes away makes nothing possible. */
void core_apply(struct core *c, const struct fact *f)
{
	bool lengths, other_risk;

	switch ((enum record_kind)f->kind) {
	case RECORD_CLUSTER:
		ENSURE(f->cluster);
		if (!c->have_cluster || !cluster_same_settings(&c->cluster, f->cluster))
			c->scratch->work |= WORK_ALL;
		c->tree_stale |= c->cluster.kill_margin_ms != f->cluster->kill_margin_ms;
		lengths = c->cluster.kill_margin_ms != f->cluster->kill_margin_ms ||
			  c->cluster.bind_timeout_ms != f->cluster->bind_timeout_ms;
		other_risk = c->cluster.lend_risk_ppm != f->cluster->lend_risk_ppm;
		c->cluster = *f->cluster;
		c->have_cluster = true;
		if (lengths)
			plan_lengths_again(c);
		if (other_risk)
			headroom_risk(c);
		break;
	case RECORD_FLAVOR:
		ENSURE(f->flavor && f->id <= FLAVORS_MAX);
		if (!c->flavor[f->id])
			c->flavor[f->id] = xcalloc(1, sizeof *c->flavor[f->id]);
		if (!flavor_same(&c->flavor[f->id]->r, f->flavor)) {
			c->tree_stale = true;
			plan_ground(c, false); /* what counts, and as what, may be another thing now */
			c->flavor[f->id]->r = *f->flavor;
			plan_ground(c, true);
			plan_lengths_again(c);
		}
		c->flavor[f->id]->r = *f->flavor;
		headroom_recount(c, (uint16_t)f->id);
		c->scratch->deficit_look = true;
		c->rosters_stale = true;
		c->scratch->work |= WORK_ALL;
		break;
	case RECORD_QNODE: apply_qnode(c, f); break;
	case RECORD_NODE: apply_node(c, f); break;
	case RECORD_PRINCIPAL: plain_put(&c->principals, f, sizeof(struct principal)); break;
	case RECORD_CRED: plain_put(&c->creds, f, sizeof(struct cred)); break;
	case RECORD_TOKEN: plain_put(&c->tokens, f, sizeof(struct token)); break;
	case RECORD_LEASE: apply_lease(c, f); break;
	case RECORD_RENEWAL:
		c->scratch->renewals++;
		apply_renewal(c, f);
		break;
	case RECORD_JOB: apply_job(c, f); break;
	case RECORD_ALLOC: apply_alloc(c, f); break;
	case RECORD_CLAIM: apply_claim(c, f); break;
	case RECORD_RESERVATION: apply_reservation(c, f); break;
	case RECORD_USAGE: {
		struct qnode_s *q = qnode_of(c, f->id);

		ENSURE(q && f->usage);
		c->scratch->order_stale = true;
		own(RECORD_USAGE, &q->usage, f->usage);
		break;
	}
	case RECORD_IDEM:
		if (f->idem)
			idem_put(c, f->idem);
		else
			idem_del(c, f->id);
		break;
	case RECORD_APPROVAL: apply_approval(c, f); break;
	case RECORD_FORECAST:
		ENSURE(f->forecast && f->id <= FLAVORS_MAX);
		own(RECORD_FORECAST, &c->headroom[f->id].r, f->forecast);
		headroom_apply(c, (uint16_t)f->id);
		break;
	case RECORD_NONE:
	case RECORD_KINDS: UNREACHABLE();
	}
}

void core_loaded(struct core *c)
{
	c->scratch->renewals = c->scratch->expiries = 0; /* the others are counted when they are decided */
}

/* ---- deciding ------------------------------------------------------------------------------------ */

static int64_t or_never(int64_t at_ms) { return at_ms ? at_ms : T_NEVER; }

int64_t core_next_tick(const struct core *c, int64_t t_ms)
{
	const struct timer *first = timer_first(&c->timers), *live = timer_first(&c->live_timers);
	int64_t due = first ? first->at_ms : T_NEVER;

	if (!c->have_cluster)
		return T_NEVER;
	if (c->overnoted || c->scratch->deficit_look)
		return t_ms;
	if (c->scratch->work)
		return c->scratch->pause_ms > t_ms ? c->scratch->pause_ms : t_ms;
	if (live && !c->cluster.safe_mode) {
		int64_t at = live->at_ms + c->cluster.down_ms;

		if (at < c->cluster.no_expiry_until_ms)
			at = c->cluster.no_expiry_until_ms;
		if (at < due)
			due = at;
	}
	due = min64(due, min64(or_never(c->scratch->wake_ms), or_never(c->scratch->lease_ms)));
	due = min64(due, min64(or_never(c->scratch->grow_ms), or_never(c->scratch->again_ms)));
	due = min64(due, headroom_next(c, t_ms));
	return due < t_ms ? t_ms : due;
}

static uint64_t idem_id(uint32_t principal, const uint8_t key[16])
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ principal; /* FNV-1a over the key */

	for (int i = 0; i < 16; i++)
		h = (h ^ key[i]) * UINT64_C(0x100000001b3);
	h ^= h >> 32;
	return h ? h : 1;
}

static int decide_by_type(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			  struct err *err)
{
	switch ((enum command_type)cmd->type) {
	case CMD_TICK: decide_tick(c, t, cmd, d); return 0;
	case CMD_INIT: return decide_init(c, t, cmd, d, err);
	case CMD_RECOVER:
	case CMD_RESUME: return decide_recover(c, t, cmd, d, err);
	case CMD_APPROVAL_REFUSE: return decide_approval_refuse(c, t, cmd, d, err);
	case CMD_ENROL:
	case CMD_TOKEN_CREATE:
	case CMD_TOKEN_REVOKE:
	case CMD_KEY_REVOKE:
	case CMD_KEY_ROTATE:
	case CMD_USER_DISABLE: return decide_enrolment(c, t, cmd, d, err);
	case CMD_DIVISION_APPLY:
	case CMD_STAGE_SET: return decide_division(c, t, cmd, d, err);
	case CMD_NODE_LIVENESS:
	case CMD_NODE_HELLO:
	case CMD_NODE_REPORT:
	case CMD_NODE_CORDON:
	case CMD_NODE_UNCORDON:
	case CMD_NODE_DRAIN:
	case CMD_NODE_ACCEPT:
	case CMD_NODE_DECLARE_DEAD:
	case CMD_NODE_REMOVE: return decide_node(c, t, cmd, d, err);
	case CMD_JOB_SUBMIT:
	case CMD_JOB_CANCEL:
	case CMD_JOB_HOLD:
	case CMD_JOB_RELEASE:
	case CMD_JOB_REQUEUE:
	case CMD_JOB_UPDATE:
	case CMD_JOB_CHECKPOINTED: return decide_job(c, t, cmd, d, err);
	case CMD_LEASE_REQUEST:
	case CMD_LEASE_ACCEPT:
	case CMD_LEASE_DECLINE:
	case CMD_LEASE_RENEW:
	case CMD_LEASE_RESIZE:
	case CMD_LEASE_RELEASE:
	case CMD_LEASE_EXTEND:
	case CMD_LEASE_REVOKE: return decide_lease(c, t, cmd, d, err);
	case CMD_RESERVATION_CREATE:
	case CMD_RESERVATION_UPDATE:
	case CMD_RESERVATION_DELETE: return decide_reservation(c, t, cmd, d, err);
	case CMD_NONE: break;
	}
	return err_set(err, ERR_UNSUPPORTED, "unknown command %u", cmd->type);
}

int core_decide(const struct core *c, int64_t t_ms, const struct command *cmd, struct decision *d, struct err *err)
{
	static const uint8_t no_key[16];
	/* renew_seq tells a repeated renewal already, and its answer carries more than an id */
	bool keyed = memcmp(cmd->idem_key, no_key, 16) != 0 && cmd->type != CMD_LEASE_RENEW;
	uint64_t id = keyed ? idem_id(cmd->principal, cmd->idem_key) : 0;
	int rc;

	decision_reset(d);
	opened_begin(c);
	if (!c->have_cluster && cmd->type != CMD_INIT)
		return err_set(err, ERR_STATE, "the cluster is not initialised");
	rc = authz(c, t_ms, cmd, &d->rule, err);
	if (rc)
		return rc;
	if (keyed) {
		const struct idem_s *e = idem_find(c, id);

		if (e && e->r.principal == cmd->principal && !memcmp(e->r.key, cmd->idem_key, 16)) {
			if (memcmp(e->r.body_hash, cmd->body_hash, 16)) {
				err_set(err, ERR_IDEM_CONFLICT, "this idempotency key was used for another command");
				return err_hint(err, "use a new key for a new command");
			}
			d->replayed = true;
			*(e->r.proposed ? &d->result.approval : &d->result.id) = e->r.result_id;
			return 0;
		}
	}
	rc = cmd->approves ? approval_check(c, t_ms, cmd, err) : 0;
	if (!rc)
		rc = decide_by_type(c, t_ms, cmd, d, err);
	if (!rc && cmd->approves)
		drop(d, RECORD_APPROVAL, cmd->approves);
	else if (!rc && approval_needed(c, cmd))
		rc = approval_propose(c, t_ms, cmd, d, err);
	if (rc) {
		decision_reset(d);
		return rc;
	}
	if (keyed) {
		struct idem *e = create(d, RECORD_IDEM, id);

		e->id = id;
		e->principal = cmd->principal;
		memcpy(e->key, cmd->idem_key, 16);
		memcpy(e->body_hash, cmd->body_hash, 16);
		e->at_ms = t_ms;
		e->proposed = d->result.approval != 0;
		e->result_id = e->proposed ? d->result.approval : d->result.id;
	}
	return 0;
}
