/*
 * transport.c
 *		The shared memory of this folder, and what its files have in common.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <unistd.h>

#include "access/twophase.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "utils/timestamp.h"

#include "base/guc.h"
#include "transport/transport_internal.h"

/* A node can be listed by several databases; this many on average. */
#define ADMISSIONS_PER_NODE 4

TransportShared *transport_shared;
pg_atomic_uint32 *transport_watchers;

static uint32
max_entries(void)
{
	return (uint32) dlog_max_nodes + 1; /* and this node */
}

static uint32
max_admissions(void)
{
	return (uint32) dlog_max_nodes * ADMISSIONS_PER_NODE;
}

/* PGPROCs of the server, known before they are there. */
static uint32
max_processes(void)
{
	return (uint32) (MaxBackends + NUM_AUXILIARY_PROCS + max_prepared_xacts);
}

Size
transport_shmem_size(void)
{
	Size size = MAXALIGN(sizeof(TransportShared));

	size = add_size(size, MAXALIGN(mul_size(max_entries(), sizeof(NodeEntry))));
	size = add_size(size, MAXALIGN(mul_size(max_entries(), sizeof(LinkEntry))));
	size = add_size(size, MAXALIGN(mul_size(max_entries(), sizeof(MemberEntry))));
	size = add_size(size, MAXALIGN(mul_size(max_admissions(), sizeof(Admission))));
	size = add_size(size, MAXALIGN(mul_size(mdns_max_services(), sizeof(MdnsService))));
	size = add_size(size, MAXALIGN(mul_size(max_processes() / 32 + 1, sizeof(pg_atomic_uint32))));
	return size;
}

static void
initialize(void)
{
	TransportShared *shared = transport_shared;
	char *at = (char *) shared + MAXALIGN(sizeof(TransportShared));

	memset(shared, 0, transport_shmem_size());
	shared->tranche = LWLockNewTrancheId();
	LWLockInitialize(&shared->node_lock, shared->tranche);
	LWLockInitialize(&shared->mdns.lock, shared->tranche);

	shared->max_nodes = (uint32) dlog_max_nodes;
	shared->max_admissions = max_admissions();
	shared->n_processes = max_processes();
	shared->n_nodes = 1;
	shared->nodes = (NodeEntry *) at;
	at += MAXALIGN(max_entries() * sizeof(NodeEntry));
	shared->links = (LinkEntry *) at;
	at += MAXALIGN(max_entries() * sizeof(LinkEntry));
	shared->members = (MemberEntry *) at;
	at += MAXALIGN(max_entries() * sizeof(MemberEntry));
	shared->mdns.services = (MdnsService *) at;
	at += MAXALIGN(mdns_max_services() * sizeof(MdnsService));
	shared->admissions = (Admission *) at;

	if (!pg_strong_random(&shared->instance, sizeof(shared->instance)))
		shared->instance = (uint64) GetCurrentTimestamp();
	membership_default_settings(&shared->membership_settings);

	/* All atomics are zero, and every zero has its meaning. */
	StaticAssertStmt(LINK_IDLE == 0, "links start idle");
}

void
transport_shmem_init(void)
{
	bool found;

	transport_shared = ShmemInitStruct("dlog transport", transport_shmem_size(), &found);
	if (!found)
		initialize();
	transport_watchers = (pg_atomic_uint32 *) ((char *) transport_shared->admissions +
											   MAXALIGN(max_admissions() * sizeof(Admission)));
	LWLockRegisterTranche(transport_shared->tranche, "dlog_nodes");
}

/* Whether an address reaches nobody but this machine. */
bool
transport_is_loopback(const char *address)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, address, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	if (inet_pton(AF_INET6, address, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6);
	return strcmp(address, "localhost") == 0;
}

/* Whether an address to listen on stands for all that there are. */
bool
transport_is_any_address(const char *address)
{
	return strcmp(address, "*") == 0 || strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

/*
 * transport_init
 *		Called once, in the postmaster, before shared memory is there.
 */
void
transport_init(void)
{
	if (dlog_encryption == ENCRYPTION_OFF && !transport_is_loopback(dlog_listen_address))
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("dlog.encryption cannot be off while dlog.listen_address is \"%s\"",
						dlog_listen_address),
				 errdetail("Without encryption anyone who reaches the port can pose as a node."),
				 errhint("Set dlog.encryption = curve, or dlog.listen_address to a loopback address such as 127.0.0.1.")));
	if (dlog_protocol_lowest > dlog_protocol_highest)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("dlog.protocol_lowest is above dlog.protocol_highest")));

	runtime_gateway = link_send;
	worker_init();
	node_init();
	ask_init();
	member_init();
	sync_init();
	token_init();
}

/*
 * transport_wake
 *		Have the network process look at the node table, which has changed.
 *
 * This cannot fail, so that it can be called after a commit.
 */
void
transport_wake(void)
{
	uint64 one = 1;
	ssize_t written pg_attribute_unused();

	/* It can only fail when the counter is full: it is awake then. */
	written = write(process_wakeup_fd(), &one, sizeof(one));
}

/*
 * transport_nudge
 *		Have the network process look at the link to a node, which somebody
 *		needs.
 */
void
transport_nudge(uint32 node)
{
	Message *message;

	process_attach();
	message = message_create(MESSAGE_NONE, 0);
	message->to = (ActorAddress){node, 0, 0};
	process_network_send(message);
}

/*
 * transport_tell_watchers
 *		Wake everybody who watches links: one has changed.
 *
 * The network process calls this too.
 */
void
transport_tell_watchers(void)
{
	uint32 n_words = (transport_shared->n_processes + 31) / 32;

	pg_memory_barrier();
	for (uint32 word = 0; word < n_words; word++)
	{
		uint32 bits = pg_atomic_read_u32(&transport_watchers[word]);

		for (int bit = 0; bits != 0; bit++, bits >>= 1)
		{
			if (bits & 1)
			{
				SetLatch(&ProcGlobal->allProcs[word * 32 + bit].procLatch);
				process_interrupt(word * 32 + bit);
			}
		}
	}
}

void
transport_wake_watchers(void)
{
	transport_tell_watchers();
}

/*
 * transport_this_key
 *		This node's number and public key; ERROR until they have been made.
 */
void
transport_this_key(uint64 *node_id, char public_key[KEY_TEXT_SIZE])
{
	LWLockAcquire(&transport_shared->node_lock, LW_SHARED);
	*node_id = transport_shared->node_id;
	strlcpy(public_key, transport_shared->public_key, KEY_TEXT_SIZE);
	LWLockRelease(&transport_shared->node_lock);
	if (public_key[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this server has no node key yet"),
				 errdetail("The background worker \"dlog transport\" makes it; it has not started."),
				 errhint("See the server's log.  A standby has none until it is promoted.")));
}

/*
 * transport_advertised_host
 *		Where other nodes reach this one.
 */
const char *
transport_advertised_host(void)
{
	if (dlog_advertise_address[0] != '\0')
		return dlog_advertise_address;
	if (transport_is_any_address(dlog_listen_address))
	{
		static char host[HOST_SIZE];

		if (gethostname(host, sizeof(host) - 1) == 0)
			return host;
	}
	return dlog_listen_address;
}
