# Two commands: `make demo` and `make test`. Both need Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo
DATA := $(if $(LUNGSIGHT_DATA),LUNGSIGHT_DATA="$(LUNGSIGHT_DATA)")
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

# The tests see no variable of the shell that starts them: what holds only with a setting of ours holds for no user.
# The second run repeats those that read, write and print, in the C locale and with a home that cannot be written.
test: $(VENV)/.dev lint
	env -i HOME="$$HOME" PATH="$$PATH" $(DATA) $(BIN)/python -m pytest -n 2
	env -i HOME=/proc/no-home PATH="$$PATH" $(DATA) LC_ALL=C $(BIN)/python -m pytest -n 2 -q tests/test_xray.py tests/test_cli_predict.py tests/test_files.py

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
