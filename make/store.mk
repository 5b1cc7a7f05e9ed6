# the store under crashes, at length

IMAGES ?= 100000
crash: $(B)/tests/test_store_crash ## open IMAGES=n disks as a crash could leave them; prints crash_images, acked_lost, corrupt
	@SLUIS_CRASH_IMAGES=$(IMAGES) TMPDIR=$${TMPDIR:-$$(test -w /dev/shm && echo /dev/shm || echo /tmp)} $<
.PHONY: crash
