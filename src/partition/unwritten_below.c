/* Link stubs until src/remote is written; its own definitions prevail. */
#include "postgres.h"
#include "remote/remote.h"

extern __attribute__((weak)) bool remote_is_executing(void);
bool remote_is_executing(void) { return false; }
