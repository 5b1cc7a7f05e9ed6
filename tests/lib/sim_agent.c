/* sim_agent.c - machines, and the shell around the real agent core
 *
 * What agent/main.c does with files, sockets and processes is done here with a simulated disk, network and
 * execution layer, in the same order: rows are loaded, tasks are looked at, then the core is ready; actions are
 * taken one by one, and before any of them the process may die. Nothing is decided here.
 *
 * A machine's clocks are its own: BOOTTIME runs at another rate and begins with each boot, the wall clock jumps.
 */
#include "tests/lib/sim_world.h"

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/model/names.h"
#include "proto/wire/frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t WALL0_MS = INT64_C(1800000000000);
enum { BOOT_MS = 20000 }; /* BOOTTIME when the agent's life can begin */

static int64_t min64(int64_t x, int64_t y) { return x < y ? x : y; }

/* ---- clocks ------------------------------------------------------------------------------------------- */

struct agent_now machine_now(const struct sim *s, const struct sim_machine *m)
{
	int64_t up = s->now_ms - m->booted_ms;

	return (struct agent_now){.ms = BOOT_MS + up + up * m->rate_ppm / 1000000,
				  .unix_ms = WALL0_MS + s->now_ms + m->wall_off_ms};
}

/* When this machine's BOOTTIME will be `ms`, in true time. */
static int64_t true_ms(const struct sim *s, const struct sim_machine *m, int64_t ms)
{
	int64_t left = ms - machine_now(s, m).ms;

	return left <= 0 ? s->now_ms : s->now_ms + left * 1000000 / (1000000 + m->rate_ppm) + 1;
}

/* ---- talking to the daemon -------------------------------------------------------------------------------- */

static void frame_send(struct sim *s, uint16_t at, const struct sim_agent *a, uint16_t type, const void *obj)
{
	struct sim_msg *m;

	if (!a->connected)
		return;
	m = sim_msg_new(M_FRAME, at);
	m->to_daemon = true;
	m->incarnation = a->incarnation;
	m->conn = a->conn;
	message_encode(type, 1, obj, &m->body);
	if (type == MSG_HELLO) {
		sim_msg_free(s->machine[at].greeting);
		s->machine[at].greeting = sim_msg_copy(m);
	}
	sim_send(s, m);
}

static void inventory(const struct sim *s, const struct sim_machine *m, struct cmd_node_hello *h, struct arena *arena)
{
	(void)snprintf(h->address, sizeof h->address, "10.0.0.%u", (unsigned)(m - s->machine));
	memset(h->digest, 1 + (int)m->flavor, sizeof h->digest);
	h->cores_n = 16;
	h->cores_reserved = 1;
	h->memory_mib = 65536;
	h->labels_n = 1;
	h->labels = arena_alloc(arena, sizeof *h->labels);
	(void)snprintf(h->labels->key, sizeof h->labels->key, "leaf");
	(void)snprintf(h->labels->value, sizeof h->labels->value, "l%u", (unsigned)(m - s->machine) / 4);
	h->devices_n = s->k.devices;
	h->devices = arena_alloc(arena, h->devices_n * sizeof *h->devices);
	for (uint32_t i = 0; i < h->devices_n; i++) {
		struct device *d = &h->devices[i];

		(void)snprintf(d->pci, sizeof d->pci, "0000:%02x:00.0", i & 63);
		(void)snprintf(d->vendor, sizeof d->vendor, "sim");
		(void)snprintf(d->model, sizeof d->model, "f%u", m->flavor);
		d->memory_mib = 81920;
		d->numa = (uint16_t)(i >= h->devices_n / 2);
		d->cores[0] = d->numa ? 0xff00 : 0x00ff;
	}
}

static void hello_send(struct sim *s, uint16_t at, struct sim_agent *a)
{
	struct msg_hello hello = {.version_min = FRAME_VERSION, .version_max = FRAME_VERSION, .program = "sluis-agent sim"};
	struct cmd_node_hello node = {0};
	struct buf body = BUF_INIT;
	struct arena arena = {0};

	inventory(s, &s->machine[at], &node, &arena);
	agent_fill_hello(a->core, machine_now(s, &s->machine[at]), &node);
	schema_encode(&schema_cmd_node_hello, &node, &body);
	hello.node = (struct bytes){.data = body.data, .len = (uint32_t)body.len};
	frame_send(s, at, a, MSG_HELLO, &hello);
	buf_done(&body);
	arena_done(&arena);
}

/* ---- life and death of an agent ------------------------------------------------------------------------------ */

static void agent_die(struct sim *s, struct sim_machine *m, struct sim_agent *a)
{
	disk_crash(s, m, a);
	agent_free(a->core);
	a->core = NULL;
	a->connected = false;
}

static uint64_t epoch_of(void *ctx, const char *device)
{
	return ((struct sim_agent *)ctx)->epoch[strtoul(device + 5, NULL, 16)];
}

static void look(struct sim *s, struct sim_machine *m, struct sim_agent *a, const char *name)
{
	struct task_status st;

	task_status(task_find(m, name), &st);
	agent_task(a->core, machine_now(s, m), name, &st);
}

static void agent_begin(struct sim *s, uint16_t at, struct sim_agent *a)
{
	struct sim_machine *m = &s->machine[at];
	struct agent_now now = machine_now(s, m);
	uint64_t wall_s = (uint64_t)(now.unix_ms / MS_PER_S);
	char(*names)[AGENT_NAME_BYTES] = xcalloc(m->task_n + 1, sizeof *names);
	uint32_t names_n = m->task_n;
	struct agent_cfg cfg;
	struct err err;

	free(a->tail);
	*a = (struct sim_agent){.next_port = 20000};
	a->incarnation = m->disk.incarnation + 1 > wall_s ? m->disk.incarnation + 1 : wall_s;
	m->disk.incarnation = a->incarnation; /* synced */
	memcpy(a->epoch, m->disk.epoch, sizeof a->epoch);
	agent_cfg_default(&cfg);
	machine_boot_id(s, m, cfg.boot_id);
	cfg.incarnation = a->incarnation;
	cfg.epoch_seen = m->disk.cluster;
	for (size_t i = 0; i < ARRAY_LEN(a->epoch); i++)
		cfg.alloc_seen = a->epoch[i] > cfg.alloc_seen ? a->epoch[i] : cfg.alloc_seen;
	cfg.table_rebuilt = m->disk.lost;
	cfg.epoch_of = epoch_of;
	cfg.ctx = a;
	a->core = agent_new(&cfg);
	for (uint32_t i = 0; i < m->disk.n; i++)
		if (agent_load_row(a->core, m->disk.row[i].data, m->disk.row[i].len, &err))
			sim_violation(s, "a row of the table does not come back from its bytes: %s", err.msg);
	if (s->canary == CANARY_DOUBLE_START)
		m->task_n = names_n = 0; /* the layer has forgotten its tasks; the processes are there */
	for (uint32_t i = 0; i < names_n; i++)
		memcpy(names[i], m->task[i].name, AGENT_NAME_BYTES);
	for (uint32_t i = 0; i < names_n; i++)
		look(s, m, a, names[i]);
	free(names);
	agent_ready(a->core, now);
	a->connect_at_ms = s->now_ms + sim_span(s, 1, 50);
	sim_say(s, "%s: agent starts, incarnation %" PRIu64, m->name, a->incarnation);
}

uint16_t machine_key(const struct sim *s, uint16_t at) { return s->machine[at].twin ? s->machine[at].of : at; }

void machine_boot_id(const struct sim *s, const struct sim_machine *m, char out[40])
{
	(void)snprintf(out, 40, "%.20s-boot-%u", m->same_boot ? s->machine[m->of].name : m->name, m->boot);
}

static void errand_add(struct sim_agent *a, const struct sim_errand *e)
{
	if (a->errands_n < SIM_ERRANDS_MAX)
		a->errand[a->errands_n++] = *e;
}

static void start(struct sim *s, uint16_t at, struct sim_agent *a, const char *name, uint64_t alloc, uint16_t part,
		  bool failing)
{
	struct sim_machine *m = &s->machine[at];
	const struct unit *u = agent_unit(a->core, alloc, part);
	struct sim_task *t;
	uint64_t devices = 0;

	if (task_find(m, name)) { /* ERR_EXISTS: look instead */
		look(s, m, a, name);
		return;
	}
	ENSURE(u);
	for (uint32_t i = 0; i < u->devices_n; i++)
		devices |= UINT64_C(1) << strtoul(u->devices[i].pci + 5, NULL, 16);
	if (failing && !s->healed && sim_chance(s, s->k.fail_ppm / 4)) {
		s->n.start_failures++;
		agent_start_failed(a->core, machine_now(s, m), name, "no such folder", sim_chance(s, 500000));
		return;
	}
	t = task_new(m, name, alloc, part, devices);
	if (!s->healed && sim_chance(s, s->k.crash_ppm * 10)) { /* its files are there, and then nobody is */
		s->n.crashes_between++;
		agent_crash(s, at, sim_span(s, 1, 20000));
		return;
	}
	task_begin(s, m, t, u);
}

/* Somebody's shell inside an allocation: what `sluisctl lease exec` brings. */
static void extras(struct sim *s, uint16_t at, struct sim_agent *a)
{
	struct sim_machine *m = &s->machine[at];
	struct unit *units;
	struct arena arena = {0};
	uint32_t n;

	if (!s->d.up || !sim_chance(s, 100000))
		return;
	core_units_of_node(s->d.core, daemon_t(s), m->node, &arena, &units, &n);
	for (uint32_t i = 0; i < n; i++) {
		char name[AGENT_NAME_BYTES];
		uint64_t id;
		struct err err;

		if (units[i].kind != UNIT_BARE || !sim_chance(s, 500000) ||
		    agent_extra(a->core, machine_now(s, m), units[i].alloc, units[i].part, name, &id, &err))
			continue;
		start(s, at, a, name, units[i].alloc, units[i].part, false);
		break;
	}
	arena_done(&arena);
}

/* ---- actions ---------------------------------------------------------------------------------------------------- */

static void perform(struct sim *s, uint16_t at, struct sim_agent *a, const struct action *act)
{
	struct sim_machine *m = &s->machine[at];
	struct agent_now now = machine_now(s, m);
	struct sim_errand e = {.alloc = act->alloc, .part = act->part};
	union { struct msg_report report; struct msg_heartbeat hb; } body;

	switch (act->type) {
	case ACTION_ROW_PUT:
	case ACTION_ROW_DEL:
	case ACTION_EPOCH:
	case ACTION_CLUSTER:
	case ACTION_WHOLE: disk_write(a, act); break;
	case ACTION_SYNC: disk_sync(m, a); break;
	case ACTION_START: start(s, at, a, act->name, act->alloc, act->part, true); break;
	case ACTION_NOTICE: task_signal(s, m, act->name, 90 * MS_PER_S); break;
	case ACTION_SIGNAL: task_signal(s, m, act->name, 20 * MS_PER_S); break;
	case ACTION_KILL:
		sim_say(s, "%s: kill %s", m->name, act->name);
		task_kill(s, m, act->name);
		break;
	case ACTION_RELEASE: task_release(s, m, act->name); break;
	case ACTION_LOOK: look(s, m, a, act->name); break;
	case ACTION_FETCH:
		memcpy(e.hash, act->hash, sizeof e.hash);
		e.at_ms = s->now_ms + sim_span(s, 1, 3000);
		errand_add(a, &e);
		break;
	case ACTION_PORT: agent_port(a->core, now, act->alloc, act->part, a->next_port++); break;
	case ACTION_HEALTH:
		e.health = true;
		e.at_ms = s->now_ms + sim_span(s, 1, 2000);
		errand_add(a, &e);
		break;
	case ACTION_HEALTH_END:
		for (uint32_t i = 0; i < a->errands_n; i++)
			if (a->errand[i].health && a->errand[i].alloc == act->alloc && a->errand[i].part == act->part)
				a->errand[i--] = a->errand[--a->errands_n];
		agent_health(a->core, now, act->alloc, act->part, false);
		break;
	case ACTION_SCRUB: case ACTION_HOOK: case ACTION_HOOK_FORGET: break; /* no real devices, no hooks: never asked */
	case ACTION_HELLO: hello_send(s, at, a); break;
	case ACTION_REPORT:
		agent_fill_report(a->core, now, &body.report);
		for (uint32_t i = 0; i < body.report.units_n; i++)
			sim_say(s, "%s: tells a%" PRIu64 "-p%u %s", m->name, body.report.units[i].alloc,
				body.report.units[i].part, unit_state_name(body.report.units[i].state));
		frame_send(s, at, a, MSG_REPORT, &body.report);
		break;
	case ACTION_HEARTBEAT:
		agent_fill_heartbeat(a->core, &body.hb);
		frame_send(s, at, a, MSG_HEARTBEAT, &body.hb);
		break;
	case ACTION_REOPEN:
		a->conn++;
		a->connected = false;
		a->connect_at_ms = s->now_ms + sim_span(s, 1, 50);
		break;
	case ACTION_CLEAN:
	case ACTION_FORGET: break;
	}
}

static void drain(struct sim *s, uint16_t at, struct sim_agent *a)
{
	struct action act;

	for (int i = 0; a->core && !s->failed && agent_take(a->core, &act); i++) {
		if (!s->healed && sim_chance(s, s->k.crash_ppm)) {
			s->n.crashes_between++;
			agent_crash(s, at, sim_span(s, 1, 20000));
			return;
		}
		if (act.type == ACTION_HELLO && !a->connected)
			continue;
		perform(s, at, a, &act);
		if (i == 100000)
			sim_violation(s, "%s: the agent's actions go on without end", s->machine[at].name);
	}
}

void machine_task_changed(struct sim *s, struct sim_machine *m, const char *name)
{
	if (!m->agent.core)
		return;
	look(s, m, &m->agent, name);
	drain(s, (uint16_t)(m - s->machine), &m->agent);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static void errands_run(struct sim *s, uint16_t at, struct sim_agent *a)
{
	struct agent_now now = machine_now(s, &s->machine[at]);
	const struct payload payload = {.health_n = s->seed & 1, .health_every_ms = 30000};

	for (uint32_t i = 0; i < a->errands_n && a->core; i++) {
		struct sim_errand e = a->errand[i];
		bool ok = s->healed || !sim_chance(s, s->k.fail_ppm / 4);

		if (e.at_ms > s->now_ms)
			continue;
		a->errand[i--] = a->errand[--a->errands_n];
		if (e.health) {
			agent_health(a->core, now, e.alloc, e.part, ok || sim_chance(s, 500000));
		} else {
			s->n.bind_failures += !ok;
			agent_payload(a->core, now, e.hash, ok ? &payload : NULL, "its payload is damaged");
		}
		drain(s, at, a);
	}
}

static bool reachable(const struct sim *s, uint16_t at)
{
	return s->d.up && s->link[at].cut_up_ms <= s->now_ms && s->link[at].cut_down_ms <= s->now_ms;
}

/* Returns when it is next wanted. */
static int64_t agent_step(struct sim *s, uint16_t at, struct sim_agent *a)
{
	struct sim_machine *m = &s->machine[at];
	int64_t next, tick;

	if (s->now_ms >= a->connect_at_ms) {
		if (reachable(s, at)) {
			a->connect_at_ms = T_NEVER;
			a->connected = true;
			agent_connected(a->core, machine_now(s, m));
		} else {
			a->connect_at_ms = s->now_ms + 1000;
		}
	}
	errands_run(s, at, a);
	if (a->core && agent_next_tick(a->core) <= machine_now(s, m).ms) {
		agent_tick(a->core, machine_now(s, m));
		if (!s->healed)
			extras(s, at, a);
	}
	drain(s, at, a);
	if (!a->core)
		return T_NEVER;
	tick = agent_next_tick(a->core);
	next = tick == T_NEVER ? T_NEVER : true_ms(s, m, tick);
	for (uint32_t i = 0; i < a->errands_n; i++)
		next = min64(next, a->errand[i].at_ms);
	return min64(next, a->connect_at_ms);
}

static void again_after(struct sim *s, struct sim_machine *m, int64_t ms)
{
	if (m->agent_at_ms == T_NEVER || m->agent_at_ms > s->now_ms + ms)
		m->agent_at_ms = s->now_ms + ms;
	sim_wake(s, (uint16_t)(m - s->machine), m->agent_at_ms);
}

/* Off, or once more as another boot. */
static void twin_again(struct sim *s, uint16_t at)
{
	struct sim_machine *m = &s->machine[at];

	if (s->machine[m->of].copies == SIM_COPIES_MAX || prng_below(&s->rng_twins, 2)) {
		twin_off(s, at);
		return;
	}
	s->machine[m->of].copies++;
	machine_reboot(s, at, (int64_t)prng_below(&s->rng_twins, 5 * MS_PER_MIN));
	m->off_at_ms = m->boot_at_ms + (int64_t)prng_below(&s->rng_twins, 30 * MS_PER_MIN) + 1;
}

void machine_wake(struct sim *s, uint16_t at)
{
	struct sim_machine *m = &s->machine[at];
	int64_t next;

	if (!m->up) {
		if (s->now_ms < m->boot_at_ms || m->dead_wanted) {
			sim_wake(s, at, m->dead_wanted ? s->now_ms + 10000 : m->boot_at_ms);
			return;
		}
		m->up = true;
		m->same_boot = m->noted = false;
		m->boot++;
		m->booted_ms = s->now_ms;
		m->rate_ppm = sim_span(s, -(int64_t)s->k.machine_clock_ppm, s->k.machine_clock_ppm);
		m->agent_at_ms = s->now_ms + sim_span(s, 0, 5000);
		sim_say(s, "%s: boots (%u)", m->name, m->boot);
	}
	if (m->twin && s->now_ms >= m->off_at_ms) {
		twin_again(s, at);
		return;
	}
	if (s->now_ms < m->paused_until_ms) {
		sim_wake(s, at, m->paused_until_ms);
		return;
	}
	if (s->now_ms >= m->dies_ms && !s->healed) {
		m->dies_ms = T_NEVER;
		agent_crash(s, at, sim_span(s, 1, 5000));
	}
	next = min64(tasks_step(s, m), s->healed ? T_NEVER : m->dies_ms);
	if (s->now_ms >= m->agent_at_ms) {
		m->agent_at_ms = T_NEVER;
		if (!m->agent.core)
			agent_begin(s, at, &m->agent);
	}
	if (m->agent.core)
		next = min64(next, agent_step(s, at, &m->agent));
	if (m->up && !m->agent.core && m->agent_at_ms == T_NEVER)
		again_after(s, m, sim_span(s, 1, 5000));
	next = min64(next, tasks_step(s, m));
	if (m->twin)
		next = min64(next, m->off_at_ms);
	sim_wake(s, at, min64(next, m->agent_at_ms));
}

/* ---- faults --------------------------------------------------------------------------------------------------------- */

void agent_crash(struct sim *s, uint16_t at, int64_t off_ms)
{
	struct sim_machine *m = &s->machine[at];

	if (!m->up || !m->agent.core)
		return;
	agent_die(s, m, &m->agent);
	s->n.agent_crashes++;
	sim_say(s, "%s: agent dies", m->name);
	if (!s->lost_ids_n && sim_chance(s, 30000)) {
		disk_lose(m);
		m->disk.lost = m->task_n > 0; /* else it looks like a new node */
		s->n.tables_lost++;
		sim_say(s, "%s: table lost", m->name);
	}
	for (uint32_t i = 0; i < m->task_n; i++)
		if (m->task[i].begun && !m->task[i].ended && !m->task[i].hidden && sim_chance(s, s->k.hide_ppm)) {
			m->task[i].hidden = true;
			s->n.shims_lost++;
		}
	m->agent_at_ms = s->now_ms + off_ms;
	sim_wake(s, at, m->agent_at_ms);
	if (m->disk.lost && sim_chance(s, 500000)) /* troubles come in company */
		m->dies_ms = m->agent_at_ms + sim_span(s, 1, 30 * MS_PER_S);
}

/* Asked to end, it says goodbye; its successor comes at once. */
void agent_upgrade(struct sim *s, uint16_t at)
{
	struct sim_machine *m = &s->machine[at];
	const struct msg_goodbye bye = {.code = ERR_INTERRUPTED, .text = "going down"};

	if (!m->up || !m->agent.core || s->now_ms < m->paused_until_ms)
		return;
	frame_send(s, at, &m->agent, MSG_GOODBYE, &bye);
	disk_sync(m, &m->agent);
	agent_die(s, m, &m->agent);
	s->n.agent_upgrades++;
	m->agent_at_ms = s->now_ms + sim_span(s, 20, 1000);
	sim_wake(s, at, m->agent_at_ms);
}

void machine_pause(struct sim *s, uint16_t at, int64_t ms)
{
	struct sim_machine *m = &s->machine[at];

	if (!m->up || m->paused_until_ms > s->now_ms)
		return;
	sim_say(s, "%s: stands still for %" PRId64 " ms", m->name, ms);
	m->paused_until_ms = s->now_ms + ms;
	s->n.machine_pauses++;
}

void machine_reboot(struct sim *s, uint16_t at, int64_t off_ms)
{
	struct sim_machine *m = &s->machine[at];

	if (!m->up)
		return;
	sim_say(s, "%s: goes down", m->name);
	if (m->agent.core)
		agent_die(s, m, &m->agent);
	tasks_reboot(s, m);
	if (m->greeting && !s->healed && sim_chance(s, 200000)) { /* some router still has it */
		s->n.stale_greetings++;
		sim_again(s, m->greeting, s->now_ms + sim_span(s, 1, off_ms + MS_PER_MIN));
		m->greeting = NULL;
	}
	m->agent_at_ms = T_NEVER;
	m->paused_until_ms = 0;
	m->up = false;
	m->boot_at_ms = s->now_ms + off_ms;
	s->n.reboots++;
	sim_wake(s, at, m->boot_at_ms);
}

/* ---- twins: copies of a machine that bring its key ------------------------------------------------------------------ */

void twin_off(struct sim *s, uint16_t at)
{
	struct sim_machine *m = &s->machine[at];

	sim_say(s, "%s: switched off", m->name);
	if (m->agent.core)
		agent_die(s, m, &m->agent);
	m->task_n = 0;
	m->up = false;
	m->boot_at_ms = m->agent_at_ms = m->off_at_ms = T_NEVER;
}

void twins_off(struct sim *s, uint16_t of)
{
	for (uint16_t i = (uint16_t)s->k.machines; i < SIM_MACHINES_MAX; i++)
		if (s->machine[i].twin && (of == SIM_MACHINES_MAX || s->machine[i].of == of))
			twin_off(s, i);
}

static void disk_copy(struct sim_machine *to, const struct sim_machine *from)
{
	disk_lose(to);
	to->disk.lost = from->disk.lost;
	to->disk.cluster = from->disk.cluster;
	to->disk.incarnation = from->disk.incarnation;
	memcpy(to->disk.epoch, from->disk.epoch, sizeof to->disk.epoch);
	to->disk.row = xrealloc(to->disk.row, (from->disk.n + 1) * sizeof *to->disk.row);
	to->disk.cap = from->disk.n + 1;
	for (to->disk.n = 0; to->disk.n < from->disk.n; to->disk.n++) {
		struct sim_entry *e = &to->disk.row[to->disk.n];

		*e = from->disk.row[to->disk.n];
		e->data = xmalloc(e->len + 1);
		memcpy(e->data, from->disk.row[to->disk.n].data, e->len);
	}
}

/* What the execution layer keeps in files; with the memory the processes as well. */
static void tasks_copy(struct sim_machine *to, const struct sim_machine *from, bool alive)
{
	for (uint32_t i = 0; i < from->task_n; i++) {
		const struct sim_task *t = &from->task[i];
		struct sim_task *c = task_new(to, t->name, t->alloc, t->part, t->devices);

		*c = *t;
		if (alive)
			continue;
		c->live = false;
		c->rebooted = c->ended = c->begun;
		c->end_ms = T_NEVER;
	}
}

void twin_make(struct sim *s, uint16_t of, int64_t in_ms)
{
	struct sim_machine *o = &s->machine[of], *m;
	uint64_t kind = prng_below(&s->rng_twins, 10); /* with the memory, with the disk, with the key alone */
	uint16_t at = (uint16_t)s->k.machines;

	for (uint16_t i = at; i < SIM_MACHINES_MAX; i++) /* rather one more of a machine that has some */
		if (s->machine[i].twin && s->machine[i].up && prng_below(&s->rng_twins, 2)) {
			of = s->machine[i].of;
			o = &s->machine[of];
		}
	while (at < SIM_MACHINES_MAX && s->machine[at].twin && (s->machine[at].up || s->machine[at].boot_at_ms != T_NEVER))
		at++;
	if (at == SIM_MACHINES_MAX || o->copies == SIM_COPIES_MAX || !o->up || o->dead_wanted || !o->agent.core || s->now_ms < o->paused_until_ms)
		return;
	machine_free(s, at);
	m = &s->machine[at];
	*m = (struct sim_machine){.node = o->node, .principal = o->principal, .cred = o->cred, .flavor = o->flavor,
				  .twin = true, .of = of, .rate_ppm = o->rate_ppm, .wall_off_ms = o->wall_off_ms,
				  .agent_at_ms = T_NEVER, .dies_ms = T_NEVER, .boot_at_ms = s->now_ms + in_ms};
	(void)snprintf(m->name, sizeof m->name, "%.20s+%u", o->name, ++s->twins_made);
	if (kind < 7) {
		disk_copy(m, o);
		tasks_copy(m, o, kind < 3);
	}
	if (kind < 3) {
		m->same_boot = m->up = true;
		m->boot = o->boot;
		m->booted_ms = o->booted_ms;
		m->boot_at_ms = m->agent_at_ms = s->now_ms;
	}
	m->off_at_ms = m->boot_at_ms + (int64_t)prng_below(&s->rng_twins, 30 * MS_PER_MIN) + 1;
	o->copies++;
	s->n.twins++;
	sim_say(s, "%s: a copy of %s, %s", m->name, o->name, kind < 3 ? "with its memory" : kind < 7 ? "with its disk" : "with its key");
	sim_wake(s, at, m->boot_at_ms);
}

void machines_cut_off(struct sim *s)
{
	for (uint16_t i = 0; i < SIM_MACHINES_MAX; i++) {
		struct sim_agent *a = &s->machine[i].agent;

		if (!a->core || !a->connected)
			continue;
		a->connected = false;
		a->conn++;
		a->connect_at_ms = s->now_ms + sim_span(s, 100, 3000);
		agent_disconnected(a->core, machine_now(s, &s->machine[i]), false);
		sim_wake(s, i, s->now_ms);
	}
}

/* ---- the daemon's messages ------------------------------------------------------------------------------------------- */

static void frame_take(struct sim *s, uint16_t at, struct sim_agent *a, const struct frame *f, struct arena *arena)
{
	struct sim_machine *m = &s->machine[at];
	struct agent_now now = machine_now(s, m);
	union {
		struct msg_welcome welcome;
		struct msg_desired desired;
		struct msg_report_ack ack;
		struct msg_heartbeat hb;
		struct msg_goodbye goodbye;
		struct msg_reply reply;
		struct msg_ping ping;
	} b;
	struct err err;

	ENSURE(!message_decode(f, &b, arena, &err));
	switch (f->type) {
	case MSG_WELCOME: (void)!agent_welcome(a->core, now, &b.welcome, &err); break; /* not obeyed: it says why */
	case MSG_DESIRED:
		for (uint32_t i = 0; i < b.desired.units_n; i++)
			sim_say(s, "%s: told a%" PRIu64 "-p%u phase %u", m->name, b.desired.units[i].alloc,
				b.desired.units[i].part, b.desired.units[i].phase);
		(void)!agent_desired(a->core, now, &b.desired, &err);
		break;
	case MSG_REPORT_ACK: agent_report_ack(a->core, now, &b.ack); break;
	case MSG_HEARTBEAT_ACK: agent_heartbeat_ack(a->core, now, &b.hb); break;
	case MSG_GOODBYE:
		if (b.goodbye.code == ERR_STALE) {
			agent_greet_again(a->core, now);
		} else if (b.goodbye.code == ERR_SUPERSEDED) {
			sim_say(s, "%s: agent is superseded", m->name);
			agent_die(s, m, a);
			if (!m->agent.core)
				again_after(s, m, sim_span(s, 1, 60000));
		} else {
			agent_disconnected(a->core, now, true);
		}
		break;
	case MSG_PING: frame_send(s, at, a, MSG_PONG, &b.ping); break;
	case MSG_REPLY: agent_disconnected(a->core, now, true); break;
	default: UNREACHABLE();
	}
}

void machine_receive(struct sim *s, struct sim_msg *msg)
{
	struct sim_machine *m = &s->machine[msg->link];
	struct sim_agent *a = &m->agent;
	struct arena arena = {0};
	struct frame f;
	struct err err;

	if (m->up && s->now_ms < m->paused_until_ms) {
		sim_again(s, msg, m->paused_until_ms);
		return;
	}
	if (m->up && a->core && msg->incarnation == a->incarnation && msg->conn == a->conn && a->connected) {
		ENSURE(!frame_decode(msg->body.data, msg->body.len, &f, &err));
		frame_take(s, msg->link, a, &f, &arena);
		arena_done(&arena);
		drain(s, msg->link, a);
		sim_wake(s, msg->link, s->now_ms);
	}
	sim_msg_free(msg);
}

void machine_free(struct sim *s, uint16_t at)
{
	struct sim_machine *m = &s->machine[at];

	agent_free(m->agent.core);
	for (uint32_t k = 0; k < m->agent.tail_n; k++)
		free(m->agent.tail[k].data);
	free(m->agent.tail);
	disk_free(m);
	sim_msg_free(m->greeting);
	free(m->task);
}
