/* cmd.h - the commands of sluis-sim and what they share
 *
 * A command gets its own name as argv[0] and returns the exit status: 0 done, 1 the input or the
 * result is bad, 2 the command line is.
 */
#ifndef SLUIS_DAEMON_SIM_MAIN_CMD_H
#define SLUIS_DAEMON_SIM_MAIN_CMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/sim/text.h"
#include "proto/base/buf.h"
#include "proto/base/err.h"

enum { EXIT_BAD = 1, EXIT_USAGE = 2 };

int cmd_jobs(int argc, char **argv);
int cmd_pack(int argc, char **argv);
int cmd_golden(int argc, char **argv);
int cmd_divide(int argc, char **argv);

/* "sluis-sim: message" and the hint on stderr; returns EXIT_BAD. */
int fail(const struct err *err);
/* The same for a wrong command line, pointing at --help; returns EXIT_USAGE. */
int usage(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* The same for what getopt_long returned, '?' or ':', with opterr 0 and ':' first in its option string. */
int usage_option(int c, char **argv);

/* A decimal in [low, high]. */
int parse_int(const char *option, const char *text, int64_t low, int64_t high, int64_t *ret, struct err *err) NODISCARD;

/* "refuse" or "skip", the value of --bad-lines. */
int parse_bad_lines(const char *text, struct bad_lines *ret, struct err *err) NODISCARD;

/* One line on stderr, redrawn, if that is a terminal and the work lasts more than a second. */
struct progress {
	const char *what;
	int64_t begun_ms;
	int64_t drawn_ms;
	bool on;
};
void progress_begin(struct progress *p, const char *what);
void progress_step(void *p, size_t done, size_t all);
void progress_end(struct progress *p);

/* `path` behind its last slash. */
const char *base_name(const char *path);

/* A folder that may be there already. */
int make_dir(const char *dir, struct err *err) NODISCARD;
/* Write `b` to `name` in `dir` and empty it. */
int write_file(const char *dir, const char *name, struct buf *b, struct err *err) NODISCARD;

/* Write the whole buffer to stdout; returns the exit status. */
int print_out(const struct buf *b);

#endif
