/* divide.c - see divide.h: traces, rules about work, what providers want and have, measures */
#include "daemon/sim/divide.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/csv.h"
#include "daemon/sim/text.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

const char *const divide_policy_names[DIVIDE_POLICIES] = {"static", "walled", "cohort", "lyra", "sluis", "clairvoyant"};

/* ---- traces --------------------------------------------------------------------------------------------- */

static int64_t limit_of(int64_t run_ms)
{
	static const int64_t steps[] = {15 * MS_PER_MIN, MS_PER_HOUR,    4 * MS_PER_HOUR, 12 * MS_PER_HOUR, MS_PER_DAY,
					3 * MS_PER_DAY,  7 * MS_PER_DAY, 14 * MS_PER_DAY, 30 * MS_PER_DAY, 90 * MS_PER_DAY};

	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		if (steps[i] >= 2 * run_ms)
			return steps[i];
	return 2 * run_ms;
}

static uint32_t tenant_named(struct divide_trace *t, const char *name)
{
	for (uint32_t i = 0; i < t->tenants_n; i++)
		if (strcmp(t->tenants[i], name) == 0)
			return i;
	if (t->tenants_n == t->tenants_cap) {
		t->tenants_cap = t->tenants_cap ? 2 * t->tenants_cap : 16;
		t->tenants = xrealloc(t->tenants, t->tenants_cap * sizeof *t->tenants);
	}
	(void)snprintf(t->tenants[t->tenants_n], NAME_BYTES, "%s", name);
	return t->tenants_n++;
}

void divide_trace_add(struct divide_trace *t, const struct divide_pick *pick, int64_t submit_ms, int64_t run_ms,
		      int64_t request_ms, int64_t units, const char *tenant)
{
	struct divide_job j = {.submit_ms = submit_ms, .run_ms = run_ms};

	t->read_n++;
	if (run_ms <= 0 || units <= 0) {
		t->useless_n++;
		return;
	}
	if (units > pick->units_max) {
		t->too_large_n++;
		return;
	}
	if (j.run_ms > pick->run_ms_max)
		j.run_ms = pick->run_ms_max;
	j.units = (uint32_t)units;
	/* a request leaves room for loading once more and for the notice before the limit */
	j.limit_ms = request_ms ? (request_ms > j.run_ms ? request_ms : j.run_ms) + 15 * MS_PER_MIN : limit_of(j.run_ms);
	j.tenant = tenant_named(t, pick->one_tenant ? "all" : tenant);
	if (t->jobs_n == t->jobs_cap) {
		t->jobs_cap = t->jobs_cap ? 2 * t->jobs_cap : 1024;
		t->jobs = xrealloc(t->jobs, t->jobs_cap * sizeof *t->jobs);
	}
	t->jobs[t->jobs_n++] = j;
}

/* "2017-10-09 07:01:55" in seconds since 1970, as if it were UTC. */
static bool stamp(const char *s, int64_t *ret_s)
{
	int y, mo, d, h, mi, se, used = 0;
	int64_t era, yoe, doy, doe;

	if (sscanf(s, "%4d-%2d-%2d %2d:%2d:%2d%n", &y, &mo, &d, &h, &mi, &se, &used) != 6 || used != 19 || mo < 1 ||
	    mo > 12 || d < 1 || d > 31 || h < 0 || h > 23 || mi < 0 || mi > 59 || se < 0 || se > 60)
		return false;
	y -= mo <= 2; /* years begin in March: leap days come last */
	era = y / 400;
	yoe = y - era * 400;
	doy = (153 * (mo + (mo > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
	*ret_s = (era * 146097 + doe - 719468) * 86400 + h * 3600 + mi * 60 + se;
	return true;
}

static int philly_row(const struct csv_row *r, const struct divide_pick *pick, struct divide_trace *t, struct err *err)
{
	enum { STAMP = 0, DURATION, GPUS, CLUSTER };
	char text[NAME_BYTES], cluster[NAME_BYTES];
	int64_t submit_s;
	double run_s;
	int32_t gpus;

	if (csv_text(r, STAMP, text, sizeof text, err) || csv_amount(r, DURATION, SWF_TIME_MAX_S, &run_s, err) ||
	    csv_integer(r, GPUS, SWF_PROCS_MAX, &gpus, err) || csv_text(r, CLUSTER, cluster, sizeof cluster, err))
		return ERR_FORMAT;
	if (!stamp(text, &submit_s))
		return err_set(err, ERR_FORMAT, "%s:%u: '%s' is no time stamp like 2017-10-09 07:01:55", r->csv->name, r->line,
			       text);
	divide_trace_add(t, pick, submit_s * MS_PER_S, (int64_t)(run_s * 1000), 0, gpus, cluster);
	return 0;
}

static int philly(struct csv *csv, struct lines *l, struct bad_lines *bad, const struct divide_pick *pick,
		  struct divide_trace *t, struct err *err)
{
	const char *line;
	struct csv_row row;
	struct err why;
	size_t n;

	while (lines_next(l, &line, &n))
		if (n && (csv_cut(csv, l->number, line, n, &row, &why) || philly_row(&row, pick, t, &why)) &&
		    bad_line(bad, &why, err))
			return why.code;
	return 0;
}

static int batch_log(const char *name, const char *text, size_t bytes, struct bad_lines *bad,
		     const struct divide_pick *pick, struct divide_trace *t, struct err *err)
{
	struct swf swf = {0};
	int r = swf_parse(name, text, bytes, bad, &swf, err);

	for (size_t i = 0; r == 0 && i < swf.jobs_n; i++) {
		const struct swf_job *j = &swf.jobs[i];

		divide_trace_add(t, pick, j->submit_s * MS_PER_S, j->run_s * MS_PER_S, j->request_s > 0 ? j->request_s * MS_PER_S : 0,
			j->procs > 0 ? j->procs : j->allocated, "log");
	}
	swf_done(&swf);
	return r;
}

static int by_submit(const void *va, const void *vb)
{
	const struct divide_job *a = va, *b = vb;

	if (a->submit_ms != b->submit_ms)
		return a->submit_ms < b->submit_ms ? -1 : 1;
	if (a->tenant != b->tenant) /* jobs that are equal in all of this are interchangeable */
		return a->tenant < b->tenant ? -1 : 1;
	if (a->run_ms != b->run_ms)
		return a->run_ms < b->run_ms ? -1 : 1;
	return (a->units > b->units) - (a->units < b->units);
}

int divide_trace_parse(const char *name, const char *text, size_t bytes, struct bad_lines *bad,
		       const struct divide_pick *pick, struct divide_trace *t, struct err *err)
{
	static const char *const columns[] = {"timestamp", "duration", "num_gpus", "cluster", NULL};
	struct csv csv;
	struct lines l;
	const char *line;
	size_t n, kept = 0;
	int64_t first_ms;
	int r;

	lines_begin(&l, text, bytes);
	if (!lines_next(&l, &line, &n) || !csv_matches(line, n, columns)) {
		r = batch_log(name, text, bytes, bad, pick, t, err);
	} else {
		r = csv_heading(&csv, name, l.number, line, n, columns, ARRAY_LEN(columns) - 1, err);
		if (r == 0)
			r = philly(&csv, &l, bad, pick, t, err);
	}
	if (r)
		return r;
	if (t->jobs_n)
		qsort(t->jobs, t->jobs_n, sizeof *t->jobs, by_submit);
	first_ms = t->jobs_n ? t->jobs[0].submit_ms : 0;
	for (size_t i = 0; i < t->jobs_n; i++) {
		struct divide_job j = t->jobs[i];

		j.submit_ms -= first_ms + pick->from_ms;
		if (j.submit_ms < 0 || j.submit_ms >= pick->span_ms) {
			t->outside_n++;
			continue;
		}
		t->cut_n += j.run_ms == pick->run_ms_max;
		t->device_ms += (double)j.run_ms * j.units;
		t->jobs[kept++] = j;
	}
	t->jobs_n = kept;
	if (kept)
		return 0;
	(void)err_set(err, ERR_INVAL, "'%s' has no job that can be used", name);
	return err_hint(err, "%zu read, %zu too large, %zu outside of the window", t->read_n, t->too_large_n, t->outside_n);
}

void divide_trace_done(struct divide_trace *t)
{
	free(t->jobs);
	free(t->tenants);
	*t = (struct divide_trace){0};
}

struct demand_step divide_step(const struct demand *d, uint64_t k)
{
	struct demand_step s = d->steps[k % d->steps_n];

	s.at_ms += (int64_t)(k / d->steps_n) * d->span_ms;
	return s;
}

/* ---- events ------------------------------------------------------------------------------------------------ */

static bool before(const struct divide_event *a, const struct divide_event *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

void divide_heap_add(struct divide_heap *h, int64_t at_ms, uint32_t kind, uint64_t id, int64_t value)
{
	struct divide_event e = {at_ms, h->seq++, kind, id, value};
	size_t i = h->n++;

	if (h->n > h->cap) {
		h->cap = h->cap ? 2 * h->cap : 256;
		h->at = xrealloc(h->at, h->cap * sizeof *h->at);
	}
	for (; i && before(&e, &h->at[(i - 1) / 2]); i = (i - 1) / 2)
		h->at[i] = h->at[(i - 1) / 2];
	h->at[i] = e;
}

struct divide_event divide_heap_pop(struct divide_heap *h)
{
	struct divide_event top = h->at[0], last = h->at[--h->n];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
		if (child + 1 < h->n && before(&h->at[child + 1], &h->at[child]))
			child++;
		if (!before(&h->at[child], &last))
			break;
		h->at[i] = h->at[child];
	}
	h->at[i] = last;
	return top;
}

/* ---- the work of a job ----------------------------------------------------------------------------------------- */

int64_t divide_attempt_ms(const struct divide_setup *in, const struct divide_done *j)
{
	return j->left_ms + (j->starts > 1 ? in->restart_ms : 0);
}

void divide_job_started(struct divide_run *r, struct divide_done *j, int64_t t_ms)
{
	if (j->first_start_ms < 0)
		j->first_start_ms = t_ms;
	j->starts++;
	r->starts++;
}

static void lose(const struct divide_setup *in, struct divide_run *r, size_t job, int64_t t_ms, int64_t ms)
{
	double device_ms = (double)ms * in->trace->jobs[job].units;

	r->done[job].lost_ms += ms;
	r->lost_ms += device_ms;
	if (t_ms <= in->window_ms)
		r->lost_window_ms += device_ms;
}

void divide_job_ended(const struct divide_setup *in, struct divide_run *r, size_t job, int64_t t_ms)
{
	struct divide_done *j = &r->done[job];

	ENSURE(j->end_ms < 0);
	if (j->starts > 1)
		lose(in, r, job, t_ms, in->restart_ms);
	j->left_ms = 0;
	j->end_ms = t_ms;
	if (t_ms > r->end_ms)
		r->end_ms = t_ms;
}

int64_t divide_leaves_ms(const struct divide_setup *in, int64_t told_ms, int64_t kill_ms)
{
	return in->save_ms && told_ms + in->save_ms <= kill_ms ? told_ms + in->save_ms : kill_ms;
}

void divide_job_cut(const struct divide_setup *in, struct divide_run *r, size_t job, int64_t start_ms, int64_t told_ms,
		    int64_t t_ms)
{
	struct divide_done *j = &r->done[job];
	int64_t ran = t_ms - start_ms, loading = j->starts > 1 ? in->restart_ms : 0;
	int64_t useful = ran > loading ? ran - loading : 0, saved = 0;

	ENSURE(ran >= 0);
	ENSURE(useful <= j->left_ms);
	if (useful == j->left_ms) /* it finished, and whoever recalled it does not know */
		saved = useful;
	else if (in->save_ms && told_ms + in->save_ms <= t_ms) /* all that was done when the notice came */
		saved = told_ms - start_ms > loading ? told_ms - start_ms - loading : 0;
	else if (in->checkpoint_ms)
		saved = useful / in->checkpoint_ms * in->checkpoint_ms;
	j->left_ms -= saved;
	j->recalls++;
	r->recalls++;
	r->recalled_units += in->trace->jobs[job].units;
	lose(in, r, job, t_ms, ran - saved);
}

/* ---- what providers want and have -------------------------------------------------------------------------------- */

void divide_book_init(struct divide_book *b, const struct divide_setup *in, struct divide_run *out)
{
	uint32_t n = in->demand->providers_n + 1;

	*b = (struct divide_book){.in = in, .out = out};
	b->want = xcalloc(n, sizeof *b->want);
	b->have = xcalloc(n, sizeof *b->have);
	b->open = xcalloc(n, sizeof *b->open);
}

void divide_book_done(struct divide_book *b)
{
	for (uint32_t i = 0; b->open && i < b->in->demand->providers_n; i++)
		free(b->open[i].at);
	free(b->want);
	free(b->have);
	free(b->open);
}

static void growth_note(struct divide_run *r, const struct divide_level *l, int64_t took_ms)
{
	if (r->growths_n == r->growths_cap) {
		r->growths_cap = r->growths_cap ? 2 * r->growths_cap : 1024;
		r->growths = xrealloc(r->growths, r->growths_cap * sizeof *r->growths);
	}
	r->growths[r->growths_n++] = (struct divide_growth){l->at_ms, took_ms, l->units, l->recalled};
}

/* Devices (from, to] of what the provider has in all came, or were given up, only now: short since they were due. */
static void overdue(struct divide_book *b, const struct divide_level *l, int64_t t_ms, uint32_t from, uint32_t to)
{
	int64_t after_ms = t_ms - l->at_ms - b->in->recall_slo_ms;
	uint32_t low = l->level - l->units > from ? l->level - l->units : from, high = l->level < to ? l->level : to;

	if (after_ms > 0 && high > low)
		b->out->short_ms += (double)after_ms * (high - low);
}

static bool is_late(const struct divide_book *b, const struct divide_level *l, int64_t t_ms)
{
	return t_ms - l->at_ms > b->in->recall_slo_ms;
}

void divide_book_want(struct divide_book *b, int64_t t_ms, uint32_t p, uint32_t units)
{
	uint32_t was = b->want[p];

	b->want[p] = units;
	b->wanted += units - was;
	if (units > was) {
		if (b->open[p].n == b->open[p].cap) {
			b->open[p].cap = b->open[p].cap ? 2 * b->open[p].cap : 4;
			b->open[p].at = xrealloc(b->open[p].at, b->open[p].cap * sizeof *b->open[p].at);
		}
		b->open[p].at[b->open[p].n++] = (struct divide_level){t_ms, units, units - was, false};
		return;
	}
	while (b->open[p].n && b->open[p].at[b->open[p].n - 1].level > units) {
		struct divide_level *l = &b->open[p].at[b->open[p].n - 1];

		overdue(b, l, t_ms, units > b->have[p] ? units : b->have[p], l->level);
		if (l->level - l->units < units && b->have[p] < units) { /* part of it is still wanted */
			l->units -= l->level - units;
			l->level = units;
			continue;
		}
		b->out->late += is_late(b, l, t_ms);
		growth_note(b->out, l, -1);
		b->open[p].n--;
	}
}

void divide_book_have(struct divide_book *b, int64_t t_ms, uint32_t p, uint32_t units)
{
	uint32_t met = 0, was = b->have[p];

	b->leased += units - was;
	b->have[p] = units;
	for (uint32_t i = 0; i < b->open[p].n; i++)
		overdue(b, &b->open[p].at[i], t_ms, was, units);
	while (met < b->open[p].n && b->open[p].at[met].level <= units) {
		b->out->late += is_late(b, &b->open[p].at[met], t_ms);
		growth_note(b->out, &b->open[p].at[met], t_ms - b->open[p].at[met].at_ms);
		met++;
	}
	if (met) {
		b->open[p].n -= met;
		memmove(b->open[p].at, b->open[p].at + met, b->open[p].n * sizeof *b->open[p].at);
	}
}

void divide_book_recalled(struct divide_book *b, uint32_t p)
{
	for (uint32_t i = 0; i < b->open[p].n; i++)
		b->open[p].at[i].recalled = true;
}

void divide_book_close(struct divide_book *b, int64_t t_ms)
{
	for (uint32_t p = 0; p < b->in->demand->providers_n; p++)
		for (uint32_t i = 0; i < b->open[p].n; i++) {
			overdue(b, &b->open[p].at[i], t_ms, b->have[p], UINT32_MAX);
			b->out->late += is_late(b, &b->open[p].at[i], t_ms);
			growth_note(b->out, &b->open[p].at[i], -1);
		}
}

void divide_pass(struct divide_book *b, int64_t *now_ms, int64_t t_ms, const struct divide_use *use)
{
	struct divide_run *r = b->out;
	double held = (double)use->guaranteed + use->loaned;
	int64_t inside = (t_ms < b->in->window_ms ? t_ms : b->in->window_ms) - *now_ms;

	ENSURE(t_ms >= *now_ms);
	for (int64_t at = (int64_t)r->samples_n * MS_PER_MIN; at < t_ms && at < b->in->window_ms; at += MS_PER_MIN) {
		if (r->samples_n == r->samples_cap) {
			r->samples_cap = r->samples_cap ? 2 * r->samples_cap : 4096;
			r->samples = xrealloc(r->samples, r->samples_cap * sizeof *r->samples);
		}
		r->samples[r->samples_n++] = (struct divide_sample){at, use->guaranteed, use->loaned, b->leased, b->wanted,
								    use->waiting, r->lost_ms};
	}
	r->train_all_ms += held * (double)(t_ms - *now_ms);
	if (inside > 0) {
		r->train_ms += held * (double)inside;
		r->lease_ms += (double)b->leased * (double)inside;
	}
	*now_ms = t_ms;
}

/* ---- running ---------------------------------------------------------------------------------------------------------- */

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

uint32_t divide_alloc_max(const struct divide_setup *in) { return (uint32_t)PARTS_PER_ALLOC_MAX * in->per_node; }

uint32_t divide_units_max(const struct divide_setup *in, enum divide_policy policy)
{
	uint32_t peak = least(in->demand->peak, in->private_units);

	if (policy == DIVIDE_STATIC)
		return in->public_units;
	if (policy == DIVIDE_WALLED)
		return least(in->public_units, divide_alloc_max(in));
	if (policy == DIVIDE_SLUIS)
		return least(in->public_units + in->private_units - peak, divide_alloc_max(in));
	if (policy == DIVIDE_LYRA) { /* lends whole nodes */
		uint32_t nodes = in->private_units / in->per_node, busy = (peak + in->per_node - 1) / in->per_node;

		return in->public_units + (nodes > busy ? (nodes - busy) * in->per_node : 0);
	}
	return in->public_units + in->private_units - peak;
}

int divide_run(const struct divide_setup *in, enum divide_policy policy, divide_progress_fn *progress, void *arg,
	       struct divide_run *r, struct err *err)
{
	struct divide_book book;
	int64_t begun_ns = mono_now().ns;
	uint32_t most = divide_units_max(in, policy);
	int rc = ERR_INVAL;

	*r = (struct divide_run){.policy = policy};
	ENSURE(policy < DIVIDE_POLICIES);
	if (!in->nodes || !in->per_node || in->per_node > DEVICES_PER_NODE_MAX ||
	    (uint64_t)in->nodes * in->per_node > DIVIDE_UNITS_MAX)
		return err_set(err, ERR_RANGE, "a machine of %" PRIu32 " nodes of %" PRIu32 " devices: up to %d devices a node and "
			       "%d in all are simulated", in->nodes, in->per_node, DEVICES_PER_NODE_MAX, DIVIDE_UNITS_MAX);
	if ((uint64_t)in->public_units + in->private_units > in->nodes * in->per_node)
		return err_set(err, ERR_RANGE, "the division has %" PRIu64 " devices, the machine %" PRIu32,
			       (uint64_t)in->public_units + in->private_units, in->nodes * in->per_node);
	if (in->notice_ms < 0 || in->recall_slo_ms <= 0 || in->checkpoint_ms < 0 || in->restart_ms < 0 || in->save_ms < 0 ||
	    in->restart_ms > 10 * MS_PER_MIN)
		return err_set(err, ERR_RANGE, "a time is below zero, or loading takes more than 10 minutes");
	if (in->demand->peak > in->private_units)
		return err_set(err, ERR_RANGE, "leases want %" PRIu32 " devices, the private side has %" PRIu32,
			       in->demand->peak, in->private_units);
	for (size_t i = 0; i < in->demand->steps_n && (policy == DIVIDE_SLUIS || policy == DIVIDE_WALLED); i++)
		if (in->demand->steps[i].units > divide_alloc_max(in)) {
			(void)err_set(err, ERR_RANGE, "a provider leases %" PRIu32 " devices at once, a lease of sluisd has at most %"
				      PRIu32 " here: it lies on up to %d nodes", in->demand->steps[i].units, divide_alloc_max(in),
				      PARTS_PER_ALLOC_MAX);
			return err_hint(err, "divide it among providers, or scale it down: --peak");
		}
	for (size_t i = 0; i < in->trace->jobs_n; i++)
		if (in->trace->jobs[i].units > most)
			return err_set(err, ERR_RANGE, "a job of %" PRIu32 " devices: %s runs at most %" PRIu32 " beside all leases",
				       in->trace->jobs[i].units, divide_policy_names[policy], most);
	r->done = xcalloc(in->trace->jobs_n + 1, sizeof *r->done);
	for (size_t i = 0; i < in->trace->jobs_n; i++)
		r->done[i] = (struct divide_done){.first_start_ms = -1, .end_ms = -1, .left_ms = in->trace->jobs[i].run_ms, .p50_ms = -1, .p90_ms = -1};
	divide_book_init(&book, in, r);
	switch (policy) {
	case DIVIDE_STATIC: rc = divide_run_plan(&book, false, progress, arg, err); break;
	case DIVIDE_CLAIRVOYANT: rc = divide_run_plan(&book, true, progress, arg, err); break;
	case DIVIDE_WALLED: rc = divide_run_core(&book, false, progress, arg, err); break;
	case DIVIDE_SLUIS: rc = divide_run_core(&book, true, progress, arg, err); break;
	case DIVIDE_COHORT: rc = divide_run_count(&book, false, progress, arg, err); break;
	case DIVIDE_LYRA: rc = divide_run_count(&book, true, progress, arg, err); break;
	case DIVIDE_POLICIES: UNREACHABLE();
	}
	divide_book_done(&book);
	r->real_s = (double)(mono_now().ns - begun_ns) / (double)NS_PER_S;
	return rc;
}

void divide_run_done(struct divide_run *r)
{
	free(r->done);
	free(r->growths);
	free(r->samples);
	free(r->spans);
	*r = (struct divide_run){0};
}

void divide_measure(const struct divide_setup *in, const struct divide_run *r, struct divide_result *ret)
{
	size_t n = in->trace->jobs_n, recalled = 0;
	double *wait = xmalloc((n + 1) * sizeof *wait), *jct = xmalloc((n + 1) * sizeof *jct);
	double *took = xmalloc((r->growths_n + 1) * sizeof *took);
	/* shares are of the time that was played: all of the window, unless the last job had ended before */
	int64_t played_ms = r->end_ms > 0 && r->end_ms < in->window_ms ? r->end_ms : in->window_ms;
	double machine = (double)in->nodes * in->per_node * (double)played_ms;

	*ret = (struct divide_result){.growths_n = r->growths_n};
	for (size_t i = 0; i < n; i++) {
		ENSURE(r->done[i].end_ms >= 0);
		wait[i] = (double)(r->done[i].first_start_ms - in->trace->jobs[i].submit_ms) / 1000;
		jct[i] = (double)(r->done[i].end_ms - in->trace->jobs[i].submit_ms) / 1000;
	}
	for (size_t i = 0; i < r->growths_n; i++) {
		ret->recalls_n += r->growths[i].recalled;
		ret->open_n += r->growths[i].took_ms < 0;
		if (r->growths[i].recalled && r->growths[i].took_ms >= 0)
			took[recalled++] = (double)r->growths[i].took_ms / 1000;
	}
	ret->wait_s = jobsim_spread_of(wait, n);
	ret->jct_s = jobsim_spread_of(jct, n);
	ret->recall_s = jobsim_spread_of(took, recalled);
	ret->allocation = (r->train_ms + r->lease_ms) / machine;
	ret->goodput = (r->train_ms + r->lease_ms - r->lost_window_ms) / machine;
	ret->lost_share = r->train_all_ms > 0 ? r->lost_ms / r->train_all_ms : 0;
	ret->preempted_per_1000 = r->starts ? 1000.0 * (double)r->recalls / (double)r->starts : 0;
	free(wait);
	free(jct);
	free(took);
}

/* ---- the bound ------------------------------------------------------------------------------------------------------------ */

double divide_jct_bound_s(const struct divide_setup *in)
{
	const struct divide_trace *tr = in->trace;
	const struct demand *d = in->demand;
	struct divide_heap work = {0}; /* at_ms: device-ms left; id: job */
	uint32_t *want = xcalloc(d->providers_n + 1, sizeof *want);
	int64_t leased = 0, now_ms = 0;
	uint64_t step = 0;
	double sum = 0, run = 0;
	size_t next = 0;

	while (next < tr->jobs_n || work.n) {
		int64_t free = (int64_t)in->nodes * in->per_node - leased, t_ms = INT64_MAX, done_ms = INT64_MAX;

		if (next < tr->jobs_n)
			t_ms = tr->jobs[next].submit_ms;
		if (d->steps_n && divide_step(d, step).at_ms < t_ms)
			t_ms = divide_step(d, step).at_ms;
		if (work.n && free > 0)
			done_ms = now_ms + work.at[0].at_ms / free; /* rounded down: a bound from below */
		if (done_ms < t_ms)
			t_ms = done_ms;
		if (work.n) {
			work.at[0].at_ms -= (t_ms - now_ms) * free;
			if (done_ms == t_ms) {
				struct divide_event e = divide_heap_pop(&work);

				sum += (double)(t_ms - tr->jobs[e.id].submit_ms);
			}
		}
		now_ms = t_ms;
		while (next < tr->jobs_n && tr->jobs[next].submit_ms <= now_ms) {
			divide_heap_add(&work, tr->jobs[next].run_ms * tr->jobs[next].units, 0, next, 0);
			run += (double)tr->jobs[next].run_ms;
			next++;
		}
		while (d->steps_n && divide_step(d, step).at_ms <= now_ms) {
			struct demand_step s = divide_step(d, step++);

			leased += (int64_t)s.units - want[s.provider];
			want[s.provider] = s.units;
		}
	}
	free(work.at);
	free(want);
	return tr->jobs_n ? fmax(sum, run) / (double)tr->jobs_n / 1000 : 0;
}
