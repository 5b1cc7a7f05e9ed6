/* failpoint.h - places where a test lets the process die
 *
 *     FAILPOINT("store.append.before_commit");
 *
 * In an ordinary build this is nothing: no call, no string. In the programs of `make failpoints`, whose
 * files are compiled with SLUIS_FAILPOINTS, the environment decides:
 *
 *     SLUIS_FAILPOINT=NAME[:N]     SIGKILL to ourselves when NAME is reached for the N-th time (1)
 *     SLUIS_FAILPOINT_LOG=FILE     append a line "reached NAME" each time, "died NAME" at the end
 *
 * A name is area.step.moment, written out at one place only: tests/lib/failpoints.py reads the names from
 * the source and fails if one of them was never died at. A failpoint stands where a crash leaves something
 * half done: before a sync or a rename, between the disk and the answer.
 *
 * Threads: any. Source: FreeBSD fail(9), gofail of etcd.
 */
#ifndef SLUIS_PROTO_BASE_FAILPOINT_H
#define SLUIS_PROTO_BASE_FAILPOINT_H

/* Say that `name` is reached, and die if it was asked for. Compiled always, called only by FAILPOINT(). */
void failpoint_reached(const char *name);

#ifdef SLUIS_FAILPOINTS
#define FAILPOINT(name) failpoint_reached(name)
#else
#define FAILPOINT(name) ((void)0)
#endif

#endif
