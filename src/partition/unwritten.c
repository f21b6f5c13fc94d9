#include "postgres.h"
#include "partition/partition.h"
void partition_init(void) {}
