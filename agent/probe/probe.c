/* probe.c - join what hwloc and the vendors' libraries say into one inventory
 *
 *   hwloc ──▶ cores, NUMA, GPUs by PCI function ─┐
 *   NVML, ROCm SMI ──▶ UUID, memory, MIG, health ┴▶ join by (PCI, partition) ─▶ sort ─▶ links ─▶ digest
 *
 * What comes out passed inventory_check(), so a strange file or driver ends in an error here and not
 * in the daemon.
 */
#include "agent/probe/probe.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/probe/gpu.h"
#include "agent/probe/probe_hwloc.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/sha256.h"

void gpu_text(char *dst, size_t size, const char *text)
{
	size_t n = 0;

	while (*text == ' ' || *text == '\t')
		text++;
	for (; text[n] && n < size - 1; n++)
		dst[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
	while (n > 0 && dst[n - 1] == ' ')
		n--;
	dst[n] = '\0';
}

void gpu_pci_name(char dst[INV_PCI_BYTES], uint32_t domain, unsigned bus, unsigned device,
		  unsigned function)
{
	snprintf(dst, INV_PCI_BYTES, "%04x:%02x:%02x.%x", domain, bus & 0xff, device & 0xff,
		 function & 0xf);
}

/* ---- vendor libraries ------------------------------------------------------------------------ */

static void overlay(struct inv_device *d, const struct gpu_fact *f)
{
	d->health = f->health;
	if (f->uuid[0])
		memcpy(d->uuid, f->uuid, sizeof(d->uuid));
	if (f->model[0])
		memcpy(d->model, f->model, sizeof(d->model));
	if (f->memory_mib > 0 && f->memory_mib <= INV_MEMORY_MIB_MAX)
		d->memory_mib = f->memory_mib;
	memcpy(d->mig_profile, f->mig_profile, sizeof(d->mig_profile));
}

/* Put the library's devices over hwloc's. A GPU that became slices gives up its own entry; a GPU that
 * the library does not list stays, as suspect: its driver cannot use it. */
static int join_facts(struct inventory *inv, enum inv_vendor vendor, const struct gpu_facts *facts,
		      struct err *err)
{
	bool listed[INV_DEVICES_MAX] = {0};
	uint64_t number;

	if (facts->truncated)
		return err_set(err, ERR_NOROOM, "the machine has more than %d GPUs", INV_DEVICES_MAX);
	for (unsigned i = 0; i < facts->count; i++) {
		const struct gpu_fact *f = &facts->gpu[i];
		struct inv_device *d;
		int at, whole;

		if (inv_pci_parse(f->pci, &number) || f->partition > INV_PARTITION_MAX)
			continue;
		at = device_find(inv, f->pci, f->partition);
		whole = device_find(inv, f->pci, 0);
		if (at < 0) {
			if (inv->device_count == INV_DEVICES_MAX)
				return err_set(err, ERR_NOROOM, "the machine has more than %d GPUs",
					       INV_DEVICES_MAX);
			at = inv->device_count++;
			d = &inv->devices[at];
			*d = (struct inv_device){ .partition = f->partition, .numa = -1 };
			if (whole >= 0)
				*d = inv->devices[whole];
			else
				d->near = coreset_first(inv->core_count);
			d->partition = f->partition;
			d->uuid[0] = '\0';
			memcpy(d->pci, f->pci, sizeof(d->pci));
			d->vendor = (uint8_t)vendor;
		}
		overlay(&inv->devices[at], f);
		listed[at] = true;
	}
	/* The first slice of a MIG GPU need not be slice 0: then the whole GPU's entry is left over. */
	for (unsigned i = inv->device_count; i-- > 0;) {
		struct inv_device *d = &inv->devices[i];
		bool sliced = false;

		if (listed[i] || d->vendor != vendor)
			continue;
		for (unsigned k = 0; k < inv->device_count; k++)
			sliced |= listed[k] && strcmp(inv->devices[k].pci, d->pci) == 0;
		if (!sliced) {
			d->health = INV_HEALTH_SUSPECT;
			continue;
		}
		inv->device_count--;
		memmove(d, d + 1, (inv->device_count - i) * sizeof(*d));
		memmove(&listed[i], &listed[i + 1], inv->device_count - i);
	}
	return 0;
}

/* Lanes between devices join them; lanes to the same foreign function join through that switch. */
static void join_lanes(const struct inventory *inv, const struct gpu_facts *facts, struct link_matrix *m)
{
	uint64_t direct[INV_DEVICES_MAX][INV_DEVICES_MAX] = {{0}};
	uint64_t switched[INV_DEVICES_MAX][INV_DEVICES_MAX] = {{0}};

	for (unsigned i = 0; i < facts->lane_count; i++) {
		const struct gpu_lane *l = &facts->lane[i];
		const struct gpu_fact *f = &facts->gpu[l->from];
		int from = device_find(inv, f->pci, f->partition);
		int to = device_find(inv, l->remote, l->remote_partition);

		if (from < 0)
			continue;
		if (to >= 0) {
			direct[from][to] += l->bandwidth_mbps;
			link_join(m, (unsigned)from, (unsigned)to, direct[from][to]);
			continue;
		}
		/* The k-th lane of `from` into this switch pairs with the k-th of the other side, so the
		 * sum is that of the side with fewer lanes. */
		unsigned nth = 0;

		for (unsigned k = 0; k < i; k++)
			nth += facts->lane[k].from == l->from && strcmp(facts->lane[k].remote, l->remote) == 0;
		for (unsigned k = 0, seen[INV_DEVICES_MAX] = {0}; k < facts->lane_count; k++) {
			const struct gpu_lane *o = &facts->lane[k];
			const struct gpu_fact *g = &facts->gpu[o->from];
			int other;

			if (strcmp(o->remote, l->remote) != 0 || o->from <= l->from || seen[o->from]++ != nth)
				continue;
			other = device_find(inv, g->pci, g->partition);
			if (other < 0)
				continue;
			switched[from][other] += l->bandwidth_mbps < o->bandwidth_mbps ? l->bandwidth_mbps :
											 o->bandwidth_mbps;
			link_join(m, (unsigned)from, (unsigned)other, switched[from][other]);
		}
	}
}

/* ---- finishing ------------------------------------------------------------------------------- */

static int device_order(const void *a, const void *b)
{
	return inv_device_cmp(a, b);
}

/* A UUID names one device or it names none. */
static void clear_useless_uuids(struct inventory *inv)
{
	bool useless[INV_DEVICES_MAX] = {0};

	for (unsigned i = 0; i < inv->device_count; i++) {
		useless[i] |= inv_uuid_is_zero(inv->devices[i].uuid);
		for (unsigned k = 0; k < i; k++)
			if (strcmp(inv->devices[i].uuid, inv->devices[k].uuid) == 0)
				useless[i] = useless[k] = true;
	}
	for (unsigned i = 0; i < inv->device_count; i++)
		if (useless[i])
			memset(inv->devices[i].uuid, 0, sizeof(inv->devices[i].uuid));
}

static void emulate_uuids(struct inventory *inv, const char *node_name)
{
	for (unsigned i = 0; i < inv->device_count; i++) {
		struct inv_device *d = &inv->devices[i];
		uint8_t h[SHA256_BYTES];
		struct sha256 s;

		sha256_init(&s);
		sha256_add(&s, "sluis emulated device", sizeof("sluis emulated device"));
		sha256_add(&s, node_name, strlen(node_name) + 1);
		sha256_add(&s, d->pci, strlen(d->pci) + 1);
		sha256_add(&s, &d->partition, 1);
		sha256_final(&s, h);
		snprintf(d->uuid, sizeof(d->uuid),
			 "EMU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", h[0], h[1],
			 h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11], h[12], h[13], h[14],
			 h[15]);
	}
}

/* Invented GPUs: even shares of the NUMA nodes that have cores, in order. */
static void emulate_gpus(struct inventory *inv, const struct probe_gpus *gpus, struct link_matrix *m)
{
	unsigned home[INV_NUMA_MAX], homes = 0;

	for (unsigned i = 0; i < inv->numa_count; i++)
		if (!coreset_empty(&inv->numa[i].cores))
			home[homes++] = i;
	for (unsigned i = 0; i < gpus->count; i++) {
		struct inv_device *d = &inv->devices[inv->device_count++];

		*d = (struct inv_device){ .vendor = (uint8_t)gpus->vendor, .numa = -1,
					  .memory_mib = gpus->memory_mib };
		gpu_pci_name(d->pci, 0, 0x10 + 3 * i, 0, 0);
		gpu_text(d->model, sizeof(d->model), gpus->model);
		d->near = coreset_first(inv->core_count);
		if (homes > 0) {
			d->numa = (int8_t)home[i * homes / gpus->count];
			d->near = inv->numa[d->numa].cores;
		}
		for (unsigned k = 0; k < i && gpus->link_mbps > 0; k++)
			link_join(m, k, i, gpus->link_mbps);
	}
}

static void list_links(const struct link_matrix *m, struct inventory *inv)
{
	for (unsigned a = 0; a < inv->device_count; a++) {
		for (unsigned b = 0; b < inv->device_count; b++) {
			if (!m->peer[a][b])
				continue;
			inv->devices[a].peers |= UINT64_C(1) << b;
			if (a < b)
				inv->links[inv->link_count++] = (struct inv_link){
					.a = (uint8_t)a, .b = (uint8_t)b, .bandwidth_mbps = m->mbps[a][b] };
		}
	}
}

static int check_opts(const struct probe_opts *opts, struct err *err)
{
	if (opts->source != PROBE_LIVE && !opts->path)
		return err_set(err, ERR_INVAL, "no topology is named");
	if (opts->gpus.count > 0 && opts->source != PROBE_SYNTHETIC)
		return err_set(err, ERR_INVAL, "GPUs can be invented for a synthetic topology only");
	if (opts->gpus.count > INV_DEVICES_MAX)
		return err_set(err, ERR_INVAL, "%u GPUs are too many, at most %d are possible",
			       opts->gpus.count, INV_DEVICES_MAX);
	return 0;
}

static bool wanted(const struct probe_opts *opts, const char *library)
{
	return library ? library[0] != '\0' : opts->source == PROBE_LIVE;
}

/* The drivers' numbers for the devices that they showed. */
static void take_handles(const struct inventory *inv, const struct gpu_facts *facts, struct probe_local *local)
{
	for (unsigned i = 0; i < facts->count; i++) {
		int at = device_find(inv, facts->gpu[i].pci, facts->gpu[i].partition);

		if (at >= 0)
			local->device[at] = facts->gpu[i].handle;
	}
}

static int build(const struct probe_opts *opts, hwloc_topology_t topo, struct inventory *inv,
		 struct probe_local *local, struct link_matrix *m, struct gpu_facts *nvml,
		 struct gpu_facts *rsmi, struct err *err)
{
	bool live = opts->source == PROBE_LIVE;
	int r;

	inv->emulated = !live;
	r = topo_cores(topo, inv, local, err);
	if (!r)
		r = topo_devices(topo, live, inv, err);
	if (r)
		return r;
	if (wanted(opts, opts->nvml_path))
		gpu_nvml_read(opts->nvml_path, nvml);
	if (wanted(opts, opts->rsmi_path))
		gpu_rsmi_read(opts->rsmi_path, rsmi);
	if (nvml->loaded)
		r = join_facts(inv, INV_VENDOR_NVIDIA, nvml, err);
	if (!r && rsmi->loaded)
		r = join_facts(inv, INV_VENDOR_AMD, rsmi, err);
	if (r)
		return r;
	qsort(inv->devices, inv->device_count, sizeof(inv->devices[0]), device_order);
	topo_links(topo, inv, m);
	join_lanes(inv, nvml, m);
	join_lanes(inv, rsmi, m);
	topo_nics(topo, live, inv);
	emulate_gpus(inv, &opts->gpus, m);
	list_links(m, inv);
	clear_useless_uuids(inv);
	if (!live && opts->node_name)
		emulate_uuids(inv, opts->node_name);
	for (unsigned i = 0; i < INV_DEVICES_MAX; i++)
		local->device[i] = (struct probe_handle){-1, -1, -1};
	take_handles(inv, nvml, local);
	take_handles(inv, rsmi, local);
	local->devices_here = live || nvml->answered || rsmi->answered;
	inventory_digest(inv, inv->digest);
	return inventory_check(inv, err);
}

int probe_run(const struct probe_opts *opts, struct inventory *ret_inventory,
	      struct probe_local *ret_local, struct err *err)
{
	struct link_matrix *matrix;
	struct gpu_facts *facts;
	hwloc_topology_t topo;
	int r;

	r = check_opts(opts, err);
	if (r)
		return r;
	r = topo_load(opts, &topo, err);
	if (r)
		return r;
	memset(ret_inventory, 0, sizeof(*ret_inventory));
	memset(ret_local, 0, sizeof(*ret_local));
	matrix = xcalloc(1, sizeof(*matrix));
	facts = xcalloc(2, sizeof(*facts));
	r = build(opts, topo, ret_inventory, ret_local, matrix, &facts[0], &facts[1], err);
	if (r && opts->source != PROBE_LIVE)
		(void)err_prefix(err, "topology '%s'", opts->path);
	free(facts);
	free(matrix);
	hwloc_topology_destroy(topo);
	return r;
}

/* ---- invented GPUs by name ------------------------------------------------------------------- */

/* Texts as the drivers say them; memory as they report it; links as the vendors publish them, one way. */
static const struct {
	const char *name, *model;
	enum inv_vendor vendor;
	int64_t memory_mib;
	uint32_t link_mbps;
} KNOWN[] = {
	{ "T4", "Tesla T4", INV_VENDOR_NVIDIA, 15360, 0 },
	{ "V100", "Tesla V100-SXM2-32GB", INV_VENDOR_NVIDIA, 32768, 50000 },
	{ "A100", "NVIDIA A100-SXM4-80GB", INV_VENDOR_NVIDIA, 81920, 300000 },
	{ "L40S", "NVIDIA L40S", INV_VENDOR_NVIDIA, 46068, 0 },
	{ "H100", "NVIDIA H100 80GB HBM3", INV_VENDOR_NVIDIA, 81559, 450000 },
	{ "H200", "NVIDIA H200", INV_VENDOR_NVIDIA, 143771, 450000 },
	{ "MI250X", "AMD Instinct MI250X", INV_VENDOR_AMD, 65520, 50000 },
	{ "MI300X", "AMD Instinct MI300X", INV_VENDOR_AMD, 196592, 64000 },
};

int probe_gpus_parse(const char *text, struct probe_gpus *ret_gpus, struct err *err)
{
	struct probe_gpus g = { .vendor = INV_VENDOR_NVIDIA };
	CLEANUP(buf_done) struct buf names = BUF_INIT;
	const char *model, *colon;
	char *end;

	g.count = (unsigned)(isdigit((unsigned char)text[0]) ? strtoul(text, &end, 10) : 0);
	for (size_t i = 0; i < ARRAY_LEN(KNOWN); i++)
		buf_addf(&names, "%s%s", i ? ", " : "", KNOWN[i].name);
	if (g.count == 0 || g.count > INV_DEVICES_MAX || *end != 'x' || end[1] == '\0' || end[1] == ':') {
		(void)err_set(err, ERR_INVAL, "'%s' does not say how many GPUs of which model", text);
		return err_hint(err, "for example 8xH100 or '2xAny name:24' (GiB); known names: %s",
				buf_cstr(&names));
	}
	model = end + 1;
	colon = strchr(model, ':');
	if (colon) {
		long gib = strtol(colon + 1, &end, 10);

		if (end == colon + 1 || *end || gib <= 0 || gib > 4096)
			return err_set(err, ERR_INVAL, "'%s' does not end in a GPU memory in GiB", text);
		g.memory_mib = (int64_t)gib * 1024;
	}
	snprintf(g.model, sizeof(g.model), "%.*s", colon ? (int)(colon - model) : INV_MODEL_BYTES - 1, model);
	for (size_t i = 0; i < ARRAY_LEN(KNOWN); i++) {
		if (strcasecmp(g.model, KNOWN[i].name) != 0)
			continue;
		g.vendor = KNOWN[i].vendor;
		g.memory_mib = g.memory_mib ? g.memory_mib : KNOWN[i].memory_mib;
		g.link_mbps = KNOWN[i].link_mbps;
		snprintf(g.model, sizeof(g.model), "%s", KNOWN[i].model);
		break;
	}
	*ret_gpus = g;
	return 0;
}
