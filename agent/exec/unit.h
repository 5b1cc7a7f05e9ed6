/* unit.h - the files of a unit: what the agent tells the shim, and the shim the agent
 *
 * RUN_DIR/
 *   lock               held by the one process that has this run dir open (exec_open)
 *   bell               FIFO; a shim writes "NAME\n" when something of its unit changed
 *   slots              one page per unit, all that survives a crash of the machine
 *   units/NAME/
 *     task             written before the shim exists: what to run. Also the lock: flocked by the agent,
 *                      then by the shim as long as it lives
 *     sock             SOCK_SEQPACKET, bound by the agent, served by the shim
 *     notice, reports, stdout, stderr
 *   units/.new-NAME, .old-NAME, .spare-N   being made, being removed, to be used again; cleared by exec_open
 *
 * `task` and the parts of a slot have one format: records "key=value\0", the last one "sum=XXXXXXXX", the
 * CRC-32C of all before it in hex. A value may hold any byte but NUL; a key may repeat. The sum tells what
 * a crash of the machine left of it.
 *
 * A slot is UNIT_PARTS parts of UNIT_PART_BYTES, each a u32 length (little-endian; 0: empty) and records:
 *   intent   unit boot nonce          agent; synced before the shim exists
 *   status   nonce shim shim_start phase(claimed|running|exited) [pid pid_start started_ms]      shim
 *   exit     nonce [pid pid_start started_ms] ended_ms code|signal [core=1] [oom=1]
 *            [setup_failed=1 error] user_us system_us maxrss_kib reports_dropped [empty=1]
 *                                     shim; synced before the phase says exited
 *   empty    nonce                    shim: no process is left, where `exit` did not already say so
 * A part counts if its nonce is that of `task`.
 *
 * No file in a directory is synced: on one boot the page cache is the truth, whoever crashes. `slots` is
 * written and synced with zeros beforehand: overwriting those is one data write and needs no commit of the
 * file system's journal. And few files per unit, because making and removing them is what costs.
 *
 *   task     unit boot slots slot nonce backend(plain|cgroup2|systemd|execd) bell [cgroup] [place [execd]]
 *            cwd stdin stdout stderr [own_out=1] [own_err=1] [notice_for_all=1] [truncate_before] [kill_rest=1]
 *            [cpus] [mems [mems_preferred=1]] report_max [scratch], file text... arg... env...
 *
 * `cgroup`: the shim stays outside and puts its child there. `place`: the cgroup the shim itself was started
 * in, by systemd or execd (which is the one behind the socket `execd`). own_out, own_err: the agent's, so
 * opened as the agent; all other files are opened as the user of the task. `file` and `text` come in pairs:
 * "NAME" or, to be executed, "NAME*", and what is in it (agent/shim/scratch.h).
 *
 * Requests on `sock`, one per connection: "status", "signal N leader|all", "kill",
 * "notice N leader|all\n{json}". Answer: "ok...", "gone", or "err TEXT".
 */
#ifndef SLUIS_AGENT_EXEC_UNIT_H
#define SLUIS_AGENT_EXEC_UNIT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/err.h"

enum {
	UNIT_LOCK_FD = 3,   /* where the shim finds its lock and its socket */
	UNIT_LISTEN_FD = 4,
	UNIT_NOTICE_FD = 7, /* where the task finds its pipes: one digit, so that sh can say <&7 */
	UNIT_REPORT_FD = 8,
	UNIT_REPORT_LINE_MAX = 4096,
	UNIT_CPU_WORDS = 128, /* 8192 cpus or NUMA nodes */
	UNIT_PART_BYTES = 1024,
	UNIT_PARTS = 4,
	UNIT_SLOT_BYTES = UNIT_PART_BYTES * UNIT_PARTS,
};

/* 0 for 1-64 of [A-Za-z0-9._-] without a '.' in front; ERR_INVAL. */
int unit_name_check(const char *name, struct err *err) NODISCARD;

/* Add one record. */
void unit_put(struct buf *b, const char *key, const char *value);
void unit_put_u64(struct buf *b, const char *key, uint64_t value);

enum unit_part { UNIT_INTENT, UNIT_STATUS, UNIT_EXIT, UNIT_EMPTY };

/* Write b with its sum to `name` in dirfd by way of a temporary file and rename. Not synced.
 * Returns 0; ERR_IO, ERR_NOSPACE; then `name` is as it was. */
int unit_write(int dirfd, const char *name, const struct buf *b, struct err *err) NODISCARD;
/* The same into the file that is there, which nobody may be reading: a crash leaves anything. */
int unit_overwrite(int dirfd, const char *name, const struct buf *b, struct err *err) NODISCARD;
/* Read and check. Returns 0; ERR_NOTFOUND; ERR_CORRUPT for a bad sum; ERR_TOOBIG; ERR_IO. */
int unit_read(int dirfd, const char *name, struct buf *ret_b, size_t max, struct err *err) NODISCARD;

/* Overwrite one part of a slot; nothing in b empties it. Not synced. ERR_TOOBIG, ERR_IO, ERR_NOSPACE. */
int unit_part_put(int fd, uint64_t slot, enum unit_part part, const struct buf *b, struct err *err) NODISCARD;
/* Empty all parts but the intent, which becomes b. */
int unit_slot_begin(int fd, uint64_t slot, const struct buf *b, struct err *err) NODISCARD;
/* One part. ERR_NOTFOUND if it is empty; ERR_CORRUPT for a torn one, which on one boot can only mean that
 * the shim is writing it at this moment; ERR_IO. */
int unit_part_get(int fd, uint64_t slot, enum unit_part part, struct buf *ret_b, struct err *err) NODISCARD;

/* The value of the first record with this key after `prev` (NULL: from the start); NULL if none.
 * Borrowed from b. */
const char *unit_next(const struct buf *b, const char *key, const char *prev) NODISCARD;
const char *unit_get(const struct buf *b, const char *key) NODISCARD;
/* 0 if absent or no number. */
uint64_t unit_get_u64(const struct buf *b, const char *key) NODISCARD;

#endif
