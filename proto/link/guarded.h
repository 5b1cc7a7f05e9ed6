/* guarded.h - the guarded memory of CURVE handshakes, kept for the next one
 *
 * libzmq takes the plaintext of every step of a CURVE handshake from sodium_malloc(3): pages of its own,
 * locked, between pages that nobody may touch, made by some ten system calls and thrown away a moment
 * later. In a process with several threads each of these stops the other processors to flush their
 * translations, which is most of what a connection costs when thousands arrive at once. A program that
 * links this file has its own sodium_malloc and sodium_free in front of the library's (symbols of the
 * program come first, ld.so(8)): a freed block is wiped and kept, and given out again for exactly the
 * size it was made for. So its end still touches the guard page, it stays locked, and the next
 * handshake makes no system call.
 */
#ifndef SLUIS_PROTO_LINK_GUARDED_H
#define SLUIS_PROTO_LINK_GUARDED_H

#include <stddef.h>
#include <stdint.h>

enum { GUARDED_KEPT = 64 }; /* blocks kept at most, in use or idle; those beyond come and go */

/* Links the two functions below into the program, and finds the library's. Once is enough. */
void guarded_use(void);

/* As sodium_malloc(3) and sodium_free(3), but for what a new block holds: zeros, or the library's 0xdb.
 * Safe from any thread; O(GUARDED_KEPT). */
void *sodium_malloc(size_t size);
void sodium_free(void *block);

struct guarded_stats {
	uint64_t given; /* blocks handed out since the start */
	uint64_t made;  /* of these, made by libsodium */
};

struct guarded_stats guarded_stats(void);

#endif
