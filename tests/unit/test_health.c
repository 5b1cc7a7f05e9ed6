/* test_health.c - what the core is told of a health command, and what becomes of the processes that one leaves
 *
 * A device that is handed on while something of the one before still runs is given twice. A command that hangs where
 * no signal reaches it is an answer too, and must not leave a process each time it is asked. The execution layer, the
 * core and the timers are made up here: health.c asks for each by a function that this program has of its own.
 */
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

enum { ALLOC = 42, OTHER = 43, LIMIT_MS = 3000, TASKS_MAX = 8, TIMERS_MAX = 8 };

/* ---- the world as health.c sees it -------------------------------------------------------------------------- */

/* All that the execution layer knows. */
static struct task {
	char name[EXEC_NAME_BYTES]; /* "": none */
	struct exec_status st;
	int kills;
} layer[TASKS_MAX];
static int starts, releases;
static bool cannot_start;
static char newest[EXEC_NAME_BYTES];

/* What the core was told, of ALLOC and of OTHER. */
static struct {
	int answers;
	bool ok, left;
	bool left_first; /* when it was answered */
} core[2];

static struct pay pay;
static bool unit_is_gone;
static struct loop_timer *timers[TIMERS_MAX];
static int64_t timer_ms[TIMERS_MAX];

static struct task *task(const char *name)
{
	for (size_t i = 0; i < TASKS_MAX; i++)
		if (strcmp(layer[i].name, name) == 0)
			return &layer[i];
	return NULL;
}

static struct task *knows(const char *name, enum exec_state state, bool empty)
{
	struct task *t = task(name) ? task(name) : task("");

	ENSURE(t);
	(void)snprintf(t->name, sizeof t->name, "%s", name);
	t->st = (struct exec_status){.state = state, .empty = empty};
	return t;
}

static int running(void)
{
	int n = 0;

	for (size_t i = 0; i < TASKS_MAX; i++)
		n += layer[i].name[0] && !layer[i].st.empty;
	return n;
}

int exec_kill(struct exec *exec, const char *name, struct err *err)
{
	(void)exec;
	(void)err;
	assert_non_null(task(name));
	task(name)->kills++;
	return 0;
}

int exec_release(struct exec *exec, const char *name, struct err *err)
{
	(void)exec;
	(void)err;
	if (task(name)) {
		assert_true(task(name)->st.empty);
		*task(name) = (struct task){.kills = 0};
	}
	releases++;
	return 0;
}

void shell_look(struct shell *s, const char *name)
{
	const struct exec_status none = {.state = EXEC_NONE, .empty = true};

	assert_true(health_changed(s, name, task(name) ? &task(name)->st : &none));
}

int launch_health(struct shell *s, uint64_t alloc, uint16_t part, const char *name, struct err *err)
{
	(void)s;
	assert_int_equal(part, 0);
	assert_true(alloc == ALLOC || alloc == OTHER);
	assert_null(task(name)); /* never one name twice */
	if (cannot_start)
		return err_set(err, ERR_SYS, "cannot start");
	starts++;
	(void)knows(name, EXEC_RUNNING, false);
	(void)snprintf(newest, sizeof newest, "%s", name);
	return 0;
}

struct pay *launch_payload(struct shell *s, const uint8_t hash[32])
{
	(void)s;
	(void)hash;
	return &pay;
}

const struct unit *agent_unit(const struct agent *a, uint64_t alloc, uint16_t part)
{
	static const struct unit unit = {.alloc = ALLOC};

	(void)a;
	(void)alloc;
	(void)part;
	return unit_is_gone ? NULL : &unit;
}

void agent_health(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, bool ok)
{
	(void)a;
	(void)now;
	(void)part;
	assert_in_range(alloc, ALLOC, OTHER);
	core[alloc - ALLOC].answers++;
	core[alloc - ALLOC].ok = ok;
	core[alloc - ALLOC].left_first = core[alloc - ALLOC].left;
}

void agent_left(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, enum left what, bool left)
{
	(void)a;
	(void)now;
	(void)part;
	assert_int_equal(what, LEFT_HEALTH);
	assert_in_range(alloc, ALLOC, OTHER);
	core[alloc - ALLOC].left = left;
}

struct agent_now shell_now(void)
{
	return (struct agent_now){.ms = 1};
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	(void)loop;
	for (size_t i = 0; i < TIMERS_MAX; i++)
		if (timers[i] == timer)
			timers[i] = NULL;
}

void loop_timer_after(struct loop *loop, struct loop_timer *timer, int64_t ms)
{
	size_t i = 0;

	assert_true(ms > 0);
	loop_timer_cancel(loop, timer);
	while (timers[i])
		assert_true(++i < TIMERS_MAX);
	timers[i] = timer;
	timer_ms[i] = ms;
}

/* ---- words for the stories ---------------------------------------------------------------------------------- */

static int setup(void **state)
{
	struct shell *s = xcalloc(1, sizeof *s);

	memset(layer, 0, sizeof layer);
	memset(core, 0, sizeof core);
	memset(timers, 0, sizeof timers);
	starts = releases = 0;
	cannot_start = unit_is_gone = false;
	pay = (struct pay){.payload = {.health_n = 1}};
	s->checks_made = UINT64_C(7) << 24;
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct shell *s = *state;

	health_done(s);
	assert_null(s->checks);
	for (size_t i = 0; i < TIMERS_MAX; i++)
		assert_null(timers[i]);
	free(s);
	return 0;
}

static void wanted(struct shell *s, uint64_t alloc)
{
	health_start(s, &(struct action){.type = ACTION_HEALTH, .alloc = alloc, .value = LIMIT_MS});
}

static void unwanted(struct shell *s, uint64_t alloc)
{
	health_end(s, &(struct action){.type = ACTION_HEALTH_END, .alloc = alloc});
}

/* The execution layer tells of a change. */
static void becomes(struct shell *s, const char *name, enum exec_state state, bool empty, int exit_code)
{
	char own[EXEC_NAME_BYTES];
	struct exec_status st;

	(void)snprintf(own, sizeof own, "%s", name);
	knows(own, state, empty)->st.exit_code = exit_code;
	st = task(own)->st;
	assert_true(health_changed(s, own, &st));
}

/* The one timer of `ms` that is set; any with 0. */
static void timer_fires(int64_t ms)
{
	struct loop_timer *t = NULL;

	for (size_t i = 0; i < TIMERS_MAX; i++)
		if (timers[i] && (!ms || timer_ms[i] == ms)) {
			assert_null(t);
			t = timers[i];
			timers[i] = NULL;
		}
	assert_non_null(t);
	t->cb(NULL, t, t->arg);
}

static void its_time_is_over(void)
{
	timer_fires(LIMIT_MS);
}

static bool timer_set(void)
{
	for (size_t i = 0; i < TIMERS_MAX; i++)
		if (timers[i])
			return true;
	return false;
}

/* ---- answers ------------------------------------------------------------------------------------------------ */

static void one_that_leaves_nothing_is_told_and_forgotten(void **state)
{
	struct shell *s = *state;

	for (int i = 0; i < 2; i++) {
		wanted(s, ALLOC);
		assert_int_equal(core[0].answers, i);
		becomes(s, newest, EXEC_EXITED, true, i);
		assert_int_equal(core[0].answers, i + 1);
		assert_true(core[0].ok == (i == 0));
		assert_int_equal(releases, i + 1);
		assert_false(core[0].left || timer_set());
	}
	assert_string_equal(newest, "health-42-0-117440514");
}

static void a_service_without_one_is_well(void **state)
{
	struct shell *s = *state;

	pay.payload.health_n = 0;
	wanted(s, ALLOC);
	assert_true(core[0].ok);
	assert_int_equal(starts, 0);
}

static void one_that_cannot_be_started_is_no(void **state)
{
	struct shell *s = *state;

	cannot_start = true;
	wanted(s, ALLOC);
	assert_int_equal(core[0].answers, 1);
	assert_false(core[0].ok || core[0].left || timer_set());
	assert_null(s->checks);
}

static void a_name_of_others_is_left_to_them(void **state)
{
	struct shell *s = *state;
	const struct exec_status st = {.state = EXEC_RUNNING};
	static const char *const names[] = {"a42-p0-t0", "prolog-42-0", "health-42-0", "health-42-0-1x", "h1"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_false(health_changed(s, names[i], &st));
}

/* ---- what one leaves ---------------------------------------------------------------------------------------- */

static void what_it_leaves_is_told_first_and_until_it_is_gone(void **state)
{
	struct shell *s = *state;

	wanted(s, ALLOC);
	becomes(s, newest, EXEC_EXITED, false, 0);
	assert_true(core[0].ok && core[0].left_first);
	for (int i = 0; i < 1000; i++) {
		assert_true(core[0].left);
		timer_fires(0);
	}
	assert_true(task(newest)->kills > 1000);
	task(newest)->st.empty = true;
	timer_fires(0);
	assert_false(core[0].left);
	assert_int_equal(core[0].answers, 1);
	assert_int_equal(releases, 1);
}

/* A file system that hangs: the command itself does not die. */
static void one_that_outlives_its_time_is_no_at_once(void **state)
{
	struct shell *s = *state;

	wanted(s, ALLOC);
	its_time_is_over();
	assert_int_equal(core[0].answers, 1);
	assert_true(!core[0].ok && core[0].left_first);
	assert_int_equal(task(newest)->kills, 1);
	timer_fires(0); /* it is looked at, and killed again */
	assert_int_equal(task(newest)->kills, 2);
	becomes(s, newest, EXEC_EXITED, true, -1);
	assert_int_equal(core[0].answers, 1);
	assert_false(core[0].left || timer_set());
	assert_int_equal(releases, 1);
}

static void none_runs_beside_what_is_left_of_another(void **state)
{
	struct shell *s = *state;
	char first[EXEC_NAME_BYTES];

	wanted(s, ALLOC);
	(void)snprintf(first, sizeof first, "%s", newest);
	its_time_is_over();
	for (int i = 0; i < 100; i++) {
		wanted(s, ALLOC);
		its_time_is_over();
		assert_int_equal(core[0].answers, i + 2); /* the service is found sick all the same */
		assert_false(core[0].ok);
		assert_int_equal(running(), 1);
	}
	wanted(s, OTHER); /* which has left nothing */
	assert_int_equal(running(), 2);
	becomes(s, newest, EXEC_EXITED, true, 0);
	assert_true(core[1].ok && !core[1].left);
	wanted(s, ALLOC);
	assert_int_equal(running(), 1);
	becomes(s, first, EXEC_EXITED, true, -1);
	assert_int_equal(running(), 1); /* it is its turn */
	assert_string_not_equal(newest, first);
	assert_false(core[0].left);
	becomes(s, newest, EXEC_EXITED, true, 0);
	assert_true(core[0].ok);
	assert_false(timer_set());
}

/* ---- ends --------------------------------------------------------------------------------------------------- */

static void one_that_is_not_wanted_any_more_ends_at_once(void **state)
{
	struct shell *s = *state;

	wanted(s, OTHER);
	wanted(s, ALLOC);
	unwanted(s, ALLOC);
	assert_int_equal(core[0].answers, 1);
	assert_true(core[0].left_first);
	assert_int_equal(task(newest)->kills, 1);
	assert_int_equal(core[1].answers, 0);
	unwanted(s, ALLOC);
	assert_int_equal(core[0].answers, 1);
	becomes(s, newest, EXEC_EXITED, true, -1);
	assert_false(core[0].left);
	wanted(s, ALLOC);
	becomes(s, newest, EXEC_EXITED, false, 0);
	wanted(s, ALLOC); /* this one waits */
	unwanted(s, ALLOC);
	assert_int_equal(core[0].answers, 3);
	assert_int_equal(running(), 2);
	task(newest)->st.empty = true;
	becomes(s, newest, EXEC_EXITED, true, 0);
	assert_int_equal(running(), 1); /* of the other unit */
	assert_false(core[0].left);
}

/* The core releases as soon as it is ready: it has to hear before that, also of a unit that it does not know. */
static void the_next_agent_knows_what_is_left(void **state)
{
	struct shell *s = *state;
	char first[EXEC_NAME_BYTES];

	for (int lost = 0; lost < 2; lost++) {
		wanted(s, ALLOC);
		(void)snprintf(first, sizeof first, "%s", newest);
		if (lost)
			becomes(s, newest, EXEC_LOST, false, 0);
		health_done(s);
		memset(core, 0, sizeof core);
		s->checks_made += 1000;
		unit_is_gone = lost;
		becomes(s, first, lost ? EXEC_LOST : EXEC_RUNNING, false, 0);
		assert_true(core[0].left);
		assert_int_equal(core[0].answers, 0); /* nobody has asked */
		assert_true(task(first)->kills > 0);
		unit_is_gone = false;
		wanted(s, ALLOC);
		assert_string_equal(newest, first);
		becomes(s, first, lost ? EXEC_LOST : EXEC_EXITED, true, -1);
		assert_string_not_equal(newest, first);
		assert_false(core[0].left);
		becomes(s, newest, EXEC_EXITED, true, 0);
		assert_int_equal(core[0].answers, 1);
		assert_true(core[0].ok);
	}
}

static void an_agent_that_ends_leaves_none_running(void **state)
{
	struct shell *s = *state;

	wanted(s, ALLOC);
	health_done(s);
	assert_int_equal(task(newest)->kills, 1);
	assert_int_equal(core[0].answers, 0);
}

static void one_whose_files_were_removed_is_no(void **state)
{
	struct shell *s = *state;

	wanted(s, ALLOC);
	*task(newest) = (struct task){.kills = 0};
	shell_look(s, newest);
	assert_int_equal(core[0].answers, 1);
	assert_false(core[0].ok || core[0].left || timer_set());
	shell_look(s, newest);
	assert_null(s->checks);
}

int main(void)
{
#define STORY(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		STORY(one_that_leaves_nothing_is_told_and_forgotten),
		STORY(a_service_without_one_is_well),
		STORY(one_that_cannot_be_started_is_no),
		STORY(a_name_of_others_is_left_to_them),
		STORY(what_it_leaves_is_told_first_and_until_it_is_gone),
		STORY(one_that_outlives_its_time_is_no_at_once),
		STORY(none_runs_beside_what_is_left_of_another),
		STORY(one_that_is_not_wanted_any_more_ends_at_once),
		STORY(the_next_agent_knows_what_is_left),
		STORY(an_agent_that_ends_leaves_none_running),
		STORY(one_whose_files_were_removed_is_no),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
