# demo: the main job on the bundled pictures. test: the tests. lint: format, lint, types, layers.
# check: lint and test. mutants: do the tests of the core notice small faults (an hour or more on
# two cores, goes on where it was; MUTANTS="geometry hand" for some). weights: the shipped networks, anew
# (about 45 minutes on two cores, goes on where it was). keypoints: the keypoint network, anew (about
# an hour on two cores and 16 GB of disk, likewise). backbone: the hand net under them, which wants
# a GPU. All set up what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint check test-slow mutants bench weights keypoints backbone clean

demo: $(STAMP)
	$(BIN)/idhand demo --out out/demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

check: lint test

test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile -m "slow or not slow"

mutants: $(STAMP)
	$(BIN)/python -c 'import mutmut' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,mutants]'
	OMP_NUM_THREADS=1 $(BIN)/python tools/mutants.py $(MUTANTS)

bench: $(STAMP)
	$(BIN)/python benchmarks/speed.py

W := out/weights
weights: $(STAMP)
	$(BIN)/idhand synth --subjects 2500 --images 30000 --seed 2 --out $W/train
	$(BIN)/idhand synth --split val --subjects 100 --images 2000 --out $W/val
	for net in baseline identity identity_film; do \
	  $(BIN)/idhand train $$net --data $W/train --val $W/val --cache $W/features --views 2 --steps 6000 --out $W/$$net || exit; \
	done
	$(BIN)/idhand train confidence --start $W/baseline/baseline.safetensors --data $W/train --val $W/val --cache $W/features --views 2 --out $W/confidence
	$(BIN)/python tools/build_networks.py --runs $W --validation $W/val
	$(BIN)/python benchmarks/depth.py $W/val --out $W/depth --deviations none
	$(BIN)/python tools/build_deviations.py $W/depth --for-network src/idhand/assets/data/networks/identity_film.safetensors

P := out/keypoints
keypoints: $(STAMP)
	$(BIN)/idhand synth --subjects 2333 --images 27996 --seed 3 --objects 0.5 --second-hands 0.15 --out $P/train
	$(BIN)/idhand synth --split val --subjects 100 --images 2000 --out $P/val
	OMP_NUM_THREADS=1 $(BIN)/torchrun --nproc-per-node 2 --no-python $(BIN)/idhand train keypoints --data $P/train --val $P/val --cache $P/maps --out $P/run --workers 0
	install -m 644 $P/run/keypoints.safetensors src/idhand/assets/data/networks/keypoints.safetensors
	$(BIN)/python benchmarks/depth.py $P/val --out $P/depth --deviations none
	$(BIN)/python tools/build_deviations.py $P/depth --for-network src/idhand/assets/data/networks/identity_film.safetensors

B := out/backbone
backbone: $(STAMP)
	$(BIN)/idhand synth --subjects 7500 --images 90000 --seed 1 --out $B/train
	$(BIN)/idhand synth --split val --subjects 100 --images 2000 --out $B/val
	$(BIN)/idhand train backbone --data $B/train --val $B/val --device cuda --in-memory --batch 512 --steps 1700 --out $B/run
	$(BIN)/python tools/build_backbone.py --trained $B/run/backbone.safetensors

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "idhand needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) out
