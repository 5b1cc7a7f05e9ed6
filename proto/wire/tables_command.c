/* tables_command.c - schemas of commands, their results, units and payloads */
#include "proto/model/command.h"
#include "proto/model/payload.h"
#include "proto/model/unit.h"
#include "proto/wire/table_macros.h"

#define T struct unit_device
FIELDS(unit_device) = {
	F(1, pci), F(2, partition), F(3, uuid), F(4, vendor),
};
#undef T
SCHEMA(unit_device);

#define T struct unit_host
FIELDS(unit_host) = {
	F(1, name), F(2, address), F(3, slots),
};
#undef T
SCHEMA(unit_host);

#define T struct unit
FIELDS(unit) = {
	F(1, alloc), F(2, part), ENUM(3, kind, unit_kind_names),
	ENUM(4, phase, unit_phase_names), F(5, payload), F(6, owner), F(7, attempt), F(8, name),
	F(9, project), F(10, user), ENUM(11, klass, alloc_class_names), F(12, cores),
	F(13, memory_mib), F(14, tasks), F(15, rank0), F(16, world), F(17, node_rank),
	F(18, cpus_per_task), F(19, master_address), F(20, master_port), F(21, time_left_ms),
	F(22, array), F(23, array_index), F(24, restart_count), F(25, resume), F(26, slurm_env),
	F(27, stop_on_disconnect), ENUM(28, stop_cause, end_cause_names), F(29, stop_in_ms),
	F(30, signal), ENUM(31, signal_target, signal_target_names), F(32, claim),
	LIST(33, devices, DEVICES_PER_NODE_MAX, unit_device),
	LIST(34, hosts, PARTS_PER_ALLOC_MAX, unit_host), F(35, nodes_min), F(36, nodes_max),
	F(37, nodes_now), F(38, units_now),
};
#undef T
SCHEMA(unit);

#define T struct unit_status
FIELDS(unit_status) = {
	F(1, alloc), F(2, part), ENUM(3, state, unit_state_names), F(4, port), F(5, exit_code),
	F(6, exit_signal), F(7, oom), F(8, healthy), F(9, restarts), F(10, checkpoint_step),
	F(11, checkpoint_ago_ms), F(12, text), F(128, unfit),
};
#undef T
SCHEMA(unit_status);

#define T struct string
FIELDS(string) = {
	TEXT(1, s, STRING_BYTES_MAX),
};
#undef T
SCHEMA_BARE(string);

#define T struct payload
FIELDS(payload) = {
	TEXT(1, script, PAYLOAD_BYTES_MAX), LIST(2, argv, PAYLOAD_STRINGS_MAX, string),
	LIST(3, env, PAYLOAD_STRINGS_MAX, string), TEXT(4, cwd, PATH_TEXT_BYTES_MAX),
	TEXT(5, output, PATH_TEXT_BYTES_MAX), TEXT(6, error, PATH_TEXT_BYTES_MAX),
	TEXT(7, input, PATH_TEXT_BYTES_MAX), F(8, append), TEXT(9, comment, PATH_TEXT_BYTES_MAX),
	TEXT(10, submit_host, PATH_TEXT_BYTES_MAX), TEXT(11, checkpoint_dir, PATH_TEXT_BYTES_MAX),
	TEXT(12, checkpoint_command, STRING_BYTES_MAX), TEXT(13, container, PATH_TEXT_BYTES_MAX),
	LIST(14, kept, PAYLOAD_STRINGS_MAX, string),
	LIST(15, health, PAYLOAD_STRINGS_MAX, string), F(16, health_every_ms),
	F(17, health_timeout_ms), F(18, health_after_ms), F(19, health_fail),
	F(20, backoff_min_ms), F(21, backoff_max_ms), F(22, stop_signal), F(23, stop_within_ms),
};
#undef T
SCHEMA(payload);


#define T struct cmd_tick
FIELDS(cmd_tick) = {
	F(1, budget), F(2, heard_ms),
};
#undef T
SCHEMA(cmd_tick);

#define T struct uid_ref
FIELDS(uid_ref) = {
	F(1, uid),
};
#undef T
SCHEMA(uid_ref);

#define T struct cmd_init
FIELDS(cmd_init) = {
	SUB(1, settings, cluster), LIST(2, uids, ADMIN_UIDS_MAX, uid_ref),
};
#undef T
SCHEMA(cmd_init);

#define T struct cmd_recover
FIELDS(cmd_recover) = {
	F(1, down_ms), F(2, safe_mode), F(3, salt),
};
#undef T
SCHEMA(cmd_recover);

#define T struct cmd_node_liveness
FIELDS(cmd_node_liveness) = {
	F(1, node), ENUM(2, state, node_state_names), F(3, twin_boot),
};
#undef T
SCHEMA(cmd_node_liveness);

#define T struct cmd_node_hello
FIELDS(cmd_node_hello) = {
	F(1, node), F(2, boot_id), F(3, incarnation), F(4, epoch_seen), F(5, address),
	F(6, cores_reserved), F(7, memory_reserved_mib), F(8, emulated), F(9, digest),
	F(10, cores_n), F(11, memory_mib), LIST(12, labels, LABELS_PER_NODE_MAX, label),
	LIST(13, devices, DEVICES_PER_NODE_MAX, device),
	LIST(14, units, UNITS_PER_NODE_MAX, unit_status), F(15, isolation), F(16, alloc_seen),
};
#undef T
SCHEMA(cmd_node_hello);

#define T struct cmd_node_report
FIELDS(cmd_node_report) = {
	F(1, node), F(2, incarnation), LIST(3, units, UNITS_PER_NODE_MAX, unit_status),
};
#undef T
SCHEMA(cmd_node_report);

#define T struct cmd_enrol
FIELDS(cmd_enrol) = {
	F(1, token_hash), F(2, name), F(3, key),
};
#undef T
SCHEMA(cmd_enrol);

#define T struct cmd_token_create
FIELDS(cmd_token_create) = {
	F(1, hash), ENUM(2, role, role_names), F(3, name), F(4, provider), F(5, uses),
	F(6, ttl_ms),
};
#undef T
SCHEMA(cmd_token_create);

#define T struct cmd_object
FIELDS(cmd_object) = {
	F(1, id), F(2, name), F(3, reason),
};
#undef T
SCHEMA(cmd_object);

#define T struct cmd_key_rotate
FIELDS(cmd_key_rotate) = {
	F(1, key),
};
#undef T
SCHEMA(cmd_key_rotate);

#define T struct cmd_division_apply
FIELDS(cmd_division_apply) = {
	F(1, expect_version), LIST(2, flavors, FLAVORS_MAX, flavor),
	LIST(3, qnodes, QNODES_MAX, qnode), F(4, payload), SUB(5, defaults, division_defaults),
	F(6, deficit_order), F(7, lend_risk_ppm),
};
#undef T
SCHEMA(cmd_division_apply);

#define T struct cmd_stage_set
FIELDS(cmd_stage_set) = {
	F(1, project), F(2, stage), ENUM(3, state, stage_state_names),
};
#undef T
SCHEMA(cmd_stage_set);

#define T struct cmd_node_admin
FIELDS(cmd_node_admin) = {
	F(1, node), F(2, reason), F(3, until_ms), F(4, deadline_ms), F(5, boot_id),
};
#undef T
SCHEMA(cmd_node_admin);

#define T struct cmd_job_submit
FIELDS(cmd_job_submit) = {
	SUB(1, spec, job_spec), F(2, project), F(3, flavor), F(4, user), F(5, reservation),
};
#undef T
SCHEMA(cmd_job_submit);

#define T struct cmd_job_control
FIELDS(cmd_job_control) = {
	F(1, job), F(2, now), F(3, reason),
};
#undef T
SCHEMA(cmd_job_control);

#define T struct cmd_job_update
FIELDS(cmd_job_update) = {
	F(1, job), F(2, time_limit_ms), F(3, klass_plus1), F(4, loan_plus1), F(5, deadline_ms),
	F(6, name), F(7, reservation),
};
#undef T
SCHEMA(cmd_job_update);

#define T struct cmd_job_checkpointed
FIELDS(cmd_job_checkpointed) = {
	F(1, job), F(2, step), F(3, hash),
};
#undef T
SCHEMA(cmd_job_checkpointed);

#define T struct cmd_lease_request
FIELDS(cmd_lease_request) = {
	SUB(1, spec, lease_spec), F(2, provider), F(3, flavor),
};
#undef T
SCHEMA(cmd_lease_request);

#define T struct lease_renew_item
FIELDS(lease_renew_item) = {
	F(1, lease), F(2, fence), F(3, renew_seq), F(4, ttl_ms),
};
#undef T
SCHEMA(lease_renew_item);

#define T struct cmd_lease_renew
FIELDS(cmd_lease_renew) = {
	LIST(1, items, RENEWALS_PER_COMMAND_MAX, lease_renew_item),
};
#undef T
SCHEMA(cmd_lease_renew);

#define T struct cmd_lease_resize
FIELDS(cmd_lease_resize) = {
	F(1, lease), F(2, units),
};
#undef T
SCHEMA(cmd_lease_resize);

#define T struct cmd_lease_extend
FIELDS(cmd_lease_extend) = {
	F(1, lease), F(2, term_ms),
};
#undef T
SCHEMA(cmd_lease_extend);

#define T struct cmd_lease_revoke
FIELDS(cmd_lease_revoke) = {
	F(1, lease), F(2, reason),
};
#undef T
SCHEMA(cmd_lease_revoke);

#define T struct text_ref
FIELDS(text_ref) = {
	F(1, s),
};
#undef T
SCHEMA_BARE(text_ref);

#define T struct cmd_reservation_create
FIELDS(cmd_reservation_create) = {
	SUB(1, spec, reservation_spec), F(2, flavor),
	LIST(3, nodes, PARTS_PER_ALLOC_MAX, text_ref),
	LIST(4, members, RESERVATION_MEMBERS_MAX, text_ref),
};
#undef T
SCHEMA(cmd_reservation_create);

#define T struct cmd_reservation_update
FIELDS(cmd_reservation_update) = {
	F(1, reservation), F(2, name), F(3, confirm), F(4, to_ms),
	LIST(5, windows, WINDOWS_MAX, window),
	LIST(6, members, RESERVATION_MEMBERS_MAX, text_ref),
};
#undef T
SCHEMA(cmd_reservation_update);

#define T struct renew_result
FIELDS(renew_result) = {
	F(1, lease), F(2, code), ENUM(3, state, lease_state_names), F(4, fence), F(5, ttl_ms),
	F(6, renew_after_ms), F(7, term_left_ms), F(8, recall_in_ms), F(9, units),
	F(10, units_target),
};
#undef T
SCHEMA(renew_result);

#define T struct result
FIELDS(result) = {
	F(1, id), F(2, version), F(3, hold_rums), F(4, left_rums), F(5, state), F(6, text),
	LIST(7, renewals, RENEWALS_PER_COMMAND_MAX, renew_result), F(8, approval),
};
#undef T
SCHEMA(result);

const struct schema *schema_of_command(uint16_t type)
{
	switch (type) {
#define X(name, number, body) case name: return &schema_cmd_##body;
		COMMAND_TABLE(X)
#undef X
	default: return NULL;
	}
}
