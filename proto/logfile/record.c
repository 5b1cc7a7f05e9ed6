/* record.c - log records as canonical bytes, their hash, and the digest of the state
 *
 * Encoder and decoder sit side by side; decode(encode(r)) == r and encode(decode(b)) == b for every
 * b the decoder accepts, because it refuses every form that is not the shortest.
 *
 * Source: the MessagePack specification; RFC 8949 section 4.2.1 for what "canonical" has to fix.
 */
#include "proto/logfile/record.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/logfile/bytes.h"
#include "proto/base/ensure.h"

/* The map's keys, ascending; every one is present. */
enum {
	KEY_VERSION,
	KEY_SEQ,
	KEY_T,
	KEY_PRINCIPAL,
	KEY_CRED,
	KEY_RULE,
	KEY_POLICY_VERSION,
	KEY_CMD_TYPE,
	KEY_CMD,
	KEY_FACTS,
	KEY_PREV,
	KEYS_N,
};

/* ---- encoding ------------------------------------------------------------------------------- */

static void put_uint(struct buf *b, uint64_t v)
{
	uint8_t *p = buf_reserve(b, 9);

	if (v < 0x80) {
		p[0] = (uint8_t)v;
		b->len += 1;
	} else if (v <= UINT8_MAX) {
		p[0] = 0xcc;
		p[1] = (uint8_t)v;
		b->len += 2;
	} else if (v <= UINT16_MAX) {
		p[0] = 0xcd;
		put_be16(p + 1, (uint16_t)v);
		b->len += 3;
	} else if (v <= UINT32_MAX) {
		p[0] = 0xce;
		put_be32(p + 1, (uint32_t)v);
		b->len += 5;
	} else {
		p[0] = 0xcf;
		put_be64(p + 1, v);
		b->len += 9;
	}
}

static void put_int(struct buf *b, int64_t v)
{
	uint8_t *p;

	if (v >= 0) {
		put_uint(b, (uint64_t)v);
		return;
	}
	p = buf_reserve(b, 9);
	if (v >= -32) {
		p[0] = (uint8_t)v;
		b->len += 1;
	} else if (v >= INT8_MIN) {
		p[0] = 0xd0;
		p[1] = (uint8_t)v;
		b->len += 2;
	} else if (v >= INT16_MIN) {
		p[0] = 0xd1;
		put_be16(p + 1, (uint16_t)v);
		b->len += 3;
	} else if (v >= INT32_MIN) {
		p[0] = 0xd2;
		put_be32(p + 1, (uint32_t)v);
		b->len += 5;
	} else {
		p[0] = 0xd3;
		put_be64(p + 1, (uint64_t)v);
		b->len += 9;
	}
}

static void put_bin(struct buf *b, const uint8_t *data, uint32_t len)
{
	uint8_t *p = buf_reserve(b, 5);

	if (len <= UINT8_MAX) {
		p[0] = 0xc4;
		p[1] = (uint8_t)len;
		b->len += 2;
	} else if (len <= UINT16_MAX) {
		p[0] = 0xc5;
		put_be16(p + 1, (uint16_t)len);
		b->len += 3;
	} else {
		p[0] = 0xc6;
		put_be32(p + 1, len);
		b->len += 5;
	}
	if (len > 0)
		buf_add(b, data, len);
}

static void put_array(struct buf *b, uint32_t n)
{
	uint8_t *p = buf_reserve(b, 5);

	if (n < 16) {
		p[0] = (uint8_t)(0x90 | n);
		b->len += 1;
	} else if (n <= UINT16_MAX) {
		p[0] = 0xdc;
		put_be16(p + 1, (uint16_t)n);
		b->len += 3;
	} else {
		p[0] = 0xdd;
		put_be32(p + 1, n);
		b->len += 5;
	}
}

static void put_byte(struct buf *b, uint8_t v)
{
	*buf_reserve(b, 1) = v;
	b->len += 1;
}

void record_encode(const struct store_record *rec, const uint8_t prev[STORE_HASH_BYTES],
		   struct buf *out)
{
	_Static_assert(KEYS_N < 16, "the map has to stay a fixmap");
	put_byte(out, (uint8_t)(0x80 | KEYS_N));
	put_uint(out, KEY_VERSION);
	put_uint(out, RECORD_VERSION);
	put_uint(out, KEY_SEQ);
	put_uint(out, rec->seq);
	put_uint(out, KEY_T);
	put_int(out, rec->t_ms);
	put_uint(out, KEY_PRINCIPAL);
	put_uint(out, rec->principal);
	put_uint(out, KEY_CRED);
	put_uint(out, rec->cred);
	put_uint(out, KEY_RULE);
	put_uint(out, rec->rule);
	put_uint(out, KEY_POLICY_VERSION);
	put_uint(out, rec->policy_version);
	put_uint(out, KEY_CMD_TYPE);
	put_uint(out, rec->cmd_type);
	put_uint(out, KEY_CMD);
	put_bin(out, rec->cmd, rec->cmd_len);
	put_uint(out, KEY_FACTS);
	put_array(out, rec->facts_n);
	for (uint32_t i = 0; i < rec->facts_n; i++) {
		const struct store_fact *f = &rec->facts[i];

		put_array(out, 3);
		put_uint(out, f->kind);
		put_uint(out, f->id);
		if (f->val)
			put_bin(out, f->val, f->len);
		else
			put_byte(out, 0xc0);
	}
	put_uint(out, KEY_PREV);
	put_bin(out, prev, STORE_HASH_BYTES);
}

/* ---- decoding ------------------------------------------------------------------------------- */

/* What is left to read. The first fault sticks in `code`; everything read after it is zero, so a
 * sequence of reads needs one check at its end. */
struct cursor {
	const uint8_t *p;
	size_t left;
	int code;
};

static const uint8_t *take(struct cursor *c, size_t n)
{
	const uint8_t *p = c->p;

	if (c->code)
		return NULL;
	if (n > c->left) {
		c->code = ERR_TRUNCATED;
		return NULL;
	}
	c->p += n;
	c->left -= n;
	return p;
}

static uint8_t take_byte(struct cursor *c)
{
	const uint8_t *p = take(c, 1);

	return p ? *p : 0;
}

/* `n` bytes (1, 2, 4, 8) big-endian; anything below `min` had a shorter form. */
static uint64_t take_be(struct cursor *c, size_t n, uint64_t min)
{
	const uint8_t *p = take(c, n);
	uint64_t v = 0;

	if (!p)
		return 0;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	if (v < min) {
		c->code = ERR_FORMAT;
		return 0;
	}
	return v;
}

static uint64_t bad_form(struct cursor *c)
{
	if (!c->code)
		c->code = ERR_FORMAT;
	return 0;
}

static uint64_t take_uint_tagged(struct cursor *c, uint8_t tag)
{
	if (tag < 0x80)
		return tag;
	switch (tag) {
	case 0xcc:
		return take_be(c, 1, 0x80);
	case 0xcd:
		return take_be(c, 2, UINT64_C(1) << 8);
	case 0xce:
		return take_be(c, 4, UINT64_C(1) << 16);
	case 0xcf:
		return take_be(c, 8, UINT64_C(1) << 32);
	default:
		return bad_form(c);
	}
}

static uint64_t take_uint(struct cursor *c, uint64_t max)
{
	uint64_t v = take_uint_tagged(c, take_byte(c));

	return v <= max ? v : bad_form(c);
}

static int64_t take_int(struct cursor *c)
{
	uint8_t tag = take_byte(c);
	uint64_t v;
	int64_t i, max; /* a value above max has a shorter form */

	switch (tag) {
	case 0xd0:
		i = (int8_t)take_be(c, 1, 0);
		max = -33;
		break;
	case 0xd1:
		i = (int16_t)take_be(c, 2, 0);
		max = INT8_MIN - 1;
		break;
	case 0xd2:
		i = (int32_t)take_be(c, 4, 0);
		max = INT16_MIN - 1;
		break;
	case 0xd3:
		i = (int64_t)take_be(c, 8, 0);
		max = (int64_t)INT32_MIN - 1;
		break;
	default:
		if (tag >= 0xe0)
			return (int8_t)tag;
		v = take_uint_tagged(c, tag);
		return (int64_t)(v <= INT64_MAX ? v : bad_form(c));
	}
	return i <= max ? i : (int64_t)bad_form(c);
}

static const uint8_t *take_bin_tagged(struct cursor *c, uint8_t tag, uint32_t max,
				      uint32_t *ret_len)
{
	uint64_t n = 0;

	switch (tag) {
	case 0xc4:
		n = take_be(c, 1, 0);
		break;
	case 0xc5:
		n = take_be(c, 2, UINT64_C(1) << 8);
		break;
	case 0xc6:
		n = take_be(c, 4, UINT64_C(1) << 16);
		break;
	default:
		bad_form(c);
	}
	if (!c->code && n > max)
		c->code = ERR_TOOBIG;
	*ret_len = c->code ? 0 : (uint32_t)n;
	return take(c, *ret_len);
}

static uint32_t take_array(struct cursor *c)
{
	uint8_t tag = take_byte(c);

	if ((tag & 0xf0) == 0x90)
		return tag & 0x0f;
	if (tag == 0xdc)
		return (uint32_t)take_be(c, 2, 16);
	if (tag == 0xdd)
		return (uint32_t)take_be(c, 4, UINT64_C(1) << 16);
	return (uint32_t)bad_form(c);
}

static void take_key(struct cursor *c, uint8_t key)
{
	if (take_byte(c) != key)
		bad_form(c);
}

static void take_fact(struct cursor *c, struct store_fact *f)
{
	uint8_t tag;

	if (take_array(c) != 3)
		bad_form(c);
	f->kind = (uint8_t)take_uint(c, UINT8_MAX);
	f->id = take_uint(c, UINT64_MAX);
	tag = take_byte(c);
	f->val = NULL;
	f->len = 0;
	if (tag != 0xc0)
		f->val = take_bin_tagged(c, tag, STORE_VAL_BYTES_MAX, &f->len);
}

static void take_facts(struct cursor *c, struct record_facts *facts, struct store_record *rec)
{
	uint32_t n = take_array(c);

	/* The smallest fact is four bytes, so a count the bytes cannot hold allocates nothing. */
	if (!c->code && n > c->left / 4)
		c->code = ERR_TRUNCATED;
	if (!c->code && n > STORE_FACTS_MAX)
		c->code = ERR_TOOBIG;
	if (c->code)
		return;
	if (n > facts->cap) {
		facts->v = xrealloc(facts->v, n * sizeof(*facts->v));
		facts->cap = n;
	}
	for (uint32_t i = 0; i < n && !c->code; i++)
		take_fact(c, &facts->v[i]);
	rec->facts = facts->v;
	rec->facts_n = n;
}

void record_facts_done(struct record_facts *f)
{
	free(f->v);
	*f = (struct record_facts){0};
}

int record_decode(const uint8_t *p, size_t len, struct record_facts *facts,
		  struct store_entry *ret_entry, struct err *err)
{
	struct cursor c = {.p = p, .left = len};
	struct store_entry e = {0};
	struct store_record *r = &e.rec;
	const uint8_t *prev;
	uint64_t version;
	uint32_t n;

	if (len > STORE_RECORD_BYTES_MAX)
		return err_set(err, ERR_TOOBIG, "record of %zu bytes", len);
	if (take_byte(&c) != (0x80 | KEYS_N))
		bad_form(&c);
	take_key(&c, KEY_VERSION);
	version = take_uint(&c, UINT64_MAX);
	if (!c.code && version != RECORD_VERSION)
		return err_set(err, ERR_VERSION, "record version %" PRIu64 " is not understood",
			       version);
	take_key(&c, KEY_SEQ);
	r->seq = take_uint(&c, UINT64_MAX);
	take_key(&c, KEY_T);
	r->t_ms = take_int(&c);
	take_key(&c, KEY_PRINCIPAL);
	r->principal = (uint32_t)take_uint(&c, UINT32_MAX);
	take_key(&c, KEY_CRED);
	r->cred = take_uint(&c, UINT64_MAX);
	take_key(&c, KEY_RULE);
	r->rule = (uint16_t)take_uint(&c, UINT16_MAX);
	take_key(&c, KEY_POLICY_VERSION);
	r->policy_version = take_uint(&c, UINT64_MAX);
	take_key(&c, KEY_CMD_TYPE);
	r->cmd_type = (uint16_t)take_uint(&c, UINT16_MAX);
	take_key(&c, KEY_CMD);
	r->cmd = take_bin_tagged(&c, take_byte(&c), STORE_CMD_BYTES_MAX, &r->cmd_len);
	take_key(&c, KEY_FACTS);
	take_facts(&c, facts, r);
	take_key(&c, KEY_PREV);
	prev = take_bin_tagged(&c, take_byte(&c), STORE_HASH_BYTES, &n);
	if (!c.code && n != STORE_HASH_BYTES)
		bad_form(&c);
	if (!c.code && c.left)
		return err_set(err, ERR_FORMAT, "%zu bytes behind the record", c.left);
	if (c.code)
		return err_set(err, c.code, "record is %s near byte %zu of %zu", err_text(c.code),
			       len - c.left, len);
	memcpy(e.prev, prev, STORE_HASH_BYTES);
	e.raw = p;
	e.raw_len = (uint32_t)len;
	*ret_entry = e;
	return 0;
}

int record_check(const uint8_t *p, size_t len, const uint8_t hash[STORE_HASH_BYTES], uint64_t seq,
		 const uint8_t prev[STORE_HASH_BYTES], struct record_facts *facts,
		 struct store_entry *ret_entry, struct err *err)
{
	uint8_t h[STORE_HASH_BYTES];
	struct store_entry e;
	int r;

	record_hash(p, len, h);
	if (memcmp(h, hash, sizeof(h)) != 0)
		return err_set(err, ERR_CORRUPT, "record %" PRIu64 ": bytes do not have their hash",
			       seq);
	r = record_decode(p, len, facts, &e, err);
	if (r < 0) {
		err_prefix(err, "record %" PRIu64, seq);
		return r;
	}
	if (e.rec.seq != seq)
		return err_set(err, ERR_CORRUPT,
			       "record %" PRIu64 ": found %" PRIu64 " in its place", seq,
			       e.rec.seq);
	if (prev && memcmp(e.prev, prev, STORE_HASH_BYTES) != 0)
		return err_set(err, ERR_CORRUPT,
			       "record %" PRIu64
			       ": chain broken, it does not follow the record before",
			       seq);
	memcpy(e.hash, h, sizeof(h));
	*ret_entry = e;
	return 0;
}

/* ---- hash and digest ------------------------------------------------------------------------ */

void record_hash(const uint8_t *p, size_t len, uint8_t ret_hash[STORE_HASH_BYTES])
{
	_Static_assert(crypto_hash_sha256_BYTES == STORE_HASH_BYTES, "SHA-256");
	crypto_hash_sha256(ret_hash, p, len);
}

void digest_fact(uint8_t kind, uint64_t id, const uint8_t *val, uint32_t len,
		 uint8_t ret_hash[STORE_HASH_BYTES])
{
	crypto_hash_sha256_state st;
	uint8_t key[9] = {kind};

	put_be64(key + 1, id);
	crypto_hash_sha256_init(&st);
	crypto_hash_sha256_update(&st, key, sizeof(key));
	if (len > 0)
		crypto_hash_sha256_update(&st, val, len);
	crypto_hash_sha256_final(&st, ret_hash);
}

void digest_add(struct digest *d, const uint8_t hash[STORE_HASH_BYTES])
{
	for (size_t i = 0; i < ARRAY_LEN(d->lane); i++)
		d->lane[i] += get_be64(hash + 8 * i);
}

void digest_sub(struct digest *d, const uint8_t hash[STORE_HASH_BYTES])
{
	for (size_t i = 0; i < ARRAY_LEN(d->lane); i++)
		d->lane[i] -= get_be64(hash + 8 * i);
}

void digest_put(const struct digest *d, uint8_t ret[STORE_HASH_BYTES])
{
	for (size_t i = 0; i < ARRAY_LEN(d->lane); i++)
		put_be64(ret + 8 * i, d->lane[i]);
}

struct digest digest_get(const uint8_t p[STORE_HASH_BYTES])
{
	struct digest d;

	for (size_t i = 0; i < ARRAY_LEN(d.lane); i++)
		d.lane[i] = get_be64(p + 8 * i);
	return d;
}
