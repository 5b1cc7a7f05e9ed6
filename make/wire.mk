# wire: files that are made from the schema tables, by the test that checks them
golden-wire: $(B)/tests/test_frame ## write golden bytes that are missing in tests/data/wire/v1 (never changes one)
	@SLUIS_WRITE=golden $<
protocol: $(B)/tests/test_frame ## renew the tables in proto/PROTOCOL.md
	@SLUIS_WRITE=protocol $<
.PHONY: golden-wire protocol
