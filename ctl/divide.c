/* divide.c - see divide.h */
#include "ctl/divide.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctl/zone.h"
#include "proto/base/ensure.h"
#include "proto/config/units.h"
#include "proto/model/names.h"

static const char *textf(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3);
static const char *textf(struct arena *arena, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return arena_copy(arena, text, strlen(text) + 1);
}

/* ---- file to command ------------------------------------------------------------------------- */

static int copy_name(char *to, size_t size, const char *from, const char *what, struct err *err)
{
	if (!from)
		return 0;
	if (strlen(from) >= size) {
		(void)err_set(err, ERR_RANGE, "%s '%.80s' is too long", what, from);
		return err_hint(err, "at most %zu bytes", size - 1);
	}
	memcpy(to, from, strlen(from) + 1);
	return 0;
}

static uint32_t u32(int64_t v) { return v < 0 ? 0 : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v; }
static int64_t zero_up(int64_t v) { return v > 0 ? v : 0; }

static int flavor_of_file(const struct division_flavor *f, struct flavor *to, struct err *err)
{
	int r = copy_name(to->name, sizeof to->name, f->head.name, "flavor", err);

	if (!r)
		r = copy_name(to->vendor, sizeof to->vendor, f->vendor, "vendor", err);
	if (!r)
		r = copy_name(to->model, sizeof to->model, f->model, "model", err);
	if (!r)
		r = copy_name(to->mig, sizeof to->mig, f->mig, "mig", err);
	to->unit = f->unit == DIVISION_UNIT_CORE ? UNIT_CORE : UNIT_DEVICE;
	/* "80GiB" on the box is 79.6 on the device: what the firmware keeps is no other flavor */
	to->memory_mib_min = u32(f->memory_mib / 10 * 9);
	to->weight_milli = u32(f->weight_milli);
	to->devices_per_node = u32(f->devices_per_node);
	to->scrub_ms_max = u32(f->scrub_max_ms);
	to->power_w = u32(f->power_w);
	to->headroom = u32(f->headroom);
	to->committed_nodes = u32(f->committed.nodes);
	to->committed_units = u32(f->unit == DIVISION_UNIT_CORE ? f->committed.cores : f->committed.gpus);
	return r;
}

static uint8_t kind_of_file(int kind)
{
	static const uint8_t kinds[] = {
		[DIVISION_ROOT] = QNODE_ROOT,           [DIVISION_PUBLIC] = QNODE_PUBLIC,
		[DIVISION_PRIVATE] = QNODE_PRIVATE,     [DIVISION_SECTOR] = QNODE_SECTOR,
		[DIVISION_CHALLENGE] = QNODE_CHALLENGE, [DIVISION_PROJECT] = QNODE_PROJECT,
		[DIVISION_CLASS] = QNODE_CLASS,         [DIVISION_PROVIDER] = QNODE_PROVIDER,
	};

	return kinds[kind];
}

static int64_t of_shape(const struct division_amount *a, bool cores, uint8_t shape)
{
	return shape == SHAPE_NODE ? a->nodes : cores ? a->cores : a->gpus;
}

static int64_t limit(int64_t v) { return v == DIVISION_UNSET ? QTY_UNLIMITED : v; }

static void quotas_of_file(const struct division *d, const struct division_node *n, struct arena *arena, struct qnode *q)
{
	q->quotas = arena_alloc(arena, (size_t)QUOTAS_PER_QNODE_MAX * sizeof *q->quotas);
	for (size_t f = 0; f < d->flavors.count; f++)
		for (uint8_t shape = 0; shape < SHAPE_COUNT; shape++) {
			bool cores = d->flavors.items[f].unit == DIVISION_UNIT_CORE;
			int64_t own = of_shape(&n->own[f], cores, shape);
			int64_t borrowing = of_shape(&n->borrowing[f], cores, shape);
			int64_t lending = of_shape(&n->lending[f], cores, shape);

			if (own <= 0 && borrowing == DIVISION_UNSET && lending == DIVISION_UNSET &&
			    zero_up(of_shape(&n->nominal[f], cores, shape)) == 0)
				continue;
			q->quotas[q->quotas_n++] = (struct quota){.flavor = (uint16_t)(f + 1), .shape = shape,
								  .nominal = zero_up(own), .borrowing = limit(borrowing),
								  .lending = limit(lending)};
		}
}

static int stages_of_file(const struct division_node *n, struct arena *arena, struct qnode *q, struct err *err)
{
	const struct division_stage *stages = n->grant.stages.items;

	if (n->grant.stages.count > STAGES_PER_GRANT_MAX) {
		(void)err_set(err, ERR_RANGE, "%s has %zu stages", n->name, n->grant.stages.count);
		return err_hint(err, "at most %d", STAGES_PER_GRANT_MAX);
	}
	q->stages = arena_alloc(arena, (n->grant.stages.count + 1) * sizeof *q->stages);
	for (size_t i = 0; i < n->grant.stages.count; i++) {
		struct stage *s = &q->stages[q->stages_n++];
		int r = copy_name(s->name, sizeof s->name, stages[i].name, "stage", err);

		if (r)
			return r;
		s->state = stages[i].after ? STAGE_LOCKED : STAGE_RELEASED;
		s->amount_rums = stages[i].amount_mrus; /* a milli-unit for a second is a unit for a millisecond */
		s->from_ms = stages[i].from_ms;
		s->to_ms = stages[i].to_ms;
	}
	return 0;
}

static const struct division_predicate *predicate_named(const struct division *d, const char *name)
{
	for (size_t i = 0; i < d->predicates.count; i++)
		if (!strcmp(d->predicates.items[i].name, name))
			return &d->predicates.items[i];
	return NULL;
}

static int requires_of_file(const struct division *d, const struct division_node *n, struct arena *arena,
			    struct qnode *q, struct err *err)
{
	q->requires = arena_alloc(arena, REQUIRES_MAX * sizeof *q->requires);
	for (size_t i = 0; i < n->require.count; i++) {
		const struct division_predicate *p = predicate_named(d, n->require.items[i]);

		ENSURE(p); /* the reader has checked it */
		for (size_t k = 0; k < p->claims_count; k++) {
			const struct division_claim *c = &p->claims[k];
			struct require *to = &q->requires[q->requires_n];
			int r;

			if (c->values.count != 1) {
				(void)err_set(err, ERR_UNSUPPORTED, "%s requires '%s': one of several values of %s cannot be enforced",
					      n->name, p->name, c->key);
				return err_hint(err, "one value: %s: [%s]; or a label of its own for the nodes that fit", c->key,
						c->values.count ? c->values.items[0] : "NL");
			}
			if (q->requires_n == REQUIRES_MAX) {
				(void)err_set(err, ERR_RANGE, "%s requires more than %d things", n->name, REQUIRES_MAX);
				return err_hint(err, "at most %d", REQUIRES_MAX);
			}
			r = copy_name(to->key, sizeof to->key, c->key, "label", err);
			if (!r)
				r = copy_name(to->value, sizeof to->value, c->values.items[0], "value", err);
			if (r)
				return r;
			q->requires_n++;
		}
	}
	return 0;
}

static int node_of_file(const struct division *d, size_t at, struct arena *arena, struct qnode *q, struct err *err)
{
	const struct division_node *n = &d->nodes[at];
	int r = copy_name(q->name, sizeof q->name, at ? n->name : "root", "name", err);

	if (!r)
		r = copy_name(q->pi, sizeof q->pi, n->pi, "pi", err);
	if (!r)
		r = copy_name(q->tenant, sizeof q->tenant, n->tenant, "tenant", err);
	if (r)
		return r;
	q->parent = at ? n->parent + 1 : 0;
	q->kind = kind_of_file(n->kind);
	q->weight = u32(n->weight);
	q->recall_slo_ms = n->recall_slo_ms;
	q->running_jobs_max = u32(n->limits.running_jobs);
	q->pending_jobs_max = u32(n->limits.pending_jobs);
	q->time_ms_max = n->limits.time_max_ms;
	q->leases_max = u32(n->limits.leases);
	q->term_ms_max = n->limits.term_max_ms;
	q->concentration_cap_ppm = u32(n->concentration_cap_ppm);
	if (n->members.count > MEMBERS_PER_QNODE_MAX) {
		(void)err_set(err, ERR_RANGE, "%s has %zu members", n->name, n->members.count);
		return err_hint(err, "at most %d", MEMBERS_PER_QNODE_MAX);
	}
	q->members = arena_alloc(arena, (n->members.count + 1) * sizeof *q->members);
	for (size_t i = 0; i < n->members.count && !r; i++, q->members_n++)
		r = copy_name(q->members[i].name, sizeof q->members[i].name, n->members.items[i], "member", err);
	quotas_of_file(d, n, arena, q);
	if (!r)
		r = stages_of_file(n, arena, q, err);
	return r ? r : requires_of_file(d, n, arena, q, err);
}

int divide_command(const struct division *d, struct arena *arena, struct cmd_division_apply *ret, struct err *err)
{
	struct cmd_division_apply a = {
		.expect_version = (uint64_t)zero_up(d->version),
		.defaults = {zero_up(d->defaults.job_time_ms), zero_up(d->defaults.job_notice_ms),
			     zero_up(d->defaults.lease_ttl_ms), zero_up(d->defaults.lease_grace_ms),
			     zero_up(d->defaults.lease_term_ms)},
	};

	a.lend_risk_ppm = u32(d->lend_risk_ppm);
	for (size_t i = d->deficit_order.count; i-- > 0;) /* the file was checked: at most all of them, once each */
		a.deficit_order = a.deficit_order << 4 | (uint32_t)division_deficit_step(d->deficit_order.items[i]);

	if (d->flavors.count > FLAVORS_MAX || d->nodes_count > QNODES_MAX) {
		(void)err_set(err, ERR_RANGE, "%zu flavors and %zu tree nodes", d->flavors.count, d->nodes_count);
		return err_hint(err, "at most %d and %d", FLAVORS_MAX, QNODES_MAX);
	}
	a.flavors = arena_alloc(arena, (d->flavors.count + 1) * sizeof *a.flavors);
	a.qnodes = arena_alloc(arena, (d->nodes_count + 1) * sizeof *a.qnodes);
	for (; a.flavors_n < d->flavors.count; a.flavors_n++) {
		int r = flavor_of_file(&d->flavors.items[a.flavors_n], &a.flavors[a.flavors_n], err);

		if (r)
			return r;
	}
	for (; a.qnodes_n < d->nodes_count; a.qnodes_n++) {
		int r = node_of_file(d, a.qnodes_n, arena, &a.qnodes[a.qnodes_n], err);

		if (r)
			return r;
	}
	*ret = a;
	return 0;
}

/* ---- windows --------------------------------------------------------------------------------- */

/* The day that a clock shows whose seconds since 1970-01-01 are `s`, and its day of the week, 0 Sunday. */
static int64_t day_of(int64_t s) { return s / (24 * 3600); }
static int weekday(int64_t day) { return (int)((day + 4) % 7); }

static bool day_wanted(int every, int64_t day)
{
	bool weekend = weekday(day) == 0 || weekday(day) == 6;

	return every == EVERY_DAY || weekend == (every == EVERY_WEEKEND);
}

/* One edge of a window on `day`; what the clock does then is told once for each such day. */
static int64_t edge_ms(int64_t day, int64_t min, bool last, const char *who, const char *zone, struct buf *notes)
{
	int64_t s = 0, clock_s = day * 24 * 3600 + min * 60;
	enum zone_fit fit = zone_instant(clock_s, last, &s);
	char at[UNITS_TEXT_BYTES], is[UNITS_TEXT_BYTES];

	if (fit != ZONE_ONCE) {
		char *z;

		units_instant_print(at, clock_s * 1000); /* as the clock shows it: without the Z of UTC */
		units_instant_print(is, s * 1000);
		z = strrchr(at, 'Z');
		if (z)
			*z = '\0';
		buf_addf(notes, "windows of %s: the clock of %s %s %s: %s counts\n", who, zone,
			 fit == ZONE_NEVER ? "skips" : "shows twice", at, is);
	}
	return s * 1000;
}

static void spans_of_window(const struct division_node *n, const struct division_window *w, const char *zone, int64_t now_ms,
			    uint8_t at, struct qnode *q, struct buf *notes)
{
	struct zone_was was;
	int64_t today;

	zone_enter(zone, &was);
	today = day_of(now_ms / 1000 + zone_offset_s(now_ms / 1000));
	for (int64_t day = today; day <= today + WINDOW_DAYS_AHEAD; day++) {
		struct window_span s = {.window = at};

		if (!day_wanted(w->every, day))
			continue;
		s.from_ms = edge_ms(day, w->from_min, false, n->name, zone, notes);
		s.to_ms = edge_ms(day, w->to_min, true, n->name, zone, notes);
		if (s.to_ms <= now_ms || s.to_ms <= s.from_ms) /* over, or all of it skipped */
			continue;
		ENSURE(q->window_spans_n < WINDOW_SPANS_MAX);
		q->window_spans[q->window_spans_n++] = s;
	}
	zone_leave(&was);
}

static void limits_of_window(const struct division *d, const struct division_node *n, const struct division_window *w,
			     uint8_t at, struct qnode *q, struct buf *notes)
{
	for (size_t f = 0; f < d->flavors.count; f++)
		for (uint8_t shape = 0; shape < SHAPE_COUNT; shape++) {
			bool cores = d->flavors.items[f].unit == DIVISION_UNIT_CORE;
			int64_t v = of_shape(&w->borrowing[f], cores, shape);

			if (v == DIVISION_UNSET)
				continue;
			q->window_limits[q->window_limits_n++] = (struct window_limit){
				.window = at, .flavor = (uint16_t)(f + 1), .shape = shape, .borrowing = v};
			if (of_shape(&n->borrowing[f], cores, shape) == DIVISION_UNSET)
				buf_addf(notes, "line %u: %s borrows %s of %s without limit outside this window: its "
						"borrowing_limit says nothing of them\n", w->head.line, n->name,
					 shape == SHAPE_NODE ? "nodes" : cores ? "cores" : "gpus",
					 d->flavors.items[f].head.name);
		}
}

int divide_windows(const struct division *d, int64_t now_ms, struct arena *arena, struct cmd_division_apply *a,
		   struct buf *notes, struct err *err)
{
	for (size_t i = 0; i < d->nodes_count; i++) {
		const struct division_node *n = &d->nodes[i];
		const struct division_window *windows = n->windows.items;
		struct qnode *q = &a->qnodes[i];

		if (!n->windows.count)
			continue;
		ENSURE(n->windows.count <= QUOTA_WINDOWS_MAX); /* the reader has checked it */
		q->windows = arena_alloc(arena, n->windows.count * sizeof *q->windows);
		q->window_limits = arena_alloc(arena, (size_t)WINDOW_LIMITS_MAX * sizeof *q->window_limits);
		q->window_spans = arena_alloc(arena, n->windows.count * (WINDOW_DAYS_AHEAD + 1) * sizeof *q->window_spans);
		for (; q->windows_n < n->windows.count; q->windows_n++) {
			const struct division_window *w = &windows[q->windows_n];
			const char *zone = w->zone ? w->zone : "UTC";
			struct quota_window *to = &q->windows[q->windows_n];

			if (!zone_known(zone)) {
				(void)err_set(err, ERR_NOTFOUND, "line %u: this machine knows no time zone '%.60s'",
					      w->head.line, zone);
				return err_hint(err, "as in Europe/Amsterdam; their rules come with the package tzdata");
			}
			to->days = (uint8_t)w->every; /* the same order */
			to->from_min = (uint16_t)w->from_min;
			to->to_min = (uint16_t)w->to_min;
			zone_name(zone, to->zone);
			limits_of_window(d, n, w, (uint8_t)q->windows_n, q, notes);
			spans_of_window(n, w, zone, now_ms, (uint8_t)q->windows_n, q, notes);
		}
	}
	return 0;
}

const char *divide_window_text(struct arena *arena, const struct qnode *q, uint32_t window,
			       const char *(*flavor)(const void *, uint16_t), const void *ctx)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	const struct quota_window *w = &q->windows[window];

	buf_addf(&b, "%s %02u:%02u-%02u:%02u %s", window_days_name(w->days), w->from_min / 60U, w->from_min % 60U,
		 w->to_min / 60U, w->to_min % 60U, w->zone);
	if (strstr(buf_cstr(&b), " tzdata "))
		b.len = (size_t)(strstr(buf_cstr(&b), " tzdata ") - buf_cstr(&b));
	for (uint32_t i = 0; i < q->window_limits_n; i++) {
		const struct window_limit *l = &q->window_limits[i];

		if (l->window == window)
			buf_addf(&b, ", %" PRId64 "%s %s", l->borrowing, l->shape != SHAPE_NODE ? "" : l->borrowing == 1 ? " node" : " nodes",
				 flavor(ctx, l->flavor));
	}
	return arena_copy(arena, buf_cstr(&b), b.len + 1);
}

void divide_notes(const struct division *d, struct buf *out)
{
	for (size_t i = 0; i < d->nodes_count; i++) {
		const struct division_node *n = &d->nodes[i];

		if (n->grant.approve_k > 1)
			buf_addf(out, "line %u: one gatekeeper releases stages of %s; approve.k is kept in the file\n", n->line,
				 n->name);
	}
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static void fill_qty(struct snap_node *n, uint32_t flavor, const struct quota *u)
{
	struct snap_qty *q = &n->qty[flavor][u->shape];

	q->nominal = u->nominal;
	q->borrowing = u->borrowing;
	q->lending = u->lending;
}

static void fill_empty(struct snap_node *n)
{
	for (int f = 0; f < FLAVORS_MAX; f++)
		for (int s = 0; s < SHAPE_COUNT; s++)
			n->qty[f][s] = (struct snap_qty){.borrowing = QTY_UNLIMITED, .lending = QTY_UNLIMITED};
}

/* From own parts to totals: children stand behind their parents. */
static void add_up(struct snapshot *s)
{
	for (uint32_t i = s->nodes_n; i-- > 1;)
		for (int f = 0; f < FLAVORS_MAX; f++)
			for (int sh = 0; sh < SHAPE_COUNT; sh++)
				s->nodes[s->nodes[i].parent].qty[f][sh].nominal += s->nodes[i].qty[f][sh].nominal;
}

struct flavor_names { const struct flavor *flavors; uint32_t n; bool by_id; };

static const char *flavor_named(const void *ctx, uint16_t flavor)
{
	const struct flavor_names *s = ctx;

	for (uint32_t i = 0; i < s->n; i++)
		if (s->by_id ? s->flavors[i].id == flavor : i + 1 == flavor)
			return s->flavors[i].name;
	return "?";
}

static const char *windows_text(struct arena *arena, const struct qnode *q, const struct flavor_names *names)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	for (uint32_t i = 0; i < q->windows_n; i++)
		buf_addf(&b, "%s%s", i ? "; " : "", divide_window_text(arena, q, i, flavor_named, names));
	return b.len ? arena_copy(arena, buf_cstr(&b), b.len + 1) : "";
}

void snapshot_of_command(const struct cmd_division_apply *a, struct arena *arena, struct snapshot *ret)
{
	const struct flavor_names names = {a->flavors, a->flavors_n, false};

	*ret = (struct snapshot){.flavors = a->flavors, .flavors_n = a->flavors_n, .nodes_n = a->qnodes_n,
				 .nodes = arena_alloc(arena, (a->qnodes_n + 1) * sizeof *ret->nodes)};
	for (uint32_t i = 0; i < a->qnodes_n; i++) {
		struct snap_node *n = &ret->nodes[i];

		fill_empty(n);
		n->qnode = &a->qnodes[i];
		n->parent = i ? n->qnode->parent - 1 : 0;
		n->path = i ? textf(arena, "%s/%s", ret->nodes[n->parent].path, n->qnode->name) : "tree";
		n->windows = windows_text(arena, n->qnode, &names);
		for (uint32_t k = 0; k < n->qnode->quotas_n; k++)
			fill_qty(n, n->qnode->quotas[k].flavor - 1U, &n->qnode->quotas[k]);
	}
	add_up(ret);
}

static uint32_t flavor_index(const struct view_division *v, uint16_t id)
{
	for (uint32_t i = 0; i < v->flavors_n; i++)
		if (v->flavors[i].id == id)
			return i;
	return FLAVORS_MAX;
}

/* The daemon says what the subtree uses only where a node has a quota of its own; in between it is the sum of what is
 * below, so that the column adds up. Parents come before their children. */
static void add_up_in_use(struct snapshot *s)
{
	for (uint32_t i = 1; i < s->nodes_n; i++)
		for (uint32_t f = 0; f < s->flavors_n; f++)
			for (int sh = 0; sh < SHAPE_COUNT; sh++)
				s->nodes[s->nodes[i].parent].qty[f][sh].in_use = 0;
	for (uint32_t i = s->nodes_n; i-- > 1;)
		for (uint32_t f = 0; f < s->flavors_n; f++)
			for (int sh = 0; sh < SHAPE_COUNT; sh++)
				s->nodes[s->nodes[i].parent].qty[f][sh].in_use += s->nodes[i].qty[f][sh].in_use;
}

void snapshot_of_view(const struct view_division *v, struct arena *arena, struct snapshot *ret)
{
	const struct flavor_names names = {v->flavors, v->flavors_n, true};
	bool *placed = arena_alloc(arena, v->items_n + 1);
	bool more = true;

	*ret = (struct snapshot){.flavors = v->flavors, .flavors_n = v->flavors_n,
				 .nodes = arena_alloc(arena, (v->items_n + 1) * sizeof *ret->nodes)};
	/* Ids only rise, so parents mostly come first; whoever comes before its parent waits for a round. */
	while (more) {
		more = false;
		for (uint32_t i = 0; i < v->items_n; i++) {
			const struct qnode *q = &v->items[i].qnode;
			struct snap_node *n = &ret->nodes[ret->nodes_n];
			uint32_t parent = 0;

			while (parent < ret->nodes_n && ret->nodes[parent].qnode->id != q->parent)
				parent++;
			if (placed[i] || (q->kind != QNODE_ROOT && parent == ret->nodes_n) ||
			    (q->kind == QNODE_ROOT && ret->nodes_n))
				continue;
			placed[i] = more = true;
			fill_empty(n);
			n->qnode = q;
			n->parent = q->kind == QNODE_ROOT ? 0 : parent;
			n->windows = windows_text(arena, q, &names);
			n->path = q->kind == QNODE_ROOT ? "tree" : textf(arena, "%s/%s", ret->nodes[parent].path, q->name);
			for (uint32_t k = 0; k < q->quotas_n; k++) {
				uint32_t f = flavor_index(v, q->quotas[k].flavor);

				if (f == FLAVORS_MAX)
					continue; /* of a flavor that is gone */
				fill_qty(n, f, &q->quotas[k]);
				if (k < v->items[i].uses_n)
					n->qty[f][q->quotas[k].shape].in_use =
						v->items[i].uses[k].usage_guaranteed + v->items[i].uses[k].usage_loan;
			}
			ret->nodes_n++;
		}
	}
	add_up_in_use(ret);
	add_up(ret);
}

/* ---- differences ----------------------------------------------------------------------------- */

struct changes {
	struct arena *arena;
	struct change *list;
	uint32_t n, cap;
};

static void add(struct changes *c, uint8_t kind, const char *path, const char *field, const char *was, const char *is,
		const char *note)
{
	if (c->n == c->cap) {
		uint32_t cap = c->cap ? 2 * c->cap : 64;
		struct change *more = arena_alloc(c->arena, cap * sizeof *more);

		if (c->n)
			memcpy(more, c->list, c->n * sizeof *more);
		c->list = more;
		c->cap = cap;
	}
	c->list[c->n++] = (struct change){.kind = kind, .path = path, .field = field, .was = was, .is = is, .note = note};
}

static const struct snap_node *node_at(const struct snapshot *s, const char *path)
{
	for (uint32_t i = 0; i < s->nodes_n; i++)
		if (!strcmp(s->nodes[i].path, path))
			return &s->nodes[i];
	return NULL;
}

static uint32_t flavor_at(const struct snapshot *s, const char *name)
{
	for (uint32_t i = 0; i < s->flavors_n; i++)
		if (!strcmp(s->flavors[i].name, name))
			return i;
	return FLAVORS_MAX;
}

static const char *amount(struct arena *arena, int64_t v, uint8_t shape, uint8_t unit)
{
	static const char *const words[][2] = {{"gpu", "gpus"}, {"node", "nodes"}, {"core", "cores"}};
	int w = shape == SHAPE_NODE ? 1 : unit == UNIT_CORE ? 2 : 0;

	if (v == QTY_UNLIMITED)
		return "no limit";
	return textf(arena, "%" PRId64 " %s", v, words[w][v != 1]);
}

static void diff_amount(struct changes *c, const char *path, const char *what, const struct flavor *f, uint8_t shape,
			int64_t was, int64_t is, int64_t in_use)
{
	const char *note = "";

	if (was == is)
		return;
	if (!strcmp(what, "nominal") && is < was && in_use > 0)
		note = textf(c->arena, "in use %" PRId64 "%s", in_use,
			     in_use > is ? ": what is above it goes on, nothing new starts there" : "");
	add(c, is > was ? CHANGE_UP : CHANGE_DOWN, path, textf(c->arena, "%s %s", what, f->name),
	    amount(c->arena, was, shape, f->unit), amount(c->arena, is, shape, f->unit), note);
}

static void diff_number(struct changes *c, const char *path, const char *what, int64_t was, int64_t is, bool time)
{
	char a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES];

	if (was == is)
		return;
	if (time)
		add(c, CHANGE_OTHER, path, what, was ? textf(c->arena, "%s", units_duration_exact(a, was)) : "none",
		    is ? textf(c->arena, "%s", units_duration_exact(b, is)) : "none", "");
	else
		add(c, CHANGE_OTHER, path, what, textf(c->arena, "%" PRId64, was), textf(c->arena, "%" PRId64, is), "");
}

static void diff_text(struct changes *c, const char *path, const char *what, const char *was, const char *is)
{
	if (strcmp(was, is) != 0)
		add(c, CHANGE_OTHER, path, what, was[0] ? was : "none", is[0] ? is : "none", "");
}

static const char *share(struct arena *arena, uint32_t ppm)
{
	char out[UNITS_TEXT_BYTES];

	return ppm ? textf(arena, "%s", units_share_print(out, ppm)) : "";
}

static bool has_member(const struct qnode *q, const char *name)
{
	for (uint32_t i = 0; i < q->members_n; i++)
		if (!strcmp(q->members[i].name, name))
			return true;
	return false;
}

static const struct stage *stage_named(const struct qnode *q, const char *name)
{
	for (uint32_t i = 0; i < q->stages_n; i++)
		if (!strcmp(q->stages[i].name, name))
			return &q->stages[i];
	return NULL;
}

static const char *gpuh(struct arena *arena, int64_t rums)
{
	char out[UNITS_TEXT_BYTES];

	return textf(arena, "%s", units_gpuh_print(out, rums));
}

static void diff_lists(struct changes *c, const char *path, const struct qnode *was, const struct qnode *is)
{
	for (uint32_t i = 0; i < is->members_n; i++)
		if (!has_member(was, is->members[i].name))
			add(c, CHANGE_NEW, path, "member", "", is->members[i].name, "");
	for (uint32_t i = 0; i < was->members_n; i++)
		if (!has_member(is, was->members[i].name))
			add(c, CHANGE_GONE, path, "member", was->members[i].name, "", "");
	for (uint32_t i = 0; i < is->stages_n; i++) {
		const struct stage *s = &is->stages[i], *old = stage_named(was, s->name);

		if (!old)
			add(c, CHANGE_NEW, path, textf(c->arena, "stage %s", s->name), "", gpuh(c->arena, s->amount_rums),
			    stage_state_name(s->state));
		else if (old->amount_rums != s->amount_rums)
			add(c, s->amount_rums > old->amount_rums ? CHANGE_UP : CHANGE_DOWN, path,
			    textf(c->arena, "stage %s", s->name), gpuh(c->arena, old->amount_rums),
			    gpuh(c->arena, s->amount_rums), "");
		else if (old->from_ms != s->from_ms || old->to_ms != s->to_ms)
			add(c, CHANGE_OTHER, path, textf(c->arena, "stage %s", s->name), "its dates", "other dates", "");
	}
	for (uint32_t i = 0; i < was->stages_n; i++)
		if (!stage_named(is, was->stages[i].name))
			add(c, CHANGE_GONE, path, textf(c->arena, "stage %s", was->stages[i].name),
			    gpuh(c->arena, was->stages[i].amount_rums), "", "");
}

static void diff_node(struct changes *c, const struct snapshot *ws, const struct snap_node *was,
		      const struct snapshot *is_s, const struct snap_node *is)
{
	const struct qnode *a = was->qnode, *b = is->qnode;

	for (uint32_t f = 0; f < is_s->flavors_n; f++)
		for (uint8_t s = 0; s < SHAPE_COUNT; s++) {
			static const struct snap_qty none = {.borrowing = QTY_UNLIMITED, .lending = QTY_UNLIMITED};
			uint32_t old = flavor_at(ws, is_s->flavors[f].name);
			const struct snap_qty *o = old < FLAVORS_MAX ? &was->qty[old][s] : &none, *n = &is->qty[f][s];

			diff_amount(c, is->path, "nominal", &is_s->flavors[f], s, o->nominal, n->nominal, o->in_use);
			diff_amount(c, is->path, "borrowing_limit", &is_s->flavors[f], s, o->borrowing, n->borrowing, 0);
			diff_amount(c, is->path, "lending_limit", &is_s->flavors[f], s, o->lending, n->lending, 0);
		}
	diff_number(c, is->path, "weight", a->weight ? a->weight : 1, b->weight ? b->weight : 1, false);
	diff_number(c, is->path, "recall_slo", a->recall_slo_ms, b->recall_slo_ms, true);
	diff_number(c, is->path, "limits.running_jobs", a->running_jobs_max, b->running_jobs_max, false);
	diff_number(c, is->path, "limits.pending_jobs", a->pending_jobs_max, b->pending_jobs_max, false);
	diff_number(c, is->path, "limits.time_max", a->time_ms_max, b->time_ms_max, true);
	diff_number(c, is->path, "limits.leases", a->leases_max, b->leases_max, false);
	diff_number(c, is->path, "limits.term_max", a->term_ms_max, b->term_ms_max, true);
	diff_text(c, is->path, "concentration_cap", share(c->arena, a->concentration_cap_ppm),
		  share(c->arena, b->concentration_cap_ppm));
	diff_text(c, is->path, "windows", was->windows, is->windows);
	diff_text(c, is->path, "pi", a->pi, b->pi);
	diff_text(c, is->path, "tenant", a->tenant, b->tenant);
	diff_lists(c, is->path, a, b);
}

static void diff_flavors(struct changes *c, const struct snapshot *was, const struct snapshot *is)
{
	for (uint32_t i = 0; i < is->flavors_n; i++) {
		const struct flavor *f = &is->flavors[i], *o;
		uint32_t at = flavor_at(was, f->name);
		const char *path = textf(c->arena, "flavors/%s", f->name);

		if (at == FLAVORS_MAX) {
			add(c, CHANGE_NEW, path, "", "", "", "");
			continue;
		}
		o = &was->flavors[at];
		diff_number(c, path, "weight", o->weight_milli, f->weight_milli, false);
		diff_number(c, path, "committed nodes", o->committed_nodes, f->committed_nodes, false);
		diff_number(c, path, "committed units", o->committed_units, f->committed_units, false);
		diff_number(c, path, "devices_per_node", o->devices_per_node, f->devices_per_node, false);
		diff_number(c, path, "scrub_max", o->scrub_ms_max, f->scrub_ms_max, true);
		diff_text(c, path, "vendor", o->vendor, f->vendor);
		diff_text(c, path, "model", o->model, f->model);
		diff_text(c, path, "mig", o->mig, f->mig);
	}
	for (uint32_t i = 0; i < was->flavors_n; i++)
		if (flavor_at(is, was->flavors[i].name) == FLAVORS_MAX)
			add(c, CHANGE_GONE, textf(c->arena, "flavors/%s", was->flavors[i].name), "", "", "", "");
}

/* What a new node brings, so that the line says more than its name. */
static const char *brings(struct arena *arena, const struct snapshot *s, const struct snap_node *n)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	for (uint32_t f = 0; f < s->flavors_n; f++)
		for (uint8_t sh = 0; sh < SHAPE_COUNT; sh++)
			if (n->qty[f][sh].nominal)
				buf_addf(&b, "%snominal %s %s", b.len ? ", " : "", s->flavors[f].name,
					 amount(arena, n->qty[f][sh].nominal, sh, s->flavors[f].unit));
	if (!b.len)
		buf_addf(&b, "weight %u", n->qnode->weight ? n->qnode->weight : 1);
	for (uint32_t f = 0; f < s->flavors_n; f++)
		for (uint8_t sh = 0; sh < SHAPE_COUNT; sh++) {
			const struct snap_qty *q = &n->qty[f][sh];

			if (q->borrowing != QTY_UNLIMITED)
				buf_addf(&b, ", borrowing_limit %s %s", s->flavors[f].name,
					 amount(arena, q->borrowing, sh, s->flavors[f].unit));
			if (q->lending != QTY_UNLIMITED)
				buf_addf(&b, ", lending_limit %s %s", s->flavors[f].name,
					 amount(arena, q->lending, sh, s->flavors[f].unit));
		}
	if (n->qnode->concentration_cap_ppm)
		buf_addf(&b, ", concentration_cap %s", share(arena, n->qnode->concentration_cap_ppm));
	if (n->windows && n->windows[0])
		buf_addf(&b, ", windows %s", n->windows);
	return arena_copy(arena, buf_cstr(&b), b.len + 1);
}

void divide_diff(const struct snapshot *was, const struct snapshot *is, struct arena *arena, struct change **ret,
		 uint32_t *ret_n)
{
	struct changes c = {.arena = arena};

	diff_flavors(&c, was, is);
	for (uint32_t i = 0; i < is->nodes_n; i++) {
		const struct snap_node *old = node_at(was, is->nodes[i].path);

		if (old)
			diff_node(&c, was, old, is, &is->nodes[i]);
		else
			add(&c, CHANGE_NEW, is->nodes[i].path, "", "", brings(arena, is, &is->nodes[i]), "");
	}
	for (uint32_t i = 0; i < was->nodes_n; i++)
		if (!node_at(is, was->nodes[i].path))
			add(&c, CHANGE_GONE, was->nodes[i].path, "", "", "", "what runs there goes on, nothing new starts");
	*ret = c.list;
	*ret_n = c.n;
}

struct divide_sums divide_sums(const struct snapshot *s, uint32_t flavor)
{
	const struct flavor *f = &s->flavors[flavor];
	struct divide_sums sums = {.committed = (int64_t)f->committed_nodes * f->devices_per_node + f->committed_units};

	for (uint32_t i = 0; i < s->nodes_n; i++) {
		const struct snap_node *n = &s->nodes[i];
		int64_t devices = n->qty[flavor][SHAPE_NODE].nominal * f->devices_per_node + n->qty[flavor][SHAPE_GPU].nominal;

		if (n->qnode->kind == QNODE_PUBLIC)
			sums.public_devices = devices;
		if (n->qnode->kind == QNODE_PRIVATE)
			sums.private_devices = devices;
	}
	return sums;
}
