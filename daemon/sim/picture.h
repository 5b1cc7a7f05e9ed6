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

#include "proto/base/buf.h"

#define PICTURE_BYTES_MAX ((size_t)200000)
enum { PICTURE_SERIES_MAX = 8 };

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
};
struct picture_series {
	const char *name;
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

/* One dot per point; where `p->line` is exceeded, a cross as well, in vermilion. Dots that fall on the same
 * pixel are drawn once. */
void picture_dots(struct buf *out, const struct picture *p, const struct picture_series *s, size_t series_n);

/* Groups of horizontal bars: one group per measure, one bar per series. values[g * series_n + s];
 * texts[...] stands behind each bar. Each group has its own scale. */
struct picture_group { const char *name; };
void picture_bars(struct buf *out, const struct picture *p, const struct picture_series *s, size_t series_n,
		  const struct picture_group *groups, size_t groups_n, const double *values, const char *const *texts);

#endif
