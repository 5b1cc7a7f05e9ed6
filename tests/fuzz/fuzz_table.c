/* fuzz_table.c - the agent's table as a crash or a bad disk leaves it
 *
 * The first byte chooses: the rest is the file as it is, or it is the bodies of entries, two bytes of length
 * each, to which this target adds lengths and check sums, so that the fuzzer gets past those. Besides "does not
 * crash": what was opened once opens again, undamaged and the same, and what only grows did not shrink.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "agent/exec/crc32c.h"
#include "agent/exec/table.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "tests/lib/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_le32(uint8_t *at, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

static void framed(const uint8_t *p, size_t len, struct buf *b)
{
	buf_add(b, "sluis-agent-tbl1", 16);
	while (len >= 2) {
		size_t n = (size_t)p[0] << 8 | p[1];
		uint8_t head[4];
		uint32_t crc;

		n = n > len - 2 ? len - 2 : n;
		put_le32(head, (uint32_t)n);
		crc = crc32c(crc32c(0, head, 4), p + 2, n);
		buf_add(b, head, 4);
		put_le32(head, crc);
		buf_add(b, head, 4);
		buf_add(b, p + 2, n);
		p += 2 + n;
		len -= 2 + n;
	}
}

struct sum { uint64_t rows, bytes, mix; };

static void add_up(void *ctx, uint64_t alloc, uint16_t part, const void *payload, size_t len)
{
	struct sum *s = ctx;
	const uint8_t *p = payload;

	s->rows++;
	s->bytes += len;
	s->mix = s->mix * 31 + alloc * 7 + part;
	for (size_t i = 0; i < len; i++)
		s->mix = s->mix * 31 + p[i];
}

static bool open_and_read(struct table_found *found, struct sum *sum, uint64_t meta[TABLE_META_COUNT])
{
	struct table *t = NULL;
	struct err err = {0};
	int r = table_open(scratch_dir(), &t, found, &err);

	*sum = (struct sum){0};
	if (r) {
		ENSURE(r < 0);
		ENSURE(err.msg[0]);
		return false;
	}
	table_each_row(t, add_up, sum);
	ENSURE(sum->rows == table_row_count(t));
	for (int i = 0; i < TABLE_META_COUNT; i++)
		meta[i] = table_meta_get(t, (enum table_meta)i);
	table_close(t);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	uint64_t meta[TABLE_META_COUNT], meta_again[TABLE_META_COUNT];
	struct table_found found, again;
	struct sum sum, sum_again;

	if (size < 1 || size > 65536)
		return 0;
	if (data[0] % 2)
		framed(data + 1, size - 1, &b);
	else
		buf_add(&b, data + 1, size - 1);
	(void)scratch_file("table", b.data, b.len);
	if (!open_and_read(&found, &sum, meta))
		return 0;
	ENSURE(open_and_read(&again, &sum_again, meta_again));
	ENSURE(again.rebuilt == found.rebuilt && again.cut_bytes == 0);
	ENSURE(memcmp(&sum, &sum_again, sizeof sum) == 0);
	ENSURE(memcmp(meta, meta_again, sizeof meta) == 0);
	return 0;
}
