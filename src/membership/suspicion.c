/*
 * suspicion.c
 *		How long a suspect has to refute before it counts as dead.
 *
 * Lifeguard's dynamic timeout: one accuser alone may be at fault itself, so
 * the suspect gets a long time; each further accuser that found the same by
 * itself shortens it, down to the shortest.
 *
 * The shortest is suspicion_mult times probe_timeout, more by the logarithm of
 * the number of members beyond a thousand.  The paper's grows with the
 * logarithm from one member on, since its rumors travel on probes; ours
 * travel by themselves every gossip_interval, so that all of a thousand have
 * heard one, and the answer to it, well within one probe interval.
 *
 * Beyond Lifeguard: a member that has refuted of late is known to be slow, not
 * dead, and gets so many times longer the next time.
 */
#include "c.h"

#include <math.h>

#include "membership/membership_internal.h"

#define MAX_REFUTATIONS 3

/*
 * suspicion_timeout_us
 *		See membership.h.
 */
uint64
suspicion_timeout_us(const MembershipSettings *settings, uint32 n_members, uint32 confirmed,
					 uint32 wanted)
{
	double shortest = (double) settings->suspicion_mult * settings->probe_timeout_ms * 1000 *
					  Max(1.0, log10(Max(n_members, 1)) / 3);
	double longest = shortest * settings->suspicion_max_mult;

	if (!settings->lifeguard || wanted == 0)
		return (uint64) shortest;
	return (uint64) Max(shortest,
						longest - (longest - shortest) * log(Min(confirmed, wanted) + 1.0) / log(wanted + 1.0));
}

/* The confirmations that make a suspicion as short as it gets. */
static uint32
wanted_confirmations(const Membership *core)
{
	/* There must be so many besides us, the first accuser and the suspect. */
	return Min(MAX_ACCUSERS - 2, core->n_present > 2 ? core->n_present - 2 : 0);
}

static uint64
end_of(const Membership *core, const Member *member)
{
	uint32 confirmed = member->n_accusers > 0 ? member->n_accusers - 1 : 0;

	uint32 wanted = wanted_confirmations(core);

	/* Nobody can confirm anything of one that was never heard of. */
	if (member->incarnation == 0)
	{
		confirmed = 0;
		wanted = 1;
	}
	return member->since_us + (1 + member->refutations) *
								  suspicion_timeout_us(&core->settings, core->n_present, confirmed, wanted);
}

/*
 * suspicion_begin
 *		A member has become a suspect.
 */
void
suspicion_begin(Membership *core, uint32 slot)
{
	Member *member = &core->members[slot];

	member->suspect_at = core->n_suspects;
	core->suspects[core->n_suspects++] = slot;
	core->suspicion_us = Min(core->suspicion_us, end_of(core, member));
}

/*
 * suspicion_end
 *		It is one no longer.
 */
void
suspicion_end(Membership *core, uint32 slot)
{
	Member *member = &core->members[slot];
	uint32 last = core->suspects[--core->n_suspects];

	core->suspects[member->suspect_at] = last;
	core->members[last].suspect_at = member->suspect_at;
	member->n_accusers = 0;
}

/*
 * suspicion_refuted
 *		A suspect has proved to be alive.
 */
void
suspicion_refuted(Membership *core, uint32 slot)
{
	Member *member = &core->members[slot];

	if (core->settings.lifeguard && member->refutations < MAX_REFUTATIONS)
		member->refutations++;
}

/*
 * suspicion_confirm
 *		Somebody accuses a suspect; true if that is news worth passing on.
 */
bool
suspicion_confirm(Membership *core, uint32 slot, uint32 accuser)
{
	Member *member = &core->members[slot];

	if (member->n_accusers == MAX_ACCUSERS)
		return false;
	for (uint32 i = 0; i < member->n_accusers; i++)
	{
		if (member->accusers[i] == accuser)
			return false;
	}
	member->accusers[member->n_accusers++] = accuser;
	core->suspicion_us = Min(core->suspicion_us, end_of(core, member));
	return true;
}

/*
 * suspicion_postpone
 *		All suspects get so much more time, but no more than from now on.
 */
void
suspicion_postpone(Membership *core, uint64 by_us)
{
	uint64 now = now_us(core);

	for (uint32 i = 0; i < core->n_suspects; i++)
	{
		Member *member = &core->members[core->suspects[i]];

		member->since_us = Min(member->since_us + by_us, now);
	}
	if (core->suspicion_us != NEVER)
		core->suspicion_us += by_us;
}

/*
 * suspicion_run
 *		Those whose time is over are dead.
 */
void
suspicion_run(Membership *core)
{
	uint64 now = now_us(core);
	uint64 next = NEVER;

	if (now < core->suspicion_us)
		return;
	for (uint32 i = 0; i < core->n_suspects;)
	{
		uint32 slot = core->suspects[i];
		Member *member = &core->members[slot];
		uint64 end = end_of(core, member);

		if (end <= now)
			member_set_state(core, slot, MEMBER_DEAD, member->incarnation, REASON_NOT_REFUTED, 0);
		else
		{
			next = Min(next, end);
			i++;
		}
	}
	core->suspicion_us = next;
}
