/* doors.c - from bytes to a request: what was said, and by whom
 *
 * What holds true:
 *  - identity is what the ZAP handler said of the connection; nothing in a message names its sender
 *  - the credential is looked up for every message, so a revoked key is refused from its next message
 *    on, although ZeroMQ cannot cut the connection: one goodbye, then silence
 *  - bytes are decoded once, here; past this file nobody sees a frame
 *  - what a stranger can provoke is counted and told once a minute, never line by line
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/impl.h"
#include "proto/model/names.h"

/* ---- refusals, summed up ---------------------------------------------------------------------- */

enum { REFUSALS_KEPT = 128 };

struct refusal_sum {
	const char *door;
	char source[LINK_ADDRESS_BYTES];
	int code;
	uint64_t n;
};
struct refusals {
	struct refusal_sum sum[REFUSALS_KEPT];
	size_t n;
	uint64_t others;    /* when the table was full */
	uint64_t handshake; /* serial of the last one seen */
};

struct refusals *refusals_new(void) { return xcalloc(1, sizeof(struct refusals)); }
void refusals_free(struct refusals *r) { free(r); }

static void refusals_add(struct refusals *r, const char *door, const char *source, int code, uint64_t n)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->sum[i].code == code && r->sum[i].door == door && !strcmp(r->sum[i].source, source)) {
			r->sum[i].n += n;
			return;
		}
	if (r->n == REFUSALS_KEPT) {
		r->others += n;
		return;
	}
	r->sum[r->n] = (struct refusal_sum){.door = door, .code = code, .n = n};
	(void)snprintf(r->sum[r->n].source, sizeof r->sum[r->n].source, "%s", source); /* cut is fine */
	r->n++;
}

void refusals_note(struct server *s, const char *door, const char *source, int code)
{
	refusals_add(s->refusals, door, source, code, 1);
}

void refusals_tell(struct server *s)
{
	struct refusals *r = s->refusals;
	struct link_refusal at[LINK_REFUSALS_KEPT];
	size_t n = link_refusals(s->link, r->handshake, at, LINK_REFUSALS_KEPT);

	for (size_t i = 0; i < n; i++) {
		uint64_t missed = at[i].count - r->handshake - 1;

		r->others += missed;
		r->handshake = at[i].count;
		refusals_add(r, link_door_kind_name(at[i].door), at[i].address, ERR_DENIED, 1);
	}
	for (size_t i = 0; i < r->n; i++)
		log_event(LOG_WARNING, "refused", "door=%s source=%s code=%s count=%" PRIu64, r->sum[i].door,
			  log_quote(r->sum[i].source), err_name(r->sum[i].code), r->sum[i].n);
	if (r->others)
		log_event(LOG_WARNING, "refused", "door=any source=others count=%" PRIu64, r->others);
	r->n = 0;
	r->others = 0;
	for (int i = 0; i < DOOR_KINDS; i++) {
		struct link_door_stats st;

		if (!s->door[i])
			continue;
		st = link_door_stats(s->door[i]);
		if (st.dropped_identity)
			log_event(LOG_ERR, "message without identity", "door=%s total=%" PRIu64,
				  link_door_kind_name((enum link_door_kind)i), st.dropped_identity);
	}
}

void refusals_skip(struct server *s)
{
	struct link_refusal at[LINK_REFUSALS_KEPT];
	size_t n = link_refusals(s->link, s->refusals->handshake, at, LINK_REFUSALS_KEPT);

	if (n)
		s->refusals->handshake = at[n - 1].count;
}

const char *doors_source(const struct link_msg *msg, char out[LINK_ADDRESS_BYTES])
{
	switch (msg->ident.kind) {
	case LINK_IDENT_CRED: (void)snprintf(out, LINK_ADDRESS_BYTES, "key %" PRIu64, msg->ident.cred_id); break;
	case LINK_IDENT_UID: (void)snprintf(out, LINK_ADDRESS_BYTES, "uid %" PRIu32, msg->ident.uid); break;
	case LINK_IDENT_KEY: (void)snprintf(out, LINK_ADDRESS_BYTES, "newcomer"); break;
	}
	return out;
}

/* ---- who speaks ------------------------------------------------------------------------------- */

/* Has this peer been told already that nobody listens? The table forgets the oldest. */
static bool told(struct server *s, const struct link_msg *msg)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ msg->ident.cred_id; /* FNV-1a */

	for (size_t i = 0; i < msg->peer.len; i++)
		h = (h ^ msg->peer.id[i]) * UINT64_C(0x100000001b3);
	for (size_t i = 0; i < ARRAY_LEN(s->told); i++)
		if (s->told[i] == h)
			return true;
	s->told[s->told_n++ % ARRAY_LEN(s->told)] = h;
	return false;
}

static const struct cred *cred_of(struct server *s, const struct link_msg *msg, struct err *err)
{
	const struct cred *cr;

	if (msg->ident.kind == LINK_IDENT_UID) {
		cr = core_cred_of_uid(s->core, msg->ident.uid);
		if (!cr) {
			(void)err_set(err, ERR_DENIED, "uid %" PRIu32 " is nobody here", msg->ident.uid);
			(void)err_hint(err, "an admin adds it to local_admins in sluisd.conf, or invites you");
		}
		return cr;
	}
	cr = core_cred(s->core, msg->ident.cred_id);
	if (!cr || cr->state == CRED_REVOKED || (cr->not_after_ms && cr->not_after_ms <= server_now(s))) {
		(void)err_set(err, ERR_REVOKED, "this key is %s",
			      cr && cr->state != CRED_REVOKED ? "past its end" : "revoked");
		return NULL;
	}
	return cr;
}

/* Fill in who speaks. 0; ERR_REVOKED; ERR_DENIED. */
static int identify(struct server *s, struct link_door *door, const struct link_msg *msg, struct request *r,
		    struct err *err)
{
	static const uint8_t via[DOOR_KINDS] = {[DOOR_AGENTS] = VIA_AGENTS, [DOOR_USERS] = VIA_USERS,
						[DOOR_ENROL] = VIA_ENROL, [DOOR_LOCAL] = VIA_LOCAL};
	const struct principal *p;
	const struct cred *cr;

	r->door = door;
	r->peer = msg->peer;
	r->via = via[link_door_kind(door)];
	if (msg->ident.kind == LINK_IDENT_KEY) {
		r->key = arena_copy(&s->turn_arena, msg->ident.key, LINK_KEY_BYTES);
		return 0;
	}
	cr = cred_of(s, msg, err);
	if (!cr)
		return err->code;
	p = core_principal(s->core, cr->principal);
	if (!p || p->disabled)
		return err_set(err, ERR_REVOKED, "this user is disabled");
	r->cred = cr->id;
	r->principal = p->id;
	r->node = p->node;
	if (r->via == VIA_AGENTS && (p->role != ROLE_NODE || !core_node(s->core, p->node)))
		return err_set(err, ERR_REVOKED, "this node was removed");
	return 0;
}

/* ---- what may be said where ------------------------------------------------------------------- */

static bool belongs(uint16_t type, enum link_door_kind door)
{
	switch (type) {
	case MSG_PING: return true;
	case MSG_HELLO: return door != DOOR_ENROL;
	case MSG_COMMAND:
	case MSG_QUERY: return door == DOOR_USERS || door == DOOR_LOCAL;
	case MSG_REPORT:
	case MSG_HEARTBEAT:
	case MSG_PAYLOAD_GET:
	case MSG_OUTPUT:
	case MSG_REPLY:
	case MSG_PONG:
	case MSG_GOODBYE: return door == DOOR_AGENTS;
	case MSG_ENROL: return door == DOOR_ENROL;
	default: return false;
	}
}

static int take(struct server *s, struct link_door *door, const struct frame *frame, struct request *r,
		struct err *err)
{
	const struct schema *schema = message_schema(frame->type);
	enum link_door_kind kind = link_door_kind(door);
	int rc;

	if (!schema || !belongs(frame->type, kind))
		return err_set(err, ERR_UNSUPPORTED, "message 0x%04x (%s) does not belong to door %s",
			       (unsigned)frame->type, schema ? message_name(frame->type) : "unknown",
			       link_door_kind_name(kind));
	r->msg = arena_alloc(&s->turn_arena, schema->size);
	rc = message_decode(frame, r->msg, &s->turn_arena, err);
	if (rc)
		return rc;
	if (frame->type == MSG_PING) {
		struct msg_ping *ping = r->msg;

		ping->server_ms = wall_ms(wall_now());
		(void)server_send(s, door, &r->peer, MSG_PONG, r->req, ping);
		return 0;
	}
	switch (kind) {
	case DOOR_USERS:
	case DOOR_LOCAL: return users_take(s, r, err);
	case DOOR_AGENTS: return agents_take(s, r, err);
	case DOOR_ENROL: return enrol_take(s, r, err);
	case DOOR_KINDS: break;
	}
	UNREACHABLE();
}

void doors_message(struct link_door *door, const struct link_msg *msg, void *server)
{
	struct server *s = server;
	struct request *r = request_new(s);
	char source[LINK_ADDRESS_BYTES];
	struct frame frame;
	struct err err;
	int rc;

	if (s->exit_code)
		return;
	rc = frame_decode(msg->data, msg->len, &frame, &err);
	r->type = frame.type;
	r->req = frame.req;
	if (!rc)
		rc = identify(s, door, msg, r, &err);
	if (rc == ERR_REVOKED) {
		if (!told(s, msg))
			server_goodbye(s, door, &msg->peer, frame.req, rc, err.msg);
	} else {
		if (!rc)
			rc = take(s, door, &frame, r, &err);
		/* an answer to a frame that has no sender's number would match nothing; a refusal of an
		 * answer would start a quarrel */
		if (rc && (frame.req || frame.type) && frame.type != MSG_REPLY && frame.type != MSG_OUTPUT)
			server_refuse(s, door, &msg->peer, frame.req, &err);
	}
	if (rc)
		refusals_note(s, link_door_kind_name(link_door_kind(door)), doors_source(msg, source), rc);
	s->inbox_bytes += msg->len + sizeof *r;
	if (s->inbox_bytes > INBOX_BYTES) {
		s->midway = true;
		server_flush(s);
		s->midway = false;
	}
}
