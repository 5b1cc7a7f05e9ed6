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

static void legend(struct buf *b, const struct picture *p, const struct picture_series *s, size_t n)
{
	double x = LEFT;
	char paint[32];

	for (size_t i = 0; i < n; i++) {
		buf_addf(b, "<rect x=\"%.1f\" y=\"40\" width=\"14\" height=\"11\" fill=\"%s\"/>\n", x, fill(&s[i], paint));
		label(b, x + 19, 50, "key", s[i].name);
		x += 19 + 8 * (double)strlen(s[i].name) + 16;
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

static struct frame axes(struct buf *b, const struct picture *p)
{
	static const struct { double s; const char *name; } times[] = {
		{1, "1 s"}, {10, "10 s"}, {60, "1 min"}, {600, "10 min"}, {3600, "1 h"}, {36000, "10 h"},
		{86400, "1 d"}, {864000, "10 d"}, {8640000, "100 d"},
	};
	struct frame f = {.x_max = p->x_max, .x_scale = p->x_scale};
	double unit = p->x_scale == PICTURE_DAYS ? 86400 : 1, step = step_of(p->y_max, 6);
	char text[32];

	if (!(f.x_max > 1))
		f.x_max = p->x_scale == PICTURE_DAYS ? 86400 : 10;
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
	buf_addf(b, "<text class=\"mid\" transform=\"translate(20 %.1f) rotate(-90)\">", TOP + PLOT_H / 2.0);
	escaped(b, p->y_name);
	buf_addf(b, "</text>\n");
	return f;
}

static void mark(struct buf *b, const struct picture *p, const struct frame *f)
{
	if (p->line > 0)
		buf_addf(b, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" class=\"mark\"/>\n", LEFT, y_at(f, p->line),
			 LEFT + PLOT_W, y_at(f, p->line));
}

/* ---- areas ------------------------------------------------------------------------------------------------- */

void picture_stack(struct buf *b, const struct picture *p, const struct picture_series *s, size_t series_n)
{
	double *sum = xcalloc(PLOT_W, sizeof *sum), *mean = xcalloc(PLOT_W, sizeof *mean);
	uint32_t *count = xcalloc(PLOT_W, sizeof *count);
	struct frame f;
	char paint[32];

	ENSURE(series_n > 0 && series_n <= PICTURE_SERIES_MAX);
	begin(b, p, HEIGHT);
	f = axes(b, p);
	for (size_t k = 0; k < series_n; k++) {
		memset(mean, 0, PLOT_W * sizeof *mean);
		memset(count, 0, PLOT_W * sizeof *count);
		for (size_t i = 0; i < s[k].n; i++) {
			double x = x_at(&f, s[0].x[i]) - LEFT;
			size_t col = x < 0 ? 0 : x >= PLOT_W ? PLOT_W - 1 : (size_t)x;

			mean[col] += s[k].y[i];
			count[col]++;
		}
		for (size_t c = 0; c < PLOT_W; c++) /* a pixel without a point is as the one before */
			mean[c] = count[c] ? mean[c] / count[c] : c ? mean[c - 1] : 0;
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
	legend(b, p, s, series_n);
	end(b);
	free(sum);
	free(mean);
	free(count);
}

/* ---- lines ---------------------------------------------------------------------------------------------------- */

void picture_lines(struct buf *b, const struct picture *p, const struct picture_series *s, size_t series_n)
{
	struct frame f;

	ENSURE(series_n > 0 && series_n <= PICTURE_SERIES_MAX);
	begin(b, p, HEIGHT);
	f = axes(b, p);
	for (size_t k = 0; k < series_n; k++) {
		/* dashes tell lines apart without colour */
		static const char *const dash[] = {"none", "9 3", "3 3", "12 3 3 3", "6 6", "1 3", "15 5", "5 2 2 2"};
		double last_x = -1, last_y = -1;
		bool open = false;

		buf_addf(b, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" d=\"",
			 colours[s[k].colour], dash[k]);
		for (size_t i = 0; i < s[k].n; i++) {
			double x = x_at(&f, s[k].x[i]), y = y_at(&f, s[k].y[i]);

			if (open && x - last_x < 0.5 && fabs(y - last_y) < 0.5 && i + 1 < s[k].n)
				continue;
			if (open)
				buf_addf(b, "H%.1fV%.1f", x, y);
			else
				buf_addf(b, "M%.1f %.1f", x, y);
			open = true;
			last_x = x;
			last_y = y;
		}
		buf_addf(b, "\"/>\n");
	}
	mark(b, p, &f);
	legend(b, p, s, series_n);
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
	legend(b, p, s, series_n);
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
	legend(b, p, s, series_n);
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
