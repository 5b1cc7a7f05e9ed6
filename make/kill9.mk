# kill -9 of the real daemon at random moments under load

kill9: $(BIN)/sluisd ## kill sluisd TRIES times (50) under load; prints what was lost
	@B=$(B) TRIES=$(or $(TRIES),50) tests/integration/t1410-kill9.sh > $(B)/kill9.log; rc=$$?; \
		sed -n 's/^# //p' $(B)/kill9.log; exit $$rc
.PHONY: kill9
