# Two commands matter: `make demo` and `make test`. Each sets up what it needs in .venv (PYTHON=python3.12 to choose).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
PRESS := $(VENV)/.press

.DEFAULT_GOAL := help
.PHONY: help setup demo report docs test faults bench lint format clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON); install Python 3.11 or later, or set PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11; set PYTHON=python3.12 or so" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(READY)

setup: $(READY) ## install into .venv (reused while pyproject.toml stays the same)

demo: $(READY) ## train, swap the guide, estimate log p(x) on embedded data; pictures in runs/demo
	$(BIN)/python experiments/demo.py

report: $(READY) ## one page of all kept runs and of those in runs/: runs/report.html
	$(BIN)/pyro-vae report $(patsubst %/config.yaml,%,$(wildcard experiments/*/config.yaml runs/*/config.yaml)) --results experiments/results --out runs/report.html

$(PRESS): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs]'
	@touch $(PRESS)

docs: $(PRESS) ## tutorial, guide and reference as a site: build/site/docs/index.html
	$(BIN)/python -m sphinx -W --keep-going -q -c docs -b html . build/site
	@echo "build/site/docs/index.html: open it in a browser"

test: $(READY) ## run the tests
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

faults: $(READY) ## run the long version of the fault suite: kills, power failures, clocks, bit flips, hostile files; counts them
	PYRO_VAE_FAULTS=long $(BIN)/python -m pytest tests/faults --numprocesses=auto --maxprocesses=4 --dist=loadfile

$(PEERS): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	@touch $(PEERS)

bench: $(PEERS) ## install the peers (JAX, NumPyro, pythae) and time them all; BENCH=--quick for a smoke run
	$(BIN)/python -m benchmarks $(BENCH)

lint: $(READY) ## ruff and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove caches and .venv
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info
