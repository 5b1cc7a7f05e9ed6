# Fake vendor libraries, beside the test that loads them.
$(B)/tests/fake_%.so: tests/fake/fake_%.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -fPIC -shared -o $@ $<
$(B)/tests/test_probe: | $(B)/tests/fake_nvml.so $(B)/tests/fake_rsmi.so
