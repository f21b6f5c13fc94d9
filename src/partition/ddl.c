#include "postgres.h"
#include "partition/partition_internal.h"
void partition_init(void) {}
