/* agents.c - sessions of nodes: greeting, reports, liveness, and what is wanted of them
 *
 *     HELLO ──decide, append──▶ WELCOME, DESIRED     the newest incarnation of a boot wins; the older
 *     REPORT ──decide, append──▶ REPORT_ACK          session hears GOODBYE and is ignored
 *     HEARTBEAT ──▶ HEARTBEAT_ACK; DESIRED again while the agent has not seen the newest
 *
 * What holds true:
 *  - DESIRED is level-triggered: the whole set, under a revision that rises within a session; it is sent
 *    when a committed fact touched the node and again until the agent says it acted on it
 *  - a row is acknowledged only when what it reports is on the disk
 *  - work that the state no longer knows is stopped by an explicit row, if its allocation is one of
 *    ours (below next_alloc); what we have never heard of is left alone, and in safe mode everything is;
 *    when that ends, every node hears again what is wanted of it
 *  - a node that has obeyed a later sluisd is not greeted, as it would not obey: unless this state was restored and
 *    nobody has confirmed it yet, which makes it the later one, whatever the clocks said: then its epoch is raised
 *    above all that is heard of
 *  - two machines with one key: who greets while the other's connection may stand is a rival until that one, asked by
 *    a PING with a number of its own, has answered; then they are two, and the state keeps it (twin_boot)
 *  - silence means something only while sluisd itself listens: not in the first rejoin grace after
 *    the start, and time in which our own loop stood still does not count
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/impl.h"
#include "proto/model/names.h"

enum { DESIRED_BYTES_MAX = FRAME_BYTES_MAX - (256 << 10) };

struct stale_row { uint64_t alloc; uint16_t part; };

struct session {
	uint32_t node;
	bool live;   /* greeted since we started, and not said goodbye */
	bool dirty;  /* in server.dirty */
	uint64_t id; /* names the greeting */
	struct link_peer peer;
	char boot_id[40];
	uint64_t incarnation;
	struct link_peer asked; /* the older connection, whether it lives; */
	uint64_t nonce;		/* by this number; 0: not asked */
	char rival[40];		/* boot id of who greeted meanwhile */
	struct mono heard; /* or when we began to listen */
	bool ever_heard;
	uint64_t rev;	   /* of the newest DESIRED */
	uint64_t rev_seen; /* acted on, as the agent says */
	struct mono sent;
	struct stale_row *stale; /* reported, unknown to the state, ours to stop */
	uint32_t stale_n;
};

static struct session *session_of(struct server *s, uint32_t node)
{
	if (node >= s->sessions_cap) {
		uint32_t cap = s->sessions_cap ? s->sessions_cap : 64;

		while (cap <= node)
			cap *= 2;
		s->sessions = xrealloc(s->sessions, cap * sizeof(struct session *));
		memset(s->sessions + s->sessions_cap, 0, (cap - s->sessions_cap) * sizeof(struct session *));
		s->sessions_cap = cap;
	}
	if (!s->sessions[node]) {
		struct session *se = xcalloc(1, sizeof *se);

		se->node = node;
		se->heard = s->running ? loop_now(s->loop) : mono_now();
		s->sessions[node] = se;
	}
	return s->sessions[node];
}

void agents_free(struct server *s)
{
	for (uint32_t i = 0; i < s->sessions_cap; i++) {
		if (s->sessions[i])
			free(s->sessions[i]->stale);
		free(s->sessions[i]);
	}
	free(s->sessions);
}

static int64_t silent_ms(const struct server *s, const struct session *se)
{
	return (loop_now(s->loop).ns - se->heard.ns) / NS_PER_MS;
}

int64_t agents_heard_ago_ms(const struct server *s, uint32_t node)
{
	const struct session *se = node < s->sessions_cap ? s->sessions[node] : NULL;

	return se && se->ever_heard ? silent_ms(s, se) : -1;
}

uint32_t agents_connected(const struct server *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->sessions_cap; i++)
		n += s->sessions[i] && s->sessions[i]->live;
	return n;
}

/* ---- DESIRED ---------------------------------------------------------------------------------- */

void agents_dirty(struct server *s, uint32_t node)
{
	struct session *se = session_of(s, node);

	if (se->dirty)
		return;
	se->dirty = true;
	if (s->dirty_n == s->dirty_cap) {
		s->dirty_cap = s->dirty_cap ? s->dirty_cap * 2 : 64;
		s->dirty = xrealloc(s->dirty, s->dirty_cap * sizeof *s->dirty);
	}
	s->dirty[s->dirty_n++] = node;
}

/* Rows that fit a frame. Hosts of wide gangs make them large; what does not fit is left out, newest
 * first, and its bind times out: better than no answer at all for the node. */
static uint32_t rows_that_fit(const struct server *s, const struct unit *units, uint32_t n, uint32_t node)
{
	size_t bytes = 0;

	for (uint32_t i = 0; i < n; i++) {
		bytes += 1024 + units[i].devices_n * 128 + units[i].hosts_n * sizeof(struct unit_host);
		if (i == UNITS_PER_NODE_MAX || bytes > DESIRED_BYTES_MAX) {
			log_event(LOG_ERR, "desired state too large", "node=%s rows=%u sent=%u",
				  core_node(s->core, node)->name, n, i);
			return i;
		}
	}
	return n;
}

/* `fresh`: its content has changed since it was last sent; otherwise the same revision once more. */
static void desired_send(struct server *s, struct session *se, bool fresh)
{
	CLEANUP(arena_done) struct arena arena = {0};
	struct msg_desired msg = {.epoch = s->epoch, .session = se->id};
	struct unit *units, *all;
	uint32_t n;

	if (fresh)
		se->rev = s->seq > se->rev ? s->seq : se->rev + 1;
	msg.rev = se->rev;
	core_units_of_node(s->core, server_now(s), se->node, &arena, &units, &n);
	n = rows_that_fit(s, units, n, se->node);
	all = arena_alloc(&arena, (n + se->stale_n + 1) * sizeof *all);
	if (n)
		memcpy(all, units, n * sizeof *all);
	for (uint32_t i = 0; i < se->stale_n && n < UNITS_PER_NODE_MAX && !core_cluster(s->core)->safe_mode; i++)
		all[n++] = (struct unit){.alloc = se->stale[i].alloc, .part = se->stale[i].part,
					 .kind = UNIT_BARE, .phase = UNIT_STOP, .stop_cause = END_CANCEL};
	msg.units = all;
	msg.units_n = n;
	se->sent = loop_now(s->loop);
	if (server_send(s, s->door[DOOR_AGENTS], &se->peer, MSG_DESIRED, 0, &msg) == ERR_UNREACHABLE)
		se->live = false; /* it greets again when it is back */
}

void agents_resumed(struct server *s)
{
	for (uint32_t i = 0; i < s->sessions_cap; i++)
		if (s->sessions[i] && s->sessions[i]->live)
			agents_dirty(s, i);
}

void agents_send(struct server *s)
{
	for (size_t i = 0; i < s->dirty_n; i++) {
		struct session *se = s->sessions[s->dirty[i]];

		se->dirty = false;
		if (se->live && core_node(s->core, se->node))
			desired_send(s, se, true);
	}
	s->dirty_n = 0;
}

/* The agent has not acted on the newest revision: it may have lost it. */
static void desired_again(struct server *s, struct session *se)
{
	if (se->rev_seen < se->rev &&
	    (loop_now(s->loop).ns - se->sent.ns) / NS_PER_MS >= s->conf.liveness.heartbeat_ms / 2)
		desired_send(s, se, false);
}

/* ---- what arrives ----------------------------------------------------------------------------- */

/* A node that was given up on speaks: tell the core. */
static void heard(struct server *s, struct session *se)
{
	static const uint8_t none[32];
	const struct node *n = core_node(s->core, se->node);

	se->heard = loop_now(s->loop);
	se->ever_heard = true;
	if ((n->state == NODE_SUSPECT || n->state == NODE_UNREACHABLE) && !memcmp(n->digest_pending, none, 32)) {
		struct command *cmd = server_command(s, CMD_NODE_LIVENESS);

		cmd->node_liveness.node = se->node;
		cmd->node_liveness.state = NODE_READY;
	}
}

static bool same_peer(const struct link_peer *a, const struct link_peer *b)
{
	return a->len == b->len && !memcmp(a->id, b->id, a->len);
}

/* Somebody greets while a session stands at another connection. Ask there: only an agent that lives answers, not a
 * machine that has just gone down. Returns false if that connection is gone. */
static bool rival_ask(struct server *s, struct session *se, struct link_door *door, const char *boot_id)
{
	struct msg_ping probe = {.nonce = ++s->nonce_next};

	if (server_send(s, door, &se->peer, MSG_PING, 0, &probe) == ERR_UNREACHABLE)
		return false;
	se->asked = se->peer;
	se->nonce = probe.nonce;
	(void)snprintf(se->rival, sizeof se->rival, "%s", boot_id);
	return true;
}

static void take_pong(struct server *s, const struct request *r)
{
	const struct msg_ping *pong = r->msg;
	struct session *se = session_of(s, r->node);
	struct command *cmd;

	if (!se->nonce || pong->nonce != se->nonce || !same_peer(&se->asked, &r->peer))
		return;
	se->nonce = 0;
	cmd = server_command(s, CMD_NODE_LIVENESS);
	cmd->node_liveness.node = se->node;
	cmd->node_liveness.state = core_node(s->core, se->node)->state;
	memcpy(cmd->node_liveness.twin_boot, se->rival, sizeof cmd->node_liveness.twin_boot);
}

/* Another boot while the node is heard: the one that is heard keeps the key. Whether its connection stands is asked
 * of the connection, so that a node that has just rebooted is not made to wait. */
static int other_machine(struct server *s, struct session *se, const struct request *r,
			 const struct cmd_node_hello *hello, struct err *err)
{
	bool same_boot = !strcmp(se->boot_id, hello->boot_id);

	if (!se->live || same_peer(&se->peer, &r->peer) ||
	    (!same_boot && silent_ms(s, se) > s->conf.liveness.suspect_ms) ||
	    !rival_ask(s, se, r->door, hello->boot_id) || same_boot)
		return 0;
	(void)err_set(err, ERR_CONFLICT, "another machine with this node's key is connected");
	(void)err_hint(err, "stop one of the two; after a reboot try again in %" PRId64 " s",
		       s->conf.liveness.suspect_ms / 1000 + 1);
	return ERR_CONFLICT;
}

/* Has the node obeyed a later sluisd? */
static int later_sluisd(struct server *s, uint32_t node, uint64_t seen, struct err *err)
{
	static struct log_limit limit = {.burst = 10, .window_ms = MS_PER_MIN};
	struct store_head head;
	int rc;

	if (seen <= s->epoch)
		return 0;
	store_head(s->store, &head);
	if (head.restored && seen < STORE_EPOCH_MADE_UP) {
		rc = store_epoch_raise(s->store, seen + STORE_EPOCH_STEP, &s->epoch, err);
		if (rc)
			server_fail(s, err);
		else
			log_event(LOG_WARNING, "epoch raised", "node=%s seen=%" PRIu64 " epoch=%" PRIu64,
				  core_node(s->core, node)->name, seen, s->epoch);
		return rc;
	}
	log_event_limited(&limit, loop_now(s->loop), LOG_ERR, "later sluisd", "node=%s seen=%" PRIu64 " epoch=%" PRIu64,
			  core_node(s->core, node)->name, seen, s->epoch);
	(void)err_set(err, ERR_SUPERSEDED, "this node has obeyed a later sluisd: epoch %" PRIu64 ", here %" PRIu64, seen,
		      s->epoch);
	(void)err_hint(err, "stop this sluisd; if it is the right one, restore a backup of it: sluisd(8), EXAMPLES");
	return ERR_SUPERSEDED;
}

static int take_hello(struct server *s, struct request *r, struct err *err)
{
	const struct msg_hello *hello = r->msg;
	const struct node *node = core_node(s->core, r->node);
	struct command *cmd;
	int64_t devices;
	int rc = hello_check(hello, err);

	if (rc)
		return rc;
	cmd = arena_alloc(&s->turn_arena, sizeof *cmd);
	rc = schema_decode(&schema_cmd_node_hello, hello->node.data, hello->node.len, &cmd->node_hello,
			   &s->turn_arena, err);
	if (rc)
		return err_prefix(err, "the node's part of the greeting");
	rc = other_machine(s, session_of(s, r->node), r, &cmd->node_hello, err);
	if (!rc)
		rc = later_sluisd(s, r->node, cmd->node_hello.epoch_seen, err);
	if (rc)
		return rc;
	devices = s->counts.devices - node->devices_n + cmd->node_hello.devices_n;
	if (devices > s->conf.limits.devices) {
		(void)err_set(err, ERR_NOROOM, "limits.devices is reached (%" PRId64 ")", s->conf.limits.devices);
		(void)err_hint(err, "raise it in sluisd.conf");
		return ERR_NOROOM;
	}
	cmd->type = CMD_NODE_HELLO;
	cmd->node_hello.node = r->node;
	cmd->via = r->via;
	cmd->principal = r->principal;
	cmd->cred = r->cred;
	r->cmd = cmd;
	server_push(s, r);
	return 0;
}

/* Does the message belong to the session that stands? If not its sender hears why. */
static bool current(struct server *s, const struct request *r, struct session *se, uint64_t epoch, uint64_t session,
		    uint64_t incarnation)
{
	if (se->live && epoch == s->epoch && session == se->id && same_peer(&se->peer, &r->peer))
		return true;
	if (se->live && incarnation < se->incarnation)
		server_goodbye(s, r->door, &r->peer, r->req, ERR_SUPERSEDED, "a newer agent of this node is connected");
	else
		server_goodbye(s, r->door, &r->peer, r->req, ERR_STALE, "sluisd does not know this session: greet again");
	return false;
}

static void take_heartbeat(struct server *s, struct request *r)
{
	const struct msg_heartbeat *hb = r->msg;
	struct session *se = session_of(s, r->node);
	struct msg_heartbeat ack;

	if (!current(s, r, se, hb->epoch, hb->session, hb->incarnation))
		return;
	heard(s, se);
	se->rev_seen = hb->rev_seen;
	ack = *hb;
	ack.rev_seen = se->rev;
	(void)server_send(s, r->door, &r->peer, MSG_HEARTBEAT_ACK, r->req, &ack);
	desired_again(s, se);
}

static void take_report(struct server *s, struct request *r)
{
	const struct msg_report *report = r->msg;
	struct session *se = session_of(s, r->node);
	struct command *cmd;

	if (!current(s, r, se, report->epoch, report->session, report->incarnation))
		return;
	heard(s, se);
	se->rev_seen = report->rev_seen;
	cmd = arena_alloc(&s->turn_arena, sizeof *cmd);
	cmd->type = CMD_NODE_REPORT;
	cmd->node_report.node = r->node;
	cmd->node_report.incarnation = report->incarnation;
	cmd->node_report.units = report->units;
	cmd->node_report.units_n = report->units_n;
	cmd->via = r->via;
	cmd->principal = r->principal;
	cmd->cred = r->cred;
	r->cmd = cmd;
	server_push(s, r);
}

int agents_take(struct server *s, struct request *r, struct err *err)
{
	switch (r->type) {
	case MSG_HELLO: return take_hello(s, r, err);
	case MSG_HEARTBEAT: take_heartbeat(s, r); return 0;
	case MSG_REPORT: take_report(s, r); return 0;
	case MSG_PAYLOAD_GET: server_push(s, r); return 0;
	case MSG_OUTPUT: relays_answered(s, r->node, r->req, r->msg, NULL); return 0;
	case MSG_REPLY: relays_answered(s, r->node, r->req, NULL, r->msg); return 0;
	case MSG_PONG: take_pong(s, r); return 0;
	case MSG_GOODBYE: {
		struct session *se = session_of(s, r->node);

		if (same_peer(&se->peer, &r->peer))
			se->live = false;
		return 0;
	}
	default: UNREACHABLE();
	}
}

/* ---- after the commit ------------------------------------------------------------------------- */

static bool row_known(const struct server *s, uint32_t node, const struct unit_status *row)
{
	const struct alloc *a = core_alloc(s->core, row->alloc);

	for (uint32_t i = 0; a && i < a->parts_n; i++)
		if (a->parts[i].index == row->part && a->parts[i].node == node)
			return true;
	return false;
}

/* Keep in mind which of the reported rows have to be stopped. Returns whether that changed. */
static bool stale_note(struct server *s, struct session *se, const struct unit_status *rows, uint32_t n)
{
	const struct cluster *cluster = core_cluster(s->core);
	struct stale_row *stale = xcalloc(n + 1, sizeof *stale);
	uint32_t stale_n = 0;
	bool changed;

	for (uint32_t i = 0; i < n; i++)
		if (!row_known(s, se->node, &rows[i]) && rows[i].alloc < cluster->next_alloc &&
		    rows[i].state != UNIT_RELEASED && rows[i].state != UNIT_LOST && rows[i].state != UNIT_ABSENT) {
			stale[stale_n].alloc = rows[i].alloc;
			stale[stale_n++].part = rows[i].part;
		}
	changed = stale_n != se->stale_n;
	for (uint32_t i = 0; i < stale_n && !changed; i++)
		changed = stale[i].alloc != se->stale[i].alloc || stale[i].part != se->stale[i].part;
	free(se->stale);
	se->stale = stale;
	se->stale_n = stale_n;
	return changed;
}

/* May the agent forget this row?  When it is over and the disk knows, or needs not to know. */
static bool row_done(const struct server *s, uint32_t node, const struct unit_status *row)
{
	const struct cluster *cluster = core_cluster(s->core);

	if (row->state == UNIT_RELEASED || row->state == UNIT_LOST)
		return !row_known(s, node, row) && row->alloc < cluster->next_alloc && !cluster->safe_mode;
	return (row->state == UNIT_EXITED || row->state == UNIT_FAILED) && row_known(s, node, row);
}

static void answer_report(struct server *s, const struct request *r)
{
	const struct msg_report *report = r->msg;
	struct session *se = session_of(s, r->node);
	struct msg_report_ack ack = {.counter = report->counter};

	if (r->code) {
		server_goodbye(s, r->door, &r->peer, r->req, r->code, r->err.msg);
		return;
	}
	ack.rows = arena_alloc(&s->turn_arena, (report->units_n + 1) * sizeof *ack.rows);
	for (uint32_t i = 0; i < report->units_n; i++)
		if (row_done(s, r->node, &report->units[i])) {
			struct ack_row *row = &ack.rows[ack.rows_n++];

			row->alloc = report->units[i].alloc;
			row->part = report->units[i].part;
			row->state = report->units[i].state;
		}
	(void)server_send(s, r->door, &r->peer, MSG_REPORT_ACK, r->req, &ack);
	if (stale_note(s, se, report->units, report->units_n))
		agents_dirty(s, r->node);
	else
		desired_again(s, se);
}

static void answer_hello(struct server *s, const struct request *r)
{
	const struct cmd_node_hello *hello = &r->cmd->node_hello;
	struct session *se = session_of(s, r->node);
	struct msg_welcome welcome;

	if (r->code == ERR_SUPERSEDED) {
		server_goodbye(s, r->door, &r->peer, r->req, r->code, r->err.msg);
		return;
	}
	if (r->code) {
		server_reply(s, r);
		return;
	}
	if (se->live && !same_peer(&se->peer, &r->peer))
		server_goodbye(s, r->door, &se->peer, 0, ERR_SUPERSEDED, "a newer agent of this node is connected");
	se->live = true;
	se->id = ++s->session_next;
	se->peer = r->peer;
	memcpy(se->boot_id, hello->boot_id, sizeof se->boot_id);
	se->incarnation = hello->incarnation;
	se->heard = loop_now(s->loop);
	se->ever_heard = true;
	se->rev_seen = 0;
	welcome_fill(s, r, &welcome);
	welcome.session = se->id;
	welcome.hb_ms = s->conf.liveness.heartbeat_ms;
	welcome.jitter_ms = s->conf.liveness.heartbeat_ms;
	welcome.node = r->node;
	(void)server_send(s, r->door, &r->peer, MSG_WELCOME, r->req, &welcome);
	(void)stale_note(s, se, hello->units, hello->units_n);
	agents_dirty(s, r->node);
}

static void answer_payload(struct server *s, const struct request *r)
{
	CLEANUP(buf_done) struct buf data = BUF_INIT;
	const struct msg_payload_get *get = r->msg;
	struct msg_payload payload = {0};
	struct err err;

	memcpy(payload.hash, get->hash, sizeof payload.hash);
	payload.code = store_blob_get(s->store, get->hash, &data, &err);
	if (!payload.code)
		payload.data = (struct bytes){data.data, (uint32_t)data.len};
	(void)server_send(s, r->door, &r->peer, MSG_PAYLOAD, r->req, &payload);
}

void agents_answer(struct server *s, struct request *r)
{
	if (r->type == MSG_HELLO)
		answer_hello(s, r);
	else if (r->type == MSG_REPORT)
		answer_report(s, r);
	else
		answer_payload(s, r);
}

int agents_relay(struct server *s, uint32_t node, uint16_t type, uint64_t req, const struct msg_relay *msg,
		 struct err *err)
{
	struct session *se = session_of(s, node);
	const struct node *n = core_node(s->core, node);

	if (se->live && server_send(s, s->door[DOOR_AGENTS], &se->peer, type, req, msg) == 0)
		return 0;
	(void)err_set(err, ERR_UNREACHABLE, "the agent of %s is not connected", n ? n->name : "a removed node");
	(void)err_hint(err, "sluisctl node list; the work on it goes on");
	return ERR_UNREACHABLE;
}

/* ---- liveness --------------------------------------------------------------------------------- */

static void judge(struct server *s, uint32_t node)
{
	const struct node *n = core_node(s->core, node);
	const struct session *se = session_of(s, node);
	int64_t silent = silent_ms(s, se);
	uint8_t state = silent > s->conf.liveness.unreachable_ms ? NODE_UNREACHABLE :
			silent > s->conf.liveness.suspect_ms	? NODE_SUSPECT :
								  NODE_READY;
	struct command *cmd;

	if (state == NODE_READY || n->state == state || n->state == NODE_JOINING || n->state == NODE_DOWN ||
	    (state == NODE_SUSPECT && n->state == NODE_UNREACHABLE))
		return;
	cmd = server_command(s, CMD_NODE_LIVENESS);
	cmd->node_liveness.node = node;
	cmd->node_liveness.state = state;
}

static void on_liveness(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct server *s = arg;
	int64_t every_ms = s->conf.liveness.heartbeat_ms / 2 + 1;
	struct mono now = loop_now(loop);
	int64_t late_ns = now.ns - s->liveness_at.ns - 2 * every_ms * NS_PER_MS;

	/* Our own loop stood still: nobody could be heard, so nobody was silent. */
	for (uint32_t i = 0; late_ns > 0 && i < s->sessions_cap; i++)
		if (s->sessions[i])
			s->sessions[i]->heard.ns += late_ns;
	s->liveness_at = now;
	if ((now.ns - s->started.ns) / NS_PER_MS >= s->conf.leases.rejoin_grace_ms)
		for (uint64_t id = 0; (id = core_next_id(s->core, RECORD_NODE, id)) != 0;)
			judge(s, (uint32_t)id);
	loop_timer_after(loop, timer, every_ms);
}

void agents_goodbye(struct server *s)
{
	for (uint32_t i = 0; i < s->sessions_cap; i++)
		if (s->sessions[i] && s->sessions[i]->live)
			server_goodbye(s, s->door[DOOR_AGENTS], &s->sessions[i]->peer, 0, ERR_INTERRUPTED,
				       "sluisd is going down; the work goes on");
}

void agents_start(struct server *s)
{
	for (uint64_t id = 0; (id = core_next_id(s->core, RECORD_NODE, id)) != 0;)
		(void)session_of(s, (uint32_t)id); /* silence counts from now */
	s->liveness = (struct loop_timer)LOOP_TIMER_INIT(on_liveness, s);
	s->liveness_at = mono_now();
	loop_timer_after(s->loop, &s->liveness, 0);
}
