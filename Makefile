# make demo       segment two real scans by clicks, with pictures        (first run: installs and fetches)
# make test       lint, types and tests
# make bench      speed and memory, as ratios within one run
# make pictures   the pictures of docs/user_guide.md, from the module itself (Python 3.11)
# make icons      the module's icon and the thumbnails of its sample scans

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test bench pictures icons install format clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --editable ".[dev,demo,slicer-shell]"
	touch $@

demo: install
	$(BIN)/python -m MSAMLogic.evaluation.demo

test: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest Testing/in_slicer_shell

bench: install
	$(BIN)/python Testing/bench.py

pictures: install
	$(BIN)/python docs/make_pictures.py

icons: install
	$(BIN)/python docs/draw_icons.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo_output
