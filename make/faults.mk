# faults: one failing malloc, write or sync at a time, over a whole life of sluisd or sluis-agent (tests/lib/iofaults.py)
#
#   make faults                        every call of sluisd once, quarter of an hour
#   make faults KINDS=agent-malloc,agent-write,agent-sync    of sluis-agent, an hour
#   make faults KINDS=sync LIMIT=20 SEED=7

FAULT_KINDS := malloc,write,write+,full,sync,sync+
$(B)/tests/faults.so: tests/preload/faults.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -fPIC -shared -o $@ $< -ldl
tests: $(B)/tests/faults.so

faults: $(BINS) $(B)/tests/faults.so ## fail every malloc, write and sync once (KINDS=agent-…: of sluis-agent); prints what came of it
	@B=$(B) KINDS=$(or $(KINDS),$(FAULT_KINDS)) LIMIT=$(or $(LIMIT),0) SEED=$(SEED) \
		tests/integration/t1430-iofaults.sh > $(B)/iofaults.log; rc=$$?; sed -n 's/^# //p' $(B)/iofaults.log; exit $$rc
.PHONY: faults
