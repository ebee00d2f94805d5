# Each target does all the set-up it needs: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_ALL := $(VENV)/.installed-all
# Without compiled files, each of the many processes that tests start would compile all sources for itself.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal --durations 20

.PHONY: demo test test-all lint clean

demo: $(INSTALLED)
	$(BIN)/swin-umamba demo

test: $(INSTALLED)
	$(PYTEST)

# And what takes long or a browser.
test-all: test $(INSTALLED_ALL)
	command -v chromium > /dev/null || (apt-get update -qq && apt-get install -qq --no-install-recommends chromium)
	$(PYTEST) -m "slow or browser or docs"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch is named in the same command as nnU-Net on purpose: installed one after the other, nnU-Net's
# dependencies replace torch by the newest CUDA build.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch torchvision -e '.[test]'
	touch $@

$(INSTALLED_ALL): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test-all]'
	touch $@

clean:
	rm -rf $(VENV) demo
