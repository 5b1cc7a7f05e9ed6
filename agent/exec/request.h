/* request.h - what an agent may ask sluis-execd, as bytes and as a struct
 *
 * One datagram (SOCK_SEQPACKET) per connection, records "key=value\0" as in unit.h without a sum:
 *   op=hello                                              which backend, where units live, what it enforces
 *   op=start name uid [mem] [tasks] [cpu] [cpus] [mems] [private_tmp=1] [devices=1 device...]
 *                     with two descriptors: lock and socket of the unit
 *   op=kill name       op=remove name
 * Answer: "CODE TEXT", CODE 0 or an enum err_code, TEXT the message; for hello "0 CAPS ROOT SUFFIX.".
 * No path but devices: execd makes those itself, from its own configuration and the name.
 */
#ifndef SLUIS_AGENT_EXEC_REQUEST_H
#define SLUIS_AGENT_EXEC_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/exec/devices.h"
#include "agent/exec/exec.h"
#include "proto/base/buf.h"
#include "proto/base/err.h"

enum { REQUEST_BYTES_MAX = 8192, REPLY_BYTES_MAX = 4608, REQUEST_SET_BYTES = 1024, REQUEST_FDS = 2 };

enum request_op { REQUEST_HELLO, REQUEST_START, REQUEST_KILL, REQUEST_REMOVE };

/* Whole and bounded: every string ends, every device is one that device_allowed(). */
struct request {
	enum request_op op;
	char name[EXEC_NAME_BYTES]; /* "" for hello */
	uid_t uid;                  /* start: never 0 */
	uint64_t mem_bytes;
	uint32_t tasks_max, cpu_percent;
	char cpus[REQUEST_SET_BYTES], mems[REQUEST_SET_BYTES]; /* "" : none */
	bool private_tmp;
	bool has_devices;
	size_t devices_n;
	char devices[DEVICES_MAX][DEVICE_PATH_BYTES];
};

/* Fill *ret from n bytes. ERR_TOOBIG, ERR_FORMAT, ERR_UNKNOWN_FIELD (also for one that op does not have, or
 * given twice), ERR_INVAL, ERR_RANGE; ERR_DENIED for uid 0 and for other devices than accelerators. */
int request_decode(const void *data, size_t n, struct request *ret, struct err *err) NODISCARD;
void request_encode(const struct request *request, struct buf *out);
/* 0, or why `task` cannot be asked for. */
int request_of_task(const struct exec_task *task, uid_t uid, struct request *ret, struct err *err) NODISCARD;

#endif
