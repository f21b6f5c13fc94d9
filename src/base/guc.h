/*
 * guc.h
 *		The settings of dlog; guc.c says what each does.
 */
#ifndef DLOG_GUC_H
#define DLOG_GUC_H

typedef enum Encryption
{
	ENCRYPTION_CURVE,
	ENCRYPTION_OFF
} Encryption;

typedef enum FullMailbox
{
	FULL_MAILBOX_WAIT,
	FULL_MAILBOX_ERROR
} FullMailbox;

extern char *dlog_advertise_address;
extern int dlog_batch_messages;
extern int dlog_batch_time;
extern char *dlog_cluster_name;
extern int dlog_connect_timeout;  /* ms */
extern int dlog_ddl_lock_timeout; /* ms */
extern int dlog_deploy_fanin;
extern int dlog_discovery_interval; /* ms */
extern bool dlog_enable_fanout_scan;
extern bool dlog_enable_partial_aggregate;
extern bool dlog_enable_raw_rows;
extern int dlog_encryption;
extern int dlog_full_mailbox;
extern int dlog_gossip_interval; /* ms */
extern int dlog_gossip_nodes;
extern int dlog_indirect_probes;
extern int dlog_handler_timeout;
extern int dlog_insert_batch_size;
extern int dlog_journal_partition; /* minutes */
extern char *dlog_join_token;
extern char *dlog_listen_address;
extern int dlog_mailbox_limit;
extern int dlog_max_actors;
extern int dlog_max_message_size; /* kB */
extern int dlog_max_nodes;
extern int dlog_max_schedulers;
extern int dlog_max_supervisors;
extern int dlog_min_schedulers;
extern char *dlog_name_server;
extern char *dlog_node_name;
extern int dlog_plan_lifetime;
extern int dlog_port;
extern int dlog_probe_interval; /* ms */
extern int dlog_probe_nodes;
extern int dlog_probe_timeout; /* ms */
extern bool dlog_propagate_ddl;
extern int dlog_protocol_highest;
extern int dlog_protocol_lowest;
extern int dlog_push_pull_interval; /* ms */
extern int dlog_retransmit_mult;
extern int dlog_scheduler_idle_timeout; /* ms */
extern int dlog_shared_memory_size;		/* MB */
extern char *dlog_shippable_extensions;
extern char *dlog_shippable_schemas;
extern int dlog_stream_credits;
extern int dlog_suspicion_max_mult;
extern int dlog_suspicion_mult;

extern void guc_init(void);
extern int guc_listen_port(void);

#endif
