# Everything starts from nothing: each target makes or refreshes .venv first (a second call is instant).
# Works with GNU make 3.81 and any POSIX shell. Choose an interpreter with `make demo PYTHON=python3.12`.

PYTHON ?=
SCENARIO ?=
ARGS ?=
BIN := .venv/bin
FAST := $(wildcard tests/unit tests/workflows tests/replay tests/architecture) common contracts pipelines streaming batch
export PYTHON

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo up down test test-fast check fix bench soak lock setup setup-dev

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: setup ## start the embedded stack, stream two data sets, check and show the result
	@$(BIN)/sluice demo $(ARGS)

up: setup ## start the embedded stack and its workers
	@$(BIN)/sluice up $(ARGS)

down: setup ## stop the embedded stack; its data stays
	@$(BIN)/sluice down $(ARGS)

test: setup-dev .venv/.kernels ## run the whole test suite
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup $(ARGS)

test-fast: setup-dev .venv/.kernels ## run the tests that need no services, under a minute
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup $(FAST) $(ARGS)

check: setup-dev ## lint, formatting, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

fix: setup-dev ## repair what ruff can repair, and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup .venv/.kernels ## measure; one scenario alone with SCENARIO=name
	@$(BIN)/python -m benchmarks $(SCENARIO) $(ARGS)

soak: setup-dev .venv/.kernels ## random streams with workers that die, against DuckDB (ARGS="--minutes 60")
	@$(BIN)/python -m tests.recovery.soak $(ARGS)

lock: setup-dev ## resolve the dependencies anew for Linux and macOS, Python 3.11 to 3.13 (ARGS=--upgrade)
	@bin/lock $(ARGS)

setup: ## make .venv for running
	@bin/setup runtime

setup-dev: ## make .venv for development
	@bin/setup dev

# Compiled once, so that not every test process compiles for itself.
.venv/.kernels: $(wildcard streaming/*.py batch/*.py connectors/kafka*.py connectors/postgres*.py) | setup
	@echo "compiling the kernels" >&2
	@if $(BIN)/python -c 'from workers.process import warm_up; warm_up()'; then touch $@; fi
