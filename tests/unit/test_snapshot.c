/* test_snapshot.c - a cluster as it stands, as input of a simulation
 *
 * An admin decides on what comes out of it, so a file that says something else than was meant has to be refused, not
 * guessed at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/sim/snapshot.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

#define HOUR "3600000"
#define HEAD "\"snapshot\": 1, \"cluster\": \"t\", \"seq\": 7, \"t_ms\": 1000" HOUR
#define FLAVORS "\"flavors\": [{\"name\": \"cpu\", \"installed\": 4}, {\"name\": \"h100\", \"installed\": 27}]"
#define SIDES \
	"\"sides\": [{\"flavor\": \"h100\", \"side\": \"private\", \"nominal\": 16}, {\"flavor\": \"h100\", \"side\": \"public\", " \
	"\"nominal\": 4}, {\"flavor\": \"cpu\", \"side\": \"public\", \"nominal\": 4}]"
#define NODE(flavor, devices, out) \
	"{\"name\": \"n\", \"flavor\": \"" flavor "\", \"devices\": " devices ", \"out\": " out "}"
#define NODES "\"nodes\": [" NODE("h100", "8", "0") "," NODE("h100", "8", "3") "," NODE("h100", "8", "0") "," \
	NODE("h100", "4", "0") "," NODE("cpu", "4", "0") "]"
#define JOB(id, state, devices, start) \
	"{\"id\": " id ", \"project\": \"p\", \"flavor\": \"h100\", \"state\": \"" state "\", \"devices\": " devices \
	", \"limit_ms\": 2" HOUR ", \"start_ms\": " start "}"
#define JOBS "\"jobs\": [" JOB("3", "waiting", "2", "0") "," JOB("4", "held", "1", "0") "," JOB("1", "running", "8", "999" HOUR) "," \
	JOB("9", "running", "1", "1") "," JOB("5", "waiting", "4", "0") "]"
#define LEASES "\"leases\": [{\"provider\": \"chat\", \"flavor\": \"h100\", \"devices\": 6}, {\"provider\": \"chat\", \"flavor\": " \
	"\"h100\", \"devices\": 3}, {\"provider\": \"x\", \"flavor\": \"cpu\", \"devices\": 1}]"

static const char story[] = "{" HEAD "," FLAVORS "," SIDES "," NODES "," JOBS "," LEASES "}";

static int parse(const char *text, const char *flavor, struct snapshot *s, struct err *err)
{
	*s = (struct snapshot){0};
	return snapshot_parse("now.json", text, strlen(text), flavor, s, err);
}

static void a_cluster_is_read(void **state)
{
	struct snapshot s;
	struct err err = {0};

	(void)state;
	assert_int_equal(parse(story, NULL, &s, &err), 0);
	assert_string_equal(s.flavor, "h100"); /* most devices */
	assert_int_equal(s.per_node, 8);
	assert_int_equal(s.nodes, 3); /* 25 devices that are not out */
	assert_int_equal(s.public_units, 4);
	assert_int_equal(s.private_units, 16);
	assert_int_equal(s.jobs_n, 4);
	assert_int_equal(s.running_n, 2);
	assert_int_equal(s.held_n, 1);
	assert_int_equal(s.jobs[0].id, 1); /* what runs comes first, the rest in its order */
	assert_int_equal(s.jobs[1].id, 9);
	assert_int_equal(s.jobs[2].id, 3);
	assert_int_equal(s.jobs[3].id, 5);
	assert_int_equal(s.jobs[0].left_ms, INT64_C(23600000) - (INT64_C(10003600000) - INT64_C(9993600000))); /* limit less what it ran */
	assert_int_equal(s.jobs[1].left_ms, MS_PER_S);	   /* beyond its limit: about to end */
	assert_int_equal(s.jobs[2].left_ms, 23600000);
	assert_int_equal(s.leases_n, 2);
	snapshot_done(&s);
	assert_int_equal(parse(story, "cpu", &s, &err), 0);
	assert_int_equal(s.nodes * s.per_node, 4);
	assert_int_equal(s.public_units, 4);
	assert_int_equal(s.jobs_n, 0);
	assert_int_equal(s.others_n, 5);
	snapshot_done(&s);
	assert_int_equal(parse(story, "mi300", &s, &err), ERR_NOTFOUND);
	assert_string_equal(err.msg, "now.json: there is no flavor 'mi300'");
	snapshot_done(&s);
}

/* The same work, whichever simulation asks: nothing is lost on the way. */
static void it_becomes_input(void **state)
{
	struct divide_pick pick = {.span_ms = MS_PER_DAY, .run_ms_max = MS_PER_DAY, .units_max = 4};
	struct divide_trace trace = {0};
	struct demand_curve curve = {0};
	struct demand_rule rule = {.per_value = 1, .peak = 16, .scale_down_ms = 1000, .idle_ms = 1000};
	struct demand demand = {0};
	struct swf log = {0};
	struct snapshot s;
	struct err err;

	(void)state;
	assert_int_equal(parse(story, NULL, &s, &err), 0);
	snapshot_log(&s, &log);
	assert_int_equal(log.max_procs, 24);
	assert_int_equal(log.jobs_n, 4);
	assert_int_equal(log.jobs[0].procs, 8);
	assert_int_equal(log.jobs[2].run_s, 23600);
	assert_int_equal(log.jobs[2].request_s, 23600);
	snapshot_trace(&s, &pick, &trace);
	assert_int_equal(trace.jobs_n, 3);
	assert_int_equal(trace.too_large_n, 1);
	assert_int_equal(trace.read_n, 4);
	assert_int_equal(trace.jobs[1].run_ms, 23600000);
	assert_true(trace.jobs[1].limit_ms > trace.jobs[1].run_ms);
	snapshot_demand(&s, MS_PER_DAY, &curve);
	assert_int_equal(curve.series_n, 1); /* two leases of one provider */
	assert_int_equal(demand_make(&curve, &rule, &demand, &err), 0);
	assert_int_equal(demand.peak, 9);
	assert_int_equal(demand.steps_n, 1);
	rule.peak = 8;
	demand_done(&demand);
	assert_int_equal(demand_make(&curve, &rule, &demand, &err), ERR_RANGE);
	demand_done(&demand);
	demand_curve_done(&curve);
	divide_trace_done(&trace);
	swf_done(&log);
	snapshot_done(&s);
}

static void what_is_wrong_is_named(void **state)
{
	static const struct { const char *text, *says; int code; } cases[] = {
		{"{", "now.json:1: ", ERR_FORMAT},
		{"[]", "now.json: this is no snapshot of a cluster", ERR_FORMAT},
		{"{\"snapshot\": 2}", "now.json: a snapshot of format 2, this program reads 1", ERR_VERSION},
		{"{\"snapshot\": 1}", "now.json: t_ms: an instant is expected", ERR_FORMAT},
		{"{\"snapshot\": 1, \"snapshot\": 1}", "now.json:1: duplicate object key", ERR_FORMAT},
		{"{" HEAD "}", "now.json: flavors: a list is expected", ERR_FORMAT},
		{"{" HEAD ", \"flavors\": []}", "now.json: the cluster has no flavors", ERR_INVAL},
		{"{" HEAD ", \"flavors\": [3]}", "now.json: flavors[0].name: a text is expected", ERR_FORMAT},
		{"{" HEAD "," FLAVORS ", \"nodes\": [" NODE("h100", "8", "8") "]}", "now.json: no node has a h100 that is not out",
		 ERR_INVAL},
		{"{" HEAD "," FLAVORS ", \"nodes\": [" NODE("h100", "8", "9") "]}",
		 "now.json: nodes[0].out: a number from 0 to 8 is expected", ERR_FORMAT},
		{"{" HEAD "," FLAVORS ", \"nodes\": [" NODE("h100", "9000", "0") "]}", "now.json: nodes[0].devices: a number from 0 to ",
		 ERR_FORMAT},
		{"{" HEAD "," FLAVORS "," NODES "," SIDES "}", "now.json: jobs: a list is expected", ERR_FORMAT},
		{"{" HEAD "," FLAVORS "," NODES "," SIDES ", \"jobs\": [" JOB("1", "waiting", "1", "0") "," JOB("2", "waits", "1", "0") "]}",
		 "now.json: jobs[1].state: waiting, held or running is expected", ERR_FORMAT},
		{"{" HEAD "," FLAVORS "," NODES "," SIDES ", \"jobs\": [" JOB("1", "waiting", "-1", "0") "]}",
		 "now.json: jobs[0].devices: a number from 0 to 2147483647 is expected", ERR_FORMAT},
		{"{" HEAD "," FLAVORS "," NODES "," SIDES ", \"jobs\": [" JOB("1", "waiting", "1.5", "0") "]}",
		 "now.json: jobs[0].devices: a number", ERR_FORMAT},
		{"{" HEAD "," FLAVORS "," NODES "," SIDES ", \"jobs\": [" JOB("1", "waiting", "99999999999999999999", "0") "]}",
		 "now.json:1: too big integer", ERR_FORMAT},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct snapshot s;
		struct err err = {0};

		assert_int_equal(parse(cases[i].text, NULL, &s, &err), cases[i].code);
		if (strncmp(err.msg, cases[i].says, strlen(cases[i].says)) != 0)
			fail_msg("'%s' does not begin with '%s'", err.msg, cases[i].says);
		snapshot_done(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cluster_is_read),
		cmocka_unit_test(it_becomes_input),
		cmocka_unit_test(what_is_wrong_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
