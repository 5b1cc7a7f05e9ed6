/* test_pack.c - node and pod lists, and placing the one on the other
 *
 * The last case needs the recorded lists: set SLUIS_DATA, or keep them in ../shared/data.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/sim/golden.h"
#include "daemon/sim/openb.h"
#include "daemon/sim/packsim.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"

#define NODE_HEADING "sn,cpu_milli,memory_mib,gpu,model\n"
#define POD_HEADING "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos\n"

static int read_nodes(struct openb *o, const char *text, struct err *err)
{
	return openb_parse_nodes(o, "n.csv", text, strlen(text), NULL, err);
}
static int read_pods(struct openb *o, const char *text, struct err *err)
{
	return openb_parse_pods(o, "p.csv", text, strlen(text), NULL, err);
}

/* A bad line among good ones: left out and counted where that is asked for, and nothing of it stays. */
static void bad_lines_are_left_out(void **state)
{
	static const char nodes[] = NODE_HEADING "a,1000,10,2,V100\nb,1000,10,9,V100\nc,x,10,2,V100\nd,1000,10,1,V100\n";
	static const char pods[] = POD_HEADING "p,1,1,1,500,,x\nq,1,1,2,500,,x\nr,1,1\ns,1,1,1,1000,,x\n";
	struct bad_lines bad = {.skip = true};
	struct openb o = {0};
	struct err err;

	(void)state;
	assert_int_equal(openb_parse_nodes(&o, "n.csv", nodes, strlen(nodes), &bad, &err), 0);
	assert_int_equal(openb_parse_pods(&o, "p.csv", pods, strlen(pods), &bad, &err), 0);
	assert_int_equal(bad.n, 4);
	assert_string_equal(bad.first.msg, "n.csv:3: field 4 (gpu) is not a number from 0 to 8");
	assert_int_equal(o.nodes_n, 2);
	assert_string_equal(o.nodes[1].name, "d");
	assert_int_equal(o.pods_n, 2);
	assert_string_equal(o.pods[1].name, "s");
	openb_done(&o);
	assert_int_equal(openb_parse_nodes(&o, "n.csv", nodes, strlen(nodes), NULL, &err), ERR_FORMAT);
	assert_string_equal(err.hint, "--bad-lines skip leaves such lines out and counts them");
	assert_int_equal(o.nodes_n, 1);
	openb_done(&o);
}

static void lists_are_read(void **state)
{
	struct openb o = {0};
	struct err err;

	(void)state;
	assert_int_equal(read_nodes(&o, NODE_HEADING "n0,64000,262144,2,P100\nn1,32000,1024,0,\nn2,1,2,8,T4\n", &err), 0);
	assert_int_equal(read_pods(&o, POD_HEADING "p0,12000,16384,1,460,,LS\np1,1,2,8,1000,T4|P100,BE\n"
				   "p2,1,2,0,0,,BE\r\np3,1,1,1,1000,A10,BE", &err), 0);
	assert_int_equal(o.nodes_n, 3);
	assert_int_equal(o.nodes[0].gpus, 2);
	assert_int_equal(o.nodes[0].model, 1);
	assert_int_equal(o.nodes[1].model, 0);
	assert_int_equal(o.nodes[2].model, 2);
	assert_int_equal(o.pods_n, 4);
	assert_int_equal(o.pods[0].gpu_milli, 460);
	assert_int_equal(o.pods[0].models, UINT32_MAX);
	assert_int_equal(o.pods[1].models, 3);
	assert_int_equal(o.pods[3].models, 4); /* a model that no node has */
	assert_string_equal(o.models[2], "A10");
	openb_done(&o);
	assert_int_equal(read_pods(&o, "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np0,1,2,1,1000\n", &err), 0);
	assert_int_equal(o.pods[0].models, UINT32_MAX); /* lists of five columns exist */
	openb_done(&o);
}

static void bad_rows_are_named(void **state)
{
	static const struct { const char *row, *says; } pods[] = {
		{"p0,1,2,1,1000,", "p.csv:2: 6 fields, the heading has 7"},
		{"p0,1,2,1,1000,,LS,", "p.csv:2: 8 fields, the heading has 7"},
		{"p0,x,2,1,1000,,", "p.csv:2: field 2 (cpu_milli) is not a number from 0 to 1000000000"},
		{"p0,1,-2,1,1000,,", "p.csv:2: field 3 (memory_mib) is not a number from 0 to 1000000000"},
		{"p0,1,99999999999999999999999,1,1000,,", "p.csv:2: field 3 (memory_mib) is not a number from 0 to 1000000000"},
		{"p0,1,2,9,1000,,", "p.csv:2: field 4 (num_gpu) is not a number from 0 to 8"},
		{"p0,1,2,1,1001,,", "p.csv:2: field 5 (gpu_milli) is not a number from 0 to 1000"},
		{"p0,1,2,1,,,", "p.csv:2: field 5 (gpu_milli) is empty"},
		{"p0,1,2,2,500,,", "p.csv:2: 2 GPUs of 500 milli each cannot be asked for"},
		{"p0,1,2,1,0,,", "p.csv:2: 1 GPUs of 0 milli each cannot be asked for"},
		{"p0,1,2,1,1000,T4||A10,", "p.csv:2: the name of a model is empty or longer than 31 bytes"},
		{",1,2,1,1000,,", "p.csv:2: field 1 (name) is empty"},
		{"ppppppppppppppppppppppppppppppp2,1,2,1,1000,,", "p.csv:2: field 1 (name) is longer than 31 bytes"},
	};
	struct openb o = {0};
	char text[256];
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pods); i++) {
		(void)snprintf(text, sizeof text, POD_HEADING "%s\n", pods[i].row);
		assert_true(read_pods(&o, text, &err) < 0);
		assert_string_equal(err.msg, pods[i].says);
		openb_done(&o);
	}
	assert_int_equal(read_nodes(&o, POD_HEADING, &err), ERR_FORMAT);
	assert_string_equal(err.msg, "n.csv:1: the heading has no column 'sn'");
	assert_int_equal(read_nodes(&o, NODE_HEADING "n0,1,1,1,\n", &err), ERR_FORMAT); /* GPUs of no model */
	openb_done(&o);
	for (int i = 0; i <= OPENB_MODELS_MAX; i++) {
		(void)snprintf(text, sizeof text, NODE_HEADING "n,1,1,1,M%d\n", i);
		assert_int_equal(read_nodes(&o, text, &err), i < OPENB_MODELS_MAX ? 0 : ERR_NOROOM);
	}
	openb_done(&o);
}

/* What a column is its name in the heading says, wherever it stands; a heading that lacks one is refused. */
static void columns_go_by_their_names(void **state)
{
	static const struct { const char *heading, *says; } bad[] = {
		{"sn,cpu_milli,memory_mib,gpu\n", "n.csv:1: the heading has no column 'model'"},
		{"sn,cpu,memory,gpu,model\n", "n.csv:1: the heading has no column 'cpu_milli'"},
		{"sn,cpu_milli,memory_mib,gpu,model,gpu\n", "n.csv:1: the column 'gpu' is there twice"},
		{"a,64000,262144,8,X\n", "n.csv:1: the heading has no column 'sn'"},
		{"", "n.csv: the file is empty"},
	};
	struct openb o = {0};
	struct err err;

	(void)state;
	assert_int_equal(read_nodes(&o, "model, gpu ,rack,memory_mib,cpu_milli,sn\r\nT4,2,r1,7,64000,a\r\n", &err), 0);
	assert_int_equal(read_pods(&o, "gpu_spec,num_gpu,name,memory_mib,gpu_milli,cpu_milli\nT4,1,p,5,250,3\n", &err), 0);
	assert_string_equal(o.nodes[0].name, "a");
	assert_int_equal(o.nodes[0].cpu_milli, 64000);
	assert_int_equal(o.nodes[0].memory_mib, 7);
	assert_int_equal(o.nodes[0].gpus, 2);
	assert_string_equal(o.models[0], "T4");
	assert_string_equal(o.pods[0].name, "p");
	assert_int_equal(o.pods[0].cpu_milli, 3);
	assert_int_equal(o.pods[0].memory_mib, 5);
	assert_int_equal(o.pods[0].gpu_milli, 250);
	assert_int_equal(o.pods[0].models, 1);
	openb_done(&o);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(read_nodes(&o, bad[i].heading, &err), ERR_FORMAT);
		assert_string_equal(err.msg, bad[i].says);
		openb_done(&o);
	}
}

/* Two nodes of one name: it is the second line that is wrong, however long the list is. */
static void a_node_is_listed_once(void **state)
{
	enum { NODES = 3000 };
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	struct bad_lines bad = {.skip = true};
	struct openb o = {0};
	struct err err;

	(void)state;
	buf_addf(&text, NODE_HEADING);
	for (int i = 0; i < NODES; i++)
		buf_addf(&text, "n%d,1000,10,1,A\n", i);
	buf_addf(&text, "n0,1000,10,2,A\nn%d,1000,10,3,A\n", NODES - 1);
	assert_int_equal(openb_parse_nodes(&o, "n.csv", buf_cstr(&text), text.len, &bad, &err), 0);
	assert_int_equal(o.nodes_n, NODES);
	assert_int_equal(bad.n, 2);
	assert_string_equal(bad.first.msg, "n.csv:3002: there is a node 'n0' already");
	openb_done(&o);
}

static struct packsim_result place(const struct openb *o, enum packsim_policy policy, int64_t until_milli)
{
	struct packsim_result r;

	assert_int_equal(packsim_run(o, policy, 1, until_milli, NULL, NULL, NULL, &r, NULL), 0);
	return r;
}

/* One GPU pod that needs the CPU of a whole node, and CPU, memory and model that keep others away: every
 * policy fills exactly what can be filled. */
static void filters_hold_for_every_policy(void **state)
{
	struct openb o = {0};

	(void)state;
	assert_int_equal(read_nodes(&o, NODE_HEADING "n0,1000,1000,4,A\nn1,9000,10,4,A\nn2,9000,9000,4,B\n", NULL), 0);
	assert_int_equal(read_pods(&o, POD_HEADING "p0,1000,100,1,1000,A,LS\n", NULL), 0);
	for (int p = 0; p < PACK_COUNT; p++) {
		struct packsim_result r = place(&o, (enum packsim_policy)p, 2000);

		assert_int_equal(r.capacity_milli, 12000);
		assert_int_equal(r.asked_milli, 24000);
		assert_int_equal(r.arrived, 24);
		assert_int_equal(r.allocated_milli, 1000); /* n0 has CPU for one, n1 no memory, n2 another model */
		assert_true(r.fragmented_idle_pct > 63.6 && r.fragmented_idle_pct < 63.7); /* 7 of 11: memory is no part of it */
	}
	openb_done(&o);
}

/* Halves, fours and eights on twelve nodes: those who look at fragments put two halves on one GPU and
 * keep nodes whole for the eights. */
static void fragments_are_avoided(void **state)
{
	struct packsim_result random, fgd, own, again;
	struct openb o = {0};
	char text[32000];
	int n = 0;

	(void)state;
	n += snprintf(text + n, sizeof text - (size_t)n, NODE_HEADING);
	for (int i = 0; i < 12; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, "n%d,96000,393216,8,A\n", i);
	assert_int_equal(read_nodes(&o, text, NULL), 0);
	n = snprintf(text, sizeof text, POD_HEADING);
	for (int i = 0; i < 60; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, "p%d,1000,1000,%s,,LS\n", i,
			      i % 6 ? "1,500" : i % 12 ? "8,1000" : "4,1000");
	assert_int_equal(read_pods(&o, text, NULL), 0);
	random = place(&o, PACK_RANDOM, 1300);
	fgd = place(&o, PACK_FGD, 1300);
	own = place(&o, PACK_SLUIS, 1300);
	assert_true(fgd.allocated_milli > random.allocated_milli);
	assert_true(own.allocated_milli > random.allocated_milli);
	again = place(&o, PACK_SLUIS, 1300);
	assert_memory_equal(&own, &again, sizeof own);
	openb_done(&o);
}

/* What is told of each arrival adds up to the result, and no node holds more than it has. */
static void the_log_adds_up(void **state)
{
	int64_t placed_milli = 0, on_node[2] = {0};
	struct packsim_log log = {0};
	struct packsim_result r, alone;
	struct openb o = {0};
	size_t placed = 0;

	(void)state;
	assert_int_equal(read_nodes(&o, NODE_HEADING "n0,9000,9000,4,A\nn1,9000,9000,8,B\n", NULL), 0);
	assert_int_equal(read_pods(&o, POD_HEADING "p0,100,100,1,500,A,LS\np1,100,100,2,1000,,LS\np2,100,100,1,300,,LS\n", NULL), 0);
	for (int p = 0; p < PACK_COUNT; p++, placed = 0, placed_milli = on_node[0] = on_node[1] = 0) {
		alone = place(&o, (enum packsim_policy)p, 1300);
		assert_int_equal(packsim_run(&o, (enum packsim_policy)p, 1, 1300, NULL, NULL, &log, &r, NULL), 0);
		assert_memory_equal(&alone, &r, sizeof r); /* to be watched changes nothing */
		assert_int_equal(log.arrivals_n, r.arrived);
		for (size_t i = 0; i < log.arrivals_n; i++) {
			const struct openb_pod *pod = &o.pods[log.arrivals[i].pod];

			if (log.arrivals[i].node == PACKSIM_NO_NODE)
				continue;
			assert_true(log.arrivals[i].node < 2);
			assert_true(pod->models & o.nodes[log.arrivals[i].node].model);
			on_node[log.arrivals[i].node] += (int64_t)pod->gpus * pod->gpu_milli;
			placed_milli += (int64_t)pod->gpus * pod->gpu_milli;
			placed++;
		}
		assert_int_equal(placed, r.placed);
		assert_int_equal(placed_milli, r.allocated_milli);
		assert_true(on_node[0] <= 4000 && on_node[1] <= 8000);
		assert_true(log.points[0].asked_pct == 0 && log.points[0].allocated_pct == 0);
		assert_true(log.points[log.points_n - 1].allocated_pct == r.allocation_pct);
		assert_true(log.points[log.points_n - 1].fragmented_pct == r.fragmented_pct);
		for (size_t i = 1; i < log.points_n; i++)
			assert_true(log.points[i].asked_pct >= log.points[i - 1].asked_pct && log.points[i].allocated_pct >= log.points[i - 1].allocated_pct);
		packsim_log_done(&log);
	}
	openb_done(&o);
}

static void nothing_to_place_is_said(void **state)
{
	struct packsim_result r;
	struct openb o = {0};
	struct err err;

	(void)state;
	assert_int_equal(read_nodes(&o, NODE_HEADING "n0,1000,1000,4,A\n", NULL), 0);
	assert_int_equal(packsim_run(&o, PACK_FGD, 1, 1300, NULL, NULL, NULL, &r, &err), ERR_INVAL);
	assert_int_equal(read_pods(&o, POD_HEADING "p0,1000,100,0,0,,LS\n", NULL), 0);
	assert_int_equal(packsim_run(&o, PACK_FGD, 1, 1300, NULL, NULL, NULL, &r, &err), ERR_INVAL);
	openb_done(&o);
}

static void check_row(void *arg, const struct golden_report *r)
{
	unsigned *rows = arg;

	print_message("%s: %.3f %.3f\n", r->name, r->value, r->expected);
	assert_true(r->ok);
	++*rows;
}

/* The published means on the default list within their bands, and our own policy above FGD on it. */
static void published_default_list(void **state)
{
	struct openb o = {0};
	unsigned rows = 0;
	struct err err;

	(void)state;
	if (golden_load_openb(golden_data_dir(), "default", &o, &err)) {
		print_message("skip: %s (set SLUIS_DATA)\n", err.msg);
		openb_done(&o);
		skip();
	}
	assert_int_equal(golden_pack(golden_data_dir(), "default", check_row, &rows, &err), 0);
	assert_int_equal(rows, 4);
	openb_done(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_are_read),
		cmocka_unit_test(bad_lines_are_left_out),
		cmocka_unit_test(bad_rows_are_named),
		cmocka_unit_test(columns_go_by_their_names),
		cmocka_unit_test(a_node_is_listed_once),
		cmocka_unit_test(filters_hold_for_every_policy),
		cmocka_unit_test(fragments_are_avoided),
		cmocka_unit_test(the_log_adds_up),
		cmocka_unit_test(nothing_to_place_is_said),
		cmocka_unit_test(published_default_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
