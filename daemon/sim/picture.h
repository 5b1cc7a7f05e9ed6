/* picture.h - charts as SVG, readable alone
 *
 * Each has a title, axes with units, a legend, a source line, <title> and <desc> for screen readers, no
 * script and no outside font. Light and dark follow the reader's setting. Colours are those of Okabe and
 * Ito, which differ in lightness and for the colour-blind; an area on loan is hatched as well. A series is
 * thinned to the pixel, so a chart stays below PICTURE_BYTES_MAX however long the series; equal input gives
 * equal bytes.
 *
 * Source: Okabe and Ito, "Color Universal Design", 2008.
 */
#ifndef SLUIS_DAEMON_SIM_PICTURE_H
#define SLUIS_DAEMON_SIM_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"

#define PICTURE_BYTES_MAX ((size_t)200000)
enum { PICTURE_SERIES_MAX = 8, PICTURE_BARS_MAX = 6000 };

enum picture_colour {
	PICTURE_BLUE = 0,
	PICTURE_ORANGE,
	PICTURE_GREEN,
	PICTURE_VERMILION,
	PICTURE_SKY,
	PICTURE_PURPLE,
	PICTURE_YELLOW,
	PICTURE_GREY,
};

enum picture_scale {
	PICTURE_LINEAR = 0,
	PICTURE_LOG_TIME, /* seconds; axis from 1 s, named 1 s, 10 s, 1 min, ... */
	PICTURE_DAYS,     /* seconds; axis in days */
	PICTURE_HOURS,    /* seconds; axis in hours */
};

struct picture {
	const char *title;
	const char *text;   /* what it shows, one or two sentences */
	const char *source; /* input and options */
	const char *x_name, *y_name;
	enum picture_scale x_scale;
	double x_max, y_max; /* ranges begin at 0 (log: at 1); the axis ends at a round number above */
	double line;         /* a dashed horizontal line, if > 0 */
	const char *line_name;
	bool mean; /* lines: a pixel shows the mean of what falls on it, not each step */
};
struct picture_series {
	const char *name; /* "": shares the name of the next one that has one */
	enum picture_colour colour;
	bool hatched;
	const double *x, *y; /* x ascending */
	size_t n;
};

/* Areas stacked from the first series up; all share the x of the first. A pixel shows the mean of what
 * falls on it. */
void picture_stack(struct buf *out, const struct picture *p, const struct picture_series *s, size_t series_n);

/* Steps from point to point: distributions. */
void picture_lines(struct buf *out, const struct picture *p, const struct picture_series *s, size_t series_n);

/* Who had what, when: rows from top to bottom, a bar for each stay on `rows` of them from `row`. Between groups of
 * `group` rows is a space if it is more than 1; beside a group stands `row_name` and its first row divided by `unit`. `series` are the legend, and give the bars their
 * paint. At most PICTURE_BARS_MAX bars; what lies beyond x_max is cut. */
struct picture_bar { double from, to; uint32_t row, rows; uint8_t series; };
struct picture_rows { uint32_t n, group, unit; const char *row_name; };
void picture_gantt(struct buf *out, const struct picture *p, const struct picture_rows *rows,
		   const struct picture_series *s, size_t series_n, const struct picture_bar *bars, size_t bars_n);

/* One dot per point; where `p->line` is exceeded, a cross as well, in vermilion. Dots that fall on the same
 * pixel are drawn once. */
void picture_dots(struct buf *out, const struct picture *p, const struct picture_series *s, size_t series_n);

/* Groups of horizontal bars: one group per measure, one bar per series. values[g * series_n + s];
 * texts[...] stands behind each bar. Each group has its own scale. */
struct picture_group { const char *name; };
void picture_bars(struct buf *out, const struct picture *p, const struct picture_series *s, size_t series_n,
		  const struct picture_group *groups, size_t groups_n, const double *values, const char *const *texts);

#endif
