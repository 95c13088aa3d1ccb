# The commands of this project. `make train` and `make test` are all that a newcomer needs.
PYTHON ?= python3
BIN := .venv/bin
# --dist loadfile runs the tests of a file in one process, so that the fixtures of the file are made once.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile

.PHONY: train test test-oldest coverage check lint types format bench gpu manifests image image-test lock clean

# smpl-train starts one process for each GPU. Without a GPU, start two.
PROCESSES ?= $(if $(shell command -v nvidia-smi),,--nproc 2)

train: environment
	$(BIN)/smpl-train $(PROCESSES)

test: environment
	$(PYTEST)

# Run all tests with the oldest versions of packages that setup.cfg allows, in an environment of their own.
test-oldest:
	@PYTHON=$(PYTHON) scripts/oldest
	.venv-oldest/bin/python -m pytest --numprocesses auto --dist loadfile $(OPTIONS)

# Run all tests and report which lines of the packages they run, without the lines that only child processes run.
coverage: environment
	$(PYTEST) --cov

# Run before each commit: lint, types and the tests that are not marked as slow.
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

# Test, measure and train for 13 minutes of a GPU, with the Python that is installed: make gpu OPTIONS="--data DIR". See docs/gpu.md.
gpu:
	$(PYTHON) -m benchmarks.gpu $(OPTIONS)

.PHONY: environment
environment:
	@PYTHON=$(PYTHON) scripts/environment

# Render the manifests in k8s/ from their bases, jobs and overlays; needs kubectl.
manifests:
	scripts/manifests

image:
	docker build --build-arg REVISION=$$(git rev-parse HEAD) --build-arg CREATED=$$(git log -1 --format=%cI) --tag smpl-train .

# Build the image and test it as an unknown user would run it, with podman or docker.
image-test: environment
	scripts/image-test

lock: environment
	scripts/lock

clean:
	rm -rf .venv .venv-oldest build dist *.egg-info
