/* cmd_cluster.c - the cluster as a whole: status, top, claims, deficit, usage, health */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/bar.h"
#include "ctl/cmd.h"
#include "proto/base/ensure.h"

enum { BAR_CELLS = 40, HEAD_ROWS = 4 };

/* ---- status ---------------------------------------------------------------------------------- */

static const struct side_view *side_of(const struct view_status *v, const char *flavor, const char *side)
{
	for (uint32_t i = 0; i < v->sides_n; i++)
		if (!strcmp(v->sides[i].flavor, flavor) && !strcmp(v->sides[i].side, side))
			return &v->sides[i];
	return NULL;
}

static bool side_shown(const struct side_view *s)
{
	return s && (s->nominal || s->guaranteed || s->loan || s->waiting);
}

/* What is not ready though it is there, for people: ", 2 draining, 1 cordoned" or nothing. */
static const char *nodes_out_of_use(struct ctl *c, const struct view_status *v)
{
	const char *draining = v->nodes_draining ? text_f(c, ", %u draining", v->nodes_draining) : "";

	return v->nodes_cordoned ? text_f(c, "%s, %u cordoned", draining, v->nodes_cordoned) : draining;
}

/* What is wrong with the cluster as a whole; NULL: nothing. What needs somebody besides is in the notes. */
static const char *verdict(const struct view_status *v)
{
	int64_t promised = 0;

	for (uint32_t i = 0; i < v->sides_n; i++)
		promised += v->sides[i].nominal;
	if (v->safe_mode)
		return "SAFE MODE";
	if (v->nodes_ready == 0 && (v->nodes || promised))
		return "no node is ready";
	if (v->store_limit_bytes && v->store_bytes > v->store_limit_bytes / 10 * 9)
		return "the store is nearly full";
	return NULL;
}

static void print_head(struct ctl *c, const struct view_status *v)
{
	const char *dot = c->ascii ? "*" : "●", *bad = verdict(v);

	fprintf(c->out, "%s%s%s %s   %s   seq %s   up %s   commit p99 %" PRId64 ".%" PRId64 " ms   division %" PRIu64 "\n",
		c->colors ? (bad ? "\033[31m" : "\033[32m") : "", dot, c->colors ? "\033[0m" : "",
		text_safe(c, v->cluster), bad ? bad : "healthy", text_count(c, (int64_t)v->seq),
		text_age(c, v->up_ms), v->commit_p99_us / 1000, v->commit_p99_us % 1000 / 100, v->division_version);
	for (uint32_t i = 0; i < v->flavors_n; i++) {
		const struct flavor_view *f = &v->flavors[i];

		fprintf(c->out, "  %" PRId64 " %s on %" PRId64 " %s: %" PRId64 " in use, %" PRId64 " free%s, %" PRId64 " out\n",
			f->installed, text_safe(c, f->name), f->nodes, text_plural((uint64_t)f->nodes, "node", "nodes"),
			f->used, f->free,
			f->kept ? text_f(c, " (%" PRId64 " kept for leases)", f->kept) : "", f->out);
	}
	fprintf(c->out, "  nodes %u/%u ready%s   jobs %u running, %u waiting\n"
		"  leases    %u; since the start %s ago %s %s, %s expired\n",
		v->nodes_ready, v->nodes, nodes_out_of_use(c, v), v->jobs_running, v->jobs_pending, v->leases_live,
		text_age(c, v->up_ms), text_count(c, (int64_t)v->renewals), text_plural(v->renewals, "renewal", "renewals"), text_count(c, (int64_t)v->expiries));
}

static void print_side(struct ctl *c, const struct view_status *v, const struct side_view *s, int64_t cell,
		       int64_t percent)
{
	CLEANUP(buf_done) struct buf bar = BUF_INIT;
	struct bar_side side = {.nominal = s->nominal, .guaranteed = s->guaranteed, .loan = s->loan, .lent = s->lent};
	struct bar_cells cells = bar_cells(&side, cell);
	uint32_t width = cells.guaranteed + cells.lent + cells.free + cells.loan;
	const char *share = "";

	(void)v;
	bar_text(&cells, c->ascii, &bar);
	if (percent >= 0)
		share = text_f(c, "(%" PRId64 " %%)", percent);
	fprintf(c->out, "  %-8s %5" PRId64 " %-7s  %s%*s  %" PRId64, s->side, s->nominal, share, buf_cstr(&bar),
		(int)(BAR_CELLS > width ? BAR_CELLS - width : 0), "", s->guaranteed);
	if (s->loan)
		fprintf(c->out, " + %" PRId64 " on loan", s->loan);
	if (s->lent)
		fprintf(c->out, ", lends %" PRId64, s->lent);
	if (s->waiting)
		fprintf(c->out, ", %" PRId64 " waiting", s->waiting);
	fputc('\n', c->out);
}

static void print_flavor(struct ctl *c, const struct view_status *v, const char *flavor, const char *only)
{
	const struct side_view *sides[2] = {side_of(v, flavor, "public"), side_of(v, flavor, "private")};
	struct bar_side bars[2] = {{0}};
	int64_t cell, all = 0, percent[2] = {-1, -1}; /* of the second what is left, so that they add up */

	if (!side_shown(sides[0]) && !side_shown(sides[1]))
		return;
	for (int i = 0; i < 2; i++)
		if (sides[i]) {
			bars[i] = (struct bar_side){.nominal = sides[i]->nominal, .loan = sides[i]->loan};
			all += sides[i]->nominal;
		}
	cell = bar_cell(bars, 2, BAR_CELLS);
	fprintf(c->out, "\n  %-11s entitled   one cell = %" PRId64 " %s of %s\n", "", cell,
		text_plural((uint64_t)cell, "device", "devices"), text_safe(c, flavor));
	for (int i = 0; i < 2 && all > 0; i++)
		percent[i] = i && sides[0] ? 100 - percent[0] : sides[i] ? (sides[i]->nominal * 200 + all) / (2 * all) : 0;
	for (int i = 0; i < 2; i++)
		if (sides[i] && (!only || !strcmp(only, sides[i]->side)))
			print_side(c, v, sides[i], cell, percent[i]);
}

/* Nothing once all is here and only its owner has to take it. */
static const char *claim_due(struct ctl *c, const struct claim_view *m)
{
	if (m->units_here >= m->claim.units)
		return "";
	return m->due_in_ms < 0 ? text_f(c, "late by %s", text_age(c, -m->due_in_ms))
				: text_f(c, "due in %s", text_age(c, m->due_in_ms));
}

static void print_claims(struct ctl *c, const struct view_status *v)
{
	struct query q = {.type = QUERY_CLAIMS};
	struct view_claims claims = {0};
	struct err err = {0};

	/* An addition: without the right to see them the rest stands. */
	if (v->claims_running && !ask_err(c, &q, &claims, c->timeout_ms, &err))
		for (uint32_t i = 0; i < claims.items_n; i++) {
			const struct claim_view *m = &claims.items[i];
			const char *due = claim_due(c, m);

			fprintf(c->out, "  recall    claim %" PRIu64 " for %s: %u of %u here%s%s%s%s\n", m->claim.id,
				text_safe(c, m->owner), m->units_here, m->claim.units, due[0] ? ", " : "", due,
				m->victims[0] ? ", takes " : "", text_safe(c, m->victims));
		}
	fprintf(c->out, "  recalls   %u running; since then %s done, %s late\n", v->claims_running,
		text_count(c, (int64_t)v->claims_done), text_count(c, (int64_t)v->claims_breached));
	if (v->promises_given)
		fprintf(c->out, "  promises  since then %s %s promised; %s kept, %s broken\n",
			text_count(c, (int64_t)v->promises_given), text_plural(v->promises_given, "start", "starts"), text_count(c, (int64_t)v->promises_kept),
			text_count(c, (int64_t)v->promises_broken));
	if (v->estimates)
		fprintf(c->out, "  estimates since then %s %s; %" PRIu64 " %% no later than p90, off by %s on average\n",
			text_count(c, (int64_t)v->estimates), text_plural(v->estimates, "start", "starts"), v->estimates_in * 100 / v->estimates,
			text_age(c, v->estimate_error_ms));
}

static void print_notes(struct ctl *c, const struct view_status *v)
{
	if (v->notes_n)
		fputc('\n', c->out);
	for (uint32_t i = 0; i < v->notes_n; i++)
		fprintf(c->out, "  %s!%s %s\n", c->colors ? "\033[33m" : "", c->colors ? "\033[0m" : "",
			text_safe(c, v->notes[i].s));
}

static void print_status(struct ctl *c, const struct view_status *v, const char *only)
{
	print_head(c, v);
	for (uint32_t i = 0; i < v->flavors_n; i++)
		print_flavor(c, v, v->flavors[i].name, only);
	if (v->sides_n)
		fprintf(c->out, "%23s%s guaranteed   %s on loan   %s lent out   %s free or out\n", "", c->ascii ? "#" : "█",
			c->ascii ? "=" : "░", c->ascii ? "-" : "▒", c->ascii ? "." : "·");
	fputc('\n', c->out);
	print_claims(c, v);
	print_notes(c, v);
}

int status_print(struct ctl *c)
{
	struct query q = {.type = QUERY_STATUS};
	struct view_status v = {0};
	int r = ask(c, &q, &v, "read the status");

	if (r)
		return r;
	if (c->json)
		return json_item(c, "status", v.seq, json_of(&schema_view_status, &v));
	if (!c->quiet)
		print_status(c, &v, NULL);
	return 0;
}

int cmd_status(struct ctl *c, const struct call *call)
{
	(void)call;
	return status_print(c);
}

/* ---- top ------------------------------------------------------------------------------------- */

/* One picture, built apart and written at once so that it does not flicker. */
static int top_frame(struct ctl *c, const struct call *call, const char *side)
{
	struct query q = {.type = QUERY_STATUS};
	struct view_status v = {0};
	struct err err = {0};
	FILE *terminal = c->out, *errs = c->errs;
	char *text = NULL;
	size_t len = 0;
	FILE *f;
	int r = ask_err(c, &q, &v, c->timeout_ms, &err);

	if (r == ERR_DENIED || r == ERR_INVAL || r == ERR_INTERRUPTED)
		return r == ERR_INTERRUPTED ? EXIT_INTERRUPTED : fault(c, &err, "cannot read the status");
	f = open_memstream(&text, &len);
	if (!f)
		return EXIT_OTHER;
	c->out = c->errs = f;
	c->now_ms = wall_ms(wall_now());
	if (r) { /* the picture is old now, and says so */
		fprintf(f, "%s  sluisd does not answer: %s\n", text_time(c, c->now_ms), err.msg);
	} else {
		print_status(c, &v, side);
		fputc('\n', f);
		r = queue_print(c, call);
	}
	fclose(f);
	c->out = terminal;
	c->errs = errs;
	if (c->tty)
		fputs("\033[H\033[2J", c->out);
	fwrite(text, 1, len, c->out);
	fflush(c->out);
	free(text);
	return 0;
}

int cmd_top(struct ctl *c, const struct call *call)
{
	const char *side = call_get(call, "side");
	int64_t interval_ms = 2000;
	int r;

	if (side && strcmp(side, "public") != 0 && strcmp(side, "private") != 0) {
		try_next(c, "--side public or --side private");
		return usage_fault(c, "--side: '%s' is not known", side);
	}
	if (opt_duration(c, call, "interval", &interval_ms))
		return EXIT_USAGE;
	if (interval_ms < 100)
		interval_ms = 100;
	r = conn_resolve(c);
	if (r)
		return r;
	if (c->json) {
		try_next(c, "sluisctl status --json --watch");
		return usage_fault(c, "top is for people");
	}
	stop_catch();
	while (!stop_signal) {
		struct arena keep = scratch_begin(c);

		r = top_frame(c, call, side);
		scratch_end(c, keep);
		if (r)
			return r;
		sleep_ms(interval_ms);
	}
	return EXIT_INTERRUPTED;
}

/* ---- claims, deficit, usage ------------------------------------------------------------------ */

static int breaches_print(struct ctl *c, const struct view_claims *v)
{
	static const struct column cols[] = {
		{"due", "DUE", 0}, {"claim", "CLAIM", COL_RIGHT}, {"owner", "FOR", 0}, {"qnode", "OF", COL_SHRINK},
		{"late", "LATE BY", COL_RIGHT}, {"cause", "WHY", 0}, {"victim", "WHO", 0}, {"node", "WHERE", 0},
	};
	struct table *t;
	int r;

	if (c->json)
		return json_list(c, "claims_late", v->seq, &schema_breach_view, v->breaches, v->breaches_n, NULL);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < v->breaches_n; i++) {
		const struct breach_view *b = &v->breaches[i];

		table_row(t);
		table_cell(t, "%s", text_time(c, b->breach.due_ms));
		table_cell(t, "%" PRIu64, b->breach.claim);
		table_cell(t, "%s", b->owner);
		table_cell(t, "%s", b->qnode);
		table_cell(t, "%s%s", text_age(c, b->breach.late_ms), b->breach.dropped ? ", given up" : "");
		table_cell(t, "%s", b->cause);
		table_cell(t, "%s", b->victim[0] ? b->victim : "-");
		table_cell(t, "%s", b->node[0] ? b->node : "-");
	}
	r = table_print(t);
	if (!r && !v->breaches_n && !c->plain)
		fputs("no recall was late\n", c->out);
	return r;
}

int cmd_claim_list(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {
		{"id", "CLAIM", COL_RIGHT}, {"owner", "FOR", 0}, {"units", "UNITS", COL_RIGHT}, {"here", "HERE", COL_RIGHT},
		{"due", "DUE", 0}, {"victims", "TAKES", COL_SHRINK}, {"note", "NOTE", 0},
	};
	struct query q = {.type = QUERY_CLAIMS};
	struct view_claims v = {0};
	struct table *t;
	int r = ask(c, &q, &v, "read the claims");

	if (r)
		return r;
	if (call_has(call, "late"))
		return breaches_print(c, &v);
	if (c->json)
		return json_list(c, "claim_list", v.seq, &schema_claim_view, v.items, v.items_n, NULL);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < v.items_n; i++) {
		const struct claim_view *m = &v.items[i];

		table_row(t);
		table_cell(t, "%" PRIu64, m->claim.id);
		table_cell(t, "%s", m->owner);
		table_cell(t, "%u", m->claim.units);
		table_cell(t, "%u", m->units_here);
		table_cell(t, "%s", c->plain ? text_age(c, m->due_in_ms) : claim_due(c, m));
		table_cell(t, "%s", m->victims);
		table_cell(t, "%s", m->note);
	}
	r = table_print(t);
	if (!r && !v.items_n && !c->plain)
		fputs("no recall is running\n", c->out);
	if (!r && v.breaches_n && !c->plain && !c->no_header)
		fprintf(c->out, "%u came late before: sluisctl claim list --late\n", v.breaches_n);
	return r;
}

/* A name that is no node and no label of one would lose nothing: better said than answered. */
static int deficit_named(struct ctl *c, const char *name)
{
	struct query q = {.type = QUERY_NODES};
	struct view_nodes v = {0};
	const char *eq = strchr(name, '=');
	struct err err = {0};
	int r = name[0] ? ask(c, &q, &v, "read the nodes") : 0;

	if (r || !name[0])
		return r;
	for (uint32_t i = 0; i < v.items_n; i++) {
		const struct node *n = &v.items[i].node;

		if (!strcmp(n->name, name))
			return 0;
		for (uint32_t k = 0; eq && k < n->labels_n; k++)
			if (strlen(n->labels[k].key) == (size_t)(eq - name) && !strncmp(n->labels[k].key, name, (size_t)(eq - name)) &&
			    !strcmp(n->labels[k].value, eq + 1))
				return 0;
	}
	(void)err_set(&err, ERR_NOTFOUND, eq ? "no node has the label '%.60s'" : "there is no node '%.60s'", name);
	(void)err_hint(&err, "sluisctl node list; a label is KEY=VALUE: sluisctl node show NODE");
	return fault(c, &err, "cannot preview the deficit");
}

int cmd_deficit(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {{"step", "STEP", 0}, {"who", "WHO", 0}, {"effect", "EFFECT", COL_SHRINK}};
	struct query q = {.type = QUERY_DEFICIT};
	struct view_deficit v = {0};
	struct table *t;
	int r;

	if (OPT_COPY(c, "--if-lost", call_get(call, "if-lost"), q.name))
		return EXIT_USAGE;
	r = deficit_named(c, q.name);
	if (!r)
		r = ask(c, &q, &v, "preview the deficit");
	if (r)
		return r;
	if (c->json)
		return json_list(c, "deficit", v.seq, &schema_deficit_view, v.items, v.items_n, NULL);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < v.items_n; i++) {
		table_row(t);
		table_cell(t, "%s", v.items[i].step);
		table_cell(t, "%s", v.items[i].who);
		table_cell(t, "%s", v.items[i].effect);
	}
	r = table_print(t);
	if (!r && !v.items_n && !c->plain)
		fprintf(c->out, "%s\n", q.name[0] ? "nobody would lack anything"
						  : "nothing is missing: live devices cover what is promised");
	return r;
}

struct usage_sum { const char *key; const char *path; int64_t guaranteed, loan, refunded, idle, left; uint64_t done, late; };

/* The part of a path that rows are added up by. */
static const char *usage_key(struct ctl *c, const struct usage_view *u, const char *by)
{
	const char *slash = strchr(u->path, '/');

	if (!strcmp(by, "side"))
		return text_f(c, "%.*s", slash ? (int)(slash - u->path) : (int)strlen(u->path), u->path);
	if (!strcmp(by, "flavor"))
		return u->flavor[0] ? u->flavor : "-";
	if (!strcmp(by, "sector")) {
		const char *end = slash ? strchr(slash + 1, '/') : NULL;

		return slash ? text_f(c, "%.*s", end ? (int)(end - slash - 1) : (int)strlen(slash + 1), slash + 1) : u->path;
	}
	return u->path;
}

static bool usage_wanted(const struct usage_view *u, const char *by)
{
	bool is_private = !strncmp(u->path, "private", 7);

	if (!strcmp(by, "project") || !strcmp(by, "sector"))
		return !is_private;
	return strcmp(by, "provider") != 0 || is_private;
}

static void usage_add(struct usage_sum *sums, size_t *n, const char *key, const struct usage_view *u)
{
	size_t i = 0;

	while (i < *n && strcmp(sums[i].key, key) != 0)
		i++;
	if (i == *n)
		sums[(*n)++] = (struct usage_sum){.key = key, .left = -1};
	sums[i].guaranteed += u->guaranteed_rums;
	sums[i].loan += u->loan_rums;
	sums[i].refunded += u->refunded_rums;
	sums[i].idle += u->idle_rums;
	if (!sums[i].path || strcmp(sums[i].path, u->path) != 0) { /* rows of one come one after the other */
		sums[i].done += u->claims_done;
		sums[i].late += u->claims_late;
	}
	sums[i].path = u->path;
	/* every row of one project carries the same budget */
	if (u->budget_left_rums >= 0)
		sums[i].left = u->budget_left_rums;
}

int cmd_usage(struct ctl *c, const struct call *call)
{
	static const char *const bys[] = {"project", "sector", "provider", "side", "flavor", NULL};
	const char *by = call_get(call, "by") ? call_get(call, "by") : "project";
	struct query q = {.type = QUERY_USAGE};
	struct view_usage v = {0};
	struct usage_sum *sums;
	struct table *t;
	int word = 0, r;
	size_t n = 0;

	if (opt_word(c, call, "by", bys, &word) || OPT_COPY(c, "--of", call_get(call, "of"), q.name))
		return EXIT_USAGE;
	r = ask(c, &q, &v, "read the usage");
	if (r)
		return r;
	if (c->json)
		return json_list(c, "usage", v.seq, &schema_usage_view, v.items, v.items_n, NULL);
	sums = arena_alloc(&c->arena, (v.items_n + 1) * sizeof *sums);
	for (uint32_t i = 0; i < v.items_n; i++)
		if (usage_wanted(&v.items[i], by))
			usage_add(sums, &n, usage_key(c, &v.items[i], by), &v.items[i]);
	{
		const struct column cols[] = {
			{by, text_f(c, "%s", by), 0}, {"guaranteed", "GUARANTEED", COL_RIGHT}, {"loan", "LOAN", COL_RIGHT},
			{"refunded", "REFUNDED", COL_RIGHT}, {"idle", "IDLE", COL_RIGHT},
			{"budget_left", "BUDGET LEFT", COL_RIGHT},
		};
		struct column titled[ARRAY_LEN(cols)];
		char title[16];

		memcpy(titled, cols, sizeof cols);
		snprintf(title, sizeof title, "%s", by);
		for (char *p = title; *p; p++)
			*p = (char)(*p - ('a' - 'A'));
		titled[0].title = title;
		t = table_new(c, titled, ARRAY_LEN(titled));
		for (size_t i = 0; i < n; i++) {
			table_row(t);
			table_cell(t, "%s", sums[i].key);
			table_cell(t, "%s", text_gpuh(c, sums[i].guaranteed));
			table_cell(t, "%s", text_gpuh(c, sums[i].loan));
			table_cell(t, "%s", text_gpuh(c, sums[i].refunded));
			table_cell(t, "%s", text_gpuh(c, sums[i].idle));
			table_cell(t, "%s", sums[i].left < 0 || strcmp(by, "project") != 0 ? "-" : text_gpuh(c, sums[i].left));
		}
		r = table_print(t);
	}
	for (size_t i = 0; i < n && !r && !c->plain && !c->no_header; i++)
		if (sums[i].done || sums[i].late)
			fprintf(c->out, "%s: %s %s served, %s late%s\n", sums[i].key, text_count(c, (int64_t)sums[i].done),
				text_plural(sums[i].done, "recall", "recalls"),
				text_count(c, (int64_t)sums[i].late), sums[i].late ? " (sluisctl claim list --late)" : "");
	if (!r && !c->plain && !c->no_header)
		fprintf(c->out, n ? "GPU-hours of weight 1; as of seq %s\n" : "nothing was used yet; as of seq %s\n",
			text_count(c, (int64_t)v.seq));
	return r;
}

/* Slurm's sshare: who has had less per weight comes first. */
int cmd_share(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {
		{"path", "PATH", COL_SHRINK | COL_TAIL}, {"user", "USER", 0}, {"weight", "WEIGHT", COL_RIGHT},
		{"usage", "USAGE", COL_RIGHT}, {"turn", "TURN", COL_RIGHT},
	};
	struct query q = {.type = QUERY_SHARES};
	struct view_shares v = {0};
	struct table *t;
	int r;

	if (OPT_COPY(c, "--of", call_get(call, "of"), q.name))
		return EXIT_USAGE;
	r = ask(c, &q, &v, "read the shares");
	if (r)
		return r;
	if (q.name[0] && !v.items_n) {
		struct err err = {0};

		(void)err_set(&err, ERR_NOTFOUND, "there is no project '%s'", q.name);
		(void)err_hint(&err, "sluisctl project list");
		return fault(c, &err, NULL);
	}
	if (c->json)
		return json_list(c, "shares", v.seq, &schema_share_view, v.items, v.items_n, NULL);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < v.items_n; i++) {
		const struct share_view *s = &v.items[i];

		table_row(t);
		table_cell(t, "%s", s->path);
		table_cell(t, "%s", s->user[0] ? s->user : "-");
		table_cell(t, "%" PRIu32, s->weight);
		table_cell(t, "%s", text_gpuh(c, s->usage_rums));
		table_cell(t, "%" PRIu32, s->place);
	}
	r = table_print(t);
	if (!r && !c->plain && !c->no_header)
		fold_line(c, 2, text_f(c, v.items_n ? "GPU-hours of weight 1, halved every 14 days; less per weight goes first; as of seq %s"
						    : "there is no project yet; as of seq %s", text_count(c, (int64_t)v.seq)));
	return r;
}

/* ---- cluster --------------------------------------------------------------------------------- */

int cmd_cluster_info(struct ctl *c, const struct call *call)
{
	const struct msg_welcome *w;
	struct err err = {0};
	json_t *item;
	int r = conn_resolve(c);

	(void)call;
	if (r)
		return r;
	if (c->verbose) {
		fprintf(c->errs, "endpoint   %s (%s)\n", c->endpoint, c->endpoint_from);
		if (c->key_file[0])
			fprintf(c->errs, "key        %s (%s)\n", c->key_file, c->key_from);
		if (c->context[0])
			fprintf(c->errs, "context    %s\n", c->context);
		if (c->project[0])
			fprintf(c->errs, "project    %s\n", c->project);
	}
	if (conn_open(c, &err) || client_greet(c->client, c->timeout_ms, &err))
		return fault(c, &err, "cannot reach sluisd");
	w = client_welcome(c->client);
	if (c->json) {
		item = json_of(&schema_msg_welcome, w);
		json_object_set_new(item, "endpoint", json_string(c->endpoint));
		return json_item(c, "cluster", 0, item);
	}
	fprintf(c->out, "%s   %s, protocol %u, epoch %" PRIu64 "\n", text_safe(c, w->cluster), text_safe(c, w->program),
		w->version, w->epoch);
	fprintf(c->out, "  at      %s\n  you     %s, role %s\n", c->endpoint, text_safe(c, w->principal), role_name(w->role));
	fprintf(c->out, "  clock   %s ahead of this machine\n",
		text_f(c, "%" PRId64 " ms", w->server_ms - wall_ms(wall_now())));
	return 0;
}

int cmd_cluster_ping(struct ctl *c, const struct call *call)
{
	int64_t count = 1;

	if (opt_count(c, call, "count", 1, 100000, &count))
		return EXIT_USAGE;
	stop_catch();
	for (int64_t i = 0; i < count && !stop_signal; i++) {
		struct arena keep = scratch_begin(c);
		struct query q = {.type = QUERY_STATUS};
		struct view_status v = {0};
		struct mono start = mono_now();
		int r = ask(c, &q, &v, "ping");
		int64_t us = (mono_now().ns - start.ns) / 1000;

		if (!r && c->json) {
			json_t *item = json_object();

			json_object_set_new(item, "answer_us", json_integer(us));
			r = json_item(c, "ping", v.seq, item);
		} else if (!r && !c->quiet) {
			fprintf(c->out, "%s answered in %" PRId64 ".%03" PRId64 " ms, seq %s\n", text_safe(c, v.cluster),
				us / 1000, us % 1000, text_count(c, (int64_t)v.seq));
		}
		scratch_end(c, keep);
		if (r)
			return r;
		if (i + 1 < count)
			sleep_ms(1000);
	}
	return stop_signal ? EXIT_INTERRUPTED : 0;
}

int cmd_cluster_health(struct ctl *c, const struct call *call)
{
	struct query q = {.type = QUERY_STATUS};
	struct view_status v = {0};
	int r = ask(c, &q, &v, "read the status");
	const char *bad = r ? NULL : verdict(&v);

	(void)call;
	if (r)
		return r;
	if (c->json) {
		json_t *item = json_of(&schema_view_status, &v);

		json_object_set_new(item, "healthy", json_boolean(!bad));
		r = json_item(c, "health", v.seq, item);
		return r ? r : bad ? EXIT_OTHER : 0;
	}
	if (!c->quiet) {
		fprintf(c->out, "%s: %s, %u of %u nodes ready%s, seq %" PRIu64 ", %u %s\n", text_safe(c, v.cluster),
			bad ? bad : "healthy", v.nodes_ready, v.nodes, nodes_out_of_use(c, &v), v.seq, v.notes_n,
			text_plural(v.notes_n, "note", "notes"));
		print_notes(c, &v);
	}
	return bad ? EXIT_OTHER : 0;
}

int cmd_cluster_resume(struct ctl *c, const struct call *call)
{
	struct cmd_tick body = {0};
	struct client_reply reply = {0};
	int r = tell(c, CMD_RESUME, &body, (struct bytes){0}, &reply, "leave safe mode");

	(void)call;
	return r ? r : done_line(c, "cluster_resume", &reply, "resumed: jobs start and leases expire again");
}
