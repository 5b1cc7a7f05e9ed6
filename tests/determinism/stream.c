/* stream.c - the core's inputs, recorded once and decided again by another build
 *
 *     stream record FILE EVENTS     a divided pool of 32 x 8 devices with random jobs and leases, at least so many commands
 *     stream replay FILE            decode, decide, apply, from nothing; the hashes, and the speed in commands per second of CPU
 *
 * Both print the hash of the state and of all facts in order. Two builds that differ in either have decided
 * differently: another compiler, optimisation or sanitizer has found undefined or unspecified behaviour in the core.
 * Every command is encoded by the wire's schemas, so a replay also goes the way of bytes.
 *
 * An entry, little-endian: i64 t_ms, u16 type, u8 via, u32 principal, u64 cred, i32 answer, u32 length, body.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/core/core.h"
#include "daemon/sim/divide.h"
#include "daemon/sim/text.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/prng.h"
#include "proto/wire/schema.h"
#include "proto/wire/tables.h"
#include "tests/lib/state_hash.h"

enum { HEAD_BYTES = 8 + 2 + 1 + 4 + 8 + 4 + 4, NODES = 32, PER_NODE = 8, COMMANDS_PER_JOB = 28 };

static void put(struct buf *b, uint64_t v, int bytes)
{
	uint8_t at[8];

	for (int i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> (8 * i));
	buf_add(b, at, (size_t)bytes);
}

static uint64_t get(const uint8_t **p, int bytes)
{
	uint64_t v = 0;

	for (int i = 0; i < bytes; i++)
		v |= (uint64_t)*(*p)++ << (8 * i);
	return v;
}

static void print(const char *what, uint64_t events, const struct state_hash *h)
{
	(void)printf("%s_events: %" PRIu64 " commands\n%s_facts: %" PRIu64 " facts\nstate_hash: %016" PRIx64
		     "\nfacts_hash: %016" PRIx64 "\n", what, events, what, h->facts_n, h->state, h->facts);
}

/* ---- record ------------------------------------------------------------------------------------------------ */

struct recorder { struct buf out, body; struct state_hash hash; uint64_t n; };

static void decided(void *arg, int64_t t_ms, const struct command *cmd, int answer, const struct decision *d)
{
	static const uint8_t none[16];
	struct recorder *r = arg;
	const struct schema *schema = schema_of_command(cmd->type);

	ENSURE(memcmp(cmd->idem_key, none, 16) == 0 && !cmd->dry_run && !cmd->approves); /* the format has no place for them */
	buf_reset(&r->body);
	if (schema)
		schema_encode(schema, &cmd->tick, &r->body); /* all members of the union begin there */
	put(&r->out, (uint64_t)t_ms, 8);
	put(&r->out, cmd->type, 2);
	put(&r->out, cmd->via, 1);
	put(&r->out, cmd->principal, 4);
	put(&r->out, cmd->cred, 8);
	put(&r->out, (uint32_t)answer, 4);
	put(&r->out, r->body.len, 4);
	buf_add(&r->out, r->body.data, r->body.len);
	for (uint32_t i = 0; answer == 0 && i < d->facts_n; i++)
		state_hash_fact(&r->hash, &d->facts[i]);
	r->n++;
}

static void workload(uint64_t events, struct divide_trace *trace, struct demand_curve *curve)
{
	struct divide_pick pick = {.run_ms_max = MS_PER_DAY, .units_max = NODES * PER_NODE / 4};
	struct prng p;
	int64_t at_ms = 0;
	size_t jobs = (size_t)(events / COMMANDS_PER_JOB) + 1;

	prng_seed(&p, 7);
	for (size_t i = 0; i < jobs; i++) {
		char tenant[32];
		int64_t run_ms = MS_PER_S + (int64_t)prng_below(&p, 1u << prng_below(&p, 24));

		at_ms += (int64_t)prng_below(&p, 2 * 60 * MS_PER_S);
		(void)snprintf(tenant, sizeof tenant, "t%d", (int)prng_below(&p, 5));
		divide_trace_add(trace, &pick, at_ms, run_ms, run_ms + (int64_t)prng_below(&p, (uint64_t)MS_PER_HOUR),
				 (int64_t)1 << prng_below(&p, 6), tenant);
	}
	curve->kind = DEMAND_DEVICES;
	curve->span_ms = 6 * MS_PER_HOUR;
	for (int k = 0; k < 12; k++) {
		char provider[32];

		(void)snprintf(provider, sizeof provider, "p%d", k);
		for (int64_t t_ms = 0; t_ms < curve->span_ms; t_ms += 5 * MS_PER_MIN)
			demand_curve_point(curve, provider, t_ms, (double)prng_below(&p, 17));
	}
}

static int record(const char *path, uint64_t events)
{
	struct divide_trace trace = {0};
	struct demand_curve curve = {0};
	struct demand_rule rule = {.per_value = 1, .peak = NODES * PER_NODE * 3 / 4, .scale_down_ms = MS_PER_MIN,
				   .idle_ms = MS_PER_HOUR};
	struct demand demand = {0};
	struct recorder rec = {0};
	struct divide_tap tap = {decided, &rec};
	struct divide_run run;
	struct divide_setup in = {.nodes = NODES, .per_node = PER_NODE, .public_units = NODES * PER_NODE / 4,
				  .private_units = NODES * PER_NODE * 3 / 4, .checkpoint_ms = 30 * MS_PER_MIN,
				  .restart_ms = 30 * MS_PER_S, .notice_ms = MS_PER_MIN, .recall_slo_ms = 5 * MS_PER_MIN,
				  .ttl_ms = 15 * MS_PER_MIN, .trace = &trace, .demand = &demand, .tap = &tap};
	struct err err = {0};
	FILE *f;
	int r;

	workload(events, &trace, &curve);
	in.window_ms = trace.jobs[trace.jobs_n - 1].submit_ms + MS_PER_DAY;
	r = demand_make(&curve, &rule, &demand, &err);
	if (r == 0)
		r = divide_run(&in, DIVIDE_SLUIS, NULL, NULL, &run, &err);
	if (r) {
		(void)fprintf(stderr, "stream: %s\n", err.msg);
		return 1;
	}
	f = fopen(path, "wb");
	if (!f || fwrite(rec.out.data, 1, rec.out.len, f) != rec.out.len || fclose(f) != 0) {
		perror(path);
		return 1;
	}
	print("record", rec.n, &rec.hash);
	if (rec.n < events) {
		(void)fprintf(stderr, "stream: only %" PRIu64 " commands of %" PRIu64 "\n", rec.n, events);
		return 1;
	}
	divide_run_done(&run);
	demand_done(&demand);
	demand_curve_done(&curve);
	divide_trace_done(&trace);
	state_hash_done(&rec.hash);
	buf_done(&rec.out);
	buf_done(&rec.body);
	return 0;
}

/* ---- replay ------------------------------------------------------------------------------------------------- */

static int replay(const char *path)
{
	struct core *core = core_new();
	struct buf text = BUF_INIT;
	struct state_hash hash = {0};
	struct decision d = {0};
	struct arena arena = {0};
	struct err err = {0};
	clock_t begun;
	double took_s;
	uint64_t n = 0;
	const uint8_t *p, *end;

	if (text_load(path, &text, NULL, &err)) {
		(void)fprintf(stderr, "stream: %s\n", err.msg);
		return 1;
	}
	begun = clock(); /* of this process: others may share the machine */
	for (p = text.data, end = p + text.len; p < end; n++) {
		struct command cmd = {0};
		const struct schema *schema;
		int64_t t_ms;
		size_t len;
		int want, got;

		ENSURE((size_t)(end - p) >= HEAD_BYTES);
		t_ms = (int64_t)get(&p, 8);
		cmd.type = (uint16_t)get(&p, 2);
		cmd.via = (uint8_t)get(&p, 1);
		cmd.principal = (uint32_t)get(&p, 4);
		cmd.cred = get(&p, 8);
		want = (int32_t)(uint32_t)get(&p, 4);
		len = (size_t)get(&p, 4);
		ENSURE((size_t)(end - p) >= len);
		schema = schema_of_command(cmd.type);
		arena_reset(&arena);
		if (schema && schema_decode(schema, p, len, &cmd.tick, &arena, &err)) {
			(void)fprintf(stderr, "stream: command %" PRIu64 ": %s\n", n, err.msg);
			return 1;
		}
		p += len;
		got = core_decide(core, t_ms, &cmd, &d, &err);
		if (got != want) {
			(void)fprintf(stderr, "stream: command %" PRIu64 " was answered %d, now %d: %s\n", n, want, got, err.msg);
			return 1;
		}
		for (uint32_t i = 0; got == 0 && i < d.facts_n; i++) {
			state_hash_fact(&hash, &d.facts[i]);
			core_apply(core, &d.facts[i]);
		}
	}
	took_s = (double)(clock() - begun) / CLOCKS_PER_SEC;
	if (core_check(core, &err)) {
		(void)fprintf(stderr, "stream: %s\n", err.msg);
		return 1;
	}
	print("replay", n, &hash);
	(void)printf("replay_speed: %.0f commands/s\n", took_s > 0 ? (double)n / took_s : 0);
	core_free(core);
	decision_done(&d);
	arena_done(&arena);
	state_hash_done(&hash);
	buf_done(&text);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "record") == 0)
		return record(argv[2], strtoull(argv[3], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "replay") == 0)
		return replay(argv[2]);
	(void)fprintf(stderr, "usage: stream record FILE EVENTS | stream replay FILE\n");
	return 2;
}
