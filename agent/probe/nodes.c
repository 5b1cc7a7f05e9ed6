/* nodes.c - see nodes.h */
#include "agent/probe/nodes.h"

#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/ensure.h"

static bool exists(const char *root, const char *path)
{
	char full[PATH_MAX];

	(void)snprintf(full, sizeof(full), "%s%s", root, path);
	return access(full, F_OK) == 0;
}

static FILE *open_text(const char *root, const char *path)
{
	char full[PATH_MAX];

	(void)snprintf(full, sizeof(full), "%s%s", root, path);
	return fopen(full, "re");
}

PRINTF_LIKE(4, 5)
static int own(const char *root, struct probe_nodes *ret, struct err *err, const char *fmt, ...)
{
	char path[NODE_PATH_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	if (ret->own_n == NODES_MAX)
		return err_set(err, ERR_NOROOM, "more than %d device nodes", NODES_MAX);
	if (!exists(root, path))
		return err_set(err, ERR_NOTFOUND, "there is no '%s'", path);
	memcpy(ret->own[ret->own_n++], path, sizeof(path));
	return 0;
}

static void control(const char *root, struct probe_nodes *ret, const char *path)
{
	if (exists(root, path) && ret->control_n < NODES_MAX)
		(void)snprintf(ret->control[ret->control_n++], NODE_PATH_BYTES, "%s", path);
}

/* ---- NVIDIA ---------------------------------------------------------------------------------------------- */

/* Without NVML the driver says the minor in /proc. */
static int minor_by_proc(const char *root, const char *pci)
{
	char path[128], line[256];
	int minor = -1;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/driver/nvidia/gpus/%s/information", pci);
	f = open_text(root, path);
	while (f && minor < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "Device Minor: %d", &minor) != 1)
			minor = -1;
	if (f)
		(void)fclose(f);
	return minor;
}

/* Lines "gpu0/gi1/ci0/access 13": the minor of the capability node. */
static int cap_minor(const char *root, const char *name)
{
	FILE *f = open_text(root, "/proc/driver/nvidia-caps/mig-minors");
	char line[256], key[128];
	int minor = -1, found = -1;

	while (f && found < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "%127s %d", key, &minor) == 2 && !strcmp(key, name))
			found = minor;
	if (f)
		(void)fclose(f);
	return found;
}

static int nvidia_slice(const char *root, int minor, const struct probe_handle *h, struct probe_nodes *ret, struct err *err)
{
	char names[2][64];

	(void)snprintf(names[0], sizeof(names[0]), "gpu%d/gi%d/access", minor, h->gpu_instance);
	(void)snprintf(names[1], sizeof(names[1]), "gpu%d/gi%d/ci%d/access", minor, h->gpu_instance, h->compute_instance);
	for (size_t i = 0; i < 2; i++) {
		int cap = h->gpu_instance < 0 || h->compute_instance < 0 ? -1 : cap_minor(root, names[i]);
		int code;

		if (cap < 0)
			return err_set(err, ERR_NOTFOUND, "the driver names no capability for '%s'", names[i]);
		code = own(root, ret, err, "/dev/nvidia-caps/nvidia-cap%d", cap);
		if (code)
			return code;
	}
	return 0;
}

static int nvidia(const char *root, const struct inv_device *d, const struct probe_handle *h, struct probe_nodes *ret,
		  struct err *err)
{
	int minor = h->minor >= 0 ? h->minor : minor_by_proc(root, d->pci), code;

	if (minor < 0)
		return err_set(err, ERR_NOTFOUND, "the driver names no minor of %s", d->pci);
	code = own(root, ret, err, "/dev/nvidia%d", minor);
	if (!code && d->mig_profile[0])
		code = nvidia_slice(root, minor, h, ret, err);
	control(root, ret, "/dev/nvidiactl");
	control(root, ret, "/dev/nvidia-uvm");
	control(root, ret, "/dev/nvidia-uvm-tools");
	return code;
}

/* ---- AMD ------------------------------------------------------------------------------------------------- */

static int u64_of(const char *root, unsigned node, const char *key, uint64_t *ret)
{
	char path[128], line[256], name[64];
	unsigned long long value;
	int found = -1;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/sys/class/kfd/kfd/topology/nodes/%u/properties", node);
	f = open_text(root, path);
	while (f && found && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %llu", name, &value) == 2 && !strcmp(name, key)) {
			*ret = value;
			found = 0;
		}
	if (f)
		(void)fclose(f);
	return found;
}

/* Nodes of the compute topology on one PCI function, in order, are its partitions. The low three bits of a
 * location, the function, count them on newer kernels. */
static int render_minor(const char *root, const struct inv_device *d)
{
	unsigned domain, bus, device, function, seen = 0;

	if (sscanf(d->pci, "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4)
		return -1;
	for (unsigned i = 0; i < 1024; i++) {
		uint64_t location = 0, its_domain = 0, minor = 0;
		char path[96];

		(void)snprintf(path, sizeof(path), "/sys/class/kfd/kfd/topology/nodes/%u", i);
		if (!exists(root, path))
			break;
		if (u64_of(root, i, "location_id", &location) || u64_of(root, i, "drm_render_minor", &minor) || !minor)
			continue; /* a processor */
		(void)u64_of(root, i, "domain", &its_domain); /* absent on old kernels, which have one */
		if (its_domain != domain || location >> 3 != (uint64_t)(bus << 5 | device))
			continue;
		if (seen++ == d->partition)
			return (int)minor;
	}
	return -1;
}

/* The nodes that a PCI function's driver made below /dev/dri. */
static int drm_nodes(const char *root, const struct inv_device *d, bool cards, struct probe_nodes *ret, struct err *err)
{
	char path[PATH_MAX];
	struct dirent *e;
	int code = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/%s/drm", root, d->pci);
	dir = opendir(path);
	while (dir && !code && (e = readdir(dir)))
		if (!strncmp(e->d_name, "renderD", 7) || (cards && !strncmp(e->d_name, "card", 4) && !strchr(e->d_name, '-')))
			code = own(root, ret, err, "/dev/dri/%.32s", e->d_name);
	if (dir)
		(void)closedir(dir);
	if (!code && !ret->own_n)
		return err_set(err, ERR_NOTFOUND, "the kernel names no render node of %s", d->pci);
	return code;
}

static int amd(const char *root, const struct inv_device *d, struct probe_nodes *ret, struct err *err)
{
	int minor = render_minor(root, d), code;

	if (minor >= 0)
		code = own(root, ret, err, "/dev/dri/renderD%d", minor);
	else if (d->partition == 0)
		code = drm_nodes(root, d, false, ret, err);
	else
		code = err_set(err, ERR_NOTFOUND, "the kernel names no render node of %s/%u", d->pci, d->partition);
	control(root, ret, "/dev/kfd");
	return code;
}

int probe_nodes(const char *root, const struct inv_device *d, const struct probe_handle *handle, struct probe_nodes *ret,
		struct err *err)
{
	memset(ret, 0, sizeof(*ret));
	switch ((enum inv_vendor)d->vendor) {
	case INV_VENDOR_NVIDIA: return nvidia(root, d, handle, ret, err);
	case INV_VENDOR_AMD: return amd(root, d, ret, err);
	case INV_VENDOR_INTEL: return drm_nodes(root, d, true, ret, err);
	}
	return err_set(err, ERR_NOTFOUND, "%s is of no known vendor", d->pci);
}
