/* test_core_approval.c - two people for what one must not do alone
 *
 * Without these one person, or one stolen key, could end a provider's firm lease or rewrite the division;
 * or a second person could be made to agree to something else than what was proposed.
 */
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

static struct cw_who second_admin(struct core_world *w, const char *name)
{
	struct command tok = cw_cmd(w, w->admin, CMD_TOKEN_CREATE);
	struct command en = cw_cmd(w, (struct cw_who){0, 0, VIA_ENROL}, CMD_ENROL);

	tok.token_create.hash[0] = ++w->key_next;
	tok.token_create.role = ROLE_ADMIN;
	tok.token_create.uses = 1;
	tok.token_create.ttl_ms = MS_PER_HOUR;
	assert_int_equal(cw_do(w, &tok), 0);
	memcpy(en.enrol.token_hash, tok.token_create.hash, 32);
	en.enrol.key[0] = ++w->key_next;
	(void)snprintf(en.enrol.name, NAME_BYTES, "%s", name);
	assert_int_equal(cw_do(w, &en), 0);
	return (struct cw_who){(uint32_t)w->d.result.version, w->d.result.id, VIA_USERS};
}

/* As it comes from the wire: the body and its hash beside the decoded struct. */
static struct command sent(struct command cmd, const char *body)
{
	cmd.body = (struct bytes){(const uint8_t *)body, (uint32_t)strlen(body)};
	memset(cmd.body_hash, 0, sizeof cmd.body_hash);
	for (uint32_t i = 0; body[i]; i++)
		cmd.body_hash[i % 16] ^= (uint8_t)((uint8_t)body[i] + i);
	return cmd;
}

static struct command revoke(const struct core_world *w, struct cw_who who, uint64_t lease)
{
	struct command cmd = cw_cmd(w, who, CMD_LEASE_REVOKE);

	cmd.lease_revoke.lease = lease;
	(void)snprintf(cmd.lease_revoke.reason, TEXT_BYTES, "fraud");
	return sent(cmd, lease % 2 ? "revoke odd" : "revoke even");
}

static uint64_t active_firm(struct core_world *w)
{
	uint64_t id = cw_lease(w, w->acme, "acme", 2, LEASE_FIRM);

	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	return id;
}

static const struct approval *approval(const struct core_world *w, uint64_t id)
{
	return core_record(w->core, RECORD_APPROVAL, id);
}

static void dual_control(struct core_world *w, uint32_t bits)
{
	struct command cmd = cw_cmd(w, (struct cw_who){0, 0, VIA_INTERNAL}, CMD_INIT);

	cmd.init.settings = *core_cluster(w->core);
	cmd.init.settings.dual_control = bits;
	assert_int_equal(cw_do(w, &cmd), 0);
}

static void a_firm_lease_ends_only_when_two_agree(void **state)
{
	struct core_world *w = *state;
	struct cw_who bea = second_admin(w, "bea");
	uint64_t lease = active_firm(w), id;
	struct command cmd = revoke(w, w->admin, lease);

	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.approval;
	assert_int_not_equal(id, 0);
	assert_int_equal(w->d.facts_n, 2); /* the approval and the counter: nothing else */
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);
	assert_int_equal(approval(w, id)->principal, w->admin.principal);
	assert_memory_equal(approval(w, id)->body.data, cmd.body.data, cmd.body.len);

	/* nobody agrees with himself, whatever key he uses */
	cmd = revoke(w, w->admin, lease);
	cmd.approves = id;
	assert_int_equal(cw_do(w, &cmd), ERR_DENIED);
	/* nor does somebody who may not do it himself */
	cmd = revoke(w, w->operator, lease);
	cmd.approves = id;
	assert_int_equal(cw_do(w, &cmd), ERR_DENIED);
	cmd = revoke(w, w->acme, lease);
	cmd.approves = id;
	assert_int_equal(cw_do(w, &cmd), ERR_DENIED);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);

	cw_reload(w, MS_PER_MIN); /* it is on the disk */
	cmd = revoke(w, bea, lease);
	cmd.approves = id;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(w->d.result.approval, 0);
	assert_null(approval(w, id));
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, lease), LEASE_REVOKED);
	assert_int_equal(cw_do(w, &cmd), ERR_NOTFOUND); /* once */
}

static void what_is_granted_is_what_was_proposed(void **state)
{
	struct core_world *w = *state;
	struct cw_who bea = second_admin(w, "bea");
	uint64_t a = active_firm(w), b = active_firm(w), id;
	struct command cmd = revoke(w, w->admin, a);

	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.approval;
	cmd = revoke(w, bea, b);
	cmd.approves = id;
	assert_int_equal(cw_do(w, &cmd), ERR_CONFLICT); /* another lease */
	cmd = sent(cw_cmd(w, bea, CMD_RESUME), "revoke odd");
	cmd.approves = id;
	assert_int_equal(cw_do(w, &cmd), ERR_CONFLICT); /* another command with the same bytes */
	cmd = revoke(w, bea, a);
	cmd.approves = id + 1;
	assert_int_equal(cw_do(w, &cmd), ERR_NOTFOUND);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, a), LEASE_ACTIVE);
	assert_int_equal(cw_lease_state(w, b), LEASE_ACTIVE);
	/* an approval no more serves a command that needs none than one that does: it is used up */
	cmd = revoke(w, bea, a);
	cmd.approves = id;
	cmd.dry_run = true;
	assert_int_equal(core_decide(w->core, w->t, &cmd, &w->d, &w->err), 0);
	assert_non_null(approval(w, id));
}

static void whoever_proposed_must_still_be_allowed(void **state)
{
	struct core_world *w = *state;
	struct cw_who bea = second_admin(w, "bea"), carl = second_admin(w, "carl");
	uint64_t lease = active_firm(w), id;
	struct command cmd = revoke(w, bea, lease), off = cw_cmd(w, w->admin, CMD_KEY_REVOKE);

	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.approval;
	off.object.id = bea.cred; /* her key was stolen, it turns out */
	assert_int_equal(cw_do(w, &off), 0);
	cmd = revoke(w, carl, lease);
	cmd.approves = id;
	assert_int_equal(cw_do(w, &cmd), ERR_REVOKED);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);
}

static void it_can_be_refused_and_runs_out(void **state)
{
	struct core_world *w = *state;
	struct cw_who bea = second_admin(w, "bea");
	struct command cmd, refuse = cw_cmd(w, bea, CMD_APPROVAL_REFUSE);
	uint64_t lease = active_firm(w), id;

	refuse.object.id = 1;
	assert_int_equal(cw_do(w, &refuse), ERR_NOTFOUND);
	cmd = revoke(w, w->admin, lease);
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.approval;
	refuse.object.id = id;
	assert_int_equal(cw_do(w, &refuse), 0);
	assert_null(approval(w, id));

	cmd = revoke(w, w->admin, lease);
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.approval;
	w->t += APPROVAL_KEEP_MS; /* to the millisecond */
	cmd = revoke(w, bea, lease);
	cmd.approves = id;
	assert_int_equal(cw_do(w, &cmd), ERR_NOTFOUND);
	cw_tick(w);
	assert_null(approval(w, id));
}

/* What would be refused is refused at once, and what has become impossible meanwhile when it is granted. */
static void a_command_is_judged_when_proposed_and_when_granted(void **state)
{
	struct core_world *w = *state;
	struct cw_who bea = second_admin(w, "bea");
	uint64_t lease = active_firm(w), id;
	struct command cmd = revoke(w, w->admin, lease);

	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.approval;
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, lease), 0);
	cw_settle(w);
	cmd = revoke(w, bea, lease);
	cmd.approves = id;
	assert_int_not_equal(cw_do(w, &cmd), 0);
	cmd = revoke(w, w->admin, lease);
	assert_int_not_equal(cw_do(w, &cmd), 0); /* nothing left to propose */
	assert_int_equal(w->d.result.approval, 0);
}

/* Asked again under the same key after a lost answer: the same approval, not a second one. */
static void a_repeated_proposal_is_one(void **state)
{
	struct core_world *w = *state;
	uint64_t lease = active_firm(w), id;
	struct command cmd = revoke(w, w->admin, lease);

	cmd.idem_key[0] = 77;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.approval;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_true(w->d.replayed);
	assert_int_equal(w->d.result.approval, id);
	assert_int_equal(w->d.result.id, 0);
}

/* Every command that sluisd.conf may name waits when it is named, and does not when it is not. */
static void the_settings_say_what_takes_two(void **state)
{
	static const struct { uint16_t type; uint32_t bit; } row[] = {
#define X(cmd, bit) {cmd, bit},
		DUAL_CONTROL_TABLE(X)
#undef X
	};
	struct core_world *w = *state;
	struct cw_who bea = second_admin(w, "bea");
	uint32_t tried = 0;

	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		for (int on = 0; on < 2; on++) {
			struct command cmd = cw_cmd(w, w->admin, row[i].type);

			switch ((enum command_type)row[i].type) {
			case CMD_DIVISION_APPLY: cmd.division_apply = w->div; break;
			case CMD_STAGE_SET:
				(void)snprintf(cmd.stage_set.project, TEXT_BYTES, "lung");
				(void)snprintf(cmd.stage_set.stage, FLAVOR_NAME_BYTES, "one");
				cmd.stage_set.state = STAGE_FROZEN;
				break;
			case CMD_NODE_DECLARE_DEAD:
			case CMD_NODE_REMOVE:
				(void)snprintf(cmd.node_admin.node, NAME_BYTES, "n4");
				cmd.node_admin.boot_id[0] = 0;
				break;
			case CMD_TOKEN_CREATE:
				cmd.token_create.role = ROLE_ADMIN;
				cmd.token_create.uses = 1;
				cmd.token_create.ttl_ms = MS_PER_HOUR;
				break;
			case CMD_KEY_REVOKE: cmd.object.id = bea.cred; break;
			case CMD_USER_DISABLE: (void)snprintf(cmd.object.name, NAME_BYTES, "bea"); break;
			case CMD_RESUME: break;
			default: fail_msg("give %s its body here", command_name(row[i].type));
			}
			dual_control(w, on ? UINT32_C(1) << row[i].bit : ~(UINT32_C(1) << row[i].bit));
			/* decided only: each begins from the same state */
			if (core_decide(w->core, w->t, &cmd, &w->d, &w->err)) {
				assert_int_not_equal(w->err.code, ERR_DENIED);
				continue; /* stage and node are judged first: not every one is possible here */
			}
			assert_int_equal(w->d.result.approval != 0, on);
			tried++;
		}
	assert_true(tried >= 10);
	/* a token that makes no admin is nobody else's business, nor is the first division */
	dual_control(w, UINT32_MAX);
	{
		struct command cmd = cw_cmd(w, w->admin, CMD_TOKEN_CREATE);

		cmd.token_create.role = ROLE_MEMBER;
		cmd.token_create.uses = 1;
		cmd.token_create.ttl_ms = MS_PER_HOUR;
		assert_int_equal(core_decide(w->core, w->t, &cmd, &w->d, &w->err), 0);
		assert_int_equal(w->d.result.approval, 0);
	}
}

static void the_first_division_takes_one(void **state)
{
	struct core_world w;

	(void)state;
	cw_open(&w, 2);
	dual_control(&w, UINT32_MAX);
	cw_apply(&w); /* asserts that it was applied */
	assert_int_equal(core_cluster(w.core)->division_version, 1);
	cw_close(&w);
}

/* The address came to lead to another cluster: what was asked of the first is not for the second. */
static void a_command_for_another_cluster_is_refused(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, MS_PER_HOUR);

	memcpy(cmd.cluster, core_cluster(w->core)->uid, sizeof cmd.cluster);
	cmd.cluster[3] ^= 1;
	assert_int_equal(cw_do(w, &cmd), ERR_DENIED);
	cmd.cluster[3] ^= 1;
	assert_int_equal(cw_do(w, &cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_firm_lease_ends_only_when_two_agree),
		STORY(what_is_granted_is_what_was_proposed),
		STORY(whoever_proposed_must_still_be_allowed),
		STORY(it_can_be_refused_and_runs_out),
		STORY(a_command_is_judged_when_proposed_and_when_granted),
		STORY(a_repeated_proposal_is_one),
		STORY(the_settings_say_what_takes_two),
		cmocka_unit_test(the_first_division_takes_one),
		STORY(a_command_for_another_cluster_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
