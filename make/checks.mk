# checks of the source tree itself

check-headers: ## every header compiles alone
	@for h in $$(find proto daemon agent ctl tests -name '*.h'); do \
		printf '#include "%s"\n' $$h | $(CC) $(ALL_CPPFLAGS) -std=gnu11 -Wall -Wextra -Werror -fsyntax-only -x c - || exit 1; done
check-layers: ## includes point one way (tests/tools/check_layers.py)
	@python3 tests/tools/check_layers.py
check-core: $(call lib_a,daemon/core) ## the core reaches for no clock, file, socket or library
	@python3 tests/tools/check_core.py $(call lib_a,daemon/core)
compile_commands.json: ## for clangd and clang-tidy
	@python3 tests/tools/compile_commands.py '$(CC)' '$(subst ','\'',$(ALL_CPPFLAGS) $(ALL_CFLAGS))' > $@
.PHONY: check-headers check-layers check-core compile_commands.json
