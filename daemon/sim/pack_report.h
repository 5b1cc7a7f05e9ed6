/* pack_report.h - what came of a stream of pods: text, JSON, tables and a picture */
#ifndef SLUIS_DAEMON_SIM_PACK_REPORT_H
#define SLUIS_DAEMON_SIM_PACK_REPORT_H

#include <stdint.h>

#include "daemon/sim/openb.h"
#include "daemon/sim/packsim.h"
#include "daemon/sim/text.h"
#include "proto/base/buf.h"

struct pack_report {
	const char *nodes_name, *pods_name; /* files, without folders */
	char nodes_sha[TEXT_HEX_BYTES], pods_sha[TEXT_HEX_BYTES];
	const char *policy_name;
	int64_t seed, until_milli;
	struct bad_lines bad;
	struct openb list;
	struct packsim_log log; /* for the tables and the picture */
	struct packsim_result result;
};

void pack_text(struct buf *out, const struct pack_report *r);
void pack_json(struct buf *out, const struct pack_report *r);
/* One line per arrival; one per half per cent of the capacity asked for. */
void pack_csv(struct buf *out, const struct pack_report *r);
void pack_curve_csv(struct buf *out, const struct pack_report *r);
/* Allocated and fragmented share of the GPUs over what was asked for. */
void pack_picture(struct buf *out, const struct pack_report *r);

#endif
