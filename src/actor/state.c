/*
 * state.c
 *		The committed state of an actor, which anybody may read while its holder
 *		replaces it.
 *
 * Locks: none.  SqlActor.version is odd while the state changes; who has read
 * between two versions reads again.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "actor/actor_internal.h"

/*
 * sql_actor_set_state
 *		Replace the committed state.  Readers notice by the version.
 *
 * One of the same size is written over the old one: so the states of many
 * actors stay where they were made, one beside the other, and the block of
 * the new one, which is in the processor's cache, is the next to be used.
 */
void
sql_actor_set_state(SqlActor *actor, Value *state)
{
	Value *old = actor->state;
	bool fits = old != NULL && state != NULL && old->next == NULL && state->next == NULL &&
				old->size == state->size;

	*(volatile uint32 *) &actor->version += 1;
	pg_write_barrier();
	if (fits)
		memcpy(old, state, offsetof(Value, data) + state->size);
	else
		actor->state = state;
	pg_write_barrier();
	*(volatile uint32 *) &actor->version += 1;
	if (old != NULL)
	{
		pg_write_barrier();
		value_free(fits ? state : old);
	}
}

/*
 * sql_actor_read_state
 *		A copy of an actor's committed state; any process.
 *
 * Its holder may replace it meanwhile.  What it was in is still memory of the
 * arena, so reading it does no harm, and the version tells that it was in
 * vain.
 */
Datum
sql_actor_read_state(ActorAddress address, bool *is_null, Oid *behavior, bool *is_alive)
{
	SqlActor *actor = sql_actor_find(address);

	*is_null = true;
	*is_alive = actor != NULL;
	while (actor != NULL)
	{
		uint32 version = *(volatile uint32 *) &actor->version;
		Value *state;
		Value head;
		Value *copy;
		Size done = 0;

		pg_read_barrier();
		*behavior = actor->behavior;
		state = *(Value *volatile *) &actor->state;
		CHECK_FOR_INTERRUPTS();
		if (state != NULL)
			memcpy(&head, state, offsetof(Value, data));
		pg_read_barrier();
		if ((version & 1) || *(volatile uint32 *) &actor->version != version)
			continue;
		if (!(*is_alive = sql_actor_find(address) != NULL) || state == NULL || head.is_null)
			return (Datum) 0;
		copy = MemoryContextAllocHuge(CurrentMemoryContext, offsetof(Value, data) + head.size + 1);
		memcpy(copy, &head, offsetof(Value, data));
		while (done < head.size)
		{
			Size n = Min(head.size - done, VALUE_BLOCK_DATA);

			memcpy(copy->data + done, state->data, n);
			done += n;
			state = *(Value *volatile *) &state->next;
			pg_read_barrier();
			if (*(volatile uint32 *) &actor->version != version)
				break;
		}
		if (done < head.size || *(volatile uint32 *) &actor->version != version ||
			sql_actor_find(address) == NULL)
		{
			pfree(copy);
			continue;
		}
		*is_null = false;
		if (head.is_by_value)
		{
			Datum datum;

			memcpy(&datum, copy->data, sizeof(Datum));
			return datum;
		}
		return PointerGetDatum(copy->data);
	}
	return (Datum) 0;
}
