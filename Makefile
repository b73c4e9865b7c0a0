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
PREFIX ?=
PUSH ?=

.PHONY: help install demo serve test test-unit check format models protos lock images sbom bench reliability capacity k8s clean
help:  ## Lists the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

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
	$(BIN)/hadolint deploy/docker/*.Dockerfile
	scripts/breaking.sh
	scripts/protos.sh --check
	$(BIN)/python -m docs.api --check
	$(BIN)/python -m deploy.monitoring --check

format: $(STAMP)  ## Formats the code and mends what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

models: $(STAMP)  ## Retrains the embedded models from scratch (about ten hours on one core; resumes)
	$(BIN)/python -m world.training.all

protos: $(STAMP)  ## Generates the Python contracts from protos/
	scripts/protos.sh

lock: $(STAMP)  ## Pins the newest versions that pyproject.toml allows
	scripts/lock.sh --upgrade

images:  ## Builds the four images with SBOM and provenance (PUSH=1 PREFIX=registry/path pushes them)
	REVISION=$$(git rev-parse HEAD) $(if $(PREFIX),PREFIX=$(PREFIX)) \
	  docker buildx bake --file deploy/docker/docker-bake.json $(if $(PUSH),--push,--load)

sbom: $(STAMP)  ## Writes what the images install, in CycloneDX, to out/sbom/ (needs the network, no container engine)
	@mkdir -p out/sbom
	@for lock in gateway backends; do \
	  $(BIN)/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --output-reproducible \
	    --of JSON --output-file out/sbom/$$lock.cdx.json deploy/docker/$$lock.lock || exit 1; \
	done
	@ls -l out/sbom

bench: $(STAMP)  ## Regenerates the quality table of the loop (benchmarks/results/loop_quality.*)
	$(BIN)/python -m benchmarks.loop_quality

reliability: $(STAMP)  ## Kills, overloads and fuzzes a deployment of real processes, and writes docs/reliability.md (20 min)
	$(BIN)/python -m reliability.report --run

k8s: $(STAMP)  ## Renders the Kubernetes overlays, checks them and says what they make; needs no cluster
	$(BIN)/python -m deploy.k8s.render

capacity: $(STAMP)  ## Simulates users, autoscaling, bursts and bottlenecks, and writes docs/capacity.md (2 min)
	$(BIN)/python -m capacity.report --run

clean:  ## Removes caches and outputs, not .venv
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
