/* divide_core.c - the core of sluisd plays a divided pool, with agents that obey
 *
 * Everything happens through commands, as in sluisd: CMD_INIT, a division, nodes that enrol and greet,
 * submissions, requests, resizes and batched renewals of leases, reports of agents, and ticks until the
 * core has nothing left to decide. Time is a number. No decision is taken here but the agents' and
 * holders': an agent has a unit prepared, and proves devices free, DIVIDE_AGENT_MS after it is told to; a
 * provider leaves devices it gives back DRAIN_MS after that.
 *
 * Users of the trace are members; a job without one is submitted by the admin.
 *
 * Division: root ─ public (all of the public part) ─ training ─ one project per tenant of the trace
 *                └ private (all of the private part) ─ serving ─ one provider per curve of the demand
 * The parts belong to the two sides as wholes, so that providers share one contract as their peaks do not
 * coincide, and projects share the public part by fair share.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/core.h"
#include "daemon/sim/divide.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

static const int64_t ZERO_MS = INT64_C(1700000000000); /* the begin of the window on the core's clock */
static const int64_t DRAIN_MS = 10 * MS_PER_S;
static const int64_t AGAIN_MS = 30 * MS_PER_S; /* a refused holder asks again */
enum { CORES = 64, NODES_PER_LEAF = 16, TOKEN_USES = 10000 /* the most that one has */ };

enum { EVENT_PREPARED = 0, EVENT_ENDS, EVENT_LEAVES, EVENT_PARTS_LEAVE, EVENT_CHECKPOINT, EVENT_RENEW, EVENT_AGAIN,
       EVENT_CHECK };

/* What the agents and this program know of an allocation. */
struct held {
	uint64_t owner;
	uint32_t job;      /* index in the trace */
	uint32_t provider;
	uint32_t units;    /* counted in `use` or in the provider's */
	int64_t start_ms, told_ms, leaves_ms; /* of this window; -1 not yet */
	uint8_t kind;      /* enum alloc_owner */
	uint8_t klass;
	bool known, gone, preparing, running, parts_leaving, dirty;
	uint64_t on_nodes; /* bit per node below DIVIDE_SPAN_NODES whose lanes it has */
};

/* A device of the first nodes, for the picture of who had it when. */
struct lane { uint64_t alloc; int64_t since_ms; uint8_t kind; };


struct sim {
	struct divide_book *book;
	const struct divide_setup *in;
	struct divide_run *out;
	struct core *core;
	struct decision d;
	struct err *err;
	int rc; /* first failure */
	int64_t now_ms;
	uint32_t admin;
	uint32_t *user; /* principals, from 1 */
	struct divide_heap events;
	struct divide_use use;
	struct held *held; /* by allocation id */
	size_t held_cap;
	uint64_t *dirty; /* allocations that facts touched */
	size_t dirty_n, dirty_cap;
	uint64_t *job_id;   /* of the trace's jobs; ascending */
	uint32_t submitted;
	uint64_t *lease;    /* by provider; 0: none */
	uint64_t renew_seq;
	uint32_t first_node;
	struct lane *lanes; /* [DIVIDE_SPAN_NODES][per_node] */
	size_t ended;
	uint32_t running; /* jobs */
};

static int64_t clock_of(const struct sim *s) { return ZERO_MS + s->now_ms; }

/* ---- commands --------------------------------------------------------------------------------------------- */

static struct held *held_of(struct sim *s, uint64_t alloc)
{
	if (alloc >= s->held_cap) {
		size_t cap = s->held_cap ? s->held_cap : 4096;

		while (cap <= alloc)
			cap *= 2;
		s->held = xrealloc(s->held, cap * sizeof *s->held);
		memset(s->held + s->held_cap, 0, (cap - s->held_cap) * sizeof *s->held);
		s->held_cap = cap;
	}
	return &s->held[alloc];
}

static void touched(struct sim *s, uint64_t alloc)
{
	struct held *h = held_of(s, alloc);

	if (h->dirty)
		return;
	h->dirty = true;
	if (s->dirty_n == s->dirty_cap) {
		s->dirty_cap = s->dirty_cap ? 2 * s->dirty_cap : 256;
		s->dirty = xrealloc(s->dirty, s->dirty_cap * sizeof *s->dirty);
	}
	s->dirty[s->dirty_n++] = alloc;
}

/* Decide and apply; returns the core's answer. */
static int ask(struct sim *s, const struct command *cmd)
{
	int r = core_decide(s->core, clock_of(s), cmd, &s->d, s->err);

	s->out->commands++;
	if (s->in->tap)
		s->in->tap->decided(s->in->tap->arg, clock_of(s), cmd, r, &s->d);
	if (r)
		return r;
	for (uint32_t i = 0; i < s->d.facts_n; i++) {
		core_apply(s->core, &s->d.facts[i]);
		if (s->d.facts[i].kind == RECORD_ALLOC)
			touched(s, s->d.facts[i].id);
	}
	s->out->facts += s->d.facts_n;
	return 0;
}

/* A command that the core must not refuse. */
static void must(struct sim *s, const struct command *cmd)
{
	int r;

	if (s->rc)
		return;
	r = ask(s, cmd);
	if (r) {
		s->rc = r;
		(void)err_prefix(s->err, "the core refused '%s' at %" PRId64 " s", command_name(cmd->type),
				 s->now_ms / MS_PER_S);
	}
}

static struct command of_admin(const struct sim *s, uint16_t type)
{
	return (struct command){.type = type, .via = VIA_LOCAL, .principal = s->admin};
}

/* ---- the cluster -------------------------------------------------------------------------------------------- */

static void init(struct sim *s)
{
	struct uid_ref uid = {0};
	struct command cmd = {.type = CMD_INIT};

	cmd.init.settings = (struct cluster){
		.name = "sim", .lease_ttl_ms = s->in->ttl_ms, .lease_grace_ms = s->in->ttl_ms,
		.lease_term_ms = 30 * MS_PER_DAY, .lease_offer_ms = 10 * MS_PER_MIN, .rejoin_grace_ms = 5 * MS_PER_MIN,
		.bind_timeout_ms = MS_PER_MIN, .lost_after_ms = 30 * MS_PER_MIN, .notice_ms = s->in->notice_ms,
		.kill_margin_ms = 10 * MS_PER_S, .job_time_ms = MS_PER_HOUR, .cooldown_ms = MS_PER_MIN,
		.age_guard_ms = s->in->age_guard_ms ? s->in->age_guard_ms : 2 * MS_PER_DAY, .renewals_per_s = 1000, .loan_rate_ppm = 500000,
		.urgent_rate_ppm = 2000000,
	};
	cmd.init.uids = &uid;
	cmd.init.uids_n = 1;
	must(s, &cmd);
	if (!s->rc)
		s->admin = core_cred_of_uid(s->core, 0)->principal;
}

static void user_name(char out[NAME_BYTES], uint32_t user)
{
	(void)snprintf(out, NAME_BYTES, "user-%05" PRIu32, user);
}

/* Members of tenant i: [first[i], first[i + 1]). */
static void members_of(const struct divide_trace *t, struct member *members, uint32_t *first)
{
	uint32_t *tenant = xcalloc(t->users_n + 1, sizeof *tenant), n = 0;

	for (size_t i = 0; i < t->jobs_n; i++)
		tenant[t->jobs[i].user] = t->jobs[i].tenant;
	for (uint32_t i = 0; i < t->tenants_n; i++) {
		first[i] = n;
		for (uint32_t u = 1; u <= t->users_n; u++)
			if (tenant[u] == i)
				user_name(members[n++].name, u);
	}
	first[t->tenants_n] = n;
	free(tenant);
}

static void divide(struct sim *s, bool lend)
{
	const struct divide_setup *in = s->in;
	uint32_t n = 5 + in->trace->tenants_n + in->demand->providers_n;
	struct flavor flavor = {.name = "gpu", .vendor = "any", .model = "*", .weight_milli = 1000,
				.devices_per_node = in->per_node, .committed_units = in->nodes * in->per_node};
	struct quota side[2], leaf = {1, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED};
	struct qnode *q = xcalloc(n, sizeof *q);
	struct member *members;
	uint32_t *first = xcalloc(in->trace->tenants_n + 1, sizeof *first);
	struct command cmd = of_admin(s, CMD_DIVISION_APPLY);

	/* a wall: nobody borrows across the root, nobody lends to it */
	side[0] = (struct quota){1, SHAPE_GPU, in->public_units, lend ? QTY_UNLIMITED : 0, lend ? QTY_UNLIMITED : 0};
	side[1] = (struct quota){1, SHAPE_GPU, in->private_units, lend ? QTY_UNLIMITED : 0, lend ? QTY_UNLIMITED : 0};
	q[0] = (struct qnode){.kind = QNODE_ROOT, .name = "root", .recall_slo_ms = in->recall_slo_ms};
	q[1] = (struct qnode){.kind = QNODE_PUBLIC, .parent = 1, .name = "public", .quotas = &side[0], .quotas_n = 1};
	q[2] = (struct qnode){.kind = QNODE_SECTOR, .parent = 2, .name = "training"};
	q[3] = (struct qnode){.kind = QNODE_PRIVATE, .parent = 1, .name = "private", .quotas = &side[1], .quotas_n = 1};
	q[4] = (struct qnode){.kind = QNODE_CLASS, .parent = 4, .name = "serving"};
	q[2].quotas = q[4].quotas = &leaf;
	q[2].quotas_n = q[4].quotas_n = 1;
	members = xcalloc(in->trace->users_n + 1, sizeof *members);
	members_of(in->trace, members, first);
	for (uint32_t i = 0; i < in->trace->tenants_n; i++) {
		q[5 + i] = (struct qnode){.kind = QNODE_PROJECT, .parent = 3, .quotas = &leaf, .quotas_n = 1};
		q[5 + i].members = members + first[i];
		q[5 + i].members_n = first[i + 1] - first[i];
		(void)snprintf(q[5 + i].name, NAME_BYTES, "project-%" PRIu32, i);
	}
	for (uint32_t i = 0; i < in->demand->providers_n; i++) {
		struct qnode *p = &q[5 + in->trace->tenants_n + i];

		*p = (struct qnode){.kind = QNODE_PROVIDER, .parent = 5, .quotas = &leaf, .quotas_n = 1};
		(void)snprintf(p->name, NAME_BYTES, "provider-%" PRIu32, i);
	}
	for (uint32_t i = 0; i < n; i++)
		q[i].weight = 1;
	cmd.division_apply = (struct cmd_division_apply){.flavors_n = 1, .flavors = &flavor, .qnodes_n = n, .qnodes = q,
							   .lend_risk_ppm = in->lend_risk_ppm};
	must(s, &cmd);
	free(members);
	free(first);
	free(q);
}

/* Enrol the i-th (from 1) of somebody or something, with a new token whenever the last one is used up; returns the
 * principal. */
static uint32_t enrol(struct sim *s, uint8_t role, const char *name, uint32_t i)
{
	struct command cmd = {.type = CMD_ENROL, .via = VIA_ENROL}, token = of_admin(s, CMD_TOKEN_CREATE);
	uint32_t nth = (i - 1) / TOKEN_USES;

	cmd.enrol.token_hash[0] = (uint8_t)(role + 7);
	memcpy(cmd.enrol.token_hash + 1, &nth, sizeof nth);
	if ((i - 1) % TOKEN_USES == 0) {
		token.token_create = (struct cmd_token_create){.role = role, .uses = TOKEN_USES, .ttl_ms = MS_PER_DAY};
		memcpy(token.token_create.hash, cmd.enrol.token_hash, sizeof token.token_create.hash);
		must(s, &token);
	}
	(void)snprintf(cmd.enrol.name, sizeof cmd.enrol.name, "%s", name);
	memcpy(cmd.enrol.key, &i, sizeof i);
	cmd.enrol.key[30] = cmd.enrol.token_hash[0];
	cmd.enrol.key[31] = 1;
	must(s, &cmd);
	return s->rc ? 0 : (uint32_t)s->d.result.version;
}

static void join(struct sim *s, uint32_t i)
{
	struct command cmd;
	struct device dev[DEVICES_PER_NODE_MAX] = {0};
	struct label leaf = {.key = "leaf"};
	char name[NAME_BYTES];
	uint32_t principal;

	(void)snprintf(name, sizeof name, "n%05" PRIu32, i);
	principal = enrol(s, ROLE_NODE, name, i);
	if (s->rc)
		return;
	if (i == 1)
		s->first_node = core_principal(s->core, principal)->node;
	cmd = (struct command){.type = CMD_NODE_HELLO, .via = VIA_AGENTS, .principal = principal};
	for (uint32_t k = 0; k < s->in->per_node; k++) {
		(void)snprintf(dev[k].pci, sizeof dev[k].pci, "0000:%02x:00.0", (k + 1) & 0xff);
		(void)snprintf(dev[k].vendor, sizeof dev[k].vendor, "any");
		(void)snprintf(dev[k].model, sizeof dev[k].model, "gpu");
		dev[k].numa = (uint16_t)(2 * k / s->in->per_node);
		dev[k].memory_mib = 81920;
		dev[k].cores[0] = dev[k].numa ? UINT64_MAX << CORES / 2 : UINT64_MAX >> CORES / 2;
	}
	(void)snprintf(leaf.value, sizeof leaf.value, "leaf-%" PRIu32, (i - 1) / NODES_PER_LEAF);
	cmd.node_hello = (struct cmd_node_hello){.node = core_principal(s->core, principal)->node, .boot_id = "boot-1",
						 .incarnation = 1, .cores_n = CORES, .memory_mib = 1 << 20,
						 .digest = {1}, .labels_n = 1, .labels = &leaf,
						 .devices_n = s->in->per_node, .devices = dev};
	must(s, &cmd);
}

static void settle(struct sim *s);

static void build(struct sim *s, bool lend)
{
	char name[NAME_BYTES];

	init(s);
	if (s->rc)
		return;
	s->user[0] = s->admin;
	for (uint32_t u = 1; u <= s->in->trace->users_n && !s->rc; u++) {
		user_name(name, u);
		s->user[u] = enrol(s, ROLE_MEMBER, name, u);
	}
	divide(s, lend);
	for (uint32_t i = 1; i <= s->in->nodes && !s->rc; i++)
		join(s, i);
	settle(s);
}

/* ---- agents ---------------------------------------------------------------------------------------------------- */

/* Every part of the allocation that `want` takes reports `state`; 0: in any state, 1: only parts given back. */
static void report(struct sim *s, uint64_t id, uint8_t state, bool given_back, int64_t checkpoint_step)
{
	struct { uint16_t index; uint32_t node; } *part;
	const struct alloc *a = core_alloc(s->core, id);
	uint32_t n = 0;

	if (!a)
		return;
	part = xcalloc(a->parts_n, sizeof *part); /* the record changes under the reports */
	for (uint32_t i = 0; i < a->parts_n; i++)
		if (!given_back || a->parts[i].stop) {
			part[n].index = a->parts[i].index;
			part[n++].node = a->parts[i].node;
		}
	if (checkpoint_step)
		n = n ? 1 : 0; /* one of them speaks for the gang */
	for (uint32_t i = 0; i < n; i++) {
		struct unit_status row = {.alloc = id, .part = part[i].index, .state = state, .checkpoint_ago_ms = -1,
					  .healthy = state == UNIT_RUNNING};
		struct command cmd = {.type = CMD_NODE_REPORT, .via = VIA_AGENTS,
				      .principal = core_node(s->core, part[i].node)->principal};

		if (checkpoint_step) {
			row.checkpoint_step = (uint64_t)checkpoint_step;
			row.checkpoint_ago_ms = 0;
		}
		cmd.node_report = (struct cmd_node_report){.node = part[i].node, .incarnation = 1, .units = &row, .units_n = 1};
		must(s, &cmd);
	}
	free(part);
}

static uint32_t job_of_id(const struct sim *s, uint64_t id)
{
	uint32_t low = 0, high = s->submitted;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (s->job_id[mid] < id)
			low = mid + 1;
		else
			high = mid;
	}
	ENSURE(low < s->submitted && s->job_id[low] == id);
	return low;
}

static uint32_t provider_of(const struct sim *s, uint64_t lease)
{
	const struct qnode *q = core_qnode(s->core, core_lease(s->core, lease)->spec.provider);
	uint32_t at = 0;

	(void)sscanf(q->name, "provider-%" SCNu32, &at);
	ENSURE(at < s->in->demand->providers_n);
	return at;
}

static void account(struct sim *s, struct held *h, bool add)
{
	uint32_t *sum = h->klass == CLASS_LOAN ? &s->use.loaned : &s->use.guaranteed;

	if (h->kind == OWNER_LEASE)
		divide_book_have(s->book, s->now_ms, h->provider,
				 s->book->have[h->provider] + (add ? h->units : -h->units));
	else
		*sum += add ? h->units : -h->units;
}

/* A job has its devices until it leaves them, a lease only those that serve it. */
static uint32_t serving(const struct alloc *a)
{
	uint32_t units = 0;

	if (a->owner_kind == OWNER_LEASE && a->state != ALLOC_ACTIVE)
		return 0;
	for (uint32_t i = 0; i < a->parts_n; i++)
		if (a->owner_kind == OWNER_JOB || !a->parts[i].stop)
			units += a->parts[i].units;
	return units;
}

static void job_runs(struct sim *s, uint64_t id, struct held *h, const struct alloc *a)
{
	struct divide_done *done = &s->out->done[h->job];

	h->running = true;
	s->running++;
	h->start_ms = a->start_ms - ZERO_MS;
	divide_job_started(s->out, done, h->start_ms);
	report(s, id, UNIT_RUNNING, false, 0);
	divide_heap_add(&s->events, h->start_ms + divide_attempt_ms(s->in, done), EVENT_ENDS, id, 0);
	if (s->in->checkpoint_ms && done->left_ms > s->in->checkpoint_ms)
		divide_heap_add(&s->events,
				h->start_ms + (done->starts > 1 ? s->in->restart_ms : 0) + s->in->checkpoint_ms,
				EVENT_CHECKPOINT, id, 1);
}

/* The stay of one allocation on devices [from, to) of a node has ended. */
static void span_add(struct sim *s, const struct lane *l, uint32_t node, uint32_t from, uint32_t to)
{
	struct divide_run *r = s->out;

	if (l->since_ms >= s->in->window_ms)
		return;
	if (r->spans_n == r->spans_cap) {
		r->spans_cap = r->spans_cap ? 2 * r->spans_cap : 4096;
		r->spans = xrealloc(r->spans, r->spans_cap * sizeof *r->spans);
	}
	r->spans[r->spans_n++] = (struct divide_span){.from_ms = l->since_ms, .to_ms = s->now_ms, .alloc = l->alloc,
						      .node = node, .device = (uint8_t)from, .units = (uint8_t)(to - from),
						      .kind = l->kind};
}

/* Devices `wanted` of the node are the allocation's from now on, and no others: neighbours that came and went
 * together become one span. */
static void lanes_of_node(struct sim *s, uint32_t node, uint64_t id, uint64_t wanted, uint8_t kind)
{
	struct lane *row = s->lanes + (size_t)node * s->in->per_node;

	for (uint32_t d = 0; d < s->in->per_node;) {
		struct lane was = row[d];
		bool stays = (wanted >> d & 1) && was.kind == kind;
		uint32_t to = d;

		if (was.alloc != id || stays) {
			d++;
			continue;
		}
		while (to < s->in->per_node && row[to].alloc == id && row[to].since_ms == was.since_ms &&
		       row[to].kind == was.kind && ((wanted >> to & 1) && was.kind == kind) == stays)
			row[to++].alloc = 0;
		span_add(s, &was, node, d, to);
		d = to;
	}
	for (uint32_t d = 0; d < s->in->per_node; d++)
		if ((wanted >> d & 1) && row[d].alloc != id)
			row[d] = (struct lane){id, s->now_ms, kind};
}

static void lanes_follow(struct sim *s, uint64_t id, struct held *h, const struct alloc *a)
{
	uint8_t kind = h->kind == OWNER_LEASE ? SPAN_LEASE : h->klass == CLASS_LOAN ? SPAN_LOAN : SPAN_GUARANTEED;
	uint64_t devices[DIVIDE_SPAN_NODES] = {0}, had = h->on_nodes;

	h->on_nodes = 0;
	for (uint32_t i = 0; a && i < a->parts_n; i++)
		if (a->parts[i].node - s->first_node < DIVIDE_SPAN_NODES) {
			devices[a->parts[i].node - s->first_node] |= a->parts[i].devices;
			h->on_nodes |= UINT64_C(1) << (a->parts[i].node - s->first_node);
		}
	for (uint32_t n = 0; n < DIVIDE_SPAN_NODES; n++)
		if ((had | h->on_nodes) >> n & 1)
			lanes_of_node(s, n, id, devices[n], kind);
}

/* An allocation as the core has it now: agents see what changed for them. */
static void look(struct sim *s, uint64_t id)
{
	const struct alloc *a = core_alloc(s->core, id);
	struct held *h = held_of(s, id);
	bool leaving = false;

	h->dirty = false;
	if (!a) {
		if (h->known && !h->gone) {
			account(s, h, false);
			lanes_follow(s, id, h, NULL);
		}
		h->gone = true;
		return;
	}
	if (!h->known) {
		*h = (struct held){.owner = a->owner, .kind = a->owner_kind, .klass = a->klass, .known = true,
				   .start_ms = -1, .told_ms = -1, .leaves_ms = -1};
		if (h->kind == OWNER_JOB)
			h->job = job_of_id(s, a->owner);
		else
			h->provider = provider_of(s, a->owner);
	}
	if (h->klass != a->klass || h->units != serving(a)) {
		account(s, h, false);
		h->klass = a->klass;
		h->units = serving(a);
		account(s, h, true);
	}
	lanes_follow(s, id, h, a);
	if (a->state == ALLOC_BINDING && !h->preparing) {
		h->preparing = true;
		divide_heap_add(&s->events, s->now_ms + DIVIDE_AGENT_MS, EVENT_PREPARED, id, 0);
	}
	if (a->state == ALLOC_ACTIVE && !h->running) {
		if (h->kind == OWNER_JOB) {
			job_runs(s, id, h, a);
		} else {
			h->running = true;
			report(s, id, UNIT_RUNNING, false, 0);
		}
		a = core_alloc(s->core, id);
		h = held_of(s, id);
	}
	if (a->state == ALLOC_STOPPING && (h->told_ms < 0 || a->stop_at_ms - ZERO_MS < h->leaves_ms)) {
		if (h->told_ms < 0)
			h->told_ms = s->now_ms;
		h->leaves_ms = h->kind == OWNER_LEASE || !h->running ?
				       s->now_ms + DRAIN_MS :
				       divide_leaves_ms(s->in, h->told_ms, a->stop_at_ms - ZERO_MS);
		divide_heap_add(&s->events, h->leaves_ms, EVENT_LEAVES, id, h->leaves_ms);
	}
	for (uint32_t i = 0; i < a->parts_n; i++)
		leaving |= a->parts[i].stop;
	if (leaving && a->state == ALLOC_ACTIVE && !h->parts_leaving) {
		h->parts_leaving = true;
		divide_heap_add(&s->events, s->now_ms + DRAIN_MS, EVENT_PARTS_LEAVE, id, 0);
	}
}

static void claims_seen(struct sim *s)
{
	for (uint64_t id = 0; (id = core_next_id(s->core, RECORD_CLAIM, id)) != 0;) {
		const struct claim *m = core_claim(s->core, id);

		if (m->owner_kind == OWNER_LEASE)
			divide_book_recalled(s->book, provider_of(s, m->owner));
		if (m->created_ms == clock_of(s))
			s->out->claims++;
	}
}

/* Ticks until the core has nothing left to decide, and agents see what it decided. */
static void settle(struct sim *s)
{
	static const struct command tick = {.type = CMD_TICK};

	do {
		for (uint64_t n = 0; !s->rc && core_next_tick(s->core, clock_of(s)) <= clock_of(s); n++) {
			must(s, &tick);
			s->out->ticks++;
			if (n > 10000000 && !s->rc)
				s->rc = err_set(s->err, ERR_STATE, "the core does not come to rest at %" PRId64 " s",
						s->now_ms / MS_PER_S);
		}
		for (size_t i = 0; i < s->dirty_n && !s->rc; i++)
			look(s, s->dirty[i]);
		s->dirty_n = 0;
	} while (!s->rc && core_next_tick(s->core, clock_of(s)) <= clock_of(s));
}

static void left(struct sim *s, uint64_t id)
{
	struct held *h = held_of(s, id);

	if (h->running && h->kind == OWNER_JOB) {
		divide_job_cut(s->in, s->out, h->job, h->start_ms, h->told_ms, s->now_ms);
		s->running--;
	}
	h->running = false;
	report(s, id, UNIT_RELEASED, false, 0);
}

static void job_ends(struct sim *s, uint64_t id)
{
	struct held *h = held_of(s, id);

	if (!h->running || h->gone)
		return; /* it was stopped before */
	h->running = false;
	s->running--;
	if (h->told_ms >= 0) { /* it will be started again: whether it was done its exit code does not say */
		divide_job_cut(s->in, s->out, h->job, h->start_ms, h->told_ms, s->now_ms);
	} else {
		divide_job_ended(s->in, s->out, h->job, s->now_ms);
		s->ended++;
	}
	report(s, id, UNIT_EXITED, false, 0);
	report(s, id, UNIT_RELEASED, false, 0);
}

/* ---- holders of leases -------------------------------------------------------------------------------------------- */

static bool lease_lives(const struct sim *s, uint32_t p)
{
	const struct lease *l = s->lease[p] ? core_lease(s->core, s->lease[p]) : NULL;

	return l && !lease_terminal(l->state) && l->state != LEASE_RELEASING;
}

static void lease_ask(struct sim *s, uint32_t p)
{
	uint32_t units = s->book->want[p];
	struct command cmd;
	int r;

	if (s->rc)
		return;
	if (!lease_lives(s, p)) {
		if (!units)
			return;
		cmd = of_admin(s, CMD_LEASE_REQUEST);
		(void)snprintf(cmd.lease_request.provider, NAME_BYTES, "provider-%" PRIu32, p);
		(void)snprintf(cmd.lease_request.flavor, FLAVOR_NAME_BYTES, "gpu");
		cmd.lease_request.spec = (struct lease_spec){.shape = SHAPE_GPU, .klass = LEASE_FIRM, .units = units,
							     .auto_accept = true, .auto_extend = true, .name = "service"};
	} else if (!units) {
		cmd = of_admin(s, CMD_LEASE_RELEASE);
		cmd.object.id = s->lease[p];
	} else if (core_lease(s->core, s->lease[p])->spec.units == units) {
		return;
	} else {
		cmd = of_admin(s, CMD_LEASE_RESIZE);
		cmd.lease_resize.lease = s->lease[p];
		cmd.lease_resize.units = units;
	}
	r = ask(s, &cmd);
	if (r) { /* within its contract nothing may be refused */
		s->out->refused++;
		divide_heap_add(&s->events, s->now_ms + AGAIN_MS, EVENT_AGAIN, p, 0);
		return;
	}
	if (cmd.type == CMD_LEASE_REQUEST)
		s->lease[p] = s->d.result.id;
}

static void renew(struct sim *s)
{
	struct lease_renew_item *items = xcalloc(RENEWALS_PER_COMMAND_MAX, sizeof *items);
	struct command cmd = of_admin(s, CMD_LEASE_RENEW);
	uint32_t n = 0;

	s->renew_seq++;
	for (uint32_t p = 0; p <= s->in->demand->providers_n && !s->rc; p++) {
		if (p < s->in->demand->providers_n && lease_lives(s, p))
			items[n++] = (struct lease_renew_item){s->lease[p], core_lease(s->core, s->lease[p])->fence,
							       s->renew_seq, 0};
		if (n < RENEWALS_PER_COMMAND_MAX && (p < s->in->demand->providers_n || !n))
			continue;
		cmd.lease_renew.items = items;
		cmd.lease_renew.items_n = n;
		must(s, &cmd);
		for (uint32_t i = 0; i < n && !s->rc; i++)
			s->out->refused += s->d.result.renewals[i].code != 0;
		n = 0;
	}
	free(items);
	divide_heap_add(&s->events, s->now_ms + s->in->ttl_ms / 3, EVENT_RENEW, 0, 0);
}

/* A lease that ended although its holder renewed it, as it should never. */
static void leases_check(struct sim *s)
{
	for (uint32_t p = 0; p < s->in->demand->providers_n; p++)
		if (s->book->want[p] && s->lease[p] && !lease_lives(s, p)) {
			s->out->refused++;
			lease_ask(s, p);
		}
}

/* ---- playing --------------------------------------------------------------------------------------------------------- */

static void submit(struct sim *s, uint32_t at)
{
	const struct divide_job *j = &s->in->trace->jobs[at];
	struct command cmd = of_admin(s, CMD_JOB_SUBMIT);

	cmd.principal = s->user[j->user];
	if (j->user)
		cmd.via = VIA_USERS;
	(void)snprintf(cmd.job_submit.project, TEXT_BYTES, "project-%" PRIu32, j->tenant);
	(void)snprintf(cmd.job_submit.flavor, FLAVOR_NAME_BYTES, "gpu");
	(void)snprintf(cmd.job_submit.user, NAME_BYTES, "user");
	cmd.job_submit.spec = (struct job_spec){
		.shape = SHAPE_GPU, .klass = JOB_NORMAL, .loan = LOAN_OK, .mode = JOB_COMMAND, .units = j->units,
		.time_limit_ms = j->limit_ms, .notice_ms = s->in->notice_ms, .retries_infra = 3, .name = "train",
	};
	must(s, &cmd);
	s->job_id[at] = s->d.result.id;
	s->submitted = at + 1;
}

/* Those submitted from `first` on that could not start ask when they will. */
static void starts_asked(struct sim *s, uint32_t first)
{
	CLEANUP(arena_done) struct arena arena = {0};

	for (uint32_t i = first; i < s->submitted && !s->rc; i++) {
		const struct query q = {.type = QUERY_JOBS, .id = s->job_id[i]};
		struct divide_done *done = &s->out->done[i];
		struct view_jobs v = {0};

		if (core_job(s->core, s->job_id[i])->state != JOB_PENDING)
			continue;
		arena_reset(&arena);
		s->rc = core_view(s->core, clock_of(s), s->admin, &q, &v, &arena, s->err);
		if (s->rc)
			return;
		ENSURE(v.items_n == 1);
		done->waited = true;
		done->p50_ms = v.items[0].start_p50_ms ? v.items[0].start_p50_ms - ZERO_MS : -1;
		done->p90_ms = v.items[0].start_p90_ms ? v.items[0].start_p90_ms - ZERO_MS : -1;
	}
}

static void happened(struct sim *s, const struct divide_event *e)
{
	struct held *h;

	switch (e->kind) {
	case EVENT_PREPARED: {
		const struct alloc *a = core_alloc(s->core, e->id);

		if (a && a->state == ALLOC_BINDING)
			report(s, e->id, UNIT_PREPARED, false, 0);
		break;
	}
	case EVENT_ENDS: job_ends(s, e->id); break;
	case EVENT_LEAVES:
		h = held_of(s, e->id);
		if (!h->gone && h->leaves_ms == e->value && core_alloc(s->core, e->id))
			left(s, e->id);
		break;
	case EVENT_PARTS_LEAVE:
		held_of(s, e->id)->parts_leaving = false;
		report(s, e->id, UNIT_RELEASED, true, 0);
		break;
	case EVENT_CHECKPOINT:
		h = held_of(s, e->id);
		if (h->running && !h->gone) {
			report(s, e->id, UNIT_RUNNING, false,
			       (s->out->done[h->job].starts << 20 | e->value)); /* steps only rise */
			divide_heap_add(&s->events, s->now_ms + s->in->checkpoint_ms, EVENT_CHECKPOINT, e->id,
					e->value + 1);
		}
		break;
	case EVENT_RENEW: renew(s); break;
	case EVENT_AGAIN: lease_ask(s, (uint32_t)e->id); break;
	case EVENT_CHECK:
		leases_check(s);
		if (s->in->check && !s->rc)
			s->rc = core_check(s->core, s->err);
		divide_heap_add(&s->events, s->now_ms + MS_PER_HOUR, EVENT_CHECK, 0, 0);
		break;
	default: UNREACHABLE();
	}
}

static void play(struct sim *s, divide_progress_fn *progress, void *arg)
{
	const struct divide_trace *tr = s->in->trace;
	const struct demand *d = s->in->demand;
	uint64_t step = 0;
	uint32_t next = 0, first;

	divide_heap_add(&s->events, s->in->ttl_ms / 3, EVENT_RENEW, 0, 0);
	divide_heap_add(&s->events, MS_PER_HOUR, EVENT_CHECK, 0, 0);
	while (s->ended < tr->jobs_n && !s->rc) {
		int64_t t_ms = core_next_tick(s->core, clock_of(s));

		t_ms = t_ms == T_NEVER ? INT64_MAX : t_ms - ZERO_MS;
		if (divide_heap_next(&s->events) < t_ms)
			t_ms = divide_heap_next(&s->events);
		if (next < tr->jobs_n && tr->jobs[next].submit_ms < t_ms)
			t_ms = tr->jobs[next].submit_ms;
		if (d->steps_n && divide_step(d, step).at_ms < t_ms)
			t_ms = divide_step(d, step).at_ms;
		divide_pass(s->book, &s->now_ms, t_ms, &s->use);
		while (divide_heap_next(&s->events) == t_ms && !s->rc) {
			struct divide_event e = divide_heap_pop(&s->events);

			happened(s, &e);
		}
		while (d->steps_n && divide_step(d, step).at_ms == t_ms) {
			struct demand_step at = divide_step(d, step++);

			divide_book_want(s->book, t_ms, at.provider, at.units);
			lease_ask(s, at.provider);
		}
		first = next;
		for (; next < tr->jobs_n && tr->jobs[next].submit_ms == t_ms; next++)
			submit(s, next);
		settle(s);
		if (s->in->ask && next > first && !s->rc)
			starts_asked(s, first);
		claims_seen(s);
		s->use.waiting = next - (uint32_t)s->ended - s->running;
		if (progress)
			progress(arg, s->ended, tr->jobs_n);
	}
}

int divide_run_core(struct divide_book *b, bool lend, divide_progress_fn *progress, void *arg, struct err *err)
{
	struct err spare;
	struct sim s = {.book = b, .in = b->in, .out = b->out, .err = err ? err : &spare};

	s.core = core_new();
	s.job_id = xcalloc(b->in->trace->jobs_n + 1, sizeof *s.job_id);
	s.lease = xcalloc(b->in->demand->providers_n + 1, sizeof *s.lease);
	s.user = xcalloc(b->in->trace->users_n + 1, sizeof *s.user);
	s.lanes = xcalloc((size_t)DIVIDE_SPAN_NODES * b->in->per_node, sizeof *s.lanes);
	build(&s, lend);
	if (!s.rc)
		play(&s, progress, arg);
	for (uint32_t n = 0; n < DIVIDE_SPAN_NODES; n++) /* whoever is still there */
		for (uint32_t d = 0; d < b->in->per_node; d++)
			if (s.lanes[n * b->in->per_node + d].alloc)
				lanes_of_node(&s, n, s.lanes[n * b->in->per_node + d].alloc, 0, 0);
	divide_book_close(b, s.now_ms);
	if (!s.rc)
		s.rc = core_check(s.core, s.err);
	core_free(s.core);
	decision_done(&s.d);
	free(s.events.at);
	free(s.held);
	free(s.dirty);
	free(s.job_id);
	free(s.lease);
	free(s.lanes);
	free(s.user);
	return s.rc;
}
