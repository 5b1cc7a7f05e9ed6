/* sim_world.h - a whole cluster in one process: daemon, machines, users, network, in virtual time
 *
 *   users ──┐ delay, loss, copies,   ┌─ daemon: the real core over a store in memory
 *           ├─ disorder, partitions ─┤      decide, apply, commit, only then send
 *   agents ─┘                        └─ crash, pause, lost batch, older backup
 *
 * One thread, one clock (`now_ms`, true time), one seeded generator. An observer sees what no program
 * in a real cluster can: the true set of live processes on every device. Whatever must never happen
 * goes through sim_violation(), which ends the run and keeps seed, step and what it was.
 *
 * Real code: the daemon's core, the agent's core, the holder, and the wire between agents and daemon. Of our
 * making: the shells around them, the store, the disks, the execution layer, the network and the users.
 *
 * Parts: sim_world.c events, network, faults; sim_daemon.c daemon and store; sim_agent.c machines and the
 * agents on them; sim_exec.c their disks, their tasks and the observer; sim_book.c a naive model; sim_users.c admins, researchers,
 * providers. The run itself: tests/sim/.
 *
 * Source: FoundationDB's simulation, TigerBeetle's VOPR: safety under faults first, then heal and
 * require liveness within bounded virtual time; knobs drawn anew for each seed (swarm testing).
 */
#ifndef SLUIS_TESTS_LIB_SIM_WORLD_H
#define SLUIS_TESTS_LIB_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/core/agent.h"
#include "daemon/core/core.h"
#include "proto/base/buf.h"
#include "proto/base/prng.h"
#include "proto/client/holder.h"
#include "proto/wire/message.h"

enum {
	SIM_MACHINES_MAX = 20,
	SIM_USERS_MAX = 12,
	SIM_HOLDERS_MAX = 6, /* leases one provider holds at a time */
	SIM_RECENT_MAX = 24, /* jobs a researcher remembers */
	SIM_PROJECTS_MAX = 4,
	SIM_PROVIDERS_MAX = 3,
	SIM_BACKUPS_MAX = 3,
	SIM_REPLY_RENEWALS_MAX = SIM_HOLDERS_MAX,
	SIM_DEVICES_MAX = 8,
	SIM_ERRANDS_MAX = 32, /* of an agent: payloads on their way, health commands that run */
	SIM_STALE_MAX = 64,
	SIM_COPIES_MAX = 4, /* boots of twins of one machine: as many as sluisd has room for beside the latest */
};

/* ---- bugs planted in the harness itself: each has to be caught ---------------------------------- */
#define SIM_CANARY_TABLE(X)                                                                        \
	X(CANARY_ACK_BEFORE_COMMIT, "ack-before-commit")                                           \
	X(CANARY_DOUBLE_START, "double-start")                                                     \
	X(CANARY_FREE_ON_TIMEOUT, "free-on-timeout")                                               \
	X(CANARY_EXPIRE_DURING_DOWNTIME, "expire-during-downtime")                                 \
	X(CANARY_NEW_KEY_ON_RETRY, "new-key-on-retry")                                             \
	X(CANARY_FORGET_FACT, "forget-fact")                                                       \
	X(CANARY_RELEASE_TOO_EARLY, "release-too-early")
enum sim_canary {
	CANARY_NONE = 0,
#define X(name, text) name,
	SIM_CANARY_TABLE(X)
#undef X
	CANARY_COUNT,
};
extern const char *const sim_canary_name[];

/* ---- faults and work, counted ---------------------------------------------------------------------- */
#define SIM_COUNT_TABLE(X)                                                                         \
	X(delivered, "messages")                                                                   \
	X(dropped, "messages")                                                                     \
	X(duplicated, "messages")                                                                  \
	X(partitioned, "messages")                                                                 \
	X(delayed, "messages") /* much longer than others on their way */                          \
	X(reordered, "messages") /* behind one that was sent later */                              \
	X(partitions_two_way, "partitions")                                                        \
	X(partitions_one_way, "partitions")                                                        \
	X(daemon_crashes, "crashes")                                                               \
	X(batches_lost, "batches")                                                                 \
	X(batches_kept, "batches") /* synced, but the daemon died before it could answer */        \
	X(daemon_pauses, "pauses")                                                                 \
	X(restores, "restores")                                                                    \
	X(wall_steps, "steps")                                                                     \
	X(clock_steps, "steps") /* of machines and holders */                                      \
	X(agent_crashes, "crashes")                                                                \
	X(agent_upgrades, "restarts")                                                              \
	X(crashes_between, "crashes") /* of these, between two steps of an agent */                \
	X(writes_lost, "records") /* of agents' tables: not synced when they died */               \
	X(tables_lost, "tables")                                                                   \
	X(stale_greetings, "messages") /* of an earlier boot, long on their way */                 \
	X(twins, "machines") /* copies of a machine, with its key: started */                      \
	X(twins_refused, "greetings")                                                              \
	X(twins_noted, "times") /* the machine has answered: both are alive */                     \
	X(twins_unseen, "machines") /* that could not be told from a reboot, and were switched off */ \
	X(twins_in, "greetings") /* of copies with the memory too: taken for the machine */        \
	X(machine_pauses, "pauses")                                                                \
	X(reboots, "reboots")                                                                      \
	X(shims_lost, "tasks")                                                                     \
	X(leftovers, "tasks") /* whose processes outlive the one that was started */               \
	X(unkillable, "tasks")                                                                     \
	X(start_failures, "tasks")                                                                 \
	X(bind_failures, "units")                                                                  \
	X(machines_declared_dead, "machines")                                                      \
	X(holder_stalls, "stalls")                                                                 \
	X(decisions, "decisions")                                                                  \
	X(refusals, "commands")                                                                    \
	X(replays, "commands")                                                                     \
	X(commits, "batches")                                                                      \
	X(state_compares, "compares")                                                              \
	X(reasons_checked, "jobs")                                                                 \
	X(redecided, "commands")                                                                   \
	X(ticks_differ, "commands")                                                                \
	X(fresh_looks, "looks") /* a rebuilt core is asked what it would do next */                \
	X(fresh_finds, "looks") /* something: the running one looks again only after a fact */     \
	X(starts, "tasks")                                                                         \
	X(exits_checked, "exits")                                                                  \
	X(kills, "tasks")                                                                          \
	X(settlements, "attempts")                                                                 \
	X(charges, "changes")                                                                      \
	X(frees, "parts")                                                                          \
	X(jobs, "jobs")                                                                            \
	X(jobs_ended, "jobs")                                                                      \
	X(leases, "leases")                                                                        \
	X(renewals, "renewals")                                                                    \
	X(expiries, "leases")                                                                      \
	X(claims, "claims")                                                                        \
	X(recalls, "allocations")                                                                  \
	X(reservations, "reservations")                                                            \
	X(inside, "allocations") /* placed inside one */                                           \
	X(extras, "allocations") /* of elastic jobs */                                             \
	X(device_ms, "ms")
struct sim_counts {
#define X(name, unit) uint64_t name;
	SIM_COUNT_TABLE(X)
#undef X
	uint64_t virtual_ms;
};

/* ---- knobs: drawn per seed -------------------------------------------------------------------------- */
struct sim_knobs {
	uint32_t machines, devices, flavors, researchers, providers, projects;
	int64_t faults_ms; /* how long faults go on; healing follows */
	int64_t heal_ms;   /* at least; longer until all is settled, up to a bound */
	uint32_t check_every; /* decisions from one core_check to the next */
	uint32_t drop_ppm, dup_ppm;
	int64_t delay_max_ms, slow_ppm, slow_max_ms; /* some messages take much longer: disorder */
	int64_t fault_every_ms; /* mean; 0: none */
	uint32_t weight[20];    /* of each class of fault; see sim_world.c */
	int64_t sync_max_ms;
	int64_t think_max_ms;
	int64_t heartbeat_ms, suspect_ms, unreachable_ms;
	uint32_t fail_ppm;  /* units that cannot be prepared */
	uint32_t stuck_ppm; /* processes that survive SIGKILL for a while */
	uint32_t clock_ppm; /* holders' clocks run wrong by up to this */
	uint32_t machine_clock_ppm;
	int64_t daemon_clock_ppm;
	uint32_t crash_ppm; /* an agent dies before one of its steps */
	uint32_t hide_ppm;  /* shims that die */
	bool division_changes, restores, declares_dead;
	bool calendar; /* reservations and elastic jobs */
	uint32_t twins; /* weight of copies of machines among the faults */
};

/* ---- messages ------------------------------------------------------------------------------------------ */
enum sim_msg_type {
	M_COMMAND = 1, M_REPLY, M_LOOK, M_LOOKED, /* users */
	M_FRAME, /* between agent and daemon, as on the wire */
};
struct sim_msg {
	uint8_t type; /* enum sim_msg_type */
	bool to_daemon;
	uint16_t link;  /* machine, or SIM_MACHINES_MAX + user */
	uint16_t cmd;   /* enum command_type */
	uint64_t req;
	uint8_t key[16];
	int32_t code;
	uint64_t seq;   /* log position of the reply; 0: nothing was logged */
	int64_t t_ms;   /* when the daemon decided it, by its clock */
	uint64_t id, fence, renew_seq;
	uint64_t life, incarnation; /* restores before it */
	uint32_t conn; /* which connection of that agent */
	uint64_t nth; /* of all that were sent */
	struct renew_result renewal[SIM_REPLY_RENEWALS_MAX];
	uint32_t renewals_n;
	struct buf body; /* owned: an encoded command, or a frame */
};
struct sim_msg *sim_msg_new(uint8_t type, uint16_t link);
void sim_msg_free(struct sim_msg *m); /* accepts NULL */

/* ---- the daemon and its store ------------------------------------------------------------------------- */
struct sim_bytes { uint8_t kind; uint64_t id; bool deleted; uint32_t len; uint8_t *data; };
struct sim_log { /* one decided command with what it caused */
	uint64_t seq;
	int64_t t_ms, up_ms; /* up_ms: time in which the daemon could receive, up to then */
	uint16_t type;
	uint8_t via;
	uint32_t principal;
	uint64_t cred;
	uint8_t key[16], body_hash[16];
	uint32_t body_len;
	uint8_t *body;
	uint32_t facts_n;
	struct sim_bytes *facts;
};
struct sim_table { struct sim_bytes *row; uint32_t n, cap; }; /* ascending by id */
struct sim_store {
	struct sim_table table[RECORD_KINDS];
	struct sim_log *log;
	uint32_t log_n, log_cap;
	uint64_t epoch;
	bool restored;
};
struct sim_backup { struct sim_table table[RECORD_KINDS]; uint64_t seq, epoch; };
struct sim_batch {
	struct sim_log *rec;
	uint32_t rec_n, rec_cap;
	struct sim_msg **out;
	uint32_t out_n, out_cap;
};
struct sim_stale { uint64_t alloc; uint16_t part; };
struct sim_session {
	bool live;
	uint64_t id; /* names the greeting */
	uint64_t incarnation, rev, rev_seen;
	uint16_t link; /* the machine, or a copy of it */
	uint32_t conn;
	char boot_id[40];
	/* somebody else has greeted: does who stands there live? */
	uint64_t nonce; /* 0: not asked */
	uint16_t asked_link;
	uint32_t asked_conn;
	uint64_t asked_incarnation;
	char rival[40];
	int64_t heard_ms, sent_ms;
	bool dirty; /* what is wanted may have changed */
	struct sim_stale stale[SIM_STALE_MAX]; /* reported, unknown to the state, ours to stop */
	uint32_t stale_n;
};
struct sim_daemon {
	bool up, crash_armed; /* armed: dies with the next batch in flight */
	struct core *core;
	struct decision dec;
	struct arena arena;
	struct sim_store store;
	struct sim_backup backup[SIM_BACKUPS_MAX];
	uint32_t backups_n;
	struct sim_batch cur, fly;
	int64_t fly_until_ms; /* 0: nothing is being synced */
	int64_t t_base_ms, true_base_ms; /* logical = t_base + now - true_base */
	int64_t leap_at_ms; /* when a start last set it ahead of what its own clock would have shown; 0: never */
	int64_t wall_off_ms;
	uint64_t seq, session_next, nonce_next;
	int64_t turn_ms, paused_at_ms, paused_until_ms, start_at_ms;
	struct sim_msg **inbox;
	uint32_t inbox_n, inbox_cap;
	struct sim_session node[SIM_MACHINES_MAX];
	int64_t booted_ms, up_since_ms, up_total_ms; /* time in which it could receive */
	int64_t scan_ms;
	uint64_t alloc_max; /* highest allocation id ever made, lost futures included */
};

/* ---- machines ------------------------------------------------------------------------------------------- */
struct sim_task { /* a slot of the execution layer: kept from the start until it is released */
	char name[AGENT_NAME_BYTES];
	uint64_t alloc, devices;
	uint16_t part;
	bool begun;    /* false: its files are there, it never ran */
	bool live;     /* a process of it exists */
	bool ended;    /* the one that was started is over */
	bool hidden;   /* its shim is gone */
	bool rebooted, stuck, oom;
	int64_t started_ms, end_ms; /* T_NEVER: runs until it is stopped */
	int32_t exit_code;
	uint8_t exit_signal;
};
struct sim_entry { /* of an agent's table */
	uint8_t type; /* enum action_type: ROW_PUT, ROW_DEL, EPOCH, CLUSTER */
	uint64_t alloc, value;
	uint16_t part; /* EPOCH: which device */
	uint32_t len;
	uint8_t *data; /* owned */
};
struct sim_disk { /* what was synced */
	struct sim_entry *row;
	uint32_t n, cap;
	uint64_t epoch[SIM_DEVICES_MAX];
	uint64_t cluster, incarnation;
	bool lost; /* rows may be missing: the table's own mark */
};
struct sim_errand { int64_t at_ms; bool health; uint64_t alloc; uint16_t part; uint8_t hash[32]; };
struct sim_agent { /* a process; what it does in memory dies with it */
	struct agent *core; /* NULL: it does not run */
	uint64_t incarnation;
	uint64_t epoch[SIM_DEVICES_MAX]; /* as it knows the table */
	struct sim_entry *tail; /* written and not synced */
	uint32_t tail_n, tail_cap;
	uint32_t conn;
	bool connected;
	int64_t connect_at_ms; /* T_NEVER */
	struct sim_errand errand[SIM_ERRANDS_MAX];
	uint32_t errands_n;
	uint16_t next_port;
};
struct sim_machine {
	uint32_t node, principal; /* ids in the core */
	uint64_t cred;
	char name[NAME_BYTES];
	uint16_t flavor;   /* index */
	uint32_t boot;
	bool up;
	int64_t boot_at_ms, booted_ms;
	int64_t paused_until_ms; /* everything on it stands still */
	int64_t rate_ppm, wall_off_ms;
	struct sim_task *task;
	uint32_t task_n, task_cap;
	struct sim_disk disk;
	struct sim_agent agent;
	struct sim_msg *greeting; /* a copy of the last one */
	int64_t agent_at_ms; /* when the agent starts again; T_NEVER */
	int64_t dies_ms;     /* when its agent does; T_NEVER */
	bool dead_wanted;    /* an admin saw to it that it is off */
	bool twin;           /* a copy of another machine, with its key and devices of its own: beyond knobs.machines */
	uint16_t of;         /* twin: of which */
	bool same_boot;      /* twin: its memory was copied, too, and what runs in it */
	uint32_t copies;     /* boots of its twins: sluisd keeps so many in mind */
	bool noted;          /* twin: the daemon has made durable that this boot lives beside the machine's */
	int64_t off_at_ms;   /* twin: when it is switched off; T_NEVER */
	bool blurred;        /* a twin with the same boot has spoken for it: nobody can tell what ended where */
};

/* ---- users ------------------------------------------------------------------------------------------------ */
enum sim_user_kind { USER_ADMIN, USER_RESEARCHER, USER_PROVIDER };
struct sim_holder {
	uint64_t lease; /* 0: slot free */
	struct holder h;
	int64_t boot_base_ms, rate_ppm;
	int64_t stalled_ms, stall_total_ms;
	int64_t stall_until_ms, wall_off_ms;
	bool wall_back; /* set back by its last step: as far as that a standstill before it is hidden */
	uint64_t req, req_seq, look_req;
	uint8_t key[16];
	bool firm, quit;
	int64_t next_ms;
};
struct sim_user {
	uint8_t kind;
	uint32_t principal;
	uint64_t cred;
	char name[NAME_BYTES];
	uint32_t at; /* index of its provider or project */
	/* the command on its way */
	uint16_t cmd; /* 0: none */
	uint8_t key[16];
	struct buf body;
	char tag[NAME_BYTES];
	uint64_t req;
	int64_t retry_ms, first_ms;
	uint32_t tries;
	int64_t next_ms;
	uint64_t recent[SIM_RECENT_MAX];
	uint32_t recent_n, made;
	struct sim_holder holder[SIM_HOLDERS_MAX];
};

/* An acknowledged command: it has to be in the log for good. */
struct sim_ack { uint64_t seq, hash, id; uint16_t cmd; uint32_t user; char tag[NAME_BYTES]; };

struct sim_exit { uint64_t alloc; uint16_t part; int32_t code; uint8_t signal; bool hidden; };

/* ---- the world --------------------------------------------------------------------------------------------- */
struct sim_event { int64_t at_ms; uint64_t n; uint8_t kind; uint16_t who; struct sim_msg *msg; };
struct sim_told { uint64_t lease; int64_t end_ms; }; /* the end that answers to its renewals have named, by the daemon's clock */
struct sim_link {
	int64_t cut_up_ms, cut_down_ms; /* partitioned until, towards and from the daemon */
	uint64_t nth_up, nth_down;      /* the latest sent of those that have arrived */
};
struct sim {
	uint64_t seed;
	enum sim_canary canary;
	bool verbose;
	int64_t now_ms;
	struct prng rng, rng_twins; /* twins have one of their own: what a seed does without them stays */
	struct sim_knobs k;
	struct sim_counts n;
	bool healed;
	bool failed;
	char what[400];
	uint64_t step, hash, event_n, req_n, sent_n, same_ms; /* same_ms: steps at this very instant */
	struct sim_event *heap;
	uint32_t heap_n, heap_cap;
	int64_t wake_ms[SIM_MACHINES_MAX + SIM_USERS_MAX + 2];
	struct sim_link link[SIM_MACHINES_MAX + SIM_USERS_MAX];
	struct sim_daemon d;
	struct sim_machine machine[SIM_MACHINES_MAX];
	struct sim_user user[SIM_USERS_MAX];
	uint32_t users_n;
	uint32_t division_n; /* draws of the division so far */
	uint32_t twins_made;
	struct sim_ack *ack;
	uint32_t ack_n, ack_cap;
	struct sim_told *told;
	uint32_t told_n, told_cap;
	uint64_t *stops; /* allocations that were ever to stop: open addressing */
	uint32_t stops_n, stops_cap;
	uint64_t *started; /* hashes of names of tasks ever begun: open addressing */
	uint32_t started_n, started_cap;
	struct { uint64_t from, to; } lost_ids[8]; /* allocations of a future that a restore undid */
	uint32_t lost_ids_n;
	int64_t next_fault_ms, healed_ms;
	struct { uint64_t holder[SIM_MACHINES_MAX][SIM_DEVICES_MAX], alloc_max; } book;
	struct sim_exit exit[512]; /* the last ones, as they were */
	uint32_t exits_n;
};

/* Draw knobs, build the cluster. `canary` plants a bug in the harness. */
struct sim *sim_new(uint64_t seed, enum sim_canary canary);
void sim_free(struct sim *s);
/* Run to the end: faults, healing, the final checks. False if something was violated (s->what). */
bool sim_run(struct sim *s) NODISCARD;

/* Ends the run; the first one counts. */
void sim_violation(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Fold a number into the trace's hash. */
void sim_trace(struct sim *s, uint64_t x);
/* One line about what happens, when verbose. */
void sim_say(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

uint64_t sim_below(struct sim *s, uint64_t n);
bool sim_chance(struct sim *s, uint32_t ppm);
int64_t sim_span(struct sim *s, int64_t from, int64_t to); /* inclusive */

/* Give a message to the network, which frees it. */
void sim_send(struct sim *s, struct sim_msg *m);
struct sim_msg *sim_msg_copy(const struct sim_msg *m);
/* The same message later, past the network: whoever it is for stands still. */
void sim_again(struct sim *s, struct sim_msg *m, int64_t at_ms);
enum { WAKE_DAEMON = SIM_MACHINES_MAX + SIM_USERS_MAX, WAKE_FAULT };
/* Call this part (machine, SIM_MACHINES_MAX + user, WAKE_*) at `at_ms`, if not sooner. */
void sim_wake(struct sim *s, uint16_t who, int64_t at_ms);

/* sim_daemon.c */
void daemon_boot(struct sim *s);  /* from the store */
void daemon_crash(struct sim *s); /* the batch that is being synced may or may not be there later */
void daemon_pause(struct sim *s, int64_t ms);
void daemon_continue(struct sim *s); /* no pause any more, no crash ahead */
void daemon_restore(struct sim *s, uint32_t backup);
/* Has a machine obeyed a later sluisd than this one, which an operator has confirmed? What sluisd(8) tells the operator
 * to do then: restore a backup of the right one. */
bool daemon_superseded(const struct sim *s);
void daemon_restore_itself(struct sim *s);
void daemon_backup(struct sim *s);
void daemon_receive(struct sim *s, struct sim_msg *m);
void daemon_turn(struct sim *s);
void daemon_free(struct sim *s);
int64_t daemon_t(const struct sim *s);
/* Before the simulation starts: decide, apply and commit at once. Returns the result's code. */
int daemon_now(struct sim *s, struct command *cmd, struct result *ret);
/* Memory = store = rebuilt from the store; counts what a rebuilt core would do that the running one,
 * which looks again only after a fact, has passed over. */
void daemon_compare(struct sim *s);
/* Decide a stretch of the log again from the state before it; the facts must be the same. */
void daemon_redecide(struct sim *s);
/* Could the daemon receive something, in total, up to now. */
int64_t daemon_uptime(const struct sim *s);

/* The connection to every agent is gone: the daemon's process is. */
void machines_cut_off(struct sim *s);

/* sim_agent.c: machines and the agents on them */
void machine_wake(struct sim *s, uint16_t m);
void machine_receive(struct sim *s, struct sim_msg *msg);
void machine_reboot(struct sim *s, uint16_t m, int64_t off_ms);
void machine_pause(struct sim *s, uint16_t m, int64_t ms);
void agent_crash(struct sim *s, uint16_t m, int64_t off_ms);
void agent_upgrade(struct sim *s, uint16_t m);
void machine_free(struct sim *s, uint16_t m);
/* Copy a machine, with an empty table or as it is; the copy starts `in_ms` from now, and again after reboots. */
void twin_make(struct sim *s, uint16_t m, int64_t in_ms);
void twin_off(struct sim *s, uint16_t twin);
void twins_off(struct sim *s, uint16_t of); /* of one machine; SIM_MACHINES_MAX: all */
/* Which machine of the cluster does this one pass for? */
uint16_t machine_key(const struct sim *s, uint16_t m);
void machine_boot_id(const struct sim *s, const struct sim_machine *m, char out[40]);
struct agent_now machine_now(const struct sim *s, const struct sim_machine *m);
/* A task of this machine has changed: its agents look. */
void machine_task_changed(struct sim *s, struct sim_machine *m, const char *name);

/* sim_exec.c: disks, tasks, and the observer */
void disk_write(struct sim_agent *a, const struct action *act);
void disk_sync(struct sim_machine *m, struct sim_agent *a);
void disk_crash(struct sim *s, struct sim_machine *m, struct sim_agent *a); /* of what was not synced, some is there */
void disk_lose(struct sim_machine *m);
void disk_free(struct sim_machine *m);
struct sim_task *task_find(const struct sim_machine *m, const char *name);
/* Its files first: begun by task_begin. `devices` are those that its processes hold. */
struct sim_task *task_new(struct sim_machine *m, const char *name, uint64_t alloc, uint16_t part, uint64_t devices);
void task_begin(struct sim *s, struct sim_machine *m, struct sim_task *t, const struct unit *u);
void task_signal(struct sim *s, struct sim_machine *m, const char *name, int64_t within_ms);
void task_kill(struct sim *s, struct sim_machine *m, const char *name);
void task_release(struct sim *s, struct sim_machine *m, const char *name);
void task_status(const struct sim_task *t, struct task_status *ret);
/* Let time pass; returns when the next task changes by itself, T_NEVER. */
int64_t tasks_step(struct sim *s, struct sim_machine *m);
void tasks_reboot(struct sim *s, struct sim_machine *m);
/* Called for each allocation that has become durable: is somebody else still living on its devices? */
void observer_allocated(struct sim *s, const struct alloc *a);
/* Called for each allocation that a commit stops or ends. */
void observer_stops(struct sim *s, uint64_t alloc);
/* Called for each change of an allocation: is what it gave back really empty, are the exit codes true? */
void observer_changed(struct sim *s, const struct alloc *old, const struct alloc *now);

/* sim_book.c: the naive model */
void book_open(struct sim *s); /* from the core as it is */
/* A decision that is about to be applied. */
void book_decision(struct sim *s, uint16_t command, int64_t t, const struct decision *d);

/* sim_users.c */
void users_setup(struct sim *s);
void user_wake(struct sim *s, uint16_t u);
void user_receive(struct sim *s, struct sim_msg *m);
void user_free(struct sim *s, uint16_t u);
void division_fill(struct sim *s, struct cmd_division_apply *a, struct arena *arena);
/* No holder may believe in a lease that has ended by time. */
void holders_check(struct sim *s, const struct lease *l);
void acks_check(struct sim *s);
/* Everything that was promised after a restore of the log's first `seq` records is void. */
void acks_forget(struct sim *s, uint64_t seq);

#endif
