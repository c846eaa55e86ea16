# The commands that everything starts with. `make` alone lists them; ARGS reaches the tool behind a command.

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
# Three at a time, on two cores too: most tests wait for a process, a disk or a browser.
PYTEST := $(VENV)/bin/python -m pytest -n 3 --dist loadgroup
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check docs audit coverage bench faults conformance screenshots format requirements clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.run ## start web and worker on http://127.0.0.1:8000 (HOST, PORT and DATABASE_URL win)
	@$(VENV)/bin/python -m config
	@exec $(VENV)/bin/signalbox run

test: $(VENV)/.dev ## run the tests (ARGS="-k box" for some of them)
	@$(PYTEST) $(ARGS)

check: $(VENV)/.dev ## run all that CI runs: format, lint, types, import contract, documentation, audit, tests
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/mypy --strict
	@$(VENV)/bin/lint-imports --no-logo
	@$(MAKE) --no-print-directory docs audit
	@$(PYTEST) $(ARGS)

docs: $(VENV)/.dev ## build the documentation site into site/; a dead link fails
	@$(VENV)/bin/zensical build --clean --strict

audit: $(VENV)/.dev ## look for weaknesses in the code (bandit) and in the pinned requirements (pip-audit)
	@$(VENV)/bin/bandit --quiet --recursive --configfile pyproject.toml wsgi.py receiver config handlers
	@$(VENV)/bin/python -m tests.audit

coverage: $(VENV)/.dev ## measure what the tests run, in every process that they start; fails below the floor
	@rm -rf var/coverage && mkdir -p var/coverage
	@$(VENV)/bin/coverage run $(PYTEST:$(VENV)/bin/python%=%) $(ARGS)
	@$(VENV)/bin/coverage combine --quiet
	@$(VENV)/bin/coverage report

bench: $(VENV)/.dev ## measure against an empty Flask view (ARGS="--quick", ARGS="--only ingest,drain"); needs gcc
	@$(VENV)/bin/python -m bench $(ARGS)

faults: $(VENV)/.dev ## kill, fill and lock what it runs on, under load: nothing may be lost (ARGS=--quick)
	@$(VENV)/bin/python -m bench.faults $(ARGS)

conformance: $(VENV)/.dev ## register, set off, receive and handle everything that Box and Filestack send, in the sandbox
	@$(VENV)/bin/python -m tests.conformance

screenshots: $(VENV)/.dev ## take a picture of every page into docs/images (ARGS="inbox stats" for some); needs Chromium
	@$(VENV)/bin/python -m tests.browser.screenshots $(ARGS)

format: $(VENV)/.dev ## format the code and fix what can be fixed automatically
	@$(VENV)/bin/ruff check --fix-only --quiet .
	@$(VENV)/bin/ruff format .

requirements: ## pin the requirements again (ARGS=--upgrade for newer releases); needs uv
	@command -v uv >/dev/null || { echo "make requirements needs uv, a Python package: install it first" >&2; exit 1; }
	$(COMPILE) $(ARGS) requirements.in -o requirements.txt
	$(COMPILE) $(ARGS) requirements-dev.in -o requirements-dev.txt

clean: ## remove the virtual environment and the caches; .env and var/ stay
	rm -rf $(VENV) site .cache *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "Signalbox needs Python 3.11 or later and $(PYTHON) is %d.%d: make PYTHON=python3.12 names another" % v[:2])'
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# The stamps: pip runs again only when what it would install has changed.
$(VENV)/.run: requirements.txt pyproject.toml | $(VENV)/bin/pip
	@echo "Installing what Signalbox runs on, as pinned in $<"
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.txt pyproject.toml | $(VENV)/bin/pip
	@echo "Installing what Signalbox is developed with, as pinned in $<"
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run
