/* zone.c - see zone.h */
#include "ctl/zone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/buf.h"

static const int64_t DAY_S = 24 * 3600;

bool zone_known(const char *zone)
{
	const char *dir = getenv("TZDIR");
	char path[512];

	if (!strcmp(zone, "UTC"))
		return true;
	if (!*zone || *zone == '/' || strstr(zone, "..") || strlen(zone) >= NAME_BYTES ||
	    strspn(zone, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_+-") != strlen(zone))
		return false;
	(void)snprintf(path, sizeof path, "%.400s/%s", dir && *dir ? dir : "/usr/share/zoneinfo", zone);
	return access(path, R_OK) == 0;
}

void zone_name(const char *zone, char out[NAME_BYTES])
{
	char version[16] = "", line[64];
	FILE *f = fopen("/usr/share/zoneinfo/tzdata.zi", "r");

	if (f) {
		if (fgets(line, sizeof line, f))
			(void)sscanf(line, "# version %15s", version);
		(void)fclose(f);
	}
	(void)snprintf(out, NAME_BYTES, "%.38s%s%.15s", zone, version[0] ? " tzdata " : "", version);
}

void zone_enter(const char *zone, struct zone_was *ret_was)
{
	const char *tz = getenv("TZ");

	ret_was->tz = tz ? xstrdup(tz) : NULL;
	(void)setenv("TZ", zone, 1);
	tzset();
}

void zone_leave(struct zone_was *was)
{
	if (was->tz)
		(void)setenv("TZ", was->tz, 1);
	else
		(void)unsetenv("TZ");
	tzset();
	free(was->tz);
	was->tz = NULL;
}

int64_t zone_offset_s(int64_t at_s)
{
	time_t at = (time_t)at_s;
	struct tm tm;

	return localtime_r(&at, &tm) ? tm.tm_gmtoff : 0;
}

enum zone_fit zone_instant(int64_t clock_s, bool last, int64_t *ret_s)
{
	/* a clock jumps far less than once in two days: only these two can be what it is ahead then */
	int64_t before = zone_offset_s(clock_s - DAY_S), after = zone_offset_s(clock_s + DAY_S);
	int64_t a = clock_s - before, b = clock_s - after;
	bool a_shows = zone_offset_s(a) == before, b_shows = zone_offset_s(b) == after;

	*ret_s = a_shows ? a : b;
	if (a_shows && b_shows && a != b) {
		*ret_s = (a > b) == last ? a : b;
		return ZONE_TWICE;
	}
	if (a_shows || b_shows)
		return ZONE_ONCE;
	while (a - b > 1) { /* b lies before the jump, a behind it */
		int64_t mid = b + (a - b) / 2;

		if (zone_offset_s(mid) == before)
			b = mid;
		else
			a = mid;
	}
	*ret_s = a;
	return ZONE_NEVER;
}
