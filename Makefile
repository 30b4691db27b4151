# make help   says what there is. Everything lives in .venv; nothing outside this folder is
# touched, except the demo's checkpoint in the user's cache folder.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Waiting OpenMP threads sleep. Spinning, as they do by default, trains the demo a fifth faster on
# two idle cores, and four to ten times slower on busy ones (both measured).
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help env demo test lint format baseline clean

help: ## Show the targets
	@echo "ttfamily: Hugging Face language models on Tenstorrent meshes, real or simulated"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=/path/to/python3.12 chooses the Python that makes the environment."

env: $(STAMP) ## Make the environment in .venv (once; about 6 GB, most of it PyTorch)
	@echo "$(VENV) is ready: try $(BIN)/ttfamily --help"

demo: $(STAMP) ## Train a small Llama, run it on a simulated n300, compare with Hugging Face
	@$(BIN)/ttfamily demo

test: $(STAMP) ## Run all tests
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP) ## Check style, format, types and which module may import which
	@echo "ruff check"; $(BIN)/ruff check .
	@echo "ruff format --check"; $(BIN)/ruff format --check .
	@echo "mypy"; $(BIN)/mypy
	@echo "lint-imports"; $(BIN)/lint-imports --no-cache --no-logo

format: $(STAMP) ## Format, put imports in order and fix what ruff can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

baseline: $(STAMP) ## Write the op streams' baselines anew (tests/baselines), when a change of them is meant
	@$(BIN)/python -m ttfamily.testing.baselines tests/baselines

clean: ## Remove the environment and all caches in this folder
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

# Bytecode is compiled after the installation, on all cores, where pip would use one.
$(STAMP): pyproject.toml constraints.txt
	@python=$$(bash tools/find-python $(PYTHON)); \
	echo "Making $(VENV) with $$($$python --version) ($$python)"; \
	"$$python" -m venv --clear $(VENV)
	@echo "Installing ttnn, PyTorch, transformers and the rest (about 3 GB to download, once)"
	@$(BIN)/python -m pip install -qq --no-compile --no-input --progress-bar off \
	    --constraint constraints.txt --editable '.[test,dev]'
	@$(BIN)/python -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib >/dev/null 2>&1 || true  # templates are no Python
	@touch $@
