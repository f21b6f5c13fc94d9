#include "postgres.h"
#include "base/arena.h"
#include "base/stop_point.h"
Size arena_shmem_size(void) { return 0; }
void arena_shmem_init(void) {}
Size stop_point_shmem_size(void) { return 0; }
void stop_point_shmem_init(void) {}
