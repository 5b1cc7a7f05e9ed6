/* names.h - the words for every enum of the model
 *
 * Each table is indexed by the enum's value and ends with NULL: schemas print and judge enums by
 * them, files and commands parse them, sluisctl and the logs show them. A word never changes.
 */
#ifndef SLUIS_PROTO_MODEL_NAMES_H
#define SLUIS_PROTO_MODEL_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"

/* table (makes TABLE_names, TABLE_name(), TABLE_parse()) and its words in the order of the enum */
#define NAMES_TABLE(X)                                                                             \
	X(flavor_unit, "device", "core")                                                           \
	X(shape, "gpu", "node")                                                                    \
	X(alloc_class, "guaranteed", "loan")                                                       \
	X(alloc_owner, "job", "lease")                                                             \
	X(breach_cause, "none", "node unreachable", "unkillable", "notice longer than promised", "agent slow", \
	  "hardware lost")                                                                         \
	X(alloc_state, "binding", "active", "stopping")                                            \
	X(part_state, "assigned", "prepared", "running", "exited", "lost")                         \
	X(node_state, "joining", "ready", "suspect", "unreachable", "down")                        \
	X(node_admin, "enabled", "cordoned", "draining")                                           \
	X(device_health, "ok", "suspect", "failed")                                                \
	X(qnode_kind, "root", "public", "sector", "challenge", "project", "private", "class",      \
	  "provider")                                                                              \
	X(stage_state, "locked", "released", "frozen", "lapsed")                                   \
	X(window_days, "day", "weekday", "weekend")                                                \
	X(job_class, "scavenger", "standby", "normal", "urgent", "system")                         \
	X(job_loan, "never", "ok", "only")                                                         \
	X(topology, "any", "leaf", "pod")                                                          \
	X(job_mode, "script", "command")                                                           \
	X(signal_target, "tasks", "batch")                                                         \
	X(slurm_env, "compat", "always", "never")                                                  \
	X(job_state, "held", "pending", "earmarked", "binding", "running", "stopping",             \
	  "completed", "failed", "timeout", "cancelled", "node_fail", "preempted",                 \
	  "out_of_memory", "deadline", "rejected")                                                 \
	X(end_cause, "none", "exit", "oom", "time", "infra", "recall", "drain", "cancel",          \
	  "requeue", "deadline", "bind")                                                           \
	X(reservation_state, "requested", "confirmed", "active", "ended", "cancelled")             \
	X(dep_type, "after", "afterany", "afterok", "afternotok", "singleton")                     \
	X(lease_class, "firm", "loan")                                                             \
	X(lease_state, "requested", "offered", "granted", "binding", "active", "grace",            \
	  "recalling", "releasing", "revoking", "rejected", "withdrawn", "released", "expired",    \
	  "revoked", "ended")                                                                      \
	X(role, "none", "admin", "operator", "gatekeeper", "reviewer", "member", "provider",       \
	  "auditor", "node", "public")                                                             \
	X(cred_kind, "curve", "uid")                                                               \
	X(cred_state, "valid", "revoked")                                                          \
	X(via, "internal", "agents", "users", "enrol", "local")                                    \
	X(unit_kind, "script", "command", "service", "bare")                                       \
	X(unit_phase, "prepare", "run", "stop")                                                    \
	X(unit_state, "absent", "prepared", "running", "exited", "released", "failed", "lost",     \
	  "unknown", "unkillable")                                                                 \
	X(stream, "stdout", "stderr")

/* The word of a value, "?" for a foreign one. The value of a word, or ERR_NOTFOUND. */
#define X(table, ...)                                                                              \
	extern const char *const table##_names[];                                                  \
	const char *table##_name(uint8_t value);                                                   \
	int table##_parse(const char *word);
NAMES_TABLE(X)
#undef X
/* inventory.h has functions for these two. */
extern const char *const inv_vendor_names[];
extern const char *const inv_health_names[];

/* What Slurm's tools print for a job state: "PD", "R", "CG" ...; "?" for a foreign one. A rejected
 * job shows as Slurm shows one whose dependency can never be met, "CA". */
const char *job_state_code(uint8_t state);

/* Name of a record kind ("job") and of a query type ("jobs"), or NULL for a foreign number;
 * command_name() is in command.h, reason_text() in reason.h. */
const char *record_kind_name(uint8_t kind);
const char *query_name(uint16_t type);

/* "user, devices": what a node's isolation (enum isolation) holds work to, or with `is` false what it does
 * not; added to `out`. */
void isolation_names(uint32_t bits, bool is, struct buf *out);

#endif
