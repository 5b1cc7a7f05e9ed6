# the execution tests start real tasks, so they need the shim beside them
$(B)/tests/test_exec: | $(BIN)/sluis-shim

# survive: agent and sluisd die at random moments under work: figures as "name: value unit"
#
#   make survive [TASKS=1000] [KILLS=n] [SEED=n] [SECONDS=1.0] [DEVICES=64]
TASKS ?= 1000
survive: $(BINS) ## tasks outlive the agent: killed, restarted and upgraded at random moments
	@for python in python3 /usr/bin/python3; do \
		"$$python" -c 'import zmq, msgpack' 2>/dev/null || continue; \
		t=$$(mktemp -d /tmp/sluis-survive-XXXXXX); \
		TASKS=$(TASKS) KILLS=$(KILLS) $(if $(SEED),SEED=$(SEED)) $(if $(SECONDS),SECONDS=$(SECONDS)) T=$$t BIN=$(BIN) \
			PYTHONPATH=tests/lib PYTHONDONTWRITEBYTECODE=1 "$$python" tests/lib/survive.py; \
		rc=$$?; rm -rf "$$t"; exit $$rc; done
.PHONY: survive

$(B)/tests/bench_exec: | $(BIN)/sluis-shim
