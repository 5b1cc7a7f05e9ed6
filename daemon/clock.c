/* clock.c - logical time (see clock.h)
 *
 *     t' = t + d + clamp(wall - (t + d), -d * 500 ppm, d * 500 ppm)        d = time passed on the monotonic clock
 *
 * As the pull is at most a 2000th of what passed, t' is never below t.
 * Source: the slewing of ntpd (RFC 5905), with its traditional 500 ppm.
 */
#include "daemon/clock.h"

#include "proto/base/ckd.h"

static int64_t clamp(int64_t v, int64_t most)
{
	return v > most ? most : v < -most ? -most : v;
}

/* How far the wall clock is ahead of logical time; saturates. */
static int64_t ahead(const struct clock *c, struct wall wall)
{
	int64_t diff;

	if (ckd_sub(&diff, wall.ns, c->t_ns))
		return wall.ns > c->t_ns ? INT64_MAX / 2 : -(INT64_MAX / 2);
	return clamp(diff, INT64_MAX / 2);
}

void clock_start(struct clock *c, int64_t disk_ms, struct mono mono, struct wall wall)
{
	int64_t disk_ns;

	if (ckd_mul(&disk_ns, disk_ms, NS_PER_MS))
		disk_ns = INT64_MAX / 2;
	*c = (struct clock){.t_ns = disk_ns > wall.ns ? disk_ns : wall.ns, .mono = mono};
}

int64_t clock_read(struct clock *c, struct mono mono, struct wall wall, int64_t *ret_step_ms)
{
	const int64_t step_ns = CLOCK_STEP_MS * NS_PER_MS;
	int64_t passed = mono.ns - c->mono.ns, diff, moved;

	if (passed < 0)
		passed = 0; /* the kernel promises otherwise; time still must not go back */
	else
		c->mono = mono;
	if (ckd_add(&c->t_ns, c->t_ns, passed))
		c->t_ns = INT64_MAX;
	c->t_ns += clamp(ahead(c, wall), passed / (1000000 / CLOCK_SLEW_PPM));
	diff = ahead(c, wall);

	if (ret_step_ms)
		*ret_step_ms = 0;
	/* News is a difference that was not there, and one that grew or turned by a further step. */
	moved = diff - c->told_ns;
	if (diff <= step_ns / 2 && diff >= -step_ns / 2) {
		c->stepped = false;
	} else if ((diff > step_ns || diff < -step_ns) &&
		   (!c->stepped || moved > step_ns || moved < -step_ns)) {
		c->stepped = true;
		c->told_ns = diff;
		if (ret_step_ms)
			*ret_step_ms = diff / NS_PER_MS;
	}
	return c->t_ns / NS_PER_MS;
}
