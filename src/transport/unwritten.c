#include "postgres.h"
#include "transport/transport.h"
Size transport_shmem_size(void) { return 0; }
void transport_shmem_init(void) {}
void transport_init(void) {}
uint32 node_find(const char *name, bool missing_ok) { return UINT32_MAX; }
const char *node_name(uint32 node) { return ""; }
