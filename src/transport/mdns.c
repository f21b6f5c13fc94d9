/*
 * mdns.c
 *		This node by multicast DNS, and the nodes that it shows: the worker's side.
 *
 * As long as a flock of any database here says "mdns", the transport worker
 * keeps the program dlog_mdns running, which publishes this node and tells of
 * others (mdns/dlog_mdns.c).  The worker reads its events from a pipe and puts
 * what was found into shared memory, where schedulers pick it up as candidates
 * (flock/source.c).  A program that ends is started again, more slowly each time
 * as long as there is no D-Bus; what it had found is forgotten.
 *
 * The program believes Avahi, and Avahi the network.  So what it tells is taken
 * for texts of a limited size and nothing more.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/function.h"
#include "base/guc.h"
#include "transport/transport_internal.h"

DLOG_FUNCTION(dlog_mdns);

#define SLOWEST_START_MS 30000

/* A node shows itself by IPv4 and by IPv6. */
#define SERVICES_PER_NODE 2

/* What the program is told; it is started anew when that has changed. */
typedef struct MdnsOrder
{
	char name[NAMEDATALEN];
	char port[8];
	char interface[8];
	char cluster[MDNS_TEXT_SIZE];
	char fingerprint[MDNS_FINGERPRINT_SIZE];
	char address[HOST_SIZE];
} MdnsOrder;

static Child program;
static int pipe_fd = -1; /* from which its events come */
static MdnsOrder order;	 /* that the running one was given */

/* ------------------------------------------------------------------- state */

/*
 * mdns_max_services
 *		As many fit into shared memory.
 */
uint32
mdns_max_services(void)
{
	return (uint32) (dlog_max_nodes + 1) * SERVICES_PER_NODE;
}

/* Takes down a state; news are logged. */
static void
set_state(MdnsState state, const char *name, const char *error)
{
	MdnsShared *shared = &transport_shared->mdns;
	bool is_news;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	is_news = error[0] != '\0' && strcmp(error, shared->error) != 0;
	if (shared->state != state)
		shared->since = GetCurrentTimestamp();
	shared->state = state;
	strlcpy(shared->name, name, MDNS_TEXT_SIZE);
	if (error[0] != '\0' || state == MDNS_STATE_PUBLISHED || state == MDNS_STATE_OFF)
		strlcpy(shared->error, error, MDNS_TEXT_SIZE);
	LWLockRelease(&shared->lock);

	if (is_news)
		ereport(LOG, (errmsg("dlog: mDNS does not publish this node: %s", error)));
	else if (state == MDNS_STATE_PUBLISHED)
		ereport(LOG, (errmsg("dlog: mDNS publishes this node as \"%s\"", name)));
}

static void
forget_services(void)
{
	MdnsShared *shared = &transport_shared->mdns;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	memset(shared->services, 0, mdns_max_services() * sizeof(MdnsService));
	LWLockRelease(&shared->lock);
}

/* The service of that number, or an unused entry; NULL: there is none. */
static MdnsService *
find_service(uint32 number)
{
	MdnsService *unused = NULL;

	for (uint32 i = 0; i < mdns_max_services(); i++)
	{
		MdnsService *service = &transport_shared->mdns.services[i];

		if (service->port != 0 && service->number == number)
			return service;
		if (service->port == 0 && unused == NULL)
			unused = service;
	}
	return unused;
}

static void
take_found(const MdnsEvent *event)
{
	MdnsShared *shared = &transport_shared->mdns;
	MdnsService *service;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	service = find_service(event->service);
	if (service == NULL)
		shared->left_out++;
	else
	{
		service->number = event->service;
		service->port = (int32) event->port;
		strlcpy(service->address, event->address, MDNS_TEXT_SIZE);
		strlcpy(service->cluster, event->cluster, MDNS_TEXT_SIZE);
		strlcpy(service->fingerprint, event->fingerprint, MDNS_FINGERPRINT_SIZE);
	}
	LWLockRelease(&shared->lock);
}

static void
take_gone(const MdnsEvent *event)
{
	MdnsService *service;

	LWLockAcquire(&transport_shared->mdns.lock, LW_EXCLUSIVE);
	service = find_service(event->service);
	if (service != NULL)
		service->port = 0;
	LWLockRelease(&transport_shared->mdns.lock);
}

/* ------------------------------------------------------------- the program */

static bool
is_wanted(void)
{
	for (int d = 0; d < MAX_LOADED_DATABASES; d++)
	{
		LoadedDatabase *loaded = &transport_shared->databases[d];

		if (OidIsValid(loaded->database) && pg_atomic_read_u32(&loaded->uses_mdns) != 0)
			return true;
	}
	return false;
}

static void
program_path(char path[MAXPGPATH])
{
	snprintf(path, MAXPGPATH, "%s/%s", pkglib_path, MDNS_PROGRAM);
}

/* What is to be published, as the settings are now. */
static void
make_order(MdnsOrder *now)
{
	uint64 node_id;
	char key[KEY_TEXT_SIZE];

	memset(now, 0, sizeof(*now)); /* it is compared as a whole */
	transport_this_key(&node_id, key);
	node_this_copy_name(now->name);
	snprintf(now->port, sizeof(now->port), "%d", guc_listen_port());
	strlcpy(now->cluster, dlog_cluster_name, MDNS_TEXT_SIZE);
	strlcpy(now->fingerprint, transport_key_fingerprint(key), MDNS_FINGERPRINT_SIZE);
	if (transport_is_loopback(dlog_listen_address))
		strlcpy(now->interface, "lo", sizeof(now->interface));
	if (dlog_advertise_address[0] != '\0' || !transport_is_any_address(dlog_listen_address))
		strlcpy(now->address, transport_advertised_host(), HOST_SIZE);
}

/* The child becomes the program; its output is the pipe. */
static void
run_program(const char *path, int output)
{
	child_reset_signals();
	child_unblock_signals();
	if (dup2(output, STDOUT_FILENO) < 0)
		_exit(1);
	child_close_files(-1);
	execl(path, MDNS_PROGRAM, order.name, order.port, order.interface, order.cluster,
		  order.fingerprint, order.address, (char *) NULL);
	_exit(127);
}

static void
start_program(void)
{
	char path[MAXPGPATH];
	int fds[2];

	program_path(path);
	make_order(&order);
	if (pipe2(fds, O_CLOEXEC) != 0)
	{
		program.started_us = 0;
		program.failed_starts = 16;
		return;
	}
	if (child_fork(&program))
		run_program(path, fds[1]);
	close(fds[1]);
	pipe_fd = fds[0];
	(void) fcntl(pipe_fd, F_SETFL, O_NONBLOCK);
	LWLockAcquire(&transport_shared->mdns.lock, LW_EXCLUSIVE);
	transport_shared->mdns.starts++;
	LWLockRelease(&transport_shared->mdns.lock);
}

/* What the program had found may be there no longer. */
static void
program_gone(void)
{
	if (pipe_fd >= 0)
		close(pipe_fd);
	pipe_fd = -1;
	forget_services();
}

/* Has schedulers look at what was found, without waiting for their time. */
static void
discover_soon(void)
{
	for (int d = 0; d < MAX_LOADED_DATABASES; d++)
	{
		if (pg_atomic_read_u32(&transport_shared->databases[d].uses_mdns) != 0)
			pg_atomic_write_u32(&transport_shared->databases[d].discover_soon, 1);
	}
	transport_wake();
}

static void
take_event(MdnsEvent *event)
{
	event->address[MDNS_TEXT_SIZE - 1] = event->cluster[MDNS_TEXT_SIZE - 1] = event->text[MDNS_TEXT_SIZE - 1] = '\0';
	event->fingerprint[MDNS_FINGERPRINT_SIZE - 1] = '\0';
	switch ((MdnsEventKind) event->kind)
	{
		case MDNS_FOUND:
			if (event->port > 0 && event->port <= 65535)
				take_found(event);
			break;
		case MDNS_GONE:
			take_gone(event);
			break;
		case MDNS_WAITING:
		case MDNS_FAILED:
			forget_services(); /* before it is said that there are none */
			set_state(MDNS_STATE_WAITING, "", event->text);
			break;
		case MDNS_REGISTERING:
			set_state(MDNS_STATE_REGISTERING, "", "");
			break;
		case MDNS_PUBLISHED:
			set_state(MDNS_STATE_PUBLISHED, event->text, "");
			break;
		case MDNS_REFUSED:
			set_state(MDNS_STATE_REFUSED, "", event->text);
			break;
	}
}

static void
read_events(void)
{
	MdnsEvent event;
	bool has_found = false;

	while (pipe_fd >= 0 && read(pipe_fd, &event, sizeof(event)) == sizeof(event))
	{
		take_event(&event);
		has_found |= event.kind == MDNS_FOUND;
	}
	if (has_found)
		discover_soon();
}

/*
 * mdns_keep
 *		Sees to it that the program runs if it is wanted, and reads what it has
 *		told; returns in how many ms to call again, -1: when something happens.
 */
long
mdns_keep(void)
{
	const char *unavailable;
	int status;
	long delay_ms;

	read_events();
	if (child_has_ended(&program, &status))
	{
		read_events();
		program_gone();
		if (WIFSIGNALED(status))
			set_state(MDNS_STATE_WAITING, "", psprintf("%s was terminated by signal %d", MDNS_PROGRAM, WTERMSIG(status)));
		else if (WEXITSTATUS(status) == 127)
			set_state(MDNS_STATE_WAITING, "", psprintf("%s could not be run", MDNS_PROGRAM));
	}
	if (!is_wanted())
	{
		mdns_stop();
		return -1;
	}
	if (program.pid != 0)
		return -1;
	unavailable = transport_mdns_unavailable();
	if (unavailable != NULL)
	{
		set_state(MDNS_STATE_WAITING, "", unavailable);
		return SLOWEST_START_MS;
	}
	delay_ms = child_delay_ms(&program, SLOWEST_START_MS);
	if (delay_ms > 0)
		return delay_ms;
	if (transport_shared->mdns.state == MDNS_STATE_OFF)
		set_state(MDNS_STATE_WAITING, "", "");
	start_program();
	return program.pid == 0 ? SLOWEST_START_MS : -1;
}

/*
 * mdns_socket
 *		When that is readable, mdns_keep() has something to do.
 */
pgsocket
mdns_socket(void)
{
	return pipe_fd >= 0 ? pipe_fd : PGINVALID_SOCKET;
}

/*
 * mdns_stop
 *		Ends the program; Avahi's daemon sees that and tells the others.
 */
void
mdns_stop(void)
{
	if (program.pid == 0 && transport_shared->mdns.state == MDNS_STATE_OFF)
		return;
	(void) child_kill(&program);
	program_gone();
	set_state(MDNS_STATE_OFF, "", "");
}

/*
 * mdns_settings_changed
 *		If the program was told something else, start it anew.
 */
void
mdns_settings_changed(void)
{
	MdnsOrder now;

	if (program.pid == 0)
		return;
	make_order(&now);
	if (memcmp(&now, &order, sizeof(now)) != 0)
		mdns_stop();
}

/* ----------------------------------------------------------- other processes */

/*
 * transport_mdns_unavailable
 *		Why this server cannot use mDNS; NULL: it can.
 */
const char *
transport_mdns_unavailable(void)
{
	char path[MAXPGPATH];

	program_path(path);
	return access(path, X_OK) == 0 ? NULL : psprintf("the program \"%s\" is not installed", path);
}

/*
 * transport_set_mdns
 *		Whether flocks of this database look for nodes by mDNS.
 */
void
transport_set_mdns(bool uses_mdns)
{
	Latch *latch = transport_shared->worker_latch;

	for (int d = 0; d < MAX_LOADED_DATABASES; d++)
	{
		if (transport_shared->databases[d].database == MyDatabaseId)
			pg_atomic_write_u32(&transport_shared->databases[d].uses_mdns, uses_mdns);
	}
	pg_memory_barrier();
	if (latch != NULL)
		SetLatch(latch);
}

/* The network's bytes as a text of this database; NULL: they are none, or "". */
static char *
text_of(const char *bytes)
{
	return bytes[0] != '\0' && pg_verifymbstr(bytes, (int) strlen(bytes), true) ? pstrdup(bytes) : NULL;
}

/*
 * transport_mdns_services
 *		What mDNS shows now, as FoundNode.
 */
List *
transport_mdns_services(void)
{
	List *nodes = NIL;

	LWLockAcquire(&transport_shared->mdns.lock, LW_SHARED);
	for (uint32 i = 0; i < mdns_max_services(); i++)
	{
		MdnsService *service = &transport_shared->mdns.services[i];
		char *address = service->port != 0 ? text_of(service->address) : NULL;
		FoundNode *node;

		if (address == NULL)
			continue;
		node = palloc0(sizeof(FoundNode));
		node->address = address;
		node->port = service->port;
		node->cluster = text_of(service->cluster);
		node->fingerprint = text_of(service->fingerprint);
		nodes = lappend(nodes, node);
	}
	LWLockRelease(&transport_shared->mdns.lock);
	return nodes;
}

/*
 * dlog.mdns() -> state, since, published_as, error, services, left_out, starts
 */
Datum
dlog_mdns(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {
		[MDNS_STATE_OFF] = "off",
		[MDNS_STATE_WAITING] = "waiting",
		[MDNS_STATE_REGISTERING] = "registering",
		[MDNS_STATE_PUBLISHED] = "published",
		[MDNS_STATE_REFUSED] = "refused",
	};
	MdnsShared *shared;
	TupleDesc desc;
	char *name;
	char *error;
	int64 n_services = 0;
	Datum values[7];
	bool nulls[7] = {false};

	runtime_require();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	shared = &transport_shared->mdns;
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (uint32 i = 0; i < mdns_max_services(); i++)
		n_services += shared->services[i].port != 0;
	name = text_of(shared->name);
	error = text_of(shared->error);
	values[0] = CStringGetTextDatum(states[shared->state]);
	values[1] = TimestampTzGetDatum(shared->since);
	nulls[1] = shared->since == 0;
	values[2] = name == NULL ? (Datum) 0 : CStringGetTextDatum(name);
	nulls[2] = name == NULL;
	values[3] = error == NULL ? (Datum) 0 : CStringGetTextDatum(error);
	nulls[3] = error == NULL;
	values[4] = Int64GetDatum(n_services);
	values[5] = Int64GetDatum((int64) shared->left_out);
	values[6] = Int64GetDatum((int64) shared->starts);
	LWLockRelease(&shared->lock);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
