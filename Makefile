# Everything from nothing: `make demo` and `make test` build their own environment in .venv from the lock.
# PYTHON: the first that runs and for which MediaPipe 0.10.14 was built; with uv and none of them, uv's own.
BIN := .venv/bin
SETUP := .venv/.installed
DEV := .venv/.installed-dev
SPHINX := .venv/.installed-docs
EXTRAS := .venv-extras/.installed
UV := $(shell command -v uv 2>/dev/null)
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))
fitting = $(if $(shell $(1) -c '$(FITS)' >/dev/null 2>&1 && echo yes),$(1))
PYTHON ?= $(firstword $(foreach python,python3.12 python3.11 python3,$(call fitting,$(python))))
NONE = none of python3.12, python3.11 and python3 is Python 3.11 or 3.12: install one of them, or uv, which brings \
  its own, or name it: make PYTHON=/path/to/python3.12
venv = $(if $(UV),$(UV) venv --quiet --seed --allow-existing --python $(or $(PYTHON),3.12) $(1),$\
  $(or $(PYTHON),$(error $(NONE))) -m venv $(1))
install = $(if $(UV),$(UV) pip install --quiet --python $(1)/bin/python,$(1)/bin/python -m pip install --quiet) -c $(2)
INSTALL = $(call install,.venv,constraints.txt)
export DVC_NO_ANALYTICS = 1

.PHONY: demo demo-all test test-extras bench fuzz lint docs sample clean
MINUTES ?= 10
NEXT = printf '\nnext: source $(BIN)/activate; msa-cli runs; reports/index.html has the page\n'

demo: $(SETUP)  ## the whole path on the sample corpus: raw clips in, table of metrics out
	$(BIN)/msa-cli repro
	@cat reports/report.md
	@$(NEXT)

demo-all: $(SETUP)  ## the same with every method, in place of the models_run of params.yaml
	$(BIN)/msa-cli repro --models all
	@cat reports/report.md
	@$(NEXT)

test: $(DEV) lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not benchmark"

test-extras: $(EXTRAS)  ## encoders and recognition, beside the heavy extras (8 GB; needs FFmpeg's libraries)
	.venv-extras/bin/python -m pytest -m "not benchmark" tests/features tests/transcripts tests/training/test_mpnet.py

bench: $(DEV)  ## speed, as ratios measured side by side
	$(BIN)/python -m pytest -m benchmark -s

fuzz: $(DEV)  ## damaged files through every reader for MINUTES; ARGS="--seed 7 media params" chooses
	PYTHONPATH=tests $(BIN)/python -m fuzz.lane --minutes $(MINUTES) $(ARGS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(SPHINX)  ## the pages of docs/ as HTML in build/docs; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet docs build/docs

sample: $(DEV)  ## rebuild data/sample (needs espeak-ng)
	$(BIN)/python data/make_sample.py

$(SETUP): pyproject.toml constraints.txt
	$(call venv,.venv)
	$(INSTALL) --upgrade pip
	$(INSTALL) -e .
	touch $@

$(DEV): $(SETUP)
	$(INSTALL) -e '.[dev]'
	touch $@

$(SPHINX): $(SETUP)
	$(INSTALL) -e '.[docs]'
	touch $@

$(EXTRAS): pyproject.toml constraints-extras.txt
	$(call venv,.venv-extras)
	$(call install,.venv-extras,constraints-extras.txt) -e '.[dev,asr-fast,opensmile,praat,pyfeat,torchaudio]'
	touch $@

clean:  ## remove the environment and caches; features, runs and results stay
	rm -rf .venv .venv-extras .pytest_cache .mypy_cache .ruff_cache build *.egg-info
