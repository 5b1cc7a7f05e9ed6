/* names.c - see names.h */
#include "proto/model/names.h"

#include <stddef.h>
#include <string.h>

#include "proto/base/ensure.h"
#include "proto/base/err.h"
#include "proto/model/command.h"
#include "proto/model/inventory.h"
#include "proto/model/reason.h"
#include "proto/model/record.h"
#include "proto/model/view.h"

static const char *name_of(const char *const *names, uint8_t value)
{
	for (uint8_t i = 0; names[i]; i++)
		if (i == value)
			return names[i];
	return "?";
}

static int value_of(const char *const *names, const char *word)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], word) == 0)
			return i;
	return ERR_NOTFOUND;
}

#define X(table, ...)                                                                              \
	const char *const table##_names[] = {__VA_ARGS__, NULL};                                   \
	const char *table##_name(uint8_t value) { return name_of(table##_names, value); }          \
	int table##_parse(const char *word) { return value_of(table##_names, word); }
NAMES_TABLE(X)
#undef X

const char *const inv_vendor_names[] = {"none", "nvidia", "amd", "intel", NULL};
const char *const inv_health_names[] = {"ok", "suspect", "failed", NULL};

/* A value added to an enum without a word stops the build here. */
#define LAST(table, last)                                                                          \
	_Static_assert(ARRAY_LEN(table##_names) == (last) + 2, #table " has a word for every value")
LAST(flavor_unit, UNIT_CORE);
LAST(shape, SHAPE_COUNT - 1);
LAST(alloc_class, CLASS_LOAN);
LAST(alloc_owner, OWNER_LEASE);
LAST(breach_cause, BREACH_CAPACITY);
LAST(alloc_state, ALLOC_STOPPING);
LAST(part_state, PART_LOST);
LAST(node_state, NODE_DOWN);
LAST(node_admin, NODE_DRAINING);
LAST(device_health, DEVICE_FAILED);
LAST(qnode_kind, QNODE_PROVIDER);
LAST(stage_state, STAGE_LAPSED);
LAST(window_days, DAYS_WEEKEND);
LAST(job_class, JOB_SYSTEM);
LAST(job_loan, LOAN_ONLY);
LAST(topology, TOPOLOGY_POD);
LAST(job_mode, JOB_COMMAND);
LAST(signal_target, SIGNAL_BATCH);
LAST(slurm_env, SLURM_ENV_NEVER);
LAST(job_state, JOB_REJECTED);
LAST(end_cause, END_BIND);
LAST(reservation_state, RESERVATION_CANCELLED);
LAST(dep_type, DEP_SINGLETON);
LAST(lease_class, LEASE_LOAN);
LAST(lease_state, LEASE_ENDED);
LAST(role, ROLE_COUNT - 1);
LAST(cred_kind, CRED_UID);
LAST(cred_state, CRED_REVOKED);
LAST(via, VIA_LOCAL);
LAST(unit_kind, UNIT_BARE);
LAST(unit_phase, UNIT_STOP);
LAST(unit_state, UNIT_UNKILLABLE);
LAST(inv_vendor, INV_VENDOR_INTEL);
LAST(inv_health, INV_HEALTH_FAILED);

const char *job_state_code(uint8_t state)
{
	static const char *const codes[] = {
		[JOB_HELD] = "PD",      [JOB_PENDING] = "PD",   [JOB_EARMARKED] = "PD",
		[JOB_BINDING] = "CF",   [JOB_RUNNING] = "R",    [JOB_STOPPING] = "CG",
		[JOB_COMPLETED] = "CD", [JOB_FAILED] = "F",     [JOB_TIMEOUT] = "TO",
		[JOB_CANCELLED] = "CA", [JOB_NODE_FAIL] = "NF", [JOB_PREEMPTED] = "PR",
		[JOB_OOM] = "OOM",      [JOB_DEADLINE] = "DL",  [JOB_REJECTED] = "CA",
	};

	return state < ARRAY_LEN(codes) ? codes[state] : "?";
}

const char *command_name(uint16_t type)
{
	switch ((enum command_type)type) {
	case CMD_NONE: return NULL;
	case CMD_TICK: return "tick";
	case CMD_INIT: return "init";
	case CMD_RECOVER: return "recover";
	case CMD_NODE_LIVENESS: return "node_liveness";
	case CMD_NODE_HELLO: return "node_hello";
	case CMD_NODE_REPORT: return "node_report";
	case CMD_ENROL: return "enrol";
	case CMD_TOKEN_CREATE: return "token_create";
	case CMD_TOKEN_REVOKE: return "token_revoke";
	case CMD_KEY_REVOKE: return "key_revoke";
	case CMD_KEY_ROTATE: return "key_rotate";
	case CMD_USER_DISABLE: return "user_disable";
	case CMD_DIVISION_APPLY: return "division_apply";
	case CMD_STAGE_SET: return "stage_set";
	case CMD_NODE_CORDON: return "node_cordon";
	case CMD_NODE_UNCORDON: return "node_uncordon";
	case CMD_NODE_DRAIN: return "node_drain";
	case CMD_NODE_ACCEPT: return "node_accept";
	case CMD_NODE_DECLARE_DEAD: return "node_declare_dead";
	case CMD_NODE_REMOVE: return "node_remove";
	case CMD_RESUME: return "resume";
	case CMD_APPROVAL_REFUSE: return "approval_refuse";
	case CMD_JOB_SUBMIT: return "job_submit";
	case CMD_JOB_CANCEL: return "job_cancel";
	case CMD_JOB_HOLD: return "job_hold";
	case CMD_JOB_RELEASE: return "job_release";
	case CMD_JOB_REQUEUE: return "job_requeue";
	case CMD_JOB_UPDATE: return "job_update";
	case CMD_JOB_CHECKPOINTED: return "job_checkpointed";
	case CMD_LEASE_REQUEST: return "lease_request";
	case CMD_LEASE_ACCEPT: return "lease_accept";
	case CMD_LEASE_DECLINE: return "lease_decline";
	case CMD_LEASE_RENEW: return "lease_renew";
	case CMD_LEASE_RESIZE: return "lease_resize";
	case CMD_LEASE_RELEASE: return "lease_release";
	case CMD_LEASE_EXTEND: return "lease_extend";
	case CMD_LEASE_REVOKE: return "lease_revoke";
	case CMD_RESERVATION_CREATE: return "reservation_create";
	case CMD_RESERVATION_UPDATE: return "reservation_update";
	case CMD_RESERVATION_DELETE: return "reservation_delete";
	}
	return NULL;
}

const char *record_kind_name(uint8_t kind)
{
	switch (kind) {
#define X(name, number, type, idexpr) case name: return #type;
		RECORD_TABLE(X)
#undef X
	default: return NULL;
	}
}

const char *query_name(uint16_t type)
{
	static const char *const names[] = {
		[QUERY_STATUS] = "status",       [QUERY_JOBS] = "jobs",
		[QUERY_LEASES] = "leases",       [QUERY_NODES] = "nodes",
		[QUERY_DIVISION] = "division",   [QUERY_USAGE] = "usage",
		[QUERY_EXPLAIN] = "explain",     [QUERY_ENDPOINTS] = "endpoints",
		[QUERY_PRINCIPALS] = "principals", [QUERY_TOKENS] = "tokens",
		[QUERY_LOG] = "log",             [QUERY_PAYLOAD] = "payload",
		[QUERY_BACKUP] = "backup",       [QUERY_OUTPUT] = "output",
		[QUERY_CLAIMS] = "claims",       [QUERY_DEFICIT] = "deficit",
		[QUERY_SHARES] = "shares",
		[QUERY_VERIFY] = "verify",       [QUERY_EXEC] = "exec",
		[QUERY_SIGNAL] = "signal",       [QUERY_EVENTS] = "events",
		[QUERY_RESERVATIONS] = "reservations",
	};

	return type < ARRAY_LEN(names) ? names[type] : NULL;
}

const char *reason_text(int reason)
{
	switch (reason) {
#define X(name, number, text) case name: return text;
		REASON_TABLE(X)
#undef X
	default: return "unknown reason";
	}
}

void isolation_names(uint32_t bits, bool is, struct buf *out)
{
	static const struct { uint32_t bit; const char *name; } names[] = {
		{ISOLATION_USER, "user"}, {ISOLATION_DEVICES, "devices"}, {ISOLATION_MEMORY, "memory"}, {ISOLATION_CPU, "cpu"},
		{ISOLATION_CPUSET, "cpuset"}, {ISOLATION_TASKS, "tasks"}, {ISOLATION_TRACK, "track"},
	};
	size_t begin = out->len;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (((bits & names[i].bit) != 0) == is)
			buf_addf(out, "%s%s", out->len > begin ? ", " : "", names[i].name);
}
