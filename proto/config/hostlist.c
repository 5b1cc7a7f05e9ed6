/* hostlist.c - host lists (see hostlist.h)
 *
 * A name is a row of parts, literal text or a bracket; expanding counts through the brackets like an
 * odometer, the last one fastest. The product of the brackets' sizes is checked first.
 */
#include "proto/config/hostlist.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/ckd.h"
#include "proto/base/ensure.h"

enum { PARTS_MAX = 8, RANGES_MAX = 4096, DIGITS_MAX = 18 };

struct range { uint64_t from, count; int width; };

struct part {
	const char *text; /* literal, text_len bytes; then a bracket if ranges_count > 0 */
	size_t text_len;
	size_t ranges_first, ranges_count;
	uint64_t total, at; /* numbers in the bracket; the odometer's digit */
};

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
	       c == '.';
}

void hostlist_done(struct hostlist *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->names[i]);
	free(list->names);
	*list = (struct hostlist)HOSTLIST_INIT;
}

static int push(struct hostlist *list, const char *name, struct err *err)
{
	if (list->count >= HOSTLIST_MAX)
		return err_set(err, ERR_NOROOM, "more than %d host names", HOSTLIST_MAX);
	if (list->count == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 16;
		list->names = xrealloc(list->names, list->cap * sizeof(*list->names));
	}
	list->names[list->count++] = xstrdup(name);
	return 0;
}

int hostlist_add(struct hostlist *list, const char *name, struct err *err)
{
	size_t len = 0;

	while (name_char(name[len]))
		len++;
	if (len == 0 || name[len] != '\0' || len >= HOSTLIST_NAME_BYTES)
		return err_set(err, ERR_INVAL, "'%.100s' is not a host name", name);
	return push(list, name, err);
}

/* Digits at *p into *ret; their number out, 0 when there are none or more than DIGITS_MAX. */
static int take_number(const char **p, uint64_t *ret)
{
	int n = 0;

	for (*ret = 0; **p >= '0' && **p <= '9'; (*p)++) {
		if (++n > DIGITS_MAX)
			return 0;
		*ret = *ret * 10 + (uint64_t)(**p - '0');
	}
	return n;
}

/* "[017-018,020]" at *p, its ranges appended to `ranges`. */
static int take_bracket(const char **p, struct part *part, struct range *ranges, size_t *ranges_count,
			struct err *err)
{
	part->ranges_first = *ranges_count;
	do {
		struct range r = {0};
		uint64_t to = 0;
		int to_width;

		(*p)++; /* '[' or ',' */
		r.width = take_number(p, &r.from);
		if (r.width == 0)
			return err_set(err, ERR_INVAL, "a number is missing in a host list's brackets");
		to = r.from;
		if (**p == '-') {
			(*p)++;
			to_width = take_number(p, &to);
			if (to_width < r.width)
				return err_set(err, ERR_INVAL, "a range in a host list's brackets does not ascend");
		}
		if (to < r.from)
			return err_set(err, ERR_INVAL, "a range in a host list's brackets does not ascend");
		r.count = to - r.from + 1;
		if (ckd_add(&part->total, part->total, r.count) || part->total > HOSTLIST_MAX ||
		    *ranges_count == RANGES_MAX)
			return err_set(err, ERR_NOROOM, "more than %d host names", HOSTLIST_MAX);
		ranges[(*ranges_count)++] = r;
	} while (**p == ',');
	if (**p != ']')
		return err_set(err, ERR_INVAL, "a host list's bracket is not closed");
	(*p)++;
	part->ranges_count = *ranges_count - part->ranges_first;
	return 0;
}

/* Append number `at` of a bracket to name. */
static size_t bracket_print(char *name, size_t len, const struct part *part, const struct range *ranges)
{
	uint64_t at = part->at;

	for (size_t i = part->ranges_first;; i++) {
		if (at < ranges[i].count)
			return len + (size_t)snprintf(name + len, HOSTLIST_NAME_BYTES - len, "%0*llu", ranges[i].width,
						      (unsigned long long)(ranges[i].from + at));
		at -= ranges[i].count;
	}
}

/* One comma-separated item at *p. */
static int take_item(const char **p, struct hostlist *list, struct range *ranges, struct err *err)
{
	struct part parts[PARTS_MAX] = {0};
	size_t parts_count = 0, ranges_count = 0, longest = 0;
	uint64_t product = 1;
	int code;

	while (**p != '\0' && **p != ',') {
		struct part *part = &parts[parts_count];

		if (parts_count == PARTS_MAX)
			return err_set(err, ERR_INVAL, "more than %d brackets in a host list's name", PARTS_MAX - 1);
		part->text = *p;
		while (name_char(**p))
			(*p)++;
		part->text_len = (size_t)(*p - part->text);
		longest += part->text_len;
		if (**p == '[') {
			code = take_bracket(p, part, ranges, &ranges_count, err);
			if (code)
				return code;
			longest += DIGITS_MAX;
			if (ckd_mul(&product, product, part->total) || product > HOSTLIST_MAX)
				return err_set(err, ERR_NOROOM, "more than %d host names", HOSTLIST_MAX);
		} else if (**p != ',' && **p != '\0') {
			return err_set(err, ERR_INVAL, "'%.20s' does not belong in a host list", *p);
		}
		parts_count++;
	}
	if (parts_count == 0)
		return err_set(err, ERR_INVAL, "a host name is missing in a host list");
	if (longest >= HOSTLIST_NAME_BYTES)
		return err_set(err, ERR_INVAL, "a host name is longer than %d bytes", HOSTLIST_NAME_BYTES - 1);
	for (uint64_t i = 0; i < product; i++) {
		char name[HOSTLIST_NAME_BYTES];
		size_t len = 0, k = parts_count;

		for (size_t j = 0; j < parts_count; j++) {
			memcpy(name + len, parts[j].text, parts[j].text_len);
			len += parts[j].text_len;
			if (parts[j].ranges_count)
				len = bracket_print(name, len, &parts[j], ranges);
		}
		name[len] = '\0';
		code = push(list, name, err);
		if (code)
			return code;
		while (k > 0) {
			struct part *part = &parts[--k];

			if (part->ranges_count == 0)
				continue;
			if (++part->at < part->total)
				break;
			part->at = 0;
		}
	}
	return 0;
}

int hostlist_expand(struct hostlist *list, const char *text, struct err *err)
{
	struct range *ranges = xcalloc(RANGES_MAX, sizeof(*ranges));
	size_t before = list->count;
	const char *p = text;
	int code;

	for (;;) {
		code = take_item(&p, list, ranges, err);
		if (code || *p == '\0')
			break;
		p++; /* ',' */
	}
	free(ranges);
	while (code && list->count > before)
		free(list->names[--list->count]);
	return code;
}

/* Natural order: runs of digits compare as numbers, then by width. */
static int natural_cmp(const void *va, const void *vb)
{
	const char *a = *(char *const *)va, *b = *(char *const *)vb, *a0 = a, *b0 = b;

	while (*a && *b) {
		if (*a >= '0' && *a <= '9' && *b >= '0' && *b <= '9') {
			size_t la, lb;
			int d;

			a += strspn(a, "0");
			b += strspn(b, "0");
			la = strspn(a, "0123456789");
			lb = strspn(b, "0123456789");
			if (la != lb)
				return la < lb ? -1 : 1;
			d = memcmp(a, b, la);
			if (d)
				return d;
			a += la;
			b += lb;
		} else if (*a != *b) {
			return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
		} else {
			a++;
			b++;
		}
	}
	if (*a || *b)
		return *a ? 1 : -1;
	return strcmp(a0, b0);
}

void hostlist_sort(struct hostlist *list)
{
	size_t n = 0;

	if (list->count == 0)
		return;
	qsort(list->names, list->count, sizeof(*list->names), natural_cmp);
	for (size_t i = 0; i < list->count; i++) {
		if (n > 0 && strcmp(list->names[n - 1], list->names[i]) == 0)
			free(list->names[i]);
		else
			list->names[n++] = list->names[i];
	}
	list->count = n;
}

/* How many bytes stand before the name's trailing number; all of them if it has none that fits. */
static size_t prefix_len(const char *name)
{
	size_t len = strlen(name), n = len;

	while (n > 0 && len - n < DIGITS_MAX && name[n - 1] >= '0' && name[n - 1] <= '9')
		n--;
	return n;
}

/* Is `next` the number after `value`, written as a range that began with `width` digits writes it? */
static bool follows(const char *next, uint64_t value, int width, uint64_t *ret)
{
	char want[DIGITS_MAX + 4];

	snprintf(want, sizeof(want), "%0*llu", width, (unsigned long long)(value + 1));
	*ret = value + 1;
	return strcmp(want, next) == 0;
}

void hostlist_compress(const struct hostlist *list, struct buf *out)
{
	for (size_t i = 0; i < list->count;) {
		const char *first = list->names[i];
		size_t len = prefix_len(first), end = i + 1;

		if (i > 0)
			buf_add(out, ",", 1);
		while (first[len] && end < list->count && end - i < RANGES_MAX && prefix_len(list->names[end]) == len &&
		       list->names[end][len] && memcmp(first, list->names[end], len) == 0)
			end++;
		if (end == i + 1) {
			buf_addf(out, "%s", first);
			i = end;
			continue;
		}
		buf_add(out, first, len);
		buf_add(out, "[", 1);
		for (size_t j = i; j < end;) {
			const char *from = list->names[j] + len, *p = from;
			uint64_t value = 0;
			int width = take_number(&p, &value);
			size_t k = j + 1;

			ENSURE(width > 0);
			while (k < end && follows(list->names[k] + len, value, width, &value))
				k++;
			buf_addf(out, k > j + 1 ? "%s%s-%s" : "%s%s", j > i ? "," : "", from, list->names[k - 1] + len);
			j = k;
		}
		buf_add(out, "]", 1);
		i = end;
	}
}
