/* payload.h - what to run: opaque to the daemon, content-addressed, written by ctl, read by agents */
#ifndef SLUIS_PROTO_MODEL_PAYLOAD_H
#define SLUIS_PROTO_MODEL_PAYLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/limits.h"

struct bytes { const uint8_t *data; uint32_t len; };
struct string { const char *s; }; /* NUL-terminated */

struct payload {
	const char *script;  /* job script text; NULL for a command */
	uint32_t argv_n;     /* command, or arguments of the script */
	struct string *argv;
	uint32_t env_n;      /* "KEY=VALUE" */
	struct string *env;
	const char *cwd;
	const char *output; /* pattern (%j %t ...), NULL: kept by the agent */
	const char *error;  /* NULL: same as output */
	const char *input;
	bool append;
	const char *comment;
	const char *submit_host;
	const char *checkpoint_dir;
	const char *checkpoint_command;
	const char *container;
	uint32_t kept_n; /* options kept without effect, "FILE:LINE: --option" */
	struct string *kept;
	/* services */
	uint32_t health_n;
	struct string *health;
	int64_t health_every_ms, health_timeout_ms, health_after_ms;
	uint32_t health_fail;
	int64_t backoff_min_ms, backoff_max_ms;
	uint8_t stop_signal;
	int64_t stop_within_ms;
};

#endif
