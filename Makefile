# SPDX-License-Identifier: Apache-2.0
# What a person runs. Each target sets up what it needs by itself, so that `make demo` or
# `make test` is the only command after a clone. A second run does only what a change asks for.
#
#   make test PYTHON=python3.12     another interpreter
#   make test PYTEST_ARGS="-k lane" what pytest gets besides; "-n 0": no workers, as --pdb needs
#   make build WERROR=false         a compiler that warns about what ours does not

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
WERROR ?= true
PYTEST_ARGS ?=
# Three, however many processors there are: most tests have two busy sides already, but a third of
# the time of two workers is waiting.
PYTEST_WORKERS ?= 3
MINUTES ?= 10
VENV := .venv
BIN := $(VENV)/bin
# So that one clone can be used with several interpreters: another one makes another venv.
PYTAG = $(shell $(PYTHON) -c 'import sys; print(sys.implementation.cache_tag)' 2>/dev/null)
MESON_BUILD_DIR = build/$(PYTAG)
MESON_CONFIG = --config-settings=setup-args=-Dwerror=$(WERROR)
# meson-python looks for meson, ninja and cython on the PATH.
PIP = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip

SOURCES = $(shell find include native src -type f -not -path '*/__pycache__/*' 2>/dev/null) \
	meson.build pyproject.toml README.md LICENSE
C_FILES = $(shell find include native tests examples -type f \
	\( -name '*.c' -o -name '*.h' -o -name '*.cpp' \) -not -path '*/golden/*' 2>/dev/null)
PYTHON_DIRS = src tests scripts $(wildcard examples)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sort | \
		awk -F ':.*## ' '{ printf "  make %-9s %s\n", $$1, $$2 }'

# --- setting up -------------------------------------------------------------------------------

# scripts/setup.sh leaves these stamps in the venv.
.PHONY: setup-demo setup-test
setup-demo setup-test: setup-%:
	@scripts/setup.sh $* "$(PYTHON)"

# Several people or jobs may work in one clone: one build at a time.
.PHONY: build
build: setup-demo ## build and install into .venv, when something changed
	@$(BIN)/python scripts/sources.py
	@mkdir -p build
	@flock build/.lock $(MAKE) -s --no-print-directory $(VENV)/.installed-$(PYTAG)

$(VENV)/.installed-$(PYTAG): $(SOURCES) $(VENV)/.setup-demo
	@echo "building and installing into $(VENV) (meson build directory: $(MESON_BUILD_DIR))"
	$(PIP) install -qq --disable-pip-version-check --no-deps \
		--no-build-isolation --force-reinstall \
		$(MESON_CONFIG) --config-settings=build-dir=$(MESON_BUILD_DIR) .
	touch $@

# --- what a person wants ----------------------------------------------------------------------

.PHONY: demo
demo: build ## enclaves in Python and C, called, attacked, measured; leaves a report
	@$(BIN)/python scripts/demo.py

.PHONY: test
test: setup-test build lint ## lint, types and every test
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

.PHONY: soak
soak: setup-test build ## an hour of mixed calls, kills and restarts in MINUTES=10, each accounted for
	@mkdir -p results
	$(BIN)/python tests/stress/soak.py --minutes $(MINUTES) --output results/soak.json

.PHONY: bench
bench: build ## measure every crossing on this machine into build/bench
	@mkdir -p build/bench
	$(BIN)/hotcalls bench -o build/bench/report.html

.PHONY: trust
trust: setup-test build ## attack every promise of docs/threat-model.md, at length, and count
	@mkdir -p build/trust results
	@rm -f build/trust/tests.xml
	@status=0; HOTCALLS_TRUST=1 $(BIN)/python -m pytest -q -m claim -n $(PYTEST_WORKERS) --dist worksteal \
		--timeout=3600 -o faulthandler_timeout=3500 -o junit_family=xunit1 --junitxml=build/trust/tests.xml $(PYTEST_ARGS) || status=$$?; \
	$(BIN)/python scripts/trust.py build/trust/tests.xml results/trust.json && exit $$status

# Each target of tests/fuzz in turn. TARGET=name: one of them; RUNS=n: so often instead of so long.
.PHONY: fuzz
fuzz: setup-test build ## fuzz for MINUTES=n (TARGET=name: one of the targets)
	@$(BIN)/python scripts/fuzz.py --minutes $(MINUTES) \
		$(if $(TARGET),--target $(TARGET)) $(if $(RUNS),--runs $(RUNS)) $(if $(REST),--rest)

.PHONY: lint
lint: setup-test build ## ruff, mypy, clang-format, file lists
	@$(MAKE) --no-print-directory -j --output-sync lint-python lint-types lint-c lint-sources

.PHONY: lint-python lint-types lint-c lint-sources
lint-python:
	$(BIN)/ruff check --quiet $(PYTHON_DIRS)
	$(BIN)/ruff format --check $(PYTHON_DIRS)

lint-types:
	$(BIN)/mypy --strict src

lint-c:
	@echo "clang-format --dry-run -Werror  ($(words $(C_FILES)) files)"
	@$(if $(C_FILES),$(BIN)/clang-format --dry-run -Werror $(C_FILES))

lint-sources:
	$(BIN)/python scripts/sources.py --check
	$(BIN)/python scripts/lockdown_table.py --check
	$(BIN)/python scripts/claims.py --check

.PHONY: format
format: setup-test ## rewrite Python and C in the house format
	$(BIN)/ruff check --quiet --fix-only $(PYTHON_DIRS)
	$(BIN)/ruff format $(PYTHON_DIRS)
	$(if $(C_FILES),$(BIN)/clang-format -i $(C_FILES))

.PHONY: sources
sources: ## write the meson.build file lists and what the docs take from the code
	@$(PYTHON) scripts/sources.py
	@$(PYTHON) scripts/lockdown_table.py
	@$(PYTHON) scripts/claims.py

.PHONY: wheel
wheel: setup-demo ## a wheel in dist/, which needs no compiler where it is installed
	@mkdir -p dist
	$(PIP) wheel -qq --disable-pip-version-check --no-deps --no-build-isolation \
		$(MESON_CONFIG) -w dist .
	@ls -l dist/*.whl

.PHONY: lock
lock: setup-test ## pin the Python packages of demo and test anew; UPGRADE=1: at their newest
	@UPGRADE="$(UPGRADE)" scripts/lock.sh

.PHONY: docs
docs: setup-test build ## check man pages and links
	@$(BIN)/python -m pytest -q tests/unit/test_repository_docs.py

.PHONY: clean
clean: ## remove everything that make made
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
