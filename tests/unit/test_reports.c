/* test_reports.c - how tasks' reports are read: the last of each, and never so many at once that all else waits
 *
 * A task writes what it likes, up to 64 MiB; who reads all of that in one go answers neither the daemon nor the
 * watchdog meanwhile. The execution layer, the core and the timers are made up here: reports.c asks for each by a
 * function that this program has of its own.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/shell.h"
#include "proto/base/ensure.h"

enum { TASKS = 12, LONG_BYTES = 4 << 20, TURN_MAX = 512 * 1024, TURNS_MAX = 1000 };

/* ---- the world as reports.c sees it ------------------------------------------------------------------------- */

/* By number of the allocation. */
static struct {
	char *text;
	size_t len;
	uint64_t step; /* as the core knows it */
	bool ended;    /* the core was told so */
} task[TASKS];

static size_t turn_bytes;
static bool unit_is_gone;
static struct loop_timer *armed;

int exec_log_read(struct exec *exec, const char *name, enum exec_stream stream, uint64_t offset, void *buf, size_t max,
		  size_t *ret_len, struct err *err)
{
	unsigned i;

	(void)exec;
	assert_int_equal(stream, EXEC_REPORTS);
	assert_int_equal(sscanf(name, "a%u-p0-t0", &i), 1);
	if (!task[i].text)
		return err_set(err, ERR_NOTFOUND, "none yet");
	*ret_len = offset < task[i].len ? task[i].len - (size_t)offset : 0;
	if (*ret_len > max)
		*ret_len = max;
	memcpy(buf, task[i].text + offset, *ret_len);
	turn_bytes += *ret_len;
	return 0;
}

bool agent_name_parse(const char *name, uint64_t *ret_alloc, uint16_t *ret_part, char *ret_kind, uint64_t *ret_index,
		      uint32_t *ret_run)
{
	*ret_part = 0;
	*ret_kind = 't';
	*ret_index = 0;
	*ret_run = 0;
	return sscanf(name, "a%" SCNu64 "-p0-t0", ret_alloc) == 1;
}

const struct unit *agent_unit(const struct agent *a, uint64_t alloc, uint16_t part)
{
	static const struct unit unit = {.alloc = 1};

	(void)a;
	(void)alloc;
	(void)part;
	return unit_is_gone ? NULL : &unit;
}

void agent_checkpoint(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, uint64_t step)
{
	(void)a;
	(void)now;
	(void)part;
	assert_false(task[alloc].ended); /* too late: its unit may be gone */
	if (task[alloc].step < step)
		task[alloc].step = step;
}

struct agent_now shell_now(void)
{
	return (struct agent_now){.ms = 1};
}

/* As that of main.c with a task that has ended. */
void shell_look(struct shell *s, const char *name)
{
	unsigned i;

	assert_int_equal(sscanf(name, "a%u-p0-t0", &i), 1);
	if (reports_read(s, name))
		task[i].ended = true;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	(void)loop;
	if (armed == timer)
		armed = NULL;
}

void loop_timer_after(struct loop *loop, struct loop_timer *timer, int64_t ms)
{
	(void)loop;
	assert_int_equal(ms, 0);
	assert_true(!armed || armed == timer);
	armed = timer;
}

/* ---- words for the stories ---------------------------------------------------------------------------------- */

static int setup(void **state)
{
	memset(task, 0, sizeof task);
	unit_is_gone = false;
	armed = NULL;
	turn_bytes = 0;
	*state = xcalloc(1, sizeof(struct shell));
	return 0;
}

static int teardown(void **state)
{
	struct shell *s = *state;

	reports_done(s);
	assert_null(s->readers);
	assert_null(armed);
	free(s);
	for (size_t i = 0; i < TASKS; i++)
		free(task[i].text);
	return 0;
}

static const char *name_of(unsigned i)
{
	static char name[AGENT_NAME_BYTES];

	(void)snprintf(name, sizeof name, "a%u-p0-t0", i);
	return name;
}

static void reports(unsigned i, const char *text)
{
	size_t n = strlen(text);

	task[i].text = xrealloc(task[i].text, task[i].len + n + 1);
	memcpy(task[i].text + task[i].len, text, n + 1);
	task[i].len += n;
}

/* Lines without a step, and a last one with it. */
static void reports_much(unsigned i, uint64_t step)
{
	char line[64];

	task[i].text = xmalloc(LONG_BYTES);
	memset(task[i].text, 'y', LONG_BYTES);
	for (size_t k = 99; k < LONG_BYTES; k += 100)
		task[i].text[k] = '\n';
	task[i].text[LONG_BYTES - 1] = '\n';
	task[i].len = LONG_BYTES;
	(void)snprintf(line, sizeof line, "{\"step\": %" PRIu64 "}\n", step);
	reports(i, line);
}

static void turn(struct shell *s)
{
	struct loop_timer *t = armed;

	reports_turn(s);
	turn_bytes = 0;
	armed = NULL;
	if (t)
		t->cb(s->loop, t, t->arg);
	assert_in_range(turn_bytes, 0, TURN_MAX);
}

/* ---- the stories -------------------------------------------------------------------------------------------- */

static void each_line_counts_once_it_is_whole(void **state)
{
	struct shell *s = *state;

	assert_true(reports_read(s, name_of(1)));
	reports(1, "{\"step\": 7}\nnothing\n{\"checkpoint\": {\"step\" : 8}}\n{\"step\": 9");
	assert_true(reports_read(s, name_of(1)));
	assert_int_equal(task[1].step, 8);
	reports(1, "0}\n");
	turn_bytes = 0;
	assert_true(reports_read(s, name_of(1)));
	assert_int_equal(task[1].step, 90);
	assert_in_range(turn_bytes, 1, 20); /* not all anew */
	assert_true(reports_read(s, "health-1-0-1"));
}

static void much_is_read_over_many_turns(void **state)
{
	struct shell *s = *state;
	int turns = 0;

	reports_much(1, 4200);
	shell_look(s, name_of(1));
	assert_in_range(turn_bytes, 1, TURN_MAX);
	assert_false(task[1].ended);
	for (; !task[1].ended; turns++) {
		assert_true(turns < TURNS_MAX);
		assert_non_null(armed);
		turn(s);
	}
	assert_true(turns > LONG_BYTES / TURN_MAX);
	assert_int_equal(task[1].step, 4200);
	assert_null(armed);
}

/* As when an agent begins and finds them all, or a turn brings news of each. */
static void many_share_a_turn_and_none_waits_for_the_end_of_another(void **state)
{
	struct shell *s = *state;
	bool all = false;

	for (unsigned i = 1; i < TASKS; i++)
		reports_much(i, i);
	reports(0, "{\"step\": 5}\n");
	for (unsigned i = TASKS; i-- > 0;)
		shell_look(s, name_of(i));
	assert_in_range(turn_bytes, 1, TURN_MAX);
	for (int turns = 0; !task[0].ended; turns++) {
		assert_true(turns < TASKS);
		turn(s);
	}
	assert_int_equal(task[0].step, 5);
	for (unsigned i = 1; i < TASKS; i++)
		assert_false(task[i].ended);
	for (int turns = 0; !all; turns++) {
		assert_true(turns < TURNS_MAX);
		turn(s);
		all = true;
		for (unsigned i = 1; i < TASKS; i++)
			all &= task[i].ended;
	}
	for (unsigned i = 1; i < TASKS; i++)
		assert_int_equal(task[i].step, i);
	assert_null(armed);
}

static void a_line_without_end_is_skipped(void **state)
{
	struct shell *s = *state;

	task[1].text = xmalloc(100000);
	memset(task[1].text, 'y', 100000);
	task[1].len = 100000;
	reports(1, "\n{\"step\": 3}\n");
	shell_look(s, name_of(1));
	for (int turns = 0; !task[1].ended; turns++) {
		assert_true(turns < TURNS_MAX);
		turn(s);
	}
	assert_int_equal(task[1].step, 3);
}

static void what_nobody_asks_for_is_not_read(void **state)
{
	struct shell *s = *state;

	reports_much(1, 3);
	shell_look(s, name_of(1));
	reports_forget(s, name_of(1));
	turn(s);
	assert_int_equal(turn_bytes, 0);
	unit_is_gone = true;
	assert_true(reports_read(s, name_of(1)));
	assert_int_equal(turn_bytes, 0);
	reports_forget(s, name_of(1));
}

int main(void)
{
#define STORY(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		STORY(each_line_counts_once_it_is_whole),
		STORY(much_is_read_over_many_turns),
		STORY(many_share_a_turn_and_none_waits_for_the_end_of_another),
		STORY(a_line_without_end_is_skipped),
		STORY(what_nobody_asks_for_is_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
