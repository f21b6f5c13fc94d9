/*
 * extension.h
 *		The extension in the database of this process: whether it is there, made
 *		by SQL of this library, and stays.
 */
#ifndef DLOG_EXTENSION_H
#define DLOG_EXTENSION_H

/* What the extension of this database is to this library. */
typedef enum ExtensionFit
{
	EXTENSION_NONE,	 /* there is none */
	EXTENSION_OTHER, /* it was made by other SQL */
	EXTENSION_OURS
} ExtensionFit;

extern ExtensionFit extension_fit(void);
extern void extension_refuse(int level);
extern void extension_require(void);
extern void extension_begin(void);

#endif
