# Every target makes the environment it needs; all it takes is Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/python -m uv
STAMPS := .make
TEST_FLAGS ?=

.PHONY: env quickstart test lint docs gallery notebooks requirements clean

env: $(STAMPS)/package

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'diorama needs Python >= 3.11: make PYTHON=/path/to/python3.11 env'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import uv' 2>/dev/null || $(BIN)/python -m pip install --quiet uv
	@mkdir -p $(STAMPS) && touch $@

# Without --compile-bytecode every process would pay 9 s of CPU to import lightning, with it 3 s.
$(STAMPS)/requirements: requirements.txt $(STAMPS)/venv
	@echo 'installs about 8 GB of packages into $(VENV) (torch with CUDA is most of it): minutes the first time, and silent'
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.txt
	@touch $@

$(STAMPS)/package: pyproject.toml $(STAMPS)/requirements
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

quickstart: env
	$(BIN)/diorama quickstart --overwrite

test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" --cov --cov-report= $(TEST_FLAGS) tests/export
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" --cov --cov-append --cov-report=term:skip-covered $(TEST_FLAGS) --ignore tests/export

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate_equations.py --check

docs: env
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

# The pictures of docs/gallery.md, by the commands below them there.
gallery: env
	OMP_NUM_THREADS=1 $(BIN)/python docs/generate_gallery.py

# Runs the notebooks; `make docs` then shows what came out.
notebooks: env
	DIORAMA_NOTEBOOKS=$(CURDIR)/docs/_build/notebooks $(BIN)/python -m pytest -q tests/docs/test_notebooks.py

requirements: $(STAMPS)/venv
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra dev --upgrade pyproject.toml -o requirements.txt
	@! grep -n '://' requirements.txt || { echo 'requirements.txt must hold no address'; exit 1; }

clean:
	rm -rf $(VENV) $(STAMPS) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
