/* text.c - times, numbers, names: what people read and type */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/config/units.h"
#include "proto/wire/cursor.h"

/* ---- printing -------------------------------------------------------------------------------- */

const char *text_f(struct ctl *c, const char *fmt, ...)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	char small[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(small, sizeof small, fmt, ap);
	va_end(ap);
	ENSURE(n >= 0);
	if ((size_t)n < sizeof small)
		return arena_copy(&c->arena, small, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf((char *)buf_reserve(&b, (size_t)n + 1), (size_t)n + 1, fmt, ap);
	va_end(ap);
	return arena_copy(&c->arena, b.data, (size_t)n + 1);
}

const char *text_safe(struct ctl *c, const char *s)
{
	size_t extra = 0, len = strlen(s);
	char *out, *p;

	for (const unsigned char *q = (const unsigned char *)s; *q; q++)
		extra += *q < 0x20 || *q == 0x7f ? 3 : 0;
	if (!extra)
		return s;
	out = p = arena_alloc(&c->arena, len + extra + 1);
	for (const unsigned char *q = (const unsigned char *)s; *q; q++) {
		if (*q < 0x20 || *q == 0x7f)
			p += snprintf(p, 5, "\\x%02x", *q);
		else
			*p++ = (char)*q;
	}
	return out;
}

const char *text_count(struct ctl *c, int64_t n)
{
	char digits[32], out[48];
	size_t len, at = 0;

	snprintf(digits, sizeof digits, "%" PRIu64, n < 0 ? (uint64_t)0 - (uint64_t)n : (uint64_t)n);
	len = strlen(digits);
	if (n < 0)
		out[at++] = '-';
	for (size_t i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = '\0';
	return text_f(c, "%s", out);
}

const char *text_age(struct ctl *c, int64_t ms)
{
	char out[UNITS_TEXT_BYTES];
	size_t len;

	if (ms < 0)
		return "-";
	len = strlen(units_duration_print(out, ms));
	if (len > 4 && !strncmp(out + len - 3, "00", 2)) /* 15m00s is 15m */
		out[len - 3] = '\0';
	return text_f(c, "%s", out);
}

static bool no_instant(int64_t ms) { return ms <= 0 || ms == T_NEVER; }

static const char *rfc3339(struct ctl *c, int64_t ms)
{
	char out[UNITS_TEXT_BYTES];

	return text_f(c, "%s", units_instant_print(out, ms / 1000 * 1000));
}

const char *text_time(struct ctl *c, int64_t ms)
{
	time_t t = (time_t)(ms / 1000), now = (time_t)(c->now_ms / 1000);
	struct tm tm, today;
	char out[64];

	if (no_instant(ms))
		return "-";
	if (c->plain)
		return rfc3339(c, ms);
	if (!localtime_r(&t, &tm) || !localtime_r(&now, &today))
		return "-";
	if (tm.tm_year == today.tm_year && tm.tm_yday == today.tm_yday)
		strftime(out, sizeof out, "%H:%M:%S", &tm);
	else if (tm.tm_year == today.tm_year)
		strftime(out, sizeof out, "%d %b %H:%M", &tm);
	else
		strftime(out, sizeof out, "%Y-%m-%d %H:%M", &tm);
	return text_f(c, "%s", out);
}

const char *text_date(struct ctl *c, int64_t ms)
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;
	char out[64];

	if (no_instant(ms))
		return "-";
	if (c->plain)
		return rfc3339(c, ms);
	if (ms - c->now_ms < MS_PER_DAY && c->now_ms - ms < MS_PER_DAY)
		return text_time(c, ms);
	if (!localtime_r(&t, &tm))
		return "-";
	strftime(out, sizeof out, "%Y-%m-%d", &tm);
	return text_f(c, "%s", out);
}

const char *text_gpuh(struct ctl *c, int64_t rums)
{
	int64_t tenths = rums / (MS_PER_HOUR / 10);

	/* what is there but smaller than a tenth shows its hundredths and thousandths */
	if (tenths == 0 && rums != 0)
		return text_f(c, "%s0.%03" PRId64, rums < 0 ? "-" : "", (rums < 0 ? -rums : rums) / (MS_PER_HOUR / 1000));
	return text_f(c, "%s%s.%" PRId64, tenths < 0 && tenths > -10 ? "-" : "", text_count(c, tenths / 10),
		      (tenths < 0 ? -tenths : tenths) % 10);
}

const char *text_nodes(struct ctl *c, const char *nodes)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	for (const char *p = nodes; *p;) {
		size_t len = strcspn(p, ","), n = 0;
		const char *next = p;

		do { /* equal ones that follow each other */
			next += len;
			next += *next == ',';
			n++;
		} while (strcspn(next, ",") == len && len && !strncmp(next, p, len));
		buf_addf(&b, "%s%.*s", b.len ? "," : "", (int)len, p);
		if (n > 1)
			buf_addf(&b, "*%zu", n);
		p = next;
	}
	return text_f(c, "%s", buf_cstr(&b));
}

const char *text_size(struct ctl *c, uint8_t shape, uint32_t units, uint16_t per_node, const char *flavor)
{
	if (shape == SHAPE_NODE)
		return text_f(c, "%u %s %s", units, text_plural(units, "node", "nodes"), flavor);
	if (per_node && units > per_node)
		return text_f(c, "%ux%u %s", units / per_node, per_node, flavor);
	return text_f(c, "%u %s", units, flavor);
}

const char *text_path_last(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

const char *text_plural(uint64_t n, const char *one, const char *many) { return n == 1 ? one : many; }

const char *text_hex(struct ctl *c, const uint8_t *p, size_t n)
{
	char *out = arena_alloc(&c->arena, 2 * n + 1);

	for (size_t i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
	return out;
}

bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Digits at `s`, at most 18; returns what follows them, NULL when there are none. */
static const char *digits(const char *s, uint64_t *ret)
{
	uint64_t v = 0;
	size_t n = 0;

	for (; isdigit((unsigned char)s[n]); n++) {
		if (n == 18)
			return NULL;
		v = v * 10 + (uint64_t)(s[n] - '0');
	}
	*ret = v;
	return n ? s + n : NULL;
}

int job_name_parse(const char *text, struct job_name *ret, struct err *err)
{
	struct job_name name = {.index = -1, .task = -1};
	const char *p = text;
	uint64_t v = 0;

	if (!strncmp(p, "job-", 4))
		p += 4;
	p = digits(p, &name.id);
	if (p && *p == '_') {
		p = digits(p + 1, &v);
		name.index = (int64_t)v;
	}
	if (p && *p == '.') {
		p = digits(p + 1, &v);
		name.task = (int64_t)v;
	}
	if (!p || *p || !name.id) {
		(void)err_set(err, ERR_INVAL, "'%.60s' is no job", text);
		(void)err_hint(err, "a number: 1042, 1043_7 for a child of an array, 1042.3 for a task");
		return ERR_INVAL;
	}
	*ret = name;
	return 0;
}

int id_parse(const char *text, const char *noun, uint64_t *ret, struct err *err)
{
	size_t n = strlen(noun);
	const char *p = text;
	uint64_t v = 0;

	if (!strncmp(p, noun, n) && p[n] == '-')
		p += n + 1;
	p = digits(p, &v);
	if (!p || *p || !v) {
		(void)err_set(err, ERR_INVAL, "'%.60s' is no %s", text, noun);
		(void)err_hint(err, "a number, as the list shows it");
		return ERR_INVAL;
	}
	*ret = v;
	return 0;
}

int lease_name_parse(const char *text, uint64_t *ret, struct err *err)
{
	int r = id_parse(text, "lease", ret, err);

	if (r)
		(void)err_hint(err, "a number, as `sluisctl lease list` shows it: 77");
	return r;
}

static int opt_span(struct ctl *c, const struct call *call, const char *name, bool slurm, int64_t *ret_ms)
{
	const char *value = call_get(call, name), *sep = " ";
	struct err err = {0};
	size_t digits;

	if (!value || !(slurm ? units_job_time : units_duration)(value, ret_ms, &err))
		return 0;
	for (const struct opt *o = call->cmd->opts; o->name; o++)
		if (!strcmp(o->name, name) && o->value && o->value[0] == '[')
			sep = "="; /* a value that may be left out */
	digits = strspn(value, "0123456789");
	if (digits && !value[digits] && digits < 10)
		try_next(c, "--%s%s%ss, --%s%s%sm or --%s%s%sh", name, sep, value, name, sep, value, name, sep, value);
	else
		try_next(c, "--%s%s%s", name, sep, slurm ? err.hint : "90s, 15m, 12h or 30d");
	return usage_fault(c, "--%s: %s", name, err.msg);
}

int opt_duration(struct ctl *c, const struct call *call, const char *name, int64_t *ret_ms)
{
	return opt_span(c, call, name, false, ret_ms);
}

int opt_job_time(struct ctl *c, const struct call *call, const char *name, int64_t *ret_ms)
{
	return opt_span(c, call, name, true, ret_ms);
}

int opt_instant(struct ctl *c, const struct call *call, const char *name, int64_t *ret_ms)
{
	const char *value = call_get(call, name);
	struct err err = {0};

	if (!value || !units_instant(value, c->now_ms, UNITS_LOCAL, ret_ms, &err))
		return 0;
	if (err.hint[0])
		try_next(c, "%s", err.hint);
	return usage_fault(c, "--%s: %s", name, err.msg);
}

int opt_count(struct ctl *c, const struct call *call, const char *name, int64_t min, int64_t max, int64_t *ret)
{
	const char *value = call_get(call, name);
	struct err err = {0};

	if (!value || !units_count(value, min, max, ret, &err))
		return 0;
	try_next(c, "--%s with a number from %" PRId64 " to %" PRId64, name, min, max);
	return usage_fault(c, "--%s: %s", name, err.msg);
}

int opt_word(struct ctl *c, const struct call *call, const char *name, const char *const *names, int *ret)
{
	CLEANUP(buf_done) struct buf words = BUF_INIT;
	const char *value = call_get(call, name);

	if (!value)
		return 0;
	for (int i = 0; names[i]; i++) {
		if (!strcmp(names[i], value)) {
			*ret = i;
			return 0;
		}
		buf_addf(&words, "%s%s", i ? ", " : "", names[i]);
	}
	try_next(c, "one of: %s", buf_cstr(&words));
	return usage_fault(c, "--%s: '%s' is not known", name, value);
}

int opt_copy(struct ctl *c, const char *what, const char *value, char *to, size_t size)
{
	if (!value)
		return 0;
	if (!wire_text_ok(value, strlen(value), true)) {
		try_next(c, "one line of UTF-8");
		return usage_fault(c, "%s: control characters, or no UTF-8", what);
	}
	if (strlen(value) >= size) {
		try_next(c, "at most %zu bytes", size - 1);
		return usage_fault(c, "%s: '%.60s...' is too long", what, value);
	}
	snprintf(to, size, "%s", value);
	return 0;
}

int opt_requires(struct ctl *c, const struct call *call, struct require *to, uint32_t *ret_n)
{
	const char *value;
	uint32_t n = 0;

	for (; (value = call_nth(call, "require", n)) != NULL; n++) {
		const char *eq = strchr(value, '=');

		if (n == REQUIRES_MAX) {
			try_next(c, "at most %d", REQUIRES_MAX);
			return usage_fault(c, "--require: too many");
		}
		if (!eq || eq == value || (size_t)(eq - value) >= LABEL_BYTES || strlen(eq + 1) >= LABEL_BYTES ||
		    !wire_text_ok(value, strlen(value), true)) {
			try_next(c, "--require jurisdiction=NL");
			return usage_fault(c, "--require: '%s' is not KEY=VALUE", value);
		}
		snprintf(to[n].key, sizeof to[n].key, "%.*s", (int)(eq - value), value);
		snprintf(to[n].value, sizeof to[n].value, "%s", eq + 1);
	}
	*ret_n = n;
	return 0;
}

struct arena scratch_begin(struct ctl *c)
{
	struct arena keep = c->arena;

	c->arena = (struct arena){0};
	return keep;
}

void scratch_end(struct ctl *c, struct arena keep)
{
	arena_done(&c->arena);
	c->arena = keep;
}

/* ---- waiting --------------------------------------------------------------------------------- */

volatile int stop_signal;

static void on_stop(int signo) { stop_signal = signo; }

void stop_catch(void)
{
	/* no SA_RESTART: what waits has to come back */
	struct sigaction sa = {.sa_handler = on_stop};

	sigemptyset(&sa.sa_mask);
	(void)sigaction(SIGINT, &sa, NULL);  /* cannot fail with valid arguments */
	(void)sigaction(SIGTERM, &sa, NULL);
}

void sleep_ms(int64_t ms)
{
	struct timespec ts = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

	if (ms > 0)
		(void)nanosleep(&ts, NULL); /* cut short by a signal: the caller looks at the clock */
}
