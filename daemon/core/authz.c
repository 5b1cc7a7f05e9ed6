/* authz.c - who may do what: one table, default deny
 *
 * A row names a command, the roles that may use it on anything, the roles that may use it on what is
 * theirs, and what "theirs" means. The row's number is the rule id kept in the log. Authority is looked
 * up for every message, so a revoked key or a disabled user is refused from its next message on.
 */
#include "daemon/core/state.h"

#include <inttypes.h>
#include <string.h>

#define R(role) (1u << (role))
enum {
	ADMIN = R(ROLE_ADMIN),
	OPS = R(ROLE_ADMIN) | R(ROLE_OPERATOR),
	USERS = R(ROLE_ADMIN) | R(ROLE_OPERATOR) | R(ROLE_GATEKEEPER) | R(ROLE_REVIEWER) | R(ROLE_MEMBER) |
		R(ROLE_PROVIDER) | R(ROLE_AUDITOR),
};
enum relation { ANY, INTERNAL, NODE_SELF, ENROL_DOOR, JOB_OWN, LEASE_OWN, DECIDED };

struct rule {
	uint16_t cmd;
	uint16_t any; /* roles that may on anything */
	uint16_t own; /* roles that may on their own */
	uint8_t relation;
};

static const struct rule RULE[] = {
	{CMD_TICK, 0, 0, INTERNAL},
	{CMD_INIT, 0, 0, INTERNAL},
	{CMD_RECOVER, 0, 0, INTERNAL},
	{CMD_NODE_LIVENESS, 0, 0, INTERNAL},
	{CMD_NODE_HELLO, 0, R(ROLE_NODE), NODE_SELF},
	{CMD_NODE_REPORT, 0, R(ROLE_NODE), NODE_SELF},
	{CMD_ENROL, 0, 0, ENROL_DOOR},
	{CMD_TOKEN_CREATE, ADMIN, 0, ANY},
	{CMD_TOKEN_REVOKE, ADMIN, 0, ANY},
	{CMD_KEY_REVOKE, ADMIN, 0, ANY},
	{CMD_KEY_ROTATE, USERS, 0, ANY},
	{CMD_USER_DISABLE, ADMIN, 0, ANY},
	{CMD_DIVISION_APPLY, ADMIN, 0, ANY},
	{CMD_STAGE_SET, R(ROLE_ADMIN) | R(ROLE_GATEKEEPER), 0, ANY},
	{CMD_NODE_CORDON, OPS, 0, ANY},
	{CMD_NODE_UNCORDON, OPS, 0, ANY},
	{CMD_NODE_DRAIN, OPS, 0, ANY},
	{CMD_NODE_ACCEPT, OPS, 0, ANY},
	{CMD_NODE_DECLARE_DEAD, ADMIN, 0, ANY},
	{CMD_NODE_REMOVE, ADMIN, 0, ANY},
	{CMD_RESUME, ADMIN, 0, ANY},
	{CMD_APPROVAL_REFUSE, R(ROLE_ADMIN) | R(ROLE_GATEKEEPER), 0, ANY},
	{CMD_JOB_SUBMIT, ADMIN, R(ROLE_MEMBER), DECIDED}, /* membership: decide_submit */
	{CMD_JOB_CANCEL, OPS, R(ROLE_MEMBER), JOB_OWN},
	{CMD_JOB_HOLD, OPS, R(ROLE_MEMBER), JOB_OWN},
	{CMD_JOB_RELEASE, OPS, R(ROLE_MEMBER), JOB_OWN},
	{CMD_JOB_REQUEUE, OPS, R(ROLE_MEMBER), JOB_OWN},
	{CMD_JOB_UPDATE, ADMIN, R(ROLE_MEMBER), JOB_OWN},
	{CMD_JOB_CHECKPOINTED, ADMIN, R(ROLE_MEMBER), JOB_OWN},
	{CMD_LEASE_REQUEST, ADMIN, R(ROLE_PROVIDER), DECIDED}, /* its provider: decide_request */
	{CMD_LEASE_ACCEPT, ADMIN, R(ROLE_PROVIDER), LEASE_OWN},
	{CMD_LEASE_DECLINE, ADMIN, R(ROLE_PROVIDER), LEASE_OWN},
	{CMD_LEASE_RENEW, ADMIN, R(ROLE_PROVIDER), DECIDED}, /* lease by lease: renew_one */
	{CMD_LEASE_RESIZE, ADMIN, R(ROLE_PROVIDER), LEASE_OWN},
	{CMD_LEASE_RELEASE, ADMIN, R(ROLE_PROVIDER), LEASE_OWN},
	{CMD_LEASE_EXTEND, ADMIN, R(ROLE_PROVIDER), LEASE_OWN},
	{CMD_LEASE_REVOKE, ADMIN, 0, LEASE_OWN},
	{CMD_RESERVATION_CREATE, OPS, R(ROLE_MEMBER), DECIDED}, /* a member's waits for an operator: decide_create */
	{CMD_RESERVATION_UPDATE, OPS, 0, ANY},
	{CMD_RESERVATION_DELETE, OPS, R(ROLE_MEMBER), DECIDED}, /* its own: decide_delete */
};

bool may_act_for(const struct core *c, uint32_t principal, uint32_t provider)
{
	const struct principal *p = core_principal(c, principal);
	const struct qnode *q = core_qnode(c, provider);

	char path[TEXT_BYTES];

	if (!p || !q)
		return false;
	if (p->role != ROLE_PROVIDER || strcmp(p->provider, q->name) != 0) {
		core_qnode_path(c, provider, path);
		return p->role == ROLE_ADMIN || (p->role == ROLE_PROVIDER && !strcmp(p->provider, path));
	}
	/* by its last name: whoever had it first; a namesake's key is made for its path */
	EACH(c, qnodes, qnode_s, o)
		if (o->r.kind == QNODE_PROVIDER && !strcmp(o->r.name, q->name))
			return o->r.id == provider;
	return false;
}

static bool job_is_own(const struct core *c, const struct principal *p, const struct job *j)
{
	const struct qnode *q = core_qnode(c, j->spec.project);

	return j->owner == p->id || (q && q->pi[0] && !strcmp(q->pi, p->name));
}

static uint64_t job_named(const struct command *cmd)
{
	return cmd->type == CMD_JOB_UPDATE	 ? cmd->job_update.job :
	       cmd->type == CMD_JOB_CHECKPOINTED ? cmd->job_checkpointed.job :
						   cmd->job_control.job;
}

static uint64_t lease_named(const struct command *cmd)
{
	return cmd->type == CMD_LEASE_RESIZE ? cmd->lease_resize.lease :
	       cmd->type == CMD_LEASE_EXTEND ? cmd->lease_extend.lease :
	       cmd->type == CMD_LEASE_REVOKE ? cmd->lease_revoke.lease :
					       cmd->object.id;
}

static int who(const struct core *c, int64_t t, uint32_t principal, uint64_t cred, const struct principal **ret,
	       struct err *err)
{
	const struct principal *p = core_principal(c, principal);
	const struct cred *cr = core_cred(c, cred);

	if (!p || p->disabled)
		return err_set(err, ERR_REVOKED, "this user is %s", p ? "disabled" : "unknown");
	if (cred && (!cr || cr->state == CRED_REVOKED || cr->principal != principal))
		return err_set(err, ERR_REVOKED, "this key is revoked");
	if (cr && cr->not_after_ms && cr->not_after_ms <= t) {
		err_set(err, ERR_REVOKED, "this key has ended: it was rotated");
		return err_hint(err, "use the key that took its place");
	}
	*ret = p;
	return 0;
}

int authz(const struct core *c, int64_t t, const struct command *cmd, uint16_t *ret_rule, struct err *err)
{
	static const uint8_t any_cluster[16];
	const struct rule *r = NULL;
	const struct principal *p;
	char what[NAME_BYTES];
	bool own = false;
	int rc;

	for (uint16_t i = 0; i < ARRAY_LEN(RULE) && !r; i++)
		if (RULE[i].cmd == cmd->type) {
			r = &RULE[i];
			*ret_rule = (uint16_t)(i + 1);
		}
	if (!r)
		return err_set(err, ERR_UNSUPPORTED, "unknown command %u", cmd->type);
	if (memcmp(cmd->cluster, any_cluster, sizeof any_cluster) != 0 &&
	    memcmp(cmd->cluster, c->cluster.uid, sizeof c->cluster.uid) != 0) {
		err_set(err, ERR_DENIED, "this command was made for another cluster than %s", c->cluster.name);
		return err_hint(err, "sluisctl context list: the address now leads to another cluster");
	}
	if (r->relation == INTERNAL || r->relation == ENROL_DOOR) {
		if (cmd->via == (r->relation == INTERNAL ? VIA_INTERNAL : VIA_ENROL))
			return 0;
		return err_set(err, ERR_DENIED, "this command cannot come through this door");
	}
	if (cmd->via == VIA_INTERNAL || cmd->via == VIA_ENROL ||
	    (cmd->via == VIA_AGENTS) != (r->relation == NODE_SELF))
		return err_set(err, ERR_DENIED, "this command cannot come through this door");
	rc = who(c, t, cmd->principal, cmd->cred, &p, err);
	if (rc)
		return rc;
	if (r->relation == JOB_OWN) {
		const struct job *j = core_job(c, job_named(cmd));

		if (!j) {
			err_set(err, ERR_NOTFOUND, "there is no job %" PRIu64, job_named(cmd));
			return err_hint(err, "sluisctl queue --all");
		}
		own = job_is_own(c, p, j);
	} else if (r->relation == LEASE_OWN) {
		const struct lease *l = core_lease(c, lease_named(cmd));

		if (!l) {
			err_set(err, ERR_NOTFOUND, "there is no lease %" PRIu64, lease_named(cmd));
			return err_hint(err, "sluisctl lease list");
		}
		own = may_act_for(c, p->id, l->spec.provider);
	} else if (r->relation == NODE_SELF) {
		own = p->node == (cmd->type == CMD_NODE_HELLO ? cmd->node_hello.node : cmd->node_report.node);
	} else if (r->relation == DECIDED) {
		own = true;
	}
	if ((r->any & R(p->role)) || (own && (r->own & R(p->role))))
		return 0;
	TEXT_SET(what, command_name(cmd->type) ? command_name(cmd->type) : "this");
	for (char *s = what; (s = strchr(s, '_')) != NULL;)
		*s = ' '; /* as it is typed: node_drain is sluisctl node drain */
	err_set(err, ERR_DENIED, "%s has no right to '%s'%s", p->name, what, (r->own & R(p->role)) ? " for what belongs to others" : "");
	return err_hint(err, "ask an admin, or use a key with the right role");
}

int core_may_query(const struct core *c, uint32_t principal, const struct query *q, struct err *err)
{
	const struct principal *p;
	int rc = who(c, 0, principal, 0, &p, err);
	bool ok = false;

	if (rc)
		return rc;
	switch ((enum query_type)q->type) {
	case QUERY_STATUS:
	case QUERY_JOBS:
	case QUERY_LEASES: /* rows of others are left out by the view */
	case QUERY_PRINCIPALS: /* likewise */
	case QUERY_NODES:
	case QUERY_DIVISION:
	case QUERY_USAGE:
	case QUERY_CLAIMS:
	case QUERY_DEFICIT:
	case QUERY_SHARES:
	case QUERY_RESERVATIONS:
	case QUERY_ENDPOINTS: ok = (USERS & R(p->role)) != 0; break;
	case QUERY_PAYLOAD: ok = (USERS & R(p->role)) || p->role == ROLE_NODE; break;
	case QUERY_TOKENS:
	case QUERY_LOG:
	case QUERY_EVENTS:
	case QUERY_VERIFY: ok = p->role == ROLE_ADMIN || p->role == ROLE_AUDITOR; break;
	case QUERY_APPROVALS:
		ok = p->role == ROLE_ADMIN || p->role == ROLE_GATEKEEPER || p->role == ROLE_AUDITOR;
		break;
	case QUERY_BACKUP: ok = p->role == ROLE_ADMIN; break;
	case QUERY_EXPLAIN:
	case QUERY_OUTPUT:
	case QUERY_SIGNAL:
	case QUERY_EXEC: {
		const struct job *j = core_job(c, q->id);
		const struct lease *l = core_lease(c, q->id);
		bool of_lease = !strcmp(q->name, "lease");

		if (q->type == QUERY_EXPLAIN && q->name[0] && !of_lease)
			ok = (USERS & R(p->role)) != 0; /* a node */
		else if (of_lease ? !l : !j)
			return err_set(err, ERR_NOTFOUND, "there is no %s %" PRIu64, of_lease ? "lease" : "job", q->id);
		else
			ok = p->role == ROLE_ADMIN || (q->type == QUERY_EXPLAIN && p->role == ROLE_OPERATOR) ||
			     (q->type == QUERY_EXPLAIN && p->role == ROLE_AUDITOR) ||
			     (of_lease ? may_act_for(c, p->id, l->spec.provider) : job_is_own(c, p, j));
		break;
	}
	case QUERY_NONE: break;
	}
	if (ok)
		return 0;
	err_set(err, ERR_DENIED, "%s may not read this", p->name);
	return err_hint(err, "ask an admin, or use a key with the right role");
}
