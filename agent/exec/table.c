/* table.c - see table.h */
#include "agent/exec/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/exec/crc32c.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/failpoint.h"

enum {
	MAGIC_BYTES = 16,
	HEAD_BYTES = 8,
	ROW_FIELDS = 1 + 8 + 2,
	BODY_BYTES_MAX = ROW_FIELDS + TABLE_PAYLOAD_BYTES_MAX,
	COMPACT_ABOVE = 1 << 20,
	COMPACT_FACTOR = 8,
};
static const char magic[MAGIC_BYTES + 1] = "sluis-agent-tbl1";
static const uint64_t file_bytes_max = UINT64_C(2) << 30;

enum entry { ENTRY_ROW = 1, ENTRY_ROW_DEL = 2, ENTRY_EPOCH = 3, ENTRY_META = 4 };

struct row {
	uint64_t alloc;
	uint16_t part;
	uint32_t len;
	uint8_t *payload;
};

struct device {
	char name[TABLE_DEVICE_NAME_BYTES];
	uint64_t epoch;
};

struct table {
	int dir_fd, lock_fd, fd;
	struct row *rows; /* ascending by (alloc, part) */
	size_t n_rows, cap_rows;
	struct device *devices; /* ascending by name */
	size_t n_devices, cap_devices;
	uint64_t meta[TABLE_META_COUNT];
	struct buf pending; /* entries not yet written */
	uint64_t file_bytes;
	bool broken;
};

/* ---- bytes ------------------------------------------------------------------------------------------ */

static void put_le(uint8_t *at, uint64_t v, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_le(const uint8_t *at, size_t bytes)
{
	uint64_t v = 0;

	for (size_t i = bytes; i-- > 0;)
		v = v << 8 | at[i];
	return v;
}

/* `fields` and `tail` follow the type byte. */
static void add_entry(struct buf *b, enum entry type, const uint8_t *fields, size_t n_fields, const void *tail,
		size_t n_tail)
{
	size_t body = 1 + n_fields + n_tail;
	uint8_t *at = buf_reserve(b, HEAD_BYTES + body);
	uint32_t crc;

	ENSURE(body <= BODY_BYTES_MAX);
	put_le(at, body, 4);
	at[HEAD_BYTES] = (uint8_t)type;
	memcpy(at + HEAD_BYTES + 1, fields, n_fields);
	if (n_tail)
		memcpy(at + HEAD_BYTES + 1 + n_fields, tail, n_tail);
	crc = crc32c(crc32c(0, at, 4), at + HEAD_BYTES, body);
	put_le(at + 4, crc, 4);
	b->len += HEAD_BYTES + body;
}

static void add_row(struct buf *b, const struct row *r)
{
	uint8_t fields[10];

	put_le(fields, r->alloc, 8);
	put_le(fields + 8, r->part, 2);
	add_entry(b, ENTRY_ROW, fields, sizeof(fields), r->payload, r->len);
}

static void add_epoch(struct buf *b, const struct device *d)
{
	uint8_t fields[8];

	put_le(fields, d->epoch, 8);
	add_entry(b, ENTRY_EPOCH, fields, sizeof(fields), d->name, strlen(d->name));
}

static void add_meta(struct buf *b, enum table_meta id, uint64_t value)
{
	uint8_t fields[9];

	fields[0] = (uint8_t)id;
	put_le(fields + 1, value, 8);
	add_entry(b, ENTRY_META, fields, sizeof(fields), NULL, 0);
}

/* ---- contents ------------------------------------------------------------------------------------------ */

/* Index of the row, or where it would be. */
static size_t row_at(const struct table *t, uint64_t alloc, uint16_t part, bool *ret_there)
{
	size_t lo = 0, hi = t->n_rows;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct row *r = &t->rows[mid];

		if (r->alloc < alloc || (r->alloc == alloc && r->part < part))
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_there = lo < t->n_rows && t->rows[lo].alloc == alloc && t->rows[lo].part == part;
	return lo;
}

static size_t device_at(const struct table *t, const char *name, bool *ret_there)
{
	size_t lo = 0, hi = t->n_devices;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(t->devices[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_there = lo < t->n_devices && !strcmp(t->devices[lo].name, name);
	return lo;
}

static bool set_row(struct table *t, uint64_t alloc, uint16_t part, const void *payload, size_t len)
{
	bool there;
	size_t i = row_at(t, alloc, part, &there);
	struct row *r;

	if (!there) {
		if (t->n_rows == TABLE_ROWS_MAX)
			return false;
		if (t->n_rows == t->cap_rows) {
			t->cap_rows = t->cap_rows ? t->cap_rows * 2 : 64;
			t->rows = xrealloc(t->rows, t->cap_rows * sizeof(*t->rows));
		}
		memmove(t->rows + i + 1, t->rows + i, (t->n_rows - i) * sizeof(*t->rows));
		t->rows[i] = (struct row){.alloc = alloc, .part = part};
		t->n_rows++;
	}
	r = &t->rows[i];
	r->payload = xrealloc(r->payload, len);
	r->len = (uint32_t)len;
	if (len)
		memcpy(r->payload, payload, len);
	return true;
}

static bool unset_row(struct table *t, uint64_t alloc, uint16_t part)
{
	bool there;
	size_t i = row_at(t, alloc, part, &there);

	if (!there)
		return false;
	free(t->rows[i].payload);
	t->n_rows--;
	memmove(t->rows + i, t->rows + i + 1, (t->n_rows - i) * sizeof(*t->rows));
	return true;
}

static bool set_epoch(struct table *t, const char *name, uint64_t epoch)
{
	bool there;
	size_t i = device_at(t, name, &there);

	if (!there) {
		if (t->n_devices == TABLE_DEVICES_MAX)
			return false;
		if (t->n_devices == t->cap_devices) {
			t->cap_devices = t->cap_devices ? t->cap_devices * 2 : 16;
			t->devices = xrealloc(t->devices, t->cap_devices * sizeof(*t->devices));
		}
		memmove(t->devices + i + 1, t->devices + i, (t->n_devices - i) * sizeof(*t->devices));
		t->devices[i] = (struct device){0};
		memcpy(t->devices[i].name, name, strlen(name) + 1);
		t->n_devices++;
	}
	if (epoch > t->devices[i].epoch)
		t->devices[i].epoch = epoch;
	return true;
}

static bool only_grows(enum table_meta id) { return id == TABLE_CLUSTER_EPOCH || id == TABLE_INCARNATION; }

/* ---- replay ---------------------------------------------------------------------------------------------- */

/* Bytes of the whole entry at `at`, 0 if there is no sound one. */
static size_t entry_bytes(const uint8_t *at, size_t left)
{
	size_t body;

	if (left < HEAD_BYTES + 1)
		return 0;
	body = get_le(at, 4);
	if (!body || body > BODY_BYTES_MAX || body > left - HEAD_BYTES)
		return 0;
	if (crc32c(crc32c(0, at, 4), at + HEAD_BYTES, body) != get_le(at + 4, 4))
		return 0;
	return HEAD_BYTES + body;
}

/* Take one sound entry; `salvage`: only what can do no harm out of context. False if it makes no sense,
 * which its CRC says a bug or a newer version wrote. */
static bool replay(struct table *t, const uint8_t *body, size_t n, bool salvage)
{
	char name[TABLE_DEVICE_NAME_BYTES];
	uint64_t v;

	switch (body[0]) {
	case ENTRY_ROW:
		if (n < ROW_FIELDS)
			return false;
		return salvage || set_row(t, get_le(body + 1, 8), (uint16_t)get_le(body + 9, 2),
				body + ROW_FIELDS, n - ROW_FIELDS);
	case ENTRY_ROW_DEL:
		if (n != ROW_FIELDS)
			return false;
		if (!salvage)
			(void)unset_row(t, get_le(body + 1, 8), (uint16_t)get_le(body + 9, 2));
		return true;
	case ENTRY_EPOCH:
		if (n < 10 || n - 9 >= sizeof(name) || memchr(body + 9, 0, n - 9))
			return false;
		memcpy(name, body + 9, n - 9);
		name[n - 9] = 0;
		return set_epoch(t, name, get_le(body + 1, 8));
	case ENTRY_META:
		if (n != 10 || body[1] >= TABLE_META_COUNT)
			return false;
		v = get_le(body + 2, 8);
		if (only_grows(body[1]) ? v > t->meta[body[1]] : !salvage)
			t->meta[body[1]] = v;
		return true;
	default:
		return false;
	}
}

/* Replay the log; tells how much of it is sound from the start, and whether more was sound behind. */
static int replay_all(struct table *t, const struct buf *file, size_t *ret_sound, bool *ret_damaged,
		struct err *err)
{
	size_t at = MAGIC_BYTES;
	size_t n;

	*ret_damaged = false;
	while ((n = entry_bytes(file->data + at, file->len - at))) {
		if (!replay(t, file->data + at + HEAD_BYTES, n - HEAD_BYTES, false))
			return err_set(err, ERR_VERSION, "the agent table holds an entry that is not understood");
		at += n;
	}
	*ret_sound = at;
	for (; at < file->len; at += n ? n : 1) {
		n = entry_bytes(file->data + at, file->len - at);
		if (!n)
			continue;
		*ret_damaged = true;
		if (!replay(t, file->data + at + HEAD_BYTES, n - HEAD_BYTES, true))
			return err_set(err, ERR_VERSION, "the agent table holds an entry that is not understood");
	}
	return 0;
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static int write_at(int fd, const uint8_t *data, size_t n, uint64_t at, struct err *err)
{
	while (n) {
		ssize_t done = pwrite(fd, data, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot write the agent table");
		data += done;
		at += (uint64_t)done;
		n -= (size_t)done;
	}
	return 0;
}

static void contents(const struct table *t, struct buf *b)
{
	buf_add(b, magic, MAGIC_BYTES);
	for (int id = 0; id < TABLE_META_COUNT; id++)
		if (t->meta[id])
			add_meta(b, (enum table_meta)id, t->meta[id]);
	for (size_t i = 0; i < t->n_devices; i++)
		add_epoch(b, &t->devices[i]);
	for (size_t i = 0; i < t->n_rows; i++)
		add_row(b, &t->rows[i]);
}

/* Write all of it anew and put that in place of the log. The old log stays whole until the rename. */
static int compact(struct table *t, struct err *err)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	int code;
	int fd = openat(t->dir_fd, "table.new", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot create 'table.new'");
	contents(t, &b);
	code = write_at(fd, b.data, b.len, 0, err);
	if (!code && fsync(fd))
		code = err_set_errno(err, ERR_IO, "cannot sync 'table.new'");
	FAILPOINT("agent.compact.before_rename");
	if (!code && renameat(t->dir_fd, "table.new", t->dir_fd, "table"))
		code = err_set_errno(err, ERR_IO, "cannot rename 'table.new'");
	FAILPOINT("agent.compact.after_rename");
	if (!code && fsync(t->dir_fd))
		code = err_set_errno(err, ERR_IO, "cannot sync the directory of the agent table");
	if (code) {
		(void)close(fd);
		return code;
	}
	if (t->fd >= 0)
		(void)close(t->fd);
	t->fd = fd;
	t->file_bytes = b.len;
	buf_reset(&t->pending);
	return 0;
}

/* The file that comes now says from its first byte on that rows may be missing from it. */
static int compact_rebuilt(struct table *t, struct table_found *ret_found, struct err *err)
{
	ret_found->rebuilt = true;
	t->meta[TABLE_ROWS_MISSING] = 1;
	return compact(t, err);
}

static int read_file(struct table *t, struct buf *file, struct err *err)
{
	struct stat st;
	ssize_t n = 1;

	if (fstat(t->fd, &st))
		return err_set_errno(err, ERR_IO, "cannot look at the agent table");
	if ((uint64_t)st.st_size > file_bytes_max)
		return err_set(err, ERR_TOOBIG, "the agent table is too large");
	while (n > 0) {
		n = read(t->fd, buf_reserve(file, 65536), 65536);
		if (n > 0)
			file->len += (size_t)n;
		else if (n < 0 && errno == EINTR)
			n = 1;
	}
	if (n < 0)
		return err_set_errno(err, ERR_IO, "cannot read the agent table");
	return 0;
}

static int load(struct table *t, struct table_found *ret_found, struct err *err)
{
	CLEANUP(buf_done) struct buf file = BUF_INIT;
	CLEANUP(buf_done) struct buf now = BUF_INIT;
	size_t sound = 0;
	bool damaged = false;
	int code;

	t->fd = openat(t->dir_fd, "table", O_RDWR | O_CLOEXEC);
	if (t->fd < 0 && errno == ENOENT) {
		ret_found->none = true;
		return compact_rebuilt(t, ret_found, err);
	}
	if (t->fd < 0)
		return err_set_errno(err, ERR_IO, "cannot open the agent table");
	code = read_file(t, &file, err);
	if (code)
		return code;
	/* The first bytes came by rename after a sync: what does not begin so is damaged or not ours. */
	if (file.len >= MAGIC_BYTES && !memcmp(file.data, magic, MAGIC_BYTES - 1) &&
			file.data[MAGIC_BYTES - 1] != (uint8_t)magic[MAGIC_BYTES - 1])
		return err_set(err, ERR_VERSION, "the agent table has format '%c'", file.data[MAGIC_BYTES - 1]);
	if (file.len < MAGIC_BYTES) {
		ret_found->cut_bytes = file.len;
		return compact_rebuilt(t, ret_found, err);
	}
	code = replay_all(t, &file, &sound, &damaged, err);
	if (code)
		return code;
	ret_found->cut_bytes = file.len - sound;
	if (damaged || memcmp(file.data, magic, MAGIC_BYTES) != 0)
		return compact_rebuilt(t, ret_found, err);
	ret_found->rebuilt = t->meta[TABLE_ROWS_MISSING] != 0;
	t->file_bytes = file.len;
	contents(t, &now);
	if (now.len == file.len && !memcmp(now.data, file.data, now.len))
		return 0; /* compact as it is */
	return compact(t, err);
}

int table_open(const char *dir, struct table **ret_table, struct table_found *ret_found, struct err *err)
{
	struct table *t = xcalloc(1, sizeof(*t));
	int code = 0;

	*ret_found = (struct table_found){0};
	t->fd = t->lock_fd = -1;
	if (mkdir(dir, 0700) && errno != EEXIST)
		code = err_set_errno(err, ERR_SYS, "cannot make '%s'", dir);
	t->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!code && t->dir_fd < 0)
		code = err_set_errno(err, ERR_SYS, "cannot open '%s'", dir);
	if (!code) {
		/* Not the table itself: compaction replaces that one. */
		t->lock_fd = openat(t->dir_fd, "table.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (t->lock_fd < 0)
			code = err_set_errno(err, ERR_SYS, "cannot open '%s/table.lock'", dir);
		else if (flock(t->lock_fd, LOCK_EX | LOCK_NB))
			code = err_set_errno(err, ERR_BUSY, "another process has the table in '%s'", dir);
	}
	if (!code)
		code = load(t, ret_found, err);
	if (code) {
		table_close(t);
		return code;
	}
	*ret_table = t;
	return 0;
}

void table_close(struct table *t)
{
	int kept = errno;

	if (!t)
		return;
	for (size_t i = 0; i < t->n_rows; i++)
		free(t->rows[i].payload);
	free(t->rows);
	free(t->devices);
	buf_done(&t->pending);
	if (t->fd >= 0)
		(void)close(t->fd);
	if (t->lock_fd >= 0)
		(void)close(t->lock_fd);
	if (t->dir_fd >= 0)
		(void)close(t->dir_fd);
	free(t);
	errno = kept;
}

/* ---- changes ------------------------------------------------------------------------------------------------------ */

int table_put_row(struct table *t, uint64_t alloc, uint16_t part, const void *payload, size_t len,
		struct err *err)
{
	struct row r = {.alloc = alloc, .part = part};
	bool there;

	if (len > TABLE_PAYLOAD_BYTES_MAX)
		return err_set(err, ERR_TOOBIG, "a row has at most %d bytes", TABLE_PAYLOAD_BYTES_MAX);
	if (!set_row(t, alloc, part, payload, len))
		return err_set(err, ERR_NOROOM, "the agent table is full (%d rows)", TABLE_ROWS_MAX);
	r = t->rows[row_at(t, alloc, part, &there)];
	ENSURE(there);
	add_row(&t->pending, &r);
	return 0;
}

void table_del_row(struct table *t, uint64_t alloc, uint16_t part)
{
	uint8_t fields[10];

	if (!unset_row(t, alloc, part))
		return;
	put_le(fields, alloc, 8);
	put_le(fields + 8, part, 2);
	add_entry(&t->pending, ENTRY_ROW_DEL, fields, sizeof(fields), NULL, 0);
}

bool table_get_row(const struct table *t, uint64_t alloc, uint16_t part, const void **ret_payload,
		size_t *ret_len)
{
	bool there;
	size_t i = row_at(t, alloc, part, &there);

	if (!there)
		return false;
	*ret_payload = t->rows[i].payload;
	*ret_len = t->rows[i].len;
	return true;
}

void table_each_row(const struct table *t,
		void (*fn)(void *ctx, uint64_t alloc, uint16_t part, const void *payload, size_t len), void *ctx)
{
	for (size_t i = 0; i < t->n_rows; i++)
		fn(ctx, t->rows[i].alloc, t->rows[i].part, t->rows[i].payload, t->rows[i].len);
}

size_t table_row_count(const struct table *t) { return t->n_rows; }

uint64_t table_epoch_get(const struct table *t, const char *device)
{
	bool there;
	size_t i = device_at(t, device, &there);

	return there ? t->devices[i].epoch : 0;
}

uint64_t table_epoch_max(const struct table *t)
{
	uint64_t max = 0;

	for (size_t i = 0; i < t->n_devices; i++)
		max = t->devices[i].epoch > max ? t->devices[i].epoch : max;
	return max;
}

int table_epoch_raise(struct table *t, const char *device, uint64_t epoch, struct err *err)
{
	uint64_t now = table_epoch_get(t, device);
	bool there;

	if (!device[0] || strlen(device) >= TABLE_DEVICE_NAME_BYTES)
		return err_set(err, ERR_INVAL, "'%.80s' is no device name", device);
	if (epoch < now)
		return err_set(err, ERR_STALE, "device '%s' has seen epoch %llu", device, (unsigned long long)now);
	if (epoch == now)
		return 0;
	if (!set_epoch(t, device, epoch))
		return err_set(err, ERR_NOROOM, "the agent table knows %d devices", TABLE_DEVICES_MAX);
	add_epoch(&t->pending, &t->devices[device_at(t, device, &there)]);
	return 0;
}

uint64_t table_meta_get(const struct table *t, enum table_meta id)
{
	ENSURE(id < TABLE_META_COUNT);
	return t->meta[id];
}

int table_meta_set(struct table *t, enum table_meta id, uint64_t value, struct err *err)
{
	ENSURE(id < TABLE_META_COUNT);
	if (only_grows(id) && value < t->meta[id])
		return err_set(err, ERR_STALE, "%s would go from %llu back to %llu",
				id == TABLE_CLUSTER_EPOCH ? "the cluster epoch" : "the incarnation",
				(unsigned long long)t->meta[id], (unsigned long long)value);
	if (value == t->meta[id])
		return 0;
	t->meta[id] = value;
	add_meta(&t->pending, id, value);
	return 0;
}

/* Bytes the contents would take, without writing them. */
static uint64_t compact_bytes(const struct table *t)
{
	uint64_t n = MAGIC_BYTES + TABLE_META_COUNT * (HEAD_BYTES + 10);

	for (size_t i = 0; i < t->n_rows; i++)
		n += HEAD_BYTES + ROW_FIELDS + t->rows[i].len;
	return n + t->n_devices * (HEAD_BYTES + 9 + TABLE_DEVICE_NAME_BYTES);
}

int table_sync(struct table *t, struct err *err)
{
	uint64_t after = t->file_bytes + t->pending.len;
	int code;

	if (t->broken)
		return err_set(err, ERR_IO, "an earlier write of the agent table failed");
	if (!t->pending.len)
		return 0;
	if (after > COMPACT_ABOVE && after > COMPACT_FACTOR * compact_bytes(t)) {
		code = compact(t, err);
	} else {
		code = write_at(t->fd, t->pending.data, t->pending.len, t->file_bytes, err);
		FAILPOINT("agent.table.before_sync");
		if (!code && fdatasync(t->fd))
			code = err_set_errno(err, ERR_IO, "cannot sync the agent table");
		FAILPOINT("agent.table.after_sync");
		if (!code) {
			t->file_bytes = after;
			buf_reset(&t->pending);
		}
	}
	t->broken = code != 0;
	return code;
}
