/* csv.h - comma-separated tables whose columns are found by the names in their heading
 *
 * Columns may come in any order, and others beside them. Every row has as many fields as the heading. There is no
 * quoting: none of the traces has it. Rows and columns borrow the text they were read from.
 */
#ifndef SLUIS_DAEMON_SIM_CSV_H
#define SLUIS_DAEMON_SIM_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

enum { CSV_COLUMNS_MAX = 8, CSV_FIELDS_MAX = 64 };

struct csv {
	const char *name;           /* of the file, for messages */
	const char *const *columns; /* as asked for */
	unsigned fields_n;          /* of the heading */
	int at[CSV_COLUMNS_MAX];    /* field of each column; -1: there is none */
};
struct csv_row {
	const struct csv *csv;
	unsigned line;
	struct { const char *at; size_t bytes; } field[CSV_FIELDS_MAX];
};

/* How many of `columns`, which end with NULL, the heading has. */
unsigned csv_matches(const char *heading, size_t bytes, const char *const *columns);
/* Find `columns` (at most CSV_COLUMNS_MAX, ended by NULL, borrowed) in the heading on line `line` of the file; the first
 * `needed` have to be there. ERR_FORMAT with the column that is missing or there twice. */
int csv_heading(struct csv *ret_csv, const char *name, unsigned line, const char *heading, size_t bytes,
		const char *const *columns, unsigned needed, struct err *err) NODISCARD;
/* Cut a line at its commas. ERR_FORMAT when the heading has another number of fields. */
int csv_cut(const struct csv *csv, unsigned line, const char *text, size_t bytes, struct csv_row *ret_row,
	    struct err *err) NODISCARD;

/* Is nothing in the column, or the column not there? */
bool csv_empty(const struct csv_row *r, unsigned column);
/* The column's text into ret[size]; ERR_FORMAT for an empty one and for one that does not fit. */
int csv_text(const struct csv_row *r, unsigned column, char *ret, size_t size, struct err *err) NODISCARD;
/* Digits alone, up to `max`; ERR_FORMAT with the range. */
int csv_integer(const struct csv_row *r, unsigned column, int32_t max, int32_t *ret, struct err *err) NODISCARD;
/* A number that may have a fraction or an exponent, from 0 to `max`. */
int csv_amount(const struct csv_row *r, unsigned column, int64_t max, double *ret, struct err *err) NODISCARD;

#endif
