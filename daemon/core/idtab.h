/* idtab.h - objects by 64-bit id, walked in ascending order
 *
 * Ids are dealt out ascending and mostly live close together, so a two-level page table serves:
 * lookup O(1), next O(1) amortised over dense ranges. Owns nothing it points to.
 */
#ifndef SLUIS_DAEMON_CORE_IDTAB_H
#define SLUIS_DAEMON_CORE_IDTAB_H

#include <stdint.h>

struct idtab_page;
struct idtab {
	struct idtab_page **pages; /* ascending by base */
	uint32_t pages_n, pages_cap;
	uint64_t count;
};

void *idtab_get(const struct idtab *t, uint64_t id);
/* Returns the object replaced, or NULL. obj NULL removes. */
void *idtab_set(struct idtab *t, uint64_t id, void *obj);
/* Smallest id > after that is set, with its object; 0 if none (id 0 is never used). */
uint64_t idtab_next(const struct idtab *t, uint64_t after, void **ret_obj);
void idtab_done(struct idtab *t);

#endif
