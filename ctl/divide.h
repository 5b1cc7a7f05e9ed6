/* divide.h - division.yaml as a command, and what it would change
 *
 * Pure, but for the time zones of the machine. A snapshot is a division made comparable: one row per tree node,
 * nominals as the file says them (totals over the node and all below it), whether it came from a file or from the daemon.
 */
#ifndef SLUIS_CTL_DIVIDE_H
#define SLUIS_CTL_DIVIDE_H

#include "proto/config/division.h"
#include "proto/model/command.h"
#include "proto/model/view.h"

/* Own nominals, limits that are left out as QTY_UNLIMITED, stages behind another one locked, amounts in
 * RU·ms. `payload` is not set. Lists lie in `arena`, texts are copied.
 * ERR_RANGE: a name is too long for the daemon; ERR_UNSUPPORTED: a rule that would not be enforced and
 * must be (a predicate with several values). */
int divide_command(const struct division *d, struct arena *arena, struct cmd_division_apply *ret,
		   struct err *err) NODISCARD;
/* The windows of the file, counted out from now_ms (wall clock) for WINDOW_DAYS_AHEAD days with the time zones of this
 * machine, added to what divide_command() made of it. To `notes` goes, a line each, what the file may not mean: times that
 * a clock skips or shows twice, windows of what has no limit otherwise. ERR_NOTFOUND: a zone that is not known here.
 * Cost: O(windows * days). */
int divide_windows(const struct division *d, int64_t now_ms, struct arena *arena, struct cmd_division_apply *a,
		   struct buf *notes, struct err *err) NODISCARD;
/* "weekday 18:00-24:00 Europe/Amsterdam, 2 nodes h100"; `flavor` names a flavor by the number it has in the record. */
const char *divide_window_text(struct arena *arena, const struct qnode *q, uint32_t window,
			       const char *(*flavor)(const void *ctx, uint16_t), const void *ctx);
/* Rules of the file that the daemon keeps but does not enforce; one line each, appended to `out`. */
void divide_notes(const struct division *d, struct buf *out);

struct snap_node {
	const char *path; /* "tree/public/health" */
	const struct qnode *qnode;
	uint32_t parent; /* index */
	const char *windows; /* in words; "" */
	/* [flavor][shape] */
	struct snap_qty { int64_t nominal, borrowing, lending, in_use; } qty[FLAVORS_MAX][SHAPE_COUNT];
};
struct snapshot {
	const struct flavor *flavors;
	uint32_t flavors_n;
	struct snap_node *nodes; /* [0] the root; parents before children */
	uint32_t nodes_n;
};
void snapshot_of_command(const struct cmd_division_apply *a, struct arena *arena, struct snapshot *ret);
void snapshot_of_view(const struct view_division *v, struct arena *arena, struct snapshot *ret);

enum change_kind { CHANGE_NEW, CHANGE_GONE, CHANGE_UP, CHANGE_DOWN, CHANGE_OTHER };
struct change {
	uint8_t kind; /* enum change_kind */
	const char *path, *field, *was, *is, *note; /* texts; "" where there is nothing to say */
};
/* Every difference, in the order of the new tree, what is gone last. */
void divide_diff(const struct snapshot *was, const struct snapshot *is, struct arena *arena, struct change **ret,
		 uint32_t *ret_n);

/* One flavor's sums in devices. */
struct divide_sums { int64_t committed, public_devices, private_devices; };
struct divide_sums divide_sums(const struct snapshot *s, uint32_t flavor);

#endif
