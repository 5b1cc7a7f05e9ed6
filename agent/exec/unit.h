/* unit.h - the files of a unit: what the agent tells the shim, and the shim the agent
 *
 * RUN_DIR/
 *   lock               held by the one process that has this run dir open (exec_open)
 *   bell               FIFO; a shim writes "NAME\n" when something of its unit changed
 *   slots              one slot per unit, all that survives a crash of the machine (below)
 *   units/NAME/
 *     task             written before the shim exists: what to run
 *     lock             locked by the agent, then by the shim as long as it lives
 *     sock             SOCK_SEQPACKET, bound by the agent, served by the shim
 *     status           shim: it has taken the task; then: the task executes. Not synced
 *     exit             shim: how the leader ended. Appears when its copy in the slot is synced
 *     empty            shim: no process is left (where `exit` did not already say so). Not synced
 *     notice, reports, stdout, stderr
 *   units/.new-NAME, .old-NAME   being made, being removed; cleared by exec_open
 *
 * `task`, `status` and `exit` have one format: records "key=value\0", the last one "sum=XXXXXXXX", the
 * CRC-32C of all before it in hex. A value may hold any byte but NUL; a key may repeat. Files appear by
 * rename, so a reader sees all or nothing; the sum tells what a crash of the machine left of it.
 *
 * No file in a directory is synced: on one boot the page cache is the truth, whoever crashes. What has to
 * outlive the machine is in `slots`, a file of written, synced bytes: overwriting those is one data
 * write, needs no journal commit and so does not queue behind other tasks' (ext4: 140 us, against 870 us
 * for mkdir and fsync). A slot is two halves of UNIT_SLOT_HALF bytes, each a u32 length (little-endian)
 * and records as above: the intent {unit boot nonce}, by the agent before the shim exists, and the exit,
 * by the shim: the records of `exit`. An exit counts if its nonce is the intent's.
 *
 *   task     unit boot slots slot nonce backend(plain|cgroup2) bell [cgroup] cwd stdin stdout stderr [append=1]
 *            [kill_rest=1] [cpus] [mems] report_max, arg... env...
 *   status   shim shim_start phase(claimed|running) [pid pid_start started_ms]
 *   exit     nonce [pid pid_start started_ms] ended_ms code|signal [core=1] [oom=1] [setup_failed=1 error]
 *            user_us system_us maxrss_kib reports_dropped [empty=1]
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
	UNIT_SLOT_HALF = 1024,
};

/* Add one record. */
void unit_put(struct buf *b, const char *key, const char *value);
void unit_put_u64(struct buf *b, const char *key, uint64_t value);

/* Write b with its sum to `name` in dirfd by way of a temporary file and rename. Not synced.
 * Returns 0; ERR_IO, ERR_NOSPACE; then `name` is as it was. */
int unit_write(int dirfd, const char *name, const struct buf *b, struct err *err) NODISCARD;
/* Read and check. Returns 0; ERR_NOTFOUND; ERR_CORRUPT for a bad sum; ERR_TOOBIG; ERR_IO. */
int unit_read(int dirfd, const char *name, struct buf *ret_b, size_t max, struct err *err) NODISCARD;

/* The intent or the exit half of a slot. put: not synced; ERR_TOOBIG, ERR_IO, ERR_NOSPACE.
 * get: ERR_NOTFOUND for an empty half, ERR_CORRUPT for a torn one, ERR_IO. */
int unit_slot_put(int fd, uint64_t slot, bool exit_half, const struct buf *b, struct err *err) NODISCARD;
int unit_slot_get(int fd, uint64_t slot, bool exit_half, struct buf *ret_b, struct err *err) NODISCARD;

/* The value of the first record with this key after `prev` (NULL: from the start); NULL if none.
 * Borrowed from b. */
const char *unit_next(const struct buf *b, const char *key, const char *prev) NODISCARD;
const char *unit_get(const struct buf *b, const char *key) NODISCARD;
/* 0 if absent or no number. */
uint64_t unit_get_u64(const struct buf *b, const char *key) NODISCARD;

#endif
