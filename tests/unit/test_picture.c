/* test_picture.c - charts as SVG
 *
 * A picture that a browser refuses, that differs between two runs of the same input or that grows with the
 * series is of no use in a report.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/sim/picture.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"

/* Tags close in the order they opened, attributes are quoted, no bare '&': what well-formed asks of us. */
static void well_formed(struct buf *b)
{
	char open[64][32];
	int depth = 0;
	const char *at = buf_cstr(b);

	assert_true(b->len <= PICTURE_BYTES_MAX);
	assert_int_equal(strlen(at), b->len);
	while (*at) {
		char name[32];
		const char *end;
		size_t n;

		if (*at == '&') {
			assert_true(!strncmp(at, "&amp;", 5) || !strncmp(at, "&lt;", 4) || !strncmp(at, "&gt;", 4) ||
				    !strncmp(at, "&quot;", 6));
			at++;
			continue;
		}
		assert_true((unsigned char)*at >= 0x20 || *at == '\n');
		if (*at != '<') {
			assert_int_not_equal(*at, '>');
			at++;
			continue;
		}
		n = strcspn(at + 1 + (at[1] == '/'), " />\n");
		assert_true(n > 0 && n < sizeof name);
		memcpy(name, at + 1 + (at[1] == '/'), n);
		name[n] = '\0';
		end = at;
		for (int quoted = 0; *end != '>' || quoted; end++) {
			assert_int_not_equal(*end, '\0');
			if (*end == '"')
				quoted = !quoted;
			else if (*end == '=' && !quoted)
				assert_int_equal(end[1], '"');
		}
		if (at[1] == '/') {
			assert_true(depth > 0);
			assert_string_equal(open[--depth], name);
		} else if (end[-1] != '/') {
			assert_true(depth < 64);
			memcpy(open[depth++], name, sizeof name);
		}
		at = end + 1;
	}
	assert_int_equal(depth, 0);
}

static uint32_t times(struct buf *b, const char *what)
{
	uint32_t n = 0;

	for (const char *at = buf_cstr(b); (at = strstr(at, what)) != NULL; at++)
		n++;
	return n;
}

static const struct picture plain = {.title = "A & B <\"c\">\001", .text = "what it shows", .source = "file.csv", .x_name = "days",
				     .y_name = "devices", .x_scale = PICTURE_DAYS, .x_max = 14 * 86400, .y_max = 100, .line = 20,
				     .line_name = "entitled"};

/* A hundred thousand points per series: thinned, within the limit, and the same bytes each time. */
static void long_series_are_thinned(void **state)
{
	enum { N = 100000 };
	double *x = xcalloc(N, sizeof *x), *y = xcalloc(N, sizeof *y), *f = xcalloc(N, sizeof *f);
	struct picture_series s[PICTURE_SERIES_MAX];
	void (*const draw[])(struct buf *, const struct picture *, const struct picture_series *, size_t) = {
		picture_stack, picture_lines, picture_dots};

	(void)state;
	for (int i = 0; i < N; i++) {
		x[i] = 14.0 * 86400 * i / N;
		y[i] = i * 7919 % 13;
		f[i] = 100.0 * i / N;
	}
	for (size_t k = 0; k < ARRAY_LEN(draw); k++) {
		CLEANUP(buf_done) struct buf once = BUF_INIT, again = BUF_INIT;

		for (size_t i = 0; i < PICTURE_SERIES_MAX; i++)
			s[i] = (struct picture_series){"a series", (enum picture_colour)i, i % 2 != 0, x, k == 1 ? f : y, N};
		draw[k](&once, &plain, s, PICTURE_SERIES_MAX);
		draw[k](&again, &plain, s, PICTURE_SERIES_MAX);
		well_formed(&once);
		assert_int_equal(once.len, again.len);
		assert_memory_equal(once.data, again.data, once.len);
	}
	free(x);
	free(y);
	free(f);
}

/* Read alone it says what it is: title and description for screen readers, axes, legend, source, escaped. */
static void says_what_it_is(void **state)
{
	static const double x[] = {0, 86400}, y[] = {10, 30};
	static const struct picture_series s[] = {{"own", PICTURE_BLUE, false, x, y, 2}, {"loan", PICTURE_SKY, true, x, y, 2}};
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	(void)state;
	picture_stack(&b, &plain, s, 2);
	well_formed(&b);
	assert_non_null(strstr(buf_cstr(&b), "<title id=\"title\">A &amp; B &lt;&quot;c&quot;&gt;</title>"));
	assert_non_null(strstr(buf_cstr(&b), "<desc id=\"desc\">what it shows</desc>"));
	assert_non_null(strstr(buf_cstr(&b), ">file.csv<"));
	assert_non_null(strstr(buf_cstr(&b), ">entitled<"));
	assert_non_null(strstr(buf_cstr(&b), ">days<"));
	assert_non_null(strstr(buf_cstr(&b), ">devices<"));
	assert_non_null(strstr(buf_cstr(&b), ">14<"));
	assert_int_equal(times(&b, "fill=\"url(#loan4)\""), 2); /* the area and its key */
	assert_null(strstr(buf_cstr(&b), "<script"));
	assert_null(strstr(buf_cstr(&b), "font-face"));
}

/* A stack lies on what is below it: at half the height the first area ends and the second begins. */
static void areas_are_stacked(void **state)
{
	static const double x[] = {0}, y[] = {50};
	static const struct picture_series s[] = {{"own", PICTURE_BLUE, false, x, y, 1}, {"loan", PICTURE_SKY, false, x, y, 1}};
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	(void)state;
	picture_stack(&b, &plain, s, 2);
	assert_non_null(strstr(buf_cstr(&b), "d=\"M76 336.0L76 200.0")); /* from the ground to the middle */
	assert_non_null(strstr(buf_cstr(&b), "d=\"M76 200.0L76 64.0"));  /* and on to the top */
}

/* What is late is a cross in another colour as well, for who does not see the colour; equal dots are one. */
static void late_dots_are_crosses(void **state)
{
	static const double x[] = {0, 0, 86400, 2 * 86400}, y[] = {5, 5, 20, 21};
	static const struct picture_series s = {"recalls", PICTURE_BLUE, false, x, y, 4};
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	(void)state;
	picture_dots(&b, &plain, &s, 1);
	well_formed(&b);
	assert_int_equal(times(&b, "<circle"), 2);
	assert_int_equal(times(&b, "stroke=\"#D55E00\"/>"), 1);
}

static void distributions_on_log_time(void **state)
{
	static const double x[] = {0, 3, 60, 5000}, y[] = {25, 50, 75, 100};
	static const struct picture_series s = {"sluis", PICTURE_BLUE, false, x, y, 4};
	struct picture p = plain;
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	(void)state;
	p.x_scale = PICTURE_LOG_TIME;
	p.x_max = 5000;
	p.line = 0;
	picture_lines(&b, &p, &s, 1);
	well_formed(&b);
	assert_non_null(strstr(buf_cstr(&b), ">1 min<"));
	assert_non_null(strstr(buf_cstr(&b), ">1 h<"));
	assert_null(strstr(buf_cstr(&b), ">10 h<"));
	assert_non_null(strstr(buf_cstr(&b), "d=\"M76.0 268.0H")); /* what took no time stands at the left edge */
	assert_non_null(strstr(buf_cstr(&b), "H936.0V64.0\""));
}

/* Bars of one measure share its scale; a measure that is zero everywhere draws none. */
static void bars_have_their_own_scale(void **state)
{
	static const struct picture_series s[] = {{"a", PICTURE_BLUE, false, NULL, NULL, 0}, {"b", PICTURE_SKY, false, NULL, NULL, 0}};
	static const struct picture_group g[] = {{"first"}, {"none"}};
	static const double values[] = {10, 5, 0, 0};
	static const char *const texts[] = {"ten", "five", "nil", "nil"};
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	(void)state;
	picture_bars(&b, &plain, s, 2, g, 2, values, texts);
	well_formed(&b);
	assert_int_equal(times(&b, "width=\"544.0\""), 1);
	assert_int_equal(times(&b, "width=\"272.0\""), 1);
	assert_int_equal(times(&b, "width=\"0.0\""), 2);
	assert_non_null(strstr(buf_cstr(&b), ">five<"));
}

/* A series that is noise within every pixel stays within the limit where the mean is asked for. */
static void noise_is_averaged(void **state)
{
	enum { N = 200000 };
	double *x = xcalloc(N, sizeof *x), *y = xcalloc(N, sizeof *y);
	struct picture_series s[PICTURE_SERIES_MAX];
	struct picture p = plain;
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	(void)state;
	for (int i = 0; i < N; i++) {
		x[i] = 14.0 * 86400 * i / N;
		y[i] = i % 2 ? 100 : 0;
	}
	for (size_t i = 0; i < PICTURE_SERIES_MAX; i++)
		s[i] = (struct picture_series){"noise", (enum picture_colour)i, false, x, y, N};
	p.mean = true;
	p.line = 0;
	picture_lines(&b, &p, s, PICTURE_SERIES_MAX);
	well_formed(&b);
	assert_non_null(strstr(buf_cstr(&b), "L500 "));
	assert_null(strstr(buf_cstr(&b), " 64.0L")); /* nothing at the top or the bottom: the mean is in the middle */
	assert_null(strstr(buf_cstr(&b), " 336.0L"));
	free(x);
	free(y);
}

/* Bars lie where they should, are cut at the end of the picture, and as many as there may be fit the limit. */
static void bars_over_time(void **state)
{
	static const struct picture_series s[] = {{"", PICTURE_BLUE, false, NULL, NULL, 0},
						  {"both", PICTURE_ORANGE, false, NULL, NULL, 0}};
	static const struct picture_bar two[] = {{0, 1800, 0, 1, 0}, {1800, 9999, 2, 2, 1}, {9000, 9999, 0, 1, 1}};
	struct picture_rows rows = {4, 1, 1, "cpu "};
	struct picture_bar *many = xcalloc(PICTURE_BARS_MAX, sizeof *many);
	struct picture p = plain;
	CLEANUP(buf_done) struct buf b = BUF_INIT, again = BUF_INIT;

	(void)state;
	p.x_scale = PICTURE_HOURS;
	p.x_max = 3600;
	picture_gantt(&b, &p, &rows, s, 2, two, 3);
	well_formed(&b);
	assert_non_null(strstr(buf_cstr(&b), "d=\"M76.0 64.0h429.5v11.4h-429.5z\""));  /* half of the time, one of four rows */
	assert_non_null(strstr(buf_cstr(&b), "d=\"M506.0 88.0h429.5v23.4h-429.5z\"")); /* the other half, two rows, cut */
	assert_int_equal(times(&b, ">both<"), 1);
	assert_int_equal(times(&b, ">cpu 0<"), 1);
	for (uint32_t i = 0; i < PICTURE_BARS_MAX; i++)
		many[i] = (struct picture_bar){100.123 + i / 3.0, 2500.7 + i / 7.0, i % 512, 1, i % 2};
	rows = (struct picture_rows){512, 8, 8, "node "};
	buf_reset(&b);
	picture_gantt(&b, &p, &rows, s, 2, many, PICTURE_BARS_MAX);
	picture_gantt(&again, &p, &rows, s, 2, many, PICTURE_BARS_MAX);
	well_formed(&b);
	assert_int_equal(b.len, again.len);
	assert_memory_equal(b.data, again.data, b.len);
	free(many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_series_are_thinned), cmocka_unit_test(says_what_it_is),
		cmocka_unit_test(areas_are_stacked),	   cmocka_unit_test(late_dots_are_crosses),
		cmocka_unit_test(distributions_on_log_time), cmocka_unit_test(bars_have_their_own_scale),
		cmocka_unit_test(noise_is_averaged),	   cmocka_unit_test(bars_over_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
