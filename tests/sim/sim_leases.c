/* sim_leases.c - lease safety at scale: the real core, the real holders, one network between them
 *
 *   sim_leases              every scenario of the table below
 *   sim_leases NAME...      these
 *
 * A holder must have stopped believing before the daemon ends its lease, and the daemon ends none that could not
 * be renewed: while sluisd is down or stands still, nobody expires, and when it is back the renewals do not come
 * all at once. Each scenario prints its figures; one wrongful expiry fails it.
 *
 * Clocks: true time is `now_ms`; the daemon counts MONOTONIC at its own rate, each holder BOOTTIME at its own,
 * within 500 ppm each (the contract allows 1000 ppm between the two).
 */
#include "daemon/core/core.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/prng.h"
#include "proto/client/holder.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t T0_MS = INT64_C(1800000000000);
enum { RATE_PPM_MAX = 500, DEVICES = 64, PROVIDER_AT = 2 };

static const struct scenario {
	const char *name;
	uint32_t leases;
	int64_t ttl_ms, grace_ms, run_ms;
	int64_t down_at_ms, down_ms;   /* the process is gone */
	int64_t still_at_ms, still_ms; /* it stands still, and what arrives waits */
	uint32_t loss_ppm, dup_ppm;
	int64_t delay_max_ms;
	int64_t pause_every_ms, pause_max_ms; /* of a holder's machine, its clocks included */
	int64_t edge_ms; /* each renewal arrives around its lease's end: from twice so long before to so long behind it */
	bool may_expire; /* renewals that are lost for long enough end a lease rightly */
} scenarios[] = {
	{.name = "down-two-hours", .leases = 10000, .ttl_ms = 15 * MS_PER_MIN, .grace_ms = 15 * MS_PER_MIN,
	 .run_ms = 4 * MS_PER_HOUR, .down_at_ms = MS_PER_HOUR, .down_ms = 2 * MS_PER_HOUR, .delay_max_ms = 50},
	{.name = "stands-still-an-hour", .leases = 10000, .ttl_ms = 15 * MS_PER_MIN, .grace_ms = 15 * MS_PER_MIN,
	 .run_ms = 3 * MS_PER_HOUR, .still_at_ms = MS_PER_HOUR, .still_ms = MS_PER_HOUR, .delay_max_ms = 50},
	{.name = "no-grace-down-again-and-again", .leases = 2000, .ttl_ms = 10 * MS_PER_S, .run_ms = 10 * MS_PER_MIN,
	 .down_at_ms = MS_PER_MIN, .down_ms = 9900, .delay_max_ms = 50},
	{.name = "late-doubled-out-of-order", .leases = 500, .ttl_ms = 40 * MS_PER_S, .grace_ms = 0,
	 .run_ms = 30 * MS_PER_MIN, .loss_ppm = 300000, .dup_ppm = 300000, .delay_max_ms = 15 * MS_PER_S, .may_expire = true},
	{.name = "machines-stopped-and-restored", .leases = 500, .ttl_ms = 20 * MS_PER_S, .grace_ms = 0,
	 .run_ms = 30 * MS_PER_MIN, .delay_max_ms = 200, .pause_every_ms = 2 * MS_PER_MIN, .pause_max_ms = MS_PER_MIN,
	 .may_expire = true},
	{.name = "around-the-deadline", .leases = 10000, .ttl_ms = 30 * MS_PER_S, .grace_ms = 0,
	 .run_ms = 5 * MS_PER_MIN, .dup_ppm = 300000, .delay_max_ms = 50, .edge_ms = 1, .may_expire = true},
};

/* ---- the world ------------------------------------------------------------------------------------- */

enum { EV_HOLDER, EV_ARRIVES, EV_ANSWER, EV_PAUSE };
struct event {
	int64_t at_ms;
	uint64_t n;
	uint32_t who;
	uint8_t kind;
	struct lease_renew_item item;
	struct renew_result res;
};
struct party { /* a lease and its holder */
	uint64_t lease;
	struct holder h;
	int64_t base_ms, rate_ppm;
	int64_t stopped_ms, stopped_until_ms; /* its machine, in all and now */
	int64_t renewed_ms;                   /* true time of the last accepted renewal's commit */
	int64_t wake_ms; /* when it looks again */
	bool over;
};
struct world {
	const struct scenario *sc;
	struct core *core;
	struct decision d;
	struct prng rng;
	int64_t now_ms, true_base_ms, t_base_ms, rate_ppm;
	int64_t away_ms; /* time in which the daemon could receive nothing, up to now */
	bool down;
	int64_t still_until_ms;
	uint32_t principal;
	uint64_t cred;
	struct party *party;
	struct event *heap;
	uint32_t heap_n, heap_cap;
	uint64_t event_n;
	uint32_t *per_s; /* renewals, by second */
	uint64_t renewals, expiries, wrongful, believed, lapses;
	uint64_t edge_before, edge_after; /* renewals that arrived in the last millisecond, in the first one behind it */
};

static int64_t daemon_ms(const struct world *w)
{
	int64_t ms = w->now_ms - w->true_base_ms;

	return w->t_base_ms + ms + ms * w->rate_ppm / 1000000;
}

static struct boot boot_of(const struct world *w, const struct party *p)
{
	int64_t ms = w->now_ms - p->stopped_ms;

	return (struct boot){(p->base_ms + ms + ms * p->rate_ppm / 1000000) * NS_PER_MS};
}
/* The wall clock is set when a machine goes on. */
static struct wall wall_of(const struct world *w, const struct party *p)
{
	return (struct wall){boot_of(w, p).ns + p->stopped_ms * NS_PER_MS};
}

static bool before(const struct event *a, const struct event *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->n < b->n;
}

static void push(struct world *w, struct event e)
{
	uint32_t i = w->heap_n++;

	if (w->heap_n > w->heap_cap) {
		w->heap_cap = w->heap_cap ? w->heap_cap * 2 : 1024;
		w->heap = xrealloc(w->heap, w->heap_cap * sizeof *w->heap);
	}
	e.n = w->event_n++;
	for (; i && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = e;
}

static struct event pop(struct world *w)
{
	struct event top = w->heap[0], last = w->heap[--w->heap_n];
	uint32_t i = 0, k;

	while ((k = 2 * i + 1) < w->heap_n) {
		if (k + 1 < w->heap_n && before(&w->heap[k + 1], &w->heap[k]))
			k++;
		if (!before(&w->heap[k], &last))
			break;
		w->heap[i] = w->heap[k];
		i = k;
	}
	w->heap[i] = last;
	return top;
}

static bool chance(struct world *w, uint32_t ppm) { return prng_below(&w->rng, 1000000) < ppm; }
static int64_t span(struct world *w, int64_t from, int64_t to)
{
	return from + (int64_t)prng_below(&w->rng, (uint64_t)(to - from) + 1);
}

/* ---- the daemon --------------------------------------------------------------------------------------- */

static struct party *party_of(struct world *w, uint64_t lease)
{
	return lease && lease <= w->sc->leases ? &w->party[lease - 1] : NULL;
}

/* A lease has ended for lack of renewals: could it have been renewed, and does its holder know? */
static void expired(struct world *w, const struct lease *l)
{
	struct party *p = party_of(w, l->id);
	int64_t heard_ms = w->now_ms - p->renewed_ms; /* renewed_ms is moved by all time away */

	w->expiries++;
	heard_ms += heard_ms * w->rate_ppm / 1000000;
	if (!w->sc->may_expire || heard_ms < l->spec.ttl_ms + l->spec.grace_ms - 1)
		w->wrongful++;
	if (w->now_ms >= p->stopped_until_ms && holder_may_act(&p->h, boot_of(w, p), wall_of(w, p)))
		w->believed++;
	p->over = true;
}

static int decide(struct world *w, const struct command *cmd, struct err *err)
{
	int rc = core_decide(w->core, daemon_ms(w), cmd, &w->d, err);

	for (uint32_t i = 0; !rc && i < w->d.facts_n; i++) {
		const struct fact *f = &w->d.facts[i];

		if (f->kind == RECORD_LEASE && f->lease && f->lease->state == LEASE_EXPIRED)
			expired(w, f->lease);
		core_apply(w->core, f);
	}
	return rc;
}

static void must(struct world *w, const struct command *cmd)
{
	struct err err;

	if (decide(w, cmd, &err)) {
		fprintf(stderr, "sim_leases: %s: %s\n", command_name(cmd->type), err.msg);
		exit(2);
	}
}

static void ticks(struct world *w)
{
	const struct command tick = {.type = CMD_TICK, .via = VIA_INTERNAL, .principal = 1};

	while (core_next_tick(w->core, daemon_ms(w)) <= daemon_ms(w))
		must(w, &tick);
}

static void away(struct world *w, int64_t ms)
{
	struct command cmd = {.type = CMD_RECOVER, .via = VIA_INTERNAL, .principal = 1};

	cmd.recover.down_ms = ms + ms * w->rate_ppm / 1000000;
	must(w, &cmd);
	for (uint32_t i = 0; i < w->sc->leases; i++)
		w->party[i].renewed_ms += ms;
}

/* ---- setting up ------------------------------------------------------------------------------------------ */

static void enrol(struct world *w, uint8_t role, const char *name, const char *provider, uint32_t admin, uint64_t cred,
		  uint32_t *ret_principal, uint64_t *ret_cred)
{
	struct command token = {.type = CMD_TOKEN_CREATE, .via = VIA_USERS, .principal = admin, .cred = cred};
	struct command join = {.type = CMD_ENROL, .via = VIA_ENROL};

	for (int i = 0; i < 32; i++) {
		token.token_create.hash[i] = join.enrol.token_hash[i] = (uint8_t)prng_below(&w->rng, 256);
		join.enrol.key[i] = (uint8_t)prng_below(&w->rng, 256);
	}
	token.token_create.role = role;
	token.token_create.uses = 1;
	token.token_create.ttl_ms = MS_PER_DAY;
	(void)snprintf(token.token_create.name, NAME_BYTES, "%s", name);
	(void)snprintf(token.token_create.provider, NAME_BYTES, "%s", provider);
	(void)snprintf(join.enrol.name, NAME_BYTES, "%s", name);
	must(w, &token);
	must(w, &join);
	*ret_cred = w->d.result.id;
	*ret_principal = (uint32_t)w->d.result.version;
}

static void division(struct world *w, uint32_t nodes, uint32_t admin, uint64_t cred)
{
	struct command cmd = {.type = CMD_DIVISION_APPLY, .via = VIA_USERS, .principal = admin, .cred = cred};
	struct flavor f = {.name = "g", .vendor = "sim", .model = "g", .weight_milli = 1000, .devices_per_node = DEVICES,
			   .committed_nodes = nodes};
	struct quota all = {.flavor = 1, .shape = SHAPE_GPU, .nominal = (int64_t)nodes * DEVICES, .borrowing = QTY_UNLIMITED,
			    .lending = QTY_UNLIMITED};
	struct qnode q[3] = {{.kind = QNODE_ROOT, .name = "root"},
			     {.kind = QNODE_PRIVATE, .parent = 1, .name = "private"},
			     {.kind = QNODE_PROVIDER, .parent = 2, .name = "prov"}};

	q[PROVIDER_AT].quotas = &all;
	q[PROVIDER_AT].quotas_n = 1;
	cmd.division_apply.flavors = &f;
	cmd.division_apply.flavors_n = 1;
	cmd.division_apply.qnodes = q;
	cmd.division_apply.qnodes_n = 3;
	must(w, &cmd);
}

/* A node with its devices, and an agent that says PREPARED to whatever is asked of it. */
static void node_add(struct world *w, uint32_t i, uint32_t admin, uint64_t admin_cred, struct command *ret_agent)
{
	struct command hello = {.type = CMD_NODE_HELLO, .via = VIA_AGENTS};
	struct device dev[DEVICES];
	char name[NAME_BYTES];

	memset(dev, 0, sizeof dev);
	(void)snprintf(name, sizeof name, "n%04u", i);
	enrol(w, ROLE_NODE, name, "", admin, admin_cred, &hello.principal, &hello.cred);
	hello.node_hello.node = core_node_named(w->core, name)->id;
	(void)snprintf(hello.node_hello.boot_id, sizeof hello.node_hello.boot_id, "boot");
	hello.node_hello.incarnation = 1;
	hello.node_hello.cores_n = DEVICES;
	hello.node_hello.memory_mib = DEVICES * 1024;
	hello.node_hello.digest[0] = 1;
	hello.node_hello.devices = dev;
	hello.node_hello.devices_n = DEVICES;
	for (unsigned k = 0; k < DEVICES; k++) {
		(void)snprintf(dev[k].pci, sizeof dev[k].pci, "0000:%02x:00.0", k);
		(void)snprintf(dev[k].vendor, sizeof dev[k].vendor, "sim");
		(void)snprintf(dev[k].model, sizeof dev[k].model, "g");
		dev[k].cores[0] = UINT64_C(1) << k;
	}
	must(w, &hello);
	*ret_agent = hello;
	ret_agent->type = CMD_NODE_REPORT;
	ret_agent->node_report = (struct cmd_node_report){.node = hello.node_hello.node, .incarnation = 1};
}

static void agent_obeys(struct world *w, struct command *agent)
{
	struct arena arena = {0};
	struct unit *units;
	uint32_t n;

	core_units_of_node(w->core, daemon_ms(w), agent->node_report.node, &arena, &units, &n);
	agent->node_report.units = arena_alloc(&arena, (n + 1) * sizeof *agent->node_report.units);
	agent->node_report.units_n = n;
	for (uint32_t i = 0; i < n; i++)
		agent->node_report.units[i] =
			(struct unit_status){.alloc = units[i].alloc, .part = units[i].part, .state = UNIT_PREPARED};
	must(w, agent);
	arena_done(&arena);
}

static void set_up(struct world *w)
{
	const struct scenario *sc = w->sc;
	struct command init = {.type = CMD_INIT, .via = VIA_INTERNAL};
	uint32_t nodes = sc->leases / DEVICES + 1, admin;
	struct command *agents = xcalloc(nodes, sizeof *agents);
	struct cluster *set = &init.init.settings;
	struct uid_ref uid = {1000};
	uint64_t cred;

	w->core = core_new();
	w->t_base_ms = T0_MS;
	(void)snprintf(set->name, sizeof set->name, "leases");
	set->lease_ttl_ms = sc->ttl_ms;
	set->lease_grace_ms = sc->grace_ms;
	set->lease_term_ms = 30 * MS_PER_DAY;
	set->lease_offer_ms = set->bind_timeout_ms = set->lost_after_ms = set->job_time_ms = MS_PER_HOUR;
	set->renewals_per_s = 100;
	set->loan_rate_ppm = set->urgent_rate_ppm = 1000000;
	init.init.uids_n = 1;
	init.init.uids = &uid;
	must(w, &init);
	admin = core_cred_of_uid(w->core, 1000)->principal;
	cred = core_cred_of_uid(w->core, 1000)->id;
	for (uint32_t i = 0; i < nodes; i++)
		node_add(w, i, admin, cred, &agents[i]);
	division(w, nodes, admin, cred);
	ticks(w);
	enrol(w, ROLE_PROVIDER, "key", "prov", admin, cred, &w->principal, &w->cred);
	for (uint32_t i = 0; i < sc->leases; i++) {
		struct command ask = {
			.type = CMD_LEASE_REQUEST, .via = VIA_USERS, .principal = w->principal, .cred = w->cred};
		struct party *p = &w->party[i];

		(void)snprintf(ask.lease_request.provider, sizeof ask.lease_request.provider, "prov");
		(void)snprintf(ask.lease_request.flavor, sizeof ask.lease_request.flavor, "g");
		ask.lease_request.spec.units = 1;
		ask.lease_request.spec.auto_accept = true;
		ask.lease_request.spec.auto_extend = true;
		must(w, &ask);
		ENSURE(w->d.result.id == i + 1);
		p->lease = i + 1;
		p->base_ms = span(w, 0, MS_PER_DAY);
		p->rate_ppm = span(w, -RATE_PPM_MAX, RATE_PPM_MAX);
	}
	ticks(w);
	for (uint32_t i = 0; i < nodes; i++)
		agent_obeys(w, &agents[i]);
	ticks(w);
	free(agents);
	for (uint32_t i = 0; i < sc->leases; i++) {
		struct party *p = &w->party[i];

		ENSURE(core_lease(w->core, p->lease)->state == LEASE_ACTIVE);
		holder_init(&p->h, p->lease, core_lease(w->core, p->lease)->fence, 0, prng_next(&w->rng));
		p->renewed_ms = w->now_ms;
		p->wake_ms = w->now_ms + span(w, 0, sc->ttl_ms / 3);
		push(w, (struct event){.at_ms = p->wake_ms, .kind = EV_HOLDER, .who = i});
		if (sc->pause_every_ms)
			push(w, (struct event){.at_ms = w->now_ms + span(w, 1, 2 * sc->pause_every_ms), .kind = EV_PAUSE, .who = i});
	}
}

/* ---- events -------------------------------------------------------------------------------------------------- */

/* What the lease has left by the daemon's clock, before it ends for lack of renewals. */
static int64_t left_ms(const struct world *w, uint64_t lease)
{
	const struct renewal *r = core_renewal(w->core, lease);
	int64_t live = daemon_ms(w) - core_cluster(w->core)->down_ms;

	return r ? r->expires_live_ms + core_lease(w->core, lease)->spec.grace_ms - live : 0;
}

static int64_t arrival_ms(struct world *w, const struct event *e)
{
	int64_t left = e->kind == EV_ARRIVES && w->sc->edge_ms ? left_ms(w, e->item.lease) : 0;

	if (left <= 0)
		return w->now_ms + span(w, 1, w->sc->delay_max_ms);
	left += span(w, -2 * w->sc->edge_ms, w->sc->edge_ms);
	return w->now_ms + (left > 1 ? left * 1000000 / (1000000 + w->rate_ppm) : 1);
}

static void transmit(struct world *w, struct event e)
{
	if (chance(w, w->sc->loss_ppm))
		return;
	e.at_ms = arrival_ms(w, &e);
	push(w, e);
	if (!chance(w, w->sc->dup_ppm))
		return;
	e.at_ms = arrival_ms(w, &e);
	push(w, e);
}

static void holder_acts(struct world *w, uint32_t i)
{
	struct party *p = &w->party[i];
	struct boot when;
	uint8_t state = p->h.state;

	if (p->over)
		return;
	if (w->now_ms < p->stopped_until_ms) {
		p->wake_ms = p->stopped_until_ms;
		push(w, (struct event){.at_ms = p->wake_ms, .kind = EV_HOLDER, .who = i});
		return;
	}
	for (int n = 0; n < 4; n++) {
		enum holder_action act = holder_step(&p->h, boot_of(w, p), wall_of(w, p), &when);

		if (act == HOLDER_STOP)
			return;
		if (act == HOLDER_LOOK) {
			const struct lease *l = core_lease(w->core, p->lease);
			const struct renewal *r = core_renewal(w->core, p->lease);

			if (!w->down) /* sluisctl asks, and has its answer */
				holder_looked(&p->h, boot_of(w, p), l->fence, r ? r->renew_seq : 0);
		} else if (act == HOLDER_RENEW) {
			struct event e = {.kind = EV_ARRIVES, .who = i};

			holder_send(&p->h, boot_of(w, p), &e.item);
			transmit(w, e);
		} else {
			break;
		}
	}
	w->lapses += state == HOLDER_HELD && p->h.state == HOLDER_LAPSED;
	p->wake_ms = w->now_ms + (when.ns - boot_of(w, p).ns) / NS_PER_MS + 1;
	push(w, (struct event){.at_ms = p->wake_ms, .kind = EV_HOLDER, .who = i});
}

static void arrives(struct world *w, struct event *e)
{
	struct command cmd = {.type = CMD_LEASE_RENEW, .via = VIA_USERS, .principal = w->principal, .cred = w->cred};
	uint64_t before_n = core_renewal(w->core, e->item.lease) ? core_renewal(w->core, e->item.lease)->renewals : 0;
	int64_t left;
	bool fresh;

	if (w->down)
		return; /* nobody listens */
	if (w->now_ms < w->still_until_ms) {
		e->at_ms = w->still_until_ms; /* in the queue of the socket */
		push(w, *e);
		return;
	}
	left = left_ms(w, e->item.lease);
	fresh = core_renewal(w->core, e->item.lease) && e->item.renew_seq > core_renewal(w->core, e->item.lease)->renew_seq;
	cmd.lease_renew.items = &e->item;
	cmd.lease_renew.items_n = 1;
	must(w, &cmd);
	e->kind = EV_ANSWER;
	e->res = w->d.result.renewals[0];
	if (core_renewal(w->core, e->item.lease)->renewals > before_n) {
		w->renewals++;
		w->per_s[w->now_ms / MS_PER_S]++;
		w->party[e->who].renewed_ms = w->now_ms;
		w->wrongful += left <= 0; /* it had ended */
	} else if (fresh && left > 0) {
		w->wrongful++; /* in time, and refused */
	}
	w->edge_before += left == 1;
	w->edge_after += left == 0 || left == -1;
	transmit(w, *e);
}

static void answer(struct world *w, const struct event *e)
{
	struct party *p = &w->party[e->who];

	if (w->now_ms < p->stopped_until_ms) {
		struct event later = *e;

		later.at_ms = p->stopped_until_ms;
		push(w, later);
		return;
	}
	holder_reply(&p->h, boot_of(w, p), wall_of(w, p), e->item.renew_seq, &e->res);
	holder_acts(w, e->who);
}

static void machine_stops(struct world *w, const struct event *e)
{
	struct party *p = &w->party[e->who];
	int64_t ms = span(w, 1, w->sc->pause_max_ms);

	if (w->now_ms >= p->stopped_until_ms) {
		p->stopped_until_ms = w->now_ms + ms;
		p->stopped_ms += ms;
	}
	push(w, (struct event){.at_ms = w->now_ms + ms + span(w, 1, 2 * w->sc->pause_every_ms), .kind = EV_PAUSE, .who = e->who});
}

/* Daemon time passes up to `until_ms`, each deadline at its own instant. */
static void daemon_until(struct world *w, int64_t until_ms)
{
	while (!w->down && w->now_ms >= w->still_until_ms) {
		int64_t next = core_next_tick(w->core, daemon_ms(w)), at;

		if (next == T_NEVER)
			break;
		at = w->now_ms + (next > daemon_ms(w) ? (next - daemon_ms(w)) * 1000000 / (1000000 + w->rate_ppm) + 1 : 0);
		if (at > until_ms)
			break;
		w->now_ms = at;
		ticks(w);
	}
	w->now_ms = until_ms;
}

static bool run(const struct scenario *sc, uint64_t seed)
{
	struct world w = {.sc = sc};
	int64_t end, down_at, up_at, still_at, back_ms = 0;
	uint32_t peak = 0, first_min = 0, mean;
	uint64_t downs = 0;
	struct err err;

	prng_seed(&w.rng, seed);
	w.party = xcalloc(sc->leases, sizeof *w.party);
	w.per_s = xcalloc((size_t)(2 * sc->run_ms / MS_PER_S) + 100, sizeof *w.per_s);
	w.rate_ppm = span(&w, -RATE_PPM_MAX, RATE_PPM_MAX);
	set_up(&w);
	end = w.now_ms + sc->run_ms;
	down_at = sc->down_ms ? w.now_ms + sc->down_at_ms : T_NEVER;
	still_at = sc->still_ms ? w.now_ms + sc->still_at_ms : T_NEVER;
	up_at = T_NEVER;
	while (w.heap_n && w.now_ms < end) {
		struct event e = pop(&w);

		if (up_at <= e.at_ms) {
			daemon_until(&w, up_at);
			w.down = false;
			away(&w, sc->down_ms);
			back_ms = w.now_ms;
			up_at = T_NEVER;
			if (!sc->grace_ms) /* again, as soon as everybody has renewed once */
				down_at = w.now_ms + sc->ttl_ms;
		}
		if (down_at <= e.at_ms) {
			daemon_until(&w, down_at);
			w.down = true;
			downs++;
			up_at = w.now_ms + sc->down_ms;
			down_at = T_NEVER;
		}
		if (still_at <= e.at_ms) {
			daemon_until(&w, still_at);
			w.still_until_ms = w.now_ms + sc->still_ms;
			still_at = T_NEVER;
			downs++;
		}
		if (w.still_until_ms && e.at_ms >= w.still_until_ms && !back_ms) {
			w.now_ms = w.still_until_ms;
			back_ms = w.now_ms;
			away(&w, sc->still_ms); /* before anything that has piled up */
		}
		daemon_until(&w, e.at_ms);
		switch (e.kind) {
		case EV_HOLDER:
			if (w.party[e.who].wake_ms == e.at_ms) /* else it has looked since, and will again */
				holder_acts(&w, e.who);
			break;
		case EV_ARRIVES: arrives(&w, &e); break;
		case EV_ANSWER: answer(&w, &e); break;
		case EV_PAUSE: machine_stops(&w, &e); break;
		default: UNREACHABLE();
		}
	}
	for (int64_t s = back_ms / MS_PER_S + 1; back_ms && s < back_ms / MS_PER_S + 1800 && s < end / MS_PER_S; s++) {
		peak = w.per_s[s] > peak ? w.per_s[s] : peak;
		first_min += s <= back_ms / MS_PER_S + 60 ? w.per_s[s] : 0;
	}
	mean = (uint32_t)(sc->leases * 3 * MS_PER_S / sc->ttl_ms);
	printf("%s_leases: %u leases\n", sc->name, sc->leases);
	printf("%s_renewals: %" PRIu64 " renewals\n", sc->name, w.renewals);
	printf("%s_times_away: %" PRIu64 " times\n", sc->name, downs);
	printf("%s_expiries: %" PRIu64 " leases\n", sc->name, w.expiries);
	printf("%s_wrongful_expiries: %" PRIu64 " leases\n", sc->name, w.wrongful);
	printf("%s_believed_beyond: %" PRIu64 " holders\n", sc->name, w.believed);
	printf("%s_lapses: %" PRIu64 " holders\n", sc->name, w.lapses);
	if (sc->edge_ms) {
		printf("%s_in_the_last_ms: %" PRIu64 " renewals\n", sc->name, w.edge_before);
		printf("%s_in_the_first_ms_behind: %" PRIu64 " renewals\n", sc->name, w.edge_after);
	}
	if (back_ms && sc->grace_ms) {
		printf("%s_peak_after: %u renewals/s\n", sc->name, peak);
		printf("%s_first_minute_after: %u renewals\n", sc->name, first_min);
		printf("%s_mean: %u renewals/s\n", sc->name, mean);
	}
	if (core_check(w.core, &err)) {
		printf("%s: core_check: %s\n", sc->name, err.msg);
		w.wrongful++;
	}
	core_free(w.core);
	decision_done(&w.d);
	free(w.party);
	free(w.heap);
	free(w.per_s);
	/* what a fleet of so many asks for in the usual way, times ten, is no storm for a daemon that takes
	 * thousands a second */
	return !w.wrongful && !w.believed && w.renewals > sc->leases && (!sc->edge_ms || (w.edge_before && w.edge_after)) && (!sc->grace_ms || !back_ms || peak <= 10 * mean);
}

int main(int argc, char **argv)
{
	uint32_t passed = 0, failed = 0;

	for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
		bool wanted = argc < 2;

		for (int k = 1; k < argc; k++)
			wanted |= !strcmp(argv[k], scenarios[i].name);
		if (!wanted)
			continue;
		if (run(&scenarios[i], 1 + i)) {
			passed++;
		} else {
			printf("%s: FAILED\n", scenarios[i].name);
			failed++;
		}
	}
	if (!passed && !failed) {
		fprintf(stderr, "sim_leases: no such scenario\n");
		return 2;
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
