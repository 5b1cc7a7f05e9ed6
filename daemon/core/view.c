/* view.c - answers to questions: records with names, sums and reasons beside them */
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"
#include "proto/model/names.h"
#include "proto/model/reason.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- small helpers ----------------------------------------------------------------------------------- */

static void text_add(char *to, size_t n, const char *sep, const char *s)
{
	size_t used = strlen(to);

	if (used)
		text_set(to + used, n - used, sep);
	used = strlen(to);
	text_set(to + used, n - used, s);
}

static bool mine_or_seen(const struct core *c, uint32_t principal, const struct lease *l)
{
	const struct principal *p = core_principal(c, principal);

	return p && (p->role == ROLE_ADMIN || p->role == ROLE_OPERATOR || p->role == ROLE_AUDITOR ||
		     may_act_for(c, principal, l->spec.provider));
}

/* ---- jobs ------------------------------------------------------------------------------------------------- */

/* One more name behind those in `out`, whole; from the first that does not fit on there is "..." instead. */
static void node_add(const struct core *c, uint32_t node, char *out, size_t n)
{
	static const char more[] = ",...";
	const struct node *at = core_node(c, node);
	const char *name = at ? at->name : "(removed)"; /* a node that was removed has no name any more */
	size_t used = strlen(out), tail = sizeof more - 1;

	if (used >= tail && !strcmp(out + used - tail, more))
		return;
	text_add(out, n, ",", used + 1 + strlen(name) + tail < n ? name : more + 1);
}

static void nodes_add(const struct core *c, const struct alloc *a, char *out, size_t n)
{
	for (uint32_t i = 0; i < a->parts_n; i++)
		node_add(c, a->parts[i].node, out, n);
}

static void job_view_fill(const struct core *c, const struct job_s *js, struct job_view *v)
{
	const struct job *j = job_rec(c, js);
	const struct alloc *a = core_alloc(c, j->alloc);

	v->job = *j;
	TEXT_SET(v->state, job_state_code(j->state));
	TEXT_SET(v->state_long, job_state_name(j->state));
	core_qnode_path(c, j->spec.project, v->project);
	TEXT_SET(v->flavor, flavor_of(c, j->spec.flavor)->name);
	TEXT_SET(v->klass, job_class_name(j->spec.klass));
	if (a) {
		v->loan = a->klass == CLASS_LOAN;
		nodes_add(c, a, v->nodes, sizeof v->nodes);
		v->extra = js->extra_units;
		if (js->extras_n)
			EACH(c, loans, alloc_s, x)
				if (x->r.extra && x->r.owner == j->id && x->r.state != ALLOC_STOPPING)
					nodes_add(c, &x->r, v->nodes, sizeof v->nodes);
		if (a->stop_cause == END_RECALL && a->state == ALLOC_STOPPING)
			v->recall_at_ms = a->stop_at_ms;
	} else {
		for (uint32_t i = 0; i < j->ran_n; i++)
			node_add(c, j->ran[i].node, v->nodes, sizeof v->nodes);
	}
	if (j->spec.reservation) {
		const struct reservation *r = core_record(c, RECORD_RESERVATION, j->spec.reservation);

		TEXT_SET(v->reservation, r ? r->spec.name : "(gone)");
	}
	if (job_waits(j) || j->state == JOB_EARMARKED) {
		const struct need *n = js->line ? js->line->need : NULL;

		v->reason = j->state == JOB_HELD      ? (j->admin_hold ? REASON_HELD_ADMIN : REASON_HELD_USER) :
			    j->state == JOB_EARMARKED ? REASON_CLAIM :
			    n			      ? n->reason :
							0;
		if (n && j->state == JOB_PENDING)
			sched_reason_text(c, n, j, v->reason_text);
		else
			TEXT_SET(v->reason_text, reason_text(v->reason));
		if (n && j->state == JOB_PENDING && j->reserved_ms && !reservation_reason(v->reason))
			reservation_behind_text(c, j->id, v->reason_text);
		v->reason_since_ms = n ? n->reason_since_ms :
				     core_claim(c, j->claim) ? core_claim(c, j->claim)->created_ms : 0;
		if (v->reason_since_ms && v->reason_since_ms < j->submit_ms)
			v->reason_since_ms = j->submit_ms;
		v->order = js->order;
		v->start_p50_ms = js->p50_s * MS_PER_S;
		v->start_p90_ms = js->p90_s * MS_PER_S;
	}
}

/* Most are told by a field or two: a million jobs are not opened for the few that are asked for. */
static bool job_wanted(const struct core *c, uint32_t principal, const struct query *q, const struct job_s *js)
{
	uint8_t state = JOB_GET(js, state);
	char path[TEXT_BYTES];
	struct job j;

	if (q->state_mask ? !(q->state_mask & (1u << state)) : !q->all && job_terminal(state))
		return false;
	if (q->mine && JOB_GET(js, owner) != principal)
		return false;
	if (!q->name[0])
		return true;
	job_read(js, &j);
	if (!strcmp(q->name, j.user) || !strcmp(q->name, j.spec.name))
		return true;
	core_qnode_path(c, j.spec.project, path);
	return !strcmp(path, q->name) || !strcmp(core_qnode(c, j.spec.project)->name, q->name);
}

struct job_list { const struct job_s **job; uint32_t n, cap; };

static void job_list_add(struct job_list *l, const struct job_s *j)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->job = xrealloc(l->job, l->cap * sizeof *l->job);
	}
	l->job[l->n++] = j;
}

static void jobs_wanted(const struct core *c, uint32_t principal, const struct query *q, uint32_t limit, struct job_list *found)
{
	EACH(c, jobs, job_s, j) {
		if (found->n == limit)
			return;
		if (job_wanted(c, principal, q, j))
			job_list_add(found, j);
	}
}

/* A job; of an array its children, too. */
static void jobs_of_id(const struct core *c, uint64_t id, uint32_t limit, struct job_list *found)
{
	const struct job_s *one = job_of(c, id);

	if (one)
		job_list_add(found, one);
	if (one && !job_rec(c, one)->spec.array_step)
		return;
	EACH(c, jobs, job_s, j) {
		if (found->n == limit)
			return;
		if (JOB_GET(j, array) == id)
			job_list_add(found, j);
	}
}

/* Place in line and likely start are made for all who wait at once, and told of them alone. */
static bool order_wanted(const struct core *c, const struct query *q)
{
	const struct job_s *one = q->id ? job_of(c, q->id) : NULL;

	if (one)
		return JOB_GET(one, state) == JOB_PENDING || job_rec(c, one)->spec.array_step;
	return !q->id && (!q->state_mask || (q->state_mask & 1u << JOB_PENDING));
}

static void view_jobs_fill(const struct core *c, uint32_t principal, const struct query *q, struct view_jobs *v,
			   struct arena *arena)
{
	uint32_t limit = q->limit && q->limit < LIST_ITEMS_MAX ? q->limit : LIST_ITEMS_MAX;
	struct job_list found = {0};

	if (q->id)
		jobs_of_id(c, q->id, limit, &found);
	else
		jobs_wanted(c, principal, q, limit, &found);
	v->items = arena_alloc(arena, found.n * sizeof *v->items);
	for (; v->items_n < found.n; v->items_n++)
		job_view_fill(c, found.job[v->items_n], &v->items[v->items_n]);
	free(found.job);
}

/* ---- leases ------------------------------------------------------------------------------------------------ */

/* Allocations of leases, by lease and id: gone over once for all leases that are listed. */
struct lease_allocs { const struct alloc **alloc; uint32_t n; };

static int lease_alloc_cmp(const void *pa, const void *pb)
{
	const struct alloc *const *a = pa, *const *b = pb;

	if ((*a)->owner != (*b)->owner)
		return (*a)->owner < (*b)->owner ? -1 : 1;
	return (*a)->id < (*b)->id ? -1 : (*a)->id > (*b)->id;
}

/* `lease` 0: of all. The caller frees `alloc`. */
static struct lease_allocs lease_allocs_of(const struct core *c, uint64_t lease)
{
	struct lease_allocs l = {.alloc = xmalloc((c->allocs.count + 1) * sizeof(struct alloc *))};

	EACH(c, allocs, alloc_s, a)
		if (a->r.owner_kind == OWNER_LEASE && (!lease || a->r.owner == lease))
			l.alloc[l.n++] = &a->r;
	if (l.n)
		qsort(l.alloc, l.n, sizeof *l.alloc, lease_alloc_cmp);
	return l;
}

static void replicas_fill(const struct core *c, const struct lease *l, const struct lease_allocs *all, struct lease_view *v,
			  struct arena *arena)
{
	uint32_t low = 0, high = all->n, n = 0;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (all->alloc[mid]->owner < l->id)
			low = mid + 1;
		else
			high = mid;
	}
	for (high = low; high < all->n && all->alloc[high]->owner == l->id; high++)
		n += all->alloc[high]->parts_n;
	v->replicas = arena_alloc(arena, n * sizeof *v->replicas);
	for (; low < high; low++)
		for (uint32_t i = 0; i < all->alloc[low]->parts_n; i++) {
			const struct alloc *a = all->alloc[low];
			const struct part *p = &a->parts[i];
			const struct node *node = core_node(c, p->node);
			struct replica_view *r = &v->replicas[v->replicas_n++];

			r->alloc = a->id;
			r->part = p->index;
			TEXT_SET(r->node, node->name);
			TEXT_SET(r->address, node->address);
			r->port = p->port;
			r->devices = p->units;
			TEXT_SET(r->state, a->state == ALLOC_STOPPING || p->stop ? "stopping" : part_state_name(p->state));
			r->healthy = p->healthy;
			r->restarts = p->restarts;
		}
}

static void lease_view_fill(const struct core *c, int64_t t, const struct lease_s *ls, const struct lease_allocs *all,
			    struct lease_view *v, struct arena *arena)
{
	const struct lease *l = &ls->r;
	const struct renewal *r = core_renewal(c, l->id);

	v->lease = *l;
	TEXT_SET(v->state, lease_state_name(l->state));
	core_qnode_path(c, l->spec.provider, v->provider);
	TEXT_SET(v->flavor, flavor_of(c, l->spec.flavor)->name);
	TEXT_SET(v->owner, core_principal(c, l->owner) ? core_principal(c, l->owner)->name : "");
	v->units_here = ls->units_active;
	EACH(c, claims, claim_s, m)
		if (m->r.owner_kind == OWNER_LEASE && m->r.owner == l->id) {
			v->units_coming += m->r.units;
			v->coming_by_ms = m->r.deadline_ms;
		}
	v->renewed_ago_ms = -1;
	if (r) {
		v->renew_seq = r->renew_seq;
		v->renewals = r->renewals;
		v->renewed_ago_ms = t - r->renewed_ms;
		v->expires_in_ms = r->expires_live_ms - live_ms(c, t);
		v->renew_after_ms = l->spec.ttl_ms / 3;
	}
	if (l->state == LEASE_REQUESTED || (!lease_terminal(l->state) && ls->units_held < l->spec.units)) {
		v->reason = v->units_coming ? REASON_CLAIM : ls->reason;
		TEXT_SET(v->reason_text, reason_text(v->reason));
		if (v->reason == REASON_FRAGMENTED && ls->tight.devices)
			certify_text(c, l, &ls->tight, v->reason_text);
		else if (ls->low.devices)
			reservation_low_text(c, l->spec.flavor, &ls->low, v->reason_text);
		else if (v->reason == REASON_BORROWING && l->spec.klass == LEASE_LOAN)
			(void)windows_raise_text(c, l->spec.provider, l->spec.flavor, l->spec.shape,
						 (int64_t)l->spec.units - ls->units_held, v->reason_text);
	}
	replicas_fill(c, l, all, v, arena);
}

static struct lease_view *lease_view_one(const struct core *c, int64_t t, const struct lease_s *l, struct arena *arena,
					 uint32_t *ret_n)
{
	struct lease_allocs all = lease_allocs_of(c, l->r.id);
	struct lease_view *v = arena_alloc(arena, sizeof *v);

	lease_view_fill(c, t, l, &all, v, arena);
	free(all.alloc);
	*ret_n = 1;
	return v;
}

static bool lease_wanted(const struct core *c, uint32_t principal, const struct query *q, const struct lease *l)
{
	char path[TEXT_BYTES];

	if (!mine_or_seen(c, principal, l))
		return false;
	if (q->id)
		return true;
	if (q->state_mask && !(q->state_mask & (1u << l->state)))
		return false;
	if (!q->state_mask && !q->all && lease_terminal(l->state))
		return false;
	core_qnode_path(c, l->spec.provider, path);
	return !q->name[0] || !strcmp(q->name, path) || !strcmp(q->name, core_qnode(c, l->spec.provider)->name);
}

static void view_leases_fill(const struct core *c, int64_t t, uint32_t principal, const struct query *q,
			     struct view_leases *v, struct arena *arena)
{
	const struct lease_s *one = q->id ? lease_of(c, q->id) : NULL;
	struct lease_allocs all;
	uint32_t n = 0;

	if (q->id) {
		if (one && lease_wanted(c, principal, q, &one->r))
			v->items = lease_view_one(c, t, one, arena, &v->items_n);
		return;
	}
	all = lease_allocs_of(c, 0);
	EACH(c, leases, lease_s, l)
		n += n < LIST_ITEMS_MAX && lease_wanted(c, principal, q, &l->r);
	v->items = arena_alloc(arena, n * sizeof *v->items);
	EACH(c, leases, lease_s, l)
		if (v->items_n < n && lease_wanted(c, principal, q, &l->r))
			lease_view_fill(c, t, l, &all, &v->items[v->items_n++], arena);
	free(all.alloc);
}

static void view_endpoints_fill(const struct core *c, int64_t t, uint32_t principal, const struct query *q,
				struct view_endpoints *v, struct arena *arena)
{
	struct view_leases leases = {0};
	uint32_t n = 0;

	view_leases_fill(c, t, principal, q, &leases, arena);
	for (uint32_t i = 0; i < leases.items_n; i++)
		n += leases.items[i].replicas_n;
	v->items = arena_alloc(arena, n * sizeof *v->items);
	for (uint32_t i = 0; i < leases.items_n; i++)
		for (uint32_t k = 0; k < leases.items[i].replicas_n; k++)
			if (leases.items[i].replicas[k].port)
				v->items[v->items_n++] = leases.items[i].replicas[k];
}

/* ---- nodes --------------------------------------------------------------------------------------------------- */

static void holders_text(const struct core *c, const struct node_s *n, char *out, size_t size)
{
	out[0] = '\0';
	for (uint32_t i = 0; i < n->units_n; i++) {
		const struct alloc *a = core_alloc(c, n->units[i].alloc);
		char who[32];

		(void)snprintf(who, sizeof who, "%s-%" PRIu64, a->owner_kind == OWNER_JOB ? "job" : "lease", a->owner);
		if (!strstr(out, who))
			text_add(out, size, " ", who);
	}
}

static void node_view_fill(const struct core *c, int64_t t, const struct node_s *n, struct node_view *v)
{
	static const uint8_t none[32];
	const struct node *r = &n->r;

	v->node = *r;
	TEXT_SET(v->state, r->state == NODE_READY && r->admin != NODE_ENABLED ? node_admin_name(r->admin) :
										node_state_name(r->state));
	for (uint32_t i = 0; i < r->devices_n; i++) {
		const struct flavor *f = r->devices[i].flavor ? flavor_of(c, r->devices[i].flavor) : NULL;

		if (f && !strstr(v->flavor, f->name))
			text_add(v->flavor, sizeof v->flavor, ",", f->name);
		v->out += r->devices[i].health != DEVICE_OK;
	}
	v->devices = r->devices_n;
	v->used = popcount64(n->held);
	v->free = r->state == NODE_READY ? r->devices_n - v->used - v->out : 0;
	v->cores = r->cores_n - r->cores_reserved;
	v->cores_used = mask_count(n->cores_held);
	if (!v->flavor[0] && node_is_cpu(n))
		for (uint16_t id = 1; id <= FLAVORS_MAX; id++)
			if (flavor_of(c, id) && flavor_of(c, id)->unit == UNIT_CORE && !flavor_of(c, id)->retired)
				TEXT_SET(v->flavor, flavor_of(c, id)->name);
	holders_text(c, n, v->holders, sizeof v->holders);
	for (uint32_t i = 0; i < n->units_n; i++) {
		const struct alloc *a = core_alloc(c, n->units[i].alloc);

		if (a->state == ALLOC_STOPPING && a->stop_cause == END_DRAIN && a->stop_at_ms > v->drained_by_ms)
			v->drained_by_ms = a->stop_at_ms;
		if (a->owner_kind == OWNER_JOB)
			v->drained_by_ms = max64(v->drained_by_ms, n->r.drain_by_ms);
	}
	if (r->twin_boot[0] && t - r->twin_ms < MS_PER_DAY)
		(void)snprintf(v->note, sizeof v->note, "another machine has its key: boot %s", r->twin_boot);
	else if (memcmp(r->digest_pending, none, 32) != 0)
		(void)snprintf(v->note, sizeof v->note, "its topology changed: sluisctl node accept %.60s", r->name);
	else if (r->admin != NODE_ENABLED)
		TEXT_SET(v->note, r->admin_reason);
	else if (n->pins_n)
		reservation_note(c, n, v->note);
	else if (r->emulated)
		TEXT_SET(v->note, "emulated");
}

static void view_nodes_fill(const struct core *c, int64_t t, const struct query *q, struct view_nodes *v, struct arena *arena)
{
	v->items = arena_alloc(arena, c->nodes.count * sizeof *v->items);
	EACH(c, nodes, node_s, n)
		if (!q->name[0] || !strcmp(q->name, n->r.name))
			node_view_fill(c, t, n, &v->items[v->items_n++]);
}

/* ---- division and usage ------------------------------------------------------------------------------------------ */

static void qnode_view_fill(const struct core *c, const struct qnode_s *q, struct qnode_view *v, struct arena *arena)
{
	v->qnode = q->r;
	core_qnode_path(c, q->r.id, v->path);
	for (const struct qnode_s *p = q; p->r.kind != QNODE_ROOT; p = qnode_of(c, p->r.parent))
		v->depth++;
	v->uses = arena_alloc(arena, q->r.quotas_n * sizeof *v->uses);
	v->uses_n = q->r.quotas_n;
	for (uint32_t i = 0; i < q->r.quotas_n; i++) {
		const struct quota *u = &q->r.quotas[i];
		const struct quota_tree *t = tree_of(c, u->flavor, u->shape);
		struct quota_use *use = &v->uses[i];

		for (uint32_t k = 0; t && k < t->nodes_n; k++) {
			if (!qnode_under(c, c->tree_id[k], q->r.id))
				continue;
			use->total += t->cell[k].own;
			use->usage_guaranteed += t->cell[k].guaranteed_at;
			use->usage_loan += t->cell[k].usage_at - t->cell[k].guaranteed_at;
		}
		use->guaranteed = use->usage_guaranteed;
		use->loan = use->usage_loan;
		use->slack = t ? quota_slack(t, q->at) : 0;
	}
}

static void view_division_fill(const struct core *c, struct view_division *v, struct arena *arena)
{
	v->version = c->cluster.division_version;
	memcpy(v->payload, c->cluster.division_payload, sizeof v->payload);
	v->flavors = arena_alloc(arena, FLAVORS_MAX * sizeof *v->flavors);
	for (uint16_t id = 1; id <= FLAVORS_MAX; id++)
		if (flavor_of(c, id) && !flavor_of(c, id)->retired)
			v->flavors[v->flavors_n++] = *flavor_of(c, id);
	v->items = arena_alloc(arena, c->qnodes.count * sizeof *v->items);
	EACH(c, qnodes, qnode_s, q)
		if (!q->r.retired)
			qnode_view_fill(c, q, &v->items[v->items_n++], arena);
}

/* What runs and is not yet booked. */
struct unbooked { uint32_t qnode; uint16_t flavor; bool loan; int64_t rums; };

static int unbooked_cmp(const void *pa, const void *pb)
{
	const struct unbooked *a = pa, *b = pb;

	if (a->qnode != b->qnode)
		return a->qnode < b->qnode ? -1 : 1;
	return (int)a->flavor - b->flavor;
}

/* By whose it is and of which flavor; the caller frees it. */
static struct unbooked *unbooked_of(const struct core *c, int64_t t, uint32_t *ret_n)
{
	struct unbooked *all = xmalloc((c->allocs.count + 1) * sizeof *all);
	uint32_t n = 0;

	EACH(c, allocs, alloc_s, a)
		if (a->r.start_ms && a->r.charged_until_ms < t)
			all[n++] = (struct unbooked){a->r.qnode, a->r.flavor, a->r.klass == CLASS_LOAN,
						     rums_of(c, a->r.flavor, a->r.shape, a->r.units, t - a->r.charged_until_ms)};
	if (n)
		qsort(all, n, sizeof *all, unbooked_cmp);
	*ret_n = n;
	return all;
}

static void view_usage_fill(const struct core *c, int64_t t, uint32_t principal, const struct query *q,
			    struct view_usage *v, struct arena *arena)
{
	const struct principal *who = core_principal(c, principal);

	uint32_t unbooked_n, at = 0;
	struct unbooked *unbooked = unbooked_of(c, t, &unbooked_n);

	v->items = arena_alloc(arena, (c->qnodes.count * 2 + 1) * FLAVORS_MAX * sizeof *v->items);
	EACH(c, qnodes, qnode_s, qn) {
		uint32_t first = v->items_n;

		while (at < unbooked_n && unbooked[at].qnode < qn->r.id)
			at++;

		if (qn->r.kind != QNODE_PROJECT && qn->r.kind != QNODE_PROVIDER)
			continue;
		if (q->name[0] && strcmp(q->name, qn->r.name) != 0)
			continue;
		if (qn->r.kind == QNODE_PROVIDER && who->role != ROLE_ADMIN && who->role != ROLE_AUDITOR &&
		    who->role != ROLE_OPERATOR && !may_act_for(c, principal, qn->r.id))
			continue;
		for (uint16_t f = 1; f <= FLAVORS_MAX; f++) {
			struct usage_view row = {.budget_left_rums = -1};

			for (uint32_t i = 0; i < qn->usage.rows_n; i++)
				if (qn->usage.rows[i].flavor == f) {
					row.guaranteed_rums = qn->usage.rows[i].guaranteed_rums;
					row.loan_rums = qn->usage.rows[i].loan_rums;
					row.refunded_rums = qn->usage.rows[i].refunded_rums;
					row.idle_rums = qn->usage.rows[i].idle_rums;
				}
			for (; at < unbooked_n && unbooked[at].qnode == qn->r.id && unbooked[at].flavor == f; at++) {
				if (unbooked[at].loan)
					row.loan_rums += unbooked[at].rums;
				else
					row.guaranteed_rums += unbooked[at].rums;
			}
			if (!row.guaranteed_rums && !row.loan_rums && !row.refunded_rums && !row.idle_rums)
				continue;
			row.claims_done = qn->usage.claims_done;
			row.claims_late = qn->usage.claims_late;
			core_qnode_path(c, qn->r.id, row.path);
			TEXT_SET(row.flavor, flavor_of(c, f)->name);
			v->items[v->items_n++] = row;
		}
		if (qn->r.stages_n) {
			int64_t left = 0;

			for (uint32_t i = 0; i < qn->r.stages_n; i++)
				if (qn->r.stages[i].state == STAGE_RELEASED)
					left += stage_left(&qn->r.stages[i]);
			if (first == v->items_n) {
				core_qnode_path(c, qn->r.id, v->items[v->items_n].path);
				v->items_n++;
			}
			for (uint32_t i = first; i < v->items_n; i++)
				v->items[i].budget_left_rums = left;
		}
	}
	free(unbooked);
}

static struct share_view *share_add(const struct core *c, struct view_shares *v, uint32_t qnode, int64_t usage,
				    uint32_t place)
{
	struct share_view *row = &v->items[v->items_n++];

	*row = (struct share_view){.weight = core_qnode(c, qnode)->weight, .usage_rums = usage, .place = place};
	core_qnode_path(c, qnode, row->path);
	return row;
}

static int by_least_usage(const void *pa, const void *pb)
{
	const struct user_usage *a = pa, *b = pb;

	if (a->decayed_rums != b->decayed_rums)
		return a->decayed_rums < b->decayed_rums ? -1 : 1;
	return a->user < b->user ? -1 : a->user > b->user;
}

static void shares_of_users(const struct core *c, int64_t t, const struct qnode_s *project, struct view_shares *v,
			    struct arena *arena)
{
	const struct usage *u = &project->usage;
	struct user_usage *users;

	if (!u->users_n)
		return;
	users = arena_copy(arena, u->users, u->users_n * sizeof *users);
	for (uint32_t i = 0; i < u->users_n; i++)
		users[i].decayed_rums = usage_of_user(c, t, project->r.id, users[i].user);
	qsort(users, u->users_n, sizeof *users, by_least_usage);
	for (uint32_t i = 0; i < u->users_n; i++) {
		const struct principal *p = core_principal(c, users[i].user);
		struct share_view *row = share_add(c, v, project->r.id, users[i].decayed_rums, i + 1);

		row->weight = 1;
		if (p)
			TEXT_SET(row->user, p->name);
		else
			snprintf(row->user, sizeof row->user, "#%u", users[i].user);
	}
}

static void view_shares_fill(const struct core *c, int64_t t, const struct query *q, struct view_shares *v,
			     struct arena *arena)
{
	const struct scratch *s = c->scratch;
	uint32_t sector = 0, sectors = 0, projects = 0, rows = 0;

	usage_order_seen(c, t);
	for (uint32_t i = 0; i < s->order_n; i++)
		rows += 2 + s->order[i]->usage.users_n;
	v->items = arena_alloc(arena, (rows + 1) * sizeof *v->items);
	for (uint32_t i = 0; i < s->order_n; i++) {
		const struct qnode_s *project = s->order[i];
		uint32_t of = usage_sector(c, project->r.id);

		if (project->r.retired)
			continue;
		if (of != sector || !sectors) {
			sectors++;
			sector = of;
			projects = 0;
			if (of && !q->name[0]) {
				int64_t sum = 0;

				for (uint32_t k = i; k < s->order_n && usage_sector(c, s->order[k]->r.id) == of; k++)
					sum += usage_now(c, t, s->order[k]->r.id);
				share_add(c, v, of, sum, sectors);
			}
		}
		projects++;
		if (q->name[0] && strcmp(q->name, project->r.name) != 0)
			continue;
		share_add(c, v, project->r.id, usage_now(c, t, project->r.id), projects);
		shares_of_users(c, t, project, v, arena);
	}
}

/* ---- status ---------------------------------------------------------------------------------------------------------- */

static uint32_t side_root(const struct core *c, uint8_t kind)
{
	EACH(c, qnodes, qnode_s, q)
		if (q->r.kind == kind && !q->r.retired)
			return q->r.id;
	return 0;
}

static void side_fill(const struct core *c, uint16_t flavor, uint8_t kind, struct side_view *v)
{
	uint32_t root = side_root(c, kind);

	TEXT_SET(v->flavor, flavor_of(c, flavor)->name);
	TEXT_SET(v->side, qnode_kind_name(kind));
	for (uint8_t s = 0; s < SHAPE_COUNT; s++) {
		const struct quota_tree *t = tree_of(c, flavor, s);

		for (uint32_t i = 0; t && i < t->nodes_n; i++)
			if (qnode_under(c, c->tree_id[i], root))
				v->nominal += in_devices(c, flavor, s, t->cell[i].own);
	}
	EACH(c, allocs, alloc_s, a) {
		int64_t n = 0;

		if (a->r.flavor != flavor)
			continue;
		for (uint32_t i = 0; i < a->r.parts_n; i++)
			n += in_devices(c, flavor, a->r.shape, a->r.parts[i].units);
		if (qnode_under(c, a->r.qnode, root)) {
			if (a->r.klass == CLASS_LOAN)
				v->loan += n;
			else
				v->guaranteed += n;
		}
		for (uint32_t i = 0; i < a->r.lenders_n; i++)
			if (qnode_under(c, a->r.lenders[i].qnode, root))
				v->lent += in_devices(c, flavor, a->r.shape, a->r.lenders[i].units);
	}
	v->free = v->nominal - v->guaranteed - v->lent;
	if (v->free < 0)
		v->free = 0;
	for (uint32_t i = 0; i < c->lines.n; i++) { /* all who wait, and those of a line ask for the same */
		const struct line *l = (const void *)c->lines.all[i];
		const struct need *n = l->need;

		if (l->jobs.n && n->flavor == flavor && qnode_under(c, n->project, root))
			v->waiting += in_devices(c, flavor, n->shape, n->units) * l->jobs.n;
	}
	EACH(c, claims, claim_s, m)
		if (m->r.flavor == flavor && qnode_under(c, m->r.qnode, root))
			v->waiting += in_devices(c, flavor, m->r.shape, m->r.units);
}

static void flavor_view_fill(const struct core *c, const struct flavor *f, struct flavor_view *v)
{
	TEXT_SET(v->name, f->name);
	v->committed = (int64_t)f->committed_nodes * f->devices_per_node + f->committed_units;
	EACH(c, nodes, node_s, n) {
		int64_t here = 0, used = 0, sick = 0;

		if (f->unit == UNIT_CORE) {
			if (node_is_cpu(n) && n->r.cores_n) {
				here = n->r.cores_n - n->r.cores_reserved;
				used = mask_count(n->cores_held);
			}
		} else {
			for (uint32_t i = 0; i < n->r.devices_n; i++)
				if (n->r.devices[i].flavor == f->id) {
					here++;
					sick += n->r.devices[i].health != DEVICE_OK;
					used += (n->held >> i & 1) != 0;
				}
		}
		if (!here)
			continue;
		v->nodes++;
		v->installed += here;
		v->used += used;
		v->out += n->r.state == NODE_READY ? sick : here - used;
	}
	v->free = v->installed - v->used - v->out;
}

static const int64_t WINDOWS_NOTE_MS = 30 * MS_PER_DAY;

static void note(struct view_status *v, struct arena *arena, const char *text)
{
	if (v->notes_n < 16)
		v->notes[v->notes_n++].s = arena_copy(arena, text, strlen(text) + 1);
}

/* The spans that a division was counted out for come to an end: applying it again is somebody's to do. */
static void windows_note(const struct qnode *q, int64_t t, struct view_status *v, struct arena *arena)
{
	int64_t last = 0;
	char text[256], when[24];

	for (uint32_t i = 0; i < q->window_spans_n; i++)
		last = max64(last, q->window_spans[i].to_ms);
	if (!q->windows_n || q->retired || last > t + WINDOWS_NOTE_MS)
		return;
	(void)snprintf(text, sizeof text, "windows of %s %s%s: apply the division again, sluisctl division apply", q->name,
		       last ? "end at " : "are over", last ? utc_text(last, when) : "");
	note(v, arena, text);
}

static void view_status_fill(const struct core *c, int64_t t, struct view_status *v, struct arena *arena)
{
	char text[256];

	(void)tree_of(c, 1, SHAPE_GPU); /* what is promised is up to date */
	v->notes = arena_alloc(arena, 16 * sizeof *v->notes);
	v->flavors = arena_alloc(arena, FLAVORS_MAX * sizeof *v->flavors);
	v->sides = arena_alloc(arena, 2 * FLAVORS_MAX * sizeof *v->sides);
	TEXT_SET(v->cluster, c->cluster.name);
	v->safe_mode = c->cluster.safe_mode;
	v->division_version = c->cluster.division_version;
	if (c->cluster.safe_mode)
		note(v, arena, "safe mode: nothing starts, nothing expires; when the nodes are back: sluisctl cluster resume");
	EACH(c, nodes, node_s, n) {
		static const uint8_t none[32];

		v->nodes++;
		v->nodes_ready += n->r.state == NODE_READY && n->r.admin == NODE_ENABLED;
		v->nodes_draining += n->r.state == NODE_READY && n->r.admin == NODE_DRAINING;
		v->nodes_cordoned += n->r.state == NODE_READY && n->r.admin == NODE_CORDONED;
		if (n->r.admin == NODE_DRAINING) { /* by somebody, or on account of a job: the reason tells */
			(void)snprintf(text, sizeof text, "node %s is draining: %s", n->r.name, n->r.admin_reason);
			note(v, arena, text);
		}
		if (n->r.state == NODE_UNREACHABLE || n->r.state == NODE_SUSPECT) {
			(void)snprintf(text, sizeof text, "node %s is %s%s", n->r.name, node_state_name(n->r.state),
				       memcmp(n->r.digest_pending, none, 32) ? ": its topology changed" : "");
			note(v, arena, text);
		}
	}
	EACH(c, qnodes, qnode_s, q)
		windows_note(&q->r, t, v, arena);
	EACH(c, jobs, job_s, j) {
		uint8_t state = JOB_GET(j, state);

		if (state != JOB_PENDING && state != JOB_HELD && JOB_GET(j, spec.array_step))
			continue; /* its children are the ones that run */
		v->jobs_running += state == JOB_RUNNING || state == JOB_STOPPING || state == JOB_BINDING;
		v->jobs_pending += state == JOB_PENDING || state == JOB_HELD || state == JOB_EARMARKED;
	}
	EACH(c, leases, lease_s, l) {
		v->leases_live += !lease_terminal(l->r.state);
		if (l->r.state == LEASE_GRACE) {
			(void)snprintf(text, sizeof text, "lease %" PRIu64 " is in its grace period: nobody renews it", l->r.id);
			note(v, arena, text);
		}
	}
	EACH(c, claims, claim_s, m) {
		v->claims_running++;
		if (m->r.breached) {
			(void)snprintf(text, sizeof text, "claim %" PRIu64 " is late", m->r.id);
			note(v, arena, text);
		}
	}
	v->claims_done = c->scratch->claims_done;
	v->claims_breached = c->scratch->claims_breached;
	v->promises_given = c->scratch->promises_given;
	v->promises_kept = c->scratch->promises_kept;
	v->promises_broken = c->scratch->promises_broken;
	v->estimates = c->scratch->estimates;
	v->estimates_in = c->scratch->estimates_in;
	v->estimate_error_ms = c->scratch->estimates ?
				       c->scratch->estimate_error_ms / (int64_t)c->scratch->estimates : 0;
	v->renewals = c->scratch->renewals;
	v->expiries = c->scratch->expiries;
	for (uint16_t id = 1; id <= FLAVORS_MAX; id++) {
		const struct flavor *f = flavor_of(c, id);

		if (!f || f->retired)
			continue;
		if (c->promised[id] > c->live[id]) {
			(void)snprintf(text, sizeof text, "%s: %" PRId64 " of %" PRId64 " promised are missing: sluisctl deficit show",
				       f->name, c->promised[id] - c->live[id], c->promised[id]);
			note(v, arena, text);
		}
		flavor_view_fill(c, f, &v->flavors[v->flavors_n++]);
		v->flavors[v->flavors_n - 1].kept =
			min64(headroom_kept(c, id, T_NEVER), v->flavors[v->flavors_n - 1].free);
		side_fill(c, id, QNODE_PUBLIC, &v->sides[v->sides_n++]);
		side_fill(c, id, QNODE_PRIVATE, &v->sides[v->sides_n++]);
	}
}

static void breach_fill(const struct core *c, const struct qnode_s *q, const struct breach *b, struct breach_view *v)
{
	v->breach = *b;
	core_qnode_path(c, q->r.id, v->qnode);
	(void)snprintf(v->owner, sizeof v->owner, "%s-%" PRIu64, alloc_owner_name(b->owner_kind), b->owner);
	if (b->victim)
		(void)snprintf(v->victim, sizeof v->victim, "%s-%" PRIu64, alloc_owner_name(b->victim_kind), b->victim);
	TEXT_SET(v->node, core_node(c, b->node) ? core_node(c, b->node)->name : "");
	TEXT_SET(v->cause, breach_cause_name(b->cause));
}

static void breaches_fill(const struct core *c, const struct qnode_s *q, struct breach_view *items, uint32_t *n)
{
	for (uint32_t i = 0; i < q->usage.breaches_n; i++)
		breach_fill(c, q, &q->usage.breaches[i], &items[(*n)++]);
}

/* ---- explain ------------------------------------------------------------------------------------------------------------ */

static void change(struct view_explain *v, const char *option, const char *effect)
{
	if (v->changes_n < 8) {
		TEXT_SET(v->changes[v->changes_n].option, option);
		TEXT_SET(v->changes[v->changes_n].effect, effect);
		v->changes_n++;
	}
}

/* Each change is tried against the live state by the scheduler's own questions before it is named. */
static void changes_find(const struct core *c, int64_t t, const struct job *j, struct view_explain *v,
			 struct arena *arena)
{
	struct job alt = *j;
	char option[TEXT_BYTES];

	v->changes = arena_alloc(arena, 8 * sizeof *v->changes);
	if (j->spec.loan == LOAN_NEVER) {
		alt.spec.loan = LOAN_OK;
		if (sched_would_start(c, t, &alt, arena))
			change(v, "--loan ok", "starts now as a loan: it may be recalled with notice");
	}
	for (uint16_t f = 1; f <= FLAVORS_MAX; f++) {
		alt = *j;
		alt.spec.flavor = f;
		if (f == j->spec.flavor || !flavor_of(c, f) || flavor_of(c, f)->retired ||
		    flavor_of(c, f)->unit != flavor_of(c, j->spec.flavor)->unit)
			continue;
		if (sched_would_start(c, t, &alt, arena)) {
			(void)snprintf(option, sizeof option, "--flavor %s", flavor_of(c, f)->name);
			change(v, option, "free now");
		}
	}
	for (uint32_t units = j->spec.units / 2; units; units /= 2) {
		alt = *j;
		alt.spec.units = units;
		if (j->spec.per_node && units % j->spec.per_node)
			continue;
		if (!sched_would_start(c, t, &alt, arena))
			continue;
		(void)snprintf(option, sizeof option, "%s %u", j->spec.shape == SHAPE_NODE ? "--nodes" : "--gpus", units);
		change(v, option, "so many could start now");
		break;
	}
	alt = *j;
	alt.spec.topology_required = false;
	alt.spec.topology_wait_ms = 0;
	if (j->spec.topology && (j->spec.topology_required || j->spec.topology_wait_ms) &&
	    sched_would_start(c, t, &alt, arena)) {
		(void)snprintf(option, sizeof option, "--topology preferred=%s", topology_name(j->spec.topology));
		change(v, option, "there is room in several");
	}
	alt = *j;
	alt.spec.time_limit_ms = j->spec.time_limit_ms / 4;
	alt.spec.exempt_ms = 0;
	if (sched_would_start(c, t, &alt, arena)) {
		(void)snprintf(option, sizeof option, "--time %" PRId64 "s", alt.spec.time_limit_ms / 1000);
		change(v, option, "short enough for the budget or the gap");
	}
}

/* Where the free devices are that it cannot use. */
static void fragments_text(const struct core *c, int64_t t, const struct job *j, char text[TEXT_BYTES], struct arena *arena)
{
	struct place_ask ask;
	struct part *parts;
	uint64_t total = 0, largest = 0;
	uint32_t n;

	job_place_ask(c, t, j, CLASS_LOAN, &ask);
	ask.ret_total = &total;
	ask.ret_largest = &largest;
	if (place(c, &ask, arena, &parts, &n) != REASON_FRAGMENTED)
		return;
	if (ask.topology_required && ask.units > 1)
		(void)snprintf(text, TEXT_BYTES, "%" PRIu64 " %s are free, at most %" PRIu64 " in one %s", total,
			       ask.shape == SHAPE_NODE ? "nodes" : "devices", largest, topology_name(ask.topology));
	else
		(void)snprintf(text, TEXT_BYTES, "%" PRIu64 " devices are free, at most %" PRIu64 " on one node", total,
			       largest);
}

/* Nodes on which it could not be bound get no further try while others will do. */
static void left_out_text(const struct core *c, int64_t t, const struct job *j, char text[TEXT_BYTES])
{
	struct place_ask ask;

	job_place_ask(c, t, j, CLASS_LOAN, &ask);
	for (uint32_t i = 0; i < ask.excluded_n; i++) {
		const struct node *n = core_node(c, ask.excluded[i].node);

		if (n)
			text_add(text, TEXT_BYTES, i ? ", " : "; left out after a failed start: ", n->name);
	}
}

static int view_explain_fill(const struct core *c, int64_t t, const struct query *q, struct view_explain *v,
			     struct arena *arena, struct err *err)
{
	const struct job_s *j;
	const struct job *job;

	if (!strcmp(q->name, "lease")) {
		const struct lease_s *l = lease_of(c, q->id);

		if (!l)
			return err_set(err, ERR_NOTFOUND, "there is no lease %" PRIu64, q->id);
		v->leases = lease_view_one(c, t, l, arena, &v->leases_n);
		v->breaches = arena_alloc(arena, BREACHES_KEPT * sizeof *v->breaches);
		breaches_fill(c, qnode_of(c, l->r.spec.provider), v->breaches, &v->breaches_n);
		return 0;
	}
	j = job_of(c, q->id);
	if (!j)
		return err_set(err, ERR_NOTFOUND, "there is no job %" PRIu64, q->id);
	job = job_rec(c, j);
	v->jobs = arena_alloc(arena, sizeof *v->jobs);
	v->jobs_n = 1;
	job_view_fill(c, j, v->jobs);
	v->breaches = arena_alloc(arena, BREACHES_KEPT * sizeof *v->breaches);
	breaches_fill(c, qnode_of(c, job->spec.project), v->breaches, &v->breaches_n);
	v->reasons = arena_alloc(arena, (REASONS_KEPT + 1) * sizeof *v->reasons);
	if (v->jobs->reason) {
		struct reason_view *r = &v->reasons[v->reasons_n++];

		r->code = v->jobs->reason;
		TEXT_SET(r->text, v->jobs->reason_text);
		if (r->code == REASON_FRAGMENTED)
			fragments_text(c, t, job, r->text, arena);
		if (reason_tier(r->code) == 6)
			left_out_text(c, t, job, r->text);
		r->since_ms = v->jobs->reason_since_ms;
		r->elapsed_ms = r->since_ms ? t - r->since_ms : t - job->submit_ms;
		r->blocking = true;
	}
	for (int i = 0; j->line && i < REASONS_KEPT; i++)
		if (j->line->need->span[i].code) {
			struct reason_view *r = &v->reasons[v->reasons_n++];

			r->code = j->line->need->span[i].code;
			TEXT_SET(r->text, reason_text(r->code));
			r->elapsed_ms = min64(j->line->need->span[i].elapsed_ms, t - job->submit_ms);
		}
	if (job->state == JOB_PENDING) {
		EACH(c, jobs, job_s, o)
			if (o->line && o->order && o->order < j->order) {
				if (!v->ahead++ || o->order == 1)
					v->ahead_first = JOB_GET(o, id);
			}
		changes_find(c, t, job, v, arena);
	}
	return 0;
}

/* ---- the rest --------------------------------------------------------------------------------------------------------------- */

static void late_text(const struct core *c, const struct claim *m, char out[TEXT_BYTES])
{
	const struct node *n = core_node(c, m->breach_node);

	(void)snprintf(out, TEXT_BYTES, "late: %s", breach_cause_name(m->breach_cause));
	if (n) {
		text_add(out, TEXT_BYTES, ", ", n->name);
		if (m->breach_owner) {
			char who[32];

			(void)snprintf(who, sizeof who, "%s-%" PRIu64, alloc_owner_name(m->breach_owner_kind), m->breach_owner);
			text_add(out, TEXT_BYTES, ", ", who);
		}
	}
}

static void view_claims_fill(const struct core *c, int64_t t, struct view_claims *v, struct arena *arena)
{
	v->items = arena_alloc(arena, c->claims.count * sizeof *v->items);
	EACH(c, claims, claim_s, m) {
		struct claim_view *cv = &v->items[v->items_n++];
		uint32_t here = 0;

		cv->claim = m->r;
		(void)snprintf(cv->owner, sizeof cv->owner, "%s-%" PRIu64, m->r.owner_kind == OWNER_JOB ? "job" : "lease",
			       m->r.owner);
		for (uint32_t i = 0; i < m->r.victims_n; i++) {
			const struct alloc *a = core_alloc(c, m->r.victims[i].alloc);
			char who[32];

			if (!a)
				continue;
			(void)snprintf(who, sizeof who, "%s-%" PRIu64, a->owner_kind == OWNER_JOB ? "job" : "lease", a->owner);
			text_add(cv->victims, sizeof cv->victims, " ", who);
		}
		for (uint32_t i = 0; i < m->r.parts_n; i++)
			here += popcount64(m->r.parts[i].devices & ~node_of(c, m->r.parts[i].node)->held);
		cv->units_here = here;
		cv->due_in_ms = m->r.deadline_ms - t;
		if (m->r.breached)
			late_text(c, &m->r, cv->note);
		else if (m->r.offered)
			TEXT_SET(cv->note, "offered, not accepted yet");
		else if (!m->r.parts_n)
			TEXT_SET(cv->note, "a node of it was lost; waits for devices");
	}
	{
		uint32_t n = 0;

		EACH(c, qnodes, qnode_s, q)
			n += q->usage.breaches_n;
		v->breaches = arena_alloc(arena, (n + 1) * sizeof *v->breaches);
		EACH(c, qnodes, qnode_s, q)
			breaches_fill(c, q, v->breaches, &v->breaches_n);
	}
}

static void reservation_view_fill(const struct core *c, int64_t t, const struct reservation_s *rs, struct reservation_view *v)
{
	const struct reservation *r = &rs->r;

	v->reservation = *r;
	TEXT_SET(v->state, reservation_state_name(r->state));
	TEXT_SET(v->owner, core_principal(c, r->owner) ? core_principal(c, r->owner)->name : "");
	TEXT_SET(v->flavor, r->spec.flavor ? flavor_of(c, r->spec.flavor)->name : "");
	for (uint32_t i = 0; i < r->members_n; i++) {
		char who[TEXT_BYTES + 8] = "";

		if (r->members[i].qnode)
			core_qnode_path(c, r->members[i].qnode, who);
		else if (core_principal(c, r->members[i].principal))
			(void)snprintf(who, sizeof who, "user:%s", core_principal(c, r->members[i].principal)->name);
		text_add(v->members, sizeof v->members, " ", who);
	}
	for (uint32_t i = 0; i < r->parts_n; i++) {
		const struct node_s *n = node_of(c, r->parts[i].node);

		if (!n)
			continue;
		if (!strstr(v->nodes, n->r.name) || r->parts_n < 2)
			text_add(v->nodes, sizeof v->nodes, ",", n->r.name);
	}
	v->units_here = reservation_units_here(c, r);
	reservation_uses(c, t, r, &v->kept_rums, &v->used_rums);
	if (reservation_payer(c, r))
		core_qnode_path(c, reservation_payer(c, r), v->payer);
	EACH(c, allocs, alloc_s, a) {
		char who[32];

		if (a->r.reservation != r->id)
			continue;
		for (uint32_t i = 0; i < a->r.parts_n; i++)
			v->units_used += a->r.parts[i].units;
		(void)snprintf(who, sizeof who, "%" PRIu64, a->r.owner);
		text_add(v->jobs, sizeof v->jobs, " ", who);
	}
}

static void view_reservations_fill(const struct core *c, int64_t t, const struct query *q, struct view_reservations *v,
				   struct arena *arena)
{
	v->items = arena_alloc(arena, c->reservations.count * sizeof *v->items);
	EACH(c, reservations, reservation_s, r) {
		bool named = q->id ? r->r.id == q->id : !q->name[0] || !strcmp(q->name, r->r.spec.name);

		if (named && (q->all || q->id || !reservation_terminal(r->r.state)))
			reservation_view_fill(c, t, r, &v->items[v->items_n++]);
	}
}

static bool node_named(const struct node *n, const char *what)
{
	const char *eq = strchr(what, '=');

	if (!strcmp(n->name, what))
		return true;
	for (uint32_t i = 0; eq && i < n->labels_n; i++)
		if (strlen(n->labels[i].key) == (size_t)(eq - what) &&
		    !strncmp(n->labels[i].key, what, (size_t)(eq - what)) && !strcmp(n->labels[i].value, eq + 1))
			return true;
	return false;
}

static void deficit_row(struct view_deficit *v, const char *who, const char *step, const char *effect)
{
	if (v->items_n < LIST_ITEMS_MAX / 64) {
		TEXT_SET(v->items[v->items_n].who, who);
		TEXT_SET(v->items[v->items_n].step, step);
		TEXT_SET(v->items[v->items_n].effect, effect);
		v->items_n++;
	}
}

/* What would happen if the named nodes were lost now, or happens if none is named: for one flavor and step. */
struct shortage { const char *flavor; uint16_t id; int64_t live, lost, promised; };

static void deficit_step(const struct core *c, const struct query *q, const struct shortage *s, uint32_t step,
			 struct view_deficit *v)
{
	int64_t short_by = s->promised - s->live + s->lost;
	char who[NAME_BYTES], effect[TEXT_BYTES];

	if (step == DEFICIT_SPARE && (s->lost || short_by > 0)) {
		(void)snprintf(effect, sizeof effect, "%" PRId64 " live, %" PRId64 " lost, %" PRId64 " promised: %s", s->live,
			       s->lost, s->promised, short_by <= 0 ? "the spare covers it" : "short");
		deficit_row(v, s->flavor, "spare", effect);
	}
	if (step == DEFICIT_REPLACE_BROKEN) {
		EACH(c, allocs, alloc_s, a) {
			uint32_t hit = 0;

			for (uint32_t i = 0; a->r.flavor == s->id && i < a->r.parts_n; i++) {
				const struct node *n = core_node(c, a->r.parts[i].node);

				hit += (q->name[0] ? node_named(n, q->name) : n->state != NODE_READY) ? a->r.parts[i].units : 0;
			}
			if (!hit)
				continue;
			(void)snprintf(who, sizeof who, "%s-%" PRIu64, a->r.owner_kind == OWNER_JOB ? "job" : "lease",
				       a->r.owner);
			if (a->r.owner_kind == OWNER_JOB)
				(void)snprintf(effect, sizeof effect, "loses %u; requeued without the node after lost_after", hit);
			else
				(void)snprintf(effect, sizeof effect, "loses %u; replaced first from spare and loans", hit);
			deficit_row(v, who, "replace_broken", effect);
		}
	}
	if (short_by <= 0)
		return;
	if (step == DEFICIT_STOP_LOANS)
		deficit_row(v, s->flavor, "stop_new_loans", "no new loans while somebody entitled lacks devices");
	if (step == DEFICIT_RECALL_LOANS) {
		(void)snprintf(effect, sizeof effect, "loans are recalled for up to %" PRId64, short_by);
		deficit_row(v, s->flavor, "recall_loans", effect);
	}
	if (step == DEFICIT_SLOW_PUBLIC) {
		(void)snprintf(effect, sizeof effect, "the public side starts up to %" PRId64 " of its %" PRId64,
			       deficit_public_share(c, s->id, s->live - s->lost), deficit_public_share(c, s->id, INT64_MAX));
		deficit_row(v, s->flavor, "slow_public_starts", effect);
	}
	if (step == DEFICIT_LOAN_LEASES) {
		EACH(c, leases, lease_s, l)
			if (l->r.spec.flavor == s->id && l->r.spec.klass == LEASE_LOAN && l->units_held) {
				(void)snprintf(who, sizeof who, "lease-%" PRIu64, l->r.id);
				deficit_row(v, who, "loan_leases", "ends with its next recall");
			}
	}
}

/* In the declared order. Changes nothing. */
static void view_deficit_fill(const struct core *c, const struct query *q, struct view_deficit *v, struct arena *arena)
{
	v->items = arena_alloc(arena, LIST_ITEMS_MAX / 64 * sizeof *v->items);
	(void)tree_of(c, 1, SHAPE_GPU); /* what is promised is up to date */
	for (uint32_t o = c->cluster.deficit_order ? c->cluster.deficit_order : DEFICIT_ORDER_DEFAULT; o; o >>= 4)
		for (uint16_t f = 1; f <= FLAVORS_MAX; f++) {
			struct shortage s = {.id = f, .live = c->live[f], .promised = c->promised[f]};

			if (!flavor_of(c, f) || flavor_of(c, f)->retired || flavor_of(c, f)->unit == UNIT_CORE)
				continue;
			s.flavor = flavor_of(c, f)->name;
			EACH(c, nodes, node_s, n)
				if (q->name[0] && n->r.state == NODE_READY && node_named(&n->r, q->name))
					s.lost += popcount64(node_flavor_mask(n, f));
			deficit_step(c, q, &s, o & 15, v);
		}
}

static void key_text(const struct cred *cr, char out[48])
{
	static const char hex[] = "0123456789abcdef";

	if (cr->kind == CRED_UID) {
		(void)snprintf(out, 48, "uid %u", cr->uid);
		return;
	}
	for (int i = 0; i < 16; i++) {
		out[2 * i] = hex[cr->key[i] >> 4];
		out[2 * i + 1] = hex[cr->key[i] & 15];
	}
	out[32] = '\0';
}

/* Admins and auditors see all keys, everybody else those of his own. */
static void view_principals_fill(const struct core *c, int64_t t, uint32_t principal, struct view_principals *v,
				 struct arena *arena)
{
	const struct principal *who = core_principal(c, principal);
	bool all = who && (who->role == ROLE_ADMIN || who->role == ROLE_AUDITOR);

	v->items = arena_alloc(arena, c->creds.count * sizeof *v->items);
	EACH(c, creds, cred, cr) {
		const struct principal *p = core_principal(c, cr->principal);
		struct principal_view *pv = &v->items[v->items_n];

		if (!all && cr->principal != principal)
			continue;
		v->items_n++;
		if (p)
			pv->principal = *p;
		TEXT_SET(pv->role, role_name(pv->principal.role));
		pv->cred = cr->id;
		key_text(cr, pv->key);
		pv->revoked = cr->state == CRED_REVOKED || (cr->not_after_ms && cr->not_after_ms <= t);
		pv->created_ms = cr->created_ms;
		pv->not_after_ms = cr->not_after_ms;
	}
}

static void view_tokens_fill(const struct core *c, struct view_tokens *v, struct arena *arena)
{
	v->items = arena_alloc(arena, c->tokens.count * sizeof *v->items);
	EACH(c, tokens, token, tok) {
		struct token_view *tv = &v->items[v->items_n++];

		tv->token = *tok;
		memset(tv->token.hash, 0, sizeof tv->token.hash); /* nobody needs to see it */
		TEXT_SET(tv->role, role_name(tok->role));
	}
}

static void view_approvals_fill(const struct core *c, int64_t t, struct view_approvals *v, struct arena *arena)
{
	v->items = arena_alloc(arena, c->approvals.count * sizeof *v->items);
	EACH(c, approvals, approval_s, a) {
		struct approval_view *av = &v->items[v->items_n];
		const struct principal *p = core_principal(c, a->r.principal);

		if (a->r.expires_ms <= t)
			continue;
		v->items_n++;
		av->approval = a->r;
		TEXT_SET(av->command, command_name(a->r.cmd));
		TEXT_SET(av->who, p ? p->name : "-");
	}
}

int core_view(const struct core *c, int64_t t, uint32_t principal, const struct query *q, void *ret_view,
	      struct arena *arena, struct err *err)
{
	if (!c->have_cluster)
		return err_set(err, ERR_STATE, "the cluster is not initialised");
	opened_begin(c);
	switch ((enum query_type)q->type) {
#define FILL(type, call)                                                                           \
	{                                                                                          \
		struct type *v = ret_view;                                                         \
		memset(v, 0, sizeof *v);                                                           \
		call;                                                                              \
		return 0;                                                                          \
	}
	case QUERY_STATUS: FILL(view_status, (view_status_fill(c, t, v, arena), v->t_ms = t))
	case QUERY_JOBS: FILL(view_jobs, (order_wanted(c, q) ? sched_order(c, t) : (void)0, view_jobs_fill(c, principal, q, v, arena), v->t_ms = t))
	case QUERY_LEASES: FILL(view_leases, (view_leases_fill(c, t, principal, q, v, arena), v->t_ms = t))
	case QUERY_NODES: FILL(view_nodes, (view_nodes_fill(c, t, q, v, arena), v->t_ms = t))
	case QUERY_DIVISION: FILL(view_division, view_division_fill(c, v, arena))
	case QUERY_USAGE: FILL(view_usage, view_usage_fill(c, t, principal, q, v, arena))
	case QUERY_ENDPOINTS: FILL(view_endpoints, view_endpoints_fill(c, t, principal, q, v, arena))
	case QUERY_PRINCIPALS: FILL(view_principals, view_principals_fill(c, t, principal, v, arena))
	case QUERY_TOKENS: FILL(view_tokens, view_tokens_fill(c, v, arena))
	case QUERY_CLAIMS: FILL(view_claims, view_claims_fill(c, t, v, arena))
	case QUERY_APPROVALS: FILL(view_approvals, view_approvals_fill(c, t, v, arena))
	case QUERY_RESERVATIONS: FILL(view_reservations, (view_reservations_fill(c, t, q, v, arena), v->t_ms = t))
	case QUERY_SHARES: FILL(view_shares, (view_shares_fill(c, t, q, v, arena), v->t_ms = t))
	case QUERY_DEFICIT: FILL(view_deficit, view_deficit_fill(c, q, v, arena))
#undef FILL
	case QUERY_EXPLAIN: {
		struct view_explain *v = ret_view;

		memset(v, 0, sizeof *v);
		v->t_ms = t;
		sched_order(c, t);
		return view_explain_fill(c, t, q, v, arena, err);
	}
	case QUERY_NONE:
	case QUERY_LOG:
	case QUERY_PAYLOAD:
	case QUERY_BACKUP:
	case QUERY_OUTPUT:
	case QUERY_VERIFY:
	case QUERY_EXEC:
	case QUERY_SIGNAL:
	case QUERY_EVENTS: break;
	}
	return err_set(err, ERR_UNSUPPORTED, "the state alone cannot answer question %u", q->type);
}
