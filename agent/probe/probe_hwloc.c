/* probe_hwloc.c - from hwloc's objects to the inventory
 *
 * One GPU appears in hwloc as a PCI function with several OS devices under it (nvml0, cuda1, opencl0d0,
 * card2), each with its own numbering. They are joined by their PCI function, so no enumeration order
 * matters. Several RSMI devices on one function are partitions of it.
 *
 * hwloc's CUDA, OpenCL and GL back ends are left out of a live look: CUDA and OpenCL create contexts that
 * take GPU memory, GL talks to an X server. A recorded file may contain their findings and those are used.
 *
 * Source: hwloc 2.9 manual, sections "I/O Devices", "Distances", "Importing and exporting XML".
 */
#include "agent/probe/probe_hwloc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/ckd.h"
#include "proto/base/ensure.h"

/* ---- loading --------------------------------------------------------------------------------- */

/* The whole file with a NUL behind it; `out` counts the NUL, as hwloc wants it. */
static int read_whole(const char *path, struct buf *out, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
	struct stat st;

	if (fd < 0)
		return err_set_errno(err, ERR_IO, "cannot open topology '%s'", path);
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		r = err_set(err, ERR_IO, "topology '%s' is a folder", path);
	while (!r) {
		ssize_t n = read(fd, buf_reserve(out, 1 << 16), 1 << 16);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			r = err_set_errno(err, ERR_IO, "cannot read topology '%s'", path);
		if (n <= 0)
			break;
		out->len += (size_t)n;
		if (out->len > PROBE_XML_BYTES_MAX)
			r = err_set(err, ERR_TOOBIG, "topology '%s' is larger than %u MiB", path,
				    PROBE_XML_BYTES_MAX >> 20);
	}
	close(fd);
	if (!r)
		buf_add(out, "", 1);
	return r;
}

/* Refuse what hwloc would refuse with a line on stderr and no reason. `text` ends in NUL. */
static int sniff_xml(const char *path, const char *text, size_t len, struct err *err)
{
	const char *root = strstr(text, "<topology"), *end, *version;

	if (len == 0)
		return err_set(err, ERR_FORMAT, "topology '%s' is empty", path);
	if (strlen(text) != len || !root || (root[9] != '>' && root[9] != ' ')) {
		(void)err_set(err, ERR_FORMAT, "'%s' is not an hwloc topology", path);
		(void)err_hint(err, "%s", strstr(text, "<system version") ?
			       "this is an NCCL topology; record the machine with 'lstopo FILE.xml'" :
			       "record a machine with 'lstopo FILE.xml'");
		return ERR_FORMAT;
	}
	end = strchr(root, '>');
	version = strstr(root, "version=\"");
	if (version && end && version < end && atoi(version + 9) > 2) {
		(void)err_set(err, ERR_VERSION, "topology '%s' has format %d, this hwloc reads up to 2",
			      path, atoi(version + 9));
		return err_hint(err, "convert it where it was written: "
				     "lstopo -i FILE.xml --export-xml-flags v2 NEW.xml");
	}
	return 0;
}

static int set_filters(hwloc_topology_t topo)
{
	int r = hwloc_topology_set_io_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);

	return r ? r : hwloc_topology_set_icache_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_NONE);
}

/* Let a child try first. hwloc trusts its XML: 2.9.0 dereferences NULL on an object without
 * complete_cpuset, and a damaged file must end in an error and not in a dead agent. */
static int try_in_child(const char *path, const char *text, size_t size, struct err *err)
{
	struct rlimit cpu = { .rlim_cur = 20, .rlim_max = 20 }, core = {0};
	int status, null;
	pid_t pid = fork();

	if (pid < 0)
		return err_set_errno(err, ERR_SYS, "cannot fork");
	if (pid == 0) {
		static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
		hwloc_topology_t topo;

		for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
			(void)signal(fatal[i], SIG_DFL);
		(void)setrlimit(RLIMIT_CPU, &cpu);
		(void)setrlimit(RLIMIT_CORE, &core);
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (null >= 0)
			(void)dup2(null, STDERR_FILENO);
		_exit(hwloc_topology_init(&topo) || set_filters(topo) ||
		      hwloc_topology_set_xmlbuffer(topo, text, (int)size) || hwloc_topology_load(topo));
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_set_errno(err, ERR_SYS, "cannot wait for the trial of '%s'", path);
	if (WIFSIGNALED(status))
		return err_set(err, ERR_FORMAT, "topology '%s' is damaged: hwloc died of signal %d on it", path,
			       WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return err_set(err, ERR_FORMAT, "topology '%s' is malformed or truncated", path);
	return 0;
}

static int load_xml(hwloc_topology_t topo, const char *path, struct err *err)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	int r = read_whole(path, &text, err);

	if (r)
		return r;
	r = sniff_xml(path, (const char *)text.data, text.len - 1, err);
	if (r)
		return r;
	r = try_in_child(path, (const char *)text.data, text.len, err);
	if (r)
		return r;
	/* Loaded within the call: hwloc reads the buffer only then. */
	if (hwloc_topology_set_xmlbuffer(topo, (const char *)text.data, (int)text.len) ||
	    hwloc_topology_load(topo))
		return err_set(err, ERR_FORMAT, "topology '%s' is malformed or truncated", path);
	return 0;
}

/* hwloc takes a foreign root from the environment only. */
static int load_fsroot(hwloc_topology_t topo, const char *path, struct err *err)
{
	static const char *const names[] = { "HWLOC_FSROOT", "HWLOC_THISSYSTEM", "HWLOC_COMPONENTS" };
	const char *values[] = { path, "0", "linux,stop" };
	char *before[ARRAY_LEN(names)];
	int r;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *old = getenv(names[i]);

		before[i] = old ? xstrdup(old) : NULL;
		setenv(names[i], values[i], 1);
	}
	r = hwloc_topology_load(topo);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (before[i])
			setenv(names[i], before[i], 1);
		else
			unsetenv(names[i]);
		free(before[i]);
	}
	if (r)
		return err_set(err, ERR_FORMAT, "'%s' holds no copy of /sys and /proc that hwloc can read",
			       path);
	return 0;
}

static int load_live(hwloc_topology_t topo, struct err *err)
{
	static const char *const without[] = { "cuda", "opencl", "gl" };

	for (size_t i = 0; i < ARRAY_LEN(without); i++)
		/* Fails when the back end is not installed, which is as good. */
		(void)hwloc_topology_set_components(topo, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
						    without[i]);
	if (hwloc_topology_load(topo))
		return err_set_errno(err, ERR_SYS, "hwloc cannot look at this machine");
	if (!hwloc_topology_is_thissystem(topo)) {
		(void)err_set(err, ERR_CONFIG, "the environment makes hwloc look at another machine");
		return err_hint(err, "unset HWLOC_XMLFILE, HWLOC_SYNTHETIC, HWLOC_FSROOT, "
				     "HWLOC_THISSYSTEM; --topology FILE is meant for that");
	}
	return 0;
}

int topo_load(const struct probe_opts *opts, hwloc_topology_t *ret_topo, struct err *err)
{
	hwloc_topology_t topo;
	int r = 0;

	/* hwloc prints a banner for every topology that it finds odd; our errors say enough. */
	setenv("HWLOC_HIDE_ERRORS", "2", 0);
	if (hwloc_topology_init(&topo))
		return err_set(err, ERR_NOMEM, "cannot start hwloc");
	if (set_filters(topo))
		r = err_set(err, ERR_SYS, "hwloc refuses its filters");
	else if (opts->source == PROBE_XML)
		r = load_xml(topo, opts->path, err);
	else if (opts->source == PROBE_FSROOT)
		r = load_fsroot(topo, opts->path, err);
	else if (opts->source == PROBE_LIVE)
		r = load_live(topo, err);
	else if (hwloc_topology_set_synthetic(topo, opts->path) || hwloc_topology_load(topo))
		r = err_set(err, ERR_FORMAT, "'%s' is no synthetic topology", opts->path);
	if (r) {
		hwloc_topology_destroy(topo);
		if (r == ERR_FORMAT && opts->source == PROBE_SYNTHETIC)
			(void)err_hint(err, "for example: package:2 numanode:1 core:32 pu:2");
		return r;
	}
	*ret_topo = topo;
	return 0;
}

/* ---- cores and memory ------------------------------------------------------------------------ */

/* Cores are hwloc's Core objects, or the PUs of a machine that does not know its cores. */
static hwloc_obj_type_t core_type(hwloc_topology_t topo)
{
	return hwloc_get_nbobjs_by_type(topo, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
}

static struct coreset cores_in(hwloc_topology_t topo, hwloc_const_cpuset_t cpuset)
{
	struct coreset set = {0};
	hwloc_obj_t core = NULL;

	for (unsigned i = 0; i < INV_CORES_MAX; i++) {
		core = hwloc_get_next_obj_by_type(topo, core_type(topo), core);
		if (!core)
			break;
		if (hwloc_bitmap_intersects(core->cpuset, cpuset))
			coreset_add(&set, i);
	}
	return set;
}

static int read_pus(hwloc_topology_t topo, struct inventory *inv, struct probe_local *pus,
		    struct err *err)
{
	hwloc_obj_t core = NULL;

	for (unsigned i = 0; i < inv->core_count; i++) {
		int pu;

		core = hwloc_get_next_obj_by_type(topo, core_type(topo), core);
		for (pu = hwloc_bitmap_first(core->cpuset); pu >= 0;
		     pu = hwloc_bitmap_next(core->cpuset, pu)) {
			unsigned n = pus->core[i].count;

			if (n == INV_PUS_PER_CORE_MAX)
				return err_set(err, ERR_NOROOM, "a core has more than %d hardware threads",
					       INV_PUS_PER_CORE_MAX);
			pus->core[i].os_index[n] = (uint32_t)pu;
			pus->core[i].count++;
			inv->pu_count++;
		}
		if (pus->core[i].count == 0)
			return err_set(err, ERR_FORMAT, "core %u has no hardware thread", i);
	}
	return 0;
}

static int numa_order(const void *a, const void *b)
{
	const struct inv_numa *x = a, *y = b;

	return x->os_index < y->os_index ? -1 : x->os_index > y->os_index;
}

static int read_numa(hwloc_topology_t topo, struct inventory *inv, struct err *err)
{
	int count = hwloc_get_nbobjs_by_type(topo, HWLOC_OBJ_NUMANODE);
	hwloc_obj_t node = NULL;

	if (count < 0 || count > INV_NUMA_MAX)
		return err_set(err, ERR_NOROOM, "the machine has %d NUMA nodes, at most %d are possible",
			       count, INV_NUMA_MAX);
	for (int i = 0; i < count; i++) {
		struct inv_numa *n = &inv->numa[inv->numa_count++];
		uint64_t mib;

		node = hwloc_get_next_obj_by_type(topo, HWLOC_OBJ_NUMANODE, node);
		mib = node->attr->numanode.local_memory >> 20;
		if (mib > (uint64_t)INV_MEMORY_MIB_MAX)
			return err_set(err, ERR_NOROOM, "NUMA node %u has too much memory", node->os_index);
		n->os_index = node->os_index;
		n->memory_mib = (int64_t)mib;
		n->cores = cores_in(topo, node->cpuset);
		/* hwloc before 2.1 had no subtype for it; POWER9 numbers GPU memory from 255 down. */
		n->device_memory = (node->subtype && strcmp(node->subtype, "GPUMemory") == 0) ||
				   (coreset_empty(&n->cores) && n->os_index >= 240 && n->os_index <= 255);
		if (!n->device_memory && ckd_add(&inv->memory_mib, inv->memory_mib, n->memory_mib))
			return err_set(err, ERR_NOROOM, "the machine has too much memory");
	}
	qsort(inv->numa, inv->numa_count, sizeof(inv->numa[0]), numa_order);
	return 0;
}

int topo_cores(hwloc_topology_t topo, struct inventory *inv, struct probe_local *pus, struct err *err)
{
	int cores = hwloc_get_nbobjs_by_type(topo, core_type(topo));
	int packages = hwloc_get_nbobjs_by_type(topo, HWLOC_OBJ_PACKAGE);
	const char *version = hwloc_obj_get_info_by_name(hwloc_get_root_obj(topo), "hwlocVersion");
	int r;

	if (cores <= 0)
		return err_set(err, ERR_FORMAT, "the machine has no cores");
	if (cores > INV_CORES_MAX)
		return err_set(err, ERR_NOROOM, "the machine has %d cores, at most %d are possible", cores,
			       INV_CORES_MAX);
	if (packages > INV_PACKAGES_MAX)
		return err_set(err, ERR_NOROOM, "the machine has %d packages, at most %d are possible",
			       packages, INV_PACKAGES_MAX);
	inv->core_count = (uint16_t)cores;
	pus->core_count = (uint16_t)cores;
	inv->package_count = packages > 0 ? (uint16_t)packages : 1;
	if (version)
		gpu_text(inv->hwloc_version, sizeof(inv->hwloc_version), version);
	else
		snprintf(inv->hwloc_version, sizeof(inv->hwloc_version), "%u.%u",
			 hwloc_get_api_version() >> 16, hwloc_get_api_version() >> 8 & 0xff);
	r = read_pus(topo, inv, pus, err);
	return r ? r : read_numa(topo, inv, err);
}

int8_t near_numa(const struct inventory *inv, const struct coreset *near)
{
	int8_t found = -1;

	for (unsigned i = 0; i < inv->numa_count; i++) {
		const struct inv_numa *n = &inv->numa[i];

		if (n->device_memory || coreset_empty(&n->cores) || !coreset_within(near, &n->cores))
			continue;
		if (n->memory_mib > 0)
			return (int8_t)i;
		if (found < 0)
			found = (int8_t)i;
	}
	return found;
}

/* Cores next to an I/O object; all of them when hwloc does not know. */
static struct coreset near_cores(hwloc_topology_t topo, const struct inventory *inv, hwloc_obj_t io)
{
	hwloc_obj_t host = hwloc_get_non_io_ancestor_obj(topo, io);
	struct coreset near = {0};

	if (host && host->cpuset)
		near = cores_in(topo, host->cpuset);
	return coreset_empty(&near) ? coreset_first(inv->core_count) : near;
}

/* ---- GPUs ------------------------------------------------------------------------------------ */

enum { PCI_NVIDIA = 0x10de, PCI_AMD = 0x1002, PCI_INTEL = 0x8086 };

/* What an OS device under a GPU says, best source first. */
enum os_kind { OS_NVML, OS_RSMI, OS_CUDA, OS_ZE, OS_OPENCL, OS_KIND_COUNT, OS_OTHER = OS_KIND_COUNT };

static const struct {
	const char *prefix, *uuid, *memory_kib; /* names of hwloc's info attributes */
} OS_KINDS[OS_KIND_COUNT] = {
	[OS_NVML] = { "nvml", "NVIDIAUUID", NULL },
	[OS_RSMI] = { "rsmi", "AMDUUID", "RSMIVRAMSize" },
	[OS_CUDA] = { "cuda", NULL, "CUDAGlobalMemorySize" },
	[OS_ZE] = { "ze", "LevelZeroUUID", "LevelZeroHBMSize" },
	[OS_OPENCL] = { "opencl", NULL, "OpenCLGlobalMemorySize" },
};

static enum os_kind os_kind(hwloc_obj_t os)
{
	for (unsigned k = 0; k < OS_KIND_COUNT; k++) {
		size_t n = strlen(OS_KINDS[k].prefix);

		if (os->name && strncmp(os->name, OS_KINDS[k].prefix, n) == 0 && os->name[n] >= '0' &&
		    os->name[n] <= '9')
			return (enum os_kind)k;
	}
	return OS_OTHER;
}

/* The n-th OS device of a kind under a PCI function, or NULL. */
static hwloc_obj_t os_child(hwloc_obj_t pci, enum os_kind kind, unsigned n)
{
	for (hwloc_obj_t o = pci->io_first_child; o; o = o->next_sibling)
		if (o->type == HWLOC_OBJ_OS_DEVICE && os_kind(o) == kind && n-- == 0)
			return o;
	return NULL;
}

static unsigned os_child_count(hwloc_obj_t pci, enum os_kind kind)
{
	unsigned n = 0;

	while (n <= INV_PARTITION_MAX && os_child(pci, kind, n))
		n++;
	return n;
}

static int vendor_of(hwloc_obj_t pci)
{
	switch (pci->attr->pcidev.vendor_id) {
	case PCI_NVIDIA: return INV_VENDOR_NVIDIA;
	case PCI_AMD: return INV_VENDOR_AMD;
	case PCI_INTEL: return INV_VENDOR_INTEL;
	default: return 0;
	}
}

/* A virtual function whose physical function this kernel has too: it is a slice of a device that is
 * counted already. Inside a virtual machine the same function stands alone and counts. */
static bool is_virtual_function(const char *pci)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/physfn", pci);
	return access(path, F_OK) == 0;
}

static void pci_name(hwloc_obj_t pci, char dst[INV_PCI_BYTES])
{
	const struct hwloc_pcidev_attr_s *a = &pci->attr->pcidev;

	gpu_pci_name(dst, a->domain, a->bus, a->dev, a->func);
}

static bool is_gpu(hwloc_obj_t pci)
{
	unsigned class_id = pci->attr->pcidev.class_id;

	if (!vendor_of(pci))
		return false; /* management graphics (ASPEED, Matrox), switches, NICs */
	for (unsigned k = 0; k < OS_OPENCL; k++)
		if (os_child(pci, (enum os_kind)k, 0))
			return true;
	/* Intel's chipset graphics sit on bus 0, its accelerators never do. */
	if (vendor_of(pci) == INV_VENDOR_INTEL)
		return class_id == 0x0380 && pci->attr->pcidev.bus != 0;
	return class_id == 0x0300 || class_id == 0x0302 || class_id == 0x0380 || class_id == 0x1200;
}

static void describe(hwloc_obj_t pci, unsigned partition, struct inv_device *d)
{
	for (unsigned k = 0; k < OS_KIND_COUNT; k++) {
		/* Only RSMI shows partitions; the others describe the whole GPU, that is the first. */
		hwloc_obj_t os = os_child(pci, (enum os_kind)k, k == OS_RSMI ? partition : 0);
		const char *text;

		if (!os || (partition > 0 && k != OS_RSMI))
			continue;
		text = hwloc_obj_get_info_by_name(os, "GPUModel");
		if (text && d->model[0] == '\0')
			gpu_text(d->model, sizeof(d->model), text);
		text = OS_KINDS[k].uuid ? hwloc_obj_get_info_by_name(os, OS_KINDS[k].uuid) : NULL;
		if (text && d->uuid[0] == '\0') {
			/* ROCR_VISIBLE_DEVICES spells it with the prefix, hwloc without. */
			char full[INV_UUID_BYTES];

			snprintf(full, sizeof(full), "%s%s", k == OS_RSMI ? "GPU-" : "", text);
			gpu_text(d->uuid, sizeof(d->uuid), full);
		}
		text = OS_KINDS[k].memory_kib ? hwloc_obj_get_info_by_name(os, OS_KINDS[k].memory_kib) : NULL;
		if (text && d->memory_mib == 0) {
			uint64_t mib = strtoull(text, NULL, 10) >> 10;

			d->memory_mib = mib <= (uint64_t)INV_MEMORY_MIB_MAX ? (int64_t)mib : 0;
		}
	}
}

int topo_devices(hwloc_topology_t topo, bool live, struct inventory *inv, struct err *err)
{
	for (hwloc_obj_t pci = NULL; (pci = hwloc_get_next_pcidev(topo, pci)) != NULL;) {
		char name[INV_PCI_BYTES];
		unsigned partitions;
		uint64_t number;

		pci_name(pci, name);
		if (!is_gpu(pci) || (live && is_virtual_function(name)))
			continue;
		if (inv_pci_parse(name, &number))
			return err_set(err, ERR_FORMAT, "'%s' is no PCI bus id", name);
		partitions = os_child_count(pci, OS_RSMI);
		for (unsigned p = 0; p < (partitions > 1 ? partitions : 1); p++) {
			struct inv_device *d, *first;

			if (inv->device_count == INV_DEVICES_MAX)
				return err_set(err, ERR_NOROOM, "the machine has more than %d GPUs",
					       INV_DEVICES_MAX);
			d = &inv->devices[inv->device_count++];
			first = d - p;
			*d = (struct inv_device){ .partition = (uint8_t)p,
						  .vendor = (uint8_t)vendor_of(pci) };
			memcpy(d->pci, name, sizeof(name));
			d->near = near_cores(topo, inv, pci);
			d->numa = near_numa(inv, &d->near);
			describe(pci, p, d);
			if (d->model[0] == '\0')
				memcpy(d->model, first->model, sizeof(d->model));
			if (d->model[0] == '\0' && hwloc_obj_get_info_by_name(pci, "PCIDevice"))
				gpu_text(d->model, sizeof(d->model),
					 hwloc_obj_get_info_by_name(pci, "PCIDevice"));
		}
	}
	return 0;
}

/* ---- links ----------------------------------------------------------------------------------- */

int device_find(const struct inventory *inv, const char *pci, unsigned partition)
{
	for (unsigned i = 0; i < inv->device_count; i++)
		if (inv->devices[i].partition == partition && strcmp(inv->devices[i].pci, pci) == 0)
			return (int)i;
	return -1;
}

void link_join(struct link_matrix *m, unsigned i, unsigned j, uint64_t mbps)
{
	uint32_t speed = mbps > UINT32_MAX ? UINT32_MAX : (uint32_t)mbps;

	if (i == j)
		return;
	m->peer[i][j] = m->peer[j][i] = true;
	if (speed > m->mbps[i][j])
		m->mbps[i][j] = m->mbps[j][i] = speed;
}

/* The device behind an object of a link matrix, or -1: a package, a switch, a MIG parent. */
static int object_device(const struct inventory *inv, hwloc_obj_t obj)
{
	char name[INV_PCI_BYTES];
	unsigned partition = 0;
	hwloc_obj_t pci = obj;
	int found;

	while (pci && pci->type != HWLOC_OBJ_PCI_DEVICE)
		pci = pci->parent;
	if (!pci)
		return -1;
	if (obj->type == HWLOC_OBJ_OS_DEVICE && os_kind(obj) == OS_RSMI)
		while (os_child(pci, OS_RSMI, partition) && os_child(pci, OS_RSMI, partition) != obj)
			partition++;
	pci_name(pci, name);
	found = device_find(inv, name, partition);
	return found >= 0 && inv->devices[found].mig_profile[0] ? -1 : found;
}

static uint64_t both_ways(const struct hwloc_distances_s *d, unsigned i, unsigned j)
{
	uint64_t out = d->values[i * d->nbobjs + j], back = d->values[j * d->nbobjs + i];

	return out > back ? out : back;
}

/* Number the switch fabrics: fabric[s] >= 0 for a PCI function that is no device, equal for two that
 * links join, directly or over others. Packages are no switches: NVLink to a POWER CPU carries no
 * traffic between GPUs. */
static void find_fabrics(const struct hwloc_distances_s *d, const int *device, int *fabric)
{
	bool moved = true;

	for (unsigned s = 0; s < d->nbobjs; s++)
		fabric[s] = device[s] < 0 && d->objs[s] && d->objs[s]->type == HWLOC_OBJ_PCI_DEVICE ?
			    (int)s : -1;
	while (moved) {
		moved = false;
		for (unsigned s = 0; s < d->nbobjs; s++) {
			for (unsigned t = 0; t < d->nbobjs; t++) {
				if (fabric[s] < 0 || fabric[t] <= fabric[s] || both_ways(d, s, t) == 0)
					continue;
				fabric[t] = fabric[s];
				moved = true;
			}
		}
	}
}

/* Direct entries join their devices. Two devices on one switch fabric are joined with the lesser of
 * their speeds into it, summed over the fabrics they share. */
static void add_matrix(const struct hwloc_distances_s *d, const struct inventory *inv,
		       struct link_matrix *m)
{
	int *device = xcalloc(d->nbobjs, sizeof(*device));
	int *fabric = xcalloc(d->nbobjs, sizeof(*fabric));

	for (unsigned i = 0; i < d->nbobjs; i++)
		device[i] = d->objs[i] ? object_device(inv, d->objs[i]) : -1;
	find_fabrics(d, device, fabric);
	for (unsigned i = 0; i < d->nbobjs; i++) {
		for (unsigned j = 0; j < i; j++) {
			uint64_t mbps = 0;

			if (device[i] < 0 || device[j] < 0)
				continue;
			for (int f = 0; f < (int)d->nbobjs; f++) {
				uint64_t from_i = 0, from_j = 0;

				for (unsigned s = 0; s < d->nbobjs; s++) {
					if (fabric[s] != f)
						continue;
					if (ckd_add(&from_i, from_i, both_ways(d, i, s)))
						from_i = UINT64_MAX;
					if (ckd_add(&from_j, from_j, both_ways(d, j, s)))
						from_j = UINT64_MAX;
				}
				if (ckd_add(&mbps, mbps, from_i < from_j ? from_i : from_j))
					mbps = UINT64_MAX;
			}
			if (both_ways(d, i, j) > mbps)
				mbps = both_ways(d, i, j);
			if (mbps > 0)
				link_join(m, (unsigned)device[i], (unsigned)device[j], mbps);
		}
	}
	free(fabric);
	free(device);
}

/* Files of hwloc 1.x have no matrix but list the peers by name: XGMIPeers="rsmi1 rsmi2 ". */
static void add_named_peers(hwloc_topology_t topo, const struct inventory *inv, struct link_matrix *m)
{
	for (hwloc_obj_t a = NULL; (a = hwloc_get_next_osdev(topo, a)) != NULL;) {
		const char *names = hwloc_obj_get_info_by_name(a, "XGMIPeers");
		int from = names ? object_device(inv, a) : -1;

		if (from < 0)
			continue;
		for (hwloc_obj_t b = NULL; (b = hwloc_get_next_osdev(topo, b)) != NULL;) {
			size_t n = b->name ? strlen(b->name) : 0;
			const char *hit = names;
			int to = -1;

			if (b == a || os_kind(b) != OS_RSMI)
				continue;
			while (to < 0 && (hit = strstr(hit, b->name)) != NULL) {
				if ((hit == names || hit[-1] == ' ') && (hit[n] == ' ' || hit[n] == '\0'))
					to = object_device(inv, b);
				hit += n;
			}
			if (to >= 0)
				link_join(m, (unsigned)from, (unsigned)to, 0);
		}
	}
}

void topo_links(hwloc_topology_t topo, const struct inventory *inv, struct link_matrix *m)
{
	static const char *const names[] = { "NVLinkBandwidth", "XGMIBandwidth" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct hwloc_distances_s *d[4];
		unsigned n = ARRAY_LEN(d);

		if (hwloc_distances_get_by_name(topo, names[i], &n, d, 0))
			continue;
		for (unsigned k = 0; k < n && k < ARRAY_LEN(d); k++) {
			add_matrix(d[k], inv, m);
			hwloc_distances_release(topo, d[k]);
		}
	}
	add_named_peers(topo, inv, m);
}

/* ---- NICs ------------------------------------------------------------------------------------ */

struct nic_found {
	struct inv_nic nic;
	uint64_t pci_number;
	bool rdma;
};

static int nic_order(const struct nic_found *x, const struct nic_found *y)
{
	if (x->pci_number != y->pci_number)
		return x->pci_number < y->pci_number ? -1 : 1;
	return strcmp(x->nic.name, y->nic.name);
}

static int nic_by_worth(const void *a, const void *b)
{
	const struct nic_found *x = a, *y = b;

	return x->rdma != y->rdma ? (x->rdma ? -1 : 1) : nic_order(x, y);
}

static int nic_by_pci(const void *a, const void *b)
{
	return nic_order(a, b);
}

/* Does the function carry an RDMA device? Its network interfaces are then the same ports. */
static bool has_rdma(hwloc_obj_t pci)
{
	for (hwloc_obj_t o = pci->io_first_child; o; o = o->next_sibling)
		if (o->type == HWLOC_OBJ_OS_DEVICE && o->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS)
			return true;
	return false;
}

/* Hosts with SR-IOV show hundreds of interfaces, so all are collected before the best are kept. */
void topo_nics(hwloc_topology_t topo, bool live, struct inventory *inv)
{
	CLEANUP(buf_done) struct buf found = BUF_INIT;
	struct nic_found *list;
	size_t count;

	for (hwloc_obj_t os = NULL; (os = hwloc_get_next_osdev(topo, os)) != NULL;) {
		bool rdma = os->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS;
		hwloc_obj_t pci = os->parent;
		struct nic_found f = { .rdma = rdma };

		if (!rdma && os->attr->osdev.type != HWLOC_OBJ_OSDEV_NETWORK)
			continue;
		if (!pci || pci->type != HWLOC_OBJ_PCI_DEVICE || !os->name || (!rdma && has_rdma(pci)))
			continue;
		gpu_text(f.nic.name, sizeof(f.nic.name), os->name);
		pci_name(pci, f.nic.pci);
		if (f.nic.name[0] == '\0' || inv_pci_parse(f.nic.pci, &f.pci_number) ||
		    (live && is_virtual_function(f.nic.pci)))
			continue;
		f.nic.near = near_cores(topo, inv, pci);
		f.nic.numa = near_numa(inv, &f.nic.near);
		buf_add(&found, &f, sizeof(f));
	}
	list = (struct nic_found *)(void *)found.data;
	count = found.len / sizeof(*list);
	if (count == 0)
		return;
	qsort(list, count, sizeof(*list), nic_by_worth);
	if (count > INV_NICS_MAX)
		count = INV_NICS_MAX;
	qsort(list, count, sizeof(*list), nic_by_pci);
	for (size_t i = 0; i < count; i++)
		inv->nics[inv->nic_count++] = list[i].nic;
}
