# sim-faults: the fault simulation (tests/sim/sim_cluster.c)
#
# make sim SEED=0x5eed [V=1]   one run (V=1: tell everything)
# make sim SEEDS=200000 [FROM=1] [JOBS=2]  so many seeds, in so many processes; after each thousand it says
#                              with which FROM= a run that was cut short goes on
# make sim                     seeds from a point drawn from the clock: roam

SIM_BIN := $(B)/tests/sim_cluster
sim: $(SIM_BIN) ## fault simulation: SEED=0x.. one run, SEEDS=n so many; else roam
	@$(SIM_BIN) $(if $(SEED),--seed=$(SEED) $(if $(V),--verbose),--seeds=$(or $(SEEDS),500) \
		--from=$(or $(FROM),$(if $(SEEDS),1,$$(date +%s))) --jobs=$(or $(JOBS),1))
.PHONY: sim

# make mutate [MUTATION=name] [SEEDS=400] [JOBS=1]  the bugs of tests/sim/mutations, planted one at a time
mutate: ## plant known bugs one at a time: each has to be found (MUTATION=name for one)
	@tests/tools/mutate.py --seeds=$(or $(SEEDS),400) --jobs=$(or $(JOBS),1) $(MUTATION)
.PHONY: mutate
