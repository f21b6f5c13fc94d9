# dlog: an actor system inside PostgreSQL.  `make help` lists what can be asked.

# A folder may include itself and the folders before it in this list.
LAYERS = base wire runtime membership transport remote behavior actor journal supervision partition flock deploy query

EXTENSION = dlog
DATA = dlog--1.0.sql
MODULE_big = dlog

# For other extensions: #include "dlog/actor.h", with
# -I$(shell $(PG_CONFIG) --includedir-server)/extension.
HEADERS = include/dlog/actor.h include/dlog/durable.h

SOURCES = src/dlog.c $(foreach layer,$(LAYERS),$(wildcard src/$(layer)/*.c))
OBJS = $(SOURCES:.c=.o)

PG_CPPFLAGS = -Isrc -Iinclude -I$(shell $(PG_CONFIG) --includedir)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers \
	-Wno-sign-compare -fvisibility=hidden
SHLIB_LINK = -lzmq -lresolv $(libpq)

# mDNS is a program of its own, made where Avahi's client library is.
ifneq ($(shell pkg-config --exists avahi-client 2>/dev/null && echo yes),)
MDNS = dlog_mdns
endif
EXTRA_CLEAN = dlog_mdns

# Nothing here gains from being inlined by the server's JIT.
override with_llvm = no
NO_INSTALLCHECK = 1

PG_CONFIG ?= pg_config
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
export PG_CONFIG REGRESS ISOLATION PROVE_TESTS SCALE

##           build the library
all:
ifneq ($(PGXS),)
install: may-install
include $(PGXS)

all: $(MDNS)
dlog_mdns: mdns/dlog_mdns.c src/transport/mdns_event.h
	$(CC) $(CFLAGS) -Isrc $< -o $@ $(LDFLAGS) $$(pkg-config --cflags --libs avahi-client)

ifdef MDNS
install: install-mdns
install-mdns: dlog_mdns installdirs
	$(INSTALL_PROGRAM) dlog_mdns '$(DESTDIR)$(pkglibdir)/'
uninstall: uninstall-mdns
uninstall-mdns:
	rm -f '$(DESTDIR)$(pkglibdir)/dlog_mdns'
endif

# The library knows what SQL it was made for; comments do not count.
src/base/extension.o: override CPPFLAGS += -DDLOG_SQL_FINGERPRINT='"$(shell \
	cat $(DATA) | sed '/^--/d' | cksum | cut -d' ' -f1,2 | tr ' ' -)"'
src/base/extension.o: $(DATA)

# PGXS follows no headers by itself.
$(OBJS): $(wildcard src/*/*.h src/*/*.def include/dlog/*.h)
else
all install:
	@echo 'PostgreSQL'"'"'s server headers are not here ($(PG_CONFIG) --pgxs names no file).'
	@echo 'On Debian, as root: tools/packages; elsewhere: make PG_CONFIG=/path/to/pg_config'
	@exit 1
endif

##           install it into the server of PG_CONFIG
install:

may-install:
	@[ -n '$(DESTDIR)' ] || [ -w '$(pkglibdir)' ] || { \
		echo 'You may not write to $(pkglibdir).  An administrator can run:'; \
		echo '    make -C $(CURDIR) PG_CONFIG=$(PG_CONFIG) install'; exit 1; }

##           everything: packages, build, regress, isolation, TAP, a minute of fuzzing
test:
	@tools/test

##           regress and isolation on a throw-away server; REGRESS=name, ISOLATION=name run one
installcheck:
	@tools/check $(if $(REGRESS)$(ISOLATION),$(if $(REGRESS),regress) $(if $(ISOLATION),isolation),regress isolation)

##           tests of several nodes and of crashes; PROVE_TESTS=t/001_x.pl runs one
tap:
	@tools/check tap

##           feed mutated bytes to the decoder of messages; SECONDS=60
fuzz:
	@tools/fuzz $(or $(filter-out 0,$(SECONDS)),60)

##           membership in thousands of simulated worlds; SEEDS=2000 MEMBERS=1000
simulate:
	@tools/simulate $(or $(SEEDS),2000) $(or $(MEMBERS),1000)

##           three nodes, real data, and what can be asked of them
demo:
	@tools/demo

##           start three nodes on this machine, to play with
cluster:
	@tools/cluster start

##           open psql on one of them; NODE=2
psql:
	@tools/cluster psql $(or $(NODE),1)

##           show what they log
logs:
	@tools/cluster logs

##           stop them; their data stays until make clean
cluster-stop:
	@tools/cluster stop

##           measure; B=query or B=actors against others, B=stop, B=sql_actors, B=journal, B=supervision, B=deploy, B=membership
bench:
	@[ -x 'bench/$(or $(B),query)/run' ] || { \
		echo 'There is no benchmark "$(B)".  There are:' $(notdir $(wildcard bench/*)); exit 1; }
	@bench/$(or $(B),query)/run

##           layers, headers that compile alone, exported symbols, formatting
lint:
	@tools/lint

##           lay out the C code
format:
	@tools/format

##           build without optimization, with stop points
debug: clean-objects
	$(MAKE) COPT='-O0 -g3 -DDLOG_STOP_POINTS' all

clean-objects:
	rm -f $(OBJS) dlog.so

##           stop the nodes, remove what was built and all scratch data
clean: clean-scratch
clean-scratch:
	@tools/cluster clean

##           this list
help:
	@awk '/^## / { sub(/^## */, ""); text = $$0; next } \
		text != "" { sub(/:.*/, ""); printf "make %-14s %s\n", $$0, text; text = "" }' \
		Makefile

.PHONY: all install install-mdns uninstall-mdns test installcheck tap fuzz simulate demo cluster psql logs cluster-stop \
	bench lint format debug clean may-install clean-objects clean-scratch help
