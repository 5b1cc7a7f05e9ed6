/* cmd_division.c - the division: show, diff, apply, export; projects and providers in it */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cmd.h"
#include "ctl/divide.h"
#include "proto/base/ensure.h"
#include "proto/base/sha256.h"
#include "proto/config/units.h"

static int ask_division(struct ctl *c, struct view_division *v)
{
	struct query q = {.type = QUERY_DIVISION};

	return ask(c, &q, v, "read the division");
}

/* ---- show ------------------------------------------------------------------------------------ */

static const char *qty_text(struct ctl *c, const struct snapshot *s, const struct snap_node *n, bool use)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	for (uint32_t f = 0; f < s->flavors_n; f++)
		for (uint8_t sh = SHAPE_COUNT; sh-- > 0;) {
			const struct snap_qty *q = &n->qty[f][sh];

			if (!q->nominal && !(use && q->in_use))
				continue;
			buf_addf(&b, "%s%" PRId64 "%s %s", b.len ? ", " : "", use ? q->in_use : q->nominal,
				 sh != SHAPE_NODE ? "" : (use ? q->in_use : q->nominal) == 1 ? " node" : " nodes", s->flavors[f].name);
		}
	return b.len ? text_f(c, "%s", buf_cstr(&b)) : "-";
}


static uint32_t depth_of(const struct snapshot *s, uint32_t at)
{
	uint32_t depth = 0;

	for (; at; at = s->nodes[at].parent)
		depth++;
	return depth;
}

/* Rows in the order of the tree: each node, then what is below it. */
static uint32_t tree_order(const struct snapshot *s, uint32_t at, uint32_t *order, uint32_t n)
{
	order[n++] = at;
	for (uint32_t i = 1; i < s->nodes_n; i++)
		if (i != at && s->nodes[i].parent == at)
			n = tree_order(s, i, order, n);
	return n;
}

static void show_flavors(struct ctl *c, const struct view_division *v, const struct snapshot *s)
{
	for (uint32_t i = 0; i < v->flavors_n; i++) {
		const struct flavor *f = &v->flavors[i];
		struct divide_sums sums = divide_sums(s, i);

		fold_line(c, 17, text_f(c, "%-16s %s%s%s  weight %u.%03u  committed %" PRId64 " %s, promised %" PRId64,
					f->name, f->vendor[0] ? f->vendor : "any", f->model[0] ? " " : "", f->model,
					f->weight_milli / 1000, f->weight_milli % 1000, sums.committed,
					f->unit == UNIT_CORE ? "cores" : "devices",
					sums.public_devices + sums.private_devices));
	}
	fputc('\n', c->out);
}

/* When the last window ends that was counted out; 0: none is left. */
static int64_t windows_until(const struct qnode *q)
{
	int64_t until = 0;

	for (uint32_t i = 0; i < q->window_spans_n; i++)
		until = q->window_spans[i].to_ms > until ? q->window_spans[i].to_ms : until;
	return until;
}

static const char *flavor_by_id(const void *ctx, uint16_t id)
{
	const struct view_division *v = ctx;

	for (uint32_t f = 0; f < v->flavors_n; f++)
		if (v->flavors[f].id == id)
			return v->flavors[f].name;
	return "?";
}

/* Is a window open, and until when; or from when on. */
static const char *window_when(struct ctl *c, const struct qnode *q, uint32_t window)
{
	const struct window_span *next = NULL;

	for (uint32_t k = 0; !next && k < q->window_spans_n; k++)
		if (q->window_spans[k].window == window)
			next = &q->window_spans[k];
	if (!next)
		return "none is left; apply the division again";
	return q->windows_open >> window & 1 ? text_f(c, "open until %s", text_time(c, next->to_ms))
					     : text_f(c, "from %s on", text_time(c, next->from_ms));
}

/* Rules that are no column: they are said in words. */
static void show_rules(struct ctl *c, const struct view_division *v, const struct snapshot *s)
{
	for (uint32_t i = 0; i < s->nodes_n; i++) {
		const struct qnode *q = s->nodes[i].qnode;
		char share[UNITS_TEXT_BYTES];

		if (q->windows_n && !windows_until(q))
			fprintf(c->out, "%s: none of its windows is left: apply the file again\n", text_safe(c, q->name));
		for (uint32_t k = 0; k < q->windows_n && windows_until(q); k++)
			fold_line(c, 2, text_f(c, "%s: may borrow on %s: %s", q->name,
					       divide_window_text(&c->arena, q, k, flavor_by_id, v), window_when(c, q, k)));
		if (q->windows_n && windows_until(q))
			fprintf(c->out, "%s: its windows are counted out until %s; apply the file again before\n",
				text_safe(c, q->name), text_date(c, windows_until(q)));
		if (q->concentration_cap_ppm)
			fprintf(c->out, "%s: one tenant may lease %s of what is promised to the private side\n", text_safe(c, q->name),
				units_share_print(share, q->concentration_cap_ppm));
	}
}

int cmd_division_show(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {
		{"path", "NODE", 0}, {"kind", "KIND", 0}, {"nominal", "NOMINAL", 0}, {"in_use", "IN USE", 0},
		{"weight", "WEIGHT", COL_RIGHT}, {"recall", "RECALL", 0}, {"who", "WHO", COL_SHRINK},
	};
	struct view_division v = {0};
	struct snapshot s;
	struct table *t;
	uint32_t *order, n;
	int r = ask_division(c, &v);

	(void)call;
	if (r)
		return r;
	if (c->json)
		return json_item(c, "division", v.seq, json_of(&schema_view_division, &v));
	snapshot_of_view(&v, &c->arena, &s);
	if (!s.nodes_n) {
		fputs("there is no division yet: sluisctl division apply -f division.yaml\n", c->out);
		return 0;
	}
	if (!c->plain && !c->no_header && !c->column_list) {
		fprintf(c->out, "division version %" PRIu64 "\n", v.version);
		show_flavors(c, &v, &s);
	}
	order = arena_alloc(&c->arena, (s.nodes_n + 1) * sizeof *order);
	n = tree_order(&s, 0, order, 0);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < n; i++) {
		const struct snap_node *node = &s.nodes[order[i]];
		const struct qnode *q = node->qnode;

		table_row(t);
		table_cell(t, "%s", c->plain ? node->path : text_f(c, "%*s%s", (int)(2 * depth_of(&s, order[i])), "", q->name));
		table_cell(t, "%s%s", qnode_kind_name(q->kind), q->frozen ? " (frozen)" : "");
		table_cell(t, "%s", qty_text(c, &s, node, false));
		table_cell(t, "%s", qty_text(c, &s, node, true));
		table_cell(t, "%u", q->weight);
		table_cell(t, "%s", q->recall_slo_ms ? text_age(c, q->recall_slo_ms) : "-");
		table_cell(t, "%s", q->pi[0] ? q->pi : q->tenant);
	}
	r = table_print(t);
	if (!r && !c->plain && !c->no_header && !c->column_list)
		show_rules(c, &v, &s);
	return r;
}

/* ---- diff and apply -------------------------------------------------------------------------- */

struct plan {
	struct division *file;
	struct buf text; /* of the file */
	struct buf notes; /* on its windows */
	struct cmd_division_apply cmd;
	struct view_division now;
	struct snapshot was, is;
	struct change *changes;
	uint32_t changes_n;
};

static void plan_done(struct plan *p)
{
	division_free(p->file);
	buf_done(&p->text);
	buf_done(&p->notes);
}

/* A file says whose division it is: one of another cluster is not compared, let alone applied. */
static int same_cluster(struct ctl *c, const char *path, const char *cluster)
{
	const struct msg_welcome *w = c->client ? client_welcome(c->client) : NULL;
	struct err err = {0};

	if (!w || !strcmp(w->cluster, cluster))
		return 0;
	(void)err_set(&err, ERR_CONFLICT, "%s is the division of cluster '%s', this is '%s'", path, cluster, w->cluster);
	(void)err_hint(&err, "sluisctl --cluster %s ...; or cluster: %s in the file", cluster, w->cluster);
	return fault(c, &err, NULL);
}

static int plan_make(struct ctl *c, const struct call *call, struct plan *p)
{
	CLEANUP(config_errors_done) struct config_errors errs = CONFIG_ERRORS_INIT;
	const char *path = call_get(call, "file");
	struct err err = {0};
	int r;

	if (!path) {
		try_next(c, "sluisctl division %s -f division.yaml", call->cmd->verb);
		return usage_fault(c, "division %s: which file?", call->cmd->verb);
	}
	if (read_whole(path, CONFIG_BYTES_MAX, &p->text, &err)) {
		if (err.code == ERR_NOTFOUND)
			try_next(c, "-f FILE; the division of now as one: sluisctl division export > division.yaml");
		return fault(c, &err, NULL);
	}
	if (division_read_bytes(!strcmp(path, "-") ? "stdin" : path, p->text.data ? (const void *)p->text.data : "",
				p->text.len, &p->file, &errs))
		return config_fault(c, &errs);
	if (divide_command(p->file, &c->arena, &p->cmd, &err) ||
	    divide_windows(p->file, c->now_ms, &c->arena, &p->cmd, &p->notes, &err)) {
		(void)fault(c, &err, "%s", path);
		return EXIT_USAGE;
	}
	if (c->have_expect)
		p->cmd.expect_version = c->expect_version;
	r = ask_division(c, &p->now);
	if (!r)
		r = same_cluster(c, path, p->file->cluster);
	if (r)
		return r;
	snapshot_of_view(&p->now, &c->arena, &p->was);
	snapshot_of_command(&p->cmd, &c->arena, &p->is);
	divide_diff(&p->was, &p->is, &c->arena, &p->changes, &p->changes_n);
	return 0;
}

static void print_sums(struct ctl *c, const struct snapshot *s)
{
	for (uint32_t i = 0; i < s->flavors_n; i++) {
		struct divide_sums sums = divide_sums(s, i);
		int64_t all = sums.public_devices + sums.private_devices;
		int64_t tenths = all > 0 ? (sums.public_devices * 2000 + all) / (2 * all) : 0;

		if (!all)
			continue;
		fprintf(c->out, "  sums: %s %" PRId64 " of %" PRId64 " %s committed, public %" PRId64 ".%" PRId64
				" %%, private %" PRId64 ".%" PRId64 " %%\n", text_safe(c, s->flavors[i].name), all, sums.committed,
			s->flavors[i].unit == UNIT_CORE ? "cores" : "devices", tenths / 10, tenths % 10,
			(1000 - tenths) / 10, (1000 - tenths) % 10);
	}
}

static void print_change(struct ctl *c, const struct change *ch, int path_width)
{
	static const char marks[] = {[CHANGE_NEW] = '+', [CHANGE_GONE] = '-', [CHANGE_UP] = '~', [CHANGE_DOWN] = '~',
				     [CHANGE_OTHER] = '~'};
	const char *color = !c->colors ? "" : ch->kind == CHANGE_NEW ? "\033[32m" : ch->kind == CHANGE_GONE ? "\033[31m" : "";

	fprintf(c->out, "%s%c %-*s%s", color, marks[ch->kind], path_width, text_safe(c, ch->path), color[0] ? "\033[0m" : "");
	if (ch->field[0])
		fprintf(c->out, "  %-22s", text_safe(c, ch->field));
	if (ch->was[0] || ch->is[0])
		fprintf(c->out, "  %s%s%s", text_safe(c, ch->was), ch->was[0] && ch->is[0] ? " -> " : "", text_safe(c, ch->is));
	if (ch->note[0])
		fprintf(c->out, "   %s", text_safe(c, ch->note));
	fputc('\n', c->out);
}

static void counts(const struct plan *p, uint32_t ret[5])
{
	memset(ret, 0, 5 * sizeof *ret);
	for (uint32_t i = 0; i < p->changes_n; i++)
		ret[p->changes[i].kind]++;
}

static void print_diff(struct ctl *c, const struct plan *p)
{
	size_t width = 0;
	uint32_t n[5];

	counts(p, n);
	for (uint32_t i = 0; i < p->changes_n; i++)
		width = strlen(p->changes[i].path) > width ? strlen(p->changes[i].path) : width;
	fprintf(c->out, "division version %" PRIu64 " -> %" PRIu64 "\n", p->now.version, p->now.version + 1);
	for (uint32_t i = 0; i < p->changes_n; i++)
		print_change(c, &p->changes[i], (int)width);
	print_sums(c, &p->is);
	fprintf(c->out, "%u changed down, %u up, %u otherwise, %u new, %u gone.\n", n[CHANGE_DOWN], n[CHANGE_UP],
		n[CHANGE_OTHER], n[CHANGE_NEW], n[CHANGE_GONE]);
}

static void print_notes(struct ctl *c, struct plan *p)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	divide_notes(p->file, &b);
	if (!c->quiet && !c->json)
		fprintf(c->errs, "%s%s", buf_cstr(&b), buf_cstr(&p->notes));
}

static json_t *json_changes(const struct plan *p)
{
	static const char *const kinds[] = {[CHANGE_NEW] = "new", [CHANGE_GONE] = "gone", [CHANGE_UP] = "up",
					    [CHANGE_DOWN] = "down", [CHANGE_OTHER] = "changed"};
	json_t *list = json_array();

	for (uint32_t i = 0; i < p->changes_n; i++) {
		const struct change *ch = &p->changes[i];
		json_t *o = json_object();

		json_object_set_new(o, "kind", json_string(kinds[ch->kind]));
		json_object_set_new(o, "path", json_string(ch->path));
		json_object_set_new(o, "field", json_string(ch->field));
		json_object_set_new(o, "was", json_string(ch->was));
		json_object_set_new(o, "is", json_string(ch->is));
		json_object_set_new(o, "note", json_string(ch->note));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *json_sums(const struct snapshot *s)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < s->flavors_n; i++) {
		struct divide_sums sums = divide_sums(s, i);
		json_t *o = json_object();

		json_object_set_new(o, "flavor", json_string(s->flavors[i].name));
		json_object_set_new(o, "committed", json_integer(sums.committed));
		json_object_set_new(o, "public", json_integer(sums.public_devices));
		json_object_set_new(o, "private", json_integer(sums.private_devices));
		json_array_append_new(list, o);
	}
	return list;
}

static int diff(struct ctl *c, const struct call *call, struct plan *p)
{
	bool differs;
	int r = plan_make(c, call, p);

	if (r)
		return r;
	differs = p->changes_n > 0;
	print_notes(c, p);
	if (c->json) {
		json_t *item = json_object();

		json_object_set_new(item, "version", json_integer((json_int_t)p->now.version));
		json_object_set_new(item, "changes", json_changes(p));
		json_object_set_new(item, "sums", json_sums(&p->is));
		r = json_item(c, "division_diff", p->now.seq, item);
	} else if (!differs) {
		fprintf(c->out, "division version %" PRIu64 ": nothing would change\n", p->now.version);
		print_sums(c, &p->is);
	} else {
		print_diff(c, p);
		if (!c->quiet)
			fprintf(c->out, "apply it: sluisctl division apply -f %s\n", call_get(call, "file"));
	}
	if (!r && p->cmd.expect_version && p->cmd.expect_version != p->now.version && !c->json)
		fprintf(c->errs, "note: the file was written against version %" PRIu64 ", the cluster is at %" PRIu64
				 ": apply will refuse until its version: says so\n", p->cmd.expect_version, p->now.version);
	return r ? r : differs && call_has(call, "exit-code") ? EXIT_OTHER : 0;
}

int cmd_division_diff(struct ctl *c, const struct call *call)
{
	struct plan p = {0};
	int r = diff(c, call, &p);

	plan_done(&p);
	return r;
}

static int apply(struct ctl *c, const struct call *call, struct plan *p)
{
	struct client_reply reply = {0};
	struct sha256 h;
	uint32_t n[5];
	int r = plan_make(c, call, p);

	if (r)
		return r;
	counts(p, n);
	print_notes(c, p);
	if (n[CHANGE_DOWN] || n[CHANGE_GONE]) {
		if (c->errtty && !c->yes && !c->json)
			print_diff(c, p);
		r = sure(c, "This lowers somebody", p->file->cluster ? p->file->cluster : "yes");
		if (r)
			return r;
	}
	sha256_init(&h);
	sha256_add(&h, p->text.data, p->text.len);
	sha256_final(&h, p->cmd.payload);
	r = tell(c, CMD_DIVISION_APPLY, &p->cmd, (struct bytes){p->text.data, (uint32_t)p->text.len}, &reply,
		 text_f(c, "apply %s", call_get(call, "file")));
	if (!r)
		r = done_line(c, "division_applied", &reply, "applied division version %" PRIu64 ": %u down, %u up, %u otherwise, "
			      "%u new, %u gone", reply.result.version, n[CHANGE_DOWN], n[CHANGE_UP], n[CHANGE_OTHER],
			      n[CHANGE_NEW], n[CHANGE_GONE]);
	if (!r && !c->json && !c->quiet)
		print_sums(c, &p->is);
	return r;
}

int cmd_division_apply(struct ctl *c, const struct call *call)
{
	struct plan p = {0};
	int r = apply(c, call, &p);

	plan_done(&p);
	return r;
}

int cmd_division_export(struct ctl *c, const struct call *call)
{
	CLEANUP(config_errors_done) struct config_errors errs = CONFIG_ERRORS_INIT;
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct query q = {.type = QUERY_PAYLOAD};
	struct view_division v = {0};
	struct view_payload p = {0};
	struct division *file = NULL;
	struct err err = {0};
	int r = ask_division(c, &v);

	(void)call;
	if (r)
		return r;
	if (all_zero(v.payload, sizeof v.payload)) {
		(void)err_set(&err, ERR_NOTFOUND, "no division was applied yet");
		(void)err_hint(&err, "sluisctl division apply -f division.yaml");
		return fault(c, &err, NULL);
	}
	memcpy(q.hash, v.payload, sizeof q.hash);
	r = ask(c, &q, &p, "read the division's file");
	if (r)
		return r;
	if (division_read_bytes("the stored division", p.data.data, p.data.len, &file, &errs))
		return config_fault(c, &errs);
	file->version = (int64_t)v.version; /* what it would be written against now */
	division_write(file, &b);
	division_free(file);
	fputs(buf_cstr(&b), c->out);
	return 0;
}

/* ---- projects and providers ------------------------------------------------------------------ */

static int64_t budget_left(const struct qnode *q)
{
	int64_t left = 0;

	if (!q->stages_n)
		return -1;
	for (uint32_t i = 0; i < q->stages_n; i++)
		if (q->stages[i].state == STAGE_RELEASED)
			left += q->stages[i].amount_rums - q->stages[i].held_rums - q->stages[i].spent_rums;
	return left;
}

static int list_kind(struct ctl *c, uint8_t kind)
{
	static const struct column cols[] = {
		{"name", "NAME", 0}, {"path", "PATH", COL_SHRINK | COL_TAIL}, {"who", "WHO", COL_SHRINK}, {"nominal", "NOMINAL", 0},
		{"in_use", "IN USE", 0}, {"budget_left", "BUDGET LEFT", COL_RIGHT}, {"note", "NOTE", 0},
	};
	struct view_division v = {0};
	struct snapshot s;
	struct table *t;
	uint32_t kept = 0;
	int r = ask_division(c, &v);

	if (r)
		return r;
	if (c->json) {
		for (uint32_t i = 0; i < v.items_n; i++)
			if (v.items[i].qnode.kind == kind)
				v.items[kept++] = v.items[i];
		return json_list(c, kind == QNODE_PROJECT ? "project_list" : "provider_list", v.seq, &schema_qnode_view,
				 v.items, kept, NULL);
	}
	snapshot_of_view(&v, &c->arena, &s);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < s.nodes_n; i++) {
		const struct qnode *q = s.nodes[i].qnode;
		int64_t left = budget_left(q);

		if (q->kind != kind)
			continue;
		table_row(t);
		table_cell(t, "%s", q->name);
		table_cell(t, "%s", s.nodes[i].path + strlen("tree/"));
		table_cell(t, "%s", q->pi[0] ? q->pi : q->tenant[0] ? q->tenant : "-");
		table_cell(t, "%s", qty_text(c, &s, &s.nodes[i], false));
		table_cell(t, "%s", qty_text(c, &s, &s.nodes[i], true));
		table_cell(t, "%s", left < 0 ? "-" : text_gpuh(c, left));
		table_cell(t, "%s", q->frozen ? "frozen" : "");
	}
	return table_print(t);
}

int cmd_project_list(struct ctl *c, const struct call *call)
{
	(void)call;
	return list_kind(c, QNODE_PROJECT);
}

int cmd_provider_list(struct ctl *c, const struct call *call)
{
	(void)call;
	return list_kind(c, QNODE_PROVIDER);
}

static const char *qnode_title(const void *view, size_t i)
{
	return ((const struct view_division *)view)->items[i].qnode.name;
}

/* The project or provider of that name or path. */
static int find(struct ctl *c, const char *name, uint8_t kind, struct view_division *v, const struct qnode_view **ret)
{
	struct err err = {0};
	const char *near;
	size_t n = 0;
	int r = ask_division(c, v);

	if (r)
		return r;
	for (uint32_t i = 0; i < v->items_n; i++)
		if (v->items[i].qnode.kind == kind &&
		    (!strcmp(v->items[i].path, name) || !strcmp(v->items[i].qnode.name, name))) {
			*ret = &v->items[i];
			if (n++)
				try_next(c, "%s", (*ret)->path);
		}
	if (n == 1)
		return 0;
	near = config_nearest(name, v->items_n, qnode_title, v);
	if (n) {
		(void)err_set(&err, ERR_CONFLICT, "'%s' is the last part of several paths", name);
		(void)err_hint(&err, "the whole path");
	} else {
		(void)err_set(&err, ERR_NOTFOUND, "there is no %s '%s'", qnode_kind_name(kind), name);
		(void)err_hint(&err, near ? "sluisctl %s show %s" : "sluisctl %s list%s", qnode_kind_name(kind),
			       near ? near : "");
	}
	return fault(c, &err, NULL);
}

static void print_quotas(struct ctl *c, const struct view_division *v, const struct qnode_view *n)
{
	for (uint32_t i = 0; i < n->qnode.quotas_n; i++) {
		const struct quota *u = &n->qnode.quotas[i];
		const char *name = "?";

		for (uint32_t f = 0; f < v->flavors_n; f++)
			if (v->flavors[f].id == u->flavor)
				name = v->flavors[f].name;
		fprintf(c->out, "  %-10s%s in %s: own %" PRId64, i ? "" : "quota", text_safe(c, name),
			u->shape == SHAPE_NODE ? "nodes" : "units", u->nominal);
		if (u->borrowing != QTY_UNLIMITED)
			fprintf(c->out, ", may borrow %" PRId64, u->borrowing);
		if (u->lending != QTY_UNLIMITED)
			fprintf(c->out, ", lends at most %" PRId64, u->lending);
		if (i < n->uses_n)
			fprintf(c->out, "; in use %" PRId64 " guaranteed, %" PRId64 " on loan, %" PRId64 " left%s",
				n->uses[i].usage_guaranteed, n->uses[i].usage_loan, n->uses[i].slack > 0 ? n->uses[i].slack : 0,
				n->uses[i].slack < 0 ? text_f(c, ", %" PRId64 " borrowed", -n->uses[i].slack) : "");
		fputc('\n', c->out);
	}
}

static void print_windows(struct ctl *c, const struct view_division *v, const struct qnode *q)
{
	for (uint32_t i = 0; i < q->windows_n; i++)
		fprintf(c->out, "  %-10smay borrow on %s: %s\n", i ? "" : "windows",
			text_safe(c, divide_window_text(&c->arena, q, i, flavor_by_id, v)), window_when(c, q, i));
}

static void print_people(struct ctl *c, const struct qnode *q)
{
	if (q->pi[0])
		fprintf(c->out, "  pi        %s\n", text_safe(c, q->pi));
	if (q->tenant[0])
		fprintf(c->out, "  tenant    %s\n", text_safe(c, q->tenant));
	if (q->members_n)
		fputs("  members   ", c->out);
	for (uint32_t i = 0; i < q->members_n; i++)
		fprintf(c->out, "%s%s%s", i ? ", " : "", text_safe(c, q->members[i].name), i + 1 == q->members_n ? "\n" : "");
	for (uint32_t i = 0; i < q->requires_n; i++)
		fprintf(c->out, "  %-10s%s=%s\n", i ? "" : "require", text_safe(c, q->requires[i].key),
			text_safe(c, q->requires[i].value));
}

static void print_limits(struct ctl *c, const struct qnode *q)
{
	const struct { const char *name; int64_t value; bool time; } limits[] = {
		{"running jobs", q->running_jobs_max, false}, {"waiting jobs", q->pending_jobs_max, false},
		{"time", q->time_ms_max, true}, {"leases", q->leases_max, false}, {"term", q->term_ms_max, true},
	};
	bool any = false;

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		if (!limits[i].value)
			continue;
		fprintf(c->out, "%s%s %s", any ? ", " : "  limits    ", limits[i].name,
			limits[i].time ? text_age(c, limits[i].value) : text_count(c, limits[i].value));
		any = true;
	}
	if (any)
		fputc('\n', c->out);
}

static void print_stages(struct ctl *c, const struct qnode *q)
{
	for (uint32_t i = 0; i < q->stages_n; i++) {
		const struct stage *s = &q->stages[i];

		fprintf(c->out, "  %-10s%-14s %-9s %s GPU-hours: %s spent, %s held, %s left; %s to %s\n", i ? "" : "grant",
			text_safe(c, s->name), stage_state_name(s->state), text_gpuh(c, s->amount_rums),
			text_gpuh(c, s->spent_rums), text_gpuh(c, s->held_rums),
			text_gpuh(c, s->amount_rums - s->spent_rums - s->held_rums), text_date(c, s->from_ms),
			s->to_ms ? text_date(c, s->to_ms) : "open end");
	}
	if (q->kind == QNODE_PROJECT && !q->stages_n)
		fputs("  grant     none: no budget limits it\n", c->out);
}

static int show_kind(struct ctl *c, const struct call *call, uint8_t kind)
{
	const struct qnode_view *n = NULL;
	struct view_division v = {0};
	int r = find(c, call->args[0], kind, &v, &n);

	if (r)
		return r;
	if (c->json)
		return json_item(c, qnode_kind_name(kind), v.seq, json_of(&schema_qnode_view, n));
	fprintf(c->out, "%s %s   %s%s\n", qnode_kind_name(kind), text_safe(c, n->qnode.name), text_safe(c, n->path),
		n->qnode.frozen ? "   frozen" : "");
	print_people(c, &n->qnode);
	print_quotas(c, &v, n);
	print_windows(c, &v, &n->qnode);
	print_limits(c, &n->qnode);
	print_stages(c, &n->qnode);
	next_line(c, kind == QNODE_PROJECT ? "sluisctl queue --project %s; sluisctl usage --of %s"
					   : "sluisctl lease list --provider %s; sluisctl usage --by provider --of %s",
		  n->qnode.name, n->qnode.name);
	return 0;
}

int cmd_project_show(struct ctl *c, const struct call *call) { return show_kind(c, call, QNODE_PROJECT); }
int cmd_provider_show(struct ctl *c, const struct call *call) { return show_kind(c, call, QNODE_PROVIDER); }

static int stage_set(struct ctl *c, const struct call *call, uint8_t state, const char *verb, const char *did)
{
	struct cmd_stage_set body = {.state = state};
	struct client_reply reply = {0};
	int r;

	if (OPT_COPY(c, "project", call->args[0], body.project) || OPT_COPY(c, "stage", call->args[1], body.stage))
		return EXIT_USAGE;
	r = tell(c, CMD_STAGE_SET, &body, (struct bytes){0}, &reply, text_f(c, "%s stage %s", verb, body.stage));
	if (!r)
		r = done_line(c, "stage_set", &reply, "%s stage %s of %s", did, body.stage, body.project);
	if (!r)
		next_line(c, "sluisctl project show %s", body.project);
	return r;
}

int cmd_stage_release(struct ctl *c, const struct call *call)
{
	return stage_set(c, call, STAGE_RELEASED, "release", "released");
}

int cmd_stage_freeze(struct ctl *c, const struct call *call)
{
	return stage_set(c, call, STAGE_FROZEN, "freeze", "froze");
}
