/* remove.h - removing a folder that a task could write to */
#ifndef SLUIS_AGENT_REMOVE_H
#define SLUIS_AGENT_REMOVE_H

/* Remove the folder at `path` and all in it, as far as it goes, if it is a folder of our own user; another one's, and what is
 * no folder, is left alone. Nothing outside of it is touched, whatever becomes of its entries meanwhile, nor what is mounted
 * in it. Cost: a few system calls per file. */
void remove_own(const char *path);

#endif
