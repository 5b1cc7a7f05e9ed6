/* err.h - one error type for every program
 *
 * A function that can fail returns 0 or a negative code from ERR_TABLE and, if the caller passed
 * `struct err`, says in it what happened. The numbers travel on the wire and never change meaning.
 * Messages: lower case, no full stop, what happened first, '%s' around foreign text. What to do
 * next goes into `hint`, a separate line.
 */
#ifndef SLUIS_PROTO_BASE_ERR_H
#define SLUIS_PROTO_BASE_ERR_H

#include <stddef.h>

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* name, stable number, text. Numbers come in families with gaps; a retired one stays as a comment. */
#define ERR_TABLE(X)                                                                               \
	/* 1-19 general */                                                                         \
	X(ERR_INVAL, 1, "invalid value")                                                           \
	X(ERR_RANGE, 2, "value out of range")                                                      \
	X(ERR_NOMEM, 3, "out of memory")                                                           \
	X(ERR_NOROOM, 4, "a limit is reached")                                                     \
	X(ERR_NOTFOUND, 5, "not found")                                                            \
	X(ERR_EXISTS, 6, "exists already")                                                         \
	X(ERR_STATE, 7, "not possible in this state")                                              \
	X(ERR_STALE, 8, "outdated")                                                                \
	X(ERR_CONFLICT, 9, "conflict")                                                             \
	X(ERR_UNSUPPORTED, 10, "not supported")                                                    \
	X(ERR_TIMEOUT, 11, "no answer in time")                                                    \
	X(ERR_AGAIN, 12, "try again")                                                              \
	X(ERR_INTERRUPTED, 13, "interrupted")                                                      \
	/* 20-39 wire and disk bytes */                                                            \
	X(ERR_FORMAT, 20, "malformed")                                                             \
	X(ERR_TRUNCATED, 21, "truncated")                                                          \
	X(ERR_TOOBIG, 22, "too large")                                                             \
	X(ERR_VERSION, 23, "version not understood")                                               \
	X(ERR_UNKNOWN_FIELD, 24, "unknown field")                                                  \
	X(ERR_CORRUPT, 25, "corrupt")                                                              \
	/* 40-59 identity and authority */                                                         \
	X(ERR_DENIED, 40, "refused")                                                               \
	X(ERR_REVOKED, 41, "the credential is revoked")                                            \
	X(ERR_BADTOKEN, 42, "the token is not valid")                                              \
	X(ERR_SUPERSEDED, 43, "superseded by a newer incarnation")                                 \
	X(ERR_IDEM_CONFLICT, 44, "same idempotency key, other command")                            \
	/* 60-79 decisions */                                                                      \
	X(ERR_NEVER, 60, "can never be met")                                                       \
	X(ERR_QUOTA, 61, "the quota does not allow it")                                            \
	X(ERR_BUDGET, 62, "the budget does not cover it")                                          \
	X(ERR_POLICY, 63, "the policy does not allow it")                                          \
	X(ERR_GONE, 64, "gone")                                                                    \
	X(ERR_STALE_FENCE, 65, "stale fence")                                                      \
	X(ERR_VERSION_MOVED, 66, "the version moved on")                                           \
	X(ERR_SAFE_MODE, 67, "the daemon is in safe mode")                                         \
	/* 80-99 environment */                                                                    \
	X(ERR_IO, 80, "input/output error")                                                        \
	X(ERR_NOSPACE, 81, "no space left")                                                        \
	X(ERR_BUSY, 82, "in use")                                                                  \
	X(ERR_SYS, 83, "system call failed")                                                       \
	X(ERR_UNREACHABLE, 84, "not reachable")                                                    \
	X(ERR_CONFIG, 85, "bad configuration")

enum err_code {
#define X(name, number, text) name = -(number),
	ERR_TABLE(X)
#undef X
};

enum { ERR_MSG_BYTES = 256, ERR_HINT_BYTES = 256 };

struct err {
	int code;                  /* 0 or an enum err_code */
	int reason;                /* reason code (proto/model/reason.h), or 0 */
	char msg[ERR_MSG_BYTES];   /* what happened */
	char hint[ERR_HINT_BYTES]; /* what to do next; may be empty */
};

/* Fill `err` (may be NULL) with `code` and a message; clears hint and reason. Returns `code`. */
int err_set(struct err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same with strerror(errno) appended after ": ". errno is kept. */
int err_set_errno(struct err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Say what to do next. Returns err->code, or 0 for NULL. */
int err_hint(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Attach a reason code. Returns err->code. */
int err_reason(struct err *err, int reason);
/* Put "fmt: " in front of the message. Returns err->code. */
int err_prefix(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Name ("ERR_INVAL") and general text of a code; "ERR_?" and "unknown error" for a foreign number. */
const char *err_name(int code);
const char *err_text(int code);

#endif
