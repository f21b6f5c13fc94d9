#include "postgres.h"
#include "remote/remote.h"
Size remote_shmem_size(void) { return 0; }
void remote_shmem_init(void) {}
void remote_init(void) {}
