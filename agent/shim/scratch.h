/* scratch.h - a folder of the task's user, shared by the tasks of a unit, gone with the last of them
 *
 * The agent cannot make or remove a folder of somebody else's; the shim can, because it may act as the
 * user of its task. Every sharing shim holds a shared lock on the folder; who can make its lock an
 * exclusive one is the last.
 */
#ifndef SLUIS_AGENT_SHIM_SCRATCH_H
#define SLUIS_AGENT_SHIM_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/buf.h"

/* Make what `task` (agent/exec/unit.h: scratch, file, text) asks for, as the real user. Returns the
 * descriptor that holds it, to be kept open; -1 if nothing is asked for; -2 with a sentence in `error`. */
int scratch_open(const struct buf *task, char *error, size_t size);
/* Let go. The last one removes the folder: with `deep` and all that the user left in it, which may take
 * long; without, only if nothing but what scratch_open made is there. True if nothing remains to be done:
 * removed, or others go on with it. */
bool scratch_close(const struct buf *task, int *fd, bool deep);

#endif
