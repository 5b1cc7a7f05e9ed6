/* render.c - tables, tab-separated text, JSON
 *
 * One set of cells serves three forms: a table by libsmartcols (fitted to the width on a terminal only; it
 * writes control bytes as \xNN by itself),
 * lines with tabs (--plain), and columns by name. JSON does not come from cells but from the wire's
 * schemas, so it has every field; --json=FIELD,... picks some.
 *
 * What holds true: text from outside never reaches the terminal with control bytes in it; numbers in
 * JSON are integers; "unlimited" and "never" (INT64_MAX) are null.
 */
#include <libsmartcols.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/config/units.h"

/* ---- tables ---------------------------------------------------------------------------------- */

struct table {
	struct ctl *c;
	const struct column *cols;
	size_t cols_n, rows_n, rows_cap, at; /* at: next cell of the last row */
	const char **cells; /* rows_n * cols_n, arena text */
};

struct table *table_new(struct ctl *c, const struct column *cols, size_t n)
{
	struct table *t = xcalloc(1, sizeof *t);

	t->c = c;
	t->cols = cols;
	t->cols_n = n;
	return t;
}

void table_row(struct table *t)
{
	ENSURE(!t->rows_n || t->at == t->cols_n);
	if (t->rows_n == t->rows_cap) {
		t->rows_cap = t->rows_cap ? 2 * t->rows_cap : 64;
		t->cells = xrealloc(t->cells, t->rows_cap * t->cols_n * sizeof *t->cells);
	}
	t->rows_n++;
	t->at = 0;
}

void table_cell(struct table *t, const char *fmt, ...)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	char small[128];
	va_list ap;
	int n;

	ENSURE(t->rows_n && t->at < t->cols_n);
	va_start(ap, fmt);
	n = vsnprintf(small, sizeof small, fmt, ap);
	va_end(ap);
	ENSURE(n >= 0);
	va_start(ap, fmt);
	vsnprintf((char *)buf_reserve(&b, (size_t)n + 1), (size_t)n + 1, fmt, ap);
	va_end(ap);
	b.len = (size_t)n;
	t->cells[(t->rows_n - 1) * t->cols_n + t->at++] = arena_copy(&t->c->arena, buf_cstr(&b), (size_t)n + 1);
}

static const char *column_name(const void *table, size_t i)
{
	return ((const struct table *)table)->cols[i].name;
}

static int column_find(const struct table *t, const char *name, size_t *ret)
{
	const char *near;

	for (size_t i = 0; i < t->cols_n; i++)
		if (!strcmp(t->cols[i].name, name)) {
			*ret = i;
			return 0;
		}
	for (size_t i = 0; i < t->cols_n; i++) /* as the header has it */
		if (!strcasecmp(t->cols[i].title, name)) {
			*ret = i;
			return 0;
		}
	near = config_nearest(name, t->cols_n, column_name, t);
	if (near) {
		try_next(t->c, "%s", near);
	} else {
		CLEANUP(buf_done) struct buf b = BUF_INIT;

		for (size_t i = 0; i < t->cols_n; i++)
			buf_addf(&b, "%s%s", i ? "," : "", t->cols[i].name);
		try_next(t->c, "columns: %s", buf_cstr(&b));
	}
	return usage_fault(t->c, "there is no column '%s'", name);
}

/* Which columns, in which order. */
static int columns_chosen(const struct table *t, size_t *ret, size_t *ret_n)
{
	struct ctl *c = t->c;
	char *copy, *save = NULL;

	*ret_n = 0;
	if (!c->column_list) {
		for (size_t i = 0; i < t->cols_n; i++)
			if (!(t->cols[i].flags & COL_WIDE) || c->wide || c->plain)
				ret[(*ret_n)++] = i;
		return 0;
	}
	copy = arena_copy(&c->arena, c->column_list, strlen(c->column_list) + 1);
	for (char *name = strtok_r(copy, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		if (*ret_n == 64 || column_find(t, name, &ret[(*ret_n)]))
			return EXIT_USAGE;
		++*ret_n;
	}
	if (*ret_n)
		return 0;
	try_next(c, "--columns %s", t->cols[0].name);
	return usage_fault(c, "--columns names no column");
}

static const struct table *sort_table;
static size_t sort_col;
static bool sort_down;

/* Numbers by value, with their thousands' commas; everything else as text. */
static int cell_cmp(const char *a, const char *b)
{
	char *ea, *eb;
	double da = strtod(a, &ea), db = strtod(b, &eb);

	if (ea != a && eb != b && da != db)
		return da < db ? -1 : 1;
	return strcmp(a, b);
}

static int row_cmp(const void *va, const void *vb)
{
	size_t a = *(const size_t *)va, b = *(const size_t *)vb;
	int r = cell_cmp(sort_table->cells[a * sort_table->cols_n + sort_col],
			 sort_table->cells[b * sort_table->cols_n + sort_col]);

	if (sort_down)
		r = -r;
	return r ? r : a < b ? -1 : a > b;
}

static int rows_sorted(const struct table *t, size_t *order)
{
	const char *by = t->c->sort;

	for (size_t i = 0; i < t->rows_n; i++)
		order[i] = i;
	if (!by)
		return 0;
	sort_down = by[0] == '-';
	if (column_find(t, by + sort_down, &sort_col))
		return EXIT_USAGE;
	sort_table = t;
	qsort(order, t->rows_n, sizeof *order, row_cmp);
	return 0;
}

static void print_plain(const struct table *t, const size_t *cols, size_t n, const size_t *order)
{
	for (size_t r = 0; r < t->rows_n; r++)
		for (size_t i = 0; i < n; i++)
			fprintf(t->c->out, "%s%c", text_safe(t->c, t->cells[order[r] * t->cols_n + cols[i]]),
				i + 1 < n ? '\t' : '\n');
}

/* One character of a cell as a terminal shows it: a control byte, and what is no text, as \xNN. Its bytes, and how
 * many columns they take. */
static size_t glyph(const char *p, mbstate_t *state, size_t *ret_columns)
{
	wchar_t w;
	size_t n = mbrtowc(&w, p, MB_CUR_MAX, state);

	if (n == 0 || n > MB_CUR_MAX) {
		*state = (mbstate_t){0};
		*ret_columns = 4;
		return 1;
	}
	*ret_columns = wcwidth(w) < 0 ? 4 * n : (size_t)wcwidth(w);
	return n;
}

static size_t columns_of(const char *text)
{
	mbstate_t state = {0};
	size_t all = 0, one;

	for (const char *p = text; *p; all += one)
		p += glyph(p, &state, &one);
	return all;
}

/* As many of its first bytes as fit into `width` columns; at a blank, if `words` and there is one. */
static size_t fitting(const char *text, size_t width, bool words)
{
	mbstate_t state = {0};
	size_t at = 0, blank = 0, all = 0, one;

	while (text[at]) {
		size_t n = glyph(text + at, &state, &one);

		all += one;
		if (all > width)
			return words && blank ? blank : at;
		if (text[at] == ' ' && at && text[at - 1] != ' ') /* no blanks at the end of lines */
			blank = at;
		at += n;
	}
	return at;
}

/* A cell that has to be narrower: a path keeps its end, which tells it from the others. */
static const char *cut(struct ctl *c, const char *text, size_t width, bool tail)
{
	const char *mark = c->ascii ? "..." : "…";
	size_t all = columns_of(text);

	if (all <= width)
		return text;
	if (!tail)
		return text_f(c, "%.*s", (int)fitting(text, width, false), text);
	while (*text && columns_of(text) + columns_of(mark) > width)
		text += fitting(text, 1, false) ? fitting(text, 1, false) : 1;
	return text_f(c, "%s%s", mark, text);
}

/* How a table is fitted to a terminal. */
enum { SEPARATOR = 2, SHRUNK_COLUMNS = 8, REST_COLUMNS = 32, REST_INDENT = 4, NO_REST = 64 };
struct fit {
	size_t cols[64], widths[64], n;
	size_t rest;   /* index of the column that takes what is left, NO_REST: none, or it goes below its row */
	size_t below;  /* column of the table that is told below its row, or NO_REST */
	size_t indent; /* of what is told below, or does not fit into `rest` */
};

static const char *cell_at(const struct table *t, size_t row, size_t col) { return t->cells[row * t->cols_n + col]; }

static size_t natural(const struct table *t, size_t col)
{
	size_t most = t->c->no_header ? 0 : columns_of(t->cols[col].title);

	for (size_t r = 0; r < t->rows_n; r++) {
		size_t w = columns_of(cell_at(t, r, col));

		most = w > most ? w : most;
	}
	return most;
}

static bool says_nothing(const struct table *t, size_t col)
{
	for (size_t r = 0; r < t->rows_n; r++)
		if (cell_at(t, r, col)[0] && strcmp(cell_at(t, r, col), "-") != 0)
			return false;
	return true;
}

static size_t fit_sum(const struct fit *f, size_t without)
{
	size_t sum = f->n ? (f->n - 1) * SEPARATOR : 0;

	for (size_t i = 0; i < f->n; i++)
		sum += i == without ? 0 : f->widths[i];
	return sum;
}

static void fit_drop(struct fit *f, size_t i)
{
	memmove(&f->cols[i], &f->cols[i + 1], (f->n - i - 1) * sizeof *f->cols);
	memmove(&f->widths[i], &f->widths[i + 1], (f->n - i - 1) * sizeof *f->widths);
	f->n--;
}

/* Take from the widest of the columns that may be narrower, until all of them with `more` fit into `width`: to
 * SHRUNK_COLUMNS, and only if they must to half of that. */
static void fit_shrink(const struct table *t, struct fit *f, size_t width, size_t more, bool must)
{
	size_t least_of = SHRUNK_COLUMNS;

	while (fit_sum(f, f->rest) + more > width) {
		size_t widest = f->n;

		for (size_t i = 0; i < f->n; i++) {
			size_t title = columns_of(t->cols[f->cols[i]].title), least = title > least_of ? title : least_of;

			if (i != f->rest && (t->cols[f->cols[i]].flags & COL_SHRINK) && f->widths[i] > least &&
			    (widest == f->n || f->widths[i] > f->widths[widest]))
				widest = i;
		}
		if (widest < f->n)
			f->widths[widest]--;
		else if (must && least_of == SHRUNK_COLUMNS)
			least_of = SHRUNK_COLUMNS / 2;
		else
			return;
	}
}

/* Too wide: columns that say nothing go, names shrink, and the column of what matters (COL_REST) has the rest, more
 * lines if it needs them, or lines of its own below the row when there is hardly any rest. */
static void fit_make(const struct table *t, const size_t *cols, size_t n, size_t width, struct fit *f)
{
	size_t whole;

	*f = (struct fit){.n = n, .rest = NO_REST, .below = NO_REST, .indent = REST_INDENT};
	memcpy(f->cols, cols, n * sizeof *cols);
	for (size_t i = 0; i < n; i++)
		f->widths[i] = natural(t, cols[i]);
	if (!width || fit_sum(f, NO_REST) <= width)
		return;
	for (size_t i = f->n; !t->c->column_list && i-- > 0;)
		if (f->n > 1 && says_nothing(t, f->cols[i]))
			fit_drop(f, i);
	for (size_t i = 0; i < f->n; i++)
		if (t->cols[f->cols[i]].flags & COL_REST)
			f->rest = i;
	if (f->rest == NO_REST) {
		fit_shrink(t, f, width, 0, true);
		return;
	}
	whole = f->widths[f->rest];
	if (f->rest + 1 == f->n && fit_sum(f, NO_REST) > width) {
		struct fit narrow = *f;

		fit_shrink(t, &narrow, width, whole < REST_COLUMNS ? whole : REST_COLUMNS, false);
		if (fit_sum(&narrow, narrow.rest) + (whole < REST_COLUMNS ? whole : REST_COLUMNS) <= width) {
			*f = narrow;
			f->indent = fit_sum(f, f->rest);
			f->widths[f->rest] = whole < width - f->indent ? whole : width - f->indent;
			return;
		}
	}
	if (fit_sum(f, NO_REST) <= width)
		return;
	f->below = f->cols[f->rest];
	fit_drop(f, f->rest);
	f->rest = NO_REST;
	fit_shrink(t, f, width, 0, true);
}

/* The lines of `text` from its byte `at` on, each indented. */
static void print_rest(struct ctl *c, const char *text, size_t width, size_t indent)
{
	while (*text) {
		size_t n = fitting(text, width, true);

		if (!n)
			n = strlen(text);
		fprintf(c->out, "%*s%s\n", (int)indent, "", text_safe(c, text_f(c, "%.*s", (int)n, text)));
		text += n;
		text += strspn(text, " ");
	}
}

void fold_line(struct ctl *c, size_t indent, const char *text)
{
	size_t width = c->tty && !c->wide && c->columns > (int)indent ? (size_t)c->columns : SIZE_MAX;
	size_t n = fitting(text, width, true);

	fprintf(c->out, "%s\n", text_safe(c, text_f(c, "%.*s", (int)n, text)));
	text += n;
	print_rest(c, text + strspn(text, " "), width - indent, indent);
}

static void print_smart(const struct table *t, const size_t *cols, size_t n, const size_t *order)
{
	struct libscols_table *s = scols_new_table();
	struct ctl *c = t->c;
	size_t width = c->tty && !c->wide && c->columns > 0 ? (size_t)c->columns : 0;
	struct fit f;
	char *text = NULL, *left;
	size_t row = 0;

	ENSURE(s);
	fit_make(t, cols, n, width, &f);
	scols_table_enable_noheadings(s, c->no_header);
	scols_table_enable_ascii(s, c->ascii);
	scols_table_enable_minout(s, 1); /* no blanks at the end of lines */
	scols_table_set_column_separator(s, "  ");
	scols_table_set_termforce(s, SCOLS_TERMFORCE_NEVER);
	for (size_t i = 0; i < f.n; i++) {
		const struct column *col = &t->cols[f.cols[i]];

		ENSURE(scols_table_new_column(s, c->no_header ? "" : col->title, 0, col->flags & COL_RIGHT ? SCOLS_FL_RIGHT : 0));
	}
	for (size_t r = 0; r < t->rows_n; r++) {
		struct libscols_line *line = scols_table_new_line(s, NULL);

		ENSURE(line);
		for (size_t i = 0; i < f.n; i++) {
			const char *cell = cell_at(t, order[r], f.cols[i]);

			if (i == f.rest)
				cell = text_f(c, "%.*s", (int)fitting(cell, f.widths[i], true), cell);
			else if (width)
				cell = cut(c, cell, f.widths[i], t->cols[f.cols[i]].flags & COL_TAIL);
			ENSURE(scols_line_set_data(line, i, cell) == 0);
		}
	}
	ENSURE(scols_print_table_to_string(s, &text) == 0 && text);
	left = text;
	if (!c->no_header)
		fprintf(c->out, "%s\n", strsep(&left, "\n"));
	for (; row < t->rows_n; row++) { /* a line for each, an empty one where all cells are */
		fprintf(c->out, "%s\n", left ? strsep(&left, "\n") : "");
		if (f.below != NO_REST)
			print_rest(c, cell_at(t, order[row], f.below), width - f.indent, f.indent);
		if (f.rest != NO_REST) {
			const char *cell = cell_at(t, order[row], f.cols[f.rest]);

			cell += fitting(cell, f.widths[f.rest], true);
			print_rest(c, cell + strspn(cell, " "), f.widths[f.rest], f.indent);
		}
	}
	free(text);
	scols_unref_table(s);
}

int table_print(struct table *t)
{
	size_t cols[64], n = 0;
	size_t *order = xmalloc((t->rows_n + 1) * sizeof *order);
	int r;

	ENSURE(t->cols_n <= ARRAY_LEN(cols));
	ENSURE(!t->rows_n || t->at == t->cols_n);
	r = columns_chosen(t, cols, &n);
	if (!r)
		r = rows_sorted(t, order);
	if (!r && t->c->plain)
		print_plain(t, cols, n, order);
	else if (!r && t->rows_n)
		print_smart(t, cols, n, order);
	free(order);
	free(t->cells);
	free(t);
	return r;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* Fields that are instants on the daemon's clock, as opposed to spans; all end in _ms. */
static bool is_instant(const char *name)
{
	static const char *const names[] = {
		"t_ms", "submit_ms", "start_ms", "end_ms", "first_start_ms", "eligible_ms", "checkpoint_ms",
		"start_p50_ms", "start_p90_ms", "recall_at_ms", "reason_since_ms", "since_ms", "begin_ms",
		"deadline_ms", "created_ms", "state_since_ms", "offer_until_ms", "active_since_ms", "term_end_ms",
		"retry_ms", "coming_by_ms", "renewed_ms", "admin_until_ms", "from_ms", "to_ms", "expires_ms",
		"not_after_ms",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

static json_t *json_i64(int64_t v) { return v == INT64_MAX ? json_null() : json_integer(v); }

static json_t *json_u64(uint64_t v)
{
	char text[24];

	if (v <= INT64_MAX)
		return json_integer((json_int_t)v);
	snprintf(text, sizeof text, "%llu", (unsigned long long)v); /* masks: no reader's integer holds them */
	return json_string(text);
}

static json_t *json_hex(const uint8_t *p, size_t n)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	if (all_zero(p, n))
		return json_null();
	for (size_t i = 0; i < n; i++)
		buf_addf(&b, "%02x", p[i]);
	return json_string(buf_cstr(&b));
}

static json_t *json_text(const char *s)
{
	json_t *j = json_string(s ? s : "");

	return j ? j : json_string("?"); /* no UTF-8: cannot come from the wire */
}

static json_t *json_field(const struct field *f, const uint8_t *m, const uint8_t *obj);

static json_t *json_elems(const struct field *f, const uint8_t *first, uint32_t n)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *e = first + (size_t)i * f->elem;

		json_array_append_new(list, f->sub->bare ? json_field(&f->sub->fields[0], e + f->sub->fields[0].offset, e)
							 : json_of(f->sub, e));
	}
	return list;
}

static json_t *json_field(const struct field *f, const uint8_t *m, const uint8_t *obj)
{
	union { uint8_t u8; uint16_t u16; uint32_t u32; uint64_t u64; int8_t i8; int32_t i32; int64_t i64; bool b;
		const char *s; struct bytes bytes; const uint8_t *list; } v = {0};
	uint16_t n16;
	uint32_t n;
	json_t *list;

	switch ((enum field_type)f->type) {
	case FIELD_U8:
		if (f->names) {
			for (n = 0; f->names[n] && n < m[0]; n++)
				;
			return json_string(f->names[n] ? f->names[n] : "?");
		}
		return json_integer(m[0]);
	case FIELD_U16: memcpy(&v.u16, m, sizeof v.u16); return json_integer(v.u16);
	case FIELD_U32: memcpy(&v.u32, m, sizeof v.u32); return json_integer(v.u32);
	case FIELD_U64: memcpy(&v.u64, m, sizeof v.u64); return json_u64(v.u64);
	case FIELD_I8: memcpy(&v.i8, m, sizeof v.i8); return json_integer(v.i8);
	case FIELD_I32: memcpy(&v.i32, m, sizeof v.i32); return json_integer(v.i32);
	case FIELD_I64: memcpy(&v.i64, m, sizeof v.i64); return json_i64(v.i64);
	case FIELD_BOOL: memcpy(&v.b, m, sizeof v.b); return json_boolean(v.b);
	case FIELD_STR: return json_text((const char *)m);
	case FIELD_FIXED: return json_hex(m, f->size);
	case FIELD_WORDS:
		list = json_array();
		for (n = 0; n < f->size / sizeof v.u64; n++) {
			memcpy(&v.u64, m + n * sizeof v.u64, sizeof v.u64);
			json_array_append_new(list, json_u64(v.u64));
		}
		return list;
	case FIELD_TEXT: memcpy(&v.s, m, sizeof v.s); return json_text(v.s);
	case FIELD_BYTES: memcpy(&v.bytes, m, sizeof v.bytes); return json_hex(v.bytes.data, v.bytes.len);
	case FIELD_STRUCT: return json_of(f->sub, m);
	case FIELD_LIST:
		memcpy(&n, obj + f->count_offset, sizeof n);
		memcpy(&v.list, m, sizeof v.list);
		return json_elems(f, v.list, n);
	case FIELD_ARRAY:
		memcpy(&n16, obj + f->count_offset, sizeof n16);
		return json_elems(f, m, n16);
	}
	UNREACHABLE();
}

static void add_fields(json_t *o, const struct schema *schema, const uint8_t *obj)
{
	for (uint32_t i = 0; i < schema->fields_n; i++) {
		const struct field *f = &schema->fields[i];
		const uint8_t *m = obj + f->offset;
		size_t len = strlen(f->name);
		char out[UNITS_TEXT_BYTES], name[64];
		int64_t ms;

		if (f->type == FIELD_STRUCT) { /* lifted to the top, but never over what stands there */
			add_fields(o, f->sub, m);
			continue;
		}
		if (json_object_get(o, f->name))
			continue;
		json_object_set_new(o, f->name, json_field(f, m, obj));
		if (f->type != FIELD_I64 || !is_instant(f->name))
			continue;
		memcpy(&ms, m, sizeof ms);
		snprintf(name, sizeof name, "%.*s", (int)len - 3, f->name);
		if (!json_object_get(o, name))
			json_object_set_new(o, name, ms <= 0 || ms == INT64_MAX ? json_null()
									       : json_string(units_instant_print(out, ms)));
	}
}

json_t *json_of(const struct schema *schema, const void *obj)
{
	json_t *o = json_object();
	const uint8_t *p = obj;

	/* The outer record's own fields first: they are the names for the numbers within. */
	for (int inner = 0; inner < 2; inner++)
		for (uint32_t i = 0; i < schema->fields_n; i++) {
			const struct field *f = &schema->fields[i];
			struct schema one = *schema;

			if ((f->type == FIELD_STRUCT) != inner)
				continue;
			one.fields = f;
			one.fields_n = 1;
			add_fields(o, &one, p);
		}
	return o;
}

static const char *key_at(const void *list, size_t i) { return ((const char *const *)list)[i]; }

static int no_field(struct ctl *c, json_t *item, const char *name)
{
	const char *keys[256];
	const char *near, *key;
	size_t n = 0;
	json_t *value;

	json_object_foreach(item, key, value)
		if (n < ARRAY_LEN(keys))
			keys[n++] = key;
	near = config_nearest(name, n, key_at, keys);
	if (near)
		try_next(c, "%s", text_f(c, "%s", near));
	else
		try_next(c, "--json alone prints all fields");
	return usage_fault(c, "--json: there is no field '%s'", name);
}

/* Only the fields of --json=..., in that order. Takes `item`; NULL after telling what is wrong. */
static json_t *picked(struct ctl *c, json_t *item)
{
	json_t *out;
	char *copy, *save = NULL;

	if (!c->json_fields)
		return item;
	out = json_object();
	copy = arena_copy(&c->arena, c->json_fields, strlen(c->json_fields) + 1);
	for (char *name = strtok_r(copy, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		json_t *v = json_object_get(item, name);

		if (!v) {
			(void)no_field(c, item, name);
			json_decref(item);
			json_decref(out);
			return NULL;
		}
		json_object_set(out, name, v);
	}
	json_decref(item);
	return out;
}

static json_t *envelope(const char *kind, uint64_t seq)
{
	json_t *root = json_object();

	json_object_set_new(root, "api", json_string("sluis/1"));
	json_object_set_new(root, "kind", json_string(kind));
	if (seq) /* of the state it was read from; what does not come from there has none */
		json_object_set_new(root, "seq", json_u64(seq));
	return root;
}

static int dump(struct ctl *c, json_t *root)
{
	(void)json_dumpf(root, c->out, JSON_COMPACT | JSON_PRESERVE_ORDER); /* a full pipe shows at fclose */
	fputc('\n', c->out);
	json_decref(root);
	return 0;
}

int json_list(struct ctl *c, const char *kind, uint64_t seq, const struct schema *item, const void *items, uint32_t n,
	      json_fix_fn *fix)
{
	json_t *root = envelope(kind, seq), *list = json_array();

	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *obj = (const uint8_t *)items + (size_t)i * item->size;
		json_t *o = json_of(item, obj);

		if (fix)
			fix(o, obj);
		o = picked(c, o);
		if (!o) {
			json_decref(list);
			json_decref(root);
			return EXIT_USAGE;
		}
		json_array_append_new(list, o);
	}
	json_object_set_new(root, "items", list);
	return dump(c, root);
}

int json_item(struct ctl *c, const char *kind, uint64_t seq, json_t *item)
{
	json_t *root = envelope(kind, seq);

	item = picked(c, item);
	if (!item) {
		json_decref(root);
		return EXIT_USAGE;
	}
	json_object_set_new(root, "item", item);
	return dump(c, root);
}

/* ---- lines ----------------------------------------------------------------------------------- */

int done_line(struct ctl *c, const char *kind, const struct client_reply *reply, const char *fmt, ...)
{
	va_list ap;

	if (c->json) {
		json_t *item = json_of(&schema_result, &reply->result);

		json_object_set_new(item, "dry_run", json_boolean(c->dry_run));
		if (!strcmp(kind, "lease_requested")) /* a word, as in the lists */
			json_object_set_new(item, "state", json_string(lease_state_name(reply->result.state)));
		else if (!strncmp(kind, "lease_", 6)) /* the others set none, or not when they are repeated under their key */
			json_object_del(item, "state");
		else if (!strncmp(kind, "reservation_", 12))
			json_object_set_new(item, "state", json_string(reservation_state_name(reply->result.state)));
		return json_item(c, kind, reply->seq, item);
	}
	if (c->quiet) {
		if (reply->result.id)
			fprintf(c->out, "%llu\n", (unsigned long long)reply->result.id);
		return 0;
	}
	if (c->dry_run)
		fputs("would do: ", c->out);
	va_start(ap, fmt);
	vfprintf(c->out, fmt, ap);
	va_end(ap);
	fputc('\n', c->out);
	if (reply->message[0])
		fprintf(c->out, "  note    %s\n", text_safe(c, reply->message));
	return 0;
}

void next_line(struct ctl *c, const char *fmt, ...)
{
	va_list ap;

	if (c->json || c->quiet || c->plain || c->dry_run)
		return;
	fputs("  next    ", c->out);
	va_start(ap, fmt);
	vfprintf(c->out, fmt, ap);
	va_end(ap);
	fputc('\n', c->out);
}

static char progress_last[512];
static bool progress_shown;

void progress(struct ctl *c, const char *fmt, ...)
{
	char line[sizeof progress_last];
	va_list ap;

	if (c->quiet)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (!strcmp(line, progress_last))
		return;
	memcpy(progress_last, line, sizeof line);
	if (c->errtty)
		fprintf(c->errs, "\r%s\033[K", text_safe(c, line));
	else
		fprintf(c->errs, "%s\n", text_safe(c, line));
	fflush(c->errs);
	progress_shown = true;
}

void progress_end(struct ctl *c)
{
	if (progress_shown && c->errtty)
		fprintf(c->errs, "\r\033[K");
	progress_shown = false;
	progress_last[0] = '\0';
}
