# Everything a user or developer types. Each target sets up what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BROWSER_READY := $(VENV)/.browser-ready
READERS := $(VENV)/.ready-infra
SUPPLY := $(VENV)/.ready-supply
FUZZ_READY := $(VENV)/.ready-fuzz

DATASET ?= streets
SOURCE ?=
SIZE ?=
BUDGET ?= 0.5M
SPACE ?= cgnet_wide
OPTIONS ?=
SECONDS ?= 60
TARGET ?=

.PHONY: help setup check check-infra sbom hashes format test e2e chaos chaos-network fuzz test-browser screenshots preprocess \
  search services-up services-down clean

help:  ## show this
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY)  ## make the environment in .venv, once

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	# Its table of ids is checked against; the viewers that it depends on are not needed for that.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --constraint constraints.txt cityscapesscripts
	@touch $@

check: $(READY)  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-infra: $(READERS)  ## read infra/ with the programs that it is for, offline
	$(BIN)/pytest tests/infra

$(READERS): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[infra]'
	@touch $@

sbom: $(SUPPLY)  ## what is installed, as CycloneDX, into build/sbom.json
	@mkdir -p build
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-file build/sbom.json $(VENV)

hashes: $(SUPPLY)  ## what `pip install --require-hashes` takes, into build/requirements.txt
	@mkdir -p build
	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate \
	  --constraint constraints.txt --output-file build/requirements.txt pyproject.toml

$(SUPPLY): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[supply]'
	@touch $@

format: $(READY)  ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(READY)  ## unit and integration tests, some 4 minutes on 2 cores
	$(BIN)/pytest tests/unit tests/integration --numprocesses 2 --dist loadfile

e2e: $(READY)  ## the commands as a user types them
	$(BIN)/pytest tests/e2e

chaos: $(READY)  ## break a running search in many ways (Debian: apt-get install postgresql gcc)
	timeout --signal=INT 20m $(BIN)/pytest tests/chaos -p no:randomly \
	  --ignore tests/chaos/test_two_machines.py --table docs/results/$$(date +%F)-chaos.md

chaos-network: $(READY)  ## and one over two machines, namespaces of the network (root on Linux)
	timeout --signal=INT 10m $(BIN)/pytest tests/chaos/test_two_machines.py -p no:randomly \
	  --table docs/results/$$(date +%F)-chaos-network.md

fuzz: $(FUZZ_READY)  ## bad bytes for every reader, a minute each: [TARGET=tar] [SECONDS=60]
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(TARGET)

$(FUZZ_READY): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	@touch $@

$(BROWSER_READY): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	@touch $@

test-browser: $(BROWSER_READY)  ## the pages in a browser (Debian: apt-get install chromium)
	$(BIN)/pytest tests/browser

screenshots: $(BROWSER_READY)  ## pictures of the latest study's pages into docs/screenshots
	$(BIN)/pytest tests/browser --screenshots docs/screenshots --state-dir .cgnet

preprocess: $(READY)  ## labelled images into shards: DATASET=camvid SOURCE=DIR [SIZE=120x160] [OPTIONS=...]
	$(BIN)/python -m pipeline.preprocess --dataset $(DATASET) \
	  $(if $(SOURCE),--source $(SOURCE)) $(if $(SIZE),--image-size $(SIZE)) $(OPTIONS)

search: $(READY)  ## the front within BUDGET=0.5M in SPACE=cgnet_wide on DATASET=streets
	$(BIN)/python -m pipeline.search --budget $(BUDGET) --space $(SPACE) --dataset $(DATASET) $(OPTIONS)

services-up: $(READY)  ## start the local S3 and MLflow
	$(BIN)/python -m pipeline.services up

services-down: $(READY)  ## stop them; their data stays
	$(BIN)/python -m pipeline.services down

clean:  ## remove the environment and caches; data and studies in .cgnet stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
