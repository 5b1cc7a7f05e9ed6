/* nodes.h - the device nodes behind a device: what a task has to be able to open in order to use it
 *
 *   NVIDIA   /dev/nvidiaN by the driver's minor; for a MIG slice also its two /dev/nvidia-caps/nvidia-capN;
 *            control: nvidiactl, nvidia-uvm, nvidia-uvm-tools
 *   AMD      /dev/dri/renderDN of the device, by the kernel's compute topology; control: /dev/kfd
 *   Intel    /dev/dri/renderDN and cardN of the PCI function
 *
 * Control nodes give access to no device by themselves; without one of the others they are of no use.
 *
 * Source: NVIDIA driver README, "Device nodes" and /proc/driver/nvidia-caps/mig-minors; Linux
 * drivers/gpu/drm/amd/amdkfd/kfd_topology.c (drm_render_minor, location_id).
 */
#ifndef SLUIS_AGENT_PROBE_NODES_H
#define SLUIS_AGENT_PROBE_NODES_H

#include "agent/probe/probe.h"

enum { NODES_MAX = 8, NODE_PATH_BYTES = 64 };

struct probe_nodes {
	unsigned own_n, control_n;
	char own[NODES_MAX][NODE_PATH_BYTES];     /* of this device alone */
	char control[NODES_MAX][NODE_PATH_BYTES]; /* shared by all of its vendor; those that exist */
};

/* `root` is put before /dev, /proc and /sys and left out of the results; "" on a real machine.
 * Returns 0; ERR_NOTFOUND if a node of its own is not known or not there (err says which): a task could not
 * use the device then. Cost: a few small reads. */
int probe_nodes(const char *root, const struct inv_device *d, const struct probe_handle *handle,
		struct probe_nodes *ret, struct err *err) NODISCARD;

#endif
