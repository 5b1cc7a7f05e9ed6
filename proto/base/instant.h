/* instant.h - clocks, and the one place that reads them
 *
 * The core never reads a clock: it is given `int64_t t_ms`, the daemon's logical time (UTC scale).
 * Shells read both clocks once per turn. Wall time is for people and for what survives a reboot,
 * monotonic time for timers, boottime for lease holders (it counts suspend).
 */
#ifndef SLUIS_PROTO_BASE_INSTANT_H
#define SLUIS_PROTO_BASE_INSTANT_H

#include <stdint.h>

struct mono { int64_t ns; }; /* CLOCK_MONOTONIC */
struct boot { int64_t ns; }; /* CLOCK_BOOTTIME */
struct wall { int64_t ns; }; /* CLOCK_REALTIME */

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)
#define MS_PER_S INT64_C(1000)
#define MS_PER_MIN INT64_C(60000)
#define MS_PER_HOUR INT64_C(3600000)
#define MS_PER_DAY INT64_C(86400000)
#define T_NEVER INT64_MAX /* an instant in ms that never comes */

struct mono mono_now(void);
struct boot boot_now(void);
struct wall wall_now(void);

static inline int64_t mono_ms(struct mono m) { return m.ns / NS_PER_MS; }
static inline int64_t boot_ms(struct boot b) { return b.ns / NS_PER_MS; }
static inline int64_t wall_ms(struct wall w) { return w.ns / NS_PER_MS; }

#endif
