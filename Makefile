# Everything starts here: `make` lists what there is. Needs Python 3.11 or later, git and make.
# What it installs goes into .venv/ and .tools/ in this folder.

PYTHON ?= python3
PYTHONS := $(PYTHON) python3.14 python3.13 python3.12 python3.11
STUBS   := micropython-esp32-stubs==1.26.*
VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup micropython demo test proof test-power soak lint bench screenshots clean
.PHONY: init boards firmware up deploy flash monitor doctor repl erase

help:  ## list these commands
	@awk -F ':.*## ' '/^## / {print substr($$0, 4)} \
	    /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/dev micropython  ## install everything: raftctl, test tools, MicroPython

micropython: $(BIN)/python  ## put a real MicroPython into .tools/ (i386 and amd64 where they run)
	@$(BIN)/python -m host_tools.micropython

demo: $(VENV)/runtime  ## run a cluster of five on this machine and kill its leader (ARGS="--nodes 3")
	@$(BIN)/raftctl demo $(ARGS)

test: $(VENV)/dev  ## run all tests, under CPython and MicroPython (ARGS="-k election")
	@$(BIN)/python -m host_tools.micropython || echo "Going on with CPython alone." >&2
	@$(BIN)/python -m pytest -n auto $(ARGS)

proof: $(VENV)/proof  ## show all that is claimed, in 45 minutes (ARGS="model lab", --list)
	@$(BIN)/python -m host_tools.micropython || echo "Going on with CPython alone." >&2
	@$(BIN)/python -m tests.proof $(ARGS)

test-power: $(VENV)/dev  ## cut the power at every program and every erase of whole workloads
	@$(BIN)/python -m tests.store.power $(ARGS)

soak: $(VENV)/dev  ## simulate clusters with fresh seeds on all cores (MINUTES=10)
	@$(BIN)/python -m tests.cluster.endless --minutes $(or $(MINUTES),10) $(ARGS)

lint: $(VENV)/dev  ## check style and types, of the firmware against MicroPython's own library
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@MYPYPATH=$(VENV)/typings $(BIN)/mypy --custom-typeshed-dir $(VENV)/typings \
	    --cache-dir .mypy_cache/firmware firmware $(wildcard tests/*/micropython/*.py)

bench: $(VENV)/dev micropython  ## measure flash, wire, heap, failover; writes build/bench.json
	@$(BIN)/python -m tests.benchmarks $(ARGS)

screenshots: $(VENV)/dev micropython  ## take the pictures in README anew, of real runs
	@$(BIN)/python -m tests.screenshots

clean:  ## remove all that make has made
	rm -rf $(VENV) .tools build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find firmware host_tools tests -name __pycache__ -type d -prune -exec rm -rf {} +

# What follows has one command of raftctl in each; ARGS goes to that as it is.
RAFTCTL = @$(BIN)/raftctl
PORTS   = $(PORT:%=--port '%')
FILES   = $(FIRMWARE:%=--firmware '%')

## For boards: PORT="/dev/ttyUSB0 ..." (else all on USB), NODE="1 ..." (else all)

init: $(VENV)/runtime  ## write cluster.toml for the boards that are plugged in
	$(RAFTCTL) init $(PORTS) $(ARGS)

boards: $(VENV)/runtime  ## list the boards that are plugged in
	$(RAFTCTL) boards $(PORTS) $(ARGS)

firmware: $(VENV)/firmware  ## get MicroPython (BOARD="esp32_generic ...", else those of cluster.toml)
	$(RAFTCTL) firmware $(BOARD) $(ARGS)

up: $(VENV)/runtime  ## make boards nodes of cluster.toml: flash, deploy, start (FIRMWARE=file.bin)
	$(RAFTCTL) up $(NODE) $(PORTS) $(FILES) $(ARGS)

deploy: $(VENV)/runtime  ## the same for boards that have MicroPython
	$(RAFTCTL) deploy $(NODE) $(PORTS) $(ARGS)

monitor: $(VENV)/runtime  ## watch boards
	$(RAFTCTL) monitor $(PORT:%='%') $(ARGS)

doctor: $(VENV)/runtime  ## find what is wrong with them, and what to do
	$(RAFTCTL) doctor $(PORTS) $(ARGS)

## For one board: PORT=/dev/ttyUSB0 (else the only one there is)

flash: $(VENV)/runtime  ## put MicroPython onto it, and nothing else (FIRMWARE=file.bin BOARD=)
	$(RAFTCTL) flash $(PORTS) $(BOARD:%=--board %) $(FILES) $(ARGS)

repl: $(VENV)/runtime  ## talk to it (or NODE=2)
	$(RAFTCTL) repl $(or $(NODE),$(PORT:%='%')) $(ARGS)

erase: $(VENV)/runtime  ## erase all of its flash
	$(RAFTCTL) erase $(PORTS) $(ARGS)

$(BIN)/python:
	@python=; for p in $(PYTHONS); do \
	    if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then python=$$p; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "Python 3.11 or later is needed and none was found; make PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	echo "Making a virtual environment in $(VENV)/ ..."; \
	$$python -m venv --clear $(VENV) || { \
	    rm -rf $(VENV); \
	    echo "Python can't make virtual environments here;" \
	        "on Debian and Ubuntu: sudo apt install python3-venv" >&2; \
	    exit 1; \
	}

$(VENV)/runtime: $(BIN)/python pyproject.toml
	@echo "Installing raftctl into $(VENV)/ ..."
	@$(PIP) install --editable . || { $(no_install); }
	@touch $@

$(VENV)/dev: $(VENV)/runtime
	@echo "Installing test tools into $(VENV)/ ..."
	@$(PIP) install --editable '.[dev]' || { $(no_install); }
	@$(PIP) install --upgrade --target $(VENV)/typings '$(STUBS)' || { $(no_install); }
	@touch $@

$(VENV)/proof: $(VENV)/dev
	@echo "Installing what draws curves and counts branches into $(VENV)/ ..."
	@$(PIP) install --editable '.[proof]' || { $(no_install); }
	@touch $@

$(VENV)/firmware: $(VENV)/runtime
	@echo "Installing mpflash into $(VENV)/ ..."
	@$(PIP) install --editable '.[firmware]' || { $(no_install); }
	@touch $@

no_install = echo "pip could not install it (see above): is the network there, and a package index?" >&2; exit 1
