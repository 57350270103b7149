# Everything starts here. Only Python 3.11+, pip and make are assumed; the rest is set up by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MUSIC := build/debian-music

.PHONY: help run demo test lint format lock clean

help: ## This list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(VENV)/installed ## Start the whole service on this machine; Ctrl-C stops it
	@exec $(BIN)/streamcoop run

demo: $(VENV)/installed ## The main job, end to end, against a fresh service
	@$(BIN)/streamcoop demo

test: $(VENV)/installed-dev ## The whole test suite
	@$(BIN)/python -m tests.debian_music $(MUSIC)
	@STREAMCOOP_TEST_MUSIC=$(MUSIC) $(BIN)/python -m pytest

lint: $(VENV)/installed-dev ## Style, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/installed-dev ## Bring the code into its form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## Pin the dependencies anew (needs uv); no index stands in the files
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	    --extra embedded --extra tracing --extra checkout pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	    --extra embedded --extra tracing --extra checkout --extra dev -c requirements.lock pyproject.toml \
	    -o requirements-dev.lock

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@echo "Making a virtual environment in $(VENV)."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing what requirements.lock names (a few minutes the first time)."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/installed-dev: requirements-dev.lock $(VENV)/installed
	@echo "Installing what the tests need."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

clean: ## Remove what was built and installed here (never a data folder)
	rm -rf build $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
