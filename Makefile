# Each target makes its own environment on the first call; later calls start at once.
#
#   make demo MODEL=checkpoints/other STRUCTURES=my_crystals/    another model, your own structures

PYTHON     ?= python3
VENV       ?= .venv
STRUCTURES ?= examples/structures
OUT        ?= out/demo
SET        ?= datasets/prototypes/prototypes.parquet
MODEL      ?=
PYTEST_ARGS ?=

BIN := $(VENV)/bin
# Not compiled on installation, which would take minutes, but what is used, when it is first imported.
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt
WHEEL := $(BIN)/python -m pip wheel --quiet --no-deps --disable-pip-version-check -c constraints.txt

# What is first imported is compiled and kept, in an environment of our own also where the shell forbids it: every
# process that a test starts would compile its libraries anew.
export PYTHONDONTWRITEBYTECODE :=

# Few small matrices: more threads than this cost more than they bring.
export OMP_NUM_THREADS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-all collect lint format clean dft

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.installed ## predict the example structures, and tell what a network makes of our own set
	$(BIN)/opalign predict $(STRUCTURES) --out $(OUT) --beside $(SET) $(if $(MODEL),--model $(MODEL))
	$(BIN)/opalign explain table $(or $(MODEL),alignn) $(SET) --level rpa --out $(OUT)/report

# GPAW is compiled while the rest is installed: the one needs a core, the other the network and the disk. While
# types are checked, the other core compiles what the tests import.
test: ## check style, types and floors, then run the tests that do not take long
	@$(MAKE) --no-print-directory --jobs 2 $(VENV)/.installed-dev $(VENV)/.built-dft
	@$(MAKE) --no-print-directory --jobs 2 --output-sync lint collect
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal -m "not long" $(PYTEST_ARGS)

test-all: ## the same with all tests: what to run before a change is handed in
	@$(MAKE) --no-print-directory test PYTEST_ARGS='-m "" $(PYTEST_ARGS)'

collect: $(VENV)/.tried-dft
	@$(BIN)/python -m pytest --collect-only -qq >/dev/null || true

lint: $(VENV)/.installed-dev ## check style, types and floors only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment, outputs and caches
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# GPAW is compiled here, as C++, against the system's libxc and BLAS. What the extra names and no more: to install
# Opalign again would take it away for a moment from what runs beside.
DFT = $$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["dft"])')
WHEELS := $(VENV)/wheels

dft: $(VENV)/.installed $(VENV)/.built-dft ## add GPAW, which needs a C++ compiler, libxc and BLAS (Debian: libxc-dev libopenblas-dev)
	CC=$(CXX) $(PIP) --find-links $(WHEELS) $(DFT)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Opalign needs Python 3.11 or newer, and this is " + sys.version.split()[0] + ": name another, as in: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Opalign and its dependencies into $(VENV) (once)"
	$(PIP) -e '.[explain]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Opalign and its development tools into $(VENV) (once)"
	$(PIP) -e '.[test,dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.built-dft: pyproject.toml constraints.txt | $(BIN)/python
	@CC=$(CXX) $(WHEEL) --wheel-dir $(WHEELS) $(DFT) || echo "GPAW could not be built: its tests will be skipped"
	@touch $@

$(VENV)/.tried-dft: $(VENV)/.installed-dev $(VENV)/.built-dft
	@$(MAKE) --no-print-directory dft || echo "GPAW could not be installed: its tests will be skipped"
	@touch $@
