/* agent.h - what is wanted on this node against what is there: decisions only
 *
 *   DESIRED ─┐                                  ┌─▶ rows and epochs for the table, then one sync
 *   statuses ├─▶ struct agent ─▶ struct action ─┼─▶ start, notice, signal, kill, release of tasks
 *   clock    ┘                                  └─▶ hello, report, heartbeat, fetch, new connection
 *
 * Owns no clock, socket, file or process. The shell feeds inputs, then takes actions out one by one,
 * in order, until there is none; what an action brings forth (a port, a failed start) is fed back at once.
 *
 * What holds true:
 *  - A task is begun at most once: its row, marked `started`, is synced before the START leaves, and
 *    after a crash a START is repeated only for a task that the execution layer never knew. What is told PREPARED
 *    has a row on the disk, so a RUN without a row is one whose row was lost: it is not obeyed. (R2, R3)
 *  - Orders count only with the newest cluster epoch seen and the session of this greeting. (R1)
 *  - A unit takes devices only when their stored epochs are below its allocation's id and no other
 *    living unit has one of them. (R4)
 *  - Only STOP ends a unit, or `stop_on_disconnect` after a long silence; a unit that is no longer
 *    listed, or whose state cannot be told, runs on. Phases only move forward. (R5, R8)
 *  - RELEASED is said of devices only when they were proven idle; one that is broken is told as such with it.
 *  - Nothing of a unit starts before its prolog has succeeded, and what a prolog or a task may have touched is not
 *    RELEASED before the epilog has succeeded. A prolog is begun once per unit, after the row that says so was synced.
 *  - RELEASED is said when no process is left, of its prolog, epilog and health command neither (by a unit that is alone
 *    without being told to stop), after it was synced; a row stays until it was acknowledged in its last state. (R6)
 *  - After a reboot every unit that was not released is LOST.
 *
 * Source: level-triggered reconciliation as in Kubernetes' kubelet; intent first as in ARIES.
 */
#ifndef SLUIS_AGENT_CORE_AGENT_H
#define SLUIS_AGENT_CORE_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/model/payload.h"
#include "proto/model/unit.h"
#include "proto/wire/message.h"

struct agent;

enum {
	AGENT_NAME_BYTES = 65,   /* of a task: "a42-p0-t3", replica "a42-p0-t0-r2", inside "a42-p0-x7" */
	AGENT_DEVICE_BYTES = 32, /* "0000:17:00.0/0": names a device in the table */
	AGENT_ROW_BYTES_MAX = 60000, /* a row in the table; beyond, the host list is left out */
	AGENT_EXTRAS_MAX = 256,  /* commands run inside one unit at a time */
	AGENT_NOTICE_BYTES = 256,
};

/* CLOCK_BOOTTIME, so that instants in rows survive a restart of the agent, and UTC for people. */
struct agent_now { int64_t ms; int64_t unix_ms; };

struct agent_cfg {
	char boot_id[40];
	uint64_t incarnation;
	uint64_t epoch_seen;     /* highest cluster epoch obeyed, from the table */
	uint64_t alloc_seen;     /* highest epoch of a device, from the table */
	bool table_rebuilt;      /* rows may be missing: so in each life until ACTION_WHOLE was synced */
	uint16_t port_first, port_last;
	int64_t report_ms;       /* the longest that a change waits for others to be told with it */
	int64_t resend_ms;       /* unacknowledged facts are told again after this */
	int64_t unkillable_ms;   /* SIGKILL sent this long ago and still there, or a device in use for so long after the end */
	bool scrub;              /* devices are real: RELEASED needs agent_scrubbed */
	bool prolog, epilog;     /* the site has programs for before and after: PREPARED, RELEASED need agent_hooked */
	int64_t fence_ms;        /* stop_on_disconnect: after this long without a daemon */
	int64_t greet_ms;        /* WELCOME has to come within this */
	int64_t backoff_ms, backoff_max_ms; /* between connections */
	int64_t heartbeat_ms;    /* 0: what the daemon asks for */
	/* Highest epoch stored for a device, 0 if none; called during inputs. */
	uint64_t (*epoch_of)(void *ctx, const char *device);
	void *ctx;
};
/* The values used in production, but for boot id, incarnation and callbacks. */
void agent_cfg_default(struct agent_cfg *cfg);

enum action_type {
	/* to the table */
	ACTION_ROW_PUT = 1, /* alloc, part, data, len (borrowed until the next call) */
	ACTION_ROW_DEL,     /* alloc, part */
	ACTION_EPOCH,       /* name: device; value */
	ACTION_CLUSTER,     /* value: highest cluster epoch seen */
	ACTION_WHOLE,       /* no row is missing any more */
	ACTION_SYNC,        /* all of the above is on the disk before the next action is taken */
	/* to the execution layer */
	ACTION_START,   /* name, alloc, part, task, value: run of a service; → agent_start_failed */
	ACTION_NOTICE,  /* name, text (JSON), signo (0: none), all */
	ACTION_SIGNAL,  /* name, signo, all */
	ACTION_KILL,    /* name */
	ACTION_RELEASE, /* name: forget the task */
	ACTION_LOOK,    /* name: → agent_task */
	/* to the shell */
	ACTION_CLEAN,   /* alloc, part: scratch files; output stays */
	ACTION_FETCH,   /* hash: → agent_payload */
	ACTION_FORGET,  /* hash: no unit needs this payload any more */
	ACTION_PORT,    /* alloc, part: → agent_port */
	ACTION_HEALTH,  /* alloc, part, value: time limit in ms: → agent_health */
	ACTION_HEALTH_END, /* alloc, part: the answer is not needed any more; it comes all the same, at once */
	ACTION_SCRUB,   /* alloc, part: are its devices idle? → agent_scrubbed */
	ACTION_HOOK,    /* alloc, part, hook, value (enum hook_how): → agent_hooked */
	ACTION_HOOK_FORGET, /* alloc, part, hook: what is left of it is not needed any more */
	ACTION_HELLO,
	ACTION_REPORT,  /* → agent_fill_report */
	ACTION_HEARTBEAT, /* → agent_fill_heartbeat */
	ACTION_REOPEN,  /* a new connection */
};
/* The site's programs around a unit. What one came to is kept by the execution layer until it is forgotten, so that an
 * agent that comes back waits for it and starts no second one. */
enum hook { HOOK_PROLOG, HOOK_EPILOG };
enum hook_how {
	HOOK_TAKE, /* start it, unless it was started before: then take what it comes to */
	HOOK_ANEW, /* it has ended badly: start it again */
	HOOK_WAIT, /* start nothing; one that never began has done no harm */
};
struct action {
	enum action_type type;
	enum hook hook;
	uint64_t alloc;
	uint16_t part;
	uint32_t task;
	uint64_t value;
	int signo;
	bool all;
	char name[AGENT_NAME_BYTES];
	char text[AGENT_NOTICE_BYTES];
	uint8_t hash[32];
	const void *data;
	size_t len;
};

/* What the execution layer says of one task. */
enum task_state {
	TASK_NONE = 0,  /* it never knew the name, or released it */
	TASK_UNSTARTED, /* known, never begun */
	TASK_LIVE,      /* starting or running */
	TASK_ENDED,     /* code and signal are known */
	TASK_OUT_OF_SIGHT, /* ended or not: its shim is gone; `empty` tells */
	TASK_REBOOTED,  /* the machine restarted underneath */
};
struct task_status {
	uint8_t state; /* enum task_state */
	bool empty;    /* no process of it exists */
	int32_t exit_code;
	uint8_t exit_signal;
	bool oom;
	const char *error; /* what failed before it could execute, or NULL */
};

struct agent *agent_new(const struct agent_cfg *cfg);
void agent_free(struct agent *a); /* accepts NULL */

/* ---- start-up: all rows, then all tasks, then agent_ready ------------------------------------------- */

/* A row as ACTION_ROW_PUT gave it. ERR_FORMAT and the like: it is not taken; treat the table as rebuilt. */
int agent_load_row(struct agent *a, const void *data, size_t len, struct err *err) NODISCARD;
void agent_ready(struct agent *a, struct agent_now now);

/* ---- inputs ------------------------------------------------------------------------------------------ */

/* A task changed, or was asked for by LOOK; also all known ones at start-up. Foreign names are ignored. */
void agent_task(struct agent *a, struct agent_now now, const char *name, const struct task_status *st);
/* START did not work. `user_fault`: what was asked for cannot run (no such folder): the unit has exited
 * with 126; otherwise this node cannot: FAILED. */
void agent_start_failed(struct agent *a, struct agent_now now, const char *name, const char *text, bool user_fault);
/* The payload of this hash is at hand (borrowed for the call), or NULL and why not. */
void agent_payload(struct agent *a, struct agent_now now, const uint8_t hash[32], const struct payload *payload,
		   const char *text);
/* A free port, or 0. */
void agent_port(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, uint16_t port);
/* Once for each HEALTH. What is left of the command is told before. */
void agent_health(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, bool ok);
/* The devices of a unit are idle; are in use (`text`: by whom), to be asked again later; or `broken`: no use waiting, and
 * the shell has marked them so for the next greeting. */
enum scrub { SCRUB_CLEAN, SCRUB_BUSY, SCRUB_BROKEN };
void agent_scrubbed(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, enum scrub found, const char *text);
/* Are processes left of a prolog, an epilog or health commands that have ended, or that nobody wants? The shell is ending
 * them; while there are any the unit is not RELEASED. Also at start-up, before agent_ready, and of a unit without a row. */
enum left { LEFT_PROLOG = 1, LEFT_EPILOG = 2, LEFT_HEALTH = 4 };
void agent_left(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, enum left what, bool left);
/* What a prolog or epilog came to; `text` says how it failed. */
void agent_hooked(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, enum hook hook, bool ok, const char *text);
void agent_checkpoint(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part, uint64_t step);

void agent_connected(struct agent *a, struct agent_now now);
/* The daemon does not know this session (any more). */
void agent_greet_again(struct agent *a, struct agent_now now);
/* `refused`, or told to go: a new connection comes after the back-off. */
void agent_disconnected(struct agent *a, struct agent_now now, bool refused);
/* ERR_STALE: a daemon older than one we obeyed (a restored copy, or a second one): nothing it says counts. */
int agent_welcome(struct agent *a, struct agent_now now, const struct msg_welcome *m, struct err *err) NODISCARD;
/* ERR_STALE as above, or another session; nothing has changed then. */
int agent_desired(struct agent *a, struct agent_now now, const struct msg_desired *m, struct err *err) NODISCARD;
void agent_report_ack(struct agent *a, struct agent_now now, const struct msg_report_ack *m);
void agent_heartbeat_ack(struct agent *a, struct agent_now now, const struct msg_heartbeat *m);

/* Name a command to run inside a unit that is running; its START is the caller's. ret_id for later.
 * ERR_NOTFOUND, ERR_STATE, ERR_NOROOM. */
int agent_extra(struct agent *a, struct agent_now now, uint64_t alloc, uint16_t part,
		char ret_name[AGENT_NAME_BYTES], uint64_t *ret_id, struct err *err) NODISCARD;

void agent_tick(struct agent *a, struct agent_now now);
/* When agent_tick is next wanted; T_NEVER. */
int64_t agent_next_tick(const struct agent *a);

/* ---- outputs ------------------------------------------------------------------------------------------ */

/* The next action; false when there is none. */
bool agent_take(struct agent *a, struct action *ret) NODISCARD;

/* Bodies of messages; lists are borrowed until the next input. */
void agent_fill_hello(struct agent *a, struct agent_now now, struct cmd_node_hello *hello);
void agent_fill_report(struct agent *a, struct agent_now now, struct msg_report *report);
void agent_fill_heartbeat(struct agent *a, struct msg_heartbeat *hb);

/* ---- looking ------------------------------------------------------------------------------------------ */

/* What is wanted of a unit, borrowed until the next input; NULL if there is no such row. */
const struct unit *agent_unit(const struct agent *a, uint64_t alloc, uint16_t part);
/* Its state and port; UNIT_ABSENT. */
uint8_t agent_unit_state(const struct agent *a, uint64_t alloc, uint16_t part, uint16_t *ret_port);
/* Is a port in use by one of our units? */
bool agent_port_used(const struct agent *a, uint16_t port);
bool agent_payload_used(const struct agent *a, const uint8_t hash[32]);
uint32_t agent_rows(const struct agent *a);
/* When the contract of a unit ends, UTC in ms; T_NEVER. */
int64_t agent_unit_until(const struct agent *a, uint64_t alloc, uint16_t part);
/* Name of the newest run of a task. */
bool agent_task_name(const struct agent *a, uint64_t alloc, uint16_t part, uint32_t task,
		     char ret_name[AGENT_NAME_BYTES]) NODISCARD;
/* "a42-p0-t3" → its parts. `kind` is 't' or 'x'. False for a foreign name. */
bool agent_name_parse(const char *name, uint64_t *ret_alloc, uint16_t *ret_part, char *ret_kind, uint64_t *ret_index,
		      uint32_t *ret_run) NODISCARD;

struct agent_counts {
	uint64_t stale_orders; /* of an older epoch, session or revision */
	uint64_t starts, restarts, notices, kills;
	uint64_t refused;      /* units that failed a check */
};
struct agent_counts agent_counts(const struct agent *a);

#endif
