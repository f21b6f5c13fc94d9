#include "postgres.h"
#include "query/query.h"
void query_init(void) {}
