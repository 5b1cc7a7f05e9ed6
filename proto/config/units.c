/* units.c - parsers and printers of numbers with units (see units.h)
 *
 * One scanner, take_digits(), reads every number, so overflow is caught in one place.
 */
#include "proto/config/units.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "proto/base/ckd.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Read digits at *p. Returns how many there were (0: none), or -1 when the value does not fit. */
static int take_digits(const char **p, int64_t *ret_value)
{
	int64_t v = 0;
	int n = 0;
	bool over = false;

	for (; is_digit(**p); (*p)++) {
		over = over || ckd_mul(&v, v, 10) || ckd_add(&v, v, **p - '0');
		if (n < 1000)
			n++;
	}
	if (over)
		return -1;
	*ret_value = v;
	return n;
}

static const char *skip_blanks(const char *p)
{
	while (*p == ' ')
		p++;
	return p;
}

static int refuse(struct err *err, int code, const char *what, const char *text, const char *hint)
{
	(void)err_set(err, code, "'%.100s' %s", text, what);
	(void)err_hint(err, "%s", hint);
	return code;
}

int units_count(const char *text, int64_t min, int64_t max, int64_t *ret_value, struct err *err)
{
	const char *p = text;
	int64_t v = 0;
	int n = take_digits(&p, &v);

	if (n == 0 || *p != '\0' || (text[0] == '0' && text[1] != '\0')) {
		(void)err_set(err, ERR_INVAL, "'%.100s' is not a whole number", text);
		(void)err_hint(err, "decimal digits, no sign and no leading zero");
		return ERR_INVAL;
	}
	if (n < 0 || v < min || v > max) {
		(void)err_set(err, ERR_RANGE, "'%.100s' is out of range", text);
		(void)err_hint(err, "%" PRId64 " to %" PRId64, min, max);
		return ERR_RANGE;
	}
	*ret_value = v;
	return 0;
}

/* ---- durations ------------------------------------------------------------------------------ */

static const char duration_hint[] = "a number with a unit: 500ms, 90s, 15m, 12h, 30d, 2w";

static const struct duration_unit { const char *name; int64_t ms; } duration_units[] = {
	{"w", 7 * MS_PER_DAY}, {"d", MS_PER_DAY}, {"h", MS_PER_HOUR}, {"m", MS_PER_MIN}, {"s", MS_PER_S}, {"ms", 1},
};

/* The unit whose name is exactly the `len` letters at `p`, or NULL. */
static const struct duration_unit *duration_unit(const char *p, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(duration_units); i++)
		if (strlen(duration_units[i].name) == len && memcmp(duration_units[i].name, p, len) == 0)
			return &duration_units[i];
	return NULL;
}

int units_duration(const char *text, int64_t *ret_ms, struct err *err)
{
	const char *p = text;
	int64_t total = 0, last = INT64_MAX;

	do {
		int64_t v = 0;
		int n = take_digits(&p, &v);
		size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyz");
		const struct duration_unit *unit;

		if (n == 0)
			return refuse(err, ERR_INVAL, "is not a duration", text, duration_hint);
		if (len == 0)
			return refuse(err, ERR_INVAL, "has no unit", text, duration_hint);
		unit = duration_unit(p, len);
		if (!unit || unit->ms >= last)
			return refuse(err, ERR_INVAL, "is not a duration", text, duration_hint);
		last = unit->ms;
		p += len;
		if (n < 0 || ckd_mul(&v, v, unit->ms) || ckd_add(&total, total, v) || total > UNITS_DURATION_MAX_MS)
			return refuse(err, ERR_RANGE, "is longer than a hundred years", text, duration_hint);
	} while (*p != '\0');
	*ret_ms = total;
	return 0;
}

int units_slurm_time(const char *text, int64_t *ret_ms, struct err *err)
{
	static const char hint[] = "M, M:S, H:M:S, D-H, D-H:M or D-H:M:S";
	/* seconds per field, by (with days, number of fields) */
	static const int64_t plain[4][3] = {{0}, {60}, {60, 1}, {3600, 60, 1}};
	static const int64_t dayed[3] = {3600, 60, 1};
	const char *p = text;
	int64_t field[3], days = 0, total_s = 0;
	const int64_t *scale;
	int n, fields = 0;
	bool has_days = false, over = false;

	for (;;) {
		if (fields == 3)
			return refuse(err, ERR_INVAL, "is not a time limit", text, hint);
		n = take_digits(&p, &field[fields]);
		if (n == 0)
			return refuse(err, ERR_INVAL, "is not a time limit", text, hint);
		if (n < 0) {
			over = true;
			field[fields] = 0;
		}
		if (*p == '-' && !has_days && fields == 0) {
			has_days = true;
			days = field[0];
			p++;
			continue;
		}
		fields++;
		if (*p == '\0')
			break;
		if (*p != ':')
			return refuse(err, ERR_INVAL, "is not a time limit", text, hint);
		p++;
	}
	scale = has_days ? dayed : plain[fields];
	over = over || ckd_mul(&total_s, days, INT64_C(86400));
	for (int i = 0; i < fields; i++) {
		int64_t part = 0;

		over = over || ckd_mul(&part, field[i], scale[i]) || ckd_add(&total_s, total_s, part);
	}
	if (over || total_s > UNITS_DURATION_MAX_MS / MS_PER_S)
		return refuse(err, ERR_RANGE, "is longer than a hundred years", text, hint);
	*ret_ms = total_s * MS_PER_S;
	return 0;
}

int units_job_time(const char *text, int64_t *ret_ms, struct err *err)
{
	if (*text != '\0' && strspn(text, "0123456789:-") == strlen(text))
		return units_slurm_time(text, ret_ms, err);
	if (units_duration(text, ret_ms, err)) {
		int code = err ? err->code : ERR_INVAL;

		(void)err_hint(err, "90m, 12h, 2d, or Slurm's M, M:S, H:M:S, D-H[:M[:S]]");
		return code;
	}
	return 0;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

static const char size_hint[] = "a whole number with a unit: 512MiB, 64GiB, 64G, 8gb (all 1024-based)";

/* log2 of a size unit ("G", "gb", "GiB"), 0 for bytes, or -1. */
static int size_shift(const char *unit)
{
	static const char letters[] = "kmgtp";
	const char *at;

	if (strcasecmp(unit, "b") == 0)
		return 0;
	at = unit[0] ? strchr(letters, tolower((unsigned char)unit[0])) : NULL;
	if (!at || (unit[1] && strcasecmp(unit + 1, "b") != 0 && strcasecmp(unit + 1, "ib") != 0))
		return -1;
	return 10 * (int)(at - letters + 1);
}

int units_size(const char *text, int64_t *ret_bytes, struct err *err)
{
	const char *p = text;
	int64_t v = 0;
	int n = take_digits(&p, &v), shift;

	if (n == 0)
		return refuse(err, ERR_INVAL, "is not a size", text, size_hint);
	p = skip_blanks(p);
	if (*p == '\0')
		return refuse(err, ERR_INVAL, "has no unit", text, size_hint);
	shift = size_shift(p);
	if (shift < 0)
		return refuse(err, ERR_INVAL, "is not a size", text, size_hint);
	if (n < 0 || ckd_mul(&v, v, INT64_C(1) << shift))
		return refuse(err, ERR_RANGE, "is larger than 8 EiB", text, size_hint);
	*ret_bytes = v;
	return 0;
}

int units_size_mib(const char *text, int64_t *ret_mib, struct err *err)
{
	int64_t bytes = 0;
	int code = units_size(text, &bytes, err);

	if (code)
		return code;
	if (bytes % (1 << 20))
		return refuse(err, ERR_INVAL, "is no whole number of MiB", text, size_hint);
	*ret_mib = bytes >> 20;
	return 0;
}

int units_job_mem_mib(const char *text, int64_t *ret_mib, struct err *err)
{
	int64_t bytes = 0;
	int code;

	if (*text != '\0' && strspn(text, "0123456789") == strlen(text)) {
		const char *p = text;
		int n = take_digits(&p, &bytes);

		if (n < 0 || bytes > INT64_MAX >> 20)
			return refuse(err, ERR_RANGE, "is larger than 8 EiB", text, size_hint);
		*ret_mib = bytes;
		return 0;
	}
	code = units_size(text, &bytes, err);
	if (code)
		return code;
	*ret_mib = (bytes >> 20) + (bytes % (1 << 20) != 0);
	return 0;
}

/* ---- decimals ------------------------------------------------------------------------------- */

/* "12.345" with at most `decimals` digits behind the point, scaled to 10^decimals. Moves *p behind it.
 * Returns 0, ERR_INVAL or ERR_RANGE. */
static int take_decimal(const char **p, int decimals, int64_t *ret_scaled)
{
	int64_t v = 0, frac = 0;
	int n = take_digits(p, &v), f = 0;

	if (n == 0)
		return ERR_INVAL;
	if (**p == '.') {
		(*p)++;
		f = take_digits(p, &frac);
		if (f <= 0 || f > decimals)
			return ERR_INVAL;
	}
	if (n < 0)
		return ERR_RANGE;
	for (int i = 0; i < decimals; i++) {
		if (ckd_mul(&v, v, 10))
			return ERR_RANGE;
		if (i >= f)
			frac *= 10;
	}
	return ckd_add(ret_scaled, v, frac) ? ERR_RANGE : 0;
}

int units_share_ppm(const char *text, int64_t *ret_ppm, struct err *err)
{
	static const char hint[] = "parts per million (250000) or a percentage with its sign (12.5 %)";
	const char *p = text;
	int64_t v = 0;
	int code;

	if (*text != '\0' && strspn(text, "0123456789") == strlen(text)) {
		code = units_count(text, 0, UNITS_PPM_ALL, &v, err);
		if (code)
			return refuse(err, code, "is not a share", text, hint);
		*ret_ppm = v;
		return 0;
	}
	code = take_decimal(&p, 4, &v);
	if (code != ERR_RANGE && strcmp(skip_blanks(p), "%") != 0)
		code = ERR_INVAL;
	if (code == ERR_INVAL)
		return refuse(err, code, "is not a share", text, hint);
	if (code || v > UNITS_PPM_ALL)
		return refuse(err, ERR_RANGE, "is more than the whole", text, hint);
	*ret_ppm = v;
	return 0;
}

int units_gpuh_mrus(const char *text, int64_t *ret_mrus, struct err *err)
{
	static const char hint[] = "GPU-hours with their unit: 4000 gpuh, 0.5 gpuh";
	const char *p = text;
	int64_t v = 0;
	int code = take_decimal(&p, 3, &v);

	if (code != ERR_RANGE && strcmp(skip_blanks(p), "gpuh") != 0)
		code = ERR_INVAL;
	if (code == ERR_INVAL)
		return refuse(err, code, "is not an amount of GPU-hours", text, hint);
	if (code || ckd_mul(&v, v, UNITS_MRUS_PER_GPUH / 1000))
		return refuse(err, ERR_RANGE, "is too many GPU-hours", text, hint);
	*ret_mrus = v;
	return 0;
}

/* ---- instants ------------------------------------------------------------------------------- */

/* A date and a time of day as written; offset_s only if has_offset. */
struct civil {
	int64_t year;
	unsigned month, day;
	int64_t second_ms; /* ms since midnight */
	bool has_offset;
	int64_t offset_s;
};

int64_t units_days_from_civil(int64_t year, unsigned month, unsigned day)
{
	int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
	int64_t doy = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + (int64_t)day - 1;

	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_from_days(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
	int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

	*ret_day = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
	*ret_month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
	*ret_year = yoe + era * 400 + (*ret_month <= 2);
}

static unsigned month_days(int64_t year, unsigned month)
{
	static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* Exactly `digits` digits with a value in min..max. */
static bool take_fixed(const char **p, int digits, int64_t min, int64_t max, int64_t *ret)
{
	int64_t v = 0;

	for (int i = 0; i < digits; i++, (*p)++) {
		if (!is_digit(**p))
			return false;
		v = v * 10 + (**p - '0');
	}
	*ret = v;
	return v >= min && v <= max && !is_digit(**p);
}

static bool take_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

/* "14:30[:05[.250]]" */
static bool take_clock(const char **p, int64_t *ret_ms)
{
	int64_t h = 0, m = 0, s = 0, ms = 0;
	int digits = is_digit(**p) && is_digit((*p)[1]) ? 2 : 1;

	if (!take_fixed(p, digits, 0, 23, &h) || !take_char(p, ':') || !take_fixed(p, 2, 0, 59, &m))
		return false;
	if (take_char(p, ':')) {
		if (!take_fixed(p, 2, 0, 59, &s))
			return false;
		if (take_char(p, '.') && !take_fixed(p, 3, 0, 999, &ms))
			return false;
	}
	*ret_ms = h * MS_PER_HOUR + m * MS_PER_MIN + s * MS_PER_S + ms;
	return true;
}

static bool take_date(const char **p, struct civil *c)
{
	int64_t month = 0, day = 0;

	if (!take_fixed(p, 4, 1, 9999, &c->year) || !take_char(p, '-') || !take_fixed(p, 2, 1, 12, &month) ||
	    !take_char(p, '-') || !take_fixed(p, 2, 1, 31, &day))
		return false;
	c->month = (unsigned)month;
	c->day = (unsigned)day;
	return c->day <= month_days(c->year, c->month);
}

/* "Z", "+01:00" or nothing. */
static bool take_offset(const char **p, struct civil *c)
{
	int64_t h = 0, m = 0;
	int sign;

	if (take_char(p, 'Z') || take_char(p, 'z')) {
		c->has_offset = true;
		return true;
	}
	if (**p != '+' && **p != '-')
		return true;
	sign = **p == '-' ? -1 : 1;
	(*p)++;
	if (!take_fixed(p, 2, 0, 23, &h) || !take_char(p, ':') || !take_fixed(p, 2, 0, 59, &m))
		return false;
	c->has_offset = true;
	c->offset_s = sign * (h * 3600 + m * 60);
	return true;
}

/* ms since 1970 UTC. A local time the clocks skipped or repeated is what mktime(3) makes of it. */
static int64_t civil_ms(const struct civil *c, enum units_zone zone)
{
	if (c->has_offset || zone == UNITS_UTC)
		return (units_days_from_civil(c->year, c->month, c->day) * 86400 - c->offset_s) * MS_PER_S +
		       c->second_ms;
	struct tm tm = {
		.tm_year = (int)c->year - 1900,
		.tm_mon = (int)c->month - 1,
		.tm_mday = (int)c->day,
		.tm_hour = (int)(c->second_ms / MS_PER_HOUR),
		.tm_min = (int)(c->second_ms / MS_PER_MIN % 60),
		.tm_sec = (int)(c->second_ms / MS_PER_S % 60),
		.tm_isdst = -1,
	};
	return (int64_t)mktime(&tm) * MS_PER_S + c->second_ms % MS_PER_S;
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* The date `now_ms` falls on. */
static struct civil civil_today(int64_t now_ms, enum units_zone zone)
{
	struct civil c = {0};

	if (zone == UNITS_LOCAL) {
		time_t t = (time_t)floor_div(now_ms, MS_PER_S);
		struct tm tm = {0};

		if (localtime_r(&t, &tm)) {
			c.year = (int64_t)tm.tm_year + 1900;
			c.month = (unsigned)tm.tm_mon + 1;
			c.day = (unsigned)tm.tm_mday;
			return c;
		}
	}
	civil_from_days(floor_div(now_ms, MS_PER_DAY), &c.year, &c.month, &c.day);
	return c;
}

static void civil_next_day(struct civil *c)
{
	civil_from_days(units_days_from_civil(c->year, c->month, c->day) + 1, &c->year, &c->month, &c->day);
}

/* "+2h", "+60", "+1hour", "-30m" behind `now`, the sign included. */
static bool take_delta(const char *p, int64_t *ret_ms)
{
	static const struct { const char *name; int64_t ms; } words[] = {
		{"", MS_PER_S},		   {"second", MS_PER_S},  {"seconds", MS_PER_S},  {"minute", MS_PER_MIN},
		{"minutes", MS_PER_MIN},   {"min", MS_PER_MIN},	  {"hour", MS_PER_HOUR},  {"hours", MS_PER_HOUR},
		{"day", MS_PER_DAY},	   {"days", MS_PER_DAY},  {"week", 7 * MS_PER_DAY}, {"weeks", 7 * MS_PER_DAY},
	};
	int sign = *p == '-' ? -1 : 1;
	const char *rest = p + 1;
	int64_t v = 0;
	int n;

	if (units_duration(p + 1, &v, NULL) == 0) {
		*ret_ms = sign * v;
		return true;
	}
	n = take_digits(&rest, &v);
	for (size_t i = 0; n > 0 && i < ARRAY_LEN(words); i++) {
		if (strcmp(rest, words[i].name) != 0)
			continue;
		if (ckd_mul(&v, v, words[i].ms) || v > UNITS_DURATION_MAX_MS)
			return false;
		*ret_ms = sign * v;
		return true;
	}
	return false;
}

/* A time of day alone is the next such moment, as at(1) and sbatch read it. */
static bool next_clock(const char *text, int64_t now_ms, enum units_zone zone, int64_t *ret_ms)
{
	struct civil c = civil_today(now_ms, zone);
	const char *p = text;

	if (strcmp(text, "midnight") == 0) {
		c.second_ms = 0;
	} else if (strcmp(text, "noon") == 0) {
		c.second_ms = 12 * MS_PER_HOUR;
	} else {
		if (!take_clock(&p, &c.second_ms))
			return false;
		p = skip_blanks(p);
		if (strcasecmp(p, "am") == 0 || strcasecmp(p, "pm") == 0) {
			int64_t hour = c.second_ms / MS_PER_HOUR;

			if (hour < 1 || hour > 12)
				return false;
			c.second_ms -= hour == 12 ? 12 * MS_PER_HOUR : 0;
			c.second_ms += tolower((unsigned char)*p) == 'p' ? 12 * MS_PER_HOUR : 0;
		} else if (*p != '\0') {
			return false;
		}
	}
	*ret_ms = civil_ms(&c, zone);
	if (*ret_ms <= now_ms) {
		civil_next_day(&c);
		*ret_ms = civil_ms(&c, zone);
	}
	return true;
}

int units_instant(const char *text, int64_t now_ms, enum units_zone zone, int64_t *ret_ms, struct err *err)
{
	static const char hint[] = "14:30, 2026-12-01, 2026-12-01T14:30+01:00, now+2h, -30m or midnight";
	const char *p = text;
	struct civil c = {0};
	int64_t delta = 0, t = 0;

	if (strncmp(p, "now", 3) == 0)
		p += 3;
	if (p != text && *p == '\0') {
		*ret_ms = now_ms;
		return 0;
	}
	if (*p == '+' || *p == '-') {
		if (!take_delta(p, &delta))
			return refuse(err, ERR_INVAL, "is not a time", text, hint);
		if (ckd_add(&t, now_ms, delta))
			return refuse(err, ERR_RANGE, "is too far away", text, hint);
		*ret_ms = t;
		return 0;
	}
	if (strcmp(text, "today") == 0 || strcmp(text, "tomorrow") == 0) {
		c = civil_today(now_ms, zone);
		if (text[2] == 'm')
			civil_next_day(&c);
		*ret_ms = civil_ms(&c, zone);
		return 0;
	}
	if (next_clock(text, now_ms, zone, ret_ms))
		return 0;
	p = text;
	if (!take_date(&p, &c))
		return refuse(err, ERR_INVAL, "is not a time", text, hint);
	if (*p == 'T' || *p == 't' || *p == ' ') {
		p++;
		if (!take_clock(&p, &c.second_ms) || !take_offset(&p, &c))
			return refuse(err, ERR_INVAL, "is not a time", text, hint);
	}
	if (*p != '\0')
		return refuse(err, ERR_INVAL, "is not a time", text, hint);
	*ret_ms = civil_ms(&c, zone);
	return 0;
}

/* ---- printers ------------------------------------------------------------------------------- */

char *units_duration_print(char out[UNITS_TEXT_BYTES], int64_t ms)
{
	const char *sign = ms < 0 ? "-" : "";
	uint64_t u = ms < 0 ? (uint64_t)0 - (uint64_t)ms : (uint64_t)ms;
	uint64_t s = u / 1000;

	if (u == 0)
		snprintf(out, UNITS_TEXT_BYTES, "0s");
	else if (s == 0)
		snprintf(out, UNITS_TEXT_BYTES, "%s%" PRIu64 "ms", sign, u);
	else if (s < 60)
		snprintf(out, UNITS_TEXT_BYTES, "%s%" PRIu64 "s", sign, s);
	else if (s < 3600)
		snprintf(out, UNITS_TEXT_BYTES, "%s%" PRIu64 "m%02" PRIu64 "s", sign, s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, UNITS_TEXT_BYTES, "%s%" PRIu64 "h%02" PRIu64 "m", sign, s / 3600, s / 60 % 60);
	else
		snprintf(out, UNITS_TEXT_BYTES, "%s%" PRIu64 "d%02" PRIu64 "h", sign, s / 86400, s / 3600 % 24);
	return out;
}

char *units_duration_exact(char out[UNITS_TEXT_BYTES], int64_t ms)
{
	/* weeks are left out: people write 30d, not 4w2d */
	ENSURE(ms >= 0);
	for (size_t i = 1; i < ARRAY_LEN(duration_units); i++) {
		const struct duration_unit *unit = &duration_units[i];

		if (ms % unit->ms || (ms == 0 && unit->ms != MS_PER_S))
			continue;
		snprintf(out, UNITS_TEXT_BYTES, "%" PRId64 "%s", ms / unit->ms, unit->name);
		return out;
	}
	UNREACHABLE();
}

char *units_slurm_time_print(char out[UNITS_TEXT_BYTES], int64_t ms)
{
	int64_t s = ms / MS_PER_S, days = s / 86400;

	ENSURE(ms >= 0);
	if (days > 0)
		snprintf(out, UNITS_TEXT_BYTES, "%" PRId64 "-%02d:%02d:%02d", days, (int)(s / 3600 % 24),
			 (int)(s / 60 % 60), (int)(s % 60));
	else
		snprintf(out, UNITS_TEXT_BYTES, "%02d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
	return out;
}

char *units_size_print(char out[UNITS_TEXT_BYTES], int64_t bytes)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	size_t i = 0;

	ENSURE(bytes >= 0);
	while (bytes > 0 && bytes % 1024 == 0 && i + 1 < ARRAY_LEN(names)) {
		bytes /= 1024;
		i++;
	}
	snprintf(out, UNITS_TEXT_BYTES, "%" PRId64 "%s", bytes, names[i]);
	return out;
}

/* value / 10^decimals without trailing zeros, then ` unit`. */
static char *decimal_print(char out[UNITS_TEXT_BYTES], int64_t value, int decimals, const char *unit)
{
	int64_t scale = 1;

	for (int i = 0; i < decimals; i++)
		scale *= 10;
	ENSURE(value >= 0);
	int64_t frac = value % scale;
	while (frac && frac % 10 == 0) {
		frac /= 10;
		decimals--;
	}
	if (frac)
		snprintf(out, UNITS_TEXT_BYTES, "%" PRId64 ".%0*" PRId64 " %s", value / scale, decimals, frac, unit);
	else
		snprintf(out, UNITS_TEXT_BYTES, "%" PRId64 " %s", value / scale, unit);
	return out;
}

char *units_share_print(char out[UNITS_TEXT_BYTES], int64_t ppm)
{
	return decimal_print(out, ppm, 4, "%");
}

char *units_gpuh_print(char out[UNITS_TEXT_BYTES], int64_t mrus)
{
	return decimal_print(out, mrus / (UNITS_MRUS_PER_GPUH / 1000), 3, "gpuh");
}

char *units_instant_print(char out[UNITS_TEXT_BYTES], int64_t ms)
{
	int64_t days = floor_div(ms, MS_PER_DAY), rest = ms - days * MS_PER_DAY, year = 0;
	unsigned month = 0, day = 0;
	int n;

	if (days < units_days_from_civil(1, 1, 1) || days > units_days_from_civil(9999, 12, 31)) {
		snprintf(out, UNITS_TEXT_BYTES, "-");
		return out;
	}
	civil_from_days(days, &year, &month, &day);
	n = snprintf(out, UNITS_TEXT_BYTES, "%04d-%02u-%02uT%02d:%02d:%02d", (int)year, month, day,
		     (int)(rest / MS_PER_HOUR), (int)(rest / MS_PER_MIN % 60), (int)(rest / MS_PER_S % 60));
	ENSURE(n > 0);
	if (rest % MS_PER_S)
		snprintf(out + n, UNITS_TEXT_BYTES - (size_t)n, ".%03dZ", (int)(rest % MS_PER_S));
	else
		snprintf(out + n, UNITS_TEXT_BYTES - (size_t)n, "Z");
	return out;
}
