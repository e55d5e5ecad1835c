# Everything that a fresh clone needs: `make demo` and `make test` set up their own environment in .venv
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash

.PHONY: demo test check book readme site clean

# torch first and alone: any other order may pull in a second one
.venv/.done: constraints.txt settings.ini setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt torchvision
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/.done        ## train, sample and report on the built-in videos, ten minutes on two cores
	$(BIN)/vlatent_demo --out demo

test: .venv/.done        ## the checks and every notebook's tests
	OMP_NUM_THREADS=1 $(BIN)/python .ci/notebooks.py test

check: .venv/.done       ## modules, clean notebooks and README are in step with their sources
	$(BIN)/python .ci/notebooks.py check

book: .venv/.done        ## run all notebooks in place, slow cells too, and render the README
	$(BIN)/nbdev_export
	$(BIN)/python .ci/notebooks.py run --slow
	$(BIN)/python .ci/notebooks.py readme

readme: .venv/.done      ## README.md from nbs/index.ipynb
	$(BIN)/python .ci/notebooks.py readme

site: .venv/.done        ## the site (needs Quarto)
	$(BIN)/nbdev_docs

clean:
	rm -rf .venv _proc _docs demo
