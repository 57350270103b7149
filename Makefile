# Everything starts here. Only Python 3.11+, pip and make are assumed; the rest is set up by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MUSIC := build/debian-music
# More than there are cores: much of what tests do is wait.
TEST_PROCESSES ?= $(shell $(PYTHON) -c "import os; print((os.cpu_count() or 1) + 1)")

.PHONY: help run found demo test bench faults fuzz test-production-parts lint audit format lock clean

help: ## This list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(VENV)/installed ## Start the whole service on this machine; Ctrl-C stops it
	@exec $(BIN)/streamcoop run

found: $(VENV)/installed ## The same, but first say in a browser what your co-op begins with
	@exec $(BIN)/streamcoop run --ask

demo: $(VENV)/installed ## The main job, end to end, against a fresh service
	@$(BIN)/streamcoop demo

test: $(VENV)/installed-dev ## The whole test suite
	@$(BIN)/python -m tests.debian_music $(MUSIC)
	@$(BIN)/python -m tests.debian_parts || test -z "$$CI"
	@$(BIN)/python -m tests.debian_chromium || test -z "$$CI"
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory contracts/node_modules/.package-lock.json; else test -z "$$CI"; fi
	@TEST_MUSIC=$(MUSIC) $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal

# What crosses a part's boundary: all of the books' SQL, every route and role through nginx, every task, objects, chain. Left
# out: what is pure, what is about the embedded parts, what nginx answers itself, and what `make test` holds already against
# the same server or of which only PostgreSQL's version is another here.
PRODUCTION_TESTS := tests/production tests/api/test_story.py tests/api/test_authorisation.py tests/service tests/demo \
    tests/workers tests/ledger/test_posting.py tests/ledger/test_recording.py tests/ledger/test_settling.py \
    tests/ledger/test_closing.py tests/ledger/test_checking.py tests/ledger/test_terms.py tests/test_migrations.py \
    tests/transparency/test_publishing.py tests/transparency/test_publishing_on_s3.py tests/erasure

test-production-parts: $(VENV)/installed-dev contracts/node_modules/.package-lock.json ## The same on PostgreSQL 15, RabbitMQ, S3, anvil, nginx
	@$(BIN)/python -m tests.debian_parts
	@TEST_PARTS=production $(BIN)/python -m pytest $(PRODUCTION_TESTS)

contracts/node_modules/.package-lock.json: contracts/package-lock.json
	@npm ci --prefix contracts
	@touch $@

SEED ?= 1
ROUNDS ?= 200
CASES ?= 3000

bench: $(VENV)/installed-dev ## How fast it is, each figure beside its control: QUICK=1; figures in build/bench.json
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

faults: $(VENV)/installed-dev ## Kills, full disks, cut networks: SEED=1 ROUNDS=200; figures in build/faults.json
	@$(BIN)/python -m tests.faults --seed $(SEED) --rounds $(ROUNDS)

fuzz: $(VENV)/installed-dev ## Mutated uploads, ranges, tokens: SEED=1 CASES=3000; what fails is kept in build/fuzz
	@$(BIN)/python -m tests.fuzz --seed $(SEED) --cases $(CASES)

lint: $(VENV)/installed-dev ## Style, types, import rules, dangerous calls, pins and licences of the dependencies
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pip check
	@$(BIN)/python -m tests.dependencies

# It has to ask: where no advisories can be had, it fails instead of finding nothing.
audit: | $(VENV)/bin/python ## Known weaknesses of the dependencies (needs a registry that has advisories)
	@rm -rf build/audit
	@$(BIN)/python -m venv build/audit
	@build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	@for lock in requirements.lock requirements-dev.lock; do \
	    build/audit/bin/pip-audit --strict --progress-spinner off --require-hashes --disable-pip --requirement $$lock || exit 1; \
	done

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
