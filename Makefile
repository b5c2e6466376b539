# Everything from nothing: `make demo` and `make test` build their own environment in .venv from the lock.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.installed
SPHINX := .venv/.installed-docs
export DVC_NO_ANALYTICS = 1

.PHONY: demo test bench fuzz lint docs sample clean
MINUTES ?= 10

demo: $(SETUP)  ## the whole path on the sample corpus: raw clips in, table of metrics out
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro
	@cat reports/report.md

test: $(SETUP) lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not benchmark"

bench: $(SETUP)  ## speed, as ratios measured side by side
	$(BIN)/python -m pytest -m benchmark -s

fuzz: $(SETUP)  ## damaged files through every reader for MINUTES; ARGS="--seed 7 media params" chooses
	PYTHONPATH=tests $(BIN)/python -m fuzz.lane --minutes $(MINUTES) $(ARGS)

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(SPHINX)  ## the pages of docs/ as HTML in build/docs; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet docs build/docs

sample: $(SETUP)  ## rebuild data/sample (needs espeak-ng)
	$(BIN)/python data/make_sample.py

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

$(SPHINX): $(SETUP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

clean:  ## remove the environment and caches; features, runs and results stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache build *.egg-info
