/* tables_record.c - schemas of the records and of what is in them */
#include "proto/model/record.h"
#include "proto/wire/table_macros.h"

#define T struct flavor
FIELDS(flavor) = {
	F(1, id), F(2, name), F(3, vendor), F(4, model), F(5, mig),
	ENUM(6, unit, flavor_unit_names), F(7, memory_mib_min), F(8, weight_milli),
	F(9, devices_per_node), F(10, scrub_ms_max), F(11, power_w), F(12, committed_nodes),
	F(13, committed_units), F(14, retired), F(15, deficit), F(16, deficit_since_ms),
	F(17, deficit_hits), F(18, headroom),
};
#undef T
SCHEMA(flavor);

#define T struct quota
FIELDS(quota) = {
	F(1, flavor), ENUM(2, shape, shape_names), F(3, nominal), F(4, borrowing), F(5, lending),
};
#undef T
SCHEMA(quota);

#define T struct stage
FIELDS(stage) = {
	F(1, name), ENUM(2, state, stage_state_names), F(3, amount_rums), F(4, held_rums),
	F(5, spent_rums), F(6, from_ms), F(7, to_ms),
};
#undef T
SCHEMA(stage);

#define T struct member
FIELDS(member) = {
	F(1, name),
};
#undef T
SCHEMA(member);

#define T struct require
FIELDS(require) = {
	F(1, key), F(2, value),
};
#undef T
SCHEMA(require);

#define T struct quota_window
FIELDS(quota_window) = {
	ENUM(1, days, window_days_names), F(2, from_min), F(3, to_min), F(4, zone),
};
#undef T
SCHEMA(quota_window);

#define T struct window_limit
FIELDS(window_limit) = {
	F(1, window), F(2, flavor), ENUM(3, shape, shape_names), F(4, borrowing),
};
#undef T
SCHEMA(window_limit);

#define T struct window_span
FIELDS(window_span) = {
	F(1, window), F(2, from_ms), F(3, to_ms),
};
#undef T
SCHEMA(window_span);

#define T struct qnode
FIELDS(qnode) = {
	F(1, id), F(2, parent), ENUM(3, kind, qnode_kind_names), F(4, name), F(5, weight),
	F(6, recall_slo_ms), F(7, pi), F(8, tenant), F(9, running_jobs_max),
	F(10, pending_jobs_max), F(11, time_ms_max), F(12, leases_max), F(13, term_ms_max),
	F(14, frozen), F(15, retired), LIST(16, quotas, QUOTAS_PER_QNODE_MAX, quota),
	LIST(17, members, MEMBERS_PER_QNODE_MAX, member),
	LIST(18, stages, STAGES_PER_GRANT_MAX, stage), LIST(19, requires, REQUIRES_MAX, require),
	F(20, concentration_cap_ppm), LIST(21, windows, QUOTA_WINDOWS_MAX, quota_window),
	LIST(22, window_limits, WINDOW_LIMITS_MAX, window_limit),
	LIST(23, window_spans, WINDOW_SPANS_MAX, window_span), F(24, windows_open),
};
#undef T
SCHEMA(qnode);

#define T struct usage_row
FIELDS(usage_row) = {
	F(1, flavor), F(2, guaranteed_rums), F(3, loan_rums), F(4, refunded_rums), F(5, idle_rums),
};
#undef T
SCHEMA(usage_row);

#define T struct breach
FIELDS(breach) = {
	F(1, claim), ENUM(2, owner_kind, alloc_owner_names), F(3, owner), ENUM(4, cause, breach_cause_names),
	ENUM(5, victim_kind, alloc_owner_names), F(6, victim), F(7, node), F(8, due_ms), F(9, late_ms), F(10, dropped),
};
#undef T
SCHEMA(breach);

#define T struct recalled
FIELDS(recalled) = {
	F(1, claim), F(2, flavor), ENUM(3, shape, shape_names), F(4, at_ms),
};
#undef T
SCHEMA(recalled);

#define T struct user_usage
FIELDS(user_usage) = {
	F(1, user), F(2, decayed_rums),
};
#undef T
SCHEMA(user_usage);

#define T struct usage
FIELDS(usage) = {
	F(1, qnode), F(2, decayed_rums), F(3, decayed_at_ms),
	LIST(4, rows, FLAVORS_MAX, usage_row), F(5, claims_done),
	F(6, claims_late), LIST(7, breaches, BREACHES_KEPT, breach),
	LIST(8, recalled, FLAVORS_MAX * SHAPE_COUNT * RECALLS_KEPT, recalled),
	LIST(9, users, USERS_KEPT, user_usage),
};
#undef T
SCHEMA(usage);

#define T struct lease_spec
FIELDS(lease_spec) = {
	F(1, provider), F(2, flavor), ENUM(3, shape, shape_names),
	ENUM(4, klass, lease_class_names), F(5, units), F(6, units_per_replica), F(7, term_ms),
	F(8, ttl_ms), F(9, grace_ms), F(10, notice_ms), F(11, auto_accept), F(12, auto_extend),
	F(13, payload), F(14, name), LIST(15, requires, REQUIRES_MAX, require),
	F(16, leaf_percent_max),
};
#undef T
SCHEMA(lease_spec);

#define T struct lease
FIELDS(lease) = {
	F(1, id), F(2, owner), ENUM(3, state, lease_state_names), SUB(4, spec, lease_spec),
	F(5, fence), F(6, created_ms), F(7, state_since_ms), F(8, offer_until_ms),
	F(9, active_since_ms), F(10, term_end_ms), F(11, recall_at_ms), F(12, claim),
	F(13, end_reason), F(14, bind_failures), F(15, retry_ms),
	LIST(16, excluded, EXCLUDED_NODES_MAX, node_ref),
};
#undef T
SCHEMA(lease);

#define T struct renewal
FIELDS(renewal) = {
	F(1, lease), F(2, renew_seq), F(3, renewed_ms), F(4, expires_live_ms), F(5, renewals),
	F(6, told_ms),
};
#undef T
SCHEMA(renewal);

#define T struct dependency
FIELDS(dependency) = {
	ENUM(1, type, dep_type_names), F(2, job),
};
#undef T
SCHEMA(dependency);

#define T struct node_ref
FIELDS(node_ref) = {
	F(1, node),
};
#undef T
SCHEMA(node_ref);

#define T struct job_spec
FIELDS(job_spec) = {
	F(1, project), F(2, flavor), ENUM(3, shape, shape_names),
	ENUM(4, klass, job_class_names), ENUM(5, loan, job_loan_names),
	ENUM(6, mode, job_mode_names), F(7, units), F(8, units_max), F(9, per_node),
	F(10, tasks_per_node), F(11, tasks_per_unit), F(12, cpus_per_task), F(13, memory_mib),
	F(14, time_limit_ms), F(15, begin_ms), F(16, deadline_ms), F(17, notice_ms),
	F(18, exempt_ms), F(19, signal), ENUM(20, signal_target, signal_target_names),
	F(21, signal_ms), F(22, retries_infra), F(23, retries_user), F(24, no_requeue),
	F(25, stop_on_disconnect), F(26, slurm_env), F(27, hold), F(28, array_first),
	F(29, array_last), F(30, array_step), F(31, array_running_max), F(32, payload),
	F(33, name), LIST(34, requires, REQUIRES_MAX, require),
	LIST(35, deps, DEPENDENCIES_MAX, dependency), F(36, reservation),
	ENUM(37, topology, topology_names), F(38, topology_required), F(39, topology_wait_ms),
};
#undef T
SCHEMA(job_spec);

#define T struct job
FIELDS(job) = {
	F(1, id), F(2, owner), F(3, user), F(4, submit_seq), F(5, submit_ms),
	ENUM(6, state, job_state_names), F(7, admin_hold), F(8, requeue_wanted),
	ENUM(9, end_cause, end_cause_names), F(10, attempt), F(11, infra_retries),
	F(12, user_retries), F(13, recalls), F(14, array), F(15, array_index), F(16, alloc),
	F(17, claim), F(18, eligible_ms), F(19, start_ms), F(20, end_ms), F(21, first_start_ms),
	F(22, exit_code), F(23, exit_signal), F(24, checkpoint_ms), F(25, checkpoint_step),
	F(26, held_rums), F(27, held_stage), F(28, used_guaranteed_rums), F(29, used_loan_rums),
	F(30, refunded_rums), F(31, lost_rums), F(32, end_text), SUB(33, spec, job_spec),
	LIST(34, excluded, EXCLUDED_NODES_MAX, node_ref), F(35, array_started),
	F(36, array_live), F(37, attempt_guaranteed_rums), F(38, attempt_loan_rums),
	F(39, back_ms),
	F(40, resized_ms), F(41, held_extra_rums), F(42, attempt_extra_rums),
	F(45, reserved_ms), F(46, reserved_devices), F(47, promised_ms), F(48, promise_broken),
	LIST(49, ran, PARTS_PER_ALLOC_MAX, node_ref),
};
#undef T
SCHEMA(job);

#define T struct device
FIELDS(device) = {
	F(1, pci), F(2, partition), F(3, uuid), F(4, vendor), F(5, model), F(6, mig),
	F(7, flavor), ENUM(8, health, device_health_names), F(9, numa), F(10, memory_mib),
	F(11, cores), F(12, peers), F(13, reason),
};
#undef T
SCHEMA(device);

#define T struct label
FIELDS(label) = {
	F(1, key), F(2, value),
};
#undef T
SCHEMA(label);

#define T struct node
FIELDS(node) = {
	F(1, id), F(2, name), ENUM(3, state, node_state_names), ENUM(4, admin, node_admin_names),
	F(5, admin_reason), F(6, admin_until_ms), F(7, state_since_ms), F(8, boot_id),
	F(9, incarnation), F(10, principal), F(11, address), F(12, digest),
	F(13, digest_pending), F(14, emulated), F(15, cores_n), F(16, cores_reserved),
	F(17, memory_mib), F(18, memory_reserved_mib),
	LIST(19, labels, LABELS_PER_NODE_MAX, label),
	LIST(20, devices, DEVICES_PER_NODE_MAX, device), F(21, lost),
	F(22, isolation), F(23, twin_boot), F(24, twin_ms),
	F(25, twins_before), F(26, drain_by_ms), F(27, drain_next_ms),
};
#undef T
SCHEMA(node);

#define T struct principal
FIELDS(principal) = {
	F(1, id), F(2, name), ENUM(3, role, role_names), F(4, provider), F(5, node),
	F(6, disabled),
};
#undef T
SCHEMA(principal);

#define T struct cred
FIELDS(cred) = {
	F(1, id), F(2, principal), ENUM(3, kind, cred_kind_names),
	ENUM(4, state, cred_state_names), F(5, key), F(6, uid), F(7, created_ms),
	F(8, not_after_ms),
};
#undef T
SCHEMA(cred);

#define T struct token
FIELDS(token) = {
	F(1, id), F(2, hash), ENUM(3, role, role_names), F(4, name), F(5, provider),
	F(6, uses_left), F(7, expires_ms),
};
#undef T
SCHEMA(token);

#define T struct part
FIELDS(part) = {
	F(1, index), F(2, node), F(3, devices), F(4, cores), F(5, memory_mib), F(6, units),
	F(7, tasks), F(8, rank0), ENUM(9, state, part_state_names), F(10, stop), F(11, port),
	F(12, exit_code), F(13, exit_signal), F(14, oom), F(15, healthy), F(16, restarts),
	F(17, unkillable),
};
#undef T
SCHEMA(part);

#define T struct lender
FIELDS(lender) = {
	F(1, qnode), F(2, units),
};
#undef T
SCHEMA(lender);

#define T struct alloc
FIELDS(alloc) = {
	F(1, id), ENUM(2, owner_kind, alloc_owner_names), F(3, owner), F(4, attempt),
	F(5, qnode), F(6, flavor), ENUM(7, shape, shape_names),
	ENUM(8, klass, alloc_class_names), ENUM(9, state, alloc_state_names), F(10, units),
	F(11, created_ms), F(12, start_ms), F(13, bind_by_ms), F(14, limit_ms), F(15, notice_ms),
	F(16, exempt_until_ms), ENUM(17, stop_cause, end_cause_names), F(18, stop_at_ms),
	F(19, claim), F(20, charged_until_ms), LIST(21, lenders, LENDERS_PER_ALLOC_MAX, lender),
	LIST(22, parts, PARTS_PER_ALLOC_MAX, part), F(23, reservation), F(24, extra), F(25, back_ms),
	F(26, part_next), F(27, carried),
};
#undef T
SCHEMA(alloc);

#define T struct victim
FIELDS(victim) = {
	F(1, alloc),
};
#undef T
SCHEMA(victim);

#define T struct claim
FIELDS(claim) = {
	F(1, id), ENUM(2, owner_kind, alloc_owner_names), F(3, owner), F(4, qnode), F(5, flavor),
	ENUM(6, shape, shape_names), F(7, units), F(8, created_ms), F(9, deadline_ms),
	ENUM(10, klass, alloc_class_names), F(11, offered), F(12, breached),
	LIST(13, victims, VICTIMS_PER_CLAIM_MAX, victim),
	LIST(14, parts, PARTS_PER_ALLOC_MAX, part),
	ENUM(15, breach_cause, breach_cause_names), ENUM(16, breach_owner_kind, alloc_owner_names),
	F(17, breach_owner), F(18, breach_node),
};
#undef T
SCHEMA(claim);

#define T struct window
FIELDS(window) = {
	F(1, from_ms), F(2, to_ms),
};
#undef T
SCHEMA(window);

#define T struct reservation_member
FIELDS(reservation_member) = {
	F(1, qnode), F(2, principal),
};
#undef T
SCHEMA(reservation_member);

#define T struct reservation_spec
FIELDS(reservation_spec) = {
	F(1, name), F(2, reason), F(3, maint), F(4, flex), F(5, magnetic), F(6, no_replace),
	F(7, overrun), F(8, ignore_jobs), F(9, purge_ms), F(10, repeat_ms), F(11, zone),
	F(12, flavor), ENUM(13, shape, shape_names), F(14, units),
	LIST(15, windows, WINDOWS_MAX, window),
};
#undef T
SCHEMA(reservation_spec);

#define T struct reservation
FIELDS(reservation) = {
	F(1, id), F(2, owner), ENUM(3, state, reservation_state_names), F(4, created_ms),
	F(5, end_ms), F(6, used_ms), F(7, degraded), F(8, degraded_ms), F(9, end_text),
	SUB(10, spec, reservation_spec),
	LIST(11, members, RESERVATION_MEMBERS_MAX, reservation_member),
	LIST(12, parts, PARTS_PER_ALLOC_MAX, part),
	F(13, kept_rums), F(14, kept_ms), F(15, rate), F(16, used_rums), F(17, idle_rums),
	F(18, kept_flavor),
};
#undef T
SCHEMA(reservation);

#define T struct division_defaults
FIELDS(division_defaults) = {
	F(1, job_time_ms), F(2, job_notice_ms), F(3, lease_ttl_ms), F(4, lease_grace_ms),
	F(5, lease_term_ms),
};
#undef T
SCHEMA(division_defaults);

#define T struct cluster
FIELDS(cluster) = {
	F(1, name), F(2, uid), F(3, division_version),
	/* next ids */
	F(4, next_job), F(5, next_lease), F(6, next_alloc), F(7, next_claim), F(8, next_cred),
	F(9, next_token), F(10, next_node), F(11, next_principal), F(12, next_qnode),
	F(13, next_flavor), F(14, next_submit),
	F(15, division_payload), SUB(16, defaults, division_defaults), F(17, next_approval),
	F(18, next_reservation), F(19, deficit_order), F(20, lend_risk_ppm),
	/* liveness */
	F(30, down_ms), F(31, no_expiry_until_ms), F(32, last_seen_ms), F(33, safe_mode),
	/* settings */
	F(50, lease_ttl_ms), F(51, lease_grace_ms), F(52, lease_term_ms), F(53, lease_offer_ms),
	F(54, rejoin_grace_ms), F(55, bind_timeout_ms), F(56, lost_after_ms), F(57, notice_ms),
	F(58, kill_margin_ms), F(59, job_time_ms), F(60, cooldown_ms), F(61, age_guard_ms),
	F(62, renewals_per_s), F(63, loan_rate_ppm), F(64, urgent_rate_ppm), F(65, dual_control),
	F(66, resize_ms), F(70, reservations_max), F(71, reservations_each),
	ENUM(72, slurm_env, slurm_env_names),
};
#undef T
SCHEMA(cluster);

#define T struct idem
FIELDS(idem) = {
	F(1, id), F(2, principal), F(3, key), F(4, body_hash), F(5, at_ms), F(6, code),
	F(7, result_id), F(8, proposed),
};
#undef T
SCHEMA(idem);

#define T struct approval
FIELDS(approval) = {
	F(1, id), F(2, cmd), F(3, principal), F(4, cred), F(5, created_ms), F(6, expires_ms),
	F(7, body_hash), BYTES(8, body, APPROVAL_BODY_BYTES_MAX),
};
#undef T
SCHEMA(approval);

#define T struct forecast_peak
FIELDS(forecast_peak) = {
	F(1, devices),
};
#undef T
SCHEMA_BARE(forecast_peak);

#define T struct forecast_count
FIELDS(forecast_count) = {
	F(1, window), F(2, bucket), F(3, weight),
};
#undef T
SCHEMA(forecast_count);

#define T struct forecast
FIELDS(forecast) = {
	F(1, flavor), F(2, span), F(3, level), LIST(4, peaks, FORECAST_PEAKS_MAX, forecast_peak),
	LIST(5, counts, FORECAST_WINDOWS * FORECAST_BUCKETS, forecast_count),
};
#undef T
SCHEMA(forecast);

const struct schema *schema_of_record(uint8_t kind)
{
	switch (kind) {
#define X(name, number, type, idexpr) case name: return &schema_##type;
		RECORD_TABLE(X)
#undef X
	default: return NULL;
	}
}
