/* openb.h - node and pod lists of Alibaba's open GPU-sharing cluster
 *
 * Nodes: sn,cpu_milli,memory_mib,gpu,model. Pods: name,cpu_milli,memory_mib,num_gpu,gpu_milli
 * [,gpu_spec[,...]]; gpu_milli is per GPU, below 1000 only for one GPU; gpu_spec names the allowed
 * models, separated by '|', empty for any. Columns are found by their names, in any order.
 *
 * Source: alibaba/clusterdata, cluster-trace-gpu-v2023.
 */
#ifndef SLUIS_DAEMON_SIM_OPENB_H
#define SLUIS_DAEMON_SIM_OPENB_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/sim/text.h"
#include "proto/base/err.h"

enum { OPENB_GPUS_MAX = 8, OPENB_MODELS_MAX = 32, OPENB_NAME_BYTES = 32, GPU_MILLI = 1000 };

struct openb_node {
	char name[OPENB_NAME_BYTES];
	int32_t cpu_milli;
	int32_t memory_mib;
	int32_t gpus;
	uint32_t model; /* one bit; 0 without GPUs */
};

struct openb_pod {
	char name[OPENB_NAME_BYTES];
	int32_t cpu_milli;
	int32_t memory_mib;
	int32_t gpus;
	int32_t gpu_milli; /* of each */
	uint32_t models;   /* allowed; all bits for any */
};

struct openb {
	struct openb_node *nodes;
	size_t nodes_n;
	struct openb_pod *pods;
	size_t pods_n;
	char models[OPENB_MODELS_MAX][OPENB_NAME_BYTES]; /* name of each bit */
	size_t models_n;
};

/* Read a node list, then pod lists: a pod may name models that no node has. `name` is the file for
 * messages ("name:line: what", ERR_FORMAT); lines that cannot be read, and the second node of a name in a list, go to
 * `bad` (text.h). openb_done() frees; it accepts a zeroed object. */
int openb_parse_nodes(struct openb *o, const char *name, const char *text, size_t bytes, struct bad_lines *bad,
		      struct err *err) NODISCARD;
int openb_parse_pods(struct openb *o, const char *name, const char *text, size_t bytes, struct bad_lines *bad,
		     struct err *err) NODISCARD;
void openb_done(struct openb *o);

#endif
