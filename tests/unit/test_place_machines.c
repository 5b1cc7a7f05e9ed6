/* test_place_machines.c - placing on machines as they are
 *
 * Without these a slice of a chip would get the cores of a whole one, six partitions of one function would be
 * spread over four, or a node without devices would be good for nothing. The machines are recorded ones of
 * $SLUIS_DATA/hwloc (or ../shared/data/hwloc); without them those tests say so and are skipped.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/probe/probe.h"
#include "tests/lib/hall.h"

/* ---- slices and whole chips on one node ------------------------------------------------------------ */

enum { WHOLE = 1, SLICE = 2 };

/* Six whole chips, and two that are cut into seven slices each; a slice weighs a seventh of a chip. */
static void node_with_slices(struct hall *h)
{
	struct device dev[20];
	struct label label[2];
	struct node n = hall_node(1, 20, dev, "", "", label);
	struct flavor slice = {.id = SLICE, .name = "slice", .weight_milli = 1000, .devices_per_node = 14};
	struct flavor whole = {.id = WHOLE, .name = "whole", .weight_milli = 7000, .devices_per_node = 6};
	struct fact f = {.kind = RECORD_FLAVOR, .id = SLICE, .flavor = &slice};

	core_apply(h->core, &f);
	f.id = WHOLE;
	f.flavor = &whole;
	core_apply(h->core, &f);
	for (uint32_t i = 0; i < 20; i++) {
		uint32_t chip = i < 6 ? i : 6 + (i - 6) / 7;

		(void)snprintf(dev[i].pci, sizeof dev[i].pci, "0000:%02x:00.0", chip);
		dev[i].flavor = i < 6 ? WHOLE : SLICE;
		dev[i].partition = (uint8_t)(i < 6 ? 0 : (i - 6) % 7);
		dev[i].numa = chip >= 4;
	}
	n.cores_n = 56; /* one per slice */
	hall_put(h, &n);
}

static void slices_have_their_weight(void **state)
{
	struct place_ask one = {.flavor = WHOLE, .klass = CLASS_LOAN, .units = 1}, slices = {.flavor = SLICE,
			       .klass = CLASS_LOAN, .units = 3}, node = {.flavor = WHOLE, .shape = SHAPE_NODE,
			       .klass = CLASS_LOAN, .units = 1};
	struct part *part;
	struct hall h;
	uint32_t n;

	(void)state;
	hall_open(&h, 6, 0);
	node_with_slices(&h);
	assert_int_equal(hall_place(&h, &one, &part, &n), 0);
	assert_int_equal(mask_count(part[0].cores), 7);
	assert_int_equal(part[0].memory_mib, HALL_MEMORY_MIB / 8);
	assert_int_equal(hall_place(&h, &slices, &part, &n), 0);
	assert_int_equal(mask_count(part[0].cores), 3);
	assert_int_equal(part[0].devices, 0x7 << 6); /* of one chip */
	assert_int_equal(part[0].memory_mib, HALL_MEMORY_MIB * 3 / 56);
	assert_int_not_equal(hall_start(&h, &slices), 0);
	slices.units = 5; /* four are left on that chip */
	assert_int_equal(hall_place(&h, &slices, &part, &n), 0);
	assert_int_equal(part[0].devices, 0x1f << 13);
	slices.units = 12;
	assert_int_equal(hall_place(&h, &slices, &part, &n), REASON_NO_SHAPE);
	/* what one flavor holds is no device of the other */
	assert_int_equal(hall_place(&h, &node, &part, &n), 0);
	assert_int_equal(part[0].devices, 0x3f);
	assert_int_equal(mask_count(part[0].cores), 42);
	hall_close(&h);
}

/* ---- recorded machines -------------------------------------------------------------------------------- */

static const char *data(const char *file)
{
	static char path[PATH_MAX + 64];
	char exe[PATH_MAX] = "";
	const char *set = getenv("SLUIS_DATA");

	if (set) {
		(void)snprintf(path, sizeof path, "%.3000s/hwloc/v2/%s", set, file);
		return access(path, F_OK) ? NULL : path;
	}
	assert_true(readlink("/proc/self/exe", exe, sizeof exe - 1) > 0);
	while (strrchr(exe, '/') && exe[1]) {
		*strrchr(exe, '/') = '\0';
		(void)snprintf(path, sizeof path, "%.3000s/../shared/data/hwloc/v2/%s", exe, file);
		if (access(path, F_OK) == 0)
			return path;
	}
	return NULL;
}

/* Put the recorded machine into the hall as node `id`; its devices are of the flavor that `flavor` says for
 * their vendor. */
static bool machine(struct hall *h, uint32_t id, const char *file, uint16_t nvidia, uint16_t amd)
{
	static struct inventory inv;
	static struct probe_local local;
	struct device dev[DEVICES_PER_NODE_MAX] = {[0] = {.flavor = 0}};
	struct probe_opts opts = {.source = PROBE_XML, .path = data(file)};
	struct node n = {.id = id, .state = NODE_READY, .devices = dev};
	struct err err;

	if (!opts.path)
		return false;
	assert_int_equal(probe_run(&opts, &inv, &local, &err), 0);
	n.cores_n = inv.core_count;
	n.memory_mib = (uint32_t)inv.memory_mib;
	n.devices_n = inv.device_count;
	for (uint32_t i = 0; i < n.devices_n; i++) {
		const struct inv_device *d = &inv.devices[i];

		(void)snprintf(dev[i].pci, sizeof dev[i].pci, "%s", d->pci);
		dev[i].partition = d->partition;
		dev[i].flavor = d->vendor == INV_VENDOR_NVIDIA ? nvidia : d->vendor == INV_VENDOR_AMD ? amd : 0;
		dev[i].numa = d->numa < 0 ? 0 : (uint16_t)d->numa;
		dev[i].peers = d->peers;
		memcpy(dev[i].cores, d->near.w, sizeof dev[i].cores);
	}
	hall_put(h, &n);
	return true;
}

#define NEEDS(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			printf("skip: no recorded machines at hand\n");                            \
			hall_close(&h);                                                            \
			skip();                                                                    \
		}                                                                                  \
	} while (0)

/* 24 partitions on four functions: six fit on one, and the next six on the next. */
static void partitions_of_a_function_stay_together(void **state)
{
	struct place_ask six = {.flavor = 1, .klass = CLASS_LOAN, .units = 6}, one = {.flavor = 1, .klass = CLASS_LOAN,
			       .units = 1}, node = {.flavor = 1, .shape = SHAPE_NODE, .klass = CLASS_LOAN, .units = 1};
	const struct device *dev;
	struct part *part;
	struct hall h;
	uint32_t n;

	(void)state;
	hall_open(&h, 24, 0);
	NEEDS(machine(&h, 1, "elcap-tuolumne-mi300a-cpx.xml", 0, 1));
	dev = node_of(h.core, 1)->r.devices;
	assert_int_equal(hall_place(&h, &node, &part, &n), 0);
	assert_int_equal(popcount64(part[0].devices), 24);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(hall_place(&h, &six, &part, &n), 0);
		for (uint64_t m = part[0].devices; m; m &= m - 1)
			assert_string_equal(dev[__builtin_ctzll(m)].pci, dev[__builtin_ctzll(part[0].devices)].pci);
		assert_int_equal(mask_count(part[0].cores), node_of(h.core, 1)->r.cores_n / 4);
		(void)hall_hold(&h, &six, part, n);
		if (i == 1) { /* a single one comes from a function that is cut up already */
			uint64_t first = hall_start(&h, &one), second;
			uint64_t a = core_alloc(h.core, first)->parts[0].devices, b;

			second = hall_start(&h, &one);
			b = core_alloc(h.core, second)->parts[0].devices;
			assert_string_equal(dev[__builtin_ctzll(a)].pci, dev[__builtin_ctzll(b)].pci);
		}
	}
	assert_int_equal(hall_place(&h, &node, &part, &n), REASON_NO_SHAPE);
	hall_close(&h);
}

/* Two vendors in one machine, two flavors; one without devices beside it, counted in cores. */
static void flavors_and_cores_do_not_mix(void **state)
{
	struct place_ask k40 = {.flavor = 1, .klass = CLASS_LOAN, .units = 1}, radeon = {.flavor = 2, .klass = CLASS_LOAN,
			       .units = 1}, cores = {.flavor = 3, .klass = CLASS_LOAN, .units = 4},
			 whole = {.flavor = 3, .shape = SHAPE_NODE, .klass = CLASS_LOAN, .units = 1};
	const struct node_s *mixed;
	struct part *part;
	uint32_t n, all;
	struct hall h;

	(void)state;
	hall_open(&h, 1, 0);
	hall_flavor(&h, 2, UNIT_DEVICE, 1);
	hall_flavor(&h, 3, UNIT_CORE, 1);
	NEEDS(machine(&h, 1, "xeon-k40-radeon-mixed.xml", 1, 2) && machine(&h, 2, "quartz-cpu-only.xml", 1, 2));
	all = node_of(h.core, 2)->r.cores_n;
	mixed = node_of(h.core, 1);
	k40.units = popcount64(node_flavor_mask(mixed, 1));
	radeon.units = popcount64(node_flavor_mask(mixed, 2));
	assert_true(k40.units && radeon.units);
	assert_int_equal(k40.units + radeon.units, mixed->r.devices_n);
	assert_int_equal(hall_place(&h, &k40, &part, &n), 0);
	assert_int_equal(part[0].node, 1);
	assert_int_equal(mask_count(part[0].cores), mixed->r.cores_n * k40.units / mixed->r.devices_n);
	(void)hall_hold(&h, &k40, part, n);
	assert_int_equal(hall_place(&h, &k40, &part, &n), REASON_NO_SHAPE);
	assert_int_equal(hall_place(&h, &radeon, &part, &n), 0); /* and the rest of the cores with them */
	assert_int_equal(mask_count(part[0].cores), mixed->r.cores_n * radeon.units / mixed->r.devices_n);
	assert_int_equal(part[0].devices & node_flavor_mask(mixed, 1), 0);
	assert_int_equal(hall_place(&h, &whole, &part, &n), 0);
	assert_int_equal(part[0].node, 2);
	assert_int_equal(mask_count(part[0].cores), all);
	assert_int_equal(part[0].memory_mib, node_of(h.core, 2)->r.memory_mib);
	assert_int_not_equal(hall_start(&h, &cores), 0);
	assert_int_equal(hall_place(&h, &whole, &part, &n), REASON_NO_SHAPE);
	cores.units = all - 3;
	assert_int_equal(hall_place(&h, &cores, &part, &n), REASON_NO_SHAPE);
	cores.units = all - 4;
	assert_int_equal(hall_place(&h, &cores, &part, &n), 0);
	hall_close(&h);
}

/* Four chips under SNC4, all linked; eight graphics cards on two sockets without links. Machines of different
 * size are one flavor: the smaller is used up first. */
static void the_smaller_machine_first(void **state)
{
	struct place_ask two = {.flavor = 1, .klass = CLASS_LOAN, .units = 2}, eight = {.flavor = 1, .klass = CLASS_LOAN,
			       .units = 8};
	struct part *part;
	struct hall h;
	uint32_t n;

	(void)state;
	hall_open(&h, 8, 0);
	NEEDS(machine(&h, 1, "aws-g4dn-metal-8xt4.xml", 1, 0) && machine(&h, 2, "dell-xe8640-4xh100.xml", 1, 0));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(hall_place(&h, &two, &part, &n), 0);
		assert_int_equal(part[0].node, 2);
		(void)hall_hold(&h, &two, part, n);
	}
	assert_int_equal(hall_place(&h, &eight, &part, &n), 0);
	assert_int_equal(part[0].node, 1);
	assert_int_equal(hall_place(&h, &two, &part, &n), 0);
	assert_int_equal(part[0].node, 1);
	for (uint64_t m = part[0].devices; m; m &= m - 1) /* not across sockets */
		assert_int_equal(node_of(h.core, 1)->r.devices[__builtin_ctzll(m)].numa,
				 node_of(h.core, 1)->r.devices[__builtin_ctzll(part[0].devices)].numa);
	hall_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_have_their_weight),
		cmocka_unit_test(partitions_of_a_function_stay_together),
		cmocka_unit_test(flavors_and_cores_do_not_mix),
		cmocka_unit_test(the_smaller_machine_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
