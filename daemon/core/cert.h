/* cert.h - can everything promised be bound in time?  A certificate over counters, not a guess
 *
 * One flavor at a time. Time is cut into deadline classes, ascending; nodes into cells whose sizes divide
 * each other: 1, 2, 4, … devices, and the whole node. `supply` counts cells that can be freed within a
 * class, as the largest they are; `demand` counts cells that are promised within a class and not bound yet.
 *
 * The walk goes through the classes upwards. Once the demands of earlier classes are placed, every cell
 * that can be freed by now serves all that is left equally well, so only its level matters; larger demands
 * first, each from the smallest cell that holds it, the rest split downwards (buddy). That is optimal
 * because the sizes divide each other. The tempting shortcut, one prefix sum for each (class, level), is
 * unsound: an urgent small demand may have to split the only large cell that a later one needs. It is kept
 * in tests/unit/test_cert.c, with what it lets through.
 *
 * Source: buddy cells as in HiveD (OSDI 2020).
 */
#ifndef SLUIS_DAEMON_CORE_CERT_H
#define SLUIS_DAEMON_CORE_CERT_H

#include <stdbool.h>
#include <stdint.h>

enum {
	CERT_CLASSES_MAX = 6,
	CERT_LEVELS_MAX = 8, /* 1, 2, 4, 8, 16, 32 devices, and whole nodes of up to 64 */
	CERT_NEVER = CERT_CLASSES_MAX, /* class of what nobody may recall */
};

/* Sizes in devices, ascending, each a divisor of the next; the last is the whole node. */
struct cert_levels { uint32_t n; uint32_t size[CERT_LEVELS_MAX]; };
struct cert_cells { int64_t n[CERT_CLASSES_MAX][CERT_LEVELS_MAX]; };

/* Where it is tight: the first class and level that cannot be served, and how much is missing. */
struct cert_short {
	uint32_t class, level;
	bool calendar; /* for its caller: what reservations keep would suffice */
	int64_t cells;   /* of that level, there */
	int64_t devices; /* in all, over the whole walk; 0: it holds */
};

/* The levels of nodes with 1..64 devices. */
struct cert_levels cert_levels(uint32_t devices_per_node);
/* The smallest level that holds so many devices; the last one for more. */
uint32_t cert_level_of(const struct cert_levels *levels, uint32_t devices);
/* Add `sign` times the largest cells that `devices` of one node make (never the whole-node level unless
 * `whole`) to counts[]. O(levels). */
void cert_cut(const struct cert_levels *levels, uint32_t devices, bool whole, int64_t sign,
	      int64_t counts[CERT_LEVELS_MAX]);
/* Can all demand be served in time from the first `classes` classes? On false *ret (may be NULL) says where it is
 * tight. Counts must not be negative. O(classes × levels²). */
bool cert_holds(const struct cert_levels *levels, uint32_t classes, const struct cert_cells *supply,
		const struct cert_cells *demand, struct cert_short *ret);

#endif
