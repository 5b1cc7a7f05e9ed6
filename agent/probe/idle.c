/* idle.c - see idle.h */
#include "agent/probe/idle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/probe/gpu.h"
#include "proto/base/ensure.h"

enum { KMSG_RECORD_BYTES = 8192 };

/* ---- Xid ------------------------------------------------------------------------------------------------- */

/* Uncorrectable memory, lost from the bus, bridge, firmware and power faults. 13, 31, 43, 45, 68, 69 and the like come
 * of what a program did, or of its being ended. */
bool idle_xid_is_hardware(unsigned xid)
{
	static const unsigned broken[] = {46, 48, 54, 56, 57, 58, 61, 62, 63, 64, 74, 79, 92, 95, 110, 119, 120, 121, 140, 143};

	for (size_t i = 0; i < ARRAY_LEN(broken); i++)
		if (broken[i] == xid)
			return true;
	return false;
}

bool idle_xid_parse(const char *record, const char *pci, uint64_t since_us, unsigned *ret_xid)
{
	unsigned domain, bus, device, their_domain, their_bus, their_device, xid;
	const char *at = strstr(record, "NVRM: Xid (PCI:");
	uint64_t us;

	if (!at || sscanf(record, "%*u,%*u,%" SCNu64, &us) != 1 || us < since_us)
		return false;
	if (sscanf(at, "NVRM: Xid (PCI:%x:%x:%x): %u", &their_domain, &their_bus, &their_device, &xid) != 4 ||
	    sscanf(pci, "%x:%x:%x", &domain, &bus, &device) != 3)
		return false;
	if (domain != their_domain || bus != their_bus || device != their_device)
		return false;
	*ret_xid = xid;
	return true;
}

static void look_in_kernel_log(const char *pci, uint64_t since_us, struct idle_finding *ret)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char record[KMSG_RECORD_BYTES];
	unsigned xid;
	ssize_t n;

	while (fd >= 0 && ((n = read(fd, record, sizeof(record) - 1)) > 0 || errno == EPIPE)) { /* EPIPE: some were overwritten */
		if (n <= 0)
			continue;
		record[n] = '\0';
		if (!idle_xid_parse(record, pci, since_us, &xid) || !idle_xid_is_hardware(xid))
			continue;
		ret->verdict = IDLE_SICK;
		(void)snprintf(ret->text, sizeof(ret->text), "the driver reported Xid %u", xid);
	}
	if (fd >= 0)
		(void)close(fd);
}

/* ---- open files ------------------------------------------------------------------------------------------ */

static bool is_node(const struct probe_nodes *nodes, const char *path)
{
	for (unsigned i = 0; i < nodes->own_n; i++)
		if (!strcmp(path, nodes->own[i]))
			return true;
	return false;
}

static bool has_open(pid_t pid, const struct probe_nodes *nodes, char ret_path[NODE_PATH_BYTES])
{
	char dir_path[64], link[NODE_PATH_BYTES];
	struct dirent *e;
	bool found = false;
	DIR *dir;

	(void)snprintf(dir_path, sizeof(dir_path), "/proc/%d/fd", (int)pid);
	dir = opendir(dir_path);
	while (dir && !found && (e = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		found = is_node(nodes, link);
	}
	if (dir)
		(void)closedir(dir);
	if (found)
		memcpy(ret_path, link, sizeof(link));
	return found;
}

static void name_of(pid_t pid, char ret[32])
{
	char path[64];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, ret, 31);
	if (fd >= 0)
		(void)close(fd);
	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

/* Not us, nor whoever asked us: an agent may hold its devices open through a vendor's library. */
static void look_at_open_files(const struct probe_nodes *nodes, struct idle_finding *ret)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;

	while (proc && ret->verdict == IDLE_CLEAN && (e = readdir(proc))) {
		char path[NODE_PATH_BYTES], name[32], *end;
		long pid = strtol(e->d_name, &end, 10);

		if (*end || pid <= 0 || pid == getpid() || pid == getppid() || !has_open((pid_t)pid, nodes, path))
			continue;
		name_of((pid_t)pid, name);
		ret->verdict = IDLE_BUSY;
		(void)snprintf(ret->text, sizeof(ret->text), "process %ld (%.15s) has %.40s open", pid, name, path);
	}
	if (proc)
		(void)closedir(proc);
}

void probe_idle(const char *library, const struct inv_device *d, const struct probe_nodes *nodes, uint64_t since_boot_us,
		struct idle_finding *ret)
{
	*ret = (struct idle_finding){.verdict = IDLE_CLEAN};
	if (d->vendor == INV_VENDOR_NVIDIA && (!library || library[0]))
		gpu_nvml_idle(library, d, ret);
	if (ret->verdict == IDLE_CLEAN)
		look_at_open_files(nodes, ret);
	if (ret->verdict == IDLE_CLEAN && d->vendor == INV_VENDOR_NVIDIA)
		look_in_kernel_log(d->pci, since_boot_us, ret);
}
