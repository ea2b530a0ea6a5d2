# Everything a developer does. PYTHON may be set; otherwise the newest supported one that runs is taken.

VENV := .venv
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	2>/dev/null && { echo $$python; break; }; done)
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench fuzz clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## archive a sample account into demo/ and move it to a second server, both built in
	$(VENV)/bin/archiver demo --dir demo

test: $(VENV)/.dev ## all tests; installs the test servers where it may
	.ci/install-servers
	$(VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist worksteal

lint: $(VENV)/.dev ## formatting, style, types, and who may import whom
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.dev ## measure speed and memory beside other tools; BENCH="archive --runs 3" chooses, BENCH=--help lists
	.ci/install-servers
	$(VENV)/bin/python -m tests.bench $(BENCH)

fuzz: $(VENV)/.dev ## a million odd inputs for each reader, which takes an hour; FUZZ="header --runs 10000" chooses
	$(VENV)/bin/pip install -q --group fuzz
	$(VENV)/bin/python -m tests.fuzz $(FUZZ)

clean: ## remove what was made
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .fuzz
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 with venv found; set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	PYTHONWARNINGS=ignore $(VENV)/bin/pip install -q -e '.[demo]'
	@touch $@

# --group needs pip 25.1
$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/pip install -q --upgrade 'pip>=25.1'
	PYTHONWARNINGS=ignore $(VENV)/bin/pip install -q -e '.[demo,documents,fast-s3,oauth,postgres]' --group dev
	@touch $@ $(VENV)/.demo
