# `make run` and `make test` need Python 3.11 or later and make, nothing else. `make help` lists the rest.
PYTHON ?= python3
PORT ?= 8080
export PYTHON

BIN := .venv/bin
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header --no-emit-index-url

# Stamps: what is in .venv. The test environment contains the one that runs, so tests leave `make run` nothing to do.
RUNS := .venv/.runs
TESTS := .venv/.tests
DEMO := .venv-demo/.installed
CLIENTS := .venv-clients/.installed

.DEFAULT_GOAL := help
.PHONY: help run demo clients test lint format types contracts drift lock clean races state-machine faults fuzz screenshots bench-pages bench-push

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 16

run: $(RUNS) $(DEMO) ## start AgentValet with its demo on http://localhost:8080 (PORT=… for another)
	@exec $(BIN)/python manage.py up --demo --port $(PORT)

demo: $(DEMO) ## install the demo agent's own environment

clients: $(CLIENTS) ## install the published clients that the interop tests drive

test: $(TESTS) $(DEMO) ## run all tests whose tools can be had, but for the long ones below (ARGS=… for pytest)
	@some='not faults'; \
	deploy/browsers.sh || some="$$some and not browser"; \
	{ deploy/node.sh && $(MAKE) --silent clients; } || some="$$some and not interop"; \
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder -m "$$some" $(ARGS)

races: $(TESTS) ## run the races of deciding and running 1,000 times each
	@RACE_ROUNDS=1000 $(BIN)/python -m pytest tests/approvals/test_races.py $(ARGS)

faults: $(TESTS) ## kill everything while 2,000 calls are approved (FAULTS_APPROVALS=…, FAULTS_SEED=…)
	@$(BIN)/python -m pytest tests/faults $(ARGS)

state-machine: $(TESTS) ## run 5,000 random stories of 100 steps each, in two processes
	@STATE_MACHINE_EXAMPLES=5000 STATE_MACHINE_STEPS=100 $(BIN)/python -m pytest tests/approvals/test_state_machine.py --numprocesses 2 $(ARGS)

fuzz: $(TESTS) ## send 300 requests per operation of the API, valid and not (SCHEMATHESIS_EXAMPLES=…)
	@SCHEMATHESIS_EXAMPLES=$${SCHEMATHESIS_EXAMPLES:-300} $(BIN)/python -m pytest tests/api/test_schemathesis.py --numprocesses 2 $(ARGS)

bench-pages: $(TESTS) ## time the pages over 500 waiting calls and 1,000,000 audit rows (ARGS=--rows=…)
	@$(BIN)/python -m bench.pages $(ARGS)

bench-push: $(TESTS) ## time pushes from POST /v1/actions to the push service (ARGS=--calls=…)
	@$(BIN)/python -m bench.push $(ARGS)

screenshots: $(TESTS) ## take the pictures in docs/screenshots anew
	@$(BIN)/python -m pytest tests/browser/screenshots.py $(ARGS)

lint: $(TESTS) ## check style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(TESTS) ## mend style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(TESTS) ## check types
	@$(BIN)/mypy .

contracts: $(TESTS) ## check who imports whom
	@$(BIN)/lint-imports

drift: $(TESTS) ## check that models and migrations agree
	@$(BIN)/python -m pytest --quiet tests/test_house.py -k migrations

lock: $(TESTS) ## write the lock files anew (ARGS=--upgrade for newer versions)
	$(COMPILE) pyproject.toml --extra embedded --output-file requirements.lock $(ARGS)
	$(COMPILE) pyproject.toml --extra embedded --extra kms --extra dev --constraint requirements.lock \
		--output-file requirements-dev.lock $(ARGS)
	echo botocore | $(COMPILE) - --constraint requirements-dev.lock --output-file deploy/kms.lock $(ARGS)
	echo agentvalet | $(COMPILE) - --output-file deploy/demo/requirements.lock $(ARGS)
	echo uv | $(COMPILE) - --output-file deploy/uv.lock $(ARGS)
	echo crewai-agentvalet==0.1.0 | $(COMPILE) - --override deploy/interop/crewai.overrides \
		--output-file deploy/interop/crewai.lock $(ARGS)
	cd deploy/interop && npm install --package-lock-only --no-audit --no-fund --omit-lockfile-registry-resolved

clean: ## remove what `make` made; data in var/ stays
	rm -rf .venv .venv-demo .venv-clients

$(RUNS): requirements.lock deploy/install.sh
	@if [ -e $(TESTS) ]; then $(MAKE) --no-print-directory $(TESTS); \
	else echo "Installing, which takes a minute or some the first time …" && deploy/install.sh .venv requirements.lock; fi
	@touch $@

$(TESTS): requirements-dev.lock deploy/install.sh
	@echo "Installing what tests need …"
	@deploy/install.sh .venv requirements-dev.lock
	@touch $@ $(RUNS)

$(DEMO): deploy/demo/requirements.lock deploy/install.sh | $(RUNS)
	@echo "Installing the demo agent …"
	@deploy/install.sh .venv-demo deploy/demo/requirements.lock
	@touch $@

$(CLIENTS): deploy/interop/crewai.lock deploy/interop/package-lock.json deploy/interop.sh deploy/node.sh deploy/install.sh | $(TESTS)
	@echo "Installing the published clients …"
	@deploy/interop.sh
	@touch $@
