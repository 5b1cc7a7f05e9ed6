/* err.c - see err.h */
#include "proto/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

PRINTF_LIKE(3, 0)
static void err_vfill(struct err *err, int code, const char *fmt, va_list ap)
{
	err->code = code;
	err->reason = 0;
	err->hint[0] = '\0';
	(void)vsnprintf(err->msg, sizeof err->msg, fmt, ap); /* truncation is acceptable in a message */
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	err_vfill(err, code, fmt, ap);
	va_end(ap);
	return code;
}

int err_set_errno(struct err *err, int code, const char *fmt, ...)
{
	int saved = errno;
	size_t used;
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	err_vfill(err, code, fmt, ap);
	va_end(ap);
	used = strlen(err->msg);
	(void)snprintf(err->msg + used, sizeof err->msg - used, ": %s", strerror(saved));
	errno = saved;
	return code;
}

int err_hint(struct err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return 0;
	va_start(ap, fmt);
	(void)vsnprintf(err->hint, sizeof err->hint, fmt, ap);
	va_end(ap);
	return err->code;
}

int err_reason(struct err *err, int reason)
{
	if (!err)
		return 0;
	err->reason = reason;
	return err->code;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
	char old[ERR_MSG_BYTES];
	size_t used;
	va_list ap;

	if (!err)
		return 0;
	memcpy(old, err->msg, sizeof old);
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	va_end(ap);
	used = strlen(err->msg);
	(void)snprintf(err->msg + used, sizeof err->msg - used, ": %.200s", old);
	return err->code;
}

const char *err_name(int code)
{
	switch (code) {
#define X(name, number, text)                                                                      \
	case name:                                                                                 \
		return #name;
		ERR_TABLE(X)
#undef X
	default:
		return "ERR_?";
	}
}

const char *err_text(int code)
{
	switch (code) {
#define X(name, number, text)                                                                      \
	case name:                                                                                 \
		return text;
		ERR_TABLE(X)
#undef X
	default:
		return "unknown error";
	}
}
