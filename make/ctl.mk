# The tests of sluisctl link its objects, all but main().
CTL_OBJS := $(patsubst %.c,$(B)/%.o,$(filter-out ctl/main.c,$(wildcard ctl/*.c)))
$(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_ctl_*.c)): $(CTL_OBJS)
