# Two commands do everything: `make run` and `make test`. `make help` lists the rest.
# The first Python here that is one of these versions and can make environments; `make run PYTHON=python3.13` names another.
VERSIONS := 3.11 3.12 3.13 3.14
IS_ONE = import ensurepip, sys, venv; sys.exit("%d.%d" % sys.version_info[:2] not in "$(VERSIONS)".split())
ifndef PYTHON
PYTHON := $(shell for one in $(VERSIONS:%=python%) python3 python; do \
	"$$one" -c '$(IS_ONE)' >/dev/null 2>&1 && { echo "$$one"; break; }; done)
endif
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
WORKERS ?= 2
# Idle threads sleep instead of spinning: on a shared machine that is several times faster.
export OMP_WAIT_POLICY ?= PASSIVE
# Tests keep byte code and composed configurations for the next process; without them collecting takes half as long again.
test test-program test-services coverage test-all check: export PYTHONDONTWRITEBYTECODE =

UNITS = --ignore tests/program -m "not program and not services and not slow"
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile
UV = VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip
ACTIVATE = echo "to type mml yourself: source $(BIN)/activate (fish: activate.fish, csh: activate.csh)"

.PHONY: help run test test-program test-services test-all services coverage setup wheel check format docs bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

run: setup  ## train five folds on the embedded images, calibrate them, write a report
	$(BIN)/mml train task=fashion_mini mode.nested=false
	@$(ACTIVATE)

test: setup  ## the unit tests
	@echo "two to three minutes on two cores; collecting them takes the first minute"
	$(PYTEST) $(UNITS)

test-program: setup  ## the tests that go through the whole program
	$(PYTEST) -m "program and not services and not slow"

test-services: setup services  ## the tests that start servers on this machine
	$(PYTEST) -m services

services:  ## install the servers, browser and shells of the tests, where this is root on Debian (a test without its server is skipped)
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && ! (command -v chromium && command -v zsh && command -v fish && ls -d /usr/lib/postgresql/*) >/dev/null 2>&1; \
	then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium postgresql zsh fish >/dev/null \
	|| echo "these could not be installed; tests that need them are skipped"; fi

coverage: setup  ## which lines the unit tests reach
	$(PYTEST) $(UNITS) --cov --cov-report term-missing:skip-covered

test-all: setup  ## every test
	$(PYTEST)

setup: $(STAMP)  ## make .venv and install the pinned versions into it

$(STAMP): requirements/base.txt requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || "$(PYTHON)" -c '$(IS_ONE)' || { echo \
	"needs one of Python $(VERSIONS), with venv and pip (Debian: apt-get install python3 python3-venv);" \
	"name it if it is here: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@echo "downloads 3.5 GB (2.5 GB of it CUDA, on Linux) unless uv has it already, and takes 7 GB of disk"
	@test -n "$(UV_TORCH_BACKEND)" || echo "without a GPU far less: stop this, then UV_TORCH_BACKEND=cpu make $(or $(MAKECMDGOALS),setup)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) install --compile-bytecode -r requirements/base.txt -r requirements/dev.txt
	@# An environment of an older checkout holds it under another name.
	$(UV) uninstall --quiet mlpipe 2>/dev/null || true
	$(UV) install --no-deps --no-build-isolation --editable .
	@touch $@
	@$(ACTIVATE)

wheel: setup  ## build dist/*.whl, to install elsewhere
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

check: setup  ## ruff, mypy --strict, the direction of imports, where tests lie
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py tests/test_mirror.py

format: setup  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## write docs/keys.md anew, from the configuration files and docstrings
	$(BIN)/python scripts/keys.py

bench: setup  ## ratios against a bare PyTorch loop, side by side
	for script in scripts/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:  ## remove .venv and every cache of the tools (never results or data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
