/* sim_users.c - who asks: an admin, researchers, providers with holders on imperfect clocks
 *
 * Each user has one command on its way and repeats it under the same idempotency key until it hears
 * something. Every acknowledgement is remembered and looked up in the log at the end. Holders run the
 * real holder state machine (proto/client/holder.c).
 */
#include "tests/lib/sim_world.h"

#include "proto/base/ensure.h"
#include "proto/base/instant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ADMIN_UID = 1000, TRIES_MAX = 40 };

static uint16_t link_of(const struct sim *s, const struct sim_user *u)
{
	return (uint16_t)(SIM_MACHINES_MAX + (u - s->user));
}

/* ---- the division ---------------------------------------------------------------------------------- */

static uint32_t machines_of(const struct sim *s, uint32_t flavor)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->k.machines; i++)
		n += s->machine[i].flavor == flavor;
	return n;
}

/* Deal `total` out in random pieces. */
static void deal(struct sim *s, int64_t total, int64_t *out, uint32_t n)
{
	while (total > 0) {
		int64_t piece = sim_span(s, 1, total);

		out[sim_below(s, n)] += piece;
		total -= piece;
	}
}

/* In a quarter of the seeds borrowing limits have windows, in another the private side has a concentration cap. Drawn from
 * a generator of their own: what else a seed does stays what it was. */
static void division_rules(const struct sim *s, struct cmd_division_apply *a, struct arena *arena)
{
	enum { WINDOWS = 2, SPANS = 40 };
	struct prng r;

	prng_seed(&r, s->seed ^ UINT64_C(0x77696e646f777321) ^ s->division_n);
	for (uint32_t i = 1; (s->seed >> 40) % 4 == 0 && i < a->qnodes_n; i++) {
		struct qnode *q = &a->qnodes[i];

		if (prng_below(&r, 2))
			continue;
		q->windows = arena_alloc(arena, WINDOWS * sizeof *q->windows);
		q->window_limits = arena_alloc(arena, (size_t)WINDOWS * q->quotas_n * sizeof *q->window_limits);
		q->window_spans = arena_alloc(arena, WINDOWS * SPANS * sizeof *q->window_spans);
		for (; q->windows_n < WINDOWS; q->windows_n++) {
			int64_t at = daemon_t(s) + (int64_t)prng_below(&r, 20) * MS_PER_MIN - 10 * MS_PER_MIN;

			for (uint32_t k = 0; k < q->quotas_n; k++)
				if (prng_below(&r, 2))
					q->window_limits[q->window_limits_n++] = (struct window_limit){
						.window = (uint8_t)q->windows_n, .flavor = q->quotas[k].flavor,
						.shape = q->quotas[k].shape, .borrowing = (int64_t)prng_below(&r, 9)};
			for (int k = 0; k < SPANS; k++) {
				struct window_span *span = &q->window_spans[q->window_spans_n++];

				span->window = (uint8_t)q->windows_n;
				span->from_ms = at;
				span->to_ms = at + 1 + (int64_t)prng_below(&r, 15 * MS_PER_MIN);
				at = span->to_ms + (int64_t)prng_below(&r, 15 * MS_PER_MIN);
			}
		}
	}
	for (uint32_t i = 1; (s->seed >> 40) % 4 == 1 && i < a->qnodes_n; i++) {
		struct qnode *q = &a->qnodes[i];

		if (q->kind == QNODE_PRIVATE)
			q->concentration_cap_ppm = 1 + (uint32_t)prng_below(&r, 1000000);
		else if (q->kind == QNODE_PROVIDER)
			(void)snprintf(q->tenant, NAME_BYTES, "tenant%u", i % 2);
	}
}

void division_fill(struct sim *s, struct cmd_division_apply *a, struct arena *arena)
{
	uint32_t projects = s->k.projects, n = 0, public_at, sector_at, private_at;
	struct qnode *q;

	if (s->division_n++ && projects > 1 && sim_chance(s, 200000))
		projects--; /* the last one is closed */
	a->flavors_n = s->k.flavors;
	a->flavors = arena_alloc(arena, a->flavors_n * sizeof *a->flavors);
	for (uint32_t f = 0; f < a->flavors_n; f++) {
		struct flavor *fl = &a->flavors[f];
		uint32_t have = machines_of(s, f);

		(void)snprintf(fl->name, sizeof fl->name, "f%u", f);
		(void)snprintf(fl->vendor, sizeof fl->vendor, "sim");
		(void)snprintf(fl->model, sizeof fl->model, "f%u", f);
		fl->weight_milli = 1000 * (f + 1);
		fl->devices_per_node = s->k.devices;
		fl->scrub_ms_max = 5000;
		fl->committed_nodes = have > 1 && sim_chance(s, 500000) ? have - 1 : have;
	}
	a->qnodes = q = arena_alloc(arena, (SIM_PROJECTS_MAX + SIM_PROVIDERS_MAX + 5) * sizeof *q);
	(void)snprintf(q[n].name, NAME_BYTES, "root");
	q[n++].kind = QNODE_ROOT;
	public_at = n;
	q[n] = (struct qnode){.kind = QNODE_PUBLIC, .parent = 1, .name = "public"};
	sector_at = ++n;
	q[n++] = (struct qnode){.kind = QNODE_SECTOR, .parent = public_at + 1, .name = "health"};
	for (uint32_t i = 0; i < projects; i++, n++) {
		q[n] = (struct qnode){.kind = QNODE_PROJECT, .parent = sector_at + 1, .weight = 1 + i};
		(void)snprintf(q[n].name, NAME_BYTES, "p%u", i);
		(void)snprintf(q[n].pi, NAME_BYTES, "res0");
		q[n].running_jobs_max = sim_chance(s, 100000) ? 3 : 0;
		q[n].members_n = s->k.researchers;
		q[n].members = arena_alloc(arena, q[n].members_n * sizeof *q[n].members);
		for (uint32_t k = 0; k < q[n].members_n; k++)
			(void)snprintf(q[n].members[k].name, NAME_BYTES, "res%u", k);
		if (s->seed >> i & 1) {
			q[n].stages_n = 2;
			q[n].stages = arena_alloc(arena, 2 * sizeof *q[n].stages);
			for (int k = 0; k < 2; k++) {
				(void)snprintf(q[n].stages[k].name, FLAVOR_NAME_BYTES, "stage%d", k);
				q[n].stages[k].state = k ? STAGE_LOCKED : STAGE_RELEASED;
				q[n].stages[k].amount_rums = (20 + 100 * k) * MS_PER_HOUR;
			}
		}
	}
	private_at = n;
	q[n++] = (struct qnode){.kind = QNODE_PRIVATE, .parent = 1, .name = "private"};
	for (uint32_t i = 0; i < s->k.providers; i++, n++) {
		q[n] = (struct qnode){.kind = QNODE_PROVIDER, .parent = private_at + 1};
		(void)snprintf(q[n].name, NAME_BYTES, "prov%u", i);
	}
	a->qnodes_n = n;
	for (uint32_t i = 1; i < n; i++) {
		q[i].recall_slo_ms = sim_chance(s, 300000) ? sim_span(s, 1, 20) * MS_PER_MIN : 0;
		q[i].quotas_n = a->flavors_n * SHAPE_COUNT;
		q[i].quotas = arena_alloc(arena, q[i].quotas_n * sizeof *q[i].quotas);
	}
	for (uint32_t f = 0; f < a->flavors_n; f++) {
		int64_t nodes = a->flavors[f].committed_nodes, whole = sim_span(s, 0, nodes);

		for (uint8_t shape = 0; shape < SHAPE_COUNT; shape++) {
			int64_t own[SIM_PROJECTS_MAX + SIM_PROVIDERS_MAX + 5] = {0};

			deal(s, shape == SHAPE_NODE ? whole : (nodes - whole) * s->k.devices, own, n - 1);
			for (uint32_t i = 1; i < n; i++)
				q[i].quotas[f * SHAPE_COUNT + shape] = (struct quota){
					.flavor = (uint16_t)(f + 1),
					.shape = shape,
					.nominal = own[i - 1],
					.borrowing = sim_chance(s, 700000) ? QTY_UNLIMITED : sim_span(s, 0, 8),
					.lending = sim_chance(s, 700000) ? QTY_UNLIMITED : sim_span(s, 0, 8)};
		}
	}
	division_rules(s, a, arena);
}

/* ---- setting up ---------------------------------------------------------------------------------------- */

static int64_t pick(struct sim *s, const int64_t *from, size_t n) { return from[sim_below(s, n)]; }

static void enrol(struct sim *s, const struct sim_user *admin, uint8_t role, const char *name, const char *provider,
		  uint32_t *ret_principal, uint64_t *ret_cred)
{
	struct command token = {
		.type = CMD_TOKEN_CREATE, .via = VIA_USERS, .principal = admin->principal, .cred = admin->cred};
	struct command join = {.type = CMD_ENROL, .via = VIA_ENROL};
	struct result res;

	for (int i = 0; i < 32; i++)
		token.token_create.hash[i] = join.enrol.token_hash[i] = (uint8_t)sim_below(s, 256);
	token.token_create.role = role;
	token.token_create.uses = 1;
	token.token_create.ttl_ms = MS_PER_DAY;
	(void)snprintf(token.token_create.name, NAME_BYTES, "%s", name);
	(void)snprintf(token.token_create.provider, NAME_BYTES, "%s", provider);
	(void)snprintf(join.enrol.name, NAME_BYTES, "%s", name);
	for (int i = 0; i < 32; i++)
		join.enrol.key[i] = (uint8_t)sim_below(s, 256);
	if (daemon_now(s, &token, &res) || daemon_now(s, &join, &res))
		sim_violation(s, "setting up: %s could not enrol", name);
	*ret_cred = res.id;
	*ret_principal = (uint32_t)res.version;
}

static struct sim_user *user_new(struct sim *s, uint8_t kind, const char *name)
{
	struct sim_user *u = &s->user[s->users_n++];

	u->kind = kind;
	(void)snprintf(u->name, sizeof u->name, "%s", name);
	u->next_ms = sim_span(s, 0, 60000);
	return u;
}

void users_setup(struct sim *s)
{
	static const int64_t ttl[] = {MS_PER_MIN, 5 * MS_PER_MIN, 15 * MS_PER_MIN};
	static const int64_t grace[] = {0, MS_PER_MIN, 5 * MS_PER_MIN, 15 * MS_PER_MIN};
	struct command init = {.type = CMD_INIT, .via = VIA_INTERNAL};
	struct command div = {.type = CMD_DIVISION_APPLY, .via = VIA_USERS};
	struct cluster *set = &init.init.settings;
	struct uid_ref uid = {ADMIN_UID};
	struct arena arena = {0};
	struct result res;
	struct sim_user *admin = user_new(s, USER_ADMIN, "admin");
	char name[NAME_BYTES];

	(void)snprintf(set->name, sizeof set->name, "sim");
	set->lease_ttl_ms = pick(s, ttl, ARRAY_LEN(ttl));
	set->lease_grace_ms = pick(s, grace, ARRAY_LEN(grace));
	set->lease_term_ms = sim_chance(s, 300000) ? 40 * MS_PER_MIN : 30 * MS_PER_DAY;
	set->lease_offer_ms = 5 * MS_PER_MIN;
	set->rejoin_grace_ms = sim_chance(s, 500000) ? 0 : 5 * MS_PER_MIN;
	set->bind_timeout_ms = sim_span(s, 10, 120) * MS_PER_S;
	set->lost_after_ms = sim_span(s, 1, 10) * MS_PER_MIN;
	set->notice_ms = sim_span(s, 0, 60) * MS_PER_S;
	set->kill_margin_ms = 5000;
	set->job_time_ms = 20 * MS_PER_MIN;
	set->cooldown_ms = sim_span(s, 0, 5) * MS_PER_MIN;
	set->age_guard_ms = sim_span(s, 1, 60) * MS_PER_MIN;
	set->renewals_per_s = 1000;
	set->loan_rate_ppm = 500000;
	set->urgent_rate_ppm = 2000000;
	init.init.uids_n = 1;
	init.init.uids = &uid;

	daemon_boot(s);
	if (daemon_now(s, &init, &res)) {
		sim_violation(s, "setting up: no beginning");
		return;
	}
	admin->principal = core_cred_of_uid(s->d.core, ADMIN_UID)->principal;
	admin->cred = core_cred_of_uid(s->d.core, ADMIN_UID)->id;
	for (uint32_t i = 0; i < s->k.machines; i++) {
		struct sim_machine *m = &s->machine[i];

		(void)snprintf(m->name, sizeof m->name, "n%02u", i);
		m->flavor = (uint16_t)(i % s->k.flavors);
		m->boot_at_ms = sim_span(s, 0, 20000);
		m->agent_at_ms = m->dies_ms = T_NEVER;
		enrol(s, admin, ROLE_NODE, m->name, "", &m->principal, &m->cred);
		m->node = core_node_named(s->d.core, m->name)->id;
		sim_wake(s, (uint16_t)i, m->boot_at_ms);
	}
	div.principal = admin->principal;
	div.cred = admin->cred;
	division_fill(s, &div.division_apply, &arena);
	if (daemon_now(s, &div, &res))
		sim_violation(s, "setting up: the division was refused");
	arena_done(&arena);
	for (uint32_t i = 0; i < s->k.researchers; i++) {
		struct sim_user *u;

		(void)snprintf(name, sizeof name, "res%u", i);
		u = user_new(s, USER_RESEARCHER, name);
		enrol(s, admin, ROLE_MEMBER, name, "", &u->principal, &u->cred);
	}
	for (uint32_t i = 0; i < s->k.providers; i++) {
		struct sim_user *u;
		char prov[NAME_BYTES];

		(void)snprintf(name, sizeof name, "key-prov%u", i);
		(void)snprintf(prov, sizeof prov, "prov%u", i);
		u = user_new(s, USER_PROVIDER, name);
		u->at = i;
		enrol(s, admin, ROLE_PROVIDER, name, prov, &u->principal, &u->cred);
	}
	for (uint16_t i = 0; i < s->users_n; i++)
		sim_wake(s, (uint16_t)(SIM_MACHINES_MAX + i), s->user[i].next_ms);
	sim_wake(s, WAKE_DAEMON, s->now_ms);
}

/* ---- one command at a time ------------------------------------------------------------------------------- */

static void new_key(struct sim *s, uint8_t key[16])
{
	for (int i = 0; i < 16; i++)
		key[i] = (uint8_t)sim_below(s, 256);
}

static void command_send(struct sim *s, struct sim_user *u)
{
	struct sim_msg *m = sim_msg_new(M_COMMAND, link_of(s, u));
	int64_t wait = 4000 << (u->tries < 4 ? u->tries : 4);

	if (u->tries && s->canary == CANARY_NEW_KEY_ON_RETRY)
		new_key(s, u->key);
	m->cmd = u->cmd;
	m->req = u->req;
	memcpy(m->key, u->key, sizeof m->key);
	buf_add(&m->body, u->body.data, u->body.len);
	u->tries++;
	u->retry_ms = s->now_ms + wait;
	sim_send(s, m);
}

static void ask(struct sim *s, struct sim_user *u, uint16_t type, const void *body, const char *tag)
{
	ENSURE(!u->cmd);
	u->cmd = type;
	buf_reset(&u->body);
	schema_encode(schema_of_command(type), body, &u->body);
	(void)snprintf(u->tag, sizeof u->tag, "%s", tag);
	new_key(s, u->key);
	u->req = ++s->req_n;
	u->first_ms = s->now_ms;
	u->tries = 0;
	command_send(s, u);
}

/* ---- researchers --------------------------------------------------------------------------------------------- */

static uint64_t some_job(struct sim *s, const struct sim_user *u)
{
	return u->recent_n ? u->recent[sim_below(s, u->recent_n)] : 0;
}

static void submit(struct sim *s, struct sim_user *u)
{
	struct cmd_job_submit b = {0};
	struct job_spec *p = &b.spec;
	struct dependency dep;
	struct require want;

	(void)snprintf(b.project, sizeof b.project, "p%u", (unsigned)sim_below(s, s->k.projects));
	(void)snprintf(b.flavor, sizeof b.flavor, "f%u", (unsigned)sim_below(s, s->k.flavors));
	(void)snprintf(p->name, sizeof p->name, "%s-%u", u->name, u->made++);
	p->shape = sim_chance(s, 400000) ? SHAPE_NODE : SHAPE_GPU;
	p->units = (uint32_t)sim_span(s, 1, sim_chance(s, 200000) ? 16 : 4);
	if (p->shape == SHAPE_GPU && sim_chance(s, 200000) && p->units % 2 == 0)
		p->per_node = 2;
	p->klass = (uint8_t)(sim_chance(s, 700000) ? JOB_NORMAL : sim_span(s, JOB_SCAVENGER, JOB_URGENT));
	p->loan = (uint8_t)sim_span(s, LOAN_NEVER, LOAN_ONLY);
	p->mode = (uint8_t)sim_span(s, JOB_SCRIPT, JOB_COMMAND);
	p->tasks_per_unit = (uint16_t)sim_span(s, 0, 1);
	p->cpus_per_task = (uint16_t)sim_span(s, 0, 2);
	p->time_limit_ms = sim_span(s, 30, 1800) * MS_PER_S;
	p->notice_ms = sim_span(s, 0, 60) * MS_PER_S;
	p->exempt_ms = sim_chance(s, 200000) ? sim_span(s, 0, 120) * MS_PER_S : 0;
	p->signal_ms = sim_chance(s, 200000) ? 20000 : 0;
	p->retries_infra = (uint8_t)sim_span(s, 0, 3);
	p->retries_user = (uint8_t)sim_span(s, 0, 1);
	p->no_requeue = sim_chance(s, 100000);
	p->hold = sim_chance(s, 50000);
	if (sim_chance(s, 100000)) {
		p->array_step = 1;
		p->array_first = 0;
		p->array_last = (uint32_t)sim_span(s, 0, 12);
		p->array_running_max = (uint32_t)sim_span(s, 0, 4);
	}
	if (s->d.up && sim_chance(s, 50000))
		p->begin_ms = daemon_t(s) + sim_span(s, 1, 20 * MS_PER_MIN);
	if (sim_chance(s, 100000) && some_job(s, u)) {
		dep.type = (uint8_t)sim_span(s, DEP_AFTER, DEP_SINGLETON);
		dep.job = some_job(s, u);
		p->deps = &dep;
		p->deps_n = 1;
	}
	if (sim_chance(s, 50000)) {
		(void)snprintf(want.key, sizeof want.key, "leaf");
		(void)snprintf(want.value, sizeof want.value, "l%u", (unsigned)sim_below(s, 3));
		p->requires = &want;
		p->requires_n = 1;
	}
	if (s->k.calendar && sim_chance(s, 300000))
		p->units_max = p->units * (uint32_t)sim_span(s, 1, 4);
	if (s->k.calendar && sim_chance(s, 150000))
		(void)snprintf(b.reservation, sizeof b.reservation, "r%u", (unsigned)sim_below(s, 4));
	memset(p->payload, 7, sizeof p->payload);
	ask(s, u, CMD_JOB_SUBMIT, &b, p->name);
}

static void researcher(struct sim *s, struct sim_user *u)
{
	static const uint16_t verbs[] = {CMD_JOB_CANCEL, CMD_JOB_CANCEL, CMD_JOB_HOLD, CMD_JOB_RELEASE,
					 CMD_JOB_RELEASE, CMD_JOB_REQUEUE};
	struct cmd_job_control b = {.job = some_job(s, u), .now = sim_chance(s, 300000)};
	struct cmd_job_update up = {.job = b.job};
	struct cmd_job_checkpointed cp = {.job = b.job, .step = s->now_ms / 1000 > 0 ? (uint64_t)s->now_ms / 1000 : 1};

	if (!b.job || sim_chance(s, 650000)) {
		submit(s, u);
	} else if (sim_chance(s, 200000)) {
		if (sim_chance(s, 700000))
			up.time_limit_ms = sim_span(s, 30, 1800) * MS_PER_S;
		if (sim_chance(s, 300000))
			up.klass_plus1 = (uint8_t)sim_span(s, 1, 4);
		if (sim_chance(s, 300000))
			up.loan_plus1 = (uint8_t)sim_span(s, 1, 3);
		ask(s, u, CMD_JOB_UPDATE, &up, "");
	} else if (sim_chance(s, 100000)) {
		ask(s, u, CMD_JOB_CHECKPOINTED, &cp, "");
	} else {
		ask(s, u, verbs[sim_below(s, ARRAY_LEN(verbs))], &b, "");
	}
}

/* ---- the admin --------------------------------------------------------------------------------------------------- */

static bool dead_one(struct sim *s, struct sim_user *u)
{
	for (uint32_t i = 0; i < s->k.machines; i++) {
		const struct sim_machine *m = &s->machine[i];
		struct cmd_node_admin b = {0};

		if (!m->dead_wanted || m->up)
			continue;
		(void)snprintf(b.node, sizeof b.node, "%s", m->name);
		(void)snprintf(b.reason, sizeof b.reason, "switched off");
		(void)snprintf(b.boot_id, sizeof b.boot_id, "%.20s-boot-%u", m->name, m->boot);
		twins_off(s, (uint16_t)i); /* "make sure that machine is off" */
		ask(s, u, CMD_NODE_DECLARE_DEAD, &b, m->name);
		return true;
	}
	return false;
}

/* Reserve something for somebody, or take it back. */
static void reserve(struct sim *s, struct sim_user *u)
{
	struct cmd_reservation_create b = {0};
	struct cmd_reservation_update up = {0};
	struct cmd_object del = {0};
	struct text_ref member, node;
	struct window window[2];
	int64_t from = daemon_t(s) + (sim_chance(s, 300000) ? 0 : sim_span(s, 0, 30 * MS_PER_MIN));
	char name[NAME_BYTES];

	(void)snprintf(name, sizeof name, "r%u", (unsigned)sim_below(s, 4));
	if (sim_chance(s, 300000)) {
		(void)snprintf(del.name, sizeof del.name, "%s", name);
		ask(s, u, CMD_RESERVATION_DELETE, &del, name);
		return;
	}
	if (sim_chance(s, 200000)) {
		(void)snprintf(up.name, sizeof up.name, "%s", name);
		up.to_ms = daemon_t(s) + sim_span(s, 1, 40 * MS_PER_MIN);
		ask(s, u, CMD_RESERVATION_UPDATE, &up, name);
		return;
	}
	(void)snprintf(b.spec.name, sizeof b.spec.name, "%s", name);
	window[0] = (struct window){from, from + sim_span(s, 1, 40 * MS_PER_MIN)};
	window[1] = (struct window){window[0].from_ms + MS_PER_HOUR, window[0].to_ms + MS_PER_HOUR};
	b.spec.windows = window;
	b.spec.windows_n = (uint32_t)sim_span(s, 1, 2);
	b.spec.repeat_ms = sim_chance(s, 200000) ? MS_PER_HOUR : 0;
	b.spec.maint = sim_chance(s, 400000);
	b.spec.flex = sim_chance(s, 200000);
	b.spec.magnetic = sim_chance(s, 300000);
	b.spec.overrun = sim_chance(s, 200000);
	b.spec.ignore_jobs = sim_chance(s, 300000);
	b.spec.no_replace = sim_chance(s, 200000);
	b.spec.purge_ms = sim_chance(s, 200000) ? 5 * MS_PER_MIN : 0;
	if (b.spec.maint) {
		(void)snprintf(node.s, sizeof node.s, "%s", s->machine[sim_below(s, s->k.machines)].name);
		b.nodes = &node;
		b.nodes_n = 1;
	} else {
		(void)snprintf(b.flavor, sizeof b.flavor, "f%u", (unsigned)sim_below(s, s->k.flavors));
		(void)snprintf(member.s, sizeof member.s, "project:p%u", (unsigned)sim_below(s, s->k.projects));
		b.spec.shape = sim_chance(s, 300000) ? SHAPE_NODE : SHAPE_GPU;
		b.spec.units = (uint32_t)sim_span(s, 1, b.spec.shape == SHAPE_NODE ? 2 : 4);
		b.members = &member;
		b.members_n = 1;
	}
	ask(s, u, CMD_RESERVATION_CREATE, &b, name);
}

static bool all_greeted(const struct sim *s)
{
	for (uint32_t i = 0; i < s->k.machines; i++)
		if (!s->d.node[i].live)
			return false;
	return true;
}

/* A machine that rebooted while a copy of it with the same boot had its place passes for the copy since. All copies are
 * off; the boot that the daemon holds on to is over, and somebody says so. */
static bool mistaken_one(struct sim *s, struct sim_user *u)
{
	for (uint32_t i = 0; i < s->k.machines; i++) {
		const struct sim_machine *m = &s->machine[i];
		const struct node *n = core_node(s->d.core, m->node);
		struct cmd_node_admin b = {0};
		char boot[40];

		machine_boot_id(s, m, boot);
		if (!m->up || !m->blurred || n->state == NODE_READY || n->state == NODE_DOWN || !strcmp(n->boot_id, boot) ||
		    (strcmp(n->twin_boot, boot) != 0 && !strstr(n->twins_before, boot)))
			continue;
		(void)snprintf(b.node, sizeof b.node, "%s", m->name);
		(void)snprintf(b.reason, sizeof b.reason, "it was the copy");
		memcpy(b.boot_id, n->boot_id, sizeof b.boot_id);
		ask(s, u, CMD_NODE_DECLARE_DEAD, &b, m->name);
		return true;
	}
	return false;
}

static void admin(struct sim *s, struct sim_user *u)
{
	struct sim_machine *m = &s->machine[sim_below(s, s->k.machines)];
	struct cmd_node_admin b = {0};
	struct cmd_tick none = {0};

	if (s->healed && s->d.up && daemon_superseded(s)) {
		daemon_restore_itself(s);
		return;
	}
	if (s->healed && s->d.up && mistaken_one(s, u))
		return;
	if (s->d.up && core_cluster(s->d.core)->safe_mode) {
		/* somebody has to look first whether this copy is the right one; and once all is well, whether all nodes
		 * have greeted it: one that has obeyed a later sluisd obeys a restored one only until it is confirmed */
		if (s->healed ? all_greeted(s) : sim_chance(s, 200000))
			ask(s, u, CMD_RESUME, &none, "");
		return;
	}
	if (s->healed) {
		for (uint32_t i = 0; i < s->k.machines && s->d.up; i++)
			if (core_node(s->d.core, s->machine[i].node)->admin != NODE_ENABLED) {
				(void)snprintf(b.node, sizeof b.node, "%s", s->machine[i].name);
				ask(s, u, CMD_NODE_UNCORDON, &b, "");
				return;
			}
		return;
	}
	if (dead_one(s, u))
		return;
	if (s->k.calendar && s->d.up && sim_chance(s, 250000)) {
		reserve(s, u);
		return;
	}
	(void)snprintf(b.node, sizeof b.node, "%s", m->name);
	(void)snprintf(b.reason, sizeof b.reason, "maintenance");
	if (s->k.division_changes && sim_chance(s, 150000)) {
		struct cmd_division_apply a = {0};
		struct arena arena = {0};

		division_fill(s, &a, &arena);
		ask(s, u, CMD_DIVISION_APPLY, &a, "");
		arena_done(&arena);
	} else if (s->k.declares_dead && m->up && sim_chance(s, 100000)) {
		machine_reboot(s, (uint16_t)(m - s->machine), MS_PER_MIN);
		m->dead_wanted = true;
		s->n.machines_declared_dead++;
	} else if (sim_chance(s, 150000)) {
		ask(s, u, CMD_NODE_CORDON, &b, "");
	} else if (sim_chance(s, 150000) && s->d.up) {
		b.deadline_ms = sim_chance(s, 500000) ? daemon_t(s) + sim_span(s, 0, 10 * MS_PER_MIN) : 0;
		b.until_ms = sim_chance(s, 500000) ? daemon_t(s) + sim_span(s, 1, 30 * MS_PER_MIN) : 0;
		ask(s, u, CMD_NODE_DRAIN, &b, "");
	} else if (sim_chance(s, 100000)) {
		struct cmd_stage_set st = {.state = (uint8_t)sim_span(s, STAGE_LOCKED, STAGE_FROZEN)};

		(void)snprintf(st.project, sizeof st.project, "p0");
		(void)snprintf(st.stage, sizeof st.stage, "stage%u", (unsigned)sim_below(s, 2));
		ask(s, u, CMD_STAGE_SET, &st, "");
	} else {
		ask(s, u, CMD_NODE_UNCORDON, &b, "");
	}
}

/* ---- providers ----------------------------------------------------------------------------------------------------- */

static struct boot holder_boot(const struct sim *s, const struct sim_holder *h)
{
	int64_t ms = s->now_ms - h->stall_total_ms;

	return (struct boot){(h->boot_base_ms + ms + ms / 1000 * h->rate_ppm / 1000) * NS_PER_MS};
}

static struct wall holder_wall(const struct sim *s, const struct sim_holder *h)
{
	/* the same oscillator; after a stall the wall clock is set, the other is not */
	return (struct wall){holder_boot(s, h).ns + (h->stall_total_ms + h->wall_off_ms) * NS_PER_MS};
}

void holders_check(struct sim *s, const struct lease *l)
{
	int64_t fast_ppm = s->k.daemon_clock_ppm > 0 ? s->k.daemon_clock_ppm : 0; /* a slow daemon only waits longer */
	int64_t ppm = s->k.clock_ppm + fast_ppm;
	int64_t error_ms = l->spec.ttl_ms / 1000 * ppm / 1000;

	/* by clocks within the contract a holder stops before the daemon does, always; worse ones are
	 * caught by the grace period as far as it reaches. When a start sets the daemon's clock ahead, a term ends sooner
	 * than was told before: the next answer, a ttl later at most, says so. */
	if (l->state == LEASE_ENDED ? ppm > 1000 || (s->d.leap_at_ms && s->now_ms - s->d.leap_at_ms < l->spec.ttl_ms) :
				      ppm > 1000 && error_ms > l->spec.grace_ms)
		return;
	for (uint32_t u = 0; u < s->users_n; u++)
		for (int i = 0; i < SIM_HOLDERS_MAX; i++) {
			struct sim_holder *h = &s->user[u].holder[i];

			if (h->lease != l->id || !h->firm || h->stall_until_ms > s->now_ms)
				continue;
			if (h->stall_total_ms && h->wall_back)
				continue; /* its wall clock was set back: it cannot know that it stood still */
			if (holder_may_act(&h->h, holder_boot(s, h), holder_wall(s, h)))
				sim_violation(s, "the holder of lease %" PRIu64 " believes in it, the daemon has ended it (%u)",
					      l->id, l->state);
		}
}

static void renew(struct sim *s, struct sim_user *u, struct sim_holder *h)
{
	struct sim_msg *m = sim_msg_new(M_COMMAND, link_of(s, u));
	struct lease_renew_item item;
	struct cmd_lease_renew b = {.items_n = 1, .items = &item};

	holder_send(&h->h, holder_boot(s, h), &item);
	if (item.renew_seq != h->req_seq) {
		new_key(s, h->key);
		h->req_seq = item.renew_seq;
	}
	m->cmd = CMD_LEASE_RENEW;
	m->req = ++s->req_n;
	m->renew_seq = item.renew_seq;
	memcpy(m->key, h->key, sizeof m->key);
	schema_encode(schema_of_command(CMD_LEASE_RENEW), &b, &m->body);
	sim_send(s, m);
}

static int64_t holder_turn(struct sim *s, struct sim_user *u, struct sim_holder *h)
{
	if (h->stall_until_ms) {
		if (s->now_ms < h->stall_until_ms)
			return h->stall_until_ms;
		h->stall_total_ms += h->stalled_ms;
		h->stall_until_ms = 0;
	}
	for (int i = 0; i < 4; i++) {
		struct boot when;
		enum holder_action act = holder_step(&h->h, holder_boot(s, h), holder_wall(s, h), &when);

		if (act == HOLDER_STOP) {
			h->lease = 0;
			return T_NEVER;
		}
		if (act == HOLDER_RENEW) {
			renew(s, u, h);
		} else if (act == HOLDER_LOOK) {
			struct sim_msg *m = sim_msg_new(M_LOOK, link_of(s, u));

			m->id = h->lease;
			m->req = ++s->req_n;
			sim_send(s, m);
		} else {
			int64_t in = (when.ns - holder_boot(s, h).ns) / NS_PER_MS;

			return s->now_ms + (in > 0 ? in : 1);
		}
	}
	return s->now_ms + 1;
}

static void request(struct sim *s, struct sim_user *u)
{
	struct cmd_lease_request b = {0};
	struct lease_spec *p = &b.spec;

	(void)snprintf(b.provider, sizeof b.provider, "prov%u", u->at);
	(void)snprintf(b.flavor, sizeof b.flavor, "f%u", (unsigned)sim_below(s, s->k.flavors));
	(void)snprintf(p->name, sizeof p->name, "%s-%u", u->name, u->made++);
	p->shape = sim_chance(s, 400000) ? SHAPE_NODE : SHAPE_GPU;
	p->klass = sim_chance(s, 300000) ? LEASE_LOAN : LEASE_FIRM;
	p->units = (uint32_t)sim_span(s, 1, 6);
	if (p->shape == SHAPE_GPU && p->units % 2 == 0 && sim_chance(s, 300000))
		p->units_per_replica = 2;
	if (sim_chance(s, 500000))
		memset(p->payload, 9, sizeof p->payload);
	p->auto_accept = sim_chance(s, 800000);
	p->auto_extend = sim_chance(s, 500000);
	p->notice_ms = sim_span(s, 1, 60) * MS_PER_S;
	ask(s, u, CMD_LEASE_REQUEST, &b, p->name);
}

static void provider(struct sim *s, struct sim_user *u)
{
	struct sim_holder *h = &u->holder[sim_below(s, SIM_HOLDERS_MAX)];
	struct cmd_object o = {.id = h->lease};

	if (!h->lease) {
		request(s, u);
		return;
	}
	if (h->h.last.state == LEASE_OFFERED) {
		ask(s, u, sim_chance(s, 800000) ? CMD_LEASE_ACCEPT : CMD_LEASE_DECLINE, &o, "");
	} else if (sim_chance(s, 150000)) {
		h->quit = true;
		ask(s, u, CMD_LEASE_RELEASE, &o, "");
	} else if (sim_chance(s, 400000)) {
		struct cmd_lease_resize r = {.lease = h->lease, .units = (uint32_t)sim_span(s, 1, 8)};

		ask(s, u, CMD_LEASE_RESIZE, &r, "");
	} else if (sim_chance(s, 100000)) {
		struct cmd_lease_extend e = {.lease = h->lease, .term_ms = MS_PER_HOUR};

		ask(s, u, CMD_LEASE_EXTEND, &e, "");
	} else if (sim_chance(s, 50000)) {
		h->h.state = HOLDER_GONE; /* it just stops renewing: the lease has to expire */
		h->lease = 0;
	}
}

/* ---- acknowledgements ----------------------------------------------------------------------------------------------- */

static uint64_t bytes_hash(const uint8_t *p, size_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; n; n--)
		h = (h ^ *p++) * UINT64_C(0x100000001b3);
	return h;
}

static void acked(struct sim *s, const struct sim_user *u, const struct sim_msg *m)
{
	struct sim_ack *a;

	if (!m->seq || m->life != s->n.restores)
		return; /* nothing was logged; or an answer from a future that a restore undid */
	if (s->ack_n == s->ack_cap) {
		s->ack_cap = s->ack_cap ? s->ack_cap * 2 : 64;
		s->ack = xrealloc(s->ack, s->ack_cap * sizeof *s->ack);
	}
	a = &s->ack[s->ack_n++];
	*a = (struct sim_ack){.seq = m->seq, .cmd = m->cmd, .id = m->id, .user = (uint32_t)(u - s->user)};
	a->hash = bytes_hash(u->body.data, u->body.len);
	(void)snprintf(a->tag, sizeof a->tag, "%s", u->tag);
}

void acks_forget(struct sim *s, uint64_t seq)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->ack_n; i++)
		if (s->ack[i].seq <= seq)
			s->ack[n++] = s->ack[i];
	s->ack_n = n;
}

static int key_cmp(const void *a, const void *b) { return memcmp(a, b, 20); }

/* Under one key a principal's command acts once. */
static void keys_once(struct sim *s)
{
	static const uint8_t none[16];
	const struct sim_store *st = &s->d.store;
	uint8_t(*keys)[20] = xcalloc(st->log_n + 1, 20);
	uint32_t n = 0;

	for (uint32_t i = 0; i < st->log_n; i++) {
		if (!memcmp(st->log[i].key, none, 16) || st->log[i].type == CMD_LEASE_RENEW)
			continue; /* renewals count themselves: renew_seq */
		memcpy(keys[n], st->log[i].key, 16);
		memcpy(keys[n++] + 16, &st->log[i].principal, 4);
	}
	if (n)
		qsort(keys, n, 20, key_cmp);
	for (uint32_t i = 1; i < n; i++)
		if (!memcmp(keys[i - 1], keys[i], 20))
			sim_violation(s, "one idempotency key acted twice");
	free(keys);
}

static int tag_cmp(const void *a, const void *b) { return strcmp(a, b); }

static void tags_once(struct sim *s)
{
	const struct core *c = s->d.core;
	char(*tags)[NAME_BYTES] = xcalloc((size_t)s->d.store.table[RECORD_JOB].n + s->d.store.table[RECORD_LEASE].n + 1,
					  NAME_BYTES);
	uint32_t n = 0;

	for (uint64_t id = 0; (id = core_next_id(c, RECORD_JOB, id)) != 0;)
		if (!core_job(c, id)->array)
			(void)snprintf(tags[n++], NAME_BYTES, "%s", core_job(c, id)->spec.name);
	s->n.jobs += n;
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_LEASE, id)) != 0; s->n.leases++) {
		(void)snprintf(tags[n++], NAME_BYTES, "%s", core_lease(c, id)->spec.name);
		if (core_renewal(c, id))
			s->n.renewals += core_renewal(c, id)->renewals;
	}
	if (n)
		qsort(tags, n, NAME_BYTES, tag_cmp);
	for (uint32_t i = 1; i < n; i++)
		if (!strcmp(tags[i - 1], tags[i]))
			sim_violation(s, "one request acted twice: there are two of '%s'", tags[i]);
	free(tags);
}

void acks_check(struct sim *s)
{
	const struct sim_store *st = &s->d.store;

	for (uint32_t i = 0; i < s->ack_n && !s->failed; i++) {
		const struct sim_ack *a = &s->ack[i];
		const struct sim_log *r = a->seq <= st->log_n ? &st->log[a->seq - 1] : NULL;
		const struct job *j = core_job(s->d.core, a->id);
		const struct lease *l = core_lease(s->d.core, a->id);

		if (!r || r->seq != a->seq || r->type != a->cmd || bytes_hash(r->body, r->body_len) != a->hash)
			sim_violation(s, "acknowledged and lost: %s of %s (seq %" PRIu64 ")", command_name(a->cmd),
				      s->user[a->user].name, a->seq);
		else if (a->cmd == CMD_JOB_SUBMIT && (!j || strcmp(j->spec.name, a->tag) != 0))
			sim_violation(s, "acknowledged and lost: job %" PRIu64 " ('%s')", a->id, a->tag);
		else if (a->cmd == CMD_LEASE_REQUEST && (!l || strcmp(l->spec.name, a->tag) != 0))
			sim_violation(s, "acknowledged and lost: lease %" PRIu64 " ('%s')", a->id, a->tag);
	}
	if (!s->failed)
		keys_once(s);
	if (!s->failed)
		tags_once(s);
}

/* ---- turns --------------------------------------------------------------------------------------------------------------- */

void user_wake(struct sim *s, uint16_t at)
{
	struct sim_user *u = &s->user[at];
	int64_t next = T_NEVER;

	if (u->cmd && s->now_ms >= u->retry_ms) {
		if (u->tries > TRIES_MAX)
			u->cmd = 0; /* it will never know */
		else
			command_send(s, u);
	}
	if (!u->cmd && s->now_ms >= u->next_ms && (!s->healed || u->kind == USER_ADMIN)) {
		u->next_ms = s->now_ms + sim_span(s, 100, s->healed ? 20000 : s->k.think_max_ms);
		if (u->kind == USER_ADMIN)
			admin(s, u);
		else if (u->kind == USER_RESEARCHER)
			researcher(s, u);
		else
			provider(s, u);
	}
	for (int i = 0; i < SIM_HOLDERS_MAX; i++)
		if (u->holder[i].lease) {
			int64_t then = holder_turn(s, u, &u->holder[i]);

			next = then < next ? then : next;
		}
	if (u->cmd && u->retry_ms < next)
		next = u->retry_ms;
	if (!u->cmd && (!s->healed || u->kind == USER_ADMIN) && u->next_ms < next)
		next = u->next_ms;
	sim_wake(s, (uint16_t)(SIM_MACHINES_MAX + at), next);
}

static void lease_made(struct sim *s, struct sim_user *u, uint64_t id)
{
	for (int i = 0; i < SIM_HOLDERS_MAX; i++) {
		struct sim_holder *h = &u->holder[i];
		struct cmd_lease_request b;
		struct arena arena = {0};
		struct err err;

		if (h->lease)
			continue;
		ENSURE(!schema_decode(schema_of_command(CMD_LEASE_REQUEST), u->body.data, u->body.len, &b, &arena, &err));
		*h = (struct sim_holder){.lease = id, .firm = b.spec.klass == LEASE_FIRM};
		arena_done(&arena);
		h->boot_base_ms = sim_span(s, 0, MS_PER_DAY);
		h->rate_ppm = sim_span(s, -(int64_t)s->k.clock_ppm, s->k.clock_ppm);
		holder_init(&h->h, id, 0, 0, prng_next(&s->rng));
		return;
	}
}

void user_receive(struct sim *s, struct sim_msg *m)
{
	struct sim_user *u = &s->user[m->link - SIM_MACHINES_MAX];

	if (m->type == M_LOOKED || m->cmd == CMD_LEASE_RENEW) {
		for (int i = 0; i < SIM_HOLDERS_MAX; i++) {
			struct sim_holder *h = &u->holder[i];

			if (!h->lease || h->stall_until_ms > s->now_ms)
				continue;
			if (m->type == M_LOOKED && m->id == h->lease)
				holder_looked(&h->h, holder_boot(s, h), m->fence, m->renew_seq);
			else if (m->type == M_REPLY && m->renewals_n && m->renewal[0].lease == h->lease)
				holder_reply(&h->h, holder_boot(s, h), holder_wall(s, h), m->renew_seq, &m->renewal[0]);
		}
	} else if (u->cmd && m->req == u->req) {
		if (!m->code) {
			acked(s, u, m);
			if (m->cmd == CMD_JOB_SUBMIT)
				u->recent[u->recent_n < SIM_RECENT_MAX ? u->recent_n++ : sim_below(s, SIM_RECENT_MAX)] =
					m->id;
			else if (m->cmd == CMD_LEASE_REQUEST)
				lease_made(s, u, m->id);
			else if (m->cmd == CMD_NODE_DECLARE_DEAD)
				for (uint32_t i = 0; i < s->k.machines; i++)
					if (!strcmp(s->machine[i].name, u->tag))
						s->machine[i].dead_wanted = false;
		}
		u->cmd = 0;
	}
	sim_wake(s, m->link, s->now_ms);
}

void user_free(struct sim *s, uint16_t at) { buf_done(&s->user[at].body); }
