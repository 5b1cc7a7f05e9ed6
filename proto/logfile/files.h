/* files.h - writing a file whole or not at all */
#ifndef SLUIS_PROTO_LOGFILE_FILES_H
#define SLUIS_PROTO_LOGFILE_FILES_H

#include <stddef.h>

#include "proto/base/err.h"

/* All `n` bytes to fd. ERR_NOSPACE, ERR_IO. */
int file_write(int fd, const void *data, size_t n, struct err *err) NODISCARD;
/* "path.part", on the heap: where the file grows until file_publish(). */
char *file_part(const char *path);
/* Give the synced file `part` its name and sync the directory. ERR_EXISTS: the name is taken. */
int file_publish(const char *part, const char *path, struct err *err) NODISCARD;

#endif
