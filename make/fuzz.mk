# fuzz: libFuzzer targets (clang)
#
#   make fuzz [SECONDS=n]     every target for n seconds (30), one "name: value unit" line per figure
#   make fuzz-frame           the target tests/fuzz/fuzz_frame.c alone
#
# Every tests/fuzz/fuzz_x.c becomes build/fuzz/fuzz_x. It starts from tests/fuzz/corpus/x; what it finds goes to
# build/fuzz/corpus/x, an input that breaks it to build/fuzz/crash-x-*. Copy such an input to
# tests/fuzz/corpus/x together with the fix. `make check` replays the corpus with the ordinary compiler
# ($(B)/tests/replay_x), so a fixed fault stays fixed without clang.

SECONDS ?= 30
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

ifeq ($(VARIANT),fuzz)
$(B)/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(TESTLIB) $(LIBS_ALL)
	@echo "  LD   $@"
	@$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call pkg,cmocka) $(ALL_LIBS)
fuzz-bins: $(FUZZ_NAMES:%=$(B)/fuzz_%)
.PHONY: fuzz-bins
endif

fuzz: ## run every fuzz target for SECONDS=n seconds (clang)
	@tests/tools/fuzz.sh $(SECONDS) $(FUZZ_NAMES)
$(FUZZ_NAMES:%=fuzz-%): fuzz-%:
	@tests/tools/fuzz.sh $(SECONDS) $*
.PHONY: fuzz $(FUZZ_NAMES:%=fuzz-%)

REPLAY_BINS := $(FUZZ_NAMES:%=$(B)/tests/replay_%)
$(B)/tests/replay_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/tools/replay.o $(TESTLIB) $(LIBS_ALL)
	$(TEST_LINK)
tests: $(REPLAY_BINS)
