/* idle.h - is a device as its next user may find it? The proof behind `released`
 *
 * No process of the unit is left when this is asked (the execution layer knows). What can still be wrong:
 * somebody else's process has the device open or computes on it, its memory is not free, it is not in the
 * mode that the inventory says, or it has broken under the work.
 *
 *   CLEAN   nothing was found against it
 *   BUSY    it is in use, or its memory is: that may pass; ask again
 *   SICK    a process cannot change that: it must not be handed out
 *
 * Evidence: the driver's list of processes (NVML, which sees those of all users), memory in use, compute and
 * MIG mode, row remapping and retired pages; the kernel's ring buffer for Xid events of class hardware or
 * driver where it may be read; and the open files of all processes that may be looked at. What cannot be
 * asked (no library, no permission) is no evidence against a device.
 *
 * Source: NVML API reference; NVIDIA "Xid Errors", whose table says which are the application's own.
 */
#ifndef SLUIS_AGENT_PROBE_IDLE_H
#define SLUIS_AGENT_PROBE_IDLE_H

#include "agent/probe/nodes.h"

enum idle_verdict { IDLE_CLEAN = 0, IDLE_BUSY, IDLE_SICK };

struct idle_finding {
	enum idle_verdict verdict;
	char text[112]; /* what was found; "" if clean */
};

enum { IDLE_MEMORY_MIB = 512 }; /* a driver keeps some for itself; on an H100 about 1 MiB, with ECC pages 80 */

/* Ask about one device. `nodes`: its own device nodes. `library`: NVML's path, NULL for its usual name, "" for none.
 * `since_boot_us`: Xid events before this instant (CLOCK_MONOTONIC, as the ring buffer counts) are old.
 * May take seconds, and hang if the driver does: ask in a process of its own. */
void probe_idle(const char *library, const struct inv_device *d, const struct probe_nodes *nodes, uint64_t since_boot_us,
		struct idle_finding *ret);

/* Does this Xid say that the device or its driver is broken, rather than the program that ran? */
bool idle_xid_is_hardware(unsigned xid);
/* "4,1234,987654,-;NVRM: Xid (PCI:0000:17:00): 79, …": a record of /dev/kmsg. False if it is no Xid of `pci` later than
 * `since_us`. */
bool idle_xid_parse(const char *record, const char *pci, uint64_t since_us, unsigned *ret_xid);

#endif
