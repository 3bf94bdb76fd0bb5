# Each target makes .venv by itself; PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
# Each module is compiled once, not by every test process, driver and worker, also in a container
# that says otherwise.
export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: run test test-fast test-full cluster bucket faults lint types bench papers docs mutants audit
.DEFAULT_GOAL := run

run: .venv/installed  ## search schedules on the built-in digits
	$(BIN)/python -m tuner.run space=poly

test: .venv/installed  ## the tests that need no GPU; of long ones one for each mechanism
	$(PYTEST) -m "not gpu and not cluster and not full"

test-fast: .venv/installed
	$(PYTEST) -m "not slow and not full and not gpu"

test-full: .venv/installed  ## all of them (18 minutes)
	$(PYTEST) -m "not gpu and not cluster"

cluster: .venv/installed  ## jobs on nodes that are started here, and killed (15 minutes)
	$(BIN)/python -m pytest -m cluster

bucket: .venv/installed  ## runs in a bucket, on a server that speaks S3 (82 MB are installed)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[s3-server]'
	$(BIN)/python -c 'import flask, flask_cors, moto'
	$(BIN)/python -m pytest tests/commands/storage

# One process: what is told of seconds is not the seconds of a busy machine.
COUNTS := $(CURDIR)/faults.tmp
faults: .venv/installed  ## docs/faults.md: what was done to runs, how often, what held (an hour)
	rm -f $(COUNTS)
	GRADTUNE_FAULTS=$(COUNTS) $(BIN)/python -m pytest -m fault; status=$$?; \
	$(BIN)/python -m tests.faults.table $(COUNTS) docs/faults.md && exit $$status

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

bench: .venv/installed  ## numbers of docs/performance.md
	$(BIN)/python -m benchmarks.speed.page

papers: .venv/installed  ## what docs/papers.md reports (40 minutes)
	$(BIN)/python docs/papers.py

docs: .venv/installed  ## docs/keys.md
	$(BIN)/python -m tuner.config.help > docs/keys.md

audit: .venv/installed  ## known vulnerabilities of the pinned packages; works without a network
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip-audit
	$(BIN)/python -m tests.security.audit

mutants: .venv/installed  ## what the tests of the pure rooms would not notice (hours)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	$(BIN)/mutmut run
	$(BIN)/mutmut results --all true | $(BIN)/python -m tests.mutants

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
