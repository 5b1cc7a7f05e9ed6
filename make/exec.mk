# the execution tests start real tasks, so they need the shim beside them
$(B)/tests/test_exec: | $(BIN)/sluis-shim
$(B)/tests/bench_exec: | $(BIN)/sluis-shim
