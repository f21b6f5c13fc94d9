/*
 * function.h
 *		How a C function becomes callable from SQL.
 *
 * Symbols are hidden by default; DLOG_FUNCTION exports one and registers it
 * with the function manager.  That looks it up once in a backend, and is then
 * told if the SQL that names it is of another version than the library.
 */
#ifndef DLOG_FUNCTION_H
#define DLOG_FUNCTION_H

#include "fmgr.h"

#include "base/extension.h"

#define DLOG_EXPORT __attribute__((visibility("default")))

#define DLOG_FUNCTION(name) \
	extern DLOG_EXPORT Datum name(PG_FUNCTION_ARGS); \
	extern DLOG_EXPORT const Pg_finfo_record *pg_finfo_##name(void); \
	const Pg_finfo_record * \
		pg_finfo_##name(void) \
	{ \
		static const Pg_finfo_record info = {1}; \
\
		extension_require(); \
		return &info; \
	} \
	extern DLOG_EXPORT Datum name(PG_FUNCTION_ARGS)

#endif
