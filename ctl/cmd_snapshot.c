/* cmd_snapshot.c - the cluster as it stands, for sluis-sim
 *
 * Four answers of the daemon in one file: what is promised, what there is, what waits and runs, who leases. It names
 * projects, providers and nodes, and no person; scripts, environments and keys are not in it. The format is that
 * of sluis-sim(1), SNAPSHOTS.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"

enum { FORMAT = 1, TRIES = 5 };

struct answers {
	struct view_status status;
	struct view_division division;
	struct view_nodes nodes;
	struct view_jobs jobs;
	struct view_leases leases;
};

/* All of one instant, if the daemon stands still for that long: asked anew while it moves on, a few times. */
static int ask_all(struct ctl *c, struct answers *a)
{
	struct query status = {.type = QUERY_STATUS}, division = {.type = QUERY_DIVISION}, nodes = {.type = QUERY_NODES},
		     jobs = {.type = QUERY_JOBS}, leases = {.type = QUERY_LEASES};
	int r = 0;

	for (int i = 0; i < TRIES && r == 0; i++) {
		*a = (struct answers){0};
		r = ask(c, &status, &a->status, "read the status");
		if (!r)
			r = ask(c, &division, &a->division, "read the division");
		if (!r)
			r = ask(c, &nodes, &a->nodes, "read the nodes");
		if (!r)
			r = ask(c, &jobs, &a->jobs, "read the queue");
		if (!r)
			r = ask(c, &leases, &a->leases, "read the leases");
		if (a->status.seq == a->leases.seq)
			break;
	}
	return r;
}

static const struct flavor *flavor_at(const struct answers *a, uint16_t id)
{
	for (uint32_t i = 0; i < a->division.flavors_n; i++)
		if (a->division.flavors[i].id == id)
			return &a->division.flavors[i];
	return NULL;
}

static json_int_t devices_of(const struct answers *a, uint16_t flavor, uint8_t shape, uint32_t units)
{
	const struct flavor *f = flavor_at(a, flavor);

	return shape == SHAPE_NODE && f ? (json_int_t)units * f->devices_per_node : (json_int_t)units;
}

static json_t *flavors_json(const struct answers *a)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < a->status.flavors_n; i++) {
		const struct flavor_view *f = &a->status.flavors[i];

		json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I}", "name", f->name, "installed",
						      (json_int_t)f->installed, "out", (json_int_t)f->out, "committed",
						      (json_int_t)f->committed));
	}
	return list;
}

static json_t *sides_json(const struct answers *a)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < a->status.sides_n; i++) {
		const struct side_view *s = &a->status.sides[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "flavor", s->flavor, "side", s->side, "nominal",
						      (json_int_t)s->nominal));
	}
	return list;
}

static json_t *nodes_json(const struct answers *a)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < a->nodes.items_n; i++) {
		const struct node_view *n = &a->nodes.items[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:I}", "name", n->node.name, "flavor", n->flavor,
						      "state", n->state, "devices", (json_int_t)n->devices, "out",
						      (json_int_t)n->out));
	}
	return list;
}

static json_t *jobs_json(const struct answers *a)
{
	static const char *const loan[] = {"never", "ok", "only"};
	json_t *list = json_array();

	for (uint32_t i = 0; i < a->jobs.items_n; i++) {
		const struct job_view *v = &a->jobs.items[i];
		const struct job *j = &v->job;
		const char *state = j->state == JOB_HELD ? "held" : j->state < JOB_BINDING ? "waiting" : "running";

		if (job_terminal(j->state))
			continue;
		json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "id", (json_int_t)j->id,
						      "project", v->project, "flavor", v->flavor, "state", state, "devices",
						      devices_of(a, j->spec.flavor, j->spec.shape, j->spec.units),
						      "limit_ms", (json_int_t)j->spec.time_limit_ms, "submit_ms",
						      (json_int_t)j->submit_ms, "start_ms",
						      j->state < JOB_BINDING ? (json_int_t)0 : (json_int_t)j->start_ms, "loan",
						      j->spec.loan < ARRAY_LEN(loan) ? loan[j->spec.loan] : "ok"));
	}
	return list;
}

static json_t *leases_json(const struct answers *a)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < a->leases.items_n; i++) {
		const struct lease_view *v = &a->leases.items[i];

		if (lease_terminal(v->lease.state))
			continue;
		json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:s, s:I}", "id", (json_int_t)v->lease.id, "provider",
						      v->provider, "flavor", v->flavor, "state", v->state, "devices",
						      devices_of(a, v->lease.spec.flavor, v->lease.spec.shape,
								 v->lease.spec.units)));
	}
	return list;
}

/* Who may not see all leases gets a cluster in which the others' devices are idle. */
static void say_what_lacks(struct ctl *c, const struct answers *a)
{
	uint32_t live = 0;

	for (uint32_t i = 0; i < a->leases.items_n; i++)
		live += !lease_terminal(a->leases.items[i].lease.state);
	if (live < a->status.leases_live)
		fprintf(c->errs, "sluisctl: %u of %u leases are not yours to see: the snapshot lacks them, an admin's has them\n",
			a->status.leases_live - live, a->status.leases_live);
}

int cmd_snapshot(struct ctl *c, const struct call *call)
{
	const char *path = call->args_n ? call->args[0] : NULL;
	struct answers a;
	FILE *f = c->out;
	json_t *o;
	int r = ask_all(c, &a), failed;

	if (r)
		return r;
	o = json_pack("{s:i, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "snapshot", FORMAT, "cluster", a.status.cluster, "seq",
		      (json_int_t)a.status.seq, "t_ms", (json_int_t)a.status.t_ms, "flavors", flavors_json(&a), "sides",
		      sides_json(&a), "nodes", nodes_json(&a), "jobs", jobs_json(&a), "leases", leases_json(&a));
	ENSURE(o != NULL); /* texts of the wire are UTF-8 */
	if (path) {
		f = fopen(path, "we");
		if (!f) {
			struct err err = {0};

			json_decref(o);
			(void)err_set_errno(&err, ERR_IO, "cannot write '%s'", path);
			return fault(c, &err, NULL);
		}
	}
	failed = json_dumpf(o, f, JSON_INDENT(1) | JSON_PRESERVE_ORDER) | (fputc('\n', f) == EOF);
	json_decref(o);
	if (path)
		failed |= fclose(f);
	if (failed) {
		struct err err = {0};

		(void)err_set_errno(&err, ERR_IO, "cannot write %s", path ? path : "the snapshot");
		return fault(c, &err, NULL);
	}
	say_what_lacks(c, &a);
	if (path && !c->quiet)
		fprintf(c->out, "%s: %u nodes, %u jobs, %u leases as of seq %" PRIu64 "\n", path, a.nodes.items_n,
			a.jobs.items_n, a.leases.items_n, a.status.seq);
	return 0;
}
