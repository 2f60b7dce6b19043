# Two commands: `make demo` and `make test`. Both need Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint clean

demo: $(VENV)/.train
	$(BIN)/lungsight data phantom --count 240 --seed 7 $(DEMO)/phantoms
	$(BIN)/lungsight reproduce --data $(DEMO)/phantoms --out $(DEMO)/paper --budget 3
	$(BIN)/lungsight predict $(DEMO)/phantoms/images/phantom-7-0000*.png --out $(DEMO)/predictions --resume
	@echo
	@echo "Look at:"
	@echo "  $(DEMO)/paper/report.html          the paper's experiment, on drawn X-rays"
	@echo "  $(DEMO)/predictions/contact.html   lung masks of the shipped network"

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) torch
	$(INSTALL) -e '.[train]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) torch
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.train

clean:
	rm -rf $(VENV) runs build dist .pytest_cache .mypy_cache .ruff_cache
