# The tests of the agent's shell link the objects that they are about.
$(B)/tests/test_hooks_run: $(B)/agent/hooks_run.o
$(B)/tests/test_hooks: $(B)/agent/hooks.o
$(B)/tests/test_health: $(B)/agent/health.o
$(B)/tests/test_reports: $(B)/agent/reports.o
$(B)/tests/test_confine: $(B)/agent/confine.o $(B)/agent/node.o
