# Two commands do everything: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
WORKERS ?= 2
# Idle threads sleep instead of spinning: on a shared machine that is several times faster.
export OMP_WAIT_POLICY ?= PASSIVE

UNITS = --ignore tests/program -m "not program and not services and not slow"
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

.PHONY: help run test test-program test-services test-all services coverage setup check format docs bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

run: setup  ## train five folds on the embedded images, calibrate them, write a report
	$(BIN)/mml train task=fashion_mini mode.nested=false mode.subroutines=[train,predict,test]
	$(BIN)/mml post task=fashion_mini
	$(BIN)/mml info task=fashion_mini

test: setup  ## the unit tests
	$(PYTEST) $(UNITS)

test-program: setup  ## the tests that go through the whole program
	$(PYTEST) -m "program and not services and not slow"

test-services: setup services  ## the tests that start servers on this machine
	$(PYTEST) -m services

services:  ## install the servers of the tests, where this is root on Debian (a test without its server is skipped)
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && ! (command -v chromium && ls -d /usr/lib/postgresql/*) >/dev/null 2>&1; \
	then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium postgresql >/dev/null \
	|| echo "no servers could be installed; tests that need them are skipped"; fi

coverage: setup  ## which lines the unit tests reach
	$(PYTEST) $(UNITS) --cov --cov-report term-missing:skip-covered

test-all: setup  ## every test
	$(PYTEST)

setup: $(STAMP)  ## make .venv and install the pinned versions into it

$(STAMP): requirements/base.txt requirements/dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode -r requirements/base.txt -r requirements/dev.txt
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

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
