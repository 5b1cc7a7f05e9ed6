/* ensure.h - assertions that stay on in release builds
 *
 * ENSURE() states what must be true because our own code made it so. It never judges input: bytes
 * from a peer or a disk get an error (err.h). One condition per ENSURE.
 */
#ifndef SLUIS_PROTO_BASE_ENSURE_H
#define SLUIS_PROTO_BASE_ENSURE_H

#include <stddef.h>

/* Print the place and the condition to stderr and abort. */
_Noreturn void ensure_failed(const char *file, int line, const char *func, const char *cond);

/* Say that `bytes` could not be had, and abort: nothing of ours goes on without memory, and a process that
 * ends loses nothing that was acknowledged. */
_Noreturn void memory_out(size_t bytes);

#define ENSURE(cond) ((cond) ? (void)0 : ensure_failed(__FILE__, __LINE__, __func__, #cond))
#define UNREACHABLE() ensure_failed(__FILE__, __LINE__, __func__, "unreachable")

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CLEANUP(fn) __attribute__((cleanup(fn)))

#endif
