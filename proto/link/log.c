/* log.c - one line per event to stderr, in logfmt
 *
 * The line is put together in a buffer on the stack and written at once, so lines of several threads
 * do not mix and no lock is needed.
 */
#include "proto/link/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/ckd.h"
#include "proto/base/ensure.h"

static atomic_int log_level = LOG_INFO;
static atomic_int log_fd = STDERR_FILENO;
static atomic_bool log_prefix = true;

void log_set_level(int level)
{
	log_level = level;
}

void log_set_prefix(bool prefix)
{
	log_prefix = prefix;
}

void log_set_fd(int fd)
{
	log_fd = fd;
}

int log_level_parse(const char *name, int *ret_level, struct err *err)
{
	static const struct {
		const char *name;
		int level;
	} levels[] = {
		{"error", LOG_ERR},   {"warning", LOG_WARNING}, {"notice", LOG_NOTICE},
		{"info", LOG_INFO},   {"debug", LOG_DEBUG},
	};

	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		if (strcmp(name, levels[i].name) == 0) {
			*ret_level = levels[i].level;
			return 0;
		}
	}
	(void)err_set(err, ERR_INVAL, "'%s' is no log level", name);
	(void)err_hint(err, "take one of error, warning, notice, info, debug");
	return ERR_INVAL;
}

/* Append to line[*len], leaving room for what always comes last. Returns false when cut. */
PRINTF_LIKE(4, 0)
static bool vappend(char *line, size_t *len, size_t room, const char *fmt, va_list ap)
{
	int n = vsnprintf(line + *len, room - *len, fmt, ap);

	if (n < 0)
		return true; /* an encoding error in a wide string: the field stays empty */
	if ((size_t)n >= room - *len) {
		*len = room - 1;
		return false;
	}
	*len += (size_t)n;
	return true;
}

PRINTF_LIKE(4, 5)
static bool append(char *line, size_t *len, size_t room, const char *fmt, ...)
{
	va_list ap;
	bool whole;

	va_start(ap, fmt);
	whole = vappend(line, len, room, fmt, ap);
	va_end(ap);
	return whole;
}

PRINTF_LIKE(4, 0)
static void vlog(int level, const char *event, uint64_t dropped, const char *fmt, va_list ap)
{
	char line[LOG_LINE_BYTES];
	enum { TAIL = 48 }; /* room for "...", " dropped=N" and the line's end */
	size_t room = sizeof(line) - TAIL, len = 0;
	int saved = errno, fd = log_fd;
	bool whole;

	if (level > log_level)
		return;
	if (log_prefix && !isatty(fd))
		(void)append(line, &len, room, "<%d>", level);
	whole = append(line, &len, room, "%s", event);
	if (whole && fmt[0] != '\0')
		whole = append(line, &len, room, " ") && vappend(line, &len, room, fmt, ap);
	if (!whole)
		(void)append(line, &len, sizeof(line), "...");
	if (dropped > 0)
		(void)append(line, &len, sizeof(line), " dropped=%" PRIu64, dropped);
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[len++] = '\n';
	while (write(fd, line, len) < 0 && errno == EINTR)
		;
	errno = saved;
}

void log_event(int level, const char *event, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(level, event, 0, fmt, ap);
	va_end(ap);
}

/* Bytes of the UTF-8 character at `s` (at most `left`), or 0 when it is none or a C1 control. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
		 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if (s[0] == 0xc2 && s[1] < 0xa0)
		return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0; /* overlong, surrogate, beyond Unicode */
	return n;
}

/* Write the next character of `s` to `out` (room for 4 bytes), escaped where needed. Returns the
 * bytes taken and says in *ret_n how many came out. */
static size_t escape(const unsigned char *s, size_t left, char *out, size_t *ret_n)
{
	static const char hex[] = "0123456789abcdef";
	static const char from[] = "\"\\\n\t\r", to[] = "\"\\ntr";
	const char *special = s[0] != '\0' ? strchr(from, s[0]) : NULL;
	size_t n = utf8_len(s, left);

	if (special != NULL) {
		out[0] = '\\';
		out[1] = to[special - from];
		*ret_n = 2;
		return 1;
	}
	if (n == 0 || s[0] < 0x20 || s[0] == 0x7f) {
		memcpy(out, (char[4]){'\\', 'x', hex[s[0] >> 4], hex[s[0] & 15]}, 4);
		*ret_n = 4;
		return 1;
	}
	memcpy(out, s, n);
	*ret_n = n;
	return n;
}

const char *log_quote_into(char out[LOG_QUOTE_BYTES], const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)(text != NULL ? text : "");
	size_t n = 0, taken = 0, step;
	bool plain;

	len = text == NULL ? 0 : len == SIZE_MAX ? strlen(text) : len;
	plain = len > 0 && len < LOG_QUOTE_BYTES;
	for (size_t i = 0; plain && i < len; i++)
		plain = s[i] > 0x20 && s[i] < 0x7f && strchr("\"\\=", s[i]) == NULL;
	if (plain) {
		memcpy(out, s, len);
		out[len] = '\0';
		return out;
	}
	out[n++] = '"';
	while (taken < len) {
		if (n + 4 > LOG_QUOTE_BYTES - 5) { /* keep room for ..." and NUL */
			memcpy(out + n, "...", 3);
			n += 3;
			break;
		}
		taken += escape(s + taken, len - taken, out + n, &step);
		n += step;
	}
	out[n++] = '"';
	out[n] = '\0';
	return out;
}

bool log_limit_pass(struct log_limit *limit, struct mono now, uint64_t *ret_dropped)
{
	int64_t window_ns, end_ns;

	ENSURE(limit->burst > 0);
	if (ckd_mul(&window_ns, limit->window_ms, NS_PER_MS) ||
	    ckd_add(&end_ns, limit->since.ns, window_ns))
		end_ns = INT64_MAX;
	if (limit->used == 0 || now.ns >= end_ns) {
		limit->since = now;
		limit->used = 0;
	}
	if (limit->used >= limit->burst) {
		limit->dropped++;
		return false;
	}
	limit->used++;
	*ret_dropped = limit->dropped;
	limit->dropped = 0;
	return true;
}

void log_event_limited(struct log_limit *limit, struct mono now, int level, const char *event,
		       const char *fmt, ...)
{
	uint64_t dropped;
	va_list ap;

	if (level > log_level || !log_limit_pass(limit, now, &dropped))
		return;
	va_start(ap, fmt);
	vlog(level, event, dropped, fmt, ap);
	va_end(ap);
}
