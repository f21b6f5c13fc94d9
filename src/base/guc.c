/*
 * guc.c
 *		The settings of dlog, in alphabetical order.
 *
 * A setting's long description tells what raising and lowering it do.
 */
#include "postgres.h"

#include <limits.h>

#include "postmaster/postmaster.h"
#include "utils/guc.h"

#include "base/guc.h"
#include "base/protocol.h"

char *dlog_advertise_address;
int dlog_batch_messages;
int dlog_batch_time;
char *dlog_cluster_name;
int dlog_connect_timeout;
int dlog_ddl_lock_timeout;
int dlog_deploy_fanin;
int dlog_discovery_interval;
bool dlog_enable_fanout_scan;
bool dlog_enable_partial_aggregate;
bool dlog_enable_raw_rows;
int dlog_encryption;
int dlog_full_mailbox;
int dlog_gossip_interval;
int dlog_gossip_nodes;
int dlog_indirect_probes;
int dlog_handler_timeout;
int dlog_insert_batch_size;
int dlog_journal_partition;
char *dlog_join_token;
char *dlog_listen_address;
int dlog_mailbox_limit;
int dlog_max_actors;
int dlog_max_message_size;
int dlog_max_nodes;
int dlog_max_schedulers;
int dlog_max_supervisors;
int dlog_min_schedulers;
char *dlog_name_server;
char *dlog_node_name;
int dlog_plan_lifetime;
int dlog_port;
int dlog_probe_interval;
int dlog_probe_nodes;
int dlog_probe_timeout;
bool dlog_propagate_ddl;
int dlog_protocol_highest;
int dlog_protocol_lowest;
int dlog_push_pull_interval;
int dlog_retransmit_mult;
int dlog_scheduler_idle_timeout;
int dlog_shared_memory_size;
char *dlog_shippable_extensions;
char *dlog_shippable_schemas;
int dlog_stream_credits;
int dlog_suspicion_max_mult;
int dlog_suspicion_mult;

static const struct config_enum_entry full_mailbox_options[] = {
	{"wait", FULL_MAILBOX_WAIT, false},
	{"error", FULL_MAILBOX_ERROR, false},
	{NULL, 0, false},
};

static const struct config_enum_entry encryption_options[] = {
	{"curve", ENCRYPTION_CURVE, false},
	{"off", ENCRYPTION_OFF, false},
	{NULL, 0, false},
};

/* One answer at a time would be no tree. */
static bool
check_deploy_fanin(int *value, void **extra, GucSource source)
{
	if (*value != 1)
		return true;
	GUC_check_errdetail("\"dlog.deploy_fanin\" must be 0 or at least 2.");
	return false;
}

/*
 * guc_init
 *		Define all settings.  Called once from _PG_init.
 */
void
guc_init(void)
{
	DefineCustomStringVariable(
		"dlog.advertise_address",
		"Address at which other nodes reach this one.",
		"Empty: dlog.listen_address.  Set it where that is a wildcard or "
		"behind a translation of addresses.",
		&dlog_advertise_address, "", PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.batch_messages",
		"Messages of SQL actors that are handled in one transaction at most.",
		"Higher: fewer commits, and more to do again when a handler fails.",
		&dlog_batch_messages, 1000, 1, 100000, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.batch_time",
		"How long handlers of SQL actors may share a transaction.",
		"Higher: fewer commits; what handlers send and write is seen later, "
		"and their locks are held for longer.  Where commits take long, batches "
		"may last up to four times as long.",
		&dlog_batch_time, 5, 1, 10000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomStringVariable(
		"dlog.cluster_name",
		"Name of the cluster that this node belongs to, or may join.",
		"Nodes join only those of the same name, so that neighbours on one "
		"network are not taken for each other.",
		&dlog_cluster_name, "dlog", PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.connect_timeout",
		"How long a statement waits for the link to a node to come up.",
		"Lower: a node that just restarts is reported as unreachable.  "
		"Higher: a statement waits longer before it says so.  A node whose "
		"port is closed is reported at once, or a second after the link to it broke off.",
		&dlog_connect_timeout, 5000, 1, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.ddl_lock_timeout",
		"How long a change of a distributed table waits for a lock on another node.",
		"A transaction there may in turn wait for what the change has locked "
		"here, which neither node can see.  Lower: a change gives up sooner "
		"when the table is in use.  0: it waits for ever.",
		&dlog_ddl_lock_timeout, 10000, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.deploy_fanin",
		"Answers that a node merges at most in deploy_reduce; 0: by the number of nodes.",
		"Beyond that many nodes, the answers are merged in a tree through "
		"the nodes.  Lower: less to merge for each, over more steps.  With 0 "
		"up to 128 nodes are asked directly, and more through as many as "
		"the square root of their number.",
		&dlog_deploy_fanin, 0, 0, 10000, PGC_USERSET, 0,
		check_deploy_fanin, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.discovery_interval",
		"Time between two looks for nodes where flocks say they may be found.",
		"Lower: a new node or a new address is found sooner, with more "
		"questions to the name servers and tries to join.",
		&dlog_discovery_interval, 30000, 100, 86400000, PGC_SIGHUP, GUC_UNIT_MS,
		NULL, NULL, NULL);

	DefineCustomBoolVariable(
		"dlog.enable_fanout_scan",
		"Lets the planner ask each node once for all of its partitions.",
		"Off: each foreign partition is scanned by itself.",
		&dlog_enable_fanout_scan, true, PGC_USERSET, GUC_EXPLAIN,
		NULL, NULL, NULL);

	DefineCustomBoolVariable(
		"dlog.enable_partial_aggregate",
		"Lets nodes aggregate their part and send transition states.",
		NULL, &dlog_enable_partial_aggregate, true, PGC_USERSET, GUC_EXPLAIN,
		NULL, NULL, NULL);

	DefineCustomBoolVariable(
		"dlog.enable_raw_rows",
		"Lets rows travel in the server's own tuple format.",
		"It is used where both ends agree on it.  Off: columns travel in "
		"their binary formats, which every pair of servers understands.",
		&dlog_enable_raw_rows, true, PGC_USERSET, GUC_EXPLAIN,
		NULL, NULL, NULL);

	DefineCustomEnumVariable(
		"dlog.encryption",
		"Whether links are encrypted and authenticated with CURVE.",
		"Off is allowed only while dlog.listen_address is a loopback "
		"address, and then any local process can pose as a node.",
		&dlog_encryption, ENCRYPTION_CURVE, encryption_options,
		PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomEnumVariable(
		"dlog.full_mailbox",
		"What a session does that sends to a durable actor whose mailbox is full.",
		"It waits until there is room, or gets an error.  A handler that finds "
		"one full is always undone, and tried again a little later.",
		&dlog_full_mailbox, FULL_MAILBOX_WAIT, full_mailbox_options,
		PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.gossip_interval",
		"Time between two rounds in which news of members is passed on.",
		"Lower: news spread faster, in more messages.  Nothing is sent "
		"while there is no news.",
		&dlog_gossip_interval, 200, 10, 60000, PGC_SIGHUP, GUC_UNIT_MS,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.gossip_nodes",
		"Nodes that are told news of members in each round.",
		"Higher: news spread faster, in more messages.",
		&dlog_gossip_nodes, 3, 1, 16, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.indirect_probes",
		"Nodes that are asked to probe one that has not answered.",
		"Higher: a bad path between two nodes is less often taken for a dead "
		"node.",
		&dlog_indirect_probes, 3, 0, 16, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.handler_timeout",
		"How long a handler of a SQL actor may run.",
		"One that runs for longer is cancelled, and its actor fails.  0: as "
		"long as it likes.",
		&dlog_handler_timeout, 60000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.insert_batch_size",
		"Rows that INSERT gathers for a foreign partition before sending.",
		"Higher: fewer messages, more memory and later errors.",
		&dlog_insert_batch_size, 1000, 1, 100000, PGC_USERSET, 0,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.journal_partition",
		"How much time a partition of a journal holds.",
		"Entries of durable actors are dropped by whole partitions.  Lower: they go "
		"sooner after their time is over, and there are more tables.",
		&dlog_journal_partition, 1440, 1, 60 * 24 * 366, PGC_SIGHUP, GUC_UNIT_MIN,
		NULL, NULL, NULL);

	DefineCustomStringVariable(
		"dlog.join_token",
		"Token with which this node joins what its flocks discover.",
		"It is used while a database has no other nodes, in the first cluster "
		"that takes it.  Empty: nodes join by dlog.join() only.",
		&dlog_join_token, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);

	DefineCustomStringVariable(
		"dlog.listen_address",
		"Address on which this node waits for others.",
		"An IPv4 or IPv6 address, or * for all.  Beyond loopback, "
		"dlog.encryption must be curve.",
		&dlog_listen_address, "127.0.0.1", PGC_POSTMASTER, 0,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.mailbox_limit",
		"Messages that may wait for an actor.",
		"Senders of more are refused, or answered that it was full.  The "
		"actors of one session share their limit.  Higher: more of a burst "
		"is taken in, at the cost of shared memory.",
		&dlog_mailbox_limit, 100000, 16, INT_MAX, PGC_SUSET, 0,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.max_actors",
		"How many actors can live on this node at a time.",
		"Each costs 192 bytes of shared memory once it has lived.",
		&dlog_max_actors, 1048576, 1024, 16777216, PGC_POSTMASTER, 0,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.max_message_size",
		"Largest message that is accepted from another node.",
		"A larger one is counted, logged, and ends the link's epoch.",
		&dlog_max_message_size, 1024, 128, 1024 * 1024, PGC_SIGHUP,
		GUC_UNIT_KB, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.max_nodes",
		"How many other nodes this server can know.",
		NULL, &dlog_max_nodes, 1024, 1, 65535, PGC_POSTMASTER, 0,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.max_schedulers",
		"Most schedulers that a database may have.",
		"Each is a background worker.  Higher: more statements of other "
		"nodes run at a time.  The others wait for a free scheduler.",
		&dlog_max_schedulers, 32, 1, 1024, PGC_SIGHUP, 0,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.max_supervisors",
		"How many supervisors can run on this server.",
		"Each takes about 100 bytes of shared memory.  When all are taken, no "
		"more can be started.",
		&dlog_max_supervisors, 1024, 1, 1000000, PGC_POSTMASTER, 0,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.min_schedulers",
		"Schedulers that are kept free in each database.",
		"Higher: a burst of statements from other nodes waits less for new "
		"schedulers to start.",
		&dlog_min_schedulers, 2, 1, 1024, PGC_SIGHUP, 0,
		NULL, NULL, NULL);

	DefineCustomStringVariable(
		"dlog.name_server",
		"Name server that is asked where flocks say that nodes are found by DNS.",
		"An IPv4 address and a port, such as 127.0.0.1:8600 for a directory of "
		"services that runs beside this server.  Empty: the system's.",
		&dlog_name_server, "", PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomStringVariable(
		"dlog.node_name",
		"Name of this node.",
		"Empty: cluster_name, or else the host's name and the server's "
		"port.  Must be unique among the nodes that know each other.",
		&dlog_node_name, "", PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.plan_lifetime",
		"How long a session keeps the plan of a query over several nodes that it repeats, be it with another key; 0: not at all.",
		"A kept plan is dropped when what it is about is changed or analyzed. "
		"Higher: less planning.  Lower: how large tables have become is noticed "
		"sooner.",
		&dlog_plan_lifetime, 1000, 0, 3600000, PGC_USERSET, GUC_UNIT_MS,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.port",
		"TCP port on which this node waits for others.",
		"0: the server's port plus 10000 (minus 10000 above 55535).",
		&dlog_port, 0, 0, 65535, PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.probe_interval",
		"Time within which a probed node must have answered.",
		"In each such time dlog.probe_nodes nodes are probed.  Lower: a dead "
		"node is found sooner, by more messages, and slow ones are suspected "
		"more often.",
		&dlog_probe_interval, 1000, 50, 600000, PGC_SIGHUP, GUC_UNIT_MS,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.probe_nodes",
		"Nodes that are probed in each dlog.probe_interval.",
		"Higher: a dead node of a large cluster is found sooner, by more "
		"messages.",
		&dlog_probe_nodes, 3, 1, 16, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.probe_timeout",
		"Time after which others are asked to probe a node that is silent.",
		"It should be a few times what a message takes to the farthest node "
		"and back.",
		&dlog_probe_timeout, 500, 10, 600000, PGC_SIGHUP, GUC_UNIT_MS,
		NULL, NULL, NULL);

	DefineCustomBoolVariable(
		"dlog.propagate_ddl",
		"Lets statements that change a distributed table change it everywhere.",
		"Off: such statements change this node alone.  That is for mending "
		"nodes whose definitions differ.",
		&dlog_propagate_ddl, true, PGC_USERSET, 0,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.protocol_highest",
		"Highest version of the protocol that this node offers others.",
		"For tests of nodes of different versions.",
		&dlog_protocol_highest, PROTOCOL_HIGHEST, 1, 255, PGC_POSTMASTER,
		GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.protocol_lowest",
		"Lowest version of the protocol that this node offers others.",
		"For tests of nodes of different versions.",
		&dlog_protocol_lowest, PROTOCOL_LOWEST, 1, 255, PGC_POSTMASTER,
		GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.push_pull_interval",
		"Time between two comparisons of all that two nodes know.",
		"Rumors reach everyone but a node that was away.  Lower: such a one "
		"catches up sooner.",
		&dlog_push_pull_interval, 30000, 100, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.retransmit_mult",
		"How often a node passes on a piece of news, times the logarithm of "
		"the number of nodes.",
		"Higher: news are less likely to miss a node.",
		&dlog_retransmit_mult, 4, 1, 15, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.scheduler_idle_timeout",
		"Time after which a scheduler above dlog.min_schedulers retires.",
		NULL, &dlog_scheduler_idle_timeout, 60000, 100, INT_MAX, PGC_SIGHUP,
		GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.shared_memory_size",
		"Memory for messages, queues and actors' mail.",
		"When it is used up, senders get an error; nothing is dropped.",
		&dlog_shared_memory_size, 128, 16, 256 * 1024 - 1, PGC_POSTMASTER,
		GUC_UNIT_MB, NULL, NULL, NULL);

	DefineCustomStringVariable(
		"dlog.shippable_extensions",
		"Extensions that are installed alike on all nodes.",
		"Their immutable functions, operators, types and aggregates are run "
		"by the nodes.  What belongs to others is computed where the "
		"statement was given.",
		&dlog_shippable_extensions, "", PGC_USERSET,
		GUC_LIST_INPUT | GUC_EXPLAIN, NULL, NULL, NULL);

	DefineCustomStringVariable(
		"dlog.shippable_schemas",
		"Schemas whose functions, operators, types and aggregates are the "
		"same on all nodes.",
		"Those that are immutable are run by the nodes.  What stands in other "
		"schemas is computed where the statement was given.",
		&dlog_shippable_schemas, "", PGC_USERSET,
		GUC_LIST_INPUT | GUC_EXPLAIN, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.stream_credits",
		"Chunks of 64 kB that a node may send ahead of what was read.",
		"Higher: more memory per statement and node, and less waiting on "
		"slow networks.",
		&dlog_stream_credits, 16, 2, 1024, PGC_USERSET, 0,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.suspicion_max_mult",
		"Longest time that a suspect has to answer, in shortest ones.",
		"It has that long while only one node suspects it, and less the "
		"more do.",
		&dlog_suspicion_max_mult, 6, 1, 100, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"dlog.suspicion_mult",
		"Shortest time that a suspect has to answer, in dlog.probe_timeout.",
		"Lower: a dead node is given up sooner, and a slow one more often "
		"wrongly.",
		&dlog_suspicion_mult, 5, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);

	MarkGUCPrefixReserved("dlog");
}

/*
 * guc_listen_port
 *		The port on which this node waits for others.
 */
int
guc_listen_port(void)
{
	if (dlog_port != 0)
		return dlog_port;
	return PostPortNumber > 55535 ? PostPortNumber - 10000 : PostPortNumber + 10000;
}
