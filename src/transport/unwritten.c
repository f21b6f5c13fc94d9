#include "postgres.h"
#include "transport/transport.h"
Size transport_shmem_size(void) { return 0; }
void transport_shmem_init(void) {}
void transport_init(void) {}
