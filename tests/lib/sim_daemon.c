/* sim_daemon.c - the simulated sluisd: the real core over a store in memory
 *
 * The order is that of the real one: what arrived is decided and applied, command by command, until
 * no tick has anything to do; the batch is synced; only then replies and orders leave. While one
 * batch syncs the next is decided. A crash loses what was not synced, and sometimes only the answers.
 */
#include "tests/lib/sim_world.h"

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/wire/frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t EPOCH0_MS = INT64_C(1800000000000);
static const uint64_t EPOCH_STEP = UINT64_C(1) << 32; /* as STORE_EPOCH_STEP */
static const int64_t TURN_MS = 2000;
static const int64_t GAP_MS = 6000; /* longer between two turns: nobody could be heard */
enum { TICKS_MAX = 20000 };

int64_t daemon_t(const struct sim *s)
{
	int64_t ms = s->now_ms - s->d.true_base_ms;

	return s->d.t_base_ms + ms + ms * s->k.daemon_clock_ppm / 1000000;
}

/* When the daemon's clock will show `t`, in true time. */
static int64_t true_ms(const struct sim *s, int64_t t)
{
	int64_t left = t - daemon_t(s);

	return left <= 0 ? s->now_ms : s->now_ms + left * 1000000 / (1000000 + s->k.daemon_clock_ppm) + (s->k.daemon_clock_ppm != 0);
}

int64_t daemon_uptime(const struct sim *s)
{
	int64_t ms = s->d.up_total_ms;

	return s->d.up && s->now_ms > s->d.up_since_ms ? ms + s->now_ms - s->d.up_since_ms : ms;
}

/* ---- records as bytes ----------------------------------------------------------------------------- */

static void bytes_done(struct sim_bytes *b)
{
	free(b->data);
	b->data = NULL;
}

static void log_done(struct sim_log *r)
{
	for (uint32_t i = 0; i < r->facts_n; i++)
		bytes_done(&r->facts[i]);
	free(r->facts);
	free(r->body);
}

static uint32_t table_find(const struct sim_table *t, uint64_t id, bool *ret_found)
{
	uint32_t lo = 0, hi = t->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (t->row[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_found = lo < t->n && t->row[lo].id == id;
	return lo;
}

static void table_put(struct sim_table *t, const struct sim_bytes *b)
{
	bool found;
	uint32_t i = table_find(t, b->id, &found);

	if (b->deleted) {
		if (!found)
			return;
		bytes_done(&t->row[i]);
		memmove(&t->row[i], &t->row[i + 1], (--t->n - i) * sizeof *t->row);
		return;
	}
	if (found) {
		bytes_done(&t->row[i]);
	} else {
		if (t->n == t->cap) {
			t->cap = t->cap ? t->cap * 2 : 16;
			t->row = xrealloc(t->row, t->cap * sizeof *t->row);
		}
		memmove(&t->row[i + 1], &t->row[i], (t->n++ - i) * sizeof *t->row);
	}
	t->row[i] = *b;
	t->row[i].data = xmalloc(b->len + 1);
	memcpy(t->row[i].data, b->data, b->len);
}

static void tables_done(struct sim_table table[RECORD_KINDS])
{
	for (int k = 0; k < RECORD_KINDS; k++) {
		for (uint32_t i = 0; i < table[k].n; i++)
			bytes_done(&table[k].row[i]);
		free(table[k].row);
		table[k] = (struct sim_table){0};
	}
}

static void tables_copy(struct sim_table to[RECORD_KINDS], struct sim_table from[RECORD_KINDS])
{
	tables_done(to);
	for (int k = 0; k < RECORD_KINDS; k++)
		for (uint32_t i = 0; i < from[k].n; i++)
			table_put(&to[k], &from[k].row[i]);
}

/* Apply one stored record to a core. */
static bool bytes_apply(struct sim *s, struct core *c, struct arena *arena, const struct sim_bytes *b)
{
	const struct schema *schema = schema_of_record(b->kind);
	struct fact f = {.kind = b->kind, .id = b->id};
	struct err err;

	arena_reset(arena);
	if (!b->deleted) {
		void *rec = arena_alloc(arena, schema->size);

		if (schema_decode(schema, b->data, b->len, rec, arena, &err)) {
			sim_violation(s, "record (%u, %" PRIu64 ") does not come back from its bytes: %s", b->kind,
				      b->id, err.msg);
			return false;
		}
		f.any = rec;
	}
	core_apply(c, &f);
	return true;
}

static struct core *core_of_tables(struct sim *s, struct sim_table table[RECORD_KINDS])
{
	struct core *c = core_new();
	struct arena arena = {0};
	bool ok = true;

	for (int k = 0; k < RECORD_KINDS && ok; k++)
		for (uint32_t i = 0; i < table[k].n && ok; i++)
			ok = bytes_apply(s, c, &arena, &table[k].row[i]);
	arena_done(&arena);
	return c;
}

/* ---- batches ------------------------------------------------------------------------------------------- */

static void batch_done(struct sim_batch *b)
{
	for (uint32_t i = 0; i < b->rec_n; i++)
		log_done(&b->rec[i]);
	for (uint32_t i = 0; i < b->out_n; i++)
		sim_msg_free(b->out[i]);
	free(b->rec);
	free(b->out);
	*b = (struct sim_batch){0};
}

static void send_later(struct sim *s, struct sim_msg *m)
{
	struct sim_batch *b = &s->d.cur;

	if (s->canary == CANARY_ACK_BEFORE_COMMIT) {
		sim_send(s, m);
		return;
	}
	if (b->out_n == b->out_cap) {
		b->out_cap = b->out_cap ? b->out_cap * 2 : 16;
		b->out = xrealloc(b->out, b->out_cap * sizeof(struct sim_msg *));
	}
	b->out[b->out_n++] = m;
}

static void record_add(struct sim *s, const struct command *cmd, int64_t t)
{
	struct sim_batch *b = &s->d.cur;
	struct buf buf = BUF_INIT;
	struct sim_log *r;

	if (b->rec_n == b->rec_cap) {
		b->rec_cap = b->rec_cap ? b->rec_cap * 2 : 8;
		b->rec = xrealloc(b->rec, b->rec_cap * sizeof *b->rec);
	}
	r = &b->rec[b->rec_n++];
	*r = (struct sim_log){.seq = ++s->d.seq,
			      .t_ms = t,
			      .up_ms = daemon_uptime(s),
			      .type = cmd->type,
			      .via = cmd->via,
			      .principal = cmd->principal,
			      .cred = cmd->cred,
			      .facts_n = s->d.dec.facts_n};
	memcpy(r->key, cmd->idem_key, sizeof r->key);
	memcpy(r->body_hash, cmd->body_hash, sizeof r->body_hash);
	schema_encode(schema_of_command(cmd->type), &cmd->tick, &buf);
	r->body_len = (uint32_t)buf.len;
	r->body = xmalloc(buf.len + 1);
	memcpy(r->body, buf.data, buf.len);
	r->facts = xcalloc(r->facts_n, sizeof *r->facts);
	sim_trace(s, r->seq ^ (uint64_t)t << 20 ^ (uint64_t)cmd->type << 56);
	for (uint32_t i = 0; i < r->facts_n; i++) {
		const struct fact *f = &s->d.dec.facts[i];

		r->facts[i] = (struct sim_bytes){.kind = f->kind, .id = f->id, .deleted = !f->any};
		if (!f->any)
			continue;
		buf_reset(&buf);
		schema_encode(schema_of_record(f->kind), f->any, &buf);
		r->facts[i].len = (uint32_t)buf.len;
		r->facts[i].data = xmalloc(buf.len + 1);
		memcpy(r->facts[i].data, buf.data, buf.len);
		for (size_t k = 0; k < buf.len; k += 8) {
			uint64_t w = 0;

			memcpy(&w, buf.data + k, buf.len - k < 8 ? buf.len - k : 8);
			sim_trace(s, w);
		}
	}
	buf_done(&buf);
}

/* ---- what the observer learns from a commit ------------------------------------------------------------- */

static void expiry_check(struct sim *s, const struct sim_log *now, const struct lease *l)
{
	int64_t heard;

	s->n.expiries++;
	for (uint32_t i = s->d.store.log_n; i-- > 0;)
		for (uint32_t k = s->d.store.log[i].facts_n; k-- > 0;) {
			const struct sim_bytes *b = &s->d.store.log[i].facts[k];

			if (b->kind != RECORD_RENEWAL || b->id != l->id)
				continue;
			heard = now->up_ms - s->d.store.log[i].up_ms;
			heard += heard * s->k.daemon_clock_ppm / 1000000; /* by its own clock */
			if (heard < l->spec.ttl_ms + l->spec.grace_ms - 1000)
				sim_violation(s,
					      "I12: lease %" PRIu64 " expired after %" PRId64
					      " ms in which the daemon could hear, of %" PRId64,
					      l->id, heard, l->spec.ttl_ms + l->spec.grace_ms);
			return;
		}
}

static struct sim_told *told_of(struct sim *s, uint64_t lease)
{
	for (uint32_t i = 0; i < s->told_n; i++)
		if (s->told[i].lease == lease)
			return &s->told[i];
	return NULL;
}

/* An answer leaves: whoever gets it counts on the lease until then. */
static void told_note(struct sim *s, const struct sim_msg *m)
{
	for (uint32_t i = 0; i < m->renewals_n; i++) {
		const struct renew_result *r = &m->renewal[i];
		struct sim_told *told = told_of(s, r->lease);

		if (r->code || m->code || !r->ttl_ms)
			continue; /* without a ttl nothing is promised: it is not bound yet */
		if (!told) {
			if (s->told_n == s->told_cap) {
				s->told_cap = s->told_cap ? s->told_cap * 2 : 32;
				s->told = xrealloc(s->told, s->told_cap * sizeof *s->told);
			}
			told = &s->told[s->told_n++];
			*told = (struct sim_told){.lease = r->lease};
		}
		if (m->t_ms + r->ttl_ms > told->end_ms)
			told->end_ms = m->t_ms + r->ttl_ms;
	}
}

/* A lease that time ends lasts as long as its holder was told, whatever came in between. */
static void told_check(struct sim *s, int64_t t, uint64_t lease)
{
	const struct sim_told *told = told_of(s, lease);

	if (told && t < told->end_ms)
		sim_violation(s, "lease %" PRIu64 " is ended %" PRId64 " ms before the end its holder was told", lease,
			      told->end_ms - t);
}

/* Whoever was heard beside the machine is known by its boot. */
static void twin_noted(struct sim *s, const struct node *n)
{
	char boot[40];

	for (uint32_t i = s->k.machines; i < SIM_MACHINES_MAX; i++) {
		struct sim_machine *m = &s->machine[i];

		if (!m->twin || m->node != n->id)
			continue;
		machine_boot_id(s, m, boot);
		m->noted |= !strcmp(boot, n->twin_boot);
	}
}

static void committed(struct sim *s, const struct sim_log *r)
{
	struct arena arena = {0};
	struct err err;

	for (uint32_t i = 0; i < r->facts_n; i++) {
		const struct sim_bytes *b = &r->facts[i];
		bool known;
		uint32_t at = table_find(&s->d.store.table[b->kind], b->id, &known);

		(void)at;
		if (b->deleted && b->kind == RECORD_ALLOC)
			observer_stops(s, b->id);
		if (b->deleted)
			continue;
		if (b->kind == RECORD_ALLOC) {
			struct alloc a;
			bool stops;

			ENSURE(!schema_decode(schema_of_record(b->kind), b->data, b->len, &a, &arena, &err));
			stops = a.state == ALLOC_STOPPING;
			for (uint32_t k = 0; k < a.parts_n; k++)
				stops |= a.parts[k].stop;
			if (stops)
				observer_stops(s, b->id);
			if (!known) {
				observer_allocated(s, &a);
				s->n.inside += a.reservation != 0;
				s->n.extras += a.extra;
			}
		} else if (b->kind == RECORD_LEASE) {
			struct lease l;

			ENSURE(!schema_decode(schema_of_record(b->kind), b->data, b->len, &l, &arena, &err));
			if (l.state == LEASE_EXPIRED)
				expiry_check(s, r, &l);
			if (l.state == LEASE_EXPIRED || l.state == LEASE_ENDED) {
				holders_check(s, &l);
				told_check(s, r->t_ms, l.id);
			}
		} else if (b->kind == RECORD_NODE && s->twins_made) {
			struct node n;

			ENSURE(!schema_decode(schema_of_record(b->kind), b->data, b->len, &n, &arena, &err));
			twin_noted(s, &n);
		} else if (b->kind == RECORD_CLAIM && !known) {
			s->n.claims++;
		} else if (b->kind == RECORD_RESERVATION && !known) {
			s->n.reservations++;
		}
	}
	arena_done(&arena);
}

static void batch_commit(struct sim *s, struct sim_batch *b)
{
	struct sim_store *st = &s->d.store;

	for (uint32_t i = 0; i < b->rec_n; i++) {
		struct sim_log *r = &b->rec[i];

		committed(s, r);
		if (r->type == CMD_RESUME)
			st->restored = false; /* confirmed by the operator */
		for (uint32_t k = 0; k < r->facts_n; k++) {
			if (s->canary == CANARY_FORGET_FACT && r->facts[k].kind == RECORD_ALLOC && !r->facts[k].deleted &&
			    r->seq % 97 == 0) /* one that stays would lie upon the next, and end the program before it is told */
				continue;
			table_put(&st->table[r->facts[k].kind], &r->facts[k]);
		}
		if (st->log_n == st->log_cap) {
			st->log_cap = st->log_cap ? st->log_cap * 2 : 256;
			st->log = xrealloc(st->log, st->log_cap * sizeof *st->log);
		}
		st->log[st->log_n++] = *r;
	}
	s->n.commits += b->rec_n > 0;
	b->rec_n = 0;
}

static void fly_land(struct sim *s)
{
	struct sim_batch *b = &s->d.fly;
	struct sim_msg **out = b->out;
	uint32_t n = b->out_n;

	for (uint32_t i = 0; i < n; i++)
		told_note(s, out[i]);
	batch_commit(s, b);
	s->d.fly_until_ms = 0;
	b->out = NULL;
	b->out_n = 0;
	batch_done(b);
	for (uint32_t i = 0; i < n; i++)
		sim_send(s, out[i]);
	free(out);
}

/* ---- deciding ------------------------------------------------------------------------------------------------ */

static uint16_t machine_of_node(const struct sim *s, uint32_t node)
{
	for (uint16_t i = 0; i < s->k.machines; i++)
		if (s->machine[i].node == node)
			return i;
	return SIM_MACHINES_MAX;
}

static void dirty(struct sim *s, const struct alloc *a)
{
	for (uint32_t i = 0; a && i < a->parts_n; i++) {
		uint16_t m = machine_of_node(s, a->parts[i].node);

		if (m < SIM_MACHINES_MAX)
			s->d.node[m].dirty = true;
	}
}

static void facts_apply(struct sim *s)
{
	struct sim_daemon *d = &s->d;

	for (uint32_t i = 0; i < d->dec.facts_n; i++) {
		const struct fact *f = &d->dec.facts[i];

		if (f->kind == RECORD_ALLOC) {
			observer_changed(s, core_alloc(d->core, f->id), f->alloc);
			dirty(s, core_alloc(d->core, f->id));
			dirty(s, f->alloc);
			if (f->id > d->alloc_max)
				d->alloc_max = f->id;
			s->n.recalls += f->alloc && f->alloc->stop_cause == END_RECALL &&
					core_alloc(d->core, f->id) && !core_alloc(d->core, f->id)->stop_cause;
		}
		if (f->kind == RECORD_CLUSTER && f->cluster && core_cluster(d->core) &&
		    f->cluster->safe_mode != core_cluster(d->core)->safe_mode)
			for (uint32_t m = 0; m < s->k.machines; m++)
				d->node[m].dirty = true;
		if (f->kind == RECORD_JOB && f->job && job_terminal(f->job->state) && core_job(d->core, f->id) &&
		    !job_terminal(core_job(d->core, f->id)->state))
			s->n.jobs_ended++;
		core_apply(d->core, f);
	}
}

static int decide_one(struct sim *s, const struct command *cmd, struct err *err)
{
	struct sim_daemon *d = &s->d;
	int64_t t = daemon_t(s);
	struct err broken;
	int rc = core_decide(d->core, t, cmd, &d->dec, err);

	s->n.decisions++;
	if (rc) {
		s->n.refusals++;
		if (d->dec.facts_n)
			sim_violation(s, "a refused %s left facts", command_name(cmd->type));
		return rc;
	}
	if (!d->dec.facts_n)
		return 0;
	record_add(s, cmd, t);
	book_decision(s, cmd->type, t, &d->dec);
	facts_apply(s);
	if (d->seq % s->k.check_every == 0 && core_check(d->core, &broken))
		sim_violation(s, "core_check after %s (seq %" PRIu64 "): %s", command_name(cmd->type), d->seq,
			      broken.msg);
	return 0;
}

int daemon_now(struct sim *s, struct command *cmd, struct result *ret)
{
	struct err err;
	int rc = decide_one(s, cmd, &err);

	if (rc) {
		fprintf(stderr, "sim: setting up: %s: %s\n", command_name(cmd->type), err.msg);
		return rc;
	}
	*ret = s->d.dec.result;
	batch_commit(s, &s->d.cur);
	batch_done(&s->d.cur);
	return 0;
}

static void ticks(struct sim *s)
{
	struct command tick = {.type = CMD_TICK, .via = VIA_INTERNAL, .principal = 1};
	struct err err;

	for (int i = 0; !s->failed; i++) {
		if (core_next_tick(s->d.core, daemon_t(s)) > daemon_t(s))
			return;
		if (decide_one(s, &tick, &err)) {
			sim_violation(s, "a tick was refused: %s", err.msg);
			return;
		}
		if (!s->d.dec.facts_n && core_next_tick(s->d.core, daemon_t(s)) <= daemon_t(s)) {
			sim_violation(s, "an empty tick wants another at once");
			return;
		}
		if (i == TICKS_MAX)
			sim_violation(s, "ticks go on without end");
	}
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

static uint64_t seq_of_key(const struct sim *s, uint32_t principal, const uint8_t key[16])
{
	const struct sim_log *part[] = {s->d.cur.rec, s->d.fly.rec, s->d.store.log};
	uint32_t n[] = {s->d.cur.rec_n, s->d.fly.rec_n, s->d.store.log_n};

	for (int p = 0; p < 3; p++)
		for (uint32_t i = n[p]; i-- > 0;)
			if (part[p][i].principal == principal && !memcmp(part[p][i].key, key, 16))
				return part[p][i].seq;
	return 0;
}

static void on_command(struct sim *s, const struct sim_msg *m)
{
	const struct sim_user *u = &s->user[m->link - SIM_MACHINES_MAX];
	struct command cmd = {.type = m->cmd, .via = VIA_USERS, .principal = u->principal, .cred = u->cred};
	struct sim_msg *r = sim_msg_new(M_REPLY, m->link);
	struct result *res = &s->d.dec.result;
	struct err err;

	arena_reset(&s->d.arena);
	memcpy(cmd.idem_key, m->key, sizeof cmd.idem_key);
	command_body_hash(m->cmd, m->body.data, m->body.len, cmd.body_hash);
	ENSURE(!schema_decode(schema_of_command(m->cmd), m->body.data, m->body.len, &cmd.tick, &s->d.arena, &err));
	r->req = m->req;
	r->t_ms = daemon_t(s);
	r->renew_seq = m->renew_seq;
	r->life = s->n.restores;
	r->cmd = m->cmd;
	memcpy(r->key, m->key, sizeof r->key);
	r->code = decide_one(s, &cmd, &err);
	if (!r->code) {
		r->id = res->id;
		r->seq = s->d.dec.facts_n ? s->d.seq : 0;
		if (s->d.dec.replayed) {
			s->n.replays++;
			r->seq = seq_of_key(s, cmd.principal, cmd.idem_key);
			if (!r->seq)
				sim_violation(s, "a reply was remembered of a command that is not in the log");
		}
		for (uint32_t i = 0; i < res->renewals_n && i < SIM_REPLY_RENEWALS_MAX; i++)
			r->renewal[r->renewals_n++] = res->renewals[i];
	} else {
		sim_say(s, "%s: %s refused: %s", u->name, command_name(m->cmd), err.msg);
	}
	send_later(s, r);
}

static void on_look(struct sim *s, const struct sim_msg *m)
{
	const struct lease *l = core_lease(s->d.core, m->id);
	const struct renewal *n = core_renewal(s->d.core, m->id);
	struct sim_msg *r = sim_msg_new(M_LOOKED, m->link);

	r->req = m->req;
	r->id = m->id;
	r->fence = l ? l->fence : 0;
	r->renew_seq = n ? n->renew_seq : 0;
	send_later(s, r);
}

/* ---- agents: as daemon/agents.c ------------------------------------------------------------------------------ */

static void frame_answer(struct sim *s, const struct sim_msg *m, uint16_t type, const void *obj)
{
	struct sim_msg *r = sim_msg_new(M_FRAME, m->link);

	r->incarnation = m->incarnation;
	r->conn = m->conn;
	message_encode(type, 1, obj, &r->body);
	send_later(s, r);
}

static void goodbye(struct sim *s, const struct sim_msg *m, int32_t code)
{
	const struct msg_goodbye bye = {.code = code, .text = ""};

	frame_answer(s, m, MSG_GOODBYE, &bye);
}

static bool row_known(const struct sim *s, uint16_t at, const struct unit_status *row)
{
	const struct alloc *a = core_alloc(s->d.core, row->alloc);

	for (uint32_t k = 0; a && k < a->parts_n; k++)
		if (a->parts[k].index == row->part && a->parts[k].node == s->machine[at].node)
			return true;
	return false;
}

static bool stale_note(struct sim *s, uint16_t at, const struct unit_status *rows, uint32_t n)
{
	const struct cluster *cluster = core_cluster(s->d.core);
	struct sim_session *ses = &s->d.node[at];
	struct sim_stale stale[SIM_STALE_MAX];
	uint32_t stale_n = 0;
	bool changed;

	memset(stale, 0, sizeof stale);
	for (uint32_t i = 0; i < n && stale_n < SIM_STALE_MAX; i++)
		if (!row_known(s, at, &rows[i]) && rows[i].alloc < cluster->next_alloc && rows[i].state != UNIT_RELEASED &&
		    rows[i].state != UNIT_LOST && rows[i].state != UNIT_ABSENT) {
			stale[stale_n].alloc = rows[i].alloc;
			stale[stale_n++].part = rows[i].part;
		}
	changed = stale_n != ses->stale_n || memcmp(stale, ses->stale, stale_n * sizeof *stale) != 0;
	memcpy(ses->stale, stale, sizeof stale);
	ses->stale_n = stale_n;
	return changed;
}

static bool row_done(const struct sim *s, uint16_t at, const struct unit_status *row)
{
	const struct cluster *cluster = core_cluster(s->d.core);

	if (row->state == UNIT_RELEASED || row->state == UNIT_LOST)
		return !row_known(s, at, row) && row->alloc < cluster->next_alloc && !cluster->safe_mode;
	return (row->state == UNIT_EXITED || row->state == UNIT_FAILED) && row_known(s, at, row);
}

/* A node that was given up on speaks. */
static void heard(struct sim *s, uint16_t at)
{
	const struct node *n = core_node(s->d.core, s->machine[at].node);
	struct command cmd = {.type = CMD_NODE_LIVENESS, .via = VIA_INTERNAL, .principal = 1};
	struct err err;

	s->d.node[at].heard_ms = s->now_ms;
	if (n->state != NODE_SUSPECT && n->state != NODE_UNREACHABLE)
		return;
	cmd.node_liveness.node = n->id;
	cmd.node_liveness.state = NODE_READY;
	(void)decide_one(s, &cmd, &err); /* refused: nothing changes */
}

static bool same_peer(const struct sim_session *ses, const struct sim_msg *m)
{
	return ses->link == m->link && ses->conn == m->conn && ses->incarnation == m->incarnation;
}

/* Somebody greets while a session stands: ask there who lives. False if that connection is known to be gone: its
 * process has ended, and the machine, which is there and can be reached, has said so. */
static bool rival_ask(struct sim *s, struct sim_session *ses, const char *boot_id)
{
	const struct sim_machine *at = &s->machine[ses->link];
	const struct sim_msg to = {.link = ses->link, .incarnation = ses->incarnation, .conn = ses->conn};
	bool told = at->up && s->now_ms >= at->paused_until_ms && s->link[ses->link].cut_up_ms <= s->now_ms &&
		    s->link[ses->link].cut_down_ms <= s->now_ms;
	struct msg_ping ping = {.nonce = ++s->d.nonce_next};

	if (told && !(at->agent.core && at->agent.connected && at->agent.incarnation == ses->incarnation &&
		      at->agent.conn == ses->conn))
		return false;
	ses->nonce = ping.nonce;
	ses->asked_link = ses->link;
	ses->asked_conn = ses->conn;
	ses->asked_incarnation = ses->incarnation;
	(void)snprintf(ses->rival, sizeof ses->rival, "%s", boot_id);
	frame_answer(s, &to, MSG_PING, &ping);
	return true;
}

static void on_pong(struct sim *s, const struct sim_msg *m, const struct msg_ping *pong)
{
	uint16_t at = machine_key(s, m->link);
	struct sim_session *ses = &s->d.node[at];
	struct command cmd = {.type = CMD_NODE_LIVENESS, .via = VIA_INTERNAL, .principal = 1};
	struct err err;

	if (!ses->nonce || pong->nonce != ses->nonce || ses->asked_link != m->link || ses->asked_conn != m->conn ||
	    ses->asked_incarnation != m->incarnation)
		return;
	ses->nonce = 0;
	cmd.node_liveness.node = s->machine[at].node;
	cmd.node_liveness.state = core_node(s->d.core, s->machine[at].node)->state;
	memcpy(cmd.node_liveness.twin_boot, ses->rival, sizeof cmd.node_liveness.twin_boot);
	(void)decide_one(s, &cmd, &err); /* refused: nothing changes */
	s->n.twins_noted++;
}

/* Is it to be refused because the node lives elsewhere? */
static bool other_machine(struct sim *s, struct sim_session *ses, const struct sim_msg *m, const char *boot_id)
{
	bool same_boot = !strcmp(ses->boot_id, boot_id);

	return ses->live && (ses->link != m->link || s->machine[m->link].twin) && !same_peer(ses, m) &&
	       (same_boot || s->now_ms - ses->heard_ms <= s->k.suspect_ms) && rival_ask(s, ses, boot_id) && !same_boot;
}

/* A copy of a machine greets as if that had rebooted, and sluisd cannot know better: it has never heard both at once, or
 * an operator has declared the machine dead. Whoever started it has been warned, and switches it off again. */
static bool twin_unseen(struct sim *s, uint16_t link, const struct command *hello)
{
	const struct sim_machine *m = &s->machine[link];
	struct err err;

	if (!m->twin || m->same_boot || (m->noted && core_node(s->d.core, m->node)->state != NODE_DOWN) ||
	    core_decide(s->d.core, daemon_t(s), hello, &s->d.dec, &err))
		return false;
	s->n.twins_unseen += m->up;
	sim_say(s, "%s: cannot be told from a reboot", m->name);
	twin_off(s, link);
	return true;
}

static void on_hello(struct sim *s, const struct sim_msg *m, const struct msg_hello *hello)
{
	uint16_t at = machine_key(s, m->link);
	struct sim_machine *mc = &s->machine[at];
	struct sim_session *ses = &s->d.node[at];
	struct command cmd = {
		.type = CMD_NODE_HELLO, .via = VIA_AGENTS, .principal = mc->principal, .cred = mc->cred};
	struct msg_welcome welcome = {.version = FRAME_VERSION, .epoch = s->d.store.epoch, .role = ROLE_NODE};
	struct err err;
	int rc;

	ENSURE(!schema_decode(&schema_cmd_node_hello, hello->node.data, hello->node.len, &cmd.node_hello, &s->d.arena, &err));
	cmd.node_hello.node = mc->node;
	if (other_machine(s, ses, m, cmd.node_hello.boot_id)) {
		const struct msg_reply reply = {.code = ERR_CONFLICT};

		s->n.twins_refused += s->machine[m->link].twin;
		frame_answer(s, m, MSG_REPLY, &reply);
		return;
	}
	if (twin_unseen(s, m->link, &cmd))
		return;
	mc->blurred |= s->machine[m->link].same_boot; /* nobody can tell the two apart */
	if (cmd.node_hello.epoch_seen > s->d.store.epoch && s->d.store.restored) /* as later_sluisd() */
		welcome.epoch = s->d.store.epoch = cmd.node_hello.epoch_seen + EPOCH_STEP + 1;
	rc = decide_one(s, &cmd, &err);
	if (rc) {
		const struct msg_reply reply = {.code = rc};

		sim_say(s, "hello of %s refused: %s", s->machine[m->link].name, err.msg);
		s->n.twins_refused += s->machine[m->link].twin;
		if (rc == ERR_SUPERSEDED)
			goodbye(s, m, rc);
		else
			frame_answer(s, m, MSG_REPLY, &reply);
		return;
	}
	if (ses->live && ses->link != m->link) {
		const struct sim_msg to = {.link = ses->link, .incarnation = ses->incarnation, .conn = ses->conn};

		goodbye(s, &to, ERR_SUPERSEDED);
	}
	if (s->machine[m->link].twin) {
		sim_say(s, "%s passes for %s", s->machine[m->link].name, mc->name);
		s->n.twins_in++;
	}
	ses->live = true;
	ses->id = ++s->d.session_next;
	ses->link = m->link;
	memcpy(ses->boot_id, cmd.node_hello.boot_id, sizeof ses->boot_id);
	ses->incarnation = m->incarnation;
	ses->conn = m->conn;
	ses->heard_ms = s->now_ms;
	ses->rev_seen = 0;
	ses->dirty = true;
	welcome.session = ses->id;
	welcome.hb_ms = welcome.jitter_ms = s->k.heartbeat_ms;
	welcome.node = mc->node;
	frame_answer(s, m, MSG_WELCOME, &welcome);
	(void)stale_note(s, at, cmd.node_hello.units, cmd.node_hello.units_n);
}

/* Does the message belong to the session that stands? */
static bool current(struct sim *s, const struct sim_msg *m, uint64_t epoch, uint64_t session, uint64_t incarnation)
{
	const struct sim_session *ses = &s->d.node[machine_key(s, m->link)];

	if (ses->live && epoch == s->d.store.epoch && session == ses->id && same_peer(ses, m))
		return true;
	goodbye(s, m, ses->live && incarnation < ses->incarnation ? ERR_SUPERSEDED : ERR_STALE);
	return false;
}

static void desired_send(struct sim *s, uint16_t at, bool fresh)
{
	struct sim_session *ses = &s->d.node[at];
	const struct sim_msg to = {.link = ses->link, .incarnation = ses->incarnation, .conn = ses->conn};
	struct msg_desired msg = {.epoch = s->d.store.epoch, .session = ses->id};
	struct unit *units, *all;
	uint32_t n;

	if (fresh)
		ses->rev = s->d.seq > ses->rev ? s->d.seq : ses->rev + 1;
	msg.rev = ses->rev;
	core_units_of_node(s->d.core, daemon_t(s), s->machine[at].node, &s->d.arena, &units, &n);
	all = arena_alloc(&s->d.arena, (n + ses->stale_n + 1) * sizeof *all);
	if (n)
		memcpy(all, units, n * sizeof *all);
	for (uint32_t i = 0; i < ses->stale_n && !core_cluster(s->d.core)->safe_mode; i++)
		all[n++] = (struct unit){.alloc = ses->stale[i].alloc, .part = ses->stale[i].part, .kind = UNIT_BARE,
					 .phase = UNIT_STOP, .stop_cause = END_CANCEL};
	msg.units = all;
	msg.units_n = n;
	ses->sent_ms = s->now_ms;
	ses->dirty = false;
	frame_answer(s, &to, MSG_DESIRED, &msg);
}

static void desired_again(struct sim *s, uint16_t at)
{
	const struct sim_session *ses = &s->d.node[at];

	if (ses->rev_seen < ses->rev && s->now_ms - ses->sent_ms >= s->k.heartbeat_ms / 2)
		desired_send(s, at, false);
}

static void on_report(struct sim *s, const struct sim_msg *m, const struct msg_report *report)
{
	uint16_t at = machine_key(s, m->link);
	const struct sim_machine *mc = &s->machine[at];
	struct command cmd = {
		.type = CMD_NODE_REPORT, .via = VIA_AGENTS, .principal = mc->principal, .cred = mc->cred};
	struct msg_report_ack ack = {.counter = report->counter};
	struct err err;
	int rc;

	if (!current(s, m, report->epoch, report->session, report->incarnation))
		return;
	heard(s, at);
	s->d.node[at].rev_seen = report->rev_seen;
	cmd.node_report = (struct cmd_node_report){
		.node = mc->node, .incarnation = report->incarnation, .units = report->units, .units_n = report->units_n};
	rc = decide_one(s, &cmd, &err);
	if (rc) {
		goodbye(s, m, rc);
		return;
	}
	ack.rows = arena_alloc(&s->d.arena, (report->units_n + 1) * sizeof *ack.rows);
	for (uint32_t i = 0; i < report->units_n; i++)
		if (row_done(s, at, &report->units[i]))
			ack.rows[ack.rows_n++] = (struct ack_row){report->units[i].alloc, report->units[i].part,
								  report->units[i].state};
	frame_answer(s, m, MSG_REPORT_ACK, &ack);
	if (stale_note(s, at, report->units, report->units_n))
		s->d.node[at].dirty = true;
	else
		desired_again(s, at);
}

static void on_heartbeat(struct sim *s, const struct sim_msg *m, const struct msg_heartbeat *hb)
{
	struct msg_heartbeat ack = *hb;
	uint16_t at = machine_key(s, m->link);

	if (!current(s, m, hb->epoch, hb->session, hb->incarnation))
		return;
	heard(s, at);
	s->d.node[at].rev_seen = hb->rev_seen;
	ack.rev_seen = s->d.node[at].rev;
	frame_answer(s, m, MSG_HEARTBEAT_ACK, &ack);
	desired_again(s, at);
}

static void on_frame(struct sim *s, const struct sim_msg *m)
{
	union {
		struct msg_hello hello;
		struct msg_report report;
		struct msg_heartbeat hb;
		struct msg_goodbye goodbye;
		struct msg_ping pong;
	} b;
	struct frame f;
	struct err err;

	arena_reset(&s->d.arena);
	ENSURE(!frame_decode(m->body.data, m->body.len, &f, &err));
	ENSURE(!message_decode(&f, &b, &s->d.arena, &err));
	switch (f.type) {
	case MSG_HELLO: on_hello(s, m, &b.hello); break;
	case MSG_REPORT: on_report(s, m, &b.report); break;
	case MSG_HEARTBEAT: on_heartbeat(s, m, &b.hb); break;
	case MSG_PONG: on_pong(s, m, &b.pong); break;
	case MSG_GOODBYE:
		if (same_peer(&s->d.node[machine_key(s, m->link)], m))
			s->d.node[machine_key(s, m->link)].live = false;
		break;
	default: UNREACHABLE();
	}
}

void daemon_receive(struct sim *s, struct sim_msg *m)
{
	struct sim_daemon *d = &s->d;

	if (!d->up) {
		sim_msg_free(m); /* nobody listens */
		return;
	}
	if (d->inbox_n == d->inbox_cap) {
		d->inbox_cap = d->inbox_cap ? d->inbox_cap * 2 : 32;
		d->inbox = xrealloc(d->inbox, d->inbox_cap * sizeof(struct sim_msg *));
	}
	d->inbox[d->inbox_n++] = m;
	sim_wake(s, WAKE_DAEMON, s->now_ms > d->paused_until_ms ? s->now_ms : d->paused_until_ms);
}

static void inbox_take(struct sim *s)
{
	for (uint32_t i = 0; i < s->d.inbox_n; i++) {
		struct sim_msg *m = s->d.inbox[i];

		if (!s->failed)
			switch ((enum sim_msg_type)m->type) {
			case M_COMMAND: on_command(s, m); break;
			case M_LOOK: on_look(s, m); break;
			case M_FRAME: on_frame(s, m); break;
			default: UNREACHABLE();
			}
		sim_msg_free(m);
	}
	s->d.inbox_n = 0;
}

/* ---- liveness ---------------------------------------------------------------------------------------------------- */

/* Who has not been heard lately. Silence means nothing before everybody has had time to come back. */
static void scan(struct sim *s)
{
	if (s->now_ms - s->d.booted_ms < core_cluster(s->d.core)->rejoin_grace_ms)
		return;
	for (uint16_t i = 0; i < s->k.machines && !s->failed; i++) {
		const struct sim_session *ses = &s->d.node[i];
		const struct node *n = core_node(s->d.core, s->machine[i].node);
		int64_t silent = s->now_ms - ses->heard_ms;
		uint8_t state = silent > s->k.unreachable_ms ? NODE_UNREACHABLE :
				silent > s->k.suspect_ms     ? NODE_SUSPECT :
							       NODE_READY;
		struct command cmd = {.type = CMD_NODE_LIVENESS, .via = VIA_INTERNAL, .principal = 1};
		struct err err;

		if (!n || state == NODE_READY || n->state == state || n->state == NODE_JOINING || n->state == NODE_DOWN ||
		    (state == NODE_SUSPECT && n->state == NODE_UNREACHABLE))
			continue;
		cmd.node_liveness.node = n->id;
		cmd.node_liveness.state = state;
		sim_say(s, "%s: liveness %u", s->machine[i].name, state);
		(void)decide_one(s, &cmd, &err); /* refused: nothing changes */
		if (state == NODE_UNREACHABLE && s->canary == CANARY_FREE_ON_TIMEOUT) {
			struct command rep = {.type = CMD_NODE_REPORT,
					      .via = VIA_AGENTS,
					      .principal = s->machine[i].principal,
					      .cred = s->machine[i].cred};
			struct unit *units;

			arena_reset(&s->d.arena);
			core_units_of_node(s->d.core, daemon_t(s), n->id, &s->d.arena, &units, &rep.node_report.units_n);
			rep.node_report.node = n->id;
			rep.node_report.incarnation = n->incarnation;
			rep.node_report.units =
				arena_alloc(&s->d.arena, (rep.node_report.units_n + 1) * sizeof(struct unit_status));
			for (uint32_t k = 0; k < rep.node_report.units_n; k++)
				rep.node_report.units[k] = (struct unit_status){
					.alloc = units[k].alloc, .part = units[k].part, .state = UNIT_RELEASED};
			(void)decide_one(s, &rep, &err); /* the planted bug */
		}
	}
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

static void recover(struct sim *s, int64_t down_ms, bool safe_mode)
{
	struct command cmd = {.type = CMD_RECOVER, .via = VIA_INTERNAL, .principal = 1};
	struct err err;

	if (s->canary == CANARY_EXPIRE_DURING_DOWNTIME && !safe_mode)
		return;
	cmd.recover.down_ms = down_ms;
	cmd.recover.safe_mode = safe_mode;
	cmd.recover.salt = safe_mode ? prng_next(&s->rng) : 0;
	if (decide_one(s, &cmd, &err))
		sim_violation(s, "recovering was refused: %s", err.msg);
}

void daemon_boot(struct sim *s)
{
	struct sim_daemon *d = &s->d;
	int64_t wall = EPOCH0_MS + s->now_ms + d->wall_off_ms, last = 0;

	ENSURE(!d->up);
	d->core = core_of_tables(s, d->store.table);
	if (d->store.log_n)
		last = d->store.log[d->store.log_n - 1].t_ms;
	if (d->t_base_ms && wall > last && wall > daemon_t(s))
		d->leap_at_ms = s->now_ms;
	d->t_base_ms = wall > last ? wall : last;
	d->true_base_ms = s->now_ms;
	d->seq = d->store.log_n ? d->store.log[d->store.log_n - 1].seq : 0;
	d->store.epoch++;
	d->session_next = d->store.epoch << 20;
	memset(d->node, 0, sizeof d->node);
	for (int i = 0; i < SIM_MACHINES_MAX; i++)
		d->node[i].heard_ms = s->now_ms;
	d->up = true;
	d->up_since_ms = d->booted_ms = s->now_ms;
	d->paused_until_ms = 0;
	d->turn_ms = s->now_ms;
	d->scan_ms = s->now_ms;
	sim_say(s, "daemon starts, seq %" PRIu64 ", epoch %" PRIu64, d->seq, d->store.epoch);
	book_open(s);
	if (core_cluster(d->core)) {
		struct err err;

		if (core_check(d->core, &err))
			sim_violation(s, "core_check of the state that was read back: %s", err.msg);
		recover(s, last ? d->t_base_ms - last : 0, d->store.restored);
	}
}

void daemon_crash(struct sim *s)
{
	struct sim_daemon *d = &s->d;
	struct err broken;

	if (!d->up)
		return;
	sim_say(s, "daemon dies");
	if (core_check(d->core, &broken))
		sim_violation(s, "core_check before a crash: %s", broken.msg);
	s->n.daemon_crashes++;
	if (d->fly.rec_n) {
		if (sim_chance(s, 500000)) {
			batch_commit(s, &d->fly);
			s->n.batches_kept++;
		} else {
			s->n.batches_lost++;
		}
	}
	s->n.batches_lost += d->cur.rec_n > 0;
	batch_done(&d->fly);
	batch_done(&d->cur);
	d->fly_until_ms = 0;
	d->crash_armed = false;
	for (uint32_t i = 0; i < d->inbox_n; i++)
		sim_msg_free(d->inbox[i]);
	d->inbox_n = 0;
	d->up_total_ms = daemon_uptime(s);
	d->up = false;
	machines_cut_off(s);
	core_free(d->core);
	d->core = NULL;
	d->start_at_ms = s->now_ms;
	sim_wake(s, WAKE_DAEMON, s->now_ms + 1);
}

void daemon_pause(struct sim *s, int64_t ms)
{
	struct sim_daemon *d = &s->d;

	if (!d->up || d->paused_until_ms > s->now_ms)
		return;
	sim_say(s, "daemon stands still for %" PRId64 " ms", ms);
	d->paused_at_ms = s->now_ms;
	d->paused_until_ms = s->now_ms + ms;
	if (ms > GAP_MS) { /* shorter ones pass for lateness, to the daemon as well */
		d->up_total_ms = daemon_uptime(s);
		d->up_since_ms = d->paused_until_ms;
	}
	s->n.daemon_pauses++;
}

void daemon_continue(struct sim *s)
{
	struct sim_daemon *d = &s->d;

	d->crash_armed = false;
	if (d->up_since_ms > s->now_ms) /* cut short, it may pass for lateness after all */
		d->up_since_ms = s->now_ms - d->turn_ms > GAP_MS ? s->now_ms : d->paused_at_ms;
	if (d->paused_until_ms > s->now_ms)
		d->paused_until_ms = s->now_ms;
}

void daemon_backup(struct sim *s)
{
	struct sim_daemon *d = &s->d;
	struct sim_backup *b;

	if (!d->store.log_n)
		return;
	b = &d->backup[d->backups_n < SIM_BACKUPS_MAX ? d->backups_n++ : sim_below(s, SIM_BACKUPS_MAX)];
	tables_copy(b->table, d->store.table);
	b->seq = d->store.log[d->store.log_n - 1].seq;
	b->epoch = d->store.epoch;
}

void daemon_restore(struct sim *s, uint32_t backup)
{
	struct sim_daemon *d = &s->d;
	const struct sim_backup *b = &d->backup[backup];
	struct core *c;

	ENSURE(!d->up);
	sim_say(s, "restore to seq %" PRIu64, b->seq);
	tables_copy(d->store.table, d->backup[backup].table);
	while (d->store.log_n && d->store.log[d->store.log_n - 1].seq > b->seq)
		log_done(&d->store.log[--d->store.log_n]);
	d->store.epoch = b->epoch + EPOCH_STEP;
	if (d->store.epoch < (uint64_t)(EPOCH0_MS + s->now_ms + d->wall_off_ms) << 18)
		d->store.epoch = (uint64_t)(EPOCH0_MS + s->now_ms + d->wall_off_ms) << 18;
	d->store.restored = true;
	c = core_of_tables(s, d->store.table);
	s->lost_ids[s->lost_ids_n].from = core_cluster(c)->next_alloc;
	s->lost_ids[s->lost_ids_n++].to = d->alloc_max + 1;
	core_free(c);
	for (uint32_t i = 0; i < d->backups_n; i++) /* later ones are of a future that is gone */
		if (d->backup[i].seq > b->seq) {
			tables_copy(d->backup[i].table, d->backup[backup].table);
			d->backup[i].seq = b->seq;
			d->backup[i].epoch = b->epoch;
		}
	acks_forget(s, b->seq);
	s->told_n = 0; /* the copy does not know of it */
	for (uint32_t i = 0; i < SIM_MACHINES_MAX; i++)
		s->machine[i].noted = false;
	s->n.restores++;
}

bool daemon_superseded(const struct sim *s)
{
	bool later = false;

	for (uint32_t i = 0; i < s->k.machines; i++)
		later |= s->machine[i].disk.cluster > s->d.store.epoch;
	return later && !s->d.store.restored;
}

void daemon_restore_itself(struct sim *s)
{
	struct sim_store *st = &s->d.store;
	uint64_t moment = (uint64_t)(EPOCH0_MS + s->now_ms + s->d.wall_off_ms) << 18;

	daemon_crash(s);
	sim_say(s, "restore of a backup made now");
	st->epoch = st->epoch + EPOCH_STEP > moment ? st->epoch + EPOCH_STEP : moment;
	st->restored = true;
	s->n.restores++;
}

void daemon_turn(struct sim *s)
{
	struct sim_daemon *d = &s->d;
	int64_t next, tick;

	if (!d->up) {
		if (s->now_ms < d->start_at_ms) {
			sim_wake(s, WAKE_DAEMON, d->start_at_ms);
			return;
		}
		daemon_boot(s);
	}
	if (s->now_ms < d->paused_until_ms) {
		sim_wake(s, WAKE_DAEMON, d->paused_until_ms);
		return;
	}
	if (d->fly_until_ms && s->now_ms >= d->fly_until_ms)
		fly_land(s);
	if (s->now_ms - d->turn_ms > GAP_MS) { /* it stood still: as good as being down */
		recover(s, s->now_ms - d->turn_ms + (s->now_ms - d->turn_ms) * s->k.daemon_clock_ppm / 1000000, false);
		for (int i = 0; i < SIM_MACHINES_MAX; i++)
			d->node[i].heard_ms += s->now_ms - d->turn_ms; /* nobody could be heard */
	}
	d->turn_ms = s->now_ms;
	inbox_take(s);
	if (!s->failed && s->now_ms - d->scan_ms >= TURN_MS) {
		scan(s);
		d->scan_ms = s->now_ms;
	}
	if (!s->failed)
		ticks(s);
	for (uint16_t i = 0; i < s->k.machines && !s->failed; i++)
		if (d->node[i].dirty && d->node[i].live) {
			arena_reset(&d->arena);
			desired_send(s, i, true);
		}
	if (!d->fly_until_ms && (d->cur.rec_n || d->cur.out_n)) {
		d->fly = d->cur;
		d->cur = (struct sim_batch){0};
		d->fly_until_ms = s->now_ms + (d->fly.rec_n ? sim_span(s, 0, s->k.sync_max_ms) : 0);
		if (d->crash_armed && d->fly.rec_n) { /* between deciding and answering */
			daemon_crash(s);
			d->start_at_ms = s->now_ms + sim_span(s, 10, 30 * MS_PER_S);
			return;
		}
		if (d->fly_until_ms <= s->now_ms)
			fly_land(s);
	}
	next = s->now_ms + TURN_MS;
	if (d->fly_until_ms && d->fly_until_ms < next)
		next = d->fly_until_ms;
	tick = core_next_tick(d->core, daemon_t(s));
	if (tick != T_NEVER && true_ms(s, tick) < next)
		next = true_ms(s, tick);
	sim_wake(s, WAKE_DAEMON, next);
}

/* ---- memory = store = log ----------------------------------------------------------------------------------------------- */

/* Every record of `c` against the rows of `table`. */
static void cores_equal(struct sim *s, const struct core *c, struct sim_table table[RECORD_KINDS], const char *what)
{
	struct buf buf = BUF_INIT;

	for (uint8_t k = 1; k < RECORD_KINDS && !s->failed; k++) {
		uint32_t i = 0;

		/* what answers were given: kept without order, so that walking them costs their square */
		if (k == RECORD_IDEM && !s->healed)
			continue;

		for (uint64_t id = 0; (id = core_next_id(c, k, id)) != 0 && !s->failed; i++) {
			buf_reset(&buf);
			schema_encode(schema_of_record(k), core_record(c, k, id), &buf);
			if (i >= table[k].n || table[k].row[i].id != id || table[k].row[i].len != buf.len ||
			    memcmp(table[k].row[i].data, buf.data, buf.len) != 0)
				sim_violation(s, "%s: record (%u, %" PRIu64 ") differs", what, k, id);
		}
		if (i != table[k].n && !s->failed)
			sim_violation(s, "%s: kind %u has %u records, stored are %u", what, k, i, table[k].n);
	}
	buf_done(&buf);
}

/* Every record of `c` against memory, which equals the store. */
static void equals_memory(struct sim *s, const struct core *c, const char *what)
{
	for (uint8_t k = 1; k < RECORD_KINDS && !s->failed; k++) {
		const struct sim_table *rows = &s->d.store.table[k];
		uint32_t n = 0;

		for (uint32_t i = 0; i < rows->n && !s->failed; i++) {
			const void *a = core_record(c, k, rows->row[i].id), *b = core_record(s->d.core, k, rows->row[i].id);

			if (!a || !b || !schema_equal(schema_of_record(k), a, b))
				sim_violation(s, "%s: record (%u, %" PRIu64 ") differs", what, k, rows->row[i].id);
		}
		for (uint64_t id = 0; k != RECORD_IDEM && (id = core_next_id(c, k, id)) != 0;)
			n++;
		if (k != RECORD_IDEM && n != rows->n && !s->failed)
			sim_violation(s, "%s: kind %u has %u records, stored are %u", what, k, n, rows->n);
	}
}

/* I13: nothing is left to do, so whoever waits has been looked at since it came, and since what it waited for changed. */
static void reasons_check(struct sim *s)
{
	const struct query jobs = {.type = QUERY_JOBS};
	struct arena arena = {0};
	struct view_jobs v;
	struct err err;

	ENSURE(!core_view(s->d.core, daemon_t(s), s->user[0].principal, &jobs, &v, &arena, &err));
	for (uint32_t i = 0; i < v.items_n && !core_cluster(s->d.core)->safe_mode; i++) {
		const struct job_view *j = &v.items[i];

		if (j->job.state != JOB_PENDING && j->job.state != JOB_HELD && j->job.state != JOB_EARMARKED)
			continue;
		s->n.reasons_checked++;
		if (!j->reason || !j->reason_text[0])
			sim_violation(s, "I13: job %" PRIu64 " waits without a reason", j->job.id);
		else if (j->reason_since_ms > daemon_t(s))
			sim_violation(s, "I13: job %" PRIu64 " waits for a reason of later", j->job.id);
	}
	arena_done(&arena);
}

/* As if the disk were quick for once: nothing is in flight afterwards. */
static void flush(struct sim *s)
{
	ticks(s);
	if (s->d.fly_until_ms)
		fly_land(s);
	s->d.fly = s->d.cur;
	s->d.cur = (struct sim_batch){0};
	fly_land(s);
}

void daemon_compare(struct sim *s)
{
	struct command tick = {.type = CMD_TICK, .via = VIA_INTERNAL, .principal = 1};
	struct decision dec = {0};
	struct core *fresh;
	struct err err;

	if (!s->d.up || s->d.paused_until_ms > s->now_ms)
		return;
	flush(s);
	if (s->failed)
		return;
	s->n.state_compares++;
	reasons_check(s);
	cores_equal(s, s->d.core, s->d.store.table, "memory against store");
	if (s->failed)
		return; /* what differs may not even make a state */
	fresh = core_of_tables(s, s->d.store.table);
	if (!s->failed && core_check(fresh, &err))
		sim_violation(s, "core_check of a rebuilt state: %s", err.msg);
	if (!s->failed)
		equals_memory(s, fresh, "rebuilt against memory");
	if (!s->failed && !core_decide(fresh, daemon_t(s), &tick, &dec, &err))
		s->n.fresh_finds += dec.facts_n > 0;
	s->n.fresh_looks++;
	decision_done(&dec);
	core_free(fresh);
}

static bool same_facts(const struct decision *dec, const struct sim_log *r, char *out, size_t out_size)
{
	struct buf buf = BUF_INIT;
	bool same = dec->facts_n == r->facts_n;

	if (!same)
		(void)snprintf(out, out_size, "%u facts instead of %u", dec->facts_n, r->facts_n);
	for (uint32_t i = 0; i < r->facts_n && same; i++) {
		const struct fact *f = &dec->facts[i];

		buf_reset(&buf);
		if (f->any)
			schema_encode(schema_of_record(f->kind), f->any, &buf);
		same = f->kind == r->facts[i].kind && f->id == r->facts[i].id && !f->any == r->facts[i].deleted &&
		       buf.len == r->facts[i].len && (!buf.len || !memcmp(buf.data, r->facts[i].data, buf.len));
		if (!same)
			(void)snprintf(out, out_size, "fact %u, (%u, %" PRIu64 ") instead of (%u, %" PRIu64 ")", i, f->kind,
				       f->id, r->facts[i].kind, r->facts[i].id);
	}
	buf_done(&buf);
	return same;
}

void daemon_redecide(struct sim *s)
{
	struct sim_store *st = &s->d.store;
	uint32_t from = st->log_n > 200 ? st->log_n - (uint32_t)sim_span(s, 1, 200) : st->log_n / 2;
	struct core *c = core_new();
	struct decision dec = {0};
	struct arena arena = {0};
	char how[100] = "";

	for (uint32_t i = 0; i < st->log_n && !s->failed; i++) {
		const struct sim_log *r = &st->log[i];

		if (i >= from) {
			struct command cmd = {
				.type = r->type, .via = r->via, .principal = r->principal, .cred = r->cred};
			struct err err;
			int rc;

			arena_reset(&arena);
			memcpy(cmd.idem_key, r->key, sizeof cmd.idem_key);
			memcpy(cmd.body_hash, r->body_hash, sizeof cmd.body_hash);
			ENSURE(!schema_decode(schema_of_command(r->type), r->body, r->body_len, &cmd.tick, &arena, &err));
			rc = core_decide(c, r->t_ms, &cmd, &dec, &err);
			s->n.redecided++;
			/* what a pass remembers between ticks is no state, so from the middle of the log a tick may
			 * choose another start */
			if (!rc && r->type == CMD_TICK && !same_facts(&dec, r, how, sizeof how))
				s->n.ticks_differ++;
			else if (rc || !same_facts(&dec, r, how, sizeof how))
				sim_violation(s, "decided again, %s (seq %" PRIu64 ") gives something else: %s",
					      command_name(r->type), r->seq, rc ? err.msg : how);
		}
		for (uint32_t k = 0; k < r->facts_n && !s->failed; k++)
			(void)bytes_apply(s, c, &arena, &r->facts[k]); /* it has told the world */
	}
	if (!s->failed)
		cores_equal(s, c, st->table, "re-applied log against state");
	arena_done(&arena);
	decision_done(&dec);
	core_free(c);
}

void daemon_free(struct sim *s)
{
	struct sim_daemon *d = &s->d;

	core_free(d->core);
	batch_done(&d->cur);
	batch_done(&d->fly);
	decision_done(&d->dec);
	arena_done(&d->arena);
	for (uint32_t i = 0; i < d->inbox_n; i++)
		sim_msg_free(d->inbox[i]);
	free(d->inbox);
	tables_done(d->store.table);
	for (uint32_t i = 0; i < d->store.log_n; i++)
		log_done(&d->store.log[i]);
	free(d->store.log);
	for (int i = 0; i < SIM_BACKUPS_MAX; i++)
		tables_done(d->backup[i].table);
}
