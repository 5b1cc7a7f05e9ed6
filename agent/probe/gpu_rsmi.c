/* gpu_rsmi.c - AMD GPUs through ROCm SMI
 *
 * As gpu_nvml.c, for librocm_smi64. Partitions of one GPU (MI300 in CPX or TPX mode) are devices of
 * their own on one PCI function: they are counted in the order the library lists them, and only the
 * first carries a name and perhaps memory, so probe.c lets the others inherit the name.
 *
 * Source: ROCm SMI library reference, 6.x (rocm_smi.h).
 */
#include "agent/probe/gpu.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/ensure.h"

enum { RSMI_LINK_XGMI = 2, RSMI_MEMORY_VRAM = 0 };

struct rsmi {
	int (*init)(uint64_t);
	int (*shut_down)(void);
	int (*count)(uint32_t *);
	int (*pci)(uint32_t, uint64_t *);
	int (*unique_id)(uint32_t, uint64_t *);
	int (*name)(uint32_t, char *, size_t);
	int (*memory)(uint32_t, int, uint64_t *);
	int (*link_type)(uint32_t, uint32_t, uint64_t *, int *);
	int (*bandwidth)(uint32_t, uint32_t, uint64_t *, uint64_t *);
};

static const struct {
	const char *symbol;
	size_t offset;
	bool needed;
} SYMBOLS[] = {
	{ "rsmi_init", offsetof(struct rsmi, init), true },
	{ "rsmi_shut_down", offsetof(struct rsmi, shut_down), true },
	{ "rsmi_num_monitor_devices", offsetof(struct rsmi, count), true },
	{ "rsmi_dev_pci_id_get", offsetof(struct rsmi, pci), true },
	{ "rsmi_dev_unique_id_get", offsetof(struct rsmi, unique_id), true },
	{ "rsmi_dev_name_get", offsetof(struct rsmi, name), true },
	{ "rsmi_dev_memory_total_get", offsetof(struct rsmi, memory), true },
	{ "rsmi_topo_get_link_type", offsetof(struct rsmi, link_type), false },
	{ "rsmi_minmax_bandwidth_get", offsetof(struct rsmi, bandwidth), false },
};

static bool rsmi_bind(struct rsmi *s, void *library)
{
	for (size_t i = 0; i < ARRAY_LEN(SYMBOLS); i++) {
		void *symbol = dlsym(library, SYMBOLS[i].symbol);

		if (!symbol && SYMBOLS[i].needed)
			return false;
		memcpy((char *)s + SYMBOLS[i].offset, &symbol, sizeof(symbol));
	}
	return true;
}

static void read_gpu(const struct rsmi *s, uint32_t index, struct gpu_facts *facts)
{
	uint64_t bdf = 0, id = 0, bytes = 0;
	struct gpu_fact *f = &facts->gpu[facts->count++];
	char text[96];

	*f = (struct gpu_fact){.handle = {-1, -1, -1}};
	/* Bits 28..31 hold the partition in newer releases and are zero in older ones; counting the
	 * entries of one function works for both. */
	if (s->pci(index, &bdf) != 0)
		return;
	gpu_pci_name(f->pci, (uint32_t)(bdf >> 32), (unsigned)(bdf >> 8 & 0xff),
		     (unsigned)(bdf >> 3 & 0x1f), (unsigned)(bdf & 7));
	for (const struct gpu_fact *other = facts->gpu; other < f; other++)
		if (strcmp(other->pci, f->pci) == 0)
			f->partition++;
	if (s->unique_id(index, &id) == 0)
		snprintf(f->uuid, sizeof(f->uuid), "GPU-%016" PRIx64, id);
	memset(text, 0, sizeof(text));
	if (s->name(index, text, sizeof(text) - 1) == 0)
		gpu_text(f->model, sizeof(f->model), text);
	if (s->memory(index, RSMI_MEMORY_VRAM, &bytes) == 0)
		f->memory_mib = (int64_t)(bytes >> 20);
	else if (f->partition == 0)
		f->health = INV_HEALTH_SUSPECT;
}

static void read_lanes(const struct rsmi *s, struct gpu_facts *facts)
{
	for (uint32_t a = 0; a < facts->count; a++) {
		for (uint32_t b = a + 1; b < facts->count; b++) {
			uint64_t hops = 0, low = 0, high = 0;
			struct gpu_lane *l;
			int type = 0;

			if (s->link_type(a, b, &hops, &type) != 0 || type != RSMI_LINK_XGMI)
				continue;
			if (facts->lane_count == ARRAY_LEN(facts->lane))
				return;
			if (s->bandwidth && s->bandwidth(a, b, &low, &high) != 0)
				high = 0;
			l = &facts->lane[facts->lane_count++];
			*l = (struct gpu_lane){
				.from = (uint8_t)a,
				.remote_partition = facts->gpu[b].partition,
				.bandwidth_mbps = high > UINT32_MAX ? UINT32_MAX : (uint32_t)high,
			};
			memcpy(l->remote, facts->gpu[b].pci, sizeof(l->remote));
		}
	}
}

void gpu_rsmi_read(const char *path, struct gpu_facts *ret_facts)
{
	static const char *const names[] = { "librocm_smi64.so.7", "librocm_smi64.so.6",
					     "librocm_smi64.so.5", "librocm_smi64.so" };
	void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	struct rsmi s = {0};
	uint32_t count = 0;

	*ret_facts = (struct gpu_facts){0};
	for (size_t i = 0; !path && !library && i < ARRAY_LEN(names); i++)
		library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return;
	ret_facts->loaded = true;
	if (rsmi_bind(&s, library) && s.init(0) == 0) {
		if (s.count(&count) == 0) {
			ret_facts->answered = true;
			ret_facts->truncated = count > INV_DEVICES_MAX;
			for (uint32_t i = 0; i < count && i < INV_DEVICES_MAX; i++)
				read_gpu(&s, i, ret_facts);
			if (s.link_type)
				read_lanes(&s, ret_facts);
		}
		(void)s.shut_down(); /* nothing to do about a failure: we are leaving */
	}
	dlclose(library);
}
