/* packed.h - a record at rest: its bytes but the zeros
 *
 * Most fields of most records are nothing: what has not happened yet, what was not asked for, the rest of a
 * name. A packed record has a bit for each of its words of eight bytes that is not zero, then for each of these
 * a byte with a bit for each of its bytes that is not zero, then those bytes. A record of 752 bytes that says
 * what a waiting job says is about 110 bytes long, whatever the fields mean.
 *
 * Not for the disk or the wire: the order of bytes is this machine's, and pointers are kept as they are. What
 * they point to has the owner it had.
 */
#ifndef SLUIS_DAEMON_CORE_PACKED_H
#define SLUIS_DAEMON_CORE_PACKED_H

#include <stddef.h>
#include <stdint.h>

enum { PACKED_RECORD_BYTES_MAX = 1024 };

/* Of a record of `bytes` (a multiple of 8, at most PACKED_RECORD_BYTES_MAX). The caller frees. O(bytes). */
uint8_t *packed_new(const void *record, size_t bytes);
void packed_open(const uint8_t *p, void *ret_record, size_t bytes);
/* One field of it, of at most 8 bytes and in one word. O(words that are not zero), touching no more than that. */
void packed_field(const uint8_t *p, size_t bytes, size_t offset, void *ret_field, size_t field_bytes);

#endif
