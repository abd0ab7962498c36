# `make demo` and `make test` set up .venv from the lock file first; both are safe to run again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := envs/locks/cpu-py311.txt
# An extra package index with a CPU build of torch keeps the download small (see README).
PIP_EXTRA ?=
# Processors for the demo and the tests.
CORES ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-slurm bench lint format clean

help:
	@echo "make demo       simulated screen from raw counts to the report"
	@echo "make test       style, types, workflow checks and the default test suite"
	@echo "make test-slow  the long tests"
	@echo "make test-slurm the workflow on a real Slurm with pretend GPUs, which it sets up (as root on Debian; skipped elsewhere)"
	@echo "make bench      benchmarks, and docs/performance.md from what they measured"
	@echo "make lint       style, types and workflow checks only"
	@echo "make format     format code and rules"
	@echo "make clean      remove the results of the demo"

$(VENV)/.installed: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "causcade: expected Python 3.11 or newer, found " + sys.version.split()[0] + ". Run: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_EXTRA) -r $(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

install: $(VENV)/.installed

demo: install
	@PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --profile profiles/local --cores $(CORES)
	@echo
	@echo "report:  results/simulated/report/index.html"
	@echo "network: results/simulated/network/edges.parquet (also edges.tsv, network.graphml, regulons.gmt)"

# The peers that the kernel is measured against are installed for this target only (MKL: some 400 MB).
bench: install
	$(BIN)/python -m pip install --quiet $(PIP_EXTRA) -c $(LOCK) -e '.[bench]'
	for name in coexpression reading added_plate mask evaluation embedding performance; do PATH="$(CURDIR)/$(BIN):$$PATH" python benchmarks/$$name.py || exit 1; done

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --lint

test: lint
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 pytest -m "not slow and not slurm" -n $(CORES) --dist loadscope --no-loadscope-reorder

test-slow: install
	PATH="$(CURDIR)/$(BIN):$$PATH" pytest -m slow

test-slurm: install
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 pytest -m slurm tests/slurm

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

clean:
	rm -rf results/simulated
