/* test_demo_division.c - the contract that newcomers read first
 *
 * demo/division.yaml is commented for people, and is the file they will change. If the reader and the
 * example drifted apart, the first thing a stranger sees would be an error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/config/config.h"
#include "proto/config/division.h"

static struct division *read_demo(void)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	struct config_errors errs = {0};
	struct division *d = NULL;
	int code = division_read_file("demo/division.yaml", &d, &errs);

	if (code != 0) {
		config_errors_print(&errs, &text);
		printf("%s\n", buf_cstr(&text));
	}
	config_errors_done(&errs);
	assert_int_equal(code, 0);
	return d;
}

static const struct division_node *node_at(const struct division *d, const char *path)
{
	for (size_t i = 0; i < d->nodes_count; i++) {
		CLEANUP(buf_done) struct buf at = BUF_INIT;

		division_path(d, i, &at);
		if (strcmp(buf_cstr(&at), path) == 0)
			return &d->nodes[i];
	}
	fail_msg("no node %s", path);
	return NULL;
}

static void it_divides_twenty_to_eighty(void **state)
{
	struct division *d = read_demo();
	int h100 = division_flavor(d, "h100-80g");

	(void)state;
	assert_true(h100 >= 0);
	assert_int_equal(node_at(d, "public")->nominal[h100].gpus, 4);
	assert_int_equal(node_at(d, "private")->nominal[h100].gpus, 16);
	division_free(d);
}

static void what_is_written_back_reads_the_same(void **state)
{
	CLEANUP(buf_done) struct buf once = BUF_INIT;
	CLEANUP(buf_done) struct buf twice = BUF_INIT;
	struct division *d = read_demo(), *again = NULL;
	struct config_errors errs = {0};

	(void)state;
	division_write(d, &once);
	assert_int_equal(division_read_bytes("written", buf_cstr(&once), strlen(buf_cstr(&once)), &again, &errs), 0);
	division_write(again, &twice);
	assert_string_equal(buf_cstr(&once), buf_cstr(&twice));
	division_free(again);
	division_free(d);
	config_errors_done(&errs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_divides_twenty_to_eighty),
		cmocka_unit_test(what_is_written_back_reads_the_same),
	};

	return cmocka_run_group_tests_name("demo/division.yaml", tests, NULL, NULL);
}
