/* users.c - what users, admins and providers ask for; and newcomers with a token
 *
 * A COMMAND becomes a struct command here: who speaks and through which door comes from the
 * connection, the hash of a payload from the payload. Authority is the core's to judge.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/impl.h"
#include "proto/base/sha256.h"
#include "proto/client/token.h"
#include "proto/model/names.h"

int hello_check(const struct msg_hello *hello, struct err *err)
{
	if (hello->version_min <= FRAME_VERSION && FRAME_VERSION <= hello->version_max)
		return 0;
	(void)err_set(err, ERR_VERSION, "this sluisd speaks version %d of the protocol, not %u to %u",
		      FRAME_VERSION, hello->version_min, hello->version_max);
	return err_hint(err, "use programs of release " SLUIS_VERSION);
}

void welcome_fill(struct server *s, const struct request *r, struct msg_welcome *w)
{
	const struct cluster *cluster = core_cluster(s->core);
	const struct principal *p = core_principal(s->core, r->principal);

	*w = (struct msg_welcome){.version = FRAME_VERSION, .epoch = s->epoch,
				  .features = ((struct msg_hello *)r->msg)->features & FEATURES_KNOWN,
				  .server_ms = wall_ms(wall_now()), .role = p->role};
	(void)snprintf(w->program, sizeof w->program, "sluisd %s", SLUIS_VERSION);
	memcpy(w->cluster, cluster->name, sizeof w->cluster);
	memcpy(w->uid, cluster->uid, sizeof w->uid);
	memcpy(w->principal, p->name, sizeof w->principal);
	memcpy(w->server_next, s->server_next, sizeof w->server_next);
}

/* The body as the core sees it, and what tells a repeated command from another one. */
static void command_body_of(struct server *s, struct command *cmd)
{
	CLEANUP(buf_done) struct buf body = BUF_INIT;

	schema_encode(schema_of_command(cmd->type), &cmd->tick, &body);
	command_body_hash(cmd->type, body.data, body.len, cmd->body_hash);
	cmd->body.data = arena_copy(&s->turn_arena, body.data, body.len);
	cmd->body.len = (uint32_t)body.len;
}

/* ---- commands --------------------------------------------------------------------------------- */

static bool zero(const uint8_t hash[32])
{
	static const uint8_t none[32];

	return memcmp(hash, none, sizeof none) == 0;
}

/* The field of a command's body that names its payload; NULL: it has none. */
static uint8_t *payload_field(struct command *cmd)
{
	switch ((int)cmd->type) {
	case CMD_JOB_SUBMIT: return cmd->job_submit.spec.payload;
	case CMD_LEASE_REQUEST: return cmd->lease_request.spec.payload;
	case CMD_DIVISION_APPLY: return cmd->division_apply.payload;
	default: return NULL;
	}
}

/* The payload that came along, or is known from before, under the hash in the body. */
static int payload_check(struct server *s, struct request *r, struct bytes payload, struct err *err)
{
	CLEANUP(buf_done) struct buf known = BUF_INIT;
	struct command *cmd = r->cmd;
	uint8_t *field = payload_field(cmd), hash[32];
	bool job = cmd->type == CMD_JOB_SUBMIT;
	int rc;

	if (!payload.len) {
		if (!field || (zero(field) && !job))
			return 0;
		if (zero(field))
			return err_set(err, ERR_INVAL, "the job has nothing to run");
		rc = store_blob_get(s->store, field, &known, err);
		return rc ? err_prefix(err, "the payload named is not known") : 0;
	}
	if (!field)
		return err_set(err, ERR_INVAL, "%s takes no payload", command_name(cmd->type));
	if (payload.len > PAYLOAD_BYTES_MAX)
		return err_set(err, ERR_TOOBIG, "a payload of %" PRIu32 " bytes, at most %d", payload.len,
			       (int)PAYLOAD_BYTES_MAX);
	store_blob_hash(payload.data, payload.len, hash);
	if (!zero(field) && memcmp(field, hash, sizeof hash) != 0)
		return err_set(err, ERR_INVAL, "the payload does not have the hash that names it");
	if (cmd->type != CMD_DIVISION_APPLY) { /* agents will read it: refuse now what they could not */
		struct payload *p = arena_alloc(&s->turn_arena, sizeof *p);

		rc = schema_decode(&schema_payload, payload.data, payload.len, p, &s->turn_arena, err);
		if (rc)
			return err_prefix(err, "bad payload");
	}
	memcpy(field, hash, sizeof hash);
	r->payload = payload;
	return 0;
}

int limit_reached(struct err *err, const char *what, int64_t most)
{
	(void)err_set(err, ERR_NOROOM, "limits.%s is reached (%" PRId64 ")", what, most);
	(void)err_hint(err, "try again later, or ask an admin to raise it in sluisd.conf");
	return ERR_NOROOM;
}

static int take_command(struct server *s, struct request *r, struct err *err)
{
	const struct msg_command *msg = r->msg;
	struct command *cmd = arena_alloc(&s->turn_arena, sizeof *cmd);
	int rc = command_decode(msg, cmd, &s->turn_arena, err);

	if (rc)
		return rc;
	cmd->via = r->via;
	cmd->principal = r->principal;
	cmd->cred = r->cred;
	r->cmd = cmd;
	rc = payload_check(s, r, msg->payload, err);
	if (rc)
		return rc;
	if (r->payload.len) /* its hash is part of what must be the same when the command is repeated */
		command_body_of(s, cmd);
	server_push(s, r);
	return 0;
}

int users_take(struct server *s, struct request *r, struct err *err)
{
	int rc;

	switch (r->type) {
	case MSG_HELLO: {
		struct msg_welcome welcome;

		rc = hello_check(r->msg, err);
		if (rc)
			return rc;
		welcome_fill(s, r, &welcome);
		(void)server_send(s, r->door, &r->peer, MSG_WELCOME, r->req, &welcome);
		return 0;
	}
	case MSG_COMMAND: return take_command(s, r, err);
	case MSG_QUERY: server_push(s, r); return 0;
	default: UNREACHABLE();
	}
}

void users_answer(struct server *s, struct request *r)
{
	if (r->type == MSG_QUERY)
		query_answer(s, r);
	else
		server_reply(s, r);
}

/* ---- newcomers -------------------------------------------------------------------------------- */

int enrol_take(struct server *s, struct request *r, struct err *err)
{
	const struct msg_enrol *msg = r->msg;
	uint8_t digest[SHA256_BYTES];
	struct command *cmd;
	struct sha256 hash;

	if (s->counts.nodes >= s->conf.limits.nodes)
		return limit_reached(err, "nodes", s->conf.limits.nodes);
	cmd = arena_alloc(&s->turn_arena, sizeof *cmd);
	cmd->type = CMD_ENROL;
	cmd->via = VIA_ENROL;
	token_hash(msg->secret, cmd->enrol.token_hash);
	memcpy(cmd->enrol.name, msg->name, sizeof cmd->enrol.name);
	memcpy(cmd->enrol.key, r->key, sizeof cmd->enrol.key);
	/* Who lost our answer asks again with the same token and key: the same command, once. */
	sha256_init(&hash);
	sha256_add(&hash, cmd->enrol.token_hash, sizeof cmd->enrol.token_hash);
	sha256_add(&hash, cmd->enrol.key, sizeof cmd->enrol.key);
	sha256_final(&hash, digest);
	memcpy(cmd->idem_key, digest, sizeof cmd->idem_key);
	command_body_of(s, cmd);
	r->cmd = cmd;
	server_push(s, r);
	return 0;
}

void enrol_answer(struct server *s, struct request *r)
{
	char agents[LINK_ENDPOINT_BYTES], users[LINK_ENDPOINT_BYTES];
	const struct principal *p;
	const struct cred *cr;
	struct msg_enrolled done = {0};

	cr = r->code ? NULL : core_cred(s->core, r->result.id);
	if (!r->code && (!cr || cr->state == CRED_REVOKED)) /* asked again, too late */
		r->code = err_set(&r->err, ERR_REVOKED, "this key was enrolled and has been revoked");
	if (r->code) {
		server_reply(s, r);
		return;
	}
	p = core_principal(s->core, cr->principal);
	endpoint_text(link_door_endpoint(s->door[DOOR_AGENTS]), "*", agents);
	endpoint_text(link_door_endpoint(s->door[DOOR_USERS]), "*", users);
	done.cred = cr->id;
	done.principal = p->id;
	done.node = p->node;
	done.role = p->role;
	done.agents = agents;
	done.users = users;
	memcpy(done.cluster, core_cluster(s->core)->name, sizeof done.cluster);
	memcpy(done.server_key, s->server_pub, sizeof done.server_key);
	(void)server_send(s, r->door, &r->peer, MSG_ENROLLED, r->req, &done);
}
