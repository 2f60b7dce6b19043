# Two commands: `make demo` and `make test`. Both need Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo
DATA := $(if $(LUNGSIGHT_DATA),LUNGSIGHT_DATA="$(LUNGSIGHT_DATA)")
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test coverage mutation lint docs docs-test web web-test release-check clean

# The documentation site, offline, into build/site: strict, so that a broken link or anchor stops it.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --clean --quiet
	@echo "Look at build/site: $(BIN)/python -m http.server --directory build/site"

# Every example of the README and the site, on drawn X-rays in empty folders; what does not run is listed.
docs-test: $(VENV)/.docs
	$(BIN)/python docs/tools/examples.py

# The static page that runs the networks in the browser, into build/web. Needs npm; nothing of it goes into the wheel.
web: $(VENV)/.dev
	cd web && npm ci
	$(BIN)/python web/build.py build/web

# The same X-rays through the page in Chromium and through the package; stops where they differ, or a request leaves.
web-test: web
	$(BIN)/python benchmarks/web.py build/web

# Before a release: both packages built, looked at and installed in an empty environment; the check of the masks there.
release-check: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check build twine
	PYTHON=$(PYTHON) $(BIN)/python docs/tools/release_check.py

demo: $(VENV)/.train
	$(BIN)/lungsight data phantom --count 240 --seed 7 $(DEMO)/phantoms
	$(BIN)/lungsight reproduce --data $(DEMO)/phantoms --out $(DEMO)/paper --budget 3
	$(BIN)/lungsight predict $(DEMO)/phantoms/images/phantom-7-0000*.png --out $(DEMO)/predictions --resume
	@echo
	@echo "Look at:"
	@echo "  $(DEMO)/paper/report.html          the paper's experiment, on drawn X-rays"
	@echo "  $(DEMO)/predictions/contact.html   lung masks of the shipped network"

# The tests see no variable of the shell that starts them: what holds only with a setting of ours holds for no user.
# Each worker begins with its own half of the suite (worksteal), so that what a module's tests share is made once.
# The second run repeats those that read, write and print, in the C locale and with a home that cannot be written.
test: $(VENV)/.dev lint
	env -i HOME="$$HOME" PATH="$$PATH" $(DATA) $(BIN)/python -m pytest -n 2 --dist worksteal
	env -i HOME=/proc/no-home PATH="$$PATH" $(DATA) LC_ALL=C $(BIN)/python -m pytest -n 2 -q tests/test_xray.py tests/test_cli_predict.py tests/test_files.py

# The tests once more, slower, with the fraction of statements that they run; fails below 94 %.
coverage: $(VENV)/.dev
	env -i HOME="$$HOME" PATH="$$PATH" $(DATA) $(BIN)/python -m pytest -n 2 -q --cov --cov-report=term:skip-covered --cov-fail-under=94

# Small modules changed by a machine, a thousand times, with the tests that are about them; a change that no test sees
# is listed by `mutmut results`. It takes long; what is done is not done again.
mutation: $(VENV)/.dev
	env -i HOME="$$HOME" PATH="$$PATH" $(BIN)/python -m mutmut run --max-children 2
	$(BIN)/python -m mutmut results

lint: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks docs/tools web
	$(BIN)/ruff check src tests benchmarks docs/tools web
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

$(VENV)/.docs: $(VENV)/.dev
	$(INSTALL) -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) runs build dist .pytest_cache .mypy_cache .ruff_cache
