# storm, hostile: many agents at once, and under attack, against the real sluisd; figures as "name: value unit"
#
#   make storm                2,000 agents; AGENTS=10000 is the promise, and takes minutes
#   make soak SECONDS=600     what ten minutes of kills and pauses do to memory and descriptors
#   make hostile              100 agents while rubbish arrives at every door; SECONDS_EACH=10

PYTHON_ZMQ := for p in python3 /usr/bin/python3; do $$p -c 'import zmq, msgpack' 2>/dev/null && break; done

# The clients stand for as many machines, on the same processors as sluisd: their handshakes use memory again
# as those of sluis-agent do (guarded.h), which python's libzmq does not by itself.
GUARDED := $(B)/tests/guarded.so
$(GUARDED): proto/link/guarded.c proto/base/ensure.c $(B)/flags
	@mkdir -p $(@D)
	@$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -fPIC -shared -o $@ $(filter %.c,$^) -Wl,--no-as-needed $(call pkg,libsodium)

storm: $(BIN)/sluisd $(BIN)/sluis-agent $(BIN)/sluis-shim $(GUARDED) ## AGENTS agents (2000) connect, and come back after kill -9
	@$(PYTHON_ZMQ); t=$$(mktemp -d) && T=$$t BIN=$(abspath $(BIN)) SLUISD=$(abspath $(BIN)/sluisd) PYTHONPATH=tests/lib PYTHONDONTWRITEBYTECODE=1 \
		LD_PRELOAD=$(abspath $(GUARDED)) $$p tests/lib/storm.py $(or $(AGENTS),2000); rc=$$?; rm -rf "$$t"; exit $$rc

hostile: $(BIN)/sluisd ## rubbish at every door while 100 agents work
	@B=$(B) PATIENT= SECONDS_EACH=$(or $(SECONDS_EACH),10) tests/integration/t1500-hostile.sh > $(B)/hostile.log; rc=$$?; \
		sed -n 's/^# //p' $(B)/hostile.log; exit $$rc

soak: $(BIN)/sluisd ## SECONDS (600) of AGENTS (150) of which somebody is killed or paused every five seconds
	@$(PYTHON_ZMQ); t=$$(mktemp -d) && T=$$t SLUISD=$(abspath $(BIN)/sluisd) PYTHONPATH=tests/lib PYTHONDONTWRITEBYTECODE=1 \
		$$p tests/lib/storm.py --soak $(if $(filter command line,$(origin SECONDS)),$(SECONDS),600) $(or $(AGENTS),150); rc=$$?; rm -rf "$$t"; exit $$rc
.PHONY: storm hostile soak
