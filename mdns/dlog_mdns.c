/*
 * dlog_mdns.c
 *		dlog_mdns NAME PORT INTERFACE CLUSTER FINGERPRINT ADDRESS
 *
 * Publishes this node by multicast DNS (RFC 6762, 6763) and tells of others, as
 * long as it runs.  Both are done by Avahi's daemon, to which this program
 * talks over D-Bus.  It is a program of its own since the libraries that do
 * so bring threads, aborts and blocking calls along: whatever becomes of them,
 * the server has a pipe to read from.  It has no shared memory and no files of
 * the server's, and dies with the worker that started it.
 *
 * The service is _dlog._tcp; its instance is NAME, or what Avahi makes of it
 * when the name is taken ("n1 #2").  The texts of the record are
 *
 *		txtvers=1
 *		cluster=CLUSTER			dlog.cluster_name
 *		key=FINGERPRINT			of the node's key
 *		address=ADDRESS			where it is reached, if that is set; otherwise
 *								its host's addresses are good
 *
 * INTERFACE is "lo" for a node that listens on loopback only, or "".
 *
 * Nothing here polls or retries but a service whose address could not be
 * found.  When the bus or the daemon goes away the program says why and ends;
 * the worker starts another, which waits for the daemon to come.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <avahi-client/client.h>
#include <avahi-client/lookup.h>
#include <avahi-client/publish.h>
#include <avahi-common/alternative.h>
#include <avahi-common/error.h>
#include <avahi-common/malloc.h>
#include <avahi-common/simple-watch.h>
#include <avahi-common/timeval.h>

#include "transport/mdns_event.h"

#define SERVICE_TYPE "_dlog._tcp"

/* Between two tries to find the address of a service. */
#define RESOLVE_AGAIN_MS 10000

/* A service as one interface and protocol (IPv4, IPv6) shows it. */
typedef struct Service
{
	struct Service *next;
	uint32_t number;
	AvahiIfIndex interface;
	AvahiProtocol protocol;
	char *name;
	char *domain;
	AvahiServiceResolver *resolver; /* NULL: after a failure */
	AvahiTimeout *again;			/* NULL: no failure yet */
} Service;

static struct
{
	char *name; /* as it is published; Avahi's memory */
	uint16_t port;
	AvahiIfIndex interface;
	const char *cluster;
	const char *fingerprint;
	const char *address;
} own;

static AvahiSimplePoll *poll_loop;
static AvahiClient *client;
static AvahiEntryGroup *group;
static AvahiServiceBrowser *browser;
static Service *services;
static uint32_t last_number;

static void publish(void);

/* ---------------------------------------------------------------- telling */

static void
copy_text(char *to, const char *from)
{
	snprintf(to, MDNS_TEXT_SIZE, "%s", from);
}

static void
tell(const MdnsEvent *event)
{
	if (write(STDOUT_FILENO, event, sizeof(*event)) != sizeof(*event))
		exit(1); /* nobody reads any longer */
}

static void
tell_state(MdnsEventKind kind, const char *text)
{
	MdnsEvent event = {.kind = kind};

	copy_text(event.text, text);
	tell(&event);
}

static void
fail(const char *why)
{
	tell_state(MDNS_FAILED, why);
	exit(1);
}

static const char *
client_error(void)
{
	return avahi_strerror(avahi_client_errno(client));
}

/* ------------------------------------------------------------- publishing */

static void
refused(int error)
{
	tell_state(MDNS_REFUSED, avahi_strerror(error));
}

/* Somebody has the name: take another, which Avahi makes of it. */
static void
rename_own(void)
{
	char *other = avahi_alternative_service_name(own.name);

	if (other == NULL)
		fail("out of memory");
	avahi_free(own.name);
	own.name = other;
}

static void
group_changed(AvahiEntryGroup *changed, AvahiEntryGroupState state, void *unused)
{
	(void) unused;
	group = changed; /* we are called before its maker has returned */
	switch (state)
	{
		case AVAHI_ENTRY_GROUP_REGISTERING:
			tell_state(MDNS_REGISTERING, own.name);
			break;
		case AVAHI_ENTRY_GROUP_ESTABLISHED:
			tell_state(MDNS_PUBLISHED, own.name);
			break;
		case AVAHI_ENTRY_GROUP_COLLISION:
			rename_own();
			publish();
			break;
		case AVAHI_ENTRY_GROUP_FAILURE:
			refused(avahi_client_errno(client));
			break;
		case AVAHI_ENTRY_GROUP_UNCOMMITED:
			break;
	}
}

static AvahiStringList *
own_texts(void)
{
	AvahiStringList *texts = NULL;

	/* A list is built from its end. */
	if (own.address[0] != '\0')
		texts = avahi_string_list_add_pair(texts, "address", own.address);
	texts = avahi_string_list_add_pair(texts, "key", own.fingerprint);
	texts = avahi_string_list_add_pair(texts, "cluster", own.cluster);
	return avahi_string_list_add_pair(texts, "txtvers", "1");
}

/* Offers our service, unless that is under way. */
static void
publish(void)
{
	AvahiStringList *texts;
	int error;

	if (group == NULL)
		group = avahi_entry_group_new(client, group_changed, NULL);
	if (group == NULL)
	{
		refused(avahi_client_errno(client));
		return;
	}
	if (!avahi_entry_group_is_empty(group))
		avahi_entry_group_reset(group);
	texts = own_texts();
	while ((error = avahi_entry_group_add_service_strlst(group, own.interface, AVAHI_PROTO_UNSPEC, 0, own.name,
														 SERVICE_TYPE, NULL, NULL, own.port, texts)) == AVAHI_ERR_COLLISION)
		rename_own();
	avahi_string_list_free(texts);
	if (error == AVAHI_OK)
		error = avahi_entry_group_commit(group);
	if (error != AVAHI_OK)
		refused(error);
}

/* ---------------------------------------------------------------- finding */

/*
 * The value of a text of a record, if it has that name and consists of what
 * "is_good" lets pass; otherwise "".
 */
static void
read_text(AvahiStringList *texts, const char *name, int (*is_good)(int), char *to)
{
	AvahiStringList *found = avahi_string_list_find(texts, name);
	char *value = NULL;
	size_t size = 0;

	to[0] = '\0';
	if (found == NULL || avahi_string_list_get_pair(found, NULL, &value, &size) != 0)
		return;
	if (value != NULL && size < MDNS_TEXT_SIZE)
	{
		copy_text(to, value);
		for (const char *at = to; *at != '\0'; at++)
		{
			if (!is_good((unsigned char) *at))
			{
				to[0] = '\0';
				break;
			}
		}
	}
	avahi_free(value);
}

static int
is_in_address(int c)
{
	return isascii(c) && (isalnum(c) || c == '.' || c == ':' || c == '-' || c == '_');
}

static int
is_in_name(int c)
{
	return !iscntrl(c);
}

/* Nobody but this host knows what its interfaces are called. */
static int
is_link_local(const AvahiAddress *address)
{
	return address->proto == AVAHI_PROTO_INET6 && IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *) address->data.ipv6.address);
}

static void
tell_found(const Service *service, const AvahiAddress *address, uint16_t port, AvahiStringList *texts)
{
	MdnsEvent event = {.kind = MDNS_FOUND, .service = service->number, .port = port};
	char key[MDNS_TEXT_SIZE];

	read_text(texts, "cluster", is_in_name, event.cluster);
	read_text(texts, "key", isxdigit, key);
	if (strlen(key) == MDNS_FINGERPRINT_SIZE - 1)
		memcpy(event.fingerprint, key, MDNS_FINGERPRINT_SIZE);
	read_text(texts, "address", is_in_address, event.address);
	if (event.address[0] == '\0' && !is_link_local(address))
		avahi_address_snprint(event.address, MDNS_TEXT_SIZE, address);
	if (event.address[0] == '\0' || port == 0)
		event.kind = MDNS_GONE;
	tell(&event);
}

static void resolve(Service *service);

static void
resolve_again(AvahiTimeout *timeout, void *argument)
{
	avahi_simple_poll_get(poll_loop)->timeout_update(timeout, NULL);
	resolve(argument);
}

static void
resolved(AvahiServiceResolver *resolver, AvahiIfIndex interface, AvahiProtocol protocol, AvahiResolverEvent event,
		 const char *name, const char *type, const char *domain, const char *host, const AvahiAddress *address,
		 uint16_t port, AvahiStringList *texts, AvahiLookupResultFlags flags, void *argument)
{
	const AvahiPoll *api = avahi_simple_poll_get(poll_loop);
	Service *service = argument;
	struct timeval when;

	(void) interface, (void) protocol, (void) name, (void) type, (void) domain, (void) host, (void) flags;
	if (event == AVAHI_RESOLVER_FOUND)
	{
		tell_found(service, address, port, texts);
		return;
	}
	avahi_service_resolver_free(resolver);
	service->resolver = NULL;
	avahi_elapse_time(&when, RESOLVE_AGAIN_MS, 0);
	if (service->again == NULL)
		service->again = api->timeout_new(api, &when, resolve_again, service);
	else
		api->timeout_update(service->again, &when);
}

/* The resolver stays, and tells when the address or the texts change. */
static void
resolve(Service *service)
{
	service->resolver = avahi_service_resolver_new(client, service->interface, service->protocol, service->name,
												   SERVICE_TYPE, service->domain, service->protocol, 0, resolved, service);
	if (service->resolver == NULL)
		fail(client_error());
}

static void
add_service(AvahiIfIndex interface, AvahiProtocol protocol, const char *name, const char *domain)
{
	Service *service = calloc(1, sizeof(Service));

	if (service == NULL)
		fail("out of memory");
	service->number = ++last_number;
	service->interface = interface;
	service->protocol = protocol;
	service->name = avahi_strdup(name);
	service->domain = avahi_strdup(domain);
	service->next = services;
	services = service;
	resolve(service);
}

static void
remove_service(AvahiIfIndex interface, AvahiProtocol protocol, const char *name, const char *domain)
{
	for (Service **at = &services; *at != NULL; at = &(*at)->next)
	{
		Service *service = *at;
		MdnsEvent event = {.kind = MDNS_GONE, .service = service->number};

		if (service->interface != interface || service->protocol != protocol ||
			strcmp(service->name, name) != 0 || strcmp(service->domain, domain) != 0)
			continue;
		tell(&event);
		*at = service->next;
		if (service->resolver != NULL)
			avahi_service_resolver_free(service->resolver);
		if (service->again != NULL)
			avahi_simple_poll_get(poll_loop)->timeout_free(service->again);
		avahi_free(service->name);
		avahi_free(service->domain);
		free(service);
		return;
	}
}

static void
browsed(AvahiServiceBrowser *browsing, AvahiIfIndex interface, AvahiProtocol protocol, AvahiBrowserEvent event,
		const char *name, const char *type, const char *domain, AvahiLookupResultFlags flags, void *unused)
{
	(void) browsing, (void) type, (void) unused;
	if (event == AVAHI_BROWSER_FAILURE)
		fail(client_error());
	else if (event == AVAHI_BROWSER_NEW && !(flags & AVAHI_LOOKUP_RESULT_OUR_OWN))
		add_service(interface, protocol, name, domain);
	else if (event == AVAHI_BROWSER_REMOVE)
		remove_service(interface, protocol, name, domain);
}

static void
browse(void)
{
	if (browser == NULL)
		browser = avahi_service_browser_new(client, AVAHI_IF_UNSPEC, AVAHI_PROTO_UNSPEC, SERVICE_TYPE, NULL, 0, browsed, NULL);
	if (browser == NULL)
		fail(client_error());
}

/* -------------------------------------------------------------- the daemon */

static void
client_changed(AvahiClient *changed, AvahiClientState state, void *unused)
{
	(void) unused;
	client = changed; /* we are called before its maker has returned */
	switch (state)
	{
		case AVAHI_CLIENT_S_RUNNING:
			publish();
			browse();
			break;
		case AVAHI_CLIENT_S_REGISTERING: /* the host gets another name or address */
		case AVAHI_CLIENT_S_COLLISION:
			if (group != NULL)
				avahi_entry_group_reset(group);
			tell_state(MDNS_REGISTERING, own.name);
			break;
		case AVAHI_CLIENT_CONNECTING:
			tell_state(MDNS_WAITING, "Avahi's daemon is not running");
			break;
		case AVAHI_CLIENT_FAILURE:
			fail(client_error());
	}
}

int
main(int argc, char **argv)
{
	int error;

	if (argc != 7)
	{
		fprintf(stderr, "usage: dlog_mdns NAME PORT INTERFACE CLUSTER FINGERPRINT ADDRESS\n"
						"The PostgreSQL extension dlog runs this program.\n");
		return 2;
	}
	own.name = avahi_strdup(argv[1]);
	own.port = (uint16_t) atoi(argv[2]);
	own.interface = argv[3][0] == '\0' ? AVAHI_IF_UNSPEC : (AvahiIfIndex) if_nametoindex(argv[3]);
	own.cluster = argv[4];
	own.fingerprint = argv[5];
	own.address = argv[6];

	poll_loop = avahi_simple_poll_new();
	if (poll_loop == NULL || own.name == NULL)
		fail("out of memory");
	if (avahi_client_new(avahi_simple_poll_get(poll_loop), AVAHI_CLIENT_NO_FAIL, client_changed, NULL, &error) == NULL)
	{
		char why[MDNS_TEXT_SIZE];

		snprintf(why, sizeof(why), "D-Bus cannot be reached: %s", avahi_strerror(error));
		fail(why);
	}
	avahi_simple_poll_loop(poll_loop);
	fail("the loop has ended");
	return 1;
}
