# Two commands to start with:  make demo   (edit pictures by editing words)   make test   (everything that is checked)
#
# PYTHON=python3.12      the interpreter that makes the environment
# VENV=.venv             where it is made
# PIP_ARGS="..."         passed to pip, for example an index of CPU builds of torch
# OUT=out                where demo and figures write
# MINUTES=10             how long fuzz tries

PYTHON   ?= python3
VENV     ?= .venv
PIP_ARGS ?=
OUT      ?= out
MINUTES  ?= 10

BIN     := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints/cpu.txt $(PIP_ARGS)
BASE    := $(VENV)/.installed
DEV     := $(VENV)/.installed-dev

.PHONY: help demo test check font chromium figures docs bench fuzz clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(BASE)  ## edit pictures by editing words, through the command line, into out/
	@PATH="$(abspath $(BIN)):$$PATH" OUT="$(OUT)" examples/demo.sh
	@echo "Your turn: source $(VENV)/bin/activate, and then wordbrush --help"

# Two processes of one thread each: many tests are too small for threads to be worth their while.
test: $(DEV) font chromium check  ## everything: style, types, tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

check: $(DEV)  ## style and types only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python

font:
	@scripts/debian_package.sh fonts-noto-color-emoji "tests that render storybook scenes" \
	    test -e /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf

chromium:
	@scripts/debian_package.sh chromium "tests of the studio in a browser" \
	    eval 'command -v chromium || command -v chromium-browser'

figures: $(BASE)  ## the papers' figures on storybook, PNG and PDF
	@$(BIN)/wordbrush figures p2p-all ip2p-all -o $(OUT)/figures

docs: $(DEV)  ## the documentation as a site, into site/
	@$(BIN)/python -m mkdocs build --strict

BENCHMARKS := startup overhead source_cache families inversion training pair_cost

bench: $(DEV)  ## every benchmark (hours), or BENCHMARKS="startup overhead"; then the page docs/benchmarks.md
	@set -e; for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py; done
	@$(BIN)/python benchmarks/summary.py

fuzz: $(DEV)  ## random input at the public entry points for MINUTES
	@OMP_NUM_THREADS=1 $(BIN)/python scripts/fuzz.py --minutes $(MINUTES)

clean:  ## remove the environment and what was written
	rm -rf $(VENV) $(OUT) site runs .pytest_cache .ruff_cache .hypothesis

# The stamps make every call after the first one quick; a changed pyproject.toml or constraint installs again.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else \
	    "wordbrush needs Python 3.11 or newer, $(PYTHON) is %d.%d; choose another one with PYTHON=..." % v)'
	@echo "Making the environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml constraints/cpu.txt | $(BIN)/python
	@echo "Installing wordbrush into $(VENV) (minutes the first time: torch for the CPU is large)"
	@$(INSTALL) -e .
	@touch $@

$(DEV): pyproject.toml constraints/cpu.txt | $(BIN)/python
	@echo "Installing wordbrush and its test tools into $(VENV)"
	@$(INSTALL) -e '.[dev]'
	@touch $(BASE) $@
