/* test_agent_core.c - the agent's decisions, in virtual time, against a fake disk and fake tasks
 *
 * Without these, a crash, a late order or a second daemon could start a task twice, kill work that nobody
 * wanted stopped, or give a device to two.
 *
 * The fake disk loses what was not synced when the agent dies; the fake execution layer keeps its tasks,
 * as the real one does, and refuses a name that it knows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/core/agent.h"
#include "agent/core/environ.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

enum { ROWS_MAX = 64, FAKES_MAX = 256, LOG_MAX = 4096 };

struct kept { uint64_t alloc; uint16_t part; bool live; size_t len; uint8_t data[4096]; };
struct fake { char name[AGENT_NAME_BYTES]; bool known; struct task_status st; int starts; int kills, signals, notices; };
struct device_epoch { char name[AGENT_NAME_BYTES]; uint64_t epoch; };
struct disk {
	struct kept rows[ROWS_MAX];
	struct device_epoch epochs[ROWS_MAX];
	size_t epochs_n;
	uint64_t cluster, incarnation;
	bool missing; /* rows may be: until ACTION_WHOLE */
};

struct world {
	struct agent *agent;
	struct agent_now now;
	struct agent_cfg cfg;
	struct disk disk, memory; /* memory: what was put and not yet synced */
	bool unsynced;            /* something in memory is not on the disk */
	struct fake fakes[FAKES_MAX];
	size_t fakes_n;
	struct action log[LOG_MAX];
	size_t log_n;
	bool hold_starts; /* the agent dies before it gets to them */
	uint16_t next_port;
	const char *start_fails;
	bool start_fault;
	struct msg_report report; /* the newest one */
	struct unit_status rows[ROWS_MAX];
	int reports;
	struct payload payload;
	bool payload_late, payload_here; /* here: in this life of the agent */
	uint64_t rev, session, epoch;
	int checks, checks_ended; /* health commands asked for; to be ended */
	int scrubs; /* looks at devices, likewise */
	/* by enum hook: programs of the site, which the execution layer keeps as it keeps tasks; and the last answer to each */
	struct { bool known, ended, ok; int starts, forgets; } hooks[2];
	unsigned left;       /* enum left, of part 0 of `left_alloc` */
	uint64_t left_alloc;
};

/* ---- the world ---------------------------------------------------------------------------------- */

static uint64_t epoch_of(void *ctx, const char *device)
{
	struct world *w = ctx;

	for (size_t i = 0; i < w->memory.epochs_n; i++)
		if (strcmp(w->memory.epochs[i].name, device) == 0)
			return w->memory.epochs[i].epoch;
	return 0;
}

static struct fake *fake(struct world *w, const char *name)
{
	for (size_t i = 0; i < w->fakes_n; i++)
		if (strcmp(w->fakes[i].name, name) == 0)
			return &w->fakes[i];
	assert_true(w->fakes_n < FAKES_MAX);
	(void)snprintf(w->fakes[w->fakes_n].name, AGENT_NAME_BYTES, "%s", name);
	return &w->fakes[w->fakes_n++];
}

static void perform(struct world *w, const struct action *act)
{
	struct kept *row = NULL;
	struct fake *f;

	assert_true(w->log_n < LOG_MAX);
	w->log[w->log_n] = *act;
	w->log[w->log_n++].data = NULL;
	switch (act->type) {
	case ACTION_ROW_PUT:
		for (size_t i = 0; i < ROWS_MAX; i++) {
			struct kept *k = &w->memory.rows[i];

			if (k->live && k->alloc == act->alloc && k->part == act->part) {
				row = k;
				break;
			}
			if (!k->live && !row)
				row = k;
		}
		assert_non_null(row);
		assert_true(act->len <= sizeof row->data);
		*row = (struct kept){.alloc = act->alloc, .part = act->part, .live = true, .len = act->len};
		memcpy(row->data, act->data, act->len);
		w->unsynced = true;
		break;
	case ACTION_ROW_DEL:
		for (size_t i = 0; i < ROWS_MAX; i++)
			if (w->memory.rows[i].alloc == act->alloc && w->memory.rows[i].part == act->part)
				w->memory.rows[i].live = false;
		w->unsynced = true;
		break;
	case ACTION_EPOCH: {
		size_t i = 0;

		while (i < w->memory.epochs_n && strcmp(w->memory.epochs[i].name, act->name) != 0)
			i++;
		assert_true(i == w->memory.epochs_n || w->memory.epochs[i].epoch <= act->value);
		(void)snprintf(w->memory.epochs[i].name, AGENT_NAME_BYTES, "%s", act->name);
		w->memory.epochs[i].epoch = act->value;
		if (i == w->memory.epochs_n)
			w->memory.epochs_n++;
		w->unsynced = true;
		break;
	}
	case ACTION_CLUSTER:
		w->memory.cluster = act->value;
		w->unsynced = true;
		break;
	case ACTION_WHOLE:
		w->memory.missing = false;
		w->unsynced = true;
		break;
	case ACTION_SYNC:
		w->disk = w->memory;
		w->unsynced = false;
		break;
	case ACTION_START:
		if (w->hold_starts)
			break;
		assert_true(w->payload_here); /* the shell has nothing to start otherwise */
		if (w->start_fails) {
			agent_start_failed(w->agent, w->now, act->name, w->start_fails, w->start_fault);
			break;
		}
		f = fake(w, act->name);
		if (f->known) { /* ERR_EXISTS: the shell looks instead */
			agent_task(w->agent, w->now, act->name, &f->st);
			break;
		}
		f->known = true;
		f->starts++;
		f->st = (struct task_status){.state = TASK_LIVE};
		break;
	case ACTION_NOTICE: fake(w, act->name)->notices++; break;
	case ACTION_SIGNAL: fake(w, act->name)->signals++; break;
	case ACTION_KILL: fake(w, act->name)->kills++; break;
	case ACTION_RELEASE:
		f = fake(w, act->name);
		assert_true(!f->known || f->st.empty || f->st.state == TASK_UNSTARTED);
		f->known = false;
		break;
	case ACTION_LOOK:
		f = fake(w, act->name);
		agent_task(w->agent, w->now, act->name, f->known ? &f->st : &(struct task_status){.empty = true});
		break;
	case ACTION_FETCH:
		w->payload_here |= !w->payload_late;
		if (!w->payload_late)
			agent_payload(w->agent, w->now, act->hash, &w->payload, NULL);
		break;
	case ACTION_PORT: agent_port(w->agent, w->now, act->alloc, act->part, w->next_port); break;
	case ACTION_HEALTH: w->checks++; break;
	case ACTION_HEALTH_END: w->checks_ended++; break;
	case ACTION_SCRUB: w->scrubs++; break;
	case ACTION_HOOK:
		if (w->hold_starts)
			break;
		if (act->value == HOOK_ANEW)
			w->hooks[act->hook].known = false;
		if (!w->hooks[act->hook].known && act->value == HOOK_WAIT) {
			agent_hooked(w->agent, w->now, act->alloc, act->part, act->hook, true, "");
			break;
		}
		if (!w->hooks[act->hook].known) {
			assert_true(act->hook == HOOK_EPILOG || !w->unsynced); /* who comes back has to know */
			w->hooks[act->hook].known = true;
			w->hooks[act->hook].ended = false;
			w->hooks[act->hook].starts++;
		}
		if (w->hooks[act->hook].ended)
			agent_hooked(w->agent, w->now, act->alloc, act->part, act->hook, w->hooks[act->hook].ok, "10-x: exited with 3");
		break;
	case ACTION_HOOK_FORGET:
		assert_false(w->unsynced);
		w->hooks[act->hook].known = false;
		w->hooks[act->hook].forgets++;
		break;
	case ACTION_REPORT:
		agent_fill_report(w->agent, w->now, &w->report);
		assert_true(w->report.units_n <= ROWS_MAX);
		memcpy(w->rows, w->report.units, w->report.units_n * sizeof w->rows[0]);
		w->reports++;
		break;
	case ACTION_HELLO: case ACTION_HEARTBEAT: case ACTION_REOPEN: case ACTION_CLEAN: case ACTION_FORGET: break;
	}
}

static void drain(struct world *w)
{
	struct action act;

	while (agent_take(w->agent, &act))
		perform(w, &act);
}

/* Let time pass, waking the agent when it asks for it. */
static void pass(struct world *w, int64_t ms)
{
	int64_t until = w->now.ms + ms;
	int turns = 0;

	drain(w);
	for (;;) {
		int64_t next = agent_next_tick(w->agent);

		assert_true(turns++ < 100000); /* an instant that never passes would be a busy loop */
		if (next > until)
			break;
		if (next > w->now.ms) {
			w->now.unix_ms += next - w->now.ms;
			w->now.ms = next;
		}
		agent_tick(w->agent, w->now);
		drain(w);
		/* the daemon's side of a connection that is well */
		if (w->session)
			agent_heartbeat_ack(w->agent, w->now,
					    &(struct msg_heartbeat){.session = w->session, .rev_seen = w->rev});
	}
	drain(w);
	w->now.unix_ms += until - w->now.ms;
	w->now.ms = until;
}

static void greet(struct world *w)
{
	struct err err;

	w->session++;
	w->rev = 0;
	agent_connected(w->agent, w->now);
	drain(w);
	assert_int_equal(agent_welcome(w->agent, w->now, &(struct msg_welcome){.epoch = w->epoch, .session = w->session,
									       .hb_ms = 1000}, &err), 0);
	drain(w);
}

static void load(struct world *w)
{
	struct err err;

	w->cfg.incarnation = ++w->disk.incarnation;
	w->cfg.epoch_seen = w->disk.cluster;
	w->cfg.alloc_seen = 0;
	for (size_t i = 0; i < w->disk.epochs_n; i++)
		if (w->cfg.alloc_seen < w->disk.epochs[i].epoch)
			w->cfg.alloc_seen = w->disk.epochs[i].epoch;
	w->memory = w->disk;
	w->cfg.table_rebuilt = w->disk.missing;
	w->agent = agent_new(&w->cfg);
	for (size_t i = 0; i < ROWS_MAX; i++)
		if (w->disk.rows[i].live)
			assert_int_equal(agent_load_row(w->agent, w->disk.rows[i].data, w->disk.rows[i].len, &err), 0);
	for (size_t i = 0; i < w->fakes_n; i++)
		if (w->fakes[i].known)
			agent_task(w->agent, w->now, w->fakes[i].name, &w->fakes[i].st);
	for (unsigned what = LEFT_PROLOG; what <= LEFT_HEALTH; what *= 2)
		if (w->left & what)
			agent_left(w->agent, w->now, w->left_alloc, 0, (enum left)what, true);
	agent_ready(w->agent, w->now);
	drain(w);
}

/* The agent dies and comes back. */
static void crash(struct world *w)
{
	agent_free(w->agent);
	w->session += 100;
	w->hold_starts = w->payload_here = false;
	load(w);
}

static void reboot(struct world *w)
{
	(void)snprintf(w->cfg.boot_id, sizeof w->cfg.boot_id, "second");
	for (size_t i = 0; i < w->fakes_n; i++)
		w->fakes[i].st = (struct task_status){.state = TASK_REBOOTED, .empty = true};
	crash(w);
}

static int set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof *w);

	agent_cfg_default(&w->cfg);
	(void)snprintf(w->cfg.boot_id, sizeof w->cfg.boot_id, "first");
	w->cfg.epoch_of = epoch_of;
	w->cfg.ctx = w;
	w->now = (struct agent_now){.ms = 1000, .unix_ms = INT64_C(1795454000000)};
	w->next_port = 20007;
	w->epoch = 5;
	load(w);
	greet(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	agent_free(w->agent);
	free(w);
	return 0;
}

/* ---- words for the stories ---------------------------------------------------------------------- */

static struct unit_device gpu(unsigned n)
{
	struct unit_device d = {.vendor = "nvidia"};

	(void)snprintf(d.pci, sizeof d.pci, "0000:%02x:00.0", n);
	(void)snprintf(d.uuid, sizeof d.uuid, "GPU-%u", n);
	return d;
}

static struct unit job_unit(uint64_t alloc, uint16_t tasks)
{
	return (struct unit){.alloc = alloc, .kind = UNIT_JOB_COMMAND, .tasks = tasks, .world = tasks, .owner = 7,
			     .attempt = 1, .payload = {1}, .time_left_ms = 3600000};
}

static void want(struct world *w, const struct unit *units, uint32_t n)
{
	struct unit copy[ROWS_MAX];
	struct err err;

	if (n)
		memcpy(copy, units, n * sizeof *units);
	assert_int_equal(agent_desired(w->agent, w->now, &(struct msg_desired){.rev = ++w->rev, .epoch = w->epoch,
									       .session = w->session, .units = copy,
									       .units_n = n}, &err), 0);
	drain(w);
}

static void want_phase(struct world *w, struct unit u, enum unit_phase phase)
{
	u.phase = (uint8_t)phase;
	u.master_port = phase == UNIT_RUN ? 20007 : 0;
	want(w, &u, 1);
}

static void start(struct world *w, struct unit u)
{
	want_phase(w, u, UNIT_PREPARE);
	want_phase(w, u, UNIT_RUN);
}

static void becomes(struct world *w, const char *name, struct task_status st)
{
	assert_true(fake(w, name)->known);
	fake(w, name)->st = st;
	agent_task(w->agent, w->now, name, &st);
	drain(w);
}

static void ends(struct world *w, const char *name, int code)
{
	becomes(w, name, (struct task_status){.state = TASK_ENDED, .empty = true, .exit_code = code});
}

/* A task that SIGKILL reached. */
static void dies(struct world *w, const char *name)
{
	becomes(w, name, (struct task_status){.state = TASK_ENDED, .empty = true, .exit_signal = 9});
}

static void stop(struct world *w, struct unit u, int64_t in_ms)
{
	u.phase = UNIT_STOP;
	u.stop_cause = END_RECALL;
	u.stop_in_ms = in_ms;
	u.claim = 91;
	want(w, &u, 1);
}

static uint8_t state(struct world *w, uint64_t alloc)
{
	return agent_unit_state(w->agent, alloc, 0, NULL);
}

/* The row of the newest report. */
static const struct unit_status *told(struct world *w, uint64_t alloc)
{
	pass(w, 25);
	for (uint32_t i = 0; i < w->report.units_n; i++)
		if (w->rows[i].alloc == alloc)
			return &w->rows[i];
	return NULL;
}

static void ack(struct world *w, uint64_t alloc, enum unit_state st)
{
	struct ack_row row = {.alloc = alloc, .state = (uint8_t)st};

	agent_report_ack(w->agent, w->now, &(struct msg_report_ack){.rows = &row, .rows_n = 1});
	drain(w);
}

static size_t count(const struct world *w, enum action_type type)
{
	size_t n = 0;

	for (size_t i = 0; i < w->log_n; i++)
		n += w->log[i].type == type;
	return n;
}

static size_t place(const struct world *w, enum action_type type)
{
	for (size_t i = 0; i < w->log_n; i++)
		if (w->log[i].type == type)
			return i;
	return SIZE_MAX;
}

/* ---- a life ---------------------------------------------------------------------------------------- */

static void test_life_of_a_job(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 2);
	struct unit_device d[2] = {gpu(1), gpu(2)};

	u.devices = d;
	u.devices_n = 2;
	want_phase(w, u, UNIT_PREPARE);
	assert_int_equal(told(w, 42)->state, UNIT_PREPARED);
	assert_int_equal(told(w, 42)->port, 20007);
	assert_int_equal(w->disk.epochs_n, 2); /* on the disk before `prepared` is said */
	assert_int_equal(w->disk.epochs[0].epoch, 42);
	assert_int_equal(count(w, ACTION_START), 0);
	w->log_n = 0;
	want_phase(w, u, UNIT_RUN);
	assert_true(place(w, ACTION_SYNC) < place(w, ACTION_START));
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	assert_int_equal(fake(w, "a42-p0-t1")->starts, 1);
	assert_int_equal(told(w, 42)->state, UNIT_RUNNING);
	ends(w, "a42-p0-t1", 0);
	assert_int_equal(told(w, 42)->state, UNIT_RUNNING);
	ends(w, "a42-p0-t0", 0);
	assert_int_equal(told(w, 42)->state, UNIT_EXITED);
	assert_int_equal(told(w, 42)->exit_code, 0);
	w->log_n = 0;
	stop(w, u, 0);
	/* nothing is left to be killed; the row says so on the disk before the tasks are forgotten */
	assert_int_equal(count(w, ACTION_KILL), 0);
	assert_true(place(w, ACTION_SYNC) < place(w, ACTION_RELEASE));
	assert_int_equal(count(w, ACTION_RELEASE), 2);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	ack(w, 42, UNIT_RELEASED);
	assert_int_equal(agent_rows(w->agent), 0);
	assert_int_equal(count(w, ACTION_FORGET), 1);
}

static void test_repeated_orders_start_once(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);

	start(w, u);
	for (int i = 0; i < 5; i++)
		want_phase(w, u, UNIT_RUN);
	want_phase(w, u, UNIT_PREPARE); /* an older wish: phases only move forward */
	greet(w);
	want_phase(w, u, UNIT_RUN);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	ends(w, "a42-p0-t0", 0);
	want_phase(w, u, UNIT_RUN);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	stop(w, u, 0);
	want_phase(w, u, UNIT_RUN); /* what was stopped does not come back */
	assert_int_equal(state(w, 42), UNIT_RELEASED);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
}

static void test_orders_of_one_desired_share_a_sync(void **st)
{
	struct world *w = *st;
	struct unit units[4];

	for (int i = 0; i < 4; i++)
		units[i] = job_unit(42 + (uint64_t)i, 1);
	want(w, units, 4);
	pass(w, 30);
	for (int i = 0; i < 4; i++)
		units[i].phase = UNIT_RUN;
	w->log_n = 0;
	want(w, units, 4);
	assert_int_equal(count(w, ACTION_START), 4);
	assert_int_equal(count(w, ACTION_SYNC), 1);
}

/* ---- who may give orders ------------------------------------------------------------------------- */

static void test_older_daemon_is_not_obeyed(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	struct err err;
	struct msg_desired m = {.rev = 50, .epoch = 4, .session = w->session, .units = &u, .units_n = 1};

	assert_int_equal(w->disk.cluster, 5);
	assert_int_equal(agent_desired(w->agent, w->now, &m, &err), ERR_STALE);
	m.epoch = 5;
	m.session++;
	assert_int_equal(agent_desired(w->agent, w->now, &m, &err), ERR_STALE);
	assert_int_equal(agent_rows(w->agent), 0);
	assert_int_equal(agent_counts(w->agent).stale_orders, 2);
	/* not after a restart of the agent either */
	crash(w);
	agent_connected(w->agent, w->now);
	assert_int_equal(agent_welcome(w->agent, w->now, &(struct msg_welcome){.epoch = 4, .session = 9, .hb_ms = 1000}, &err),
			 ERR_STALE);
	m.session = 9;
	m.epoch = 4;
	assert_int_equal(agent_desired(w->agent, w->now, &m, &err), ERR_STALE);
	drain(w);
	assert_int_equal(count(w, ACTION_START), 0);
	/* it asks again, later */
	w->session = 0;
	w->log_n = 0;
	pass(w, 5000);
	assert_true(count(w, ACTION_REOPEN) >= 1);
}

static void test_late_revision_changes_nothing(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	struct err err;

	start(w, u);
	u.phase = UNIT_STOP;
	assert_int_equal(agent_desired(w->agent, w->now, &(struct msg_desired){.rev = 1, .epoch = 5, .session = w->session,
									       .units = &u, .units_n = 1}, &err), ERR_STALE);
	assert_int_equal(state(w, 42), UNIT_RUNNING);
}

static void test_what_is_not_listed_runs_on(void **st)
{
	struct world *w = *st;

	start(w, job_unit(42, 1));
	want(w, NULL, 0);
	pass(w, 3600000);
	assert_int_equal(told(w, 42)->state, UNIT_RUNNING);
	assert_int_equal(fake(w, "a42-p0-t0")->kills + fake(w, "a42-p0-t0")->notices, 0);
	/* a daemon that knows only its name may stop it; what it is and holds is as we have it */
	stop(w, (struct unit){.alloc = 42, .kind = UNIT_BARE}, 0);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 1);
	assert_int_equal(state(w, 42), UNIT_RUNNING);
	dies(w, "a42-p0-t0");
	assert_int_equal(state(w, 42), UNIT_RELEASED);
}

/* ---- devices ---------------------------------------------------------------------------------------- */

static void test_devices_are_not_given_twice(void **st)
{
	struct world *w = *st;
	struct unit_device d = gpu(1);
	struct unit first = job_unit(42, 1), second = job_unit(43, 1);

	first.devices = second.devices = &d;
	first.devices_n = second.devices_n = 1;
	start(w, first);
	first.phase = UNIT_RUN;
	want(w, (struct unit[]){first, second}, 2);
	assert_int_equal(told(w, 43)->state, UNIT_FAILED);
	assert_non_null(strstr(told(w, 43)->text, "held by allocation 42"));
	assert_int_equal(fake(w, "a43-p0-t0")->starts, 0);
	stop(w, second, 0);
	assert_int_equal(told(w, 43)->state, UNIT_RELEASED);
	/* its epoch was not raised by the attempt */
	assert_int_equal(epoch_of(w, "0000:01:00.0/0"), 42);
	/* as long as a process of the first is left, nobody else gets it */
	stop(w, first, 0);
	second.alloc = 44;
	want_phase(w, second, UNIT_PREPARE);
	assert_int_equal(state(w, 44), UNIT_FAILED);
	dies(w, "a42-p0-t0");
	second.alloc = 45;
	start(w, second);
	assert_int_equal(state(w, 45), UNIT_RUNNING);
}

static void test_stale_epoch_is_refused(void **st)
{
	struct cmd_node_hello hello = {0};
	struct world *w = *st;
	struct unit_device d = gpu(1);
	struct unit u = job_unit(50, 1);

	u.devices = &d;
	u.devices_n = 1;
	start(w, u);
	ends(w, "a50-p0-t0", 0);
	stop(w, u, 0);
	ack(w, 50, UNIT_RELEASED);
	crash(w);
	ack(w, 50, UNIT_RELEASED); /* that it was acknowledged needs not be on the disk */
	greet(w);
	u.alloc = 49;
	start(w, u);
	assert_int_equal(told(w, 49)->state, UNIT_FAILED);
	u.alloc = 50; /* the same once more, for instance from a restored copy of the daemon */
	start(w, u);
	assert_int_equal(told(w, 50)->state, UNIT_FAILED);
	agent_fill_hello(w->agent, w->now, &hello); /* a daemon that gives out such numbers is told */
	assert_int_equal(hello.alloc_seen, 50);
	u.alloc = 51;
	start(w, u);
	agent_fill_hello(w->agent, w->now, &hello);
	assert_int_equal(hello.alloc_seen, 51);
	assert_int_equal(state(w, 51), UNIT_RUNNING);
}

static void test_a_split_part_waits_for_what_still_uses_it(void **st)
{
	struct world *w = *st;
	struct unit_device d[2] = {gpu(1), gpu(2)};
	struct unit u = {.alloc = 42, .kind = UNIT_BARE, .owner = 3, .devices = d, .devices_n = 2,
			 .time_left_ms = T_NEVER}, tail;
	char name[AGENT_NAME_BYTES];
	struct err err;
	uint64_t id;

	start(w, u);
	assert_int_equal(state(w, 42), UNIT_RUNNING);
	assert_int_equal(agent_extra(w->agent, w->now, 42, 0, name, &id, &err), 0);
	fake(w, name)->known = true;
	becomes(w, name, (struct task_status){.state = TASK_LIVE});
	/* the lease gives device 2 back: part 1 is split off, to be stopped */
	u.devices_n = 1;
	u.phase = UNIT_RUN;
	tail = u;
	tail.part = 1;
	tail.devices = &d[1];
	tail.phase = UNIT_STOP;
	tail.stop_in_ms = 5000;
	want(w, (struct unit[]){u, tail}, 2);
	assert_int_equal(fake(w, name)->notices, 1);
	assert_int_equal(agent_unit_state(w->agent, 42, 1, NULL), UNIT_ABSENT);
	/* a command started now does not have the device, and is left alone */
	pass(w, 6000);
	assert_int_equal(fake(w, name)->kills, 1);
	dies(w, name);
	assert_int_equal(agent_unit_state(w->agent, 42, 1, NULL), UNIT_RELEASED);
	assert_int_equal(state(w, 42), UNIT_RUNNING);
}

/* ---- crashes ---------------------------------------------------------------------------------------- */

static void test_crash_between_intent_and_start(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 2);

	want_phase(w, u, UNIT_PREPARE);
	w->hold_starts = true;
	want_phase(w, u, UNIT_RUN);
	assert_int_equal(w->fakes_n, 0);
	/* the intent is on the disk, the tasks never came to be: now they do, once */
	crash(w);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	assert_int_equal(fake(w, "a42-p0-t1")->starts, 1);
	crash(w);
	crash(w);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	assert_int_equal(state(w, 42), UNIT_RUNNING);
}

static void test_crash_with_a_task_that_never_began(void **st)
{
	struct world *w = *st;

	start(w, job_unit(42, 1));
	/* the agent died between making the unit and its shim */
	fake(w, "a42-p0-t0")->st = (struct task_status){.state = TASK_UNSTARTED, .empty = true};
	crash(w);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 2); /* the first one certainly never ran */
	assert_int_equal(fake(w, "a42-p0-t0")->st.state, TASK_LIVE);
}

static void test_crash_before_the_intent(void **st)
{
	struct world *w = *st;

	want_phase(w, job_unit(42, 1), UNIT_PREPARE);
	assert_int_equal(told(w, 42)->state, UNIT_PREPARED);
	crash(w); /* what was told is on the disk */
	assert_int_equal(agent_rows(w->agent), 1);
	greet(w);
	want_phase(w, job_unit(42, 1), UNIT_RUN); /* the daemon has heard `prepared` and goes on */
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	assert_int_equal(told(w, 42)->port, 20007); /* the port that was handed out */
}

/* The table is gone and the execution layer has nothing: the node looks like a new one, while the daemon has not
 * heard yet that the unit ran and ended. Who orders RUN has heard PREPARED, so there was a row. */
static void test_run_without_a_row_is_not_obeyed(void **st)
{
	struct world *w = *st;

	struct unit u = job_unit(42, 1);

	u.hosts_n = 1;
	u.hosts = &(struct unit_host){.name = "n1", .slots = 1};
	start(w, u);
	ends(w, "a42-p0-t0", 0);
	assert_false(fake(w, "a42-p0-t0")->known); /* released, which nobody acknowledged */
	memset(&w->disk, 0, sizeof w->disk);
	crash(w);
	greet(w);
	want_phase(w, job_unit(42, 1), UNIT_RUN);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	assert_int_equal(told(w, 42)->state, UNIT_FAILED);
}

/* A bare unit has nothing to start twice. With a command alive in it, it is found; without, it is as good as new. */
static void test_bare_unit_after_a_lost_table(void **st)
{
	struct world *w = *st;
	struct unit u = {.alloc = 42, .kind = UNIT_BARE};
	char name[AGENT_NAME_BYTES];
	struct err err;
	uint64_t id;

	start(w, u);
	assert_int_equal(told(w, 42)->state, UNIT_RUNNING);
	memset(&w->disk, 0, sizeof w->disk);
	crash(w);
	greet(w);
	want_phase(w, u, UNIT_RUN);
	assert_int_equal(told(w, 42)->state, UNIT_RUNNING);
	assert_int_equal(agent_extra(w->agent, w->now, 42, 0, name, &id, &err), 0);
	*fake(w, name) = (struct fake){.known = true, .st = {.state = TASK_LIVE}};
	(void)snprintf(w->fakes[w->fakes_n - 1].name, AGENT_NAME_BYTES, "%s", name);
	memset(&w->disk, 0, sizeof w->disk);
	w->disk.missing = true;
	crash(w);
	greet(w);
	assert_int_equal(told(w, 42)->state, UNIT_UNKNOWN);
	want_phase(w, u, UNIT_RUN);
	assert_int_equal(told(w, 42)->state, UNIT_RUNNING);
	assert_int_equal(agent_extra(w->agent, w->now, 42, 0, name, &id, &err), 0); /* and takes commands again */
}

static void test_exit_while_nobody_looked(void **st)
{
	struct world *w = *st;

	start(w, job_unit(42, 1));
	fake(w, "a42-p0-t0")->st = (struct task_status){.state = TASK_ENDED, .empty = true, .exit_code = 7};
	w->log_n = 0;
	crash(w);
	assert_int_equal(count(w, ACTION_START), 0);
	assert_int_equal(state(w, 42), UNIT_EXITED);
	greet(w);
	assert_int_equal(told(w, 42)->exit_code, 7);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
}

static void test_released_is_not_started_again(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);

	start(w, u);
	ends(w, "a42-p0-t0", 3);
	stop(w, u, 0);
	assert_false(fake(w, "a42-p0-t0")->known);
	crash(w);
	greet(w);
	want_phase(w, u, UNIT_RUN); /* it has not heard of the release yet */
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_int_equal(told(w, 42)->exit_code, 3);
}

static void test_reboot_is_lost(void **st)
{
	struct world *w = *st;
	struct unit bare = {.alloc = 43, .kind = UNIT_BARE, .time_left_ms = T_NEVER}, old = job_unit(41, 1);

	start(w, old);
	ends(w, "a41-p0-t0", 0);
	stop(w, old, 0);
	start(w, job_unit(42, 1));
	start(w, bare);
	reboot(w);
	greet(w);
	assert_int_equal(told(w, 42)->state, UNIT_LOST);
	assert_int_equal(told(w, 43)->state, UNIT_LOST);
	assert_int_equal(told(w, 41)->state, UNIT_RELEASED); /* that was over before */
	want_phase(w, job_unit(42, 1), UNIT_RUN);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	ack(w, 42, UNIT_LOST);
	ack(w, 43, UNIT_LOST);
	assert_int_equal(agent_rows(w->agent), 1);
}

static void test_lost_table(void **st)
{
	struct world *w = *st;

	start(w, job_unit(42, 2));
	memset(&w->disk, 0, sizeof w->disk);
	w->disk.missing = true;
	crash(w);
	assert_int_equal(state(w, 42), UNIT_UNKNOWN);
	pass(w, 100000);
	greet(w);
	assert_int_equal(told(w, 42)->state, UNIT_UNKNOWN);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 0);
	/* the daemon says what it is; what may have been started before and left no trace is not started */
	want(w, (struct unit[]){{.alloc = 42, .phase = UNIT_RUN, .kind = UNIT_JOB_COMMAND, .tasks = 2, .payload = {1}},
				{.alloc = 43, .phase = UNIT_RUN, .kind = UNIT_JOB_COMMAND, .tasks = 1, .payload = {1}}}, 2);
	assert_int_equal(told(w, 42)->state, UNIT_RUNNING);
	assert_int_equal(told(w, 43)->state, UNIT_FAILED);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	assert_int_equal(fake(w, "a43-p0-t0")->starts, 0);
	want_phase(w, job_unit(44, 1), UNIT_PREPARE);
	assert_int_equal(state(w, 44), UNIT_PREPARED);
}

/* What is found running may have any device, until somebody says which or it is gone: a stop by a daemon that does not
 * know it (its backup is older) tells none, and that daemon may give the device to others. */
static void test_lost_table_hides_devices(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1), other = job_unit(43, 1), third = job_unit(44, 1), cpu = job_unit(45, 1);
	struct unit_device device[] = {gpu(0x17), gpu(0x18)};

	u.devices = other.devices = &device[0];
	third.devices = &device[1];
	u.devices_n = other.devices_n = third.devices_n = 1;
	start(w, u);
	memset(&w->disk, 0, sizeof w->disk);
	w->disk.missing = true;
	crash(w);
	greet(w);
	u.devices_n = 0;
	stop(w, u, 0);
	assert_int_equal(told(w, 42)->state, UNIT_UNKNOWN);
	want_phase(w, other, UNIT_PREPARE);
	assert_int_equal(told(w, 43)->state, UNIT_FAILED);
	assert_string_equal(told(w, 43)->text, "allocation 42 was found running here, on devices that nobody knows");
	want_phase(w, cpu, UNIT_PREPARE); /* needs none */
	assert_int_equal(state(w, 45), UNIT_PREPARED);
	u.devices_n = 1; /* a daemon that knows it says which */
	stop(w, u, 0);
	want_phase(w, third, UNIT_PREPARE);
	assert_int_equal(state(w, 44), UNIT_PREPARED);
	other.alloc = 46;
	want_phase(w, other, UNIT_PREPARE);
	assert_string_equal(told(w, 46)->text, "device 0000:17:00.0/0 is still held by allocation 42");
	dies(w, "a42-p0-t0");
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	other.alloc = 47;
	want_phase(w, other, UNIT_PREPARE);
	assert_int_equal(state(w, 47), UNIT_PREPARED);
}

/* The agent dies again before the daemon could say what it had found. */
static void test_lost_table_and_another_crash(void **st)
{
	struct world *w = *st;

	start(w, job_unit(42, 2));
	memset(&w->disk, 0, sizeof w->disk);
	w->disk.missing = true;
	crash(w);
	crash(w);
	greet(w);
	assert_int_equal(told(w, 42)->state, UNIT_UNKNOWN);
	stop(w, job_unit(42, 2), 0);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 1);
	assert_int_equal(fake(w, "a42-p0-t1")->kills, 1);
	assert_int_not_equal(told(w, 42)->state, UNIT_RELEASED);
	pass(w, 1000);
	crash(w); /* and once more, on the way down */
	greet(w);
	stop(w, job_unit(42, 2), 0);
	assert_int_not_equal(told(w, 42)->state, UNIT_RELEASED);
	dies(w, "a42-p0-t0");
	assert_int_not_equal(told(w, 42)->state, UNIT_RELEASED);
	dies(w, "a42-p0-t1");
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
}

/* Its task had ended, and the row that was made of it is not on the disk when the agent dies again: only the mark in
 * the table tells that the task is more than a leftover, and its exit code is kept. The mark goes when the daemon has
 * spoken. */
static void test_lost_table_and_an_ended_task(void **st)
{
	struct world *w = *st;

	start(w, job_unit(42, 1));
	memset(&w->disk, 0, sizeof w->disk);
	w->disk.missing = true;
	fake(w, "a42-p0-t0")->st = (struct task_status){.state = TASK_ENDED, .empty = true, .exit_code = 3};
	for (int i = 0; i < 3; i++) {
		static struct disk before;

		before = w->disk;
		crash(w);
		w->disk = before; /* it died before the sync */
	}
	crash(w);
	greet(w);
	want_phase(w, job_unit(42, 1), UNIT_RUN);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	assert_int_equal(told(w, 42)->state, UNIT_EXITED);
	assert_int_equal(told(w, 42)->exit_code, 3);
	assert_false(w->disk.missing);
}

/* A task that lives and that no row names, whatever became of the row: it runs on until somebody says stop. */
static void test_living_task_without_a_row(void **st)
{
	struct world *w = *st;

	start(w, job_unit(42, 1));
	memset(&w->disk, 0, sizeof w->disk);
	crash(w);
	greet(w);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 0);
	assert_int_equal(told(w, 42)->state, UNIT_UNKNOWN);
}

static void test_damaged_row(void **st)
{
	struct world *w = *st;
	struct err err;
	struct agent *a = agent_new(&w->cfg);

	start(w, job_unit(42, 1));
	assert_true(w->disk.rows[0].live);
	for (size_t cut = 0; cut < w->disk.rows[0].len; cut++)
		assert_int_not_equal(agent_load_row(a, w->disk.rows[0].data, cut, &err), 0);
	assert_int_equal(agent_load_row(a, w->disk.rows[0].data, w->disk.rows[0].len, &err), 0);
	assert_int_not_equal(agent_load_row(a, w->disk.rows[0].data, w->disk.rows[0].len, &err), 0); /* twice */
	agent_free(a);
}

/* ---- what cannot be told ------------------------------------------------------------------------- */

static void test_unknown_never_kills(void **st)
{
	struct world *w = *st;

	start(w, job_unit(42, 1));
	becomes(w, "a42-p0-t0", (struct task_status){.state = TASK_OUT_OF_SIGHT});
	assert_int_equal(told(w, 42)->state, UNIT_UNKNOWN);
	pass(w, 600000);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 0);
	assert_int_equal(state(w, 42), UNIT_UNKNOWN);
	/* it is looked at again and again; when nothing is left it has ended, nobody knows how */
	fake(w, "a42-p0-t0")->st.empty = true;
	pass(w, 1500);
	assert_int_equal(told(w, 42)->state, UNIT_EXITED);
	assert_int_equal(told(w, 42)->exit_signal, 9);
	assert_true(told(w, 42)->text[0]);
}

/* ---- the gang --------------------------------------------------------------------------------------- */

static void test_first_failure_is_told_at_once(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 3);

	start(w, u);
	ends(w, "a42-p0-t1", 4);
	assert_int_equal(told(w, 42)->state, UNIT_EXITED);
	assert_int_equal(told(w, 42)->exit_code, 4);
	/* the others live until told */
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 0);
	ends(w, "a42-p0-t0", 5);
	assert_int_equal(told(w, 42)->exit_code, 4);
	stop(w, u, 1000);
	assert_int_equal(fake(w, "a42-p0-t2")->notices, 1);
	assert_int_equal(fake(w, "a42-p0-t1")->notices, 0);
	assert_int_not_equal(state(w, 42), UNIT_RELEASED);
	ends(w, "a42-p0-t2", 0);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_int_equal(told(w, 42)->exit_code, 4);
}

static void test_oom_and_setup_errors(void **st)
{
	struct world *w = *st;

	start(w, job_unit(42, 1));
	becomes(w, "a42-p0-t0", (struct task_status){.state = TASK_ENDED, .empty = true, .exit_signal = 9, .oom = true});
	assert_true(told(w, 42)->oom);
	assert_int_equal(told(w, 42)->exit_signal, 9);
	start(w, job_unit(43, 1));
	becomes(w, "a43-p0-t0", (struct task_status){.state = TASK_ENDED, .empty = true, .exit_code = 127,
						     .error = "no such program"});
	assert_int_equal(told(w, 43)->exit_code, 127);
	assert_string_equal(told(w, 43)->text, "no such program");
}

static void test_start_that_fails(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);

	w->start_fails = "no descriptors left";
	start(w, u);
	assert_int_equal(told(w, 42)->state, UNIT_FAILED);
	assert_string_equal(told(w, 42)->text, "no descriptors left");
	stop(w, u, 10000);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED); /* nothing to wait for */
	w->start_fails = "no such folder";
	w->start_fault = true;
	start(w, job_unit(43, 1));
	assert_int_equal(told(w, 43)->state, UNIT_EXITED); /* no other node would do better */
	assert_int_equal(told(w, 43)->exit_code, 126);
	assert_string_equal(told(w, 43)->text, "no such folder");
}

static void test_preparing_waits_for_the_payload(void **st)
{
	struct world *w = *st;
	uint8_t hash[32] = {1};

	w->payload_late = true;
	want_phase(w, job_unit(42, 1), UNIT_PREPARE);
	assert_int_equal(state(w, 42), UNIT_ABSENT);
	assert_int_equal(count(w, ACTION_FETCH), 1);
	want_phase(w, job_unit(42, 1), UNIT_PREPARE);
	assert_int_equal(count(w, ACTION_FETCH), 1);
	agent_payload(w->agent, w->now, hash, &w->payload, NULL);
	drain(w);
	assert_int_equal(state(w, 42), UNIT_PREPARED);
	want_phase(w, job_unit(43, 1), UNIT_PREPARE);
	agent_payload(w->agent, w->now, hash, NULL, "not found");
	drain(w);
	assert_int_equal(told(w, 43)->state, UNIT_FAILED);
	assert_string_equal(told(w, 43)->text, "not found");
}

static void test_no_port_left(void **st)
{
	struct world *w = *st;
	struct unit second = job_unit(43, 1);

	w->next_port = 0;
	want_phase(w, job_unit(42, 1), UNIT_PREPARE);
	assert_int_equal(told(w, 42)->state, UNIT_FAILED);
	second.rank0 = 8; /* not the first of its gang: it needs none */
	want_phase(w, second, UNIT_PREPARE);
	assert_int_equal(told(w, 43)->state, UNIT_PREPARED);
	assert_int_equal(told(w, 43)->port, 0);
}

static void test_a_part_that_runs_nothing(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 0);

	u.kind = UNIT_JOB_SCRIPT; /* a further node of a batch job */
	start(w, u);
	assert_int_equal(told(w, 42)->state, UNIT_RUNNING);
	assert_int_equal(count(w, ACTION_START), 0);
	crash(w);
	assert_int_equal(state(w, 42), UNIT_RUNNING);
	greet(w);
	stop(w, u, 60000);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
}

/* ---- stopping ---------------------------------------------------------------------------------------- */

static void test_stop_escalates(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	const struct action *notice;

	start(w, u);
	w->log_n = 0;
	stop(w, u, 60000);
	assert_int_equal(count(w, ACTION_NOTICE), 1);
	notice = &w->log[place(w, ACTION_NOTICE)];
	assert_int_equal(notice->signo, 15);
	assert_true(notice->all);
	assert_non_null(strstr(notice->text, "\"cause\":\"recall\""));
	assert_non_null(strstr(notice->text, "\"seconds\":60"));
	assert_non_null(strstr(notice->text, "\"attempt\":1"));
	assert_non_null(strstr(notice->text, "\"claim\":91"));
	assert_non_null(strstr(notice->text, "\"deadline_unix\":1795454060"));
	pass(w, 30000);
	stop(w, u, 30000); /* the daemon says it again: no second notice */
	pass(w, 29000);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 0);
	pass(w, 1500);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 1);
	assert_int_equal(fake(w, "a42-p0-t0")->notices, 1);
	pass(w, 10000); /* whoever was told to kill it may have been stopped: again, now and then */
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 2);
	pass(w, 51000);
	assert_int_equal(told(w, 42)->state, UNIT_UNKILLABLE);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 7);
	pass(w, 100000); /* also then */
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 17);
	dies(w, "a42-p0-t0");
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
}

/* An elastic job's tasks are told of each new size once, and nothing of them ends for it. */
static void test_a_new_size_is_told(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 2);
	const struct action *notice;

	u.nodes_min = u.nodes_now = 1;
	u.nodes_max = 3;
	u.units_now = 8;
	start(w, u);
	w->log_n = 0;
	u.phase = UNIT_RUN;
	u.nodes_now = 3;
	u.units_now = 24;
	u.world = 6;
	want(w, &u, 1);
	assert_int_equal(count(w, ACTION_NOTICE), 2); /* both tasks */
	notice = &w->log[place(w, ACTION_NOTICE)];
	assert_int_equal(notice->signo, 0);
	assert_non_null(strstr(notice->text, "\"cause\":\"resize\",\"nodes\":3,\"units\":24,\"world\":6"));
	want(w, &u, 1); /* the same again */
	assert_int_equal(count(w, ACTION_NOTICE), 2);
	assert_int_equal(state(w, 42), UNIT_RUNNING);
	u.nodes_now = 1;
	u.units_now = 8;
	want(w, &u, 1);
	assert_int_equal(count(w, ACTION_NOTICE), 4);
	stop(w, u, 60000);
	assert_int_equal(count(w, ACTION_NOTICE), 6); /* a stop has a notice of its own */
	assert_int_equal(count(w, ACTION_KILL), 0);
}

static void test_released_needs_every_process_gone(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);

	start(w, u);
	becomes(w, "a42-p0-t0", (struct task_status){.state = TASK_ENDED, .empty = false});
	assert_int_equal(told(w, 42)->state, UNIT_EXITED);
	stop(w, u, 0);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 1);
	assert_int_not_equal(state(w, 42), UNIT_RELEASED);
	ends(w, "a42-p0-t0", 0);
	assert_int_equal(state(w, 42), UNIT_RELEASED);
}

/* The shim may have died right after it wrote the exit status: nobody tells when the rest has gone. */
static void test_what_is_left_of_a_task_is_looked_at(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);

	start(w, u);
	becomes(w, "a42-p0-t0", (struct task_status){.state = TASK_ENDED, .exit_code = 5});
	stop(w, u, 60000);
	pass(w, 3000);
	assert_int_equal(state(w, 42), UNIT_EXITED);
	fake(w, "a42-p0-t0")->st.empty = true; /* unheard */
	pass(w, 1000);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_int_equal(told(w, 42)->exit_code, 5);
}

static void test_deadline_moves_as_the_daemon_says(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);

	start(w, u);
	stop(w, u, 60000);
	pass(w, 1000);
	stop(w, u, 2000);
	pass(w, 2500);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 1);
	start(w, job_unit(43, 1));
	stop(w, job_unit(43, 1), 2000);
	stop(w, job_unit(43, 1), 10000);
	want_phase(w, job_unit(43, 1), UNIT_RUN); /* out of order: neither a reprieve nor a sentence */
	pass(w, 9000);
	assert_int_equal(fake(w, "a43-p0-t0")->kills, 0);
	pass(w, 2000);
	assert_int_equal(fake(w, "a43-p0-t0")->kills, 1);
}

/* The order to stop, once more and later on its way than the first: after SIGKILL there is no deadline to move, and
 * nothing that would want to be done at once for ever. */
static void test_no_deadline_after_the_kill(void **st)
{
	struct world *w = *st;

	start(w, job_unit(42, 1));
	stop(w, job_unit(42, 1), 1000);
	pass(w, 1500);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 1);
	stop(w, job_unit(42, 1), 120000);
	pass(w, 90000);
	assert_int_equal(state(w, 42), UNIT_UNKILLABLE);
}

static void test_stop_goes_on_after_a_crash(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);

	start(w, u);
	stop(w, u, 20000);
	pass(w, 30); /* the report brings the row to the table, and a later start to the disk */
	start(w, job_unit(43, 1));
	pass(w, 5000);
	crash(w); /* and nobody tells it anything */
	w->session = 0;
	pass(w, 14000);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 0);
	pass(w, 2000);
	assert_int_equal(fake(w, "a42-p0-t0")->notices, 1);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 1);
}

static void test_signal_of_choice(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	const struct action *a;

	u.kind = UNIT_JOB_SCRIPT;
	u.signal = 12;
	u.signal_target = SIGNAL_BATCH;
	start(w, u);
	w->log_n = 0;
	stop(w, u, 60000);
	a = &w->log[place(w, ACTION_NOTICE)];
	assert_int_equal(a->signo, 12);
	assert_false(a->all); /* the batch shell alone */
	pass(w, 49000);
	assert_int_equal(count(w, ACTION_SIGNAL), 0);
	pass(w, 2000); /* SIGTERM comes before the end, ten seconds at most */
	assert_int_equal(count(w, ACTION_SIGNAL), 1);
	a = &w->log[place(w, ACTION_SIGNAL)];
	assert_int_equal(a->signo, 15);
	pass(w, 10000);
	assert_int_equal(count(w, ACTION_SIGNAL), 1);
	assert_int_equal(count(w, ACTION_KILL), 1);
}

static void test_signal_to_the_steps(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	char name[AGENT_NAME_BYTES];
	struct err err;
	uint64_t id;

	u.kind = UNIT_JOB_SCRIPT;
	u.signal = 10;
	start(w, u);
	assert_int_equal(agent_extra(w->agent, w->now, 42, 0, name, &id, &err), 0);
	fake(w, name)->known = true;
	becomes(w, name, (struct task_status){.state = TASK_LIVE});
	w->log_n = 0;
	stop(w, u, 60000);
	assert_int_equal(count(w, ACTION_NOTICE), 2);
	for (size_t i = 0; i < w->log_n; i++)
		if (w->log[i].type == ACTION_NOTICE)
			assert_int_equal(w->log[i].signo, strcmp(w->log[i].name, name) == 0 ? 10 : 0);
	assert_int_equal(agent_extra(w->agent, w->now, 42, 0, name, &id, &err), ERR_STATE);
	assert_int_equal(agent_extra(w->agent, w->now, 99, 0, name, &id, &err), ERR_NOTFOUND);
}

static void test_stop_of_what_was_never_here(void **st)
{
	struct world *w = *st;

	stop(w, job_unit(42, 1), 60000);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_int_equal(count(w, ACTION_START) + count(w, ACTION_KILL), 0);
	want_phase(w, job_unit(42, 1), UNIT_RUN);
	assert_int_equal(count(w, ACTION_START), 0);
}

static void test_stop_on_disconnect(void **st)
{
	struct world *w = *st;
	struct unit u[2] = {job_unit(42, 1), job_unit(43, 1)};

	u[0].stop_on_disconnect = true;
	want(w, u, 2);
	u[0].phase = u[1].phase = UNIT_RUN;
	want(w, u, 2);
	w->session = 0;
	agent_disconnected(w->agent, w->now, false);
	pass(w, 599000);
	assert_int_equal(fake(w, "a42-p0-t0")->notices, 0);
	pass(w, 2000);
	assert_int_equal(fake(w, "a42-p0-t0")->notices, 1);
	pass(w, 31000);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 1);
	assert_int_equal(fake(w, "a43-p0-t0")->notices + fake(w, "a43-p0-t0")->kills, 0);
	dies(w, "a42-p0-t0");
	w->session = 7;
	greet(w);
	want(w, u, 2); /* the daemon still wants it: too late */
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
}

/* ---- services ---------------------------------------------------------------------------------------- */

static struct unit service_unit(uint64_t alloc)
{
	return (struct unit){.alloc = alloc, .kind = UNIT_SERVICE, .tasks = 1, .world = 1, .owner = 3, .attempt = 1,
			     .payload = {2}, .time_left_ms = T_NEVER};
}

static void test_service_comes_back_with_backoff(void **st)
{
	struct world *w = *st;
	char name[AGENT_NAME_BYTES];

	w->payload.backoff_min_ms = 1000;
	w->payload.backoff_max_ms = 4000;
	start(w, service_unit(42));
	assert_int_equal(told(w, 42)->port, 20007);
	assert_true(told(w, 42)->healthy); /* without a health command, running is all there is to see */
	ends(w, "a42-p0-t0", 0); /* a service that ends well has ended too */
	assert_false(told(w, 42)->healthy);
	assert_int_equal(told(w, 42)->state, UNIT_RUNNING);
	pass(w, 900);
	assert_int_equal(fake(w, "a42-p0-t0-r1")->starts, 0);
	pass(w, 200);
	assert_int_equal(fake(w, "a42-p0-t0-r1")->starts, 1);
	assert_false(fake(w, "a42-p0-t0")->known); /* forgotten only after the next run was written down */
	assert_int_equal(told(w, 42)->restarts, 1);
	assert_true(told(w, 42)->healthy);
	ends(w, "a42-p0-t0-r1", 1);
	pass(w, 1900);
	assert_int_equal(fake(w, "a42-p0-t0-r2")->starts, 0);
	pass(w, 200);
	assert_int_equal(fake(w, "a42-p0-t0-r2")->starts, 1);
	/* it does not grow beyond the most */
	for (int i = 2; i < 6; i++) {
		(void)snprintf(name, sizeof name, "a42-p0-t0-r%d", i);
		ends(w, name, 1);
		pass(w, 4100);
	}
	assert_int_equal(fake(w, "a42-p0-t0-r6")->starts, 1);
	/* after a long good run it begins at the least again */
	pass(w, 10000);
	ends(w, "a42-p0-t0-r6", 1);
	pass(w, 1100);
	assert_int_equal(fake(w, "a42-p0-t0-r7")->starts, 1);
	assert_int_equal(fake(w, "a42-p0-t0-r7")->st.state, TASK_LIVE);
	/* the agent dies and finds the newest run */
	crash(w);
	assert_int_equal(fake(w, "a42-p0-t0-r7")->starts, 1);
	assert_true(agent_task_name(w->agent, 42, 0, 0, name));
	assert_string_equal(name, "a42-p0-t0-r7");
}

static void test_service_is_not_restarted_when_stopping(void **st)
{
	struct world *w = *st;

	w->payload.stop_signal = 2;
	start(w, service_unit(42));
	w->log_n = 0;
	stop(w, service_unit(42), 5000);
	assert_int_equal(w->log[place(w, ACTION_NOTICE)].signo, 2);
	ends(w, "a42-p0-t0", 0);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	pass(w, 100000);
	assert_int_equal(count(w, ACTION_START), 0);
}

static void test_stop_that_knows_only_the_name(void **st)
{
	struct world *w = *st;

	start(w, service_unit(42));
	ends(w, "a42-p0-t0", 1);
	pass(w, 1500);
	assert_int_equal(fake(w, "a42-p0-t0-r1")->starts, 1);
	stop(w, (struct unit){.alloc = 42, .kind = UNIT_BARE}, 0);
	assert_int_equal(fake(w, "a42-p0-t0-r1")->kills, 1); /* the run that is alive, not the first one */
	dies(w, "a42-p0-t0-r1");
	assert_int_equal(state(w, 42), UNIT_RELEASED);
	assert_false(fake(w, "a42-p0-t0-r1")->known);
}

/* The shell sees processes of something that has ended, or sees that they are gone. */
static void leaves(struct world *w, uint64_t alloc, enum left what, bool left)
{
	w->left = left ? w->left | what : w->left & ~(unsigned)what;
	w->left_alloc = alloc;
	agent_left(w->agent, w->now, alloc, 0, what, left);
	drain(w);
}

static void answers(struct world *w, uint64_t alloc, bool ok)
{
	agent_health(w->agent, w->now, alloc, 0, ok);
	drain(w);
}

static void test_leftovers_of_a_replica_go_before_the_next(void **st)
{
	struct world *w = *st;

	start(w, service_unit(42));
	becomes(w, "a42-p0-t0", (struct task_status){.state = TASK_ENDED, .empty = false, .exit_code = 1});
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 1);
	pass(w, 10000);
	assert_int_equal(fake(w, "a42-p0-t0-r1")->starts, 0);
	ends(w, "a42-p0-t0", 1);
	pass(w, 1500);
	assert_int_equal(fake(w, "a42-p0-t0-r1")->starts, 1);
}

static void test_health_has_patience_at_the_start(void **st)
{
	struct world *w = *st;
	struct string command = {"check"};

	w->payload.health = &command;
	w->payload.health_n = 1;
	w->payload.health_every_ms = 1000;
	w->payload.health_after_ms = 10000;
	w->payload.health_fail = 2;
	start(w, service_unit(42));
	for (int i = 0; i < 8; i++) { /* still loading its model */
		pass(w, 1000);
		agent_health(w->agent, w->now, 42, 0, false);
		drain(w);
	}
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 0);
	for (int i = 0; i < 5; i++) {
		pass(w, 1000);
		agent_health(w->agent, w->now, 42, 0, false);
		drain(w);
	}
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 1);
}

static void test_health(void **st)
{
	struct world *w = *st;
	struct string command = {"check"};

	w->payload.health = &command;
	w->payload.health_n = 1;
	w->payload.health_every_ms = 2000;
	w->payload.health_after_ms = 10000;
	w->payload.health_fail = 2;
	start(w, service_unit(42));
	assert_false(told(w, 42)->healthy);
	pass(w, 1100);
	assert_int_equal(w->checks, 1);
	pass(w, 10000);
	assert_int_equal(w->checks, 1); /* one at a time */
	w->now.ms -= 8000;              /* still inside the time it has to come up */
	agent_health(w->agent, w->now, 42, 0, false);
	agent_health(w->agent, w->now, 42, 0, false); /* an answer that nobody waits for */
	pass(w, 2100);
	agent_health(w->agent, w->now, 42, 0, true);
	drain(w);
	assert_true(told(w, 42)->healthy);
	pass(w, 2100);
	agent_health(w->agent, w->now, 42, 0, false);
	drain(w);
	assert_true(told(w, 42)->healthy); /* once is no trend */
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 0);
	pass(w, 2100);
	agent_health(w->agent, w->now, 42, 0, false);
	drain(w);
	assert_false(told(w, 42)->healthy);
	assert_int_equal(fake(w, "a42-p0-t0")->kills, 1);
	dies(w, "a42-p0-t0");
	pass(w, 2000);
	assert_int_equal(told(w, 42)->restarts, 1);
}

static void with_health(struct world *w)
{
	static struct string command = {"check"};

	w->payload.health = &command;
	w->payload.health_n = 1;
	w->payload.health_every_ms = 2000;
}

/* Its processes may have a device open as those of the service may. */
static void test_a_health_command_that_runs_keeps_the_devices(void **st)
{
	struct world *w = *st;
	struct unit u = service_unit(42);

	with_health(w);
	start(w, u);
	pass(w, 1100);
	assert_int_equal(w->checks, 1);
	stop(w, u, 30000);
	assert_int_equal(w->checks_ended, 1); /* now, not when its time is over */
	dies(w, "a42-p0-t0");
	pass(w, 1000000);
	assert_int_equal(w->checks_ended, 1);
	assert_int_equal(told(w, 42)->state, UNIT_UNKILLABLE);
	answers(w, 42, false);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_int_equal(w->checks, 1);
}

static void test_what_a_health_command_leaves_keeps_the_devices(void **st)
{
	struct world *w = *st;
	struct unit u = service_unit(42), v = job_unit(43, 1);
	struct unit_device device = gpu(0x17);

	u.devices = v.devices = &device;
	u.devices_n = v.devices_n = 1;
	with_health(w);
	start(w, u);
	pass(w, 1100);
	leaves(w, 42, LEFT_HEALTH, true);
	answers(w, 42, true);
	assert_true(told(w, 42)->healthy);
	assert_int_equal(told(w, 42)->state, UNIT_RUNNING);
	stop(w, u, 100000);
	assert_int_equal(w->checks_ended, 0); /* none runs */
	pass(w, 5000);
	dies(w, "a42-p0-t0"); /* what is left is being killed, without the notice that the service had */
	for (int life = 0; life < 2; life++) {
		pass(w, 59000);
		assert_int_not_equal(state(w, 42), UNIT_RELEASED);
		pass(w, 1000);
		assert_int_equal(told(w, 42)->state, UNIT_UNKILLABLE);
		assert_string_equal(told(w, 42)->text, "processes of its health command are left after SIGKILL");
		want_phase(w, v, UNIT_PREPARE); /* of the same device */
		assert_string_equal(told(w, 43)->text, "device 0000:17:00.0/0 is still held by allocation 42");
		pass(w, 1000000); /* without a busy loop */
		crash(w);
		greet(w);
		stop(w, u, 0);
	}
	leaves(w, 42, LEFT_HEALTH, false);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
}

/* As an allocation of which nothing else is known: it is told as stopped when the last process has gone. */
static void test_what_is_left_outlives_the_table(void **st)
{
	struct world *w = *st;
	struct unit u = service_unit(42);

	with_health(w);
	start(w, u);
	for (unsigned what = LEFT_PROLOG; what <= LEFT_HEALTH; what *= 2)
		leaves(w, 42, (enum left)what, true);
	fake(w, "a42-p0-t0")->known = false; /* the task has ended, and its files are lost too */
	w->disk = (struct disk){.incarnation = w->disk.incarnation, .missing = true};
	crash(w);
	greet(w);
	assert_int_equal(agent_rows(w->agent), 0);
	stop(w, u, 0);
	pass(w, 1000000);
	assert_int_equal(told(w, 42)->state, UNIT_UNKILLABLE);
	for (unsigned what = LEFT_PROLOG; what <= LEFT_HEALTH; what *= 2) {
		assert_int_not_equal(state(w, 42), UNIT_RELEASED);
		leaves(w, 42, (enum left)what, false);
	}
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
}

/* ---- reports ----------------------------------------------------------------------------------------- */

static void test_reports_are_gathered(void **st)
{
	struct world *w = *st;
	struct unit units[4];
	int before;

	for (int i = 0; i < 4; i++) {
		units[i] = job_unit(42 + (uint64_t)i, 1);
		units[i].phase = UNIT_PREPARE;
	}
	want(w, units, 4);
	for (int i = 0; i < 4; i++)
		units[i].phase = UNIT_RUN;
	want(w, units, 4);
	pass(w, 100);
	before = w->reports;
	ends(w, "a42-p0-t0", 0);
	pass(w, 0);
	assert_int_equal(w->reports, before + 1); /* the first at once */
	ends(w, "a43-p0-t0", 0);
	ends(w, "a44-p0-t0", 0);
	ends(w, "a45-p0-t0", 0);
	pass(w, 1);
	assert_int_equal(w->reports, before + 1);
	pass(w, 1);
	assert_int_equal(w->reports, before + 2); /* the rest together */
}

/* A report holds all rows: with a thousand of them one every 2 ms would be all that a node does. Here 60. */
static void test_nodes_with_many_units_report_less_often(void **st)
{
	struct world *w = *st;
	static struct unit units[60];
	int before;

	for (int i = 0; i < 60; i++) {
		units[i] = job_unit(42 + (uint64_t)i, 1);
		units[i].phase = UNIT_PREPARE;
		units[i].devices_n = 0;
	}
	want(w, units, 60);
	for (int i = 0; i < 60; i++)
		units[i].phase = UNIT_RUN;
	want(w, units, 60);
	pass(w, 100);
	before = w->reports;
	ends(w, "a42-p0-t0", 0);
	pass(w, 0);
	assert_int_equal(w->reports, before + 1);
	ends(w, "a43-p0-t0", 0);
	pass(w, 4);
	assert_int_equal(w->reports, before + 1);
	pass(w, 1);
	assert_int_equal(w->reports, before + 2);
}

static void scrubbed(struct world *w, uint64_t alloc, enum scrub found, const char *text)
{
	agent_scrubbed(w->agent, w->now, alloc, 0, found, text);
	drain(w);
}

/* The device must not go to the next one while it is in use, however long that takes; and somebody has to hear. */
static void test_devices_are_proven_idle_before_they_are_released(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1), v = job_unit(43, 1);
	struct unit_device device = gpu(0x17);
	int before;

	u.devices = v.devices = &device;
	u.devices_n = v.devices_n = 1;
	w->cfg.scrub = true;
	crash(w);
	greet(w);
	start(w, u);
	ends(w, "a42-p0-t0", 0);
	stop(w, u, 0);
	assert_int_equal(w->scrubs, 1);
	assert_int_equal(state(w, 42), UNIT_EXITED);
	pass(w, 5000);
	assert_int_equal(w->scrubs, 1); /* one at a time */
	scrubbed(w, 42, SCRUB_BUSY, "process 7 still computes on it");
	assert_int_equal(state(w, 42), UNIT_EXITED);
	want_phase(w, v, UNIT_PREPARE); /* of the same devices */
	assert_int_equal(state(w, 43), UNIT_FAILED);
	pass(w, 249);
	assert_int_equal(w->scrubs, 1);
	pass(w, 1);
	assert_int_equal(w->scrubs, 2);
	for (int i = 0; i < 20; i++) {
		scrubbed(w, 42, SCRUB_BUSY, "process 7 still computes on it");
		pass(w, 10000);
	}
	assert_int_equal(state(w, 42), UNIT_UNKILLABLE); /* after 60 s */
	assert_string_equal(told(w, 42)->text, "process 7 still computes on it");
	before = w->scrubs;
	scrubbed(w, 42, SCRUB_BUSY, "process 7 still computes on it");
	pass(w, 10000);
	assert_int_equal(w->scrubs, before + 1); /* and never gives up */
	scrubbed(w, 42, SCRUB_CLEAN, "");
	assert_int_equal(state(w, 42), UNIT_RELEASED);
}

/* Of what broke, sluisd learns with the very greeting that says released: else it could be handed out in between. */
static void test_a_broken_device_is_told_with_its_release(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	struct unit_device device = gpu(0x17);

	u.devices = &device;
	u.devices_n = 1;
	w->cfg.scrub = true;
	crash(w);
	greet(w);
	start(w, u);
	ends(w, "a42-p0-t0", 0);
	stop(w, u, 0);
	w->log_n = 0;
	scrubbed(w, 42, SCRUB_BROKEN, "its compute mode is exclusive process");
	assert_int_equal(state(w, 42), UNIT_RELEASED);
	pass(w, 1000);
	assert_int_equal(count(w, ACTION_HELLO), 1);
	assert_int_equal(count(w, ACTION_REPORT), 0);
}

/* What never began has touched nothing. */
static void test_what_never_ran_needs_no_proof(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	struct unit_device device = gpu(0x17);

	u.devices = &device;
	u.devices_n = 1;
	w->cfg.scrub = true;
	crash(w);
	greet(w);
	want_phase(w, u, UNIT_PREPARE);
	stop(w, u, 0);
	assert_int_equal(w->scrubs, 0);
	assert_int_equal(state(w, 42), UNIT_RELEASED);
}

/* ---- the site's programs before and after ------------------------------------------------------------- */

static void with_hooks(struct world *w)
{
	w->cfg.prolog = w->cfg.epilog = true;
	crash(w);
	greet(w);
}

static void hook_ends(struct world *w, uint64_t alloc, enum hook hook, bool ok)
{
	assert_true(w->hooks[hook].known);
	w->hooks[hook].ended = true;
	w->hooks[hook].ok = ok;
	agent_hooked(w->agent, w->now, alloc, 0, hook, ok, ok ? "" : "10-x: exited with 3");
	drain(w);
}

static void test_prolog_before_epilog_after(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	struct unit_device device = gpu(0x17);

	u.devices = &device;
	u.devices_n = 1;
	w->cfg.scrub = true;
	with_hooks(w);
	w->log_n = 0;
	want_phase(w, u, UNIT_PREPARE);
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 1);
	assert_true(place(w, ACTION_SYNC) < place(w, ACTION_HOOK));
	assert_int_equal(state(w, 42), UNIT_ABSENT);
	want_phase(w, u, UNIT_PREPARE); /* said again */
	pass(w, 300000);
	assert_int_equal(state(w, 42), UNIT_ABSENT);
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 1);
	hook_ends(w, 42, HOOK_PROLOG, true);
	assert_int_equal(state(w, 42), UNIT_PREPARED);
	assert_int_equal(w->hooks[HOOK_PROLOG].forgets, 1);
	want_phase(w, u, UNIT_RUN);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 0);
	becomes(w, "a42-p0-t0", (struct task_status){.state = TASK_ENDED, .exit_code = 5});
	stop(w, u, 0);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 0); /* something of it is left */
	ends(w, "a42-p0-t0", 5);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 1);
	assert_int_equal(told(w, 42)->state, UNIT_EXITED); /* its end is told meanwhile */
	pass(w, 300000);
	assert_int_equal(w->scrubs, 0); /* devices are looked at behind the epilog */
	hook_ends(w, 42, HOOK_EPILOG, true);
	assert_int_equal(w->scrubs, 1);
	assert_int_equal(state(w, 42), UNIT_EXITED);
	scrubbed(w, 42, SCRUB_CLEAN, "");
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_int_equal(told(w, 42)->exit_code, 5);
	assert_int_equal(w->hooks[HOOK_EPILOG].forgets, 1);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 1);
}

/* The node's fault, not the job's: said so with the reason, once, and nothing starts. What the prolog did until then is
 * undone before the devices go back. */
static void test_a_prolog_that_fails(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1), v = job_unit(43, 1);
	struct unit_device device = gpu(0x17);

	u.devices = v.devices = &device;
	u.devices_n = v.devices_n = 1;
	with_hooks(w);
	want_phase(w, u, UNIT_PREPARE);
	hook_ends(w, 42, HOOK_PROLOG, false);
	assert_int_equal(told(w, 42)->state, UNIT_FAILED);
	assert_true(told(w, 42)->unfit);
	assert_string_equal(told(w, 42)->text, "10-x: exited with 3");
	crash(w); /* it is remembered */
	greet(w);
	assert_true(told(w, 42)->unfit);
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 1);
	ack(w, 42, UNIT_FAILED);
	want_phase(w, v, UNIT_PREPARE); /* of the same device */
	assert_string_equal(told(w, 43)->text, "device 0000:17:00.0/0 is still held by allocation 42");
	assert_false(told(w, 42)->unfit); /* who enables the node from now on is not overruled */
	crash(w);
	greet(w);
	want_phase(w, v, UNIT_STOP);
	assert_false(told(w, 42)->unfit);
	want_phase(w, u, UNIT_RUN);
	assert_int_equal(count(w, ACTION_START), 0);
	stop(w, u, 0);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 1);
	assert_int_equal(state(w, 42), UNIT_FAILED);
	hook_ends(w, 42, HOOK_EPILOG, true);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_int_equal(count(w, ACTION_START), 0);
}

static void test_an_epilog_that_fails_keeps_the_devices(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);

	with_hooks(w);
	start(w, u);
	hook_ends(w, 42, HOOK_PROLOG, true);
	want_phase(w, u, UNIT_RUN);
	ends(w, "a42-p0-t0", 0);
	stop(w, u, 0);
	hook_ends(w, 42, HOOK_EPILOG, false);
	assert_int_equal(told(w, 42)->state, UNIT_UNKILLABLE);
	assert_string_equal(told(w, 42)->text, "10-x: exited with 3");
	pass(w, 9000);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 1);
	pass(w, 1000); /* again when it may have been mended, ever less often */
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 2);
	hook_ends(w, 42, HOOK_EPILOG, false);
	pass(w, 19000);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 2);
	pass(w, 1000);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 3);
	hook_ends(w, 42, HOOK_EPILOG, true);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
}

/* The same for one that is alone and was not told to stop; and an agent that comes back goes on with it. */
static void test_a_failed_epilog_is_tried_again_after_a_crash(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	struct unit_host host = {.name = "n1", .slots = 1};

	u.hosts = &host;
	u.hosts_n = 1;
	with_hooks(w);
	want_phase(w, u, UNIT_PREPARE);
	hook_ends(w, 42, HOOK_PROLOG, true);
	want_phase(w, u, UNIT_RUN);
	ends(w, "a42-p0-t0", 0);
	hook_ends(w, 42, HOOK_EPILOG, false);
	assert_int_equal(state(w, 42), UNIT_UNKILLABLE);
	crash(w);
	greet(w);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 1); /* what it came to is known */
	assert_int_equal(state(w, 42), UNIT_UNKILLABLE);
	pass(w, 10000);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 2);
	hook_ends(w, 42, HOOK_EPILOG, true);
	assert_int_equal(state(w, 42), UNIT_RELEASED);
}

/* Died in the middle: waited for, not begun a second time; and one that had not begun is begun. */
static void test_hooks_after_a_crash(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);

	with_hooks(w);
	w->hold_starts = true;
	want_phase(w, u, UNIT_PREPARE);
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 0);
	crash(w); /* between the row and the start */
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 1);
	crash(w); /* while it runs */
	greet(w);
	want_phase(w, u, UNIT_PREPARE);
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 1);
	w->hooks[HOOK_PROLOG].ended = w->hooks[HOOK_PROLOG].ok = true;
	crash(w); /* it ended while nobody was there */
	greet(w);
	want_phase(w, u, UNIT_PREPARE);
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 1);
	assert_int_equal(state(w, 42), UNIT_PREPARED);
	crash(w);
	greet(w);
	want_phase(w, u, UNIT_RUN);
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 1);
	assert_int_equal(fake(w, "a42-p0-t0")->starts, 1);
	ends(w, "a42-p0-t0", 0);
	stop(w, u, 0);
	crash(w);
	greet(w);
	stop(w, u, 0);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 1);
	w->hooks[HOOK_EPILOG].ended = w->hooks[HOOK_EPILOG].ok = true;
	crash(w);
	greet(w);
	stop(w, u, 0);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 1);
	assert_int_equal(state(w, 42), UNIT_RELEASED);
	assert_false(w->hooks[HOOK_PROLOG].known || w->hooks[HOOK_EPILOG].known);
}

/* Not killed halfway: the stop waits for it, then comes the epilog. One that never began is not begun for it. */
static void test_a_stop_during_the_prolog(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1), v = job_unit(43, 1);

	with_hooks(w);
	want_phase(w, u, UNIT_PREPARE);
	stop(w, u, 1000);
	pass(w, 100000); /* without a busy loop */
	assert_int_equal(state(w, 42), UNIT_ABSENT);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 0);
	crash(w);
	greet(w);
	stop(w, u, 0);
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 1);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 0);
	hook_ends(w, 42, HOOK_PROLOG, true);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 1);
	assert_int_equal(state(w, 42), UNIT_ABSENT);
	hook_ends(w, 42, HOOK_EPILOG, true);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	w->hold_starts = true;
	want_phase(w, v, UNIT_PREPARE);
	v.phase = UNIT_STOP;
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 1); /* that of 42 */
	w->cfg.prolog = false; /* and the site has none any more */
	crash(w);
	greet(w);
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 1);
	assert_int_equal(state(w, 43), UNIT_PREPARED);
	stop(w, v, 0);
	hook_ends(w, 43, HOOK_EPILOG, true);
	assert_int_equal(state(w, 43), UNIT_RELEASED);
}

static void test_a_prolog_that_fails_while_stopping_is_told(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);

	with_hooks(w);
	want_phase(w, u, UNIT_PREPARE);
	stop(w, u, 0); /* it took longer than the time to bind */
	hook_ends(w, 42, HOOK_PROLOG, false);
	assert_int_equal(told(w, 42)->state, UNIT_FAILED);
	assert_true(told(w, 42)->unfit);
	hook_ends(w, 42, HOOK_EPILOG, true);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_true(told(w, 42)->unfit);
}

/* As a task's: until they are gone the devices stay, the epilog waits, and there is an alarm; also for the next agent. */
static void test_what_a_prolog_leaves_keeps_the_devices(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1), v = job_unit(43, 1);
	struct unit_device device = gpu(0x17);

	u.devices = v.devices = &device;
	u.devices_n = v.devices_n = 1;
	with_hooks(w);
	want_phase(w, u, UNIT_PREPARE);
	leaves(w, 42, LEFT_PROLOG, true);
	assert_int_equal(state(w, 42), UNIT_ABSENT);
	hook_ends(w, 42, HOOK_PROLOG, false);
	assert_int_equal(told(w, 42)->state, UNIT_FAILED);
	assert_true(told(w, 42)->unfit);
	pass(w, 1000000);
	assert_int_equal(state(w, 42), UNIT_FAILED);
	for (int life = 0; life < 2; life++) {
		stop(w, u, 0);
		assert_int_equal(w->hooks[HOOK_EPILOG].starts, 0);
		pass(w, 59000);
		assert_int_equal(state(w, 42), UNIT_FAILED);
		pass(w, 1000);
		assert_int_equal(told(w, 42)->state, UNIT_UNKILLABLE);
		assert_string_equal(told(w, 42)->text, "processes of its prolog are left after SIGKILL");
		want_phase(w, v, UNIT_PREPARE); /* of the same device */
		assert_string_equal(told(w, 43)->text, "device 0000:17:00.0/0 is still held by allocation 42");
		pass(w, 1000000); /* without a busy loop */
		assert_int_equal(told(w, 42)->state, UNIT_UNKILLABLE);
		assert_int_equal(w->hooks[HOOK_EPILOG].starts, 0);
		crash(w);
		greet(w);
	}
	stop(w, u, 0);
	pass(w, 1000);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 0);
	leaves(w, 42, LEFT_PROLOG, false);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 1);
	hook_ends(w, 42, HOOK_EPILOG, true);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_int_equal(w->hooks[HOOK_PROLOG].starts, 1);
	assert_int_equal(count(w, ACTION_START), 0);
}

/* It is not run again on top of what it left; and a site that has none any more still has those processes. */
static void test_what_an_epilog_leaves_keeps_the_devices(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	struct unit_host host = {.name = "n1", .slots = 1};

	u.hosts = &host; /* alone: it is over without being told to stop */
	u.hosts_n = 1;
	with_hooks(w);
	want_phase(w, u, UNIT_PREPARE);
	hook_ends(w, 42, HOOK_PROLOG, true);
	want_phase(w, u, UNIT_RUN);
	ends(w, "a42-p0-t0", 0);
	leaves(w, 42, LEFT_EPILOG, true);
	hook_ends(w, 42, HOOK_EPILOG, false);
	assert_int_equal(told(w, 42)->state, UNIT_UNKILLABLE);
	pass(w, 1000000);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 1);
	w->cfg.epilog = false;
	crash(w);
	greet(w);
	pass(w, 1000000);
	assert_int_equal(told(w, 42)->state, UNIT_EXITED);
	stop(w, u, 0);
	pass(w, 60000);
	assert_int_equal(told(w, 42)->state, UNIT_UNKILLABLE);
	assert_string_equal(told(w, 42)->text, "processes of its epilog are left after SIGKILL");
	leaves(w, 42, LEFT_EPILOG, false);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
}

/* The machine restarted: there is nothing to undo, and nobody waits. */
static void test_no_epilog_after_a_reboot(void **st)
{
	struct world *w = *st;

	with_hooks(w);
	want_phase(w, job_unit(42, 1), UNIT_PREPARE);
	reboot(w);
	greet(w);
	assert_int_equal(told(w, 42)->state, UNIT_LOST);
	assert_int_equal(w->hooks[HOOK_EPILOG].starts, 0);
	assert_false(w->hooks[HOOK_PROLOG].known);
}

/* An agent that dies between the two must know its own epoch from a later one's: else what it had prepared is refused,
 * as if somebody else had had the device since. */
static void test_a_row_goes_before_the_epochs_it_raises(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	struct unit_device device = gpu(0x17);

	u.devices = &device;
	u.devices_n = 1;
	w->log_n = 0;
	want_phase(w, u, UNIT_PREPARE);
	assert_true(place(w, ACTION_ROW_PUT) < place(w, ACTION_EPOCH));
	assert_true(place(w, ACTION_EPOCH) < place(w, ACTION_SYNC));
	w->disk.epochs_n = 0; /* it did not come to that */
	w->log_n = 0;
	crash(w);
	greet(w);
	assert_int_equal(count(w, ACTION_EPOCH), 1);
	assert_int_equal(w->disk.epochs[0].epoch, 42);
	want_phase(w, u, UNIT_RUN);
	assert_int_equal(state(w, 42), UNIT_RUNNING);
}

/* It had taken the device and was waiting for its payload: still the same unit after a restart, and no other. */
static void test_half_prepared_survives_a_restart(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 1);
	struct unit_device device = gpu(0x17);

	u.devices = &device;
	u.devices_n = 1;
	w->payload_late = true;
	want_phase(w, u, UNIT_PREPARE);
	assert_int_equal(state(w, 42), UNIT_ABSENT);
	assert_int_equal(w->disk.epochs[0].epoch, 42);
	w->payload_late = false;
	crash(w);
	greet(w);
	want_phase(w, u, UNIT_PREPARE);
	assert_int_equal(state(w, 42), UNIT_PREPARED);
}

/* Alone on its node, and all over: nothing to wait for, so its devices are free one round trip earlier. But not while
 * a process is left, nor as one of a gang. */
static void test_a_unit_alone_releases_itself(void **st)
{
	struct world *w = *st;
	struct unit u = job_unit(42, 2);
	struct unit_host hosts[2] = {{.name = "n1", .slots = 2}, {.name = "n2", .slots = 2}};

	u.hosts = hosts;
	u.hosts_n = 1;
	start(w, u);
	ends(w, "a42-p0-t0", 0);
	assert_int_equal(state(w, 42), UNIT_RUNNING);
	becomes(w, "a42-p0-t1", (struct task_status){.state = TASK_ENDED, .exit_code = 3});
	assert_int_equal(state(w, 42), UNIT_EXITED); /* the leader; something of it is left */
	becomes(w, "a42-p0-t1", (struct task_status){.state = TASK_ENDED, .exit_code = 3, .empty = true});
	assert_int_equal(state(w, 42), UNIT_RELEASED);
	pass(w, 100);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_int_equal(told(w, 42)->exit_code, 3);
	crash(w); /* the report may have been lost with us */
	greet(w);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	assert_int_equal(told(w, 42)->exit_code, 3);
	u = job_unit(43, 1);
	u.hosts = hosts;
	u.hosts_n = 2;
	start(w, u);
	ends(w, "a43-p0-t0", 0);
	assert_int_equal(state(w, 43), UNIT_EXITED); /* a sibling may run on */
}

static void test_report_until_acknowledged(void **st)
{
	struct world *w = *st;
	int before;

	start(w, job_unit(42, 1));
	ends(w, "a42-p0-t0", 0);
	pass(w, 100);
	before = w->reports;
	pass(w, 11000);
	assert_in_range(w->reports, before + 2, before + 3);
	ack(w, 42, UNIT_RUNNING); /* of an older report: not this state */
	pass(w, 6000);
	assert_true(w->reports > before + 2);
	ack(w, 42, UNIT_EXITED);
	before = w->reports;
	pass(w, 60000);
	assert_int_equal(w->reports, before);
	stop(w, job_unit(42, 1), 0);
	pass(w, 100);
	ack(w, 42, UNIT_EXITED);
	assert_int_equal(agent_rows(w->agent), 1);
	crash(w); /* the release is remembered */
	greet(w);
	assert_int_equal(told(w, 42)->state, UNIT_RELEASED);
	ack(w, 42, UNIT_RELEASED);
	assert_int_equal(agent_rows(w->agent), 0);
}

static void test_checkpoints(void **st)
{
	struct world *w = *st;

	start(w, job_unit(42, 1));
	assert_int_equal(told(w, 42)->checkpoint_ago_ms, -1);
	agent_checkpoint(w->agent, w->now, 42, 0, 4200);
	assert_int_equal(told(w, 42)->checkpoint_step, 4200);
	pass(w, 10000);
	agent_checkpoint(w->agent, w->now, 42, 0, 100); /* read again after a restart */
	ends(w, "a42-p0-t0", 0);
	assert_int_equal(told(w, 42)->checkpoint_step, 4200);
	assert_in_range(told(w, 42)->checkpoint_ago_ms, 10000, 10200);
}

static void test_heartbeats_and_silence(void **st)
{
	struct world *w = *st;

	w->log_n = 0;
	pass(w, 10500);
	assert_in_range(count(w, ACTION_HEARTBEAT), 9, 11);
	assert_int_equal(count(w, ACTION_REOPEN), 0);
	w->session = 0; /* nobody answers any more */
	pass(w, 3500);
	assert_int_equal(count(w, ACTION_REOPEN), 1);
	pass(w, 120000);
	assert_in_range(count(w, ACTION_REOPEN), 3, 10); /* with back-off */
}

static void test_missed_orders_bring_a_new_greeting(void **st)
{
	struct world *w = *st;

	w->log_n = 0;
	w->rev = 77; /* the daemon has said things that never came */
	pass(w, 10000);
	assert_true(count(w, ACTION_REOPEN) >= 1);
}

static void test_refusals_back_off(void **st)
{
	struct world *w = *st;
	int64_t last = w->now.ms, gap = 0;

	w->session = 0;
	w->log_n = 0;
	for (int i = 0; i < 8; i++) {
		size_t before = count(w, ACTION_REOPEN);

		agent_disconnected(w->agent, w->now, true);
		while (count(w, ACTION_REOPEN) == before)
			pass(w, 100);
		gap = w->now.ms - last;
		last = w->now.ms;
		assert_true(gap <= 45100); /* one and a half times thirty seconds */
	}
	assert_true(gap >= 15000);
}

static void test_greets_again_when_not_known(void **st)
{
	struct world *w = *st;

	w->log_n = 0;
	agent_greet_again(w->agent, w->now);
	agent_greet_again(w->agent, w->now);
	drain(w);
	assert_int_equal(count(w, ACTION_HELLO), 1);
}

static void test_more_units_than_fit(void **st)
{
	struct world *w = *st;
	struct unit *units = xcalloc(UNITS_PER_NODE_MAX + 1, sizeof *units);
	struct msg_desired m = {.rev = 1, .epoch = 5, .session = w->session, .units = units, .units_n = UNITS_PER_NODE_MAX};
	struct action act;
	struct err err;

	for (uint32_t i = 0; i <= UNITS_PER_NODE_MAX; i++)
		units[i] = (struct unit){.alloc = 1 + i, .kind = UNIT_BARE, .time_left_ms = T_NEVER};
	assert_int_equal(agent_desired(w->agent, w->now, &m, &err), 0);
	m.units = units + UNITS_PER_NODE_MAX;
	m.units_n = 1;
	m.rev = 2;
	assert_int_equal(agent_desired(w->agent, w->now, &m, &err), 0);
	assert_int_equal(agent_rows(w->agent), UNITS_PER_NODE_MAX);
	for (uint32_t i = 0; i < UNITS_PER_NODE_MAX; i++) {
		struct ack_row row = {.alloc = 1 + i, .state = UNIT_RELEASED};

		units[i].phase = UNIT_STOP;
		m = (struct msg_desired){.rev = 3 + i, .epoch = 5, .session = w->session, .units = units + i, .units_n = 1};
		if (agent_desired(w->agent, w->now, &m, &err) != 0)
			break; /* it has asked for a new connection, and with that for the whole list */
		agent_report_ack(w->agent, w->now, &(struct msg_report_ack){.rows = &row, .rows_n = 1});
	}
	assert_true(agent_rows(w->agent) < UNITS_PER_NODE_MAX / 2);
	while (agent_take(w->agent, &act))
		if (act.type == ACTION_REOPEN)
			break;
	assert_int_equal(act.type, ACTION_REOPEN);
	free(units);
}

/* ---- names ------------------------------------------------------------------------------------------ */

static void test_names(void **st)
{
	static const char *const bad[] = {"", "a", "a1", "a1-p0", "a1-p0-t", "a01-p0-t0", "a1-p65536-t0", "a1-p0-t0-r",
					  "a1-p0-t0-", "a1-p0-t256", "b1-p0-t0", "a1-p0-y0", "a1-p0-x1-r2",
					  "a18446744073709551616-p0-t0", "a1-p0-t0 ", "a-1-p0-t0"};
	uint64_t alloc, index;
	uint32_t run;
	uint16_t part;
	char kind;

	(void)st;
	assert_true(agent_name_parse("a18446744073709551615-p65535-t255-r7", &alloc, &part, &kind, &index, &run));
	assert_true(alloc == UINT64_MAX);
	assert_int_equal(part, 65535);
	assert_int_equal(index, 255);
	assert_int_equal(run, 7);
	assert_int_equal(kind, 't');
	assert_true(agent_name_parse("a1-p0-x18446744073709551615", &alloc, &part, &kind, &index, &run));
	assert_int_equal(kind, 'x');
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(agent_name_parse(bad[i], &alloc, &part, &kind, &index, &run));
}

static void test_foreign_tasks_are_left_alone(void **st)
{
	struct world *w = *st;

	fake(w, "somebody-elses")->known = true;
	becomes(w, "somebody-elses", (struct task_status){.state = TASK_LIVE});
	assert_int_equal(fake(w, "somebody-elses")->kills, 0);
	/* of a unit that is over and acknowledged, files may be left */
	fake(w, "a9-p0-t0")->known = true;
	becomes(w, "a9-p0-t0", (struct task_status){.state = TASK_ENDED, .empty = true});
	assert_false(fake(w, "a9-p0-t0")->known);
}

/* ---- environment ------------------------------------------------------------------------------------ */

struct env_world {
	struct unit unit;
	struct unit_host hosts[3];
	struct unit_device devices[2];
	struct payload payload;
	struct string env[8];
	struct environ_in in;
	struct arena arena;
};

static void env_set_up(struct env_world *e)
{
	memset(e, 0, sizeof *e);
	e->hosts[0] = (struct unit_host){.name = "n017", .address = "10.2.0.17", .slots = 2};
	e->hosts[1] = (struct unit_host){.name = "n018", .address = "10.2.0.18", .slots = 2};
	e->hosts[2] = (struct unit_host){.name = "n020", .address = "10.2.0.20", .slots = 1};
	e->devices[0] = gpu(1);
	e->devices[1] = gpu(2);
	e->unit = (struct unit){.alloc = 99, .kind = UNIT_JOB_COMMAND, .owner = 1042, .attempt = 3, .name = "lungseg",
				.project = "public/health/lungnet", .user = "eva", .tasks = 2, .rank0 = 2, .world = 5,
				.node_rank = 1, .master_address = "10.2.0.17", .master_port = 20007, .cores = {0xff},
				.memory_mib = 65536, .hosts = e->hosts, .hosts_n = 3, .devices = e->devices, .devices_n = 2,
				.klass = CLASS_LOAN, .restart_count = 2, .resume = true};
	e->payload = (struct payload){.cwd = "/home/eva/x", .submit_host = "login1", .checkpoint_dir = "/ckpt/%j",
				      .env = e->env};
	e->in = (struct environ_in){.mode = ENVIRON_TASK, .unit = &e->unit, .payload = &e->payload, .task = 1,
				    .start_unix_ms = 1795454000000, .until_unix_ms = 1795457600000, .cluster = "ai-factory",
				    .node = "n018", .address = "10.2.0.18", .hostfile = "/u/hostfile",
				    .tmpdir = "/tmp/x", .cpuset = "0-7", .numa = "0", .interface = "ib0",
				    .hcas = "mlx5_0,mlx5_1", .home = "/home/eva", .uid = 1000};
}

static void env_user(struct env_world *e, const char *text)
{
	assert_true(e->payload.env_n < ARRAY_LEN(e->env));
	e->env[e->payload.env_n++].s = text;
}

struct expect { const char *name, *value; }; /* NULL: not set */

static void env_check(struct env_world *e, const struct expect *expect, size_t n)
{
	const char *const *env = environ_build(&e->in, &e->arena);

	for (size_t i = 0; i < n; i++) {
		const char *got = environ_get(env, expect[i].name);

		if ((got == NULL) != (expect[i].value == NULL) || (got && strcmp(got, expect[i].value) != 0))
			fail_msg("%s is '%s', not '%s'", expect[i].name, got ? got : "(unset)",
				 expect[i].value ? expect[i].value : "(unset)");
	}
	for (const char *const *x = env; *x; x++) /* no name twice */
		for (const char *const *y = x + 1; *y; y++)
			assert_false(strncmp(*x, *y, (size_t)(strchr(*x, '=') - *x) + 1) == 0);
	arena_done(&e->arena);
}
#define CHECK_ENV(e, ...)                                                                          \
	env_check((e), (const struct expect[]){__VA_ARGS__},                                       \
		  sizeof((const struct expect[]){__VA_ARGS__}) / sizeof(struct expect))

static void test_env_of_a_task(void **st)
{
	struct env_world e;

	(void)st;
	env_set_up(&e);
	CHECK_ENV(&e, {"SLUIS_CLUSTER", "ai-factory"}, {"SLUIS_JOB_ID", "1042"}, {"SLUIS_JOB_NAME", "lungseg"},
		  {"SLUIS_PROJECT", "public/health/lungnet"}, {"SLUIS_ATTEMPT", "3"}, {"SLUIS_SUBMIT_DIR", "/home/eva/x"},
		  {"SLUIS_SUBMIT_HOST", "login1"}, {"SLUIS_ARRAY_ID", NULL}, {"SLUIS_LEASE_ID", NULL},
		  {"SLUIS_RANK", "3"}, {"SLUIS_LOCAL_RANK", "1"}, {"SLUIS_NODE_RANK", "1"}, {"SLUIS_WORLD_SIZE", "5"},
		  {"SLUIS_TASKS_PER_NODE", "2"}, {"SLUIS_NODES", "n017 n018 n020"}, {"SLUIS_NODELIST", "n[017-018,020]"},
		  {"SLUIS_HOSTFILE", "/u/hostfile"}, {"SLUIS_DEVICES", "GPU-1,GPU-2"}, {"SLUIS_CPUSET", "0-7"},
		  {"SLUIS_MEM_MB", "65536"}, {"SLUIS_NUMA", "0"}, {"SLUIS_DEADLINE", "1795457600"},
		  {"SLUIS_CLASS", "loan"}, {"SLUIS_FENCE", "1042.3.99"}, {"SLUIS_CHECKPOINT_DIR", "/ckpt/1042"},
		  {"SLUIS_RESTART_COUNT", "2"}, {"SLUIS_RESUME", "1"},
		  {"MASTER_ADDR", "10.2.0.17"}, {"MASTER_PORT", "20007"}, {"RANK", "3"}, {"LOCAL_RANK", "1"},
		  {"WORLD_SIZE", "5"}, {"LOCAL_WORLD_SIZE", "2"}, {"GROUP_RANK", "1"}, {"NODE_RANK", "1"},
		  {"PET_NNODES", NULL}, /* several tasks per node: torchrun is not the launcher */
		  {"CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2"}, {"CUDA_DEVICE_ORDER", "PCI_BUS_ID"},
		  {"NVIDIA_VISIBLE_DEVICES", "GPU-1,GPU-2"}, {"ROCR_VISIBLE_DEVICES", ""},
		  {"NCCL_SOCKET_IFNAME", "ib0"}, {"GLOO_SOCKET_IFNAME", "ib0"}, {"NCCL_IB_HCA", "mlx5_0,mlx5_1"},
		  {"UCX_NET_DEVICES", "mlx5_0:1,mlx5_1:1"}, {"OMPI_MCA_orte_default_hostfile", "/u/hostfile"},
		  {"HYDRA_HOST_FILE", "/u/hostfile"}, {"I_MPI_HYDRA_HOST_FILE", "/u/hostfile"},
		  {"OMP_NUM_THREADS", "4"}, {"TMPDIR", "/tmp/x"}, {"HOSTNAME", "n018"}, {"HOME", "/home/eva"},
		  {"USER", "eva"}, {"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"SLURM_JOB_ID", NULL});
}

static void test_env_of_the_batch_shell(void **st)
{
	struct env_world e;

	(void)st;
	env_set_up(&e);
	e.in.mode = ENVIRON_BATCH;
	e.unit.kind = UNIT_JOB_SCRIPT;
	env_user(&e, "RANK=5");
	/* a plain `python train.py` in it must not wait for ranks that nobody started */
	CHECK_ENV(&e, {"RANK", NULL}, {"LOCAL_RANK", NULL}, {"WORLD_SIZE", NULL}, {"SLUIS_RANK", NULL}, {"PET_NNODES", NULL},
		  {"MASTER_ADDR", "10.2.0.17"}, {"MASTER_PORT", "20007"}, {"SLUIS_NODES", "n017 n018 n020"});
	e.in.mode = ENVIRON_EXEC; /* a launcher in it brings ranks along */
	CHECK_ENV(&e, {"RANK", "5"}, {"SLUIS_JOB_ID", "1042"});
}

static void test_env_of_users(void **st)
{
	struct env_world e;

	(void)st;
	env_set_up(&e);
	env_user(&e, "FOO=bar=baz");
	env_user(&e, "OMP_NUM_THREADS=1");
	env_user(&e, "NCCL_SOCKET_IFNAME=eth9");
	env_user(&e, "PATH=/opt/bin");
	env_user(&e, "CUDA_VISIBLE_DEVICES=0");
	env_user(&e, "SLUIS_JOB_ID=1");
	env_user(&e, "SLURM_PROCID=77");
	env_user(&e, "not an assignment");
	CHECK_ENV(&e, {"FOO", "bar=baz"}, {"OMP_NUM_THREADS", "1"}, {"NCCL_SOCKET_IFNAME", "eth9"}, {"PATH", "/opt/bin"},
		  {"CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2"}, {"SLUIS_JOB_ID", "1042"}, {"SLURM_PROCID", NULL});
}

static void test_env_of_devices(void **st)
{
	struct env_world e;

	(void)st;
	env_set_up(&e);
	e.unit.devices_n = 0;
	CHECK_ENV(&e, {"CUDA_VISIBLE_DEVICES", ""}, {"ROCR_VISIBLE_DEVICES", ""}, {"NVIDIA_VISIBLE_DEVICES", "void"},
		  {"SLUIS_DEVICES", ""});
	env_set_up(&e);
	e.unit.devices_n = 1;
	(void)snprintf(e.devices[0].vendor, sizeof e.devices[0].vendor, "amd");
	e.devices[0].uuid[0] = '\0'; /* some report none: the bus id has to do */
	CHECK_ENV(&e, {"ROCR_VISIBLE_DEVICES", "0000:01:00.0"}, {"CUDA_VISIBLE_DEVICES", ""},
		  {"NVIDIA_VISIBLE_DEVICES", "void"});
}

/* It runs as the agent, perhaps as root: nothing that a user chose may decide what it loads or where it looks. */
static void test_env_of_a_hook(void **st)
{
	struct env_world e;

	(void)st;
	env_set_up(&e);
	e.in.mode = ENVIRON_HOOK;
	e.in.hook = "epilog";
	e.in.payload = NULL;
	e.in.uid = 1234;
	CHECK_ENV(&e, {"SLUIS_PHASE", "epilog"}, {"SLUIS_UID", "1234"}, {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		  {"MASTER_ADDR", NULL}, {"RANK", NULL}, {"SLURM_JOB_ID", NULL}, {"USER", NULL});
	e.in.nobody = true; /* pkill -u "$SLUIS_UID" must not find the agent */
	CHECK_ENV(&e, {"SLUIS_PHASE", "epilog"}, {"SLUIS_UID", NULL});
}

static void test_env_for_torchrun(void **st)
{
	struct env_world e;

	(void)st;
	env_set_up(&e);
	e.unit.tasks = 1;
	e.unit.rank0 = 1;
	e.unit.world = 3;
	e.in.task = 0;
	CHECK_ENV(&e, {"PET_NNODES", "3"}, {"PET_NODE_RANK", "1"}, {"PET_NPROC_PER_NODE", "2"},
		  {"PET_RDZV_BACKEND", "c10d"}, {"PET_RDZV_ENDPOINT", "10.2.0.17:20007"}, {"PET_RDZV_ID", "job-1042.3"},
		  {"PET_MAX_RESTARTS", "0"}, {"RANK", "1"}, {"WORLD_SIZE", "3"});
	CHECK_ENV(&e, {"SLUIS_NUM_NODES_MIN", NULL}, {"SLUIS_NUM_NODES_MAX", NULL});
	e.unit.nodes_min = 2; /* it may lose one and gain five */
	e.unit.nodes_max = 8;
	CHECK_ENV(&e, {"PET_NNODES", "2:8"}, {"PET_MAX_RESTARTS", "100"}, {"SLUIS_NUM_NODES_MIN", "2"},
		  {"SLUIS_NUM_NODES_MAX", "8"}, {"WORLD_SIZE", "3"});
	e.unit.world = 5; /* others have more than one */
	CHECK_ENV(&e, {"PET_NNODES", NULL}, {"RANK", "1"});
}

static void test_env_slurm(void **st)
{
	struct env_world e;

	(void)st;
	env_set_up(&e);
	e.unit.slurm_env = true;
	e.unit.array = 1000;
	e.unit.array_index = 7;
	e.unit.cpus_per_task = 4;
	CHECK_ENV(&e, {"SLURM_JOB_ID", "1042"}, {"SLURM_JOBID", "1042"}, {"SLURM_JOB_NAME", "lungseg"},
		  {"SLURM_JOB_NODELIST", "n[017-018,020]"}, {"SLURM_NODELIST", "n[017-018,020]"},
		  {"SLURM_JOB_NUM_NODES", "3"}, {"SLURM_NNODES", "3"}, {"SLURM_NTASKS", "5"}, {"SLURM_NPROCS", "5"},
		  {"SLURM_TASKS_PER_NODE", "2(x2),1"}, {"SLURM_JOB_CPUS_PER_NODE", "8(x3)"}, {"SLURM_CPUS_ON_NODE", "8"},
		  {"SLURM_CPUS_PER_TASK", "4"}, {"SLURM_GPUS_ON_NODE", "2"}, {"SLURM_JOB_GPUS", "0,1"},
		  {"SLURM_MEM_PER_NODE", "65536"}, {"SLURM_JOB_ACCOUNT", "lungnet"}, {"SLURM_JOB_USER", "eva"},
		  {"SLURM_JOB_UID", "1000"}, {"SLURM_SUBMIT_DIR", "/home/eva/x"}, {"SLURM_SUBMIT_HOST", "login1"},
		  {"SLURM_CLUSTER_NAME", "ai-factory"}, {"SLURM_ARRAY_JOB_ID", "1000"}, {"SLURM_ARRAY_TASK_ID", "7"},
		  {"SLURM_RESTART_COUNT", "2"}, {"SLURMD_NODENAME", "n018"}, {"SLURM_JOB_START_TIME", "1795454000"},
		  {"SLURM_JOB_END_TIME", "1795457600"}, {"SLURM_PROCID", "3"}, {"SLURM_LOCALID", "1"},
		  {"SLURM_NODEID", "1"}, {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NODELIST", "n[017-018,020]"},
		  {"SLURM_STEP_NUM_TASKS", "5"}, {"SLURM_STEP_TASKS_PER_NODE", "2(x2),1"}, {"SLURM_GTIDS", "2,3"},
		  {"SLURM_LAUNCH_NODE_IPADDR", "10.2.0.17"}, {"SLURM_STEP_GPUS", "0,1"}, {"SLUIS_ARRAY_INDEX", "7"});
	e.in.mode = ENVIRON_BATCH; /* mpirun -np $SLURM_NTASKS starts what was asked for */
	CHECK_ENV(&e, {"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", NULL}, {"SLURM_GTIDS", NULL},
		  {"SLURM_TASKS_PER_NODE", "2(x2),1"}, {"SLURM_NTASKS", "5"}, {"SLURM_NTASKS_PER_NODE", "2"}, {"RANK", NULL});
	e.unit.world = 3;
	CHECK_ENV(&e, {"SLURM_TASKS_PER_NODE", "1(x3)"}, {"SLURM_NTASKS", "3"}, {"SLURM_NTASKS_PER_NODE", "1"});
}

static void test_env_of_a_service(void **st)
{
	struct env_world e;

	(void)st;
	env_set_up(&e);
	e.unit.kind = UNIT_SERVICE;
	e.in.port = 23456;
	e.in.until_unix_ms = T_NEVER;
	env_user(&e, "URL=http://:{port}/{port}");
	CHECK_ENV(&e, {"SLUIS_LEASE_ID", "1042"}, {"SLUIS_JOB_ID", NULL}, {"SLUIS_PORT", "23456"}, {"PORT", "23456"},
		  {"URL", "http://:23456/23456"}, {"MASTER_ADDR", NULL}, {"RANK", NULL}, {"SLUIS_DEADLINE", NULL});
	assert_string_equal(environ_port("--port={port}x", 1, &e.arena), "--port=1x");
	assert_string_equal(environ_port("{por}", 1, &e.arena), "{por}");
	arena_done(&e.arena);
}

static void test_env_of_one_without_hosts(void **st)
{
	struct env_world e;
	struct buf b = BUF_INIT;

	(void)st;
	env_set_up(&e);
	environ_hostfile(&e.in, &b);
	assert_string_equal(buf_cstr(&b), "10.2.0.17 slots=2\n10.2.0.18 slots=2\n10.2.0.20 slots=1\n");
	e.unit.hosts_n = 0;
	buf_reset(&b);
	environ_hostfile(&e.in, &b);
	assert_string_equal(buf_cstr(&b), "10.2.0.18 slots=2\n");
	buf_done(&b);
	CHECK_ENV(&e, {"SLUIS_NODELIST", "n018"}, {"SLUIS_NODES", "n018"});
}

static void test_output_patterns(void **st)
{
	static const struct { const char *pattern, *path; } cases[] = {
		{"%j_%t", "1042_3"}, {"%J.out", "1042.out"}, {"%A_%a", "1000_7"}, {"%x-%u@%N", "lungseg-eva@n018"},
		{"%n.%s", "1.0"}, {"%4t|%04t", "0003|0003"}, {"%%j", "%j"}, {"plain", "plain"}, {"%", "%"},
		{"%5", "%5"}, {"%q", "%q"}, {"%12q", "%12q"}, {"%99j", "0000001042"}, {"", ""},
	};
	struct env_world e;

	(void)st;
	env_set_up(&e);
	e.unit.array = 1000;
	e.unit.array_index = 7;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(environ_path(&e.in, cases[i].pattern, &e.arena), cases[i].path);
	e.unit.array = 0;
	assert_string_equal(environ_path(&e.in, "%A_%a", &e.arena), "1042_4294967294");
	e.in.mode = ENVIRON_BATCH;
	assert_string_equal(environ_path(&e.in, "%s", &e.arena), "batch");
	arena_done(&e.arena);
}

#define STORY(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_life_of_a_job),
		STORY(test_repeated_orders_start_once),
		STORY(test_orders_of_one_desired_share_a_sync),
		STORY(test_older_daemon_is_not_obeyed),
		STORY(test_late_revision_changes_nothing),
		STORY(test_what_is_not_listed_runs_on),
		STORY(test_devices_are_not_given_twice),
		STORY(test_stale_epoch_is_refused),
		STORY(test_a_split_part_waits_for_what_still_uses_it),
		STORY(test_crash_between_intent_and_start),
		STORY(test_crash_with_a_task_that_never_began),
		STORY(test_crash_before_the_intent),
		STORY(test_run_without_a_row_is_not_obeyed),
		STORY(test_bare_unit_after_a_lost_table),
		STORY(test_exit_while_nobody_looked),
		STORY(test_released_is_not_started_again),
		STORY(test_reboot_is_lost),
		STORY(test_lost_table),
		STORY(test_lost_table_hides_devices),
		STORY(test_lost_table_and_another_crash),
		STORY(test_lost_table_and_an_ended_task),
		STORY(test_living_task_without_a_row),
		STORY(test_damaged_row),
		STORY(test_unknown_never_kills),
		STORY(test_first_failure_is_told_at_once),
		STORY(test_oom_and_setup_errors),
		STORY(test_start_that_fails),
		STORY(test_preparing_waits_for_the_payload),
		STORY(test_no_port_left),
		STORY(test_a_part_that_runs_nothing),
		STORY(test_stop_escalates),
		STORY(test_a_new_size_is_told),
		STORY(test_released_needs_every_process_gone),
		STORY(test_deadline_moves_as_the_daemon_says),
		STORY(test_no_deadline_after_the_kill),
		STORY(test_stop_goes_on_after_a_crash),
		STORY(test_signal_of_choice),
		STORY(test_signal_to_the_steps),
		STORY(test_stop_of_what_was_never_here),
		STORY(test_stop_on_disconnect),
		STORY(test_service_comes_back_with_backoff),
		STORY(test_service_is_not_restarted_when_stopping),
		STORY(test_leftovers_of_a_replica_go_before_the_next),
		STORY(test_health),
		STORY(test_a_health_command_that_runs_keeps_the_devices),
		STORY(test_what_a_health_command_leaves_keeps_the_devices),
		STORY(test_what_is_left_outlives_the_table),
		STORY(test_health_has_patience_at_the_start),
		STORY(test_stop_that_knows_only_the_name),
		STORY(test_reports_are_gathered),
		STORY(test_nodes_with_many_units_report_less_often),
		STORY(test_a_unit_alone_releases_itself),
		STORY(test_a_row_goes_before_the_epochs_it_raises),
		STORY(test_what_is_left_of_a_task_is_looked_at),
		STORY(test_prolog_before_epilog_after),
		STORY(test_a_prolog_that_fails),
		STORY(test_an_epilog_that_fails_keeps_the_devices),
		STORY(test_a_failed_epilog_is_tried_again_after_a_crash),
		STORY(test_hooks_after_a_crash),
		STORY(test_a_stop_during_the_prolog),
		STORY(test_a_prolog_that_fails_while_stopping_is_told),
		STORY(test_what_a_prolog_leaves_keeps_the_devices),
		STORY(test_what_an_epilog_leaves_keeps_the_devices),
		STORY(test_no_epilog_after_a_reboot),
		STORY(test_half_prepared_survives_a_restart),
		STORY(test_devices_are_proven_idle_before_they_are_released),
		STORY(test_a_broken_device_is_told_with_its_release),
		STORY(test_what_never_ran_needs_no_proof),
		STORY(test_report_until_acknowledged),
		STORY(test_checkpoints),
		STORY(test_heartbeats_and_silence),
		STORY(test_missed_orders_bring_a_new_greeting),
		STORY(test_refusals_back_off),
		STORY(test_greets_again_when_not_known),
		STORY(test_more_units_than_fit),
		STORY(test_names),
		STORY(test_foreign_tasks_are_left_alone),
		cmocka_unit_test(test_env_of_a_task),
		cmocka_unit_test(test_env_of_the_batch_shell),
		cmocka_unit_test(test_env_of_users),
		cmocka_unit_test(test_env_of_devices),
		cmocka_unit_test(test_env_of_a_hook),
		cmocka_unit_test(test_env_for_torchrun),
		cmocka_unit_test(test_env_slurm),
		cmocka_unit_test(test_env_of_a_service),
		cmocka_unit_test(test_env_of_one_without_hosts),
		cmocka_unit_test(test_output_patterns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
