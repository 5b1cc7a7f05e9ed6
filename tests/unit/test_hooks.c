/* test_hooks.c - what the core is told of a prolog or epilog, and what becomes of the processes that one leaves
 *
 * A device that is handed on while something of the one before still runs is given twice. The execution layer, the
 * core and the timers are made up here: hooks.c asks for each by a function that this program has of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include <cmocka.h>

#include "agent/core/environ.h"
#include "agent/hooks.h"
#include "agent/shell.h"
#include "proto/base/ensure.h"

enum { OWN_UID = 990, ALLOC = 42 };

/* ---- the world as hooks.c sees it --------------------------------------------------------------------------- */

/* All that the execution layer knows, at most one unit. */
static struct {
	char name[EXEC_NAME_BYTES]; /* "": none */
	struct exec_status st;
	int starts, kills, releases;
	char uid[32]; /* SLUIS_UID of the last start; "-": not set */
} layer;

/* What the core was told, by enum hook. */
static struct {
	int ended;
	bool ok, left;
	char text[TEXT_BYTES];
} core[2];

static struct unit unit;
static bool unit_is_gone, no_account;
static uid_t account;
static struct loop_timer *armed;

static void knows(const char *name, enum exec_state state, bool empty)
{
	(void)snprintf(layer.name, sizeof layer.name, "%s", name);
	layer.st = (struct exec_status){.state = state, .empty = empty};
}

int exec_status(struct exec *exec, const char *name, struct exec_status *ret, struct err *err)
{
	(void)exec;
	(void)err;
	*ret = strcmp(name, layer.name) == 0 ? layer.st : (struct exec_status){.state = EXEC_NONE, .empty = true};
	return 0;
}

int exec_start(struct exec *exec, const struct exec_task *task, struct err *err)
{
	const char *uid = environ_get(task->env, "SLUIS_UID");

	(void)exec;
	(void)err;
	assert_string_equal(layer.name, "");
	assert_int_equal(task->uid, 0); /* as the agent, whoever it is for */
	(void)snprintf(layer.uid, sizeof layer.uid, "%s", uid ? uid : "-");
	knows(task->name, EXEC_RUNNING, false);
	layer.starts++;
	return 0;
}

int exec_kill(struct exec *exec, const char *name, struct err *err)
{
	(void)exec;
	(void)err;
	assert_string_equal(name, layer.name);
	layer.kills++;
	return 0;
}

int exec_release(struct exec *exec, const char *name, struct err *err)
{
	(void)exec;
	(void)err;
	assert_string_equal(name, layer.name);
	assert_true(layer.st.empty);
	layer.name[0] = '\0';
	layer.releases++;
	return 0;
}

int exec_log_read(struct exec *exec, const char *name, enum exec_stream stream, uint64_t offset, void *data, size_t max,
		  size_t *ret_len, struct err *err)
{
	(void)exec;
	(void)name;
	(void)stream;
	(void)offset;
	(void)data;
	(void)max;
	*ret_len = 0;
	return err_set(err, ERR_NOTFOUND, "it said nothing");
}

void exec_list(struct exec *exec, void (*fn)(void *ctx, const char *name), void *ctx)
{
	(void)exec;
	if (layer.name[0])
		fn(ctx, layer.name);
}

const struct unit *agent_unit(const struct agent *a, uint64_t alloc, uint16_t part)
{
	(void)a;
	assert_int_equal(part, 0);
	return alloc == ALLOC && !unit_is_gone ? &unit : NULL;
}

int64_t agent_unit_until(const struct agent *a, uint64_t alloc, uint16_t part)
{
	(void)a;
	(void)alloc;
	(void)part;
	return 0;
}

void agent_hooked(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, enum hook hook, bool ok, const char *text)
{
	(void)a;
	(void)now;
	(void)part;
	assert_int_equal(alloc, ALLOC);
	core[hook].ended++;
	core[hook].ok = ok;
	(void)snprintf(core[hook].text, sizeof core[hook].text, "%s", text);
}

void agent_left(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, enum left what, bool left)
{
	(void)a;
	(void)now;
	(void)part;
	assert_int_equal(alloc, ALLOC);
	assert_true(what == LEFT_PROLOG || what == LEFT_EPILOG);
	core[what == LEFT_PROLOG ? HOOK_PROLOG : HOOK_EPILOG].left = left;
}

struct agent_now shell_now(void)
{
	return (struct agent_now){.ms = 1};
}

void loop_timer_after(struct loop *loop, struct loop_timer *timer, int64_t ms)
{
	(void)loop;
	assert_true(ms > 0);
	armed = timer;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	(void)loop;
	if (armed == timer)
		armed = NULL;
}

int confine_unit(const struct shell *s, const struct unit *u, struct arena *arena, struct confine *ret, struct err *err)
{
	(void)u;
	(void)arena;
	*ret = (struct confine){.account = s->run_as_user && !no_account, .uid = account};
	return no_account ? err_set(err, ERR_DENIED, "no account here") : 0;
}

const char *node_numa(const struct shell *s, const uint64_t cores[CORE_WORDS], struct arena *arena)
{
	(void)s;
	(void)cores;
	(void)arena;
	return "";
}

uid_t geteuid(void)
{
	return OWN_UID;
}

int hooks_folder_check(const char *path, struct err *err)
{
	(void)path;
	(void)err;
	return 0;
}

/* ---- words for the stories ---------------------------------------------------------------------------------- */

static int setup(void **state)
{
	struct shell *s = xcalloc(1, sizeof *s);

	memset(&layer, 0, sizeof layer);
	memset(core, 0, sizeof core);
	unit = (struct unit){.alloc = ALLOC, .kind = UNIT_JOB_COMMAND, .tasks = 1};
	unit_is_gone = no_account = false;
	account = 0;
	armed = NULL;
	s->conf.exec.prolog = "/etc/sluis/prolog.d";
	s->conf.exec.epilog = "/etc/sluis/epilog.d";
	*state = s;
	return hooks_check(s, NULL);
}

static int teardown(void **state)
{
	struct shell *s = *state;

	hooks_done(s);
	assert_null(s->hooks);
	free(s->self);
	free(s);
	return 0;
}

static void wanted(struct shell *s, enum hook hook, enum hook_how how)
{
	hook_start(s, &(struct action){.type = ACTION_HOOK, .alloc = ALLOC, .hook = hook, .value = how});
}

/* The execution layer tells of a change. */
static void becomes(struct shell *s, enum exec_state state, bool empty)
{
	char name[EXEC_NAME_BYTES];

	(void)snprintf(name, sizeof name, "%s", layer.name);
	knows(name, state, empty);
	assert_true(hook_changed(s, name, &layer.st));
}

static void timer_fires(struct shell *s)
{
	struct loop_timer *t = armed;

	assert_non_null(t);
	armed = NULL;
	t->cb(s->loop, t, t->arg);
}

/* An agent that finds what the one before it has left, as main.c does it: all units, then the core is ready, then those that
 * count as changed. */
static void comes_back(struct shell *s, void (*ready)(void))
{
	char name[EXEC_NAME_BYTES];

	hooks_done(s);
	s->hooks_open = false;
	memset(core, 0, sizeof core);
	(void)snprintf(name, sizeof name, "%s", layer.name);
	assert_true(hook_changed(s, name, &layer.st));
	ready();
	hooks_open(s);
	if (layer.name[0])
		assert_true(hook_changed(s, name, &layer.st));
}

/* ---- what one leaves ---------------------------------------------------------------------------------------- */

static void one_that_leaves_nothing_is_told_once(void **state)
{
	struct shell *s = *state;

	hooks_open(s);
	wanted(s, HOOK_PROLOG, HOOK_TAKE);
	assert_string_equal(layer.name, "prolog-42-0");
	becomes(s, EXEC_RUNNING, false);
	assert_int_equal(core[HOOK_PROLOG].ended, 0);
	assert_false(core[HOOK_PROLOG].left);
	becomes(s, EXEC_EXITED, true);
	assert_int_equal(core[HOOK_PROLOG].ended, 1);
	assert_true(core[HOOK_PROLOG].ok);
	assert_null(armed);
	becomes(s, EXEC_EXITED, true);
	assert_int_equal(core[HOOK_PROLOG].ended, 1);
	assert_int_equal(layer.kills + layer.releases, 0);
	hook_forget(s, &(struct action){.alloc = ALLOC, .hook = HOOK_PROLOG});
	assert_int_equal(layer.releases, 1);
}

static void what_dies_in_time_is_no_failure(void **state)
{
	struct shell *s = *state;

	hooks_open(s);
	wanted(s, HOOK_PROLOG, HOOK_TAKE);
	becomes(s, EXEC_EXITED, false);
	assert_int_equal(core[HOOK_PROLOG].ended, 0);
	assert_true(core[HOOK_PROLOG].left);
	timer_fires(s);
	assert_int_equal(layer.kills, 2);
	layer.st.empty = true;
	timer_fires(s);
	assert_int_equal(core[HOOK_PROLOG].ended, 1);
	assert_true(core[HOOK_PROLOG].ok);
	assert_false(core[HOOK_PROLOG].left);
}

/* The job need not wait for it, but the device does. */
static void what_does_not_die_is_told_and_ended_again_and_again(void **state)
{
	struct shell *s = *state;
	int looks = 0;

	hooks_open(s);
	wanted(s, HOOK_PROLOG, HOOK_TAKE);
	becomes(s, EXEC_EXITED, false);
	for (; !core[HOOK_PROLOG].ended; looks++)
		timer_fires(s);
	assert_in_range(looks, 10, 100);
	assert_false(core[HOOK_PROLOG].ok);
	assert_string_equal(core[HOOK_PROLOG].text, "prolog left processes that SIGKILL does not end");
	for (int i = 0; i < 1000; i++) {
		assert_true(core[HOOK_PROLOG].left);
		timer_fires(s);
	}
	assert_true(layer.kills > 1000);
	assert_int_equal(core[HOOK_PROLOG].ended, 1);
	layer.st.empty = true;
	timer_fires(s);
	assert_false(core[HOOK_PROLOG].left);
	assert_int_equal(core[HOOK_PROLOG].ended, 1);
	assert_int_equal(layer.releases, 0); /* what it came to is kept until the core is through with it */
	assert_null(armed);
}

static int core_ready;

static void must_know_of_the_prolog(void)
{
	core_ready++;
	assert_true(core[HOOK_PROLOG].left);
}

static void must_know_of_the_epilog(void)
{
	core_ready++;
	assert_true(core[HOOK_EPILOG].left);
}

static void must_know_of_nothing(void)
{
	core_ready++;
	assert_false(core[HOOK_PROLOG].left || core[HOOK_EPILOG].left);
}

/* The core releases as soon as it is ready: it has to hear before that. */
static void the_next_agent_knows_what_is_left(void **state)
{
	struct shell *s = *state;

	hooks_open(s);
	wanted(s, HOOK_PROLOG, HOOK_TAKE);
	becomes(s, EXEC_LOST, false);
	core_ready = 0;
	comes_back(s, must_know_of_the_prolog);
	assert_int_equal(core_ready, 1);
	layer.kills = 0;
	timer_fires(s);
	assert_int_equal(layer.kills, 1);
	assert_int_equal(core[HOOK_PROLOG].ended, 0); /* nobody has asked */
	wanted(s, HOOK_PROLOG, HOOK_WAIT);
	layer.st.empty = true;
	timer_fires(s);
	assert_false(core[HOOK_PROLOG].left);
	assert_int_equal(core[HOOK_PROLOG].ended, 1);
	assert_string_equal(core[HOOK_PROLOG].text, "prolog lost its shim");
}

static void one_that_runs_is_not_taken_for_left(void **state)
{
	struct shell *s = *state;

	hooks_open(s);
	wanted(s, HOOK_EPILOG, HOOK_TAKE);
	comes_back(s, must_know_of_nothing);
	assert_int_equal(layer.kills, 0);
	assert_false(core[HOOK_EPILOG].left);
	wanted(s, HOOK_EPILOG, HOOK_TAKE);
	becomes(s, EXEC_EXITED, true);
	assert_int_equal(core[HOOK_EPILOG].ended, 1);
	assert_int_equal(layer.starts, 1);
}

/* The way to have devices back without an epilog leads not past processes of the last one. */
static void an_epilog_that_nobody_wants_is_ended_first(void **state)
{
	struct shell *s = *state;

	for (int lost = 0; lost < 2; lost++) {
		s->conf.exec.epilog = "/etc/sluis/epilog.d";
		hooks_open(s);
		wanted(s, HOOK_EPILOG, HOOK_TAKE);
		if (lost)
			becomes(s, EXEC_EXITED, false);
		s->conf.exec.epilog = NULL;
		layer.kills = layer.releases = 0;
		comes_back(s, must_know_of_the_epilog);
		assert_true(layer.kills > 0);
		assert_true(core[HOOK_EPILOG].left);
		becomes(s, EXEC_EXITED, true);
		assert_false(core[HOOK_EPILOG].left);
		assert_int_equal(layer.releases, 1);
		assert_int_equal(core[HOOK_EPILOG].ended, 0);
		assert_null(armed);
	}
}

/* Its row was lost, or acknowledged: there is nobody to tell, and nothing stays. */
static void what_is_left_of_a_unit_that_is_gone_is_ended_and_removed(void **state)
{
	struct shell *s = *state;

	hooks_open(s);
	wanted(s, HOOK_PROLOG, HOOK_TAKE);
	becomes(s, EXEC_LOST, false); /* nobody tells when it is empty */
	unit_is_gone = true;
	comes_back(s, must_know_of_the_prolog);
	timer_fires(s);
	assert_true(layer.kills > 1);
	layer.st.empty = true;
	timer_fires(s);
	assert_int_equal(layer.releases, 1);
	assert_int_equal(core[HOOK_PROLOG].ended, 0);
}

static void an_epilog_is_not_run_on_top_of_what_it_left(void **state)
{
	struct shell *s = *state;

	hooks_open(s);
	wanted(s, HOOK_EPILOG, HOOK_TAKE);
	becomes(s, EXEC_EXITED, false);
	while (!core[HOOK_EPILOG].ended)
		timer_fires(s);
	wanted(s, HOOK_EPILOG, HOOK_ANEW);
	assert_int_equal(layer.starts, 1);
	layer.st.empty = true;
	timer_fires(s);
	assert_true(core[HOOK_EPILOG].ok);
	wanted(s, HOOK_EPILOG, HOOK_ANEW);
	assert_int_equal(layer.starts, 2);
}

/* ---- for whom it runs --------------------------------------------------------------------------------------- */

static const char *uid_told(struct shell *s)
{
	hooks_done(s);
	layer.name[0] = '\0';
	wanted(s, HOOK_EPILOG, HOOK_TAKE);
	return layer.uid;
}

/* pkill -u "$SLUIS_UID" must find the user's processes, and nobody else's. */
static void it_learns_whose_account_the_work_has(void **state)
{
	struct shell *s = *state;

	hooks_open(s);
	s->run_as_user = true;
	account = 1000;
	assert_string_equal(uid_told(s), "1000");
	account = 0; /* root's, under an agent that is root: an account like any other */
	assert_string_equal(uid_told(s), "0");
	no_account = true;
	assert_string_equal(uid_told(s), "-");
	no_account = false;
	s->run_as_user = false; /* all work is the agent's */
	assert_string_equal(uid_told(s), "990");
}

int main(void)
{
#define STORY(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		STORY(one_that_leaves_nothing_is_told_once),
		STORY(what_dies_in_time_is_no_failure),
		STORY(what_does_not_die_is_told_and_ended_again_and_again),
		STORY(the_next_agent_knows_what_is_left),
		STORY(one_that_runs_is_not_taken_for_left),
		STORY(an_epilog_that_nobody_wants_is_ended_first),
		STORY(what_is_left_of_a_unit_that_is_gone_is_ended_and_removed),
		STORY(an_epilog_is_not_run_on_top_of_what_it_left),
		STORY(it_learns_whose_account_the_work_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
