/* test_units.c - a unit read wrongly is a wrong promise: every spelling that is accepted, and the ones that must
 * not be */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/prng.h"
#include "proto/config/hostlist.h"
#include "proto/config/signals.h"
#include "proto/config/units.h"

typedef int (*parser)(const char *, int64_t *, struct err *);
struct row { const char *text; int64_t want; }; /* want -1: refused */

static void check_rows(parser parse, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int64_t v = -7;
		struct err err = {0};
		int code = parse(rows[i].text, &v, &err);

		if (rows[i].want < 0) {
			if (code == 0)
				fail_msg("'%s' was taken as %lld", rows[i].text, (long long)v);
			assert_int_equal(v, -7); /* set only on success */
			assert_true(err.msg[0] && err.hint[0]);
		} else if (code || v != rows[i].want) {
			fail_msg("'%s': code %d, %lld instead of %lld", rows[i].text, code, (long long)v,
				 (long long)rows[i].want);
		}
	}
}

static void durations_need_their_unit(void **state)
{
	static const struct row rows[] = {
		{"90s", 90000}, {"15m", 900000}, {"12h", 43200000}, {"30d", 2592000000}, {"2w", 1209600000}, {"500ms", 500},
		{"1h30m", 5400000}, {"0s", 0}, {"36500d", UNITS_DURATION_MAX_MS},
		{"15", -1}, {"", -1}, {"m", -1}, {"-5m", -1}, {"1.5h", -1}, {"15 m", -1}, {"15M", -1}, {"15min", -1}, {"5m1h", -1},
		{"5m5m", -1}, {"36501d", -1}, {"99999999999999999999s", -1}, {"9223372036854775807w", -1}, {"1h30", -1},
	};
	(void)state;
	check_rows(units_duration, rows, ARRAY_LEN(rows));
}

static void slurm_times_count_minutes_first(void **state)
{
	static const struct row rows[] = {
		{"5", 300000}, {"5:30", 330000}, {"12:00:00", 43200000}, {"2-0", 172800000}, {"1-2:30", 95400000},
		{"1-02:03:04", 93784000}, {"100:00:00", 360000000}, {"0", 0},
		{"", -1}, {":", -1}, {"1:", -1}, {"1:2:3:4", -1}, {"1-", -1}, {"1-2-3", -1}, {"1:2-3", -1}, {"x", -1},
		{"99999999999999999999", -1}, {"9223372036854775807-0", -1},
	};
	static const struct row either[] = {{"90m", 5400000}, {"90", 5400000}, {"1-0", 86400000}, {"ninety", -1}, {"", -1}};
	(void)state;
	check_rows(units_slurm_time, rows, ARRAY_LEN(rows));
	check_rows(units_job_time, either, ARRAY_LEN(either));
}

static void sizes_are_1024_based(void **state)
{
	static const struct row rows[] = {
		{"64GiB", INT64_C(64) << 30}, {"64G", INT64_C(64) << 30}, {"8gb", INT64_C(8) << 30}, {"512B", 512},
		{"1k", 1024}, {"2TiB", INT64_C(2) << 40}, {"64 GiB", INT64_C(64) << 30}, {"8191P", INT64_C(8191) << 50},
		{"64", -1}, {"", -1}, {"G", -1}, {"64Gi", -1}, {"64X", -1}, {"-1G", -1}, {"1.5G", -1}, {"8192P", -1},
		{"99999999999999999999B", -1}, {"64GBs", -1},
	};
	static const struct row mem[] = {{"100", 100}, {"64GB", 65536}, {"954M", 954}, {"1k", 1}, {"0", 0}, {"8gb", 8192}, {"x", -1},
					 {"99999999999999", -1}};
	static const struct row mib[] = {{"8GiB", 8192}, {"1k", -1}, {"5", -1}};
	(void)state;
	check_rows(units_size, rows, ARRAY_LEN(rows));
	check_rows(units_job_mem_mib, mem, ARRAY_LEN(mem));
	check_rows(units_size_mib, mib, ARRAY_LEN(mib));
}

static void shares_and_gpu_hours(void **state)
{
	static const struct row shares[] = {
		{"12.5 %", 125000}, {"10%", 100000}, {"250000", 250000}, {"100 %", 1000000}, {"0.0001 %", 1}, {"0", 0},
		{"100.0001 %", -1}, {"1000001", -1}, {"12.5", -1}, {"0.00001 %", -1}, {"%", -1}, {"", -1}, {"5 % x", -1},
	};
	static const struct row hours[] = {
		{"4000 gpuh", INT64_C(4000) * UNITS_MRUS_PER_GPUH}, {"0.5 gpuh", 1800000}, {"1gpuh", 3600000}, {"0.001 gpuh", 3600},
		{"4000", -1}, {"4000 h", -1}, {"0.0001 gpuh", -1}, {"9223372036854775807 gpuh", -1}, {"gpuh", -1}, {"1. gpuh", -1},
	};
	(void)state;
	check_rows(units_share_ppm, shares, ARRAY_LEN(shares));
	check_rows(units_gpuh_mrus, hours, ARRAY_LEN(hours));
}

/* 2026-11-24T13:00:00Z */
#define NOW (INT64_C(1795525200) * 1000)

static int instant_utc(const char *text, int64_t *ret, struct err *err)
{
	return units_instant(text, NOW, UNITS_UTC, ret, err);
}

static void instants_count_from_now(void **state)
{
	const struct row rows[] = {
		{"now", NOW}, {"now+2h", NOW + 7200000}, {"-30m", NOW - 1800000}, {"+2h", NOW + 7200000}, {"now+60", NOW + 60000},
		{"now+1hour", NOW + 3600000}, {"now+3days", NOW + 259200000}, {"14:30", NOW + 5400000},
		{"12:59", NOW - 60000 + MS_PER_DAY}, {"13:00", NOW + MS_PER_DAY}, {"2:30 pm", NOW + 5400000},
		{"12:30 am", NOW + MS_PER_HOUR * 11 + 1800000}, {"midnight", NOW + 11 * MS_PER_HOUR},
		{"noon", NOW + 23 * MS_PER_HOUR}, {"today", NOW - 13 * MS_PER_HOUR}, {"tomorrow", NOW + 11 * MS_PER_HOUR},
		{"2026-11-24", NOW - 13 * MS_PER_HOUR}, {"2026-11-24T14:30+01:00", NOW + 1800000},
		{"2026-11-24T13:00:00.250Z", NOW + 250}, {"2026-11-24T13:00", NOW}, {"2024-02-29", INT64_C(1709164800000)},
		{"2025-02-29", -1}, {"2026-13-01", -1}, {"2026-11-24T25:00", -1}, {"24:00", -1}, {"13:00 pm", -1}, {"teatime", -1},
		{"", -1}, {"now2h", -1}, {"now+", -1}, {"+", -1}, {"now+99999999999999999999", -1}, {"2026-11-24 x", -1},
		{"0000-01-01", -1}, {"14:3", -1}, {"2026-11-24T13:00+1:00", -1},
	};
	(void)state;
	check_rows(instant_utc, rows, ARRAY_LEN(rows));
}

static void local_times_follow_the_zone(void **state)
{
	int64_t v = 0;

	(void)state;
	assert_int_equal(setenv("TZ", "Europe/Amsterdam", 1), 0);
	tzset();
	assert_int_equal(units_instant("2026-07-01T12:00", NOW, UNITS_LOCAL, &v, NULL), 0);
	assert_true(v == units_days_from_civil(2026, 7, 1) * MS_PER_DAY + 10 * MS_PER_HOUR ||
		    v == units_days_from_civil(2026, 7, 1) * MS_PER_DAY + 12 * MS_PER_HOUR /* no zone files here */);
	assert_int_equal(setenv("TZ", "XYZ-2", 1), 0);
	tzset();
	assert_int_equal(units_instant("14:30", NOW, UNITS_LOCAL, &v, NULL), 0); /* it is 15:00 there */
	assert_int_equal(v, NOW + 23 * MS_PER_HOUR + 1800000);
	assert_int_equal(unsetenv("TZ"), 0);
	tzset();
}

static void printing_says_what_was_read(void **state)
{
	char t[UNITS_TEXT_BYTES];
	struct prng p;

	(void)state;
	assert_string_equal(units_duration_print(t, 287000), "4m47s");
	assert_string_equal(units_duration_print(t, 7500000), "2h05m");
	assert_string_equal(units_duration_print(t, INT64_C(273600000)), "3d04h");
	assert_string_equal(units_duration_print(t, -47000), "-47s");
	assert_string_equal(units_duration_print(t, 850), "850ms");
	assert_string_equal(units_duration_print(t, INT64_MIN), "-106751991167d07h");
	assert_string_equal(units_duration_exact(t, 0), "0s");
	assert_string_equal(units_duration_exact(t, 2592000000), "30d");
	assert_string_equal(units_slurm_time_print(t, 43200000), "12:00:00");
	assert_string_equal(units_slurm_time_print(t, 183845000), "2-03:04:05");
	assert_string_equal(units_size_print(t, INT64_C(64) << 30), "64GiB");
	assert_string_equal(units_size_print(t, 100), "100B");
	assert_string_equal(units_share_print(t, 125000), "12.5 %");
	assert_string_equal(units_share_print(t, 1), "0.0001 %");
	assert_string_equal(units_gpuh_print(t, 1800000), "0.5 gpuh");
	assert_string_equal(units_instant_print(t, NOW), "2026-11-24T13:00:00Z");
	assert_string_equal(units_instant_print(t, NOW + 250), "2026-11-24T13:00:00.250Z");
	assert_string_equal(units_instant_print(t, INT64_MIN), "-");
	assert_string_equal(units_instant_print(t, -1), "1969-12-31T23:59:59.999Z");
	/* whatever is printed for a file reads back as itself */
	prng_seed(&p, 42);
	for (int i = 0; i < 2000; i++) {
		int64_t v = (int64_t)prng_below(&p, UNITS_DURATION_MAX_MS), back = -1;

		assert_int_equal(units_duration(units_duration_exact(t, v), &back, NULL), 0);
		assert_int_equal(back, v);
		assert_int_equal(units_size(units_size_print(t, v), &back, NULL), 0);
		assert_int_equal(back, v);
		assert_int_equal(units_share_ppm(units_share_print(t, v % 1000001), &back, NULL), 0);
		assert_int_equal(back, v % 1000001);
		assert_int_equal(units_gpuh_mrus(units_gpuh_print(t, v / 3600 * 3600), &back, NULL), 0);
		assert_int_equal(back, v / 3600 * 3600);
		assert_int_equal(units_instant(units_instant_print(t, v), 0, UNITS_UTC, &back, NULL), 0);
		assert_int_equal(back, v);
	}
}

/* Expand, and compare with a blank-separated list. */
static void expands(const char *text, const char *want)
{
	struct hostlist list = HOSTLIST_INIT;
	struct buf b = BUF_INIT;

	assert_int_equal(hostlist_expand(&list, text, NULL), 0);
	for (size_t i = 0; i < list.count; i++)
		buf_addf(&b, "%s%s", i ? " " : "", list.names[i]);
	assert_string_equal(buf_cstr(&b), want);
	buf_done(&b);
	hostlist_done(&list);
}

static void host_lists_expand(void **state)
{
	static const char *const refused[] = {"", ",", "n[", "n[]", "n[1", "n[2-1]", "n[1-2]]", "n[1-20000]", "a b", "n[a]",
					      "a[1-200]b[1-200]", "n[1-2],", "n[9999999999999999999]", "n[01-1]", "[1][2][3][4][5][6][7][8][9]"};

	(void)state;
	expands("n[017-018,020]", "n017 n018 n020");
	expands("n[9-10]", "n9 n10");
	expands("n[08-10]", "n08 n09 n10");
	expands("r[1-2]n[01-02]", "r1n01 r1n02 r2n01 r2n02");
	expands("a[01-03,7],b", "a01 a02 a03 a7 b");
	expands("ib[1]-x", "ib1-x");
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct hostlist list = HOSTLIST_INIT;
		struct err err = {0};

		assert_int_equal(hostlist_add(&list, "kept", NULL), 0);
		if (hostlist_expand(&list, refused[i], &err) == 0)
			fail_msg("'%s' was taken", refused[i]);
		assert_int_equal(list.count, 1); /* as before */
		hostlist_done(&list);
	}
}

static void host_lists_compress_to_what_they_came_from(void **state)
{
	static const char *const texts[] = {"n[017-018,020]", "n[8-12]", "a[01-03,7],b", "n1", "x,y,z", "n[099-101]", "n[1,1]"};
	struct prng p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct hostlist list = HOSTLIST_INIT;
		struct buf b = BUF_INIT;

		assert_int_equal(hostlist_expand(&list, texts[i], NULL), 0);
		hostlist_compress(&list, &b);
		assert_string_equal(buf_cstr(&b), texts[i]);
		buf_done(&b);
		hostlist_done(&list);
	}
	prng_seed(&p, 7);
	for (int round = 0; round < 300; round++) {
		struct hostlist list = HOSTLIST_INIT, back = HOSTLIST_INIT;
		struct buf b = BUF_INIT;

		for (size_t n = 1 + prng_below(&p, 30); n > 0; n--) {
			char name[40];

			snprintf(name, sizeof(name), "%c%0*d", 'a' + (char)prng_below(&p, 2), (int)prng_below(&p, 4),
				 (int)prng_below(&p, 15));
			assert_int_equal(hostlist_add(&list, name, NULL), 0);
		}
		if (round % 2)
			hostlist_sort(&list);
		hostlist_compress(&list, &b);
		assert_int_equal(hostlist_expand(&back, buf_cstr(&b), NULL), 0);
		assert_int_equal(back.count, list.count);
		for (size_t i = 0; i < list.count; i++)
			assert_string_equal(back.names[i], list.names[i]);
		buf_done(&b);
		hostlist_done(&list);
		hostlist_done(&back);
	}
}

static void signals_have_names_and_numbers(void **state)
{
	(void)state;
	assert_int_equal(signal_number("USR1"), 10);
	assert_int_equal(signal_number("sigterm"), 15);
	assert_int_equal(signal_number("10"), 10);
	assert_int_equal(signal_number("NONSENSE"), 0);
	assert_int_equal(signal_number("0"), 0);
	assert_int_equal(signal_number("65"), 0);
	assert_string_equal(signal_text(12), "USR2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_need_their_unit),
		cmocka_unit_test(slurm_times_count_minutes_first),
		cmocka_unit_test(sizes_are_1024_based),
		cmocka_unit_test(shares_and_gpu_hours),
		cmocka_unit_test(instants_count_from_now),
		cmocka_unit_test(local_times_follow_the_zone),
		cmocka_unit_test(printing_says_what_was_read),
		cmocka_unit_test(host_lists_expand),
		cmocka_unit_test(host_lists_compress_to_what_they_came_from),
		cmocka_unit_test(signals_have_names_and_numbers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
