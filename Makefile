# Every command a developer needs. Each makes its own environment first, in $(VENV), when there is none or the pins changed.
PYTHON ?= python3
VENV ?= .venv
# Processes that share the tests (pytest-xdist), each with its own Ray; 0: one after the other, in pytest's own process.
# Two are faster on two cores already: a test of Ray waits for most of its time.
JOBS ?= $(if $(filter 0 1,$(shell nproc 2>/dev/null || echo 1)),0,2)
# Where `make test-cuda` computes; cpu: to try it.
DEVICE ?= cuda
# Options of the demo, the tests, the benchmarks or the docs: make test ARGS="tests/config -x"
ARGS ?=

# Set on some machines: then every process that a test or a training starts compiles na_ray anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := demo/capture
# Not those that need a fixture (benchmarks/parity.py --data FOLDER), nor those that break things (benchmarks/faults).
BENCHMARKS := $(filter-out benchmarks/parity% benchmarks/speedrun% benchmarks/refine%,$(wildcard benchmarks/*.py))
SOURCES := na_ray $(wildcard tests experiments benchmarks docs)

.PHONY: help demo test test-cuda test-cluster lint format bench speedrun docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    an actor made from nothing, trained, filmed and scored: minutes on two cores"
	@echo "make test    lint, types and tests: what CI runs"
	@echo "make test-cluster  clusters made of this machine: ray up, ray submit, lost nodes; ten minutes, as root"
	@echo "make test-cuda   every kernel and a training step of each stage on a GPU, in the Python that is there: no venv"
	@echo "make lint    lint and types alone"
	@echo "make format  rewrite the sources in the house style"
	@echo "make speedrun  seconds until the splats are 3 dB above the textured mesh; ARGS=\"--capture PATH\" for your own"
	@echo "make bench   speed and memory, as ratios to what this machine can do"
	@echo "make docs    the screenshots of docs/mlflow.md, taken anew: minutes, with a Chromium that is installed"
	@echo "make clean   remove $(VENV) and the caches"

# Byte code is made of what is imported, when it is: of all 40,000 files it takes two minutes of a core.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 10) else \
	  f"na_ray needs Python 3.10 or newer, and $(PYTHON) is {v[0]}.{v[1]}: run make PYTHON=python3.11 (or whichever you have)")'
	@echo "Installing into $(VENV): torch, Ray, MLflow and what they need. This takes some minutes, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --no-compile -e '.[dev]' -c constraints.txt
	@touch $@

# Kept where it is there.
$(DEMO): | $(STAMP)
	@$(BIN)/na-ray synth $@ --resolution 384 --frames 24 --test-frames 6 --texture-cameras 0,1,3,4,6,7

demo: $(STAMP) $(DEMO)
	@$(BIN)/na-ray train demo --resume auto $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

# Types are checked beside the tests: mypy takes one core.
test: $(STAMP)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy >$(VENV)/mypy.log 2>&1 & mypy=$$!; \
	  $(if $(filter-out 0,$(JOBS)),OMP_NUM_THREADS=1) $(BIN)/python -m pytest $(if $(filter-out 0,$(JOBS)),-n $(JOBS) --dist loadgroup --no-loadscope-reorder) $(ARGS); \
	  tests=$$?; wait $$mypy; types=$$?; cat $(VENV)/mypy.log; exit $$((tests + types))

# In $(PYTHON) as it is, with torch, numpy, warp and pure-Python packages: machines with a GPU bring their own torch.
test-cuda:
	$(PYTHON) tests/cuda/run.py --device $(DEVICE) $(ARGS)

# It says what is missing: openssh-server and rsync, as a rule.
test-cluster: $(STAMP)
	$(BIN)/python -m pytest -m cluster tests $(ARGS)

format: $(STAMP)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: $(STAMP)
	@for script in $(BENCHMARKS); do $(BIN)/python $$script $(ARGS) || exit 1; done

speedrun: $(STAMP)
	@test -n "$(findstring --capture,$(ARGS))" || test -e $(DEMO) || $(MAKE) --no-print-directory $(DEMO)
	@$(BIN)/python benchmarks/speedrun.py $(ARGS)

$(VENV)/.docs: $(STAMP)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -e '.[docs]' -c constraints.txt
	@touch $@

# It downloads no browser: Debian's chromium or Google's Chrome does.
docs: $(VENV)/.docs
	@$(BIN)/python docs/build.py $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
