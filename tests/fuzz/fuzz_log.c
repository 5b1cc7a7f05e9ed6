/* fuzz_log.c - the log as the disk or an export gives it back
 *
 * The first byte chooses: a record on its own, a whole log file, or records that this target chains. A record that is accepted is canonical:
 * written again it has the same bytes. A file is verified and re-applied; whatever re-applying accepts,
 * verifying accepts. So that the fuzzer is not stopped by the first hash, the third way chains records into a
 * file itself: that file is sound, and any byte of it flipped is found.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/ensure.h"
#include "proto/logfile/logfile.h"
#include "proto/logfile/record.h"
#include "tests/lib/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void record(const uint8_t *p, size_t len)
{
	CLEANUP(buf_done) struct buf again = BUF_INIT;
	struct record_facts facts = {0};
	struct store_entry e;
	struct err err = {0};
	uint8_t hash[STORE_HASH_BYTES];
	int r = record_decode(p, len, &facts, &e, &err);

	if (r) {
		ENSURE(r < 0);
		ENSURE(err.msg[0]);
	} else {
		record_encode(&e.rec, e.prev, &again);
		ENSURE(again.len == len);
		ENSURE(memcmp(again.data, p, len) == 0);
		record_hash(p, len, hash);
		ENSURE(record_check(p, len, hash, e.rec.seq, e.prev, &facts, &e, NULL) == 0);
		hash[0] ^= 1;
		ENSURE(record_check(p, len, hash, e.rec.seq, e.prev, &facts, &e, NULL) == ERR_CORRUPT);
	}
	record_facts_done(&facts);
}

static int each(void *ctx, uint8_t kind, uint64_t id, const uint8_t *val, uint32_t len, struct err *err)
{
	(void)kind, (void)id, (void)val, (void)len, (void)err;
	++*(uint64_t *)ctx;
	return 0;
}

static void file(const uint8_t *p, size_t len)
{
	const char *path = scratch_file("log", p, len);
	struct logfile_state *st = logfile_state_new();
	struct logfile_summary sum;
	struct err err = {0};
	uint64_t n = 0, marks = 0;
	int verified = logfile_verify(path, &sum, &err), applied;

	ENSURE(verified == 0 || err.msg[0]);
	applied = logfile_replay(st, path, UINT64_MAX, &marks, NULL);
	ENSURE(applied != 0 || verified == 0);
	if (applied == 0)
		ENSURE(logfile_state_each(st, each, &n, NULL) == 0);
	logfile_state_free(st);
}

/* What follows: two bytes that say where a byte will be flipped, then records of two bytes of length each. Those
 * that decode are chained anew. The file of them is sound; with one byte flipped it no longer is. */
static void chain(const uint8_t *p, size_t len)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	uint8_t prev[STORE_HASH_BYTES] = {0};
	struct logfile_writer *w = NULL;
	struct logfile_summary sum;
	struct logfile_state *st;
	struct record_facts facts = {0};
	size_t flip = (size_t)p[0] << 8 | p[1], bytes;
	uint64_t seq = 0;
	char path[512];
	FILE *f;

	(void)snprintf(path, sizeof path, "%s", scratch_file("chain", "", 0));
	ENSURE(logfile_create(path, &w, NULL) == 0);
	for (p += 2, len -= 2; len >= 2;) {
		size_t n = (size_t)p[0] << 8 | p[1];
		struct store_entry e;

		n = n > len - 2 ? len - 2 : n;
		if (record_decode(p + 2, n, &facts, &e, NULL) == 0) {
			e.rec.seq = ++seq;
			buf_reset(&b);
			record_encode(&e.rec, prev, &b);
			e.raw = b.data;
			e.raw_len = (uint32_t)b.len;
			memcpy(e.prev, prev, sizeof prev);
			record_hash(b.data, b.len, prev);
			memcpy(e.hash, prev, sizeof prev);
			ENSURE(logfile_write(w, &e, NULL) == 0);
		}
		p += 2 + n;
		len -= 2 + n;
	}
	record_facts_done(&facts);
	if (!seq) {
		logfile_writer_free(w);
		return;
	}
	ENSURE(logfile_end(w, NULL) == 0);
	logfile_writer_free(w);
	ENSURE(logfile_verify(path, &sum, NULL) == 0);
	ENSURE(sum.records == seq && memcmp(sum.head_hash, prev, sizeof prev) == 0);
	st = logfile_state_new();
	ENSURE(logfile_replay(st, path, UINT64_MAX, NULL, NULL) == 0);
	ENSURE(logfile_state_at(st).seq == seq);
	logfile_state_free(st);
	f = fopen(path, "r+b");
	ENSURE(f != NULL && fseek(f, 0, SEEK_END) == 0);
	bytes = (size_t)ftell(f);
	ENSURE(fseek(f, (long)(flip % bytes), SEEK_SET) == 0);
	int c = fgetc(f);
	ENSURE(c >= 0 && fseek(f, (long)(flip % bytes), SEEK_SET) == 0 && fputc(c ^ (1 << flip % 8), f) >= 0 && fclose(f) == 0);
	ENSURE(logfile_verify(path, NULL, NULL) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 4 || size > 65536)
		return 0;
	switch (data[0] % 3) {
	case 0: record(data + 1, size - 1); break;
	case 1: file(data + 1, size - 1); break;
	default: chain(data + 1, size - 1); break;
	}
	return 0;
}
