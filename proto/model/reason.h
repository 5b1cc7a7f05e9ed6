/* reason.h - why something waits or was refused: stable numbers, shared by core, wire and people
 *
 * The hundreds digit is the tier; the lowest tier that blocks is *the* reason. Tier 1 refuses a
 * submission outright.
 */
#ifndef SLUIS_PROTO_MODEL_REASON_H
#define SLUIS_PROTO_MODEL_REASON_H

#define REASON_TABLE(X)                                                                            \
	X(REASON_NONE, 0, "nothing blocks it")                                                     \
	X(REASON_UNKNOWN, 101, "unknown project or flavor")                                        \
	X(REASON_SHAPE, 102, "exceeds what is installed")                                          \
	X(REASON_OVER_LIMIT, 103, "exceeds nominal plus borrowing limit")                          \
	X(REASON_TIME_LIMIT, 104, "over the time or class limit")                                  \
	X(REASON_NO_ATTESTED, 105, "no attested capacity can satisfy the predicates")              \
	X(REASON_DEPENDENCY_NEVER, 106, "its dependency can never be met")                         \
	X(REASON_DEADLINE, 107, "the deadline is impossible")                                      \
	X(REASON_CONCENTRATION, 108, "over the concentration cap of its tenant")                   \
	X(REASON_HELD_USER, 201, "held by its user")                                               \
	X(REASON_HELD_ADMIN, 202, "held by an admin")                                              \
	X(REASON_FROZEN, 203, "the project is frozen")                                             \
	X(REASON_STAGE, 204, "no stage of the grant is released")                                  \
	X(REASON_ATTESTATION, 205, "an attestation has expired")                                   \
	X(REASON_BEGIN, 301, "its begin time is in the future")                                    \
	X(REASON_DEPENDENCY, 302, "waits for a dependency")                                        \
	X(REASON_WINDOW, 303, "the window is closed")                                              \
	X(REASON_BACKOFF, 304, "retry back-off")                                                   \
	X(REASON_COOLDOWN, 305, "borrow cool-down after a recall")                                 \
	X(REASON_STAGE_EXHAUSTED, 401, "the stage is exhausted")                                   \
	X(REASON_HOLD_TOO_LARGE, 402, "the budget does not cover it")                              \
	X(REASON_PERIOD_CAP, 403, "the period cap is reached")                                     \
	X(REASON_LEAF_FULL, 501, "own quota is full")                                              \
	X(REASON_ANCESTOR_FULL, 502, "the quota above is full")                                    \
	X(REASON_BORROWING, 503, "the borrowing limit is reached")                                 \
	X(REASON_LENDERS_BUSY, 504, "the lenders use what they have")                              \
	X(REASON_JOB_LIMIT, 505, "the project's job limit is reached")                             \
	X(REASON_LOAN_NOTICE, 506, "a loan is refused: its notice is longer than the recall time") \
	X(REASON_HEADROOM, 507, "what is free is kept for leases that grow")                       \
	X(REASON_NO_SHAPE, 601, "no free devices of that shape")                                   \
	X(REASON_FRAGMENTED, 602, "free devices are scattered")                                    \
	X(REASON_RESERVED, 603, "free devices are held for what comes first")                      \
	X(REASON_NODES_OUT, 604, "nodes are unavailable")                                          \
	X(REASON_MAINTENANCE, 605, "maintenance")                                                  \
	X(REASON_DEFICIT, 606, "devices are missing")                                              \
	X(REASON_POWER, 607, "the power limit is reached")                                         \
	X(REASON_BEHIND, 701, "others are before it")                                              \
	X(REASON_WOULD_DELAY, 702, "it would delay a planned start")                               \
	X(REASON_CLAIM, 801, "a claim is fetching its devices")                                    \
	X(REASON_BINDING, 802, "its devices are being bound")                                      \
	X(REASON_PREPARING, 803, "nodes are being prepared")                                       \
	X(REASON_SAFE_MODE, 804, "the daemon is in safe mode")

enum reason {
#define X(name, number, text) name = (number),
	REASON_TABLE(X)
#undef X
};

/* General text of a reason; "unknown reason" for a foreign number. */
const char *reason_text(int reason);
static inline int reason_tier(int reason) { return reason / 100; }

#endif
