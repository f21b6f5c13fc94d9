# dlog: an actor system inside PostgreSQL.  `make help` lists what can be asked.

# A folder may include itself and the folders before it in this list.
LAYERS = base wire runtime transport remote partition deploy query

EXTENSION = dlog
DATA = dlog--1.0.sql
MODULE_big = dlog
SOURCES = src/dlog.c $(foreach layer,$(LAYERS),$(wildcard src/$(layer)/*.c))
OBJS = $(SOURCES:.c=.o)

PG_CPPFLAGS = -Isrc -I$(shell $(PG_CONFIG) --includedir)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers \
	-Wno-sign-compare -fvisibility=hidden
SHLIB_LINK = -lzmq $(libpq)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS follows no headers by itself.
$(OBJS): $(wildcard src/*/*.h src/*/*.def)
