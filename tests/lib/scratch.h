/* scratch.h - a folder for one process, for parsers that insist on a file
 *
 * In memory where /dev/shm can be written, so that a fuzzer is not bound by the disk.
 */
#ifndef SLUIS_TESTS_LIB_SCRATCH_H
#define SLUIS_TESTS_LIB_SCRATCH_H

#include <stddef.h>

/* The folder, made on the first call and removed with what lies in it when the process exits. Aborts when
 * it cannot be made. */
const char *scratch_dir(void);

/* Write `len` bytes to `name` in the folder, in place of what was there; returns the path, valid until the
 * next call. */
const char *scratch_file(const char *name, const void *data, size_t len);

#endif
