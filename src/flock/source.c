/*
 * source.c
 *		Where nodes are looked for, and what is found there.
 *
 * A flock's discover_via is a list of sources with spaces between them:
 *
 *		static:HOST:PORT[=KEY],...	these nodes; a key, if it is given
 *		gossip:HOST:PORT,...		some members of a cluster, the seeds; a few
 *									of them are tried each time, at random
 *		dns:NAME					SRV records: hosts and ports
 *		dns:NAME:PORT				A and AAAA records, with that port
 *		mdns						nodes that show themselves by multicast DNS,
 *									as this one does meanwhile
 *
 * What a source yields are candidates.  None is trusted for being there.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>

#undef _res /* a name that the server's headers use */

#include "common/pg_prng.h"

#include "base/guc.h"
#include "flock/flock_internal.h"

/* Of the seeds so many are tried each time. */
#define SEEDS_TRIED 3

/* A name server has two seconds, twice. */
#define DNS_TIMEOUT_S 2
#define DNS_ATTEMPTS 2

#define KEY_LENGTH 40

static void
refuse(const char *source, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot discover nodes via \"%s\"", source),
			 errdetail("%s", why),
			 errhint("Sources are static:host:port,..., gossip:host:port,..., dns:name (SRV), dns:name:port (addresses) and mdns, with spaces between them.")));
}

/* Splits HOST:PORT or [HOST]:PORT; false if it is neither. */
static bool
split_endpoint(char *text, char **host, int *port)
{
	char *colon = strrchr(text, ':');
	char *end;
	long number;

	if (colon == NULL || colon == text)
		return false;
	*colon = '\0';
	number = strtol(colon + 1, &end, 10);
	if (end == colon + 1 || *end != '\0' || number < 1 || number > 65535)
		return false;
	if (text[0] == '[' && colon[-1] == ']')
	{
		colon[-1] = '\0';
		text++;
	}
	else if (strchr(text, ':') != NULL)
		return false;
	*host = text;
	*port = (int) number;
	return text[0] != '\0' && strlen(text) < 256 && strpbrk(text, " \t/") == NULL;
}

static List *
add_candidate(List *candidates, const char *via, const char *host, int port, const char *key)
{
	Candidate *candidate = palloc0(sizeof(Candidate));

	candidate->address = pstrdup(host);
	candidate->port = port;
	candidate->fingerprint = key == NULL ? NULL : transport_key_fingerprint(key);
	candidate->via = pstrdup(via);
	return lappend(candidates, candidate);
}

/* ------------------------------------------------------------ static, gossip */

/* The endpoints of a list, with "may_have_keys" HOST:PORT=KEY too. */
static List *
read_endpoints(const char *source, const char *list, const char *via, bool may_have_keys)
{
	List *candidates = NIL;
	char *rest = pstrdup(list);
	char *item;

	while ((item = strsep(&rest, ",")) != NULL)
	{
		char *key = may_have_keys ? strchr(item, '=') : NULL;
		char *host;
		int port;

		if (key != NULL)
		{
			*key++ = '\0';
			if (strlen(key) != KEY_LENGTH)
				refuse(source, "A key has 40 characters; dlog.this_node() tells it.");
		}
		if (!split_endpoint(item, &host, &port))
			refuse(source, "An endpoint is host:port, with the port of dlog.");
		candidates = add_candidate(candidates, via, host, port, key);
	}
	return candidates;
}

static List *
pick_seeds(List *seeds)
{
	List *picked = NIL;

	while (seeds != NIL && list_length(picked) < SEEDS_TRIED)
	{
		int n = (int) pg_prng_uint64_range(&pg_global_prng_state, 0, list_length(seeds) - 1);

		picked = lappend(picked, list_nth(seeds, n));
		seeds = list_delete_nth_cell(seeds, n);
	}
	return picked;
}

/* --------------------------------------------------------------------- dns */

/* The one of dlog.name_server instead of the system's. */
static void
use_name_server(struct __res_state *state)
{
	char *text = pstrdup(dlog_name_server);
	struct sockaddr_in *server = &state->nsaddr_list[0];
	char *host;
	int port;

	if (text[0] == '\0')
		return;
	if (!split_endpoint(text, &host, &port) || inet_pton(AF_INET, host, &server->sin_addr) != 1)
	{
		ereport(LOG,
				(errmsg("dlog.name_server is \"%s\", which is no IPv4 address and port", dlog_name_server)));
		return;
	}
	server->sin_family = AF_INET;
	server->sin_port = htons((uint16) port);
	state->nscount = 1;
}

/* Asks for records of a type; returns the size of the answer, -1: none. */
static int
ask_dns(const char *name, int type, unsigned char *answer, int size)
{
	struct __res_state state;
	int length;

	memset(&state, 0, sizeof(state));
	if (res_ninit(&state) != 0)
		return -1;
	use_name_server(&state);
	state.retrans = DNS_TIMEOUT_S;
	state.retry = DNS_ATTEMPTS;
	length = res_nsearch(&state, name, ns_c_in, type, answer, size);
	res_nclose(&state);
	return Min(length, size);
}

static List *
add_addresses(List *candidates, const char *via, const char *name, int type, int port)
{
	unsigned char answer[16 * 1024];
	int length = ask_dns(name, type, answer, sizeof(answer));
	ns_msg message;

	if (length < 0 || ns_initparse(answer, length, &message) != 0)
		return candidates;
	for (int i = 0; i < ns_msg_count(message, ns_s_an); i++)
	{
		ns_rr record;
		char address[INET6_ADDRSTRLEN];

		if (ns_parserr(&message, ns_s_an, i, &record) != 0 || ns_rr_type(record) != type ||
			ns_rr_rdlen(record) != (type == ns_t_a ? NS_INADDRSZ : NS_IN6ADDRSZ) ||
			inet_ntop(type == ns_t_a ? AF_INET : AF_INET6, ns_rr_rdata(record), address, sizeof(address)) == NULL)
			continue;
		candidates = add_candidate(candidates, via, address, port, NULL);
	}
	return candidates;
}

/* Hosts and ports; what they resolve to is found out by whoever connects. */
static List *
add_services(List *candidates, const char *via, const char *name)
{
	unsigned char answer[16 * 1024];
	int length = ask_dns(name, ns_t_srv, answer, sizeof(answer));
	ns_msg message;

	if (length < 0 || ns_initparse(answer, length, &message) != 0)
		return candidates;
	for (int i = 0; i < ns_msg_count(message, ns_s_an); i++)
	{
		ns_rr record;
		char host[NS_MAXDNAME];

		/* priority, weight, port, target */
		if (ns_parserr(&message, ns_s_an, i, &record) != 0 || ns_rr_type(record) != ns_t_srv ||
			ns_rr_rdlen(record) < 7 ||
			dn_expand(ns_msg_base(message), ns_msg_end(message), ns_rr_rdata(record) + 6, host, sizeof(host)) < 0)
			continue;
		if (strlen(host) < 256 && host[0] != '\0' && strpbrk(host, " \t/[]") == NULL)
			candidates = add_candidate(candidates, via, host, ns_get16(ns_rr_rdata(record) + 4), NULL);
	}
	return candidates;
}

static List *
ask_name(const char *source, const char *name, bool only_check)
{
	List *candidates = NIL;
	char *host = pstrdup(name);
	int port = 0;

	if (name[0] == '\0' || strlen(name) > 255 || strchr(name, '/') != NULL)
		refuse(source, "A name of DNS is missing.");
	if (strchr(name, ':') != NULL && !split_endpoint(host, &host, &port))
		refuse(source, "It is dns:name, or dns:name:port.");
	if (only_check)
		return NIL;
	if (port == 0)
		return add_services(candidates, source, host);
	candidates = add_addresses(candidates, source, host, ns_t_a, port);
	return add_addresses(candidates, source, host, ns_t_aaaa, port);
}

/* -------------------------------------------------------------------- mdns */

static List *
ask_mdns(bool only_check)
{
	List *candidates = NIL;
	const char *unavailable = only_check ? transport_mdns_unavailable() : NULL;
	ListCell *cell;

	if (unavailable != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot discover nodes via \"mdns\""),
				 errdetail("Here, %s.", unavailable),
				 errhint("Install Avahi's client library (on Debian: libavahi-client-dev), and build and install dlog again.")));
	if (only_check)
		return NIL;
	foreach(cell, transport_mdns_services())
	{
		FoundNode *node = lfirst(cell);
		Candidate *candidate = palloc0(sizeof(Candidate));

		*candidate = (Candidate){.address = node->address, .port = node->port, .fingerprint = node->fingerprint, .cluster = node->cluster, .via = "mdns"};
		candidates = lappend(candidates, candidate);
	}
	return candidates;
}

/* ----------------------------------------------------------------- sources */

static List *
ask_source(const char *source, bool only_check)
{
	if (strncmp(source, "static:", 7) == 0)
		return read_endpoints(source, source + 7, "static", true);
	if (strncmp(source, "gossip:", 7) == 0)
		return pick_seeds(read_endpoints(source, source + 7, "gossip", false));
	if (strncmp(source, "dns:", 4) == 0)
		return ask_name(source, source + 4, only_check);
	if (strcmp(source, "mdns") == 0)
		return ask_mdns(only_check);
	refuse(source, "There is no such source.");
	return NIL;
}

/*
 * sources_ask
 *		The candidates that a list of sources yields; it may take seconds.
 *
 * ERROR 22023 if it is malformed; with "only_check" nobody is asked.
 */
List *
sources_ask(const char *sources, bool only_check)
{
	List *candidates = NIL;
	char *rest = pstrdup(sources);
	char *source;

	while ((source = strsep(&rest, " \t\n")) != NULL)
	{
		if (source[0] != '\0')
			candidates = list_concat(candidates, ask_source(source, only_check));
	}
	return candidates;
}
