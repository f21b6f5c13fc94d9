/*
 * behavior.c
 *		The folder's entry.
 */
#include "postgres.h"

#include "behavior/behavior_internal.h"

void
behavior_init(void)
{
	follow_init();
}
