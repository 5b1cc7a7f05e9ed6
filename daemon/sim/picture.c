/* picture.c - see picture.h */
#include "daemon/sim/picture.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/ensure.h"

enum { WIDTH = 960, HEIGHT = 420, LEFT = 76, RIGHT = 24, TOP = 64, BOTTOM = 84, PLOT_W = WIDTH - LEFT - RIGHT,
       PLOT_H = HEIGHT - TOP - BOTTOM };

static const char *const colours[] = {"#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#BBBBBB"};

static void escaped(struct buf *b, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '&': buf_addf(b, "&amp;"); break;
		case '<': buf_addf(b, "&lt;"); break;
		case '>': buf_addf(b, "&gt;"); break;
		case '"': buf_addf(b, "&quot;"); break;
		default:
			if ((unsigned char)*text >= 0x20) /* XML knows no control characters */
				buf_add(b, text, 1);
		}
}

static void label(struct buf *b, double x, double y, const char *class, const char *text)
{
	buf_addf(b, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
	escaped(b, text);
	buf_addf(b, "</text>\n");
}

static void begin(struct buf *b, const struct picture *p, int height)
{
	buf_addf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
		 "role=\"img\" aria-labelledby=\"title desc\">\n<title id=\"title\">", WIDTH, height, WIDTH, height);
	escaped(b, p->title);
	buf_addf(b, "</title>\n<desc id=\"desc\">");
	escaped(b, p->text);
	buf_addf(b,
		 "</desc>\n<style>\n"
		 "text{font-family:sans-serif;font-size:13px;fill:#222}\n"
		 ".head{font-size:17px;font-weight:bold}\n.mid{text-anchor:middle}\n.end{text-anchor:end}\n"
		 ".small{font-size:11px;fill:#555}\n"
		 ".back{fill:#fff}\n.grid{stroke:#ddd;stroke-width:1}\n.axis{stroke:#222;stroke-width:1}\n"
		 ".mark{stroke:#222;stroke-width:1.5;stroke-dasharray:7 4}\n"
		 "@media (prefers-color-scheme:dark){text{fill:#eee}.small{fill:#bbb}.back{fill:#161616}"
		 ".grid{stroke:#383838}.axis,.mark{stroke:#eee}}\n</style>\n");
	/* one pattern per colour: what is on loan */
	buf_addf(b, "<defs>\n");
	for (size_t i = 0; i < ARRAY_LEN(colours); i++)
		buf_addf(b, "<pattern id=\"loan%zu\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\" "
			 "patternTransform=\"rotate(45)\"><rect width=\"8\" height=\"8\" fill=\"%s\" fill-opacity=\"0.35\"/>"
			 "<rect width=\"3\" height=\"8\" fill=\"%s\"/></pattern>\n", i, colours[i], colours[i]);
	buf_addf(b, "</defs>\n<rect class=\"back\" width=\"%d\" height=\"%d\"/>\n", WIDTH, height);
	label(b, LEFT, 26, "head", p->title);
	label(b, LEFT, height - 10, "small", p->source);
}

static void end(struct buf *b)
{
	buf_addf(b, "</svg>\n");
	ENSURE(b->len <= PICTURE_BYTES_MAX);
}

static const char *fill(const struct picture_series *s, char out[32])
{
	if (s->hatched)
		(void)snprintf(out, 32, "url(#loan%d)", (int)s->colour);
	else
		(void)snprintf(out, 32, "%s", colours[s->colour]);
	return out;
}

/* Dashes tell lines apart without colour. */
static const char *const dash[PICTURE_SERIES_MAX] = {"none", "9 3", "3 3", "12 3 3 3", "6 6", "1 3", "15 5", "5 2 2 2"};

static void legend(struct buf *b, const struct picture *p, const struct picture_series *s, size_t n, bool lines)
{
	enum { LETTER = 7 }; /* about the width of one */
	double x = LEFT;
	char paint[32];

	for (size_t i = 0; i < n; i++) {
		double sample = lines ? 30 : 14;

		if (lines)
			buf_addf(b, "<path d=\"M%.1f 46h30\" stroke=\"%s\" stroke-width=\"2.5\" stroke-dasharray=\"%s\"/>\n", x,
				 colours[s[i].colour], dash[i]);
		else
			buf_addf(b, "<rect x=\"%.1f\" y=\"40\" width=\"14\" height=\"11\" fill=\"%s\"/>\n", x,
				 fill(&s[i], paint));
		if (s[i].name[0]) {
			label(b, x + sample + 5, 50, "key", s[i].name);
			x += LETTER * (double)strlen(s[i].name) + 16;
		}
		x += sample + 5;
	}
	if (p->line > 0 && p->line_name) {
		buf_addf(b, "<line x1=\"%.1f\" y1=\"46\" x2=\"%.1f\" y2=\"46\" class=\"mark\"/>\n", x, x + 26);
		label(b, x + 31, 50, "key", p->line_name);
	}
}

/* A step of 1, 2 or 5 times a power of ten that gives at most `most` of them up to `max`. */
static double step_of(double max, int most)
{
	double step = pow(10, floor(log10(max > 0 ? max : 1)) - 1);
	static const double times[] = {2, 2.5, 2};

	for (int i = 0; max / step > most; i = (i + 1) % 3)
		step *= times[i];
	return step;
}

struct frame { double x_max, y_max; enum picture_scale x_scale; };

static double x_at(const struct frame *f, double x)
{
	if (f->x_scale == PICTURE_LOG_TIME)
		return LEFT + PLOT_W * log10(x < 1 ? 1 : x > f->x_max ? f->x_max : x) / log10(f->x_max);
	return LEFT + PLOT_W * x / f->x_max;
}
static double y_at(const struct frame *f, double y) { return TOP + PLOT_H - PLOT_H * (y > f->y_max ? f->y_max : y) / f->y_max; }

static void x_tick(struct buf *b, const struct frame *f, double at, const char *text)
{
	double x = x_at(f, at);

	buf_addf(b, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" class=\"grid\"/>\n", x, TOP, x, TOP + PLOT_H);
	label(b, x, TOP + PLOT_H + 18, "mid", text);
}

static void y_title(struct buf *b, const char *text, double plot_h)
{
	buf_addf(b, "<text class=\"mid\" transform=\"translate(20 %.1f) rotate(-90)\">", TOP + plot_h / 2);
	escaped(b, text);
	buf_addf(b, "</text>\n");
}

static struct frame axes(struct buf *b, const struct picture *p)
{
	static const struct { double s; const char *name; } times[] = {
		{1, "1 s"}, {10, "10 s"}, {60, "1 min"}, {600, "10 min"}, {3600, "1 h"}, {36000, "10 h"},
		{86400, "1 d"}, {864000, "10 d"}, {8640000, "100 d"},
	};
	struct frame f = {.x_max = p->x_max, .x_scale = p->x_scale};
	double unit = p->x_scale == PICTURE_DAYS ? 86400 : p->x_scale == PICTURE_HOURS ? 3600 : 1, step = step_of(p->y_max, 6);
	char text[32];

	if (!(f.x_max > 1))
		f.x_max = p->x_scale == PICTURE_LINEAR || p->x_scale == PICTURE_LOG_TIME ? 10 : unit;
	f.y_max = p->y_max > 0 ? ceil(p->y_max / step - 1e-9) * step : 1;
	for (int i = 0; i * step <= f.y_max * (1 + 1e-9); i++) {
		double y = y_at(&f, i * step);

		buf_addf(b, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" class=\"grid\"/>\n", LEFT, y, LEFT + PLOT_W, y);
		(void)snprintf(text, sizeof text, "%g", i * step);
		label(b, LEFT - 8, y + 4, "end", text);
	}
	if (p->x_scale == PICTURE_LOG_TIME) {
		for (size_t i = 0; i < ARRAY_LEN(times) && times[i].s <= f.x_max; i++)
			x_tick(b, &f, times[i].s, times[i].name);
	} else {
		step = step_of(f.x_max / unit, 15);
		for (int i = 0; i * step <= f.x_max / unit * (1 + 1e-9); i++) {
			(void)snprintf(text, sizeof text, "%g", i * step);
			x_tick(b, &f, i * step * unit, text);
		}
	}
	buf_addf(b, "<path class=\"axis\" fill=\"none\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, TOP + PLOT_H, LEFT + PLOT_W);
	label(b, LEFT + PLOT_W / 2.0, TOP + PLOT_H + 40, "mid", p->x_name);
	y_title(b, p->y_name, PLOT_H);
	return f;
}

static void mark(struct buf *b, const struct picture *p, const struct frame *f)
{
	if (p->line > 0)
		buf_addf(b, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" class=\"mark\"/>\n", LEFT, y_at(f, p->line),
			 LEFT + PLOT_W, y_at(f, p->line));
}

/* ---- areas ------------------------------------------------------------------------------------------------- */

/* The mean of `s` at each pixel; one without a point is as the one before. */
static void pixels(const struct frame *f, const struct picture_series *s, const double *x, double mean[PLOT_W])
{
	uint32_t *count = xcalloc(PLOT_W, sizeof *count);

	memset(mean, 0, PLOT_W * sizeof *mean);
	for (size_t i = 0; i < s->n; i++) {
		double at = x_at(f, x[i]) - LEFT;
		size_t col = at < 0 ? 0 : at >= PLOT_W ? PLOT_W - 1 : (size_t)at;

		mean[col] += s->y[i];
		count[col]++;
	}
	for (size_t c = 0; c < PLOT_W; c++)
		mean[c] = count[c] ? mean[c] / count[c] : c ? mean[c - 1] : 0;
	free(count);
}

void picture_stack(struct buf *b, const struct picture *p, const struct picture_series *s, size_t series_n)
{
	double *sum = xcalloc(PLOT_W, sizeof *sum), *mean = xcalloc(PLOT_W, sizeof *mean);
	struct frame f;
	char paint[32];

	ENSURE(series_n > 0 && series_n <= PICTURE_SERIES_MAX);
	begin(b, p, HEIGHT);
	f = axes(b, p);
	for (size_t k = 0; k < series_n; k++) {
		pixels(&f, &s[k], s[0].x, mean);
		buf_addf(b, "<path fill=\"%s\" d=\"M%d %.1f", fill(&s[k], paint), LEFT, y_at(&f, sum[0]));
		for (size_t c = 0; c < PLOT_W; c++)
			buf_addf(b, "L%zu %.1f", LEFT + c, y_at(&f, sum[c] + mean[c]));
		buf_addf(b, "H%d", LEFT + PLOT_W);
		for (size_t c = PLOT_W; c-- > 0;)
			buf_addf(b, "L%zu %.1f", LEFT + c, y_at(&f, sum[c]));
		buf_addf(b, "Z\"/>\n");
		for (size_t c = 0; c < PLOT_W; c++)
			sum[c] += mean[c];
	}
	mark(b, p, &f);
	legend(b, p, s, series_n, false);
	end(b);
	free(sum);
	free(mean);
}

/* ---- lines ---------------------------------------------------------------------------------------------------- */

static void line_steps(struct buf *b, const struct frame *f, const struct picture_series *s)
{
	double last_x = -1, last_y = -1;
	bool open = false;

	for (size_t i = 0; i < s->n; i++) {
		double x = x_at(f, s->x[i]), y = y_at(f, s->y[i]);

		if (open && x - last_x < 0.5 && fabs(y - last_y) < 0.5 && i + 1 < s->n)
			continue;
		if (open)
			buf_addf(b, "H%.1fV%.1f", x, y);
		else
			buf_addf(b, "M%.1f %.1f", x, y);
		open = true;
		last_x = x;
		last_y = y;
	}
}

static void line_means(struct buf *b, const struct frame *f, const struct picture_series *s)
{
	double *mean = xcalloc(PLOT_W, sizeof *mean);
	double last = s->n ? x_at(f, s->x[s->n - 1]) - LEFT : 0; /* behind its last point a series says nothing */

	pixels(f, s, s->x, mean);
	for (size_t c = 0; c < PLOT_W && (double)c <= last; c++)
		buf_addf(b, "%s%zu %.1f", c ? "L" : "M", LEFT + c, y_at(f, mean[c]));
	free(mean);
}

void picture_lines(struct buf *b, const struct picture *p, const struct picture_series *s, size_t series_n)
{
	struct frame f;

	ENSURE(series_n > 0 && series_n <= PICTURE_SERIES_MAX);
	begin(b, p, HEIGHT);
	f = axes(b, p);
	for (size_t k = 0; k < series_n; k++) {
		buf_addf(b, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" d=\"",
			 colours[s[k].colour], dash[k]);
		if (p->mean)
			line_means(b, &f, &s[k]);
		else
			line_steps(b, &f, &s[k]);
		buf_addf(b, "\"/>\n");
	}
	mark(b, p, &f);
	legend(b, p, s, series_n, true);
	end(b);
}

/* ---- bars over time ---------------------------------------------------------------------------------------------- */

void picture_gantt(struct buf *b, const struct picture *p, const struct picture_rows *rows,
		   const struct picture_series *s, size_t series_n, const struct picture_bar *bars, size_t bars_n)
{
	enum { ROOM = 768, NAMES_APART = 14 };
	double row_h = fmin(12, fmax(1, (double)ROOM / rows->n)), between = rows->group > 1 ? fmin(3, row_h) : 0;
	double group_h = row_h * rows->group + between, plot_h = group_h * ((rows->n + rows->group - 1) / rows->group);
	double unit = p->x_scale == PICTURE_DAYS ? 86400 : p->x_scale == PICTURE_HOURS ? 3600 : 1;
	double step = step_of(p->x_max / unit, 15), named_y = -NAMES_APART, gap = row_h > 2 ? 0.6 : 0.2;
	int height = TOP + (int)ceil(plot_h) + BOTTOM;
	char text[48], paint[32];

	ENSURE(series_n > 0 && series_n <= PICTURE_SERIES_MAX);
	ENSURE(bars_n <= PICTURE_BARS_MAX && rows->n > 0 && rows->group > 0 && p->x_max > 0);
	begin(b, p, height);
	for (int i = 0; i * step <= p->x_max / unit * (1 + 1e-9); i++) {
		double x = LEFT + PLOT_W * i * step * unit / p->x_max;

		buf_addf(b, "<path class=\"grid\" d=\"M%.1f %dv%.1f\"/>\n", x, TOP, plot_h);
		(void)snprintf(text, sizeof text, "%g", i * step);
		label(b, x, TOP + plot_h + 18, "mid", text);
	}
	for (uint32_t g = 0; g * rows->group < rows->n; g++) {
		double y = TOP + group_h * g;

		if (y - named_y < (rows->group > 1 ? 1 : 2) * NAMES_APART)
			continue;
		named_y = y;
		(void)snprintf(text, sizeof text, "%s%" PRIu32, rows->row_name, g * rows->group / rows->unit);
		label(b, LEFT - 6, y + fmax(10, group_h / 2 + 4), "end", text);
	}
	for (size_t k = 0; k < series_n; k++) { /* one path for all of a paint: a bar costs some 25 bytes */
		buf_addf(b, "<path fill=\"%s\" d=\"", fill(&s[k], paint));
		for (size_t i = 0; i < bars_n; i++) {
			double x = LEFT + PLOT_W * fmax(0, bars[i].from) / p->x_max;
			double w = LEFT + PLOT_W * fmin(p->x_max, bars[i].to) / p->x_max - x;

			if (bars[i].series != k || !(w > 0))
				continue;
			w = w > 1.2 ? w - 0.5 : fmax(w, 0.4);
			buf_addf(b, "M%.1f %.1fh%.1fv%.1fh-%.1fz", x,
				 TOP + row_h * bars[i].row + between * (bars[i].row / rows->group), w,
				 row_h * bars[i].rows - gap, w);
		}
		buf_addf(b, "\"/>\n");
	}
	buf_addf(b, "<path class=\"axis\" fill=\"none\" d=\"M%d %dv%.1fh%d\"/>\n", LEFT, TOP, plot_h, PLOT_W);
	label(b, LEFT + PLOT_W / 2.0, TOP + plot_h + 40, "mid", p->x_name);
	y_title(b, p->y_name, plot_h);
	legend(b, p, s, series_n, false);
	end(b);
}

/* ---- dots ------------------------------------------------------------------------------------------------------ */

void picture_dots(struct buf *b, const struct picture *p, const struct picture_series *s, size_t series_n)
{
	/* two pixels square: more cannot be told apart, and the size stays bounded */
	enum { COLUMNS = PLOT_W / 3 + 1, ROWS = PLOT_H / 3 + 1, ROOM = 3000 };
	struct frame f;
	size_t drawn = 0;

	ENSURE(series_n > 0 && series_n <= PICTURE_SERIES_MAX);
	begin(b, p, HEIGHT);
	f = axes(b, p);
	for (size_t k = 0; k < series_n; k++) {
		bool *seen = xcalloc((size_t)COLUMNS * ROWS, sizeof *seen);

		buf_addf(b, "<g fill=\"%s\" fill-opacity=\"0.8\">\n", colours[s[k].colour]);
		for (size_t i = 0; i < s[k].n; i++) {
			double x = x_at(&f, s[k].x[i]), y = y_at(&f, s[k].y[i]);
			size_t cell = (size_t)((y - TOP) / 3) * COLUMNS + (size_t)((x - LEFT) / 3);
			bool late = p->line > 0 && s[k].y[i] > p->line;

			if (seen[cell] || (drawn >= ROOM && !late) || drawn >= 2 * ROOM)
				continue;
			seen[cell] = true;
			drawn++;
			if (late)
				buf_addf(b, "<path d=\"m%.0f %.0fl6 6m0-6l-6 6\" stroke=\"%s\"/>\n", x - 3, y - 3,
					 colours[PICTURE_VERMILION]);
			else
				buf_addf(b, "<circle cx=\"%.0f\" cy=\"%.0f\" r=\"2\"/>\n", x, y);
		}
		buf_addf(b, "</g>\n");
		free(seen);
	}
	mark(b, p, &f);
	legend(b, p, s, series_n, false);
	end(b);
}

/* ---- bars ------------------------------------------------------------------------------------------------------- */

void picture_bars(struct buf *b, const struct picture *p, const struct picture_series *s, size_t series_n,
		  const struct picture_group *groups, size_t groups_n, const double *values, const char *const *texts)
{
	enum { BAR = 15, GAP = 22, NAME = 190, ROOM = WIDTH - NAME - LEFT - 150 };
	int height = TOP + (int)groups_n * ((int)series_n * BAR + GAP) + 40;
	double y = TOP + 10;
	char paint[32];

	ENSURE(series_n > 0 && series_n <= PICTURE_SERIES_MAX);
	begin(b, p, height);
	legend(b, p, s, series_n, false);
	for (size_t g = 0; g < groups_n; g++) {
		double most = 0;

		for (size_t k = 0; k < series_n; k++)
			most = fmax(most, values[g * series_n + k]);
		label(b, LEFT, y + BAR, "name", groups[g].name);
		for (size_t k = 0; k < series_n; k++) {
			double length = most > 0 ? ROOM * values[g * series_n + k] / most : 0;

			buf_addf(b, "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", LEFT + NAME, y,
				 length, BAR - 3, fill(&s[k], paint));
			label(b, LEFT + NAME + length + 6, y + 11, "small", texts[g * series_n + k]);
			y += BAR;
		}
		y += GAP;
	}
	end(b);
}
