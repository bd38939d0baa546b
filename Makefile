PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
RESULTS ?= results/demo
# One thread for each process: on a busy two-core machine more threads are slower, and results do not
# depend on the number of cores.
ONE := OMP_NUM_THREADS=1
# The tests start some hundred processes: these use the compiled modules of the ones before them.
TESTS := $(ONE) PYTHONDONTWRITEBYTECODE=

.PHONY: demo test check fuzz torture doctor clean
.PHONY: bench bench-tiling bench-glands bench-training bench-demo
.DEFAULT_GOAL := help

help:
	@echo "make demo    the whole pipeline on generated slides (CPU, minutes)"
	@echo "make test    all checks and tests"
	@echo "make torture, make fuzz   random faults and random inputs (an hour)"
	@echo "make check   lint and types only"
	@echo "make bench   speed and memory, compared with other programs"
	@echo "make doctor  check this machine (disk, torch and driver, OpenSlide)"
	@echo "make clean   delete $(VENV) and the demo (results/demo, data/demo)"

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	@case "$(CURDIR)" in *[[:space:]\'\"\&\;\(\)]*) echo "$(CURDIR): Snakemake starts no job in a folder with a space, quote or bracket in its path; rename the folder" >&2; exit 1;; esac
	@echo "Set-up, once: $$(grep -c == requirements.lock) packages (PyTorch, Snakemake, OpenSlide, ...) go into $(VENV)."
	@echo "Download about 0.6 GB, 2.2 GB on disk, 1 to 5 minutes; PyTorch with CUDA: some GB more. pip is silent until it is done."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	@# pip compiles modules in one process, and the tests of all packages too. As with pip, a module
	@# that cannot be compiled (a template, for example) is no error.
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)
	$(BIN)/snakemake --cores 2 --resources gpu=0 --configfile workflow/demo.yaml --config results=$(RESULTS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint --configfile workflow/demo.yaml

test: check
	$(TESTS) $(BIN)/python -m pytest -n 3 --dist loadgroup

# Random inputs for every parser, and random faults of jobs and runs. FIRST (for faults of runs:
# FIRST_RUN) continues after a deadline of MINUTES.
INPUTS ?= 1190000
FAULTS ?= 1000
RUNS ?= 20
SEED ?= 0
FIRST ?= 0
FIRST_RUN ?= 0
MINUTES ?= 600
EXAMPLES := PYTHONPATH="$(CURDIR)/tests/examples:$(CURDIR)/tests/workflow"

fuzz: $(STAMP)
	$(EXAMPLES) $(BIN)/python tests/fuzz/fuzz.py --inputs $(INPUTS) --seed $(SEED) --first $(FIRST) --minutes $(MINUTES) $(if $(PARSER),--parser $(PARSER))

torture: $(STAMP)
	$(ONE) $(EXAMPLES) $(BIN)/python tests/faults/torture.py --faults $(FAULTS) --runs $(RUNS) --seed $(SEED) --first $(FIRST) --first-run $(FIRST_RUN) --minutes $(MINUTES)

# Speed and memory, compared with other programs. SLIDE=real.svs uses a real slide instead of a
# synthetic one.
bench: bench-tiling bench-glands bench-training bench-demo

bench-tiling: $(STAMP)
	$(BIN)/python benchmarks/slide_to_zarr.py $(if $(SLIDE),--slide $(SLIDE))
	$(BIN)/python benchmarks/store_codec.py $(if $(SLIDE),--slide $(SLIDE))
	$(BIN)/python benchmarks/tissue.py

bench-glands: $(STAMP)
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/blend.py --side 16000
	$(BIN)/python benchmarks/outlines.py --side 15000
	$(BIN)/python benchmarks/geojson.py

bench-training: $(STAMP)
	$(ONE) $(BIN)/python benchmarks/training_step.py

bench-demo: $(STAMP)
	$(BIN)/python benchmarks/peak_memory.py -- $(MAKE) demo

doctor: $(STAMP)
	$(BIN)/python -m workflow.doctor

# .snakemake stays: it holds the locks of other runs in this folder.
clean:
	rm -rf $(VENV) results/demo data/demo
