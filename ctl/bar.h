/* bar.h - the division as a row of cells: what a side is entitled to, uses, borrows, lends
 *
 *     public    32 (20 %)   ████████░░░
 *     private  128 (80 %)   ███████████████████████████▒▒▒··
 *                           █ guaranteed   ░ on loan   ▒ lent out   · free or out
 *
 * Pure: integers in, cells out. What a side is entitled to is nominal/cell cells, shared between used, lent
 * and free by largest remainder (ties to the first of them); loans of others follow behind it. What is
 * there shows at least one cell, as long as there are cells to give.
 */
#ifndef SLUIS_CTL_BAR_H
#define SLUIS_CTL_BAR_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"

struct bar_side { int64_t nominal, guaranteed, loan, lent; }; /* in devices; lent: of the nominal */
struct bar_cells { uint32_t guaranteed, lent, free, loan; };

/* Devices per cell: the smallest power of two with which the longest side fits `width` cells. */
int64_t bar_cell(const struct bar_side *sides, uint32_t n, uint32_t width);
struct bar_cells bar_cells(const struct bar_side *side, int64_t cell);
/* Append the cells: guaranteed, lent, free, then loans. `ascii`: # - . = for █ ▒ · ░. */
void bar_text(const struct bar_cells *cells, bool ascii, struct buf *out);

#endif
