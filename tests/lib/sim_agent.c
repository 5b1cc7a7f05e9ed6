/* sim_agent.c - machines, a compact model of their agent, and the observer
 *
 * The model obeys what the real agent obeys: orders count only with the newest epoch and the session of
 * this greeting; a row is on the disk before its process is started; a unit takes devices only above
 * their stored epoch and when nobody lives there; only STOP ends a unit, what is unknown runs on;
 * RELEASED is said when no process is left on the devices, and a row stays until that is acknowledged.
 *
 * The execution layer keeps one slot per (alloc, part) from its start until it is released, whoever
 * starts it; processes outlive agents and the network, not reboots.
 */
#include "tests/lib/sim_world.h"

#include "proto/base/ensure.h"
#include "proto/base/instant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t RESEND_MS = 5000, GREET_MS = 5000, SILENT_MS = 40000;

/* ---- rows ---------------------------------------------------------------------------------------------- */

static struct sim_row *row_find(const struct sim_rows *r, uint64_t alloc, uint16_t part)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (r->row[i].alloc == alloc && r->row[i].part == part)
			return &r->row[i];
	return NULL;
}

static struct sim_row *row_put(struct sim_rows *r, const struct sim_row *row)
{
	struct sim_row *old = row_find(r, row->alloc, row->part);

	if (!old) {
		if (r->n == r->cap) {
			r->cap = r->cap ? r->cap * 2 : 8;
			r->row = xrealloc(r->row, r->cap * sizeof *r->row);
		}
		old = &r->row[r->n++];
	}
	*old = *row;
	return old;
}

static void row_del(struct sim_rows *r, uint64_t alloc, uint16_t part)
{
	struct sim_row *row = row_find(r, alloc, part);

	if (row)
		*row = r->row[--r->n];
}

/* One table per machine, whichever of its agents writes. */
static void to_disk(struct sim *s, uint16_t at, const struct sim_row *row)
{
	(void)row_put(&s->machine[at].disk, row);
}

/* ---- the observer ----------------------------------------------------------------------------------------- */

static bool lost_future(const struct sim *s, uint64_t alloc)
{
	for (uint32_t i = 0; i < s->lost_ids_n; i++)
		if (alloc >= s->lost_ids[i].from && alloc < s->lost_ids[i].to)
			return true;
	return false;
}

void observer_allocated(struct sim *s, const struct alloc *a)
{
	for (uint32_t i = 0; i < a->parts_n; i++)
		for (uint32_t m = 0; m < s->k.machines; m++) {
			const struct sim_machine *mc = &s->machine[m];

			if (mc->node != a->parts[i].node)
				continue;
			for (uint32_t p = 0; p < mc->proc_n; p++)
				if (mc->proc[p].live && mc->proc[p].alloc != a->id &&
				    (mc->proc[p].devices & a->parts[i].devices) && !lost_future(s, mc->proc[p].alloc))
					sim_violation(s,
						      "double allocation: %" PRIu64 " was given devices of %s on which %" PRIu64
						      " still lives",
						      a->id, mc->name, mc->proc[p].alloc);
		}
}

static void started_once(struct sim *s, uint64_t alloc, uint16_t part)
{
	uint64_t key = alloc * 2048 + part + 1, i;

	if (s->started_n * 2 >= s->started_cap) {
		uint64_t *old = s->started;
		uint32_t cap = s->started_cap;

		s->started_cap = cap ? cap * 2 : 256;
		s->started = xcalloc(s->started_cap, sizeof *s->started);
		for (uint32_t k = 0; k < cap; k++) {
			if (!old[k])
				continue;
			for (i = old[k] & (s->started_cap - 1); s->started[i]; i = (i + 1) & (s->started_cap - 1))
				continue;
			s->started[i] = old[k];
		}
		free(old);
	}
	for (i = key & (s->started_cap - 1); s->started[i]; i = (i + 1) & (s->started_cap - 1))
		if (s->started[i] == key) {
			sim_violation(s, "double start: unit %" PRIu64 "/%u was started twice", alloc, part);
			return;
		}
	s->started[i] = key;
	s->started_n++;
}

/* ---- the execution layer ------------------------------------------------------------------------------------- */

static struct sim_proc *slot_find(const struct sim_machine *m, uint64_t alloc, uint16_t part)
{
	for (uint32_t i = 0; i < m->proc_n; i++)
		if (m->proc[i].alloc == alloc && m->proc[i].part == part)
			return &m->proc[i];
	return NULL;
}

/* Does anything live on these devices, but for (alloc, part) itself? */
static bool lived_on(const struct sim_machine *m, uint64_t devices, uint64_t alloc, uint16_t part)
{
	for (uint32_t i = 0; i < m->proc_n; i++)
		if (m->proc[i].live && (m->proc[i].devices & devices) &&
		    !(m->proc[i].alloc == alloc && m->proc[i].part == part))
			return true;
	return false;
}

static void proc_ended(struct sim *s, struct sim_proc *p)
{
	p->live = false;
	s->n.device_ms += (uint64_t)(s->now_ms - p->started_ms) * (uint64_t)__builtin_popcountll(p->devices);
	sim_trace(s, p->alloc << 16 ^ p->part ^ 0xe0d);
}

static void proc_start(struct sim *s, struct sim_machine *m, const struct sim_row *row)
{
	bool forever = row->kind == UNIT_BARE || row->kind == UNIT_SERVICE || row->time_left_ms == T_NEVER ||
		       sim_chance(s, 100000);
	struct sim_proc *p = slot_find(m, row->alloc, row->part);

	started_once(s, row->alloc, row->part);
	for (uint32_t i = 0; i < m->proc_n; i++)
		if (m->proc[i].live && (m->proc[i].devices & row->devices) && m->proc[i].alloc != row->alloc)
			sim_violation(s, "double allocation: %" PRIu64 " and %" PRIu64 " live on one device of %s",
				      m->proc[i].alloc, row->alloc, m->name);
	if (!p) {
		if (m->proc_n == m->proc_cap) {
			m->proc_cap = m->proc_cap ? m->proc_cap * 2 : 8;
			m->proc = xrealloc(m->proc, m->proc_cap * sizeof *m->proc);
		}
		p = &m->proc[m->proc_n++];
	}
	*p = (struct sim_proc){.alloc = row->alloc,
			       .owner = row->owner,
			       .devices = row->devices,
			       .part = row->part,
			       .live = true,
			       .started_ms = s->now_ms,
			       .shed_ms = T_NEVER,
			       .end_ms = T_NEVER};
	if (!forever)
		p->end_ms = s->now_ms + sim_span(s, 500, row->time_left_ms > 1000 ? row->time_left_ms : 1000);
	if (sim_chance(s, 150000))
		p->exit_code = (int32_t)sim_span(s, 1, 3);
	s->n.starts++;
	sim_trace(s, row->alloc << 16 ^ row->part ^ 0x57a);
}

static void procs_step(struct sim *s, struct sim_machine *m)
{
	for (uint32_t i = 0; i < m->proc_n; i++) {
		struct sim_proc *p = &m->proc[i];

		if (!p->live)
			continue;
		if (p->shed_ms <= s->now_ms) {
			p->devices &= ~p->shed;
			p->shed_ms = T_NEVER;
		}
		if (p->end_ms <= s->now_ms)
			proc_ended(s, p);
	}
}

/* ---- telling the daemon ------------------------------------------------------------------------------------------ */

static void statuses(const struct sim *s, const struct sim_agent *a, struct arena *arena, struct unit_status **ret,
		     uint32_t *ret_n)
{
	struct unit_status *u = arena_alloc(arena, (a->rows.n + 1) * sizeof *u);

	for (uint32_t i = 0; i < a->rows.n; i++) {
		const struct sim_row *r = &a->rows.row[i];

		u[i].alloc = r->alloc;
		u[i].part = r->part;
		u[i].state = r->state;
		u[i].exit_code = r->exit_code;
		u[i].healthy = r->state == UNIT_RUNNING;
		u[i].port = (uint16_t)(20000 + r->alloc % 1000);
		u[i].checkpoint_ago_ms = -1;
		if (r->state == UNIT_RUNNING && r->owner % 3 == 0 && r->prepare_at_ms + MS_PER_MIN < s->now_ms) {
			u[i].checkpoint_step = (uint64_t)((s->now_ms - r->prepare_at_ms) / MS_PER_MIN);
			u[i].checkpoint_ago_ms = (s->now_ms - r->prepare_at_ms) % MS_PER_MIN;
		}
		if (r->state == UNIT_FAILED)
			(void)snprintf(u[i].text, sizeof u[i].text, "refused");
	}
	*ret = u;
	*ret_n = a->rows.n;
}

static struct sim_msg *msg_from(const struct sim *s, uint16_t at, const struct sim_agent *a, uint8_t type)
{
	struct sim_msg *m = sim_msg_new(type, at);

	m->agent = (uint8_t)(a - s->machine[at].agent);
	m->incarnation = a->incarnation;
	m->session = a->session;
	m->epoch = a->epoch;
	m->rev = a->rev;
	return m;
}

void machine_hello_fill(struct sim *s, const struct sim_machine *m, const struct sim_agent *a, struct arena *arena,
			struct cmd_node_hello *h)
{
	(void)snprintf(h->boot_id, sizeof h->boot_id, "%.20s-boot-%u", m->name, m->boot);
	h->incarnation = a->incarnation;
	h->epoch_seen = a->epoch;
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
	if (a->up)
		statuses(s, a, arena, &h->units, &h->units_n);
}

static void hello(struct sim *s, uint16_t at, struct sim_agent *a)
{
	struct sim_msg *m = msg_from(s, at, a, M_HELLO);
	struct cmd_node_hello h = {0};
	struct arena arena = {0};

	machine_hello_fill(s, &s->machine[at], a, &arena, &h);
	schema_encode(schema_of_command(CMD_NODE_HELLO), &h, &m->body);
	arena_done(&arena);
	a->hello_ms = s->now_ms + (GREET_MS << (a->greetings < 4 ? a->greetings : 4));
	a->greetings++;
	sim_send(s, m);
}

static void report(struct sim *s, uint16_t at, struct sim_agent *a)
{
	struct sim_msg *m = msg_from(s, at, a, M_REPORT);
	struct cmd_node_report r = {.incarnation = a->incarnation};
	struct arena arena = {0};

	m->counter = ++a->counter;
	statuses(s, a, &arena, &r.units, &r.units_n);
	schema_encode(schema_of_command(CMD_NODE_REPORT), &r, &m->body);
	arena_done(&arena);
	a->changed = false;
	a->report_ms = s->now_ms + RESEND_MS;
	sim_send(s, m);
}

/* ---- reconciling ----------------------------------------------------------------------------------------------------- */

static void row_state(struct sim *s, uint16_t at, struct sim_agent *a, struct sim_row *r, uint8_t state)
{
	if (r->state == state)
		return;
	r->state = state;
	to_disk(s, at, r);
	a->changed = true;
}

static void prepare(struct sim *s, uint16_t at, struct sim_agent *a, struct sim_row *r)
{
	struct sim_machine *m = &s->machine[at];
	bool ok = !sim_chance(s, s->healed ? 0 : s->k.fail_ppm);

	s->n.bind_failures += !ok;
	for (uint32_t i = 0; i < s->k.devices; i++)
		if (r->devices >> i & 1)
			ok &= m->device_epoch[i] < r->alloc;
	ok &= !lived_on(m, r->devices, r->alloc, r->part);
	if (ok)
		for (uint32_t i = 0; i < s->k.devices; i++)
			if (r->devices >> i & 1)
				m->device_epoch[i] = r->alloc;
	r->prepare_at_ms = s->now_ms;
	row_state(s, at, a, r, ok ? UNIT_PREPARED : UNIT_FAILED);
}

static void row_start(struct sim *s, uint16_t at, struct sim_agent *a, struct sim_row *r)
{
	struct sim_machine *m = &s->machine[at];

	r->started = true;
	to_disk(s, at, r); /* intent first */
	if (!s->healed && sim_chance(s, 5000)) {
		agent_crash(s, at, sim_span(s, 1, 20000));
		return;
	}
	if (r->tasks || r->kind == UNIT_BARE || r->kind == UNIT_SERVICE)
		proc_start(s, m, r);
	if (!s->healed && sim_chance(s, 5000)) {
		agent_crash(s, at, sim_span(s, 1, 20000));
		return;
	}
	row_state(s, at, a, r, UNIT_RUNNING);
}

static void row_stop(struct sim *s, uint16_t at, struct sim_agent *a, struct sim_row *r)
{
	struct sim_machine *m = &s->machine[at];
	struct sim_proc *p = slot_find(m, r->alloc, r->part);

	if (p && p->live && s->now_ms >= r->stop_at_ms && !r->kill_ms) {
		r->kill_ms = s->now_ms;
		p->stuck = sim_chance(s, s->k.stuck_ppm);
		s->n.unkillable += p->stuck;
		p->end_ms = s->now_ms + (p->stuck ? sim_span(s, MS_PER_MIN, 10 * MS_PER_MIN) : sim_span(s, 0, 50));
		if (!p->exit_code)
			p->exit_code = 137;
		procs_step(s, m);
	}
	if (p && p->live && r->kill_ms && s->now_ms > r->kill_ms + 30000)
		row_state(s, at, a, r, UNIT_UNKILLABLE);
	if (s->canary != CANARY_RELEASE_TOO_EARLY && ((p && p->live) || lived_on(m, r->devices, r->alloc, r->part)))
		return;
	if (p) {
		r->exit_code = p->exit_code;
		if (!p->live)
			*p = m->proc[--m->proc_n];
	}
	row_state(s, at, a, r, UNIT_RELEASED);
}

static void row_step(struct sim *s, uint16_t at, struct sim_agent *a, struct sim_row *r)
{
	struct sim_machine *m = &s->machine[at];
	struct sim_proc *p = slot_find(m, r->alloc, r->part);

	if (r->state == UNIT_RELEASED || r->state == UNIT_LOST)
		return;
	if (r->phase == UNIT_STOP) {
		row_stop(s, at, a, r);
		return;
	}
	if (p && (r->state == UNIT_ABSENT || r->state == UNIT_PREPARED || r->state == UNIT_UNKNOWN)) {
		r->started = true; /* somebody of this node has begun it: adopt */
		row_state(s, at, a, r, UNIT_RUNNING);
	}
	if (r->state == UNIT_ABSENT && s->now_ms >= r->prepare_at_ms)
		prepare(s, at, a, r);
	if (r->state == UNIT_PREPARED && r->phase == UNIT_RUN) {
		row_start(s, at, a, r);
		return;
	}
	if (r->state == UNIT_RUNNING && p && !p->live) {
		r->exit_code = p->exit_code;
		row_state(s, at, a, r, UNIT_EXITED);
	} else if (r->state == UNIT_RUNNING && !p && (r->tasks || r->kind == UNIT_BARE || r->kind == UNIT_SERVICE)) {
		row_state(s, at, a, r, UNIT_LOST); /* begun, and nothing is known of it any more */
	}
}

static int64_t min64(int64_t x, int64_t y) { return x < y ? x : y; }

static int64_t agent_step(struct sim *s, uint16_t at, struct sim_agent *a)
{
	int64_t next = T_NEVER;
	bool open = false;

	for (uint32_t i = 0; i < a->rows.n && a->up && !s->failed; i++)
		row_step(s, at, a, &a->rows.row[i]);
	if (!a->up)
		return T_NEVER;
	for (uint32_t i = 0; i < a->rows.n; i++) {
		const struct sim_row *r = &a->rows.row[i];

		open |= r->state != r->acked && r->state != UNIT_ABSENT;
		if (r->phase == UNIT_STOP && !r->kill_ms)
			next = min64(next, r->stop_at_ms > s->now_ms ? r->stop_at_ms : T_NEVER);
		if (r->kill_ms && r->state != UNIT_RELEASED)
			next = min64(next, s->now_ms + 1000);
		if (r->state == UNIT_ABSENT && r->prepare_at_ms > s->now_ms)
			next = min64(next, r->prepare_at_ms);
	}
	if (!a->session || s->now_ms - a->heard_ms > SILENT_MS) {
		if (s->now_ms >= a->hello_ms)
			hello(s, at, a);
		return min64(next, a->hello_ms);
	}
	if (a->changed || (open && s->now_ms >= a->report_ms))
		report(s, at, a);
	if (s->now_ms >= a->beat_ms) {
		struct sim_msg *m = msg_from(s, at, a, M_HEARTBEAT);

		m->counter = ++a->counter;
		a->beat_ms = s->now_ms + s->k.heartbeat_ms;
		sim_send(s, m);
	}
	if (open)
		next = min64(next, a->report_ms);
	return min64(next, a->beat_ms);
}

/* ---- life of agents and machines --------------------------------------------------------------------------------------- */

static void agent_begin(struct sim *s, uint16_t at, uint8_t which)
{
	struct sim_machine *m = &s->machine[at];
	struct sim_agent *a = &m->agent[which];

	free(a->rows.row);
	*a = (struct sim_agent){.up = true, .incarnation = ++m->incarnation, .epoch = m->epoch_seen, .dies_ms = T_NEVER};
	for (uint32_t i = 0; i < m->disk.n; i++) {
		struct sim_row *r = row_put(&a->rows, &m->disk.row[i]);

		r->acked = UINT8_MAX;
		r->kill_ms = 0;
		if (s->canary == CANARY_DOUBLE_START && r->state == UNIT_RUNNING && r->phase == UNIT_RUN) {
			proc_start(s, m, r);
			return;
		}
	}
	/* slots that no row names: the table was lost */
	for (uint32_t i = 0; i < m->proc_n; i++)
		if (!row_find(&a->rows, m->proc[i].alloc, m->proc[i].part)) {
			struct sim_row r = {.alloc = m->proc[i].alloc,
					    .owner = m->proc[i].owner,
					    .devices = m->proc[i].devices,
					    .part = m->proc[i].part,
					    .state = UNIT_UNKNOWN,
					    .phase = UNIT_RUN,
					    .kind = UNIT_BARE,
					    .acked = UINT8_MAX,
					    .started = true};

			to_disk(s, at, row_put(&a->rows, &r));
		}
	a->heard_ms = s->now_ms;
	sim_say(s, "%s: agent %u starts, incarnation %" PRIu64, m->name, which, a->incarnation);
}

void agent_crash(struct sim *s, uint16_t at, int64_t off_ms)
{
	struct sim_machine *m = &s->machine[at];

	if (!m->up || !m->agent[0].up)
		return;
	m->agent[0].up = false;
	m->agent_at_ms = s->now_ms + off_ms;
	s->n.agent_crashes++;
	sim_say(s, "%s: agent dies", m->name);
	if (!s->lost_ids_n && sim_chance(s, 30000)) {
		m->disk.n = 0;
		s->n.tables_lost++;
		sim_say(s, "%s: table lost", m->name);
	}
	sim_wake(s, at, m->agent_at_ms);
}

void agent_duplicate(struct sim *s, uint16_t at)
{
	struct sim_machine *m = &s->machine[at];

	if (!m->up || !m->agent[0].up || m->agent[1].up)
		return;
	agent_begin(s, at, 1);
	m->agent[1].dies_ms = s->now_ms + sim_span(s, 1000, 5 * MS_PER_MIN);
	s->n.duplicate_agents++;
	sim_wake(s, at, s->now_ms);
}

void machine_reboot(struct sim *s, uint16_t at, int64_t off_ms)
{
	struct sim_machine *m = &s->machine[at];

	if (!m->up)
		return;
	sim_say(s, "%s: goes down", m->name);
	for (uint32_t i = 0; i < m->proc_n; i++)
		if (m->proc[i].live)
			proc_ended(s, &m->proc[i]);
	m->proc_n = 0;
	m->agent[0].up = m->agent[1].up = false;
	m->agent_at_ms = T_NEVER;
	m->up = false;
	m->boot_at_ms = s->now_ms + off_ms;
	s->n.reboots++;
	sim_wake(s, at, m->boot_at_ms);
}

void machine_wake(struct sim *s, uint16_t at)
{
	struct sim_machine *m = &s->machine[at];
	int64_t next = T_NEVER;

	if (!m->up) {
		if (s->now_ms < m->boot_at_ms || m->dead_wanted) {
			sim_wake(s, at, m->dead_wanted ? s->now_ms + 10000 : m->boot_at_ms);
			return;
		}
		m->up = true;
		m->boot++;
		m->agent_at_ms = s->now_ms + sim_span(s, 0, 5000);
		for (uint32_t i = 0; i < m->disk.n; i++)
			if (m->disk.row[i].state != UNIT_RELEASED)
				m->disk.row[i].state = UNIT_LOST;
		sim_say(s, "%s: boots (%u)", m->name, m->boot);
	}
	procs_step(s, m);
	if (s->now_ms >= m->agent_at_ms) {
		m->agent_at_ms = T_NEVER;
		agent_begin(s, at, 0);
	}
	for (uint8_t i = 0; i < 2 && !s->failed; i++) {
		struct sim_agent *a = &m->agent[i];

		if (a->up && s->now_ms >= a->dies_ms) {
			a->up = false;
			if (!m->agent[0].up && m->agent_at_ms == T_NEVER)
				m->agent_at_ms = s->now_ms + sim_span(s, 1, 5000);
		}
		if (a->up)
			next = min64(next, min64(agent_step(s, at, a), a->dies_ms));
	}
	for (uint32_t i = 0; i < m->proc_n; i++)
		if (m->proc[i].live)
			next = min64(next, min64(m->proc[i].end_ms, m->proc[i].shed_ms));
	sim_wake(s, at, min64(next, m->agent_at_ms));
}

/* ---- orders ---------------------------------------------------------------------------------------------------------------- */

static void want(struct sim *s, uint16_t at, struct sim_agent *a, const struct sim_want *w)
{
	struct sim_row *r = row_find(&a->rows, w->alloc, w->part);
	struct sim_row fresh = {.alloc = w->alloc,
				.owner = w->owner,
				.devices = w->devices,
				.part = w->part,
				.kind = w->kind,
				.tasks = w->tasks,
				.phase = w->phase,
				.acked = UINT8_MAX,
				.time_left_ms = w->time_left_ms,
				.prepare_at_ms = s->now_ms + sim_span(s, 10, 3000)};
	struct sim_proc *p;

	if (!r)
		r = row_put(&a->rows, &fresh);
	if (r->owner && w->owner && r->owner != w->owner)
		sim_violation(s, "an id was used twice: allocation %" PRIu64 " of owner %" PRIu64 " and of %" PRIu64,
			      w->alloc, r->owner / 2, w->owner / 2);
	if (r->state == UNIT_UNKNOWN) { /* now it is known what it is */
		r->kind = w->kind;
		r->tasks = w->tasks;
	}
	p = slot_find(&s->machine[at], r->alloc, r->part);
	if (w->phase != UNIT_STOP && w->devices != r->devices) {
		uint64_t gone = r->devices & ~w->devices;

		if (p && p->live && gone) { /* the holder moves its work off them */
			p->shed |= gone;
			p->shed_ms = s->now_ms + sim_span(s, 100, 40000);
		}
		r->devices = w->devices;
	}
	if (w->phase == UNIT_STOP) {
		int64_t stop_at = s->now_ms + w->stop_in_ms;

		if (r->phase != UNIT_STOP || stop_at < r->stop_at_ms) {
			r->stop_at_ms = stop_at;
			if (p && p->live && p->end_ms > s->now_ms + w->stop_in_ms * 3 / 2)
				p->end_ms = sim_chance(s, 300000) ?
						    p->end_ms :
						    s->now_ms + sim_span(s, 0, w->stop_in_ms * 3 / 2);
		}
		r->phase = UNIT_STOP;
	} else if (w->phase > r->phase) {
		r->phase = w->phase;
	}
	r->time_left_ms = w->time_left_ms;
	to_disk(s, at, r);
}

void machine_receive(struct sim *s, struct sim_msg *msg)
{
	struct sim_machine *m = &s->machine[msg->link];
	struct sim_agent *a = &m->agent[msg->agent];

	if (!m->up || !a->up || (msg->incarnation && msg->incarnation != a->incarnation))
		return;
	switch ((enum sim_msg_type)msg->type) {
	case M_WELCOME:
		if (msg->epoch < m->epoch_seen || msg->session <= a->session)
			return; /* an older daemon, or an older greeting */
		m->epoch_seen = a->epoch = msg->epoch;
		a->session = msg->session;
		a->greetings = 0;
		a->rev = 0;
		a->heard_ms = s->now_ms;
		a->beat_ms = s->now_ms + 1000;
		for (uint32_t i = 0; i < a->rows.n; i++)
			a->rows.row[i].acked = UINT8_MAX;
		break;
	case M_DESIRED:
		if (msg->epoch < m->epoch_seen || msg->session != a->session || msg->rev <= a->rev)
			return;
		a->rev = msg->rev;
		a->heard_ms = s->now_ms;
		for (uint32_t i = 0; i < msg->wants_n; i++)
			want(s, msg->link, a, &msg->wants[i]);
		break;
	case M_ACK:
		if (msg->session != a->session)
			return;
		a->heard_ms = s->now_ms;
		for (uint32_t i = 0; i < msg->acks_n; i++) {
			struct sim_row *r = row_find(&a->rows, msg->acks[i].alloc, msg->acks[i].part);

			if (!r || r->state != msg->acks[i].state)
				continue;
			r->acked = r->state;
			if (r->state == UNIT_RELEASED || r->state == UNIT_LOST) {
				row_del(&m->disk, r->alloc, r->part);
				row_del(&a->rows, r->alloc, r->part);
			}
		}
		break;
	case M_HEARTBEAT_ACK:
		if (msg->session == a->session)
			a->heard_ms = s->now_ms;
		break;
	case M_GOODBYE:
		if (msg->code == ERR_SUPERSEDED || (msg->code == ERR_STATE && a == &m->agent[1])) {
			a->up = false;
			if (a == &m->agent[0])
				m->agent_at_ms = (m->agent[1].up ? m->agent[1].dies_ms : s->now_ms) +
						 sim_span(s, 1, 60000);
			sim_say(s, "%s: agent %u is superseded", m->name, msg->agent);
		} else if (a->session) {
			a->session = 0;
			a->hello_ms = s->now_ms;
		}
		break;
	default: UNREACHABLE();
	}
	sim_wake(s, msg->link, s->now_ms);
}

void machine_free(struct sim *s, uint16_t at)
{
	struct sim_machine *m = &s->machine[at];

	free(m->proc);
	free(m->disk.row);
	free(m->agent[0].rows.row);
	free(m->agent[1].rows.row);
}
