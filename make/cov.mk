# cov: which lines and branches the tests reach
#
#   make cov          builds with --coverage, runs the tests, prints figures per folder
#
# Details per line: gcov's annotated sources, for example `gcov -b build/cov/daemon/core/quota.gcda`.

cov: ## line and branch coverage of all tests, per folder
	@find build/cov -name '*.gcda' -delete 2>/dev/null || true
	@$(MAKE) -s VARIANT=cov check
	@python3 tests/tools/cov_report.py build/cov
.PHONY: cov
