/* divide_report.c - see divide_report.h */
#include "daemon/sim/divide_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/picture.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

static const double HOUR_MS = 3600000.0;

static const char *policy_name(const struct divide_report *r, size_t i) { return divide_policy_names[r->runs[i].policy]; }

/* Index of the run of a policy; runs_n if it was not run. */
static size_t run_of(const struct divide_report *r, enum divide_policy policy)
{
	size_t i = 0;

	while (i < r->runs_n && r->runs[i].policy != policy)
		i++;
	return i;
}

/* ---- text ------------------------------------------------------------------------------------------------- */

static void row(struct buf *b, const struct divide_report *r, const char *name, const char *unit,
		double (*value)(const struct divide_report *, size_t), int digits)
{
	buf_addf(b, "%-26s %-6s", name, unit);
	for (size_t i = 0; i < r->runs_n; i++)
		buf_addf(b, " %12.*f", digits, value(r, i));
	buf_addf(b, "\n");
}

#define FIGURE(name, expr)                                                                         \
	static double name(const struct divide_report *r, size_t i)                                \
	{                                                                                          \
		const struct divide_run *run = &r->runs[i];                                        \
		const struct divide_result *res = &r->results[i];                                  \
		(void)run;                                                                         \
		(void)res;                                                                         \
		return expr;                                                                       \
	}
FIGURE(wait_mean, res->wait_s.mean)
FIGURE(wait_p50, res->wait_s.p50)
FIGURE(wait_p95, res->wait_s.p95)
FIGURE(wait_max, res->wait_s.max)
FIGURE(jct_mean, res->jct_s.mean)
FIGURE(jct_p50, res->jct_s.p50)
FIGURE(jct_p95, res->jct_s.p95)
FIGURE(jct_over_bound, r->bound_s > 0 ? res->jct_s.mean / r->bound_s : 0)
FIGURE(allocation, 100 * res->allocation)
FIGURE(goodput, 100 * res->goodput)
FIGURE(train_gpuh, run->train_ms / HOUR_MS)
FIGURE(lost_gpuh, run->lost_ms / HOUR_MS)
FIGURE(lost_share, 100 * res->lost_share)
FIGURE(recalls, (double)run->recalls)
FIGURE(preempted, res->preempted_per_1000)
FIGURE(late, (double)run->late)
FIGURE(refused, (double)run->refused)
FIGURE(short_gpuh, run->short_ms / HOUR_MS)
FIGURE(growths, (double)res->growths_n)
FIGURE(growths_recalled, (double)res->recalls_n)
FIGURE(recall_p50, res->recall_s.p50)
FIGURE(recall_p99, res->recall_s.p99)
FIGURE(recall_max, res->recall_s.max)

static void ratios(struct buf *b, const struct divide_report *r)
{
	size_t base = run_of(r, DIVIDE_STATIC);

	if (base == r->runs_n)
		return;
	buf_addf(b, "%-26s %-6s", "queue time, static / this", "x");
	for (size_t i = 0; i < r->runs_n; i++)
		if (r->results[i].wait_s.mean > 0)
			buf_addf(b, " %12.2f", r->results[base].wait_s.mean / r->results[i].wait_s.mean);
		else
			buf_addf(b, " %12s", "-");
	buf_addf(b, "\n%-26s %-6s", "JCT, static / this", "x");
	for (size_t i = 0; i < r->runs_n; i++)
		buf_addf(b, " %12.2f", r->results[base].jct_s.mean / r->results[i].jct_s.mean);
	buf_addf(b, "\n");
}

/* A demand beyond the machine is scaled down as any other, and leaves the providers that ask for little a device each. */
static void warning(struct buf *b, const struct divide_report *r)
{
	uint32_t all = r->in->nodes * r->in->per_node;

	if (r->in->demand->asked > all)
		buf_addf(b, "%s asks for %" PRIu32 " devices at once, the machine has %" PRIu32 ": all of it is scaled by %.3g, to "
			 "one device where little is asked for", r->demand_name, r->in->demand->asked, all, r->in->demand->per_value);
}

void divide_text(struct buf *b, const struct divide_report *r)
{
	CLEANUP(buf_done) struct buf why = BUF_INIT;
	const struct divide_setup *in = r->in;
	const struct divide_trace *t = in->trace;
	const struct demand *d = in->demand;

	buf_addf(b, "machine     %" PRIu32 " nodes of %" PRIu32 " devices; public %" PRIu32 ", private %" PRIu32 "\n",
		 in->nodes, in->per_node, in->public_units, in->private_units);
	buf_addf(b, "jobs        %s: %zu in %.1f days, %.0f GPU-hours, %.0f devices busy in the mean", r->jobs_name, t->jobs_n,
		 (double)in->window_ms / (double)MS_PER_DAY, t->device_ms / HOUR_MS, t->device_ms / (double)in->window_ms);
	if (t->cut_n || t->too_large_n || t->useless_n)
		buf_addf(b, "; %zu cut at the longest run, %zu too large, %zu without run or size", t->cut_n, t->too_large_n,
			 t->useless_n);
	buf_addf(b, "\nleases      %s: %" PRIu32 " providers, %.4g devices per value, peak %" PRIu32 ", mean %.1f, growth %.0f "
		 "in %.1f days\n", r->demand_name, d->providers_n, d->per_value, d->peak, d->mean, d->grown,
		 (double)d->span_ms / (double)MS_PER_DAY);
	warning(&why, r);
	if (why.len)
		buf_addf(b, "warning     %s\n", buf_cstr(&why));
	if (r->bad)
		bad_lines_text(b, r->bad);
	buf_addf(b, "recall      notice %.0f s, promised within %.0f s; checkpoint every %.0f min, loading %.0f s",
		 (double)in->notice_ms / 1000, (double)in->recall_slo_ms / 1000, (double)in->checkpoint_ms / 60000,
		 (double)in->restart_ms / 1000);
	if (in->save_ms)
		buf_addf(b, ", saving on notice %.0f s", (double)in->save_ms / 1000);
	buf_addf(b, "\nbound       mean JCT %.1f s: no schedule is below\n", r->bound_s);
	if (run_of(r, DIVIDE_CLAIRVOYANT) < r->runs_n)
		buf_addf(b, "clairvoyant a heuristic that knows run times and demand, no bound: others may be better\n");
	buf_addf(b, "\n%-33s", "");
	for (size_t i = 0; i < r->runs_n; i++)
		buf_addf(b, " %12s", policy_name(r, i));
	buf_addf(b, "\n");
	row(b, r, "queue time, mean", "s", wait_mean, 1);
	row(b, r, "  p50", "s", wait_p50, 1);
	row(b, r, "  p95", "s", wait_p95, 1);
	row(b, r, "  max", "s", wait_max, 1);
	row(b, r, "JCT, mean", "s", jct_mean, 1);
	row(b, r, "  p50", "s", jct_p50, 1);
	row(b, r, "  p95", "s", jct_p95, 1);
	ratios(b, r);
	row(b, r, "JCT over bound", "x", jct_over_bound, 3);
	row(b, r, "allocation", "%", allocation, 2);
	row(b, r, "goodput", "%", goodput, 2);
	row(b, r, "training in the window", "GPU-h", train_gpuh, 0);
	row(b, r, "lost to recall", "GPU-h", lost_gpuh, 1);
	row(b, r, "  of what training held", "%", lost_share, 3);
	row(b, r, "jobs recalled", "", recalls, 0);
	row(b, r, "  per 1,000 starts", "", preempted, 1);
	row(b, r, "lease growth", "", growths, 0);
	row(b, r, "  that needed a recall", "", growths_recalled, 0);
	row(b, r, "    took, p50", "s", recall_p50, 1);
	row(b, r, "    p99", "s", recall_p99, 1);
	row(b, r, "    max", "s", recall_max, 1);
	row(b, r, "lease violations: late", "", late, 0);
	row(b, r, "  refused or ended", "", refused, 0);
	row(b, r, "  short", "GPU-h", short_gpuh, 3);
}

/* ---- JSON -------------------------------------------------------------------------------------------------- */

static void spread_json(struct buf *b, const char *name, const struct jobsim_spread *s)
{
	buf_addf(b, "      \"%s\": {\"mean\": %.15g, \"p50\": %.15g, \"p95\": %.15g, \"p99\": %.15g, \"max\": %.15g},\n", name,
		 s->mean, s->p50, s->p95, s->p99, s->max);
}

static void run_json(struct buf *b, const struct divide_report *r, size_t i)
{
	const struct divide_run *run = &r->runs[i];
	const struct divide_result *res = &r->results[i];

	buf_addf(b, "    {\n      \"policy\": \"%s\",\n      \"knows_future\": %s,\n", policy_name(r, i),
		 run->policy == DIVIDE_CLAIRVOYANT ? "true" : "false");
	spread_json(b, "wait_s", &res->wait_s);
	spread_json(b, "jct_s", &res->jct_s);
	spread_json(b, "recall_s", &res->recall_s);
	buf_addf(b, "      \"jct_over_bound\": %.15g,\n      \"allocation\": %.15g,\n      \"goodput\": %.15g,\n",
		 jct_over_bound(r, i), res->allocation, res->goodput);
	buf_addf(b, "      \"training_gpu_hours\": %.15g,\n      \"lease_gpu_hours\": %.15g,\n", run->train_ms / HOUR_MS,
		 run->lease_ms / HOUR_MS);
	buf_addf(b, "      \"lost_gpu_hours\": %.15g,\n      \"lost_share\": %.15g,\n", run->lost_ms / HOUR_MS, res->lost_share);
	buf_addf(b, "      \"starts\": %" PRIu64 ",\n      \"jobs_recalled\": %" PRIu64 ",\n      \"preemptions_per_1000_starts\": %.15g,\n",
		 run->starts, run->recalls, res->preempted_per_1000);
	buf_addf(b, "      \"lease_growth\": %" PRIu64 ",\n      \"lease_growth_recalled\": %" PRIu64 ",\n      \"lease_growth_given_up\": %"
		 PRIu64 ",\n", res->growths_n, res->recalls_n, res->open_n);
	buf_addf(b, "      \"lease_violations\": {\"late\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"short_gpu_hours\": %.15g},\n",
		 run->late, run->refused, run->short_ms / HOUR_MS);
	buf_addf(b, "      \"core\": {\"commands\": %" PRIu64 ", \"ticks\": %" PRIu64 ", \"facts\": %" PRIu64 ", \"claims\": %" PRIu64
		 "}\n    }", run->commands, run->ticks, run->facts, run->claims);
}

void divide_json(struct buf *b, const struct divide_report *r)
{
	CLEANUP(buf_done) struct buf why = BUF_INIT;
	const struct divide_setup *in = r->in;
	const struct divide_trace *t = in->trace;
	const struct demand *d = in->demand;

	buf_addf(b, "{\n  \"version\": \"%s\",\n  \"jobs\": {\"file\": ", SLUIS_VERSION);
	text_json(b, r->jobs_name);
	buf_addf(b, ", \"sha256\": \"%s\", \"read\": %zu, \"simulated\": %zu, \"cut\": %zu, \"too_large\": %zu, "
		 "\"useless\": %zu, \"gpu_hours\": %.15g},\n", r->jobs_sha256, t->read_n, t->jobs_n, t->cut_n, t->too_large_n,
		 t->useless_n, t->device_ms / HOUR_MS);
	buf_addf(b, "  \"demand\": {\"file\": ");
	text_json(b, r->demand_name);
	buf_addf(b, ", \"sha256\": \"%s\", \"providers\": %" PRIu32 ", \"devices_per_value\": %.15g, \"peak\": %" PRIu32
		 ", \"mean\": %.15g, \"growth\": %.15g, \"span_s\": %" PRId64 "},\n", r->demand_sha256, d->providers_n, d->per_value,
		 d->peak, d->mean, d->grown, d->span_ms / MS_PER_S);
	bad_lines_json(b, r->bad ? r->bad : &(struct bad_lines){0});
	warning(&why, r);
	buf_addf(b, "  \"warnings\": [");
	if (why.len)
		text_json(b, buf_cstr(&why));
	buf_addf(b, "],\n");
	buf_addf(b, "  \"machine\": {\"nodes\": %" PRIu32 ", \"devices_per_node\": %" PRIu32 ", \"public\": %" PRIu32 ", \"private\": %"
		 PRIu32 "},\n", in->nodes, in->per_node, in->public_units, in->private_units);
	buf_addf(b, "  \"window_s\": %" PRId64 ",\n  \"checkpoint_s\": %" PRId64 ",\n  \"restart_s\": %" PRId64 ",\n  \"save_s\": %" PRId64
		 ",\n  \"notice_s\": %" PRId64 ",\n  \"recall_slo_s\": %" PRId64 ",\n", in->window_ms / 1000, in->checkpoint_ms / 1000,
		 in->restart_ms / 1000, in->save_ms / 1000, in->notice_ms / 1000, in->recall_slo_ms / 1000);
	buf_addf(b, "  \"jct_bound_s\": %.15g,\n  \"runs\": [\n", r->bound_s);
	for (size_t i = 0; i < r->runs_n; i++) {
		run_json(b, r, i);
		buf_addf(b, "%s\n", i + 1 < r->runs_n ? "," : "");
	}
	buf_addf(b, "  ]\n}\n");
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

void divide_jobs_csv(struct buf *b, const struct divide_setup *in, const struct divide_run *run)
{
	buf_addf(b, "job,tenant,devices,submit_s,wait_s,jct_s,run_s,starts,recalls,lost_s\n");
	for (size_t i = 0; i < in->trace->jobs_n; i++) {
		const struct divide_job *j = &in->trace->jobs[i];
		const struct divide_done *d = &run->done[i];

		buf_addf(b, "%zu,%s,%" PRIu32 ",%.3f,%.3f,%.3f,%.3f,%" PRIu32 ",%" PRIu32 ",%.3f\n", i + 1,
			 in->trace->tenants[j->tenant], j->units, (double)j->submit_ms / 1000,
			 (double)(d->first_start_ms - j->submit_ms) / 1000, (double)(d->end_ms - j->submit_ms) / 1000,
			 (double)j->run_ms / 1000, d->starts, d->recalls, (double)d->lost_ms / 1000);
	}
}

void divide_minutes_csv(struct buf *b, const struct divide_setup *in, const struct divide_run *run)
{
	uint32_t all = in->nodes * in->per_node;

	buf_addf(b, "at_s,public_guaranteed,public_on_loan,private,private_wanted,free,waiting_jobs,lost_gpu_hours\n");
	for (size_t i = 0; i < run->samples_n; i++) {
		const struct divide_sample *s = &run->samples[i];

		buf_addf(b, "%" PRId64 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%.4f\n", s->at_ms / 1000,
			 s->guaranteed, s->loaned, s->leased, s->wanted, all - s->guaranteed - s->loaned - s->leased, s->waiting,
			 s->lost_ms / HOUR_MS);
	}
}

/* ---- pictures -------------------------------------------------------------------------------------------------- */

static void source(char out[256], const struct divide_report *r, size_t run)
{
	(void)snprintf(out, 256, "source: %.60s %.8s, %.60s %.8s; %" PRIu32 " x %" PRIu32 " devices%s%s; sluis-sim " SLUIS_VERSION,
		       r->jobs_name, r->jobs_sha256, r->demand_name, r->demand_sha256, r->in->nodes, r->in->per_node,
		       run < r->runs_n ? "; policy " : "", run < r->runs_n ? policy_name(r, run) : "");
}

void divide_picture_division(struct buf *out, const struct divide_report *r, size_t run)
{
	const struct divide_run *u = &r->runs[run];
	uint32_t all = r->in->nodes * r->in->per_node;
	char title[96], from[256], entitled[48];
	double *x = xcalloc(5 * (u->samples_n + 1), sizeof *x), *y[4];
	struct picture p = {.title = title,
			    .text = "Devices over time, stacked from below: training in its own quota, training on devices "
				    "that the private side lent, leases, and what nobody uses. The dashed line is what "
				    "the public side is entitled to.",
			    .source = from, .x_name = "days", .y_name = "devices", .x_scale = PICTURE_DAYS,
			    .x_max = (double)r->in->window_ms / 1000, .y_max = all, .line = r->in->public_units,
			    .line_name = entitled};
	struct picture_series s[4] = {{"public, guaranteed", PICTURE_BLUE, false, x, NULL, u->samples_n},
				      {"public, on loan", PICTURE_SKY, true, x, NULL, u->samples_n},
				      {"private", PICTURE_ORANGE, false, x, NULL, u->samples_n},
				      {"free", PICTURE_GREY, false, x, NULL, u->samples_n}};

	for (size_t k = 0; k < 4; k++)
		s[k].y = y[k] = x + (k + 1) * (u->samples_n + 1);
	for (size_t i = 0; i < u->samples_n; i++) {
		const struct divide_sample *at = &u->samples[i];

		x[i] = (double)at->at_ms / 1000;
		y[0][i] = at->guaranteed;
		y[1][i] = at->loaned;
		y[2][i] = at->leased;
		y[3][i] = (double)all - at->guaranteed - at->loaned - at->leased;
	}
	(void)snprintf(title, sizeof title, "Who holds the devices: %s", policy_name(r, run));
	(void)snprintf(entitled, sizeof entitled, "entitled %.0f %%", 100.0 * r->in->public_units / all);
	source(from, r, run);
	picture_stack(out, &p, s, 4);
	free(x);
}

void divide_picture_recalls(struct buf *out, const struct divide_report *r, size_t run)
{
	const struct divide_run *u = &r->runs[run];
	double *x = xcalloc(2 * (u->growths_n + 1), sizeof *x), *y = x + u->growths_n + 1;
	double slo = (double)r->in->recall_slo_ms / 1000;
	char title[96], from[256], promised[48];
	struct picture p = {.title = title,
			    .text = "One dot for each time a lease grew and devices had to be fetched back from training: when, "
				    "and how long it took until they served. Later than promised: a cross.",
			    .source = from, .x_name = "days", .y_name = "seconds", .x_scale = PICTURE_DAYS,
			    .x_max = (double)r->in->window_ms / 1000, .line = slo, .line_name = promised};
	struct picture_series s = {"growth that needed a recall", PICTURE_BLUE, false, x, y, 0};
	double most = slo;

	for (size_t i = 0; i < u->growths_n; i++) {
		const struct divide_growth *g = &u->growths[i];

		if (!g->recalled || g->took_ms < 0 || g->at_ms > r->in->window_ms)
			continue;
		x[s.n] = (double)g->at_ms / 1000;
		y[s.n] = (double)g->took_ms / 1000;
		most = fmax(most, y[s.n]);
		s.n++;
	}
	p.y_max = 1.1 * most;
	(void)snprintf(title, sizeof title, "How long recalls took: %s", policy_name(r, run));
	(void)snprintf(promised, sizeof promised, "promised: %.0f s", slo);
	source(from, r, run);
	picture_dots(out, &p, &s, 1);
	free(x);
}

static enum picture_colour colour_of(enum divide_policy policy)
{
	switch (policy) {
	case DIVIDE_STATIC: return PICTURE_GREY;
	case DIVIDE_WALLED: return PICTURE_SKY;
	case DIVIDE_COHORT: return PICTURE_ORANGE;
	case DIVIDE_LYRA: return PICTURE_PURPLE;
	case DIVIDE_SLUIS: return PICTURE_BLUE;
	case DIVIDE_CLAIRVOYANT: return PICTURE_GREEN;
	case DIVIDE_POLICIES: break;
	}
	UNREACHABLE();
}

/* One line per run over the samples. */
static void over_time(struct buf *out, const struct divide_report *r, struct picture *p,
		      double (*value)(const struct divide_sample *))
{
	double *xy[DIVIDE_POLICIES];
	struct picture_series s[DIVIDE_POLICIES];
	char from[256];

	ENSURE(r->runs_n <= ARRAY_LEN(s));
	for (size_t k = 0; k < r->runs_n; k++) {
		const struct divide_run *u = &r->runs[k];
		double *x = xy[k] = xcalloc(2 * (u->samples_n + 1), sizeof *x), *y = x + u->samples_n + 1;

		for (size_t i = 0; i < u->samples_n; i++) {
			x[i] = (double)u->samples[i].at_ms / 1000;
			y[i] = value(&u->samples[i]);
			p->y_max = fmax(p->y_max, y[i]);
		}
		s[k] = (struct picture_series){policy_name(r, k), colour_of(u->policy), false, x, y, u->samples_n};
	}
	p->source = from;
	p->x_name = "days";
	p->x_scale = PICTURE_DAYS;
	p->x_max = (double)r->in->window_ms / 1000;
	p->mean = true;
	source(from, r, r->runs_n);
	picture_lines(out, p, s, r->runs_n);
	for (size_t k = 0; k < r->runs_n; k++)
		free(xy[k]);
}

static double waiting_of(const struct divide_sample *s) { return s->waiting; }
static double lost_of(const struct divide_sample *s) { return s->lost_ms / HOUR_MS; }

void divide_picture_queue(struct buf *out, const struct divide_report *r)
{
	struct picture p = {.title = "How many jobs wait", .y_name = "jobs",
			    .text = "Jobs that are submitted and do not run, one line per policy; recalled ones among them."};

	over_time(out, r, &p, waiting_of);
}

void divide_picture_lost(struct buf *out, const struct divide_report *r)
{
	struct picture p = {.title = "Work lost to recalls, so far", .y_name = "GPU-hours",
			    .text = "GPU-hours of training that had to be done again, loaded or saved because of a recall, added up "
				    "from the begin of the window, one line per policy."};

	over_time(out, r, &p, lost_of);
}

/* Begin of the stretch of `length_ms`, a whole number of hours into the window, in which most growth needed a
 * recall. */
static int64_t busiest(const struct divide_report *r, const struct divide_run *u, int64_t length_ms)
{
	int64_t best_ms = 0;
	uint32_t most = 0;

	for (int64_t from = 0; from + length_ms <= r->in->window_ms; from += MS_PER_HOUR) {
		uint32_t n = 0;

		for (size_t i = 0; i < u->growths_n; i++)
			n += u->growths[i].recalled && u->growths[i].at_ms >= from && u->growths[i].at_ms < from + length_ms;
		if (n > most) {
			most = n;
			best_ms = from;
		}
	}
	return best_ms;
}

void divide_picture_gantt(struct buf *out, const struct divide_report *r, size_t run)
{
	const struct divide_run *u = &r->runs[run];
	struct picture_bar *bars = xcalloc(PICTURE_BARS_MAX, sizeof *bars);
	uint32_t nodes = r->in->nodes < DIVIDE_SPAN_NODES ? r->in->nodes : DIVIDE_SPAN_NODES;
	struct picture_rows rows = {nodes * r->in->per_node, r->in->per_node, r->in->per_node, "node "};
	static const struct picture_series s[] = {{"public, guaranteed", PICTURE_BLUE, false, NULL, NULL, 0},
						  {"public, on loan", PICTURE_SKY, false, NULL, NULL, 0},
						  {"private", PICTURE_ORANGE, false, NULL, NULL, 0}};
	int64_t length_ms = r->in->window_ms < MS_PER_DAY ? r->in->window_ms : MS_PER_DAY, from_ms;
	char title[96], from[256], axis[96];
	size_t n;
	struct picture p = {.title = title,
			    .text = "One line per device, nodes from top to bottom: who held it when. A gap is an idle device. Only "
				    "the first 32 nodes, and the part of the window with most recalls.",
			    .source = from, .x_name = axis, .y_name = "", .x_scale = PICTURE_HOURS};

	for (;; length_ms /= 2) { /* as much time as can be drawn */
		from_ms = busiest(r, u, length_ms);
		n = 0;
		for (size_t i = 0; i < u->spans_n; i++) {
			const struct divide_span *at = &u->spans[i];

			if (at->to_ms <= from_ms || at->from_ms >= from_ms + length_ms)
				continue;
			if (n < PICTURE_BARS_MAX)
				bars[n] = (struct picture_bar){(double)(at->from_ms - from_ms) / 1000,
							       (double)(at->to_ms - from_ms) / 1000,
							       at->node * r->in->per_node + at->device, at->units, at->kind};
			n++;
		}
		if (n <= PICTURE_BARS_MAX)
			break;
	}
	p.x_max = (double)length_ms / 1000;
	(void)snprintf(title, sizeof title, "Who holds which device, %s%" PRIu32 " nodes: %s",
		       nodes < r->in->nodes ? "the first " : "", nodes, policy_name(r, run));
	(void)snprintf(axis, sizeof axis, "hours, from %.2f days into the window", (double)from_ms / (double)MS_PER_DAY);
	source(from, r, run);
	picture_gantt(out, &p, &rows, s, ARRAY_LEN(s), bars, n);
	free(bars);
}

static int by_value(const void *va, const void *vb)
{
	double a = *(const double *)va, b = *(const double *)vb;

	return (a > b) - (a < b);
}

void divide_picture_wait(struct buf *out, const struct divide_report *r)
{
	size_t n = r->in->trace->jobs_n;
	double *x = xcalloc(r->runs_n * n + 1, sizeof *x), *y = xcalloc(n + 1, sizeof *y), most = 60;
	char from[256];
	struct picture p = {.title = "How long jobs waited for their first start",
			    .text = "Share of the jobs that had started after at most so long, one line per policy.",
			    .source = from, .x_name = "queue time", .y_name = "% of the jobs", .x_scale = PICTURE_LOG_TIME,
			    .y_max = 100};
	struct picture_series s[DIVIDE_POLICIES];

	ENSURE(r->runs_n <= ARRAY_LEN(s));
	for (size_t i = 0; i < n; i++)
		y[i] = 100.0 * (double)(i + 1) / (double)n;
	for (size_t k = 0; k < r->runs_n; k++) {
		double *at = x + k * n;

		for (size_t i = 0; i < n; i++)
			at[i] = (double)(r->runs[k].done[i].first_start_ms - r->in->trace->jobs[i].submit_ms) / 1000;
		qsort(at, n, sizeof *at, by_value);
		most = fmax(most, at[n - 1]);
		s[k] = (struct picture_series){policy_name(r, k), colour_of(r->runs[k].policy), false, at, y, n};
	}
	p.x_max = most;
	source(from, r, r->runs_n);
	picture_lines(out, &p, s, r->runs_n);
	free(x);
	free(y);
}

void divide_picture_compare(struct buf *out, const struct divide_report *r)
{
	static const struct {
		const char *name, *unit;
		double (*value)(const struct divide_report *, size_t);
		double per;
		int digits;
	} rows[] = {
		{"queue time, mean", "min", wait_mean, 60, 1}, {"queue time, p95", "min", wait_p95, 60, 1},
		{"JCT, mean", "min", jct_mean, 60, 1}, {"allocation", "%", allocation, 1, 1},
		{"goodput", "%", goodput, 1, 1}, {"lost to recall", "% of training", lost_share, 1, 3},
		{"jobs recalled", "per 1,000 starts", preempted, 1, 1}, {"recall, p99", "s", recall_p99, 1, 0},
		{"leases late or refused", "", late, 1, 0},
	};
	enum { ROWS = ARRAY_LEN(rows), TEXT = 96 };
	struct picture_group groups[ROWS];
	struct picture_series s[DIVIDE_POLICIES];
	double values[ROWS * DIVIDE_POLICIES];
	char (*text)[TEXT] = xcalloc(ROWS * DIVIDE_POLICIES, sizeof *text);
	const char *texts[ROWS * DIVIDE_POLICIES];
	char from[256];
	size_t base = run_of(r, DIVIDE_STATIC);
	struct picture p = {.title = "Policies side by side",
			    .text = "Each measure has its own scale; behind a bar its value, and the factor against the static "
				    "split where that is better.",
			    .source = from};

	for (size_t k = 0; k < r->runs_n; k++)
		s[k] = (struct picture_series){policy_name(r, k), colour_of(r->runs[k].policy), false, NULL, NULL, 0};
	for (size_t g = 0; g < ROWS; g++) {
		groups[g].name = rows[g].name;
		for (size_t k = 0; k < r->runs_n; k++) {
			size_t at = g * r->runs_n + k;
			double v = rows[g].value(r, k) + (rows[g].value == late ? refused(r, k) : 0), than;

			values[at] = v;
			texts[at] = text[at];
			than = base < r->runs_n && g < 3 && v > 0 ? rows[g].value(r, base) / v : 0;
			if (than > 1.005)
				(void)snprintf(text[at], TEXT, "%.*f %s, %.2f times better", rows[g].digits, v / rows[g].per,
					       rows[g].unit, than);
			else
				(void)snprintf(text[at], TEXT, "%.*f %s", rows[g].digits, v / rows[g].per, rows[g].unit);
		}
	}
	source(from, r, r->runs_n);
	picture_bars(out, &p, s, r->runs_n, groups, ROWS, values, texts);
	free(text);
}
