/* demand.c - see demand.h */
#include "daemon/sim/demand.h"

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

/* ---- reading ------------------------------------------------------------------------------------------ */

static struct demand_series *series_named(struct demand_curve *c, const char *name)
{
	struct demand_series *s;

	/* rows of one series mostly follow each other */
	for (uint32_t i = c->series_n; i-- > 0;)
		if (strcmp(c->series[i].name, name) == 0)
			return &c->series[i];
	if (c->series_n == c->series_cap) {
		c->series_cap = c->series_cap ? 2 * c->series_cap : 64;
		c->series = xrealloc(c->series, c->series_cap * sizeof *c->series);
	}
	s = &c->series[c->series_n++];
	*s = (struct demand_series){0};
	(void)snprintf(s->name, sizeof s->name, "%s", name);
	return s;
}

static void point_add(struct demand_series *s, int64_t at_ms, double value)
{
	if (s->points_n == s->points_cap) {
		s->points_cap = s->points_cap ? 2 * s->points_cap : 16;
		s->points = xrealloc(s->points, s->points_cap * sizeof *s->points);
	}
	s->points[s->points_n++] = (struct demand_point){at_ms, value};
}

static int by_time(const void *va, const void *vb)
{
	const struct demand_point *a = va, *b = vb;

	return (a->at_ms > b->at_ms) - (a->at_ms < b->at_ms);
}

/* Ascending, one point per instant, beginning at 0. Instance files give changes instead of values. */
static void series_close(struct demand_series *s, bool changes)
{
	size_t n = 0;
	double sum = 0;

	point_add(s, 0, 0); /* last among those at 0 only as a change; as a value it is dropped below */
	if (!changes)
		for (size_t i = 0; i + 1 < s->points_n; i++)
			if (s->points[i].at_ms == 0) {
				s->points_n--;
				break;
			}
	qsort(s->points, s->points_n, sizeof *s->points, by_time);
	for (size_t i = 0; i < s->points_n; i++) {
		struct demand_point p = s->points[i];

		if (changes)
			p.value = sum += p.value;
		if (n && s->points[n - 1].at_ms == p.at_ms)
			n--;
		s->points[n++] = p;
	}
	s->points_n = n;
}

/* Of times in s and of what is wanted. */
#define AMOUNT_MAX INT64_C(1000000000000)

static int devices_row(const struct csv_row *r, struct demand_curve *c, struct err *err)
{
	enum { PROVIDER = 0, AT, DEVICES };
	char provider[NAME_BYTES];
	double at, value;

	if (csv_text(r, PROVIDER, provider, sizeof provider, err) || csv_amount(r, AT, AMOUNT_MAX, &at, err) ||
	    csv_amount(r, DEVICES, AMOUNT_MAX, &value, err))
		return ERR_FORMAT;
	point_add(series_named(c, provider), (int64_t)(at * 1000), value);
	if ((int64_t)(at * 1000) > c->span_ms)
		c->span_ms = (int64_t)(at * 1000);
	return 0;
}

static int rate_row(const struct csv_row *r, struct demand_curve *c, struct err *err)
{
	static const char prefix[] = "client-";
	enum { CLIENT = 0, AT, RATE };
	char client[NAME_BYTES] = "client-";
	double at, value;
	struct demand_series *s;
	int64_t window_ms;

	if (csv_text(r, CLIENT, client + sizeof prefix - 1, sizeof client - (sizeof prefix - 1), err) ||
	    csv_amount(r, AT, AMOUNT_MAX, &at, err) || csv_amount(r, RATE, AMOUNT_MAX, &value, err))
		return ERR_FORMAT;
	s = series_named(c, client);
	window_ms = s->points_n ? (int64_t)(at * 1000) - s->points[s->points_n - 1].at_ms : 0;
	point_add(s, (int64_t)(at * 1000), value);
	if ((int64_t)(at * 1000) + window_ms > c->span_ms) /* the last window is as long as the one before */
		c->span_ms = (int64_t)(at * 1000) + window_ms;
	return 0;
}

static int instance_row(const struct csv_row *r, struct demand_curve *c, struct err *err)
{
	enum { ROLE = 0, APP, GPUS, FROM, TO };
	double gpus = 0, from = 0, to = 0;
	char role[NAME_BYTES], app[NAME_BYTES];
	bool ends = !csv_empty(r, TO);
	struct demand_series *s;

	if (csv_text(r, ROLE, role, sizeof role, err))
		return ERR_FORMAT;
	if (strcmp(role, "HN") != 0)
		return 0; /* the part without GPUs */
	if (csv_text(r, APP, app, sizeof app, err) || csv_amount(r, GPUS, AMOUNT_MAX, &gpus, err) ||
	    (!csv_empty(r, FROM) && csv_amount(r, FROM, AMOUNT_MAX, &from, err)) ||
	    (ends && csv_amount(r, TO, AMOUNT_MAX, &to, err)))
		return ERR_FORMAT;
	if (ends && to < from)
		return err_set(err, ERR_FORMAT, "%s:%u: the instance is deleted at %g s, before it is created at %g s",
			       r->csv->name, r->line, to, from);
	s = series_named(c, app);
	point_add(s, (int64_t)(from * 1000), gpus);
	if (ends)
		point_add(s, (int64_t)(to * 1000), -gpus);
	if ((int64_t)(fmax(from, to) * 1000) > c->span_ms)
		c->span_ms = (int64_t)(fmax(from, to) * 1000);
	return 0;
}

struct format {
	const char *columns[6]; /* all of them needed */
	unsigned columns_n;
	int (*row)(const struct csv_row *, struct demand_curve *, struct err *);
	enum demand_kind kind;
};
static const struct format formats[] = {
	{{"provider", "at_s", "devices", NULL}, 3, devices_row, DEMAND_DEVICES},
	{{"client", "window_start_s", "rate_rps", NULL}, 3, rate_row, DEMAND_RATE},
	{{"role", "app_name", "gpu_request", "creation_time", "deletion_time", NULL}, 5, instance_row, DEMAND_INSTANCES},
};

/* The format that has the greatest share of its columns in the heading. */
static const struct format *format_of(const char *heading, size_t bytes)
{
	const struct format *best = NULL;
	unsigned most = 0;

	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		unsigned share = csv_matches(heading, bytes, formats[i].columns) * 60 / formats[i].columns_n;

		if (share > most) {
			most = share;
			best = &formats[i];
		}
	}
	return best;
}

int demand_parse(const char *name, const char *text, size_t bytes, struct bad_lines *bad, struct demand_curve *c,
		 struct err *err)
{
	const struct format *f;
	struct lines l;
	struct csv csv;
	const char *line;
	size_t n;
	int r;

	lines_begin(&l, text, bytes);
	if (!lines_next(&l, &line, &n))
		return err_set(err, ERR_FORMAT, "%s: the file is empty", name);
	f = format_of(line, n);
	if (!f) {
		(void)err_set(err, ERR_FORMAT, "%s:1: this is no demand curve that is known", name);
		return err_hint(err, "its first line should be: provider,at_s,devices");
	}
	c->kind = f->kind;
	r = csv_heading(&csv, name, l.number, line, n, f->columns, f->columns_n, err);
	if (r)
		return r;
	while (lines_next(&l, &line, &n)) {
		struct csv_row row;
		struct err why;

		if (n && (csv_cut(&csv, l.number, line, n, &row, &why) || f->row(&row, c, &why)) && bad_line(bad, &why, err))
			return why.code;
	}
	if (!c->series_n)
		return err_set(err, ERR_FORMAT, "%s: nobody wants anything", name);
	if (!c->span_ms)
		c->span_ms = MS_PER_DAY;
	for (uint32_t i = 0; i < c->series_n; i++)
		series_close(&c->series[i], c->kind == DEMAND_INSTANCES);
	return 0;
}

void demand_curve_point(struct demand_curve *c, const char *provider, int64_t at_ms, double value)
{
	point_add(series_named(c, provider), at_ms, value);
}

void demand_curve_add(struct demand_curve *c, const char *provider, uint32_t devices)
{
	char name[NAME_BYTES];
	struct demand_series *s;

	(void)snprintf(name, sizeof name, "%.*s", NAME_BYTES - 1, provider);
	s = series_named(c, name);
	if (s->points_n)
		s->points[0].value += devices;
	else
		point_add(s, 0, devices);
}

void demand_curve_done(struct demand_curve *c)
{
	for (uint32_t i = 0; i < c->series_n; i++)
		free(c->series[i].points);
	free(c->series);
	*c = (struct demand_curve){0};
}

/* ---- devices ------------------------------------------------------------------------------------------- */

/* More than any machine has: what is beyond this is refused by its sum. */
enum { DEVICES_MOST = 1 << 30 };

static uint32_t devices(double value, double per_value)
{
	double n = ceil(value * per_value - 1e-9); /* an exact multiple stays one whatever its last bit is */

	return n > 0 ? (uint32_t)fmin(n, DEVICES_MOST) : 0;
}

/* What is leased at `at_ms`, looking back over the end of the span as well. */
static uint32_t leased(const struct demand_curve *c, const struct demand_series *s, const struct demand_rule *rule,
		       double per_value, int64_t at_ms, size_t from)
{
	uint32_t most = 0;
	bool any = false;
	int64_t shift_ms = 0, back_ms = rule->scale_down_ms > rule->idle_ms ? rule->scale_down_ms : rule->idle_ms;

	/* point `i` holds during [its instant, the next one's); the first that begins after at_ms is `from` + 1 */
	for (size_t i = from;; i--) {
		size_t next = i + 1 < s->points_n ? i + 1 : 0;
		int64_t until_ms = (next ? s->points[next].at_ms : c->span_ms) - shift_ms;
		uint32_t units = devices(s->points[i].value, per_value);

		if (i != from && until_ms <= at_ms - back_ms)
			break;
		if ((i == from && !shift_ms) || until_ms > at_ms - rule->scale_down_ms)
			most = units > most ? units : most;
		any |= units > 0 && ((i == from && !shift_ms) || until_ms > at_ms - rule->idle_ms);
		if (i == 0) {
			if (shift_ms)
				break; /* once around */
			shift_ms = c->span_ms;
			i = s->points_n;
		}
	}
	return most ? most : any;
}

static int by_at(const void *va, const void *vb)
{
	const struct demand_step *a = va, *b = vb;

	if (a->at_ms != b->at_ms)
		return a->at_ms < b->at_ms ? -1 : 1;
	return (a->provider > b->provider) - (a->provider < b->provider);
}

static void step_add(struct demand *d, int64_t at_ms, uint32_t provider, uint32_t units)
{
	if (d->steps_n == d->steps_cap) {
		d->steps_cap = d->steps_cap ? 2 * d->steps_cap : 1024;
		d->steps = xrealloc(d->steps, d->steps_cap * sizeof *d->steps);
	}
	d->steps[d->steps_n++] = (struct demand_step){at_ms, provider, units};
}

static int by_instant(const void *va, const void *vb)
{
	int64_t a = *(const int64_t *)va, b = *(const int64_t *)vb;

	return (a > b) - (a < b);
}

static void series_steps(const struct demand_curve *c, uint32_t at, const struct demand_rule *rule, double per_value,
			 struct demand *d)
{
	const struct demand_series *s = &c->series[at];
	int64_t *when = xmalloc((s->points_n * 3 + 1) * sizeof *when);
	size_t n = 0, point = 0;
	uint32_t last = UINT32_MAX;

	/* it can change where a value begins, and a delay after one has ended */
	for (size_t i = 0; i < s->points_n; i++) {
		when[n++] = s->points[i].at_ms;
		when[n++] = (s->points[i].at_ms + rule->scale_down_ms) % c->span_ms;
		when[n++] = (s->points[i].at_ms + rule->idle_ms) % c->span_ms;
	}
	when[n++] = 0;
	qsort(when, n, sizeof *when, by_instant);
	for (size_t i = 0; i < n; i++) {
		uint32_t units;

		if ((i && when[i] == when[i - 1]) || when[i] >= c->span_ms)
			continue;
		while (point + 1 < s->points_n && s->points[point + 1].at_ms <= when[i])
			point++;
		units = leased(c, s, rule, per_value, when[i], point);
		if (units == last)
			continue;
		if (units > 0 || last != UINT32_MAX)
			step_add(d, when[i], at, units);
		last = units;
	}
	free(when);
}

static void make(const struct demand_curve *c, const struct demand_rule *rule, double per_value, struct demand *d)
{
	uint32_t *now = xcalloc(c->series_n, sizeof *now);
	int64_t sum = 0, before_ms = 0;
	double area = 0;

	d->steps_n = 0;
	d->providers_n = c->series_n;
	d->span_ms = c->span_ms;
	d->per_value = per_value;
	d->peak = 0;
	d->grown = 0;
	for (uint32_t i = 0; i < c->series_n; i++)
		series_steps(c, i, rule, per_value, d);
	if (d->steps_n)
		qsort(d->steps, d->steps_n, sizeof *d->steps, by_at);
	for (size_t i = 0; i < d->steps_n; i++) {
		const struct demand_step *s = &d->steps[i];

		area += (double)sum * (double)(s->at_ms - before_ms);
		before_ms = s->at_ms;
		if (s->units > now[s->provider] && s->at_ms)
			d->grown += s->units - now[s->provider];
		sum += (int64_t)s->units - now[s->provider];
		now[s->provider] = s->units;
		/* the peak is what stands after all steps of an instant */
		if ((i + 1 == d->steps_n || d->steps[i + 1].at_ms != s->at_ms) && sum > d->peak)
			d->peak = sum < DEVICES_MOST ? (uint32_t)sum : DEVICES_MOST;
	}
	d->mean = (area + (double)sum * (double)(c->span_ms - before_ms)) / (double)c->span_ms;
	free(now);
}

int demand_make(const struct demand_curve *c, const struct demand_rule *rule, struct demand *ret, struct err *err)
{
	double low = 0, high = 1, most = 0;

	*ret = (struct demand){0};
	if (c->kind == DEMAND_DEVICES) {
		make(c, rule, 1, ret);
		ret->asked = ret->peak;
	}
	if (rule->per_value > 0) {
		make(c, rule, rule->per_value, ret);
		if (ret->peak <= rule->peak)
			return 0;
		(void)err_set(err, ERR_RANGE, "at most %" PRIu32 " devices are wanted at once, the private side has %" PRIu32,
			      ret->peak, rule->peak);
		return err_hint(err, "a larger machine, or leave the scale to the program");
	}
	for (uint32_t i = 0; i < c->series_n; i++)
		for (size_t k = 0; k < c->series[i].points_n; k++)
			most = fmax(most, c->series[i].points[k].value);
	make(c, rule, high, ret);
	for (; ret->peak > rule->peak && high * most > 1; make(c, rule, high, ret)) /* down to a device for each */
		high /= 2;
	for (; ret->peak <= rule->peak && high < 1e9; make(c, rule, high, ret)) {
		low = high;
		high *= 2;
	}
	for (int i = 0; i < 24; i++) { /* the sum grows with the scale: bisect */
		double mid = low + (high - low) / 2;

		make(c, rule, mid, ret);
		if (ret->peak <= rule->peak)
			low = mid;
		else
			high = mid;
	}
	make(c, rule, low, ret);
	if (ret->peak > 0 && low > 0)
		return 0;
	return err_set(err, ERR_RANGE, "%" PRIu32 " devices are too few for %" PRIu32 " providers", rule->peak,
		       c->series_n);
}

void demand_done(struct demand *d)
{
	free(d->steps);
	*d = (struct demand){0};
}
