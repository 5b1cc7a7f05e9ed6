/* snapshot.c - see snapshot.h */
#include "daemon/sim/snapshot.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

enum { FORMAT = 1, ITEMS_MAX = 1 << 20 };
/* Beyond any limit that sluisd grants, and far from overflow. */
#define MS_MAX (INT64_C(10000) * MS_PER_DAY)

/* Where in the file, for messages: "name: jobs[3].devices". */
struct at { const char *name, *list; size_t index; const json_t *item; struct err *err; };

static int wrong(const struct at *at, const char *key, const char *what)
{
	return err_set(at->err, ERR_FORMAT, "%s: %s[%zu].%s: %s", at->name, at->list, at->index, key, what);
}

static int text_at(const struct at *at, const char *key, char *ret, size_t size)
{
	const json_t *v = json_object_get(at->item, key);

	if (!json_is_string(v))
		return wrong(at, key, "a text is expected");
	if (json_string_length(v) >= size || strlen(json_string_value(v)) != json_string_length(v))
		return wrong(at, key, "the text is too long");
	memcpy(ret, json_string_value(v), json_string_length(v) + 1);
	return 0;
}

static int number_at(const struct at *at, const char *key, int64_t low, int64_t high, int64_t *ret)
{
	const json_t *v = json_object_get(at->item, key);
	char what[96];

	if (json_is_integer(v) && json_integer_value(v) >= low && json_integer_value(v) <= high) {
		*ret = json_integer_value(v);
		return 0;
	}
	(void)snprintf(what, sizeof what, "a number from %" PRId64 " to %" PRId64 " is expected", low, high);
	return wrong(at, key, what);
}

typedef int item_fn(struct snapshot *s, const struct at *at, int64_t t_ms);

/* Every item of a list, with its place. */
static int each(struct snapshot *s, const json_t *root, const char *name, const char *list, int64_t t_ms, item_fn *fn,
		struct err *err)
{
	const json_t *array = json_object_get(root, list);
	struct at at = {.name = name, .list = list, .err = err};
	int r = 0;

	if (!json_is_array(array))
		return err_set(err, ERR_FORMAT, "%s: %s: a list is expected", name, list);
	if (json_array_size(array) > ITEMS_MAX)
		return err_set(err, ERR_TOOBIG, "%s: %s: more than %d items", name, list, ITEMS_MAX);
	for (; at.index < json_array_size(array) && r == 0; at.index++) {
		at.item = json_array_get(array, at.index);
		r = fn(s, &at, t_ms);
	}
	return r;
}

/* Is the item about the flavor that was chosen? */
static int is_ours(const struct snapshot *s, const struct at *at, bool *ret)
{
	char flavor[FLAVOR_NAME_BYTES];
	int r = text_at(at, "flavor", flavor, sizeof flavor);

	*ret = r == 0 && strcmp(flavor, s->flavor) == 0;
	return r;
}

/* ---- items ------------------------------------------------------------------------------------------------ */

static int side_item(struct snapshot *s, const struct at *at, int64_t t_ms)
{
	char side[16];
	int64_t nominal;
	bool ours;

	(void)t_ms;
	if (is_ours(s, at, &ours) || text_at(at, "side", side, sizeof side) ||
	    number_at(at, "nominal", 0, INT32_MAX, &nominal))
		return ERR_FORMAT;
	if (ours && strcmp(side, "public") == 0)
		s->public_units = (uint32_t)nominal;
	else if (ours && strcmp(side, "private") == 0)
		s->private_units = (uint32_t)nominal;
	return 0;
}

/* Nodes of each size that is not out; the most common size wins, the larger one among equals. */
struct sizes { uint32_t count[DEVICES_PER_NODE_MAX + 1]; uint64_t units; };

static int nodes_of(struct snapshot *s, const json_t *root, const char *name, struct err *err)
{
	const json_t *array = json_object_get(root, "nodes"), *item;
	struct sizes sizes = {0};
	struct at at = {.name = name, .list = "nodes", .err = err};
	uint32_t best = 0;

	if (!json_is_array(array))
		return err_set(err, ERR_FORMAT, "%s: nodes: a list is expected", name);
	json_array_foreach(array, at.index, item) {
		int64_t devices, out;
		bool ours;

		at.item = item;
		if (is_ours(s, &at, &ours) || number_at(&at, "devices", 0, DEVICES_PER_NODE_MAX, &devices) ||
		    number_at(&at, "out", 0, devices, &out))
			return ERR_FORMAT;
		if (ours && devices > out) {
			sizes.count[devices]++;
			sizes.units += (uint64_t)(devices - out);
		}
	}
	for (uint32_t k = 1; k <= DEVICES_PER_NODE_MAX; k++)
		if (sizes.count[k] && sizes.count[k] >= sizes.count[best])
			best = k;
	if (!best)
		return err_set(err, ERR_INVAL, "%s: no node has a %s that is not out", name, s->flavor);
	s->per_node = best;
	s->nodes = (uint32_t)(sizes.units / best ? sizes.units / best : 1);
	return 0;
}

static int job_item(struct snapshot *s, const struct at *at, int64_t t_ms)
{
	struct snapshot_job j = {0};
	int64_t id, units, limit_ms, start_ms;
	char state[16];
	bool ours;

	if (is_ours(s, at, &ours) || number_at(at, "id", 1, INT64_MAX, &id) ||
	    text_at(at, "project", j.project, sizeof j.project) || text_at(at, "state", state, sizeof state) ||
	    number_at(at, "devices", 0, INT32_MAX, &units) || number_at(at, "limit_ms", 1, MS_MAX, &limit_ms) ||
	    number_at(at, "start_ms", 0, INT64_MAX, &start_ms))
		return ERR_FORMAT;
	j.running = strcmp(state, "running") == 0;
	if (!j.running && strcmp(state, "waiting") != 0 && strcmp(state, "held") != 0)
		return wrong(at, "state", "waiting, held or running is expected");
	if (!ours || units == 0) {
		s->others_n++;
		return 0;
	}
	if (state[0] == 'h') {
		s->held_n++;
		return 0;
	}
	j.id = (uint64_t)id;
	j.units = (uint32_t)units;
	j.left_ms = limit_ms;
	if (j.running && start_ms > 0 && t_ms > start_ms)
		j.left_ms = t_ms - start_ms < limit_ms ? limit_ms - (t_ms - start_ms) : 0;
	if (j.left_ms < MS_PER_S) /* it is about to end */
		j.left_ms = MS_PER_S;
	s->running_n += j.running;
	if ((s->jobs_n & (s->jobs_n - 1)) == 0)
		s->jobs = xrealloc(s->jobs, (s->jobs_n ? 2 * s->jobs_n : 1) * sizeof *s->jobs);
	s->jobs[s->jobs_n++] = j;
	return 0;
}

static int lease_item(struct snapshot *s, const struct at *at, int64_t t_ms)
{
	struct snapshot_lease l = {0};
	int64_t units;
	bool ours;

	(void)t_ms;
	if (is_ours(s, at, &ours) || text_at(at, "provider", l.provider, sizeof l.provider) ||
	    number_at(at, "devices", 0, INT32_MAX, &units))
		return ERR_FORMAT;
	if (!ours || units == 0)
		return 0;
	l.units = (uint32_t)units;
	if ((s->leases_n & (s->leases_n - 1)) == 0)
		s->leases = xrealloc(s->leases, (s->leases_n ? 2 * s->leases_n : 1) * sizeof *s->leases);
	s->leases[s->leases_n++] = l;
	return 0;
}

/* ---- the file ---------------------------------------------------------------------------------------------- */

static int choose(struct snapshot *s, const json_t *root, const char *name, const char *flavor, struct err *err)
{
	const json_t *array = json_object_get(root, "flavors"), *item;
	struct at at = {.name = name, .list = "flavors", .err = err};
	int64_t most = -1;
	bool found = false;

	if (!json_is_array(array))
		return err_set(err, ERR_FORMAT, "%s: flavors: a list is expected", name);
	json_array_foreach(array, at.index, item) {
		char text[FLAVOR_NAME_BYTES];
		int64_t installed;

		at.item = item;
		if (text_at(&at, "name", text, sizeof text) || number_at(&at, "installed", 0, INT32_MAX, &installed))
			return ERR_FORMAT;
		if (flavor ? strcmp(flavor, text) == 0 : installed > most) {
			memcpy(s->flavor, text, sizeof text);
			most = installed;
			found = true;
		}
	}
	if (found)
		return 0;
	if (!flavor)
		return err_set(err, ERR_INVAL, "%s: the cluster has no flavors", name);
	return err_set(err, ERR_NOTFOUND, "%s: there is no flavor '%s'", name, flavor);
}

/* Running ones first; the order is kept otherwise. */
static void running_first(struct snapshot *s)
{
	struct snapshot_job *sorted = xcalloc(s->jobs_n + 1, sizeof *sorted);
	size_t n = 0;

	for (int running = 1; running >= 0; running--)
		for (size_t i = 0; i < s->jobs_n; i++)
			if (s->jobs[i].running == running)
				sorted[n++] = s->jobs[i];
	free(s->jobs);
	s->jobs = sorted;
}

static int parse(const json_t *root, const char *name, const char *flavor, struct snapshot *s, struct err *err)
{
	const json_t *version = json_object_get(root, "snapshot"), *t = json_object_get(root, "t_ms");
	const json_t *cluster = json_object_get(root, "cluster");
	int r;

	if (!json_is_integer(version))
		return err_set(err, ERR_FORMAT, "%s: this is no snapshot of a cluster", name);
	if (json_integer_value(version) != FORMAT)
		return err_set(err, ERR_VERSION, "%s: a snapshot of format %" JSON_INTEGER_FORMAT ", this program reads %d",
			       name, json_integer_value(version), FORMAT);
	if (!json_is_integer(t) || json_integer_value(t) < 0)
		return err_set(err, ERR_FORMAT, "%s: t_ms: an instant is expected", name);
	(void)snprintf(s->cluster, sizeof s->cluster, "%s", json_is_string(cluster) ? json_string_value(cluster) : "");
	r = choose(s, root, name, flavor, err);
	if (r == 0)
		r = nodes_of(s, root, name, err);
	if (r == 0)
		r = each(s, root, name, "sides", json_integer_value(t), side_item, err);
	if (r == 0)
		r = each(s, root, name, "jobs", json_integer_value(t), job_item, err);
	if (r == 0)
		r = each(s, root, name, "leases", json_integer_value(t), lease_item, err);
	if (r == 0)
		running_first(s);
	return r;
}

int snapshot_parse(const char *name, const char *text, size_t bytes, const char *flavor, struct snapshot *ret,
		   struct err *err)
{
	json_error_t why;
	json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
	int r;

	if (!root) {
		(void)err_set(err, ERR_FORMAT, "%s:%d: %s", name, why.line, why.text);
		return err_hint(err, "sluisctl snapshot FILE writes one"), ERR_FORMAT;
	}
	r = parse(root, name, flavor, ret, err);
	json_decref(root);
	return r;
}

void snapshot_done(struct snapshot *s)
{
	free(s->jobs);
	free(s->leases);
	*s = (struct snapshot){0};
}

/* ---- as input of the simulations --------------------------------------------------------------------------- */

void snapshot_log(const struct snapshot *s, struct swf *ret)
{
	ret->jobs = xcalloc(s->jobs_n + 1, sizeof *ret->jobs);
	ret->jobs_n = s->jobs_n;
	ret->max_procs = ret->max_nodes = (int64_t)s->nodes * s->per_node;
	for (size_t i = 0; i < s->jobs_n; i++) {
		int64_t left_s = (s->jobs[i].left_ms + MS_PER_S - 1) / MS_PER_S;

		ret->jobs[i] = (struct swf_job){.id = (int64_t)s->jobs[i].id, .run_s = left_s, .request_s = left_s,
						.allocated = s->jobs[i].units, .procs = s->jobs[i].units, .user = 1,
						.line = (unsigned)i + 1};
	}
}

void snapshot_trace(const struct snapshot *s, const struct divide_pick *pick, struct divide_trace *ret)
{
	for (size_t i = 0; i < s->jobs_n; i++)
		divide_trace_add(ret, pick, 0, s->jobs[i].left_ms, s->jobs[i].left_ms, s->jobs[i].units, s->jobs[i].project);
	for (size_t i = 0; i < ret->jobs_n; i++)
		ret->device_ms += (double)ret->jobs[i].run_ms * ret->jobs[i].units;
}

void snapshot_demand(const struct snapshot *s, int64_t span_ms, struct demand_curve *ret)
{
	ret->kind = DEMAND_DEVICES;
	ret->span_ms = span_ms;
	for (size_t i = 0; i < s->leases_n; i++)
		demand_curve_add(ret, s->leases[i].provider, s->leases[i].units);
}
