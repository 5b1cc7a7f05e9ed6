/* fuzz_topology.c - a recorded machine, as hwloc's XML or described in words
 *
 * XML goes through hwloc, which is tried in a child first because it can die of a
 * damaged file; text behind a "D" is a synthetic description. Whatever is accepted passes inventory_check(): nothing
 * behind the agent looks again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/probe/probe.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/model/inventory.h"
#include "tests/lib/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void recorded(const uint8_t *p, size_t len)
{
	static struct inventory inv;
	static struct probe_local pus;
	struct probe_opts opts = {.source = PROBE_XML, .path = scratch_file("machine.xml", p, len), .node_name = "n1",
				  .nvml_path = "", .rsmi_path = ""};
	struct err err = {0};
	int r = probe_run(&opts, &inv, &pus, &err);

	if (r) {
		ENSURE(r < 0);
		ENSURE(err.msg[0]);
		return;
	}
	ENSURE(inventory_check(&inv, NULL) == 0);
	ENSURE(pus.core_count == inv.core_count);
	for (unsigned i = 0; i < pus.core_count; i++)
		ENSURE(pus.core[i].count >= 1 && pus.core[i].count <= INV_PUS_PER_CORE_MAX);
}

/* A description in words: "package:2 numanode:1 core:32 pu:2", and GPUs: "8xH100". */
static void described(const uint8_t *p, size_t len)
{
	static struct inventory inv;
	static struct probe_local pus;
	char *text = xmalloc(len + 1), *gpus;
	struct probe_opts opts = {.source = PROBE_SYNTHETIC, .path = text, .node_name = "n1", .nvml_path = "",
				  .rsmi_path = ""};
	struct err err = {0};

	memcpy(text, p, len);
	text[len] = '\0';
	gpus = strchr(text, '|');
	if (gpus)
		*gpus++ = '\0';
	/* hwloc makes whatever is asked for: a product of four large numbers takes hours and all memory */
	if (strlen(text) < 64 && (!gpus || probe_gpus_parse(gpus, &opts.gpus, &err) == 0)) {
		unsigned long product = 1;

		for (char *at = text; *at;)
			if (*at >= '0' && *at <= '9')
				product *= 1 + strtoul(at, &at, 10) % 100000;
			else
				at++;
		if (product < 100000 && probe_run(&opts, &inv, &pus, &err) == 0)
			ENSURE(inventory_check(&inv, NULL) == 0);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 262144)
		return 0;
	if (data[0] == 'D')
		described(data + 1, size - 1);
	else
		recorded(data, size);
	return 0;
}
