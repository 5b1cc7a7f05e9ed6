# sim: what sluis-sim needs beyond the other programs, and the published results
sluis-sim_LIBS += -lz
ALL_LIBS += -lz

golden: $(BIN)/sluis-sim ## reproduce the published results: "name: value expected"
	@$(BIN)/sluis-sim golden
.PHONY: golden
