/* test_ctl_divide.c - the contract on its way from a file to the daemon, and what `diff` says of it
 *
 * The file says totals, the daemon counts own parts; a slip here would hand out capacity twice or not at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/divide.h"
#include "ctl/zone.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/config/units.h"
#include "proto/model/approval.h"
#include "proto/wire/tables.h"

static const char base_text[] =
	"version: 12\n"
	"cluster: t\n"
	"flavors:\n"
	"  h100: {vendor: nvidia, model: \"H100*\", memory: 80GiB, weight: 1000, devices_per_node: 8, scrub_max: 60s}\n"
	"  cpu: {unit: core, weight: 4}\n"
	"committed:\n"
	"  h100: {nodes: 14, gpus: 48}\n"
	"  cpu: {cores: 64}\n"
	"predicates:\n"
	"  dutch: {jurisdiction: [NL]}\n"
	"  eu: {jurisdiction: [NL, DE]}\n"
	"tree:\n"
	"  public:\n"
	"    nominal: {h100: {nodes: 2, gpus: 16}}\n"
	"    recall_slo: 15m\n"
	"    sectors:\n"
	"      health:\n"
	"        nominal: {h100: {nodes: 2}}\n"
	"        weight: 2\n"
	"        challenges:\n"
	"          lung:\n"
	"            projects:\n"
	"              lungnet:\n"
	"                pi: eva\n"
	"                members: [eva, ann]\n"
	"                require: [dutch]\n"
	"                borrowing_limit: {h100: {gpus: 16}}\n"
	"                limits: {running_jobs: 50, time_max: 48h}\n"
	"                grant:\n"
	"                  awarded: 4000 gpuh\n"
	"                  stages:\n"
	"                    - {name: pilot, amount: 400 gpuh, from: 2026-01-01, to: 2026-04-01}\n"
	"                    - {name: train, amount: 3000 gpuh, from: 2026-04-01, to: 2026-12-01, after: pilot}\n"
	"  private:\n"
	"    nominal: {h100: {nodes: 12, gpus: 32}}\n"
	"    lending_limit: {h100: {nodes: 8}}\n"
	"    classes:\n"
	"      company:\n"
	"        nominal: {h100: {nodes: 12}}\n"
	"        providers:\n"
	"          bluecloud: {tenant: b, nominal: {h100: {nodes: 8}}}\n";

static const int64_t NOW_MS = INT64_C(1800000000000); /* Friday 2027-01-15T08:00Z */

struct made {
	struct division *d;
	struct buf notes;
	struct cmd_division_apply cmd;
	struct snapshot snap;
	struct arena arena;
	struct err err;
	int code;
};

/* base_text with every `from` replaced by `to`. */
static void make(struct made *m, const char *from, const char *to)
{
	struct config_errors errs = CONFIG_ERRORS_INIT;
	struct buf b = BUF_INIT;

	memset(m, 0, sizeof *m);
	for (const char *p = base_text; *p;) {
		if (from && !strncmp(p, from, strlen(from))) {
			buf_addf(&b, "%s", to);
			p += strlen(from);
		} else {
			buf_add(&b, p++, 1);
		}
	}
	if (division_read_bytes("t.yaml", b.data, b.len, &m->d, &errs))
		fail_msg("line %u: %s", errs.list[0].line, errs.list[0].text);
	config_errors_done(&errs);
	buf_done(&b);
	m->code = divide_command(m->d, &m->arena, &m->cmd, &m->err);
	if (!m->code)
		m->code = divide_windows(m->d, NOW_MS, &m->arena, &m->cmd, &m->notes, &m->err);
	if (!m->code)
		snapshot_of_command(&m->cmd, &m->arena, &m->snap);
}

static void done(struct made *m)
{
	division_free(m->d);
	arena_done(&m->arena);
	buf_done(&m->notes);
}

static const struct qnode *named(const struct cmd_division_apply *a, const char *name)
{
	for (uint32_t i = 0; i < a->qnodes_n; i++)
		if (!strcmp(a->qnodes[i].name, name))
			return &a->qnodes[i];
	fail_msg("there is no %s", name);
	return NULL;
}

static const struct quota *quota_of(const struct qnode *q, uint16_t flavor, uint8_t shape)
{
	for (uint32_t i = 0; i < q->quotas_n; i++)
		if (q->quotas[i].flavor == flavor && q->quotas[i].shape == shape)
			return &q->quotas[i];
	return NULL;
}

static void test_own_parts_limits_and_parents(void **state)
{
	const struct quota *u;
	struct made m;

	(void)state;
	make(&m, NULL, NULL);
	assert_int_equal(m.code, 0);
	assert_int_equal(m.cmd.expect_version, 12);
	assert_int_equal(m.cmd.qnodes[0].kind, QNODE_ROOT);
	assert_int_equal(m.cmd.qnodes[0].parent, 0);
	for (uint32_t i = 1; i < m.cmd.qnodes_n; i++)
		assert_true(m.cmd.qnodes[i].parent >= 1 && m.cmd.qnodes[i].parent <= i);
	u = quota_of(named(&m.cmd, "public"), 1, SHAPE_NODE); /* both nodes are health's */
	assert_int_equal(u ? u->nominal : 0, 0);
	u = quota_of(named(&m.cmd, "public"), 1, SHAPE_GPU);
	assert_int_equal(u->nominal, 16);
	assert_int_equal(u->borrowing, QTY_UNLIMITED);
	assert_int_equal(u->lending, QTY_UNLIMITED);
	assert_int_equal(quota_of(named(&m.cmd, "health"), 1, SHAPE_NODE)->nominal, 2);
	u = quota_of(named(&m.cmd, "lungnet"), 1, SHAPE_GPU);
	assert_int_equal(u->nominal, 0);
	assert_int_equal(u->borrowing, 16);
	assert_int_equal(quota_of(named(&m.cmd, "private"), 1, SHAPE_NODE)->lending, 8);
	assert_int_equal(quota_of(named(&m.cmd, "company"), 1, SHAPE_NODE)->nominal, 4); /* 12 less bluecloud's 8 */
	assert_int_equal(quota_of(named(&m.cmd, "bluecloud"), 1, SHAPE_NODE)->nominal, 8);
	assert_int_equal(named(&m.cmd, "public")->recall_slo_ms, 15 * MS_PER_MIN);
	assert_int_equal(named(&m.cmd, "health")->weight, 2);
	assert_string_equal(named(&m.cmd, "lungnet")->pi, "eva");
	assert_int_equal(named(&m.cmd, "lungnet")->members_n, 2);
	assert_int_equal(named(&m.cmd, "lungnet")->running_jobs_max, 50);
	assert_int_equal(named(&m.cmd, "lungnet")->time_ms_max, 48 * MS_PER_HOUR);
	assert_string_equal(named(&m.cmd, "lungnet")->requires[0].value, "NL");
	assert_string_equal(named(&m.cmd, "bluecloud")->tenant, "b");
	done(&m);
}

/* The sums that the daemon will check are the sums of the file. */
static void test_totals_come_back(void **state)
{
	struct divide_sums sums;
	struct made m;

	(void)state;
	make(&m, NULL, NULL);
	assert_int_equal(m.snap.nodes[0].qty[0][SHAPE_NODE].nominal, 14);
	assert_int_equal(m.snap.nodes[0].qty[0][SHAPE_GPU].nominal, 48);
	sums = divide_sums(&m.snap, 0);
	assert_int_equal(sums.committed, 160);
	assert_int_equal(sums.public_devices, 32);
	assert_int_equal(sums.private_devices, 128);
	done(&m);
}

static void test_flavors_and_grants(void **state)
{
	const struct qnode *q;
	struct made m;

	(void)state;
	make(&m, NULL, NULL);
	assert_string_equal(m.cmd.flavors[0].name, "h100");
	assert_int_equal(m.cmd.flavors[0].unit, UNIT_DEVICE);
	assert_true(m.cmd.flavors[0].memory_mib_min <= 81559); /* what an 80 GiB device says it has */
	assert_int_equal(m.cmd.flavors[0].committed_nodes, 14);
	assert_int_equal(m.cmd.flavors[0].committed_units, 48);
	assert_int_equal(m.cmd.flavors[0].scrub_ms_max, 60000);
	assert_int_equal(m.cmd.flavors[1].unit, UNIT_CORE);
	assert_int_equal(m.cmd.flavors[1].committed_units, 64);
	q = named(&m.cmd, "lungnet");
	assert_int_equal(q->stages_n, 2);
	assert_int_equal(q->stages[0].state, STAGE_RELEASED);
	assert_int_equal(q->stages[1].state, STAGE_LOCKED); /* it comes after another */
	assert_int_equal(q->stages[0].amount_rums, 400 * MS_PER_HOUR);
	assert_int_equal(q->stages[1].to_ms, INT64_C(1796083200000));
	done(&m);
}

/* A rule of sovereignty that would not be enforced must not look as if it were. */
static void test_rules_that_cannot_be_enforced_are_refused_or_told(void **state)
{
	CLEANUP(buf_done) struct buf notes = BUF_INIT;
	struct made m;

	(void)state;
	make(&m, "require: [dutch]", "require: [eu]");
	assert_int_equal(m.code, ERR_UNSUPPORTED);
	assert_non_null(strstr(m.err.msg, "one of several values of jurisdiction cannot be enforced"));
	assert_true(m.err.hint[0] != '\0');
	done(&m);
	make(&m, "                  awarded: 4000 gpuh\n",
	     "                  awarded: 4000 gpuh\n                  approve: {k: 2, of: [gatekeeper, reviewer]}\n");
	divide_notes(m.d, &notes);
	assert_non_null(strstr(buf_cstr(&notes), "one gatekeeper releases stages of lungnet; approve.k is kept in the file"));
	done(&m);
}

/* ---- windows --------------------------------------------------------------------------------- */

#define BLUECLOUD "          bluecloud: {tenant: b, nominal: {h100: {nodes: 8}}}\n"
#define WINDOWED(limit, rows) "          bluecloud:\n            tenant: b\n            nominal: {h100: {nodes: 8}}\n" limit \
			      "            windows:\n" rows

#define EVENING(nodes) "              - {every: weekday, from: \"18:00\", to: \"24:00\", borrowing_limit: {h100: {nodes: " nodes "}}}\n"

static int64_t ms_of(const char *text)
{
	int64_t ms = 0;
	struct err err;

	assert_int_equal(units_instant(text, 0, UNITS_UTC, &ms, &err), 0);
	return ms;
}

/* The span of a window that begins on that day of UTC. */
static const struct window_span *span_on(const struct qnode *q, uint8_t window, const char *day)
{
	for (uint32_t i = 0; i < q->window_spans_n; i++)
		if (q->window_spans[i].window == window && q->window_spans[i].from_ms / MS_PER_DAY == ms_of(day) / MS_PER_DAY)
			return &q->window_spans[i];
	return NULL;
}

#define SPAN_IS(s, from, to)                                                                                           \
	do {                                                                                                           \
		assert_non_null(s);                                                                                    \
		assert_int_equal((s)->from_ms, ms_of(from));                                                           \
		assert_int_equal((s)->to_ms, ms_of(to));                                                               \
	} while (0)

static void test_windows_follow_their_clock(void **state)
{
	const struct qnode *q;
	struct made m;

	(void)state;
	if (!zone_known("Europe/Amsterdam")) {
		printf("skip: there are no rules of time zones here (tzdata)\n");
		skip();
	}
	make(&m, BLUECLOUD,
	     WINDOWED("            borrowing_limit: {h100: {nodes: 1}}\n",
		      "              - {every: weekday, from: \"18:00\", to: \"24:00\", zone: Europe/Amsterdam, borrowing_limit: {h100: {nodes: 2}}}\n"
		      "              - {every: day, from: \"02:30\", to: \"03:30\", zone: Europe/Amsterdam, borrowing_limit: {h100: {nodes: 3}}}\n"
		      "              - {every: weekend, from: \"00:00\", to: \"08:00\", borrowing_limit: {h100: {nodes: 4}}}\n"));
	assert_int_equal(m.code, 0);
	q = named(&m.cmd, "bluecloud");
	assert_int_equal(q->windows_n, 3);
	assert_int_equal(q->window_limits_n, 3);
	assert_int_equal(q->window_limits[1].window, 1);
	assert_int_equal(q->window_limits[1].shape, SHAPE_NODE);
	assert_int_equal(q->window_limits[1].borrowing, 3);
	assert_int_equal(strncmp(q->windows[0].zone, "Europe/Amsterdam", 16), 0);
	/* an hour earlier from the last Sunday of March on */
	SPAN_IS(span_on(q, 0, "2027-01-15"), "2027-01-15T17:00Z", "2027-01-15T23:00Z");
	assert_null(span_on(q, 0, "2027-01-16")); /* a Saturday */
	SPAN_IS(span_on(q, 0, "2027-03-26"), "2027-03-26T17:00Z", "2027-03-26T23:00Z");
	SPAN_IS(span_on(q, 0, "2027-03-29"), "2027-03-29T16:00Z", "2027-03-29T22:00Z");
	/* what the clock skips begins when it jumps; what it shows twice begins the first time */
	SPAN_IS(span_on(q, 1, "2027-03-28"), "2027-03-28T01:00Z", "2027-03-28T01:30Z");
	SPAN_IS(span_on(q, 1, "2027-10-31"), "2027-10-31T00:30Z", "2027-10-31T02:30Z");
	assert_non_null(strstr(buf_cstr(&m.notes), "windows of bluecloud: the clock of Europe/Amsterdam skips 2027-03-28T02:30"));
	assert_non_null(strstr(buf_cstr(&m.notes), ": 2027-03-28T01:00"));
	assert_non_null(strstr(buf_cstr(&m.notes), "the clock of Europe/Amsterdam shows twice 2027-10-31T02:30"));
	/* without a zone: UTC. What is over is not there; the last is 400 days ahead */
	assert_string_equal(q->windows[2].zone[0] == 'U' ? "UTC" : q->windows[2].zone, "UTC");
	assert_null(span_on(q, 2, "2027-01-15"));
	SPAN_IS(span_on(q, 2, "2027-01-16"), "2027-01-16T00:00Z", "2027-01-16T08:00Z");
	assert_null(span_on(q, 1, "2027-01-15")); /* over: it was 9 there */
	assert_int_equal(q->window_spans[q->window_spans_n - 1].from_ms, ms_of("2028-02-19")); /* the last weekend day in it */
	done(&m);
}

/* The second reading of a clock that is set back ends a window, the first begins it; a window that is skipped is none. */
static void test_a_clock_that_jumps(void **state)
{
	struct zone_was was;
	int64_t s = 0;

	(void)state;
	if (!zone_known("Europe/Amsterdam")) {
		printf("skip: there are no rules of time zones here (tzdata)\n");
		skip();
	}
	zone_enter("Europe/Amsterdam", &was);
	assert_int_equal(zone_instant(ms_of("2027-10-31T02:30Z") / 1000, false, &s), ZONE_TWICE);
	assert_int_equal(s * 1000, ms_of("2027-10-31T00:30Z"));
	assert_int_equal(zone_instant(ms_of("2027-10-31T02:30Z") / 1000, true, &s), ZONE_TWICE);
	assert_int_equal(s * 1000, ms_of("2027-10-31T01:30Z"));
	assert_int_equal(zone_instant(ms_of("2027-03-28T02:00Z") / 1000, true, &s), ZONE_NEVER);
	assert_int_equal(s * 1000, ms_of("2027-03-28T01:00Z"));
	assert_int_equal(zone_instant(ms_of("2027-03-28T02:59Z") / 1000, false, &s), ZONE_NEVER);
	assert_int_equal(s * 1000, ms_of("2027-03-28T01:00Z"));
	assert_int_equal(zone_instant(ms_of("2027-03-28T03:00Z") / 1000, false, &s), ZONE_ONCE);
	assert_int_equal(s * 1000, ms_of("2027-03-28T01:00Z"));
	assert_int_equal(zone_instant(ms_of("2027-03-28T01:59Z") / 1000, false, &s), ZONE_ONCE);
	assert_int_equal(s * 1000, ms_of("2027-03-28T00:59Z"));
	zone_leave(&was);
	assert_false(zone_known("Europe/Amsterdan"));
	assert_false(zone_known("../../etc/passwd"));
	assert_false(zone_known("/etc/passwd"));
	assert_false(zone_known(""));
	assert_true(zone_known("UTC"));
}

static void test_windows_that_cannot_be_meant_are_said(void **state)
{
	struct made m;

	(void)state;
	make(&m, BLUECLOUD, WINDOWED("", "              - {every: day, from: \"18:00\", to: \"24:00\", zone: Mars/Olympus, borrowing_limit: {h100: {nodes: 2}}}\n"));
	assert_int_equal(m.code, ERR_NOTFOUND);
	assert_string_equal(m.err.msg, "line 45: this machine knows no time zone 'Mars/Olympus'");
	done(&m);
	/* nothing to raise: what a window allows, everything else allows, too */
	make(&m, BLUECLOUD, WINDOWED("", "              - {every: day, from: \"18:00\", to: \"24:00\", borrowing_limit: {h100: {nodes: 2}}}\n"));
	assert_int_equal(m.code, 0);
	assert_string_equal(buf_cstr(&m.notes), "line 45: bluecloud borrows nodes of h100 without limit outside this window: its "
						"borrowing_limit says nothing of them\n");
	done(&m);
}

/* As many as there may be, on every day: a second person can still be asked. */
static void test_all_windows_fit_a_proposal(void **state)
{
	CLEANUP(buf_done) struct buf rows = BUF_INIT;
	CLEANUP(buf_done) struct buf body = BUF_INIT;
	struct made m;

	(void)state;
	for (int p = 0; p < DIVISION_WINDOWS_MAX / QUOTA_WINDOWS_MAX; p++) {
		buf_addf(&rows, "          w%d:\n            tenant: w\n            windows:\n", p);
		for (int i = 0; i < QUOTA_WINDOWS_MAX; i++)
			buf_addf(&rows, "              - {every: day, from: \"1%d:00\", to: \"1%d:30\", borrowing_limit: {h100: {gpus: 9}}}\n",
				 i, i);
	}
	make(&m, BLUECLOUD, buf_cstr(&rows));
	assert_int_equal(m.code, 0);
	assert_int_equal(m.cmd.qnodes[m.cmd.qnodes_n - 1].window_spans_n, QUOTA_WINDOWS_MAX * (WINDOW_DAYS_AHEAD + 1));
	schema_encode(&schema_cmd_division_apply, &m.cmd, &body);
	assert_true(body.len > 100000 && body.len < APPROVAL_BODY_BYTES_MAX);
	done(&m);
}

/* ---- diff ------------------------------------------------------------------------------------ */

/* What the daemon would show after `a` was applied: ids, and use of one node. */
static void as_view(const struct cmd_division_apply *a, struct arena *arena, struct view_division *v)
{
	*v = (struct view_division){.version = 12, .flavors_n = a->flavors_n, .items_n = a->qnodes_n};
	v->flavors = arena_copy(arena, a->flavors, a->flavors_n * sizeof *a->flavors);
	v->items = arena_alloc(arena, a->qnodes_n * sizeof *v->items);
	for (uint32_t i = 0; i < a->flavors_n; i++)
		v->flavors[i].id = (uint16_t)(10 + i);
	for (uint32_t i = 0; i < a->qnodes_n; i++) {
		/* the last first: parents need not come before their children */
		struct qnode_view *n = &v->items[a->qnodes_n - 1 - i];

		n->qnode = a->qnodes[i];
		n->qnode.id = i + 1;
		if (!i)
			n->qnode.parent = 1;
		if (n->qnode.window_limits_n)
			n->qnode.window_limits = arena_copy(arena, a->qnodes[i].window_limits,
							    n->qnode.window_limits_n * sizeof(struct window_limit));
		for (uint32_t k = 0; k < n->qnode.window_limits_n; k++)
			n->qnode.window_limits[k].flavor = (uint16_t)(n->qnode.window_limits[k].flavor + 9);
		n->qnode.quotas = arena_copy(arena, a->qnodes[i].quotas, (a->qnodes[i].quotas_n + 1) * sizeof(struct quota));
		n->uses = arena_alloc(arena, (a->qnodes[i].quotas_n + 1) * sizeof *n->uses);
		n->uses_n = a->qnodes[i].quotas_n;
		for (uint32_t k = 0; k < n->qnode.quotas_n; k++) {
			n->qnode.quotas[k].flavor = (uint16_t)(n->qnode.quotas[k].flavor + 9);
			n->uses[k].usage_guaranteed = 4;
		}
	}
}

static const struct change *change_of(const struct change *list, uint32_t n, const char *path, const char *field)
{
	for (uint32_t i = 0; i < n; i++)
		if (!strcmp(list[i].path, path) && !strcmp(list[i].field, field))
			return &list[i];
	return NULL;
}

static uint32_t diff(struct made *was, struct made *is, struct change **ret)
{
	struct view_division v;
	struct snapshot s;
	uint32_t n = 0;

	as_view(&was->cmd, &was->arena, &v);
	snapshot_of_view(&v, &was->arena, &s);
	assert_int_equal(s.nodes_n, was->cmd.qnodes_n);
	divide_diff(&s, &is->snap, &is->arena, ret, &n);
	return n;
}

static void test_what_was_applied_differs_in_nothing(void **state)
{
	struct change *list;
	struct made was, is;

	(void)state;
	make(&was, NULL, NULL);
	make(&is, NULL, NULL);
	assert_int_equal(diff(&was, &is, &list), 0);
	done(&was);
	done(&is);
}

static void test_a_lowered_nominal_says_who_is_touched(void **state)
{
	const struct change *ch;
	struct change *list;
	struct made was, is;
	uint32_t n;

	(void)state;
	make(&was, NULL, NULL);
	make(&is, "{tenant: b, nominal: {h100: {nodes: 8}}}", "{tenant: b, nominal: {h100: {nodes: 3}}}");
	n = diff(&was, &is, &list);
	assert_int_equal(n, 1); /* company's total stays, only its own part moved */
	ch = change_of(list, n, "tree/private/company/bluecloud", "nominal h100");
	assert_non_null(ch);
	assert_int_equal(ch->kind, CHANGE_DOWN);
	assert_string_equal(ch->was, "8 nodes");
	assert_string_equal(ch->is, "3 nodes");
	assert_int_equal(strncmp(ch->note, "in use 4: what is above it goes on", 34), 0);
	done(&was);
	done(&is);
}

static void test_new_gone_and_changed_rows(void **state)
{
	const struct change *ch;
	struct change *list;
	struct made was, is;
	uint32_t n;

	(void)state;
	make(&was, NULL, NULL);
	make(&is, "          bluecloud: {tenant: b, nominal: {h100: {nodes: 8}}}\n",
	     "          polder: {tenant: p, nominal: {h100: {nodes: 1}}}\n");
	n = diff(&was, &is, &list);
	assert_int_equal(n, 2);
	ch = change_of(list, n, "tree/private/company/polder", "");
	assert_int_equal(ch->kind, CHANGE_NEW);
	assert_string_equal(ch->is, "nominal h100 1 node");
	ch = change_of(list, n, "tree/private/company/bluecloud", "");
	assert_int_equal(ch->kind, CHANGE_GONE);
	done(&is);
	make(&is, "amount: 400 gpuh", "amount: 500 gpuh");
	n = diff(&was, &is, &list);
	assert_int_equal(n, 1);
	assert_int_equal(list[0].kind, CHANGE_UP);
	assert_string_equal(list[0].field, "stage pilot");
	assert_string_equal(list[0].is, "500 gpuh");
	done(&is);
	make(&is, "members: [eva, ann]", "members: [eva, tom]");
	n = diff(&was, &is, &list);
	assert_int_equal(n, 2);
	assert_string_equal(list[0].is, "tom");
	assert_string_equal(list[1].was, "ann");
	done(&is);
	make(&is, "borrowing_limit: {h100: {gpus: 16}}", "weight: 3");
	n = diff(&was, &is, &list);
	assert_int_equal(n, 2);
	assert_string_equal(change_of(list, n, "tree/public/health/lung/lungnet", "borrowing_limit h100")->is, "no limit");
	assert_string_equal(change_of(list, n, "tree/public/health/lung/lungnet", "weight")->is, "3");
	done(&is);
	make(&is, "      company:\n", "      company:\n        concentration_cap: 62.5 %\n");
	assert_int_equal(named(&is.cmd, "company")->concentration_cap_ppm, 625000);
	n = diff(&was, &is, &list);
	assert_int_equal(n, 1);
	assert_string_equal(list[0].path, "tree/private/company");
	assert_string_equal(list[0].field, "concentration_cap");
	assert_string_equal(list[0].was, "none");
	assert_string_equal(list[0].is, "62.5 %");
	done(&is);
	make(&is, BLUECLOUD, WINDOWED("", EVENING("2")));
	n = diff(&was, &is, &list);
	assert_int_equal(n, 1);
	assert_string_equal(list[0].path, "tree/private/company/bluecloud");
	assert_string_equal(list[0].field, "windows");
	assert_string_equal(list[0].was, "none");
	assert_string_equal(list[0].is, "weekday 18:00-24:00 UTC, 2 nodes h100");
	done(&was);
	make(&was, BLUECLOUD, WINDOWED("", EVENING("2")));
	was.cmd.qnodes[was.cmd.qnodes_n - 1].window_spans_n = 3; /* those that have passed are no difference */
	assert_int_equal(diff(&was, &is, &list), 0);
	done(&is);
	make(&is, BLUECLOUD, WINDOWED("", EVENING("3")));
	assert_int_equal(diff(&was, &is, &list), 1);
	done(&is);
	done(&was);
	make(&was, NULL, NULL);
	make(&is, "recall_slo: 15m", "recall_slo: 5m");
	n = diff(&was, &is, &list);
	assert_int_equal(n, 1);
	assert_string_equal(list[0].was, "15m");
	done(&is);
	done(&was);
}

static void test_first_division_is_all_new(void **state)
{
	static const struct view_division nothing;
	struct change *list;
	struct snapshot s;
	struct made is;
	uint32_t n;

	(void)state;
	make(&is, NULL, NULL);
	snapshot_of_view(&nothing, &is.arena, &s);
	assert_int_equal(s.nodes_n, 0);
	divide_diff(&s, &is.snap, &is.arena, &list, &n);
	assert_int_equal(n, is.cmd.qnodes_n + is.cmd.flavors_n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(list[i].kind, CHANGE_NEW);
	done(&is);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_parts_limits_and_parents),
		cmocka_unit_test(test_totals_come_back),
		cmocka_unit_test(test_flavors_and_grants),
		cmocka_unit_test(test_rules_that_cannot_be_enforced_are_refused_or_told),
		cmocka_unit_test(test_windows_follow_their_clock),
		cmocka_unit_test(test_a_clock_that_jumps),
		cmocka_unit_test(test_windows_that_cannot_be_meant_are_said),
		cmocka_unit_test(test_all_windows_fit_a_proposal),
		cmocka_unit_test(test_what_was_applied_differs_in_nothing),
		cmocka_unit_test(test_a_lowered_nominal_says_who_is_touched),
		cmocka_unit_test(test_new_gone_and_changed_rows),
		cmocka_unit_test(test_first_division_is_all_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
