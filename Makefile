# The commands of the project; CI calls the same ones.
PY := .venv/bin/python
PYTHON ?= python3
DEMO ?= demo

# The video autoencoders at a size for a CPU; a network's own words come last.
AUTOENCODERS ?= runs/autoencoders
AE_CLIPS ?= --train 2000 --val 200 --test 500
AE_WORDS ?= steps=400 batch.size=8 optim.lr=1e-3 engine.threads=1
AE_CONV ?=
AE_FCLSTM ?= model.size=32 optim.lr=1e-4
AE_CONVLSTM ?=
AE_FLOW ?=

.PHONY: setup demo autoencoders test test-all check bench

setup: .venv/.complete

.venv/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# This and the next: called again they go on where they were stopped, or make the page anew.
demo: setup $(DEMO)/data/manifest.json
	$(PY) -m cluster train demo data.url=$(DEMO)/data output=$(DEMO)/run
	$(PY) -m trainer evaluate $(DEMO)/run --split val
	$(PY) -m trainer report $(DEMO)/run

$(DEMO)/data/manifest.json: | setup
	$(PY) -m data_shards build sprites --out $(DEMO)/data --size 32 --frames 8 --objects 2 --train 2000 --val 200 --test 200 --seed 0

autoencoders: setup $(AUTOENCODERS)/data/manifest.json
	$(PY) -m trainer train moving-mnist-ae-conv data.url=$(AUTOENCODERS)/data output=$(AUTOENCODERS)/conv $(AE_WORDS) $(AE_CONV)
	$(PY) -m trainer train moving-mnist-ae-fclstm data.url=$(AUTOENCODERS)/data output=$(AUTOENCODERS)/fclstm $(AE_WORDS) $(AE_FCLSTM)
	$(PY) -m trainer train moving-mnist-ae-convlstm data.url=$(AUTOENCODERS)/data output=$(AUTOENCODERS)/convlstm $(AE_WORDS) $(AE_CONVLSTM)
	$(PY) -m trainer train moving-mnist-ae-convlstm-flow data.url=$(AUTOENCODERS)/data output=$(AUTOENCODERS)/flow $(AE_WORDS) $(AE_FLOW)
	$(PY) -m trainer compare $(addprefix $(AUTOENCODERS)/,conv fclstm convlstm flow) --out $(AUTOENCODERS)

$(AUTOENCODERS)/data/manifest.json: | setup
	$(PY) -m data_shards build moving-mnist --out $(AUTOENCODERS)/data --size 32 --frames 11 $(AE_CLIPS) --seed 0

test: setup
	$(PY) -m pytest -q

# Two files at a time: most of its time goes by waiting for servers and processes to start.
test-all: setup
	$(PY) -m pytest -q -m "not gpu" --numprocesses 2 --dist loadfile

check: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup
	$(PY) -m trainer bench unroll
	$(PY) -m trainer bench loader
	$(PY) -m trainer bench step
	$(PY) -m trainer bench step conv-lstm
	$(PY) -m trainer bench step sqair
