/* node.c - what this node is: its inventory as sluisd wants it, its address, its processors */
#include <fnmatch.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/shell.h"
#include "proto/base/ensure.h"
#include "proto/link/log.h"

_Static_assert((int)INV_CORE_WORDS == (int)CORE_WORDS, "a core mask travels as it was probed");
_Static_assert((int)INV_DEVICES_MAX == (int)DEVICES_PER_NODE_MAX, "all probed devices can be reported");

static void collect_hcas(struct shell *s)
{
	size_t at = 0;

	if (s->conf.fabric.hcas && strcmp(s->conf.fabric.hcas, "auto") != 0) {
		(void)snprintf(s->hcas, sizeof s->hcas, "%s", s->conf.fabric.hcas);
		return;
	}
	if (s->inventory->emulated)
		return; /* none of them is really here */
	for (unsigned i = 0; i < s->inventory->nic_count; i++) {
		const char *name = s->inventory->nics[i].name;

		/* Ethernet interfaces have no verbs; RDMA devices are named by their driver. */
		if (fnmatch("mlx[45]_*", name, 0) != 0 && fnmatch("bnxt_re*", name, 0) != 0 &&
		    fnmatch("hfi1_*", name, 0) != 0 && fnmatch("irdma*", name, 0) != 0 && fnmatch("efa_*", name, 0) != 0)
			continue;
		if (at + strlen(name) + 2 > sizeof s->hcas)
			break;
		at += (size_t)snprintf(s->hcas + at, sizeof s->hcas - at, "%s%s", at ? "," : "", name);
	}
}

int node_probe(struct shell *s, const char *gpus, struct err *err)
{
	struct probe_opts opts = {.node_name = s->node, .path = s->conf.topology.text,
				  .nvml_path = s->conf.libraries.nvml, .rsmi_path = s->conf.libraries.rsmi};
	int code;

	switch (s->conf.topology.source) {
	case TOPOLOGY_FILE: opts.source = PROBE_XML; break;
	case TOPOLOGY_SYNTHETIC: opts.source = PROBE_SYNTHETIC; break;
	default: opts.source = PROBE_LIVE;
	}
	if (gpus) {
		if (opts.source != PROBE_SYNTHETIC)
			return err_set(err, ERR_INVAL, "--gpus goes with --synthetic only");
		code = probe_gpus_parse(gpus, &opts.gpus, err);
		if (code)
			return code;
	}
	s->inventory = xcalloc(1, sizeof *s->inventory);
	s->local = xcalloc(1, sizeof *s->local);
	code = probe_run(&opts, s->inventory, s->local, err);
	/* What was named is no topology: nobody mends that by starting again. */
	if (code && opts.source != PROBE_LIVE && code != ERR_SYS && code != ERR_NOMEM)
		code = err->code = ERR_CONFIG;
	if (code)
		return code;
	collect_hcas(s);
	return 0;
}

void node_address(struct shell *s, const char *endpoint)
{
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *list = NULL;
	char host[LINK_ENDPOINT_BYTES], *port;
	struct sockaddr_storage own;
	socklen_t own_len = sizeof own;
	int fd = -1;

	if (s->conf.address) {
		(void)snprintf(s->address, sizeof s->address, "%s", s->conf.address);
		return;
	}
	(void)snprintf(s->address, sizeof s->address, "%s", s->node);
	(void)snprintf(host, sizeof host, "%s", strncmp(endpoint, "tcp://", 6) == 0 ? endpoint + 6 : endpoint);
	port = strrchr(host, ':');
	if (!port)
		return;
	*port++ = '\0';
	if (host[0] == '[' && host[strlen(host) - 1] == ']') {
		host[strlen(host) - 1] = '\0';
		memmove(host, host + 1, strlen(host));
	}
	if (getaddrinfo(host, port, &hints, &list) == 0) {
		fd = socket(list->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		/* Connecting a datagram socket sends nothing: it asks the routing table. */
		if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen) == 0 &&
		    getsockname(fd, (struct sockaddr *)&own, &own_len) == 0)
			(void)getnameinfo((struct sockaddr *)&own, own_len, s->address, sizeof s->address, NULL, 0,
					  NI_NUMERICHOST);
		freeaddrinfo(list);
	}
	if (fd >= 0)
		(void)close(fd);
}

void node_fill_hello(const struct shell *s, struct cmd_node_hello *h, struct arena *arena)
{
	const struct inventory *inv = s->inventory;
	int64_t memory = inv->memory_mib < UINT32_MAX ? inv->memory_mib : UINT32_MAX;
	int64_t cores = s->conf.reserve.cores, reserve = s->conf.reserve.memory_mib;

	(void)snprintf(h->address, sizeof h->address, "%s", s->address);
	h->cores_n = inv->core_count;
	h->memory_mib = (uint32_t)memory;
	/* A reserve made for servers must not eat a small machine whole. */
	h->cores_reserved = (uint16_t)(cores < inv->core_count ? cores : inv->core_count > 0 ? inv->core_count - 1 : 0);
	h->memory_reserved_mib = (uint32_t)(reserve < memory / 2 ? reserve : memory / 2);
	h->emulated = inv->emulated;
	h->isolation = s->isolation;
	memcpy(h->digest, inv->digest, sizeof h->digest);
	h->labels_n = (uint32_t)s->conf.labels.count;
	h->labels = arena_alloc(arena, (h->labels_n + 1) * sizeof *h->labels);
	for (uint32_t i = 0; i < h->labels_n; i++) {
		(void)snprintf(h->labels[i].key, LABEL_BYTES, "%s", s->conf.labels.items[i].key);
		(void)snprintf(h->labels[i].value, LABEL_BYTES, "%s", s->conf.labels.items[i].value);
	}
	h->devices_n = inv->device_count;
	h->devices = arena_alloc(arena, (h->devices_n + 1U) * sizeof *h->devices);
	for (uint32_t i = 0; i < h->devices_n; i++) {
		const struct inv_device *d = &inv->devices[i];
		struct device *out = &h->devices[i];

		(void)snprintf(out->pci, sizeof out->pci, "%s", d->pci);
		out->partition = d->partition;
		if (strlen(d->uuid) < sizeof out->uuid) /* half an identity is none */
			(void)snprintf(out->uuid, sizeof out->uuid, "%s", d->uuid);
		(void)snprintf(out->vendor, sizeof out->vendor, "%s", inv_vendor_name(d->vendor));
		(void)snprintf(out->model, sizeof out->model, "%s", d->model);
		(void)snprintf(out->mig, sizeof out->mig, "%s", d->mig_profile);
		out->health = d->health == INV_HEALTH_OK ? DEVICE_OK :
			      d->health == INV_HEALTH_FAILED ? DEVICE_FAILED : DEVICE_SUSPECT;
		(void)snprintf(out->reason, sizeof out->reason, "%s", s->reasons[i]);
		out->numa = d->numa < 0 ? 0 : (uint16_t)d->numa;
		out->memory_mib = (uint32_t)(d->memory_mib < UINT32_MAX ? d->memory_mib : UINT32_MAX);
		memcpy(out->cores, d->near.w, sizeof out->cores);
		out->peers = d->peers;
	}
}

const char *node_cpus(const struct shell *s, const uint64_t cores[CORE_WORDS], struct arena *arena)
{
	enum { CPUS_MAX = 4096 };
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	uint8_t *want;
	cpu_set_t *here;
	size_t bytes = CPU_ALLOC_SIZE(CPUS_MAX);
	bool bindable = !s->inventory->emulated;

	if (!bindable)
		return NULL;
	here = CPU_ALLOC(CPUS_MAX);
	ENSURE(here);
	CPU_ZERO_S(bytes, here);
	bindable = sched_getaffinity(0, bytes, here) == 0;
	want = arena_alloc(arena, CPUS_MAX);
	for (unsigned c = 0; bindable && c < s->local->core_count; c++) {
		if (!(cores[c / 64] >> (c % 64) & 1))
			continue;
		for (unsigned k = 0; k < s->local->core[c].count; k++) {
			uint32_t os = s->local->core[c].os_index[k];

			bindable &= os < CPUS_MAX && CPU_ISSET_S(os, bytes, here);
			if (os < CPUS_MAX)
				want[os] = 1;
		}
	}
	CPU_FREE(here);
	if (!bindable)
		return NULL;
	for (unsigned i = 0; i < CPUS_MAX; i++) {
		unsigned first = i;

		if (!want[i])
			continue;
		while (i + 1 < CPUS_MAX && want[i + 1])
			i++;
		buf_addf(&b, i > first ? "%s%u-%u" : "%s%u", b.len ? "," : "", first, i);
	}
	return b.len ? arena_copy(arena, buf_cstr(&b), b.len + 1) : NULL;
}

const char *node_numa(const struct shell *s, const uint64_t cores[CORE_WORDS], struct arena *arena)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	const struct inventory *inv = s->inventory;

	for (unsigned i = 0; i < inv->numa_count; i++) {
		bool near = false;

		for (size_t w = 0; w < CORE_WORDS; w++)
			near |= (inv->numa[i].cores.w[w] & cores[w]) != 0;
		if (near && !inv->numa[i].device_memory)
			buf_addf(&b, "%s%u", b.len ? "," : "", inv->numa[i].os_index);
	}
	return arena_copy(arena, buf_cstr(&b), b.len + 1);
}
