/* impl.h - what the files of sluisd's shell share (inside daemon/ only)
 *
 *     doors.c    bytes → struct request: who speaks, what they ask          ┐
 *     server.c   the step: decide → apply → append → answer                 │ in this order,
 *     users.c    commands and greetings of users, enrolment                 │ once per turn
 *     agents.c   sessions of nodes: greeting, reports, liveness, DESIRED    │
 *     relay.c    questions handed on to agents                              │
 *     query.c    answers from memory and store                              ┘
 *     archive.c  old log records → files
 *     events.c   committed facts → lines of the journal
 *     startup.c  store → state, keys, doors;   clock.c  logical time
 *
 * A request lives in the turn's arena: whoever wants to remember it longer copies what it needs.
 */
#ifndef SLUIS_DAEMON_IMPL_H
#define SLUIS_DAEMON_IMPL_H

#include "daemon/clock.h"
#include "daemon/core/core.h"
#include "daemon/server.h"
#include "daemon/store/store.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/link/link.h"
#include "proto/link/log.h"
#include "proto/link/loop.h"
#include "proto/wire/message.h"

enum {
	STANDSTILL_MS = 3000,		    /* between two steps: longer is time we were not there */
	STALL_MS = 1200,		    /* longer than this, and what came meanwhile is still on its way to us, */
	STALL_HEAR_MS = 1000,		    /* for so long; */
	STALLS_MAX = 10,		    /* who stands still so often in a row has to judge at last */
	TURN_MESSAGES = 1024,		    /* taken from one door in one turn */
	STEP_COMMANDS = 2048,		    /* decided for one append */
	STEP_QUERIES = 8,		    /* answered in one step: some walk all there is */
	STEP_TICKS = 2000,		    /* actions of the scheduler for one append */
	STEP_MS = 2,			    /* deciding for one append ends then */
	STEP_BYTES = 32 << 20,		    /* and when its records are that large */
	SPACE_LOOK_BYTES = 1 << 20,	    /* written until the room on the disk is looked at again */
	INBOX_BYTES = 16 << 20,		    /* messages that may wait for a step */
	RELAY_MS = 10000,		    /* an agent answers within */
	DAY_MS_SAFE = 24 * 3600 * 1000,	    /* down for longer: safe mode */
	COMMITS_KEPT = 1024,		    /* for the p99 */
};
_Static_assert((int)STEP_COMMANDS + (int)STEP_TICKS <= (int)STORE_BATCH_RECORDS_MAX,
	       "a step fits one append");

/* One message on its way to an answer; door NULL: a command of sluisd's own. */
struct request {
	struct link_door *door;
	struct link_peer peer;
	uint16_t type; /* enum message_type */
	uint64_t req;
	uint8_t via; /* enum via */
	uint32_t principal;
	uint64_t cred;
	uint32_t node;	     /* door AGENTS: whose agent speaks */
	const uint8_t *key;  /* door ENROL: the key it proved to hold */
	void *msg;	     /* the struct of `type`, decoded */
	struct command *cmd; /* to be decided; NULL: nothing */
	struct bytes payload; /* to be stored with it */
	/* the verdict */
	int code;
	struct err err;
	struct result result;
	uint64_t seq; /* log position of the answer */
};

/* A line of the journal, written once the fact is on the disk. */
struct event {
	int level;
	const char *name;
	const char *fields;
};

/* What will be appended together. Bytes lie in `arena`. */
struct batch {
	struct arena arena;
	struct store_record *recs;
	size_t recs_n, recs_cap;
	struct store_blob *blobs;
	size_t blobs_n, blobs_cap;
	struct event *events;
	size_t events_n, events_cap;
	size_t bytes;
	bool keys; /* credentials changed: publish them before anybody is answered */
	uint64_t *creds; /* and these are new */
	size_t creds_n, creds_cap;
	bool resumed; /* safe mode was left */
};

/* What is counted for the limits of sluisd.conf. */
struct counts {
	int64_t nodes, devices, pending_jobs, leases;
};

/* Until when has everything been decided that came through a door at which leases are renewed? */
struct hearing {
	int64_t until_ms;
	int64_t mark_ms; /* the door is not empty since; 0: it was */
	uint64_t rounds; /* of the door at mark_ms */
};

struct session;
struct relays;
struct queries;
struct refusals;

struct server {
	struct daemon_conf conf;
	const struct server_opts *opts;
	int log_level;
	struct loop *loop;
	struct link_ctx *link;
	struct link_door *door[DOOR_KINDS]; /* NULL: closed */
	uint8_t server_pub[LINK_KEY_BYTES], server_sec[LINK_KEY_BYTES];
	uint8_t server_next[LINK_KEY_BYTES]; /* public half of the key that comes next; zero: none */
	struct core *core;
	struct store *store;
	uint64_t epoch;
	uint64_t seq; /* durable head of the log */

	struct clock clock;
	struct mono turn;
	struct mono step_turn; /* of the last server_step(), */
	struct mono last_step; /* and when it began */
	int64_t stood_ms;      /* gaps between steps in which we stood still, not yet reckoned with */
	int64_t t_ms;	  /* logical time of this turn */
	bool midway;	  /* the turn still takes messages: the inbox was full */
	struct hearing hearing[2]; /* at the doors of holders (server.c) */
	struct mono stalled_until; /* we stood still a moment ago */
	int stalls;		   /* so often since `hearing` was moved */
	struct mono started;

	struct arena turn_arena;
	struct request **inbox;
	size_t inbox_n, inbox_cap, inbox_at; /* [inbox_at, inbox_n) are undecided */
	size_t inbox_bytes;
	struct decision decision;
	struct batch batch;
	struct buf scratch; /* encoding */
	struct buf frame;   /* sending */
	struct loop_timer tick, second, watchdog, minute;
	enum store_space space;
	uint64_t written_bytes; /* since `space` was looked at */
	struct counts counts;

	struct session **sessions; /* by node id */
	uint32_t sessions_cap;
	uint64_t session_next, nonce_next;
	uint32_t *dirty; /* nodes whose DESIRED changed in this step */
	size_t dirty_n, dirty_cap;
	struct loop_timer liveness, archive;
	uint64_t archived; /* the log is in files up to here, if archive_known */
	bool archive_known;
	struct mono liveness_at;

	struct relays *relays;
	struct queries *queries;
	struct refusals *refusals;
	uint64_t told[1024]; /* hashes of peers that heard why nobody listens */
	size_t told_n;

	int64_t commit_us[COMMITS_KEPT];
	uint64_t commits;
	uint32_t quarantined;
	bool running; /* the loop turns, its clock is fresh */
	int exit_code;
};

/* ---- server.c --------------------------------------------------------------------------------- */
/* Logical time of this turn; reads the clocks at the first call in a turn. */
int64_t server_now(struct server *s);
/* A request of the turn's arena; queue it with server_push. */
struct request *request_new(struct server *s);
void server_push(struct server *s, struct request *r);
/* Queue a command of sluisd's own; returns it to be filled. */
struct command *server_command(struct server *s, uint16_t type);
/* Everything between a queued request and its answer, for all that are queued. */
void server_flush(struct server *s);
/* Encode and send; a peer that is gone or does not read loses the message (it will ask again). */
int server_send(struct server *s, struct link_door *door, const struct link_peer *peer, uint16_t type,
		uint64_t req, const void *obj);
/* A refusal, or the answer to a command, as REPLY. */
void server_reply(struct server *s, const struct request *r);
void server_refuse(struct server *s, struct link_door *door, const struct link_peer *peer, uint64_t req,
		   const struct err *err);
void server_goodbye(struct server *s, struct link_door *door, const struct link_peer *peer, uint64_t req,
		    int code, const char *text);
/* Take SIGTERM, SIGINT and SIGHUP; what comes before the loop turns waits for it. */
int server_signals(struct server *s, struct err *err) NODISCARD;
/* The store failed: nothing is answered any more, the process ends with EXIT_STORAGE. */
void server_fail(struct server *s, const struct err *err);
int64_t server_commit_p99_us(const struct server *s);
void server_keys_publish(struct server *s);
/* Count a record that is about to replace `old`; either may be NULL. */
void counts_note(struct counts *counts, uint8_t kind, const void *old, const void *now);

/* ---- doors.c ---------------------------------------------------------------------------------- */
void doors_message(struct link_door *door, const struct link_msg *msg, void *server);
const char *doors_source(const struct link_msg *msg, char out[LINK_ADDRESS_BYTES]);
struct refusals *refusals_new(void);
void refusals_free(struct refusals *r);
/* Count a refusal of `source`; told once a minute, summed up. */
void refusals_note(struct server *s, const char *door, const char *source, int code);
void refusals_tell(struct server *s);
/* The handshakes refused so far were our own proof: not worth a line. */
void refusals_skip(struct server *s);

/* ---- users.c ---------------------------------------------------------------------------------- */
/* ERR_NOROOM: limits.`what` is `most`, and that many there are. */
int limit_reached(struct err *err, const char *what, int64_t most);
int users_take(struct server *s, struct request *r, struct err *err) NODISCARD;
void users_answer(struct server *s, struct request *r);
int enrol_take(struct server *s, struct request *r, struct err *err) NODISCARD;
void enrol_answer(struct server *s, struct request *r);
void welcome_fill(struct server *s, const struct request *r, struct msg_welcome *ret);
int hello_check(const struct msg_hello *hello, struct err *err) NODISCARD;

/* ---- agents.c --------------------------------------------------------------------------------- */
int agents_take(struct server *s, struct request *r, struct err *err) NODISCARD;
void agents_answer(struct server *s, struct request *r);
/* The desired state of `node` changes with the facts of this step. */
void agents_dirty(struct server *s, uint32_t node);
/* Send DESIRED to all nodes of this step. */
void agents_send(struct server *s);
/* Safe mode is over: each node hears again what is wanted of it, stops included. */
void agents_resumed(struct server *s);
void agents_start(struct server *s);
void agents_goodbye(struct server *s); /* to all: we are going down */
void agents_free(struct server *s);
/* Send a relayed query. ERR_UNREACHABLE when the node's agent is not there. */
int agents_relay(struct server *s, uint32_t node, uint16_t type, uint64_t req, const struct msg_relay *msg,
		 struct err *err) NODISCARD;
/* Milliseconds since the agent was heard; -1: not since sluisd started. */
int64_t agents_heard_ago_ms(const struct server *s, uint32_t node);
uint32_t agents_connected(const struct server *s);

/* ---- relay.c ---------------------------------------------------------------------------------- */
struct relays *relays_new(struct server *s);
void relays_free(struct relays *r);
/* Remember where the parts of an allocation are, for questions after its end. */
void relays_note(struct server *s, const struct alloc *a);
void relays_ask(struct server *s, const struct request *r);
/* OUTPUT, or REPLY to a SIGNAL, from the agent of `node`. */
void relays_answered(struct server *s, uint32_t node, uint64_t req, const struct msg_output *output,
		     const struct msg_reply *reply);

/* ---- query.c ---------------------------------------------------------------------------------- */
struct queries *queries_new(struct server *s, struct err *err);
void queries_free(struct server *s);
/* Does a backup or a verify read the store right now? */
bool queries_busy(const struct server *s);
void query_answer(struct server *s, const struct request *r);
/* Send `view`, the struct of schema_of_view(type), in as many frames as it needs. */
void view_send(struct server *s, struct link_door *door, const struct link_peer *peer, uint64_t req,
	       uint16_t type, void *view);
void view_refuse(struct server *s, struct link_door *door, const struct link_peer *peer, uint64_t req,
		 uint16_t type, const struct err *err);
/* The log has grown: answer who waits for events. */
void queries_wake(struct server *s);

/* ---- events.c --------------------------------------------------------------------------------- */
/* Note what `f` changes, before it is applied; the line is written after the commit. */
void events_note(struct server *s, const struct fact *f, uint64_t seq);
void events_tell(struct server *s);

/* ---- archive.c -------------------------------------------------------------------------------- */
void archive_on_timer(struct loop *loop, struct loop_timer *timer, void *server);

/* ---- startup.c -------------------------------------------------------------------------------- */
/* Fill the settings of CMD_INIT from sluisd.conf. Returns whether they differ from the cluster's. */
bool settings_fill(struct server *s, struct cmd_init *ret, struct arena *arena);
/* Note that we live at t_ms, so that the next start knows how long it was away. */
void alive_write(struct server *s, bool sync);
/* The endpoint as others may use it: a wildcard host becomes `host`. */
void endpoint_text(const char *endpoint, const char *host, char out[LINK_ENDPOINT_BYTES]);

#endif
