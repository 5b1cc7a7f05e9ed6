/* holder.h - the holder's side of a lease: when to renew, and until when to believe
 *
 * A state machine without clocks or sockets: the caller passes both clocks in, sends what it is told
 * to send and hands in what came back. One object per lease.
 *
 *     UNSURE ──accepted──▶ HELD ──deadline passed──▶ LAPSED ──accepted──▶ HELD
 *       ▲──────wall clock jumped ahead, fence moved────│┴──gone──▶ GONE
 *
 * What holds true:
 *  - The deadline counts from the BOOTTIME noted *before* the accepted renewal was sent:
 *    sent + ttl * (1 - 1000 ppm) - 1 s. The daemon counts the same ttl from its commit, which is
 *    later, so the holder stops believing first, whatever the clocks' rates do within 1000 ppm.
 *  - A stamp belongs to one renew_seq. A retry repeats the sequence number and keeps the stamp.
 *  - The latest answer counts, also when it leaves less than an earlier one did: a recall came, or sluisd was
 *    started anew, its clock was set right, and the end of the term is nearer than it had thought.
 *  - When the wall clock moves ahead of BOOTTIME by more than 2 s, the machine was perhaps stopped
 *    and restored with its BOOTTIME standing still: nothing sent before counts any more.
 *  - Past the deadline the holder does not act as holder (hand out endpoints, scale); it kills
 *    nothing. Grace and stopping are the daemon's.
 *  - GONE is final: an expired lease is never resurrected.
 *
 * Source: Gray & Cheriton, "Leases", SOSP 1989.
 */
#ifndef SLUIS_PROTO_CLIENT_HOLDER_H
#define SLUIS_PROTO_CLIENT_HOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/instant.h"
#include "proto/base/prng.h"
#include "proto/model/command.h"

enum {
	HOLDER_RATE_PPM = 1000,    /* total rate error of the two clocks */
	HOLDER_MARGIN_MS = 1000,   /* and what is taken off on top; a ttl below it is never held */
	HOLDER_JUMP_MS = 2000,     /* the wall clock may move ahead of BOOTTIME by so much at once */
	HOLDER_RETRY_MS_MIN = 250, /* back-off after silence or refusal */
};

enum holder_state { HOLDER_UNSURE = 0, HOLDER_HELD, HOLDER_LAPSED, HOLDER_GONE };
enum holder_action {
	HOLDER_WAIT = 0, /* nothing until *ret_when */
	HOLDER_RENEW,    /* call holder_send and send it */
	HOLDER_LOOK,     /* read the lease anew, then call holder_looked */
	HOLDER_STOP,     /* the lease is gone; holder->code says how */
};

struct holder_stamp {
	uint64_t seq; /* 0: none */
	struct boot sent;
};

struct holder {
	uint64_t lease;
	uint64_t fence;
	uint64_t seq;         /* highest renew_seq used or seen */
	int64_t ttl_ms;       /* last one granted; 0 before */
	uint8_t state;        /* enum holder_state */
	bool look;            /* fence or sequence moved on without us */
	int code;             /* 0, or the code of the last refusal */
	struct boot deadline; /* HELD: act before this */
	struct boot next;     /* when to renew */
	struct holder_stamp stamps[2]; /* newest first; a late answer to the older one still counts */
	int64_t backoff_ms;
	int64_t ahead_ns; /* wall - boot at the last look */
	bool ahead_known;
	uint32_t jumps;
	uint64_t renewals;
	struct renew_result last; /* as the daemon answered */
	struct prng prng;         /* jitter */
};

/* Start with what a look at the lease said: its fence and the highest renew_seq (0 if never renewed).
 * `seed` spreads the retries of many holders. */
void holder_init(struct holder *h, uint64_t lease, uint64_t fence, uint64_t renew_seq, uint64_t seed);

/* What is to be done now? *ret_when is when to ask again at the latest (also the deadline, so that the
 * change to LAPSED is noticed in time); T_NEVER in ns for STOP. */
enum holder_action holder_step(struct holder *h, struct boot now, struct wall wall,
			       struct boot *ret_when);

/* Fill the item to send. Call it right before sending: it notes `now` as the stamp, or repeats an
 * unanswered renewal with the stamp it had. Arms the retry. */
void holder_send(struct holder *h, struct boot now, struct lease_renew_item *ret_item);

/* The daemon answered the renewal `seq`. A stale or unasked answer changes nothing. */
void holder_reply(struct holder *h, struct boot now, struct wall wall, uint64_t seq,
		  const struct renew_result *res);

/* The lease was read: its fence and renew_seq. */
void holder_looked(struct holder *h, struct boot now, uint64_t fence, uint64_t renew_seq);

/* May we act as holder at this instant? */
bool holder_may_act(struct holder *h, struct boot now, struct wall wall);

/* "unsure", "held", "lapsed", "gone". */
const char *holder_state_name(uint8_t state);

#endif
