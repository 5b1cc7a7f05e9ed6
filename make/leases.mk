# leases: lease safety at scale (tests/sim/sim_leases.c), with figures
#
#   make leases                        10,000 leases through two hours without sluisd, and renewals around their deadline
#   make leases SCENARIOS="a b"        others of its table

leases: $(B)/tests/sim_leases ## 10,000 leases while sluisd is away for two hours, and renewals around the deadline
	@$< $(or $(SCENARIOS),down-two-hours around-the-deadline)
.PHONY: leases
