# demo: the story of a divided cluster (demo/demo.py)

demo: ## set up, build, run the demo, clean up; HOLD=1 keeps the cluster up
	@$(MAKE) -s deps
	@$(MAKE) -s all VARIANT=$(VARIANT)
	@python=/usr/bin/python3; [ -x $$python ] || python=python3; exec $$python demo/demo.py $(BIN)
.PHONY: demo
