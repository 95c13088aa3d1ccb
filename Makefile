# The verbs of this project. `make train` and `make test` are all that a newcomer needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test lint types format bench lock clean

# One process for each GPU; without any, two.
PROCESSES ?= $(if $(shell command -v nvidia-smi),,--nproc 2)

train: environment
	$(BIN)/smpl-train $(PROCESSES)

test: environment
	$(BIN)/python -m pytest

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: environment
	$(BIN)/mypy

format: environment
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: environment
	$(BIN)/smpl bench step --json

.PHONY: environment
environment:
	@PYTHON=$(PYTHON) scripts/environment

lock: environment
	scripts/lock

clean:
	rm -rf .venv build dist *.egg-info
