/*
 * mdns_event.h
 *		What the program dlog_mdns tells the transport worker.
 *
 * The program (mdns/dlog_mdns.c) writes events to its output, one at a time,
 * and the worker (mdns.c) reads them.  Both include this file, which therefore
 * knows nothing of the server.
 */
#ifndef DLOG_MDNS_EVENT_H
#define DLOG_MDNS_EVENT_H

#include <stdint.h>

#define MDNS_PROGRAM "dlog_mdns"
#define MDNS_TEXT_SIZE 256
#define MDNS_FINGERPRINT_SIZE 33

typedef enum MdnsEventKind
{
	MDNS_FOUND,		  /* a service, or what is new of one */
	MDNS_GONE,		  /* it is there no longer */
	MDNS_WAITING,	  /* for Avahi's daemon; next: REGISTERING */
	MDNS_REGISTERING, /* the name is being tried; next: PUBLISHED, REFUSED */
	MDNS_PUBLISHED,	  /* "text" is the name by which others see this node */
	MDNS_REFUSED,	  /* it cannot be published, "text" says why; it still looks for others */
	MDNS_FAILED		  /* "text" says why the program ends now */
} MdnsEventKind;

/* Smaller than PIPE_BUF: it is written and read whole. */
typedef struct MdnsEvent
{
	uint32_t kind;
	uint32_t service; /* FOUND, GONE: the program's number for it */
	uint32_t port;
	char address[MDNS_TEXT_SIZE];
	char cluster[MDNS_TEXT_SIZE];			 /* "" if it is not told */
	char fingerprint[MDNS_FINGERPRINT_SIZE]; /* of its key; "" likewise */
	char text[MDNS_TEXT_SIZE];
} MdnsEvent;

#endif
