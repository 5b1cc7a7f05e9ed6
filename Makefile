# sluis - one non-recursive Makefile. `make help` lists what there is.
#
# Every folder in LIB_DIRS becomes one static library of all its .c files; every program is its
# own sources plus those libraries. A new .c file needs no edit here.

VARIANT ?= release
B := build/$(VARIANT)
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= cc
MAKEFLAGS += --no-print-directory
VERSION := 0.1.0

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

PKGS := libzmq msgpack hwloc lmdb libsodium yaml-0.1 jansson smartcols libzstd libsystemd
PKG_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(PKGS) 2>/dev/null))
pkg = $(shell pkg-config --libs $(1) 2>/dev/null)

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wmissing-prototypes \
	-Wstrict-prototypes -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings \
	-Wformat=2 -Wundef -Wvla -Wdouble-promotion -Wimplicit-fallthrough -fno-common
ifeq ($(DEV),1)
WARN += -Werror
endif

OPT := -O2 -g
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
LDHARDEN := -pie -Wl,-z,relro,-z,now
ifeq ($(VARIANT),asan)
OPT := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
HARDEN := -fPIE
endif
ifeq ($(VARIANT),tsan)
OPT := -O1 -g -fsanitize=thread
HARDEN := -fPIE
endif
ifeq ($(VARIANT),cov)
OPT := -O0 -g --coverage
HARDEN := -fPIE
endif
ifeq ($(VARIANT),fuzz)
CC := clang
OPT := -O1 -g -fsanitize=fuzzer-no-link,address,undefined
HARDEN := -fPIE
endif

# for make determinism: the other compiler, the other end of the optimiser
ifneq ($(filter clang clang0,$(VARIANT)),)
CC := clang
WARN += -Wno-error # what clang warns of is for make fuzz to stop at
endif
ifneq ($(filter gcc0 clang0,$(VARIANT)),)
OPT := -O0 -g
HARDEN := -fPIE
WARN += -Wno-error # without the optimiser gcc warns of what it cannot follow
endif

ALL_CPPFLAGS := -I. -D_GNU_SOURCE -DSLUIS_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CPPFLAGS)
ALL_CFLAGS := -std=gnu11 $(WARN) $(OPT) $(HARDEN) -pthread $(CFLAGS)
ALL_LDFLAGS := $(OPT) $(LDHARDEN) -pthread $(LDFLAGS)

# ---- libraries: one per folder, each with the one door it may open --------------------------------
LIB_DIRS := proto/base proto/model proto/wire proto/link proto/config proto/client proto/logfile \
	daemon/core daemon/store daemon/sim agent/core agent/probe agent/exec
lib_src = $(sort $(wildcard $(1)/*.c))
lib_a = $(B)/lib/$(subst /,-,$(1)).a
LIBS_ALL := $(foreach d,$(LIB_DIRS),$(if $(call lib_src,$(d)),$(call lib_a,$(d))))
libs = $(foreach d,$(1),$(if $(call lib_src,$(d)),$(call lib_a,$(d))))

define LIB_RULE
$(call lib_a,$(1)): $(patsubst %.c,$(B)/%.o,$(call lib_src,$(1)))
endef
$(foreach d,$(LIB_DIRS),$(if $(call lib_src,$(d)),$(eval $(call LIB_RULE,$(d)))))

$(B)/lib/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	@$(AR) rcs $@ $^

# $(B)/flags changes when the compiler or any flag does, and with it every object.
FLAGS_NOW := $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS)
$(B)/flags: .force
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' > $@
.PHONY: .force

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC   $<")
	$(if $(V),,@)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# ---- programs --------------------------------------------------------------------------------------
# The shells of a program are the .c files directly in its folder; a program with several mains
# names them.
BIN := $(B)/bin
PROTO := proto/client proto/logfile proto/config proto/link proto/wire proto/model proto/base
ZMQ := $(call pkg,libzmq libsodium)
CONF := $(call pkg,yaml-0.1)

sluisd_SRC := $(wildcard daemon/*.c)
sluisd_DIRS := daemon/store daemon/core $(PROTO)
sluisd_LIBS := $(ZMQ) $(CONF) $(call pkg,lmdb msgpack)
sluis-sim_SRC := $(wildcard daemon/sim/main/*.c)
sluis-sim_DIRS := daemon/sim daemon/store daemon/core $(PROTO)
sluis-sim_LIBS := $(ZMQ) $(CONF) $(call pkg,lmdb msgpack jansson) -lm
sluis-agent_SRC := $(wildcard agent/*.c)
sluis-agent_DIRS := agent/core agent/probe agent/exec $(PROTO)
sluis-agent_LIBS := $(ZMQ) $(CONF) $(call pkg,hwloc msgpack libsystemd) -ldl
sluis-execd_SRC := $(wildcard agent/execd/*.c)
sluis-execd_DIRS := agent/exec proto/link proto/base
sluis-execd_LIBS := $(call pkg,libsystemd)
sluis-shim_SRC := $(wildcard agent/shim/*.c)
sluis-shim_DIRS := agent/exec proto/base
# static where libc.a is at hand: half the cost of a start, and no library upgrade under a running task
sluis-shim_LIBS := $(if $(filter release,$(VARIANT)),$(if $(findstring /,$(shell $(CC) -print-file-name=libc.a)),-static-pie))
sluisctl_SRC := $(wildcard ctl/*.c)
sluisctl_DIRS := $(PROTO)
sluisctl_LIBS := $(ZMQ) $(CONF) $(call pkg,msgpack jansson smartcols)

PROGRAMS := sluisd sluis-sim sluis-agent sluis-execd sluis-shim sluisctl
have = $(if $($(1)_SRC),$(BIN)/$(1))
BINS := $(foreach p,$(PROGRAMS),$(call have,$(p)))

define PROGRAM_RULE
$(BIN)/$(1): $(patsubst %.c,$(B)/%.o,$($(1)_SRC)) $(call libs,$($(1)_DIRS))
	@mkdir -p $$(@D)
	$$(if $$(V),,@echo "  LD   $$@")
	$$(if $$(V),,@)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$($(1)_LIBS)
endef
$(foreach p,$(PROGRAMS),$(if $($(p)_SRC),$(eval $(call PROGRAM_RULE,$(p)))))

all: $(BINS) ## build the programs into build/$(VARIANT)/bin

# ---- tests -----------------------------------------------------------------------------------------
TEST_LIB_SRC := $(sort $(wildcard tests/lib/*.c))
TESTLIB := $(if $(TEST_LIB_SRC),$(B)/lib/tests-lib.a)
$(B)/lib/tests-lib.a: $(patsubst %.c,$(B)/%.o,$(TEST_LIB_SRC))
ALL_LIBS := $(call pkg,$(PKGS)) -ldl -lm
UNIT_BINS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
SIM_BINS := $(patsubst tests/sim/%.c,$(B)/tests/%,$(wildcard tests/sim/sim_*.c))
BENCH_BINS := $(patsubst tests/bench/%.c,$(B)/tests/%,$(wildcard tests/bench/bench_*.c))

define TEST_LINK
@mkdir -p $(@D)
$(if $(V),,@echo "  LD   $@")
$(if $(V),,@)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call pkg,cmocka) $(ALL_LIBS)
endef
$(B)/tests/test_%: $(B)/tests/unit/test_%.o $(TESTLIB) $(LIBS_ALL)
	$(TEST_LINK)
$(B)/tests/sim_%: $(B)/tests/sim/sim_%.o $(TESTLIB) $(LIBS_ALL)
	$(TEST_LINK)
$(B)/tests/bench_%: $(B)/tests/bench/bench_%.o $(TESTLIB) $(LIBS_ALL)
	$(TEST_LINK)

# The store's crash tests link liblmdb statically with pwrite, pwritev and fdatasync wrapped.
$(B)/tests/test_store_crash: $(B)/tests/unit/test_store_crash.o $(TESTLIB) $(LIBS_ALL)
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -l:liblmdb.a -Wl,--end-group \
		-Wl,--wrap=pwrite,--wrap=pwritev,--wrap=fdatasync,--wrap=fsync,--wrap=writev,--wrap=write,--wrap=lseek,--wrap=renameat,--wrap=renameat2 $(call pkg,cmocka) $(filter-out -llmdb,$(ALL_LIBS))

TESTS ?=
check: deps ## all tests: layers, headers, units, simulation smoke, integration; ends with "N passed, N failed"
	@$(MAKE) -s $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc)) all tests VARIANT=$(VARIANT)
	@B=$(B) VARIANT=$(VARIANT) tests/run $(TESTS)
tests: $(UNIT_BINS) $(SIM_BINS) ## build the test programs
.PHONY: all check tests

-include $(wildcard make/*.mk)
-include $(shell find $(B) -name '*.d' 2>/dev/null)

clean: ## remove build/
	rm -rf build compile_commands.json
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18
.PHONY: clean help
