# The verbs of this project. `make train` and `make test` are all that a newcomer needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test coverage check lint types format bench gpu manifests image image-test lock clean

# One process for each GPU; without any, two.
PROCESSES ?= $(if $(shell command -v nvidia-smi),,--nproc 2)

train: environment
	$(BIN)/smpl-train $(PROCESSES)

PYTEST = $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test: environment
	$(PYTEST)

# The same tests, and which lines of the packages they run: slower, and without those that only other processes run.
coverage: environment
	$(PYTEST) --cov

# What to run before each commit: lint, types and the tests that are not marked as slow.
check: lint types
	$(PYTEST) -m "not slow"

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck .ci/run docker/entrypoint docker/base scripts/*

types: environment
	$(BIN)/mypy

format: environment
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: environment
	$(BIN)/smpl bench step --json

# Tests and measurements on a GPU, with the Python that is there: make gpu OPTIONS="--data DIR --minutes 9". docs/gpu.md
gpu:
	$(PYTHON) -m benchmarks.gpu $(OPTIONS)

.PHONY: environment
environment:
	@PYTHON=$(PYTHON) scripts/environment

# The files of k8s/ from what they are rendered from; needs kubectl.
manifests:
	scripts/manifests

image:
	docker build --build-arg REVISION=$$(git rev-parse HEAD) --build-arg CREATED=$$(git log -1 --format=%cI) --tag smpl-train .

# Build the image and run it as a stranger would, with podman or docker.
image-test: environment
	scripts/image-test

lock: environment
	scripts/lock

clean:
	rm -rf .venv build dist *.egg-info
