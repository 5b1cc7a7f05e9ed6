/* swf.c - see swf.h
 *
 * The filter is the one of pyss, the simulator behind the published EASY figures; golden.c depends
 * on it.
 */
#include "daemon/sim/swf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/text.h"
#include "proto/base/buf.h"
#include "proto/base/ckd.h"

enum { FIELDS = 18, SUBMIT = 1, RUN = 3, REQUEST = 8 };
/* Of what is counted and of what nobody looks at. */
#define VALUE_MAX INT64_C(1000000000000)

static const char *const field_names[FIELDS] = {
	"job number", "submit time", "wait time", "run time", "allocated processors",
	"average cpu time", "used memory", "requested processors", "requested time",
	"requested memory", "status", "user", "group", "executable", "queue", "partition",
	"preceding job", "think time",
};

static bool blank(char c) { return c == ' ' || c == '\t'; }

static int64_t most_of(int field)
{
	return field == SUBMIT || field == RUN || field == REQUEST ? SWF_TIME_MAX_S : VALUE_MAX;
}

/* A decimal integer of [at, end), VALUE_MAX + 1 for all beyond; a fraction behind it is checked and cut. */
static const char *scan_number(const char *at, const char *end, int64_t *ret_value)
{
	bool minus = at < end && *at == '-';
	const char *digits;
	int64_t v = 0;

	if (at < end && (*at == '-' || *at == '+'))
		at++;
	for (digits = at; at < end && *at >= '0' && *at <= '9'; at++) {
		v = v * 10 + (*at - '0');
		if (v > VALUE_MAX)
			v = VALUE_MAX + 1;
	}
	if (at == digits)
		return NULL;
	if (at < end && *at == '.')
		for (at++; at < end && *at >= '0' && *at <= '9'; at++)
			;
	if (at < end && !blank(*at))
		return NULL;
	*ret_value = minus ? -v : v;
	return at;
}

static int parse_job(const char *name, unsigned number, const char *at, const char *end, struct swf_job *ret_job,
		     struct err *err)
{
	int64_t v[FIELDS];

	for (int i = 0; i < FIELDS; i++) {
		while (at < end && blank(*at))
			at++;
		if (at == end)
			return err_set(err, ERR_FORMAT, "%s:%u: %d fields, a job has %d", name, number, i, FIELDS);
		at = scan_number(at, end, &v[i]);
		if (!at)
			return err_set(err, ERR_FORMAT, "%s:%u: field %d (%s) is not a number", name, number,
				       i + 1, field_names[i]);
		if (v[i] > most_of(i) || v[i] < -most_of(i))
			return err_set(err, ERR_FORMAT, "%s:%u: field %d (%s) is beyond %" PRId64 "%s", name, number,
				       i + 1, field_names[i], most_of(i),
				       most_of(i) == SWF_TIME_MAX_S ? " s, the longest that is simulated" : "");
	}
	while (at < end && blank(*at))
		at++;
	if (at != end)
		return err_set(err, ERR_FORMAT, "%s:%u: more than %d fields", name, number, FIELDS);
	*ret_job = (struct swf_job){.id = v[0], .submit_s = v[1], .run_s = v[3], .allocated = v[4],
				    .procs = v[7], .request_s = v[8], .user = v[11], .line = number};
	return 0;
}

/* "; MaxProcs: 338 (text)" sets *ret_value, if it is not set yet. */
static void header_value(const char *line, size_t bytes, unsigned number, const char *key, int64_t *ret_value,
			 unsigned *ret_bad_line)
{
	const char *at = line + 1, *end = line + bytes;
	size_t n = strlen(key);
	int64_t v;

	while (at < end && blank(*at))
		at++;
	if (*ret_value != -1 || (size_t)(end - at) < n || memcmp(at, key, n) != 0)
		return;
	for (at += n; at < end && (blank(*at) || *at == ':'); at++)
		;
	if (!scan_number(at, end, &v) || v == -1)
		return; /* a text, or unknown */
	if (v >= 1 && v <= SWF_PROCS_MAX)
		*ret_value = v;
	else if (!*ret_bad_line)
		*ret_bad_line = number;
}

static void add_job(struct swf *swf, const struct swf_job *job)
{
	size_t n = swf->jobs_n;

	if ((n & (n - 1)) == 0)
		swf->jobs = xrealloc(swf->jobs, (n ? 2 * n : 1) * sizeof *swf->jobs);
	swf->jobs[swf->jobs_n++] = *job;
}

int swf_parse(const char *name, const char *text, size_t bytes, struct bad_lines *bad, struct swf *ret_swf,
	      struct err *err)
{
	struct lines lines;
	const char *line;
	size_t n;

	ret_swf->max_procs = ret_swf->max_nodes = -1;
	lines_begin(&lines, text, bytes);
	while (lines_next(&lines, &line, &n)) {
		struct swf_job job;
		struct err why;
		size_t skip = 0;

		while (skip < n && blank(line[skip]))
			skip++;
		if (skip == n)
			continue;
		if (line[skip] == ';') {
			header_value(line + skip, n - skip, lines.number, "MaxProcs", &ret_swf->max_procs,
				     &ret_swf->bad_size_line);
			header_value(line + skip, n - skip, lines.number, "MaxNodes", &ret_swf->max_nodes,
				     &ret_swf->bad_size_line);
			continue;
		}
		if (parse_job(name, lines.number, line, line + n, &job, &why) == 0)
			add_job(ret_swf, &job);
		else if (bad_line(bad, &why, err))
			return why.code;
	}
	return 0;
}

void swf_done(struct swf *swf)
{
	free(swf->jobs);
	*swf = (struct swf){0};
}

/* Which counter of `d` a job falls under, or NULL to keep it; completes size and times. */
static size_t *judge(struct swf_job *j, int64_t procs, bool request_from_run, struct swf_dropped *d)
{
	if (j->allocated > procs || j->procs > procs)
		return &d->too_large;
	if (j->procs <= 0)
		j->procs = j->allocated;
	if (j->procs <= 0)
		return &d->no_size;
	if (j->submit_s < 0)
		return &d->no_submit;
	if (j->run_s <= 0)
		return &d->no_run;
	if (j->request_s <= 0 && request_from_run)
		j->request_s = j->run_s;
	if (j->request_s <= 0)
		return &d->no_request;
	if (j->run_s > j->request_s) {
		d->overran++;
		j->run_s = j->request_s;
	}
	return NULL;
}

static int by_submission(const void *va, const void *vb)
{
	const struct swf_job *a = va, *b = vb;

	if (a->submit_s != b->submit_s)
		return a->submit_s < b->submit_s ? -1 : 1;
	return (a->line > b->line) - (a->line < b->line);
}

void swf_filter(struct swf *swf, int64_t procs, bool request_from_run, struct swf_dropped *ret_dropped)
{
	int64_t latest_s = 0;
	size_t kept = 0;

	*ret_dropped = (struct swf_dropped){0};
	for (size_t i = 0; i < swf->jobs_n; i++) {
		struct swf_job j = swf->jobs[i];
		size_t *why = judge(&j, procs, request_from_run, ret_dropped);

		if (why) {
			++*why;
			continue;
		}
		if (j.submit_s < latest_s)
			ret_dropped->out_of_order++;
		latest_s = j.submit_s > latest_s ? j.submit_s : latest_s;
		swf->jobs[kept++] = j;
	}
	ret_dropped->all = swf->jobs_n - kept;
	swf->jobs_n = kept;
	if (kept)
		qsort(swf->jobs, kept, sizeof *swf->jobs, by_submission);
}

static int by_value(const void *va, const void *vb)
{
	int64_t a = *(const int64_t *)va, b = *(const int64_t *)vb;

	return (a > b) - (a < b);
}

void swf_users(const struct swf_job *jobs, size_t n, struct swf_users *ret_users)
{
	int64_t *ids = xmalloc(n * sizeof *ids);
	uint32_t count = 0;

	*ret_users = (struct swf_users){.of = xmalloc(n * sizeof(uint32_t))};
	for (size_t i = 0; i < n; i++)
		ids[i] = jobs[i].user;
	qsort(ids, n, sizeof *ids, by_value);
	for (size_t i = 0; i < n; i++)
		if (count == 0 || ids[i] != ids[count - 1])
			ids[count++] = ids[i];
	for (size_t i = 0; i < n; i++) {
		const int64_t *id = bsearch(&jobs[i].user, ids, count, sizeof *ids, by_value);

		ret_users->of[i] = (uint32_t)(id - ids);
	}
	ret_users->n = count;
	free(ids);
}
