# Each target does all the set-up it needs: `make demo` and `make test` work on a fresh clone. What they do is in
# scripts/dev.py, which also works where there is no make.
PYTHON ?= python3
VENV ?= .venv
# `make HASHES=no ...` installs the pinned versions without hashes, as any other system or Python does.
HASHES ?= auto
DEV := $(PYTHON) scripts/dev.py --venv $(VENV) --hashes $(HASHES)

.PHONY: demo test test-all lint docs napari gpu-check clean
.NOTPARALLEL:

demo test lint docs napari clean:
	$(DEV) $@

# And what takes long or a browser.
test-all: test
	$(DEV) slow

# With any Python that has PyTorch, NumPy and Triton: PYTHON=... make gpu-check ARGUMENTS=--resume
gpu-check:
	$(DEV) $@ -- $(ARGUMENTS)
