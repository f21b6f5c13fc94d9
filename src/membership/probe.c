/*
 * probe.c
 *		Probing: is that member alive?
 *
 * In each probe interval a few members are probed, in a random order in which
 * everybody's turn comes before anybody's second.  One that has not answered
 * within probe_timeout is probed through some others; one that has not
 * answered within probe_interval is a suspect.
 *
 * Lifeguard: those others say NACK when they have got no answer either, so
 * that who probes knows that not its own network is at fault.  Who misses
 * answers, acks as nacks, becomes *aware* that it may be unwell itself and
 * takes more time for everything (local health multiplier).
 *
 * Beyond Lifeguard: an other that got no answer, and is well, has found the
 * same by itself, so it accuses the member too; and when all others have said
 * NACK, there is nothing left to wait for.
 */
#include "c.h"

#include "membership/membership_internal.h"

/* A relay says NACK after this part of probe_timeout. */
#define NACK_PERCENT 80

void
probe_init(Membership *core)
{
	for (int i = 0; i < MAX_PROBES; i++)
		core->probes[i].slot = NOBODY;
	for (int i = 0; i < MAX_RELAYS; i++)
		core->relays[i].requester = NOBODY;
}

/*
 * awareness_change
 *		Our health has proved worse (more) or better (less).
 */
void
awareness_change(Membership *core, int delta)
{
	int limit = (int) core->settings.awareness_max - 1;
	int awareness = (int) core->awareness + delta;

	if (core->settings.lifeguard)
		core->awareness = (uint32) Max(0, Min(awareness, limit));
}

/* ------------------------------------------------------------- sending */

static bool
send_probe(Membership *core, uint32 slot, uint32 sequence)
{
	char rumors[MEMBERSHIP_MAX_RUMORS];
	char payload[MEMBERSHIP_MAX_RUMORS + 32];
	ProbeMessage probe = {
		.sequence = sequence,
		.known = core->members[slot].incarnation,
		.rumors = {.data = rumors},
	};

	probe.rumors.size = (uint32) rumor_gather(core, slot, false, rumors);
	probe_write(payload, probe_size(&probe), &probe);
	return membership_send(core, slot, MESSAGE_PROBE, payload, probe_size(&probe));
}

static void
send_ack(Membership *core, uint32 slot, uint32 sequence, bool about_us)
{
	char rumors[MEMBERSHIP_MAX_RUMORS];
	char payload[MEMBERSHIP_MAX_RUMORS + 32];
	ProbeAckMessage ack = {
		.sequence = sequence,
		.known = core->members[slot].incarnation,
		.rumors = {.data = rumors},
	};

	ack.rumors.size = (uint32) rumor_gather(core, slot, about_us, rumors);
	probe_ack_write(payload, probe_ack_size(&ack), &ack);
	(void) membership_send(core, slot, MESSAGE_PROBE_ACK, payload, probe_ack_size(&ack));
}

static void
send_nack(Membership *core, uint32 slot, uint32 sequence)
{
	char payload[16];
	ProbeNackMessage nack = {.sequence = sequence};

	if (!core->settings.lifeguard)
		return;
	probe_nack_write(payload, probe_nack_size(&nack), &nack);
	(void) membership_send(core, slot, MESSAGE_PROBE_NACK, payload, probe_nack_size(&nack));
}

static void
ask_others(Membership *core, Probe *probe)
{
	uint32 picked[16];
	uint32 n_picked = member_pick(core, member_is_present, probe->slot,
								  Min(core->settings.indirect_probes, lengthof(picked)), picked);

	probe->indirect_us = NEVER;
	for (uint32 i = 0; i < n_picked; i++)
	{
		char rumors[MEMBERSHIP_MAX_RUMORS];
		char payload[MEMBERSHIP_MAX_RUMORS + 32];
		ProbeRequestMessage request = {
			.sequence = probe->sequence,
			.target = core->members[probe->slot].id,
			.rumors = {.data = rumors},
		};

		request.rumors.size = (uint32) rumor_gather(core, picked[i], false, rumors);
		probe_request_write(payload, probe_request_size(&request), &request);
		if (membership_send(core, picked[i], MESSAGE_PROBE_REQUEST, payload,
							probe_request_size(&request)))
			probe->nacks_expected++;
	}
}

/* ------------------------------------------------------ a probe of ours */

static void
probe_failed(Membership *core, Probe *probe)
{
	uint32 slot = probe->slot;

	probe->slot = NOBODY;
	core->counters.failed_probes++;
	if (!is_present(&core->members[slot]) || core->members[slot].incarnation != probe->incarnation)
		return; /* as was to be expected, or it has been heard of meanwhile */
	if (probe->nacks_expected == 0)
		awareness_change(core, 1);
	else
		awareness_change(core, (int) (probe->nacks_expected - probe->nacks));
	member_accuse(core, slot, REASON_NO_ANSWER);
}

/*
 * probe_start
 *		Probe a member; false if that is under way or there are too many.
 */
bool
probe_start(Membership *core, uint32 slot)
{
	Probe *probe = NULL;
	uint64 now = now_us(core);

	for (int i = 0; i < MAX_PROBES; i++)
	{
		if (core->probes[i].slot == slot)
			return false;
		if (core->probes[i].slot == NOBODY && probe == NULL)
			probe = &core->probes[i];
	}
	if (probe == NULL || core->is_leaving)
		return false;

	core->counters.probes++;
	*probe = (Probe){
		.slot = slot,
		.sequence = ++core->sequence,
		.incarnation = core->members[slot].incarnation,
		.indirect_us = now + scaled_us(core, core->settings.probe_timeout_ms),
		.end_us = now + scaled_us(core, core->settings.probe_interval_ms),
	};
	if (!send_probe(core, slot, probe->sequence))
		probe->indirect_us = now; /* others may have a way to it */
	return true;
}

static void
shuffle(Membership *core)
{
	for (uint32 i = core->n_others; i > 1; i--)
	{
		uint32 other = random_below(core, i);
		uint32 slot = core->order[i - 1];

		core->order[i - 1] = core->order[other];
		core->order[other] = slot;
		core->members[slot].order_at = other;
		core->members[core->order[i - 1]].order_at = i - 1;
	}
}

/*
 * probe_round
 *		Probe the next member whose turn it is.
 */
void
probe_round(Membership *core)
{
	for (uint32 tries = 0; tries < core->n_others; tries++)
	{
		uint32 slot;

		if (core->next_in_order >= core->n_others)
		{
			shuffle(core);
			core->next_in_order = 0;
		}
		slot = core->order[core->next_in_order++];
		if (!is_present(&core->members[slot]))
			continue;
		if (probe_start(core, slot) || tries >= MAX_PROBES)
			return;
	}
}

/*
 * probe_run
 *		What is due of the probes under way.
 */
void
probe_run(Membership *core)
{
	uint64 now = now_us(core);

	for (int i = 0; i < MAX_PROBES; i++)
	{
		Probe *probe = &core->probes[i];

		if (probe->slot == NOBODY)
			continue;
		if (probe->indirect_us <= now)
			ask_others(core, probe);
		if (probe->end_us <= now)
			probe_failed(core, probe);
	}
	for (int i = 0; i < MAX_RELAYS; i++)
	{
		Relay *relay = &core->relays[i];

		if (relay->requester == NOBODY)
			continue;
		if (relay->nack_us <= now)
		{
			relay->nack_us = NEVER;
			send_nack(core, relay->requester, relay->requester_sequence);
			if (core->settings.lifeguard && core->awareness == 0 &&
				core->members[relay->target].incarnation == relay->incarnation)
				member_accuse(core, relay->target, REASON_NO_ANSWER);
		}
		if (relay->end_us <= now)
			relay->requester = NOBODY;
	}
}

/*
 * probe_postpone
 *		What is waited for may come so much later.
 */
void
probe_postpone(Membership *core, uint64 by_us)
{
	for (int i = 0; i < MAX_PROBES; i++)
	{
		Probe *probe = &core->probes[i];

		if (probe->slot == NOBODY)
			continue;
		if (probe->indirect_us != NEVER)
			probe->indirect_us += by_us;
		probe->end_us += by_us;
	}
	for (int i = 0; i < MAX_RELAYS; i++)
	{
		Relay *relay = &core->relays[i];

		if (relay->requester == NOBODY)
			continue;
		if (relay->nack_us != NEVER)
			relay->nack_us += by_us;
		relay->end_us += by_us;
	}
}

uint64
probe_next_us(const Membership *core)
{
	uint64 next = NEVER;

	for (int i = 0; i < MAX_PROBES; i++)
	{
		const Probe *probe = &core->probes[i];

		if (probe->slot != NOBODY)
			next = Min(next, Min(probe->indirect_us, probe->end_us));
	}
	for (int i = 0; i < MAX_RELAYS; i++)
	{
		const Relay *relay = &core->relays[i];

		if (relay->requester != NOBODY)
			next = Min(next, Min(relay->nack_us, relay->end_us));
	}
	return next;
}

/*
 * probe_forget
 *		A member is none any longer.
 */
void
probe_forget(Membership *core, uint32 slot)
{
	for (int i = 0; i < MAX_PROBES; i++)
	{
		if (core->probes[i].slot == slot)
			core->probes[i].slot = NOBODY;
	}
	for (int i = 0; i < MAX_RELAYS; i++)
	{
		if (core->relays[i].requester == slot || core->relays[i].target == slot)
			core->relays[i].requester = NOBODY;
	}
}

/* --------------------------------------------------------- what comes in */

static void
hear_probe(Membership *core, uint32 from, const char *payload, Size size)
{
	ProbeMessage probe;

	if (!probe_read(payload, size, &probe))
	{
		core->counters.malformed++;
		return;
	}
	if (!rumors_hear(core, from, probe.rumors))
		return;
	send_ack(core, from, probe.sequence,
			 probe.known != core->members[core->self].incarnation);
}

static void
hear_request(Membership *core, uint32 from, const char *payload, Size size)
{
	ProbeRequestMessage request;
	Relay *relay = NULL;
	uint64 now = now_us(core);
	uint32 target;

	if (!probe_request_read(payload, size, &request))
	{
		core->counters.malformed++;
		return;
	}
	if (!rumors_hear(core, from, request.rumors))
		return;
	target = member_find(core, request.target);
	for (int i = 0; i < MAX_RELAYS && relay == NULL; i++)
	{
		if (core->relays[i].requester == NOBODY)
			relay = &core->relays[i];
	}
	if (target == NOBODY || target == core->self || target == from || relay == NULL)
	{
		send_nack(core, from, request.sequence);
		return;
	}
	*relay = (Relay){
		.requester = from,
		.requester_sequence = request.sequence,
		.sequence = ++core->sequence,
		.target = target,
		.incarnation = core->members[target].incarnation,
		.nack_us = now + core->settings.probe_timeout_ms * UINT64CONST(1000) * NACK_PERCENT / 100,
		.end_us = now + core->settings.probe_interval_ms * UINT64CONST(1000),
	};
	if (!send_probe(core, target, relay->sequence))
		relay->nack_us = now;
}

static void
hear_ack(Membership *core, uint32 from, const char *payload, Size size)
{
	ProbeAckMessage ack;

	if (!probe_ack_read(payload, size, &ack))
	{
		core->counters.malformed++;
		return;
	}
	if (!rumors_hear(core, from, ack.rumors))
		return;
	for (int i = 0; i < MAX_PROBES; i++)
	{
		if (core->probes[i].slot != NOBODY && core->probes[i].sequence == ack.sequence)
		{
			core->probes[i].slot = NOBODY;
			awareness_change(core, -1);
			break;
		}
	}
	for (int i = 0; i < MAX_RELAYS; i++)
	{
		Relay *relay = &core->relays[i];

		if (relay->requester != NOBODY && relay->sequence == ack.sequence && relay->target == from)
		{
			send_ack(core, relay->requester, relay->requester_sequence, false);
			relay->requester = NOBODY;
			break;
		}
	}

	/* It knows less of us than it should, or the worst. */
	if (ack.known != 0 && ack.known < core->members[core->self].incarnation && !core->members[core->self].has_rumor)
		rumor_spread(core, core->self);
}

static void
hear_nack(Membership *core, uint32 from, const char *payload, Size size)
{
	ProbeNackMessage nack;

	if (!probe_nack_read(payload, size, &nack))
	{
		core->counters.malformed++;
		return;
	}
	for (int i = 0; i < MAX_PROBES; i++)
	{
		Probe *probe = &core->probes[i];

		if (probe->slot == NOBODY || probe->sequence != nack.sequence)
			continue;
		if (++probe->nacks >= probe->nacks_expected && core->awareness == 0)
			probe_failed(core, probe);
		return;
	}
}

/*
 * probe_receive
 *		One of the messages of this file has come.
 */
void
probe_receive(Membership *core, uint32 from, uint16 type, const char *payload, Size size)
{
	switch (type)
	{
		case MESSAGE_PROBE:
			hear_probe(core, from, payload, size);
			return;
		case MESSAGE_PROBE_REQUEST:
			hear_request(core, from, payload, size);
			return;
		case MESSAGE_PROBE_ACK:
			hear_ack(core, from, payload, size);
			return;
		case MESSAGE_PROBE_NACK:
			hear_nack(core, from, payload, size);
			return;
		default:
			core->counters.malformed++;
	}
}
