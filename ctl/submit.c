/* submit.c - see submit.h */
#include "ctl/submit.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "proto/base/ckd.h"
#include "proto/base/ensure.h"
#include "proto/model/names.h"
#include "proto/model/reason.h"
#include "proto/wire/cursor.h"

enum { RETRIES_INFRA = 3 };

static int refuse(struct err *err, int code, const char *hint, const char *msg)
{
	(void)err_set(err, code, "%s", msg);
	(void)err_hint(err, "%s", hint);
	return code;
}

static bool set(int64_t v) { return v != JOB_UNSET; }

/* ---- which flavor ---------------------------------------------------------------------------- */

/* What a job with these options calls its devices: --flavor, the type of --gpus=TYPE:N, or a partition. */
static const char *flavor_wish(const struct job_options *o)
{
	return o->flavor ? o->flavor : o->gpu_type ? o->gpu_type : o->partition;
}

bool submission_needs_division(const struct job_options *o)
{
	return !o->flavor || (set(o->nodes_min) && !o->whole_nodes && (set(o->gpus_per_node) || set(o->gres_gpus)));
}

/* Exact, else the one flavor that begins so ("h100" → h100-80g). NULL: none, or several. */
static const struct flavor *flavor_like(const struct view_division *d, const char *wish)
{
	const struct flavor *found = NULL;
	size_t n = 0;

	for (uint32_t i = 0; i < d->flavors_n; i++)
		if (!strcmp(d->flavors[i].name, wish))
			return &d->flavors[i];
	for (uint32_t i = 0; i < d->flavors_n; i++)
		if (!strncasecmp(d->flavors[i].name, wish, strlen(wish))) {
			found = &d->flavors[i];
			n++;
		}
	return n == 1 ? found : NULL;
}

static const struct qnode_view *project_named(const struct view_division *d, const char *name)
{
	for (uint32_t i = 0; i < d->items_n; i++)
		if (d->items[i].qnode.kind == QNODE_PROJECT &&
		    (!strcmp(d->items[i].path, name) || !strcmp(d->items[i].qnode.name, name)))
			return &d->items[i];
	return NULL;
}

/* The one flavor that the project itself was promised, or NULL. */
static const struct flavor *flavor_of_project(const struct view_division *d, const char *project)
{
	const struct qnode_view *leaf = project_named(d, project);
	const struct flavor *found = NULL;

	for (uint32_t k = 0; leaf && k < leaf->qnode.quotas_n; k++)
		for (uint32_t i = 0; i < d->flavors_n; i++) {
			if (d->flavors[i].id != leaf->qnode.quotas[k].flavor || !leaf->qnode.quotas[k].nominal)
				continue;
			if (found && found != &d->flavors[i])
				return NULL;
			found = &d->flavors[i];
		}
	return found;
}

static void flavor_names(const struct view_division *d, char *out, size_t size)
{
	size_t at = 0;

	out[0] = '\0';
	for (uint32_t i = 0; i < d->flavors_n && at < size; i++)
		at += (size_t)snprintf(out + at, size - at, "%s--flavor %s", i ? ", or " : "", d->flavors[i].name);
}

static int flavor_choose(const struct job_options *o, const struct view_division *d, const struct flavor **ret,
			 struct err *err)
{
	const char *wish = flavor_wish(o);
	char names[ERR_HINT_BYTES];
	bool cores = set(o->cpus_per_task) && !set(o->gpus) && !set(o->gpus_per_node);
	size_t n = 0;

	*ret = NULL;
	if (!d)
		return 0;
	flavor_names(d, names, sizeof names);
	if (wish) {
		*ret = flavor_like(d, wish);
		if (*ret || o->flavor) /* a --flavor that is not known is for the daemon to judge */
			return 0;
		(void)err_set(err, ERR_INVAL, "'%.60s' is no flavor of this cluster", wish);
		return err_hint(err, "%s", names[0] ? names : "--flavor NAME: sluisctl division show");
	}
	for (uint32_t i = 0; i < d->flavors_n; i++)
		if (d->flavors[i].unit == UNIT_DEVICE) {
			*ret = &d->flavors[i];
			n++;
		}
	if (n == 1 && !cores)
		return 0;
	if (!project_named(d, o->project)) {
		(void)err_set(err, ERR_NOTFOUND, "there is no project '%.60s'", o->project);
		return err_hint(err, "sluisctl project list");
	}
	*ret = cores ? NULL : flavor_of_project(d, o->project);
	if (*ret)
		return 0;
	(void)err_set(err, ERR_INVAL, "which kind of device?");
	return err_hint(err, "%s", names[0] ? names : "--flavor NAME: sluisctl division show");
}

/* Is `flavor` promised in whole nodes to `project` or anybody above it? Then a job that takes whole nodes takes
 * them as nodes; else as so many devices on each. */
static bool promised_whole(const struct view_division *d, const char *project, uint16_t flavor)
{
	const struct qnode_view *leaf = project_named(d, project);

	while (leaf) {
		uint32_t up = leaf->qnode.parent;

		for (uint32_t k = 0; k < leaf->qnode.quotas_n; k++)
			if (leaf->qnode.quotas[k].flavor == flavor && leaf->qnode.quotas[k].shape == SHAPE_NODE &&
			    leaf->qnode.quotas[k].nominal > 0)
				return true;
		if (leaf->qnode.kind == QNODE_ROOT)
			return false;
		leaf = NULL;
		for (uint32_t i = 0; i < d->items_n; i++)
			if (d->items[i].qnode.id == up)
				leaf = &d->items[i];
	}
	return false;
}

/* ---- how much -------------------------------------------------------------------------------- */

/* No cluster has them; sluisd would say the same. */
static int too_many(struct err *err)
{
	(void)err_set(err, ERR_NEVER, "so many devices are never in one job");
	(void)err_hint(err, "1 to %d devices", PARTS_PER_ALLOC_MAX * DEVICES_PER_NODE_MAX);
	return err_reason(err, REASON_SHAPE);
}

static int as_u32(int64_t v, uint32_t *ret, struct err *err)
{
	if (v < 1 || v > (int64_t)PARTS_PER_ALLOC_MAX * DEVICES_PER_NODE_MAX)
		return too_many(err);
	*ret = (uint32_t)v;
	return 0;
}

static int as_u16(int64_t v, uint16_t *ret, const char *what, struct err *err)
{
	if (v < 0 || v > UINT16_MAX) {
		(void)err_set(err, ERR_RANGE, "%s: %" PRId64 " is too many", what, v);
		return err_hint(err, "at most %d", UINT16_MAX);
	}
	*ret = (uint16_t)v;
	return 0;
}

/* The options that say how many devices, each in its own way. */
static const struct { const char *name, *variable; } counts[] = {
	{"gpus", "SLUIS_SUBMIT_GPUS="}, {"gpus-per-node", "SLUIS_SUBMIT_GPUS_PER_NODE="},
	{"gpus-per-task", "SLUIS_SUBMIT_GPUS_PER_TASK="}, {"gres", "SLUIS_SUBMIT_GRES="},
};

static unsigned count_bit(const char *name)
{
	const struct job_option *row = job_option_find(name);

	for (size_t i = 0; row && i < ARRAY_LEN(counts); i++)
		if (!strcmp(row->name, counts[i].name))
			return 1U << i;
	return 0;
}

static unsigned variable_bit(const char *entry)
{
	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		if (!strncmp(entry, counts[i].variable, strlen(counts[i].variable)))
			return 1U << i;
	return 0;
}

char *const *submission_precedence(struct directives *script, char *const *env, const struct directive *options, size_t n,
				   struct arena *arena)
{
	unsigned said = 0;
	size_t kept = 0, env_n = 0;
	char **left;

	for (size_t i = 0; i < n; i++)
		said |= count_bit(options[i].name);
	while (env && env[env_n])
		env_n++;
	left = arena_alloc(arena, (env_n + 1) * sizeof *left);
	for (size_t i = 0; i < env_n; i++)
		if (!variable_bit(env[i]) || !(said & ~variable_bit(env[i])))
			left[kept++] = env[i];
	left[kept] = NULL;
	for (size_t i = 0; i < kept; i++)
		said |= variable_bit(left[i]);
	kept = 0;
	for (size_t i = 0; script && i < script->list.count; i++) {
		unsigned bit = count_bit(script->list.items[i].name);

		if (!bit || !(said & ~bit)) /* the same option again keeps its type of device */
			script->list.items[kept++] = script->list.items[i];
	}
	if (script)
		script->list.count = kept;
	return left;
}

/* Devices of the whole job, from whichever option says so; 0: none does. */
static int devices_asked(const struct job_options *o, int64_t *ret, int64_t *ret_per_node, struct err *err)
{
	int64_t nodes = set(o->nodes_min) ? o->nodes_min : 1;

	*ret = *ret_per_node = 0;
	if (set(o->gpus_per_node) || set(o->gres_gpus)) {
		*ret_per_node = set(o->gpus_per_node) ? o->gpus_per_node : o->gres_gpus;
		if (ckd_mul(ret, nodes, *ret_per_node))
			return too_many(err);
		if (set(o->gpus) && o->gpus != *ret)
			return refuse(err, ERR_CONFLICT, "one of them", "--gpus and --gpus-per-node times --nodes differ");
		return 0;
	}
	if (set(o->gpus)) {
		*ret = o->gpus;
		if (set(o->nodes_min)) {
			if (o->gpus % nodes)
				return refuse(err, ERR_INVAL, "--gpus-per-node", "--gpus does not divide into --nodes");
			*ret_per_node = o->gpus / nodes;
		}
		return 0;
	}
	if (set(o->gpus_per_task)) {
		int64_t tasks = set(o->ntasks)            ? o->ntasks
				: set(o->tasks_per_node) ? o->tasks_per_node * nodes
							  : nodes;

		if (ckd_mul(ret, tasks, o->gpus_per_task))
			return too_many(err);
		if (set(o->nodes_min) && *ret % nodes == 0)
			*ret_per_node = *ret / nodes;
	}
	return 0;
}

static int fill_units(const struct job_options *o, const struct flavor *f, const struct view_division *d,
		      struct job_spec *s, struct err *err)
{
	int64_t devices = 0, per_node = 0, units, most;
	int r = devices_asked(o, &devices, &per_node, err);

	if (r)
		return r;
	if (!devices && !(f && f->unit == UNIT_CORE) &&
	    (set(o->gpus) || set(o->gpus_per_node) || set(o->gpus_per_task) || set(o->gres_gpus)))
		return refuse(err, ERR_INVAL, "1 device or more, or a --flavor of cores: sluisctl division show",
			      "a job of no devices: nothing runs beside them");
	if (f && f->unit == UNIT_CORE) { /* units are cores */
		int64_t tasks = set(o->ntasks) ? o->ntasks : 1;

		s->shape = SHAPE_GPU;
		units = most = tasks * (set(o->cpus_per_task) ? o->cpus_per_task : 1);
	} else if (o->whole_nodes || (set(o->nodes_min) && !devices) ||
		   (set(o->nodes_min) && f && d && per_node == f->devices_per_node &&
		    promised_whole(d, o->project ? o->project : "", f->id))) {
		s->shape = SHAPE_NODE;
		units = set(o->nodes_min) ? o->nodes_min : 1;
		most = set(o->nodes_max) ? o->nodes_max : units;
	} else {
		s->shape = SHAPE_GPU;
		units = most = devices ? devices : 1;
		if (set(o->nodes_max) && o->nodes_max > o->nodes_min && per_node)
			most = o->nodes_max * per_node;
		r = per_node > UINT16_MAX ? too_many(err) : as_u16(per_node, &s->per_node, "--gpus-per-node", err);
		if (r)
			return r;
	}
	if (set(o->elastic_min)) {
		units = o->elastic_min;
		most = o->elastic_max;
	}
	r = as_u32(units, &s->units, err);
	return r ? r : as_u32(most, &s->units_max, err);
}

static int fill_tasks(const struct job_options *o, struct job_spec *s, struct err *err)
{
	int64_t nodes = s->shape == SHAPE_NODE ? s->units : s->per_node ? s->units / s->per_node : 1;
	int64_t per_device = s->per_node ? s->per_node : s->shape == SHAPE_GPU ? s->units : 0;
	int64_t cpus = o->cpus_per_task;
	int r = 0;

	if (set(o->tasks_per_gpu))
		r = as_u16(o->tasks_per_gpu, &s->tasks_per_unit, "--tasks-per-gpu", err);
	else if (set(o->tasks_per_node))
		r = as_u16(o->tasks_per_node, &s->tasks_per_node, "--ntasks-per-node", err);
	else if (set(o->ntasks) && o->ntasks % nodes == 0 && (set(o->nodes_min) || o->ntasks == 1))
		r = as_u16(o->ntasks / nodes, &s->tasks_per_node, "--ntasks", err);
	else if (set(o->ntasks) && s->shape == SHAPE_GPU && o->ntasks % s->units == 0)
		r = as_u16(o->ntasks / s->units, &s->tasks_per_unit, "--ntasks", err);
	else if (set(o->ntasks) && s->shape == SHAPE_GPU && s->units % o->ntasks == 0)
		r = as_u16(1, &s->tasks_per_node, "--ntasks", err);
	else if (set(o->ntasks))
		return refuse(err, ERR_INVAL, "--ntasks a multiple of nodes or devices, or --ntasks-per-node",
			      "--ntasks does not divide among the nodes and devices of the job");
	if (r)
		return r;
	if (!set(cpus) && set(o->cpus_per_gpu)) /* cores beside each device, shared by its tasks */
		cpus = s->tasks_per_unit ? o->cpus_per_gpu / s->tasks_per_unit
		       : per_device      ? o->cpus_per_gpu * per_device / (s->tasks_per_node ? s->tasks_per_node : 1)
					 : o->cpus_per_gpu;
	return set(cpus) ? as_u16(cpus > 0 ? cpus : 1, &s->cpus_per_task, "--cpus-per-task", err) : 0;
}

static int fill_memory(const struct job_options *o, const struct flavor *f, struct job_spec *s, struct err *err)
{
	int64_t mib = set(o->mem_mib) ? o->mem_mib : 0;
	int64_t gpus = s->per_node ? s->per_node
		       : s->shape == SHAPE_NODE && f ? f->devices_per_node
						      : s->shape == SHAPE_GPU ? s->units : 1;
	int64_t tasks = s->tasks_per_node ? s->tasks_per_node : s->tasks_per_unit ? s->tasks_per_unit * gpus : 1;

	if ((set(o->mem_per_gpu_mib) && ckd_mul(&mib, o->mem_per_gpu_mib, gpus)) ||
	    (set(o->mem_per_cpu_mib) &&
	     ckd_mul(&mib, o->mem_per_cpu_mib, tasks * (s->cpus_per_task ? s->cpus_per_task : 1))) ||
	    mib > UINT32_MAX)
		return refuse(err, ERR_RANGE, "--mem 64G", "no node has so much memory");
	s->memory_mib = (uint32_t)mib;
	return 0;
}

/* ---- the rest of the spec -------------------------------------------------------------------- */

static int fill_deps(const struct job_options *o, struct job_spec *s, struct arena *arena, struct err *err)
{
	static const int types[] = {[DEPEND_AFTER] = DEP_AFTER, [DEPEND_AFTERANY] = DEP_AFTERANY,
				    [DEPEND_AFTEROK] = DEP_AFTEROK, [DEPEND_AFTERNOTOK] = DEP_AFTERNOTOK,
				    [DEPEND_AFTERCORR] = -1, [DEPEND_SINGLETON] = DEP_SINGLETON};

	if (o->deps.count > DEPENDENCIES_MAX)
		return refuse(err, ERR_RANGE, "a job that waits for the others, and one that waits for it",
			      "--dependency: more than 8 jobs");
	if (o->deps.any && o->deps.count > 1)
		return refuse(err, ERR_UNSUPPORTED, "a job for each, with --dependency afterany:JOB",
			      "--dependency: 'one of several' is not known; all of them (,) is");
	s->deps = arena_alloc(arena, (o->deps.count + 1) * sizeof *s->deps);
	for (size_t i = 0; i < o->deps.count; i++) {
		const struct job_dep *d = &o->deps.items[i];

		if (types[d->kind] < 0)
			return refuse(err, ERR_UNSUPPORTED, "--dependency afterok:JOB", "--dependency: aftercorr is not known");
		if (d->index != JOB_UNSET)
			return refuse(err, ERR_UNSUPPORTED, "the number of the child itself: sluisctl queue --all ARRAY",
				      "--dependency: a child of an array has a number of its own");
		if (d->delay_ms > 0)
			return refuse(err, ERR_UNSUPPORTED, "--begin now+10m", "--dependency: after with a delay is not known");
		s->deps[i] = (struct dependency){.type = (uint8_t)types[d->kind], .job = d->job};
	}
	s->deps_n = (uint32_t)o->deps.count;
	return 0;
}

static int add_require(const char *text, struct job_spec *s, const char *option, struct err *err)
{
	struct require *q;
	const char *eq = strchr(text, '=');
	size_t len = eq ? (size_t)(eq - text) : strlen(text);

	if (s->requires_n == REQUIRES_MAX || len >= LABEL_BYTES || (eq && strlen(eq + 1) >= LABEL_BYTES)) {
		(void)err_set(err, ERR_RANGE, "--%s: more than %d labels, or one is too long", option, REQUIRES_MAX);
		return err_hint(err, "at most %d of less than %d bytes", REQUIRES_MAX, LABEL_BYTES);
	}
	q = &s->requires[s->requires_n++];
	memcpy(q->key, text, len);
	if (eq)
		snprintf(q->value, sizeof q->value, "%s", eq + 1);
	return 0;
}

static int fill_requires(const struct job_options *o, struct job_spec *s, struct arena *arena, struct err *err)
{
	int r = 0;

	s->requires = arena_alloc(arena, REQUIRES_MAX * sizeof *s->requires);
	if (o->constraint.count > 1)
		return refuse(err, ERR_UNSUPPORTED, "one set of labels: --constraint a&b", "--constraint: alternatives (|) are not known");
	if (o->constraint.count)
		for (size_t i = 0; !r && i < o->constraint.any[0].all.count; i++)
			r = add_require(o->constraint.any[0].all.items[i], s, "constraint", err);
	for (size_t i = 0; !r && i < o->require.count; i++)
		r = add_require(o->require.items[i], s, "require", err);
	return r;
}

static int name_of(const char *from, char *to, size_t size, const char *option, struct err *err)
{
	if (!wire_text_ok(from, strlen(from), true)) {
		(void)err_set(err, ERR_INVAL, "--%s: control characters, or no UTF-8", option);
		return err_hint(err, "one line of UTF-8");
	}
	if (strlen(from) >= size) {
		(void)err_set(err, ERR_RANGE, "--%s: '%.40s...' is too long", option, from);
		return err_hint(err, "at most %zu bytes", size - 1);
	}
	snprintf(to, size, "%s", from);
	return 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

/* Times, class, loan, stopping. */
static void fill_terms(const struct job_options *o, struct job_spec *s)
{
	int klass = o->klass ? job_class_parse(o->klass) : JOB_NORMAL;

	s->klass = (uint8_t)(klass >= 0 ? klass : JOB_NORMAL);
	s->topology = o->topology == TOPO_LEAF ? TOPOLOGY_LEAF : o->topology == TOPO_POD ? TOPOLOGY_POD : TOPOLOGY_ANY;
	s->topology_required = o->topology_required;
	s->topology_wait_ms = o->topology_wait_ms;
	s->loan = o->loan == WISH_OK ? LOAN_OK : o->loan == WISH_ONLY ? LOAN_ONLY : LOAN_NEVER;
	s->time_limit_ms = set(o->time_limit_ms) ? o->time_limit_ms : 0;
	s->begin_ms = set(o->begin_ms) ? o->begin_ms : 0;
	s->deadline_ms = set(o->deadline_ms) ? o->deadline_ms : 0;
	s->notice_ms = set(o->notice_ms) ? o->notice_ms : 0;
	s->exempt_ms = set(o->exempt_ms) ? o->exempt_ms : 0;
	s->signal = (uint8_t)o->signal.number;
	s->signal_target = o->signal.batch ? SIGNAL_BATCH : SIGNAL_TASKS;
	s->signal_ms = o->signal.seconds * 1000;
	if (s->signal_ms > s->notice_ms) /* the signal that Slurm sends so long before the limit is our notice */
		s->notice_ms = s->signal_ms;
	s->retries_infra = (uint8_t)(set(o->retries) && o->retries < UINT8_MAX ? o->retries : RETRIES_INFRA);
	s->no_requeue = o->requeue == 0;
	s->stop_on_disconnect = o->stop_on_disconnect;
	s->slurm_env = o->slurm_env || o->wrap; /* Slurm's idioms find Slurm's variables: #SBATCH lines set it, too */
	s->hold = o->hold;
	if (set(o->array.first)) {
		s->array_first = (uint32_t)o->array.first;
		s->array_last = (uint32_t)o->array.last;
		s->array_step = (uint32_t)o->array.step;
		s->array_running_max = (uint32_t)o->array.running_max;
	}
}

/* ---- payload --------------------------------------------------------------------------------- */

static bool is_name(const char *entry, const char *name)
{
	size_t n = strlen(name);

	return !strncmp(entry, name, n) && entry[n] == '=';
}

static void env_put(struct payload *p, const char *entry)
{
	const char *eq = strchr(entry, '=');

	if (!eq || eq == entry || !wire_text_ok(entry, strlen(entry), false) || strlen(entry) > STRING_BYTES_MAX)
		return; /* cannot travel: no UTF-8, or longer than the kernel takes */
	for (uint32_t i = 0; i < p->env_n; i++)
		if (!strncmp(p->env[i].s, entry, (size_t)(eq - entry) + 1)) {
			p->env[i].s = entry;
			return;
		}
	if (p->env_n < PAYLOAD_STRINGS_MAX)
		p->env[p->env_n++].s = entry;
}

/* ALL: everything of here; a list: those named; NONE: nothing. Then what was given with its value. Options of
 * this very submission do not travel: they would steer submissions inside the job. */
static void fill_env(const struct job_options *o, char *const *env, struct payload *p, struct arena *arena)
{
	size_t n = 0;

	while (env && env[n])
		n++;
	p->env = arena_alloc(arena, (n + o->env.count + 1) * sizeof *p->env);
	for (size_t i = 0; i < n; i++) {
		bool wanted = o->export_mode == EXPORT_ALL;

		for (size_t k = 0; k < o->export_names.count; k++)
			wanted |= is_name(env[i], o->export_names.items[k]);
		if (wanted && strncmp(env[i], "SLUIS_SUBMIT_", 13) != 0 && strncmp(env[i], "_=", 2) != 0)
			env_put(p, env[i]);
	}
	for (size_t i = 0; i < o->env.count; i++)
		env_put(p, o->env.items[i]);
}

static void keep(struct submission *sub, struct arena *arena, const char *file, uint32_t line, const char *name,
		 const char *value)
{
	char text[512];
	int n;

	if (sub->payload.kept_n == KEPT_MAX)
		return;
	n = line ? snprintf(text, sizeof text, "%s:%u: --%s%s%s", file, line, name, value ? "=" : "", value ? value : "")
		 : snprintf(text, sizeof text, "--%s%s%s", name, value ? "=" : "", value ? value : "");
	if (n < 0 || n >= (int)sizeof text || !wire_text_ok(text, strlen(text), true))
		snprintf(text, sizeof text, "--%.100s", name);
	sub->kept[sub->payload.kept_n++].s = arena_copy(arena, text, strlen(text) + 1);
}

static void fill_kept(const struct job_options *o, const char *file, struct submission *sub, struct arena *arena)
{
	sub->payload.kept = sub->kept;
	for (size_t i = 0; i < o->kept.count; i++)
		keep(sub, arena, file ? file : "", o->kept.items[i].line, o->kept.items[i].name, o->kept.items[i].value);
	if (o->partition && (o->flavor || o->gpu_type)) /* they say which device */
		keep(sub, arena, "", 0, "partition", o->partition);
	if (o->topology == TOPO_NVLINK)
		keep(sub, arena, "", 0, "topology", "nvlink");
}

static int fill_payload(const struct job_options *o, const char *script, const char *const *argv, size_t argv_n,
			char *const *env, const char *cwd, struct payload *p, struct arena *arena, struct err *err)
{
	char host[256] = "";

	p->script = script;
	if (argv_n > PAYLOAD_STRINGS_MAX)
		return refuse(err, ERR_RANGE, "a script that makes them itself", "more than 8192 arguments");
	p->argv = arena_alloc(arena, (argv_n + 1) * sizeof *p->argv);
	for (size_t i = 0; i < argv_n; i++) {
		if (!wire_text_ok(argv[i], strlen(argv[i]), false) || strlen(argv[i]) > STRING_BYTES_MAX)
			return refuse(err, ERR_INVAL, "UTF-8, at most 128 KiB each", "an argument cannot travel");
		p->argv[p->argv_n++].s = argv[i];
	}
	fill_env(o, env, p, arena);
	p->cwd = cwd;
	if (o->chdir)
		p->cwd = o->chdir;
	p->output = o->output;
	p->error = o->error;
	p->input = o->input;
	p->append = o->open_mode == OPEN_APPEND;
	p->comment = o->comment;
	p->checkpoint_dir = o->checkpoint_dir;
	p->checkpoint_command = o->checkpoint_command;
	p->container = o->container;
	if (gethostname(host, sizeof host - 1) == 0)
		p->submit_host = arena_copy(arena, host, strlen(host) + 1);
	return 0;
}

int submission_fill(const struct job_options *o, const char *script, const char *file, const char *const *argv,
		    size_t argv_n, char *const *env, const char *cwd, const struct view_division *division,
		    struct arena *arena, struct submission *ret, struct err *err)
{
	struct job_spec *s = &ret->cmd.spec;
	const struct flavor *f = NULL;
	const char *name = o->name ? o->name : file ? base_name(file) : argv_n ? base_name(argv[0]) : "job";
	int r;

	memset(ret, 0, sizeof *ret);
	if (!o->project)
		return refuse(err, ERR_INVAL, "--project NAME, $SLUIS_PROJECT, or project: in your context",
			      "no project pays for it");
	r = flavor_choose(o, division, &f, err);
	if (!r)
		r = fill_units(o, f, division, s, err);
	if (!r)
		r = fill_tasks(o, s, err);
	if (!r)
		r = fill_memory(o, f, s, err);
	if (!r)
		r = fill_deps(o, s, arena, err);
	if (!r)
		r = fill_requires(o, s, arena, err);
	if (!r)
		r = name_of(o->project, ret->cmd.project, sizeof ret->cmd.project, "project", err);
	if (!r)
		r = name_of(f ? f->name : o->flavor, ret->cmd.flavor, sizeof ret->cmd.flavor, "flavor", err);
	if (!r && o->reservation)
		r = name_of(o->reservation, ret->cmd.reservation, sizeof ret->cmd.reservation, "reservation", err);
	if (!r && o->name)
		r = name_of(name, s->name, sizeof s->name, "job-name", err);
	if (r)
		return r;
	if (!o->name && wire_text_ok(name, strlen(name), true))
		snprintf(s->name, sizeof s->name, "%s", name);
	s->mode = script ? JOB_SCRIPT : JOB_COMMAND;
	fill_terms(o, s);
	fill_kept(o, file, ret, arena);
	return fill_payload(o, script, argv, argv_n, env, cwd, &ret->payload, arena, err);
}
