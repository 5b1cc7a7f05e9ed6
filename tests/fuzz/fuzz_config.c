/* fuzz_config.c - the configuration files, host lists and numbers with units
 *
 * The first byte chooses the reader; the rest is its text. Besides "does not crash", a host list survives being
 * compressed and expanded, and a number with a unit being written and read again. Divisions and job scripts have
 * targets of their own.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/ensure.h"
#include "proto/config/agent_conf.h"
#include "proto/config/ctl_conf.h"
#include "proto/config/daemon_conf.h"
#include "proto/config/hostlist.h"
#include "proto/config/service_conf.h"
#include "proto/config/units.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void walk(const struct conf_schema *schema, void *target, struct arena *arena, const char *text, size_t len)
{
	struct config_errors errs = CONFIG_ERRORS_INIT;
	CLEANUP(buf_done) struct buf out = BUF_INIT;
	struct doc *doc = NULL;

	if (doc_read_bytes("fuzz", text, len, &doc, &errs) == 0) {
		int code = conf_walk(doc, schema, target, arena, NULL, &errs);

		ENSURE((code == 0) == (errs.count == 0));
		doc_free(doc);
	} else {
		ENSURE(errs.count > 0);
	}
	config_errors_print(&errs, &out);
	config_errors_done(&errs);
}

static void hosts(const char *text)
{
	struct hostlist list = HOSTLIST_INIT, back = HOSTLIST_INIT;
	CLEANUP(buf_done) struct buf out = BUF_INIT;

	if (hostlist_expand(&list, text, NULL) == 0) {
		hostlist_compress(&list, &out);
		ENSURE(hostlist_expand(&back, buf_cstr(&out), NULL) == 0);
		ENSURE(back.count == list.count);
		for (size_t i = 0; i < list.count; i++)
			ENSURE(strcmp(list.names[i], back.names[i]) == 0);
	}
	hostlist_done(&list);
	hostlist_done(&back);
}

static void units(const char *text)
{
	char out[UNITS_TEXT_BYTES];
	int64_t v = 0, back = 0;

	if (units_duration(text, &v, NULL) == 0) {
		ENSURE(units_duration(units_duration_exact(out, v), &back, NULL) == 0);
		ENSURE(back == v);
	}
	if (units_size(text, &v, NULL) == 0) {
		ENSURE(units_size(units_size_print(out, v), &back, NULL) == 0);
		ENSURE(back == v);
	}
	if (units_job_time(text, &v, NULL) == 0)
		(void)units_slurm_time_print(out, v);
	if (units_instant(text, 0, UNITS_UTC, &v, NULL) == 0)
		(void)units_instant_print(out, v);
	if (units_gpuh_mrus(text, &v, NULL) == 0)
		(void)units_gpuh_print(out, v);
	if (units_share_ppm(text, &v, NULL) == 0)
		(void)units_share_print(out, v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct daemon_conf daemon = {0};
	struct agent_conf agent = {0};
	struct ctl_conf ctl = {0};
	struct service_conf service = {0};
	char *text;

	if (len == 0 || len > 65536)
		return 0;
	text = xmalloc(len);
	memcpy(text, data + 1, len - 1);
	text[len - 1] = '\0';
	switch (data[0] % 5) {
	case 0: walk(&daemon_conf_schema, &daemon, &daemon.arena, text, len - 1); break;
	case 1: walk(&agent_conf_schema, &agent, &agent.arena, text, len - 1); break;
	case 2: walk(&ctl_conf_schema, &ctl, &ctl.arena, text, len - 1); break;
	case 3: walk(&service_conf_schema, &service, &service.arena, text, len - 1); break;
	default: hosts(text); units(text); break;
	}
	daemon_conf_done(&daemon);
	agent_conf_done(&agent);
	ctl_conf_done(&ctl);
	service_conf_done(&service);
	free(text);
	return 0;
}
