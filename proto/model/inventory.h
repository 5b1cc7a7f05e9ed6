/* inventory.h - what one node has, as plain data that the agent reports and the daemon believes
 *
 * The agent fills it from hwloc (agent/probe), the wire carries it, the daemon places by it. Nothing
 * in it names the host, so two equal machines have equal inventories but for device UUIDs.
 *
 * What holds true of every inventory that passed inventory_check():
 *  - cores are numbered 0..core_count-1 in hwloc's logical order, so neighbours share caches; every
 *    core mask names such cores only
 *  - devices ascend by (pci, partition) and that pair is their name; a UUID, where there is one,
 *    belongs to one device only
 *  - links ascend by (a, b), a < b; `peers` is symmetric and never contains the device itself
 *  - digest is inventory_digest() of all the rest
 *
 * A device is never named by enumeration order: CUDA, NVML and OpenCL count the same GPUs
 * differently, and an MI300A in CPX mode shows six devices on one PCI function.
 *
 * Source: hwloc 2.9 manual, "I/O Devices" and "Distances".
 */
#ifndef SLUIS_PROTO_MODEL_INVENTORY_H
#define SLUIS_PROTO_MODEL_INVENTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bits.h"
#include "proto/base/err.h"

enum {
	INV_CORES_MAX = 512,
	INV_CORE_WORDS = INV_CORES_MAX / 64,
	INV_PUS_PER_CORE_MAX = 8, /* POWER8 runs eight threads on a core */
	INV_PACKAGES_MAX = 64,
	INV_NUMA_MAX = 64,
	INV_DEVICES_MAX = 64, /* one bit each in `peers` */
	INV_LINKS_MAX = INV_DEVICES_MAX * (INV_DEVICES_MAX - 1) / 2,
	INV_NICS_MAX = 32,
	INV_PARTITION_MAX = 63,
	INV_PCI_BYTES = 16, /* "0000:17:00.0"; domains may need more than four digits */
	INV_UUID_BYTES = 64,
	INV_MODEL_BYTES = 64,
	INV_MIG_BYTES = 24,
	INV_NIC_NAME_BYTES = 32,
	INV_HWLOC_BYTES = 32,
	INV_DIGEST_BYTES = 32,
};
#define INV_MEMORY_MIB_MAX (INT64_C(1) << 32) /* 4 PiB, for one figure and for sums */

/* A set of cores by their index in the inventory. */
struct coreset { uint64_t w[INV_CORE_WORDS]; };

static inline void coreset_add(struct coreset *s, unsigned core)
{
	s->w[core / 64] |= UINT64_C(1) << (core % 64);
}
static inline bool coreset_has(const struct coreset *s, unsigned core)
{
	return (s->w[core / 64] >> (core % 64) & 1) != 0;
}
static inline unsigned coreset_count(const struct coreset *s)
{
	unsigned n = 0;

	for (int i = 0; i < INV_CORE_WORDS; i++)
		n += popcount64(s->w[i]);
	return n;
}
static inline bool coreset_empty(const struct coreset *s)
{
	uint64_t any = 0;

	for (int i = 0; i < INV_CORE_WORDS; i++)
		any |= s->w[i];
	return any == 0;
}
/* The cores 0..n-1. n <= INV_CORES_MAX. */
static inline struct coreset coreset_first(unsigned n)
{
	struct coreset s = {0};

	for (unsigned i = 0; i < INV_CORE_WORDS && n > 0; i++) {
		s.w[i] = n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
		n -= n >= 64 ? 64 : n;
	}
	return s;
}
static inline bool coreset_within(const struct coreset *sub, const struct coreset *super)
{
	for (int i = 0; i < INV_CORE_WORDS; i++)
		if (sub->w[i] & ~super->w[i])
			return false;
	return true;
}
static inline struct coreset coreset_and(const struct coreset *a, const struct coreset *b)
{
	struct coreset s;

	for (int i = 0; i < INV_CORE_WORDS; i++)
		s.w[i] = a->w[i] & b->w[i];
	return s;
}

/* Numbers travel on the wire and never change meaning. */
enum inv_vendor {
	INV_VENDOR_NVIDIA = 1,
	INV_VENDOR_AMD = 2,
	INV_VENDOR_INTEL = 3,
};
enum inv_health {
	INV_HEALTH_OK = 0,
	INV_HEALTH_SUSPECT = 1, /* the vendor library could not answer, or reports trouble */
	INV_HEALTH_FAILED = 2,  /* the device cannot do work */
};

/* A NUMA node. `device_memory` marks memory that belongs to a GPU (POWER9, Grace Hopper): it counts
 * for no job and not for inventory.memory_mib. */
struct inv_numa {
	uint32_t os_index; /* the kernel's number, for cpuset.mems and mbind */
	bool device_memory;
	int64_t memory_mib;   /* 0 for a node without memory */
	struct coreset cores; /* near cores; may be empty */
};

struct inv_device {
	char pci[INV_PCI_BYTES]; /* lower-case hex "domain:bus:device.function" */
	uint8_t partition;       /* among the devices of one PCI function; MIG slice or CPX partition */
	uint8_t vendor;          /* enum inv_vendor */
	uint8_t health;          /* enum inv_health */
	int8_t numa;             /* index into numa[], or -1 when not known */
	char uuid[INV_UUID_BYTES]; /* "" when absent, all zero, or shared with another device */
	char model[INV_MODEL_BYTES]; /* as the driver says it, trimmed; "" if nothing says it */
	char mig_profile[INV_MIG_BYTES]; /* "1g.10gb" for a MIG slice, else "" */
	int64_t memory_mib;              /* 0 when not known (MI300A shares the node's memory) */
	struct coreset near;             /* cores next to it; all cores when not known */
	uint64_t peers; /* devices reached over NVLink or XGMI, directly or through a switch */
};

/* A fast connection between devices[a] and devices[b]. */
struct inv_link {
	uint8_t a;
	uint8_t b;
	uint32_t bandwidth_mbps; /* MB/s one way, as hwloc gives it; 0 when not known */
};

struct inv_nic {
	char name[INV_NIC_NAME_BYTES]; /* RDMA device if there is one ("mlx5_0"), else interface */
	char pci[INV_PCI_BYTES];       /* ascending; a NIC with two ports has two entries */
	int8_t numa;                   /* index into numa[], or -1 when not known */
	struct coreset near;
};

/* About 35 kB: keep it off small stacks. */
struct inventory {
	char hwloc_version[INV_HWLOC_BYTES]; /* of the library that looked; not part of the digest */
	bool emulated; /* a recorded or synthetic machine: nothing of it is really here */
	uint16_t package_count;
	uint16_t numa_count;
	uint16_t core_count;
	uint16_t device_count;
	uint16_t link_count;
	uint16_t nic_count;
	uint32_t pu_count;  /* hardware threads of all cores */
	int64_t memory_mib; /* Σ numa[].memory_mib without device memory */
	struct inv_numa numa[INV_NUMA_MAX]; /* ascending by os_index */
	struct inv_device devices[INV_DEVICES_MAX];
	struct inv_link links[INV_LINKS_MAX];
	struct inv_nic nics[INV_NICS_MAX];
	uint8_t digest[INV_DIGEST_BYTES];
};

const char *inv_vendor_name(int vendor); /* "nvidia", "amd", "intel", "?" */
const char *inv_health_name(int health); /* "ok", "suspect", "failed", "?" */

/* SHA-256 over a canonical serialisation of the lasting facts: everything but the digest itself, the
 * hwloc version and the health of devices, so that neither a library update nor a sick GPU looks
 * like a changed topology. `inv` must be within its bounds (counts). Cost: a few 10 us. */
void inventory_digest(const struct inventory *inv, uint8_t ret_digest[INV_DIGEST_BYTES]);

/* Judge an inventory from outside: counts, strings, masks, order, cross references, sums, digest.
 * Past this nobody checks again. Strings are printable ASCII.
 * Returns 0; ERR_RANGE, ERR_FORMAT or ERR_CONFLICT (err names the entry); ERR_CORRUPT for a digest
 * that does not fit. Cost: O(devices^2 + links). */
int inventory_check(const struct inventory *inv, struct err *err) NODISCARD;

/* Is `uuid` made of zeros only, as anonymised or unsupported devices report it ("GPU-0000-..." too)?
 * Such a text, like "", identifies nothing. False for "". */
bool inv_uuid_is_zero(const char *uuid);

/* Order of two devices by name, (pci, partition): negative, 0 or positive. Both names must have passed
 * inv_pci_parse(). */
int inv_device_cmp(const struct inv_device *a, const struct inv_device *b);

/* Parse "domain:bus:device.function" into one number that orders like the bus does. Accepts only the
 * canonical spelling. Returns 0 or ERR_FORMAT. */
int inv_pci_parse(const char *text, uint64_t *ret_number) NODISCARD;

#endif
