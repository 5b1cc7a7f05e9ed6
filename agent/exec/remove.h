/* remove.h - removing a folder that a task could write to */
#ifndef SLUIS_AGENT_EXEC_REMOVE_H
#define SLUIS_AGENT_EXEC_REMOVE_H

#include <stdbool.h>

/* Remove all that is in the folder `dir` (taken: closed in the end), as far as it goes. Nothing outside of it is touched,
 * whatever becomes of its entries meanwhile, nor what is mounted in it. `unlock`: folders in it that their owner made
 * unreadable are opened by changing their mode, which follows links: only for who has no more rights than who put them
 * there. Cost: a few system calls per file. */
void remove_below(int dir, bool unlock);

/* Remove the folder at `path` and all in it in this way, if it is a folder of our own user; another one's, and what is no
 * folder, is left alone. */
void remove_own(const char *path);

#endif
