# Each target does all the set-up it needs: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_ALL := $(VENV)/.installed-all
PIP := $(BIN)/python -m pip install --quiet
LOCKED := --no-deps --require-hashes
# `make HASHES=no ...` installs the pinned versions without hashes, as any other system or Python does.
HASHES ?= $(shell $(PYTHON) -c 'import platform as p, sys; print("yes" if (sys.platform, p.machine(), p.libc_ver()[0], p.python_implementation(), *sys.version_info[:2]) == ("linux", "x86_64", "glibc", "CPython", 3, 11) else "no")')
# Without compiled files, each of the many processes that tests start would compile all sources for itself.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal --durations 20

.PHONY: demo docs test test-all lint gpu-check clean

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

# The site, in build/site; a broken link or reference fails. Python 3.11 or newer.
docs: $(INSTALLED_ALL)
	$(BIN)/zensical build --clean --strict
	$(BIN)/python scripts/check_links.py build/site

# With any Python that has PyTorch, NumPy and Triton: PYTHON=... make gpu-check ARGUMENTS=--resume
gpu-check:
	$(PYTHON) benchmarks/gpu_check.py $(ARGUMENTS)

# With hashes (hashes/, see SECURITY.md): every file is known and nothing is resolved. torch's build for the CPU is in an
# index of its own, or where PIP_FIND_LINKS says.
# Without: torch is named in the same command as nnU-Net on purpose: installed one after the other, nnU-Net's
# dependencies replace torch by the newest CUDA build.
$(INSTALLED): pyproject.toml constraints.txt $(wildcard hashes/*.txt)
	$(PYTHON) -m venv $(VENV)
ifeq ($(HASHES),yes)
	$(PIP) $(LOCKED) -r hashes/build.txt
	$(PIP) $(LOCKED) --retries 1 --index-url https://download.pytorch.org/whl/cpu -r hashes/torch.txt
	$(PIP) $(LOCKED) --no-build-isolation -r hashes/all.txt
	$(PIP) --no-deps --no-build-isolation -e .
else
	$(PIP) -c constraints.txt torch torchvision -e '.[test]'
endif
	touch $@

$(INSTALLED_ALL): $(INSTALLED)
ifneq ($(HASHES),yes)
	$(PIP) -c constraints.txt -e '.[test-all]'
endif
	touch $@

clean:
	rm -rf $(VENV) demo
