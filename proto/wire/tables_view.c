/* tables_view.c - schemas of questions, answers and inventories */
#include "proto/model/inventory.h"
#include "proto/model/view.h"
#include "proto/wire/table_macros.h"

#define T struct query
FIELDS(query) = {
	F(1, type), F(2, id), F(3, name), F(4, mine), F(5, all), F(6, state_mask), F(7, limit),
	F(8, hash), F(9, task), ENUM(10, stream, stream_names), F(11, offset), F(12, attempt),
	F(13, signal), BYTES(14, payload, FRAME_BYTES_MAX), F(15, exec),
};
#undef T
SCHEMA(query);

#define T struct side_view
FIELDS(side_view) = {
	F(1, flavor), F(2, side), F(3, nominal), F(4, guaranteed), F(5, loan), F(6, lent),
	F(7, free), F(8, waiting),
};
#undef T
SCHEMA(side_view);

#define T struct flavor_view
FIELDS(flavor_view) = {
	F(1, name), F(2, installed), F(3, used), F(4, free), F(5, out), F(6, nodes),
	F(7, committed), F(8, kept),
};
#undef T
SCHEMA(flavor_view);

#define T struct view_status
FIELDS(view_status) = {
	F(1, cluster), F(2, version), F(3, seq), F(4, t_ms), F(5, up_ms), F(6, safe_mode),
	F(7, division_version), F(8, nodes), F(9, nodes_ready), F(10, jobs_running),
	F(11, jobs_pending), F(12, leases_live), F(13, claims_running), F(14, claims_done),
	F(15, claims_breached), F(16, renewals), F(17, expiries), F(18, commit_p99_us),
	F(19, store_bytes), F(20, store_limit_bytes),
	LIST(21, flavors, FLAVORS_MAX, flavor_view), LIST(22, sides, 2 * FLAVORS_MAX, side_view),
	LIST(23, notes, NOTES_MAX, string), F(30, promises_given), F(31, promises_kept), F(32, promises_broken),
	F(33, estimates), F(34, estimates_in), F(35, estimate_error_ms),
	F(36, nodes_draining), F(37, nodes_cordoned),
};
#undef T
SCHEMA(view_status);

#define T struct job_view
FIELDS(job_view) = {
	SUB(1, job, job), F(2, state), F(3, state_long), F(4, project), F(5, flavor),
	F(6, klass), F(7, loan), F(8, nodes), F(9, reason), F(10, reason_text),
	F(11, reason_since_ms), F(12, start_p50_ms), F(13, start_p90_ms), F(14, recall_at_ms),
	F(15, order), F(16, extra), F(17, reservation),
};
#undef T
SCHEMA(job_view);

#define T struct view_jobs
FIELDS(view_jobs) = {
	F(1, seq), F(2, t_ms), LIST(3, items, LIST_ITEMS_MAX, job_view),
};
#undef T
SCHEMA(view_jobs);

#define T struct replica_view
FIELDS(replica_view) = {
	F(1, alloc), F(2, part), F(3, node), F(4, address), F(5, port), F(6, devices),
	F(7, state), F(8, healthy), F(9, restarts),
};
#undef T
SCHEMA(replica_view);

#define T struct lease_view
FIELDS(lease_view) = {
	SUB(1, lease, lease), F(2, state), F(3, provider), F(4, flavor), F(5, owner),
	F(6, units_here), F(7, units_coming), F(8, coming_by_ms), F(9, renew_seq),
	F(10, renewals), F(11, renewed_ago_ms), F(12, expires_in_ms), F(13, renew_after_ms),
	F(14, reason), F(15, reason_text), LIST(16, replicas, PARTS_PER_ALLOC_MAX, replica_view),
};
#undef T
SCHEMA(lease_view);

#define T struct view_leases
FIELDS(view_leases) = {
	F(1, seq), F(2, t_ms), LIST(3, items, LIST_ITEMS_MAX, lease_view),
};
#undef T
SCHEMA(view_leases);

#define T struct node_view
FIELDS(node_view) = {
	SUB(1, node, node), F(2, state), F(3, flavor), F(4, devices), F(5, used), F(6, free),
	F(7, out), F(8, cores), F(9, cores_used), F(10, heard_ago_ms), F(11, holders),
	F(12, note), F(13, drained_by_ms),
};
#undef T
SCHEMA(node_view);

#define T struct view_nodes
FIELDS(view_nodes) = {
	F(1, seq), F(2, t_ms), LIST(3, items, LIST_ITEMS_MAX, node_view),
};
#undef T
SCHEMA(view_nodes);

#define T struct qnode_view
FIELDS(qnode_view) = {
	SUB(1, qnode, qnode), F(2, path), F(3, depth),
	LIST(4, uses, QUOTAS_PER_QNODE_MAX, quota_use),
};
#undef T
SCHEMA(qnode_view);

#define T struct quota_use
FIELDS(quota_use) = {
	F(1, total), F(2, guaranteed), F(3, loan), F(4, usage_guaranteed), F(5, usage_loan),
	F(6, slack),
};
#undef T
SCHEMA(quota_use);

#define T struct view_division
FIELDS(view_division) = {
	F(1, seq), F(2, version), LIST(3, flavors, FLAVORS_MAX, flavor),
	LIST(4, items, LIST_ITEMS_MAX, qnode_view), F(5, payload),
};
#undef T
SCHEMA(view_division);

#define T struct usage_view
FIELDS(usage_view) = {
	F(1, path), F(2, flavor), F(3, guaranteed_rums), F(4, loan_rums), F(5, refunded_rums),
	F(6, budget_left_rums), F(7, claims_done), F(8, claims_late), F(9, idle_rums),
};
#undef T
SCHEMA(usage_view);

#define T struct view_usage
FIELDS(view_usage) = {
	F(1, seq), LIST(2, items, LIST_ITEMS_MAX, usage_view),
};
#undef T
SCHEMA(view_usage);

#define T struct share_view
FIELDS(share_view) = {
	F(1, path), F(2, user), F(3, weight), F(4, usage_rums), F(5, place),
};
#undef T
SCHEMA(share_view);

#define T struct view_shares
FIELDS(view_shares) = {
	F(1, seq), LIST(2, items, LIST_ITEMS_MAX, share_view), F(3, t_ms),
};
#undef T
SCHEMA(view_shares);

#define T struct breach_view
FIELDS(breach_view) = {
	SUB(1, breach, breach), F(2, qnode), F(3, owner), F(4, victim), F(5, node), F(6, cause),
};
#undef T
SCHEMA(breach_view);

#define T struct reason_view
FIELDS(reason_view) = {
	F(1, code), F(2, text), F(3, since_ms), F(4, elapsed_ms), F(5, blocking),
};
#undef T
SCHEMA(reason_view);

#define T struct change_view
FIELDS(change_view) = {
	F(1, option), F(2, effect),
};
#undef T
SCHEMA(change_view);

#define T struct view_explain
FIELDS(view_explain) = {
	F(1, seq), F(2, t_ms), LIST(3, jobs, 1, job_view), LIST(4, leases, 1, lease_view),
	LIST(5, reasons, NOTES_MAX, reason_view), F(6, ahead), F(7, ahead_first),
	LIST(8, changes, NOTES_MAX, change_view), LIST(9, kept, PAYLOAD_STRINGS_MAX, string),
	LIST(10, breaches, BREACHES_KEPT, breach_view),
};
#undef T
SCHEMA(view_explain);

#define T struct view_endpoints
FIELDS(view_endpoints) = {
	F(1, seq), LIST(2, items, LIST_ITEMS_MAX, replica_view),
};
#undef T
SCHEMA(view_endpoints);

#define T struct principal_view
FIELDS(principal_view) = {
	SUB(1, principal, principal), F(2, role), F(3, cred), F(4, key), F(5, revoked),
	F(6, created_ms), F(7, not_after_ms),
};
#undef T
SCHEMA(principal_view);

#define T struct view_principals
FIELDS(view_principals) = {
	F(1, seq), LIST(2, items, LIST_ITEMS_MAX, principal_view),
};
#undef T
SCHEMA(view_principals);

#define T struct token_view
FIELDS(token_view) = {
	SUB(1, token, token), F(2, role),
};
#undef T
SCHEMA(token_view);

#define T struct view_tokens
FIELDS(view_tokens) = {
	F(1, seq), LIST(2, items, LIST_ITEMS_MAX, token_view),
};
#undef T
SCHEMA(view_tokens);

#define T struct claim_view
FIELDS(claim_view) = {
	SUB(1, claim, claim), F(2, owner), F(3, victims), F(4, due_in_ms), F(5, units_here),
	F(6, note),
};
#undef T
SCHEMA(claim_view);

#define T struct view_claims
FIELDS(view_claims) = {
	F(1, seq), LIST(2, items, LIST_ITEMS_MAX, claim_view), LIST(3, breaches, LIST_ITEMS_MAX, breach_view),
};
#undef T
SCHEMA(view_claims);

#define T struct reservation_view
FIELDS(reservation_view) = {
	SUB(1, reservation, reservation), F(2, state), F(3, owner), F(4, flavor), F(5, members),
	F(6, nodes), F(7, units_here), F(8, units_used), F(9, jobs), F(10, kept_rums), F(11, used_rums), F(12, payer),
};
#undef T
SCHEMA(reservation_view);

#define T struct view_reservations
FIELDS(view_reservations) = {
	F(1, seq), F(2, t_ms), LIST(3, items, LIST_ITEMS_MAX, reservation_view),
};
#undef T
SCHEMA(view_reservations);

#define T struct deficit_view
FIELDS(deficit_view) = {
	F(1, who), F(2, step), F(3, effect),
};
#undef T
SCHEMA(deficit_view);

#define T struct view_deficit
FIELDS(view_deficit) = {
	F(1, seq), LIST(2, items, LIST_ITEMS_MAX, deficit_view),
};
#undef T
SCHEMA(view_deficit);

#define T struct approval_view
FIELDS(approval_view) = {
	SUB(1, approval, approval), F(2, command), F(3, who),
};
#undef T
SCHEMA(approval_view);

#define T struct view_approvals
FIELDS(view_approvals) = {
	F(1, seq), LIST(2, items, LIST_ITEMS_MAX, approval_view),
};
#undef T
SCHEMA(view_approvals);

#define T struct view_log
FIELDS(view_log) = {
	F(1, first_seq), F(2, next_seq), F(3, head_seq), F(4, head_hash), F(5, digest),
	BYTES(6, data, FRAME_BYTES_MAX),
};
#undef T
SCHEMA(view_log);

#define T struct view_payload
FIELDS(view_payload) = {
	BYTES(1, data, FRAME_BYTES_MAX),
};
#undef T
SCHEMA(view_payload);

#define T struct view_text
FIELDS(view_text) = {
	F(1, text), F(2, seq), F(3, hash), F(4, digest),
};
#undef T
SCHEMA(view_text);

#define T struct view_output
FIELDS(view_output) = {
	BYTES(1, data, FRAME_BYTES_MAX), F(2, offset), F(3, size), F(4, ended), F(5, exec),
	F(6, exit_code), F(7, path),
};
#undef T
SCHEMA(view_output);


#define T struct inv_numa
FIELDS(inv_numa) = {
	F(1, os_index), F(2, device_memory), F(3, memory_mib), CORES(4, cores),
};
#undef T
SCHEMA(inv_numa);

#define T struct inv_device
FIELDS(inv_device) = {
	F(1, pci), F(2, partition), ENUM(3, vendor, inv_vendor_names),
	ENUM(4, health, inv_health_names), F(5, numa), F(6, uuid), F(7, model),
	F(8, mig_profile), F(9, memory_mib), CORES(10, near), F(11, peers),
};
#undef T
SCHEMA(inv_device);

#define T struct inv_link
FIELDS(inv_link) = {
	F(1, a), F(2, b), F(3, bandwidth_mbps),
};
#undef T
SCHEMA(inv_link);

#define T struct inv_nic
FIELDS(inv_nic) = {
	F(1, name), F(2, pci), F(3, numa), CORES(4, near),
};
#undef T
SCHEMA(inv_nic);

#define T struct inventory
FIELDS(inventory) = {
	F(1, hwloc_version), F(2, emulated), F(3, package_count), F(4, core_count),
	F(5, pu_count), F(6, memory_mib), ARRAY(10, numa, numa_count, inv_numa),
	ARRAY(11, devices, device_count, inv_device), ARRAY(12, links, link_count, inv_link),
	ARRAY(13, nics, nic_count, inv_nic), F(20, digest),
};
#undef T
SCHEMA(inventory);

const struct schema *schema_of_view(uint16_t query_type)
{
	switch ((enum query_type)query_type) {
	case QUERY_NONE: return NULL;
	case QUERY_STATUS: return &schema_view_status;
	case QUERY_JOBS: return &schema_view_jobs;
	case QUERY_LEASES: return &schema_view_leases;
	case QUERY_NODES: return &schema_view_nodes;
	case QUERY_DIVISION: return &schema_view_division;
	case QUERY_USAGE: return &schema_view_usage;
	case QUERY_EXPLAIN: return &schema_view_explain;
	case QUERY_ENDPOINTS: return &schema_view_endpoints;
	case QUERY_PRINCIPALS: return &schema_view_principals;
	case QUERY_TOKENS: return &schema_view_tokens;
	case QUERY_LOG: case QUERY_EVENTS: return &schema_view_log;
	case QUERY_PAYLOAD: return &schema_view_payload;
	case QUERY_OUTPUT: case QUERY_EXEC: return &schema_view_output;
	case QUERY_CLAIMS: return &schema_view_claims;
	case QUERY_DEFICIT: return &schema_view_deficit;
	case QUERY_SHARES: return &schema_view_shares;
	case QUERY_APPROVALS: return &schema_view_approvals;
	case QUERY_RESERVATIONS: return &schema_view_reservations;
	case QUERY_BACKUP: case QUERY_VERIFY: case QUERY_SIGNAL: return &schema_view_text;
	}
	return NULL;
}
