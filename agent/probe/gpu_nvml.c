/* gpu_nvml.c - NVIDIA GPUs and MIG slices through NVML
 *
 * NVML is loaded at run time and its few types are declared here, so the agent builds and runs on
 * machines without it. Every call but the first ones is optional: drivers differ in what they
 * export, and NOT_SUPPORTED is an ordinary answer (GB10 has no memory of its own, T4 no NVLink).
 *
 * Health: FAILED if the driver lost the GPU or a row could not be remapped; SUSPECT if a call that
 * always works failed, if a repair waits for a reset, or if MIG mode is on and there is no slice.
 *
 * Source: NVML API reference guide, driver 550; the structures have been stable since driver 450.
 */
#include "agent/probe/gpu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "agent/probe/idle.h"
#include "proto/base/ensure.h"

typedef void *nvml_device; /* NVML's own handle: a pointer to something it never shows */

enum {
	NVML_SUCCESS = 0,
	NVML_ERROR_NOT_SUPPORTED = 3,
	NVML_ERROR_INSUFFICIENT_SIZE = 7,
	NVML_ERROR_GPU_IS_LOST = 15,
	NVML_LINKS_MAX = 18, /* NVML_NVLINK_MAX_LINKS */
	PCI_VENDOR_NVIDIA = 0x10de,
};

struct nvml_pci {
	char bus_id_legacy[16];
	unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
	char bus_id[32];
};
struct nvml_memory {
	unsigned long long total, free, used;
};
struct nvml_memory2 {
	unsigned version;
	unsigned long long total, reserved, free, used;
};
struct nvml_process {
	unsigned pid;
	unsigned long long used_memory;
	unsigned gpu_instance, compute_instance;
};
struct nvml_attributes {
	unsigned multiprocessors, copy_engines, decoders, encoders, jpegs, ofas;
	unsigned gpu_slices, compute_slices;
	unsigned long long memory_mib;
};

struct nvml {
	int (*init)(void);
	int (*shutdown)(void);
	int (*count)(unsigned *);
	int (*by_index)(unsigned, nvml_device *);
	int (*pci)(nvml_device, struct nvml_pci *);
	int (*uuid)(nvml_device, char *, unsigned);
	int (*name)(nvml_device, char *, unsigned);
	int (*memory)(nvml_device, struct nvml_memory *);
	int (*mig_mode)(nvml_device, unsigned *, unsigned *);
	int (*mig_count_max)(nvml_device, unsigned *);
	int (*mig_by_index)(nvml_device, unsigned, nvml_device *);
	int (*attributes)(nvml_device, struct nvml_attributes *);
	int (*link_state)(nvml_device, unsigned, unsigned *);
	int (*link_version)(nvml_device, unsigned, unsigned *);
	int (*link_remote)(nvml_device, unsigned, struct nvml_pci *);
	int (*remapped_rows)(nvml_device, unsigned *, unsigned *, unsigned *, unsigned *);
	int (*retired_pending)(nvml_device, unsigned *);
	int (*minor)(nvml_device, unsigned *);
	int (*gpu_instance)(nvml_device, unsigned *);
	int (*compute_instance)(nvml_device, unsigned *);
	int (*compute_mode)(nvml_device, unsigned *);
	int (*memory2)(nvml_device, struct nvml_memory2 *);
	int (*processes[3])(nvml_device, unsigned *, struct nvml_process *);
};

static const struct {
	const char *symbol;
	size_t offset;
	bool needed;
} SYMBOLS[] = {
	{ "nvmlInit_v2", offsetof(struct nvml, init), true },
	{ "nvmlShutdown", offsetof(struct nvml, shutdown), true },
	{ "nvmlDeviceGetCount_v2", offsetof(struct nvml, count), true },
	{ "nvmlDeviceGetHandleByIndex_v2", offsetof(struct nvml, by_index), true },
	{ "nvmlDeviceGetPciInfo_v3", offsetof(struct nvml, pci), true },
	{ "nvmlDeviceGetUUID", offsetof(struct nvml, uuid), true },
	{ "nvmlDeviceGetName", offsetof(struct nvml, name), true },
	{ "nvmlDeviceGetMemoryInfo", offsetof(struct nvml, memory), true },
	{ "nvmlDeviceGetMigMode", offsetof(struct nvml, mig_mode), false },
	{ "nvmlDeviceGetMaxMigDeviceCount", offsetof(struct nvml, mig_count_max), false },
	{ "nvmlDeviceGetMigDeviceHandleByIndex", offsetof(struct nvml, mig_by_index), false },
	{ "nvmlDeviceGetAttributes_v2", offsetof(struct nvml, attributes), false },
	{ "nvmlDeviceGetNvLinkState", offsetof(struct nvml, link_state), false },
	{ "nvmlDeviceGetNvLinkVersion", offsetof(struct nvml, link_version), false },
	{ "nvmlDeviceGetNvLinkRemotePciInfo_v2", offsetof(struct nvml, link_remote), false },
	{ "nvmlDeviceGetRemappedRows", offsetof(struct nvml, remapped_rows), false },
	{ "nvmlDeviceGetRetiredPagesPendingStatus", offsetof(struct nvml, retired_pending), false },
	{ "nvmlDeviceGetMinorNumber", offsetof(struct nvml, minor), false },
	{ "nvmlDeviceGetGpuInstanceId", offsetof(struct nvml, gpu_instance), false },
	{ "nvmlDeviceGetComputeInstanceId", offsetof(struct nvml, compute_instance), false },
	{ "nvmlDeviceGetComputeMode", offsetof(struct nvml, compute_mode), false },
	{ "nvmlDeviceGetMemoryInfo_v2", offsetof(struct nvml, memory2), false },
	{ "nvmlDeviceGetComputeRunningProcesses_v3", offsetof(struct nvml, processes[0]), false },
	{ "nvmlDeviceGetGraphicsRunningProcesses_v3", offsetof(struct nvml, processes[1]), false },
	{ "nvmlDeviceGetMPSComputeRunningProcesses_v3", offsetof(struct nvml, processes[2]), false },
};

static bool nvml_bind(struct nvml *n, void *library)
{
	for (size_t i = 0; i < ARRAY_LEN(SYMBOLS); i++) {
		void *symbol = dlsym(library, SYMBOLS[i].symbol);

		if (!symbol && SYMBOLS[i].needed)
			return false;
		/* POSIX lets dlsym's pointer be read as a function pointer; C has no cast for it. */
		memcpy((char *)n + SYMBOLS[i].offset, &symbol, sizeof(symbol));
	}
	return true;
}

static uint8_t worse(uint8_t a, uint8_t b)
{
	return a > b ? a : b;
}

/* What a failed call says about the health of the device it was made for. */
static uint8_t health_of(int rc)
{
	if (rc == NVML_SUCCESS || rc == NVML_ERROR_NOT_SUPPORTED)
		return INV_HEALTH_OK;
	return rc == NVML_ERROR_GPU_IS_LOST ? INV_HEALTH_FAILED : INV_HEALTH_SUSPECT;
}

static uint8_t repair_health(const struct nvml *n, nvml_device dev)
{
	unsigned corrected = 0, uncorrected = 0, pending = 0, failed = 0;

	if (n->remapped_rows && n->remapped_rows(dev, &corrected, &uncorrected, &pending, &failed) == 0) {
		if (failed)
			return INV_HEALTH_FAILED;
		return pending ? INV_HEALTH_SUSPECT : INV_HEALTH_OK;
	}
	/* Before Ampere pages were retired instead of rows remapped. */
	if (n->retired_pending && n->retired_pending(dev, &pending) == 0 && pending)
		return INV_HEALTH_SUSPECT;
	return INV_HEALTH_OK;
}

/* UUID, name and memory of a GPU or a slice into `f`. */
static void read_common(const struct nvml *n, nvml_device dev, struct gpu_fact *f)
{
	struct nvml_memory memory = {0};
	char text[112];
	int rc;

	memset(text, 0, sizeof(text));
	rc = n->uuid(dev, text, sizeof(text) - 1);
	f->health = worse(f->health, health_of(rc));
	if (rc == 0)
		gpu_text(f->uuid, sizeof(f->uuid), text);
	memset(text, 0, sizeof(text));
	rc = n->name(dev, text, sizeof(text) - 1);
	f->health = worse(f->health, health_of(rc));
	if (rc == 0)
		gpu_text(f->model, sizeof(f->model), text);
	rc = n->memory(dev, &memory);
	f->health = worse(f->health, health_of(rc));
	if (rc == 0)
		f->memory_mib = (int64_t)(memory.total >> 20);
}

/* "NVIDIA A100-SXM4-40GB MIG 1g.5gb" carries the profile; older drivers leave it out and we name it
 * by slices and memory, as nvidia-smi does. */
static void name_slice(const struct nvml *n, nvml_device dev, struct gpu_fact *f)
{
	struct nvml_attributes a = {0};
	char *mark = strstr(f->model, " MIG ");

	if (mark) {
		gpu_text(f->mig_profile, sizeof(f->mig_profile), mark + 5);
		*mark = '\0';
		return;
	}
	if (n->attributes && n->attributes(dev, &a) == 0 && a.gpu_slices > 0 && a.gpu_slices <= 16) {
		unsigned gb = (unsigned)((a.memory_mib + 1023) / 1024 & 0xffff);

		if (a.compute_slices > 0 && a.compute_slices < a.gpu_slices)
			snprintf(f->mig_profile, sizeof(f->mig_profile), "%uc.%ug.%ugb",
				 a.compute_slices, a.gpu_slices, gb);
		else
			snprintf(f->mig_profile, sizeof(f->mig_profile), "%ug.%ugb", a.gpu_slices, gb);
		return;
	}
	snprintf(f->mig_profile, sizeof(f->mig_profile), "unknown");
	f->health = worse(f->health, INV_HEALTH_SUSPECT);
}

static int number_of(int (*call)(nvml_device, unsigned *), nvml_device dev)
{
	unsigned v;

	return call && call(dev, &v) == NVML_SUCCESS && v < 1U << 20 ? (int)v : -1;
}

/* One more device on the function that `base` names, or NULL when there is no room. */
static struct gpu_fact *add_fact(struct gpu_facts *facts, const struct gpu_fact *base)
{
	if (facts->count == ARRAY_LEN(facts->gpu)) {
		facts->truncated = true;
		return NULL;
	}
	facts->gpu[facts->count] = *base;
	return &facts->gpu[facts->count++];
}

static void read_slices(const struct nvml *n, nvml_device dev, const struct gpu_fact *gpu,
			struct gpu_facts *facts)
{
	unsigned max = 0, found = 0;

	if (n->mig_count_max && n->mig_by_index && n->mig_count_max(dev, &max) == 0) {
		for (unsigned i = 0; i < max && i <= INV_PARTITION_MAX; i++) {
			struct gpu_fact base = { .partition = (uint8_t)i, .health = gpu->health, .handle = gpu->handle };
			struct gpu_fact *f;
			nvml_device slice;

			/* Indices have gaps where no slice was made. */
			if (n->mig_by_index(dev, i, &slice) != 0)
				continue;
			memcpy(base.pci, gpu->pci, sizeof(base.pci));
			f = add_fact(facts, &base);
			if (!f)
				return;
			read_common(n, slice, f);
			name_slice(n, slice, f);
			f->handle.gpu_instance = number_of(n->gpu_instance, slice);
			f->handle.compute_instance = number_of(n->compute_instance, slice);
			if (f->model[0] == '\0')
				memcpy(f->model, gpu->model, sizeof(f->model));
			found++;
		}
	}
	if (found == 0) {
		struct gpu_fact *f = add_fact(facts, gpu);

		if (f)
			f->health = worse(f->health, INV_HEALTH_SUSPECT);
	}
}

/* MB/s of one NVLink, one way, by generation, as hwloc counts them. */
static uint32_t lane_mbps(unsigned version)
{
	if (version <= 1)
		return 20000;
	return version <= 4 ? 25000 : 50000;
}

static void read_lanes(const struct nvml *n, nvml_device dev, unsigned index, struct gpu_facts *facts)
{
	if (!n->link_state || !n->link_remote)
		return;
	for (unsigned link = 0; link < NVML_LINKS_MAX; link++) {
		struct nvml_pci remote = {0};
		unsigned active = 0, version = 2;
		struct gpu_lane *l;

		if (n->link_state(dev, link, &active) != 0 || !active)
			continue;
		/* The far end is a GPU or an NVSwitch; a POWER CPU's end joins no GPUs. */
		if (n->link_remote(dev, link, &remote) != 0 ||
		    (remote.pci_device_id & 0xffff) != PCI_VENDOR_NVIDIA)
			continue;
		if (n->link_version && n->link_version(dev, link, &version) != 0)
			version = 2;
		if (facts->lane_count == ARRAY_LEN(facts->lane))
			return;
		l = &facts->lane[facts->lane_count++];
		*l = (struct gpu_lane){ .from = (uint8_t)index, .bandwidth_mbps = lane_mbps(version) };
		gpu_pci_name(l->remote, remote.domain, remote.bus, remote.device, 0);
	}
}

static void read_gpu(const struct nvml *n, nvml_device dev, struct gpu_facts *facts)
{
	unsigned mode = 0, pending = 0;
	struct gpu_fact gpu = {0}, *f;
	struct nvml_pci pci = {0};

	/* Without its PCI id we could not say which GPU this is; hwloc's entry for it remains, and
	 * being absent here makes it suspect. */
	if (n->pci(dev, &pci) != 0)
		return;
	gpu_pci_name(gpu.pci, pci.domain, pci.bus, pci.device, 0);
	gpu.handle = (struct probe_handle){number_of(n->minor, dev), -1, -1};
	gpu.health = repair_health(n, dev);
	read_common(n, dev, &gpu);
	if (n->mig_mode && n->mig_mode(dev, &mode, &pending) == 0 && mode == 1) {
		read_slices(n, dev, &gpu, facts); /* slices have no NVLink */
		return;
	}
	f = add_fact(facts, &gpu);
	if (f)
		read_lanes(n, dev, (unsigned)(f - facts->gpu), facts);
}

void gpu_nvml_read(const char *path, struct gpu_facts *ret_facts)
{
	void *library = dlopen(path ? path : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	struct nvml n = {0};
	unsigned count = 0;

	*ret_facts = (struct gpu_facts){0};
	if (!library)
		return;
	ret_facts->loaded = true;
	if (nvml_bind(&n, library) && n.init() == NVML_SUCCESS) {
		if (n.count(&count) == NVML_SUCCESS) {
			ret_facts->answered = true;
			for (unsigned i = 0; i < count; i++) {
				nvml_device dev;

				if (n.by_index(i, &dev) == NVML_SUCCESS)
					read_gpu(&n, dev, ret_facts);
			}
		}
		(void)n.shutdown(); /* nothing to do about a failure: we are leaving */
	}
	dlclose(library);
}

/* ---- is it idle? ----------------------------------------------------------------------------- */

#define MEMORY2_VERSION (sizeof(struct nvml_memory2) | 2U << 24)

/* A handle of the device named by PCI id and, in MIG mode, slice; NULL if there is none. */
static nvml_device find_device(const struct nvml *n, const struct inv_device *d, nvml_device *ret_gpu)
{
	unsigned count = 0;

	*ret_gpu = NULL;
	if (n->count(&count) != NVML_SUCCESS)
		return NULL;
	for (unsigned i = 0; i < count; i++) {
		struct nvml_pci pci = {0};
		char name[INV_PCI_BYTES];
		nvml_device gpu, slice;

		if (n->by_index(i, &gpu) != NVML_SUCCESS || n->pci(gpu, &pci) != NVML_SUCCESS)
			continue;
		gpu_pci_name(name, pci.domain, pci.bus, pci.device, 0);
		if (strcmp(name, d->pci) != 0)
			continue;
		*ret_gpu = gpu;
		if (!d->mig_profile[0])
			return gpu;
		return n->mig_by_index && n->mig_by_index(gpu, d->partition, &slice) == NVML_SUCCESS ? slice : NULL;
	}
	return NULL;
}

static void judge(struct idle_finding *ret, enum idle_verdict verdict, const char *text)
{
	if (ret->verdict >= verdict)
		return; /* the worst, and of those the first */
	ret->verdict = verdict;
	(void)snprintf(ret->text, sizeof(ret->text), "%s", text);
}

/* In the mode that the inventory was made in: nobody who comes next asked for another. */
static void check_modes(const struct nvml *n, nvml_device gpu, const struct inv_device *d, struct idle_finding *ret)
{
	static const char *const names[] = {"default", "exclusive thread", "prohibited", "exclusive process"};
	unsigned mode = 0, pending = 0, want = d->mig_profile[0] != '\0';
	char text[112];

	if (n->mig_mode && n->mig_mode(gpu, &mode, &pending) == NVML_SUCCESS && (mode != want || pending != want)) {
		(void)snprintf(text, sizeof(text), "its MIG mode is %s, %s after a reset", mode ? "on" : "off", pending ? "on" : "off");
		judge(ret, IDLE_SICK, text);
	}
	mode = 0;
	if (n->compute_mode && n->compute_mode(gpu, &mode) == NVML_SUCCESS && mode != 0) {
		(void)snprintf(text, sizeof(text), "its compute mode is %s", mode < ARRAY_LEN(names) ? names[mode] : "not known");
		judge(ret, IDLE_SICK, text);
	}
}

static void check_use(const struct nvml *n, nvml_device dev, struct idle_finding *ret)
{
	struct nvml_memory2 memory2 = { .version = (unsigned)MEMORY2_VERSION };
	struct nvml_memory memory = {0};
	unsigned long long used = 0;
	char text[112];

	for (size_t i = 0; i < ARRAY_LEN(n->processes); i++) {
		struct nvml_process list[8] = {{0}};
		unsigned count = ARRAY_LEN(list);
		int rc = n->processes[i] ? n->processes[i](dev, &count, list) : NVML_ERROR_NOT_SUPPORTED;

		if ((rc == NVML_SUCCESS && count > 0) || rc == NVML_ERROR_INSUFFICIENT_SIZE) {
			(void)snprintf(text, sizeof(text), "process %u still computes on it", list[0].pid);
			judge(ret, IDLE_BUSY, text);
		}
	}
	if (n->memory2 && n->memory2(dev, &memory2) == NVML_SUCCESS)
		used = memory2.used; /* without what the driver keeps */
	else if (n->memory(dev, &memory) == NVML_SUCCESS)
		used = memory.used;
	if (used >> 20 > IDLE_MEMORY_MIB) {
		(void)snprintf(text, sizeof(text), "%llu MiB of its memory are in use", used >> 20);
		judge(ret, IDLE_BUSY, text);
	}
}

void gpu_nvml_idle(const char *path, const struct inv_device *d, struct idle_finding *ret)
{
	void *library = dlopen(path ? path : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	struct nvml n = {0};
	nvml_device gpu, dev;

	if (!library)
		return;
	if (nvml_bind(&n, library) && n.init() == NVML_SUCCESS) {
		dev = find_device(&n, d, &gpu);
		if (!gpu) {
			judge(ret, IDLE_SICK, "the driver does not list it any more");
		} else {
			if (repair_health(&n, gpu) == INV_HEALTH_FAILED)
				judge(ret, IDLE_SICK, "a row of its memory could not be remapped");
			check_modes(&n, gpu, d, ret);
			if (dev)
				check_use(&n, dev, ret);
			else
				judge(ret, IDLE_SICK, "its slice is gone");
		}
		(void)n.shutdown();
	}
	dlclose(library);
}
