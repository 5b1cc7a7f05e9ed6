/* agent.c - see agent.h
 *
 *   ABSENT ──checks, prolog, payload, port──▶ PREPARED ──RUN──▶ RUNNING ──all ended, or one failed──▶ EXITED
 *      │ one of them fails                       │               │ shim lost, processes left ⇄ UNKNOWN  │
 *      ▼                                         │               │                                      │
 *   FAILED ──────────────────────── STOP ────────┴───────────────┴──────── STOP ────────────────────────┤
 *        notice, SIGTERM, SIGKILL ─▶ (UNKILLABLE) ─▶ no process left ─▶ epilog ─▶ devices idle ─▶ RELEASED
 *   any but RELEASED ──other boot id──▶ LOST                        RELEASED, LOST ──acknowledged──▶ no row
 *
 * row_step() moves one unit as far as it goes; every input that touches a unit ends in it. Actions wait in
 * one queue. Rows that changed are written out lazily: before the first action that must not overtake
 * them (a start, a release, a report), so that whatever one DESIRED starts shares one sync.
 */
#include "agent/core/agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/row.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/prng.h"
#include "proto/model/names.h"

enum {
	SIG_TERM = 15, /* the wire's numbers are Linux's */
	SIG_KILL = 9,
	LOOK_MS = 1000,       /* between looks at what is left of a task: its shim may be gone, and then nobody tells */
	KILL_AGAIN_MS = 10000, /* what was told to kill may have been kept from it: its user may stop a shim */
	TERM_LEAD_MS = 10000, /* SIGTERM comes so long before SIGKILL when the notice was another signal */
	FENCE_STOP_MS = 30000,
	BACKOFF_MIN_MS = 1000, /* of a service whose payload says nothing */
	BACKOFF_MAX_MS = 60000,
	HEALTH_EVERY_MS = 10000,
	HEALTH_TIMEOUT_MS = 5000,
	HEALTH_FAILS = 3,
	GAP_HEARTBEATS = 3, /* DESIRED did not come although the daemon has a newer one */
	REPORT_MS = 2,         /* between reports of a node with few rows */
	REPORT_ROWS_PER_MS = 16,
	SCRUB_AGAIN_MS = 250, /* a driver needs a moment to take back memory; then ever longer */
	SCRUB_AGAIN_MAX_MS = 10000,
	EPILOG_AGAIN_MS = 10000, /* after one that failed; then ever longer */
	EPILOG_AGAIN_MAX_MS = 300000,
	EXIT_CANNOT = 126,  /* as a shell says: found, but cannot be run */
};

enum conn { CONN_DOWN, CONN_GREETING, CONN_UP };

struct gone { uint64_t alloc; uint16_t part; };
/* Beside the rows, for the table may be lost and not what is left. */
struct leftover { uint64_t alloc; uint16_t part; unsigned what; };
struct epoch { char device[AGENT_DEVICE_BYTES]; uint64_t value; };

struct agent {
	struct agent_cfg cfg;
	struct prng prng;
	struct row **rows; /* ascending by (alloc, part) */
	uint32_t rows_n;
	bool ready;
	bool suspicious; /* the table was lost: a task that ended and has no row is no leftover */
	bool starved;    /* a unit found no row */

	struct action *queue; /* from `head` on */
	size_t head, tail, cap;
	bool flushing, sync_wanted;
	struct gone *gone;
	uint32_t gone_n;
	struct leftover *lefts;
	uint32_t lefts_n;
	struct epoch *epochs;
	uint32_t epochs_n;
	uint64_t epoch; /* highest seen */
	uint64_t alloc_seen;
	bool epoch_dirty, whole_dirty;
	struct buf bytes;
	struct arena scratch;

	uint8_t conn; /* enum conn */
	uint64_t session, rev_seen, counter;
	int64_t hb_ms;
	int64_t down_ms;      /* since when there is no daemon */
	int64_t heard_ms;     /* last sign of life */
	int64_t conn_at_ms;   /* greeting: when to give up; down: when to reopen; 0: never */
	int64_t hb_at_ms;
	int64_t report_at_ms; /* 0: nothing to report */
	int64_t reported_ms;
	int64_t backoff_ms;
	uint32_t gaps;
	uint64_t next_extra;
	struct agent_counts counts;
};

void agent_cfg_default(struct agent_cfg *cfg)
{
	*cfg = (struct agent_cfg){
		.port_first = 20000,
		.port_last = 29999,
		.report_ms = 20,
		.resend_ms = 5000,
		.unkillable_ms = 60000,
		.fence_ms = 600000,
		.greet_ms = 10000,
		.backoff_ms = 1000,
		.backoff_max_ms = 30000,
	};
}

struct agent *agent_new(const struct agent_cfg *cfg)
{
	struct agent *a = xcalloc(1, sizeof *a);

	a->cfg = *cfg;
	a->epoch = cfg->epoch_seen;
	a->alloc_seen = cfg->alloc_seen;
	a->suspicious = cfg->table_rebuilt;
	a->backoff_ms = cfg->backoff_ms;
	a->hb_ms = cfg->heartbeat_ms ? cfg->heartbeat_ms : 5000;
	/* Names of commands inside units must not repeat over restarts of the agent. */
	a->next_extra = (cfg->incarnation << 24) + 1;
	prng_seed(&a->prng, cfg->incarnation);
	return a;
}

void agent_free(struct agent *a)
{
	if (!a)
		return;
	for (uint32_t i = 0; i < a->rows_n; i++)
		row_free(a->rows[i]);
	free(a->rows);
	free(a->queue);
	free(a->gone);
	free(a->lefts);
	free(a->epochs);
	buf_done(&a->bytes);
	arena_done(&a->scratch);
	free(a);
}

/* ---- names ------------------------------------------------------------------------------------------- */

static void task_name(const struct row *r, uint32_t task, uint32_t run, char out[AGENT_NAME_BYTES])
{
	int n = snprintf(out, AGENT_NAME_BYTES, "a%" PRIu64 "-p%u-t%" PRIu32, r->unit.alloc, (unsigned)r->unit.part, task);

	if (run)
		(void)snprintf(out + n, AGENT_NAME_BYTES - (size_t)n, "-r%" PRIu32, run);
}

static void extra_name(const struct row *r, uint64_t id, char out[AGENT_NAME_BYTES])
{
	(void)snprintf(out, AGENT_NAME_BYTES, "a%" PRIu64 "-p%u-x%" PRIu64, r->unit.alloc, (unsigned)r->unit.part, id);
}

/* A decimal number without leading zeros, at most `max`. */
static const char *number(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (*s < '0' || *s > '9' || (*s == '0' && s[1] >= '0' && s[1] <= '9'))
		return NULL;
	for (; *s >= '0' && *s <= '9'; s++) {
		uint64_t digit = (uint64_t)(*s - '0');

		if (v > (max - digit) / 10)
			return NULL;
		v = v * 10 + digit;
	}
	*ret = v;
	return s;
}

bool agent_name_parse(const char *name, uint64_t *ret_alloc, uint16_t *ret_part, char *ret_kind, uint64_t *ret_index,
		      uint32_t *ret_run)
{
	uint64_t alloc, part, index, run = 0;
	const char *s = name;
	char kind;

	if (*s++ != 'a' || !(s = number(s, UINT64_MAX, &alloc)) || strncmp(s, "-p", 2) != 0 ||
	    !(s = number(s + 2, UINT16_MAX, &part)) || *s++ != '-' || (*s != 't' && *s != 'x'))
		return false;
	kind = *s++;
	s = number(s, kind == 't' ? TASKS_PER_PART_MAX - 1 : UINT64_MAX, &index);
	if (!s)
		return false;
	if (*s && kind == 't' && (strncmp(s, "-r", 2) != 0 || !(s = number(s + 2, UINT32_MAX, &run))))
		return false;
	if (*s)
		return false;
	*ret_alloc = alloc;
	*ret_part = (uint16_t)part;
	*ret_kind = kind;
	*ret_index = index;
	*ret_run = (uint32_t)run;
	return true;
}

/* ---- rows -------------------------------------------------------------------------------------------- */

/* Where (alloc, part) is, or would be. */
static uint32_t row_place(const struct agent *a, uint64_t alloc, uint16_t part)
{
	uint32_t lo = 0, hi = a->rows_n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct unit *u = &a->rows[mid]->unit;

		if (u->alloc < alloc || (u->alloc == alloc && u->part < part))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct row *row_find(const struct agent *a, uint64_t alloc, uint16_t part)
{
	uint32_t i = row_place(a, alloc, part);

	if (i < a->rows_n && a->rows[i]->unit.alloc == alloc && a->rows[i]->unit.part == part)
		return a->rows[i];
	return NULL;
}

static void row_insert(struct agent *a, struct row *r)
{
	uint32_t i = row_place(a, r->unit.alloc, r->unit.part);

	a->rows = xrealloc(a->rows, (a->rows_n + 1) * sizeof *a->rows);
	memmove(a->rows + i + 1, a->rows + i, (a->rows_n - i) * sizeof *a->rows);
	a->rows[i] = r;
	a->rows_n++;
}

static void push(struct agent *a, const struct action *action)
{
	if (a->head == a->tail)
		a->head = a->tail = 0;
	if (a->tail == a->cap) {
		a->cap = a->cap ? a->cap * 2 : 64;
		a->queue = xrealloc(a->queue, a->cap * sizeof *a->queue);
	}
	a->queue[a->tail++] = *action;
}

static void push_simple(struct agent *a, enum action_type type)
{
	push(a, &(struct action){.type = type});
}

static void push_named(struct agent *a, enum action_type type, const struct row *r, const char *name)
{
	struct action action = {.type = type, .alloc = r->unit.alloc, .part = r->unit.part};

	(void)snprintf(action.name, sizeof action.name, "%s", name);
	push(a, &action);
}

static void push_unit(struct agent *a, enum action_type type, const struct row *r, uint64_t value)
{
	push(a, &(struct action){.type = type, .alloc = r->unit.alloc, .part = r->unit.part, .value = value});
}

static void push_hash(struct agent *a, enum action_type type, const uint8_t hash[32])
{
	struct action action = {.type = type};

	memcpy(action.hash, hash, sizeof action.hash);
	push(a, &action);
}

static void keep(struct agent *a, struct row *r, bool sync)
{
	r->dirty = true;
	a->sync_wanted |= sync;
}

/* A report holds all rows, so a node with many tells less often. */
static int64_t report_every(const struct agent *a)
{
	int64_t ms = REPORT_MS + a->rows_n / REPORT_ROWS_PER_MS;

	return ms < a->cfg.report_ms ? ms : a->cfg.report_ms;
}

static void want_report(struct agent *a, struct agent_now now)
{
	if (!a->report_at_ms)
		a->report_at_ms = a->reported_ms && a->reported_ms + report_every(a) > now.ms ?
					  a->reported_ms + report_every(a) : now.ms;
}

static void set_state(struct agent *a, struct agent_now now, struct row *r, enum unit_state state)
{
	if (r->state == state)
		return;
	r->state = (uint8_t)state;
	keep(a, r, false);
	want_report(a, now);
}

static bool hash_zero(const uint8_t hash[32])
{
	static const uint8_t zero[32];

	return memcmp(hash, zero, sizeof zero) == 0;
}

bool agent_payload_used(const struct agent *a, const uint8_t hash[32])
{
	for (uint32_t i = 0; i < a->rows_n; i++)
		if (!row_final(a->rows[i]) && memcmp(a->rows[i]->unit.payload, hash, 32) == 0)
			return true;
	return false;
}

static void payload_unneeded(struct agent *a, const uint8_t hash[32])
{
	if (!hash_zero(hash) && !agent_payload_used(a, hash))
		push_hash(a, ACTION_FORGET, hash);
}

static void row_remove(struct agent *a, struct row *r)
{
	uint32_t i = row_place(a, r->unit.alloc, r->unit.part);

	ENSURE(a->rows[i] == r);
	a->gone = xrealloc(a->gone, (a->gone_n + 1) * sizeof *a->gone);
	a->gone[a->gone_n++] = (struct gone){r->unit.alloc, r->unit.part};
	memmove(a->rows + i, a->rows + i + 1, (a->rows_n - i - 1) * sizeof *a->rows);
	a->rows_n--;
	row_free(r);
}

/* Ended or out of sight, with processes left. */
static bool left_over(const struct task_status *st)
{
	return (st->state == TASK_ENDED || st->state == TASK_OUT_OF_SIGHT) && !st->empty;
}

/* What is left of a unit besides its tasks and commands, of enum left. */
static unsigned left_of(const struct agent *a, const struct row *r)
{
	for (uint32_t i = 0; i < a->lefts_n; i++)
		if (a->lefts[i].alloc == r->unit.alloc && a->lefts[i].part == r->unit.part)
			return a->lefts[i].what;
	return 0;
}

static bool task_live(const struct task_status *st)
{
	return st->state == TASK_LIVE || left_over(st);
}

static uint32_t run_of(const struct row *r)
{
	return r->unit.kind == UNIT_SERVICE ? r->restarts : 0;
}

static void push_hook(struct agent *a, enum action_type type, const struct row *r, enum hook hook, enum hook_how how)
{
	push(a, &(struct action){.type = type, .alloc = r->unit.alloc, .part = r->unit.part, .hook = hook, .value = how});
}

/* Every task and command of a unit that the execution layer may know. */
static void release_all(struct agent *a, struct row *r)
{
	char name[AGENT_NAME_BYTES];

	for (uint32_t i = 0; i < r->tasks_n; i++) {
		if (!r->tasks[i].begun)
			continue;
		task_name(r, i, run_of(r), name);
		push_named(a, ACTION_RELEASE, r, name);
	}
	for (uint32_t i = 0; i < r->extras_n; i++) {
		extra_name(r, r->extras[i].id, name);
		push_named(a, ACTION_RELEASE, r, name);
	}
	if (r->prologued)
		push_hook(a, ACTION_HOOK_FORGET, r, HOOK_PROLOG, HOOK_WAIT);
	if (a->cfg.epilog && row_touched(r))
		push_hook(a, ACTION_HOOK_FORGET, r, HOOK_EPILOG, HOOK_WAIT);
	push_unit(a, ACTION_CLEAN, r, 0);
}

static void fail(struct agent *a, struct agent_now now, struct row *r, const char *text)
{
	(void)snprintf(r->text, sizeof r->text, "%s", text);
	a->counts.refused++;
	set_state(a, now, r, UNIT_FAILED);
}

/* ---- preparing --------------------------------------------------------------------------------------- */

/* From now on nothing older takes these devices. */
static void raise_epochs(struct agent *a, const struct row *r)
{
	for (uint32_t i = 0; i < r->unit.devices_n; i++) {
		struct epoch e = {.value = r->unit.alloc};

		row_device_name(&r->unit.devices[i], e.device);
		if (a->cfg.epoch_of(a->cfg.ctx, e.device) >= e.value)
			continue;
		a->epochs = xrealloc(a->epochs, (a->epochs_n + 1) * sizeof *a->epochs);
		a->epochs[a->epochs_n++] = e;
		if (a->alloc_seen < e.value)
			a->alloc_seen = e.value;
		a->sync_wanted = true;
	}
}

static bool check(struct agent *a, struct agent_now now, struct row *r)
{
	char name[AGENT_DEVICE_BYTES], text[TEXT_BYTES];

	for (uint32_t k = 0; k < a->rows_n && r->unit.devices_n; k++) {
		if (a->rows[k] == r || !row_hides_devices(a->rows[k]))
			continue;
		(void)snprintf(text, sizeof text, "allocation %" PRIu64 " was found running here, on devices that nobody knows",
			       a->rows[k]->unit.alloc);
		fail(a, now, r, text);
		return false;
	}
	for (uint32_t i = 0; i < r->unit.devices_n; i++) {
		uint64_t epoch;

		row_device_name(&r->unit.devices[i], name);
		for (uint32_t k = 0; k < a->rows_n; k++) {
			const struct row *other = a->rows[k];

			if (other == r || !row_lives(other) || !row_has_device(other, name))
				continue;
			(void)snprintf(text, sizeof text, "device %s is still held by allocation %" PRIu64, name,
				       other->unit.alloc);
			fail(a, now, r, text);
			return false;
		}
		epoch = a->cfg.epoch_of(a->cfg.ctx, name);
		if (epoch > r->unit.alloc || (epoch == r->unit.alloc && !r->kept)) {
			(void)snprintf(text, sizeof text, "device %s was bound by allocation %" PRIu64 " since", name, epoch);
			fail(a, now, r, text);
			return false;
		}
	}
	raise_epochs(a, r);
	return true;
}

/* Has the prolog succeeded, or is there none? Begins it if need be; the answer leads back to row_step. */
static bool prolog_fine(struct agent *a, struct row *r, enum hook_how how)
{
	if (r->prolog == HOOK_FINE || (!a->cfg.prolog && !r->prologued))
		return true;
	if (r->prolog != HOOK_NOT)
		return false;
	r->prolog = HOOK_RUNS;
	if (!r->prologued) {
		r->prologued = true;
		keep(a, r, true); /* before it leaves: who comes back has to know that there may be one */
	}
	push_hook(a, ACTION_HOOK, r, HOOK_PROLOG, how);
	return false;
}

static bool wants_port(const struct row *r)
{
	return row_runs(r) && (r->unit.kind == UNIT_SERVICE || r->unit.rank0 == 0);
}

/* ---- tasks ------------------------------------------------------------------------------------------- */

static void begin(struct agent *a, struct row *r, uint32_t i)
{
	struct action action = {.type = ACTION_START, .alloc = r->unit.alloc, .part = r->unit.part, .task = i,
				.value = run_of(r)};

	task_name(r, i, run_of(r), action.name);
	r->tasks[i].begun = true;
	r->tasks[i].killed = false;
	r->tasks[i].st = (struct task_status){.state = TASK_LIVE};
	a->counts.starts++;
	push(a, &action);
}

/* Did the agent die after the row was synced and before this task came to be? */
static bool task_unbegun(const struct task *t) { return !t->begun || t->st.state == TASK_UNSTARTED; }

static bool row_unbegun(const struct row *r)
{
	for (uint32_t i = 0; i < r->tasks_n; i++)
		if (task_unbegun(&r->tasks[i]))
			return true;
	return false;
}

/* Begin what was promised and certainly never began. Its payload is at hand by now, or was refused, which
 * the start then reports. */
static void begin_rest(struct agent *a, struct row *r)
{
	char name[AGENT_NAME_BYTES];

	r->begin_rest = false;
	for (uint32_t i = 0; i < r->tasks_n; i++) {
		if (!task_unbegun(&r->tasks[i]))
			continue;
		task_name(r, i, run_of(r), name);
		if (r->tasks[i].st.state == TASK_UNSTARTED)
			push_named(a, ACTION_RELEASE, r, name);
		begin(a, r, i);
	}
}

/* The same as soon as the payload is there: an agent that was started anew has to read it first. */
static void begin_rest_soon(struct agent *a, struct row *r)
{
	if (hash_zero(r->unit.payload) || r->fetched) {
		begin_rest(a, r);
		return;
	}
	r->begin_rest = true;
	if (!r->fetching) {
		r->fetching = true;
		push_hash(a, ACTION_FETCH, r->unit.payload);
	}
}

static void run(struct agent *a, struct agent_now now, struct row *r)
{
	r->started = true;
	keep(a, r, true);
	r->run_ms = now.ms;
	r->health_ms = 0;
	r->healthy = !row_runs(r);
	set_state(a, now, r, UNIT_RUNNING);
	if (row_runs(r))
		begin_rest_soon(a, r);
}

static void note_exit(struct row *r, const struct task_status *st)
{
	if (r->exit_code || r->exit_signal)
		return;
	r->exit_code = st->exit_signal ? 0 : st->exit_code;
	r->exit_signal = st->exit_signal;
	r->oom = st->oom;
	if (st->error && st->error[0])
		(void)snprintf(r->text, sizeof r->text, "%s", st->error);
}

/* A replica ended, or has been judged sick: what is left of it goes, then the next one comes. */
static void service_step(struct agent *a, struct agent_now now, struct row *r)
{
	struct task *t = &r->tasks[0];
	char name[AGENT_NAME_BYTES];
	int64_t least = r->service.backoff_min_ms > 0 ? r->service.backoff_min_ms : BACKOFF_MIN_MS;
	int64_t most = r->service.backoff_max_ms > 0 ? r->service.backoff_max_ms : BACKOFF_MAX_MS;

	if (t->st.state != TASK_ENDED && !(t->st.state == TASK_OUT_OF_SIGHT && t->st.empty))
		return;
	if (!t->st.empty) {
		if (!t->killed) {
			t->killed = true;
			a->counts.kills++;
			task_name(r, 0, run_of(r), name);
			push_named(a, ACTION_KILL, r, name);
		}
		return;
	}
	if (!r->service.known) { /* comes from the disk or the daemon; then we are called again */
		if (!r->fetching) {
			r->fetching = true;
			push_hash(a, ACTION_FETCH, r->unit.payload);
		}
		return;
	}
	if (!r->restart_ms) {
		if (r->healthy)
			want_report(a, now);
		r->healthy = false;
		if (now.ms - r->run_ms > most)
			r->backoff_ms = 0;
		r->backoff_ms = r->backoff_ms ? (r->backoff_ms < most / 2 ? r->backoff_ms * 2 : most) : least;
		r->restart_ms = now.ms + r->backoff_ms;
	}
	if (now.ms < r->restart_ms)
		return;
	task_name(r, 0, run_of(r), name);
	r->restart_ms = 0;
	r->restarts++;
	a->counts.restarts++;
	r->run_ms = now.ms;
	r->health_ms = 0;
	r->health_fails = 0;
	r->exit_code = 0;
	r->exit_signal = 0;
	r->oom = false;
	r->text[0] = '\0';
	keep(a, r, true);
	want_report(a, now);
	push_named(a, ACTION_RELEASE, r, name);
	begin(a, r, 0);
}

static void health_step(struct agent *a, struct agent_now now, struct row *r)
{
	if (!r->service.known || r->tasks[0].st.state != TASK_LIVE)
		return;
	if (!r->service.has_health) {
		if (!r->healthy)
			want_report(a, now);
		r->healthy = true;
		return;
	}
	if (!r->health_ms)
		r->health_ms = r->run_ms + (r->service.every_ms < 1000 ? r->service.every_ms : 1000);
	if (r->health_running || now.ms < r->health_ms)
		return;
	r->health_running = true;
	r->health_ms = now.ms + r->service.every_ms;
	push_unit(a, ACTION_HEALTH, r, (uint64_t)r->service.timeout_ms);
}

/* ---- stopping ---------------------------------------------------------------------------------------- */

/* Does command `x` of another unit of the same allocation keep a device of `r`? So it is when a part of a
 * bare lease is given back while a command started before still has all its devices. */
static bool extra_blocks(const struct row *owner, const struct extra *x, const struct row *r)
{
	if (owner == r || owner->unit.alloc != r->unit.alloc || !task_live(&x->st))
		return false;
	if (x->all_devices)
		return r->unit.devices_n > 0;
	for (uint32_t i = 0; i < x->devices_n; i++)
		if (row_has_device(r, x->devices[i]))
			return true;
	return false;
}

enum stop_do { STOP_COUNT, STOP_NOTICE, STOP_TERM, STOP_KILL, STOP_KILL_AGAIN };

static void notice_text(const struct row *r, struct agent_now now, char out[AGENT_NOTICE_BYTES])
{
	int64_t left = r->stop_at_ms > now.ms ? r->stop_at_ms - now.ms : 0;

	(void)snprintf(out, AGENT_NOTICE_BYTES,
		       "{\"cause\":\"%s\",\"deadline_unix\":%" PRId64 ",\"seconds\":%" PRId64 ",\"attempt\":%" PRIu32
		       ",\"claim\":%" PRIu64 "}",
		       end_cause_name(r->unit.stop_cause), (now.unix_ms + left) / MS_PER_S, left / MS_PER_S,
		       r->unit.attempt, r->unit.claim);
}

static void stop_one(struct agent *a, struct agent_now now, const struct row *r, const char *name, enum stop_do what,
		     int signo, bool all)
{
	struct action action = {.signo = signo, .all = all, .alloc = r->unit.alloc, .part = r->unit.part};

	switch (what) {
	case STOP_COUNT: return;
	case STOP_NOTICE:
		action.type = ACTION_NOTICE;
		notice_text(r, now, action.text);
		a->counts.notices++;
		break;
	case STOP_TERM: action.type = ACTION_SIGNAL; break;
	case STOP_KILL:
	case STOP_KILL_AGAIN:
		action.type = ACTION_KILL;
		a->counts.kills++;
		break;
	}
	(void)snprintf(action.name, sizeof action.name, "%s", name);
	push(a, &action);
}

/* Which signal a stop begins with. */
static int first_signal(const struct row *r)
{
	if (r->unit.signal)
		return r->unit.signal;
	return r->unit.kind == UNIT_SERVICE && r->service.stop_signal ? r->service.stop_signal : SIG_TERM;
}

/* Do `what` to everything of the unit that still has processes; returns how many those are. What hooks and health commands
 * left is counted, and ended by the shell; so is a health command that runs. */
static uint32_t stop_each(struct agent *a, struct agent_now now, struct row *r, enum stop_do what)
{
	int signo = what == STOP_TERM ? SIG_TERM : first_signal(r);
	bool custom = signo != SIG_TERM && r->unit.kind != UNIT_SERVICE;
	char name[AGENT_NAME_BYTES];
	uint32_t live = left_of(a, r) != 0, steps = 0;

	live += r->health_running;
	for (uint32_t i = 0; i < r->extras_n; i++)
		steps += task_live(&r->extras[i].st);
	for (uint32_t i = 0; i < r->tasks_n; i++) {
		struct task *t = &r->tasks[i];
		bool leader = custom && r->unit.signal_target == SIGNAL_BATCH;
		int sig = signo;

		if (!t->begun || !task_live(&t->st))
			continue;
		live++;
		if (what == STOP_KILL && t->killed && t->st.state != TASK_OUT_OF_SIGHT)
			continue;
		t->killed |= what >= STOP_KILL;
		/* A signal of the user's choice goes to the batch shell if it was meant for that, else to the
		 * steps in it; a shell without steps runs the program itself. */
		if (custom && (leader ? i > 0 : r->unit.kind == UNIT_JOB_SCRIPT && steps > 0))
			sig = 0;
		task_name(r, i, run_of(r), name);
		stop_one(a, now, r, name, what, sig, !leader);
	}
	for (uint32_t k = 0; k < a->rows_n; k++) {
		struct row *owner = a->rows[k];

		for (uint32_t i = 0; i < owner->extras_n; i++) {
			struct extra *x = &owner->extras[i];

			if (owner == r ? !task_live(&x->st) : !extra_blocks(owner, x, r))
				continue;
			live++;
			if (what == STOP_KILL && x->killed && x->st.state != TASK_OUT_OF_SIGHT)
				continue;
			x->killed |= what >= STOP_KILL;
			extra_name(owner, x->id, name);
			stop_one(a, now, r, name, what,
				 custom && r->unit.signal_target == SIGNAL_BATCH ? 0 : signo, true);
		}
	}
	return live;
}

/* Are its devices fit for the next one? Asks if that is not known; the answer leads back here. */
static bool proven(struct agent *a, struct agent_now now, struct row *r)
{
	if (!a->cfg.scrub || !r->unit.devices_n || !row_touched(r) || r->scrubbed)
		return true;
	if (r->scrubbing || now.ms < r->scrub_at_ms)
		return false;
	r->scrubbing = true;
	if (!r->scrub_begin_ms)
		r->scrub_begin_ms = now.ms;
	push_unit(a, ACTION_SCRUB, r, 0);
	return false;
}

/* Has what the prolog and the tasks did been undone? As for proven(). A prolog that runs is waited for: it is not
 * killed halfway for work that is not wanted any more. */
static bool epilog_fine(struct agent *a, struct agent_now now, struct row *r)
{
	if (r->state == UNIT_ABSENT && r->prologued && !prolog_fine(a, r, HOOK_WAIT))
		return false;
	if (!a->cfg.epilog || !row_touched(r) || r->epilog == HOOK_FINE)
		return true;
	if (r->epilog == HOOK_RUNS || now.ms < r->epilog_at_ms)
		return false;
	push_hook(a, ACTION_HOOK, r, HOOK_EPILOG, r->epilog == HOOK_FAILED ? HOOK_ANEW : HOOK_TAKE);
	r->epilog = HOOK_RUNS;
	return false;
}

/* An elastic job has another size from now on: the same descriptor and file as for a stop, but no signal:
 * that would end a program that does not know better. */
static void resize_tell(struct agent *a, struct row *r)
{
	struct action action = {.type = ACTION_NOTICE, .all = true, .alloc = r->unit.alloc, .part = r->unit.part};

	(void)snprintf(action.text, sizeof action.text,
		       "{\"cause\":\"resize\",\"nodes\":%" PRIu32 ",\"units\":%" PRIu32 ",\"world\":%" PRIu32
		       ",\"nodes_min\":%" PRIu32 ",\"nodes_max\":%" PRIu32 ",\"attempt\":%" PRIu32 "}",
		       r->unit.nodes_now, r->unit.units_now, r->unit.world, r->unit.nodes_min, r->unit.nodes_max,
		       r->unit.attempt);
	for (uint32_t i = 0; i < r->tasks_n; i++) {
		if (!r->tasks[i].begun || !task_live(&r->tasks[i].st))
			continue;
		task_name(r, i, run_of(r), action.name);
		a->counts.notices++;
		push(a, &action);
	}
}

static void finish(struct agent *a, struct agent_now now, struct row *r)
{
	if (!epilog_fine(a, now, r) || !proven(a, now, r))
		return;
	if (r->unit.kind == UNIT_SERVICE && r->tasks_n && r->tasks[0].st.state == TASK_ENDED)
		note_exit(r, &r->tasks[0].st);
	set_state(a, now, r, UNIT_RELEASED);
	keep(a, r, true);
	release_all(a, r);
	payload_unneeded(a, r->unit.payload);
}

static void stop_step(struct agent *a, struct agent_now now, struct row *r)
{
	uint32_t live;
	bool again;

	if (r->health_running && !r->health_ends) { /* what it would say is not of interest any more */
		r->health_ends = true;
		push_unit(a, ACTION_HEALTH_END, r, 0);
	}
	live = stop_each(a, now, r, STOP_COUNT);
	if (!live) {
		finish(a, now, r);
		return;
	}
	if (live == 1 && left_of(a, r) && r->stop_at_ms > now.ms)
		r->stop_at_ms = now.ms; /* nobody to be given notice: it is being killed already */
	if (!r->noticed && r->stop_at_ms > now.ms) {
		r->noticed = true;
		keep(a, r, false);
		(void)stop_each(a, now, r, STOP_NOTICE);
	}
	if (!r->termed && !r->term_at_ms && first_signal(r) != SIG_TERM && now.ms < r->stop_at_ms) {
		int64_t lead = (r->stop_at_ms - now.ms) / 4;

		r->term_at_ms = r->stop_at_ms - (lead < TERM_LEAD_MS ? lead : TERM_LEAD_MS);
	}
	if (!r->termed && r->term_at_ms && now.ms >= r->term_at_ms && now.ms < r->stop_at_ms) {
		r->termed = true;
		(void)stop_each(a, now, r, STOP_TERM);
	}
	if (now.ms < r->stop_at_ms)
		return;
	r->termed = true;
	again = r->kill_again_ms && now.ms >= r->kill_again_ms;
	(void)stop_each(a, now, r, again ? STOP_KILL_AGAIN : STOP_KILL);
	if (!r->killed_ms)
		r->killed_ms = now.ms;
	if (again || !r->kill_again_ms)
		r->kill_again_ms = now.ms + KILL_AGAIN_MS;
	if (now.ms - r->killed_ms >= a->cfg.unkillable_ms && r->state != UNIT_UNKILLABLE) {
		unsigned left = left_of(a, r);

		(void)snprintf(r->text, sizeof r->text, "processes%s are left after SIGKILL",
			       left & LEFT_PROLOG ? " of its prolog" : left & LEFT_EPILOG ? " of its epilog" :
			       left & LEFT_HEALTH ? " of its health command" : "");
		set_state(a, now, r, UNIT_UNKILLABLE);
	}
}

/* ---- one unit, as far as it goes --------------------------------------------------------------------- */

/* A unit without siblings on other nodes whose tasks have all ended, with nothing left, is over: waiting to be
 * told so would hold its devices for another round trip. A member of a gang waits: its siblings may run on. */
static bool over(struct agent *a, struct agent_now now, struct row *r)
{
	return r->unit.hosts_n == 1 && !r->adopted && !stop_each(a, now, r, STOP_COUNT);
}

/* What the tasks say about the unit. */
static void exits(struct agent *a, struct agent_now now, struct row *r)
{
	uint32_t ended = 0, hidden = 0;
	bool failed = false;

	if (!r->tasks_n && r->state == UNIT_UNKNOWN && !r->adopted)
		set_state(a, now, r, UNIT_RUNNING); /* bare, found by a command in it, and known again */
	if (r->unit.kind == UNIT_SERVICE || !r->tasks_n || r->state == UNIT_FAILED)
		return;
	if (r->state == UNIT_UNKILLABLE) {
		if (over(a, now, r)) /* it was a device that could not be had back, or the epilog */
			finish(a, now, r);
		return;
	}
	for (uint32_t i = 0; i < r->tasks_n; i++) {
		const struct task_status *st = &r->tasks[i].st;

		if (st->state == TASK_OUT_OF_SIGHT && !st->empty) {
			hidden++;
		} else if (st->state == TASK_ENDED || st->state == TASK_OUT_OF_SIGHT) {
			ended++;
			failed |= st->exit_code || st->exit_signal;
		}
	}
	if (ended == r->tasks_n && over(a, now, r))
		finish(a, now, r);
	if (!row_final(r) && (failed || ended == r->tasks_n))
		set_state(a, now, r, UNIT_EXITED);
	else if (!row_final(r) && hidden)
		set_state(a, now, r, UNIT_UNKNOWN);
	else if (r->state == UNIT_UNKNOWN && !r->adopted)
		set_state(a, now, r, UNIT_RUNNING);
}

static void row_step(struct agent *a, struct agent_now now, struct row *r)
{
	bool stop = r->unit.phase == UNIT_STOP;

	if (row_final(r))
		return;
	if (r->state == UNIT_ABSENT && !stop) {
		if (!r->checked && !check(a, now, r))
			return;
		r->checked = true;
		if (!prolog_fine(a, r, a->cfg.prolog ? HOOK_TAKE : HOOK_WAIT))
			return;
		if (row_runs(r) && !hash_zero(r->unit.payload) && !r->fetched) {
			if (!r->fetching) {
				r->fetching = true;
				push_hash(a, ACTION_FETCH, r->unit.payload);
			}
			return;
		}
		if (wants_port(r) && !r->port && r->unit.phase == UNIT_RUN && r->unit.kind != UNIT_SERVICE)
			r->port = r->unit.master_port; /* chosen in an earlier life and handed out by now */
		if (wants_port(r) && !r->port) {
			if (!r->asking_port) {
				r->asking_port = true;
				push_unit(a, ACTION_PORT, r, 0);
			}
			return;
		}
		set_state(a, now, r, UNIT_PREPARED);
		keep(a, r, true); /* before it is told: see desired_unit */
		if (r->prologued)
			push_hook(a, ACTION_HOOK_FORGET, r, HOOK_PROLOG, HOOK_WAIT);
	}
	if (r->state == UNIT_PREPARED && r->unit.phase == UNIT_RUN)
		run(a, now, r);
	if (r->started)
		exits(a, now, r);
	if (row_final(r))
		return;
	if (stop)
		stop_step(a, now, r);
	else if (r->unit.kind == UNIT_SERVICE && r->state == UNIT_RUNNING) {
		service_step(a, now, r);
		health_step(a, now, r);
	}
}

static void step_alloc(struct agent *a, struct agent_now now, uint64_t alloc)
{
	for (uint32_t i = row_place(a, alloc, 0); i < a->rows_n && a->rows[i]->unit.alloc == alloc; i++)
		row_step(a, now, a->rows[i]);
}

/* ---- what tasks do ----------------------------------------------------------------------------------- */

static struct row *adopt(struct agent *a, uint64_t alloc, uint16_t part)
{
	struct row *r = row_new(alloc, part);

	memcpy(r->boot_id, a->cfg.boot_id, sizeof r->boot_id);
	r->state = UNIT_UNKNOWN;
	r->adopted = true;
	r->started = true;
	r->unit.kind = UNIT_JOB_COMMAND;
	r->unit.phase = UNIT_RUN;
	r->unit.attempt = 1;
	(void)snprintf(r->text, sizeof r->text, "found running; this node's table was lost");
	row_insert(a, r);
	keep(a, r, true);
	return r;
}

static void extra_status(struct agent *a, struct agent_now now, struct row *r, uint64_t id, const struct task_status *st)
{
	struct extra *x = NULL;

	for (uint32_t i = 0; i < r->extras_n; i++)
		if (r->extras[i].id == id)
			x = &r->extras[i];
	if (!x) {
		if (st->state == TASK_NONE)
			return;
		r->extras = xrealloc(r->extras, (r->extras_n + 1) * sizeof *r->extras);
		x = &r->extras[r->extras_n++];
		*x = (struct extra){.id = id, .all_devices = true};
	}
	x->st = *st;
	x->st.error = NULL;
	if (st->state == TASK_NONE)
		x->st = (struct task_status){.state = TASK_ENDED, .empty = true};
	if (left_over(st) && !r->look_ms)
		r->look_ms = now.ms + LOOK_MS;
	if (a->ready)
		step_alloc(a, now, r->unit.alloc);
}

void agent_task(struct agent *a, struct agent_now now, const char *name, const struct task_status *st)
{
	uint64_t alloc, index;
	uint32_t run_no;
	uint16_t part;
	struct row *r;
	struct task *t;
	char kind;

	if (!agent_name_parse(name, &alloc, &part, &kind, &index, &run_no))
		return;
	r = row_find(a, alloc, part);
	if (!r && st->state != TASK_NONE && (a->suspicious || !st->empty)) {
		r = adopt(a, alloc, part);
	} else if (!r || row_final(r)) {
		/* Ended and acknowledged; only its files were left behind. */
		struct row none = {.unit = {.alloc = alloc, .part = part}};

		if (st->state != TASK_NONE)
			push_named(a, st->empty ? ACTION_RELEASE : ACTION_KILL, &none, name);
		return;
	}
	if (kind == 'x') {
		extra_status(a, now, r, index, st);
		return;
	}
	if (index >= r->tasks_n) {
		if (!r->adopted)
			return;
		r->tasks = xrealloc(r->tasks, (index + 1) * sizeof *r->tasks);
		memset(r->tasks + r->tasks_n, 0, (index + 1 - r->tasks_n) * sizeof *r->tasks);
		r->tasks_n = (uint32_t)index + 1;
	}
	if (r->adopted && run_no > r->restarts) {
		r->restarts = run_no;
		r->unit.kind = UNIT_SERVICE;
	}
	if (run_no != run_of(r)) { /* an earlier replica: it was empty before the next one came */
		if (st->state != TASK_NONE)
			push_named(a, st->empty ? ACTION_RELEASE : ACTION_KILL, r, name);
		return;
	}
	t = &r->tasks[index];
	switch ((enum task_state)st->state) {
	case TASK_NONE:
		if (!a->ready || !t->begun)
			return;
		/* Begun, and now unknown to the execution layer: its files were removed by somebody. */
		t->st = (struct task_status){.state = TASK_OUT_OF_SIGHT, .empty = true, .exit_signal = SIG_KILL};
		break;
	case TASK_UNSTARTED:
		/* The intent is there and the task certainly never ran. */
		t->begun = true;
		t->st = (struct task_status){.state = TASK_UNSTARTED, .empty = true};
		if (!a->ready)
			return;
		break;
	case TASK_REBOOTED:
		(void)snprintf(r->text, sizeof r->text, "the machine restarted");
		t->begun = true;
		t->st = (struct task_status){.state = TASK_ENDED, .empty = true, .exit_signal = SIG_KILL};
		if (a->ready) { /* cannot be without a new boot id, but then the layer knows better */
			set_state(a, now, r, UNIT_LOST);
			keep(a, r, true);
			release_all(a, r);
			return;
		}
		r->boot_id[0] = '\0';
		return;
	case TASK_LIVE:
	case TASK_ENDED:
	case TASK_OUT_OF_SIGHT:
		t->begun = true;
		t->st = *st;
		t->st.error = NULL;
		if (st->state == TASK_OUT_OF_SIGHT) {
			t->st.exit_code = 0;
			t->st.exit_signal = SIG_KILL;
			if (!r->text[0])
				(void)snprintf(r->text, sizeof r->text, "the shim of task %u is gone, its exit status is not known",
					       (unsigned)index);
		}
		if (left_over(st) && !r->look_ms)
			r->look_ms = now.ms + LOOK_MS;
		break;
	}
	if (t->st.state == TASK_ENDED || (t->st.state == TASK_OUT_OF_SIGHT && t->st.empty)) {
		struct task_status told = t->st;

		told.error = st->error;
		if (r->unit.kind != UNIT_SERVICE)
			note_exit(r, &told);
		else if (st->error)
			(void)snprintf(r->text, sizeof r->text, "%s", st->error);
	}
	if (!a->ready)
		return;
	if (t->st.state == TASK_UNSTARTED && r->state == UNIT_RUNNING && r->unit.phase == UNIT_RUN)
		begin_rest_soon(a, r);
	row_step(a, now, r);
}

void agent_start_failed(struct agent *a, struct agent_now now, const char *name, const char *text, bool user_fault)
{
	uint64_t alloc, index;
	uint32_t run_no;
	uint16_t part;
	struct row *r;
	char kind;

	if (!agent_name_parse(name, &alloc, &part, &kind, &index, &run_no) || kind != 't')
		return;
	r = row_find(a, alloc, part);
	if (!r || row_final(r) || index >= r->tasks_n || run_no != run_of(r))
		return;
	r->tasks[index].begun = false;
	if (user_fault || r->unit.kind == UNIT_SERVICE) {
		r->tasks[index].st = (struct task_status){.state = TASK_ENDED, .empty = true, .exit_code = EXIT_CANNOT,
							  .error = text};
		if (r->unit.kind != UNIT_SERVICE)
			note_exit(r, &r->tasks[index].st);
		else
			(void)snprintf(r->text, sizeof r->text, "%s", text);
		r->tasks[index].st.error = NULL;
	} else {
		r->tasks[index].st = (struct task_status){.state = TASK_ENDED, .empty = true};
		fail(a, now, r, text);
	}
	row_step(a, now, r);
}

int agent_extra(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, char ret_name[AGENT_NAME_BYTES],
		uint64_t *ret_id, struct err *err)
{
	struct row *r = row_find(a, alloc, part);
	struct extra x = {.id = a->next_extra, .st = {.state = TASK_LIVE}};
	char name[AGENT_NAME_BYTES];

	(void)now;
	if (!r)
		return err_set(err, ERR_NOTFOUND, "allocation %" PRIu64 " has no part %u here", alloc, (unsigned)part);
	if (r->state != UNIT_RUNNING || r->unit.phase != UNIT_RUN)
		return err_set(err, ERR_STATE, "allocation %" PRIu64 " is %s here", alloc,
			       r->unit.phase == UNIT_STOP ? "stopping" : unit_state_name(r->state));
	if (r->extras_n >= AGENT_EXTRAS_MAX) {
		uint32_t i = 0;

		while (i < r->extras_n && task_live(&r->extras[i].st))
			i++;
		if (i == r->extras_n)
			return err_set(err, ERR_NOROOM, "%d commands run inside allocation %" PRIu64 " already",
				       AGENT_EXTRAS_MAX, alloc);
		extra_name(r, r->extras[i].id, name);
		push_named(a, ACTION_RELEASE, r, name);
		free(r->extras[i].devices);
		memmove(r->extras + i, r->extras + i + 1, (r->extras_n - i - 1) * sizeof *r->extras);
		r->extras_n--;
	}
	x.devices_n = r->unit.devices_n;
	x.devices = x.devices_n ? xcalloc(x.devices_n, sizeof *x.devices) : NULL;
	for (uint32_t i = 0; i < x.devices_n; i++)
		row_device_name(&r->unit.devices[i], x.devices[i]);
	r->extras = xrealloc(r->extras, (r->extras_n + 1) * sizeof *r->extras);
	r->extras[r->extras_n++] = x;
	a->next_extra++;
	extra_name(r, x.id, ret_name);
	*ret_id = x.id;
	return 0;
}

/* ---- start-up ---------------------------------------------------------------------------------------- */

int agent_load_row(struct agent *a, const void *data, size_t len, struct err *err)
{
	struct row *r;
	int code = row_decode(data, len, &r, err);

	ENSURE(!a->ready);
	if (code) {
		a->suspicious = true;
		return code;
	}
	if (row_find(a, r->unit.alloc, r->unit.part)) {
		row_free(r);
		return err_set(err, ERR_FORMAT, "the table has a row twice");
	}
	r->checked = r->state != UNIT_ABSENT;
	r->kept = true;
	row_insert(a, r);
	return 0;
}

void agent_ready(struct agent *a, struct agent_now now)
{
	a->ready = true;
	a->down_ms = now.ms;
	for (uint32_t i = 0; i < a->rows_n; i++) {
		struct row *r = a->rows[i];

		if (row_final(r)) {
			release_all(a, r);
			continue;
		}
		if (strncmp(r->boot_id, a->cfg.boot_id, sizeof r->boot_id) != 0) {
			(void)snprintf(r->text, sizeof r->text, "the machine restarted");
			set_state(a, now, r, UNIT_LOST);
			keep(a, r, true);
			release_all(a, r);
			payload_unneeded(a, r->unit.payload);
			continue;
		}
		if (r->checked)
			raise_epochs(a, r);
		if (r->state == UNIT_RUNNING && r->unit.phase == UNIT_RUN && row_runs(r)) {
			r->run_ms = now.ms;
			if (row_unbegun(r))
				begin_rest_soon(a, r);
			if (r->unit.kind == UNIT_SERVICE && !r->fetching && !r->fetched) {
				r->fetching = true;
				push_hash(a, ACTION_FETCH, r->unit.payload);
			}
		} else if (r->state == UNIT_RUNNING) {
			r->healthy = true;
		}
		row_step(a, now, r);
	}
}

/* ---- other inputs ------------------------------------------------------------------------------------ */

static int64_t or_else(int64_t v, int64_t fallback)
{
	return v > 0 ? v : fallback;
}

void agent_payload(struct agent *a, struct agent_now now, const uint8_t hash[32], const struct payload *p,
		   const char *text)
{
	for (uint32_t i = 0; i < a->rows_n; i++) {
		struct row *r = a->rows[i];

		if (!r->fetching || memcmp(r->unit.payload, hash, 32) != 0)
			continue;
		r->fetching = false;
		if (r->begin_rest && r->state == UNIT_RUNNING && r->unit.phase == UNIT_RUN)
			begin_rest(a, r);
		if (!p) {
			if (r->state == UNIT_ABSENT)
				fail(a, now, r, text);
			continue;
		}
		r->fetched = true;
		r->service = (struct service){
			.known = true,
			.has_health = p->health_n > 0,
			.fail_max = p->health_fail ? p->health_fail : HEALTH_FAILS,
			.every_ms = or_else(p->health_every_ms, HEALTH_EVERY_MS),
			.timeout_ms = or_else(p->health_timeout_ms, HEALTH_TIMEOUT_MS),
			.after_ms = or_else(p->health_after_ms, 0),
			.backoff_min_ms = p->backoff_min_ms,
			.backoff_max_ms = p->backoff_max_ms,
			.stop_within_ms = p->stop_within_ms,
			.stop_signal = p->stop_signal,
		};
		row_step(a, now, r);
	}
}

void agent_port(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, uint16_t port)
{
	struct row *r = row_find(a, alloc, part);
	char text[TEXT_BYTES];

	if (!r || !r->asking_port)
		return;
	r->asking_port = false;
	if (r->state != UNIT_ABSENT)
		return;
	if (!port) {
		(void)snprintf(text, sizeof text, "no free port from %u to %u", (unsigned)a->cfg.port_first,
			       (unsigned)a->cfg.port_last);
		fail(a, now, r, text);
		return;
	}
	r->port = port;
	keep(a, r, false);
	row_step(a, now, r);
}

void agent_scrubbed(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, enum scrub found, const char *text)
{
	struct row *r = row_find(a, alloc, part);

	if (!r || !r->scrubbing)
		return;
	r->scrubbing = false;
	if (found == SCRUB_BUSY) {
		r->scrub_every_ms = r->scrub_every_ms ? r->scrub_every_ms * 2 : SCRUB_AGAIN_MS;
		if (r->scrub_every_ms > SCRUB_AGAIN_MAX_MS)
			r->scrub_every_ms = SCRUB_AGAIN_MAX_MS;
		r->scrub_at_ms = now.ms + r->scrub_every_ms;
		if (now.ms - r->scrub_begin_ms >= a->cfg.unkillable_ms && r->state != UNIT_UNKILLABLE) {
			(void)snprintf(r->text, sizeof r->text, "%s", text);
			set_state(a, now, r, UNIT_UNKILLABLE);
		}
		return;
	}
	r->scrubbed = true;
	row_step(a, now, r);
	if (found == SCRUB_BROKEN && row_final(r))
		agent_greet_again(a, now); /* health travels with the greeting, and `released` in the same one */
}

void agent_health(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, bool ok)
{
	struct row *r = row_find(a, alloc, part);
	char name[AGENT_NAME_BYTES];

	if (!r || !r->health_running)
		return;
	r->health_running = false;
	if (r->state != UNIT_RUNNING || r->stop_at_ms || r->tasks[0].st.state != TASK_LIVE) {
		row_step(a, now, r);
		return;
	}
	if (ok) {
		r->health_fails = 0;
	} else if (r->healthy || now.ms - r->run_ms >= r->service.after_ms) {
		r->health_fails++;
	}
	if (ok != r->healthy && (ok || r->health_fails >= r->service.fail_max)) {
		r->healthy = ok;
		want_report(a, now);
	}
	if (r->health_fails >= r->service.fail_max && !r->tasks[0].killed) {
		r->tasks[0].killed = true;
		a->counts.kills++;
		task_name(r, 0, run_of(r), name);
		push_named(a, ACTION_KILL, r, name);
	}
}

void agent_hooked(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, enum hook hook, bool ok, const char *text)
{
	struct row *r = row_find(a, alloc, part);
	uint8_t *step = r ? hook == HOOK_PROLOG ? &r->prolog : &r->epilog : NULL;

	if (!step || *step != HOOK_RUNS || row_final(r))
		return;
	*step = ok ? HOOK_FINE : HOOK_FAILED;
	if (!ok) { /* nothing to sync: the execution layer keeps what it came to */
		keep(a, r, false);
		if (hook == HOOK_PROLOG) {
			r->unfit = true;
			fail(a, now, r, text);
		} else {
			r->epilog_every_ms = r->epilog_every_ms ? r->epilog_every_ms * 2 : EPILOG_AGAIN_MS;
			if (r->epilog_every_ms > EPILOG_AGAIN_MAX_MS)
				r->epilog_every_ms = EPILOG_AGAIN_MAX_MS;
			r->epilog_at_ms = now.ms + r->epilog_every_ms;
			(void)snprintf(r->text, sizeof r->text, "%s", text);
			set_state(a, now, r, UNIT_UNKILLABLE);
		}
	}
	row_step(a, now, r);
}

void agent_left(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, enum left what, bool left)
{
	struct row *r = row_find(a, alloc, part);
	unsigned was, is;
	uint32_t i = 0;

	while (i < a->lefts_n && (a->lefts[i].alloc != alloc || a->lefts[i].part != part))
		i++;
	if (i == a->lefts_n) {
		if (!left)
			return;
		a->lefts = xrealloc(a->lefts, (i + 1) * sizeof *a->lefts);
		a->lefts[a->lefts_n++] = (struct leftover){.alloc = alloc, .part = part};
	}
	was = a->lefts[i].what;
	is = left ? was | what : was & ~(unsigned)what;
	a->lefts[i].what = is;
	if (!is)
		a->lefts[i] = a->lefts[--a->lefts_n];
	if (is != was && r && a->ready)
		row_step(a, now, r);
}

void agent_checkpoint(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, uint64_t step)
{
	struct row *r = row_find(a, alloc, part);

	if (!r || step <= r->checkpoint_step)
		return;
	r->checkpoint_step = step;
	r->checkpoint_unix_ms = now.unix_ms;
	keep(a, r, false);
	want_report(a, now);
}

/* ---- the daemon -------------------------------------------------------------------------------------- */

static void reopen(struct agent *a, struct agent_now now)
{
	if (a->conn != CONN_DOWN)
		a->down_ms = now.ms;
	a->conn = CONN_DOWN;
	a->conn_at_ms = 0;
	a->hb_at_ms = 0;
	a->gaps = 0;
	push_simple(a, ACTION_REOPEN);
}

/* Half to one and a half times the present back-off, which then doubles. */
static int64_t backoff(struct agent *a)
{
	int64_t ms = a->backoff_ms / 2 + (int64_t)prng_below(&a->prng, (uint64_t)a->backoff_ms + 1);

	a->backoff_ms = a->backoff_ms * 2 < a->cfg.backoff_max_ms ? a->backoff_ms * 2 : a->cfg.backoff_max_ms;
	return ms;
}

void agent_connected(struct agent *a, struct agent_now now)
{
	a->conn = CONN_GREETING;
	a->conn_at_ms = now.ms + a->cfg.greet_ms;
	push_simple(a, ACTION_HELLO);
}

void agent_greet_again(struct agent *a, struct agent_now now)
{
	if (a->conn != CONN_UP)
		return; /* a greeting is under way */
	a->down_ms = now.ms;
	agent_connected(a, now);
}

void agent_disconnected(struct agent *a, struct agent_now now, bool refused)
{
	if (a->conn != CONN_DOWN)
		a->down_ms = now.ms;
	a->conn = CONN_DOWN;
	a->hb_at_ms = 0;
	/* After a refusal libzmq does not come back by itself; otherwise it does, unless the name's address
	 * has moved, so a fresh socket now and then does no harm. */
	a->conn_at_ms = now.ms + (refused ? backoff(a) : a->cfg.backoff_max_ms);
}

/* A fact that the daemon has to learn and has not acknowledged. */
static bool unacked(const struct row *r)
{
	return r->acked_state != r->state && r->state != UNIT_ABSENT && r->state != UNIT_RUNNING &&
	       r->state != UNIT_UNKNOWN && r->state != UNIT_UNKILLABLE;
}

int agent_welcome(struct agent *a, struct agent_now now, const struct msg_welcome *m, struct err *err)
{
	if (a->conn != CONN_GREETING)
		return err_set(err, ERR_STATE, "a welcome that nobody asked for");
	if (m->epoch < a->epoch) {
		a->counts.stale_orders++;
		a->conn_at_ms = now.ms + backoff(a);
		return err_set(err, ERR_STALE, "a daemon of epoch %" PRIu64 ", and one of %" PRIu64 " was obeyed", m->epoch,
			       a->epoch);
	}
	if (m->epoch > a->epoch) {
		a->epoch = m->epoch;
		a->epoch_dirty = true;
		a->sync_wanted = true;
	}
	a->conn = CONN_UP;
	a->conn_at_ms = 0;
	a->backoff_ms = a->cfg.backoff_ms;
	a->session = m->session;
	a->rev_seen = 0;
	a->gaps = 0;
	a->heard_ms = now.ms;
	a->hb_ms = a->cfg.heartbeat_ms ? a->cfg.heartbeat_ms : m->hb_ms > 0 ? m->hb_ms : 5000;
	a->hb_at_ms = now.ms + (int64_t)prng_below(&a->prng, (uint64_t)a->hb_ms) + 1;
	a->reported_ms = 0;
	a->report_at_ms = 0;
	for (uint32_t i = 0; i < a->rows_n; i++)
		if (a->rows[i]->told_state != a->rows[i]->state || unacked(a->rows[i]))
			want_report(a, now); /* changed since the HELLO was written, or not known to be on its disk */
	return 0;
}

static struct row *row_desired(struct agent *a, const struct unit *u)
{
	struct row *r = row_find(a, u->alloc, u->part);

	if (r)
		return r;
	if (a->rows_n >= UNITS_PER_NODE_MAX) {
		a->starved = true;
		return NULL;
	}
	r = row_new(u->alloc, u->part);
	memcpy(r->boot_id, a->cfg.boot_id, sizeof r->boot_id);
	row_insert(a, r);
	return r;
}

static bool same_wish(const struct unit *x, const struct unit *y)
{
	struct unit b = *y;

	b.stop_in_ms = x->stop_in_ms; /* both count from when they were sent */
	b.time_left_ms = x->time_left_ms;
	return schema_equal(&schema_unit, x, &b);
}

static void desired_unit(struct agent *a, struct agent_now now, const struct unit *u)
{
	bool fresh = !row_find(a, u->alloc, u->part), resized;
	struct row *r = row_desired(a, u);
	struct unit want = *u;
	int64_t stop_in = u->stop_in_ms > 0 ? u->stop_in_ms : 0;

	if (!r)
		return;
	if (row_final(r)) {
		want_report(a, now); /* the acknowledgement has not come yet, or was lost */
		r->acked_state = UINT8_MAX;
		return;
	}
	if (!fresh && want.phase < r->unit.phase) {
		if (r->unit.phase == UNIT_STOP)
			return; /* what is stopping does not come back */
		want.phase = r->unit.phase;
	}
	if (!fresh && want.phase == UNIT_STOP) {
		/* A stop of what the daemon no longer knows says nothing else: what the unit is and holds is as we
		 * have it. */
		want = r->unit;
		want.phase = UNIT_STOP;
		if (r->adopted && !want.devices_n) { /* but these, if the daemon does know it */
			want.devices = u->devices;
			want.devices_n = u->devices_n;
		}
		want.stop_cause = u->stop_cause;
		want.stop_in_ms = u->stop_in_ms;
		want.time_left_ms = u->time_left_ms;
		want.claim = u->claim;
		if (u->signal) {
			want.signal = u->signal;
			want.signal_target = u->signal_target;
		}
	}
	if (r->adopted && want.phase == UNIT_RUN) { /* now we know again what it is; a stop does not tell */
		r->adopted = false;
		r->text[0] = '\0';
		keep(a, r, true);
	}
	if (fresh) {
		row_want(r, &want);
		keep(a, r, false);
	}
	if (fresh && want.phase == UNIT_RUN && (a->suspicious || row_runs(r))) {
		/* RUN comes when we have said PREPARED, which was on our disk then: the row was lost. A bare unit has
		 * nothing that could be started twice. */
		fail(a, now, r, "this node's table was lost: it cannot tell whether this was started");
		return;
	}
	resized = r->state == UNIT_RUNNING && want.phase == UNIT_RUN && r->unit.units_now && want.units_now &&
		  want.units_now != r->unit.units_now;
	if (!same_wish(&r->unit, &want))
		keep(a, r, false);
	r->until_unix_ms = want.time_left_ms == T_NEVER ? T_NEVER : now.unix_ms + want.time_left_ms;
	row_want(r, &want);
	if (resized)
		resize_tell(a, r);
	if (want.phase == UNIT_STOP && !r->fenced && !r->killed_ms) { /* what has been killed has no deadline any more */
		if (stop_in > T_NEVER / 4)
			stop_in = T_NEVER / 4;
		r->stop_at_ms = now.ms + stop_in;
		r->term_at_ms = 0;
	}
	row_step(a, now, r);
}

int agent_desired(struct agent *a, struct agent_now now, const struct msg_desired *m, struct err *err)
{
	if (a->conn != CONN_UP || m->session != a->session || m->epoch < a->epoch || m->rev < a->rev_seen) {
		a->counts.stale_orders++;
		return err_set(err, ERR_STALE, "orders of epoch %" PRIu64 " session %" PRIu64 " rev %" PRIu64
			       " against %" PRIu64 ", %" PRIu64 ", %" PRIu64, m->epoch, m->session, m->rev, a->epoch,
			       a->session, a->rev_seen);
	}
	a->heard_ms = now.ms;
	a->gaps = 0;
	if (m->rev == a->rev_seen && m->rev)
		return 0;
	a->rev_seen = m->rev;
	/* What ends first, so that what begins finds its devices free. */
	for (int stops = 1; stops >= 0; stops--)
		for (uint32_t i = 0; i < m->units_n; i++)
			if ((m->units[i].phase == UNIT_STOP) == (stops == 1))
				desired_unit(a, now, &m->units[i]);
	if (a->suspicious && !a->starved) {
		a->suspicious = false; /* every unit that may have been started here has a row now */
		a->whole_dirty = a->sync_wanted = true;
	}
	return 0;
}

void agent_report_ack(struct agent *a, struct agent_now now, const struct msg_report_ack *m)
{
	a->heard_ms = now.ms;
	for (uint32_t i = 0; i < m->rows_n; i++) {
		struct row *r = row_find(a, m->rows[i].alloc, m->rows[i].part);

		if (!r || r->state != m->rows[i].state)
			continue;
		r->acked_state = r->state;
		if (r->unfit) { /* who enables the node again is not overruled */
			r->unfit = false;
			keep(a, r, true);
		}
		if (row_final(r))
			row_remove(a, r);
	}
	if (a->starved && a->rows_n < UNITS_PER_NODE_MAX / 2) {
		a->starved = false; /* a new greeting brings the whole list again */
		reopen(a, now);
	}
}

void agent_heartbeat_ack(struct agent *a, struct agent_now now, const struct msg_heartbeat *m)
{
	if (a->conn != CONN_UP || m->session != a->session)
		return;
	a->heard_ms = now.ms;
	a->gaps = m->rev_seen > a->rev_seen ? a->gaps + 1 : 0;
	if (a->gaps >= GAP_HEARTBEATS)
		reopen(a, now);
}

/* ---- time -------------------------------------------------------------------------------------------- */

static int64_t sooner(int64_t x, int64_t y)
{
	return y && y < x ? y : x;
}

static bool fences(const struct row *r)
{
	return r->unit.stop_on_disconnect && !r->fenced && r->unit.phase != UNIT_STOP && !row_final(r);
}

static int64_t row_next(const struct agent *a, const struct row *r)
{
	int64_t next = T_NEVER;

	if (row_final(r))
		return next;
	next = sooner(next, r->look_ms);
	if (r->prolog == HOOK_RUNS || r->epilog == HOOK_RUNS)
		return next; /* nothing moves before it has ended */
	if (r->epilog == HOOK_FAILED) /* not again on top of what it left */
		return left_of(a, r) & LEFT_EPILOG ? next : sooner(next, r->epilog_at_ms);
	if (r->scrub_begin_ms) /* all has ended; only its devices are waited for */
		return r->scrubbing || r->scrubbed ? next : sooner(next, r->scrub_at_ms);
	if (r->unit.phase == UNIT_STOP && r->stop_at_ms) {
		if (!r->termed)
			next = sooner(next, r->term_at_ms);
		if (!r->killed_ms)
			next = sooner(next, r->stop_at_ms);
		else
			next = sooner(next, r->kill_again_ms);
		if (r->killed_ms && r->state != UNIT_UNKILLABLE)
			next = sooner(next, r->killed_ms + a->cfg.unkillable_ms);
	} else if (r->unit.kind == UNIT_SERVICE && r->state == UNIT_RUNNING) {
		next = sooner(next, r->restart_ms);
		if (!r->health_running && r->tasks[0].st.state == TASK_LIVE)
			next = sooner(next, r->health_ms);
	}
	if (a->conn != CONN_UP && fences(r))
		next = sooner(next, a->down_ms + a->cfg.fence_ms);
	return next;
}

int64_t agent_next_tick(const struct agent *a)
{
	int64_t next = T_NEVER;
	bool owed = false;

	next = sooner(next, a->conn_at_ms);
	if (a->conn == CONN_UP) {
		next = sooner(next, a->hb_at_ms);
		next = sooner(next, a->report_at_ms);
		for (uint32_t i = 0; i < a->rows_n; i++)
			owed |= unacked(a->rows[i]);
		if (owed && a->reported_ms)
			next = sooner(next, a->reported_ms + a->cfg.resend_ms);
		next = sooner(next, a->heard_ms + 3 * a->hb_ms);
	}
	for (uint32_t i = 0; i < a->rows_n; i++)
		next = sooner(next, row_next(a, a->rows[i]));
	return next;
}

static void look(struct agent *a, struct agent_now now, struct row *r)
{
	char name[AGENT_NAME_BYTES];

	r->look_ms = 0;
	for (uint32_t i = 0; i < r->tasks_n; i++) {
		if (!left_over(&r->tasks[i].st))
			continue;
		task_name(r, i, run_of(r), name);
		push_named(a, ACTION_LOOK, r, name);
		r->look_ms = now.ms + LOOK_MS;
	}
	for (uint32_t i = 0; i < r->extras_n; i++) {
		if (!left_over(&r->extras[i].st))
			continue;
		extra_name(r, r->extras[i].id, name);
		push_named(a, ACTION_LOOK, r, name);
		r->look_ms = now.ms + LOOK_MS;
	}
}

void agent_tick(struct agent *a, struct agent_now now)
{
	bool owed = false;

	for (uint32_t i = 0; i < a->rows_n; i++) {
		struct row *r = a->rows[i];

		if (row_final(r))
			continue;
		if (a->conn != CONN_UP && fences(r) && now.ms - a->down_ms >= a->cfg.fence_ms) {
			r->fenced = true;
			r->unit.phase = UNIT_STOP;
			r->unit.stop_cause = END_INFRA;
			r->stop_at_ms = now.ms + FENCE_STOP_MS;
			keep(a, r, true);
		}
		if (r->look_ms && now.ms >= r->look_ms)
			look(a, now, r);
		row_step(a, now, r);
	}
	if (a->conn_at_ms && now.ms >= a->conn_at_ms) {
		int64_t again = a->conn == CONN_GREETING ? backoff(a) : a->cfg.backoff_max_ms;

		reopen(a, now);
		a->conn_at_ms = now.ms + again + a->cfg.greet_ms;
	}
	if (a->conn != CONN_UP)
		return;
	if (now.ms - a->heard_ms >= 3 * a->hb_ms) {
		reopen(a, now);
		a->conn_at_ms = now.ms + backoff(a) + a->cfg.greet_ms;
		return;
	}
	for (uint32_t i = 0; i < a->rows_n; i++)
		owed |= unacked(a->rows[i]);
	if ((a->report_at_ms && now.ms >= a->report_at_ms) ||
	    (owed && a->reported_ms && now.ms >= a->reported_ms + a->cfg.resend_ms)) {
		a->report_at_ms = 0;
		a->reported_ms = now.ms;
		push_simple(a, ACTION_REPORT);
	}
	if (now.ms >= a->hb_at_ms) {
		a->hb_at_ms = now.ms + a->hb_ms;
		push_simple(a, ACTION_HEARTBEAT);
	}
}

/* ---- outputs ----------------------------------------------------------------------------------------- */

/* Must not overtake what was written down. */
static bool behind_sync(enum action_type type)
{
	return type == ACTION_START || type == ACTION_RELEASE || type == ACTION_CLEAN || type == ACTION_FORGET ||
	       type == ACTION_HOOK || type == ACTION_HOOK_FORGET || type == ACTION_REPORT || type == ACTION_HELLO || type == ACTION_HEARTBEAT;
}

/* One record for the table, the word that no row is missing behind the rows; false when all are out. A row goes before the epochs it raised: if we die in between,
 * agent_ready raises them again; the other way round nobody could tell an own epoch from a later one's. */
static bool take_record(struct agent *a, struct action *ret)
{
	*ret = (struct action){0};
	for (uint32_t i = 0; i < a->rows_n; i++) {
		struct row *r = a->rows[i];

		if (!r->dirty)
			continue;
		r->dirty = false;
		row_encode(r, &a->bytes);
		*ret = (struct action){.type = ACTION_ROW_PUT, .alloc = r->unit.alloc, .part = r->unit.part,
				       .data = a->bytes.data, .len = a->bytes.len};
		return true;
	}
	if (a->gone_n) {
		struct gone g = a->gone[--a->gone_n];

		*ret = (struct action){.type = ACTION_ROW_DEL, .alloc = g.alloc, .part = g.part};
		return true;
	}
	if (a->epochs_n) {
		const struct epoch *e = &a->epochs[--a->epochs_n];

		ret->type = ACTION_EPOCH;
		ret->value = e->value;
		(void)snprintf(ret->name, sizeof ret->name, "%s", e->device);
		return true;
	}
	if (a->epoch_dirty) {
		a->epoch_dirty = false;
		*ret = (struct action){.type = ACTION_CLUSTER, .value = a->epoch};
		return true;
	}
	if (a->whole_dirty) {
		a->whole_dirty = false;
		ret->type = ACTION_WHOLE;
		return true;
	}
	return false;
}

bool agent_take(struct agent *a, struct action *ret)
{
	for (;;) {
		bool empty = a->head == a->tail;

		if (a->flushing || empty || (a->sync_wanted && behind_sync(a->queue[a->head].type))) {
			a->flushing = true;
			if (take_record(a, ret))
				return true;
			a->flushing = false;
			if (a->sync_wanted) {
				a->sync_wanted = false;
				*ret = (struct action){.type = ACTION_SYNC};
				return true;
			}
			if (a->head == a->tail)
				return false;
			continue;
		}
		*ret = a->queue[a->head++];
		return true;
	}
}

static uint32_t statuses(struct agent *a, struct agent_now now, struct unit_status **ret)
{
	arena_reset(&a->scratch);
	*ret = arena_alloc(&a->scratch, (a->rows_n + 1) * sizeof **ret);
	for (uint32_t i = 0; i < a->rows_n; i++) {
		row_status(a->rows[i], now.unix_ms, &(*ret)[i]);
		a->rows[i]->told_state = a->rows[i]->state;
	}
	return a->rows_n;
}

void agent_fill_hello(struct agent *a, struct agent_now now, struct cmd_node_hello *hello)
{
	(void)snprintf(hello->boot_id, sizeof hello->boot_id, "%s", a->cfg.boot_id);
	hello->incarnation = a->cfg.incarnation;
	hello->epoch_seen = a->epoch;
	hello->alloc_seen = a->alloc_seen;
	hello->units_n = statuses(a, now, &hello->units);
}

void agent_fill_report(struct agent *a, struct agent_now now, struct msg_report *report)
{
	*report = (struct msg_report){
		.rev_seen = a->rev_seen,
		.epoch = a->epoch,
		.session = a->session,
		.incarnation = a->cfg.incarnation,
		.counter = ++a->counter,
	};
	report->units_n = statuses(a, now, &report->units);
}

void agent_fill_heartbeat(struct agent *a, struct msg_heartbeat *hb)
{
	*hb = (struct msg_heartbeat){
		.rev_seen = a->rev_seen,
		.epoch = a->epoch,
		.session = a->session,
		.incarnation = a->cfg.incarnation,
		.counter = ++a->counter,
	};
}

/* ---- looking ----------------------------------------------------------------------------------------- */

const struct unit *agent_unit(const struct agent *a, uint64_t alloc, uint16_t part)
{
	const struct row *r = row_find(a, alloc, part);

	return r ? &r->unit : NULL;
}

int64_t agent_unit_until(const struct agent *a, uint64_t alloc, uint16_t part)
{
	const struct row *r = row_find(a, alloc, part);

	return r ? r->until_unix_ms : T_NEVER;
}

uint8_t agent_unit_state(const struct agent *a, uint64_t alloc, uint16_t part, uint16_t *ret_port)
{
	const struct row *r = row_find(a, alloc, part);

	if (ret_port)
		*ret_port = r ? r->port : 0;
	return r ? r->state : (uint8_t)UNIT_ABSENT;
}

bool agent_port_used(const struct agent *a, uint16_t port)
{
	for (uint32_t i = 0; i < a->rows_n; i++)
		if (a->rows[i]->port == port && !row_final(a->rows[i]))
			return true;
	return false;
}

uint32_t agent_rows(const struct agent *a)
{
	return a->rows_n;
}

bool agent_task_name(const struct agent *a, uint64_t alloc, uint16_t part, uint32_t task, char ret_name[AGENT_NAME_BYTES])
{
	const struct row *r = row_find(a, alloc, part);

	if (!r || task >= r->tasks_n || !r->tasks[task].begun)
		return false;
	task_name(r, task, run_of(r), ret_name);
	return true;
}

struct agent_counts agent_counts(const struct agent *a)
{
	return a->counts;
}
