/* devices.h - which device nodes a task may be given, and the kernel filter that refuses all others
 *
 * Source: Linux Documentation/admin-guide/cgroup-v2.rst, "Device controller"; the same default nodes as
 * systemd's DevicePolicy=closed.
 */
#ifndef SLUIS_AGENT_EXEC_DEVICES_H
#define SLUIS_AGENT_EXEC_DEVICES_H

#include <stdbool.h>

#include "proto/base/err.h"

enum { DEVICES_MAX = 64, DEVICE_PATH_BYTES = 64 };

/* Is this the path of an accelerator (/dev/nvidia..., /dev/nvidia-caps/..., /dev/dri/..., /dev/kfd), of a fast
 * network's user side (/dev/infiniband/uverbs..., rdma_cm), or /dev/fuse, which containers mount by? Only
 * the name is looked at, one plain component behind the folder. */
bool device_allowed(const char *path);

/* Can this process load and attach such filters? (CAP_BPF or root, and a kernel that has them.) */
bool device_filter_possible(void);
/* From now on processes in `cgroup` open no device but the default ones and `paths` (NULL at the end, at
 * most DEVICES_MAX). ERR_NOTFOUND, ERR_INVAL for a path that is no device node; ERR_TOOBIG; ERR_SYS. */
int device_filter_attach(const char *cgroup, const char *const *paths, struct err *err) NODISCARD;

#endif
