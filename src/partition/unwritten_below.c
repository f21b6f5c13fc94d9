/* Link stubs until src/transport and src/remote are written; their own definitions prevail. */
#include "postgres.h"
#include "remote/remote.h"
#include "transport/transport.h"

#define UNWRITTEN(type, name, arguments, body) \
	extern __attribute__((weak)) type name arguments; \
	type name arguments { body; }

UNWRITTEN(List *, node_list, (bool including_this), return including_this ? list_make1_int(THIS_NODE) : NIL)
UNWRITTEN(const char *, node_this_name, (void), return "n1")
UNWRITTEN(void, link_require, (uint32 node), )
UNWRITTEN(void, runtime_require, (void), )
UNWRITTEN(bool, remote_is_executing, (void), return false)
