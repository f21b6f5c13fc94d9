/*
 * transport_internal.h
 *		What the files of this folder share.
 *
 * Words.  The *worker* is the background worker "dlog transport"; the
 * *network process* is its child (network.c), which holds all sockets, is no
 * process of PostgreSQL's and may crash.  A *peer* is another node as the
 * network process sees it.
 *
 * Locking.  The node table changes under node_lock; each change makes
 * "version" odd while it is under way, so that the network process, which
 * may take no lock, can tell whether its copy is whole.  A LinkEntry is
 * written by the network process alone, and by the worker while there is
 * none; its fields are read without a lock.
 */
#ifndef DLOG_TRANSPORT_INTERNAL_H
#define DLOG_TRANSPORT_INTERNAL_H

#include "port/atomics.h"
#include "storage/lwlock.h"

#include "base/pg_compat.h"
#include "membership/membership.h"
#include "transport/mdns_event.h"
#include "transport/transport.h"

#define KEY_TEXT_SIZE 41 /* a CURVE key as Z85 text, with its zero */
#define KEY_SIZE 32		 /* the same in binary */
#define HOST_SIZE 256
#define REASON_SIZE 192

/* --- key.c ------------------------------------------------------------- */

/* Who this node is: the file dlog_node_key in the data directory. */
typedef struct NodeKey
{
	uint64 node_id;
	char public_key[KEY_TEXT_SIZE];
	char secret_key[KEY_TEXT_SIZE];
} NodeKey;

extern void node_key_ensure(NodeKey *key);
extern void node_key_read(NodeKey *key);
extern void node_key_replace(const NodeKey *key);
extern bool node_key_is_valid(const char *public_key);

/* --- node.c ------------------------------------------------------------ */

/* Another node.  Written under node_lock. */
typedef struct NodeEntry
{
	bool in_use;
	uint32 generation; /* counts the nodes that had this entry */
	uint64 node_id;	   /* 0: learned from its HELLO */
	char name[NAMEDATALEN];
	char host[HOST_SIZE];
	int32 port;
	char public_key[KEY_TEXT_SIZE];
	char previous_key[KEY_TEXT_SIZE]; /* "", or valid while it rotates */
} NodeEntry;

/* A database of ours admits a node.  Written under node_lock. */
typedef struct Admission
{
	Oid database; /* InvalidOid: free */
	uint32 node;
	uint32 dispatcher;		/* hash of our database's name */
	uint64 row_hash;		/* of the node's row, see sync.c */
	uint64 collation;		/* of its database, see collation.c; 0: not known */
	uint32 collation_epoch; /* of the link, when it was asked */
	char name[NAMEDATALEN]; /* of the node, in this database */
	char remote_database[NAMEDATALEN];
} Admission;

/* What a database has loaded.  Written under node_lock. */
typedef struct LoadedDatabase
{
	Oid database;
	uint64 changes;	   /* commits that changed its table dlog.node */
	uint64 loaded;	   /* the changes that are in the node table */
	uint32 dispatcher; /* hash of its name */

	/* no lock; for the network process, network_membership.c, network_tables.c */
	pg_atomic_uint64 digest;			 /* of the table, see sync.c; 0: unknown */
	pg_atomic_uint64 flock_digest;		 /* the same of dlog.flock */
	pg_atomic_uint32 members_changed;	 /* a scheduler is to look at the flocks */
	pg_atomic_uint32 sync_pending;		 /* one is to compare the table */
	pg_atomic_uint32 discovers;			 /* it wants MESSAGE_DISCOVER now and then */
	pg_atomic_uint32 discover_soon;		 /* something was found, see mdns.c */
	pg_atomic_uint32 uses_mdns;			 /* one of its flocks does */
	pg_atomic_uint32 join_tokens;		 /* rows of dlog.join_token, see token.c */
	pg_atomic_uint32 flock_sync_pending; /* the same of dlog.flock */
	pg_atomic_uint32 heartbeat_ms;		 /* the shortest of its flocks; 0: none */
} LoadedDatabase;

#define MAX_LOADED_DATABASES 64

/* --- the network process's log ------------------------------------------ */

#define LOG_RING_SIZE 64
#define LOG_LINE_SIZE 400

/* The network process writes, the worker reads and logs. */
typedef struct LogRing
{
	pg_atomic_uint32 written;
	pg_atomic_uint32 read;
	pg_atomic_uint32 lost;
	char lines[LOG_RING_SIZE][LOG_LINE_SIZE];
} LogRing;

/* --- links -------------------------------------------------------------- */

/* What the network process tells of a link; a copy may be torn, see link.c. */
typedef struct LinkTexts
{
	char last_error[REASON_SIZE];
	char architecture[64];
	uint32 server_version;
	uint32 protocol_version;
	uint64 node_id;
} LinkTexts;

/*
 * How long after a link has broken off the other node's network process may
 * take to be back.  Ours is forked again at once.
 */
#define LINK_RESTART_US (1000 * 1000)

typedef struct LinkEntry
{
	pg_atomic_uint32 state;	   /* LinkState */
	pg_atomic_uint32 epoch;	   /* counts the epochs that have ended */
	pg_atomic_uint32 failures; /* attempts to connect that have failed */

	/* Messages of earlier epochs are not in the next two: they were lost. */
	pg_atomic_uint32 counted_from;
	pg_atomic_uint32 queued; /* messages that wait here */
	pg_atomic_uint64 queued_bytes;
	pg_atomic_uint64 sent_messages; /* since the server started */
	pg_atomic_uint64 sent_bytes;
	pg_atomic_uint64 received_messages;
	pg_atomic_uint64 received_bytes;
	pg_atomic_uint64 connects;		/* times it came up */
	pg_atomic_uint64 refused;		/* frames that were refused */
	pg_atomic_uint64 undelivered;	/* messages that reached nobody */
	pg_atomic_uint64 round_trip_us; /* 0: not measured */
	pg_atomic_uint64 up_since_us;	/* clock_now_us() */
	pg_atomic_uint64 lost_at_us;	/* when it broke off, no bye said; or 0 */

	pg_atomic_uint32 text_version; /* odd while the texts are being written */
	LinkTexts texts;
} LinkEntry;

/*
 * What membership knows of a node, this one ([0]) too.  Written by the network
 * process alone; a copy may be torn, see member_view.c.
 */
typedef struct MemberEntry
{
	pg_atomic_uint32 version; /* odd while it is being written */
	uint32 state;			  /* MemberState */
	uint32 generation;		  /* of the node's entry */
	uint64 incarnation;		  /* 0: never heard of */
	uint64 since_us;		  /* wall clock, since 1970 */
	char why[REASON_SIZE];	  /* it came to that state */
	uint16 tags_size;
	char tags[MEMBERSHIP_MAX_TAGS];
} MemberEntry;

/* What the network process has met, beyond single links. */
typedef struct NetworkCounters
{
	pg_atomic_uint64 accepted;	   /* connections */
	pg_atomic_uint64 refused_keys; /* handshakes with an unknown key */
	pg_atomic_uint64 failed_handshakes;
	pg_atomic_uint64 refused_frames; /* malformed, out of sequence, ... */
	pg_atomic_uint64 multipart;		 /* messages of several parts */
	pg_atomic_uint64 stale_frames;	 /* of an epoch that has ended */
	pg_atomic_uint64 not_admitted;	 /* for a database that refuses the node */
	pg_atomic_uint64 stalls;		 /* reading stopped: memory full */
	pg_atomic_uint64 refused_joins;	 /* with a token, see token.c */
} NetworkCounters;

/* --- mdns.c --------------------------------------------------------------- */

/* A service that was found; unused: port 0. */
typedef struct MdnsService
{
	uint32 number; /* by which the program knows it */
	int32 port;
	char address[MDNS_TEXT_SIZE];
	char cluster[MDNS_TEXT_SIZE];
	char fingerprint[MDNS_FINGERPRINT_SIZE];
} MdnsService;

typedef enum MdnsState
{
	MDNS_STATE_OFF,			/* no flock uses it; next: WAITING */
	MDNS_STATE_WAITING,		/* for Avahi's daemon; next: REGISTERING, REFUSED */
	MDNS_STATE_REGISTERING, /* next: PUBLISHED, REFUSED, WAITING */
	MDNS_STATE_PUBLISHED,	/* next: REGISTERING, WAITING */
	MDNS_STATE_REFUSED		/* Avahi does not publish us; next: REGISTERING, WAITING */
} MdnsState;

/* Written by the worker; all under "lock". */
typedef struct MdnsShared
{
	LWLock lock;
	MdnsState state;
	TimestampTz since;
	char name[MDNS_TEXT_SIZE];	/* PUBLISHED: under which */
	char error[MDNS_TEXT_SIZE]; /* the last; "": none since it was published */
	uint64 starts;				/* of the program */
	uint64 left_out;			/* services for which there was no room */
	MdnsService *services;
} MdnsShared;

typedef struct TransportShared
{
	LWLock node_lock;
	int tranche;

	/* the worker; written by it */
	Latch *worker_latch;		  /* NULL: not running */
	pg_atomic_uint32 network_pid; /* 0: not running */
	pg_atomic_uint64 network_starts;
	pg_atomic_uint32 is_ready;		  /* the network process has bound its port */
	pg_atomic_uint32 reload_requests; /* a new key or setting waits */
	pg_atomic_uint32 reloads;
	pg_atomic_uint32 room_wanted; /* bytes of a block that the network process waits for */

	/* this node; written by the worker before the first network process */
	uint64 node_id;
	char public_key[KEY_TEXT_SIZE]; /* under node_lock */

	LogRing log;
	MdnsShared mdns;
	NetworkCounters counters;
	uint64 instance;			   /* random; of this start of the server */
	pg_atomic_uint32 is_reloading; /* the network process stops, the server does not */

	/*
	 * Membership.  The next three change under node_lock, which makes the
	 * version odd meanwhile; the network process takes no lock.
	 */
	pg_atomic_uint64 membership_version;
	MembershipSettings membership_settings;
	uint16 own_tags_size;
	char own_tags[MEMBERSHIP_MAX_TAGS];
	pg_atomic_uint32 awareness; /* by the network process */

	/* node table */
	pg_atomic_uint64 version; /* odd: being changed */
	LoadedDatabase databases[MAX_LOADED_DATABASES];
	uint32 max_nodes;
	uint32 max_admissions;
	uint32 n_nodes;		 /* entries ever used, this node's included */
	uint32 n_admissions; /* likewise */
	NodeEntry *nodes;	 /* [0] is this node */
	Admission *admissions;
	LinkEntry *links;	  /* by node */
	MemberEntry *members; /* likewise */
	uint32 n_processes;	  /* bits of transport_watchers */
} TransportShared;

extern TransportShared *transport_shared;

/* Watchers of the links, a bit for each process, by its number. */
extern pg_atomic_uint32 *transport_watchers;

extern void transport_nudge(uint32 node);
extern void transport_wake(void);
extern void transport_tell_watchers(void);
extern bool transport_is_loopback(const char *address);
extern bool transport_is_any_address(const char *address);
extern const char *transport_advertised_host(void);
extern void transport_this_key(uint64 *node_id, char public_key[KEY_TEXT_SIZE]);

/* node.c */
extern void node_init(void);
extern void node_this_copy_name(char name[NAMEDATALEN]);
extern void node_load(void);
extern void node_load_if_changed(void);
extern void node_note_change(void);
extern void node_load_later(void);
extern bool node_copy(uint32 node, NodeEntry *entry);

/* --- node_names.c ------------------------------------------------------ */

/* Of another node, as this process's database has them. */
typedef struct NodeNames
{
	bool is_admitted;			/* by this database, which the next is for */
	char name[NAMEDATALEN];		/* its own, if it is not admitted */
	char database[NAMEDATALEN]; /* over there */
} NodeNames;

extern uint32 node_names_find(const char *name);
extern const NodeNames *node_names_of(uint32 node);

/* link.c */
extern SendResult link_send(ActorAddress to, Message *message);
extern bool link_try(uint32 node);
extern void link_count_dequeued(LinkEntry *link, const Message *message);
extern void link_copy_texts(LinkEntry *link, LinkTexts *texts);

/* network.c */
extern pg_noreturn void network_main(const NodeKey *key);

/* worker.c */
extern void worker_init(void);
extern void worker_request_reload(void);

/* child.c */

/* A process that the worker keeps running. */
typedef struct Child
{
	pid_t pid; /* 0: there is none */
	uint64 started_us;
	int failed_starts; /* in a row */
} Child;

extern bool child_fork(Child *child);
extern void child_reset_signals(void);
extern void child_unblock_signals(void);
extern void child_close_files(int keep);
extern bool child_has_ended(Child *child, int *status);
extern int child_kill(Child *child);
extern long child_delay_ms(const Child *child, long slowest_ms);

/* mdns.c */
extern uint32 mdns_max_services(void);
extern long mdns_keep(void);
extern pgsocket mdns_socket(void);
extern void mdns_stop(void);
extern void mdns_settings_changed(void);

/* ask.c */

/* A question to a database of another node, and what became of it. */
typedef struct Question
{
	ActorAddress to;
	Message *message;	 /* taken when it is sent */
	Message *answer;	 /* NULL: none */
	const char *failure; /* why there is no answer */
	uint32 epoch;		 /* of the link, when it was asked */
	bool is_lost;		 /* that epoch has ended */
} Question;

extern Question *questions_create(int n_questions);
extern void ask_all(Question *questions, int n_questions, int timeout_ms);
extern void ask_echo(uint32 node);
extern void ask_init(void);

/* collation.c */
extern const char *const collation_query;
extern const char *collation_text(void);
extern uint64 collation_this(void);

/* member.c */
extern void member_init(void);

/* member_view.c */
extern void membership_change_begin(void);
extern void membership_change_end(void);
extern void membership_publish_settings(void);
extern void membership_read_tags(void);

/* token.c */
extern void token_init(void);
extern uint32 token_count(void);

/* sync.c */
extern void sync_init(void);
extern uint64 sync_digest(void);
extern uint64 sync_row_hash(uint64 node_id, uint64 version, bool is_removed);
extern void transport_sync_seen(void);

#endif
