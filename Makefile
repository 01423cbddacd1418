.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
# A process that dies is no reason to run its test again.
# One more than there are cores, since many tests wait for what they start.
PARALLEL := --numprocesses $(shell expr $$(nproc) + 1) --maxprocesses 4 --dist worksteal --max-worker-restart 0
# What runs a Ray or the whole product has the machine to itself.
ALONE := tests/integration/service tests/integration/trainer/test_pictures.py tests/acceptance
# Tests start hundreds of processes: none is to compile what another has compiled.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this help.
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install the locked packages (every target does it by itself).

$(STAMP): deploy/locks/all.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"This needs Python 3.11 to 3.13; $(PYTHON) is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12 ...")'
	@echo "Installing into $(VENV) (about a minute, some 6 GB with torch's GPU libraries) ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes deploy/locks/all.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## Pack Fashion-MNIST, train it through the service, print the result.
	@$(BIN)/alexnet demo $(DEMO_ARGS)

serve: $(STAMP) ## Start the control plane on loopback, with a local Ray it owns.
	@$(BIN)/alexnet serve

test: $(STAMP) ## Run every test but those that have a target of their own.
	$(PYTEST) $(PARALLEL) $(addprefix --ignore=,tests/faults tests/dashboards tests/browser $(ALONE))
	$(PYTEST) -m "not compose" $(ALONE)

test-compose: $(STAMP) ## Run the tests that need a Docker engine.
	$(PYTEST) -s -m compose tests/acceptance/compose

test-faults: $(STAMP) ## Strike the product with faults and attacks, print the table (TRIALS=N of each).
	$(PYTEST) --numprocesses 2 --max-worker-restart 0 --all-rows tests/faults

test-dashboards: $(STAMP) ## Ask a real Prometheus, beside a real job, what the dashboards and alerts ask.
	$(PYTEST) tests/dashboards

test-browser: $(STAMP) ## Drive the page by chromium, beside a real job; pictures of it in build/browser-shots.
	$(PYTEST) tests/browser

dashboards: $(STAMP) ## Write the dashboards and the rules of Prometheus (SERVICE_URL=, GRAFANA_URL=, RUNBOOK_URL=: docs/monitoring.md).
	@$(BIN)/python -m deploy.grafana.generate $(if $(SERVICE_URL),--service-url $(SERVICE_URL)) \
		$(if $(GRAFANA_URL),--grafana-url $(GRAFANA_URL)) $(if $(RUNBOOK_URL),--runbook-url $(RUNBOOK_URL))

quick: lint types layers $(STAMP) ## Lint, types, layers and the fast tests: a few minutes, for every commit.
	$(PYTEST) -q $(PARALLEL) -m "not slow and not ray and not compose" tests/unit

check: lint types layers test ## What CI runs: lint, types, layers, all tests.

bench-data: $(STAMP) ## Measure how fast images are fed and packed, beside webdataset, DALI and FFCV.
	$(BIN)/python -m tests.bench.bench_data $(BENCH_ARGS)

bench-step: $(STAMP) ## Measure a training step of the full-size network, beside other code.
	$(BIN)/python tests/bench/bench_step.py $(BENCH_ARGS)

bench-service: $(STAMP) ## Measure the service: load, first step, beside the bare loop, checkpoints.
	$(BIN)/python -m tests.bench.bench_service $(BENCH_ARGS)

bench-learning: $(STAMP) ## Train on CIFAR-10 and draw what is learned: an hour of two cores.
	$(BIN)/python tests/bench/bench_learning.py $(BENCH_ARGS)

lint: $(STAMP) ## Check style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## Mend style and formatting.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## Check types, strictly.
	$(BIN)/mypy

layers: $(STAMP) ## Check which package imports which.
	@$(BIN)/lint-imports

lock: $(STAMP) ## Compile the hash-locked requirements from pyproject.toml.
	deploy/compile-locks

clean: ## Remove what was built here (not .venv).
	@test ! -x $(BIN)/alexnet || $(BIN)/alexnet stop --quiet
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: help setup demo serve test test-compose test-faults test-dashboards test-browser dashboards quick check bench-data bench-step bench-service bench-learning lint format types layers lock clean
