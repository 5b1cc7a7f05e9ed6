/* inventory.c - digest and judgement of an inventory
 *
 * The canonical serialisation behind the digest: each field in the order of inventory.h, integers as
 * 8 bytes little-endian, strings as length and bytes, arrays as count and entries. It is internal to
 * the digest and begins with a version text: changing it makes every node `suspect` once.
 */
#include "proto/model/inventory.h"

#include <string.h>

#include "proto/base/ckd.h"
#include "proto/base/ensure.h"
#include "proto/base/sha256.h"

_Static_assert((int)INV_DIGEST_BYTES == (int)SHA256_BYTES, "the digest is a SHA-256");
_Static_assert(INV_DEVICES_MAX == 64, "`peers` has one bit for each device");
_Static_assert(INV_NUMA_MAX <= INT8_MAX, "a NUMA index fits int8_t");

const char *inv_vendor_name(int vendor)
{
	switch (vendor) {
	case INV_VENDOR_NVIDIA: return "nvidia";
	case INV_VENDOR_AMD: return "amd";
	case INV_VENDOR_INTEL: return "intel";
	default: return "?";
	}
}

const char *inv_health_name(int health)
{
	switch (health) {
	case INV_HEALTH_OK: return "ok";
	case INV_HEALTH_SUSPECT: return "suspect";
	case INV_HEALTH_FAILED: return "failed";
	default: return "?";
	}
}

static const char *hex_field(const char *p, int digits_min, int digits_max, uint64_t *ret_value)
{
	uint64_t value = 0;
	int digits = 0;

	for (; digits <= digits_max; digits++, p++) {
		if (*p >= '0' && *p <= '9')
			value = value << 4 | (uint64_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			value = value << 4 | (uint64_t)(*p - 'a' + 10);
		else
			break;
	}
	*ret_value = value;
	return digits >= digits_min && digits <= digits_max ? p : NULL;
}

int inv_pci_parse(const char *text, uint64_t *ret_number)
{
	uint64_t domain, bus, device, function;
	const char *p;

	p = hex_field(text, 4, 8, &domain);
	if (!p || *p != ':' || (p - text > 4 && text[0] == '0'))
		return ERR_FORMAT;
	p = hex_field(p + 1, 2, 2, &bus);
	if (!p || *p != ':')
		return ERR_FORMAT;
	p = hex_field(p + 1, 2, 2, &device);
	if (!p || *p != '.' || device > 0x1f)
		return ERR_FORMAT;
	p = hex_field(p + 1, 1, 1, &function);
	if (!p || *p != '\0' || function > 7)
		return ERR_FORMAT;
	*ret_number = domain << 16 | bus << 8 | device << 3 | function;
	return 0;
}

int inv_device_cmp(const struct inv_device *a, const struct inv_device *b)
{
	uint64_t x = 0, y = 0;

	ENSURE(inv_pci_parse(a->pci, &x) == 0);
	ENSURE(inv_pci_parse(b->pci, &y) == 0);
	if (x != y)
		return x < y ? -1 : 1;
	return (int)a->partition - (int)b->partition;
}

bool inv_uuid_is_zero(const char *uuid)
{
	bool digit = false;

	/* Vendors put three letters in front: "GPU-", "MIG-". */
	if (strnlen(uuid, 4) == 4 && uuid[3] == '-')
		uuid += 4;
	for (; *uuid; uuid++) {
		if (*uuid != '0' && *uuid != '-')
			return false;
		digit |= *uuid == '0';
	}
	return digit;
}

/* ---- digest ---------------------------------------------------------------------------------- */

static void add_int(struct sha256 *s, uint64_t v)
{
	uint8_t b[8];

	for (int i = 0; i < 8; i++)
		b[i] = (uint8_t)(v >> (8 * i));
	sha256_add(s, b, sizeof(b));
}

static void add_str(struct sha256 *s, const char *text, size_t size)
{
	size_t n = strnlen(text, size);

	add_int(s, n);
	sha256_add(s, text, n);
}

static void add_cores(struct sha256 *s, const struct coreset *set)
{
	for (int i = 0; i < INV_CORE_WORDS; i++)
		add_int(s, set->w[i]);
}

void inventory_digest(const struct inventory *inv, uint8_t ret_digest[INV_DIGEST_BYTES])
{
	struct sha256 s;

	ENSURE(inv->numa_count <= INV_NUMA_MAX);
	ENSURE(inv->device_count <= INV_DEVICES_MAX);
	ENSURE(inv->link_count <= INV_LINKS_MAX);
	ENSURE(inv->nic_count <= INV_NICS_MAX);
	sha256_init(&s);
	add_str(&s, "sluis inventory 1", 32);
	add_int(&s, inv->emulated);
	add_int(&s, inv->package_count);
	add_int(&s, inv->core_count);
	add_int(&s, inv->pu_count);
	add_int(&s, (uint64_t)inv->memory_mib);
	add_int(&s, inv->numa_count);
	for (unsigned i = 0; i < inv->numa_count; i++) {
		const struct inv_numa *n = &inv->numa[i];

		add_int(&s, n->os_index);
		add_int(&s, n->device_memory);
		add_int(&s, (uint64_t)n->memory_mib);
		add_cores(&s, &n->cores);
	}
	add_int(&s, inv->device_count);
	for (unsigned i = 0; i < inv->device_count; i++) {
		const struct inv_device *d = &inv->devices[i];

		add_str(&s, d->pci, sizeof(d->pci));
		add_int(&s, d->partition);
		add_int(&s, d->vendor);
		add_int(&s, (uint64_t)d->numa);
		add_str(&s, d->uuid, sizeof(d->uuid));
		add_str(&s, d->model, sizeof(d->model));
		add_str(&s, d->mig_profile, sizeof(d->mig_profile));
		add_int(&s, (uint64_t)d->memory_mib);
		add_cores(&s, &d->near);
		add_int(&s, d->peers);
	}
	add_int(&s, inv->link_count);
	for (unsigned i = 0; i < inv->link_count; i++) {
		add_int(&s, inv->links[i].a);
		add_int(&s, inv->links[i].b);
		add_int(&s, inv->links[i].bandwidth_mbps);
	}
	add_int(&s, inv->nic_count);
	for (unsigned i = 0; i < inv->nic_count; i++) {
		const struct inv_nic *n = &inv->nics[i];

		add_str(&s, n->name, sizeof(n->name));
		add_str(&s, n->pci, sizeof(n->pci));
		add_int(&s, (uint64_t)n->numa);
		add_cores(&s, &n->near);
	}
	sha256_final(&s, ret_digest);
}

/* ---- judgement ------------------------------------------------------------------------------- */

/* Ends inside its array and shows as itself on a terminal. */
static bool text_ok(const char *text, size_t size)
{
	size_t n = strnlen(text, size);

	for (size_t i = 0; i < n; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return n < size;
}

static bool memory_ok(int64_t mib)
{
	return mib >= 0 && mib <= INV_MEMORY_MIB_MAX;
}

static int check_counts(const struct inventory *inv, struct err *err)
{
	const struct {
		const char *what;
		unsigned value, max;
	} counts[] = {
		{ "packages", inv->package_count, INV_PACKAGES_MAX },
		{ "NUMA nodes", inv->numa_count, INV_NUMA_MAX },
		{ "cores", inv->core_count, INV_CORES_MAX },
		{ "devices", inv->device_count, INV_DEVICES_MAX },
		{ "links", inv->link_count, INV_LINKS_MAX },
		{ "nics", inv->nic_count, INV_NICS_MAX },
	};

	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		if (counts[i].value > counts[i].max)
			return err_set(err, ERR_RANGE, "inventory has %u %s, at most %u are possible",
				       counts[i].value, counts[i].what, counts[i].max);
	if (inv->core_count == 0)
		return err_set(err, ERR_RANGE, "inventory has no cores");
	if (inv->pu_count < inv->core_count ||
	    inv->pu_count > (uint32_t)inv->core_count * INV_PUS_PER_CORE_MAX)
		return err_set(err, ERR_RANGE, "inventory has %u hardware threads on %u cores",
			       inv->pu_count, inv->core_count);
	return 0;
}

static int check_numa(const struct inventory *inv, const struct coreset *all, struct err *err)
{
	int64_t sum_mib = 0;

	for (unsigned i = 0; i < inv->numa_count; i++) {
		const struct inv_numa *n = &inv->numa[i];

		if (!memory_ok(n->memory_mib))
			return err_set(err, ERR_RANGE, "memory of NUMA node %u is out of range",
				       n->os_index);
		if (i > 0 && n->os_index <= inv->numa[i - 1].os_index)
			return err_set(err, ERR_CONFLICT, "NUMA node %u is out of order", n->os_index);
		if (!coreset_within(&n->cores, all))
			return err_set(err, ERR_RANGE, "NUMA node %u names a core that is not there",
				       n->os_index);
		if (!n->device_memory && ckd_add(&sum_mib, sum_mib, n->memory_mib))
			return err_set(err, ERR_RANGE, "memory of the NUMA nodes is out of range");
	}
	if (!memory_ok(inv->memory_mib))
		return err_set(err, ERR_RANGE, "memory of the node is out of range");
	if (sum_mib != inv->memory_mib)
		return err_set(err, ERR_CONFLICT, "memory of the node is not the sum of its NUMA nodes");
	return 0;
}

static int check_device(const struct inventory *inv, unsigned i, const struct coreset *all,
			struct err *err)
{
	const struct inv_device *d = &inv->devices[i];
	uint64_t number;

	if (!text_ok(d->pci, sizeof(d->pci)) || inv_pci_parse(d->pci, &number))
		return err_set(err, ERR_FORMAT, "device %u has no PCI bus id", i);
	if (!text_ok(d->uuid, sizeof(d->uuid)) || !text_ok(d->model, sizeof(d->model)) ||
	    !text_ok(d->mig_profile, sizeof(d->mig_profile)))
		return err_set(err, ERR_FORMAT, "device %s has a malformed text", d->pci);
	if (d->partition > INV_PARTITION_MAX)
		return err_set(err, ERR_RANGE, "device %s has partition %u", d->pci, d->partition);
	if (i > 0 && inv_device_cmp(&inv->devices[i - 1], d) >= 0)
		return err_set(err, ERR_CONFLICT, "device %s partition %u is there twice or out of order",
			       d->pci, d->partition);
	if (d->vendor < INV_VENDOR_NVIDIA || d->vendor > INV_VENDOR_INTEL)
		return err_set(err, ERR_RANGE, "device %s has vendor %u", d->pci, d->vendor);
	if (d->health > INV_HEALTH_FAILED)
		return err_set(err, ERR_RANGE, "device %s has health %u", d->pci, d->health);
	if (!memory_ok(d->memory_mib))
		return err_set(err, ERR_RANGE, "memory of device %s is out of range", d->pci);
	if (d->numa < -1 || d->numa >= (int)inv->numa_count)
		return err_set(err, ERR_RANGE, "device %s is near NUMA index %d", d->pci, d->numa);
	if (coreset_empty(&d->near) || !coreset_within(&d->near, all))
		return err_set(err, ERR_RANGE, "device %s is near cores that are not there", d->pci);
	if (inv_uuid_is_zero(d->uuid))
		return err_set(err, ERR_CONFLICT, "device %s has an all-zero UUID", d->pci);
	for (unsigned k = 0; k < i && d->uuid[0]; k++)
		if (strcmp(d->uuid, inv->devices[k].uuid) == 0)
			return err_set(err, ERR_CONFLICT, "devices %s and %s share one UUID",
				       inv->devices[k].pci, d->pci);
	if ((d->peers >> i & 1) ||
	    (inv->device_count < INV_DEVICES_MAX && d->peers >> inv->device_count))
		return err_set(err, ERR_RANGE, "device %s has a peer that is not there", d->pci);
	return 0;
}

static int check_links(const struct inventory *inv, struct err *err)
{
	for (unsigned i = 0; i < inv->device_count; i++)
		for (unsigned k = 0; k < i; k++)
			if ((inv->devices[i].peers >> k & 1) != (inv->devices[k].peers >> i & 1))
				return err_set(err, ERR_CONFLICT, "devices %s and %s disagree on being peers",
					       inv->devices[k].pci, inv->devices[i].pci);
	for (unsigned i = 0; i < inv->link_count; i++) {
		const struct inv_link *l = &inv->links[i], *before = i ? l - 1 : NULL;

		if (l->a >= l->b || l->b >= inv->device_count)
			return err_set(err, ERR_RANGE, "link %u joins devices %u and %u", i, l->a, l->b);
		if (before && (l->a < before->a || (l->a == before->a && l->b <= before->b)))
			return err_set(err, ERR_CONFLICT, "link %u is there twice or out of order", i);
		if (!(inv->devices[l->a].peers >> l->b & 1))
			return err_set(err, ERR_CONFLICT, "link %u joins devices that are no peers", i);
	}
	return 0;
}

static int check_nics(const struct inventory *inv, const struct coreset *all, struct err *err)
{
	for (unsigned i = 0; i < inv->nic_count; i++) {
		const struct inv_nic *n = &inv->nics[i];
		uint64_t number;

		if (!text_ok(n->name, sizeof(n->name)) || n->name[0] == '\0')
			return err_set(err, ERR_FORMAT, "nic %u has a malformed name", i);
		if (!text_ok(n->pci, sizeof(n->pci)) || inv_pci_parse(n->pci, &number))
			return err_set(err, ERR_FORMAT, "nic %s has no PCI bus id", n->name);
		if (n->numa < -1 || n->numa >= (int)inv->numa_count)
			return err_set(err, ERR_RANGE, "nic %s is near NUMA index %d", n->name, n->numa);
		if (coreset_empty(&n->near) || !coreset_within(&n->near, all))
			return err_set(err, ERR_RANGE, "nic %s is near cores that are not there", n->name);
		for (unsigned k = 0; k < i; k++)
			if (strcmp(n->name, inv->nics[k].name) == 0)
				return err_set(err, ERR_CONFLICT, "nic %s is there twice", n->name);
	}
	return 0;
}

int inventory_check(const struct inventory *inv, struct err *err)
{
	uint8_t digest[INV_DIGEST_BYTES];
	struct coreset all;
	int r;

	r = check_counts(inv, err);
	if (r)
		return r;
	all = coreset_first(inv->core_count);
	if (!text_ok(inv->hwloc_version, sizeof(inv->hwloc_version)))
		return err_set(err, ERR_FORMAT, "inventory has a malformed hwloc version");
	r = check_numa(inv, &all, err);
	if (r)
		return r;
	for (unsigned i = 0; i < inv->device_count; i++) {
		r = check_device(inv, i, &all, err);
		if (r)
			return r;
	}
	r = check_links(inv, err);
	if (r)
		return r;
	r = check_nics(inv, &all, err);
	if (r)
		return r;
	inventory_digest(inv, digest);
	if (memcmp(digest, inv->digest, sizeof(digest)) != 0)
		return err_set(err, ERR_CORRUPT, "digest of the inventory does not fit its content");
	return 0;
}
