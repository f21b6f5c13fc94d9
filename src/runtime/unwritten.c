#include "postgres.h"
#include "runtime/runtime.h"
Size runtime_shmem_size(void) { return 0; }
void runtime_shmem_init(void) {}
void runtime_init(void) {}
