/* hall.c - see hall.h */
#include "tests/lib/hall.h"

#include <stdio.h>
#include <string.h>

void hall_flavor(struct hall *h, uint16_t id, uint8_t unit, uint32_t devices)
{
	struct flavor f = {.id = id, .unit = unit, .weight_milli = 1000, .devices_per_node = devices};
	struct fact fact = {.kind = RECORD_FLAVOR, .id = id, .flavor = &f};

	(void)snprintf(f.name, sizeof f.name, "%s%u", unit == UNIT_CORE ? "cpu" : "gpu", id);
	core_apply(h->core, &fact);
}

void hall_open(struct hall *h, uint32_t devices, int64_t whole)
{
	struct cluster c = {.name = "hall", .next_alloc = UINT64_MAX / 2, .next_job = 1};
	struct quota quota[2] = {{.flavor = 1, .shape = SHAPE_NODE, .nominal = whole, .borrowing = QTY_UNLIMITED,
				  .lending = QTY_UNLIMITED},
				 {.flavor = 1, .shape = SHAPE_GPU, .nominal = 0, .borrowing = QTY_UNLIMITED,
				  .lending = QTY_UNLIMITED}};
	struct qnode root = {.id = HALL_ROOT, .parent = HALL_ROOT, .kind = QNODE_ROOT, .name = "root", .weight = 1,
			     .quotas = quota, .quotas_n = 2};
	struct fact f = {.kind = RECORD_CLUSTER, .id = 1, .cluster = &c};

	*h = (struct hall){.core = core_new()};
	core_apply(h->core, &f);
	hall_flavor(h, 1, UNIT_DEVICE, devices);
	f = (struct fact){.kind = RECORD_QNODE, .id = HALL_ROOT, .qnode = &root};
	core_apply(h->core, &f);
}

void hall_close(struct hall *h)
{
	core_free(h->core);
	arena_done(&h->arena);
	*h = (struct hall){0};
}

struct node hall_node(uint32_t id, uint32_t devices, struct device *dev, const char *leaf, const char *pod,
		      struct label label[2])
{
	struct node n = {.id = id, .state = NODE_READY, .cores_n = HALL_CORES, .memory_mib = HALL_MEMORY_MIB,
			 .devices = dev, .devices_n = devices, .labels = label};

	(void)snprintf(n.name, sizeof n.name, "n%u", id);
	memset(label, 0, 2 * sizeof *label);
	if (*leaf) {
		(void)snprintf(label[0].key, LABEL_BYTES, "leaf");
		(void)snprintf(label[0].value, LABEL_BYTES, "%s", leaf);
		n.labels_n = 1;
	}
	if (*pod) {
		(void)snprintf(label[n.labels_n].key, LABEL_BYTES, "pod");
		(void)snprintf(label[n.labels_n].value, LABEL_BYTES, "%s", pod);
		n.labels_n++;
	}
	for (uint32_t i = 0; i < devices; i++) {
		uint32_t half = i >= (devices + 1) / 2;

		dev[i] = (struct device){.flavor = 1, .numa = (uint16_t)half};
		for (uint32_t core = half * HALL_CORES / 2; core < (half + 1) * HALL_CORES / 2; core++)
			dev[i].cores[core / 64] |= UINT64_C(1) << core % 64;
	}
	return n;
}

void hall_put(struct hall *h, const struct node *n)
{
	struct fact f = {.kind = RECORD_NODE, .id = n->id, .node = n};

	core_apply(h->core, &f);
	h->nodes_n = n->id > h->nodes_n ? n->id : h->nodes_n;
}

uint64_t hall_hold(struct hall *h, const struct place_ask *ask, struct part *parts, uint32_t n)
{
	struct alloc a = {.id = ++h->allocs_n, .owner_kind = OWNER_JOB, .qnode = HALL_ROOT, .flavor = ask->flavor,
			  .shape = ask->shape, .klass = ask->klass, .state = ALLOC_ACTIVE, .limit_ms = T_NEVER,
			  .parts = parts, .parts_n = n};
	struct fact f = {.kind = RECORD_ALLOC, .id = a.id, .alloc = &a};

	for (uint32_t i = 0; i < n; i++)
		a.units += parts[i].units;
	core_apply(h->core, &f);
	return a.id;
}

void hall_drop(struct hall *h, uint64_t alloc)
{
	struct fact f = {.kind = RECORD_ALLOC, .id = alloc};

	core_apply(h->core, &f);
}

uint64_t hall_claim(struct hall *h, const struct place_ask *ask, struct part *parts, uint32_t n)
{
	struct claim m = {.id = ++h->claims_n, .owner_kind = OWNER_LEASE, .qnode = HALL_ROOT, .flavor = ask->flavor,
			  .shape = ask->shape, .klass = CLASS_GUARANTEED, .units = ask->units, .deadline_ms = T_NEVER,
			  .parts = parts, .parts_n = n};
	struct fact f = {.kind = RECORD_CLAIM, .id = m.id, .claim = &m};

	core_apply(h->core, &f);
	return m.id;
}

void hall_unclaim(struct hall *h, uint64_t claim)
{
	struct fact f = {.kind = RECORD_CLAIM, .id = claim};

	core_apply(h->core, &f);
}

int hall_place(struct hall *h, const struct place_ask *ask, struct part **ret_parts, uint32_t *ret_n)
{
	arena_reset(&h->arena);
	return place(h->core, ask, &h->arena, ret_parts, ret_n);
}

uint64_t hall_start(struct hall *h, const struct place_ask *ask)
{
	struct part *parts;
	uint32_t n;

	return hall_place(h, ask, &parts, &n) ? 0 : hall_hold(h, ask, parts, n);
}
