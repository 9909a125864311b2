# Every target works from a fresh clone as the only command typed. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench image
MAKEFLAGS += --no-print-directory
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
ROOTFS ?= /var/cache/dockwright/rootfs
ARGS ?=
export PYTHON
export DOCKWRIGHT_ROOTFS := $(ROOTFS)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/installed ## Make .venv with the project, its dependencies and the development tools

demo: setup ## Watch a persona build a service in a sandbox, prove it and hand back a branch (no API key needed)
	@if scripts/engine answers; then sandbox/build images; else sandbox/build rootfs $(ROOTFS); fi
	@.venv/bin/python examples/demo.py $(ARGS)

test: setup ## Run the tests, over Docker (starts an engine if none answers) and bubblewrap; ARGS goes to pytest
	@scripts/tools busybox chromium
	@scripts/engine start
	@sandbox/build images
	@sandbox/build rootfs $(ROOTFS)
	@.venv/bin/python -m pytest -n auto --dist loadfile $(ARGS)

check: setup ## Check format, lint, types, layers, sizes and generated pages
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/python -m pytest -q tests/docs/test_budgets.py tests/docs/test_tools_page.py

bench: setup ## Measure against docker exec and ripgrep, side by side in one run
	@if scripts/engine answers; then sandbox/build images; fi
	@.venv/bin/python -m benchmarks $(ARGS)
	@.venv/bin/python -m benchmarks.batch

image: ## Build the runtime and the workbench image
	@sandbox/build images

.venv/installed: pyproject.toml
	@scripts/tools
	@echo "Setting up .venv"
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --group dev --editable .
	@.venv/bin/python -m compileall -q src
	@touch $@
