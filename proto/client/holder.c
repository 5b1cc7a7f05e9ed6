/* holder.c - see holder.h */
#include "proto/client/holder.h"

#include "proto/base/ckd.h"
#include "proto/base/ensure.h"
#include "proto/base/err.h"

/* Used before the first answer says what the ttl is. */
enum { TTL_GUESS_MS = 30000 };

static struct boot boot_after(struct boot from, int64_t ms)
{
	struct boot to;
	int64_t ns;

	if (ckd_mul(&ns, ms, NS_PER_MS) || ckd_add(&to.ns, from.ns, ns))
		to.ns = ms < 0 ? INT64_MIN : INT64_MAX;
	return to;
}

static int64_t ttl_of(const struct holder *h) { return h->ttl_ms > 0 ? h->ttl_ms : TTL_GUESS_MS; }

/* From 3/4 to 5/4 of `ms`. */
static int64_t jittered(struct holder *h, int64_t ms)
{
	return ms - ms / 4 + (int64_t)prng_below(&h->prng, (uint64_t)(ms / 2) + 1);
}

/* Doubles from ttl/30 to ttl/6, so that about six tries fit before the deadline. */
static int64_t next_backoff(struct holder *h)
{
	int64_t first = ttl_of(h) / 30, last = ttl_of(h) / 6;
	int64_t ms = h->backoff_ms ? h->backoff_ms * 2 : first;

	ms = ms > last ? last : ms;
	h->backoff_ms = ms < HOLDER_RETRY_MS_MIN ? HOLDER_RETRY_MS_MIN : ms;
	return jittered(h, h->backoff_ms);
}

void holder_init(struct holder *h, uint64_t lease, uint64_t fence, uint64_t renew_seq, uint64_t seed)
{
	*h = (struct holder){.lease = lease, .fence = fence, .seq = renew_seq};
	h->next.ns = INT64_MIN;
	prng_seed(&h->prng, seed);
}

/* Nothing that was sent or granted counts any more; renew at once. */
static void unsettle(struct holder *h, struct boot now)
{
	h->state = HOLDER_UNSURE;
	h->stamps[0] = h->stamps[1] = (struct holder_stamp){0};
	h->deadline.ns = INT64_MIN;
	h->next = now;
	h->backoff_ms = 0;
}

/* Compare the clocks with each other, and the deadline with the clock. */
static void look_at_clocks(struct holder *h, struct boot now, struct wall wall)
{
	int64_t ahead, moved;

	if (ckd_sub(&ahead, wall.ns, now.ns))
		ahead = wall.ns < 0 ? INT64_MIN : INT64_MAX;
	if (h->ahead_known && h->state != HOLDER_GONE) {
		if (ckd_sub(&moved, ahead, h->ahead_ns))
			moved = ahead < h->ahead_ns ? INT64_MIN : INT64_MAX;
		if (moved > HOLDER_JUMP_MS * NS_PER_MS) {
			unsettle(h, now);
			h->jumps++;
		}
	}
	h->ahead_ns = ahead;
	h->ahead_known = true;
	if (h->state == HOLDER_HELD && now.ns >= h->deadline.ns)
		h->state = HOLDER_LAPSED;
}

enum holder_action holder_step(struct holder *h, struct boot now, struct wall wall,
			       struct boot *ret_when)
{
	look_at_clocks(h, now, wall);
	*ret_when = now;
	if (h->state == HOLDER_GONE) {
		ret_when->ns = T_NEVER;
		return HOLDER_STOP;
	}
	if (now.ns >= h->next.ns) {
		if (!h->look)
			return HOLDER_RENEW;
		h->next = boot_after(now, next_backoff(h)); /* should the look fail */
		return HOLDER_LOOK;
	}
	*ret_when = h->next;
	if (h->state == HOLDER_HELD && h->deadline.ns < h->next.ns)
		*ret_when = h->deadline;
	return HOLDER_WAIT;
}

void holder_send(struct holder *h, struct boot now, struct lease_renew_item *item)
{
	struct holder_stamp *s = h->stamps;

	ENSURE(h->state != HOLDER_GONE);
	ENSURE(!h->look);
	/* An old stamp grants little: after a third of the ttl begin afresh. */
	if (!s[0].seq || boot_after(s[0].sent, ttl_of(h) / 3).ns <= now.ns) {
		s[1] = s[0];
		s[0] = (struct holder_stamp){++h->seq, now};
	}
	*item = (struct lease_renew_item){.lease = h->lease, .fence = h->fence, .renew_seq = s[0].seq};
	h->next = boot_after(now, next_backoff(h));
}

static void accepted(struct holder *h, struct boot now, const struct holder_stamp *stamp,
		     const struct renew_result *res)
{
	/* Rounded so that the holder's share of an error is always the earlier instant. */
	int64_t ttl = res->ttl_ms, rate = ttl / (1000000 / HOLDER_RATE_PPM) + 1;
	struct boot deadline = boot_after(stamp->sent, ttl - rate - HOLDER_MARGIN_MS);
	int64_t left_ms, wait_ms = res->renew_after_ms > 0 ? res->renew_after_ms : ttl / 3;

	h->deadline = deadline; /* answers are taken in order of their numbers: the latest knows best */
	h->ttl_ms = ttl;
	h->renewals++;
	h->backoff_ms = 0;
	h->state = now.ns < h->deadline.ns ? HOLDER_HELD : HOLDER_LAPSED;
	/* The daemon spreads the load by renew_after; near the end of a term or a recall half of what
	 * is left comes first. */
	left_ms = h->state == HOLDER_HELD ? (h->deadline.ns - now.ns) / NS_PER_MS / 2 : 0;
	wait_ms = wait_ms > left_ms ? left_ms : wait_ms;
	h->next = boot_after(now, wait_ms < HOLDER_RETRY_MS_MIN ? HOLDER_RETRY_MS_MIN : wait_ms);
}

void holder_reply(struct holder *h, struct boot now, struct wall wall, uint64_t seq,
		  const struct renew_result *res)
{
	struct holder_stamp stamp = {0};

	look_at_clocks(h, now, wall);
	for (int i = 0; i < 2; i++)
		if (h->stamps[i].seq == seq)
			stamp = h->stamps[i];
	if (!seq || !stamp.seq || h->state == HOLDER_GONE || res->lease != h->lease)
		return;
	h->last = *res;
	h->code = res->code;
	switch (res->code) {
	case 0:
		if (h->stamps[0].seq == seq)
			h->stamps[0] = (struct holder_stamp){0};
		h->stamps[1] = (struct holder_stamp){0};
		if (res->ttl_ms > 0) {
			accepted(h, now, &stamp, res);
			return;
		}
		/* Granted but not bound yet: nothing to hold, ask again when told. */
		unsettle(h, now);
		h->look = res->fence != h->fence;
		h->next = boot_after(now, res->renew_after_ms > HOLDER_RETRY_MS_MIN ?
						  jittered(h, res->renew_after_ms) :
						  HOLDER_RETRY_MS_MIN);
		return;
	case ERR_GONE:
	case ERR_NOTFOUND:
		h->state = HOLDER_GONE;
		return;
	case ERR_STALE_FENCE: /* bound anew: the set of devices is another one */
		unsettle(h, now);
		h->look = true;
		return;
	case ERR_STALE: /* somebody renewed with higher numbers */
		h->stamps[0] = h->stamps[1] = (struct holder_stamp){0};
		h->look = true;
		h->next = now;
		return;
	default: /* refused for now (denied, overloaded ...): the retry is armed */
		return;
	}
}

void holder_looked(struct holder *h, struct boot now, uint64_t fence, uint64_t renew_seq)
{
	h->look = false;
	if (fence != h->fence)
		unsettle(h, now);
	h->fence = fence;
	if (renew_seq > h->seq)
		h->seq = renew_seq;
	h->next = now;
}

bool holder_may_act(struct holder *h, struct boot now, struct wall wall)
{
	look_at_clocks(h, now, wall);
	return h->state == HOLDER_HELD;
}

const char *holder_state_name(uint8_t state)
{
	static const char *const names[] = {"unsure", "held", "lapsed", "gone"};

	return state < ARRAY_LEN(names) ? names[state] : "?";
}
