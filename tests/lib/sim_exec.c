/* sim_exec.c - what agents stand on: a disk that forgets, tasks that outlive them; and the observer
 *
 * Disk: an agent's table as records. What was written and not synced is lost with the agent's process, all
 * of it or from some record on; what was synced stays, through reboots as well.
 *
 * Tasks: one slot per name, from its files' making to its release, whoever asks; a known name is not begun
 * again. Processes outlive agents and the network, not reboots. Truth is kept here: what lives on which
 * device, and how each task ended. The observer compares what the daemon makes durable with it.
 */
#include "tests/lib/sim_world.h"

#include "proto/base/ensure.h"
#include "proto/base/instant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- disks ------------------------------------------------------------------------------------------ */

static void entry_apply(struct sim_disk *d, struct sim_entry *e)
{
	uint32_t i = 0;

	switch ((int)e->type) {
	case ACTION_EPOCH:
		if (d->epoch[e->part] < e->value)
			d->epoch[e->part] = e->value;
		return;
	case ACTION_CLUSTER:
		if (d->cluster < e->value)
			d->cluster = e->value;
		return;
	case ACTION_WHOLE: d->lost = false; return;
	default: break;
	}
	while (i < d->n && (d->row[i].alloc != e->alloc || d->row[i].part != e->part))
		i++;
	if (e->type == ACTION_ROW_DEL) {
		if (i == d->n)
			return;
		free(d->row[i].data);
		d->row[i] = d->row[--d->n];
		return;
	}
	if (i == d->n) {
		if (d->n == d->cap) {
			d->cap = d->cap ? d->cap * 2 : 8;
			d->row = xrealloc(d->row, d->cap * sizeof *d->row);
		}
		d->n++;
	} else {
		free(d->row[i].data);
	}
	d->row[i] = *e;
	e->data = NULL; /* moved */
}

void disk_write(struct sim_agent *a, const struct action *act)
{
	struct sim_entry e = {.type = (uint8_t)act->type, .alloc = act->alloc, .part = act->part, .value = act->value};

	if (act->type == ACTION_EPOCH) {
		e.part = (uint16_t)strtoul(act->name + 5, NULL, 16); /* "0000:03:00.0/0" */
		ENSURE(e.part < SIM_DEVICES_MAX);
		a->epoch[e.part] = act->value;
	}
	if (act->type == ACTION_ROW_PUT) {
		e.len = (uint32_t)act->len;
		e.data = xmalloc(act->len + 1);
		memcpy(e.data, act->data, act->len);
	}
	if (a->tail_n == a->tail_cap) {
		a->tail_cap = a->tail_cap ? a->tail_cap * 2 : 16;
		a->tail = xrealloc(a->tail, a->tail_cap * sizeof *a->tail);
	}
	a->tail[a->tail_n++] = e;
}

static void tail_apply(struct sim_machine *m, struct sim_agent *a, uint32_t n)
{
	for (uint32_t i = 0; i < a->tail_n; i++) {
		if (i < n)
			entry_apply(&m->disk, &a->tail[i]);
		free(a->tail[i].data);
	}
	a->tail_n = 0;
}

void disk_sync(struct sim_machine *m, struct sim_agent *a) { tail_apply(m, a, a->tail_n); }

void disk_crash(struct sim *s, struct sim_machine *m, struct sim_agent *a)
{
	uint32_t kept = (uint32_t)sim_below(s, a->tail_n + 1);

	s->n.writes_lost += a->tail_n - kept;
	tail_apply(m, a, kept);
}

void disk_lose(struct sim_machine *m)
{
	for (uint32_t i = 0; i < m->disk.n; i++)
		free(m->disk.row[i].data);
	m->disk.n = 0;
	memset(m->disk.epoch, 0, sizeof m->disk.epoch);
	m->disk.cluster = m->disk.incarnation = 0;
	m->disk.lost = true;
}

void disk_free(struct sim_machine *m)
{
	disk_lose(m);
	free(m->disk.row);
}

/* ---- the observer ------------------------------------------------------------------------------------- */

static bool lost_future(const struct sim *s, uint64_t alloc)
{
	for (uint32_t i = 0; i < s->lost_ids_n; i++)
		if (alloc >= s->lost_ids[i].from && alloc < s->lost_ids[i].to)
			return true;
	return false;
}

static struct sim_machine *machine_of(struct sim *s, uint32_t node)
{
	for (uint32_t i = 0; i < s->k.machines; i++)
		if (s->machine[i].node == node)
			return &s->machine[i];
	return NULL;
}

void observer_allocated(struct sim *s, const struct alloc *a)
{
	for (uint32_t i = 0; i < a->parts_n; i++) {
		const struct sim_machine *m = machine_of(s, a->parts[i].node);

		for (uint32_t k = 0; m && !m->blurred && k < m->task_n; k++)
			if (m->task[k].live && m->task[k].alloc != a->id && (m->task[k].devices & a->parts[i].devices) &&
			    !lost_future(s, m->task[k].alloc))
				sim_violation(s, "double allocation: %" PRIu64 " was given devices of %s on which %s still lives",
					      a->id, m->name, m->task[k].name);
	}
}

static const struct part *part_of(const struct alloc *a, uint16_t index)
{
	for (uint32_t i = 0; a && i < a->parts_n; i++)
		if (a->parts[i].index == index)
			return &a->parts[i];
	return NULL;
}

/* A part is given back: nothing may live on what it had. */
static void part_freed(struct sim *s, uint64_t alloc, const struct part *p)
{
	const struct sim_machine *m = machine_of(s, p->node);

	s->n.frees++;
	for (uint32_t k = 0; m && !m->blurred && k < m->task_n; k++)
		if (m->task[k].live && m->task[k].alloc == alloc &&
		    (p->devices ? (m->task[k].devices & p->devices) != 0 : m->task[k].part == p->index))
			sim_violation(s, "freed without evidence: part %u of allocation %" PRIu64 " on %s, where %s lives",
				      p->index, alloc, m->name, m->task[k].name);
}

/* An exit that the daemon was told: one that happened. */
static void exit_true(struct sim *s, uint64_t alloc, const struct part *p)
{
	bool any = false, zero = false, hidden = false;

	if (machine_of(s, p->node) && machine_of(s, p->node)->blurred)
		return;
	for (uint32_t i = 0; i < ARRAY_LEN(s->exit); i++) {
		const struct sim_exit *e = &s->exit[i];

		if (e->alloc != alloc || e->part != p->index)
			continue;
		if (e->code == p->exit_code && e->signal == p->exit_signal)
			return;
		any = true;
		zero |= !e->code && !e->signal;
		hidden |= e->hidden;
	}
	if (hidden || (!any && !p->exit_code && !p->exit_signal) || p->exit_code == 126 || (!any && p->exit_signal == 9))
		return; /* never began; cannot be run; a shim took the truth with it; or so long ago that it is forgotten */
	sim_violation(s, "an exit was %s: unit %" PRIu64 "/%u is said to have ended with %d, signal %u",
		      any && !zero && !p->exit_code && !p->exit_signal ? "lost" : "made up", alloc, p->index, p->exit_code,
		      p->exit_signal);
}

void observer_changed(struct sim *s, const struct alloc *old, const struct alloc *now)
{
	for (uint32_t i = 0; old && i < old->parts_n; i++)
		if (!part_of(now, old->parts[i].index))
			part_freed(s, old->id, &old->parts[i]);
	for (uint32_t i = 0; now && i < now->parts_n; i++) {
		const struct part *before = part_of(old, now->parts[i].index);

		if (now->owner_kind != OWNER_JOB || now->parts[i].state != PART_EXITED ||
		    (before && before->state == PART_EXITED))
			continue;
		s->n.exits_checked++;
		exit_true(s, now->id, &now->parts[i]);
	}
}

static uint64_t name_hash(const char *name)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
	return h ? h : 1;
}

/* Put a key into a set; true if it was there. */
static bool set_put(uint64_t **set, uint32_t *n, uint32_t *cap, uint64_t key)
{
	uint64_t i;

	if (*n * 2 >= *cap) {
		uint64_t *old = *set;
		uint32_t old_cap = *cap;

		*cap = old_cap ? old_cap * 2 : 256;
		*set = xcalloc(*cap, sizeof **set);
		for (uint32_t k = 0; k < old_cap; k++) {
			if (!old[k])
				continue;
			for (i = old[k] & (*cap - 1); (*set)[i]; i = (i + 1) & (*cap - 1))
				continue;
			(*set)[i] = old[k];
		}
		free(old);
	}
	for (i = key & (*cap - 1); (*set)[i]; i = (i + 1) & (*cap - 1))
		if ((*set)[i] == key)
			return true;
	(*set)[i] = key;
	(*n)++;
	return false;
}

static bool set_has(const uint64_t *set, uint32_t cap, uint64_t key)
{
	for (uint64_t i = key & (cap - 1); cap && set[i]; i = (i + 1) & (cap - 1))
		if (set[i] == key)
			return true;
	return false;
}

static void started_once(struct sim *s, const struct sim_machine *m, const char *name)
{
	uint64_t here = ((uint64_t)(m - s->machine) + 1) * UINT64_C(0x9e3779b97f4a7c15);

	if (set_put(&s->started, &s->started_n, &s->started_cap, name_hash(name) ^ here))
		sim_violation(s, "double start: %s was started twice on %s", name, m->name);
	if (!m->twin && !m->blurred && set_put(&s->started, &s->started_n, &s->started_cap, name_hash(name)))
		sim_violation(s, "double start: %s was started twice", name);
}

void observer_stops(struct sim *s, uint64_t alloc) { (void)set_put(&s->stops, &s->stops_n, &s->stops_cap, alloc); }

/* Nothing is killed unless somebody said so: the daemon, durably; or the work itself, for a silent daemon. */
static void kill_wanted(struct sim *s, const struct sim_machine *m, const struct sim_task *t)
{
	bool exact = s->d.up && !m->rate_ppm && !s->k.daemon_clock_ppm && !s->n.wall_steps; /* one time for all */
	const struct sim_table *allocs = &s->d.store.table[RECORD_ALLOC];
	struct arena arena = {0};
	bool known = false;
	struct alloc a;
	struct err err;

	for (uint32_t i = 0; i < allocs->n; i++) {
		if (allocs->row[i].id != t->alloc)
			continue;
		known = true;
		ENSURE(!schema_decode(schema_of_record(RECORD_ALLOC), allocs->row[i].data, allocs->row[i].len, &a, &arena,
				      &err));
		if (a.owner_kind == OWNER_JOB && !set_has(s->stops, s->stops_cap, t->alloc))
			sim_violation(s, "killed without being told: %s, its allocation is in state %u", t->name, a.state);
		/* a job's deadline only comes nearer; a lease's part may have had an earlier one than the rest now has */
		if (a.owner_kind == OWNER_JOB && a.state == ALLOC_STOPPING && exact && a.stop_at_ms > daemon_t(s) + 10)
			sim_violation(s, "killed %" PRId64 " ms before its time: %s", a.stop_at_ms - daemon_t(s), t->name);
		break;
	}
	/* work that an older copy does not know is left alone until an operator has confirmed that copy */
	if (!known && s->n.restores == 1 && s->d.up && core_cluster(s->d.core)->safe_mode &&
	    !set_has(s->stops, s->stops_cap, t->alloc))
		sim_violation(s, "killed in safe mode: %s, which the daemon does not know", t->name);
	arena_done(&arena);
}

/* ---- tasks ---------------------------------------------------------------------------------------------- */

struct sim_task *task_find(const struct sim_machine *m, const char *name)
{
	for (uint32_t i = 0; i < m->task_n; i++)
		if (!strcmp(m->task[i].name, name))
			return &m->task[i];
	return NULL;
}

struct sim_task *task_new(struct sim_machine *m, const char *name, uint64_t alloc, uint16_t part, uint64_t devices)
{
	struct sim_task *t;

	if (m->task_n == m->task_cap) {
		m->task_cap = m->task_cap ? m->task_cap * 2 : 8;
		m->task = xrealloc(m->task, m->task_cap * sizeof *m->task);
	}
	t = &m->task[m->task_n++];
	*t = (struct sim_task){.alloc = alloc, .devices = devices, .part = part, .end_ms = T_NEVER};
	(void)snprintf(t->name, sizeof t->name, "%s", name);
	return t;
}

/* What a holder ran inside a lease by himself, where another machine with the same boot id may have proven for it that
 * the devices are idle: nobody can tell the two apart. */
static bool entered_unseen(const struct sim_machine *m, const struct sim_task *t)
{
	return (m->blurred || m->same_boot) && strstr(t->name, "-x");
}

void task_begin(struct sim *s, struct sim_machine *m, struct sim_task *t, const struct unit *u)
{
	bool job = u->kind == UNIT_JOB_SCRIPT || u->kind == UNIT_JOB_COMMAND;
	int64_t most = job && u->time_left_ms != T_NEVER ? u->time_left_ms : 20 * MS_PER_MIN;

	started_once(s, m, t->name);
	for (uint32_t i = 0; i < m->task_n; i++)
		/* after a restore of an older copy both its work and that of the lost future believe in a device, until an
		 * operator has confirmed the copy */
		if (m->task[i].live && (m->task[i].devices & t->devices) && m->task[i].alloc != t->alloc &&
		    !lost_future(s, m->task[i].alloc) && !lost_future(s, t->alloc) && !entered_unseen(m, &m->task[i]))
			sim_violation(s, "double allocation: %s and %s live on one device of %s", m->task[i].name, t->name,
				      m->name);
	t->begun = t->live = true;
	t->started_ms = s->now_ms;
	if (job ? !sim_chance(s, 100000) : sim_chance(s, 300000))
		t->end_ms = s->now_ms + sim_span(s, 500, most > 1000 ? most : 1000);
	if (sim_chance(s, 150000)) {
		t->exit_code = (int32_t)sim_span(s, 1, 3);
		t->oom = sim_chance(s, 100000);
	}
	s->n.starts++;
	sim_say(s, "%s: %s begins", m->name, t->name);
	sim_trace(s, t->alloc << 16 ^ t->part ^ 0x57a);
}

static void emptied(struct sim *s, struct sim_task *t)
{
	t->live = false;
	t->end_ms = T_NEVER;
	s->n.device_ms += (uint64_t)(s->now_ms - t->started_ms) * (uint64_t)__builtin_popcountll(t->devices);
	sim_trace(s, t->alloc << 16 ^ t->part ^ 0xe0d);
}

static void exit_note(struct sim *s, const struct sim_task *t)
{
	s->exit[s->exits_n++ % ARRAY_LEN(s->exit)] = (struct sim_exit){.alloc = t->alloc,
								      .part = t->part,
								      .code = t->exit_signal ? 0 : t->exit_code,
								      .signal = t->exit_signal,
								      .hidden = t->hidden || t->rebooted};
}

static void task_ends(struct sim *s, struct sim_task *t)
{
	if (!t->ended) {
		t->ended = true;
		exit_note(s, t);
		sim_say(s, "%s ends with %d, signal %u", t->name, t->exit_code, t->exit_signal);
		if (!t->exit_signal && sim_chance(s, 30000)) { /* its children stay */
			s->n.leftovers++;
			t->end_ms = sim_chance(s, 500000) ? T_NEVER : s->now_ms + sim_span(s, 1, 10 * MS_PER_MIN);
			return;
		}
	}
	emptied(s, t);
}

int64_t tasks_step(struct sim *s, struct sim_machine *m)
{
	int64_t next = T_NEVER;

	for (uint32_t i = 0; i < m->task_n; i++) {
		struct sim_task *t = &m->task[i];
		char name[AGENT_NAME_BYTES];

		if (!t->live || t->end_ms > s->now_ms)
			continue;
		task_ends(s, t);
		memcpy(name, t->name, sizeof name);
		machine_task_changed(s, m, name); /* may make, end or release others */
		i = UINT32_MAX;
	}
	for (uint32_t i = 0; i < m->task_n; i++)
		if (m->task[i].live && m->task[i].end_ms < next)
			next = m->task[i].end_ms;
	return next;
}

/* A notice or a signal: most end by themselves then. */
void task_signal(struct sim *s, struct sim_machine *m, const char *name, int64_t within_ms)
{
	struct sim_task *t = task_find(m, name);
	int64_t at;

	if (!t || !t->live || t->ended || t->stuck || sim_chance(s, 300000))
		return;
	at = s->now_ms + sim_span(s, 0, within_ms);
	if (at < t->end_ms)
		t->end_ms = at;
}

void task_kill(struct sim *s, struct sim_machine *m, const char *name)
{
	struct sim_task *t = task_find(m, name);

	if (!t || !t->live || t->stuck)
		return;
	s->n.kills++;
	if (!t->ended && strstr(name, "-t") && !strstr(name, "-r") && !m->twin && !m->blurred)
		kill_wanted(s, m, t);
	if (!t->ended)
		t->exit_signal = 9;
	if (s->canary == CANARY_RELEASE_TOO_EARLY) { /* the layer says that it is over, and it is not */
		t->ended = t->hidden = true;
		t->live = false;
		(void)task_new(m, "a-zombie", t->alloc, t->part, t->devices);
		m->task[m->task_n - 1].live = m->task[m->task_n - 1].begun = true;
		return;
	}
	t->stuck = sim_chance(s, s->healed ? 0 : s->k.stuck_ppm);
	s->n.unkillable += t->stuck;
	t->end_ms = s->now_ms + (t->stuck ? sim_span(s, MS_PER_MIN, 10 * MS_PER_MIN) : sim_span(s, 0, 50));
}

void task_release(struct sim *s, struct sim_machine *m, const char *name)
{
	struct sim_task *t = task_find(m, name);

	if (!t)
		return;
	if (t->live) {
		sim_violation(s, "released while it lives: %s", name);
		return;
	}
	*t = m->task[--m->task_n];
}

void task_status(const struct sim_task *t, struct task_status *ret)
{
	*ret = (struct task_status){.state = TASK_NONE, .empty = true};
	if (!t)
		return;
	ret->empty = !t->live;
	ret->state = !t->begun    ? TASK_UNSTARTED :
		     t->rebooted  ? TASK_REBOOTED :
		     t->hidden    ? TASK_OUT_OF_SIGHT :
		     t->ended     ? TASK_ENDED :
				    TASK_LIVE;
	if (ret->state == TASK_ENDED) {
		ret->exit_code = t->exit_signal ? 0 : t->exit_code;
		ret->exit_signal = t->exit_signal;
		ret->oom = t->oom;
	}
}

void tasks_reboot(struct sim *s, struct sim_machine *m)
{
	for (uint32_t i = 0; i < m->task_n; i++) {
		struct sim_task *t = &m->task[i];

		if (t->live)
			emptied(s, t);
		if (t->begun) {
			t->rebooted = true;
			if (!t->ended)
				exit_note(s, t);
			t->ended = true;
		}
	}
}
