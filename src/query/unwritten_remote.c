/* Link stubs until src/remote is written; its own definitions prevail. */
#include "postgres.h"
#include "remote/remote.h"

#define UNWRITTEN(type, name, arguments) \
	extern __attribute__((weak)) type name arguments; \
	type name arguments { elog(ERROR, "%s is not written yet", #name); }

UNWRITTEN(RemoteStream *, remote_open, (uint32 node, const RemoteRequest *request))
UNWRITTEN(RemoteStatus, remote_next, (RemoteStream * stream, TupleTableSlot *slot))
UNWRITTEN(void, remote_wait, (void))
UNWRITTEN(void, remote_close, (RemoteStream * stream))
UNWRITTEN(void, remote_stats, (RemoteStream * stream, RemoteStats *stats))
UNWRITTEN(void, remote_put, (RemoteStream * stream, TupleTableSlot *slot))
UNWRITTEN(uint64, remote_finish, (RemoteStream * stream))
UNWRITTEN(uint64, remote_run, (uint32 node, const RemoteRequest *request))
UNWRITTEN(char *, remote_run_text, (uint32 node, const RemoteRequest *request))
UNWRITTEN(bool, remote_is_executing, (void))
