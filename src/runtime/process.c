/*
 * process.c
 *		Every process that takes part has a slot with an inbox.
 *
 * Slot 0 is nobody's, slot 1 the network process's, and the others follow
 * the numbers of the server's PGPROCs.  An inbox is a stack onto which anyone
 * pushes by compare-and-swap; its process takes all of it at once and turns
 * it around, so that the messages of each sender stay in their order.  A
 * detached process's inbox is closed: a push fails, so nothing gets stuck.
 *
 * The network process may be killed at any instruction while all others go
 * on.  What it has in its hands names it as owner in the arena.  It marks the
 * messages in its inbox as its own before it takes them out, and gives up
 * what it sends just before it pushes it, so whatever it owns at its death
 * and is not in its inbox is nobody else's.  (A kill between giving up and
 * pushing leaks that one message.)
 *
 * No locks anywhere in here.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "base/guc.h"
#include "base/pg_compat.h"
#include "runtime/runtime_internal.h"

static ProcessSlot *processes; /* arena_owner_count() of them */

uint16 my_process_slot = PROCESS_NONE;
ProcessSlot *my_process;

/* An eventfd that all processes inherit; it wakes the network process. */
static int wakeup_fd = -1;

ProcessSlot *
process_at(uint16 slot)
{
	return &processes[slot];
}

uint16
process_slot(void)
{
	process_attach();
	return my_process_slot;
}

/* ------------------------------------------------------------- waking up */

/*
 * process_wake
 *		Sets the latch of a process, whatever it waits for.
 */
void
process_wake(uint16 slot)
{
	Latch *latch = processes[slot].latch;

	if (latch != NULL)
		SetLatch(latch);
}

/*
 * process_signal
 *		Interrupt what a process does, if it takes interrupts.  Any process.
 */
void
process_signal(uint16 slot)
{
	ProcessSlot *process = &processes[slot];

	if (process->takes_interrupts && process->pid != 0)
		(void) kill(process->pid, SIGUSR2);
}

void
process_interrupt(int proc_number)
{
	process_signal(PROCESS_NETWORK + 1 + proc_number);
}

#define MAX_INTERRUPTS 4
static bool (*interrupt_is_ours[MAX_INTERRUPTS])(void);
static int n_interrupts = 0;

static void
handle_interrupt(SIGNAL_ARGS)
{
	int save_errno = errno;

	for (int i = 0; i < n_interrupts; i++)
	{
		if (interrupt_is_ours[i]())
		{
			InterruptPending = true;
			QueryCancelPending = true;
		}
	}
	SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * process_take_interrupts
 *		From now on, interrupts that this function says concern this process
 *		cancel its query.  Once for each function.
 */
void
process_take_interrupts(bool (*is_concerned)(void))
{
	process_attach();
	if (n_interrupts == MAX_INTERRUPTS)
		elog(ERROR, "too many kinds of interrupts");
	interrupt_is_ours[n_interrupts++] = is_concerned;
	pqsignal(SIGUSR2, handle_interrupt);
	my_process->takes_interrupts = true;
}

static void
signal_mail(uint16 slot)
{
	ProcessSlot *process = &processes[slot];

	if (pg_atomic_exchange_u32(&process->is_signalled, 1) != 0)
		return;
	if (slot == PROCESS_NETWORK)
	{
		uint64 one = 1;
		ssize_t written pg_attribute_unused();

		/* It can only fail when the counter is full: it is signalled then. */
		written = write(wakeup_fd, &one, sizeof(one));
	}
	else
		process_wake(slot);
}

/*
 * Wake-ups that this process holds back.  A signal handler of its own may
 * release them at any point, so a slot is written before it is counted, and
 * whoever counts one looks again whether it was still to be held.
 */
#define MAX_HELD 16
static volatile sig_atomic_t is_holding = false;
static volatile sig_atomic_t n_held = 0;
static uint16 held[MAX_HELD];

/*
 * What this process has sent to the network process since it holds wake-ups
 * back, newest first as in an inbox.  They go there together, so that those
 * for one node leave in one frame.
 */
static pg_atomic_uint64 held_outgoing;

static void
push_held_outgoing(void)
{
	pg_atomic_uint64 *inbox = &processes[PROCESS_NETWORK].inbox;
	Message *newest = (Message *) pg_atomic_exchange_u64(&held_outgoing, 0);
	Message *oldest = newest;
	uint64 before;
	uint32 n = 1;

	if (newest == NULL)
		return;
	for (; oldest->next != NULL; oldest = oldest->next)
		n++;
	before = pg_atomic_read_u64(inbox);
	do
	{
		oldest->next = (Message *) before;
	} while (!pg_atomic_compare_exchange_u64(inbox, &before, (uint64) newest));
	pg_atomic_fetch_add_u32(&processes[PROCESS_NETWORK].queued, n);
	signal_mail(PROCESS_NETWORK);
}

/*
 * process_hold_wakeups
 *		From here to process_release_wakeups(), those to whom this process
 *		sends find the messages in their inboxes, but are not woken for them,
 *		and what is for other nodes stays here.
 *
 * For messages that follow each other closely.  Waiting releases them too.
 */
void
process_hold_wakeups(void)
{
	is_holding = true;
}

/*
 * process_release_wakeups
 *		Wake those who were not.  A signal handler may call it.
 */
void
process_release_wakeups(void)
{
	is_holding = false;
	pg_compiler_barrier();
	push_held_outgoing();
	for (int i = 0; i < n_held; i++)
		signal_mail(held[i]);
	n_held = 0;
}

/* Keep a message for the network process until they are released. */
static void
hold_outgoing(Message *message)
{
	uint64 newest = pg_atomic_read_u64(&held_outgoing);

	do
	{
		message->next = (Message *) newest;
	} while (!pg_atomic_compare_exchange_u64(&held_outgoing, &newest, (uint64) message));
	pg_compiler_barrier();
	if (!is_holding)
		process_release_wakeups();
}

/* Wake the owner of an inbox, now or with the others. */
static void
tell_mail(uint16 slot)
{
	if (is_holding)
	{
		for (int i = 0; i < n_held; i++)
		{
			if (held[i] == slot)
				slot = PROCESS_NONE;
		}
		if (slot != PROCESS_NONE && n_held < MAX_HELD)
		{
			held[n_held] = slot;
			pg_compiler_barrier();
			n_held++;
			slot = PROCESS_NONE;
		}
		pg_compiler_barrier();
		if (!is_holding)
			process_release_wakeups();
	}
	if (slot != PROCESS_NONE)
		signal_mail(slot);
}

/* --------------------------------------------------------------- inboxes */

/*
 * process_push
 *		Put a message into the inbox of a process and wake it.
 *
 * Any process.  False if nobody is attached there; the message is still the
 * caller's then.
 */
bool
process_push(uint16 slot, Message *message)
{
	ProcessSlot *process = &processes[slot];
	uint64 newest = pg_atomic_read_u64(&process->inbox);

	if (newest == INBOX_CLOSED)
		return false;
	if (my_process_slot == PROCESS_NETWORK)
		arena_set_owner(message, ARENA_NO_OWNER);
	do
	{
		if (newest == INBOX_CLOSED)
		{
			if (my_process_slot == PROCESS_NETWORK)
				arena_set_owner(message, PROCESS_NETWORK);
			return false;
		}
		message->next = (Message *) newest;
	} while (!pg_atomic_compare_exchange_u64(&process->inbox, &newest, (uint64) message));
	pg_atomic_fetch_add_u32(&process->queued, 1);
	tell_mail(slot);
	return true;
}

/* May one more message wait there?  (Senders in a race may exceed it.) */
bool
process_has_room(uint16 slot)
{
	return (int32) pg_atomic_read_u32(&processes[slot].queued) < dlog_mailbox_limit;
}

bool
process_has_mail(void)
{
	return my_process != NULL && pg_atomic_read_u64(&my_process->inbox) != 0;
}

static Message *
oldest_first(Message *newest)
{
	Message *oldest = NULL;

	while (newest != NULL)
	{
		Message *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

/*
 * process_awaits_mail
 *		From here on the next sender of mail sets this process's latch.
 *
 * To be followed by a look at the inbox: if one sent before this, no latch is
 * set for it.
 */
void
process_awaits_mail(void)
{
	pg_atomic_write_u32(&my_process->is_signalled, 0);
	pg_memory_barrier();
}

/*
 * process_take
 *		All messages in this process's inbox, in the order of their arrival.
 *
 * They count as queued until an actor has received them.
 */
Message *
process_take(void)
{
	process_awaits_mail();
	if (pg_atomic_read_u64(&my_process->inbox) == 0)
		return NULL;
	return oldest_first((Message *) pg_atomic_exchange_u64(&my_process->inbox, 0));
}

void
process_count_sent(void)
{
	process_count_sent_many(1);
}

void
process_count_sent_many(uint32 n)
{
	if (my_process != NULL)
		pg_atomic_write_u64(&my_process->sent, pg_atomic_read_u64(&my_process->sent) + n);
}

void
process_count_received(uint32 n)
{
	pg_atomic_write_u64(&my_process->received, pg_atomic_read_u64(&my_process->received) + n);
}

/* ------------------------------------------------- attaching, detaching */

/* Leave in good order: what nobody will receive any more is answered. */
static void
process_detach(int code, Datum arg)
{
	Message *message;

	if (my_process == NULL)
		return;
	bound_exit_all(REASON_PROCESS_EXITED);
	process_release_wakeups();
	message = oldest_first((Message *) pg_atomic_exchange_u64(&my_process->inbox, INBOX_CLOSED));
	while (message != NULL)
	{
		Message *next = message->next;

		pg_atomic_fetch_sub_u32(&my_process->queued, 1);
		actor_send_undelivered(message, SEND_NO_ACTOR);
		message = next;
	}
	my_process->takes_interrupts = false;
	my_process = NULL;
	my_process_slot = PROCESS_NONE;
	arena_detach();
}

/*
 * process_attach
 *		Take this process's slot, if it has not done so.
 */
void
process_attach(void)
{
	if (my_process != NULL)
		return;
	runtime_require();
	if (MyProc == NULL)
		elog(ERROR, "process has no PGPROC");
	my_process_slot = PROCESS_NETWORK + 1 + MyProcNumber;
	my_process = &processes[my_process_slot];
	my_process->latch = &MyProc->procLatch;
	my_process->pid = MyProcPid;
	my_process->takes_interrupts = false;
	pg_atomic_write_u32(&my_process->is_signalled, 0);
	arena_attach(my_process_slot);
	Assert(pg_atomic_read_u64(&my_process->inbox) == INBOX_CLOSED);
	pg_atomic_write_u64(&my_process->inbox, 0);
	before_shmem_exit(process_detach, (Datum) 0);
}

/* ------------------------------------------------------ network process */

/*
 * process_attach_network
 *		Called in the network process right after it was forked.
 *
 * It leaves the transport worker's slot to the transport worker.
 */
void
process_attach_network(void)
{
	MyProcPid = getpid();
	bound_forget_all();
	is_holding = false;
	n_held = 0;
	pg_atomic_write_u64(&held_outgoing, 0);
	my_process_slot = PROCESS_NETWORK;
	my_process = &processes[PROCESS_NETWORK];
	my_process->pid = MyProcPid;
	pg_atomic_write_u32(&my_process->is_signalled, 1);
	arena_attach_mortal(PROCESS_NETWORK);
}

/*
 * process_network_died
 *		Free what the dead network process owned.  Returns how many blocks.
 *
 * For the transport worker, once it knows that the process is dead.  Messages
 * that others sent to it stay in its inbox for its successor.
 */
uint64
process_network_died(void)
{
	ProcessSlot *process = &processes[PROCESS_NETWORK];
	Message *message = (Message *) pg_atomic_read_u64(&process->inbox);
	uint64 swept;

	/*
	 * Only the one that receives takes messages out, and it is dead; so the
	 * list can be walked while others push in front of it.
	 */
	process_attach();
	for (; message != NULL; message = message->next)
		arena_set_owner(message, ARENA_NO_OWNER);
	process->pid = 0;
	swept = arena_sweep(PROCESS_NETWORK, NULL);

	/* It may have died between sending work and waking somebody up for it. */
	database_wake_waiting();
	return swept;
}

/*
 * process_network_send
 *		Put a message into the network process's inbox.  Any process.
 */
void
process_network_send(Message *message)
{
	if (is_holding && my_process_slot != PROCESS_NETWORK)
		hold_outgoing(message);
	else
		(void) process_push(PROCESS_NETWORK, message);
}

Message *
network_inbox_take(void)
{
	uint64 newest = pg_atomic_read_u64(&my_process->inbox);
	Message *message;

	Assert(my_process_slot == PROCESS_NETWORK);
	do
	{
		if (newest == 0)
			return NULL;
		for (message = (Message *) newest; message != NULL; message = message->next)
			arena_set_owner(message, PROCESS_NETWORK);
	} while (!pg_atomic_compare_exchange_u64(&my_process->inbox, &newest, 0));
	return oldest_first((Message *) newest);
}

/*
 * network_inbox_sleep
 *		From now on a message is announced on process_wakeup_fd(): a write,
 *		which epoll tells of in its edge-triggered mode.  It is never read.
 *
 * False when there is one already.
 */
bool
network_inbox_sleep(void)
{
	pg_atomic_write_u32(&my_process->is_signalled, 0);
	pg_memory_barrier();
	if (pg_atomic_read_u64(&my_process->inbox) == 0)
		return true;
	pg_atomic_write_u32(&my_process->is_signalled, 1);
	return false;
}

/* The sleep is over: nobody need write to it. */
void
network_inbox_awake(void)
{
	pg_atomic_write_u32(&my_process->is_signalled, 1);
}

int
process_wakeup_fd(void)
{
	return wakeup_fd;
}

/* --------------------------------------------------------- shared memory */

Size
process_shmem_size(void)
{
	return add_size(mul_size(arena_owner_count(), sizeof(ProcessSlot)), PG_CACHE_LINE_SIZE);
}

void
process_shmem_init(void)
{
	bool found;
	uint32 i;

	processes = (ProcessSlot *) CACHELINEALIGN(ShmemInitStruct("dlog processes", process_shmem_size(), &found));
	if (found)
		return;
	memset(processes, 0, arena_owner_count() * sizeof(ProcessSlot));
	for (i = 0; i < arena_owner_count(); i++)
	{
		pg_atomic_init_u64(&processes[i].inbox, i == PROCESS_NETWORK ? 0 : INBOX_CLOSED);
		pg_atomic_init_u32(&processes[i].is_signalled, 0);
		pg_atomic_init_u32(&processes[i].queued, 0);
		pg_atomic_init_u64(&processes[i].sent, 0);
		pg_atomic_init_u64(&processes[i].received, 0);
	}
}

/*
 * process_init
 *		In the postmaster, before anything is forked.
 */
void
process_init(void)
{
	pg_atomic_init_u64(&held_outgoing, 0);
	wakeup_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (wakeup_fd < 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not create an eventfd: %m")));
	arena_attach_hook = process_attach;
}
