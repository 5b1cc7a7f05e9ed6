/* test_probe.c - machines, real and recorded, become inventories
 *
 * Without these tests a node could report two GPUs as one, one as two, cores that are not its own, or
 * die of a damaged file; the daemon could believe an inventory that contradicts itself.
 *
 * The recorded machines of $SLUIS_DATA/hwloc (or ../shared/data/hwloc) and the table expected.csv beside
 * them are an independent oracle; without them those tests say so and are skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/probe/idle.h"
#include "agent/probe/nodes.h"
#include "agent/probe/probe.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"

static struct inventory inv, other;
static struct probe_local local;
static struct err err;

/* ---- helpers --------------------------------------------------------------------------------- */

/* The repository root: where demo/topologies is, seen from the build folder of this program. */
static const char *root_dir(void)
{
	static char root[PATH_MAX];
	char probe[PATH_MAX + 32];

	if (root[0])
		return root;
	assert_true(readlink("/proc/self/exe", root, sizeof(root) - 1) > 0);
	while (strrchr(root, '/')) {
		*strrchr(root, '/') = '\0';
		snprintf(probe, sizeof(probe), "%s/demo/topologies", root);
		if (access(probe, F_OK) == 0)
			return root;
	}
	fail_msg("no demo/topologies above this program");
	return NULL;
}

static const char *demo_file(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.3000s/demo/topologies/%s", root_dir(), name);
	return path;
}

static const char *data_file(const char *name)
{
	static char path[PATH_MAX];
	const char *data = getenv("SLUIS_DATA");

	if (data)
		snprintf(path, sizeof(path), "%.3000s/hwloc/%s", data, name);
	else
		snprintf(path, sizeof(path), "%.3000s/../shared/data/hwloc/%s", root_dir(), name);
	return path;
}

static void skip_without_data(void)
{
	if (access(data_file("expected.csv"), R_OK) == 0)
		return;
	print_message("skipped: no recorded machines at %s (set SLUIS_DATA)\n", data_file(""));
	skip();
}

static const char *fake_library(const char *name)
{
	static char path[PATH_MAX + 64];
	char exe[PATH_MAX] = "";

	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	*strrchr(exe, '/') = '\0';
	snprintf(path, sizeof(path), "%s/%s", exe, name);
	assert_int_equal(access(path, R_OK), 0);
	return path;
}

static int probe_xml(const char *path, struct inventory *ret)
{
	struct probe_opts opts = { .source = PROBE_XML, .path = path };

	memset(&err, 0, sizeof(err));
	return probe_run(&opts, ret, &local, &err);
}

static void must(int r)
{
	if (r)
		fail_msg("%s: %s", err_name(r), err.msg);
}

static char temp[64];

static int make_temp(void **state)
{
	(void)state;
	snprintf(temp, sizeof(temp), "/tmp/sluis-probe.XXXXXX");
	return mkdtemp(temp) ? 0 : -1;
}

static int drop_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int drop_temp(void **state)
{
	(void)state;
	return nftw(temp, drop_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *temp_file(const void *data, size_t n)
{
	static char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/t.xml", temp);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
	return path;
}

static void slurp(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "rb");
	size_t n;

	assert_non_null(f);
	while ((n = fread(buf_reserve(out, 4096), 1, 4096, f)) > 0)
		out->len += n;
	(void)fclose(f);
	(void)buf_cstr(out);
}

/* Replace the first `from` in a text by `to`. */
static void replace(struct buf *text, const char *from, const char *to)
{
	struct buf out = BUF_INIT;
	char *at = strstr((char *)text->data, from);

	assert_non_null(at);
	buf_addf(&out, "%.*s%s%s", (int)(at - (char *)text->data), (char *)text->data, to, at + strlen(from));
	(void)buf_cstr(&out);
	buf_done(text);
	*text = out;
}

/* ---- recorded machines ----------------------------------------------------------------------- */

/* The n-th comma separated field of a line, 1-based. */
static void field(const char *line, int n, char *dst, size_t size)
{
	while (--n > 0) {
		line = strchr(line, ',');
		assert_non_null(line);
		line++;
	}
	snprintf(dst, size, "%.*s", (int)strcspn(line, ",\n"), line);
}

static unsigned number(const char *line, int n)
{
	char text[32];

	field(line, n, text, sizeof(text));
	return (unsigned)atoi(text);
}

static unsigned distinct_functions(const struct inventory *i)
{
	unsigned n = 0;

	for (unsigned k = 0; k < i->device_count; k++)
		n += k == 0 || strcmp(i->devices[k].pci, i->devices[k - 1].pci) != 0;
	return n;
}

static void check_row(const char *line)
{
	char name[128], loads[8], models[256], path[PATH_MAX];
	unsigned gpus = number(line, 8), rsmi = number(line, 11), uuids = number(line, 13), named = 0;

	field(line, 1, name, sizeof(name));
	field(line, 4, loads, sizeof(loads));
	field(line, 14, models, sizeof(models));
	snprintf(path, sizeof(path), "%s", data_file(name));
	if (strcmp(loads, "yes") != 0) {
		assert_int_equal(probe_xml(path, &inv), ERR_VERSION);
		assert_non_null(strstr(err.msg, name));
		assert_non_null(strstr(err.hint, "lstopo"));
		return;
	}
	must(probe_xml(path, &inv));
	print_message("    %s: %u cores, %u devices, %u links\n", name, inv.core_count, inv.device_count,
		      inv.link_count);
	assert_int_equal(inv.pu_count, number(line, 5));
	assert_int_equal(inv.core_count, number(line, 6));
	assert_int_equal(inv.numa_count, number(line, 7));
	assert_int_equal(distinct_functions(&inv), gpus);
	assert_int_equal(inv.device_count, rsmi > gpus ? rsmi : gpus);
	for (unsigned i = 0; i < inv.device_count; i++) {
		named += inv.devices[i].uuid[0] != '\0';
		if (models[0])
			assert_true(inv.devices[i].model[0] != '\0');
		/* One model in the table means all devices are of that model. */
		if (models[0] && !strchr(models, ';'))
			assert_string_equal(inv.devices[i].model, models);
	}
	/* A single UUID for several devices names none of them. */
	assert_int_equal(named, uuids == 1 && inv.device_count > 2 ? 0 : uuids);
	field(line, 15, models, sizeof(models));
	assert_int_equal(inv.link_count > 0, models[0] != '\0');
	assert_true(inv.emulated);
}

static void every_recorded_machine_is_what_the_table_says(void **state)
{
	char line[1024];
	unsigned rows = 0;
	FILE *f;

	(void)state;
	skip_without_data();
	f = fopen(data_file("expected.csv"), "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	for (; fgets(line, sizeof(line), f); rows++)
		check_row(line);
	(void)fclose(f);
	assert_true(rows >= 20);
}

/* Six devices on one PCI function: names by PCI id alone would make one of them. */
static void partitions_are_devices_of_their_own(void **state)
{
	(void)state;
	skip_without_data();
	must(probe_xml(data_file("v2/elcap-tuolumne-mi300a-cpx.xml"), &inv));
	assert_int_equal(inv.device_count, 24);
	for (unsigned i = 0; i < 24; i++) {
		assert_int_equal(inv.devices[i].partition, i % 6);
		assert_int_equal(inv.devices[i].vendor, INV_VENDOR_AMD);
		assert_int_equal(inv.devices[i].numa, (int)i / 6);
		assert_string_equal(inv.devices[i].uuid, ""); /* all zero in the file */
		assert_string_equal(inv.devices[i].model, inv.devices[0].model);
	}
}

static void links_are_found_directly_and_through_switches(void **state)
{
	(void)state;
	skip_without_data();
	/* Pairs and two CPUs: a way over a CPU is none. */
	must(probe_xml(data_file("v2/power8-4xp100-nvlink.xml"), &inv));
	assert_int_equal(inv.link_count, 2);
	assert_int_equal(inv.devices[0].peers, 2);
	assert_int_equal(inv.devices[3].peers, 4);
	assert_int_equal(inv.links[1].bandwidth_mbps, 40000);
	/* GPU to switch only: two boards of eight, six switches each at 25,000. */
	must(probe_xml(data_file("v2-derived/nvidia-dgx2h-16xv100.xml"), &inv));
	assert_int_equal(inv.devices[0].peers, 0xfe);
	assert_int_equal(inv.devices[15].peers, 0x7f00);
	assert_int_equal(inv.link_count, 2 * 28);
	assert_int_equal(inv.links[0].bandwidth_mbps, 150000);
	must(probe_xml(data_file("v2/dell-xe8640-4xh100.xml"), &inv));
	assert_int_equal(inv.devices[2].peers, 0xb);
	assert_int_equal(inv.links[5].bandwidth_mbps, 150000);
}

/* Two GPUs, each on its own switch; the switches are joined or not (`trunk` in MB/s). */
static void probe_two_switches(unsigned trunk)
{
	static const char sets[] = "cpuset=\"0x1\" complete_cpuset=\"0x1\" nodeset=\"0x1\" "
				   "complete_nodeset=\"0x1\"";
	CLEANUP(buf_done) struct buf x = BUF_INIT;

	buf_addf(&x, "<topology version=\"2.0\"><object type=\"Machine\" os_index=\"0\" gp_index=\"1\" "
		     "allowed_cpuset=\"0x1\" allowed_nodeset=\"0x1\" %s>"
		     "<object type=\"NUMANode\" os_index=\"0\" local_memory=\"1073741824\" gp_index=\"2\" %s/>"
		     "<object type=\"Core\" os_index=\"0\" gp_index=\"3\" %s>"
		     "<object type=\"PU\" os_index=\"0\" gp_index=\"4\" %s/></object>"
		     "<object type=\"Bridge\" gp_index=\"5\" bridge_type=\"0-1\" depth=\"0\" "
		     "bridge_pci=\"0000:[00-09]\">", sets, sets, sets, sets);
	for (unsigned i = 0; i < 4; i++)
		buf_addf(&x, "<object type=\"PCIDev\" gp_index=\"%u\" pci_busid=\"0000:0%u:00.0\" %s "
			     "pci_type=\"%s [10de:0000] [10de:0000] 00\" pci_link_speed=\"0.0\"/>", 10 + i, 1 + i,
			 i < 2 ? "" : "subtype=\"NVSwitch\"", i == 0 ? "0302" : i == 1 ? "1200" : "0680");
	buf_addf(&x, "</object></object><distances2 type=\"PCIDev\" nbobjs=\"4\" kind=\"9\" "
		     "name=\"NVLinkBandwidth\" indexing=\"gp\"><indexes length=\"12\">10 11 12 13 </indexes>");
	CLEANUP(buf_done) struct buf v = BUF_INIT;

	buf_addf(&v, "0 0 50000 0 0 0 0 25000 50000 0 0 %u 0 25000 %u 0 ", trunk, trunk);
	buf_addf(&x, "<u64values length=\"%zu\">%s</u64values></distances2></topology>", v.len, buf_cstr(&v));
	must(probe_xml(temp_file(x.data, x.len), &inv));
	assert_int_equal(inv.device_count, 2);
}

static void switches_joined_to_each_other_are_one_fabric(void **state)
{
	(void)state;
	probe_two_switches(0);
	assert_int_equal(inv.link_count, 0);
	probe_two_switches(100000);
	assert_int_equal(inv.link_count, 1);
	assert_int_equal(inv.links[0].bandwidth_mbps, 25000); /* the lesser of the two sides */
	assert_int_equal(inv.devices[0].peers, 2);
}

/* POWER9 lists GPU memory as NUMA nodes: a job must not be given it as its memory. */
static void gpu_memory_is_not_node_memory(void **state)
{
	unsigned device_nodes = 0;

	(void)state;
	skip_without_data();
	must(probe_xml(data_file("v1/sierra3682-4xv100.xml"), &inv));
	for (unsigned i = 0; i < inv.numa_count; i++)
		device_nodes += inv.numa[i].device_memory;
	assert_int_equal(device_nodes, 4);
	assert_int_equal(inv.memory_mib, inv.numa[0].memory_mib + inv.numa[1].memory_mib);
}

/* The kernel's numbers of a core's threads become the cpuset of a job: each exactly once. */
static void check_pus(void)
{
	static bool seen[1 << 16];
	unsigned total = 0;

	memset(seen, 0, sizeof(seen));
	assert_int_equal(local.core_count, inv.core_count);
	for (unsigned i = 0; i < local.core_count; i++) {
		assert_in_range(local.core[i].count, 1, INV_PUS_PER_CORE_MAX);
		for (unsigned k = 0; k < local.core[i].count; k++, total++) {
			assert_true(local.core[i].os_index[k] < ARRAY_LEN(seen));
			assert_false(seen[local.core[i].os_index[k]]);
			seen[local.core[i].os_index[k]] = true;
		}
	}
	assert_int_equal(total, inv.pu_count);
}

/* Present under AddressSanitizer only. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

/* hwloc's PCI plugin sits on libpciaccess, which loses 1 kB at every pci_system_cleanup(). */
static int probe_live(const struct probe_opts *opts, struct inventory *ret)
{
	int r;

	if (__lsan_disable)
		__lsan_disable();
	r = probe_run(opts, ret, &local, &err);
	if (__lsan_enable)
		__lsan_enable();
	return r;
}

static void this_machine_can_be_probed(void **state)
{
	struct probe_opts opts = { .source = PROBE_LIVE, .node_name = "ignored on a live machine" };

	(void)state;
	must(probe_live(&opts, &inv));
	assert_false(inv.emulated);
	assert_true(inv.core_count > 0);
	assert_true(inv.memory_mib > 0);
	check_pus();
	for (unsigned i = 0; i < inv.device_count; i++)
		assert_null(strstr(inv.devices[i].uuid, "EMU-"));
	must(probe_live(&opts, &other));
	assert_memory_equal(inv.digest, other.digest, INV_DIGEST_BYTES);
}

/* HWLOC_XMLFILE left in a unit's environment would make every node report the same machine. */
static void a_redirected_environment_is_refused(void **state)
{
	struct probe_opts opts = { .source = PROBE_LIVE };
	int r;

	(void)state;
	setenv("HWLOC_SYNTHETIC", "core:4 pu:1", 1);
	r = probe_run(&opts, &inv, &local, &err);
	unsetenv("HWLOC_SYNTHETIC");
	assert_int_equal(r, ERR_CONFIG);
	assert_non_null(strstr(err.hint, "HWLOC_SYNTHETIC"));
}

static void the_demo_machines_load(void **state)
{
	(void)state;
	must(probe_xml(demo_file("oci-bm-h100.xml"), &inv));
	assert_int_equal(inv.device_count, 8);
	assert_int_equal(inv.core_count, 112);
	assert_int_equal(inv.pu_count, 224);
	assert_int_equal(inv.nic_count, 16);
	assert_int_equal(inv.link_count, 28);
	assert_int_equal(inv.links[0].bandwidth_mbps, 18 * 25000);
	assert_string_equal(inv.devices[7].model, "NVIDIA H100 80GB HBM3");
	assert_int_equal(inv.devices[7].numa, 1);
	check_pus();
	must(probe_xml(demo_file("tioga-mi250x.xml"), &inv));
	assert_int_equal(inv.device_count, 8);
	assert_int_equal(inv.core_count, 64);
	assert_int_equal(coreset_count(&inv.devices[0].near), 8);
	assert_string_equal(inv.devices[0].uuid, "GPU-4a7c19da329a2b8c");
	assert_int_equal(inv.link_count, 28);
	must(probe_xml(demo_file("aws-g4dn-metal-8xt4.xml"), &inv));
	assert_int_equal(inv.device_count, 8);
	assert_int_equal(inv.link_count, 0);
}

/* The stripped files claim to say the same as their originals. */
static void stripping_lost_nothing_that_is_read(void **state)
{
	static const char *const names[] = { "tioga-mi250x.xml", "aws-g4dn-metal-8xt4.xml" };
	char path[64];

	(void)state;
	skip_without_data();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "v2/%s", names[i]);
		must(probe_xml(data_file(path), &inv));
		must(probe_xml(demo_file(names[i]), &other));
		assert_memory_equal(inv.digest, other.digest, INV_DIGEST_BYTES);
	}
}

/* Copies of /sys and /proc: what the agent would see of a machine booted with CPU 0 off, of one
 * restricted by its cgroup, and of two with unusual memory. */
static void copies_of_sys_are_read_as_machines(void **state)
{
	static const struct {
		const char *archive, *folder;
		unsigned local, cores, numa;
	} rows[] = {
		{ "offline-cpu0-node0", "offline-cpu0-node0", 17, 17, 1 },
		{ "32amd64-4s2n4c-cgroup2", "32amd64-4s2n4c-cgroup", 6, 6, 6 },
		{ "nvidia-dgx-gb10", "nvidia-dgx-gb10", 20, 20, 1 },
		{ "nvidiagpunumanodes", "nvidiagpunumanodes", 32, 8, 2 },
	};
	char dir[256], command[2 * PATH_MAX], archive[64];
	struct probe_opts opts = { .source = PROBE_FSROOT, .path = dir };

	(void)state;
	skip_without_data();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int r;

		snprintf(archive, sizeof(archive), "fsroot/%s.tar.bz2", rows[i].archive);
		snprintf(command, sizeof(command), "tar -C '%s' -xjf '%s'", temp, data_file(archive));
		if (system(command) != 0) {
			print_message("skipped: this machine cannot unpack %s\n", archive);
			skip();
		}
		snprintf(dir, sizeof(dir), "%s/%s", temp, rows[i].folder);
		r = probe_run(&opts, &inv, &local, &err);
		snprintf(command, sizeof(command), "chmod -R u+w '%s' && rm -rf '%s'", dir, dir);
		assert_int_equal(system(command), 0);
		must(r);
		assert_int_equal(inv.pu_count, rows[i].local);
		assert_int_equal(inv.core_count, rows[i].cores);
		assert_int_equal(inv.numa_count, rows[i].numa);
		assert_true(inv.emulated);
		check_pus();
	}
}

/* ---- synthetic machines and emulated identities ---------------------------------------------- */

static void invented_gpus_are_spread_over_numa_nodes(void **state)
{
	struct probe_opts opts = { .source = PROBE_SYNTHETIC, .node_name = "n001",
				   .path = "package:2 numanode:1(memory=256GB) core:32 pu:2" };

	(void)state;
	must(probe_gpus_parse("8xH100", &opts.gpus, &err));
	must(probe_run(&opts, &inv, &local, &err));
	assert_int_equal(inv.core_count, 64);
	assert_int_equal(inv.pu_count, 128);
	assert_int_equal(inv.memory_mib, 2 * (INT64_C(256000000000) >> 20));
	assert_int_equal(inv.device_count, 8);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(inv.devices[i].numa, i / 4);
		assert_int_equal(coreset_count(&inv.devices[i].near), 32);
		assert_string_equal(inv.devices[i].model, "NVIDIA H100 80GB HBM3");
		assert_int_equal(inv.devices[i].peers, 0xff & ~(1u << i));
	}
	check_pus();
}

static void two_emulated_nodes_share_no_identity(void **state)
{
	struct probe_opts opts = { .source = PROBE_XML, .node_name = "n001" };
	char path[PATH_MAX];

	(void)state;
	snprintf(path, sizeof(path), "%s", demo_file("tioga-mi250x.xml"));
	opts.path = path;
	must(probe_run(&opts, &inv, &local, &err));
	must(probe_run(&opts, &other, &local, &err));
	assert_memory_equal(inv.digest, other.digest, INV_DIGEST_BYTES);
	opts.node_name = "n002";
	must(probe_run(&opts, &other, &local, &err));
	for (unsigned i = 0; i < inv.device_count; i++) {
		assert_memory_equal(inv.devices[i].uuid, "EMU-", 4);
		for (unsigned k = 0; k < other.device_count; k++)
			assert_string_not_equal(inv.devices[i].uuid, other.devices[k].uuid);
	}
}

static void gpu_descriptions_are_read_or_explained(void **state)
{
	static const char *const bad[] = { "", "x", "8", "8x", "0xH100", "65xH100", "-1xH100", "xH100",
					   "8xH100:", "8xH100:0", "8xH100:9g", "8x:24" };
	struct probe_gpus g;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(probe_gpus_parse(bad[i], &g, &err), ERR_INVAL);
		assert_true(err.msg[0] != '\0');
	}
	must(probe_gpus_parse("4xmi250x", &g, &err));
	assert_int_equal(g.vendor, INV_VENDOR_AMD);
	assert_int_equal(g.memory_mib, 65520);
	must(probe_gpus_parse("2xAny model text:24", &g, &err));
	assert_int_equal(g.count, 2);
	assert_int_equal(g.memory_mib, 24 * 1024);
	assert_string_equal(g.model, "Any model text");
}

static void machines_beyond_the_bounds_are_refused_by_name(void **state)
{
	struct probe_opts opts = { .source = PROBE_SYNTHETIC, .path = "package:1 core:513 pu:1" };

	(void)state;
	assert_int_equal(probe_run(&opts, &inv, &local, &err), ERR_NOROOM);
	assert_non_null(strstr(err.msg, "513 cores"));
	opts.path = "package:1 core:2 pu:9";
	assert_int_equal(probe_run(&opts, &inv, &local, &err), ERR_NOROOM);
	opts.path = "numanode:65 core:1 pu:1";
	assert_int_equal(probe_run(&opts, &inv, &local, &err), ERR_NOROOM);
	opts.path = "package:1 core:512 pu:1";
	must(probe_run(&opts, &inv, &local, &err));
	assert_int_equal(inv.core_count, 512);
	opts.path = "pu:6"; /* cores not known: every thread is one */
	must(probe_run(&opts, &inv, &local, &err));
	assert_int_equal(inv.core_count, 6);
}

static void options_that_do_not_go_together_are_refused(void **state)
{
	struct probe_opts opts = { .source = PROBE_XML };

	(void)state;
	assert_int_equal(probe_run(&opts, &inv, &local, &err), ERR_INVAL);
	opts = (struct probe_opts){ .source = PROBE_LIVE, .gpus = { .count = 1 } };
	assert_int_equal(probe_run(&opts, &inv, &local, &err), ERR_INVAL);
	opts = (struct probe_opts){ .source = PROBE_SYNTHETIC, .path = "no such thing" };
	assert_int_equal(probe_run(&opts, &inv, &local, &err), ERR_FORMAT);
	assert_non_null(strstr(err.hint, "package:"));
	opts = (struct probe_opts){ .source = PROBE_FSROOT, .path = "/nonexistent" };
	assert_int_equal(probe_run(&opts, &inv, &local, &err), ERR_FORMAT);
	assert_null(getenv("HWLOC_FSROOT"));
}

/* ---- broken files ---------------------------------------------------------------------------- */

static void refused(const void *data, size_t n, int code)
{
	int r = probe_xml(temp_file(data, n), &inv);

	assert_int_equal(r, code);
	assert_non_null(strstr(err.msg, "t.xml"));
}

static void broken_files_end_in_an_error(void **state)
{
	static const char *const wrong[] = { "<system version=\"1\"/>", "<topologydiff/>", "<!DOCTYPE x>",
					     "hello", "<?xml version=\"1.0\"?><html/>" };
	static const char *const malformed[] = { "<topology>", "<topology version=\"2.0\"/>",
						 "<topology version=\"2.0\"></topology>",
						 "<topology version=\"2.0\"><object type=\"Machine\"/></topology>",
						 "<topology version=\"0\"><object/></topology>" };
	CLEANUP(buf_done) struct buf junk = BUF_INIT;

	(void)state;
	refused("", 0, ERR_FORMAT);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		refused(wrong[i], strlen(wrong[i]), ERR_FORMAT);
	for (size_t i = 0; i < ARRAY_LEN(malformed); i++)
		refused(malformed[i], strlen(malformed[i]), ERR_FORMAT);
	refused("<topology version=\"3.0\">", 24, ERR_VERSION);
	refused("<topology>\0<object>", 19, ERR_FORMAT);
	for (unsigned i = 0; i < 10u << 20; i++)
		*buf_reserve(&junk, 1) = (uint8_t)(i * 2654435761u >> 24), junk.len++;
	refused(junk.data, junk.len, ERR_TOOBIG);
	refused(junk.data, 1 << 20, ERR_FORMAT);
	assert_int_equal(probe_xml("/nonexistent/t.xml", &inv), ERR_IO);
	assert_int_equal(probe_xml("/tmp", &inv), ERR_IO);
}

/* A file cut at any place is refused, and one with any line missing or bent is refused or consistent. */
static void damaged_files_never_kill_the_agent(void **state)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	unsigned accepted = 0, tried = 0;

	(void)state;
	slurp(demo_file("tioga-mi250x.xml"), &text);
	for (size_t cut = 50; cut < text.len - 20; cut += text.len / 23)
		refused(text.data, cut, ERR_FORMAT);
	for (size_t at = 120; at < text.len; at += text.len / 97, tried++) {
		uint8_t was = text.data[at];
		int r;

		text.data[at] = (uint8_t)("0x<\"9,"[at % 6]);
		r = probe_xml(temp_file(text.data, text.len), &inv);
		text.data[at] = was;
		accepted += r == 0;
		if (r == 0)
			assert_int_equal(inventory_check(&inv, &err), 0);
		else
			assert_non_null(strstr(err.msg, "t.xml"));
	}
	assert_true(accepted > 0);
	assert_true(accepted < tried);
	/* hwloc 2.9.0 follows a NULL pointer here. */
	while (strstr((char *)text.data, "complete_cpuset="))
		replace(&text, "complete_cpuset=", "incomplete_cpu=");
	refused(text.data, text.len, ERR_FORMAT);
}

/* ---- digest and judgement -------------------------------------------------------------------- */

static void the_digest_moves_with_a_device_and_with_nothing_else(void **state)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	uint8_t before[INV_DIGEST_BYTES], after[INV_DIGEST_BYTES];

	(void)state;
	slurp(demo_file("tioga-mi250x.xml"), &text);
	must(probe_xml(temp_file(text.data, text.len), &inv));
	replace(&text, "226d71390992870e", "226d71390992870f");
	must(probe_xml(temp_file(text.data, text.len), &other));
	assert_memory_not_equal(inv.digest, other.digest, INV_DIGEST_BYTES);

	replace(&text, "226d71390992870f", "0000000000000000"); /* a lone zero names nothing either */
	must(probe_xml(temp_file(text.data, text.len), &other));
	assert_string_equal(other.devices[6].uuid, "");
	assert_string_not_equal(other.devices[5].uuid, "");

	/* Health and the library's version change without the machine becoming another one. */
	memcpy(before, inv.digest, sizeof(before));
	inv.devices[3].health = INV_HEALTH_FAILED;
	inv.hwloc_version[0] = '9';
	inventory_digest(&inv, after);
	assert_memory_equal(before, after, sizeof(before));
	inv.devices[3].memory_mib++;
	inventory_digest(&inv, after);
	assert_memory_not_equal(before, after, sizeof(before));
}

/* Each row bends one thing; the daemon must notice although the digest was recomputed. */
static void bend(int what)
{
	switch (what) {
	case 0: inv.core_count = 0; break;
	case 1: inv.core_count = INV_CORES_MAX + 1; break;
	case 2: inv.numa_count = INV_NUMA_MAX + 1; break;
	case 3: inv.device_count = INV_DEVICES_MAX + 1; break;
	case 4: inv.link_count = INV_LINKS_MAX + 1; break;
	case 5: inv.nic_count = INV_NICS_MAX + 1; break;
	case 6: inv.pu_count = 1; break;
	case 7: inv.memory_mib++; break;
	case 8: inv.numa[1].os_index = inv.numa[0].os_index; break;
	case 9: coreset_add(&inv.numa[0].cores, inv.core_count); break;
	case 10: inv.numa[0].memory_mib = -1; break;
	case 11: strcpy(inv.devices[0].pci, "c1:00.0"); break;
	case 12: memset(inv.devices[0].model, 'x', INV_MODEL_BYTES); break;
	case 13: inv.devices[0].model[0] = '\033'; break;
	case 14: inv.devices[1] = inv.devices[0]; break;
	case 15: memcpy(inv.devices[1].uuid, inv.devices[0].uuid, INV_UUID_BYTES); break;
	case 16: strcpy(inv.devices[0].uuid, "GPU-00000000-0000-0000-0000-000000000000"); break;
	case 17: inv.devices[0].vendor = 4; break;
	case 18: inv.devices[0].health = 3; break;
	case 19: inv.devices[0].numa = 4; break;
	case 20: inv.devices[0].numa = -2; break;
	case 21: memset(&inv.devices[0].near, 0, sizeof(inv.devices[0].near)); break;
	case 22: inv.devices[0].near.w[7] = 1; break;
	case 23: inv.devices[0].peers |= 1; break;
	case 24: inv.devices[0].peers |= UINT64_C(1) << 8; break;
	case 25: inv.devices[0].peers &= ~UINT64_C(2); break;
	case 26: inv.links[0] = inv.links[1]; break;
	case 27: inv.links[27].b = 8; break;
	case 28: inv.links[0].a = inv.links[0].b; break;
	case 29: inv.nics[0].name[0] = '\0'; break;
	case 30: memcpy(inv.nics[1].name, inv.nics[0].name, INV_NIC_NAME_BYTES); break;
	case 31: inv.nics[0].pci[4] = '-'; break;
	case 32: inv.devices[0].partition = INV_PARTITION_MAX + 1; break;
	case 33: inv.devices[0].memory_mib = INT64_MAX; break;
	case 34: inv.nics[0].numa = 4; break;
	case 35: inv.nics[0].near.w[7] = 1; break;
	case 36: memset(inv.hwloc_version, 'x', INV_HWLOC_BYTES); break;
	case 37: inv.package_count = INV_PACKAGES_MAX + 1; break;
	case 38: inv.numa[0].memory_mib = inv.numa[1].memory_mib = INT64_MAX; break;
	default: fail();
	}
}

static void an_inventory_that_contradicts_itself_is_refused(void **state)
{
	(void)state;
	must(probe_xml(demo_file("tioga-mi250x.xml"), &other));
	assert_int_equal(inventory_check(&other, &err), 0);
	for (int i = 0; i < 39; i++) {
		inv = other;
		bend(i);
		if (inv.device_count <= INV_DEVICES_MAX && inv.link_count <= INV_LINKS_MAX &&
		    inv.numa_count <= INV_NUMA_MAX && inv.nic_count <= INV_NICS_MAX)
			inventory_digest(&inv, inv.digest);
		memset(&err, 0, sizeof(err));
		if (inventory_check(&inv, &err) == 0)
			fail_msg("case %d was believed", i);
		assert_true(err.msg[0] != '\0');
		assert_int_not_equal(err.code, ERR_CORRUPT);
	}
	inv = other;
	inv.devices[0].memory_mib++;
	assert_int_equal(inventory_check(&inv, &err), ERR_CORRUPT);
}

static void pci_names_have_one_spelling(void **state)
{
	static const char *const bad[] = { "", "0000:17:00", "17:00.0", "0000:17:00.8", "0000:17:20.0",
					   "0000:1G:00.0", "0000:AB:00.0", "000:17:00.0", "00000:17:00.0",
					   "0000:17:00.0 ", "0000:017:00.0", "123456789:17:00.0" };
	uint64_t a, b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(inv_pci_parse(bad[i], &a), ERR_FORMAT);
	assert_int_equal(inv_pci_parse("ffff:ff:1f.7", &a), 0);
	assert_int_equal(inv_pci_parse("10000:00:00.0", &b), 0);
	assert_true(a < b);
}

static void a_uuid_of_zeros_is_no_identity(void **state)
{
	(void)state;
	assert_true(inv_uuid_is_zero("GPU-00000000-0000-0000-0000-000000000000"));
	assert_true(inv_uuid_is_zero("0000000000000000"));
	assert_true(inv_uuid_is_zero("GPU-0000000000000000"));
	assert_false(inv_uuid_is_zero(""));
	assert_false(inv_uuid_is_zero("GPU-00000000-0000-0000-0000-000000000001"));
	assert_false(inv_uuid_is_zero("GPU-"));
}

/* ---- vendor libraries ------------------------------------------------------------------------ */

static void probe_with_nvml(const char *mode)
{
	char path[PATH_MAX];
	struct probe_opts opts = { .source = PROBE_XML, .path = path };

	snprintf(path, sizeof(path), "%s", demo_file("oci-bm-h100.xml"));
	opts.nvml_path = fake_library("fake_nvml.so");
	setenv("FAKE_NVML", mode, 1);
	must(probe_run(&opts, &inv, &local, &err));
	unsetenv("FAKE_NVML");
	check_pus();
}

static const struct inv_device *device(const char *pci, unsigned partition)
{
	for (unsigned i = 0; i < inv.device_count; i++)
		if (strcmp(inv.devices[i].pci, pci) == 0 && inv.devices[i].partition == partition)
			return &inv.devices[i];
	fail_msg("no device %s partition %u", pci, partition);
	return NULL;
}

static void nvml_gives_whole_gpus_their_identity(void **state)
{
	(void)state;
	probe_with_nvml("whole");
	assert_int_equal(inv.device_count, 8);
	/* The fake enumerates from the last bus down; PCI ids decide. */
	assert_string_equal(device("0000:0f:00.0", 0)->uuid, "GPU-00000000-1111-2222-3333-444444444444");
	assert_string_equal(device("0000:d8:00.0", 0)->uuid, "GPU-00000007-1111-2222-3333-444444444444");
	assert_int_equal(device("0000:d8:00.0", 0)->numa, 1);
	assert_int_equal(inv.devices[0].memory_mib, 81559);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(inv.devices[i].health, INV_HEALTH_OK);
	assert_int_equal(inv.link_count, 28);
}

/* Without hwloc's matrix the links are NVML's own: four lanes over two switches. */
static void nvml_links_through_switches_are_a_mesh(void **state)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	struct probe_opts opts = { .source = PROBE_XML };

	(void)state;
	slurp(demo_file("oci-bm-h100.xml"), &text);
	replace(&text, "NVLinkBandwidth", "UnknownMatrix");
	opts.path = temp_file(text.data, text.len);
	opts.nvml_path = fake_library("fake_nvml.so");
	setenv("FAKE_NVML", "whole", 1);
	must(probe_run(&opts, &inv, &local, &err));
	unsetenv("FAKE_NVML");
	assert_int_equal(inv.link_count, 28);
	for (unsigned i = 0; i < 28; i++)
		assert_int_equal(inv.links[i].bandwidth_mbps, 4 * 25000);
	opts.nvml_path = "";
	must(probe_run(&opts, &inv, &local, &err));
	assert_int_equal(inv.link_count, 0);
}

/* In MIG mode the slices are what can be given away, and the GPU around them is not. */
static void mig_slices_replace_their_gpu(void **state)
{
	static const char *const modes[] = { "mig", "oldmig" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		probe_with_nvml(modes[i]);
		assert_int_equal(inv.device_count, 9);
		assert_string_equal(device("0000:2d:00.0", 0)->mig_profile, "1g.10gb");
		assert_string_equal(device("0000:2d:00.0", 2)->mig_profile, "3g.40gb");
		assert_int_equal(device("0000:2d:00.0", 2)->memory_mib, 40320);
		assert_string_equal(device("0000:2d:00.0", 2)->model, "NVIDIA H100 80GB HBM3");
		assert_memory_equal(device("0000:2d:00.0", 0)->uuid, "MIG-", 4);
		assert_int_equal(device("0000:2d:00.0", 0)->peers, 0);
		assert_int_equal(device("0000:2d:00.0", 2)->numa, 0);
		assert_int_equal(inv.link_count, 7 * 6 / 2);
		assert_string_equal(device("0000:0f:00.0", 0)->mig_profile, "");
	}
}

static void failing_calls_make_a_gpu_suspect_and_never_lose_it(void **state)
{
	(void)state;
	probe_with_nvml("sick");
	assert_int_equal(inv.device_count, 8);
	assert_int_equal(device("0000:44:00.0", 0)->health, INV_HEALTH_FAILED);
	assert_string_equal(device("0000:44:00.0", 0)->uuid, "");
	assert_int_equal(device("0000:5b:00.0", 0)->health, INV_HEALTH_SUSPECT);
	assert_string_not_equal(device("0000:5b:00.0", 0)->uuid, "");
	assert_int_equal(device("0000:89:00.0", 0)->health, INV_HEALTH_SUSPECT);
	assert_string_equal(device("0000:89:00.0", 0)->uuid, "");
	assert_int_equal(device("0000:0f:00.0", 0)->health, INV_HEALTH_OK);
	probe_with_nvml("refuse");
	assert_int_equal(inv.device_count, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(inv.devices[i].health, INV_HEALTH_SUSPECT);
}

static void an_absent_library_changes_nothing(void **state)
{
	struct probe_opts opts = { .source = PROBE_XML, .nvml_path = "/nonexistent/libnvidia-ml.so.1",
				   .rsmi_path = "/nonexistent/librocm_smi64.so" };
	char path[PATH_MAX];

	(void)state;
	snprintf(path, sizeof(path), "%s", demo_file("oci-bm-h100.xml"));
	opts.path = path;
	must(probe_run(&opts, &inv, &local, &err));
	must(probe_xml(path, &other));
	assert_memory_equal(&inv, &other, sizeof(inv));
}

static void rsmi_partitions_are_joined_by_function_and_order(void **state)
{
	struct probe_opts opts = { .source = PROBE_XML };
	char path[PATH_MAX];

	(void)state;
	snprintf(path, sizeof(path), "%s", demo_file("tioga-mi250x.xml"));
	opts.path = path;
	opts.rsmi_path = fake_library("fake_rsmi.so");
	must(probe_run(&opts, &inv, &local, &err));
	assert_int_equal(inv.device_count, 10);
	assert_string_equal(device("0000:c1:00.0", 0)->model, "AMD Instinct MI300A");
	assert_int_equal(device("0000:c1:00.0", 0)->memory_mib, 65536);
	assert_string_equal(device("0000:c1:00.0", 0)->uuid, ""); /* shared with its sibling */
	assert_string_equal(device("0000:c1:00.0", 1)->uuid, "");
	assert_true(device("0000:c1:00.0", 0)->peers & 2);
	/* Six GPUs that the driver does not list any more. */
	assert_int_equal(device("0000:de:00.0", 0)->health, INV_HEALTH_SUSPECT);
	assert_int_equal(device("0000:c6:00.0", 0)->health, INV_HEALTH_OK);
}

/* ---- device nodes ------------------------------------------------------------------------------ */

static char root[PATH_MAX];

static void put(const char *path, const char *text)
{
	char full[PATH_MAX + 128];
	FILE *f;

	(void)snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *at = strchr(full + strlen(root) + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		(void)mkdir(full, 0755);
		*at = '/';
	}
	f = fopen(full, "w");
	assert_non_null(f);
	(void)fputs(text, f);
	(void)fclose(f);
}

static void new_root(const char *name)
{
	(void)snprintf(root, sizeof(root), "%.200s/%s", temp, name);
	assert_int_equal(mkdir(root, 0755), 0);
}

/* The grant names a device; the filter needs the nodes of that one. A wrong minor would hand out a
 * neighbour's GPU. */
static void a_whole_gpu_is_its_drivers_minor(void **state)
{
	struct probe_opts opts = { .source = PROBE_XML };
	struct probe_handle none = { -1, -1, -1 };
	struct probe_nodes nodes;
	char path[PATH_MAX];
	int at;

	(void)state;
	new_root("whole");
	snprintf(path, sizeof(path), "%s", demo_file("oci-bm-h100.xml"));
	opts.path = path;
	opts.nvml_path = fake_library("fake_nvml.so");
	setenv("FAKE_NVML", "whole", 1);
	must(probe_run(&opts, &inv, &local, &err));
	assert_true(local.devices_here);
	at = (int)(device("0000:44:00.0", 0) - inv.devices); /* third on the bus; the fake swaps neighbours */
	assert_int_equal(local.device[at].minor, 3);
	assert_int_equal(probe_nodes(root, &inv.devices[at], &local.device[at], &nodes, &err), ERR_NOTFOUND);
	put("/dev/nvidia3", "");
	put("/dev/nvidiactl", "");
	must(probe_nodes(root, &inv.devices[at], &local.device[at], &nodes, &err));
	assert_int_equal(nodes.own_n, 1);
	assert_string_equal(nodes.own[0], "/dev/nvidia3");
	assert_int_equal(nodes.control_n, 1);
	assert_string_equal(nodes.control[0], "/dev/nvidiactl");
	/* Without NVML the driver tells in /proc; without either nobody knows. */
	assert_int_equal(probe_nodes(root, &inv.devices[at], &none, &nodes, &err), ERR_NOTFOUND);
	put("/proc/driver/nvidia/gpus/0000:44:00.0/information", "Model: \t\t NVIDIA H100\nDevice Minor: \t 3\n");
	must(probe_nodes(root, &inv.devices[at], &none, &nodes, &err));
	assert_string_equal(nodes.own[0], "/dev/nvidia3");
}

static void a_slice_is_its_gpu_and_two_capabilities(void **state)
{
	struct probe_opts opts = { .source = PROBE_XML };
	struct probe_nodes nodes;
	char path[PATH_MAX];
	int at;

	(void)state;
	new_root("slice");
	snprintf(path, sizeof(path), "%s", demo_file("oci-bm-h100.xml"));
	opts.path = path;
	opts.nvml_path = fake_library("fake_nvml.so");
	setenv("FAKE_NVML", "mig", 1);
	must(probe_run(&opts, &inv, &local, &err));
	at = (int)(device("0000:2d:00.0", 0) - inv.devices);
	put("/dev/nvidia0", "");
	put("/proc/driver/nvidia-caps/mig-minors", "config 1\nmonitor 2\ngpu0/gi2/access 21\ngpu0/gi2/ci0/access 22\n"
		"gpu0/gi9/access 84\ngpu0/gi9/ci0/access 85\n");
	put("/dev/nvidia-caps/nvidia-cap84", "");
	assert_int_equal(probe_nodes(root, &inv.devices[at], &local.device[at], &nodes, &err), ERR_NOTFOUND);
	put("/dev/nvidia-caps/nvidia-cap85", "");
	must(probe_nodes(root, &inv.devices[at], &local.device[at], &nodes, &err));
	assert_int_equal(nodes.own_n, 3);
	assert_string_equal(nodes.own[1], "/dev/nvidia-caps/nvidia-cap84");
	assert_string_equal(nodes.own[2], "/dev/nvidia-caps/nvidia-cap85");
}

static void amd_partitions_have_render_nodes_of_their_own(void **state)
{
	const struct inv_device first = { .pci = "0000:c1:00.0", .vendor = INV_VENDOR_AMD };
	const struct inv_device third = { .pci = "0000:c1:00.0", .vendor = INV_VENDOR_AMD, .partition = 2 };
	const struct probe_handle none = { -1, -1, -1 };
	struct probe_nodes nodes;
	char path[128], text[128];

	(void)state;
	new_root("amd");
	put("/dev/kfd", "");
	put("/sys/class/kfd/kfd/topology/nodes/0/properties", "cpu_cores_count 24\nlocation_id 0\ndrm_render_minor 0\n");
	for (int i = 1; i <= 6; i++) { /* two functions, three partitions each; the low bits count those */
		snprintf(path, sizeof(path), "/sys/class/kfd/kfd/topology/nodes/%d/properties", i);
		snprintf(text, sizeof(text), "location_id %d\ndomain 0\ndrm_render_minor %d\n",
			(i <= 3 ? 0x0300 : 0xc100) + (i - 1) % 3, 127 + i);
		put(path, text);
		snprintf(path, sizeof(path), "/dev/dri/renderD%d", 127 + i);
		put(path, "");
	}
	must(probe_nodes(root, &third, &none, &nodes, &err));
	assert_int_equal(nodes.own_n, 1);
	assert_string_equal(nodes.own[0], "/dev/dri/renderD133");
	assert_string_equal(nodes.control[0], "/dev/kfd");
	must(probe_nodes(root, &first, &none, &nodes, &err));
	assert_string_equal(nodes.own[0], "/dev/dri/renderD131");
}

static void without_a_compute_topology_the_bus_tells(void **state)
{
	const struct inv_device amd = { .pci = "0000:0a:00.0", .vendor = INV_VENDOR_AMD };
	const struct inv_device intel = { .pci = "0000:0a:00.0", .vendor = INV_VENDOR_INTEL };
	const struct inv_device second = { .pci = "0000:0a:00.0", .vendor = INV_VENDOR_AMD, .partition = 1 };
	const struct probe_handle none = { -1, -1, -1 };
	struct probe_nodes nodes;

	(void)state;
	new_root("bus");
	assert_int_equal(probe_nodes(root, &intel, &none, &nodes, &err), ERR_NOTFOUND);
	put("/sys/bus/pci/devices/0000:0a:00.0/drm/renderD129/dev", "226:129");
	put("/sys/bus/pci/devices/0000:0a:00.0/drm/card1/dev", "226:1");
	put("/dev/dri/renderD129", "");
	put("/dev/dri/card1", "");
	must(probe_nodes(root, &amd, &none, &nodes, &err));
	assert_int_equal(nodes.own_n, 1);
	assert_string_equal(nodes.own[0], "/dev/dri/renderD129");
	must(probe_nodes(root, &intel, &none, &nodes, &err));
	assert_int_equal(nodes.own_n, 2);
	assert_int_equal(probe_nodes(root, &second, &none, &nodes, &err), ERR_NOTFOUND); /* never its sibling's */
}

/* ---- idle? ------------------------------------------------------------------------------------- */

static void said_of_gpu_two(const char *line)
{
	char path[PATH_MAX];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%.200s/nvml", temp);
	f = fopen(path, "w");
	assert_non_null(f);
	(void)fprintf(f, "7 busy 1\n%s\n", line); /* another's troubles are not ours */
	(void)fclose(f);
	setenv("FAKE_NVML", "file", 1);
	setenv("FAKE_NVML_FILE", path, 1);
}

/* Each of these has been seen to make the next job fail on a device that was called free. */
static void a_device_in_use_or_broken_is_found_out(void **state)
{
	static const struct {
		const char *line, *text;
		enum idle_verdict verdict;
	} cases[] = {
		{ "", "", IDLE_CLEAN },
		{ "2 memory 300", "", IDLE_CLEAN }, /* the driver's own */
		{ "2 busy 4711", "process 4711", IDLE_BUSY },
		{ "2 memory 2000", "2000 MiB", IDLE_BUSY },
		{ "2 mode 3", "exclusive process", IDLE_SICK },
		{ "2 mig", "MIG mode is on", IDLE_SICK },
		{ "2 lost", "does not list it", IDLE_SICK },
		{ "2 failed", "remapped", IDLE_SICK },
	};
	struct inv_device d = { .pci = "0000:44:00.0", .vendor = INV_VENDOR_NVIDIA };
	struct probe_nodes nodes = { .own_n = 0 };
	struct idle_finding found;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		said_of_gpu_two(cases[i].line);
		probe_idle(fake_library("fake_nvml.so"), &d, &nodes, UINT64_MAX, &found);
		if (found.verdict != cases[i].verdict || !strstr(found.text, cases[i].text))
			fail_msg("'%s': %d '%s'", cases[i].line, (int)found.verdict, found.text);
	}
	memcpy(d.mig_profile, "1g.10gb", 8); /* it was slices, and is whole now */
	said_of_gpu_two("");
	probe_idle(fake_library("fake_nvml.so"), &d, &nodes, UINT64_MAX, &found);
	assert_int_equal(found.verdict, IDLE_SICK);
}

static void an_open_device_node_is_found(void **state)
{
	struct inv_device d = { .pci = "0000:44:00.0", .vendor = INV_VENDOR_AMD };
	struct probe_nodes nodes = { .own_n = 1 };
	struct idle_finding found;
	int ready[2];
	char byte;
	pid_t pid;

	(void)state;
	(void)snprintf(nodes.own[0], NODE_PATH_BYTES, "%.40s/node", temp);
	assert_int_equal(pipe(ready), 0);
	probe_idle("", &d, &nodes, UINT64_MAX, &found);
	assert_int_equal(found.verdict, IDLE_CLEAN);
	pid = fork();
	if (!pid) {
		int fd = open(nodes.own[0], O_RDWR | O_CREAT, 0600);

		(void)!write(ready[1], "x", 1);
		if (fd >= 0)
			pause();
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	probe_idle("", &d, &nodes, UINT64_MAX, &found);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	(void)close(ready[0]);
	(void)close(ready[1]);
	assert_int_equal(found.verdict, IDLE_BUSY);
	assert_non_null(strstr(found.text, "/node open"));
}

static void xids_are_read_and_told_apart(void **state)
{
	unsigned xid = 0;

	(void)state;
	assert_true(idle_xid_parse("4,1201,5000000,-;NVRM: Xid (PCI:0000:44:00): 79, pid='<unknown>', GPU has fallen off", "0000:44:00.0",
				   4000000, &xid));
	assert_int_equal(xid, 79);
	assert_true(idle_xid_is_hardware(xid));
	assert_false(idle_xid_is_hardware(13)); /* a program's illegal access */
	assert_false(idle_xid_is_hardware(43));
	assert_false(idle_xid_parse("4,1201,5000000,-;NVRM: Xid (PCI:0000:44:00): 79", "0000:45:00.0", 0, &xid));
	assert_false(idle_xid_parse("4,1201,5000000,-;NVRM: Xid (PCI:0000:44:00): 79", "0000:44:00.0", 6000000, &xid)); /* old */
	assert_false(idle_xid_parse("4,1201,5000000,-;NVRM: loading", "0000:44:00.0", 0, &xid));
	assert_false(idle_xid_parse("NVRM: Xid (PCI:0000:44:00): 79", "0000:44:00.0", 0, &xid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_in_use_or_broken_is_found_out),
		cmocka_unit_test(an_open_device_node_is_found),
		cmocka_unit_test(xids_are_read_and_told_apart),
		cmocka_unit_test(a_whole_gpu_is_its_drivers_minor),
		cmocka_unit_test(a_slice_is_its_gpu_and_two_capabilities),
		cmocka_unit_test(amd_partitions_have_render_nodes_of_their_own),
		cmocka_unit_test(without_a_compute_topology_the_bus_tells),
		cmocka_unit_test(every_recorded_machine_is_what_the_table_says),
		cmocka_unit_test(partitions_are_devices_of_their_own),
		cmocka_unit_test(links_are_found_directly_and_through_switches),
		cmocka_unit_test(switches_joined_to_each_other_are_one_fabric),
		cmocka_unit_test(gpu_memory_is_not_node_memory),
		cmocka_unit_test(this_machine_can_be_probed),
		cmocka_unit_test(a_redirected_environment_is_refused),
		cmocka_unit_test(the_demo_machines_load),
		cmocka_unit_test(stripping_lost_nothing_that_is_read),
		cmocka_unit_test(copies_of_sys_are_read_as_machines),
		cmocka_unit_test(invented_gpus_are_spread_over_numa_nodes),
		cmocka_unit_test(two_emulated_nodes_share_no_identity),
		cmocka_unit_test(gpu_descriptions_are_read_or_explained),
		cmocka_unit_test(machines_beyond_the_bounds_are_refused_by_name),
		cmocka_unit_test(options_that_do_not_go_together_are_refused),
		cmocka_unit_test(broken_files_end_in_an_error),
		cmocka_unit_test(damaged_files_never_kill_the_agent),
		cmocka_unit_test(the_digest_moves_with_a_device_and_with_nothing_else),
		cmocka_unit_test(an_inventory_that_contradicts_itself_is_refused),
		cmocka_unit_test(pci_names_have_one_spelling),
		cmocka_unit_test(a_uuid_of_zeros_is_no_identity),
		cmocka_unit_test(nvml_gives_whole_gpus_their_identity),
		cmocka_unit_test(nvml_links_through_switches_are_a_mesh),
		cmocka_unit_test(mig_slices_replace_their_gpu),
		cmocka_unit_test(failing_calls_make_a_gpu_suspect_and_never_lose_it),
		cmocka_unit_test(an_absent_library_changes_nothing),
		cmocka_unit_test(rsmi_partitions_are_joined_by_function_and_order),
	};

	return cmocka_run_group_tests_name("probe", tests, make_temp, drop_temp);
}
