# The commands of the project; CI calls the same ones.
PY := .venv/bin/python
PYTHON ?= python3
DEMO ?= demo

.PHONY: setup demo test test-all check bench

setup: .venv/.complete

.venv/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(PY) -m data_shards build sprites --out $(DEMO)/data --size 32 --frames 8 --objects 2 --train 2000 --val 200 --test 200 --seed 0
	$(PY) -m cluster train demo data.url=$(DEMO)/data output=$(DEMO)/run
	$(PY) -m trainer evaluate $(DEMO)/run --split val
	$(PY) -m trainer report $(DEMO)/run

test: setup
	$(PY) -m pytest -q

test-all: setup
	$(PY) -m pytest -q -m "not gpu"

check: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup
	$(PY) -m trainer bench unroll
	$(PY) -m trainer bench loader
	$(PY) -m trainer bench step
