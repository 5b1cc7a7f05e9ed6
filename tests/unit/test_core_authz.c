/* test_core_authz.c - who may do what: every command, every role, own and foreign
 *
 * Without these a new command could come without a rule, or a rule be wider than anybody meant. The
 * commands come from COMMAND_TABLE and the roles from enum role, so a new one fails here until its
 * line is written down. A command that authority lets pass may still fail for a reason of its own;
 * what is compared is "refused" (ERR_DENIED) against "anything else".
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/ensure.h"
#include "proto/model/names.h"
#include "tests/lib/core_world.h"

/* One letter per role, in the order of enum role: y may on anything, o on its own only, n never. */
enum { ROLES = ROLE_COUNT - 1 };
_Static_assert(ROLES == 9, "a new role needs a column in every row below");
static const struct {
	uint16_t type;
	uint8_t via; /* the door it belongs to */
	const char *may;
} WANT[] = {
	/* Admin, Operator, Gatekeeper, Reviewer, Member, Provider, aUditor, Node, puBlic: AOGRMPUNB */
	{CMD_TICK, VIA_INTERNAL,                     "nnnnnnnnn"},
	{CMD_INIT, VIA_INTERNAL,                     "nnnnnnnnn"},
	{CMD_RECOVER, VIA_INTERNAL,                  "nnnnnnnnn"},
	{CMD_NODE_LIVENESS, VIA_INTERNAL,            "nnnnnnnnn"},
	{CMD_NODE_HELLO, VIA_AGENTS,                 "nnnnnnnon"},
	{CMD_NODE_REPORT, VIA_AGENTS,                "nnnnnnnon"},
	{CMD_ENROL, VIA_ENROL,                       "nnnnnnnnn"},
	{CMD_TOKEN_CREATE, VIA_USERS,                "ynnnnnnnn"},
	{CMD_TOKEN_REVOKE, VIA_USERS,                "ynnnnnnnn"},
	{CMD_KEY_REVOKE, VIA_USERS,                  "ynnnnnnnn"},
	{CMD_KEY_ROTATE, VIA_USERS,                  "yyyyyyynn"},
	{CMD_USER_DISABLE, VIA_USERS,                "ynnnnnnnn"},
	{CMD_DIVISION_APPLY, VIA_USERS,              "ynnnnnnnn"},
	{CMD_STAGE_SET, VIA_USERS,                   "ynynnnnnn"},
	{CMD_NODE_CORDON, VIA_USERS,                 "yynnnnnnn"},
	{CMD_NODE_UNCORDON, VIA_USERS,               "yynnnnnnn"},
	{CMD_NODE_DRAIN, VIA_USERS,                  "yynnnnnnn"},
	{CMD_NODE_ACCEPT, VIA_USERS,                 "yynnnnnnn"},
	{CMD_NODE_DECLARE_DEAD, VIA_USERS,           "ynnnnnnnn"},
	{CMD_NODE_REMOVE, VIA_USERS,                 "ynnnnnnnn"},
	{CMD_RESUME, VIA_USERS,                      "ynnnnnnnn"},
	{CMD_APPROVAL_REFUSE, VIA_USERS,             "ynynnnnnn"},
	{CMD_JOB_SUBMIT, VIA_USERS,                  "ynnnonnnn"},
	{CMD_JOB_CANCEL, VIA_USERS,                  "yynnonnnn"},
	{CMD_JOB_HOLD, VIA_USERS,                    "yynnonnnn"},
	{CMD_JOB_RELEASE, VIA_USERS,                 "yynnonnnn"},
	{CMD_JOB_REQUEUE, VIA_USERS,                 "yynnonnnn"},
	{CMD_JOB_UPDATE, VIA_USERS,                  "ynnnonnnn"},
	{CMD_JOB_CHECKPOINTED, VIA_USERS,            "ynnnonnnn"},
	{CMD_LEASE_REQUEST, VIA_USERS,               "ynnnnonnn"},
	{CMD_LEASE_ACCEPT, VIA_USERS,                "ynnnnonnn"},
	{CMD_LEASE_DECLINE, VIA_USERS,               "ynnnnonnn"},
	{CMD_LEASE_RENEW, VIA_USERS,                 "ynnnnonnn"},
	{CMD_LEASE_RESIZE, VIA_USERS,                "ynnnnonnn"},
	{CMD_LEASE_RELEASE, VIA_USERS,               "ynnnnonnn"},
	{CMD_LEASE_EXTEND, VIA_USERS,                "ynnnnonnn"},
	{CMD_LEASE_REVOKE, VIA_USERS,                "ynnnnnnnn"},
	{CMD_RESERVATION_CREATE, VIA_USERS,          "yynnonnnn"},
	{CMD_RESERVATION_UPDATE, VIA_USERS,          "yynnnnnnn"},
	{CMD_RESERVATION_DELETE, VIA_USERS,          "yynnonnnn"},
};

static struct command reserve_cmd(const struct core_world *w, struct cw_who who, bool lung)
{
	static struct text_ref member[2] = {{"project:heart"}, {"project:lung"}};
	static struct window window;
	struct command cmd = cw_cmd(w, who, CMD_RESERVATION_CREATE);
	struct cmd_reservation_create *r = &cmd.reservation_create;

	window = (struct window){w->t + MS_PER_HOUR, w->t + 2 * MS_PER_HOUR};
	(void)snprintf(r->spec.name, sizeof r->spec.name, "for-%u-%d", who.principal, lung);
	(void)snprintf(r->flavor, sizeof r->flavor, "h100");
	r->spec.units = 1;
	r->spec.windows = &window;
	r->spec.windows_n = 1;
	r->members = &member[lung];
	r->members_n = 1;
	return cmd;
}

static struct cw_who public_key(struct core_world *w)
{
	/* no token makes one: a record, as a later version might bring it */
	struct principal p = {.id = 900, .role = ROLE_PUBLIC, .name = "world"};
	struct cred c = {.id = 900, .principal = 900};
	struct fact f[2] = {{.kind = RECORD_PRINCIPAL, .id = 900, .principal = &p},
			    {.kind = RECORD_CRED, .id = 900, .cred = &c}};

	core_apply(w->core, &f[0]);
	core_apply(w->core, &f[1]);
	return (struct cw_who){900, 900, VIA_USERS};
}

/* Fill in the object the command is about: alice's job and acme's lease, or bob's and beta's. */
static struct command about(const struct core_world *w, struct cw_who who, uint16_t type, bool own, uint64_t job,
			    uint64_t lease, struct lease_renew_item *item)
{
	struct command cmd = cw_cmd(w, who, type);

	switch ((enum command_type)type) {
	case CMD_NODE_HELLO:
		cmd.node_hello.node = w->node[own ? 1 : 2].id;
		break;
	case CMD_NODE_REPORT:
		cmd.node_report.node = w->node[own ? 1 : 2].id;
		cmd.node_report.incarnation = 1;
		break;
	case CMD_JOB_SUBMIT: cmd = cw_submit_cmd(w, who, own ? "lung" : "heart", 1, MS_PER_HOUR); break;
	case CMD_JOB_UPDATE: cmd.job_update.job = job; break;
	case CMD_JOB_CHECKPOINTED: cmd.job_checkpointed.job = job; break;
	case CMD_JOB_CANCEL:
	case CMD_JOB_HOLD:
	case CMD_JOB_RELEASE:
	case CMD_JOB_REQUEUE: cmd.job_control.job = job; break;
	case CMD_LEASE_REQUEST: cmd = cw_lease_cmd(w, who, own ? "acme" : "beta", 1, LEASE_FIRM); break;
	case CMD_LEASE_RENEW:
		*item = (struct lease_renew_item){.lease = lease, .renew_seq = 1};
		cmd.lease_renew.items = item;
		cmd.lease_renew.items_n = 1;
		break;
	case CMD_LEASE_RESIZE: cmd.lease_resize.lease = lease; break;
	case CMD_LEASE_EXTEND: cmd.lease_extend.lease = lease; break;
	case CMD_LEASE_REVOKE: cmd.lease_revoke.lease = lease; break;
	case CMD_LEASE_ACCEPT:
	case CMD_LEASE_DECLINE:
	case CMD_LEASE_RELEASE: cmd.object.id = lease; break;
	case CMD_RESERVATION_CREATE: cmd = reserve_cmd(w, who, own); break;
	case CMD_RESERVATION_UPDATE: cmd.reservation_update.reservation = own ? 1 : 2; break;
	case CMD_RESERVATION_DELETE: cmd.object.id = own ? 1 : 2; break; /* alice's and bob's */
	default: break;
	}
	return cmd;
}

static bool denied(struct core_world *w, const struct command *cmd)
{
	int rc;

	memset(&w->err, 0, sizeof w->err);
	rc = core_decide(w->core, w->t, cmd, &w->d, &w->err); /* decided, never applied */
	if (rc)
		assert_true(w->err.msg[0]);
	if (!rc && cmd->type == CMD_LEASE_RENEW) /* judged lease by lease */
		rc = w->d.result.renewals[0].code;
	return rc == ERR_DENIED;
}

static void every_command_every_role_own_and_foreign(void **state)
{
	struct core_world *w = *state;
	struct cw_who who[ROLES] = {w->admin,	w->operator, w->gatekeeper,   w->reviewer, w->alice,
				    w->acme,	w->auditor,  w->node[1].agent, public_key(w)};
	static const uint16_t table[] = {
#define X(name, number, body) number,
		COMMAND_TABLE(X)
#undef X
	};
	uint64_t job[2], lease[2];
	uint32_t cells = 0, doors = 0, unexpected = 0;

	job[1] = cw_submit(w, w->alice, "lung", 1, MS_PER_HOUR);
	job[0] = cw_submit(w, w->bob, "heart", 1, MS_PER_HOUR);
	lease[1] = cw_lease(w, w->acme, "acme", 1, LEASE_FIRM);
	lease[0] = cw_lease(w, w->beta, "beta", 1, LEASE_FIRM);
	for (int lung = 1; lung >= 0; lung--) {
		struct command cmd = reserve_cmd(w, lung ? w->alice : w->bob, lung);

		assert_int_equal(cw_do(w, &cmd), 0);
		assert_int_equal(w->d.result.id, 2 - lung);
	}
	cw_settle(w);
	assert_int_equal(ARRAY_LEN(table), ARRAY_LEN(WANT)); /* a command without a line here */
	for (size_t c = 0; c < ARRAY_LEN(table); c++) {
		assert_int_equal(table[c], WANT[c].type);
		assert_non_null(command_name(table[c]));
		for (uint32_t r = 0; r < ROLES; r++)
			for (int own = 0; own < 2; own++, cells++) {
				char may = WANT[c].may[r];
				bool wanted = may == 'y' || (may == 'o' && own);
				struct lease_renew_item item;
				struct command cmd;
				bool refused;

				who[r].via = WANT[c].via;
				/* internal and enrolment commands: a person's credential opens neither door */
				if (who[r].via == VIA_INTERNAL || who[r].via == VIA_ENROL)
					who[r].via = r == 7 ? VIA_AGENTS : VIA_USERS;
				cmd = about(w, who[r], table[c], own, job[own], lease[own], &item);
				refused = denied(w, &cmd);
				if (refused == wanted)
					fprintf(stderr, "%s by %s on %s: %s\n", command_name(table[c]),
						role_name((uint8_t)(r + 1)), own ? "its own" : "another's",
						refused ? "refused" : "allowed");
				unexpected += refused == wanted;
				/* through every other door it is refused, whoever asks; the local one is a users' door */
				for (uint8_t via = VIA_INTERNAL; via <= VIA_LOCAL; via++) {
					bool same = via == WANT[c].via || (via == VIA_LOCAL && WANT[c].via == VIA_USERS);

					if (same)
						continue;
					cmd.via = via;
					unexpected += core_decide(w->core, w->t, &cmd, &w->d, &w->err) != ERR_DENIED;
					doors++;
				}
			}
	}
	/* make matrix */
	printf("authority_cells: %u cells\ndoors_closed: %u tries\nauthority_unexpected: %u cells\n", cells, doors, unexpected);
	assert_int_equal(unexpected, 0);
}

static void an_unknown_command_is_no_command(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_cmd(w, w->admin, 9999);

	assert_int_equal(cw_do(w, &cmd), ERR_UNSUPPORTED);
	cmd.type = CMD_NONE;
	assert_int_equal(cw_do(w, &cmd), ERR_UNSUPPORTED);
}

static void what_does_not_exist_is_not_found(void **state)
{
	struct core_world *w = *state;

	assert_int_equal(cw_job(w, w->admin, CMD_JOB_CANCEL, 4711), ERR_NOTFOUND);
	assert_int_equal(cw_lease_op(w, w->admin, CMD_LEASE_RELEASE, 4711), ERR_NOTFOUND);
	assert_int_equal(cw_resize(w, w->admin, 4711, 3), ERR_NOTFOUND);
}

/* The PI of a project may stop a member's job; another member may not. */
static void a_pi_acts_for_the_project(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_submit(w, w->alice, "lung", 1, MS_PER_HOUR);

	assert_int_equal(cw_job(w, w->bob, CMD_JOB_CANCEL, id), ERR_DENIED);
	assert_string_equal(w->err.msg, "bob has no right to 'job cancel' for what belongs to others");
	assert_int_equal(cw_job(w, w->paula, CMD_JOB_CANCEL, id), 0);
}

/* Looked up for every message: a revoked key and a disabled user are refused from the next one on. */
static void revocation_is_immediate(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_cmd(w, w->admin, CMD_KEY_REVOKE), run = cw_submit_cmd(w, w->alice, "lung", 1, MS_PER_HOUR);
	uint64_t renewable = cw_lease(w, w->acme, "acme", 1, LEASE_FIRM);

	cw_settle(w);
	assert_int_equal(cw_do(w, &run), 0);
	cmd.object.id = w->alice.cred;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(cw_do(w, &run), ERR_REVOKED);
	cmd.object.id = 4711;
	assert_int_equal(cw_do(w, &cmd), ERR_NOTFOUND);
	cmd.object.id = w->admin.cred;
	assert_int_equal(cw_do(w, &cmd), ERR_INVAL); /* not the one that is speaking */
	cmd = cw_cmd(w, w->admin, CMD_USER_DISABLE);
	(void)snprintf(cmd.object.name, NAME_BYTES, "bob");
	assert_int_equal(cw_do(w, &cmd), 0);
	run = cw_submit_cmd(w, w->bob, "heart", 1, MS_PER_HOUR);
	assert_int_equal(cw_do(w, &run), ERR_REVOKED);
	(void)snprintf(cmd.object.name, NAME_BYTES, "admin");
	assert_int_equal(cw_do(w, &cmd), ERR_INVAL); /* nobody locks himself out */
	(void)snprintf(cmd.object.name, NAME_BYTES, "sluisd");
	assert_int_equal(cw_do(w, &cmd), ERR_NOTFOUND);
	/* somebody else's credential, and one that never was, open nothing */
	run = cw_submit_cmd(w, w->paula, "lung", 1, MS_PER_HOUR);
	run.cred = w->acme.cred;
	assert_int_equal(cw_do(w, &run), ERR_REVOKED);
	run.cred = 4711;
	assert_int_equal(cw_do(w, &run), ERR_REVOKED);
	run.principal = 4711;
	assert_int_equal(cw_do(w, &run), ERR_REVOKED);
	assert_int_equal(cw_renew(w, w->acme, renewable, 1).code, 0);
}

/* What `who` is told of the key it speaks with: 0, or ERR_NOTFOUND. */
static int key_view(const struct core_world *w, struct cw_who who, struct principal_view *ret)
{
	struct query q = {.type = QUERY_PRINCIPALS};
	struct view_principals v;
	struct arena arena = {0};
	struct err err;
	int rc = ERR_NOTFOUND;

	assert_int_equal(core_view(w->core, w->t, who.principal, &q, &v, &arena, &err), 0);
	for (uint32_t i = 0; i < v.items_n; i++)
		if (v.items[i].cred == who.cred) {
			*ret = v.items[i];
			rc = 0;
		}
	arena_done(&arena);
	return rc;
}

/* A rotated key goes on for a day, so that nobody is cut off in the middle, and then ends. */
static void a_rotated_key_ends_after_its_overlap(void **state)
{
	struct core_world *w = *state;
	struct command rotate = cw_cmd(w, w->alice, CMD_KEY_ROTATE), run;
	struct principal_view key;
	uint64_t fresh;

	rotate.key_rotate.key[0] = 200;
	assert_int_equal(cw_do(w, &rotate), 0);
	fresh = w->d.result.id;
	assert_int_equal(core_cred(w->core, fresh)->principal, w->alice.principal);
	rotate.cred = fresh;
	assert_int_equal(cw_do(w, &rotate), ERR_EXISTS); /* the same key twice */
	run = cw_submit_cmd(w, w->alice, "lung", 1, MS_PER_HOUR);
	assert_int_equal(key_view(w, w->alice, &key), 0);
	assert_int_equal(key.not_after_ms, w->t + MS_PER_DAY);
	cw_advance(w, MS_PER_DAY - 1);
	assert_int_equal(cw_do(w, &run), 0);
	cw_advance(w, 1);
	assert_int_equal(key_view(w, w->alice, &key), 0);
	assert_true(key.revoked);
	assert_int_equal(cw_do(w, &run), ERR_REVOKED);
	run.cred = fresh;
	assert_int_equal(cw_do(w, &run), 0);
}

static struct command token(struct core_world *w, uint8_t role, const char *name, uint32_t uses)
{
	struct command cmd = cw_cmd(w, w->admin, CMD_TOKEN_CREATE);

	cmd.token_create.hash[0] = ++w->key_next;
	cmd.token_create.role = role;
	cmd.token_create.uses = uses;
	cmd.token_create.ttl_ms = MS_PER_HOUR;
	(void)snprintf(cmd.token_create.name, NAME_BYTES, "%s", name);
	return cmd;
}
static struct command enrol(struct core_world *w, const struct command *tok, const char *name)
{
	struct command cmd = cw_cmd(w, (struct cw_who){0, 0, VIA_ENROL}, CMD_ENROL);

	memcpy(cmd.enrol.token_hash, tok->token_create.hash, 32);
	cmd.enrol.key[0] = ++w->key_next;
	(void)snprintf(cmd.enrol.name, NAME_BYTES, "%s", name);
	return cmd;
}

static void tokens_are_counted_bound_and_end(void **state)
{
	struct core_world *w = *state;
	struct command tok = token(w, ROLE_MEMBER, "", 2), en, bad;

	bad = token(w, ROLE_NONE, "", 1);
	assert_int_equal(cw_do(w, &bad), ERR_INVAL);
	bad = token(w, ROLE_PUBLIC, "", 1);
	assert_int_equal(cw_do(w, &bad), ERR_INVAL);
	bad = token(w, ROLE_MEMBER, "", 0);
	assert_int_equal(cw_do(w, &bad), ERR_RANGE);
	bad = token(w, ROLE_MEMBER, "eve", 2);
	assert_int_equal(cw_do(w, &bad), ERR_INVAL);
	bad = token(w, ROLE_PROVIDER, "", 1);
	assert_int_equal(cw_do(w, &bad), ERR_INVAL);
	bad = token(w, ROLE_MEMBER, "", 1);
	bad.token_create.ttl_ms = 31 * MS_PER_DAY;
	assert_int_equal(cw_do(w, &bad), ERR_RANGE);

	assert_int_equal(cw_do(w, &tok), 0);
	en = enrol(w, &tok, "carol");
	assert_int_equal(cw_do(w, &en), 0);
	assert_int_equal(cw_do(w, &en), ERR_EXISTS); /* that key is known */
	en = enrol(w, &tok, "carol");
	assert_int_equal(cw_do(w, &en), ERR_EXISTS); /* that name is taken: nobody becomes carol by a token for all */
	en = enrol(w, &tok, "d ave");
	assert_int_equal(cw_do(w, &en), ERR_INVAL);
	en = enrol(w, &tok, "");
	assert_int_equal(cw_do(w, &en), ERR_INVAL);
	en = enrol(w, &tok, "dave");
	assert_int_equal(cw_do(w, &en), 0);
	en = enrol(w, &tok, "erin");
	assert_int_equal(cw_do(w, &en), ERR_BADTOKEN); /* used up */
	/* bound to a name: for nobody else, and a new key for somebody known ends the old one */
	tok = token(w, ROLE_MEMBER, "alice", 1);
	assert_int_equal(cw_do(w, &tok), 0);
	en = enrol(w, &tok, "mallory");
	assert_int_equal(cw_do(w, &en), ERR_BADTOKEN);
	en = enrol(w, &tok, "alice");
	assert_int_equal(cw_do(w, &en), 0);
	assert_int_equal(w->d.result.version, w->alice.principal);
	assert_int_equal(core_cred(w->core, w->alice.cred)->state, CRED_REVOKED);
	/* a token for a name of another role changes nobody's role */
	tok = token(w, ROLE_ADMIN, "bob", 1);
	assert_int_equal(cw_do(w, &tok), 0);
	en = enrol(w, &tok, "bob");
	assert_int_equal(cw_do(w, &en), ERR_EXISTS);
	/* revoked, and expired */
	tok = token(w, ROLE_MEMBER, "", 1);
	assert_int_equal(cw_do(w, &tok), 0);
	{
		struct command rv = cw_cmd(w, w->admin, CMD_TOKEN_REVOKE);

		rv.object.id = w->d.result.id;
		assert_int_equal(cw_do(w, &rv), 0);
		assert_int_equal(cw_do(w, &rv), ERR_NOTFOUND);
	}
	en = enrol(w, &tok, "frank");
	assert_int_equal(cw_do(w, &en), ERR_BADTOKEN);
	tok = token(w, ROLE_MEMBER, "", 1);
	assert_int_equal(cw_do(w, &tok), 0);
	w->t += MS_PER_HOUR;
	en = enrol(w, &tok, "frank");
	assert_int_equal(cw_do(w, &en), ERR_BADTOKEN);
}

/* Two classes each have a provider of one name: a key made for one is no key for the other. */
static void a_provider_key_is_for_one_provider(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint32_t n = CW_QNODES;

	w->qnode[n] = w->qnode[CW_SME];
	(void)snprintf(w->qnode[n].name, NAME_BYTES, "large");
	w->qnode[n].quotas_n = 0;
	w->qnode[n + 1] = w->qnode[CW_ACME];
	w->qnode[n + 1].parent = n + 1;
	w->qnode[n + 1].quotas = w->quota[n + 1];
	w->qnode[n + 1].quotas_n = 0;
	w->div.qnodes_n = n + 2;
	cw_apply(w);
	cmd = cw_lease_cmd(w, w->admin, "private/large/acme", 1, LEASE_LOAN);
	assert_int_equal(cw_do(w, &cmd), 0);
	cmd = cw_lease_cmd(w, w->acme, "private/large/acme", 1, LEASE_LOAN);
	assert_int_equal(cw_do(w, &cmd), ERR_DENIED);
}

/* More admins by uid get names of their own. */
static void local_admins_have_names_of_their_own(void **state)
{
	struct core_world *w = *state;
	struct uid_ref uid[4] = {{1000}, {1001}, {1002}, {1003}};
	struct command cmd = cw_cmd(w, (struct cw_who){0, 0, VIA_INTERNAL}, CMD_INIT);

	cmd.init.settings = *core_cluster(w->core);
	cmd.init.uids = uid;
	cmd.init.uids_n = 4;
	assert_int_equal(cw_do(w, &cmd), 0);
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < i; k++)
			assert_string_not_equal(
				core_principal(w->core, core_cred_of_uid(w->core, 1000 + (uint32_t)i)->principal)->name,
				core_principal(w->core, core_cred_of_uid(w->core, 1000 + (uint32_t)k)->principal)->name);
	assert_int_equal(core_cred_of_uid(w->core, 1000)->principal, w->admin.principal); /* kept */
	cmd.init.settings.lease_ttl_ms = 0;
	assert_int_equal(cw_do(w, &cmd), ERR_RANGE);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* How many keys of others it is shown; its own it always is. */
static uint32_t keys_of_others(const struct core_world *w, uint32_t principal)
{
	struct query q = {.type = QUERY_PRINCIPALS};
	struct view_principals v;
	struct arena arena = {0};
	struct err err;
	uint32_t own = 0, others = 0;

	assert_int_equal(core_view(w->core, w->t, principal, &q, &v, &arena, &err), 0);
	for (uint32_t i = 0; i < v.items_n; i++)
		*(v.items[i].principal.id == principal ? &own : &others) += 1;
	assert_int_equal(own, 1);
	arena_done(&arena);
	return others;
}

static void reading_has_its_rules_too(void **state)
{
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 1, MS_PER_HOUR), lease = cw_lease(w, w->acme, "acme", 1, LEASE_FIRM);
	struct cw_who world = public_key(w);
	static const uint8_t type[] = {QUERY_STATUS, QUERY_JOBS,   QUERY_LEASES,     QUERY_NODES,  QUERY_DIVISION, QUERY_USAGE,
				       QUERY_CLAIMS, QUERY_DEFICIT, QUERY_SHARES, QUERY_ENDPOINTS, QUERY_PAYLOAD, QUERY_PRINCIPALS,
				       QUERY_TOKENS, QUERY_LOG,	   QUERY_EVENTS,     QUERY_VERIFY, QUERY_BACKUP, QUERY_APPROVALS,
				       QUERY_RESERVATIONS};
	struct cw_who who[ROLES] = {w->admin,	w->operator, w->gatekeeper,   w->reviewer, w->alice,
				    w->acme,	w->auditor,  w->node[1].agent, world};
	static const char *const may[] = {"yyyyyyynn", "yyyyyyynn", "yyyyyyynn", "yyyyyyynn", "yyyyyyynn", "yyyyyyynn",
					  "yyyyyyynn", "yyyyyyynn", "yyyyyyynn", "yyyyyyynn", "yyyyyyyyn", "yoooooynn", "ynnnnnynn",
					  "ynnnnnynn", "ynnnnnynn", "ynnnnnynn", "ynnnnnnnn", "ynynnnynn",
					  "yyyyyyynn"};
	struct err err;

	cw_settle(w);
	for (size_t i = 0; i < ARRAY_LEN(type); i++)
		for (int r = 0; r < ROLES; r++) {
			struct query q = {.type = type[i]};

			assert_int_equal(core_may_query(w->core, who[r].principal, &q, &err) == 0, may[i][r] != 'n');
			if (type[i] == QUERY_PRINCIPALS && may[i][r] != 'n')
				assert_int_equal(keys_of_others(w, who[r].principal) > 0, may[i][r] == 'y');
		}
	printf("reading_cells: %zu cells\n", ARRAY_LEN(type) * ROLES);
	{
		struct query q = {.type = QUERY_OUTPUT, .id = job};

		assert_int_equal(core_may_query(w->core, w->alice.principal, &q, &err), 0);
		assert_int_equal(core_may_query(w->core, w->paula.principal, &q, &err), 0);
		assert_int_equal(core_may_query(w->core, w->bob.principal, &q, &err), ERR_DENIED);
		assert_int_equal(core_may_query(w->core, w->operator.principal, &q, &err), ERR_DENIED);
		q.type = QUERY_EXPLAIN;
		assert_int_equal(core_may_query(w->core, w->operator.principal, &q, &err), 0);
		assert_int_equal(core_may_query(w->core, w->bob.principal, &q, &err), ERR_DENIED);
		q.id = 4711;
		assert_int_equal(core_may_query(w->core, w->alice.principal, &q, &err), ERR_NOTFOUND);
		q = (struct query){.type = QUERY_EXEC, .id = lease, .name = "lease"};
		assert_int_equal(core_may_query(w->core, w->acme.principal, &q, &err), 0);
		assert_int_equal(core_may_query(w->core, w->beta.principal, &q, &err), ERR_DENIED);
		assert_int_equal(core_may_query(w->core, 4711, &q, &err), ERR_REVOKED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(every_command_every_role_own_and_foreign),
		STORY(an_unknown_command_is_no_command),
		STORY(what_does_not_exist_is_not_found),
		STORY(a_pi_acts_for_the_project),
		STORY(revocation_is_immediate),
		STORY(a_rotated_key_ends_after_its_overlap),
		STORY(tokens_are_counted_bound_and_end),
		STORY(a_provider_key_is_for_one_provider),
		STORY(local_admins_have_names_of_their_own),
		STORY(reading_has_its_rules_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
