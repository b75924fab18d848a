# Every target works in a fresh clone: what it needs is installed first, into .venv.
# PYTHON=python3.12 chooses another interpreter, ARGS="..." is handed to pytest.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
NATIVE := src/cloudslice/webrtc/native
LOCKED := requirements/dev.txt requirements/intl.txt requirements/compiler.txt

.DEFAULT_GOAL := help
.PHONY: help venv tools demo cluster-demo test test-long chaos interop lint types format bench lock clean

help: ## Show this list
	@echo "cloudslice: short audio files and pictures of every anchor of a live room."
	@echo
	@echo "New here?  make demo   shows the whole thing at work, in about a minute."
	@echo "Changing it?  make test lint types   is what the checks run."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS goes to pytest:  make test ARGS='tests/unit -k usersig'"

# In a make of its own: what was just installed has just been compiled.
venv: .venv/installed ## Make .venv with the locked dependencies
	@$(MAKE) --silent $(NATIVE)/packets.so

.venv/installed: pyproject.toml $(LOCKED) scripts/make-venv
	@PYTHON=$(PYTHON) scripts/make-venv
	@touch $@

$(NATIVE)/packets.so: $(wildcard $(NATIVE)/*.[ch]) hatch_build.py
	@$(BIN)/python hatch_build.py

tools: ## Install the programs that tests drive (apt when root, npm where it is)
	@scripts/install-test-tools

demo: venv ## Run a server, two anchors and a task; watch slices arrive (Ctrl-C ends it)
	@$(BIN)/cloudslice demo

cluster-demo: venv tools ## Kill a worker of a cluster, and watch the task go on (needs Go)
	@$(BIN)/python scripts/cluster_demo.py

test: venv tools ## Run all tests, or those that ARGS names
	@$(if $(ARGS),$(BIN)/pytest $(ARGS),$(BIN)/python scripts/run_tests.py)

test-long: venv tools ## Run the tests that wait for long outages (some minutes)
	@$(BIN)/pytest -m long $(ARGS)

chaos: venv tools ## Kill, pause and cut off what a cluster is made of, for long (half an hour)
	@$(BIN)/pytest -m "long or not long" tests/chaos tests/integration/cluster $(ARGS)

interop: venv tools ## Have clients of other WebRTC stacks publish (ten minutes)
	@scripts/install-publishing-clients
	@$(BIN)/pytest -m interop $(ARGS)

lint: venv ## Check style and formatting
	@$(BIN)/python hatch_build.py lint
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: venv ## Check types
	@$(BIN)/mypy

format: venv ## Format the code and fix what can be fixed
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: venv ## Measure the cost of a stream (half an hour)
	@bench/install-yardsticks
	@$(BIN)/python bench/streams.py

lock: venv ## Resolve the dependencies anew, to the newest versions allowed
	@scripts/lock

clean: ## Remove the environment, caches, and what the demo left
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis data dist tests/node/node_modules tests/*/target \
		tests/interop/*/node_modules tests/interop/*/target
	rm -rf __pycache__ $(NATIVE)/packets.so $(NATIVE)/.build-*
	find src tests bench scripts examples -name __pycache__ -prune -exec rm -rf {} +
