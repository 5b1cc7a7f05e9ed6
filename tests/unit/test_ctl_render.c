/* test_ctl_render.c - one answer, four forms: screen, tab-separated, JSON, and the bar of the division
 *
 * Scripts read --plain and --json, so their bytes are a contract; people read the screens, so each of them
 * is kept here as it looked when somebody found it good.
 */
#include <locale.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "ctl/bar.h"
#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/config/directives.h"

#define NOW INT64_C(1795528920000) /* 2026-11-24T14:02:00Z */
enum { MIN = 60000 };

struct run {
	struct ctl c;
	char *out, *errs;
	size_t out_n, errs_n;
};

/* The cluster of this file: what the fake daemon answers. */
static struct job_view jobs[4];
#define TERM_END INT64_C(1797984000000) /* 2026-12-23T00:00:00Z */
static int64_t leases_term_end_ms = TERM_END;
static bool stop_in_answer;
static bool flow_has_ended;
static bool nodes_are_gone;
static const char *refusal; /* what any command is refused with */
static const char *node_note;
static uint64_t ids_from; /* after a restore numbers are large */
static bool on_a_terminal, sides_are_small;
static int terminal_columns = 80;
static bool huge_was_cancelled; /* before it ever started */
static uint16_t huge_waits_for = REASON_STAGE;
static struct dependency huge_deps[2] = {{DEP_AFTEROK, 12}, {DEP_AFTERANY, 13}};
static int64_t huge_eligible_ms;
static int output_code;	        /* whoever has the output answers so; 0: nobody is asked for any */
static uint64_t told_id = 77;
static unsigned told;
static uint32_t reserved_n; /* windows of the last reservation that was asked for */
static int64_t reserved_from_ms[WINDOWS_MAX], reserved_for_ms[WINDOWS_MAX], reserved_repeat_ms;
static struct node_ref flow_ran[2] = {{6}, {7}};
static struct lease_view leases[2];
static struct replica_view replicas[2];
static struct flavor_view flavors[1];
static struct side_view sides[2];
static struct string notes[1] = {{"node n011 is unreachable"}};
static struct claim_view claims[1];
static bool claim_is_late, claim_is_here;
static struct node_view nodes[1];
static struct device devices[1];
static struct label labels[1] = {{"leaf", "leaf2"}};
static struct reason_view reasons[2];
static struct change_view changes[1] = {{"--flavor mi250x", "free now"}};
static struct string kept[1] = {{"train.sh:6: --mail-type=END"}};
static struct usage_view usages[2];

static void job(struct job_view *v, uint64_t id, const char *name, const char *user, uint32_t gpus, uint8_t state)
{
	*v = (struct job_view){.job = {.id = ids_from + id, .state = state, .attempt = 1, .submit_ms = NOW - 90 * MIN,
				       .spec = {.units = gpus, .units_max = gpus, .klass = JOB_NORMAL,
						.time_limit_ms = 120 * MIN, .notice_ms = 2 * MIN}}};
	snprintf(v->job.spec.name, sizeof v->job.spec.name, "%s", name);
	snprintf(v->job.user, sizeof v->job.user, "%s", user);
	snprintf(v->state, sizeof v->state, "%s", job_state_code(state));
	snprintf(v->state_long, sizeof v->state_long, "%s", job_state_name(state));
	snprintf(v->project, sizeof v->project, "public/energy/grid-congestion/gridopt");
	snprintf(v->flavor, sizeof v->flavor, "h100-80g");
	snprintf(v->klass, sizeof v->klass, "normal");
}

static void fill_jobs(void)
{
	job(&jobs[0], 1044, "huge", "ann", 16, JOB_PENDING);
	jobs[0].reason = huge_waits_for;
	jobs[0].job.eligible_ms = huge_eligible_ms;
	jobs[0].job.spec.deps_n = 2;
	jobs[0].job.spec.deps = huge_deps;
	snprintf(jobs[0].reason_text, sizeof jobs[0].reason_text, "stage pilot opens on 1 Dec");
	jobs[0].order = 2;
	if (huge_was_cancelled) {
		job(&jobs[0], 1044, "huge", "ann", 16, JOB_CANCELLED);
		jobs[0].job.attempt = 0;
	}
	job(&jobs[1], 1043, "sweep", "tom", 1, JOB_PENDING);
	jobs[1].job.spec.array_last = 63;
	jobs[1].job.spec.array_step = 1;
	jobs[1].job.spec.array_running_max = 8;
	jobs[1].job.array_started = 8;
	jobs[1].reason = REASON_LEAF_FULL;
	snprintf(jobs[1].reason_text, sizeof jobs[1].reason_text, "energy is at 16 of 16");
	jobs[1].order = 1;
	jobs[1].start_p50_ms = NOW + 68 * MIN;
	jobs[1].start_p90_ms = NOW + 238 * MIN;
	job(&jobs[2], 1036, "flow", "lisa", 16, JOB_RUNNING);
	jobs[2].job.start_ms = NOW - 62 * MIN;
	snprintf(jobs[2].nodes, sizeof jobs[2].nodes, "n009,n010");
	if (flow_has_ended) { /* on more nodes than the view has room for */
		job(&jobs[2], 1036, "flow", "lisa", 16, JOB_FAILED);
		jobs[2].job.start_ms = NOW - 62 * MIN;
		jobs[2].job.end_ms = NOW - MIN;
		jobs[2].job.end_cause = END_EXIT;
		jobs[2].job.exit_code = 1;
		jobs[2].job.ran_n = 2;
		jobs[2].job.ran = flow_ran;
		snprintf(jobs[2].nodes, sizeof jobs[2].nodes, "n006,...");
		snprintf(jobs[2].job.end_text, sizeof jobs[2].job.end_text, "ended on n006");
	}
	job(&jobs[3], 1038, "evil\033[31m", "tom", 8, JOB_RUNNING);
	jobs[3].loan = true;
	jobs[3].job.start_ms = NOW - 41 * MIN;
}

static void fill_leases(void)
{
	leases[0] = (struct lease_view){.lease = {.id = 77, .state = LEASE_ACTIVE, .fence = 773, .state_since_ms = NOW - MIN,
						  .term_end_ms = leases_term_end_ms,
						  .spec = {.units = 6, .shape = SHAPE_NODE, .term_ms = 30 * INT64_C(86400000), .ttl_ms = 15 * MIN,
							   .grace_ms = 15 * MIN, .payload = {1}}},
					.state = "active", .provider = "private/company/bluecloud", .flavor = "h100-80g",
					.owner = "bluecloud", .units_here = 6, .renew_seq = 4021, .renewals = 8640,
					.renewed_ago_ms = 41000, .expires_in_ms = 859000, .renew_after_ms = 287000,
					.replicas_n = 2, .replicas = replicas};
	leases[1] = (struct lease_view){.lease = {.id = 90, .state = LEASE_GRANTED, .state_since_ms = NOW - 4 * MIN,
						  .spec = {.units = 8, .term_ms = 30 * INT64_C(86400000), .ttl_ms = 15 * MIN}},
					.state = "granted", .provider = "private/company/bluecloud", .flavor = "h100-80g",
					.units_coming = 8, .coming_by_ms = NOW + 6 * MIN, .renewed_ago_ms = -1,
					.reason = REASON_CLAIM};
	snprintf(leases[1].reason_text, sizeof leases[1].reason_text, "a claim is fetching its devices");
	replicas[0] = (struct replica_view){.alloc = 5, .node = "n009", .address = "10.2.0.9", .port = 8000, .devices = 8,
					    .state = "running", .healthy = true};
	replicas[1] = (struct replica_view){.alloc = 5, .part = 1, .node = "n010", .address = "10.2.0.10", .port = 8000,
					    .devices = 8, .state = "running", .restarts = 2};
}

static struct quota_window evening = {.days = DAYS_WEEKDAY, .from_min = 18 * 60, .to_min = 24 * 60, .zone = "UTC tzdata 2024a"};
static struct window_span evening_span = {.from_ms = NOW - 1000, .to_ms = NOW + 3600000};
static struct qnode_view tree[] = {
	{.path = "root", .qnode = {.id = 1, .parent = 1, .kind = QNODE_ROOT, .name = "root"}},
	{.path = "private", .qnode = {.id = 2, .parent = 1, .kind = QNODE_PRIVATE, .name = "private"}},
	{.path = "private/company",
	 .qnode = {.id = 3, .parent = 2, .kind = QNODE_CLASS, .name = "company", .concentration_cap_ppm = 600000}},
	{.path = "private/company/open",
	 .qnode = {.id = 4, .parent = 3, .kind = QNODE_PROVIDER, .name = "open", .windows_n = 1, .windows = &evening,
		   .window_spans_n = 1, .window_spans = &evening_span, .windows_open = 1}},
	{.path = "private/company/later",
	 .qnode = {.id = 5, .parent = 3, .kind = QNODE_PROVIDER, .name = "later", .windows_n = 1, .windows = &evening,
		   .window_spans_n = 1, .window_spans = &evening_span}},
	{.path = "private/company/over",
	 .qnode = {.id = 6, .parent = 3, .kind = QNODE_PROVIDER, .name = "over", .windows_n = 1, .windows = &evening}},
};

static void fill_rest(void)
{
	flavors[0] = (struct flavor_view){"h100-80g", 160, 151, 6, 3, 20, 160, 4};
	sides[0] = (struct side_view){"h100-80g", "public", 32, 32, 11, 0, 0, 88};
	sides[1] = (struct side_view){"h100-80g", "private", 128, 108, 0, 11, 9, 8};
	if (sides_are_small) {
		sides[0] = (struct side_view){.flavor = "h100-80g", .side = "public", .nominal = 3};
		sides[1] = (struct side_view){.flavor = "h100-80g", .side = "private", .nominal = 5};
	}
	claims[0] = (struct claim_view){.claim = {.id = 91, .units = 8}, .owner = "lease-90", .victims = "job-1038",
					.due_in_ms = claim_is_late ? -MIN : 6 * MIN, .units_here = claim_is_here ? 8 : 0};
	devices[0] = (struct device){.pci = "0000:0f:00.0", .vendor = "nvidia", .model = "NVIDIA H100 80GB HBM3",
				     .memory_mib = 81559, .cores = {UINT64_MAX}};
	nodes[0] = (struct node_view){.node = {.id = 6, .name = "n006", .state = NODE_READY, .cores_n = 96, .labels_n = 1,
					       .labels = labels, .devices_n = 1, .devices = devices,
					       .address = "10.2.0.6", .boot_id = "b00t"},
				      .state = "ready", .flavor = "h100-80g", .devices = 8, .used = 8, .cores = 96,
				      .cores_used = 96, .heard_ago_ms = 2300, .holders = "job-1038",
				      .note = "recall of 8, due 14:08", .drained_by_ms = NOW + 10 * MIN};
	if (node_note)
		snprintf(nodes[0].note, sizeof nodes[0].note, "%s", node_note);
	reasons[0] = (struct reason_view){.code = REASON_LEAF_FULL, .text = "energy is at 16 of 16",
					  .since_ms = NOW - 52 * MIN, .elapsed_ms = 52 * MIN, .blocking = true};
	reasons[1] = (struct reason_view){.code = REASON_BEHIND, .text = "others are before it", .elapsed_ms = 6 * MIN};
	usages[0] = (struct usage_view){.path = "public/energy/grid-congestion/gridopt", .flavor = "h100-80g",
					.guaranteed_rums = INT64_C(5204500) * 3600, .loan_rums = INT64_C(1877000) * 3600,
					.refunded_rums = INT64_C(140500) * 3600, .idle_rums = INT64_C(12000) * 3600,
					.budget_left_rums = INT64_C(2040000) * 3600};
	usages[1] = (struct usage_view){.path = "private/company/bluecloud", .flavor = "h100-80g",
					.guaranteed_rums = INT64_C(36384000) * 3600, .budget_left_rums = -1};
}

static int answer(struct ctl *c, const struct query *q, void *view, struct err *err)
{
	(void)c;
	if (stop_in_answer)
		stop_signal = SIGINT;
	fill_jobs();
	fill_leases();
	fill_rest();
	switch (q->type) {
	case QUERY_STATUS:
		*(struct view_status *)view = (struct view_status){
			.cluster = "ai-factory", .seq = 48213, .up_ms = 41 * INT64_C(86400000), .division_version = 13, .nodes = 21,
			.nodes_ready = nodes_are_gone ? 0 : 18, .nodes_draining = 2, .jobs_running = 4, .jobs_pending = 3, .leases_live = 5, .claims_running = 1,
			.claims_done = 412, .renewals = 8640, .commit_p99_us = 1900, .flavors_n = 1, .flavors = flavors,
			.sides_n = 2, .sides = sides, .notes_n = 1, .notes = notes};
		return 0;
	case QUERY_JOBS:
		*(struct view_jobs *)view = (struct view_jobs){.seq = 48213, .t_ms = NOW, .items_n = 4, .items = jobs};
		return 0;
	case QUERY_LEASES:
		*(struct view_leases *)view = (struct view_leases){.seq = 48213, .t_ms = NOW, .items_n = 2, .items = leases};
		if (q->id == 77)
			((struct view_leases *)view)->items_n = 1;
		if (q->id && q->id != 77)
			((struct view_leases *)view)->items_n = 0;
		return 0;
	case QUERY_NODES:
		*(struct view_nodes *)view = (struct view_nodes){.seq = 48213, .items_n = 1, .items = nodes};
		return 0;
	case QUERY_CLAIMS:
		*(struct view_claims *)view = (struct view_claims){.seq = 48213, .items_n = 1, .items = claims};
		return 0;
	case QUERY_USAGE:
		*(struct view_usage *)view = (struct view_usage){.seq = 48213, .items_n = 2, .items = usages};
		return 0;
	case QUERY_DIVISION:
		*(struct view_division *)view =
			(struct view_division){.seq = 48213, .version = 13, .items_n = ARRAY_LEN(tree), .items = tree};
		return 0;
	case QUERY_DEFICIT: *(struct view_deficit *)view = (struct view_deficit){.seq = 48213}; return 0;
	case QUERY_ENDPOINTS:
		*(struct view_endpoints *)view = (struct view_endpoints){.seq = 48213, .items_n = 2, .items = replicas};
		return 0;
	case QUERY_EXPLAIN:
		if (q->id != 1043) {
			*(struct view_explain *)view = (struct view_explain){.seq = 48213, .t_ms = NOW, .jobs_n = 1,
									     .jobs = &jobs[q->id == 1036 ? 2 : 0]};
			return 0;
		}
		*(struct view_explain *)view = (struct view_explain){
			.seq = 48213, .t_ms = NOW, .jobs_n = 1, .jobs = &jobs[1], .reasons_n = 2, .reasons = reasons, .ahead = 2,
			.ahead_first = 1040, .changes_n = 1, .changes = changes, .kept_n = 1, .kept = kept};
		return 0;
	case QUERY_OUTPUT:
		if (output_code)
			return err_set(err, output_code, "no output for now");
		/* fall through */
	default: return err_set(err, ERR_DENIED, "the fake daemon knows no %s", query_name(q->type));
	}
}

/* The fake daemon agrees to everything and changes nothing. */
static int agree(struct ctl *c, uint16_t type, const void *body, struct bytes payload, struct client_reply *reply,
		 struct err *err)
{
	(void)c;
	(void)payload;
	if (refusal)
		return err_set(err, ERR_CONFLICT, "%s", refusal);
	told++;
	if (type == CMD_RESERVATION_CREATE) {
		const struct reservation_spec *s = &((const struct cmd_reservation_create *)body)->spec;

		reserved_n = s->windows_n;
		reserved_repeat_ms = s->repeat_ms;
		for (uint32_t i = 0; i < s->windows_n; i++) {
			reserved_from_ms[i] = s->windows[i].from_ms;
			reserved_for_ms[i] = s->windows[i].to_ms - s->windows[i].from_ms;
		}
	}
	*reply = (struct client_reply){.seq = 48214, .message = "", .result = {.id = told_id}};
	return 0;
}

static int run_line(struct run *r, const char *line)
{
	struct conf_texts words = {0};
	int status;

	*r = (struct run){.c = {.columns = terminal_columns, .now_ms = NOW, .ask_instead = answer, .tell_instead = agree}};
	r->c.tty = on_a_terminal;
	r->c.out = open_memstream(&r->out, &r->out_n);
	r->c.errs = open_memstream(&r->errs, &r->errs_n);
	assert_int_equal(shell_words(line, &r->c.arena, &words, NULL), 0);
	status = ctl_run(&r->c, words.items, words.count);
	fflush(r->c.out);
	fflush(r->c.errs);
	return status;
}

static void run_close(struct run *r)
{
	fclose(r->c.out);
	fclose(r->c.errs);
	ctl_done(&r->c);
	free(r->out);
	free(r->errs);
}

static void shows(const char *line, const char *text)
{
	struct run r;

	if (run_line(&r, line) != 0)
		fail_msg("'%s' failed:\n%s", line, r.errs);
	if (strcmp(r.out, text) != 0)
		fail_msg("'%s' shows\n%s\nnot\n%s", line, r.out, text);
	assert_string_equal(r.errs, "");
	run_close(&r);
}

/* ---- small print ----------------------------------------------------------------------------- */

/* 37.5 and 62.5 are not 38 and 63 of a hundred. */
static void test_the_two_sides_are_a_hundred_together(void **state)
{
	struct run r;

	(void)state;
	sides_are_small = true;
	assert_int_equal(run_line(&r, "status"), 0);
	assert_non_null(strstr(r.out, "public       3 (38 %)"));
	assert_non_null(strstr(r.out, "private      5 (62 %)"));
	run_close(&r);
	sides_are_small = false;
}

/* The daemon writes UTC, for its answer has to be the same wherever it is decided. */
static void test_a_refusal_tells_the_time_of_here(void **state)
{
	struct run r;

	(void)state;
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	refusal = "n1 is in use until 2026-11-28 23:30 UTC, then until 2026-07-01 10:00 UTC";
	assert_int_equal(run_line(&r, "cancel 1036"), EXIT_CONFLICT);
	assert_non_null(strstr(r.errs, "n1 is in use until 2026-11-29 00:30, then until 2026-07-01 12:00\n"));
	run_close(&r);
	assert_int_equal(run_line(&r, "cancel 1036 --json"), EXIT_CONFLICT);
	assert_non_null(strstr(r.errs, "until 2026-11-28 23:30 UTC, then")); /* programs keep the one clock */
	run_close(&r);
	refusal = NULL;
	node_note = "maintenance 1 (disks) from 2026-12-01 05:00 UTC";
	assert_int_equal(run_line(&r, "node show n006"), 0);
	assert_non_null(strstr(r.out, "maintenance 1 (disks) from 2026-12-01 06:00\n"));
	run_close(&r);
	assert_int_equal(run_line(&r, "node list"), 0);
	assert_non_null(strstr(r.out, "maintenance 1 (disks) from 2026-12-01 06:00\n"));
	run_close(&r);
	assert_int_equal(run_line(&r, "node list --plain"), 0);
	assert_non_null(strstr(r.out, "2026-12-01 05:00 UTC"));
	run_close(&r);
	node_note = NULL;
	setenv("TZ", "UTC", 1);
	tzset();
}

static void test_an_answer_says_what_was_asked_for(void **state)
{
	struct run r;

	(void)state;
	assert_int_equal(run_line(&r, "lease request --provider chat --flavor h100-80g --gpus 2 --json"), 0);
	assert_non_null(strstr(r.out, "\"state\":\"requested\""));
	run_close(&r);
	assert_int_equal(run_line(&r, "submit -A gridopt --flavor h100-80g --gpus 2 --array 0-9:3 -- true"), 0);
	assert_non_null(strstr(r.out, "(true, 2 h100-80g x 4, "));
	run_close(&r);
	assert_int_equal(run_line(&r, "help submit"), 0);
	assert_non_null(strstr(r.out, "-q is --qos here"));
	run_close(&r);
}

/* ---- narrow terminals ------------------------------------------------------------------------ */

/* In characters: bytes that go on with one do not count. */
static size_t longest_line(const char *text)
{
	size_t most = 0, at = 0;

	for (const char *p = text; *p; p++) {
		at = *p == '\n' ? 0 : at + ((*p & 0xc0) != 0x80);
		most = at > most ? at : most;
	}
	return most;
}

/* What matters is never cut: in 80 columns why a job waits stands in lines of its own when numbers are long. */
static void test_why_is_whole_in_80_columns(void **state)
{
	static const char *const lines[] = {"queue", "node list", "lease list",
					    "provider list", "division show", "node show n006"};
	struct run r;

	(void)state;
	on_a_terminal = true;
	for (int large = 0; large < 2; large++) {
		ids_from = large ? UINT64_C(10000000000) : 0;
		fill_jobs();
		assert_int_equal(run_line(&r, "queue"), 0);
		assert_non_null(strstr(r.out, "stage pilot opens on 1 Dec"));
		assert_non_null(strstr(r.out, "may be recalled, notice 2m"));
		assert_non_null(strstr(r.out, "guaranteed, ends 15:00"));
		assert_non_null(strstr(r.out, "15:10-18:00")); /* and no seconds */
		assert_non_null(strstr(r.out, large ? "10000001044  huge" : "1044  huge"));
		run_close(&r);
		for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
			if (run_line(&r, lines[i]) != 0 || !r.out_n || longest_line(r.out) > 80)
				fail_msg("'%s' fails, or is wider than 80 columns:\n%s%s", lines[i], r.out, r.errs);
			run_close(&r);
		}
	}
	ids_from = 0;
	fill_jobs();
	assert_int_equal(run_line(&r, "explain 1043"), 0); /* with two reasons so far */
	assert_non_null(strstr(r.out, "  so far  "));
	assert_non_null(strstr(r.out, "\n                               701 others are before it 6m\n")); /* below the first */
	assert_true(longest_line(r.out) <= 80);
	run_close(&r);
	on_a_terminal = false;
}

/* Whatever the width: nothing over the edge, and no name cut shorter only to save a line. */
static void test_a_table_fits_every_width(void **state)
{
	struct run r;

	(void)state;
	on_a_terminal = true;
	for (terminal_columns = 80; terminal_columns < 140; terminal_columns++) {
		assert_int_equal(run_line(&r, "queue"), 0);
		if (longest_line(r.out) > (size_t)terminal_columns || !strstr(r.out, "  sweep[8-") ||
		    !strstr(r.out, "stage pilot opens on"))
			fail_msg("in %d columns:\n%s", terminal_columns, r.out);
		run_close(&r);
	}
	terminal_columns = 80;
	on_a_terminal = false;
}

/* ---- the division ---------------------------------------------------------------------------- */

/* Of three providers: one window is open, one is to come, and the last one has passed. */
static void test_windows_of_the_division(void **state)
{
	struct run r;

	(void)state;
	assert_int_equal(run_line(&r, "division show"), 0);
	assert_non_null(strstr(r.out, "company: one tenant may lease 60 % of what is promised to the private side\n"));
	assert_non_null(strstr(r.out, "open: its windows are counted out until "));
	assert_non_null(strstr(r.out, "later: its windows are counted out until "));
	assert_non_null(strstr(r.out, "over: none of its windows is left: apply the file again\n"));
	run_close(&r);
	assert_int_equal(run_line(&r, "division show --plain"), 0);
	assert_null(strstr(r.out, "windows"));
	run_close(&r);
	assert_int_equal(run_line(&r, "provider show open"), 0);
	assert_non_null(strstr(r.out, "  windows   may borrow on weekday 18:00-24:00 UTC: open until "));
	run_close(&r);
	assert_int_equal(run_line(&r, "provider show later"), 0);
	assert_non_null(strstr(r.out, "  windows   may borrow on weekday 18:00-24:00 UTC: from "));
	run_close(&r);
	assert_int_equal(run_line(&r, "provider show over"), 0);
	assert_non_null(strstr(r.out, "  windows   may borrow on weekday 18:00-24:00 UTC: none is left; apply the division again\n"));
	run_close(&r);
}

/* ---- screens --------------------------------------------------------------------------------- */

/* Both who looks and who watches by machine hear the same of a cluster that cannot do anything. */
static void test_one_verdict_on_the_cluster(void **state)
{
	struct run r;

	(void)state;
	assert_int_equal(run_line(&r, "cluster health"), 0);
	assert_non_null(strstr(r.out, "ai-factory: healthy, 18 of 21 nodes ready"));
	run_close(&r);
	nodes_are_gone = true;
	assert_int_equal(run_line(&r, "cluster health"), EXIT_OTHER);
	assert_non_null(strstr(r.out, "ai-factory: no node is ready, 0 of 21 nodes ready"));
	run_close(&r);
	assert_int_equal(run_line(&r, "status"), 0);
	assert_non_null(strstr(r.out, "ai-factory   no node is ready   seq"));
	assert_null(strstr(r.out, "healthy"));
	run_close(&r);
	nodes_are_gone = false;
}

static void test_status_screen(void **state)
{
	(void)state;
	shows("status",
	      "● ai-factory   healthy   seq 48,213   up 41d   commit p99 1.9 ms   division 13\n"
	      "  160 h100-80g on 20 nodes: 151 in use, 6 free (4 kept for leases), 3 out\n"
	      "  nodes 18/21 ready, 2 draining   jobs 4 running, 3 waiting\n"
	      "  leases    5; since the start 41d ago 8,640 renewals, 0 expired\n"
	      "\n"
	      "              entitled   one cell = 4 devices of h100-80g\n"
	      "  public      32 (20 %)   ████████░░░                               32 + 11 on loan, 88 waiting\n"
	      "  private    128 (80 %)   ███████████████████████████▒▒▒··          108, lends 11, 8 waiting\n"
	      "                       █ guaranteed   ░ on loan   ▒ lent out   · free or out\n"
	      "\n"
	      "  recall    claim 91 for lease-90: 0 of 8 here, due in 6m, takes job-1038\n"
	      "  recalls   1 running; since then 412 done, 0 late\n"
	      "\n"
	      "  ! node n011 is unreachable\n");
}

/* A recall that is late is the one to look at: it says so, and by how much. */
static void test_a_late_recall_says_so(void **state)
{
	struct run r;

	(void)state;
	claim_is_late = true;
	assert_int_equal(run_line(&r, "status"), 0);
	assert_non_null(strstr(r.out, "claim 91 for lease-90: 0 of 8 here, late by 1m, takes job-1038\n"));
	run_close(&r);
	assert_int_equal(run_line(&r, "claim list"), 0);
	assert_non_null(strstr(r.out, "late by 1m"));
	run_close(&r);
	claim_is_here = true;
	assert_int_equal(run_line(&r, "status"), 0);
	assert_non_null(strstr(r.out, "claim 91 for lease-90: 8 of 8 here, takes job-1038\n"));
	run_close(&r);
	claim_is_late = claim_is_here = false;
}

static void test_queue_screen_and_its_order(void **state)
{
	(void)state;
	shows("queue",
	      " JOB  NAME           USER  PROJECT  SIZE             TIME   STATE   STARTS             WHY\n"
	      "1036  flow           lisa  gridopt  16 h100-80g      1h02m  R       -                  guaranteed, ends 15:00:00\n"
	      "1038  evil\\x1b[31m   tom   gridopt  8 h100-80g       41m    R loan  -                  may be recalled, notice 2m\n"
	      "1043  sweep[8-63%8]  tom   gridopt  1 h100-80g x 56  -      PD      15:10:00-18:00:00  501 energy is at 16 of 16\n"
	      "1044  huge           ann   gridopt  16 h100-80g      -      PD      -                  204 stage pilot opens on 1 Dec\n"
	      "4 jobs: 2 running (24 gpu), 57 waiting (72 gpu)\n"
	      "  next    why the first one waits: sluisctl explain 1043\n");
}

/* A child of an array that has not started is no unknown job: it waits as part of it. */
static void test_a_child_that_waits(void **state)
{
	static const char *const lines[] = {"explain 1043_9", "job show 1043_63", "queue 1043_8"};
	struct run r;

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		assert_int_not_equal(run_line(&r, lines[i]), 0);
		assert_non_null(strstr(r.errs, "has not started: it waits as part of 1043"));
		assert_non_null(strstr(r.errs, "sluisctl explain 1043"));
		run_close(&r);
	}
	assert_int_not_equal(run_line(&r, "explain 1043_7"), 0); /* it has started, and is forgotten since */
	assert_non_null(strstr(r.errs, "there is no job 1043_7"));
	run_close(&r);
	assert_int_not_equal(run_line(&r, "explain 1043_64"), 0);
	assert_non_null(strstr(r.errs, "there is no job 1043_64"));
	run_close(&r);
}

/* Where a job ran is known after its end: all of its nodes, also those that the view had no room for. */
static void test_where_a_job_ran(void **state)
{
	struct run r;

	(void)state;
	flow_has_ended = true;
	assert_int_equal(run_line(&r, "job show 1036"), 0);
	assert_non_null(strstr(r.out, "  started   13:00:00 on n006,(removed)\n"));
	run_close(&r);
	assert_int_equal(run_line(&r, "job show 1036 --json"), 0);
	assert_non_null(strstr(r.out, "\"nodes\":\"n006,(removed)\""));
	run_close(&r);
	shows("explain 1036",
	      "job 1036  flow   16 h100-80g, 02:00:00, gridopt, lisa, failed\n"
	      "\n"
	      "  ended   14:01:00, cause exit: exit 1; ended on n006\n"
	      "  ran     on n006,(removed) since 13:00:00\n"
	      "  charged 0.0 GPU-hours guaranteed, 0.0 on loan, 0.0 refunded\n");
	shows("queue 1036 --plain --columns id,nodes", "1036\tn006,...\n");
	flow_has_ended = false;
}

/* The same day and hour of the clock, month after month, through clock changes and short months. */
static void test_windows_that_repeat_monthly(void **state)
{
	static const char line[] = "reservation create patch --nodes n1 --flags maint --from 2027-%s --duration 4h --repeat monthly%s";
	char text[160];
	struct run r;

	(void)state;
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	snprintf(text, sizeof text, line, "01-28T08:00", "");
	assert_int_equal(run_line(&r, text), 0);
	run_close(&r);
	assert_int_equal(reserved_n, 14); /* the last one 396 days from the first */
	assert_int_equal(reserved_repeat_ms, 0);
	for (uint32_t i = 0; i < reserved_n; i++) {
		time_t t = (time_t)(reserved_from_ms[i] / 1000);
		struct tm tm;

		(void)localtime_r(&t, &tm);
		assert_int_equal(tm.tm_mday, 28);
		assert_int_equal(tm.tm_hour, 8);
		assert_int_equal(tm.tm_mon, i % 12);
		assert_int_equal(reserved_for_ms[i], 4 * 60 * MIN);
	}
	setenv("TZ", "UTC", 1); /* where other windows go on for good, by equal steps */
	tzset();
	snprintf(text, sizeof text, line, "02-05T08:00", "");
	assert_int_equal(run_line(&r, text), 0);
	run_close(&r);
	assert_int_equal(reserved_n, 14);
	assert_int_equal(reserved_from_ms[1] - reserved_from_ms[0], 28 * INT64_C(86400000));
	assert_int_equal(reserved_repeat_ms, 0);
	snprintf(text, sizeof text, line, "02-05T08:00", " --times 3");
	assert_int_equal(run_line(&r, text), 0);
	run_close(&r);
	assert_int_equal(reserved_n, 3);
	told = 0;
	snprintf(text, sizeof text, line, "01-29T08:00", "");
	assert_int_equal(run_line(&r, text), EXIT_USAGE);
	assert_non_null(strstr(r.errs, "not every month has a day 29"));
	assert_int_equal(told, 0);
	run_close(&r);
}

/* Of a command in --wrap and a script beside it, one would be dropped without a word. */
static void test_wrap_is_the_script(void **state)
{
	static const char *const lines[] = {"submit -A gridopt --flavor h100-80g --wrap hostname -- true",
					    "submit -A gridopt --flavor h100-80g --wrap hostname tests/integration/t0001-runner.sh"};
	struct run r;

	(void)state;
	told = 0;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		assert_int_equal(run_line(&r, lines[i]), EXIT_USAGE);
		assert_non_null(strstr(r.errs, "--wrap is the script"));
		run_close(&r);
	}
	assert_int_equal(told, 0);
	assert_int_equal(run_line(&r, "submit -A gridopt --flavor h100-80g --wrap hostname"), 0);
	assert_int_equal(told, 1);
	run_close(&r);
}

/* Following ends when there is nothing to follow any more, and never will be. */
static void test_following_ends(void **state)
{
	static const char sub[] = "submit -A gridopt --flavor h100-80g --gpus 1 --follow %s -- true";
	char line[128];
	struct run r;

	(void)state;
	told = 0;
	snprintf(line, sizeof line, sub, "--array 0-3");
	assert_int_equal(run_line(&r, line), EXIT_USAGE);
	assert_non_null(strstr(r.errs, "each job of an array has an output of its own"));
	assert_non_null(strstr(r.errs, "--wait"));
	assert_int_equal(told, 0); /* nothing was submitted */
	run_close(&r);
	/* a job that ended before it started */
	huge_was_cancelled = true;
	output_code = ERR_STATE;
	assert_int_equal(run_line(&r, "logs -f 1044"), EXIT_CONFLICT);
	assert_non_null(strstr(r.errs, "job 1044 ended before it started"));
	run_close(&r);
	told_id = 1044;
	snprintf(line, sizeof line, sub, "");
	assert_int_equal(run_line(&r, line), EXIT_OTHER);
	assert_non_null(strstr(r.out, "job 1044 cancelled, exit 1"));
	run_close(&r);
	told_id = 77;
	huge_was_cancelled = false;
	/* a job that has ended, on a node that does not come back */
	flow_has_ended = true;
	output_code = ERR_UNREACHABLE;
	assert_int_equal(run_line(&r, "logs -f 1036 --timeout 10ms"), EXIT_UNKNOWN);
	assert_non_null(strstr(r.errs, "no output for now"));
	run_close(&r);
	flow_has_ended = false;
	output_code = 0;
}

static void test_a_drain_shows_its_deadline(void **state)
{
	struct run r;

	(void)state;
	assert_int_equal(run_line(&r, "node show n006"), 0);
	assert_non_null(strstr(r.out, "  deadline  its jobs have until "));
	run_close(&r);
}

static void test_explain_screen(void **state)
{
	(void)state;
	shows("explain 1043",
	      "job 1043  sweep[8-63%8]   1 h100-80g x 56, 02:00:00, gridopt, tom, waiting 1h30m\n"
	      "\n"
	      "  now     501  energy is at 16 of 16\n"
	      "  so far  █████████████████▓▓  501 energy is at 16 of 16 52m · 701 others are before it 6m\n"
	      "  ahead   2 jobs, the first is 1040\n"
	      "  starts  15:10:00-18:00:00\n"
	      "\n"
	      "  would start it now (each checked against the live state):\n"
	      "    --flavor mi250x                    free now\n"
	      "\n"
	      "  kept but without effect: train.sh:6: --mail-type=END\n");
}

/* Where nobody can tell when a job starts, it says what has to happen first, as far as that is sure. */
static void test_what_a_start_waits_for(void **state)
{
	static const struct { uint16_t reason; int64_t eligible_ms; const char *text; } waits[] = {
		{REASON_STAGE, 0, "once an open stage of its grant covers it: sluisctl project show gridopt"},
		{REASON_HELD_USER, NOW + MIN, "once it is released: sluisctl job release 1044"},
		{REASON_HELD_ADMIN, 0, "once an admin releases it"},
		{REASON_FROZEN, 0, "once its project goes on: sluisctl project show gridopt"},
		{REASON_DEPENDENCY, 0, "once the jobs it depends on have come so far: sluisctl queue --all 12 13"},
		{REASON_NODES_OUT, 0, "once nodes are back: sluisctl node list"},
		{REASON_SAFE_MODE, 0, "once safe mode is left: sluisctl cluster health"},
		{REASON_BEGIN, NOW + MIN, "from 14:03:00"},
		{REASON_BEGIN, NOW - MIN, "no estimate: nothing whose end is known lets it start"},
		{REASON_LENDERS_BUSY, 0, "no estimate: nothing whose end is known lets it start"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		char line[160];
		struct run r;

		huge_waits_for = waits[i].reason;
		huge_eligible_ms = waits[i].eligible_ms;
		snprintf(line, sizeof line, "  starts  %s\n", waits[i].text);
		assert_int_equal(run_line(&r, "explain 1044"), 0);
		if (!strstr(r.out, line))
			fail_msg("%u: no '%s' in\n%s", waits[i].reason, waits[i].text, r.out);
		run_close(&r);
	}
	huge_waits_for = REASON_BEGIN;
	huge_eligible_ms = NOW + MIN;
	shows("queue 1044 --plain --columns id,starts", "1044\tfrom 2026-11-24T14:03:00Z\n");
	huge_waits_for = REASON_STAGE;
	huge_eligible_ms = 0;
}

static void test_lease_screens(void **state)
{
	(void)state;
	shows("lease show 77",
	      "● lease 77   bluecloud   firm   6 nodes h100-80g\n"
	      "  state     active since 14:01:00; renewed 41s ago (seq 4021), safe until 14:16:19 + grace 15m\n"
	      "  term      to 2026-12-23\n"
	      "  fence     773\n"
	      "  service   1/2 up      endpoints: sluisctl lease endpoints 77\n"
	      "  devices    0  n009  8 units  running  10.2.0.9:8000  healthy\n"
	      "             1  n010  8 units  running  10.2.0.10:8000  not healthy  2 restarts\n"
	      "  renewals  8,640\n"
	      "  next      renew every ~4m47s (ttl 15m, grace 15m): systemctl enable --now sluis-lease@77\n");
	shows("lease list",
	      "LEASE  PROVIDER   NAME  SIZE              STATE    RENEWED  NEXT   TERM ENDS   SERVICE\n"
	      "   77  bluecloud        6 nodes h100-80g  active   41s      4m06s  2026-12-23  1/2 up\n"
	      "   90  bluecloud        8 h100-80g        granted  -        -      -           0/8 here\n"
	      "2 leases, 2 live\n");
	shows("lease endpoints 77 --format hosts --healthy", "10.2.0.9:8000\n");
	shows("lease endpoints 77 --format prometheus-sd",
	      "[{\"targets\":[\"10.2.0.9:8000\",\"10.2.0.10:8000\"],\"labels\":{\"sluis_lease\":\"77\"}}]\n");
}

/* sluisd takes the later of the old end and of the new one: what is told is the end the lease has. */
static void test_an_extension_tells_the_end_there_is(void **state)
{
	(void)state;
	shows("lease extend 77 --term 2h", "lease 77 ends 23 Dec 00:00 as before: that is later than 2h from now\n");
	leases_term_end_ms = NOW + 120 * MIN; /* the query comes a moment after the command */
	shows("lease extend 77 --term 2h", "extended lease 77: it ends 16:02:00\n");
	leases_term_end_ms = 0;
	shows("lease extend 77 --term 2h", "lease 77 is active: its term is 30d from when it is active\n");
	leases_term_end_ms = TERM_END;
}

/* With --watch the spans grow: each turn has its own now. */
static void test_every_turn_of_watch_has_its_own_now(void **state)
{
	struct run r;

	(void)state;
	stop_in_answer = true; /* as Ctrl-C while the first turn is on */
	assert_int_equal(run_line(&r, "queue --watch=1"), EXIT_INTERRUPTED);
	assert_true(r.c.now_ms != NOW);
	assert_non_null(strstr(r.out, "flow"));
	stop_in_answer = false;
	stop_signal = 0;
	run_close(&r);
}

static void test_node_and_usage_screens(void **state)
{
	(void)state;
	shows("node list",
	      "NODE  STATE  LEAF   FLAVOR    DEV  USED  FREE  OUT  CORES  HEARD  NOTE\n"
	      "n006  ready  leaf2  h100-80g    8     8     0    0  96/96     2s  recall of 8, due 14:08\n"
	      "1 node: 1 ready\n");
	shows("usage",
	      "PROJECT                                GUARANTEED     LOAN  REFUNDED  IDLE  BUDGET LEFT\n"
	      "public/energy/grid-congestion/gridopt     5,204.5  1,877.0     140.5  12.0      2,040.0\n"
	      "GPU-hours of weight 1; as of seq 48,213\n");
	shows("usage --by side --no-header", "public    5,204.5  1,877.0  140.5  12.0  -\nprivate  36,384.0      0.0    0.0   0.0  -\n");
}

/* ---- plain ----------------------------------------------------------------------------------- */

static void test_plain_has_tabs_utc_and_no_header(void **state)
{
	(void)state;
	shows("lease list --plain --columns id,provider,size,state,term_end",
	      "77\tprivate/company/bluecloud\t6\tactive\t2026-12-23T00:00:00Z\n"
	      "90\tprivate/company/bluecloud\t8\tgranted\t-\n");
	shows("queue --plain --columns id,name,state,nodes,limit --sort -id",
	      "1044\thuge\tPD\t\t02:00:00\n"
	      "1043\tsweep[8-63%8]\tPD\t\t02:00:00\n"
	      "1038\tevil\\x1b[31m\tR loan\t\t02:00:00\n"
	      "1036\tflow\tR\tn009,n010\t02:00:00\n");
	shows("queue -q", "1036\n1038\n1043\n1044\n");
}

static void test_columns_are_chosen_by_name_and_near_misses_told(void **state)
{
	struct run r;

	(void)state;
	shows("node list --columns node,holders --no-header", "n006  job-1038\n");
	shows("queue --columns nodes --no-header", "n009,n010\n\n\n\n"); /* a line each, also for those without */
	shows("queue --plain --columns JOB,name,STATE --sort -JOB", "1044\thuge\tPD\n1043\tsweep[8-63%8]\tPD\n1038\tevil\\x1b[31m\tR loan\n"
								      "1036\tflow\tR\n");
	assert_int_equal(run_line(&r, "node list --columns node,holder"), EXIT_USAGE);
	assert_non_null(strstr(r.errs, "there is no column 'holder'"));
	assert_non_null(strstr(r.errs, "try     holders"));
	assert_string_equal(r.out, "");
	run_close(&r);
	assert_int_equal(run_line(&r, "node list --sort nodes"), EXIT_USAGE);
	assert_non_null(strstr(r.errs, "try     node"));
	run_close(&r);
}

static void test_ascii_where_unicode_is_not_wanted(void **state)
{
	struct run r;

	(void)state;
	assert_int_equal(run_line(&r, "--color never status"), 0);
	for (const char *p = r.out; *p; p++)
		assert_true((unsigned char)*p < 0x80);
	assert_non_null(strstr(r.out, "########==="));
	assert_non_null(strstr(r.out, "---.."));
	run_close(&r);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *json_from(const char *line)
{
	struct run r;
	json_t *root;

	if (run_line(&r, line) != 0)
		fail_msg("'%s' failed:\n%s", line, r.errs);
	root = json_loads(r.out, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "api")), "sluis/1");
	run_close(&r);
	return root;
}

static const json_t *field(const json_t *root, const char *name)
{
	const json_t *v = json_object_get(json_array_get(json_object_get(root, "items"), 0), name);

	if (!v)
		v = json_object_get(json_object_get(root, "item"), name);
	if (!v)
		fail_msg("there is no field %s", name);
	return v;
}

static void test_json_lifts_the_record_and_speaks_in_words(void **state)
{
	json_t *root = json_from("queue --json");

	(void)state;
	assert_string_equal(json_string_value(json_object_get(root, "kind")), "job_list");
	assert_int_equal(json_integer_value(json_object_get(root, "seq")), 48213);
	assert_int_equal(json_array_size(json_object_get(root, "items")), 4);
	assert_int_equal(json_integer_value(field(root, "id")), 1036);
	assert_string_equal(json_string_value(field(root, "state")), "running");
	assert_string_equal(json_string_value(field(root, "code")), "R");
	assert_string_equal(json_string_value(field(root, "project")), "public/energy/grid-congestion/gridopt");
	assert_string_equal(json_string_value(field(root, "klass")), "normal"); /* the name, not the number within */
	assert_string_equal(json_string_value(field(root, "shape")), "gpu");
	assert_int_equal(json_integer_value(field(root, "time_limit_ms")), 120 * MIN);
	assert_int_equal(json_integer_value(field(root, "start_ms")), NOW - 62 * MIN);
	assert_string_equal(json_string_value(field(root, "start")), "2026-11-24T13:00:00Z");
	assert_true(json_is_null(field(root, "end"))); /* not yet */
	json_decref(root);
	root = json_from("explain 1043 --json");
	assert_string_equal(json_string_value(json_array_get(field(root, "kept"), 0)), "train.sh:6: --mail-type=END");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(field(root, "reasons"), 0), "code")), 501);
	json_decref(root);
}

static void test_json_keeps_every_bit(void **state)
{
	json_t *root;

	(void)state;
	root = json_from("node list --json");
	/* a mask of 64 cores fits no reader's integer: it travels as text */
	assert_string_equal(json_string_value(json_array_get(json_object_get(json_array_get(field(root, "device_list"), 0), "cores"),
							     0)), "18446744073709551615");
	json_decref(root);
	{
		struct quota q = {.flavor = 1, .shape = SHAPE_NODE, .nominal = INT64_C(9007199254740993), .borrowing = QTY_UNLIMITED};
		json_t *o = json_of(&schema_quota, &q);

		assert_int_equal(json_integer_value(json_object_get(o, "nominal")), INT64_C(9007199254740993));
		assert_true(json_is_null(json_object_get(o, "borrowing"))); /* no limit */
		assert_int_equal(json_integer_value(json_object_get(o, "lending")), 0);
		assert_string_equal(json_string_value(json_object_get(o, "shape")), "node");
		json_decref(o);
	}
	{
		struct token t = {.id = 3, .hash = {0xab, 0x01}};
		json_t *o = json_of(&schema_token, &t);

		assert_int_equal(strncmp(json_string_value(json_object_get(o, "hash")), "ab01000000", 10), 0);
		assert_int_equal(strlen(json_string_value(json_object_get(o, "hash"))), 64);
		json_decref(o);
	}
}

/* Every struct that can be an answer is printable, whatever is in it. */
static void test_json_of_every_schema(void **state)
{
	(void)state;
	for (size_t i = 0; schema_all[i]; i++) {
		void *obj = calloc(1, schema_all[i]->size);
		json_t *o = json_of(schema_all[i], obj);

		assert_non_null(o);
		assert_true(json_object_size(o) > 0);
		json_decref(o);
		free(obj);
	}
}

static void test_json_fields_are_picked_in_order(void **state)
{
	struct run r;

	(void)state;
	shows("lease show 77 --json=id,state,fence,expires_ms,renew_after_ms",
	      "{\"api\":\"sluis/1\",\"kind\":\"lease\",\"seq\":48213,\"item\":{\"id\":77,\"state\":\"active\",\"fence\":773,"
	      "\"expires_ms\":859000,\"renew_after_ms\":287000}}\n");
	assert_int_equal(run_line(&r, "queue --json=id,projekt"), EXIT_USAGE);
	assert_string_equal(r.out, "");
	assert_non_null(strstr(r.errs, "there is no field 'projekt'"));
	assert_non_null(strstr(r.errs, "\"try\":[\"project\"]"));
	run_close(&r);
}

static void test_json_has_the_state_it_was_read_from(void **state)
{
	json_t *root = json_from("job show 1036 --json");

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(root, "seq")), 48213);
	json_decref(root);
	root = json_from("version --json"); /* read from no state: no number that looks like one */
	assert_null(json_object_get(root, "seq"));
	json_decref(root);
}

static void test_what_is_not_there_is_not_found(void **state)
{
	struct run r;

	(void)state;
	shows("status -q", "");
	assert_int_equal(run_line(&r, "deficit show --if-lost h9"), EXIT_NOTFOUND);
	assert_non_null(strstr(r.errs, "there is no node 'h9'"));
	run_close(&r);
	assert_int_equal(run_line(&r, "deficit show --if-lost leaf=leaf3"), EXIT_NOTFOUND);
	assert_non_null(strstr(r.errs, "no node has the label 'leaf=leaf3'"));
	run_close(&r);
	shows("deficit show --if-lost leaf=leaf2", "nobody would lack anything\n");
	shows("deficit show --if-lost n006", "nobody would lack anything\n");
	assert_int_equal(run_line(&r, "lease show 78"), EXIT_NOTFOUND);
	assert_non_null(strstr(r.errs, "there is no lease 78"));
	run_close(&r);
	assert_int_equal(run_line(&r, "job show 7"), EXIT_NOTFOUND);
	assert_non_null(strstr(r.errs, "try     sluisctl queue --all"));
	run_close(&r);
	assert_int_equal(run_line(&r, "user list"), EXIT_REFUSED);
	assert_non_null(strstr(r.errs, "cannot read who may speak: the fake daemon knows no principals"));
	run_close(&r);
}

/* ---- the bar --------------------------------------------------------------------------------- */

static void bar_is(struct bar_side side, int64_t cell, const char *text)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct bar_cells cells = bar_cells(&side, cell);

	bar_text(&cells, true, &b);
	assert_string_equal(buf_cstr(&b), text);
}

static void test_bar_shares_cells_by_largest_remainder(void **state)
{
	(void)state;
	bar_is((struct bar_side){.nominal = 32, .guaranteed = 32, .loan = 11}, 4, "########===");
	bar_is((struct bar_side){.nominal = 128, .guaranteed = 108, .lent = 11}, 4, "###########################---..");
	bar_is((struct bar_side){0}, 1, "");
	bar_is((struct bar_side){.nominal = 8}, 4, "..");
	/* what is there never vanishes */
	bar_is((struct bar_side){.nominal = 40, .guaranteed = 39, .lent = 1}, 10, "###-");
	/* a nominal lowered below its use, and figures that contradict each other */
	bar_is((struct bar_side){.nominal = 2, .guaranteed = 4}, 1, "####");
	bar_is((struct bar_side){.nominal = 4, .guaranteed = 2, .lent = 9}, 1, "##--");
	bar_is((struct bar_side){.nominal = -3, .guaranteed = -1, .loan = -2, .lent = -5}, 1, "");
}

static void test_bar_always_has_as_many_cells_as_it_is_entitled_to(void **state)
{
	(void)state;
	for (int64_t nominal = 0; nominal <= 12; nominal++)
		for (int64_t used = 0; used <= nominal; used++)
			for (int64_t lent = 0; lent <= nominal - used; lent++)
				for (int64_t cell = 1; cell <= 8; cell *= 2) {
					struct bar_side s = {.nominal = nominal, .guaranteed = used, .lent = lent};
					struct bar_cells c = bar_cells(&s, cell);
					uint32_t all = (uint32_t)((nominal + cell - 1) / cell);

					assert_int_equal(c.guaranteed + c.lent + c.free, all);
					if (all >= 3) {
						assert_int_equal(c.guaranteed > 0, used > 0);
						assert_int_equal(c.lent > 0, lent > 0);
					}
				}
}

static void test_bar_picks_a_cell_that_fits(void **state)
{
	struct bar_side sides2[2] = {{.nominal = 32, .loan = 11}, {.nominal = 128}};
	struct bar_side huge = {.nominal = INT64_MAX, .loan = INT64_MAX};

	(void)state;
	assert_int_equal(bar_cell(sides2, 2, 40), 4);
	assert_int_equal(bar_cell(sides2, 2, 200), 1);
	assert_int_equal(bar_cell(NULL, 0, 40), 1);
	assert_true(bar_cell(&huge, 1, 40) > 1); /* and comes back */
}

/* ---- small texts ----------------------------------------------------------------------------- */

static void test_numbers_times_and_names_as_people_write_them(void **state)
{
	struct ctl c = {.now_ms = NOW};
	struct job_name name;
	uint64_t id;

	(void)state;
	assert_string_equal(text_count(&c, 0), "0");
	assert_string_equal(text_count(&c, 999), "999");
	assert_string_equal(text_count(&c, 48213), "48,213");
	assert_string_equal(text_count(&c, -1234567), "-1,234,567");
	assert_string_equal(text_count(&c, INT64_MIN), "-9,223,372,036,854,775,808");
	assert_string_equal(text_gpuh(&c, INT64_C(1412000) * 3600), "1,412.0");
	assert_string_equal(text_gpuh(&c, 3600), "0.001");
	assert_string_equal(text_gpuh(&c, 0), "0.0");
	assert_string_equal(text_age(&c, 900000), "15m");
	assert_string_equal(text_age(&c, 287000), "4m47s");
	assert_string_equal(text_age(&c, -1), "-");
	assert_string_equal(text_time(&c, NOW + 60000), "14:03:00");
	assert_string_equal(text_time(&c, T_NEVER), "-");
	assert_string_equal(text_nodes(&c, "h1,h1,h1,h2,h10,h1"), "h1*3,h2,h10,h1");
	assert_string_equal(text_nodes(&c, ""), "");
	assert_string_equal(text_nodes(&c, "h1"), "h1");
	assert_string_equal(text_date(&c, NOW + 40 * INT64_C(86400000)), "2027-01-03");
	assert_int_equal(job_name_parse("job-1042", &name, NULL), 0);
	assert_int_equal(name.id, 1042);
	assert_int_equal(job_name_parse("1043_7.3", &name, NULL), 0);
	assert_int_equal(name.index, 7);
	assert_int_equal(name.task, 3);
	assert_int_equal(job_name_parse("0", &name, NULL), ERR_INVAL);
	assert_int_equal(job_name_parse("1042_", &name, NULL), ERR_INVAL);
	assert_int_equal(job_name_parse("9999999999999999999", &name, NULL), ERR_INVAL);
	assert_int_equal(lease_name_parse("lease-77", &id, NULL), 0);
	assert_int_equal(id, 77);
	assert_int_equal(lease_name_parse("job-77", &id, NULL), ERR_INVAL);
	ctl_done(&c);
}

static int settings(void **state)
{
	(void)state;
	setenv("TZ", "UTC", 1);
	setenv("HOME", "/nonexistent", 1);
	unsetenv("SLUIS_CONFIG");
	unsetenv("SLUIS_CLUSTER");
	unsetenv("XDG_CONFIG_HOME");
	return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_windows_of_the_division),
		cmocka_unit_test(test_one_verdict_on_the_cluster),
		cmocka_unit_test(test_status_screen),
		cmocka_unit_test(test_a_late_recall_says_so),
		cmocka_unit_test(test_queue_screen_and_its_order),
		cmocka_unit_test(test_a_child_that_waits),
		cmocka_unit_test(test_where_a_job_ran),
		cmocka_unit_test(test_windows_that_repeat_monthly),
		cmocka_unit_test(test_wrap_is_the_script),
		cmocka_unit_test(test_following_ends),
		cmocka_unit_test(test_a_drain_shows_its_deadline),
		cmocka_unit_test(test_explain_screen),
		cmocka_unit_test(test_what_a_start_waits_for),
		cmocka_unit_test(test_lease_screens),
		cmocka_unit_test(test_an_extension_tells_the_end_there_is),
		cmocka_unit_test(test_every_turn_of_watch_has_its_own_now),
		cmocka_unit_test(test_node_and_usage_screens),
		cmocka_unit_test(test_plain_has_tabs_utc_and_no_header),
		cmocka_unit_test(test_columns_are_chosen_by_name_and_near_misses_told),
		cmocka_unit_test(test_why_is_whole_in_80_columns),
		cmocka_unit_test(test_a_table_fits_every_width),
		cmocka_unit_test(test_the_two_sides_are_a_hundred_together),
		cmocka_unit_test(test_a_refusal_tells_the_time_of_here),
		cmocka_unit_test(test_an_answer_says_what_was_asked_for),
		cmocka_unit_test(test_ascii_where_unicode_is_not_wanted),
		cmocka_unit_test(test_json_lifts_the_record_and_speaks_in_words),
		cmocka_unit_test(test_json_keeps_every_bit),
		cmocka_unit_test(test_json_of_every_schema),
		cmocka_unit_test(test_json_fields_are_picked_in_order),
		cmocka_unit_test(test_json_has_the_state_it_was_read_from),
		cmocka_unit_test(test_what_is_not_there_is_not_found),
		cmocka_unit_test(test_bar_shares_cells_by_largest_remainder),
		cmocka_unit_test(test_bar_always_has_as_many_cells_as_it_is_entitled_to),
		cmocka_unit_test(test_bar_picks_a_cell_that_fits),
		cmocka_unit_test(test_numbers_times_and_names_as_people_write_them),
	};

	return cmocka_run_group_tests(tests, settings, NULL);
}
