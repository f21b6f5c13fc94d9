/* Link stubs until src/remote and src/transport are written; theirs prevail. */
#include "postgres.h"
#include "remote/remote.h"

extern __attribute__((weak)) RemoteStatus remote_next_or_error(RemoteStream *stream, TupleTableSlot *slot, ErrorData **error);
RemoteStatus remote_next_or_error(RemoteStream *stream, TupleTableSlot *slot, ErrorData **error) { elog(ERROR, "not written yet"); }
extern __attribute__((weak)) bool remote_wait_until(TimestampTz deadline);
bool remote_wait_until(TimestampTz deadline) { elog(ERROR, "not written yet"); }
extern __attribute__((weak)) List *node_list(bool including_this);
List *node_list(bool including_this) { return including_this ? list_make1_int(THIS_NODE) : NIL; }
extern __attribute__((weak)) const char *node_this_name(void);
const char *node_this_name(void) { return "here"; }
