# make matrix - who may do what: the authority table, every cell and every door tried against the core

.PHONY: matrix
matrix: $(B)/tests/test_core_authz ## try every command and question by every role, on its own and on another's, through every door
	@sed -n '/AOGRMPUNB/,/^};/p' tests/unit/test_core_authz.c | sed -E 's/^\t\{?//; s/^\};//; s/\},$$//'
	@$< >$(B)/matrix.log 2>&1; rc=$$?; grep -E '^[a-z_]+: [0-9]+ |FAILED|: (refused|allowed)$$' $(B)/matrix.log; exit $$rc
