/* sha256.h - SHA-256 for digests and hash chains (FIPS 180-4)
 *
 * Ours rather than a library's because the core links none and must produce the same digests on
 * every machine. About 200 MB/s; no secrets pass through it.
 */
#ifndef SLUIS_PROTO_BASE_SHA256_H
#define SLUIS_PROTO_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32 };

struct sha256 {
	uint32_t h[8];
	uint64_t total_bytes;
	uint8_t block[64];
	unsigned fill;
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t n); /* data may be NULL if n is 0 */
/* Ends the message; the object needs sha256_init() before the next one. */
void sha256_final(struct sha256 *s, uint8_t ret_digest[SHA256_BYTES]);

#endif
