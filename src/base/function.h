/*
 * function.h
 *		How a C function becomes callable from SQL.
 *
 * Symbols are hidden by default; DLOG_FUNCTION exports one and registers it
 * with the function manager.
 */
#ifndef DLOG_FUNCTION_H
#define DLOG_FUNCTION_H

#include "fmgr.h"

#define DLOG_EXPORT __attribute__((visibility("default")))

#define DLOG_FUNCTION(name) \
	extern DLOG_EXPORT Datum name(PG_FUNCTION_ARGS); \
	extern DLOG_EXPORT const Pg_finfo_record *pg_finfo_##name(void); \
	PG_FUNCTION_INFO_V1(name)

#endif
