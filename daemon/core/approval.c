/* approval.c - dual control: two people for what one must not do alone
 *
 *   first person: the command ──judged──▶ an approval is left, nothing else happens
 *   second person: the same command, naming the approval ──judged anew──▶ it acts, the approval is gone
 *   either: CMD_APPROVAL_REFUSE, or a week passes ──▶ the approval is gone, nothing happened
 *
 * What holds true: whoever agrees is another principal than whoever proposed, may give the command
 * himself, and gives it byte for byte; whoever proposed may still give it, with the key of then. The
 * command is judged again when it acts: what has become impossible is refused with its own reason.
 */
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool under_control(const struct core *c, uint16_t type)
{
	switch (type) {
#define X(cmd, bit) case cmd: return c->cluster.dual_control >> (bit) & 1;
		DUAL_CONTROL_TABLE(X)
#undef X
	default: return false;
	}
}

bool approval_needed(const struct core *c, const struct command *cmd)
{
	const struct lease *l;

	switch ((int)cmd->type) {
	case CMD_LEASE_REVOKE:
		l = core_lease(c, cmd->lease_revoke.lease);
		return l && l->spec.klass == LEASE_FIRM;
	case CMD_TOKEN_CREATE: return cmd->token_create.role == ROLE_ADMIN && under_control(c, cmd->type);
	case CMD_DIVISION_APPLY: return c->cluster.division_version && under_control(c, cmd->type);
	default: return under_control(c, cmd->type);
	}
}

static const struct approval *waiting(const struct core *c, int64_t t, uint64_t id)
{
	const struct approval *a = core_record(c, RECORD_APPROVAL, id);

	return a && a->expires_ms > t ? a : NULL;
}

static int unknown(uint64_t id, struct err *err)
{
	err_set(err, ERR_NOTFOUND, "there is no approval %" PRIu64 " that waits", id);
	return err_hint(err, "sluisctl approval list: it may have been granted, refused, or have run out");
}

int approval_check(const struct core *c, int64_t t, const struct command *cmd, struct err *err)
{
	const struct approval *a = waiting(c, t, cmd->approves);
	struct command first = *cmd;
	uint16_t rule;
	int rc;

	if (!a)
		return unknown(cmd->approves, err);
	if (a->cmd != cmd->type || memcmp(a->body_hash, cmd->body_hash, sizeof a->body_hash) != 0)
		return err_set(err, ERR_CONFLICT, "approval %" PRIu64 " is for another command", a->id);
	if (a->principal == cmd->principal) {
		err_set(err, ERR_DENIED, "approval %" PRIu64 " is your own proposal: a second person has to agree", a->id);
		return err_hint(err, "ask another admin: sluisctl approval grant %" PRIu64, a->id);
	}
	first.principal = a->principal;
	first.cred = a->cred;
	first.via = VIA_USERS;
	rc = authz(c, t, &first, &rule, err);
	return rc ? err_prefix(err, "whoever proposed it may not any more") : 0;
}

int approval_propose(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	uint16_t rule = d->rule;
	struct cluster *cl;
	struct approval *a;

	if (c->approvals.count >= APPROVALS_MAX) {
		err_set(err, ERR_NOROOM, "%d proposals wait already", (int)APPROVALS_MAX);
		return err_hint(err, "sluisctl approval list; sluisctl approval refuse ID");
	}
	if (cmd->body.len > APPROVAL_BODY_BYTES_MAX)
		return err_set(err, ERR_TOOBIG, "a command of %" PRIu32 " bytes cannot wait for a second person, at most %d",
			       cmd->body.len, (int)APPROVAL_BODY_BYTES_MAX);
	decision_reset(d); /* it would have worked; that is all we wanted to know */
	d->rule = rule;
	cl = edit_cluster(c, d);
	if (!cl->next_approval)
		cl->next_approval = 1; /* a store from before there were any */
	a = create(d, RECORD_APPROVAL, cl->next_approval);
	a->id = cl->next_approval++;
	a->cmd = cmd->type;
	a->principal = cmd->principal;
	a->cred = cmd->cred;
	a->created_ms = t;
	a->expires_ms = t + APPROVAL_KEEP_MS;
	memcpy(a->body_hash, cmd->body_hash, sizeof a->body_hash);
	a->body = cmd->body;
	d->result.approval = a->id;
	return 0;
}

int decide_approval_refuse(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			   struct err *err)
{
	if (!waiting(c, t, cmd->object.id))
		return unknown(cmd->object.id, err);
	drop(d, RECORD_APPROVAL, cmd->object.id);
	d->result.id = cmd->object.id;
	return 0;
}
