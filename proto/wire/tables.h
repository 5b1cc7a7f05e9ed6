/* tables.h - every schema there is, and the macros that spell them
 *
 * A table is written as
 *
 *     #define T struct quota
 *     FIELDS(quota) = { F(1, flavor), ENUM(2, shape, shape_names), ... };
 *     #undef T
 *     SCHEMA(quota);
 *
 * F finds the type of the member by itself. The macros live in table_macros.h, for tables_*.c only.
 */
#ifndef SLUIS_PROTO_WIRE_TABLES_H
#define SLUIS_PROTO_WIRE_TABLES_H

#include "proto/wire/schema.h"

/* struct names, in the order of PROTOCOL.md */
#define SCHEMA_TABLE(X)                                                                            \
	/* records and what is in them */                                                          \
	X(flavor) X(quota) X(stage) X(member) X(require) X(qnode) X(usage_row) X(usage)            \
	X(breach) X(recalled) X(user_usage)                                                                      \
	X(lease_spec) X(lease) X(renewal) X(dependency) X(node_ref) X(job_spec) X(job)             \
	X(device) X(label) X(node) X(principal) X(cred) X(token) X(part) X(lender)                 \
	X(alloc) X(victim) X(claim) X(division_defaults) X(cluster) X(idem) X(approval)            \
	X(window) X(reservation_member) X(reservation_spec) X(reservation)                         \
	X(forecast_peak) X(forecast_count) X(forecast)                                             \
	/* units and payloads */                                                                   \
	X(unit_device) X(unit_host) X(unit) X(unit_status) X(string) X(payload)                    \
	/* command bodies and results */                                                           \
	X(cmd_tick) X(uid_ref) X(cmd_init) X(cmd_recover) X(cmd_node_liveness)                     \
	X(cmd_node_hello) X(cmd_node_report) X(cmd_enrol) X(cmd_token_create)                      \
	X(cmd_object) X(cmd_key_rotate) X(cmd_division_apply) X(cmd_stage_set)                     \
	X(cmd_node_admin) X(cmd_job_submit) X(cmd_job_control) X(cmd_job_update)                   \
	X(cmd_job_checkpointed) X(cmd_lease_request) X(lease_renew_item)                           \
	X(cmd_lease_renew) X(cmd_lease_resize) X(cmd_lease_extend) X(cmd_lease_revoke)             \
	X(text_ref) X(cmd_reservation_create) X(cmd_reservation_update)                            \
	X(renew_result) X(result)                                                                  \
	/* questions and answers */                                                                \
	X(query) X(side_view) X(flavor_view) X(view_status) X(job_view) X(view_jobs)               \
	X(replica_view) X(lease_view) X(view_leases) X(node_view) X(view_nodes)                    \
	X(qnode_view) X(quota_use) X(view_division) X(usage_view) X(view_usage)                    \
	X(share_view) X(view_shares)                                                               \
	X(reason_view) X(change_view) X(view_explain) X(view_endpoints)                            \
	X(principal_view) X(view_principals) X(token_view) X(view_tokens) X(breach_view) X(claim_view)            \
	X(view_claims) X(deficit_view) X(view_deficit) X(view_log) X(view_payload)                 \
	X(view_text) X(view_output) X(approval_view) X(view_approvals)                             \
	X(reservation_view) X(view_reservations)                                                   \
	/* inventory */                                                                            \
	X(inv_numa) X(inv_device) X(inv_link) X(inv_nic) X(inventory)

#define X(name) extern const struct schema schema_##name;
SCHEMA_TABLE(X)
#undef X

/* All of them and those of the messages (message.h), NULL-terminated. */
extern const struct schema *const schema_all[];

#endif
