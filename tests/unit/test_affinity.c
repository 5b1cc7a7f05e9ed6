/* test_affinity.c - devices that belong together, on real machines
 *
 * Without these a job of two would get devices on two sockets while a linked pair is free, and single ones
 * would nibble at every group of four until none is left. The recorded machines are those of
 * demo/topologies and, where they are at hand, of $SLUIS_DATA/hwloc (or ../shared/data/hwloc).
 */
#include <dirent.h>
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
#include "daemon/core/affinity.h"
#include "proto/base/prng.h"

static struct device dev[DEVICES_PER_NODE_MAX];

/* Two halves of four on a NUMA node each; `peers` as a switch gives them, or none. */
static struct affinity *eight(bool linked)
{
	struct affinity *a;

	memset(dev, 0, sizeof dev);
	for (uint32_t i = 0; i < 8; i++) {
		(void)snprintf(dev[i].pci, sizeof dev[i].pci, "0000:%02x:00.0", i);
		dev[i].numa = (uint16_t)(i / 4);
		dev[i].peers = linked ? 0xff & ~(UINT64_C(1) << i) : 0;
	}
	a = affinity_new(dev, 8);
	affinity_prepare(a);
	return a;
}

static void together_and_out_of_what_is_broken(void **state)
{
	struct affinity *a = eight(true), *b = eight(false);

	(void)state;
	assert_int_equal(affinity_pick(a, 0xff, 4), 0x0f);
	assert_int_equal(affinity_pick(a, 0xff, 1), 0x01);
	assert_int_equal(affinity_pick(a, 0xf7, 1), 0x01); /* three are left there: take of those */
	assert_int_equal(affinity_pick(a, 0xdf, 1), 0x10);
	assert_int_equal(affinity_pick(a, 0x31, 2), 0x30); /* not across */
	assert_int_equal(affinity_pick(a, 0xf3, 2), 0x03); /* the pair, not half of the four */
	assert_int_equal(affinity_pick(b, 0xf3, 2), 0x03);
	assert_int_equal(affinity_pick(a, 0xff, 8), 0xff);
	assert_false(affinity_equal(a, b));
	affinity_free(a);
	affinity_free(b);
	affinity_free(NULL);
}

/* Slices of one chip stay together, and single ones come from the chip that is cut up already. */
static void slices_come_from_few_chips(void **state)
{
	struct affinity *a;
	uint64_t chip0 = 0x7f, chip1 = chip0 << 7, all = (UINT64_C(1) << 28) - 1;

	(void)state;
	memset(dev, 0, sizeof dev);
	for (uint32_t i = 0; i < 28; i++) {
		(void)snprintf(dev[i].pci, sizeof dev[i].pci, "0000:%02x:00.0", i / 7);
		dev[i].partition = (uint8_t)(i % 7);
		dev[i].numa = (uint16_t)(i / 14);
	}
	a = affinity_new(dev, 28);
	affinity_prepare(a); /* too many: says nothing */
	assert_int_equal(affinity_pick(a, all, 7), chip0);
	assert_int_equal(affinity_pick(a, all & ~UINT64_C(1), 7), chip1);
	assert_int_equal(affinity_pick(a, all & ~UINT64_C(0x180), 1), 0x200); /* chip 1 has five left */
	assert_int_equal(affinity_pick(a, all, 28), all);
	affinity_free(a);
}

/* ---- recorded machines, against exhaustive search ------------------------------------------------------ */

static unsigned bits(uint64_t x) { return (unsigned)__builtin_popcountll(x); }

/* Cheapest sum of any k of `avail`, by looking at all of them. */
static uint32_t least(const struct affinity *a, uint64_t avail, unsigned k)
{
	uint32_t best = UINT32_MAX;

	for (uint64_t sub = avail;; sub = (sub - 1) & avail) {
		if (bits(sub) == k && affinity_cost(a, sub) < best)
			best = affinity_cost(a, sub);
		if (!sub)
			return best;
	}
}

static uint32_t damage(const struct affinity *a, uint64_t rest)
{
	uint32_t sum = 0;

	for (unsigned k = 2; k <= bits(rest); k *= 2)
		sum += least(a, rest, k);
	return sum;
}

static struct { uint32_t machines, questions, tables; uint64_t cost, best; } seen;

static void every_answer(const struct affinity *a, uint32_t n)
{
	for (uint64_t avail = 1; avail < UINT64_C(1) << n; avail++)
		for (unsigned k = 1; k <= bits(avail); k++) {
			uint64_t got = affinity_pick(a, avail, k), want = 0;

			for (uint64_t sub = avail; sub; sub = (sub - 1) & avail) {
				if (bits(sub) != k || affinity_cost(a, sub) != least(a, avail, k))
					continue;
				if (!want || damage(a, avail ^ sub) <= damage(a, avail ^ want))
					want = sub;
			}
			if (n > 6 && avail % 5) { /* the whole rule costs its time: a fifth of it here */
				assert_int_equal(bits(got), k);
				assert_int_equal(got & ~avail, 0);
				assert_int_equal(affinity_cost(a, got), least(a, avail, k));
			} else {
				assert_int_equal(got, want);
			}
			seen.questions++;
		}
}

static void some_answers(const struct affinity *a, uint32_t n)
{
	struct prng r;

	prng_seed(&r, n);
	for (int i = 0; i < 60; i++) {
		uint64_t avail = prng_below(&r, (UINT64_C(1) << n) - 1) + 1, got;
		unsigned k = 1 + (unsigned)prng_below(&r, bits(avail));

		got = affinity_pick(a, avail, k);
		assert_int_equal(bits(got), k);
		assert_int_equal(got & ~avail, 0);
		seen.cost += affinity_cost(a, got);
		seen.best += least(a, avail, k);
		seen.questions++;
	}
}

static void machine(const char *path)
{
	static struct inventory inv;
	static struct probe_local local;
	struct probe_opts opts = {.source = PROBE_XML, .path = path};
	struct affinity *a;
	struct err err;

	if (probe_run(&opts, &inv, &local, &err) || inv.device_count < 2)
		return;
	memset(dev, 0, sizeof dev);
	for (uint32_t i = 0; i < inv.device_count; i++) {
		memcpy(dev[i].pci, inv.devices[i].pci, sizeof dev[i].pci);
		dev[i].numa = (uint16_t)inv.devices[i].numa;
		dev[i].peers = inv.devices[i].peers;
	}
	a = affinity_new(dev, inv.device_count);
	affinity_prepare(a);
	if (inv.device_count <= AFFINITY_TABLE_MAX)
		every_answer(a, inv.device_count);
	else if (inv.device_count <= 16)
		some_answers(a, inv.device_count);
	seen.tables += inv.device_count <= AFFINITY_TABLE_MAX;
	seen.machines++;
	affinity_free(a);
}

static void folder(const char *path)
{
	DIR *d = opendir(path);

	for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
		char file[PATH_MAX];
		size_t len = strlen(e->d_name);

		(void)snprintf(file, sizeof file, "%.3000s/%.255s", path, e->d_name);
		if (len > 4 && !strcmp(e->d_name + len - 4, ".xml"))
			machine(file);
	}
	if (d)
		closedir(d);
}

static void as_good_as_looking_at_everything(void **state)
{
	static const char *const sub[] = {"v1", "v2", "v2-derived"};
	char exe[PATH_MAX] = "", path[PATH_MAX + 64];
	const char *data = getenv("SLUIS_DATA");

	(void)state;
	assert_true(readlink("/proc/self/exe", exe, sizeof exe - 1) > 0);
	do { /* the repository is somewhere above this program */
		*strrchr(exe, '/') = '\0';
		(void)snprintf(path, sizeof path, "%.3000s/demo/topologies", exe);
	} while (access(path, F_OK) && strrchr(exe, '/'));
	folder(path);
	assert_true(seen.machines >= 3);
	for (int i = 0; i < 3; i++) {
		if (data)
			(void)snprintf(path, sizeof path, "%.3000s/hwloc/%s", data, sub[i]);
		else
			(void)snprintf(path, sizeof path, "%.3000s/../shared/data/hwloc/%s", exe, sub[i]);
		folder(path);
	}
	/* the search for larger nodes is not exact: a twentieth over the best is what it may lose in all */
	assert_true(seen.cost <= seen.best + seen.best / 20);
	printf("# %u machines, %u with a table, %u questions; larger ones cost %lu, at best %lu\n", seen.machines,
	       seen.tables, seen.questions, (unsigned long)seen.cost, (unsigned long)seen.best);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(together_and_out_of_what_is_broken),
		cmocka_unit_test(slices_come_from_few_chips),
		cmocka_unit_test(as_good_as_looking_at_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
