/* sim_world.c - see sim_world.h: events, network, faults, the course of a run */
#include "tests/lib/sim_world.h"

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/minmax.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const sim_canary_name[] = {
	"none",
#define X(name, text) text,
	SIM_CANARY_TABLE(X)
#undef X
	NULL,
};

enum { EV_MSG, EV_WAKE, STEPS_AT_ONCE_MAX = 100000 };
enum fault {
	FAULT_DAEMON_CRASH, FAULT_DAEMON_PAUSE, FAULT_RESTORE, FAULT_BACKUP, FAULT_WALL_STEP,
	FAULT_AGENT_CRASH, FAULT_REBOOT, FAULT_CUT_ONE, FAULT_CUT_HALF, FAULT_CUT_LONG,
	FAULT_HOLDER_STALL, FAULT_COMPARE, FAULT_DAEMON_LONG, FAULT_MACHINE_PAUSE, FAULT_CLOCK_STEP, FAULTS_DRAWN,
	FAULT_TWIN = FAULTS_DRAWN, FAULTS,
};
_Static_assert((int)FAULTS <= (int)ARRAY_LEN(((struct sim_knobs *)0)->weight), "a weight for each class");

/* ---- small things ------------------------------------------------------------------------------- */

void sim_trace(struct sim *s, uint64_t x)
{
	s->hash = (s->hash ^ x) * UINT64_C(0x9e3779b97f4a7c15);
	s->hash ^= s->hash >> 29;
}

void sim_violation(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->failed)
		return;
	s->failed = true;
	va_start(ap, fmt);
	(void)vsnprintf(s->what, sizeof s->what, fmt, ap);
	va_end(ap);
}

void sim_say(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (!s->verbose)
		return;
	printf("%9" PRId64 ".%03d ", s->now_ms / 1000, (int)(s->now_ms % 1000));
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

uint64_t sim_below(struct sim *s, uint64_t n) { return prng_below(&s->rng, n); }
bool sim_chance(struct sim *s, uint32_t ppm) { return prng_below(&s->rng, 1000000) < ppm; }
int64_t sim_span(struct sim *s, int64_t from, int64_t to)
{
	ENSURE(from <= to);
	return from + (int64_t)prng_below(&s->rng, (uint64_t)(to - from) + 1);
}

/* ---- events: a binary heap, ties in the order they were made ------------------------------------------ */

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->n < b->n;
}

static void event_push(struct sim *s, struct sim_event e)
{
	uint32_t i = s->heap_n++;

	if (s->heap_n > s->heap_cap) {
		s->heap_cap = s->heap_cap ? s->heap_cap * 2 : 256;
		s->heap = xrealloc(s->heap, s->heap_cap * sizeof *s->heap);
	}
	e.n = s->event_n++;
	for (; i && earlier(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = e;
}

static struct sim_event event_pop(struct sim *s)
{
	struct sim_event top = s->heap[0], last = s->heap[--s->heap_n];
	uint32_t i = 0;

	for (;;) {
		uint32_t k = 2 * i + 1;

		if (k >= s->heap_n)
			break;
		if (k + 1 < s->heap_n && earlier(&s->heap[k + 1], &s->heap[k]))
			k++;
		if (!earlier(&s->heap[k], &last))
			break;
		s->heap[i] = s->heap[k];
		i = k;
	}
	s->heap[i] = last;
	return top;
}

void sim_wake(struct sim *s, uint16_t who, int64_t at_ms)
{
	if (at_ms == T_NEVER)
		return;
	if (at_ms < s->now_ms)
		at_ms = s->now_ms;
	if (s->wake_ms[who] <= at_ms)
		return; /* it will look by itself then */
	s->wake_ms[who] = at_ms;
	event_push(s, (struct sim_event){.at_ms = at_ms, .kind = EV_WAKE, .who = who});
}

/* ---- the network ------------------------------------------------------------------------------------------ */

struct sim_msg *sim_msg_new(uint8_t type, uint16_t link)
{
	struct sim_msg *m = xcalloc(1, sizeof *m);

	m->type = type;
	m->link = link;
	return m;
}

void sim_msg_free(struct sim_msg *m)
{
	if (!m)
		return;
	buf_done(&m->body);
	free(m);
}

struct sim_msg *sim_msg_copy(const struct sim_msg *m)
{
	struct sim_msg *c = xmalloc(sizeof *c);

	*c = *m;
	c->body = (struct buf)BUF_INIT;
	buf_add(&c->body, m->body.data, m->body.len);
	return c;
}

static int64_t delay(struct sim *s)
{
	if (!s->healed && sim_chance(s, (uint32_t)s->k.slow_ppm)) {
		s->n.delayed++;
		return sim_span(s, 1, s->k.slow_max_ms);
	}
	return sim_span(s, 1, s->healed ? 5 : s->k.delay_max_ms);
}

void sim_send(struct sim *s, struct sim_msg *m)
{
	const struct sim_link *l = &s->link[m->link];

	m->to_daemon |= m->type == M_COMMAND || m->type == M_LOOK;
	m->nth = ++s->sent_n;
	if ((m->to_daemon ? l->cut_up_ms : l->cut_down_ms) > s->now_ms) {
		s->n.partitioned++;
		sim_msg_free(m);
		return;
	}
	if (!s->healed && sim_chance(s, s->k.drop_ppm)) {
		s->n.dropped++;
		sim_msg_free(m);
		return;
	}
	if (!s->healed && sim_chance(s, s->k.dup_ppm)) {
		s->n.duplicated++;
		event_push(s, (struct sim_event){
				      .at_ms = s->now_ms + delay(s), .kind = EV_MSG, .msg = sim_msg_copy(m)});
	}
	event_push(s, (struct sim_event){.at_ms = s->now_ms + delay(s), .kind = EV_MSG, .msg = m});
}

void sim_again(struct sim *s, struct sim_msg *m, int64_t at_ms)
{
	event_push(s, (struct sim_event){.at_ms = at_ms, .kind = EV_MSG, .msg = m});
}

static void deliver(struct sim *s, struct sim_msg *m)
{
	uint64_t *latest = m->to_daemon ? &s->link[m->link].nth_up : &s->link[m->link].nth_down;

	s->n.delivered++;
	if (m->nth < *latest)
		s->n.reordered++;
	else
		*latest = m->nth;
	sim_trace(s, ((uint64_t)m->type << 32) ^ m->link ^ (uint64_t)s->now_ms << 8);
	if (m->to_daemon) {
		daemon_receive(s, m);
		return;
	}
	if (m->link < SIM_MACHINES_MAX) {
		machine_receive(s, m);
		return;
	}
	user_receive(s, m);
	sim_msg_free(m);
}

/* ---- knobs ----------------------------------------------------------------------------------------------------- */

static void draw_knobs(struct sim *s)
{
	struct sim_knobs *k = &s->k;
	static const int64_t faults[] = {10, 15, 20, 30, 60}, heal[] = {25, 25, 30, 45};
	static const uint32_t check[] = {8, 16, 32, 32, 64};

	k->machines = (uint32_t)sim_span(s, 3, sim_chance(s, 300000) ? SIM_MACHINES_MAX : 8);
	k->devices = sim_chance(s, 500000) ? 4 : sim_chance(s, 500000) ? 8 : 2;
	k->flavors = 1 + sim_chance(s, 300000);
	k->researchers = (uint32_t)sim_span(s, 1, 4);
	k->providers = (uint32_t)sim_span(s, 1, SIM_PROVIDERS_MAX);
	k->projects = (uint32_t)sim_span(s, 1, SIM_PROJECTS_MAX);
	k->faults_ms = faults[sim_below(s, ARRAY_LEN(faults))] * MS_PER_MIN;
	k->heal_ms = heal[sim_below(s, ARRAY_LEN(heal))] * MS_PER_MIN;
	/* the rules of the book hold after every decision; the whole state is looked over after each in some seeds */
	k->check_every = sim_chance(s, 100000) ? 1 : check[sim_below(s, ARRAY_LEN(check))];
	k->drop_ppm = sim_chance(s, 500000) ? (uint32_t)sim_span(s, 0, 200000) : 0;
	k->dup_ppm = sim_chance(s, 500000) ? (uint32_t)sim_span(s, 0, 100000) : 0;
	k->delay_max_ms = sim_chance(s, 500000) ? 20 : 2000;
	k->slow_ppm = sim_chance(s, 300000) ? (uint32_t)sim_span(s, 0, 50000) : 0;
	k->slow_max_ms = 2 * MS_PER_MIN;
	k->fault_every_ms = sim_chance(s, 100000) ? 0 : sim_span(s, 5 * MS_PER_S, sim_chance(s, 500000) ? MS_PER_MIN : 5 * MS_PER_MIN);
	for (int i = 0; i < FAULTS_DRAWN; i++)
		k->weight[i] = sim_chance(s, 600000) ? (uint32_t)sim_span(s, 1, 10) : 0;
	k->weight[FAULT_COMPARE] = 3;
	k->sync_max_ms = sim_chance(s, 500000) ? 5 : 500;
	k->think_max_ms = sim_chance(s, 500000) ? 20 * MS_PER_S : MS_PER_MIN;
	k->heartbeat_ms = (sim_chance(s, 400000) ? 10 : 20) * MS_PER_S;
	k->suspect_ms = 3 * k->heartbeat_ms;
	k->unreachable_ms = 9 * k->heartbeat_ms;
	k->fail_ppm = sim_chance(s, 300000) ? (uint32_t)sim_span(s, 0, 100000) : 0;
	k->stuck_ppm = sim_chance(s, 300000) ? (uint32_t)sim_span(s, 0, 100000) : 0;
	k->clock_ppm = sim_chance(s, 500000) ? 500 : (uint32_t)sim_span(s, 1000, 50000);
	k->machine_clock_ppm = sim_chance(s, 500000) ? 0 : sim_chance(s, 500000) ? 500 : 50000;
	k->daemon_clock_ppm = sim_chance(s, 600000) ? 0 :
			      sim_chance(s, 700000) ? sim_span(s, -500, 500) : sim_span(s, -50000, 50000);
	k->crash_ppm = sim_chance(s, 400000) ? (uint32_t)sim_span(s, 0, 2000) : 0;
	k->hide_ppm = sim_chance(s, 200000) ? 200000 : 0;
	k->division_changes = sim_chance(s, 400000);
	k->restores = sim_chance(s, 200000);
	k->declares_dead = sim_chance(s, 300000);
	k->calendar = sim_chance(s, 500000);
	if (!k->restores)
		k->weight[FAULT_RESTORE] = k->weight[FAULT_BACKUP] = 0;
	else
		k->weight[FAULT_RESTORE] = 1;
	prng_seed(&s->rng_twins, s->seed ^ UINT64_C(0x7714));
	k->twins = prng_below(&s->rng_twins, 4) ? 0 : 1 + (uint32_t)prng_below(&s->rng_twins, 10);
	k->weight[FAULT_TWIN] = k->twins;
}

/* ---- faults ----------------------------------------------------------------------------------------------------- */

static void cut(struct sim *s, uint16_t link, int64_t ms)
{
	uint64_t how = sim_below(s, 3); /* both ways, or one */

	if (how != 1)
		s->link[link].cut_up_ms = s->now_ms + ms;
	if (how != 2)
		s->link[link].cut_down_ms = s->now_ms + ms;
	if (!how)
		s->n.partitions_two_way++;
	else
		s->n.partitions_one_way++;
}

static uint16_t any_link(struct sim *s)
{
	uint64_t i = sim_below(s, s->k.machines + s->users_n);

	return (uint16_t)(i < s->k.machines ? i : SIM_MACHINES_MAX + i - s->k.machines);
}

static void stall_holder(struct sim *s)
{
	struct sim_user *u = &s->user[sim_below(s, s->users_n)];
	struct sim_holder *h = &u->holder[sim_below(s, SIM_HOLDERS_MAX)];

	if (u->kind != USER_PROVIDER || !h->lease || h->stall_until_ms > s->now_ms)
		return;
	/* a machine that stands still, its clocks too: the wall clock is set when it comes back */
	h->stalled_ms = sim_span(s, 3 * MS_PER_S, 45 * MS_PER_MIN);
	h->stall_until_ms = s->now_ms + h->stalled_ms;
	s->n.holder_stalls++;
}

/* Somebody sets a clock: a machine's, or a holder's. */
static void clock_step(struct sim *s, uint16_t m)
{
	struct sim_user *u = &s->user[sim_below(s, s->users_n)];
	struct sim_holder *h = &u->holder[sim_below(s, SIM_HOLDERS_MAX)];

	s->n.clock_steps++;
	if (u->kind == USER_PROVIDER && h->lease) {
		int64_t off_ms = sim_span(s, -MS_PER_HOUR, MS_PER_HOUR);

		h->wall_back = off_ms < h->wall_off_ms;
		h->wall_off_ms = off_ms;
	} else {
		s->machine[m].wall_off_ms = sim_span(s, -MS_PER_HOUR, MS_PER_HOUR);
	}
}

static void fault(struct sim *s)
{
	uint32_t sum = 0, at = 0;
	uint64_t pick;
	uint16_t m = (uint16_t)sim_below(s, s->k.machines);

	for (int i = 0; i < FAULTS; i++)
		sum += s->k.weight[i];
	pick = sim_below(s, sum);
	while (pick >= s->k.weight[at])
		pick -= s->k.weight[at++];
	sim_say(s, "fault %u", at);
	switch ((enum fault)at) {
	case FAULT_DAEMON_CRASH:
		if (sim_chance(s, 600000)) {
			s->d.crash_armed = true;
			break;
		}
		daemon_crash(s);
		s->d.start_at_ms = s->now_ms + sim_span(s, 10, 30 * MS_PER_S);
		break;
	case FAULT_DAEMON_LONG:
		daemon_crash(s);
		s->d.start_at_ms = s->now_ms + sim_span(s, MS_PER_MIN, 2 * MS_PER_HOUR);
		break;
	case FAULT_DAEMON_PAUSE:
		daemon_pause(s, sim_span(s, 100, sim_chance(s, 200000) ? 45 * MS_PER_MIN : 5 * MS_PER_MIN));
		break;
	case FAULT_BACKUP: daemon_backup(s); break;
	case FAULT_RESTORE:
		if (s->d.backups_n && s->lost_ids_n < ARRAY_LEN(s->lost_ids)) {
			daemon_crash(s);
			daemon_restore(s, (uint32_t)sim_below(s, s->d.backups_n));
			s->d.start_at_ms = s->now_ms + sim_span(s, 10, 10 * MS_PER_MIN);
		}
		break;
	case FAULT_WALL_STEP:
		s->d.wall_off_ms = sim_span(s, -2 * MS_PER_HOUR, 2 * MS_PER_HOUR);
		s->n.wall_steps++;
		break;
	case FAULT_AGENT_CRASH:
		if (sim_chance(s, 250000))
			agent_upgrade(s, m);
		else
			agent_crash(s, m, sim_span(s, 1, sim_chance(s, 300000) ? 20 * MS_PER_MIN : 5000));
		break;
	case FAULT_REBOOT: machine_reboot(s, m, sim_span(s, MS_PER_S, sim_chance(s, 500000) ? 20 * MS_PER_S : 10 * MS_PER_MIN)); break;
	case FAULT_CUT_ONE: cut(s, any_link(s), sim_span(s, 100, 2 * MS_PER_MIN)); break;
	case FAULT_CUT_LONG: cut(s, any_link(s), sim_span(s, MS_PER_MIN, MS_PER_HOUR)); break;
	case FAULT_CUT_HALF:
		for (uint16_t i = 0; i < s->k.machines; i++)
			if (sim_chance(s, 500000))
				cut(s, i, sim_span(s, MS_PER_S, 10 * MS_PER_MIN));
		break;
	case FAULT_HOLDER_STALL: stall_holder(s); break;
	case FAULT_MACHINE_PAUSE: machine_pause(s, m, sim_span(s, 100, sim_chance(s, 200000) ? 45 * MS_PER_MIN : MS_PER_MIN)); break;
	case FAULT_CLOCK_STEP: clock_step(s, m); break;
	case FAULT_TWIN: twin_make(s, m, (int64_t)prng_below(&s->rng_twins, prng_below(&s->rng_twins, 2) ? 10 * MS_PER_S : 20 * MS_PER_MIN)); break;
	case FAULT_COMPARE:
		daemon_compare(s);
		if (sim_chance(s, 50000))
			daemon_redecide(s);
		break;
	case FAULTS: UNREACHABLE();
	}
}

static void fault_wake(struct sim *s)
{
	if (s->healed || !s->k.fault_every_ms)
		return;
	if (s->now_ms >= s->next_fault_ms) {
		fault(s);
		s->next_fault_ms = s->now_ms + sim_span(s, 1, 2 * s->k.fault_every_ms);
	}
	sim_wake(s, WAKE_FAULT, s->next_fault_ms);
}

/* ---- the run ---------------------------------------------------------------------------------------------------------- */

struct sim *sim_new(uint64_t seed, enum sim_canary canary)
{
	struct sim *s = xcalloc(1, sizeof *s);

	s->seed = seed;
	s->canary = canary;
	s->hash = seed;
	prng_seed(&s->rng, seed);
	for (size_t i = 0; i < ARRAY_LEN(s->wake_ms); i++)
		s->wake_ms[i] = T_NEVER;
	draw_knobs(s);
	users_setup(s);
	return s;
}

void sim_free(struct sim *s)
{
	if (!s)
		return;
	while (s->heap_n)
		sim_msg_free(event_pop(s).msg);
	daemon_free(s);
	for (uint16_t i = 0; i < SIM_MACHINES_MAX; i++)
		machine_free(s, i);
	for (uint16_t i = 0; i < SIM_USERS_MAX; i++)
		user_free(s, i);
	free(s->heap);
	free(s->ack);
	free(s->told);
	free(s->started);
	free(s->stops);
	free(s);
}

static void run_until(struct sim *s, int64_t until_ms)
{
	while (!s->failed && s->heap_n && s->heap[0].at_ms <= until_ms) {
		struct sim_event e = event_pop(s);

		ENSURE(e.at_ms >= s->now_ms);
		s->same_ms = e.at_ms == s->now_ms ? s->same_ms + 1 : 0;
		s->now_ms = e.at_ms;
		s->step++;
		if (s->same_ms > STEPS_AT_ONCE_MAX)
			sim_violation(s, "time stands still: part %u is woken again and again (its agent wants to be at %" PRId64
				      ", it is %" PRId64 ")", e.who,
				      e.who < SIM_MACHINES_MAX && s->machine[e.who].agent.core ?
					      agent_next_tick(s->machine[e.who].agent.core) : 0,
				      e.who < SIM_MACHINES_MAX ? machine_now(s, &s->machine[e.who]).ms : 0);
		if (e.kind == EV_MSG) {
			deliver(s, e.msg);
			continue;
		}
		if (s->wake_ms[e.who] != e.at_ms)
			continue; /* woken earlier since */
		s->wake_ms[e.who] = T_NEVER;
		if (e.who < SIM_MACHINES_MAX)
			machine_wake(s, e.who);
		else if (e.who < SIM_MACHINES_MAX + SIM_USERS_MAX)
			user_wake(s, (uint16_t)(e.who - SIM_MACHINES_MAX));
		else if (e.who == WAKE_DAEMON)
			daemon_turn(s);
		else
			fault_wake(s);
	}
	if (!s->failed && s->now_ms < until_ms)
		s->now_ms = until_ms;
}

static void heal(struct sim *s)
{
	s->healed = true;
	s->healed_ms = s->now_ms;
	sim_say(s, "heal");
	for (size_t i = 0; i < ARRAY_LEN(s->link); i++)
		s->link[i].cut_up_ms = s->link[i].cut_down_ms = 0;
	twins_off(s, SIM_MACHINES_MAX); /* whoever made them has been found */
	daemon_continue(s);
	if (!s->d.up && s->d.start_at_ms > s->now_ms)
		s->d.start_at_ms = s->now_ms;
	s->wake_ms[WAKE_DAEMON] = T_NEVER;
	sim_wake(s, WAKE_DAEMON, s->now_ms);
	for (uint16_t i = 0; i < s->k.machines; i++) {
		struct sim_machine *m = &s->machine[i];

		m->dead_wanted = false;
		m->paused_until_ms = 0;
		if (!m->up && m->boot_at_ms > s->now_ms)
			m->boot_at_ms = s->now_ms;
		if (m->agent_at_ms != T_NEVER && m->agent_at_ms > s->now_ms)
			m->agent_at_ms = s->now_ms;
		sim_wake(s, i, s->now_ms);
	}
	for (uint16_t i = 0; i < s->users_n; i++)
		sim_wake(s, (uint16_t)(SIM_MACHINES_MAX + i), s->now_ms);
}

/* Does a reservation keep devices of this flavor? */
static bool calendar_takes(const struct core *c, uint16_t flavor)
{
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_RESERVATION, id)) != 0;) {
		const struct reservation *r = core_record(c, RECORD_RESERVATION, id);
		bool pins = r->state == RESERVATION_CONFIRMED || r->state == RESERVATION_ACTIVE;

		for (uint32_t i = 0; pins && i < r->parts_n; i++) {
			const struct node *n = core_node(c, r->parts[i].node);

			if (n && n->devices_n && n->devices[0].flavor == flavor)
				return true;
		}
	}
	return false;
}

/* What is not as it should be once faults are over; empty if all is well. */
static bool unsettled(struct sim *s, int64_t t, char *out, size_t out_size)
{
	const struct core *c = s->d.core;
	int64_t healed = t - (s->now_ms - s->healed_ms); /* in the daemon's time */

	if (!s->d.up)
		return snprintf(out, out_size, "the daemon is down") > 0;
	if (core_cluster(c)->safe_mode)
		return snprintf(out, out_size, "the daemon is still in safe mode") > 0;
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_NODE, id)) != 0;)
		if (core_node(c, (uint32_t)id)->state != NODE_READY)
			return snprintf(out, out_size, "node %" PRIu64 " is not ready (state %u)", id,
					core_node(c, (uint32_t)id)->state) > 0;
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_ALLOC, id)) != 0;) {
		const struct alloc *a = core_alloc(c, id);

		if (a->state == ALLOC_BINDING && max64(a->bind_by_ms, healed) + MS_PER_MIN < t)
			return snprintf(out, out_size, "allocation %" PRIu64 " is stuck binding", id) > 0;
		if (a->state == ALLOC_STOPPING && max64(a->stop_at_ms, healed) + 12 * MS_PER_MIN < t)
			return snprintf(out, out_size, "allocation %" PRIu64 " is stuck stopping", id) > 0;
		if (a->state == ALLOC_ACTIVE && a->owner_kind == OWNER_JOB && max64(a->limit_ms, healed) + MS_PER_MIN < t)
			return snprintf(out, out_size, "allocation %" PRIu64 " runs beyond its limit", id) > 0;
	}
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_CLAIM, id)) != 0;)
		/* one without a plan as well: all nodes are back, and a quota is what can be met; but for what the calendar
		 * takes, again and again */
		if (!core_claim(c, id)->offered && (core_claim(c, id)->parts_n || !calendar_takes(c, core_claim(c, id)->flavor)) &&
		    max64(core_claim(c, id)->created_ms, healed) + 25 * MS_PER_MIN < t)
			return snprintf(out, out_size, "claim %" PRIu64 " is neither filled nor dropped", id) > 0;
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_JOB, id)) != 0;) {
		const struct job *j = core_job(c, id);

		if (j->state == JOB_EARMARKED && !core_claim(c, j->claim))
			return snprintf(out, out_size, "job %" PRIu64 " waits for a claim that is gone", id) > 0;
	}
	for (uint32_t u = 0; u < s->users_n; u++)
		for (int h = 0; h < SIM_HOLDERS_MAX; h++) {
			const struct sim_holder *sh = &s->user[u].holder[h];
			const struct lease *l = sh->lease ? core_lease(c, sh->lease) : NULL;

			if (!l || lease_terminal(l->state) || sh->quit)
				continue;
			if (l->state == LEASE_GRACE)
				return snprintf(out, out_size, "lease %" PRIu64 " stays in grace though it is renewed",
						l->id) > 0;
		}
	return false;
}

/* Every device of every machine: what the daemon thinks is held has somebody, or is being given back. */
static void devices_consistent(struct sim *s)
{
	for (uint32_t i = 0; i < s->k.machines && !s->failed; i++) {
		const struct sim_machine *m = &s->machine[i];

		for (uint32_t p = 0; p < m->task_n; p++) {
			const struct sim_task *t = &m->task[p];
			const struct alloc *a = core_alloc(s->d.core, t->alloc);
			bool known = false;

			for (uint32_t k = 0; a && k < a->parts_n; k++)
				known |= a->parts[k].index == t->part && a->parts[k].node == m->node;
			if (t->live && !known)
				sim_violation(s, "liveness: %s still runs on %s, unknown to the daemon", t->name, m->name);
		}
	}
}

bool sim_run(struct sim *s)
{
	char why[160] = "";
	int64_t heal_until;

	s->next_fault_ms = s->now_ms + (s->k.fault_every_ms ? sim_span(s, 1, 2 * s->k.fault_every_ms) : 0);
	sim_wake(s, WAKE_FAULT, s->next_fault_ms);
	run_until(s, s->now_ms + s->k.faults_ms);
	if (!s->failed)
		heal(s);
	/* bounded: the longest time limit, a recall, grace and back-offs fit well inside */
	heal_until = s->now_ms + 4 * MS_PER_HOUR;
	run_until(s, s->now_ms + s->k.heal_ms);
	while (!s->failed && s->now_ms < heal_until && unsettled(s, daemon_t(s), why, sizeof why))
		run_until(s, s->now_ms + 10 * MS_PER_MIN);
	if (!s->failed && unsettled(s, daemon_t(s), why, sizeof why))
		sim_violation(s, "liveness: %s", why);
	if (!s->failed)
		devices_consistent(s);
	if (!s->failed)
		daemon_compare(s);
	if (!s->failed)
		daemon_redecide(s);
	if (!s->failed)
		acks_check(s);
	s->n.virtual_ms = (uint64_t)s->now_ms;
	return !s->failed;
}
