/*
 * supervision_internal.h
 *		What the files of src/supervision share.
 */
#ifndef DLOG_SUPERVISION_INTERNAL_H
#define DLOG_SUPERVISION_INTERNAL_H

#include "access/htup.h"
#include "lib/ilist.h"
#include "nodes/pg_list.h"
#include "pgtime.h"
#include "utils/array.h"

#include "actor/actor.h"
#include "supervision/supervision.h"

/* --- supervisor.c ---------------------------------------------------------- */

typedef enum SupervisorStrategy
{
	ONE_FOR_ONE,	   /* who has failed is restarted */
	ONE_FOR_ALL,	   /* all others are stopped, then all are started */
	REST_FOR_ONE,	   /* the same with those that were started after it */
	SIMPLE_ONE_FOR_ONE /* as one_for_one; children are instances of one spec */
} SupervisorStrategy;

typedef enum RestartType
{
	RESTART_PERMANENT, /* always */
	RESTART_TRANSIENT, /* when it has exited abnormally */
	RESTART_TEMPORARY  /* never; its spec goes with it */
} RestartType;

typedef enum AutoShutdown
{
	AUTO_SHUTDOWN_NEVER,
	AUTO_SHUTDOWN_ANY_SIGNIFICANT,
	AUTO_SHUTDOWN_ALL_SIGNIFICANT
} AutoShutdown;

/* How long a child may take to stop, in ms, or one of these. */
#define SHUTDOWN_INFINITY (-1)
#define SHUTDOWN_BRUTAL_KILL (-2)

/* Their times must fit into one block of the arena. */
#define MAX_MAX_RESTARTS 8000

typedef struct SupervisorFlags
{
	SupervisorStrategy strategy;
	int max_restarts;
	int64 within_ms;
	AutoShutdown auto_shutdown;
	int64 backoff_ms;	  /* before the first restart; doubles with each; 0: none */
	int64 backoff_max_ms; /* it grows no further */
	double jitter;		  /* the part of a delay that is random, 0 to 1 */
} SupervisorFlags;

typedef struct ChildSpec
{
	int64 id; /* unique in its supervisor; 0 in a simple_one_for_one */
	RestartType restart;
	int64 shutdown_ms;
	bool is_significant;
	bool is_supervisor;
} ChildSpec;

typedef enum ChildState
{
	CHILD_STOPPED,	 /* next: STARTING */
	CHILD_STARTING,	 /* next: RUNNING, STOPPED, RESTARTING, STOPPING */
	CHILD_RUNNING,	 /* next: STOPPING, STARTING, RESTARTING, STOPPED */
	CHILD_STOPPING,	 /* told to; next: STOPPED */
	CHILD_RESTARTING /* waits for its restart; next: STARTING, STOPPED */
} ChildState;

/* What a start is for, hence what its failure means. */
typedef enum StartReason
{
	START_FIRST,  /* with the supervisor */
	START_NEW,	  /* start_child */
	START_AGAIN,  /* restart_child */
	START_RESTART /* the supervisor's own */
} StartReason;

typedef enum SupervisorEventKind
{
	EVENT_CHILD_EXITED,
	EVENT_TRY_AGAIN,   /* its restart did not start */
	EVENT_RESTART_DUE, /* its group's restart has waited long enough */
	EVENT_START_CHILD,
	EVENT_TERMINATE_CHILD,
	EVENT_RESTART_CHILD,
	EVENT_DELETE_CHILD
} SupervisorEventKind;

struct Child;

/* What waits until the supervisor is through with what it does. */
typedef struct SupervisorEvent
{
	dlist_node node;
	SupervisorEventKind kind;
	struct Child *child; /* or NULL, and "id" */
	int64 id;
	uint64 request; /* to be answered; 0: nobody asks */
} SupervisorEvent;

/*
 * A child.  Whoever makes one gives it to the supervisor, which has it freed
 * with the effect "forget".
 */
typedef struct Child
{
	dlist_node node; /* in Supervisor.children */
	ChildSpec spec;
	ChildState state;
	StartReason start_reason;
	bool is_kept;			/* has exited; its actor is neither restarted nor released */
	bool has_event;			/* "event" is in the supervisor's queue */
	bool is_told_to_die;	/* killed, its deadline having passed */
	bool is_terminated;		/* terminate_child stops it */
	ExitKind exit_kind;		/* of its last exit */
	uint32 restarts_in_row; /* since it last ran for a window without failing */
	uint64 started_us;
	uint64 request;		   /* that its start or stop answers */
	SupervisorEvent event; /* EXITED, TRY_AGAIN or RESTART_DUE */
} Child;

typedef enum SupervisorAnswer
{
	ANSWER_OK,
	ANSWER_ALREADY_PRESENT,
	ANSWER_ALREADY_STARTED,
	ANSWER_NOT_FOUND,
	ANSWER_RUNNING,
	ANSWER_RESTARTING,
	ANSWER_SIMPLE_ONE_FOR_ONE,
	ANSWER_START_FAILED,
	ANSWER_SHUTDOWN /* the supervisor is about to exit */
} SupervisorAnswer;

/* What a supervisor has to report. */
typedef enum SupervisorReport
{
	REPORT_CHILD_TERMINATED, /* a child exited, and not because it was told to */
	REPORT_START_FAILED,
	REPORT_SHUTDOWN_FAILED, /* it exited otherwise than it was told to */
	REPORT_GAVE_UP			/* more than max_restarts within the window */
} SupervisorReport;

typedef struct Supervisor Supervisor;

/*
 * All that a supervisor does to the world.  start, stop and kill are answered
 * by supervisor_child_started() and _exited(), later, never from within.
 */
typedef struct SupervisorEffects
{
	uint64 (*now_us)(Supervisor *supervisor);
	double (*random)(Supervisor *supervisor); /* 0 to below 1 */
	void *(*alloc)(Supervisor *supervisor, Size size);
	void (*free)(Supervisor *supervisor, void *pointer);
	void (*start)(Supervisor *supervisor, Child *child);
	void (*stop)(Supervisor *supervisor, Child *child);
	void (*kill)(Supervisor *supervisor, Child *child);
	void (*release)(Supervisor *supervisor, Child *child); /* its actor, which has exited */
	void (*forget)(Supervisor *supervisor, Child *child, bool for_good);
	void (*timer_set)(Supervisor *supervisor, Child *child, int64 delay_ms);
	void (*timer_cancel)(Supervisor *supervisor, Child *child);
	void (*started)(Supervisor *supervisor); /* with all children */
	void (*exit)(Supervisor *supervisor, ExitKind kind, const char *reason);
	void (*answer)(Supervisor *supervisor, uint64 request, SupervisorAnswer answer, Child *child);
	void (*report)(Supervisor *supervisor, SupervisorReport report, Child *child);
} SupervisorEffects;

typedef enum SupervisorPhase
{
	PHASE_IDLE,		   /* the only one in which events are taken from the queue */
	PHASE_START_ALL,   /* "at" is starting; next: IDLE, SHUTDOWN */
	PHASE_START_ONE,   /* the same, for a request; next: IDLE */
	PHASE_STOP_ONE,	   /* "at" is stopping; next: IDLE */
	PHASE_STOP_GROUP,  /* "at" is stopping; next: START_GROUP, or IDLE if it is delayed */
	PHASE_START_GROUP, /* "at" is starting; next: IDLE */
	PHASE_SHUTDOWN,	   /* children are stopping; next: EXITED */
	PHASE_EXITED
} SupervisorPhase;

struct Supervisor
{
	const SupervisorEffects *effects;
	SupervisorFlags flags;
	SupervisorPhase phase;
	bool is_started;
	bool is_advancing;	  /* steps are being taken already */
	dlist_head children;  /* in start order */
	uint32 n_children;	  /* in that list */
	uint32 n_alive;		  /* of them STARTING, RUNNING or STOPPING */
	dlist_head events;	  /* SupervisorEvent */
	Child *at;			  /* that the phase waits for */
	Child *cause;		  /* that the group is restarted for; in SHUTDOWN: that was being stopped */
	int64 group_delay_ms; /* between stopping the group and starting it */
	uint64 *restarts;	  /* ring of max_restarts + 1 times */
	uint32 n_restarts;	  /* ever */
	ExitKind exit_kind;	  /* for SHUTDOWN */
	const char *exit_reason;
};

extern void supervisor_initialize(Supervisor *supervisor, const SupervisorEffects *effects, const SupervisorFlags *flags);
extern void supervisor_free(Supervisor *supervisor);
extern const char *supervisor_refuse_flags(const SupervisorFlags *flags);
extern const char *supervisor_refuse_spec(const SupervisorFlags *flags, const ChildSpec *spec);
extern void supervisor_set_flags(Supervisor *supervisor, const SupervisorFlags *flags);
extern void child_initialize(Child *child, const ChildSpec *spec);

extern void supervisor_add_child(Supervisor *supervisor, Child *child);
extern void supervisor_start(Supervisor *supervisor);
extern void supervisor_shut_down(Supervisor *supervisor, ExitKind kind, const char *reason);

extern void supervisor_child_started(Supervisor *supervisor, Child *child);
extern void supervisor_child_exited(Supervisor *supervisor, Child *child, ExitKind kind);
extern void supervisor_timer(Supervisor *supervisor, Child *child);

extern void supervisor_start_child(Supervisor *supervisor, Child *child, uint64 request);
extern void supervisor_terminate_child(Supervisor *supervisor, int64 id, Child *child, uint64 request);
extern void supervisor_restart_child(Supervisor *supervisor, int64 id, uint64 request);
extern void supervisor_delete_child(Supervisor *supervisor, int64 id, uint64 request);
extern Child *supervisor_find(Supervisor *supervisor, int64 id);

typedef struct ChildCounts
{
	int64 specs;
	int64 active;
	int64 supervisors;
	int64 workers;
} ChildCounts;

extern ChildCounts supervisor_count_children(Supervisor *supervisor);

extern int supervision_tranche;

/* --- registry.c ------------------------------------------------------------- */

/*
 * Which supervisors run: by database and number.  Whoever spawns one enters
 * it, in the same transaction; the supervisor takes itself out.
 */
typedef enum RegistryState
{
	REGISTRY_ABSENT,
	REGISTRY_RUNNING,
	REGISTRY_GAVE_UP /* only dlog.start_supervisor() or a restart of the server starts it again */
} RegistryState;

extern void registry_enter(Oid database, int64 id, ActorAddress address);
extern void registry_leave(Oid database, int64 id, ActorAddress address, bool has_given_up);
extern RegistryState registry_look(Oid database, int64 id, ActorAddress *address);
extern Size registry_shmem_size(void);
extern void registry_shmem_init(void);

/* --- failure.c -------------------------------------------------------------- */

#define FAILURE_TEXT 512

/* A failure as it is kept in shared memory. */
typedef struct Failure
{
	uint64 number; /* from 1; 0: none */
	TimestampTz at;
	Oid database;
	Oid owner;
	ActorAddress actor;
	Oid behavior; /* or invalid: a supervisor */
	int sqlerrcode;
	Oid message_type;
	char name[NAMEDATALEN];
	char error[FAILURE_TEXT];
	char context[FAILURE_TEXT];
	char message[FAILURE_TEXT];
} Failure;

extern void failure_set_texts(Failure *failure, const char *error, const char *context, const char *message);
extern void failure_record(Failure *failure);
extern bool failure_copy(uint32 i, Failure *failure);
extern uint32 failure_slots(void);
extern void failure_init(void);
extern Size failure_shmem_size(void);
extern void failure_shmem_init(void);

/* --- store.c ---------------------------------------------------------------- */

typedef struct SupervisorRow
{
	int64 id;
	NameData name;
	Oid owner;
	SupervisorFlags flags;
	int64 parent;	  /* 0: a root */
	int64 parent_row; /* its row of dlog.child */
} SupervisorRow;

typedef struct ChildRow
{
	ChildSpec spec;
	int64 supervisor;
	char *name;
	int64 child_supervisor; /* 0: it is none */
	int64 job;				/* same */
	Oid behavior;
	Oid owner;
	ArrayType *args; /* text[]; NULL: none */
	FailedMessage on_failure;
	int retries;
	int64 durable; /* the actor's number; 0: it is not durable, or there is none yet */
} ChildRow;

/* As who owns dlog's tables. */
typedef struct StoreScope
{
	Oid user;
	int security_context;
} StoreScope;

extern void store_open(StoreScope *scope);
extern void store_close(StoreScope *scope);
extern uint64 store_run(const char *sql, int n, const Oid *types, Datum *values, const char *nulls);
extern bool store_find_supervisor(const char *name, SupervisorRow *row);
extern bool store_read_supervisor(int64 id, SupervisorRow *row);
extern void store_require_supervisor(const char *name, SupervisorRow *row); /* and that we may */
extern List *store_children(int64 supervisor);								/* ChildRow, in order */
extern ChildRow *store_find_child(int64 supervisor, const char *name);
extern ChildRow *store_read_child(int64 id);
extern List *store_supervisors(int64 parent); /* SupervisorRow, in order */
extern bool store_lock_supervisor(int64 id);
extern int64 store_insert_supervisor(const SupervisorRow *row);
extern void store_update_supervisor(const SupervisorRow *row);
extern void store_delete_supervisor(int64 id);
extern void store_update_child(const ChildRow *row);
extern void store_delete_child(int64 id);
extern int64 store_insert_child(const ChildRow *row);
extern void store_set_durable(int64 id, int64 durable);
extern void store_check_control(const SupervisorRow *row);
extern const char *strategy_name(SupervisorStrategy strategy);
extern SupervisorStrategy strategy_of(const char *text);
extern RestartType restart_of(const char *text);
extern const char *restart_name(RestartType restart);
extern AutoShutdown auto_shutdown_of(const char *text);
extern const char *auto_shutdown_name(AutoShutdown auto_shutdown);
extern int64 shutdown_of(const char *text);
extern const char *shutdown_text(int64 shutdown_ms);
extern FailedMessage on_failure_of(const char *text);
extern const char *on_failure_name(FailedMessage on_failure);

/* --- tree.c ----------------------------------------------------------------- */

#define SUPERVISOR_BEHAVIOR "supervisor"

/* Types of messages that never leave this node. */
typedef enum SupervisionMessage
{
	SUPERVISION_LOAD = 62000,	/* Load: to the dispatcher */
	SUPERVISION_LOADED,			/* Loaded */
	SUPERVISION_LOAD_FAILED,	/* text */
	SUPERVISION_RESPAWN,		/* Respawn: to the dispatcher */
	SUPERVISION_RESPAWN_FAILED, /* Respawn */
	SUPERVISION_FORGET,			/* int64: to the dispatcher */
	SUPERVISION_CHILD_UP,		/* from a supervisor to its parent */
	SUPERVISION_FLAGS,			/* SupervisorFlags */
	SUPERVISION_SPEC,			/* ChildSettings */
	SUPERVISION_SHUT_DOWN,		/* nothing: a root that was dropped */
	SUPERVISION_CALL,			/* Call */
	SUPERVISION_ANSWER,			/* SupervisorAnswer */
	SUPERVISION_ROWS			/* ChildStatus, as many as there are */
} SupervisionMessage;

/* A child of a supervisor that is an actor; in the arena. */
typedef struct ChildRecord
{
	Child child; /* first */
	ActorAddress actor;
	bool has_actor;
	bool is_from_load;	/* LOAD has spawned it */
	bool is_respawning; /* the dispatcher has been asked to spawn it */
	bool is_used;		/* its actor has been started */
	FailedMessage on_failure;
	uint32 retries;
	uint32 attempts;
	uint64 restarts;
} ChildRecord;

/* The first bytes of a supervisor's state: what it is spawned with. */
typedef struct SupervisorBirth
{
	int64 id;
	Oid owner;
	ActorAddress parent;	 /* slot 0: a root */
	ActorAddress dispatcher; /* of its database */
	bool is_new;			 /* created in the transaction that spawned it: nothing to load */
	SupervisorFlags flags;	 /* if so */
	NameData name;
} SupervisorBirth;

typedef enum CallKind
{
	CALL_TERMINATE_CHILD,
	CALL_RESTART_CHILD,
	CALL_REMOVE_CHILD, /* terminate and delete */
	CALL_STATUS,	   /* answered by ROWS */
	CALL_LIST		   /* same, of all children */
} CallKind;

typedef struct Call
{
	CallKind kind;
	int64 id;
	ActorAddress actor; /* of an instance */
} Call;

typedef struct ChildStatus
{
	int64 id; /* -1: ends the list */
	ActorAddress actor;
	bool has_actor;
	uint8 state; /* ChildState */
	uint64 restarts;
} ChildStatus;

/* What alter_child changes. */
typedef struct ChildSettings
{
	ChildSpec spec;
	FailedMessage on_failure;
	uint32 retries;
} ChildSettings;

extern ChildRecord *child_record_create(const ChildRow *row);
extern ActorAddress child_spawn(const ChildRow *row, ChildRecord *record, ActorAddress supervisor);
extern ActorAddress supervisor_spawn(const SupervisorRow *row, ActorAddress parent, ChildRecord *record, bool is_new);
extern void tree_init(void);

/* --- args.c ----------------------------------------------------------------- */

extern ArrayType *args_of_record(HeapTupleHeader record);
extern ArrayType *args_append(ArrayType *first, ArrayType *second);
extern Datum *args_values(Oid behavior, Oid owner, ArrayType *args, int *n_args, bool **nulls);

/* --- call.c ----------------------------------------------------------------- */

extern ActorAddress supervisor_address(const SupervisorRow *row);
extern SupervisorAnswer supervisor_call(const SupervisorRow *row, const Call *call);
extern List *supervisor_rows(const SupervisorRow *row, const Call *call); /* ChildStatus */
extern void supervisor_tell(const SupervisorRow *row, uint16 type, const void *payload, Size size);

/* --- cron.c ------------------------------------------------------------------ */

/* When something is due: each field a set of bits; or an interval. */
typedef struct Schedule
{
	int64 every_us; /* 0: the fields count */
	uint64 minutes;
	uint64 hours;
	uint64 days;
	uint64 months;
	uint64 weekdays; /* 0 and 7: Sunday */
	bool any_day;	 /* it begins with * */
	bool any_weekday;
} Schedule;

extern void schedule_parse(const char *expression, Schedule *schedule);
extern TimestampTz schedule_next(const Schedule *schedule, pg_tz *zone, TimestampTz anchor, TimestampTz after);

/* --- job.c ------------------------------------------------------------------- */

#define JOB_BEHAVIOR "job"
#define JOB_MAX_RUNS 16 /* of one job at a time */

typedef enum JobOverlap
{
	OVERLAP_SKIP,
	OVERLAP_QUEUE,
	OVERLAP_ALLOW
} JobOverlap;

/* What a job's actor is spawned with. */
typedef struct JobBirth
{
	int64 id;
	Oid owner;
	NameData name;
	bool has_schedule;
	bool is_paused;
	JobOverlap overlap;
	Schedule schedule;
	TimestampTz anchor; /* that an interval is counted from */
	uint32 retries;		/* of a scheduled run that failed */
	int64 backoff_ms;
	int64 max_backoff_ms;
	char zone[TZ_STRLEN_MAX + 1];
} JobBirth;

typedef struct JobRow
{
	JobBirth birth;
	char *command;
	char *schedule; /* NULL: none */
	int64 timeout_ms;
	int history; /* runs that are kept */
	bool has_own_supervisor;
} JobRow;

/* What a worker is told, in its slot. */
typedef struct JobOrder
{
	int64 job;
	ActorAddress actor;
	Oid database;
	Oid owner;
	uint32 run;
} JobOrder;

typedef enum JobMessage
{
	JOB_STARTED = 62100, /* JobReport: from a worker */
	JOB_OVER,			 /* the same */
	JOB_RUN_NOW,
	JOB_PAUSE,
	JOB_RESUME
} JobMessage;

typedef struct JobReport
{
	uint32 run;
	int pid;
	bool is_ok;
	char reason[256];
} JobReport;

extern JobOverlap overlap_of(const char *text);
extern JobRow *job_read(int64 id);
extern JobRow *job_require(const char *name);
extern List *job_list(void);
extern int64 job_insert(const JobRow *row);
extern void job_set_paused(int64 id, bool is_paused);
extern ChildRow *job_child(int64 id);
extern ActorAddress job_spawn(const ChildRow *row, uint64 child, ActorAddress supervisor);
extern void job_init(void);

/* --- supervisionfuncs.c ------------------------------------------------------ */

extern void supervisionfuncs_init(void);
extern char *supervision_name(const text *value, const char *what);
extern int64 interval_milliseconds(const Interval *interval, const char *what);
extern const char *child_state_name(ChildState state);

#endif
