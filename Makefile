PYTHON ?= python3
BIN := .venv/bin
# A process a core, each with one thread; a file's tests share what they train.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist loadfile

.PHONY: quickstart sweep study notebooks test test-fast architectures fuzz torture lint bench pages certify clean
.DEFAULT_GOAL := quickstart

# Exact versions from constraints.txt; rebuilt when a pin or a dependency changes.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: .venv/.installed  ## main job on the embedded data: letters -> real digits, report at the end
	$(BIN)/python -m tlcl.train +experiment=finetune_layerwise

sweep: .venv/.installed  ## freeze depth x labelled images on the embedded data, one table and heat map, two minutes
	$(BIN)/python -m tlcl.train -m thaw.depth=0,1,2,5 data.train_size=50,200 seed=0,1 trainer.epochs=10 \
	  data.batch_size=32 data.crop_padding=0 logger=none hydra.sweep.dir=runs/sweeps/depth_by_labels

study: .venv/.installed  ## all questions on the embedded data, one report, 17 minutes on two cores
	$(BIN)/python -m tlcl.commands.study

notebooks: .venv/.installed  ## execute the four notebooks and write them with their outputs
	$(BIN)/python notebooks/render.py

test: .venv/.installed  ## lint, types, layers and the whole test suite
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: .venv/.installed  ## without the slow tests
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

architectures: .venv/.installed  ## what holds of any network of timm, on 219 of 63 families, and whole runs on five kinds
	$(BIN)/python -m pytest $(PARALLEL) --dist worksteal tests/architectures --durations=10

fuzz: .venv/.installed  ## property tests with other examples each time, and many more
	TLCL_FUZZ=thorough $(BIN)/python -m pytest $(PARALLEL) $$(find tests -name 'test_fuzz_*.py')

torture: .venv/.installed  ## kill, fill the disk, damage files, ...: what is done to runs, and what came of it
	$(BIN)/python -m torture

lint: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.installed  ## every benchmark of speed and memory, into figures/ and benchmarks/RESULTS.md
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/python -m benchmarks

pages: .venv/.installed  ## README.md, docs/measured.md and benchmarks/RESULTS.md from figures/
	$(BIN)/python -m benchmarks.pages

certify: .venv/.installed  ## measure a fifth of the registered figures anew, within an hour: docs/certified.md
	$(BIN)/python -m benchmarks.certify

clean:
	rm -rf .venv build dist runs outputs
