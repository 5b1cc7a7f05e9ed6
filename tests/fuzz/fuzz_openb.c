/* fuzz_openb.c - lists of nodes and pods, read and packed
 *
 * Nodes and pods in one input, with a line "%" between them; the first byte chooses the policy. Whatever is
 * accepted can be packed, and nothing is given twice: less is allocated than there is and than was asked for.
 */
#include <stdint.h>
#include <string.h>

#include "daemon/sim/openb.h"
#include "daemon/sim/packsim.h"
#include "proto/base/ensure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1, *cut;
	struct bad_lines bad = {.skip = size && data[0] & 64};
	struct packsim_result result;
	struct openb o = {0};
	struct err err = {0};
	size_t nodes;

	if (size < 2 || size > 16384)
		return 0;
	cut = memmem(text, size - 1, "\n%\n", 3);
	nodes = cut ? (size_t)(cut + 1 - text) : size - 1;
	if (openb_parse_nodes(&o, "nodes", text, nodes, &bad, &err) ||
	    (cut && openb_parse_pods(&o, "pods", cut + 3, size - 1 - nodes - 2, &bad, &err))) {
		ENSURE(err.msg[0]);
	} else if (o.nodes_n <= 64 && o.pods_n <= 64) {
		int r = packsim_run(&o, (enum packsim_policy)(data[0] % PACK_COUNT), data[0], 1300, NULL, NULL, NULL, &result, &err);

		ENSURE(r == 0 || err.msg[0]);
		if (r == 0) {
			ENSURE(result.allocated_milli <= result.capacity_milli);
			ENSURE(result.allocated_milli <= result.asked_milli);
			ENSURE(result.placed <= result.arrived);
			ENSURE(result.fragmented_pct >= 0 && result.fragmented_pct <= 100);
		}
	}
	openb_done(&o);
	return 0;
}
