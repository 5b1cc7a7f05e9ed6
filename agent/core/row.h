/* row.h - one unit as the agent keeps it: in memory, in the table, in reports */
#ifndef SLUIS_AGENT_CORE_ROW_H
#define SLUIS_AGENT_CORE_ROW_H

#include "agent/core/agent.h"
#include "proto/base/buf.h"

struct task {
	bool begun;  /* a START left, now or in an earlier life of the agent */
	bool killed; /* KILL was sent */
	struct task_status st;
};
struct extra {
	uint64_t id;
	bool killed;
	bool all_devices; /* from an earlier life: what it was given is not known */
	struct task_status st;
	uint32_t devices_n;
	char (*devices)[AGENT_DEVICE_BYTES]; /* what it was given; owned */
};

/* How far a prolog or epilog is, in this life of the agent. */
enum hook_step { HOOK_NOT, HOOK_RUNS, HOOK_FINE, HOOK_FAILED };

/* What the payload says of a service; `known` once it was seen. */
struct service {
	bool known;
	bool has_health;
	uint32_t fail_max;
	int64_t every_ms, timeout_ms, after_ms, backoff_min_ms, backoff_max_ms, stop_within_ms;
	uint8_t stop_signal;
};

struct row {
	struct unit unit; /* as wanted; what it points to lives in `arena` */
	struct arena arena;
	/* kept in the table */
	uint8_t state; /* enum unit_state; ABSENT while it is being prepared */
	bool started;  /* tasks may have been begun */
	bool noticed;
	bool fenced;   /* stopped by ourselves */
	bool adopted;  /* found running: what it is and how many tasks it has is not known yet */
	bool prologued; /* its prolog may have been begun */
	bool unfit;    /* its prolog failed, and sluisd may not know yet */
	uint16_t port;
	int32_t exit_code;
	uint8_t exit_signal;
	bool oom;
	uint32_t restarts; /* of a service: also the number of its run */
	uint64_t checkpoint_step;
	int64_t checkpoint_unix_ms;
	int64_t stop_at_ms; /* BOOTTIME; 0: not stopping */
	int64_t until_unix_ms;
	char boot_id[40];
	char text[TEXT_BYTES];
	/* not kept */
	bool kept; /* from the table: an epoch of its own number is its own */
	bool checked, fetching, fetched, asking_port, termed, healthy;
	bool health_running, health_ends; /* asked for; to be ended */
	bool begin_rest; /* tasks that never began wait for the payload */
	bool dirty; /* differs from the table */
	uint8_t acked_state; /* the state last acknowledged; UINT8_MAX: none */
	uint8_t told_state;  /* in the last report */
	int64_t term_at_ms, killed_ms, kill_again_ms, look_ms; /* 0: none */
	int64_t run_ms, restart_ms, health_ms, backoff_ms; /* of a service */
	uint32_t health_fails;
	bool scrubbing, scrubbed;
	int64_t scrub_begin_ms, scrub_at_ms, scrub_every_ms; /* 0: none */
	uint8_t prolog, epilog; /* enum hook_step */
	int64_t epilog_at_ms, epilog_every_ms; /* the next try of one that failed */
	struct service service;
	uint32_t tasks_n;
	struct task *tasks;
	uint32_t extras_n;
	struct extra *extras;
};

struct row *row_new(uint64_t alloc, uint16_t part);
void row_free(struct row *r);
/* Take over what is wanted, by deep copy. */
void row_want(struct row *r, const struct unit *u);
/* Is there something to run? */
bool row_runs(const struct row *r);
/* May a task or the prolog have touched its devices? */
bool row_touched(const struct row *r);
/* Does it hold devices or may a process of it exist? */
bool row_lives(const struct row *r);
bool row_final(const struct row *r); /* RELEASED or LOST */
/* Found running, and nobody has told which devices it has: it may have any. */
bool row_hides_devices(const struct row *r);
bool row_has_device(const struct row *r, const char *device);
void row_device_name(const struct unit_device *d, char out[AGENT_DEVICE_BYTES]);

/* The bytes kept in the table; borrowed from `out`. */
void row_encode(const struct row *r, struct buf *out);
int row_decode(const void *data, size_t len, struct row **ret_row, struct err *err) NODISCARD;
void row_status(const struct row *r, int64_t unix_ms, struct unit_status *st);

#endif
