/*
 * pg_compat.h
 *		The one place that knows server versions (15 to 18).
 *
 * Offers the newest server's shape of a call to all code.  Grouped by the
 * version that will one day be dropped.
 */
#ifndef DLOG_PG_COMPAT_H
#define DLOG_PG_COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "dlog supports PostgreSQL 15 to 18"
#endif

#include "storage/proc.h"

/* --- 15 and 16 ---------------------------------------------------------- */
#if PG_VERSION_NUM < 170000
/* 17 numbers processes as ProcNumber and keeps our own in MyProcNumber. */
typedef int ProcNumber;
#define GetNumberFromPGProc(proc) ((proc)->pgprocno)
#define MyProcNumber (MyProc->pgprocno)
#endif

#endif
