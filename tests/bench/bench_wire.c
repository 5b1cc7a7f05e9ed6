/* bench_wire.c - what the codec costs: renewals in batches, job submissions, views
 *
 * One "name: value unit" line per figure. Single thread, warm caches, arena reused.
 */
#include <stdio.h>
#include <string.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/wire/message.h"

enum { RUN_MS = 500 };

/* Frames per second of taking `frame` apart down to the command in it, times `items`. */
static void measure(const char *name, const char *unit, uint16_t type, const void *body, unsigned items)
{
	CLEANUP(buf_done) struct buf inner = BUF_INIT, frame = BUF_INIT;
	CLEANUP(arena_done) struct arena arena = {0};
	struct msg_command msg = {.type = type, .idem_key = {1}};
	struct mono start;
	int64_t spent;
	uint64_t rounds = 0;

	start = mono_now();
	do {
		buf_reset(&inner);
		buf_reset(&frame);
		schema_encode(schema_of_command(type), body, &inner);
		msg.body = (struct bytes){inner.data, (uint32_t)inner.len};
		message_encode(MSG_COMMAND, rounds++, &msg, &frame);
		spent = mono_now().ns - start.ns;
	} while (spent < RUN_MS * NS_PER_MS);
	printf("%s_encode: %.0f %s/s\n", name, (double)(rounds * items) * 1e9 / (double)spent, unit);
	rounds = 0;
	start = mono_now();
	do {
		struct msg_command in;
		struct command cmd;
		struct frame f;

		arena_reset(&arena);
		ENSURE(frame_decode(frame.data, frame.len, &f, NULL) == 0);
		ENSURE(message_decode(&f, &in, &arena, NULL) == 0);
		ENSURE(command_decode(&in, &cmd, &arena, NULL) == 0);
		rounds++;
		spent = mono_now().ns - start.ns;
	} while (spent < RUN_MS * NS_PER_MS);
	printf("%s_decode: %.0f %s/s\n", name, (double)(rounds * items) * 1e9 / (double)spent, unit);
	printf("%s_bytes: %zu bytes\n", name, frame.len);
}

int main(void)
{
	static struct lease_renew_item items[RENEWALS_PER_COMMAND_MAX];
	struct cmd_lease_renew batch = {.items_n = ARRAY_LEN(items), .items = items};
	struct cmd_lease_renew one = {.items_n = 1, .items = items};
	struct cmd_job_submit job = {
		.spec = {.klass = 2, .units = 16, .units_max = 16, .time_limit_ms = 43200000, .payload = {1},
			 .name = "lungseg2"},
		.project = "health/lung-screening/lungnet", .flavor = "h100-80g", .user = "anna"};

	for (uint32_t i = 0; i < ARRAY_LEN(items); i++)
		items[i] = (struct lease_renew_item){.lease = 100000 + i, .fence = 70000 + i, .renew_seq = 4000 + i};
	measure("wire_renew_batch", "renewals", CMD_LEASE_RENEW, &batch, batch.items_n);
	measure("wire_renew_single", "renewals", CMD_LEASE_RENEW, &one, 1);
	measure("wire_submit", "commands", CMD_JOB_SUBMIT, &job, 1);
	return 0;
}
