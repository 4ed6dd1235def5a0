# `make repro` and `make test` work in a new clone; so do the plain commands that they print.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# DVC needs a name; in a container the user's id may have none
ifeq ($(LOGNAME)$(USER),)
export USER := $(shell name=$$(id -un 2>/dev/null) && echo $$name || echo uid-$$(id -u))
endif
.DEFAULT_GOAL := help
.PHONY: help deps repro quick test test-ci slow processors torture nightly lint check verify audit doctor bench track ui compare sweep plots clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: .venv/installed  ## install into .venv, run what changed in the pipeline, complete MLflow, print a summary
	@python -m workflow.doctor --first
	@echo 'dvc repro'; python -m workflow.reproduce.repro
	@python -m workflow.tracking || true
	@python -m pages.summary

quick: .venv/installed  ## test the installation: the whole pipeline, small, without a download, in .quick/
	@python -m workflow.reproduce.quick
	@python -m pages.summary .quick

test: .venv/installed-test  ## install, and run the fast tests
	pytest

test-ci: .venv/installed-test  ## run the fast tests, and the slow ones that every change must pass
	pytest -m 'ci or not (slow or processors)'

slow: .venv/installed-test  ## run the slow tests: queues, servers, kills, a whole reproduction
	pytest -m slow

processors: .venv/installed-test  ## compare the bytes of emulated processors (needs qemu-user; ONLY=Haswell)
	pytest -m processors $(if $(ONLY),-k '$(ONLY)')

torture: .venv/installed-test  ## kill runs and damage files at random moments, and check the next run (SEED=2, LONG=1)
	python -m tests.torture $(if $(SEED),--seed '$(SEED)') $(if $(LONG),--long)

nightly:  ## run all checks and print a summary; a check that passed is not repeated
	@$(PYTHON) -m tests.steps nightly

lint: .venv/installed-dev  ## run ruff and mypy, and check the GitHub workflows
	ruff check .
	ruff format --check .
	mypy
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

check: .venv/installed  ## check that dvc.lock and reports/ are up to date (runs no stage)
	python -m workflow.reproduce.check

deps: .venv/installed  ## write the modules and packages that each stage imports into dvc.yaml
	@python -m workflow.reproduce.deps

verify: .venv/installed  ## reproduce HEAD in a clean clone, by force, and compare bytes or numbers
	python -m workflow.reproduce.verify $(if $(KEEP),--keep '$(KEEP)')

audit: .venv/installed  ## reproduce the working tree twice, by force, and compare all outputs byte by byte
	python -m workflow.reproduce.audit $(foreach setting,$(SET),--set '$(setting)')

doctor: .venv/installed  ## find faults in this folder, and repair or explain them
	@python -m workflow.doctor

bench: .venv/installed  ## measure speed against the notebook's loop, and memory (15 minutes; LIMITS=1 checks ratios)
	python -m benchmarks $(if $(LIMITS),--limits)
	python -m benchmarks.contention $(if $(LIMITS),--limits)
	python -m benchmarks.tracking $(if $(LIMITS),--limits)
	python -m benchmarks.checkpoints $(if $(LIMITS),--limits)

track: .venv/installed  ## log all runs to MLflow from the files
	python -m workflow.tracking

ui: .venv/installed  ## open MLflow's pages on http://127.0.0.1:5000, or the next free port (PORT=…)
	-@python -m workflow.tracking
	@python -m workflow.tracking.ui

compare: .venv/installed  ## compare experiments (NAMES="a b"), or the variants if there are none
	@python -m pages.compare $(NAMES)

sweep: .venv/installed  ## try settings, an experiment each, on held-out images (KEYS="vae.tuned.lr=0.001,0.002")
	@python -m pages.sweep '$(KEYS)'

plots: .venv/installed  ## write DVC's plots to a page that needs no internet, and print its path
	@dvc plots show

clean:  ## last resort: delete what git ignores, trained models, DVC's cache and mlflow.db included
	git clean -fdXq -e '!/.dvc/config.local'

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and "Python 3.11 or newer is needed; this is %d.%d: make PYTHON=python3.11 …" % v)'
	@$(PYTHON) -c 'import platform as p, sys; mac = p.system() == "Darwin" and (p.machine() == "x86_64" or int(p.mac_ver()[0].split(".")[0]) < 14); sys.exit(mac and "torch 2.13.0 is not built for this Mac: it needs Apple silicon and macOS 14 or newer")'
	$(PYTHON) -m venv .venv

# uv needs half of pip's processor time. It reads no settings of pip: so pip installs torch, of which a user or a mirror may
# have a build without CUDA, and follows where uv reaches no index. Both compile at once: with PYTHONDONTWRITEBYTECODE, as in
# many containers, Python would compile torch in each process.
install = uv pip install --compile-bytecode --python .venv/bin/python -c constraints.txt -e '$(1)' || pip install -c constraints.txt -e '$(1)'

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo 'Installing about 150 packages into .venv; this takes minutes and 2 GB, or 6 GB if torch includes CUDA'
	pip install -c constraints.txt torch torchvision uv
	$(call install,.)
	@touch $@

.venv/installed-test: .venv/installed
	$(call install,.[test])
	@touch $@

.venv/installed-dev: .venv/installed
	$(call install,.[dev])
	@touch .venv/installed-test $@  # dev includes test
