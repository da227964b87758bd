# make demo    install, and run the main job on real digits: no downloads but packages, no GPU
# make test    install, and run all checks and all tests but the long ones, which make test-long runs
# make setup   install into .venv, with the versions of constraints.txt
# make test-ray RAY=2.59.0   the tests that need Ray, with another version of it
# make test-gpu   what a machine with a GPU is to run: the marked tests, a benchmark, the demo
# Also: test-fast (no Ray, nothing slow), lint, bench, clean. PYTHON=python3.12 chooses the Python; OPTIONS="..." are passed on.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
SPREAD := -n 2 --dist loadscope --no-loadscope-reorder
RAY ?= 2.59.0
OTHER_RAY = PATH="$$PATH:$(abspath $(BIN))" $(VENV)-ray-$(RAY)/bin/python -m pytest # the S3 server is in the first environment alone
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c '$(FITS)' 2>/dev/null; then echo $$p; break; fi; done)
# Tests start a hundred processes: they need their bytecode cached, even if the environment turns that off.
export PYTHONDONTWRITEBYTECODE :=
BENCHMARKS = $(sort $(shell grep -L required=True tests/benchmarks/bench_*.py)) # those others need CIFAR-10

.PHONY: setup venv demo test test-fast test-long test-gpu test-ray lint bench clean
.DEFAULT_GOAL := setup

setup: $(VENV)/.test-installed
venv: $(BIN)/pip

demo: $(VENV)/.installed
	$(BIN)/dsopt optimize preset=demo $(OPTIONS)

test: lint
	$(BIN)/python -m pytest -q -rs -m "not long" $(SPREAD) $(OPTIONS)

# Machines and servers lost while a job runs, and what else takes long: most of it processes that start.
test-long: $(VENV)/.test-installed
	$(BIN)/python -m pytest -q -rs -m long $(SPREAD) $(OPTIONS)

test-fast: $(VENV)/.test-installed
	$(BIN)/python -m pytest -q -m "not ray and not slow and not long" $(SPREAD) $(OPTIONS)

# In an environment that has that Ray, and all else from the one above.
test-ray: $(VENV)-ray-$(RAY)/.installed
	$(OTHER_RAY) -q -rs tests/ray $(OPTIONS)
	$(OTHER_RAY) -q -rs -m ray --ignore=tests/ray $(OPTIONS)

$(VENV)-ray-%/.installed: $(VENV)/.test-installed
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check install --no-deps ray==$*
	echo "import site; site.addsitedir('$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")')" > \
		$$($(@D)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/others.pth
	@touch $@

test-gpu: $(VENV)/.test-installed
	@$(BIN)/python tests/on_gpu.py

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/.test-installed
	set -e; for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python $$file; done

clean:
	rm -rf .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find dsopt jobs tests -name __pycache__ -type d -prune -exec rm -rf {} +

# pip's script is the last file that a new environment gets: without it the environment is incomplete, and is made again.
$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 was not found. Install one, or name it: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c '$(FITS)' || { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot create virtual environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamp is written only after pip has succeeded, so an interrupted installation resumes with the next make.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.test-installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(PIP) install -c constraints.txt -e '.[test]'
	@touch $(VENV)/.installed $@
