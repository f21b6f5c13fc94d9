/*
 * child.c
 *		Processes that the transport worker keeps running.
 *
 * There are two, the network process (network.c) and the program that speaks
 * mDNS (mdns.c).  The postmaster knows neither, so either may crash: the worker
 * sees it and starts another at once; one that dies young again and again is
 * started more slowly.
 */
#include "postgres.h"

#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libpq/pqsignal.h"

#include "base/clock.h"
#include "transport/transport_internal.h"

#define YOUNG_US 1000000 /* dying before that age counts as a failed start */
#define FIRST_DELAY_MS 100

/*
 * child_fork
 *		Forks; true in the child, which dies with the worker from now on.
 *
 * If there can be none, child->pid stays 0 and the failure counts.
 */
bool
child_fork(Child *child)
{
	pid_t worker = getpid();

	fflush(NULL);
	child->started_us = clock_now_us();
	child->pid = fork();
	if (child->pid == 0)
	{
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != worker)
			_exit(1); /* it died before that took effect */
		return true;
	}
	if (child->pid < 0)
	{
		child->pid = 0;
		child->failed_starts++;
		ereport(LOG, (errmsg("dlog: could not fork a process: %m")));
	}
	return false;
}

/*
 * child_reset_signals, child_unblock_signals
 *		In the child: no handler of the worker's is left; none is blocked.
 */
void
child_reset_signals(void)
{
	for (int number = 1; number <= SIGSYS; number++)
	{
		if (number != SIGKILL && number != SIGSTOP)
			pqsignal(number, SIG_DFL);
	}
}

void
child_unblock_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * child_close_files
 *		In the child: closes what came along with the fork, but for the first
 *		three and "keep".
 */
void
child_close_files(int keep)
{
	DIR *directory = opendir("/proc/self/fd");

	if (directory == NULL)
	{
		int last = (int) sysconf(_SC_OPEN_MAX);

		for (int fd = 3; fd < last; fd++)
		{
			if (fd != keep)
				close(fd);
		}
		return;
	}
	for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
	{
		int fd = atoi(entry->d_name);

		if (fd > 2 && fd != keep && fd != dirfd(directory))
			close(fd);
	}
	closedir(directory);
}

/*
 * child_has_ended
 *		Has it died since it was last asked?  Then there is none.
 */
bool
child_has_ended(Child *child, int *status)
{
	if (child->pid == 0 || waitpid(child->pid, status, WNOHANG) != child->pid)
		return false;
	child->pid = 0;
	if (clock_now_us() - child->started_us < YOUNG_US)
		child->failed_starts++;
	else
		child->failed_starts = 0;
	return true;
}

/*
 * child_kill
 *		Ends it at once, which is no failure of its own; returns its status.
 */
int
child_kill(Child *child)
{
	int status = 0;

	if (child->pid != 0)
	{
		kill(child->pid, SIGKILL);
		waitpid(child->pid, &status, 0);
	}
	child->pid = 0;
	child->failed_starts = 0;
	return status;
}

/*
 * child_delay_ms
 *		How long to wait yet before another is started; at most "slowest_ms".
 */
long
child_delay_ms(const Child *child, long slowest_ms)
{
	int64 age_ms = (int64) (clock_now_us() - child->started_us) / 1000;
	int64 delay_ms;

	if (child->failed_starts < 2)
		return 0;
	delay_ms = (int64) FIRST_DELAY_MS << Min(child->failed_starts, 16);
	return (long) Max(Min(delay_ms, slowest_ms) - age_ms, 0);
}
