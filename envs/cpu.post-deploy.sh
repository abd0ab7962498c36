#!/usr/bin/env bash
# Snakemake runs this in a new environment, in the folder of the run: the checkout. The environment's own packages stay as they are.
set -euo pipefail
python -m pip install --no-deps --editable .
