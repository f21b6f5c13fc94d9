#include "postgres.h"
#include "deploy/deploy.h"
void deploy_init(void) {}
