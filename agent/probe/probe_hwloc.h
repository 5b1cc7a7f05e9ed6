/* probe_hwloc.h - hwloc's half of a probe (inside agent/probe only) */
#ifndef SLUIS_AGENT_PROBE_PROBE_HWLOC_H
#define SLUIS_AGENT_PROBE_PROBE_HWLOC_H

#include <hwloc.h>

#include "agent/probe/gpu.h"
#include "agent/probe/probe.h"

/* Speeds between devices, by their index in inventory.devices. */
struct link_matrix {
	bool peer[INV_DEVICES_MAX][INV_DEVICES_MAX];
	uint32_t mbps[INV_DEVICES_MAX][INV_DEVICES_MAX];
};

/* Load the topology that the options name. The caller destroys it. Errors as probe_run(). */
int topo_load(const struct probe_opts *opts, hwloc_topology_t *ret_topo, struct err *err) NODISCARD;

/* Packages, cores, hardware threads, NUMA nodes, memory. */
int topo_cores(hwloc_topology_t topo, struct inventory *inv, struct probe_local *pus,
	       struct err *err) NODISCARD;
/* Append the GPUs, unsorted. `live`: sysfs tells virtual functions apart. */
int topo_devices(hwloc_topology_t topo, bool live, struct inventory *inv, struct err *err) NODISCARD;
/* NICs, sorted by PCI id; RDMA devices first if there are more than INV_NICS_MAX. */
void topo_nics(hwloc_topology_t topo, bool live, struct inventory *inv);
/* Add the links that hwloc knows between the (sorted) devices. */
void topo_links(hwloc_topology_t topo, const struct inventory *inv, struct link_matrix *m);

/* Record that i and j are joined at `mbps` (0: speed not known) and keep the greater speed. */
void link_join(struct link_matrix *m, unsigned i, unsigned j, uint64_t mbps);
/* Index of the device with this name, or -1. */
int device_find(const struct inventory *inv, const char *pci, unsigned partition);
/* The NUMA node that cores `near` belong to, preferring one with memory, or -1. */
int8_t near_numa(const struct inventory *inv, const struct coreset *near);

#endif
