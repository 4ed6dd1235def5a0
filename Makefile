# `make repro` and `make test` work from a fresh clone; so do the plain commands that they show.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
.DEFAULT_GOAL := help
.PHONY: help repro quick test spine slow processors torture nightly lint check verify audit doctor bench track ui compare plots clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: .venv/installed  ## install into .venv, run the pipeline (only what changed), complete MLflow, sum up
	@python -m pipeline.doctor --first
	python -m stages.check
	@echo 'dvc repro'; python -m pipeline.reproduce
	@python -m stages.track || true
	@python -m stages.summary

quick: .venv/installed  ## does it work here? The whole pipeline, small, without a download, into .quick/
	@python -m pipeline.quick

test: .venv/installed-test  ## install and run the tests
	pytest

spine: .venv/installed-test  ## the same, and of the slow tests those that every change has to pass
	pytest -m 'spine or not (slow or processors)'

slow: .venv/installed-test  ## the tests that take minutes each: queues, servers, kills, a whole reproduction
	pytest -m slow

processors: .venv/installed-test  ## the same bytes on emulated processors (needs qemu-user; ONLY=Haswell)
	pytest -m processors $(if $(ONLY),-k '$(ONLY)')

torture: .venv/installed-test  ## kills and other faults at random moments: what is lost? (SEED=2, LONG=1)
	python -m tests.torture $(if $(SEED),--seed '$(SEED)') $(if $(LONG),--long)

nightly:  ## all of the above and below that checks, with a summary; what has passed is not run again
	@$(PYTHON) -m tests.steps nightly

lint: .venv/installed-dev  ## ruff, mypy, the schema of the workflow
	ruff check .
	ruff format --check .
	mypy
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

check: .venv/installed  ## is what is committed up to date? (runs no stage)
	python -m pipeline.stale

verify: .venv/installed  ## reproduce HEAD in a clean clone, by force, and compare bytes, or numbers
	python -m pipeline.verify $(if $(KEEP),--keep '$(KEEP)')

audit: .venv/installed  ## reproduce the working tree twice, by force: are all outputs equal, byte by byte?
	python -m pipeline.audit $(foreach setting,$(SET),--set '$(setting)')

doctor: .venv/installed  ## what is wrong here, and how to mend it
	@python -m pipeline.doctor

bench: .venv/installed  ## speed beside the notebook's own loop, and memory (15 minutes; LIMITS=1: checks ratios)
	python -m benchmarks $(if $(LIMITS),--limits)
	python -m benchmarks.beside $(if $(LIMITS),--limits)
	python -m benchmarks.tracking $(if $(LIMITS),--limits)
	python -m benchmarks.checkpoints $(if $(LIMITS),--limits)

track: .venv/installed  ## complete MLflow from the files
	python -m stages.track

ui: .venv/installed  ## open MLflow's pages on http://127.0.0.1:5000, or the next free port (PORT=…)
	-@python -m stages.track
	@python -m pipeline.ui

compare: .venv/installed  ## what differs between experiments, and the numbers that decide (NAMES="a b")
	@python -m stages.compare $(NAMES)

plots: .venv/installed  ## draw DVC's plots into a page that needs no internet, and print its address
	@dvc plots show

clean:  ## remove all that git ignores: .venv, data, models, caches, MLflow's store
	git clean -fdXq -e '!/.dvc/config.local'

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and "Python 3.11 or newer is needed; this is %d.%d: make PYTHON=python3.11 …" % v)'
	@$(PYTHON) -c 'import platform as p, sys; mac = p.system() == "Darwin" and (p.machine() == "x86_64" or int(p.mac_ver()[0].split(".")[0]) < 14); sys.exit(mac and "torch 2.13.0 is not built for this Mac: it takes Apple silicon and macOS 14 or newer")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo 'Installing some 150 packages into .venv, which takes minutes: 2 GB, or 6 where torch brings CUDA'
	pip install -c constraints.txt -e .
	@touch $@

.venv/installed-test: .venv/installed
	pip install -c constraints.txt -e '.[test]'
	@touch $@

.venv/installed-dev: .venv/installed
	pip install -c constraints.txt -e '.[dev]'
	@touch .venv/installed-test $@  # which is a part of it
