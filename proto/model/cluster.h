/* cluster.h - the one record about the cluster itself: counters, clock shifts, defaults */
#ifndef SLUIS_PROTO_MODEL_CLUSTER_H
#define SLUIS_PROTO_MODEL_CLUSTER_H

#include "proto/model/job.h"
#include "proto/model/resource.h"

struct cluster {
	char name[NAME_BYTES];
	uint8_t uid[16];
	uint64_t division_version;
	uint8_t division_payload[32]; /* the file as it was applied; zero: none */
	struct division_defaults defaults;
	uint32_t deficit_order; /* enum deficit_step, four bits each, the first lowest; 0: the default */
	uint32_t lend_risk_ppm; /* a device wanted back sooner with a greater chance is not lent; 0: the default */
	/* next ids; an id is used once, also across restarts */
	uint64_t next_job;
	uint64_t next_lease;
	uint64_t next_alloc;
	uint64_t next_claim;
	uint64_t next_cred;
	uint64_t next_token;
	uint32_t next_node;
	uint32_t next_principal;
	uint32_t next_qnode;
	uint16_t next_flavor;
	uint64_t next_submit;
	uint64_t next_approval;
	uint64_t next_reservation; /* 0 on disks written before there were any: 1 */
	/* liveness */
	int64_t down_ms;         /* sum of all downtime: live time = logical time - down_ms */
	int64_t no_expiry_until_ms; /* rejoin grace after a restart */
	int64_t last_seen_ms;    /* newest logical time known to the disk */
	bool safe_mode;
	/* settings (sluisd.conf) */
	int64_t lease_ttl_ms, lease_grace_ms, lease_term_ms, lease_offer_ms, rejoin_grace_ms;
	int64_t bind_timeout_ms, lost_after_ms, notice_ms, kill_margin_ms, job_time_ms, cooldown_ms;
	int64_t age_guard_ms;
	int64_t resize_ms; /* between two changes of an elastic job's size */
	uint32_t renewals_per_s;
	uint32_t loan_rate_ppm, urgent_rate_ppm;
	uint32_t reservations_max; /* of waiting jobs, per flavor; 0: the default */
	uint32_t reservations_each; /* of one project; 0: the default */
	uint8_t slurm_env; /* enum slurm_env, of jobs submitted from now on */
	uint32_t dual_control; /* bits of DUAL_CONTROL_TABLE: commands that take two */
};

#endif
