/* gpu.h - what a vendor's library says about GPUs (inside agent/probe only)
 *
 * A reader loads the library, asks, and lets go. Its facts are joined with hwloc's by PCI id; where
 * both speak, the library wins. Each entry is a device that work can be given: in MIG mode the
 * slices and not the GPU around them.
 */
#ifndef SLUIS_AGENT_PROBE_GPU_H
#define SLUIS_AGENT_PROBE_GPU_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/probe/probe.h"
#include "proto/model/inventory.h"

enum { GPU_LINKS_MAX = 1024 };

struct gpu_fact {
	char pci[INV_PCI_BYTES];
	uint8_t partition;
	uint8_t health; /* enum inv_health */
	char uuid[INV_UUID_BYTES];
	char model[INV_MODEL_BYTES];
	char mig_profile[INV_MIG_BYTES];
	int64_t memory_mib; /* 0: not known */
	struct probe_handle handle;
};

/* An active connection of gpu[from] to whatever sits at `remote`: a GPU or a switch. */
struct gpu_lane {
	uint8_t from;
	uint8_t remote_partition;
	char remote[INV_PCI_BYTES];
	uint32_t bandwidth_mbps;
};

struct gpu_facts {
	bool loaded;   /* the library exists; false leaves everything to hwloc */
	bool answered; /* and it could be started */
	bool truncated; /* more devices than INV_DEVICES_MAX */
	unsigned count;
	struct gpu_fact gpu[INV_DEVICES_MAX];
	unsigned lane_count;
	struct gpu_lane lane[GPU_LINKS_MAX];
};

/* Ask NVML (`path` NULL: "libnvidia-ml.so.1"). Never fails: a library that is absent or refuses is a
 * fact of its own. A GPU whose calls fail stays in the list as suspect or failed. */
void gpu_nvml_read(const char *path, struct gpu_facts *ret_facts);
/* Ask ROCm SMI (`path` NULL: the sonames of ROCm 5 to 7). Likewise. */
void gpu_rsmi_read(const char *path, struct gpu_facts *ret_facts);

/* What NVML holds against a device that should be idle (idle.h). Adds nothing if it cannot be asked. */
struct idle_finding;
void gpu_nvml_idle(const char *path, const struct inv_device *d, struct idle_finding *ret);

/* Copy `text` into dst[size]: blanks trimmed at both ends, foreign bytes as '?', cut to fit. */
void gpu_text(char *dst, size_t size, const char *text);
/* Write the canonical PCI name. */
void gpu_pci_name(char dst[INV_PCI_BYTES], uint32_t domain, unsigned bus, unsigned device,
		  unsigned function);

#endif
