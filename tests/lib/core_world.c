/* core_world.c - see core_world.h */
#include "tests/lib/core_world.h"

#include "daemon/core/state.h"
#include "proto/base/prng.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A test that cannot go on: say where and stop the program. */
static _Noreturn void stop(const struct core_world *w, const char *what)
{
	fprintf(stderr, "core_world: %s at t=%" PRId64 ", step %" PRIu64 ": %s\n", what, w->t, w->steps,
		w->err.msg);
	abort();
}

/* ---- commands -------------------------------------------------------------------------------- */

struct command cw_cmd(const struct core_world *w, struct cw_who who, uint16_t type)
{
	struct command cmd;

	(void)w;
	memset(&cmd, 0, sizeof cmd);
	cmd.type = type;
	cmd.via = who.via;
	cmd.principal = who.principal;
	cmd.cred = who.cred;
	return cmd;
}

int cw_do(struct core_world *w, const struct command *cmd)
{
	int rc;

	memset(&w->err, 0, sizeof w->err);
	w->steps++;
	rc = core_decide(w->core, w->t, cmd, &w->d, &w->err);
	if (rc) {
		if (w->d.facts_n)
			stop(w, "a refused command made facts");
		return rc;
	}
	if (cmd->dry_run)
		return 0;
	for (uint32_t i = 0; i < w->d.facts_n; i++)
		core_apply(w->core, &w->d.facts[i]);
	if ((!w->check_each || w->steps % w->check_each == 0) && core_check(w->core, &w->err))
		stop(w, "an invariant does not hold");
	return 0;
}

static void must(struct core_world *w, const struct command *cmd)
{
	if (cw_do(w, cmd))
		stop(w, "a command of the fixture was refused");
}

static struct command internal(uint16_t type)
{
	struct command cmd;

	memset(&cmd, 0, sizeof cmd);
	cmd.type = type;
	cmd.via = VIA_INTERNAL;
	return cmd;
}

void cw_tick(struct core_world *w)
{
	for (int n = 0;; n++) {
		struct command cmd = internal(CMD_TICK);

		must(w, &cmd);
		/* a look that had enough goes on: here at the same instant */
		if (!w->d.facts_n && !sched_paused(w->core))
			return;
		if (n > 20000)
			stop(w, "ticks do not end");
	}
}

/* ---- making the cluster ---------------------------------------------------------------------- */

static void key_make(struct core_world *w, uint8_t key[32])
{
	memset(key, 0, 32);
	key[0] = ++w->key_next;
}

static struct cw_who enrol(struct core_world *w, const char *name, uint8_t role, const char *provider)
{
	struct command tok = cw_cmd(w, w->admin, CMD_TOKEN_CREATE), en = internal(CMD_ENROL);

	key_make(w, tok.token_create.hash);
	tok.token_create.role = role;
	tok.token_create.uses = 1;
	tok.token_create.ttl_ms = MS_PER_DAY;
	(void)snprintf(tok.token_create.name, NAME_BYTES, "%s", name);
	(void)snprintf(tok.token_create.provider, NAME_BYTES, "%s", provider);
	must(w, &tok);
	en.via = VIA_ENROL;
	memcpy(en.enrol.token_hash, tok.token_create.hash, 32);
	key_make(w, en.enrol.key);
	(void)snprintf(en.enrol.name, NAME_BYTES, "%s", name);
	must(w, &en);
	return (struct cw_who){(uint32_t)w->d.result.version, w->d.result.id,
			       role == ROLE_NODE ? VIA_AGENTS : VIA_USERS};
}

static void qnode(struct core_world *w, enum cw_q q, enum cw_q parent, uint8_t kind, const char *name)
{
	struct qnode *n = &w->qnode[q];

	n->parent = q == CW_ROOT ? 0 : parent + 1u;
	n->kind = kind;
	n->weight = 1;
	n->quotas = w->quota[q];
	n->members = w->member[q];
	n->stages = w->stage[q];
	(void)snprintf(n->name, NAME_BYTES, "%s", name);
}

void cw_quota(struct core_world *w, uint32_t q, uint16_t flavor, uint8_t shape, int64_t nominal, int64_t borrowing,
	      int64_t lending)
{
	struct qnode *n = &w->qnode[q];
	struct quota *u = NULL;

	for (uint32_t i = 0; i < n->quotas_n; i++)
		if (n->quotas[i].flavor == flavor + 1 && n->quotas[i].shape == shape)
			u = &n->quotas[i];
	if (!u)
		u = &w->quota[q][n->quotas_n++];
	memset(u, 0, sizeof *u);
	u->flavor = (uint16_t)(flavor + 1);
	u->shape = shape;
	u->nominal = nominal;
	u->borrowing = borrowing;
	u->lending = lending;
}

void cw_stage(struct core_world *w, uint32_t q, const char *name, uint8_t state, int64_t gpu_hours)
{
	struct stage *s = &w->stage[q][w->qnode[q].stages_n++];

	memset(s, 0, sizeof *s);
	(void)snprintf(s->name, sizeof s->name, "%s", name);
	s->state = state;
	s->amount_rums = gpu_hours * MS_PER_HOUR;
}

static void division_default(struct core_world *w, uint32_t nodes)
{
	static const enum cw_q leaf[] = {CW_LUNG, CW_HEART, CW_ACME, CW_BETA};
	struct flavor *f = &w->flavor[0];

	(void)snprintf(f->name, sizeof f->name, "h100");
	(void)snprintf(f->vendor, sizeof f->vendor, "nvidia");
	(void)snprintf(f->model, sizeof f->model, "NVIDIA H100*");
	f->weight_milli = 1000;
	f->devices_per_node = CW_GPUS;
	f->committed_nodes = nodes;
	qnode(w, CW_ROOT, CW_ROOT, QNODE_ROOT, "root");
	qnode(w, CW_PUBLIC, CW_ROOT, QNODE_PUBLIC, "public");
	qnode(w, CW_HEALTH, CW_PUBLIC, QNODE_SECTOR, "health");
	qnode(w, CW_CANCER, CW_HEALTH, QNODE_CHALLENGE, "cancer");
	qnode(w, CW_LUNG, CW_CANCER, QNODE_PROJECT, "lung");
	qnode(w, CW_HEART, CW_CANCER, QNODE_PROJECT, "heart");
	qnode(w, CW_PRIVATE, CW_ROOT, QNODE_PRIVATE, "private");
	qnode(w, CW_SME, CW_PRIVATE, QNODE_CLASS, "sme");
	qnode(w, CW_ACME, CW_SME, QNODE_PROVIDER, "acme");
	qnode(w, CW_BETA, CW_SME, QNODE_PROVIDER, "beta");
	for (size_t i = 0; i < ARRAY_LEN(leaf); i++)
		cw_quota(w, leaf[i], 0, SHAPE_GPU, CW_GPUS * (int64_t)nodes / 4, QTY_UNLIMITED, QTY_UNLIMITED);
	(void)snprintf(w->qnode[CW_LUNG].pi, NAME_BYTES, "paula");
	(void)snprintf(w->member[CW_LUNG][0].name, NAME_BYTES, "alice");
	(void)snprintf(w->member[CW_HEART][0].name, NAME_BYTES, "bob");
	w->qnode[CW_LUNG].members_n = w->qnode[CW_HEART].members_n = 1;
	w->div.flavors = w->flavor;
	w->div.flavors_n = 1;
	w->div.qnodes = w->qnode;
	w->div.qnodes_n = CW_QNODES;
}

void cw_open(struct core_world *w, uint32_t nodes)
{
	struct command init = internal(CMD_INIT);
	struct uid_ref uid = {1000};
	struct cluster *s = &init.init.settings;

	/* core_check() takes large blocks after every step: kept, not fetched from the kernel again each time */
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
	memset(w, 0, sizeof *w);
	w->core = core_new();
	w->t = 1800000000000; /* 2027 */
	(void)snprintf(s->name, sizeof s->name, "test");
	s->lease_ttl_ms = 15 * MS_PER_MIN;
	s->lease_grace_ms = 15 * MS_PER_MIN;
	s->lease_term_ms = 30 * MS_PER_DAY;
	s->lease_offer_ms = 10 * MS_PER_MIN;
	s->rejoin_grace_ms = 5 * MS_PER_MIN;
	s->bind_timeout_ms = MS_PER_MIN;
	s->lost_after_ms = 30 * MS_PER_MIN;
	s->notice_ms = 2 * MS_PER_MIN;
	s->kill_margin_ms = 10 * MS_PER_S;
	s->job_time_ms = MS_PER_HOUR;
	s->cooldown_ms = MS_PER_MIN;
	s->age_guard_ms = 4 * MS_PER_HOUR;
	s->renewals_per_s = 100;
	s->loan_rate_ppm = 500000;
	s->urgent_rate_ppm = 2000000;
	init.init.uids = &uid;
	init.init.uids_n = 1;
	must(w, &init);
	w->admin = (struct cw_who){core_cred_of_uid(w->core, 1000)->principal, core_cred_of_uid(w->core, 1000)->id,
				   VIA_LOCAL};
	w->paula = enrol(w, "paula", ROLE_MEMBER, "");
	w->alice = enrol(w, "alice", ROLE_MEMBER, "");
	w->bob = enrol(w, "bob", ROLE_MEMBER, "");
	w->acme = enrol(w, "acme-key", ROLE_PROVIDER, "acme");
	w->beta = enrol(w, "beta-key", ROLE_PROVIDER, "beta");
	w->operator= enrol(w, "oscar", ROLE_OPERATOR, "");
	w->gatekeeper = enrol(w, "gina", ROLE_GATEKEEPER, "");
	w->reviewer = enrol(w, "rita", ROLE_REVIEWER, "");
	w->auditor = enrol(w, "audrey", ROLE_AUDITOR, "");
	division_default(w, nodes);
	w->nodes_n = nodes;
	for (uint32_t i = 1; i <= nodes; i++) {
		struct cw_node *n = &w->node[i];
		char name[NAME_BYTES];

		(void)snprintf(name, sizeof name, "n%u", i);
		n->agent = enrol(w, name, ROLE_NODE, "");
		n->id = core_principal(w->core, n->agent.principal)->node;
		n->boot = n->topology = 1;
		n->incarnation = 1;
		n->gpus = CW_GPUS;
		(void)snprintf(n->model, sizeof n->model, "NVIDIA H100 80GB HBM3");
		(void)snprintf(n->leaf, sizeof n->leaf, "leaf%u", (i + 1) / 2);
	}
}

void cw_apply(struct core_world *w)
{
	struct command cmd = cw_cmd(w, w->admin, CMD_DIVISION_APPLY);

	cmd.division_apply = w->div;
	must(w, &cmd);
}

void cw_start(struct core_world *w)
{
	cw_open(w, 4);
	cw_apply(w);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		if (cw_hello(w, i))
			stop(w, "a node was refused");
	cw_tick(w);
}

void cw_close(struct core_world *w)
{
	core_free(w->core);
	decision_done(&w->d);
	w->core = NULL;
}

int cw_setup(void **state)
{
	struct core_world *w = xcalloc(1, sizeof *w);

	cw_start(w);
	*state = w;
	return 0;
}

int cw_teardown(void **state)
{
	struct core_world *w = *state;

	cw_close(w);
	free(w);
	return 0;
}

uint32_t cw_id(const struct core_world *w, const char *path)
{
	struct err err;
	uint32_t id;

	if (core_qnode_find(w->core, path, &id, &err))
		stop(w, path);
	return id;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

int cw_hello(struct core_world *w, uint32_t node)
{
	struct cw_node *n = &w->node[node];
	struct command cmd = cw_cmd(w, n->agent, CMD_NODE_HELLO);
	struct cmd_node_hello *h = &cmd.node_hello;
	struct device dev[DEVICES_PER_NODE_MAX];
	struct label label[2];

	memset(dev, 0, sizeof dev);
	memset(label, 0, sizeof label);
	(void)snprintf(label[0].key, LABEL_BYTES, "leaf");
	(void)snprintf(label[0].value, LABEL_BYTES, "%s", n->leaf);
	(void)snprintf(label[1].key, LABEL_BYTES, "jurisdiction");
	(void)snprintf(label[1].value, LABEL_BYTES, "%s", node == 4 ? "US" : "EU");
	h->node = n->id;
	(void)snprintf(h->boot_id, sizeof h->boot_id, "boot-%u-%u", node, n->boot);
	(void)snprintf(h->address, sizeof h->address, "10.0.0.%u", node);
	h->incarnation = n->incarnation;
	h->digest[0] = n->topology;
	h->cores_n = CW_CORES;
	h->memory_mib = 1024 * 1024;
	h->labels = label;
	h->labels_n = 2;
	h->devices = dev;
	h->devices_n = n->gpus;
	for (uint32_t i = 0; i < n->gpus; i++) {
		(void)snprintf(dev[i].pci, sizeof dev[i].pci, "0000:%02x:00.0", (i + 1) & 0xffu);
		(void)snprintf(dev[i].uuid, sizeof dev[i].uuid, "GPU-%u-%u", node, i);
		(void)snprintf(dev[i].vendor, sizeof dev[i].vendor, "nvidia");
		(void)snprintf(dev[i].model, sizeof dev[i].model, "%s", n->model);
		dev[i].memory_mib = 81920;
		dev[i].numa = (uint16_t)(i / 4);
		for (uint32_t k = 0; k < CW_CORES / 2; k++)
			dev[i].cores[0] |= UINT64_C(1) << (i / 4 * CW_CORES / 2 + k);
	}
	return cw_do(w, &cmd);
}

int cw_report(struct core_world *w, uint32_t node, uint64_t alloc, uint16_t part, uint8_t state, int32_t code)
{
	struct command cmd = cw_cmd(w, w->node[node].agent, CMD_NODE_REPORT);
	struct unit_status row;

	memset(&row, 0, sizeof row);
	row.alloc = alloc;
	row.part = part;
	row.state = state;
	row.exit_code = code;
	row.checkpoint_ago_ms = -1;
	row.healthy = state == UNIT_RUNNING;
	row.port = state == UNIT_PREPARED ? (uint16_t)(20000 + alloc % 1000) : 0;
	if (state == UNIT_FAILED)
		(void)snprintf(row.text, sizeof row.text, "no such directory");
	cmd.node_report.node = w->node[node].id;
	cmd.node_report.incarnation = w->node[node].incarnation;
	cmd.node_report.units = &row;
	cmd.node_report.units_n = 1;
	return cw_do(w, &cmd);
}

void cw_reboot(struct core_world *w, uint32_t node)
{
	w->node[node].boot++;
	w->node[node].incarnation = 1;
	w->node[node].units_n = 0;
	w->node[node].manner = CW_OBEY;
	if (cw_hello(w, node))
		stop(w, "a rebooted node was refused");
}

int cw_liveness(struct core_world *w, uint32_t node, uint8_t state)
{
	struct command cmd = internal(CMD_NODE_LIVENESS);

	cmd.node_liveness.node = w->node[node].id;
	cmd.node_liveness.state = state;
	return cw_do(w, &cmd);
}

int cw_admin_node(struct core_world *w, uint16_t type, uint32_t node, const char *reason)
{
	struct command cmd = cw_cmd(w, w->admin, type);

	(void)snprintf(cmd.node_admin.node, NAME_BYTES, "n%u", node);
	(void)snprintf(cmd.node_admin.reason, TEXT_BYTES, "%s", reason);
	(void)snprintf(cmd.node_admin.boot_id, sizeof cmd.node_admin.boot_id, "boot-%u-%u", node, w->node[node].boot);
	return cw_do(w, &cmd);
}

static struct cw_unit *unit_get(struct cw_node *n, uint64_t alloc, uint16_t part)
{
	struct cw_unit *u;

	for (uint32_t i = 0; i < n->units_n; i++)
		if (n->unit[i].alloc == alloc && n->unit[i].part == part)
			return &n->unit[i];
	ENSURE(n->units_n < CW_UNITS_MAX);
	u = &n->unit[n->units_n++];
	memset(u, 0, sizeof *u);
	u->alloc = alloc;
	u->part = part;
	return u;
}

const struct cw_unit *cw_unit(const struct core_world *w, uint32_t node, uint64_t alloc)
{
	for (uint32_t i = 0; i < w->node[node].units_n; i++)
		if (w->node[node].unit[i].alloc == alloc)
			return &w->node[node].unit[i];
	return NULL;
}

/* What this agent says next about one unit; UNIT_ABSENT: nothing new. */
static uint8_t unit_step(const struct cw_node *n, struct cw_unit *u, uint8_t phase)
{
	switch ((enum unit_phase)phase) {
	case UNIT_PREPARE:
		if (n->manner == CW_NACK)
			return u->state == UNIT_FAILED ? UNIT_ABSENT : UNIT_FAILED;
		return u->state == UNIT_ABSENT ? UNIT_PREPARED : UNIT_ABSENT;
	case UNIT_RUN:
		if (u->state == UNIT_EXITED)
			return UNIT_ABSENT;
		if (u->exits && u->state == UNIT_RUNNING)
			return UNIT_EXITED;
		return u->state == UNIT_RUNNING ? UNIT_ABSENT : UNIT_RUNNING;
	case UNIT_STOP:
		if (u->state == UNIT_RUNNING && (u->exits || n->manner != CW_STUBBORN)) {
			if (!u->exits)
				u->code = 143;
			return UNIT_EXITED;
		}
		return n->manner == CW_STUBBORN || u->state == UNIT_RELEASED ? UNIT_ABSENT : UNIT_RELEASED;
	}
	return UNIT_ABSENT;
}

bool cw_agents(struct core_world *w)
{
	bool said = false;

	for (uint32_t i = 1; i <= w->nodes_n; i++) {
		struct cw_node *n = &w->node[i];
		struct arena arena = {0};
		struct unit *units;
		uint32_t n_units;

		if (n->manner == CW_MUTE || !core_node(w->core, n->id))
			continue;
		core_units_of_node(w->core, w->t, n->id, &arena, &units, &n_units);
		for (uint32_t k = 0; k < n_units; k++) {
			struct cw_unit *u = unit_get(n, units[k].alloc, units[k].part);
			uint8_t next = unit_step(n, u, units[k].phase);

			if (next == UNIT_ABSENT)
				continue;
			u->state = next;
			if (cw_report(w, i, u->alloc, u->part, next, next == UNIT_EXITED ? u->code : 0))
				stop(w, "an agent's report was refused");
			said = true;
		}
		for (uint32_t k = 0; k < n->units_n;) { /* the daemon does not name it any more: forget it */
			if (n->unit[k].state == UNIT_RELEASED)
				n->unit[k] = n->unit[--n->units_n];
			else
				k++;
		}
		arena_done(&arena);
	}
	return said;
}

void cw_settle(struct core_world *w)
{
	for (int n = 0; n < 1000; n++) {
		cw_tick(w);
		if (!cw_agents(w))
			return;
	}
	stop(w, "the agents do not come to rest");
}

void cw_advance(struct core_world *w, int64_t ms)
{
	int64_t end = w->t + ms;

	cw_settle(w);
	for (;;) {
		int64_t next = core_next_tick(w->core, w->t);

		if (next > end)
			break;
		if (next < w->t)
			stop(w, "a tick in the past");
		w->t = next;
		cw_settle(w);
		if (core_next_tick(w->core, w->t) == w->t) { /* held back until later (safe mode): move on */
			if (w->t == end)
				break;
			w->t++;
		}
	}
	w->t = end;
	cw_settle(w);
}

void cw_exit(struct core_world *w, uint64_t job, int32_t code)
{
	const struct job *j = core_job(w->core, job);

	for (uint32_t i = 1; i <= w->nodes_n; i++)
		for (uint32_t k = 0; k < w->node[i].units_n; k++)
			if (w->node[i].unit[k].alloc == j->alloc) {
				w->node[i].unit[k].exits = true;
				w->node[i].unit[k].code = code;
			}
	cw_settle(w);
}

/* ---- restart --------------------------------------------------------------------------------- */

void cw_reload(struct core_world *w, int64_t down_ms)
{
	struct command cmd = internal(CMD_RECOVER);
	struct core *again = core_new(), *old = w->core;
	uint64_t before = cw_digest(w);

	for (uint8_t kind = 1; kind < RECORD_KINDS; kind++)
		for (uint64_t id = 0; (id = core_next_id(old, kind, id)) != 0;) {
			struct fact f = {.kind = kind, .id = id, .any = core_record(old, kind, id)};

			core_apply(again, &f);
		}
	core_free(old);
	w->core = again;
	if (core_check(again, &w->err))
		stop(w, "an invariant does not hold after a restart");
	if (cw_digest(w) != before)
		stop(w, "a restart changed the records");
	cmd.recover.down_ms = down_ms;
	must(w, &cmd);
}

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * UINT64_C(0x100000001b3);
	return h;
}

uint64_t cw_digest(const struct core_world *w)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	/* the fields a decision depends on; pointers are left out by naming what is compared */
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_ALLOC, id)) != 0;) {
		const struct alloc *a = core_alloc(w->core, id);

		h = mix(h, &a->id, sizeof a->id);
		h = mix(h, &a->state, sizeof a->state);
		h = mix(h, &a->klass, sizeof a->klass);
		h = mix(h, &a->stop_at_ms, sizeof a->stop_at_ms);
		h = mix(h, &a->charged_until_ms, sizeof a->charged_until_ms);
		for (uint32_t i = 0; i < a->parts_n; i++) {
			h = mix(h, &a->parts[i].node, sizeof a->parts[i].node);
			h = mix(h, &a->parts[i].devices, sizeof a->parts[i].devices);
			h = mix(h, a->parts[i].cores, sizeof a->parts[i].cores);
			h = mix(h, &a->parts[i].state, sizeof a->parts[i].state);
		}
	}
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_JOB, id)) != 0;) {
		const struct job *j = core_job(w->core, id);

		h = mix(h, &j->id, sizeof j->id);
		h = mix(h, &j->state, sizeof j->state);
		h = mix(h, &j->alloc, sizeof j->alloc);
		h = mix(h, &j->claim, sizeof j->claim);
		h = mix(h, &j->attempt, sizeof j->attempt);
		h = mix(h, &j->eligible_ms, sizeof j->eligible_ms);
		h = mix(h, &j->held_rums, sizeof j->held_rums);
	}
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_LEASE, id)) != 0;) {
		const struct lease *l = core_lease(w->core, id);
		const struct renewal *r = core_renewal(w->core, id);

		h = mix(h, &l->id, sizeof l->id);
		h = mix(h, &l->state, sizeof l->state);
		h = mix(h, &l->fence, sizeof l->fence);
		h = mix(h, &l->term_end_ms, sizeof l->term_end_ms);
		if (r)
			h = mix(h, &r->expires_live_ms, sizeof r->expires_live_ms);
		if (r)
			h = mix(h, &r->told_ms, sizeof r->told_ms);
	}
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_CLAIM, id)) != 0;) {
		const struct claim *m = core_claim(w->core, id);

		h = mix(h, &m->id, sizeof m->id);
		h = mix(h, &m->deadline_ms, sizeof m->deadline_ms);
		for (uint32_t i = 0; i < m->parts_n; i++)
			h = mix(h, &m->parts[i].devices, sizeof m->parts[i].devices);
	}
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_RESERVATION, id)) != 0;) {
		const struct reservation *r = core_record(w->core, RECORD_RESERVATION, id);

		h = mix(h, &r->id, sizeof r->id);
		h = mix(h, &r->state, sizeof r->state);
		h = mix(h, &r->degraded, sizeof r->degraded);
		for (uint32_t i = 0; i < r->spec.windows_n; i++)
			h = mix(h, &r->spec.windows[i], sizeof r->spec.windows[i]);
		for (uint32_t i = 0; i < r->parts_n; i++) {
			h = mix(h, &r->parts[i].node, sizeof r->parts[i].node);
			h = mix(h, &r->parts[i].devices, sizeof r->parts[i].devices);
		}
	}
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_QNODE, id)) != 0;) {
		const struct qnode *q = core_qnode(w->core, (uint32_t)id);

		h = mix(h, &q->id, sizeof q->id);
		h = mix(h, &q->windows_open, sizeof q->windows_open);
		for (uint32_t i = 0; i < q->stages_n; i++) {
			h = mix(h, &q->stages[i].held_rums, sizeof q->stages[i].held_rums);
			h = mix(h, &q->stages[i].spent_rums, sizeof q->stages[i].spent_rums);
		}
	}
	return h;
}

/* ---- jobs and leases ------------------------------------------------------------------------- */

struct command cw_submit_cmd(const struct core_world *w, struct cw_who who, const char *project, uint32_t units,
			     int64_t limit_ms)
{
	struct command cmd = cw_cmd(w, who, CMD_JOB_SUBMIT);
	struct job_spec *s = &cmd.job_submit.spec;

	(void)snprintf(cmd.job_submit.project, TEXT_BYTES, "%s", project);
	(void)snprintf(cmd.job_submit.flavor, FLAVOR_NAME_BYTES, "h100");
	s->shape = SHAPE_GPU;
	s->klass = JOB_NORMAL;
	s->mode = JOB_COMMAND;
	s->units = units;
	s->time_limit_ms = limit_ms;
	s->notice_ms = 2 * MS_PER_MIN;
	s->retries_infra = 3;
	(void)snprintf(s->name, sizeof s->name, "train");
	return cmd;
}

uint64_t cw_submit(struct core_world *w, struct cw_who who, const char *project, uint32_t units, int64_t limit_ms)
{
	struct command cmd = cw_submit_cmd(w, who, project, units, limit_ms);

	must(w, &cmd);
	return w->d.result.id;
}

int cw_job(struct core_world *w, struct cw_who who, uint16_t type, uint64_t job)
{
	struct command cmd = cw_cmd(w, who, type);

	cmd.job_control.job = job;
	return cw_do(w, &cmd);
}

uint8_t cw_job_state(const struct core_world *w, uint64_t job) { return core_job(w->core, job)->state; }

int cw_reason(const struct core_world *w, uint64_t job)
{
	struct query q = {.type = QUERY_EXPLAIN, .id = job};
	struct view_explain v;
	struct arena arena = {0};
	struct err err;
	int code;

	if (core_view(w->core, w->t, w->admin.principal, &q, &v, &arena, &err))
		stop(w, err.msg);
	code = v.jobs->reason;
	arena_done(&arena);
	return code;
}

struct command cw_lease_cmd(const struct core_world *w, struct cw_who who, const char *provider, uint32_t units,
			    uint8_t klass)
{
	struct command cmd = cw_cmd(w, who, CMD_LEASE_REQUEST);

	(void)snprintf(cmd.lease_request.provider, NAME_BYTES, "%s", provider);
	(void)snprintf(cmd.lease_request.flavor, FLAVOR_NAME_BYTES, "h100");
	cmd.lease_request.spec.shape = SHAPE_GPU;
	cmd.lease_request.spec.klass = klass;
	cmd.lease_request.spec.units = units;
	cmd.lease_request.spec.auto_accept = true;
	(void)snprintf(cmd.lease_request.spec.name, NAME_BYTES, "chat");
	return cmd;
}

uint64_t cw_lease(struct core_world *w, struct cw_who who, const char *provider, uint32_t units, uint8_t klass)
{
	struct command cmd = cw_lease_cmd(w, who, provider, units, klass);

	must(w, &cmd);
	return w->d.result.id;
}

int cw_lease_op(struct core_world *w, struct cw_who who, uint16_t type, uint64_t lease)
{
	struct command cmd = cw_cmd(w, who, type);

	if (type == CMD_LEASE_REVOKE)
		cmd.lease_revoke.lease = lease;
	else
		cmd.object.id = lease;
	return cw_do(w, &cmd);
}

int cw_resize(struct core_world *w, struct cw_who who, uint64_t lease, uint32_t units)
{
	struct command cmd = cw_cmd(w, who, CMD_LEASE_RESIZE);

	cmd.lease_resize.lease = lease;
	cmd.lease_resize.units = units;
	return cw_do(w, &cmd);
}

uint8_t cw_lease_state(const struct core_world *w, uint64_t lease) { return core_lease(w->core, lease)->state; }

struct renew_result cw_renew(struct core_world *w, struct cw_who who, uint64_t lease, uint64_t seq)
{
	struct command cmd = cw_cmd(w, who, CMD_LEASE_RENEW);
	struct lease_renew_item item = {.lease = lease, .renew_seq = seq};

	item.fence = core_lease(w->core, lease) ? core_lease(w->core, lease)->fence : 0;
	cmd.lease_renew.items = &item;
	cmd.lease_renew.items_n = 1;
	must(w, &cmd);
	return w->d.result.renewals[0];
}

/* ---- sums ------------------------------------------------------------------------------------ */

uint32_t cw_held(const struct core_world *w, uint8_t owner_kind, uint64_t owner)
{
	uint32_t n = 0;

	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_ALLOC, id)) != 0;) {
		const struct alloc *a = core_alloc(w->core, id);

		for (uint32_t i = 0; a->owner_kind == owner_kind && a->owner == owner && i < a->parts_n; i++)
			n += a->parts[i].units;
	}
	return n;
}

static uint32_t count(const struct core_world *w, uint8_t kind)
{
	uint32_t n = 0;

	for (uint64_t id = 0; (id = core_next_id(w->core, kind, id)) != 0;)
		n++;
	return n;
}

uint32_t cw_claims(const struct core_world *w) { return count(w, RECORD_CLAIM); }
uint32_t cw_allocs(const struct core_world *w) { return count(w, RECORD_ALLOC); }

const struct claim *cw_claim_of(const struct core_world *w, uint8_t owner_kind, uint64_t owner)
{
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_CLAIM, id)) != 0;)
		if (core_claim(w->core, id)->owner_kind == owner_kind && core_claim(w->core, id)->owner == owner)
			return core_claim(w->core, id);
	return NULL;
}

const struct alloc *cw_alloc_of(const struct core_world *w, uint8_t owner_kind, uint64_t owner)
{
	const struct alloc *newest = NULL;

	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_ALLOC, id)) != 0;)
		if (core_alloc(w->core, id)->owner_kind == owner_kind && core_alloc(w->core, id)->owner == owner)
			newest = core_alloc(w->core, id);
	return newest;
}
