/*
 * supervision_internal.h
 *		What the files of src/supervision share.
 */
#ifndef DLOG_SUPERVISION_INTERNAL_H
#define DLOG_SUPERVISION_INTERNAL_H

#include "lib/ilist.h"

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

#endif
