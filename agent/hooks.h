/* hooks.h - the programs of one folder, in order, each with a time limit: what runs as `sluis-agent --run-hooks` */
#ifndef SLUIS_AGENT_HOOKS_H
#define SLUIS_AGENT_HOOKS_H

#include <stdint.h>

#include "proto/base/err.h"

/* May these be the site's own programs? Folder: there, ours or root's, nobody else may change it or put another in its
 * place. ERR_CONFIG. */
int hooks_folder_check(const char *path, struct err *err) NODISCARD;

/* Run every executable file of `folder`, by name in the order of bytes; stop at the first that fails. Hidden files,
 * backups, folders and what is not executable are passed over with a word. What a program prints comes out on
 * stdout, each line behind its name, HOOKS_OUTPUT_BYTES and HOOKS_OUTPUT_LINES of each program; what went wrong as one line on stderr. A
 * program, or the folder, that others than root and this user may change is not run: that counts as a failure.
 * When a program has ended, or ran for `limit_ms`, what is left of its process group is killed.
 * Returns the exit status: 0, or 1. Blocks. */
int hooks_run(const char *folder, int64_t limit_ms);

enum { HOOKS_OUTPUT_BYTES = 8192, HOOKS_OUTPUT_LINES = 50 };

#endif
