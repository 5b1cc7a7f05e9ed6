/* enrol.c - the cluster's beginning, tokens, principals and their credentials
 *
 * Private keys never travel: a token lets its bearer register the public key of a pair it made. A
 * token is kept as its hash, counts its uses, and is bound to a role and, if wanted, a name.
 */
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const uint64_t RESTORE_ID_SKIP = 10000000;
static const uint64_t RESTORE_SALT = (UINT64_C(1) << 52) - 1; /* far below what node.c takes for made up */
static const int64_t ROTATE_OVERLAP_MS = 24 * MS_PER_HOUR;

static struct cred *cred_make(const struct core *c, struct decision *d, int64_t t, uint32_t principal)
{
	struct cluster *cl = edit_cluster(c, d);
	struct cred *cr = create(d, RECORD_CRED, cl->next_cred);

	cr->id = cl->next_cred++;
	cr->principal = principal;
	cr->created_ms = t;
	return cr;
}

static struct principal *principal_make(const struct core *c, struct decision *d, const char *name, uint8_t role)
{
	struct cluster *cl = edit_cluster(c, d);
	struct principal *p = create(d, RECORD_PRINCIPAL, cl->next_principal);

	p->id = cl->next_principal++;
	TEXT_SET(p->name, name);
	p->role = role;
	return p;
}

int decide_init(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	const struct cluster *in = &cmd->init.settings;
	struct cluster *cl = c->have_cluster ? edit_cluster(c, d) : create(d, RECORD_CLUSTER, 1);

	if (!in->name[0])
		return err_set(err, ERR_INVAL, "the cluster needs a name");
	if (in->lease_ttl_ms <= 0 || in->lease_grace_ms < 0 || in->lease_term_ms <= 0 || in->bind_timeout_ms <= 0 ||
	    in->lost_after_ms <= 0 || in->job_time_ms <= 0 || in->notice_ms < 0 || in->kill_margin_ms < 0 ||
	    in->cooldown_ms < 0 || in->rejoin_grace_ms < 0 || in->lease_offer_ms <= 0 || in->resize_ms < 0)
		return err_set(err, ERR_RANGE, "a time in the settings is not positive");
	if (!c->have_cluster) {
		memcpy(cl->uid, in->uid, sizeof cl->uid);
		cl->next_job = cl->next_lease = cl->next_alloc = cl->next_claim = 1;
		cl->next_cred = cl->next_token = cl->next_submit = 1;
		cl->next_node = cl->next_principal = cl->next_qnode = 1;
		cl->next_flavor = 1;
		cl->next_approval = 1;
		(void)principal_make(c, d, "sluisd", ROLE_NONE); /* id 1: the daemon itself */
	}
	TEXT_SET(cl->name, in->name);
	cl->lease_ttl_ms = in->lease_ttl_ms;
	cl->lease_grace_ms = in->lease_grace_ms;
	cl->lease_term_ms = in->lease_term_ms;
	cl->lease_offer_ms = in->lease_offer_ms;
	cl->rejoin_grace_ms = in->rejoin_grace_ms;
	cl->bind_timeout_ms = in->bind_timeout_ms;
	cl->lost_after_ms = in->lost_after_ms;
	cl->notice_ms = in->notice_ms;
	cl->kill_margin_ms = in->kill_margin_ms;
	cl->job_time_ms = in->job_time_ms;
	cl->cooldown_ms = in->cooldown_ms;
	cl->age_guard_ms = in->age_guard_ms;
	cl->resize_ms = in->resize_ms;
	cl->renewals_per_s = in->renewals_per_s;
	cl->loan_rate_ppm = in->loan_rate_ppm;
	cl->urgent_rate_ppm = in->urgent_rate_ppm;
	cl->reservations_max = in->reservations_max;
	cl->reservations_each = in->reservations_each;
	cl->slurm_env = in->slurm_env;
	cl->dual_control = in->dual_control;
	cl->last_seen_ms = t;
	for (uint32_t i = 0; i < cmd->init.uids_n; i++) {
		uint32_t uid = cmd->init.uids[i].uid;
		char name[NAME_BYTES] = "admin";
		struct cred *cr;
		struct principal *p;

		if (core_cred_of_uid(c, uid))
			continue;
		if (i || c->have_cluster)
			(void)snprintf(name, sizeof name, "admin-%" PRIu32, uid);
		p = principal_make(c, d, name, ROLE_ADMIN);
		cr = cred_make(c, d, t, p->id);
		cr->kind = CRED_UID;
		cr->uid = cmd->init.uids[i].uid;
	}
	return 0;
}

/* Numbers of parts that may have been split off in a future that a restored copy does not know: not given again, also
 * where the node that would show them (part_number_seen) has not been heard yet. */
static void part_numbers_skip(const struct core *c, struct decision *d, uint64_t salt)
{
	EACH(c, allocs, alloc_s, a) {
		uint32_t next = a->r.part_next + PARTS_LOST_MAX + (uint32_t)(salt % PARTS_LOST_MAX);

		if (a->r.owner_kind == OWNER_LEASE && a->r.shape == SHAPE_GPU)
			EDIT(c, d, RECORD_ALLOC, alloc, a->r.id)->part_next = (uint16_t)(next < UINT16_MAX ? next : UINT16_MAX);
	}
}

static uint64_t id_after(uint64_t a, uint64_t b) { return a > b ? a : b; }

int decide_recover(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	struct cluster *cl = edit_cluster(c, d);

	if (cmd->type == CMD_RESUME) {
		cl->safe_mode = false;
		return 0;
	}
	if (cmd->recover.down_ms < 0)
		return err_set(err, ERR_RANGE, "downtime cannot be negative");
	/* time in which nobody could renew counts against nobody */
	cl->down_ms += cmd->recover.down_ms;
	cl->no_expiry_until_ms = t + cl->rejoin_grace_ms;
	cl->last_seen_ms = t;
	cl->safe_mode = cl->safe_mode || cmd->recover.safe_mode;
	if (cmd->recover.safe_mode) {
		/* Perhaps an older copy: ids of the future that it does not know stay unused, also when the
		 * same copy is restored twice. Time tells two such futures apart, or where the clock was set back
		 * chance does; and nodes say what they have seen (ids_seen). */
		cl->next_alloc = id_after(cl->next_alloc + ALLOCS_LOST_MAX, (uint64_t)t << 16) +
				 (cmd->recover.salt & RESTORE_SALT);
		cl->next_job = id_after(cl->next_job + RESTORE_ID_SKIP, (uint64_t)t / 100);
		cl->next_lease = id_after(cl->next_lease + RESTORE_ID_SKIP, (uint64_t)t / 100);
		cl->next_claim = id_after(cl->next_claim + RESTORE_ID_SKIP, (uint64_t)t / 100);
		part_numbers_skip(c, d, cmd->recover.salt);
	}
	/* nor could a node be heard: what was unreachable has as long as before, and time to greet again */
	EACH(c, nodes, node_s, n)
		if (n->r.state == NODE_UNREACHABLE && !n->r.lost) {
			struct node *e = EDIT(c, d, RECORD_NODE, node, n->r.id);
			int64_t since = cl->no_expiry_until_ms - cl->lost_after_ms;

			e->state_since_ms += cmd->recover.down_ms;
			if (e->state_since_ms < since)
				e->state_since_ms = since;
		}
	return 0;
}

static int decide_token(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			struct err *err)
{
	const struct cmd_token_create *r = &cmd->token_create;
	struct cluster *cl;
	struct token *tok;

	if (r->role == ROLE_NONE || r->role >= ROLE_PUBLIC)
		return err_set(err, ERR_INVAL, "a token makes a node or a user with a role");
	if (!r->uses || r->uses > 10000 || r->ttl_ms <= 0 || r->ttl_ms > 30 * MS_PER_DAY)
		return err_set(err, ERR_RANGE, "a token has 1 to 10000 uses and lives at most 30 days");
	if (r->name[0] && r->uses != 1 && r->role != ROLE_NODE)
		return err_set(err, ERR_INVAL, "a token bound to a name has one use");
	if (r->role == ROLE_PROVIDER && !r->provider[0])
		return err_set(err, ERR_INVAL, "a provider's token names its provider");
	cl = edit_cluster(c, d);
	tok = create(d, RECORD_TOKEN, cl->next_token);
	tok->id = cl->next_token++;
	memcpy(tok->hash, r->hash, sizeof tok->hash);
	tok->role = r->role;
	TEXT_SET(tok->name, r->name);
	TEXT_SET(tok->provider, r->provider);
	tok->uses_left = r->uses;
	tok->expires_ms = t + r->ttl_ms;
	d->result.id = tok->id;
	return 0;
}

static const struct token *token_find(const struct core *c, const uint8_t hash[32])
{
	EACH(c, tokens, token, tok) {
		uint8_t diff = 0; /* no early exit: time must not tell how much of a guess is right */

		for (int i = 0; i < 32; i++)
			diff |= tok->hash[i] ^ hash[i];
		if (!diff)
			return tok;
	}
	return NULL;
}

static const struct principal *principal_named(const struct core *c, const char *name)
{
	EACH(c, principals, principal, p)
		if (!strcmp(p->name, name))
			return p;
	return NULL;
}

static bool key_known(const struct core *c, const uint8_t key[32])
{
	EACH(c, creds, cred, cr)
		if (cr->kind == CRED_CURVE && !memcmp(cr->key, key, 32))
			return true;
	return false;
}

static uint32_t node_make(const struct core *c, struct decision *d, int64_t t, uint32_t principal, const char *name)
{
	struct cluster *cl = edit_cluster(c, d);
	struct node *n = create(d, RECORD_NODE, cl->next_node);

	n->id = cl->next_node++;
	TEXT_SET(n->name, name);
	n->principal = principal;
	n->state_since_ms = t;
	return n->id;
}

/* The agent of a node that was removed: whoever enrols under its name is a new node. */
static bool gone_node(const struct core *c, const struct principal *p)
{
	return p->role == ROLE_NODE && !core_node(c, p->node);
}

static int decide_enrol(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			struct err *err)
{
	const struct cmd_enrol *r = &cmd->enrol;
	const struct token *tok = token_find(c, r->token_hash);
	const struct principal *old;
	uint32_t principal;
	struct cred *cr;

	if (!tok || tok->expires_ms <= t || !tok->uses_left) {
		err_set(err, ERR_BADTOKEN, "the token is unknown, used up or expired");
		return err_hint(err, "ask for a new one: sluisctl token create");
	}
	if (!r->name[0])
		return err_set(err, ERR_INVAL, "a name is needed");
	for (const char *s = r->name; *s; s++)
		if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
		      strchr("-_.@", *s)))
			return err_set(err, ERR_INVAL, "a name has letters, digits, '-', '_', '.' and '@' only");
	if (tok->name[0] && strcmp(tok->name, r->name) != 0)
		return err_set(err, ERR_BADTOKEN, "this token is for %s", tok->name);
	if (key_known(c, r->key))
		return err_set(err, ERR_EXISTS, "this key is enrolled already");
	old = principal_named(c, r->name);
	if (old && (old->id == 1 || old->role != tok->role || (!tok->name[0] && !gone_node(c, old)))) {
		err_set(err, ERR_EXISTS, "the name '%s' is taken", r->name);
		return err_hint(err, "another name, or a token made for it: sluisctl token create ... --name %s", r->name);
	}
	if (old) {
		if (gone_node(c, old))
			EDIT(c, d, RECORD_PRINCIPAL, principal, old->id)->node = node_make(c, d, t, old->id, r->name);
		principal = old->id; /* a new key for somebody known: the old ones end */
		for (uint64_t id = 0; (id = core_next_id(c, RECORD_CRED, id)) != 0;)
			if (core_cred(c, id)->principal == principal)
				EDIT(c, d, RECORD_CRED, cred, id)->state = CRED_REVOKED;
	} else {
		struct principal *p = principal_make(c, d, r->name, tok->role);

		principal = p->id;
		TEXT_SET(p->provider, tok->provider);
		if (tok->role == ROLE_NODE)
			p->node = node_make(c, d, t, principal, r->name);
	}
	cr = cred_make(c, d, t, principal);
	cr->kind = CRED_CURVE;
	memcpy(cr->key, r->key, sizeof cr->key);
	if (tok->uses_left == 1)
		drop(d, RECORD_TOKEN, tok->id);
	else
		EDIT(c, d, RECORD_TOKEN, token, tok->id)->uses_left--;
	d->result.id = cr->id;
	d->result.version = principal;
	d->result.state = tok->role;
	return 0;
}

int decide_enrolment(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	switch ((enum command_type)cmd->type) {
	case CMD_TOKEN_CREATE: return decide_token(c, t, cmd, d, err);
	case CMD_ENROL: return decide_enrol(c, t, cmd, d, err);
	case CMD_TOKEN_REVOKE:
		if (!core_record(c, RECORD_TOKEN, cmd->object.id))
			return err_set(err, ERR_NOTFOUND, "there is no token %" PRIu64, cmd->object.id);
		drop(d, RECORD_TOKEN, cmd->object.id);
		d->result.id = cmd->object.id;
		return 0;
	case CMD_KEY_REVOKE:
		if (!core_cred(c, cmd->object.id))
			return err_set(err, ERR_NOTFOUND, "there is no key %" PRIu64, cmd->object.id);
		if (cmd->object.id == cmd->cred) {
			err_set(err, ERR_INVAL, "this is the key you are using");
			return err_hint(err, "sluisctl key rotate makes a new one first");
		}
		EDIT(c, d, RECORD_CRED, cred, cmd->object.id)->state = CRED_REVOKED;
		d->result.id = cmd->object.id;
		return 0;
	case CMD_KEY_ROTATE: {
		struct cred *cr;

		if (key_known(c, cmd->key_rotate.key))
			return err_set(err, ERR_EXISTS, "this key is enrolled already");
		cr = cred_make(c, d, t, cmd->principal);
		cr->kind = CRED_CURVE;
		memcpy(cr->key, cmd->key_rotate.key, sizeof cr->key);
		if (core_cred(c, cmd->cred) && core_cred(c, cmd->cred)->kind == CRED_CURVE)
			EDIT(c, d, RECORD_CRED, cred, cmd->cred)->not_after_ms = t + ROTATE_OVERLAP_MS;
		d->result.id = cr->id;
		return 0;
	}
	case CMD_USER_DISABLE: {
		const struct principal *p = principal_named(c, cmd->object.name);

		if (!p || p->id == 1)
			return err_set(err, ERR_NOTFOUND, "there is no user '%s'", cmd->object.name);
		if (p->id == cmd->principal)
			return err_set(err, ERR_INVAL, "you cannot disable yourself");
		EDIT(c, d, RECORD_PRINCIPAL, principal, p->id)->disabled = true;
		d->result.id = p->id;
		return 0;
	}
	default: UNREACHABLE();
	}
}
