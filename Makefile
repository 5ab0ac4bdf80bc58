# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Each target makes .venv when it is missing or older than pyproject.toml.

PYTHON ?= python3
BIN := .venv/bin
CORE := .venv/.core
TEST := .venv/.test
DOCS := .venv/.docs
# One process per core; the tests of a file stay together, since they share set-up.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

.PHONY: demo test test-all lint docs clean

demo: $(CORE)
	$(BIN)/neurovis demo --out results/demo

test: lint
	$(PYTEST) -m "not slow and not gpu and not network"

test-all: lint
	$(PYTEST)

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DOCS)
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf .venv docs/_build docs/gallery docs/sg_execution_times.rst

.venv/bin/python:
	$(PYTHON) -m venv .venv

$(CORE): pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q -e .
	@touch $@

$(TEST): pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q -e ".[test]"
	@touch $@ $(CORE)

$(DOCS): pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q -e ".[docs]"
	@touch $@ $(CORE)
