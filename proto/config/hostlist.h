/* hostlist.h - host lists: n[017-018,020] <-> n017 n018 n020
 *
 * The notation of Slurm and pdsh. Several brackets in one name multiply (r[1-2]n[01-04]). Widths are
 * kept: n[08-10] is n08 n09 n10, n[8-10] is n8 n9 n10. Whatever the text, at most HOSTLIST_MAX names
 * are made; a text that asks for more is refused before anything is allocated for it.
 */
#ifndef SLUIS_PROTO_CONFIG_HOSTLIST_H
#define SLUIS_PROTO_CONFIG_HOSTLIST_H

#include <stddef.h>

#include "proto/base/buf.h"
#include "proto/base/err.h"

enum { HOSTLIST_MAX = 16384, HOSTLIST_NAME_BYTES = 256 };

struct hostlist {
	char **names;
	size_t count, cap;
};
#define HOSTLIST_INIT {0}

void hostlist_done(struct hostlist *list);
/* Append one name (letters, digits, - _ .). ERR_INVAL, or ERR_NOROOM beyond HOSTLIST_MAX. */
int hostlist_add(struct hostlist *list, const char *name, struct err *err) NODISCARD;
/* Append the names of `text`, in its order, duplicates kept. On error the list is as before. */
int hostlist_expand(struct hostlist *list, const char *text, struct err *err) NODISCARD;
/* Sort by natural order (n9 before n10) and drop duplicates. */
void hostlist_sort(struct hostlist *list);
/* Append the list as text: neighbours that differ only in their last number share a bracket. Expanding
 * the result gives the same list. */
void hostlist_compress(const struct hostlist *list, struct buf *out);

#endif
