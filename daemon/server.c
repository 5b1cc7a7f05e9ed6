/* server.c - the turn of sluisd, and the one function where state changes
 *
 *     callbacks of the loop ──▶ inbox ──▶ server_step(): decide → apply → append → answer
 *
 * What holds true:
 *  - nobody is answered, and nothing is sent, that depends on a fact which is not on the disk: all
 *    that leaves for a command leaves after the append that carries it
 *  - memory may be ahead of the disk by unanswered commands only; when an append fails the process
 *    ends, so memory that is ahead is forgotten
 *  - queries are answered after the append of their step, so they see durable state only
 *  - no lease expires at an instant later than that until which everybody was heard (hear)
 *  - one logical instant per turn; a step is bounded in commands, ticks, bytes and time, what is left
 *    over has a step of its own
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/impl.h"
#include "proto/base/failpoint.h"
#include "proto/link/notify.h"
#include "proto/model/names.h"

/* ---- time ------------------------------------------------------------------------------------- */

int64_t server_now(struct server *s)
{
	struct mono turn = s->running ? loop_now(s->loop) : mono_now();
	int64_t step_ms;

	if (turn.ns == s->turn.ns)
		return s->t_ms;
	s->turn = turn;
	s->t_ms = clock_read(&s->clock, turn, wall_now(), &step_ms);
	if (step_ms)
		log_event(LOG_WARNING, "clock step", "wall_ahead_ms=%" PRId64 " slew_ppm=%d", step_ms,
			  (int)CLOCK_SLEW_PPM);
	return s->t_ms;
}

/* ---- sending ---------------------------------------------------------------------------------- */

int server_send(struct server *s, struct link_door *door, const struct link_peer *peer, uint16_t type,
		uint64_t req, const void *obj)
{
	buf_reset(&s->frame);
	message_encode(type, req, obj, &s->frame);
	return link_door_send(door, peer, s->frame.data, s->frame.len);
}

void server_refuse(struct server *s, struct link_door *door, const struct link_peer *peer, uint64_t req,
		   const struct err *err)
{
	struct msg_reply reply = {.code = err->code, .reason = (uint16_t)err->reason, .seq = s->seq,
				  .message = err->msg, .hint = err->hint};

	(void)server_send(s, door, peer, MSG_REPLY, req, &reply); /* it will ask again */
}

void server_reply(struct server *s, const struct request *r)
{
	struct msg_reply reply = {.code = r->code, .seq = r->seq ? r->seq : s->seq, .result = r->result};

	if (r->code) {
		server_refuse(s, r->door, &r->peer, r->req, &r->err);
		return;
	}
	(void)server_send(s, r->door, &r->peer, MSG_REPLY, r->req, &reply);
}

void server_goodbye(struct server *s, struct link_door *door, const struct link_peer *peer, uint64_t req,
		    int code, const char *text)
{
	struct msg_goodbye bye = {.code = code, .text = text};

	(void)server_send(s, door, peer, MSG_GOODBYE, req, &bye); /* one try: then silence anyway */
}

/* ---- the inbox -------------------------------------------------------------------------------- */

struct request *request_new(struct server *s) { return arena_alloc(&s->turn_arena, sizeof(struct request)); }

void server_push(struct server *s, struct request *r)
{
	if (s->inbox_n == s->inbox_cap) {
		s->inbox_cap = s->inbox_cap ? s->inbox_cap * 2 : 256;
		s->inbox = xrealloc(s->inbox, s->inbox_cap * sizeof(struct request *));
	}
	s->inbox[s->inbox_n++] = r;
}

struct command *server_command(struct server *s, uint16_t type)
{
	struct request *r = request_new(s);

	r->cmd = arena_alloc(&s->turn_arena, sizeof *r->cmd);
	r->cmd->type = type;
	r->cmd->via = VIA_INTERNAL;
	r->cmd->principal = 1; /* the daemon itself */
	server_push(s, r);
	return r->cmd;
}

/* ---- counting --------------------------------------------------------------------------------- */

void counts_note(struct counts *counts, uint8_t kind, const void *old, const void *now)
{
	for (int i = 0; i < 2; i++) {
		const void *rec = i ? now : old;
		int64_t sign = i ? 1 : -1;

		if (!rec)
			continue;
		if (kind == RECORD_NODE) {
			counts->nodes += sign;
			counts->devices += sign * ((const struct node *)rec)->devices_n;
		} else if (kind == RECORD_LEASE) {
			counts->leases += lease_terminal(((const struct lease *)rec)->state) ? 0 : sign;
		} else if (kind == RECORD_JOB) {
			uint8_t state = ((const struct job *)rec)->state;

			counts->pending_jobs += state == JOB_PENDING || state == JOB_HELD ? sign : 0;
		}
	}
}

/* ---- the batch -------------------------------------------------------------------------------- */

static void *encoded(struct server *s, const struct schema *schema, const void *obj, uint32_t *ret_len)
{
	buf_reset(&s->scratch);
	schema_encode(schema, obj, &s->scratch);
	*ret_len = (uint32_t)s->scratch.len; /* a struct within its limits is far below 4 GiB */
	s->batch.bytes += s->scratch.len;
	return arena_copy(&s->batch.arena, s->scratch.data, s->scratch.len);
}

/* The log keeps a command as a peer would have sent it: type, idempotency key, approval, body. */
static void record_command(struct server *s, const struct command *cmd, struct store_record *rec)
{
	struct msg_command logged = {.type = cmd->type, .approves = cmd->approves};
	uint32_t len;

	memcpy(logged.idem_key, cmd->idem_key, sizeof logged.idem_key);
	logged.body.data = encoded(s, schema_of_command(cmd->type), &cmd->tick, &len);
	logged.body.len = len;
	rec->cmd_type = cmd->type;
	rec->cmd = encoded(s, &schema_msg_command, &logged, &rec->cmd_len);
}

static struct store_record *record_new(struct server *s)
{
	struct batch *b = &s->batch;

	if (b->recs_n == b->recs_cap) {
		b->recs_cap = b->recs_cap ? b->recs_cap * 2 : 256;
		b->recs = xrealloc(b->recs, b->recs_cap * sizeof *b->recs);
	}
	b->recs[b->recs_n] = (struct store_record){.seq = s->seq + b->recs_n + 1};
	return &b->recs[b->recs_n++];
}

static void batch_blob(struct server *s, struct bytes payload)
{
	struct batch *b = &s->batch;

	if (b->blobs_n == b->blobs_cap) {
		b->blobs_cap = b->blobs_cap ? b->blobs_cap * 2 : 64;
		b->blobs = xrealloc(b->blobs, b->blobs_cap * sizeof *b->blobs);
	}
	b->blobs[b->blobs_n++] = (struct store_blob){.data = payload.data, .len = payload.len};
	b->bytes += payload.len;
}

static void batch_reset(struct batch *b)
{
	arena_reset(&b->arena);
	b->recs_n = b->blobs_n = b->events_n = b->creds_n = 0;
	b->bytes = 0;
	b->keys = b->resumed = false;
}

static void alloc_dirty(struct server *s, const struct alloc *a)
{
	for (uint32_t i = 0; a && i < a->parts_n; i++)
		agents_dirty(s, a->parts[i].node);
	if (a && a->extra && core_job(s->core, a->owner)) /* its core is told the new size */
		alloc_dirty(s, core_alloc(s->core, core_job(s->core, a->owner)->alloc));
}

/* Does the fact change who may come in? */
static void keys_note(struct server *s, const struct fact *f)
{
	struct batch *b = &s->batch;

	if ((f->kind != RECORD_CRED && f->kind != RECORD_PRINCIPAL) || (f->kind == RECORD_PRINCIPAL && !core_principal(s->core, (uint32_t)f->id)))
		return; /* somebody new has no keys yet */
	if (f->kind == RECORD_PRINCIPAL || core_cred(s->core, f->id)) {
		b->keys = true;
		return;
	}
	if (b->creds_n == b->creds_cap) {
		b->creds_cap = b->creds_cap ? b->creds_cap * 2 : 64;
		b->creds = xrealloc(b->creds, b->creds_cap * sizeof *b->creds);
	}
	b->creds[b->creds_n++] = f->id;
}

/* Fold one fact into memory and into the batch. */
static void fact_apply(struct server *s, const struct fact *f, struct store_fact *stored, uint64_t seq)
{
	*stored = (struct store_fact){.kind = f->kind, .id = f->id};
	if (f->any)
		stored->val = encoded(s, schema_of_record(f->kind), f->any, &stored->len);
	counts_note(&s->counts, f->kind, core_record(s->core, f->kind, f->id), f->any);
	events_note(s, f, seq);
	keys_note(s, f);
	if (f->kind == RECORD_ALLOC) {
		alloc_dirty(s, core_alloc(s->core, f->id));
		alloc_dirty(s, f->alloc);
		if (f->alloc)
			relays_note(s, f->alloc);
	}
	core_apply(s->core, f);
}

/* What sluisd itself refuses: work that adds to a disk or a table that is nearly full. A command that has
 * acted before is no such work: its answer has to be found again (D2). */
static int room_check(const struct server *s, const struct command *cmd, struct err *err)
{
	bool grows = cmd->type == CMD_JOB_SUBMIT || cmd->type == CMD_LEASE_REQUEST ||
		     cmd->type == CMD_DIVISION_APPLY;

	if (grows && s->space != STORE_SPACE_OK) {
		(void)err_set(err, ERR_NOSPACE, "the disk of sluisd is nearly full: no new submissions");
		(void)err_hint(err, "an admin makes room below %s, or raises map_size; renewals and reports still pass",
			       s->conf.state_dir);
		return ERR_NOSPACE;
	}
	if (cmd->type == CMD_JOB_SUBMIT && s->counts.pending_jobs >= s->conf.limits.pending_jobs)
		return limit_reached(err, "pending_jobs", s->conf.limits.pending_jobs);
	if (cmd->type == CMD_LEASE_REQUEST && s->counts.leases >= s->conf.limits.leases)
		return limit_reached(err, "leases", s->conf.limits.leases);
	return 0;
}

/* Decide one command at this turn's instant, apply its facts and add its record to the batch. */
static int decide(struct server *s, const struct command *cmd, struct err *err)
{
	const struct cluster *cluster = core_cluster(s->core);
	uint64_t policy = cluster ? cluster->division_version : 0;
	struct decision *d = &s->decision;
	struct store_record *rec;
	struct store_fact *facts;
	int rc = core_decide(s->core, s->t_ms, cmd, d, err);

	if (!rc && !d->replayed)
		rc = room_check(s, cmd, err);
	if (rc || cmd->dry_run || !d->facts_n)
		return rc;
	rec = record_new(s);
	rec->t_ms = s->t_ms;
	rec->principal = cmd->principal;
	rec->cred = cmd->cred;
	rec->rule = d->rule;
	rec->policy_version = policy;
	record_command(s, cmd, rec);
	facts = arena_alloc(&s->batch.arena, d->facts_n * sizeof *facts);
	for (uint32_t i = 0; i < d->facts_n; i++)
		fact_apply(s, &d->facts[i], &facts[i], rec->seq);
	rec->facts = facts;
	rec->facts_n = d->facts_n;
	s->batch.resumed |= cmd->type == CMD_RESUME;
	return 0;
}

/* ---- keys ------------------------------------------------------------------------------------- */

/* The key of a credential, if it lets anybody in. */
static bool key_of(struct server *s, uint64_t id, struct link_key *ret)
{
	const struct cred *cr = core_cred(s->core, id);
	const struct principal *p = cr ? core_principal(s->core, cr->principal) : NULL;

	if (!p || cr->kind != CRED_CURVE || cr->state == CRED_REVOKED || p->disabled ||
	    (cr->not_after_ms && cr->not_after_ms <= server_now(s)))
		return false;
	*ret = (struct link_key){.cred_id = id};
	ret->doors = p->role == ROLE_NODE ? DOOR_BIT(DOOR_AGENTS) : DOOR_BIT(DOOR_USERS);
	memcpy(ret->pub, cr->key, sizeof ret->pub);
	return true;
}

void server_keys_publish(struct server *s)
{
	CLEANUP(buf_done) struct buf keys = BUF_INIT;
	struct link_key key;

	for (uint64_t id = 0; (id = core_next_id(s->core, RECORD_CRED, id)) != 0;)
		if (key_of(s, id, &key))
			buf_add(&keys, &key, sizeof key);
	link_keys_publish(s->link, (const struct link_key *)(const void *)keys.data,
			  keys.len / sizeof(struct link_key));
}

/* What the batch has changed of it. New ones one by one: a site that enrols has thousands already. */
static void keys_tell(struct server *s)
{
	struct link_key key;

	if (s->batch.keys) {
		server_keys_publish(s);
		return;
	}
	for (size_t i = 0; i < s->batch.creds_n; i++)
		if (key_of(s, s->batch.creds[i], &key))
			link_key_add(s->link, &key);
}

/* ---- the step --------------------------------------------------------------------------------- */

static void request_decide(struct server *s, struct request *r)
{
	if (r->code || !r->cmd)
		return;
	r->code = decide(s, r->cmd, &r->err);
	if (r->code) {
		if (r->door)
			refusals_note(s, link_door_kind_name(link_door_kind(r->door)),
				      core_principal(s->core, r->principal) ?
					      core_principal(s->core, r->principal)->name : "-",
				      r->code);
		else
			log_event(LOG_ERR, "command failed", "command=%s code=%s text=%s",
				  command_name(r->cmd->type), err_name(r->code), log_quote(r->err.msg));
		return;
	}
	schema_copy(&schema_result, &r->result, &s->decision.result, &s->turn_arena);
	if (r->payload.len && !r->cmd->dry_run && !s->decision.replayed)
		batch_blob(s, r->payload);
	r->seq = s->seq + s->batch.recs_n;
}

static bool step_full(const struct server *s, struct mono since)
{
	return s->batch.recs_n >= STEP_COMMANDS || s->batch.bytes >= STEP_BYTES ||
	       mono_now().ns - since.ns >= STEP_MS * NS_PER_MS;
}

/* Doors at which leases are renewed. */
static const enum link_door_kind holders[] = {DOOR_USERS, DOOR_LOCAL};

/* Note how far has been heard. With more in the inbox than one step decides, or more at a door than one turn takes, a
 * renewal that came in time may be among it. A door that is never empty has heard what waited at an instant once
 * every peer has had as many messages taken as can wait: so a flood delays what is due by the time that the
 * backlog takes, not for as long as it lasts. */
static void hear(struct server *s)
{
	if (s->midway || s->inbox_at < s->inbox_n || s->turn.ns < s->stalled_until.ns)
		return;
	s->stalls = 0;
	for (size_t i = 0; i < ARRAY_LEN(holders); i++) {
		const struct link_door *door = s->door[holders[i]];
		struct hearing *h = &s->hearing[i];

		if (!door || !link_door_behind(door)) {
			*h = (struct hearing){.until_ms = s->t_ms};
			continue;
		}
		if (h->mark_ms && link_door_rounds(door) - h->rounds > link_door_depth(door)) {
			h->until_ms = h->mark_ms;
			h->mark_ms = 0;
		}
		if (!h->mark_ms) {
			h->mark_ms = s->t_ms;
			h->rounds = link_door_rounds(door);
		}
	}
}

/* Logical time until which everything that may renew a lease was decided. */
static int64_t heard(const struct server *s)
{
	int64_t until = s->t_ms;

	for (size_t i = 0; i < ARRAY_LEN(holders); i++)
		if (s->hearing[i].until_ms && s->hearing[i].until_ms < until)
			until = s->hearing[i].until_ms;
	return until;
}

/* The scheduler and all deadlines: until nothing is left to do at this instant, or the step is full.
 * Returns whether more is left. */
static bool decide_ticks(struct server *s)
{
	struct command cmd = {.type = CMD_TICK, .via = VIA_INTERNAL, .principal = 1, .tick.heard_ms = heard(s)};
	struct err err;

	for (int i = 0; i < STEP_TICKS && s->batch.bytes < STEP_BYTES; i++) {
		size_t before = s->batch.recs_n;

		if (core_next_tick(s->core, s->t_ms) > s->t_ms)
			return false;
		if (decide(s, &cmd, &err)) {
			server_fail(s, &err); /* a tick is ours: it cannot be refused */
			return false;
		}
		if (s->batch.recs_n == before)
			return false;
	}
	return true;
}

/* How much room is left: each second, and after so many bytes that a second could be too late. */
static void space_look(struct server *s)
{
	enum store_space space = store_space(s->store);

	s->written_bytes = 0;
	if (space != s->space)
		log_event(space == STORE_SPACE_OK ? LOG_NOTICE : LOG_ALERT, "disk space",
			  "state=%s submissions=%s",
			  space == STORE_SPACE_OK ? "ok" : space == STORE_SPACE_LOW ? "low" : "critical",
			  space == STORE_SPACE_OK ? "accepted" : "refused");
	s->space = space;
}

/* The batch on stable storage: 0, or the process has to end. */
static int batch_commit(struct server *s)
{
	struct batch *b = &s->batch;
	struct mono before;
	struct err err;
	int rc;

	if (!b->recs_n && !b->blobs_n)
		return 0;
	FAILPOINT("server.step.decided");
	before = mono_now();
	rc = store_append(s->store, s->seq, s->epoch, b->recs, b->recs_n, b->blobs, b->blobs_n, &err);
	if (!rc && b->resumed) {
		FAILPOINT("server.resume.appended");
		rc = store_restored_clear(s->store, &err);
	}
	if (rc) {
		server_fail(s, &err);
		return rc;
	}
	FAILPOINT("server.step.committed");
	s->written_bytes += b->bytes;
	if (s->written_bytes >= SPACE_LOOK_BYTES)
		space_look(s);
	s->seq += b->recs_n;
	s->commit_us[s->commits++ % COMMITS_KEPT] = (mono_now().ns - before.ns) / 1000;
	return 0;
}

static void request_answer(struct server *s, struct request *r)
{
	if (!r->door)
		return;
	switch (link_door_kind(r->door)) {
	case DOOR_USERS:
	case DOOR_LOCAL: users_answer(s, r); break;
	case DOOR_AGENTS: agents_answer(s, r); break;
	case DOOR_ENROL: enrol_answer(s, r); break;
	case DOOR_KINDS: UNREACHABLE();
	}
}

/* A step is due every second at the latest, and is short. One that begins much later than the one before means that we
 * were stopped or starved: nobody could renew meanwhile, so the time counts against nobody. Reckoned with at
 * the first step of a turn, whose instant is behind the gap, before anything that the standstill let pile up,
 * timers included. A shorter gap costs nobody time, but the threads that read the sockets stood still as well: what
 * came meanwhile is not at the doors yet. */
static void standstill_recover(struct server *s, struct mono began)
{
	int64_t gap_ms = s->running && s->last_step.ns ? mono_ms(began) - mono_ms(s->last_step) : 0;
	bool fresh = s->turn.ns != s->step_turn.ns;
	struct request *r;

	s->last_step = began;
	s->step_turn = s->turn;
	if (gap_ms >= STALL_MS)
		s->stood_ms += gap_ms;
	if (!s->stood_ms || !fresh)
		return;
	gap_ms = s->stood_ms;
	s->stood_ms = 0;
	if (s->stalls++ < STALLS_MAX)
		s->stalled_until.ns = s->turn.ns + STALL_HEAR_MS * NS_PER_MS;
	if (gap_ms < STANDSTILL_MS)
		return;
	log_event(LOG_WARNING, "standstill", "gap_ms=%" PRId64, gap_ms);
	server_command(s, CMD_RECOVER)->recover.down_ms = gap_ms;
	r = s->inbox[--s->inbox_n]; /* it was put last: decide it first, outside the line */
	request_decide(s, r);
}

/* Decide → apply → append → answer. Everything that changes state goes through here, and nothing
 * leaves before the append has returned. Returns whether the scheduler has more to do now. */
static bool server_step(struct server *s)
{
	size_t first = s->inbox_at;
	struct mono since = mono_now();
	int queries = 0;
	bool more;

	(void)server_now(s);
	standstill_recover(s, since);
	while (s->inbox_at < s->inbox_n && queries < STEP_QUERIES && !step_full(s, since)) {
		struct request *r = s->inbox[s->inbox_at++];

		queries += r->type == MSG_QUERY;
		request_decide(s, r);
	}
	hear(s);
	more = decide_ticks(s);
	if (s->exit_code || batch_commit(s))
		return false;
	events_tell(s);
	keys_tell(s);
	for (size_t i = first; i < s->inbox_at; i++)
		request_answer(s, s->inbox[i]);
	FAILPOINT("server.step.answered");
	if (s->batch.resumed)
		agents_resumed(s);
	agents_send(s);
	FAILPOINT("server.step.sent");
	if (s->batch.recs_n)
		queries_wake(s);
	batch_reset(&s->batch);
	return more;
}

void server_fail(struct server *s, const struct err *err)
{
	if (s->exit_code)
		return;
	log_event(LOG_CRIT, "store failed", "code=%s text=%s exit=%d", err_name(err->code), log_quote(err->msg),
		  (int)EXIT_STORAGE);
	s->exit_code = EXIT_STORAGE;
	loop_stop(s->loop);
}

/* When the core wants to be woken. After a step that found nothing to do although something is due,
 * the next try waits a little, so that a fault cannot make the loop spin. */
static void tick_arm(struct server *s, bool more)
{
	int64_t due = core_next_tick(s->core, s->t_ms), after;

	if (due == T_NEVER) {
		loop_timer_cancel(s->loop, &s->tick);
		return;
	}
	after = due - s->t_ms;
	if (after > MS_PER_HOUR)
		after = MS_PER_HOUR;
	if (after <= 0 && !more)
		after = 100;
	loop_timer_after(s->loop, &s->tick, after);
}

void server_flush(struct server *s)
{
	bool more;

	do
		more = server_step(s);
	while (!s->exit_code && s->inbox_at < s->inbox_n);
	s->inbox_n = s->inbox_at = 0;
	s->inbox_bytes = 0;
	arena_reset(&s->turn_arena);
	if (!s->exit_code && s->running)
		tick_arm(s, more);
}

static void on_idle(struct loop *loop, void *arg)
{
	struct server *s = arg;

	(void)loop;
	if (!s->exit_code)
		server_flush(s);
}

/* Nothing to do but to make the turn: its idle hook decides. */
static void on_tick(struct loop *loop, struct loop_timer *timer, void *arg)
{
	(void)loop;
	(void)timer;
	(void)arg;
}

/* ---- signals and timers ----------------------------------------------------------------------- */

/* Our state is no secret and no duty: a manager that cannot be reached is news once an hour. */
static void manager_tell(const char *state)
{
	static struct log_limit limit = {.burst = 1, .window_ms = MS_PER_HOUR};
	struct err err;

	if (notify_send(state, &err))
		log_event_limited(&limit, mono_now(), LOG_WARNING, "notify failed", "text=%s", log_quote(err.msg));
}

static void on_stop(struct loop *loop, int signo, void *arg)
{
	(void)arg;
	log_event(LOG_NOTICE, "stopping", "signal=%s", signo == SIGTERM ? "TERM" : "INT");
	manager_tell("STOPPING=1");
	loop_stop(loop); /* the turn's idle hook still runs: what has come is decided, saved, answered */
}

static bool text_differs(const char *a, const char *b)
{
	return (a != NULL) != (b != NULL) || (a && strcmp(a, b) != 0);
}

/* Which changed lines of sluisd.conf need a restart. */
static void restart_lines(const struct daemon_conf *old, const struct daemon_conf *now)
{
	const struct { const char *key; bool differs; } line[] = {
		{"state_dir", text_differs(old->state_dir, now->state_dir)},
		{"map_size", old->map_size_bytes != now->map_size_bytes},
		{"listen.agents", text_differs(old->listen.agents, now->listen.agents)},
		{"listen.users", text_differs(old->listen.users, now->listen.users)},
		{"listen.enrol", text_differs(old->listen.enrol, now->listen.enrol)},
		{"listen.local", text_differs(old->listen.local, now->listen.local)},
		{"server_key", text_differs(old->server_key, now->server_key)},
		{"server_key_next", text_differs(old->server_key_next, now->server_key_next)},
	};

	for (size_t i = 0; i < ARRAY_LEN(line); i++)
		if (line[i].differs)
			log_event(LOG_WARNING, "restart needed", "key=%s", line[i].key);
}

int server_level(const struct daemon_conf *conf)
{
	static const int level[] = {[LEVEL_ERROR] = LOG_ERR, [LEVEL_WARNING] = LOG_WARNING,
				    [LEVEL_NOTICE] = LOG_NOTICE, [LEVEL_INFO] = LOG_INFO,
				    [LEVEL_DEBUG] = LOG_DEBUG};

	return level[conf->log.level];
}

static void on_reload(struct loop *loop, int signo, void *arg)
{
	CLEANUP(config_errors_done) struct config_errors errs = CONFIG_ERRORS_INIT;
	struct server *s = arg;
	struct daemon_conf conf;
	struct cmd_init init = {0};
	struct err err;

	(void)loop;
	(void)signo;
	if (daemon_conf_load(s->opts->config, s->opts->sets, s->opts->sets_n, &conf, &errs)) {
		(void)config_errors_first(&errs, &err);
		log_event(LOG_ERR, "reload failed", "errors=%zu text=%s", errs.count, log_quote(err.msg));
		return; /* what was is kept */
	}
	restart_lines(&s->conf, &conf);
	daemon_conf_done(&s->conf);
	s->conf = conf;
	s->log_level = server_level(&conf);
	log_set_level(s->log_level);
	log_set_prefix(conf.log.format == LOG_JOURNAL);
	s->archive_known = false; /* perhaps another folder now */
	if (settings_fill(s, &init, &s->turn_arena))
		server_command(s, CMD_INIT)->init = init;
	log_event(LOG_NOTICE, "reloaded", "level=%d", s->log_level);
}

static void on_second(struct loop *loop, struct loop_timer *timer, void *arg)
{
	space_look(arg);
	loop_timer_after(loop, timer, 1000);
}

static void on_minute(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct server *s = arg;
	char text[160];

	refusals_tell(s);
	alive_write(s, false);
	(void)snprintf(text, sizeof text, "STATUS=seq %" PRIu64 ", %u agents connected%s", s->seq,
		       agents_connected(s), core_cluster(s->core)->safe_mode ? ", safe mode" : "");
	manager_tell(text);
	loop_timer_after(loop, timer, MS_PER_MIN);
}

/* Fed from the loop: a loop that no longer turns, or cannot save, is not fed. */
static void on_watchdog(struct loop *loop, struct loop_timer *timer, void *arg)
{
	(void)arg;
	manager_tell("WATCHDOG=1");
	loop_timer_after(loop, timer, notify_watchdog_ms() / 2);
}

/* ---- run -------------------------------------------------------------------------------------- */

int server_signals(struct server *s, struct err *err)
{
	int rc = loop_add_signal(s->loop, SIGTERM, on_stop, s, err);

	if (!rc)
		rc = loop_add_signal(s->loop, SIGINT, on_stop, s, err);
	if (!rc)
		rc = loop_add_signal(s->loop, SIGHUP, on_reload, s, err);
	return rc;
}

static int start(struct server *s, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < DOOR_KINDS && !rc; i++)
		if (s->door[i])
			rc = link_door_watch(s->loop, s->door[i], doors_message, s, TURN_MESSAGES, err);
	if (rc)
		return rc;
	s->tick = (struct loop_timer)LOOP_TIMER_INIT(on_tick, s);
	s->second = (struct loop_timer)LOOP_TIMER_INIT(on_second, s);
	s->minute = (struct loop_timer)LOOP_TIMER_INIT(on_minute, s);
	s->watchdog = (struct loop_timer)LOOP_TIMER_INIT(on_watchdog, s);
	loop_timer_after(s->loop, &s->tick, 0);
	loop_timer_after(s->loop, &s->second, 0);
	loop_timer_after(s->loop, &s->minute, 0);
	s->archive = (struct loop_timer)LOOP_TIMER_INIT(archive_on_timer, s);
	loop_timer_after(s->loop, &s->archive, 0);
	if (notify_watchdog_ms() > 0)
		loop_timer_after(s->loop, &s->watchdog, 0);
	loop_set_idle(s->loop, on_idle, s);
	agents_start(s);
	s->running = true;
	return 0;
}

int server_run(struct server *s)
{
	struct err err;

	if (start(s, &err) || loop_run(s->loop, &err)) {
		log_event(LOG_CRIT, "loop failed", "text=%s", log_quote(err.msg));
		return EXIT_OTHER;
	}
	if (s->exit_code)
		return s->exit_code;
	if (store_checkpoint(s->store, NULL, &err)) {
		server_fail(s, &err);
		return s->exit_code;
	}
	FAILPOINT("server.stop.checkpointed");
	alive_write(s, true);
	refusals_tell(s); /* of the minute that has begun */
	agents_goodbye(s);
	log_event(LOG_NOTICE, "stopped", "seq=%" PRIu64, s->seq);
	return EXIT_STOPPED;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int64_t server_commit_p99_us(const struct server *s)
{
	int64_t sorted[COMMITS_KEPT];
	size_t n = s->commits < COMMITS_KEPT ? (size_t)s->commits : COMMITS_KEPT;

	if (!n)
		return 0;
	memcpy(sorted, s->commit_us, n * sizeof *sorted);
	qsort(sorted, n, sizeof *sorted, by_value);
	return sorted[(n * 99 - 1) / 100];
}

void server_free(struct server *s)
{
	if (!s)
		return;
	queries_free(s);
	agents_free(s);
	relays_free(s->relays);
	refusals_free(s->refusals);
	for (int i = 0; i < DOOR_KINDS; i++)
		link_door_free(s->door[i]);
	link_ctx_free(s->link);
	loop_free(s->loop);
	core_free(s->core);
	if (s->store)
		store_close(s->store);
	decision_done(&s->decision);
	arena_done(&s->turn_arena);
	arena_done(&s->batch.arena);
	free(s->batch.recs);
	free(s->batch.blobs);
	free(s->batch.events);
	free(s->batch.creds);
	free(s->inbox);
	free(s->dirty);
	buf_done(&s->scratch);
	buf_done(&s->frame);
	daemon_conf_done(&s->conf);
	explicit_bzero(s->server_sec, sizeof s->server_sec);
	free(s);
}
