/* reservation.h - what the files of daemon/core ask about reservations; see reservation.c
 *
 * Costs: "pins" are those at one node, usually none or one. Instants are logical time in ms.
 */
#ifndef SLUIS_DAEMON_CORE_RESERVATION_H
#define SLUIS_DAEMON_CORE_RESERVATION_H

#include "daemon/core/state.h"

static inline bool reservation_reason(int reason) { return reason == REASON_RESERVED || reason == REASON_MAINTENANCE; }
/* Has it devices, from its next window on? */
static inline bool reservation_pins(const struct reservation *r)
{
	return (r->state == RESERVATION_CONFIRMED || r->state == RESERVATION_ACTIVE) && r->spec.windows_n;
}

/* place(): take out of *devices, cores and *memory_mib of `n` what the asker may not have until
 * ask->until_ms. TRUE if that took something from it. O(pins at the node). */
bool reservation_bar(const struct core *c, const struct node_s *n, const struct place_ask *ask, uint64_t *devices,
		     uint64_t cores[CORE_WORDS], uint32_t *memory_mib);
/* Of those that keep `ask` from devices of its flavor, the one that is over first; NULL. O(nodes). */
const struct reservation *reservation_in_way(const struct core *c, const struct place_ask *ask);
/* The magnetic reservation that work of a project goes to unless it names one; 0. O(reservations). */
uint64_t reservation_magnet(const struct core *c, uint32_t project, int64_t until_ms);
/* Asks whose numbers are equal meet the same reservations. O(reservations). */
/* Devices of a node that reservations have in some window that [t, until_ms) meets (0: for good). O(pins). */
uint64_t reservation_pinned(const struct core *c, const struct node_s *n, int64_t t, int64_t until_ms);
/* Behind `out`, which says why a job waits: the reservation that its place in the plan waits for, if any. */
void reservation_behind_text(const struct core *c, uint64_t job, char out[TEXT_BYTES]);
uint64_t reservation_horizon(const struct core *c, int64_t until_ms);
/* Inside which one are these parts, placed for `ask`? 0: none. */
uint64_t reservation_of_parts(const struct core *c, const struct place_ask *ask, const struct part *parts, uint32_t n);
/* Which one does not let it stay until then? NULL: it may. */
const struct reservation *reservation_blocks(const struct core *c, const struct alloc *a, int64_t until_ms);
/* May what was planned before still be bound there, to stay until ask->until_ms? TRUE: it may not. */
bool reservation_bars_parts(const struct core *c, const struct place_ask *ask, const struct part *parts, uint32_t n);
/* When a reservation wants it to be told to go (a loan before the start, work inside before the end);
 * T_NEVER. And the telling. */
int64_t reservation_wants_ms(const struct core *c, const struct alloc *a);
void reservation_calls(const struct core *c, int64_t t, struct decision *d, const struct alloc *a);

/* A waiting job: 0, or REASON_WINDOW while its reservation does not let it start. */
int reservation_gate(const struct core *c, int64_t t, const struct job *j);
/* Of a lease that the calendar leaves no room for: the reason, and what to say. */
int reservation_low_reason(const struct core *c, const struct plan_low *low);
void reservation_low_text(const struct core *c, uint16_t flavor, const struct plan_low *low, char out[TEXT_BYTES]);
void reservation_reason_text(const struct core *c, const struct job *j, int reason, uint64_t id, char out[TEXT_BYTES]);
/* The reservation that a job names, by name or id ("none": 0). ERR_NOTFOUND, ERR_DENIED for others than
 * its members, ERR_NEVER if the time limit fits into no window. */
int reservation_for_job(const struct core *c, const char *name, const struct job *j, uint64_t *ret, struct err *err);

/* core_apply: pins at the nodes and what they take from the plan, and the timer. */
void reservation_account(struct core *c, struct reservation_s *r, bool add);
int64_t reservation_due(const struct reservation_s *r);
/* A node leaves for good: its pins go with it. */
void reservations_leave(const struct core *c, struct decision *d, uint32_t node);
/* Work inside was charged so much. */
void reservation_used(const struct core *c, struct decision *d, uint64_t id, int64_t rums);
/* Which project pays for what idles in it; 0: none does. O(members, and projects if only users are named). */
uint32_t reservation_payer(const struct core *c, const struct reservation *r);
/* What it kept from others until t and what of it work inside used, in RU·ms, charged or not. O(allocations). */
void reservation_uses(const struct core *c, int64_t t, const struct reservation *r, int64_t *ret_kept, int64_t *ret_used);
/* Work inside is gone. */
void reservation_left(const struct core *c, struct decision *d, int64_t t, const struct alloc *a);

int decide_reservation(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err);
bool tick_reservation_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id);
/* Replace what failed, or note how much is missing. TRUE if there was something to do. */
bool sched_reservations(const struct core *c, int64_t t, struct decision *d);
/* Units that nobody else holds and that work. */
uint32_t reservation_units_here(const struct core *c, const struct reservation *r);
/* What a node is kept for, in words. */
void reservation_note(const struct core *c, const struct node_s *n, char out[TEXT_BYTES]);
int reservation_check(const struct core *c, struct err *err) NODISCARD;

#endif
