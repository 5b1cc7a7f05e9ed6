/* errors.c - a refusal in three parts: what happened, the facts it was decided on, what to do next
 *
 *     sluisctl: cannot submit train.sh: the budget does not cover it (reason 402)
 *       needs   192.0 GPU-hours
 *       try     --time 07:23:00
 *
 * With --json the same as one object on standard error, standard output empty.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"

static void vline(char *to, size_t size, const char *fmt, va_list ap) PRINTF_LIKE(3, 0);
static void vline(char *to, size_t size, const char *fmt, va_list ap)
{
	vsnprintf(to, size, fmt, ap);
	for (char *p = to; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
}

void fact(struct ctl *c, const char *key, const char *fmt, ...)
{
	struct fault_line *l;
	va_list ap;

	if (c->facts_n == FACT_LINES_MAX)
		return;
	l = &c->facts[c->facts_n++];
	snprintf(l->key, sizeof l->key, "%s", key);
	va_start(ap, fmt);
	vline(l->text, sizeof l->text, fmt, ap);
	va_end(ap);
}

void try_next(struct ctl *c, const char *fmt, ...)
{
	va_list ap;

	if (c->tries_n == TRY_LINES_MAX)
		return;
	va_start(ap, fmt);
	vline(c->tries[c->tries_n++], LINE_BYTES, fmt, ap);
	va_end(ap);
}

int exit_of(int code, int reason)
{
	switch ((enum err_code)code) {
	case ERR_INVAL:
	case ERR_RANGE:
	case ERR_CONFIG:
	case ERR_FORMAT:
	case ERR_TOOBIG: return EXIT_USAGE;
	case ERR_DENIED:
	case ERR_REVOKED:
	case ERR_BADTOKEN:
	case ERR_QUOTA:
	case ERR_BUDGET:
	case ERR_POLICY:
	case ERR_NOROOM:
	case ERR_SAFE_MODE: return EXIT_REFUSED;
	case ERR_NOTFOUND: return EXIT_NOTFOUND;
	case ERR_EXISTS:
	case ERR_STATE:
	case ERR_STALE:
	case ERR_CONFLICT:
	case ERR_SUPERSEDED:
	case ERR_IDEM_CONFLICT:
	case ERR_GONE:
	case ERR_STALE_FENCE:
	case ERR_VERSION_MOVED: return EXIT_CONFLICT;
	case ERR_NEVER: return EXIT_NEVER;
	case ERR_TIMEOUT:
	case ERR_UNREACHABLE:
	case ERR_AGAIN: return EXIT_UNKNOWN;
	case ERR_INTERRUPTED: return EXIT_INTERRUPTED;
	case ERR_NOMEM:
	case ERR_UNSUPPORTED:
	case ERR_TRUNCATED:
	case ERR_VERSION:
	case ERR_UNKNOWN_FIELD:
	case ERR_CORRUPT:
	case ERR_IO:
	case ERR_NOSPACE:
	case ERR_BUSY:
	case ERR_SYS: break;
	}
	switch (reason_tier(reason)) {
	case 1: return EXIT_NEVER;
	case 2:
	case 4: return EXIT_REFUSED;
	default: return EXIT_OTHER;
	}
}

/* May the same command succeed later, unchanged? */
static bool may_retry(int code)
{
	return code == ERR_TIMEOUT || code == ERR_UNREACHABLE || code == ERR_AGAIN || code == ERR_BUSY ||
	       code == ERR_SAFE_MODE || code == ERR_NOROOM || code == ERR_QUOTA;
}

/* "ERR_BUDGET" as a name for programs: BUDGET. */
static const char *short_name(int code)
{
	const char *name = err_name(code);

	return strncmp(name, "ERR_", 4) ? name : name + 4;
}

static const char *idem_in_hint(struct ctl *c, const struct err *err)
{
	const char *at = strstr(err->hint, "--idempotency-key ");

	return at ? text_f(c, "%.32s", at + strlen("--idempotency-key ")) : NULL;
}

static void print_json(struct ctl *c, const struct err *err, const char *message)
{
	json_t *root = json_object(), *e = json_object(), *facts = json_object(), *tries = json_array();
	const char *idem = idem_in_hint(c, err);

	for (size_t i = 0; i < c->facts_n; i++)
		json_object_set_new(facts, c->facts[i].key, json_string(c->facts[i].text));
	for (size_t i = 0; i < c->tries_n; i++)
		json_array_append_new(tries, json_string(c->tries[i]));
	json_object_set_new(root, "api", json_string("sluis/1"));
	json_object_set_new(e, "name", json_string(short_name(err->code)));
	json_object_set_new(e, "reason", json_integer(err->reason));
	json_object_set_new(e, "message", json_string(message));
	json_object_set_new(e, "facts", facts);
	json_object_set_new(e, "try", tries);
	json_object_set_new(e, "retry", json_boolean(may_retry(err->code)));
	if (idem)
		json_object_set_new(e, "idempotency_key", json_string(idem));
	json_object_set_new(root, "error", e);
	(void)json_dumpf(root, c->errs, JSON_COMPACT | JSON_PRESERVE_ORDER); /* nowhere to report a failure */
	fputc('\n', c->errs);
	json_decref(root);
}

static void print_text(struct ctl *c, const struct err *err, const char *message)
{
	fprintf(c->errs, "sluisctl: %s", message);
	if (err->reason)
		fprintf(c->errs, " (reason %d)", err->reason);
	fputc('\n', c->errs);
	for (size_t i = 0; i < c->facts_n; i++)
		fprintf(c->errs, "  %-7s %s\n", c->facts[i].key, c->facts[i].text);
	for (size_t i = 0; i < c->tries_n; i++)
		fprintf(c->errs, "  %-7s %s\n", i ? "" : "try", c->tries[i]);
}

/* What to do when nobody said it: every error has a way on. */
static void default_try(struct ctl *c, const struct err *err)
{
	switch (err->code) {
	case ERR_UNREACHABLE:
	case ERR_TIMEOUT: try_next(c, "sluisctl -v cluster info (says where it looked and why)"); break;
	case ERR_NOTFOUND:
		if (c->cmd && !strcmp(c->cmd->noun, "job"))
			try_next(c, "sluisctl queue --all");
		else if (c->cmd && command_find(c->cmd->noun, "list"))
			try_next(c, "sluisctl %s list", c->cmd->noun);
		else
			try_next(c, "sluisctl help");
		break;
	case ERR_EXISTS:
		if (c->cmd && command_find(c->cmd->noun, "list"))
			try_next(c, "another name; those there are: sluisctl %s list", c->cmd->noun);
		else
			try_next(c, "another name");
		break;
	case ERR_STATE:
	case ERR_CONFLICT:
		if (c->cmd && c->about && command_find(c->cmd->noun, "show"))
			try_next(c, "look at it first: sluisctl %s show %s", c->cmd->noun, c->about);
		else
			try_next(c, "look at it first: sluisctl status");
		break;
	case ERR_INTERRUPTED: try_next(c, "the same command again"); break;
	default:
		if (err->reason)
			try_next(c, "sluisctl help reasons");
		else
			try_next(c, "sluisctl help exit-codes");
	}
}

void local_times(const struct ctl *c, char *text)
{
	static const char shape[] = "dddd-dd-dd dd:dd UTC";

	for (char *p = text; !c->json && !c->plain && strlen(p) >= strlen(shape); p++) {
		struct tm tm = {0}, here;
		time_t t;
		char local[32];
		size_t i = 0, len;

		while (i < strlen(shape) && (shape[i] == 'd' ? p[i] >= '0' && p[i] <= '9' : p[i] == shape[i]))
			i++;
		if (i < strlen(shape) || !strptime(p, "%Y-%m-%d %H:%M", &tm))
			continue;
		t = timegm(&tm);
		len = localtime_r(&t, &here) ? strftime(local, sizeof local, "%Y-%m-%d %H:%M", &here) : 0;
		if (!len || len > strlen(shape))
			continue;
		memcpy(p, local, len);
		memmove(p + len, p + strlen(shape), strlen(p + strlen(shape)) + 1);
	}
}

static int tell_fault(struct ctl *c, const struct err *err, const char *message)
{
	int status = exit_of(err->code, err->reason);

	progress_end(c);
	if (err->hint[0])
		try_next(c, "%s", err->hint);
	if (!c->tries_n)
		default_try(c, err);
	if (c->json)
		print_json(c, err, message);
	else
		print_text(c, err, message);
	c->facts_n = c->tries_n = 0;
	return status;
}

int fault(struct ctl *c, const struct err *err, const char *fmt, ...)
{
	char what[LINE_BYTES] = "", message[LINE_BYTES + ERR_MSG_BYTES + 4];
	char said[ERR_MSG_BYTES];
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		vline(what, sizeof what, fmt, ap);
		va_end(ap);
	}
	snprintf(said, sizeof said, "%s", err->msg[0] ? err->msg : err_text(err->code));
	for (char *p = said; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	local_times(c, said);
	snprintf(message, sizeof message, "%s%s%s", what, what[0] ? ": " : "", said);
	return tell_fault(c, err, message);
}

int usage_fault(struct ctl *c, const char *fmt, ...)
{
	struct err err = {.code = ERR_INVAL};
	char message[LINE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vline(message, sizeof message, fmt, ap);
	va_end(ap);
	(void)tell_fault(c, &err, message);
	return EXIT_USAGE;
}

int config_fault(struct ctl *c, struct config_errors *errs)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct err err = {0};

	progress_end(c);
	if (!c->json) {
		config_errors_print(errs, &b);
		fputs(buf_cstr(&b), c->errs);
		return EXIT_USAGE;
	}
	(void)config_errors_first(errs, &err);
	for (size_t i = 1; i < errs->count && i < FACT_LINES_MAX; i++)
		fact(c, text_f(c, "error_%zu", i + 1), "%s:%u: %s", errs->list[i].file, errs->list[i].line,
		     errs->list[i].text);
	(void)fault(c, &err, NULL);
	return EXIT_USAGE;
}
