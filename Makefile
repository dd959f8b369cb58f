# The commands of this collection. `make` lists them.
#
#   PYTHON=python3.12   the Python that makes the environment (3.10 or newer), if `python3` is too old
#   CONSTRAINTS=        install the newest releases instead of the tested ones in constraints.txt
#   ARGS="..."          is handed on to JupyterLab, pytest or tools/results.py
#   LESSONS="..."       the notebooks that a command works on; default: all
#   REPO=owner/name     the GitHub repository that `make publish` writes down

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
LESSONS ?= $(wildcard notebooks/*.ipynb)
ARGS ?=

VENV := .venv
BIOME := 2.6.8
FIRST := notebooks/01_elbo_and_vanilla_vae.ipynb
RUN := $(VENV)/bin/python
# Tests of one file, and cells of one lesson, stay together. Each process computes with one thread: where processes
# share the cores, threads mostly wait for each other.
SPREAD = OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(TIMED) $(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --benchmark-disable
# Says at the end how long that took, in training steps of this machine.
TIMED = $(RUN) tools/yardstick.py "$(if $(strip $(ARGS)),part of )make $@" --
QUICK = $(SPREAD) tests --ignore=tests/browser --ignore=tests/test_altered_settings.py
INSTALLED := $(VENV)/.vaelab-installed
REVEAL := build/reveal/sphinx_revealjs
# JupyterLab without its question about news (tools/lab), and with nothing to say unless something is wrong; the option
# about encryption keeps ipykernel from warning of each kernel. Jupyter wants to be told when root starts it.
CALM = --LabApp.app_settings_dir=$(CURDIR)/tools/lab --log-level=ERROR --MappingKernelManager.transport_encryption=auto
ROOT_FLAG = $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)
# What the first installation downloads, seen with the pinned versions: PyPI's PyTorch for Linux brings CUDA libraries.
DOWNLOADS = $(if $(filter Linux,$(shell uname -s)),about 3 GB; the README tells of a smaller PyTorch,about 0.3 GB)

.DEFAULT_GOAL := help
.PHONY: help lab test quick coverage lint html notebooks figures results bench matrix student slides publish colab clean

help: ## list the commands
	@echo "usage: make COMMAND"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

lab: $(INSTALLED) ## install what is missing, then open the first lesson in JupyterLab
	@echo "==> Opening the first lesson in JupyterLab; stop it with Ctrl-C"
	@$(RUN) -m jupyterlab --LabApp.default_url=/lab/tree/$(FIRST) $(CALM) $(ROOT_FLAG) $(ARGS)

test: $(INSTALLED) ## run every test and every cell of every lesson, or what ARGS names
ifeq ($(strip $(ARGS)),)
	@echo "==> Running every test, and every lesson from top to bottom, on all cores"
	$(SPREAD)
else
	@echo "==> Running pytest $(ARGS)"
	$(RUN) -m pytest $(ARGS)
endif

quick: $(INSTALLED) ## run the tests without lessons and browser: a minute or two
	@echo "==> Running the tests on all cores"
	$(QUICK) $(ARGS)

coverage: $(INSTALLED) ## name the lines of vaelab that no test runs, lessons and browser aside; at most 5 %
	$(QUICK) --cov --cov-report=term-missing --cov-fail-under=95 $(ARGS)

lint: $(INSTALLED) ## check style, formatting and types
	@echo "==> Checking style, formatting and types"
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	@if command -v npx >/dev/null; then npx --yes @biomejs/biome@$(BIOME) ci --error-on-warnings vaelab/widgets; \
	else echo "==> npx is missing: the JavaScript in vaelab/widgets stays unchecked"; fi

html: $(INSTALLED) ## execute the lessons and write them as pages that need no network: build/html
	@echo "==> Executing the lessons and writing pages to build/html"
	@$(RUN) tools/pages.py html $(LESSONS)

notebooks: $(INSTALLED) ## execute the lessons in place, as they are committed
	@echo "==> Executing the lessons in place"
	@$(RUN) tools/pages.py run $(LESSONS)

figures: $(INSTALLED) ## draw the figures of the README and the explorer page again
	@echo "==> Drawing figures/"
	@$(RUN) tools/figures.py

results: $(INSTALLED) ## train what the lessons only cite (long; can be stopped and resumed)
	@echo "==> Training three seeds of every experiment that is missing, then writing RESULTS.md"
	$(RUN) tools/results.py $(ARGS)

bench: $(INSTALLED) ## measure what must be fast, on an otherwise idle machine
	@echo "==> Measuring (about ten minutes); close what else is running"
	$(RUN) -m pytest -q --benchmark-only --benchmark-quiet tests/benchmarks $(ARGS)

matrix: $(INSTALLED) ## run everything on the oldest and newest versions that are admitted (downloads much)
	@$(RUN) -m pip install --quiet uv
	$(RUN) tools/matrix.py $(ARGS)

student: $(INSTALLED) ## write the lessons without solutions and outputs: build/student
	@echo "==> Writing notebooks without solutions to build/student"
	@$(RUN) tools/editions.py student $(LESSONS)

slides: $(INSTALLED) $(REVEAL) ## write the lessons as slides that need no network: build/html/slides
	@echo "==> Writing slides to build/html/slides"
	@$(RUN) tools/editions.py slides $(LESSONS)

publish: $(INSTALLED) ## write the address of the repository into lessons and README (REPO=owner/name)
	@echo "==> Writing the address of the repository; the outputs of the lessons stay as they are"
	@$(RUN) tools/publish.py $(REPO)

colab: $(INSTALLED) ## run the lessons with the versions that Colab publishes (downloads much, long)
	@echo "==> Running every lesson as Colab would"
	@$(RUN) tools/colab.py $(LESSONS)

clean: ## remove the environment, pages and caches; what `make results` trained stays
	@echo "==> Removing $(VENV), pages and caches"
	rm -rf $(VENV) build/html build/student build/reveal build/colab build/matrix build/yardsticks.json build/lib build/bdist.* dist vaelab.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage*
	find vaelab tests tools notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# reveal.js, which makes slides of pages, comes in a package for Sphinx; only its files are wanted, not Sphinx.
$(REVEAL):
	@echo "==> Fetching reveal.js"
	@$(RUN) -m pip install --disable-pip-version-check --quiet --no-deps --target build/reveal sphinx-revealjs==3.2.1

# A second call installs nothing: this runs only if one of the two files is newer than the stamp.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "vaelab needs Python 3.10 or newer, but '$(PYTHON)' is missing or older."; \
	  echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(RUN) || { echo "==> Making the environment $(VENV)"; $(PYTHON) -m venv $(VENV); } || { \
	  rm -rf $(VENV); \
	  echo "No environment: on Debian and Ubuntu, 'apt install python3-venv' adds what is missing."; exit 1; }
	@$(RUN) -c 'import re, sys, pip; sys.exit([int(n) for n in re.findall("[0-9]+", pip.__version__)[:2]] < [21, 3])' || { \
	  echo "The pip in $(VENV) is too old: it cannot install a folder that has no setup.py."; \
	  echo "Say: $(RUN) -m pip install -U pip"; exit 1; }
	@echo "==> Installing vaelab and what it needs (the first time, this downloads $(DOWNLOADS))"
	@$(RUN) -m pip install --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[lab,test,tools]'
	@touch $@
