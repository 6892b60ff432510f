# make demo   installs what is needed into .venv and runs the main job on the simulated stage
# make test   installs what is needed into .venv and runs the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# the reference ASC MHL tool pins versions that we do not: an environment of its own, for tests only
MHL_VENV := .venv-ascmhl
MHL_STAMP := $(MHL_VENV)/.installed

.PHONY: demo test slow lint format check clean $(MHL_VENV)

demo: $(STAMP)
	$(BIN)/lightstage demo --output demo

test: $(STAMP) $(MHL_VENV)
	$(BIN)/python -m pytest -n 2

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "The venv module is missing; on Debian or Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,model]'
	@touch $(STAMP)

# without a network the tests against the reference tool are skipped, and say so
$(MHL_VENV): $(STAMP)
	@test -e $(MHL_STAMP) \
	  || { $(BIN)/python -m venv $(MHL_VENV) \
	    && $(MHL_VENV)/bin/pip install --quiet --disable-pip-version-check 'ascmhl==1.2' \
	    && touch $(MHL_STAMP); } \
	  || { echo "The reference ascmhl tool could not be installed: its tests are skipped."; \
	    rm -rf $(MHL_VENV); }

clean:
	rm -rf $(VENV) $(MHL_VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
