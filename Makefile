# Everything runs in .venv, which `make setup` makes; `make demo` and `make test` call it themselves.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Where torch comes from; empty: where all else does. PyTorch's own index has builds without CUDA.
TORCH_INDEX ?=
DEMO_PROMPT := warm arpeggios on house beats 120BPM

.PHONY: setup demo test quick soak arm lint format bench fuzz train-tiny clean

setup: $(VENV)/.installed

# torch first and alone, so that its index answers for nothing else.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url '$(TORCH_INDEX)') torch==2.13.0
	$(BIN)/pip install --quiet -e '.[all,dev]'
	$(BIN)/pip install --quiet -e '.[train]'
	touch $@

demo: setup
	rm -rf demo
	mkdir demo
	$(BIN)/edge-export build --target android-arm64 --out demo/bundle
	$(BIN)/edge-export run demo/bundle --prompt "$(DEMO_PROMPT)" --out demo/demo.wav --plot demo/demo.png

# Every stage of training for a few steps, then the checkpoint; interrupted, the same command goes on.
TINY := build/train-tiny
train-tiny: setup
	for stage in autoencoder flow arc; do \
	  $(BIN)/python -m post_training train $$stage --config configs/tiny.toml --run $(TINY) || exit 1; \
	done
	rm -rf $(TINY)/checkpoint
	$(BIN)/python -m post_training publish --config configs/tiny.toml --run $(TINY) --out $(TINY)/checkpoint

# worksteal: workers begin at different ends, so that none waits for the bundle that another is building.
test: setup
	$(BIN)/python -m pytest -n auto --dist worksteal

# Nothing that builds a bundle, runs on an emulated CPU or trains.
quick: setup
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not build and not arm and not train and not slow"

# Minutes of clips by threads and by children, of both backends: every sound right, memory flat.
soak: setup
	$(BIN)/python -m tests.soak --clips 200

# Compiler and emulator for Arm, and a browser for the report; without them the tests that need one say so and skip.
arm: setup
	$(BIN)/edge-export device setup --on qemu --yes
	command -v chromium >/dev/null || apt-get install -y chromium

# A minute for each reader of files from strangers, in C++ and in Python.
FUZZ_SECONDS ?= 60
fuzz: setup
	cd runtime_native && cmake --preset fuzz && cmake --build --preset fuzz
	$(BIN)/python -m tests.runtime_native.seeds build/native/fuzz
	for noun in manifest tokenizer safetensors; do \
	  build/native/fuzz/fuzz-$$noun -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
	    -dict=build/native/fuzz/$$noun.dict -artifact_prefix=build/native/fuzz/$$noun- \
	    build/native/fuzz/corpus-$$noun || exit 1; \
	done
	$(BIN)/python -m pytest -q --hypothesis-seed=random tests/runtime_py/test_manifest.py \
	  tests/runtime_py/test_record.py tests/runtime_py/test_tokenizer_fuzz.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Three quarters of an hour and 12 GB of disk; a command that was measured before is not run again.
bench: setup
	$(BIN)/python -m benchmarks.published --work build/published

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo build dist *.egg-info
