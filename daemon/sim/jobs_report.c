/* jobs_report.c - see jobs_report.h */
#include "daemon/sim/jobs_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/picture.h"
#include "proto/base/ensure.h"

enum { MINUTE_S = 60, DAY_S = 86400 };

static void spread_json(struct buf *b, const char *name, const struct jobsim_spread *d)
{
	buf_addf(b, "  \"%s\": {\"mean\": %.15g, \"p50\": %.15g, \"p95\": %.15g, \"p99\": %.15g, \"max\": %.15g},\n", name,
		 d->mean, d->p50, d->p95, d->p99, d->max);
}

void jobs_json(struct buf *b, const struct jobs_report *r)
{
	const struct swf_dropped *d = &r->dropped;

	buf_addf(b, "{\n  \"version\": \"%s\",\n  \"trace\": ", SLUIS_VERSION);
	text_json(b, r->trace_name);
	buf_addf(b, ",\n  \"trace_sha256\": \"%s\",\n  \"procs\": %" PRId64 ",\n  \"policy\": \"%s\",\n", r->sha256,
		 r->procs, r->policy->name);
	buf_addf(b, "  \"estimate\": \"%s\",\n  \"jobs_read\": %zu,\n  \"jobs_simulated\": %zu,\n", r->estimate_name,
		 r->read_n, r->swf.jobs_n);
	bad_lines_json(b, &r->bad);
	buf_addf(b, "  \"jobs_dropped\": {\"all\": %zu, \"too_large\": %zu, \"no_size\": %zu, "
		 "\"no_submit\": %zu, \"no_run\": %zu, \"no_request\": %zu},\n", d->all, d->too_large, d->no_size,
		 d->no_submit, d->no_run, d->no_request);
	buf_addf(b, "  \"jobs_cut_at_request\": %zu,\n  \"jobs_out_of_order\": %zu,\n", d->overran, d->out_of_order);
	spread_json(b, "wait_s", &r->result.wait_s);
	spread_json(b, "bounded_slowdown", &r->result.slowdown);
	spread_json(b, "flow_s", &r->result.flow_s);
	if (r->policy == &jobsim_core) {
		const struct jobsim_told *t = &r->told;

		buf_addf(b, "  \"start_estimates\": {\"waited\": %zu, \"told\": %zu, \"no_later_than_p50\": %zu, \"no_later_than_p90\": %zu, "
			 "\"error_s_mean\": %.15g, \"error_s_p50\": %.15g, \"wait_s_mean\": %.15g, \"wait_s_p50\": %.15g},\n",
			 t->waited, t->told, t->early, t->in_time, t->error_s.mean, t->error_s.p50, t->wait_s.mean, t->wait_s.p50);
	}
	buf_addf(b, "  \"span_s\": %" PRId64 ",\n  \"utilisation\": %.15g\n}\n",
		 r->result.last_end_s - r->result.first_submit_s, r->result.utilisation);
}

static void spread_text(struct buf *b, const char *name, const struct jobsim_spread *d)
{
	buf_addf(b, "%-18s %14.4f %12.4f %12.4f %12.4f %12.4f\n", name, d->mean, d->p50, d->p95, d->p99, d->max);
}

void jobs_text(struct buf *b, const struct jobs_report *r)
{
	const struct swf_dropped *d = &r->dropped;

	buf_addf(b, "trace              %s\n", r->trace_name);
	buf_addf(b, "processors         %" PRId64 "\n", r->procs);
	buf_addf(b, "policy             %s: %s\n", r->policy->name, r->policy->text);
	buf_addf(b, "estimate           %s\n", r->estimate_name);
	buf_addf(b, "jobs               %zu read, %zu simulated, %zu dropped\n", r->read_n, r->swf.jobs_n, d->all);
	if (d->all)
		buf_addf(b, "dropped            %zu too large, %zu without size, %zu without submission, %zu did not run, "
			 "%zu without request\n", d->too_large, d->no_size, d->no_submit, d->no_run, d->no_request);
	bad_lines_text(b, &r->bad);
	buf_addf(b, "cut at request     %zu\n\n", d->overran);
	buf_addf(b, "%-18s %14s %12s %12s %12s %12s\n", "", "mean", "p50", "p95", "p99", "max");
	spread_text(b, "wait s", &r->result.wait_s);
	spread_text(b, "bounded slowdown", &r->result.slowdown);
	spread_text(b, "flow s", &r->result.flow_s);
	buf_addf(b, "\nutilisation        %.4f\n", r->result.utilisation);
	if (r->policy == &jobsim_core && r->told.told)
		buf_addf(b, "start estimates    %zu of %zu jobs that had to wait were told one; %.1f %% started no later than p50, %.1f %% than p90;\n"
			 "                   off p50 by %.0f s in the mean, %.0f s in the median, of waits of %.0f s and %.0f s\n",
			 r->told.told, r->told.waited, 100.0 * (double)r->told.early / (double)r->told.told,
			 100.0 * (double)r->told.in_time / (double)r->told.told, r->told.error_s.mean,
			 r->told.error_s.p50, r->told.wait_s.mean, r->told.wait_s.p50);
}

/* ---- tables ------------------------------------------------------------------------------------------------ */

void jobs_csv(struct buf *b, const struct jobs_report *r)
{
	buf_addf(b, "job,submit_s,wait_s,run_s,procs,slowdown\n");
	for (size_t i = 0; i < r->swf.jobs_n; i++) {
		const struct swf_job *j = &r->swf.jobs[i];
		int64_t wait_s = r->start_s[i] - j->submit_s, bound_s = j->run_s > 10 ? j->run_s : 10;
		double slow = (double)(wait_s + j->run_s) / (double)bound_s;

		buf_addf(b, "%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%.6f\n", j->id, j->submit_s, wait_s,
			 j->run_s, j->procs, slow > 1 ? slow : 1.0);
	}
}

/* What stands at the begin of each minute. */
struct minutes {
	size_t n;
	double *at_s; /* since the first submission */
	double *busy, *running, *waiting, *waiting_procs;
};

static void minutes_done(struct minutes *m) { free(m->at_s); }

/* Add `value` to [from, to) of a series of differences; the ends are instants of the log. */
static void add(const struct jobs_report *r, const struct minutes *m, double *series, int64_t from_s, int64_t to_s, double value)
{
	/* a minute shows what stands at its begin: the first one at or after the instant */
	size_t from = (size_t)((from_s - r->result.first_submit_s + MINUTE_S - 1) / MINUTE_S);
	size_t to = (size_t)((to_s - r->result.first_submit_s + MINUTE_S - 1) / MINUTE_S);

	if (from < m->n)
		series[from] += value;
	if (to < m->n)
		series[to] -= value;
}

static struct minutes minutes_of(const struct jobs_report *r)
{
	struct minutes m = {.n = (size_t)((r->result.last_end_s - r->result.first_submit_s) / MINUTE_S + 1)};
	double *series[4];

	m.at_s = xcalloc(5 * m.n, sizeof *m.at_s);
	for (size_t k = 0; k < 4; k++)
		series[k] = m.at_s + (k + 1) * m.n;
	m.busy = series[0];
	m.running = series[1];
	m.waiting = series[2];
	m.waiting_procs = series[3];
	for (size_t i = 0; i < r->swf.jobs_n; i++) {
		const struct swf_job *j = &r->swf.jobs[i];
		int64_t start_s = r->start_s[i];

		add(r, &m, m.waiting, j->submit_s, start_s, 1);
		add(r, &m, m.waiting_procs, j->submit_s, start_s, (double)j->procs);
		add(r, &m, m.running, start_s, start_s + j->run_s, 1);
		add(r, &m, m.busy, start_s, start_s + j->run_s, (double)j->procs);
	}
	for (size_t i = 0; i < m.n; i++) {
		m.at_s[i] = (double)i * MINUTE_S;
		for (size_t k = 0; k < 4 && i > 0; k++)
			series[k][i] += series[k][i - 1];
	}
	return m;
}

void jobs_minutes_csv(struct buf *b, const struct jobs_report *r)
{
	struct minutes m = minutes_of(r);

	buf_addf(b, "at_s,busy_procs,running_jobs,waiting_jobs,waiting_procs\n");
	for (size_t i = 0; i < m.n; i++)
		buf_addf(b, "%.0f,%.0f,%.0f,%.0f,%.0f\n", m.at_s[i], m.busy[i], m.running[i], m.waiting[i],
			 m.waiting_procs[i]);
	minutes_done(&m);
}

/* ---- pictures -------------------------------------------------------------------------------------------------- */

static void source(char out[256], const struct jobs_report *r)
{
	(void)snprintf(out, 256, "source: %.80s %.8s; %" PRId64 " processors; policy %s, estimate %s; sluis-sim " SLUIS_VERSION,
		       r->trace_name, r->sha256, r->procs, r->policy->name, r->estimate_name);
}

void jobs_picture_busy(struct buf *out, const struct jobs_report *r)
{
	struct minutes m = minutes_of(r);
	char from[256];
	struct picture p = {.title = "Processors in use",
			    .text = "Processors that run jobs, over time; the dashed line is how many there are.",
			    .source = from, .x_name = "days", .y_name = "processors", .x_scale = PICTURE_DAYS,
			    .x_max = m.at_s[m.n - 1], .y_max = (double)r->procs, .line = (double)r->procs, .line_name = "all"};
	struct picture_series s = {"busy", PICTURE_BLUE, false, m.at_s, m.busy, m.n};

	source(from, r);
	picture_stack(out, &p, &s, 1);
	minutes_done(&m);
}

void jobs_picture_queue(struct buf *out, const struct jobs_report *r)
{
	struct minutes m = minutes_of(r);
	char from[256];
	struct picture p = {.title = "How many jobs wait", .text = "Jobs that are submitted and do not run, over time.",
			    .source = from, .x_name = "days", .y_name = "jobs", .x_scale = PICTURE_DAYS,
			    .x_max = m.at_s[m.n - 1]};
	struct picture_series s = {"waiting", PICTURE_VERMILION, false, m.at_s, m.waiting, m.n};

	for (size_t i = 0; i < m.n; i++)
		p.y_max = fmax(p.y_max, m.waiting[i]);
	source(from, r);
	picture_stack(out, &p, &s, 1);
	minutes_done(&m);
}

static int by_value(const void *va, const void *vb)
{
	double a = *(const double *)va, b = *(const double *)vb;

	return (a > b) - (a < b);
}

void jobs_picture_wait(struct buf *out, const struct jobs_report *r)
{
	size_t n = r->swf.jobs_n;
	double *x = xcalloc(2 * n + 1, sizeof *x), *y = x + n;
	char from[256];
	struct picture p = {.title = "How long jobs waited", .text = "Share of the jobs that had started after at most so long.",
			    .source = from, .x_name = "wait", .y_name = "% of the jobs", .x_scale = PICTURE_LOG_TIME,
			    .x_max = fmax(60, r->result.wait_s.max), .y_max = 100};
	struct picture_series s = {r->policy->name, PICTURE_BLUE, false, x, y, n};

	for (size_t i = 0; i < n; i++) {
		x[i] = (double)(r->start_s[i] - r->swf.jobs[i].submit_s);
		y[i] = 100.0 * (double)(i + 1) / (double)n;
	}
	qsort(x, n, sizeof *x, by_value);
	source(from, r);
	picture_lines(out, &p, &s, 1);
	free(x);
}

/* Jobs in order of start, for giving them processors. */
struct stay { int64_t start_s; uint32_t job; };

static int by_start(const void *va, const void *vb)
{
	const struct stay *a = va, *b = vb;

	if (a->start_s != b->start_s)
		return a->start_s < b->start_s ? -1 : 1;
	return (a->job > b->job) - (a->job < b->job);
}

/* Bars of [from_s, to_s) on the first `rows` processors; returns how many there are, and writes the first
 * PICTURE_BARS_MAX. free_at_s is scratch, [procs]. */
static size_t bars_of(const struct jobs_report *r, const struct stay *stays, int64_t from_s, int64_t to_s, uint32_t rows,
		      int64_t *free_at_s, struct picture_bar *bars)
{
	size_t n = 0;

	for (int64_t k = 0; k < r->procs; k++)
		free_at_s[k] = INT64_MIN;
	for (size_t i = 0; i < r->swf.jobs_n && stays[i].start_s < to_s; i++) {
		const struct swf_job *j = &r->swf.jobs[stays[i].job];
		int64_t end_s = stays[i].start_s + j->run_s, wanted = j->procs;

		if (end_s <= from_s) /* whoever has left by then takes no processor from those in the picture */
			continue;
		for (int64_t k = 0; k < r->procs && wanted > 0; k++) {
			int64_t first = k;

			while (k < r->procs && wanted > 0 && free_at_s[k] <= stays[i].start_s) {
				free_at_s[k++] = end_s;
				wanted--;
			}
			if (k == first || first >= rows)
				continue;
			if (n < PICTURE_BARS_MAX)
				bars[n] = (struct picture_bar){(double)(stays[i].start_s - from_s), (double)(end_s - from_s),
							       (uint32_t)first, (uint32_t)((k < rows ? k : rows) - first),
							       (uint8_t)((uint64_t)j->user % 7)};
			n++;
		}
	}
	return n;
}

void jobs_picture_gantt(struct buf *out, const struct jobs_report *r)
{
	/* no grey: that is for what is idle */
	static const struct picture_series s[7] = {
		{"", PICTURE_BLUE, false, NULL, NULL, 0},  {"", PICTURE_ORANGE, false, NULL, NULL, 0},
		{"", PICTURE_GREEN, false, NULL, NULL, 0}, {"", PICTURE_VERMILION, false, NULL, NULL, 0},
		{"", PICTURE_SKY, false, NULL, NULL, 0},   {"", PICTURE_PURPLE, false, NULL, NULL, 0},
		{"one colour per user, in turn", PICTURE_YELLOW, false, NULL, NULL, 0}};
	struct picture_bar *bars = xcalloc(PICTURE_BARS_MAX, sizeof *bars);
	struct stay *stays = xcalloc(r->swf.jobs_n, sizeof *stays);
	int64_t *free_at_s = xcalloc((size_t)r->procs, sizeof *free_at_s), from_s, length_s = DAY_S;
	uint32_t shown = r->procs < 384 ? (uint32_t)r->procs : 384;
	struct picture_rows rows = {shown, 1, 1, ""};
	struct minutes m = minutes_of(r);
	size_t longest = 0, n;
	char title[96], from[256], axis[96];
	struct picture p = {.title = title, .text = "One line per processor: who had it when, one colour per user, seven in turn. A gap is "
						    "an idle processor. The day with the longest queue.",
			    .source = from, .x_name = axis, .y_name = "processors", .x_scale = PICTURE_HOURS};

	for (size_t i = 0; i < r->swf.jobs_n; i++)
		stays[i] = (struct stay){r->start_s[i], (uint32_t)i};
	qsort(stays, r->swf.jobs_n, sizeof *stays, by_start);
	for (size_t i = 0; i < m.n; i++)
		if (m.waiting[i] > m.waiting[longest])
			longest = i;
	do { /* as much time as can be drawn */
		from_s = r->result.first_submit_s + (int64_t)longest * MINUTE_S - length_s / 2;
		if (from_s < r->result.first_submit_s)
			from_s = r->result.first_submit_s;
		n = bars_of(r, stays, from_s, from_s + length_s, shown, free_at_s, bars);
		if (n > PICTURE_BARS_MAX)
			length_s /= 2;
	} while (n > PICTURE_BARS_MAX && length_s > MINUTE_S);
	p.x_max = (double)length_s;
	(void)snprintf(title, sizeof title, "Who holds which processor%s", shown < r->procs ? ", the first 384" : "");
	(void)snprintf(axis, sizeof axis, "hours, from day %.2f of the log", (double)(from_s - r->result.first_submit_s) / DAY_S);
	source(from, r);
	picture_gantt(out, &p, &rows, s, ARRAY_LEN(s), bars, n < PICTURE_BARS_MAX ? n : PICTURE_BARS_MAX);
	free(bars);
	free(stays);
	free(free_at_s);
	minutes_done(&m);
}
