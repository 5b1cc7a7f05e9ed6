/* division.c - the contract: flavors and the quota tree, applied as one command, all or nothing
 *
 * Identity is the path: what keeps its path keeps its id, its usage and what its stages have spent.
 * What is gone from the file is retired: nothing new starts there, nothing running is touched.
 *
 * A window of a borrowing limit comes as the UTC spans it stands for. Which windows are open is a field of the record,
 * written here and by the tick at each edge, never a question to the clock: so it replays, and the trees follow from
 * records alone. A window that closes stops nobody; nothing more is admitted above what holds then.
 *
 * Σ nominal <= committed is checked here, when quotas are set; from then on a request within quota can
 * always be met, at once from free devices or within recall_slo by recalling loans.
 */
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const int64_t AMOUNT_MAX_RUMS = INT64_C(1) << 60;

static bool name_ok(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
		      strchr("-_.", *s)))
			return false;
	return true;
}

static bool may_have_parent(uint8_t kind, uint8_t parent)
{
	switch ((enum qnode_kind)kind) {
	case QNODE_ROOT: return false;
	case QNODE_PUBLIC:
	case QNODE_PRIVATE: return parent == QNODE_ROOT;
	case QNODE_SECTOR: return parent == QNODE_PUBLIC;
	case QNODE_CHALLENGE: return parent == QNODE_SECTOR;
	case QNODE_PROJECT: return parent == QNODE_CHALLENGE || parent == QNODE_SECTOR;
	case QNODE_CLASS: return parent == QNODE_PRIVATE;
	case QNODE_PROVIDER: return parent == QNODE_CLASS || parent == QNODE_PRIVATE;
	}
	return false;
}

static int windows_check(const struct qnode *q, uint16_t flavors_n, struct err *err)
{
	if (q->windows_n > QUOTA_WINDOWS_MAX || q->window_limits_n > WINDOW_LIMITS_MAX || q->window_spans_n > WINDOW_SPANS_MAX)
		return err_set(err, ERR_RANGE, "'%s' has more than %d windows", q->name, QUOTA_WINDOWS_MAX);
	for (uint32_t i = 0; i < q->window_limits_n; i++) {
		const struct window_limit *l = &q->window_limits[i];

		if (l->window >= q->windows_n || !l->flavor || l->flavor > flavors_n || l->shape >= SHAPE_COUNT ||
		    l->borrowing < 0)
			return err_set(err, ERR_INVAL, "'%s' has a window's limit of an unknown flavor or below zero", q->name);
	}
	for (uint32_t i = 0; i < q->window_spans_n; i++) {
		const struct window_span *s = &q->window_spans[i], *before = i ? s - 1 : NULL;

		if (s->window >= q->windows_n || s->from_ms < 0 || s->to_ms <= s->from_ms ||
		    (before && (s->window < before->window ||
				(s->window == before->window && s->from_ms < before->to_ms))))
			return err_set(err, ERR_INVAL, "the windows of '%s' run into each other", q->name);
	}
	return 0;
}

static int tree_check(const struct cmd_division_apply *a, struct err *err)
{
	uint32_t windows = 0;

	if (!a->qnodes_n || a->qnodes_n > QNODES_MAX || !a->flavors_n || a->flavors_n > FLAVORS_MAX)
		return err_set(err, ERR_RANGE, "a division has 1 to %d flavors and 1 to %d tree nodes", FLAVORS_MAX,
			       QNODES_MAX);
	if (a->qnodes[0].kind != QNODE_ROOT || a->qnodes[0].parent)
		return err_set(err, ERR_INVAL, "the first tree node must be the root");
	for (uint32_t i = 0; i < a->qnodes_n; i++) {
		const struct qnode *q = &a->qnodes[i];
		uint32_t depth = 0;
		int rc = windows_check(q, (uint16_t)a->flavors_n, err);

		if (rc)
			return rc;
		windows += q->windows_n;
		if (windows > DIVISION_WINDOWS_MAX)
			return err_set(err, ERR_RANGE, "a division has at most %d windows", DIVISION_WINDOWS_MAX);

		if (!name_ok(q->name))
			return err_set(err, ERR_INVAL, "'%s' is no name: letters, digits, '-', '_' and '.'", q->name);
		if (i && (!q->parent || q->parent > i || !may_have_parent(q->kind, a->qnodes[q->parent - 1].kind)))
			return err_set(err, ERR_INVAL, "'%s' stands in the wrong place of the tree", q->name);
		for (uint32_t p = i; p; p = a->qnodes[p].parent - 1)
			depth++;
		if (depth > QNODE_DEPTH_MAX)
			return err_set(err, ERR_RANGE, "the tree is deeper than %d", QNODE_DEPTH_MAX);
		for (uint32_t k = 0; k < i; k++)
			if (a->qnodes[k].parent == q->parent && !strcmp(a->qnodes[k].name, q->name))
				return err_set(err, ERR_EXISTS, "'%s' stands twice under the same parent", q->name);
		if (q->recall_slo_ms < 0 || q->recall_slo_ms > SPAN_MAX_MS || q->time_ms_max < 0 || q->term_ms_max < 0)
			return err_set(err, ERR_RANGE, "a time of '%s' is below zero or beyond all bounds", q->name);
		if (q->concentration_cap_ppm > 1000000)
			return err_set(err, ERR_RANGE, "the concentration cap of '%s' is more than all", q->name);
		for (uint32_t k = 0; k < q->stages_n; k++)
			if (q->stages[k].amount_rums < 0 || q->stages[k].amount_rums > AMOUNT_MAX_RUMS)
				return err_set(err, ERR_RANGE, "stage '%s' of '%s' has an amount below zero or beyond all bounds",
					       q->stages[k].name, q->name);
		for (uint32_t k = 0; k < q->quotas_n; k++) {
			const struct quota *u = &q->quotas[k];

			if (!u->flavor || u->flavor > a->flavors_n || u->shape >= SHAPE_COUNT || u->nominal < 0 ||
			    u->borrowing < 0 || u->lending < 0)
				return err_set(err, ERR_INVAL, "'%s' has a quota of an unknown flavor or below zero",
					       q->name);
		}
	}
	return 0;
}

static int sums_check(const struct cmd_division_apply *a, struct err *err)
{
	for (uint32_t f = 0; f < a->flavors_n; f++) {
		const struct flavor *fl = &a->flavors[f];
		int64_t nodes = 0, units = 0, promised, committed;

		if (!name_ok(fl->name))
			return err_set(err, ERR_INVAL, "'%s' is no name for a flavor", fl->name);
		for (uint32_t k = 0; k < f; k++)
			if (!strcmp(a->flavors[k].name, fl->name))
				return err_set(err, ERR_EXISTS, "flavor '%s' stands twice", fl->name);
		if (!fl->devices_per_node || !fl->weight_milli)
			return err_set(err, ERR_INVAL, "flavor %s needs devices_per_node and weight", fl->name);
		for (uint32_t i = 0; i < a->qnodes_n; i++)
			for (uint32_t k = 0; k < a->qnodes[i].quotas_n; k++) {
				const struct quota *u = &a->qnodes[i].quotas[k];
				int64_t *sum = u->shape == SHAPE_NODE ? &nodes : &units;

				if (u->flavor == f + 1 && __builtin_add_overflow(*sum, u->nominal, sum))
					return err_set(err, ERR_RANGE, "the nominals of %s overflow", fl->name);
			}
		committed = (int64_t)fl->committed_nodes * fl->devices_per_node + fl->committed_units;
		if (__builtin_mul_overflow(nodes, (int64_t)fl->devices_per_node, &promised) ||
		    __builtin_add_overflow(promised, units, &promised))
			return err_set(err, ERR_RANGE, "the nominals of %s overflow", fl->name);
		if (nodes > (int64_t)fl->committed_nodes || promised > committed) {
			err_set(err, ERR_QUOTA, "%" PRId64 " whole nodes and %" PRId64
				" single devices of %s are promised; committed are %u nodes and %u devices",
				nodes, units, fl->name, fl->committed_nodes, fl->committed_units);
			return err_hint(err, "raise committed, or lower a nominal");
		}
	}
	return 0;
}

static int flavors_apply(const struct core *c, struct decision *d, const struct cmd_division_apply *a,
			 uint16_t *ret_id, struct err *err)
{
	struct cluster *cl = edit_cluster(c, d);

	for (uint32_t f = 0; f < a->flavors_n; f++) {
		struct flavor *e;

		ret_id[f] = 0;
		for (uint16_t id = 1; id <= FLAVORS_MAX; id++)
			if (flavor_of(c, id) && !strcmp(flavor_of(c, id)->name, a->flavors[f].name))
				ret_id[f] = id;
		if (!ret_id[f]) {
			if (cl->next_flavor > FLAVORS_MAX)
				return err_set(err, ERR_NOROOM, "more than %d flavors were ever used", FLAVORS_MAX);
			ret_id[f] = cl->next_flavor++;
		}
		e = create(d, RECORD_FLAVOR, ret_id[f]);
		*e = a->flavors[f];
		e->id = ret_id[f];
		e->deficit = 0; /* looked at anew */
		e->deficit_since_ms = 0;
		e->deficit_hits[0] = '\0';
		e->retired = false;
	}
	for (uint16_t id = 1; id <= FLAVORS_MAX; id++)
		if (flavor_of(c, id) && !flavor_of(c, id)->retired) {
			bool kept = false;

			for (uint32_t f = 0; f < a->flavors_n; f++)
				kept |= ret_id[f] == id;
			if (!kept)
				EDIT(c, d, RECORD_FLAVOR, flavor, id)->retired = true;
		}
	return 0;
}

static uint32_t child_named(const struct core *c, uint32_t parent, const char *name)
{
	EACH(c, qnodes, qnode_s, q)
		if (q->r.parent == parent && q->r.kind != QNODE_ROOT && !strcmp(q->r.name, name))
			return q->r.id;
	return 0;
}

/* ---- windows ------------------------------------------------------------------------------------------- */

int64_t qnode_due(const struct qnode *q)
{
	int64_t due = T_NEVER;

	for (uint32_t i = 0; !q->retired && i < q->window_spans_n; i++) {
		const struct window_span *s = &q->window_spans[i];

		if (i && s[-1].window == s->window)
			continue; /* the first of each that has not passed */
		due = min64(due, q->windows_open >> s->window & 1 ? s->to_ms : s->from_ms);
	}
	return due;
}

/* Drop what has passed at `t`; say what is open. The list is a new one. */
static void windows_at(struct decision *d, struct qnode *q, int64_t t)
{
	struct window_span *left = arena_alloc(&d->arena, (q->window_spans_n + 1) * sizeof *left);
	uint32_t n = 0;

	q->windows_open = 0;
	for (uint32_t i = 0; i < q->window_spans_n; i++) {
		const struct window_span *s = &q->window_spans[i];

		if (s->to_ms <= t)
			continue;
		left[n++] = *s;
		if (s->from_ms <= t)
			q->windows_open |= UINT32_C(1) << s->window;
	}
	q->window_spans = left;
	q->window_spans_n = n;
}

bool tick_qnode_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id)
{
	windows_at(d, EDIT(c, d, RECORD_QNODE, qnode, id), t);
	return true;
}

bool windows_raise_text(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape, int64_t units,
			char out[TEXT_BYTES])
{
	const struct quota_tree *t = tree_of(c, flavor, shape);
	const struct window_span *first = NULL;
	const struct qnode *q;
	int64_t raised = 0;
	uint32_t at = 0;
	char when[24];

	if (!t || quota_fits(t, qnode_of(c, leaf)->at, units, &at) || !at)
		return false;
	q = core_qnode(c, c->tree_id[at]);
	for (uint32_t i = 0; i < q->window_limits_n; i++) {
		const struct window_limit *l = &q->window_limits[i];
		const struct window_span *s = q->window_spans, *end = s + q->window_spans_n;

		if (l->flavor != flavor || l->shape != shape || q->windows_open >> l->window & 1 ||
		    l->borrowing <= t->cell[at].borrowing)
			continue;
		while (s < end && s->window != l->window)
			s++;
		if (s < end && (!first || s->from_ms < first->from_ms)) {
			first = s;
			raised = l->borrowing;
		}
	}
	if (!first)
		return false;
	(void)snprintf(out, TEXT_BYTES, "%.32s borrows at most %" PRId64 " now, %" PRId64 " from %s on", q->name,
		       t->cell[at].borrowing, raised, utc_text(first->from_ms, when));
	return true;
}

/* Running jobs name the stage they draw on by its place: it must not be taken from under them. */
static int stages_check(const struct qnode *old, const struct qnode *q, struct err *err)
{
	for (uint32_t k = 0; old && k < old->stages_n; k++)
		if (old->stages[k].held_rums && (k >= q->stages_n || strcmp(q->stages[k].name, old->stages[k].name) != 0)) {
			err_set(err, ERR_CONFLICT, "running jobs draw on stage '%s' of %s", old->stages[k].name, q->name);
			return err_hint(err, "leave it at place %u of the grant until they have ended", k + 1);
		}
	return 0;
}

static void stages_keep(const struct qnode *old, struct qnode *q)
{
	for (uint32_t i = 0; i < q->stages_n; i++) {
		struct stage *s = &q->stages[i];

		s->held_rums = s->spent_rums = 0;
		for (uint32_t k = 0; old && k < old->stages_n; k++)
			if (!strcmp(old->stages[k].name, s->name)) {
				s->held_rums = old->stages[k].held_rums;
				s->spent_rums = old->stages[k].spent_rums;
				s->state = old->stages[k].state;
			}
	}
}

static int defaults_check(const struct division_defaults *f, struct err *err)
{
	const int64_t span[] = {f->job_time_ms, f->job_notice_ms, f->lease_ttl_ms, f->lease_grace_ms, f->lease_term_ms};

	for (size_t i = 0; i < ARRAY_LEN(span); i++)
		if (span[i] < 0 || span[i] > SPAN_MAX_MS)
			return err_set(err, ERR_RANGE, "a default of the division is negative or far too long");
	return 0;
}

static int apply_division(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	const struct cmd_division_apply *a = &cmd->division_apply;
	uint16_t flavor_id[FLAVORS_MAX];
	struct cluster *cl;
	uint32_t *id;
	int rc;

	if (a->expect_version && a->expect_version != c->cluster.division_version) {
		err_set(err, ERR_VERSION_MOVED, "the division is at version %" PRIu64 ", the file was written against %" PRIu64,
			c->cluster.division_version, a->expect_version);
		return err_hint(err, "sluisctl division diff -f FILE, then set version: %" PRIu64 " in it",
				c->cluster.division_version);
	}
	rc = defaults_check(&a->defaults, err);
	if (!rc)
		rc = tree_check(a, err);
	if (!rc)
		rc = sums_check(a, err);
	if (!rc)
		rc = flavors_apply(c, d, a, flavor_id, err);
	if (rc)
		return rc;
	cl = edit_cluster(c, d);
	id = arena_alloc(&d->arena, a->qnodes_n * sizeof *id);
	for (uint32_t i = 0; i < a->qnodes_n; i++) {
		const struct qnode *in = &a->qnodes[i], *old;
		uint32_t parent = i ? id[in->parent - 1] : 0;
		struct qnode *q;

		id[i] = i ? child_named(c, parent, in->name) : core_qnode(c, 1) ? 1 : 0;
		old = id[i] ? core_qnode(c, id[i]) : NULL;
		rc = stages_check(old, in, err);
		if (rc)
			return rc;
		if (!old)
			id[i] = cl->next_qnode++;
		q = create(d, RECORD_QNODE, id[i]);
		*q = *in;
		q->id = id[i];
		q->parent = i ? parent : id[i];
		q->retired = false;
		q->frozen = old && old->frozen;
		if (!q->weight)
			q->weight = 1;
		q->quotas = arena_copy(&d->arena, in->quotas, in->quotas_n * sizeof *in->quotas);
		for (uint32_t k = 0; k < q->quotas_n; k++)
			q->quotas[k].flavor = flavor_id[in->quotas[k].flavor - 1];
		q->window_limits = arena_copy(&d->arena, in->window_limits, in->window_limits_n * sizeof *in->window_limits);
		for (uint32_t k = 0; k < q->window_limits_n; k++)
			q->window_limits[k].flavor = flavor_id[in->window_limits[k].flavor - 1];
		windows_at(d, q, t);
		q->stages = arena_copy(&d->arena, in->stages, in->stages_n * sizeof *in->stages);
		stages_keep(old, q);
	}
	EACH(c, qnodes, qnode_s, q) {
		bool kept = false;

		for (uint32_t i = 0; i < a->qnodes_n; i++)
			kept |= id[i] == q->r.id;
		if (!kept && !q->r.retired)
			EDIT(c, d, RECORD_QNODE, qnode, q->r.id)->retired = true;
	}
	EACH(c, nodes, node_s, n) {
		struct node *e = EDIT(c, d, RECORD_NODE, node, n->r.id);

		flavors_match(c, d, e);
	}
	cl->division_version++;
	memcpy(cl->division_payload, a->payload, sizeof cl->division_payload);
	cl->defaults = a->defaults;
	cl->deficit_order = a->deficit_order;
	cl->lend_risk_ppm = a->lend_risk_ppm;
	d->result.version = cl->division_version;
	d->result.id = cl->division_version;
	return 0;
}

static int set_stage(const struct core *c, const struct command *cmd, struct decision *d, struct err *err)
{
	const struct cmd_stage_set *s = &cmd->stage_set;
	struct qnode *q;
	uint32_t id;
	int rc = core_qnode_find(c, s->project, &id, err);

	if (rc)
		return rc;
	if (s->state > STAGE_LAPSED)
		return err_set(err, ERR_INVAL, "unknown state of a stage");
	q = EDIT(c, d, RECORD_QNODE, qnode, id);
	for (uint32_t i = 0; i < q->stages_n; i++)
		if (!strcmp(q->stages[i].name, s->stage)) {
			q->stages[i].state = s->state;
			d->result.id = id;
			return 0;
		}
	err_set(err, ERR_NOTFOUND, "%s has no stage '%s'", q->name, s->stage);
	return err_hint(err, "sluisctl project show %s", q->name);
}

int decide_division(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	return cmd->type == CMD_DIVISION_APPLY ? apply_division(c, t, cmd, d, err) : set_stage(c, cmd, d, err);
}
