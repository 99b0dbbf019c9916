# Two commands do everything on a machine with Python >= 3.11 and make: `make book` and `make test`.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
# cuda: PyTorch as the package index has it, with CUDA on Linux. cpu: its build without, from PyTorch's own index.
TORCH ?= cuda
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed
# LAVIS has an environment of its own: it needs older libraries, and with them Python 3.11.
PYTHON_LAVIS ?= python3.11
VENV_LAVIS ?= .venv-lavis
STAMP_LAVIS := $(VENV_LAVIS)/.installed
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install book test lint lab install-lavis test-lavis test-slurm test-book clean

# One computing thread per process: the work is spread over processes instead.
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
export PYTHONHASHSEED ?= 0

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

# $(call need,PROGRAM,CONDITION,WHAT IT IS OTHERWISE,WHAT TO DO): Python 2 must be able to read the line, too.
define need
@shown=$$($(1) -c 'import sys; print("this Python: %s" % ($(2)))' 2>&1 | tr -s '\n' ' ') || true; \
  case "$$shown" in \
  *"this Python: True"*) ;; \
  *"this Python: False"*) echo "error: $(1) $(3); $(4)"; exit 1;; \
  *) echo "error: $(1) cannot be run (it printed: $${shown:-nothing}); $(4)"; exit 1;; \
  esac
endef

install: $(STAMP) ## make the virtual environment (the other targets do it too); TORCH=cpu: without CUDA

# Installed once; again when the pins or the project file change.
$(STAMP): requirements.lock requirements-cuda.lock pyproject.toml
	@case "$(TORCH)" in cuda|cpu) ;; *) echo "error: TORCH=$(TORCH) is unknown; use cuda or cpu"; exit 1;; esac
	$(call need,$(PYTHON),sys.hexversion >= 0x030b0000,is older than 3.11,say which to use: make PYTHON=python3.12)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# pydensecrf2 is built from source with a Cython that knows no Python 3.13: there, with a newer one
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || \
	  { $(PIP) -r <(grep -iE '^(cython|setuptools)==' requirements.lock) wheel; \
	    $(PIP) --no-build-isolation --no-deps -r <(grep -i '^pydensecrf2==' requirements.lock); }
	@echo "Installing the pinned packages into $(VENV) (PyTorch for $(TORCH)): \
	$(if $(filter cpu,$(TORCH)),about 2.2 GB,about 6.8 GB; TORCH=cpu needs a third of that), 3 to 10 minutes without output."
	@# PyTorch first: what the lock asks for is there then, and not taken from the usual index.
	$(if $(filter cpu,$(TORCH)),$(PIP) --index-url $(TORCH_CPU_INDEX) -r <(grep -E '^(torch|torchvision)==' requirements.lock))
	$(PIP) -r requirements.lock $(if $(filter cuda,$(TORCH)),-r requirements-cuda.lock)
	$(PIP) --no-deps --no-build-isolation --editable .
	@echo "Installed."
	@touch $@

book: $(STAMP) ## run the notebooks that changed, build the book, say where it is
	$(BIN)/ovss book --jobs $(JOBS)

test: $(STAMP) lint ## lint, types, recomputed numbers, tests and doctests with coverage
	$(BIN)/ovss regress
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --cov --cov-report=term

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: $(STAMP) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

install-lavis: $(STAMP_LAVIS) ## make LAVIS's virtual environment (test-lavis does it by itself)

# Most of its modules are never imported: compiling them all would take longer than the tests.
$(STAMP_LAVIS): requirements-lavis.lock pyproject.toml
	$(call need,$(PYTHON_LAVIS),sys.hexversion >> 16 == 0x030b,is not Python 3.11,LAVIS's libraries need that one: make test-lavis PYTHON_LAVIS=...)
	@test -x $(VENV_LAVIS)/bin/python || $(PYTHON_LAVIS) -m venv $(VENV_LAVIS)
	$(VENV_LAVIS)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps \
	  -r requirements-lavis.lock
	$(VENV_LAVIS)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps \
	  --no-build-isolation --editable .
	@touch $@

test-lavis: $(STAMP_LAVIS) ## the same maps through LAVIS's own BLIP, in its own environment
	$(VENV_LAVIS)/bin/python -m pytest tests/lavis

# Needs Debian's or Ubuntu's slurm-wlm, which it installs when root.
test-slurm: $(STAMP) ## a run through a real SLURM cluster of one node, on this machine alone
	$(BIN)/python -m pytest tests/slurm

# Needs Debian's or Ubuntu's chromium, which it installs when root.
test-book: book ## every page of the built book in a real browser, the network cut
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || \
	  { apt-get update -qq && apt-get install --yes -qq --no-install-recommends chromium fonts-dejavu-core; }
	$(BIN)/python -m pytest -n $(JOBS) tests/browser

clean: ## remove what the builds wrote (the virtual environment stays)
	rm -rf _build book/executed book/_static/generated results .pytest_cache .mypy_cache .ruff_cache .coverage*
	find ovsslib tests -name __pycache__ -type d -prune -exec rm -rf {} +
