# bench: every tests/bench/bench_*, figures as "name: value unit"
#
#   make bench                                    all of them, minutes; state below /tmp
#   make bench BENCH_DIR=/dev/shm                 state in memory: what the disk costs is the difference
#   build/release/tests/bench_daemon --only s     one part of one of them; see its first comment
#
# A speed is read by a person beside the machine and the bare libraries of the same run; it never fails a
# test. BENCH_DIR decides the file system of the state.

BENCH_DIR ?= /tmp
$(B)/tests/bench_daemon: | $(BIN)/sluisd

bench: $(BINS) $(BENCH_BINS) ## print the figures of every benchmark, the machine first
	@printf 'machine: %s, %s cores, %s, state on %s\n' \
		"$$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$$(nproc)" "$$(uname -sr)" \
		"$$(stat -f -c %T $(BENCH_DIR))"
	@echo '# bench_jobs.py'; for python in python3 /usr/bin/python3; do \
		"$$python" -c 'import zmq, msgpack' 2>/dev/null || continue; \
		t=$$(mktemp -d $(BENCH_DIR)/sluis-bench-jobs-XXXXXX); \
		T=$$t BIN=$(BIN) "$$python" tests/bench/bench_jobs.py; rm -rf "$$t"; break; done
	@for b in $(sort $(BENCH_BINS)); do echo "# $${b##*/}"; BENCH_DIR=$(BENCH_DIR) $$b || exit 1; done
# The same figures as work grows: jobs in line, nodes, devices of a job that runs.
GROWTH ?= 1000:100:8 10000:100:8 10000:1000:8 100000:1000:8 1000000:1000:8 1000:10240:8 100000:10240:8 \
	1000000:10240:8 1000000:10240:1
bench-growth: $(B)/tests/bench_steps ## what a step of the core costs at 1k to 1M jobs on 100 to 10k nodes
	@for size in $(GROWTH); do echo "size: $${size} jobs in line, nodes, devices of a job that runs"; \
		$(B)/tests/bench_steps $$(echo "$$size" | tr : ' ') | \
		grep -E '^(running|memory|submit_(decide_apply|step_full)_(p50|p99|max)|release_(step|decision)_(p50|p99|max)|first_look)'; \
		done

.PHONY: bench bench-growth
