# partitions, pauses and crashes between the real programs, each in namespaces of its own (root)

netfaults: $(BINS) ## RUNS (20) rounds of partitions, pauses and crashes in network and time namespaces
	@B=$(B) RUNS=$(or $(RUNS),20) SEED=$(SEED) tests/integration/t1450-netfaults.sh > $(B)/netfaults.log; rc=$$?; \
		sed -n 's/^# //p' $(B)/netfaults.log; exit $$rc
.PHONY: netfaults
