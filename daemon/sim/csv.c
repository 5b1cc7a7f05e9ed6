/* csv.c - see csv.h */
#include "daemon/sim/csv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/ensure.h"

/* The next field of [*at, end], without its comma; *at is NULL behind the last. */
static const char *next_field(const char **at, const char *end, size_t *ret_bytes)
{
	const char *field = *at, *comma = memchr(field, ',', (size_t)(end - field));

	*ret_bytes = (size_t)((comma ? comma : end) - field);
	*at = comma ? comma + 1 : NULL;
	return field;
}

/* Blanks around a name do not count. */
static bool is_named(const char *field, size_t bytes, const char *column)
{
	while (bytes && *field == ' ') {
		field++;
		bytes--;
	}
	while (bytes && field[bytes - 1] == ' ')
		bytes--;
	return bytes == strlen(column) && memcmp(field, column, bytes) == 0;
}

unsigned csv_matches(const char *heading, size_t bytes, const char *const *columns)
{
	const char *at = heading, *end = heading + bytes;
	unsigned n = 0;

	while (at) {
		size_t field_bytes;
		const char *field = next_field(&at, end, &field_bytes);

		for (unsigned k = 0; columns[k]; k++)
			n += is_named(field, field_bytes, columns[k]);
	}
	return n;
}

int csv_heading(struct csv *csv, const char *name, unsigned line, const char *heading, size_t bytes,
		const char *const *columns, unsigned needed, struct err *err)
{
	const char *at = heading, *end = heading + bytes;

	*csv = (struct csv){.name = name, .columns = columns};
	for (unsigned k = 0; k < CSV_COLUMNS_MAX; k++)
		csv->at[k] = -1;
	for (; at; csv->fields_n++) {
		size_t field_bytes;
		const char *field = next_field(&at, end, &field_bytes);

		if (csv->fields_n == CSV_FIELDS_MAX)
			return err_set(err, ERR_FORMAT, "%s:%u: more than %d columns", name, line, CSV_FIELDS_MAX);
		for (unsigned k = 0; columns[k]; k++) {
			ENSURE(k < CSV_COLUMNS_MAX);
			if (!is_named(field, field_bytes, columns[k]))
				continue;
			if (csv->at[k] >= 0)
				return err_set(err, ERR_FORMAT, "%s:%u: the column '%s' is there twice", name, line, columns[k]);
			csv->at[k] = (int)csv->fields_n;
		}
	}
	for (unsigned k = 0; k < needed; k++)
		if (csv->at[k] < 0)
			return err_set(err, ERR_FORMAT, "%s:%u: the heading has no column '%s'", name, line, columns[k]);
	return 0;
}

int csv_cut(const struct csv *csv, unsigned line, const char *text, size_t bytes, struct csv_row *ret, struct err *err)
{
	const char *at = text, *end = text + bytes;
	unsigned n = 0;

	ret->csv = csv;
	ret->line = line;
	for (; at; n++) {
		size_t field_bytes;
		const char *field = next_field(&at, end, &field_bytes);

		if (n < csv->fields_n) {
			ret->field[n].at = field;
			ret->field[n].bytes = field_bytes;
		}
	}
	if (n != csv->fields_n)
		return err_set(err, ERR_FORMAT, "%s:%u: %u fields, the heading has %u", csv->name, line, n, csv->fields_n);
	return 0;
}

bool csv_empty(const struct csv_row *r, unsigned column)
{
	return r->csv->at[column] < 0 || r->field[r->csv->at[column]].bytes == 0;
}

/* "name:line: field 4 (gpu) " and what is wrong with it. */
static int wrong(const struct csv_row *r, unsigned column, const char *what, struct err *err)
{
	return err_set(err, ERR_FORMAT, "%s:%u: field %d (%s) %s", r->csv->name, r->line, r->csv->at[column] + 1,
		       r->csv->columns[column], what);
}

static int not_a_number(const struct csv_row *r, unsigned column, int64_t max, struct err *err)
{
	char what[64];

	(void)snprintf(what, sizeof what, "is not a number from 0 to %" PRId64, max);
	return wrong(r, column, what, err);
}

int csv_text(const struct csv_row *r, unsigned column, char *ret, size_t size, struct err *err)
{
	char what[64];
	size_t n;

	ENSURE(r->csv->at[column] >= 0);
	n = r->field[r->csv->at[column]].bytes;
	if (n == 0)
		return wrong(r, column, "is empty", err);
	if (n >= size) {
		(void)snprintf(what, sizeof what, "is longer than %zu bytes", size - 1);
		return wrong(r, column, what, err);
	}
	memcpy(ret, r->field[r->csv->at[column]].at, n);
	ret[n] = '\0';
	return 0;
}

int csv_integer(const struct csv_row *r, unsigned column, int32_t max, int32_t *ret, struct err *err)
{
	char text[64];
	int64_t v = 0;
	int rc = csv_text(r, column, text, sizeof text, err);

	if (rc)
		return rc;
	for (const char *c = text; *c; c++) {
		if (*c < '0' || *c > '9' || v > max)
			return not_a_number(r, column, max, err);
		v = v * 10 + (*c - '0');
	}
	if (v > max)
		return not_a_number(r, column, max, err);
	*ret = (int32_t)v;
	return 0;
}

int csv_amount(const struct csv_row *r, unsigned column, int64_t max, double *ret, struct err *err)
{
	char text[64], *end;
	int rc = csv_text(r, column, text, sizeof text, err);

	if (rc)
		return rc;
	*ret = strtod(text, &end);
	if (end == text || *end || !(*ret >= 0 && *ret <= (double)max)) /* nor nan */
		return not_a_number(r, column, max, err);
	return 0;
}
