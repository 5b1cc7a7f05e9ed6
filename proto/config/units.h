/* units.h - numbers with units, as people write them: strict parsers and their printers
 *
 * Used by files, job options and sluisctl alike, so a duration means the same everywhere. Every parser
 * takes the whole text or refuses it (no leading or trailing rest, no sign, no leading zero that could
 * mean octal), checks all arithmetic, and sets its output only on success. On failure it returns
 * ERR_INVAL (not such a value; the message quotes the text) or ERR_RANGE (does not fit), with the
 * accepted spelling in err->hint.
 *
 * Sizes are 1024-based whatever the letters say (64G = 64GB = 64GiB), as Slurm does.
 *
 * Sources: sbatch(1) for --time, --begin and --mem; RFC 3339 for instants.
 */
#ifndef SLUIS_PROTO_CONFIG_UNITS_H
#define SLUIS_PROTO_CONFIG_UNITS_H

#include <stdint.h>

#include "proto/base/err.h"

#define UNITS_PPM_ALL INT64_C(1000000)      /* 100 % */
#define UNITS_MRUS_PER_GPUH INT64_C(3600000) /* milli-reference-unit-seconds in one GPU-hour of weight 1000 */
#define UNITS_DURATION_MAX_MS (INT64_C(36500) * 86400000) /* a hundred years: keeps sums far from overflow */

enum units_zone { UNITS_UTC, UNITS_LOCAL }; /* what a time without a zone means; LOCAL is TZ's */

/* Decimal integer within min..max. */
int units_count(const char *text, int64_t min, int64_t max, int64_t *ret_value, struct err *err) NODISCARD;
/* "90s", "15m", "1h30m", "500ms", "2w": numbers with units, larger units first. ms out. */
int units_duration(const char *text, int64_t *ret_ms, struct err *err) NODISCARD;
/* Slurm's "M", "M:S", "H:M:S", "D-H", "D-H:M", "D-H:M:S". The first number may be any size. ms out. */
int units_slurm_time(const char *text, int64_t *ret_ms, struct err *err) NODISCARD;
/* Either of the two, for job options. */
int units_job_time(const char *text, int64_t *ret_ms, struct err *err) NODISCARD;
/* "64GiB", "64G", "8gb", "512B". Bytes out. */
int units_size(const char *text, int64_t *ret_bytes, struct err *err) NODISCARD;
/* The same in MiB; refused when it is no whole number of MiB. */
int units_size_mib(const char *text, int64_t *ret_mib, struct err *err) NODISCARD;
/* A job's --mem: a bare number is MiB; less than a MiB is rounded up. */
int units_job_mem_mib(const char *text, int64_t *ret_mib, struct err *err) NODISCARD;
/* "250000" (ppm) or "12.5 %" (up to four decimals). 0..UNITS_PPM_ALL out. */
int units_share_ppm(const char *text, int64_t *ret_ppm, struct err *err) NODISCARD;
/* "4000 gpuh", "0.5 gpuh" (up to three decimals) in milli-reference-unit-seconds. */
int units_gpuh_mrus(const char *text, int64_t *ret_mrus, struct err *err) NODISCARD;
/* An instant in ms since 1970 UTC. "2026-12-01", "2026-12-01T14:30[:05[.250]]" with or without "Z" or
 * "+01:00", "14:30[:05] [am|pm]", "midnight", "noon" (the next one to come), "today", "tomorrow",
 * "now", "now+2h", "now+60" (seconds), "now+1hour", "+2h", "-30m". `now_ms` is the moment they count from. */
int units_instant(const char *text, int64_t now_ms, enum units_zone zone, int64_t *ret_ms,
		  struct err *err) NODISCARD;

/* ---- printers: into the caller's `out`, which they return ------------------------------------ */

enum { UNITS_TEXT_BYTES = 40 };

/* For people: "850ms", "47s", "4m47s", "2h05m", "3d04h"; "-" in front of a negative one. Rounds down. */
char *units_duration_print(char out[UNITS_TEXT_BYTES], int64_t ms);
/* For files: the largest single unit that is exact: "15m", "90s", "30d", "1500ms". ms >= 0. */
char *units_duration_exact(char out[UNITS_TEXT_BYTES], int64_t ms);
/* Slurm's: "12:00:00", "2-03:04:05". Rounds down to seconds. ms >= 0. */
char *units_slurm_time_print(char out[UNITS_TEXT_BYTES], int64_t ms);
/* "64GiB", "1536MiB", "100B": the largest unit that is exact. bytes >= 0. */
char *units_size_print(char out[UNITS_TEXT_BYTES], int64_t bytes);
/* "12.5 %", trailing zeros left out. ppm >= 0. */
char *units_share_print(char out[UNITS_TEXT_BYTES], int64_t ppm);
/* "4000 gpuh", "0.5 gpuh": rounds down to three decimals. mrus >= 0. */
char *units_gpuh_print(char out[UNITS_TEXT_BYTES], int64_t mrus);
/* RFC 3339 in UTC: "2026-11-24T14:10:00Z", with ".250" when there are milliseconds. Instants outside
 * the years 0001-9999 print as "-". */
char *units_instant_print(char out[UNITS_TEXT_BYTES], int64_t ms);

/* Days since 1970-01-01 of a date of the Gregorian calendar (Hinnant, "days_from_civil"). */
int64_t units_days_from_civil(int64_t year, unsigned month, unsigned day);

#endif
