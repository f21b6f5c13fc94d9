/*
 * behavior_internal.h
 *		What the files of this folder share.
 */
#ifndef DLOG_BEHAVIOR_INTERNAL_H
#define DLOG_BEHAVIOR_INTERNAL_H

#include "access/htup.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

#include "behavior/behavior.h"

/* dlog.behavior */
#define Natts_behavior 12
#define Anum_behavior_behavior 1
#define Anum_behavior_state 2
#define Anum_behavior_functions 3
#define Anum_behavior_mailbox_limit 4
#define Anum_behavior_handler_timeout 5
#define Anum_behavior_journal 6
#define Anum_behavior_replay 7
#define Anum_behavior_snapshot_every 8
#define Anum_behavior_snapshot_bytes 9
#define Anum_behavior_retention 10
#define Anum_behavior_audit 11
#define Anum_behavior_max_failures 12

/* What a behavior is made of. */
typedef struct BehaviorSpec
{
	Oid behavior;	  /* its domain; invalid: not made yet */
	const char *name; /* for messages */
	Oid state;
	Oid init;				 /* or invalid */
	List *handlers;			 /* oids of functions */
	struct ArrayType *names; /* of the functions, as the row has them */
	int mailbox_limit;
	int handler_timeout;
	/* of durable ones */
	Oid journal;					/* the table; invalid: not durable */
	List *replay;					/* oids of the functions apply and upcast */
	struct ArrayType *replay_names; /* as the row has them */
	int snapshot_every;
	int64 snapshot_bytes;
	const char *retention;
	bool audit;
	int max_failures;
} BehaviorSpec;

/* catalog.c: rows of dlog.behavior, and what they depend on */
extern Oid behavior_relation(void);
extern bool behavior_spec_read(Oid behavior, BehaviorSpec *spec);
extern void behavior_spec_of_tuple(Relation relation, HeapTuple tuple, BehaviorSpec *spec);
extern List *behavior_spec_list(void);
extern void behavior_spec_insert(const BehaviorSpec *spec);
extern void behavior_spec_update(const BehaviorSpec *spec);
extern void behavior_spec_retire(const BehaviorSpec *spec);
extern void behavior_spec_delete(Oid behavior);
extern void behavior_spec_record_dependencies(const BehaviorSpec *spec);
extern List *behavior_spec_functions(Oid behavior);
extern List *behavior_spec_replay_functions(Oid journal);
extern bool function_has_shape_of_handler(Oid function, Oid state);
extern void behavior_spec_resolve_names(BehaviorSpec *spec);
extern void behavior_spec_refresh_names(const BehaviorSpec *spec);

/* check.c: what can be part of a behavior */
extern void behavior_spec_check_state(const BehaviorSpec *spec);
extern void behavior_spec_check(const BehaviorSpec *spec);
extern void behavior_spec_check_cycle(const BehaviorSpec *spec);
extern void behavior_spec_check_durable(const BehaviorSpec *spec);
extern void behavior_spec_check_rights(const BehaviorSpec *spec, Oid role);
extern void behavior_spec_lock(const BehaviorSpec *spec);
extern Oid handler_message_type(Oid function);

/* find.c: functions by what people write */
extern List *handlers_find(List *specifications, Oid state);
extern Oid init_find(const char *specification, Oid state);
extern List *upcasts_find(List *specifications);
extern Oid behavior_find(const char *name, bool missing_ok);

/* cache.c */
extern bool behavior_is(Oid type);

/* layout.c */
extern List *type_composites(Oid type);

/* retired.c: types that may be in mailboxes though no behavior has them any more */
extern void type_retire(Oid type);
extern List *retired_types(void);

/* dropped.c */
extern void type_dropped_note(Oid type);

/* follow.c */
extern void follow_init(void);

#endif
