# determinism: one stream of commands, one set of simulations, decided by differently built cores
#
#   make determinism [EVENTS=n]    gcc and clang, -O0 and -O2, sanitizers; 1,000,000 commands
#
# tests/determinism/run.sh says what is compared. `make check` runs a bounded part (t0004-determinism.sh).

DET_DIRS := daemon/sim daemon/core proto/wire proto/model proto/base
DET_OBJS := $(B)/tests/determinism/stream.o $(B)/tests/lib/state_hash.o
$(B)/tests/stream: $(DET_OBJS) $(call libs,$(DET_DIRS))
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		$(call pkg,msgpack jansson) -lz -lm
tests: $(B)/tests/stream

determinism: ## the same commands and simulations under other compilers and sanitizers: one digest
	@EVENTS=$(or $(EVENTS),1000000) tests/determinism/run.sh release gcc0 clang clang0 asan
.PHONY: determinism
