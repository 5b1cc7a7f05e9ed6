/* log.h - one line per event to stderr, in logfmt
 *
 *     <6>lease granted lease=42 tenant=chat gpus=8
 *
 * The `<N>` priority in front is for journald and left out on a terminal. The event name is stable
 * and made to be searched for; the rest is key=value. Only shells log. A line is written with one
 * write(2), at most LOG_LINE_BYTES long, and never holds a control byte: what the caller forgot to
 * quote cannot forge a second line.
 */
#ifndef SLUIS_PROTO_LINK_LOG_H
#define SLUIS_PROTO_LINK_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG */

#include "proto/base/err.h"
#include "proto/base/instant.h"

enum { LOG_LINE_BYTES = 2048, LOG_QUOTE_BYTES = 512 };

/* Lines above `level` are not written; LOG_INFO at first. */
void log_set_level(int level);
/* LOG_* for "error", "warning", "notice", "info", "debug"; ERR_INVAL. */
int log_level_parse(const char *name, int *ret_level, struct err *err) NODISCARD;
/* Whether lines begin with `<N>` where they do not go to a terminal; they do at first. */
void log_set_prefix(bool prefix);
/* Write to `fd` (borrowed) instead of stderr. */
void log_set_fd(int fd);

/* Log `event` with fields; `fmt` may be "" . errno is kept. */
void log_event(int level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* `text` as a logfmt value: as it is when plain, otherwise in quotes with \" \\ \n \t \xNN; bytes
 * that are no UTF-8 too. What does not fit into LOG_QUOTE_BYTES ends in "...". NULL gives "". */
const char *log_quote_into(char out[LOG_QUOTE_BYTES], const char *text, size_t len);
/* log_quote(s): the same into storage that lives until the end of the enclosing block. */
#define log_quote(s) log_quote_into((char[LOG_QUOTE_BYTES]){0}, (s), SIZE_MAX)

/* At most `burst` lines per `window_ms`, for what a peer can provoke. Set these two, zero the rest. */
struct log_limit {
	uint32_t burst;
	int64_t window_ms;
	struct mono since; /* start of the current window */
	uint32_t used;
	uint64_t dropped; /* since the last line that passed */
};
/* May a line pass at `now`? If so *ret_dropped says how many did not since the last that did. */
bool log_limit_pass(struct log_limit *limit, struct mono now, uint64_t *ret_dropped);
/* log_event behind a limit; " dropped=N" is appended when lines were left out before. */
void log_event_limited(struct log_limit *limit, struct mono now, int level, const char *event,
		       const char *fmt, ...) PRINTF_LIKE(5, 6);

#endif
