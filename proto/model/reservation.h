/* reservation.h - devices kept from an instant on: for maintenance, a course, a deadline
 *
 * A reservation is pinned to concrete devices the moment it is confirmed, so what it promises can be
 * looked at, and nothing else is promised there. Instants are the daemon's logical time (UTC).
 */
#ifndef SLUIS_PROTO_MODEL_RESERVATION_H
#define SLUIS_PROTO_MODEL_RESERVATION_H

#include "proto/model/alloc.h"
#include "proto/model/node.h"

enum reservation_state {
	RESERVATION_REQUESTED = 0, /* asked for by a member; nothing is held before an operator confirms */
	RESERVATION_CONFIRMED,     /* pinned; its next window is to come */
	RESERVATION_ACTIVE,        /* inside a window */
	/* terminal: kept for a while so that people can read what was */
	RESERVATION_ENDED,
	RESERVATION_CANCELLED,
};
static inline bool reservation_terminal(uint8_t s) { return s >= RESERVATION_ENDED; }

/* [from, to) */
struct window { int64_t from_ms; int64_t to_ms; };
/* Exactly one is not 0. A quota-tree node stands for all projects below it. */
struct reservation_member { uint32_t qnode; uint32_t principal; };

struct reservation_spec {
	char name[NAME_BYTES];
	char reason[TEXT_BYTES];
	bool maint;       /* maintenance: named nodes, whole; nobody runs there, broken nodes are no loss */
	bool flex;        /* its work may start before the window, end after it and use other devices, too */
	bool magnetic;    /* its projects' work runs there without naming it */
	bool no_replace;  /* devices that fail are not replaced */
	bool overrun;     /* work inside is not stopped at the end */
	bool ignore_jobs; /* confirmed although guaranteed work holds some of it beyond its start */
	int64_t purge_ms; /* ends once it has been idle inside its window for so long; 0: never */
	int64_t repeat_ms; /* windows follow each other by this; 0: those listed are all */
	char zone[NAME_BYTES]; /* in which the windows were meant when they were listed, with its version */
	uint16_t flavor;
	uint8_t shape;
	uint32_t units;   /* 0: named nodes */
	uint32_t windows_n;
	struct window *windows; /* to come, ascending, apart from each other; [0] may be under way */
};

struct reservation {
	uint64_t id;
	uint32_t owner; /* principal */
	uint8_t state;  /* enum reservation_state */
	int64_t created_ms;
	int64_t end_ms;  /* terminal since */
	int64_t used_ms; /* when work was last inside, or the window opened */
	uint32_t degraded; /* units (nodes when they are named) that are not to be had */
	int64_t degraded_ms; /* since */
	char end_text[TEXT_BYTES];
	/* In RU·ms; a maintenance has none of these. What it kept, less what work inside used, is idle. */
	int64_t kept_rums; /* kept from others in its windows, until kept_ms */
	int64_t kept_ms;   /* 0: outside a window */
	int64_t rate;      /* weight (1/1000) of the units it keeps since then */
	uint16_t kept_flavor; /* it is booked under */
	int64_t used_rums; /* charged to work inside */
	int64_t idle_rums; /* charged to the project it is for; lags until the window ends or it changes */
	struct reservation_spec spec;
	uint32_t members_n;
	struct reservation_member *members;
	uint32_t parts_n;
	struct part *parts; /* what is pinned */
};

#endif
