/* desired.c - what should be on a node: the level that agents reconcile to */
#include "daemon/core/elastic.h"
#include "daemon/core/state.h"

#include <string.h>

static const struct part *first_part(const struct alloc *a)
{
	const struct part *first = NULL;

	for (uint32_t i = 0; i < a->parts_n; i++)
		if (a->parts[i].rank0 == 0 && (!first || a->parts[i].index < first->index))
			first = &a->parts[i];
	return first ? first : &a->parts[0];
}

static void devices_fill(const struct node *n, const struct part *p, struct unit *u, struct arena *arena)
{
	u->devices = arena_alloc(arena, popcount64(p->devices) * sizeof *u->devices);
	for (uint64_t m = p->devices; m; m &= m - 1) {
		const struct device *dev = &n->devices[__builtin_ctzll(m)];
		struct unit_device *ud = &u->devices[u->devices_n++];

		TEXT_SET(ud->pci, dev->pci);
		ud->partition = dev->partition;
		TEXT_SET(ud->uuid, dev->uuid);
		TEXT_SET(ud->vendor, dev->vendor);
	}
}

/* `s`: NULL for a lease. What a script asked for is what its mpirun starts, though we start the script alone. */
static void hosts_add(const struct core *c, const struct job_spec *s, const struct alloc *a, struct unit *u)
{
	for (uint32_t i = 0; i < a->parts_n; i++) {
		const struct part *p = &a->parts[i];
		const struct node *n = core_node(c, p->node);
		struct unit_host *h = &u->hosts[u->hosts_n++];
		uint32_t slots = p->devices ? popcount64(p->devices) : p->units, tasks = s ? job_tasks(s, p->units) : p->tasks;

		TEXT_SET(h->name, n->name);
		TEXT_SET(h->address, n->address);
		h->slots = (uint16_t)(tasks > 1 ? tasks : slots);
		u->world += s ? tasks : 0;
	}
}

static void hosts_fill(const struct core *c, const struct alloc *a, struct unit *u, struct arena *arena)
{
	u->hosts = arena_alloc(arena, a->parts_n * sizeof *u->hosts);
	hosts_add(c, NULL, a, u);
}

/* What belongs to the attempt now, in the order of its nodes: the core, and of the extras those that run, and
 * `self` if it is about to. Fills hosts, world and what is elastic; counts the nodes before self. */
static void gang_fill(const struct core *c, const struct job *j, const struct alloc *core, const struct alloc *self,
		      struct unit *u, struct arena *arena)
{
	uint32_t most = core->parts_n + (self->extra ? self->parts_n : 0), before = 0;

	EACH(c, loans, alloc_s, a)
		most += job_of(c, j->id)->extras_n && a->r.extra && a->r.owner == j->id ? a->r.parts_n : 0;
	u->hosts = arena_alloc(arena, most * sizeof *u->hosts);
	hosts_add(c, &j->spec, core, u);
	u->units_now = core->units;
	if (job_of(c, j->id)->extras_n)
		EACH(c, loans, alloc_s, a) {
			if (!a->r.extra || a->r.owner != j->id || a->r.attempt != core->attempt ||
			    (a->r.state != ALLOC_ACTIVE && &a->r != self))
				continue;
			if (&a->r == self)
				before = u->hosts_n;
			hosts_add(c, &j->spec, &a->r, u);
			u->units_now += a->r.units;
		}
	u->node_rank += before;
	if (!elastic_is(&j->spec)) {
		u->units_now = 0;
		return;
	}
	u->nodes_min = core->parts_n;
	u->nodes_max = elastic_nodes_max(c, &j->spec, core);
	u->nodes_now = u->hosts_n;
}

static void job_fill(const struct core *c, int64_t t, const struct alloc *a, const struct part *p, struct unit *u,
		     struct arena *arena)
{
	const struct job *j = core_job(c, a->owner);
	const struct alloc *core = a->extra && j ? core_alloc(c, j->alloc) : a;
	const struct part *first;

	u->kind = UNIT_JOB_COMMAND;
	if (!j)
		return; /* its job is gone from the table: only a stop can follow */
	u->kind = j->spec.mode == JOB_SCRIPT ? UNIT_JOB_SCRIPT : UNIT_JOB_COMMAND;
	memcpy(u->payload, j->spec.payload, sizeof u->payload);
	TEXT_SET(u->name, j->spec.name);
	TEXT_SET(u->user, j->user);
	u->rank0 = p->rank0;
	u->cpus_per_task = j->spec.cpus_per_task;
	u->array = j->array;
	u->array_index = j->array_index;
	u->restart_count = a->attempt ? a->attempt - 1 : 0;
	u->resume = j->checkpoint_step > 0;
	u->slurm_env = j->spec.slurm_env;
	u->stop_on_disconnect = j->spec.stop_on_disconnect;
	u->signal = j->spec.signal;
	u->signal_target = j->spec.signal_target;
	if (a->limit_ms != T_NEVER)
		u->time_left_ms = a->limit_ms - t;
	else if (a->state == ALLOC_BINDING)
		u->time_left_ms = j->spec.time_limit_ms;
	if (!core || core->attempt != a->attempt) { /* an extra that outlives its core is stopping */
		hosts_fill(c, a, u, arena);
		return;
	}
	first = first_part(core);
	TEXT_SET(u->master_address, core_node(c, first->node)->address);
	u->master_port = first->port;
	gang_fill(c, j, core, a, u, arena);
}

static void lease_fill(const struct core *c, int64_t t, const struct alloc *a, struct unit *u, struct arena *arena)
{
	static const uint8_t none[32];
	const struct lease *l = core_lease(c, a->owner);

	u->kind = UNIT_BARE;
	if (!l)
		return;
	u->kind = memcmp(l->spec.payload, none, 32) ? UNIT_SERVICE : UNIT_BARE;
	memcpy(u->payload, l->spec.payload, sizeof u->payload);
	TEXT_SET(u->name, l->spec.name);
	TEXT_SET(u->user, core_principal(c, l->owner) ? core_principal(c, l->owner)->name : "");
	u->world = u->tasks;
	if (l->term_end_ms)
		u->time_left_ms = l->term_end_ms - t;
	hosts_fill(c, a, u, arena);
}

void core_units_of_node(const struct core *c, int64_t t, uint32_t node, struct arena *arena, struct unit **ret_units,
			uint32_t *ret_n)
{
	const struct node_s *n = node_of(c, node);

	*ret_units = arena_alloc(arena, n->units_n * sizeof **ret_units);
	*ret_n = 0;
	for (uint32_t i = 0; i < n->units_n; i++) {
		const struct alloc *a = core_alloc(c, n->units[i].alloc);
		struct unit *u = &(*ret_units)[(*ret_n)++];
		const struct part *p = NULL;

		for (uint32_t k = 0; k < a->parts_n; k++) {
			if (a->parts[k].index == n->units[i].part)
				p = &a->parts[k];
			if (!p)
				u->node_rank++;
		}
		ENSURE(p);
		u->alloc = a->id;
		u->part = p->index;
		u->phase = a->state == ALLOC_STOPPING || p->stop ? UNIT_STOP :
			   a->state == ALLOC_ACTIVE		 ? UNIT_RUN :
								   UNIT_PREPARE;
		u->owner = a->owner;
		u->attempt = a->attempt;
		core_qnode_path(c, a->qnode, u->project);
		u->klass = a->klass;
		memcpy(u->cores, p->cores, sizeof u->cores);
		u->memory_mib = p->memory_mib;
		u->tasks = p->tasks;
		u->time_left_ms = T_NEVER;
		if (u->phase == UNIT_STOP) {
			u->stop_cause = a->stop_cause;
			u->stop_in_ms = a->stop_at_ms > t ? a->stop_at_ms - t : 0;
			u->claim = a->claim;
		}
		devices_fill(&n->r, p, u, arena);
		if (a->owner_kind == OWNER_JOB)
			job_fill(c, t, a, p, u, arena);
		else
			lease_fill(c, t, a, u, arena);
	}
}
