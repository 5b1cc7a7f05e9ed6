# failpoints: sluisd, sluis-agent and sluis-shim that die where a test says (proto/base/failpoint.h)
#
#   make failpoints [ROUNDS=n] [SEED=n]     SIGKILL at every failpoint, n times at different hits
#
# Only the files that hold a FAILPOINT() are compiled anew; everything else is the build's own.

FP := $(B)/failpoints
FP_SRC := $(shell grep -rl 'FAILPOINT."' proto daemon agent --include=*.c)
fp_obj = $(patsubst %.c,$(B)/%.o,$(filter-out $(FP_SRC),$(1))) $(patsubst %.c,$(FP)/%.o,$(filter $(FP_SRC),$(1)))

$(FP)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC   $< (failpoints)")
	$(if $(V),,@)$(CC) $(ALL_CPPFLAGS) -DSLUIS_FAILPOINTS $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# $(1) with the failpoints of its own files and of folders $(2). The objects come before the archives, so the archives' members of the same names stay out.
define FP_RULE
$(FP)/bin/$(1): $(call fp_obj,$(sort $($(1)_SRC) $(filter $(FP_SRC),$(foreach d,$(2),$(call lib_src,$(d)))))) $(call libs,$($(1)_DIRS))
	@mkdir -p $$(@D)
	$$(if $$(V),,@echo "  LD   $$@")
	$$(if $$(V),,@)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$($(1)_LIBS)
endef
$(foreach p,sluisd sluis-agent,$(eval $(call FP_RULE,$(p),$($(p)_DIRS))))
$(eval $(call FP_RULE,sluis-shim,)) # not of agent/exec, of which it links next to nothing
FP_BINS := $(FP)/bin/sluisd $(FP)/bin/sluis-agent $(FP)/bin/sluis-shim
tests: $(FP_BINS)

failpoints: $(BINS) $(FP_BINS) ## SIGKILL at every failpoint of sluisd and sluis-agent, ROUNDS times (1)
	@B=$(B) ROUNDS=$(or $(ROUNDS),1) SEED=$(SEED) tests/integration/t1420-failpoints.sh > $(B)/failpoints.log; rc=$$?; \
		sed -n 's/^# //p' $(B)/failpoints.log; exit $$rc
.PHONY: failpoints
