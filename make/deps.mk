# deps: the Debian 12 packages that build, tests and demo need
DEBS := build-essential pkg-config libzmq3-dev libmsgpack-dev libhwloc-dev liblmdb-dev libyaml-dev \
	libjansson-dev libsmartcols-dev libsodium-dev libsystemd-dev libzstd-dev libcmocka-dev zlib1g-dev uthash-dev \
	python3 python3-zmq python3-msgpack python3-jsonschema jq mandoc shellcheck hwloc-nox curl

# With these, some 55 MB, fewer tests skip: a second compiler, fuzzing, network namespaces, units read by systemd.
DEBS_CI := clang libclang-rt-dev iproute2 systemd

deps: ## install the Debian packages that are missing, or print the one command that does
deps-ci: DEBS += $(DEBS_CI)
deps-ci: ## the same, and those without which some tests skip
deps deps-ci:
	@missing=""; for p in $(DEBS); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] && exit 0; \
	cmd="apt-get install -y --no-install-recommends$$missing"; \
	if [ "$$(id -u)" = 0 ]; then apt-get update -qq && $$cmd; \
	elif sudo -n true 2>/dev/null; then sudo apt-get update -qq && sudo $$cmd; \
	else echo "packages are missing; install them with"; echo "    sudo $$cmd"; exit 1; fi
.PHONY: deps deps-ci
