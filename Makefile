# One entry point for every chore. `make help` lists them.
# A fresh machine needs Python 3.11+ and make; everything else is installed into .venv from requirements.lock.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PYTHONUNBUFFERED := 1

TARGET ?=
PROFILE ?=
OUT ?=

.PHONY: help install demo serve test test-unit check format models protos lock bench reliability clean
help:  ## Lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

install: $(STAMP)  ## Installs everything into .venv (done by the other targets when needed)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Likeness needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into $(VENV) (once; later runs skip this) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(STAMP)  ## Starts the cluster, regenerates a picture (TARGET=any.png PROFILE=sd15 OUT=folder), writes a report
	@$(BIN)/likeness demo $(TARGET) $(if $(PROFILE),--profile $(PROFILE)) $(if $(OUT),--out $(OUT))

serve: $(STAMP)  ## Starts the cluster and keeps it up until Ctrl-C
	@$(BIN)/likeness serve $(if $(PROFILE),--profile $(PROFILE))

test: $(STAMP)  ## All tests, on real PostgreSQL, Redis, Ray and gRPC
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest

test-unit: $(STAMP)  ## The fast tests
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m "not integration"

check: $(STAMP)  ## Lint, format, types, house rules, contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	scripts/breaking.sh
	scripts/protos.sh --check
	$(BIN)/python -m docs.api --check

format: $(STAMP)  ## Formats the code and mends what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

models: $(STAMP)  ## Retrains the embedded models from scratch (about two hours on two cores; resumes)
	$(BIN)/python -m world.training.all

protos: $(STAMP)  ## Generates the Python contracts from protos/
	scripts/protos.sh

lock: $(STAMP)  ## Pins the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --extra server --extra dev --universal --python-version 3.11 \
	  --no-emit-index-url --no-header --no-annotate --upgrade -o requirements.lock

bench: $(STAMP)  ## Regenerates the quality table of the loop (benchmarks/results/loop_quality.*)
	$(BIN)/python -m benchmarks.loop_quality

reliability: $(STAMP)  ## Kills, overloads and fuzzes a deployment of real processes, and writes docs/reliability.md (20 min)
	$(BIN)/python -m reliability.report --run

clean:  ## Removes caches and outputs, not .venv
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
