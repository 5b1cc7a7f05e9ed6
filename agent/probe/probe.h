/* probe.h - look at a machine, real or recorded, and make an inventory of it
 *
 * The one door to hwloc and to the vendors' GPU libraries. hwloc gives packages, NUMA nodes, cores,
 * PCI tree and locality; NVML and ROCm SMI, loaded at run time where they exist, add what only the
 * driver knows: UUIDs, memory, MIG slices, links, health. Without them the facts that hwloc and sysfs
 * have must do.
 *
 * Nothing here changes the machine or keeps anything open. A look takes from milliseconds to some
 * seconds (a GPU driver that wakes up), so it belongs at start-up and not into the agent's loop.
 *
 * Source: hwloc 2.9 manual; NVML API reference; ROCm SMI API reference.
 */
#ifndef SLUIS_AGENT_PROBE_PROBE_H
#define SLUIS_AGENT_PROBE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/model/inventory.h"

#define PROBE_XML_BYTES_MAX (8u << 20) /* recorded machines take 20 kB to 300 kB */

enum probe_source {
	PROBE_LIVE,      /* this machine */
	PROBE_XML,       /* `path` is a file that `lstopo FILE.xml` wrote, format 1.x or 2.x */
	PROBE_SYNTHETIC, /* `path` is a description: "package:2 numanode:1 core:32 pu:2" */
	PROBE_FSROOT,    /* `path` is a copy of /sys and /proc (hwloc-gather-topology) */
};

/* GPUs to invent for a synthetic machine. */
struct probe_gpus {
	unsigned count; /* 0..INV_DEVICES_MAX */
	enum inv_vendor vendor;
	char model[INV_MODEL_BYTES];
	int64_t memory_mib;
	uint32_t link_mbps; /* MB/s between any two of them; 0: no fast links */
};

struct probe_opts {
	enum probe_source source;
	const char *path; /* see probe_source; unused for PROBE_LIVE */
	/* With a recorded or synthetic machine: devices get UUIDs made from this name, so that two
	 * emulated nodes of one file never share an identity. NULL: keep what the file says. */
	const char *node_name;
	struct probe_gpus gpus; /* PROBE_SYNTHETIC only */
	/* Vendor libraries: NULL loads the usual name on a live machine and nothing otherwise; a path
	 * loads that file, whatever the source; "" loads nothing. */
	const char *nvml_path;
	const char *rsmi_path;
};

/* How a vendor's driver counts a device; -1: not known, or does not apply. */
struct probe_handle {
	int minor;        /* of /dev/nvidiaN */
	int gpu_instance; /* of a MIG slice, and the compute instance in it */
	int compute_instance;
};

/* What stays on the node: how the kernel and the drivers call what the inventory names. */
struct probe_local {
	uint16_t core_count; /* equals inventory.core_count */
	struct {
		uint8_t count; /* 1..INV_PUS_PER_CORE_MAX */
		uint32_t os_index[INV_PUS_PER_CORE_MAX];
	} core[INV_CORES_MAX]; /* the hardware threads of each core: how a granted mask becomes a cpuset */
	/* The devices are really here: on a live machine, or where a vendor's library was named. */
	bool devices_here;
	struct probe_handle device[INV_DEVICES_MAX]; /* as inventory.devices */
};

/* Look, and fill both results; inventory_check() holds for ret_inventory.
 *
 * Only what this process may use is seen: cores outside its cgroup are left out. GPUs are PCI
 * functions of NVIDIA, AMD and Intel with a display or accelerator class, or any function that a GPU
 * driver shows; chipset graphics and virtual functions whose physical function is here are not.
 *
 * Returns 0; ERR_IO or ERR_TOOBIG if the file cannot be read; ERR_VERSION for XML of a newer hwloc
 * (the hint says how to convert); ERR_FORMAT if it is no topology; ERR_NOROOM if the machine is larger
 * than the inventory's bounds; ERR_CONFIG if the environment redirects a live look; ERR_INVAL for
 * options that do not go together. The message names the source. On failure the results are
 * undefined. Not reentrant: it forks (PROBE_XML is tried in a
 * child first, because hwloc can die of a damaged file), sets HWLOC_HIDE_ERRORS, and for PROBE_FSROOT three
 * more environment variables for the duration of the call. */
int probe_run(const struct probe_opts *opts, struct inventory *ret_inventory,
	      struct probe_local *ret_local, struct err *err) NODISCARD;

/* Parse "8xH100", "4xMI250X" or "2xAny model text:24" (COUNTxMODEL[:MEMORY_GIB]). Well-known short
 * names become the driver's text with memory and link speed filled in. Returns 0 or ERR_INVAL, whose
 * hint lists the short names. */
int probe_gpus_parse(const char *text, struct probe_gpus *ret_gpus, struct err *err) NODISCARD;

#endif
