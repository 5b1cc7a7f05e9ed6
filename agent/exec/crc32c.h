/* crc32c.h - Castagnoli CRC (RFC 3720 appendix B.4), for records that a crash may tear */
#ifndef SLUIS_AGENT_EXEC_CRC32C_H
#define SLUIS_AGENT_EXEC_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of what `crc` covers followed by `n` bytes; start with 0. */
uint32_t crc32c(uint32_t crc, const void *data, size_t n);

#endif
