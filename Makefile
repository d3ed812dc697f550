# make demo    set everything up and run the main job on phantoms: report in runs/demo/report.html
# make test    set everything up and pass the tests, offline
# make check   style and types
# make browser what the app's browser and PostgreSQL tests need beside it; as root, on Debian
#
# Everything goes into .venv; nothing needs root. Another Python: make setup PYTHON=python3.12

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.installed
TORCH := $(shell grep '^torch==' requirements.lock)
CORES := $(shell getconf _NPROCESSORS_ONLN)
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1

.PHONY: setup demo test check browser clean
.DELETE_ON_ERROR:

setup: $(DONE)

$(DONE): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed. Debian: apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V). Say which: make setup PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. Debian: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(DONE)

demo: setup
	$(BIN)/radvqa run recipes/demo.yaml

# One process a core, one thread each: more threads than cores make small models slower.
test: setup
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --dist loadfile

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Without these the tests that need them are skipped, visibly.
browser:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium postgresql >/dev/null

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis src/*.egg-info
	find src tests recipes benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
