# `make` alone explains the targets. VENV and PYTHON can be set: make test VENV=/tmp/venv

VENV   ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# torch's thread pool collapses when it shares few cores with another process.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup quickstart demo gpu-check test test-fast lint types format lock clean docs/demo.png

help: ## show this list
	@printf 'repic: personalized captions, from SFT to RL.\n\n'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' \
		| while IFS="$$(printf '\t')" read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done
	@printf '\nEverything is installed into %s (set VENV to change it).\n' '$(VENV)'

setup: $(STAMP) ## make the virtual environment from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@test -n '$(PYTHON)' && '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'repic needs Python 3.11 or newer: name one with PYTHON=, or on Debian 12 run: sudo apt-get install python3 python3-venv'; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
		version=$$('$(PYTHON)' -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& echo "Installing Debian's python$$version-venv, which makes virtual environments." \
		&& apt-get update -qq && apt-get install -y -qq "python$$version-venv"; } || { \
		echo "Python's venv is not complete: on Debian run: sudo apt-get install python3-venv"; exit 1; }
	'$(PYTHON)' -m venv '$(VENV)'
	'$(BIN)/python' -m pip install --quiet --disable-pip-version-check -r requirements.lock
	'$(BIN)/python' -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch '$@'

quickstart: setup ## train the tiny model by SFT and RL on toy scenes; minutes, no GPU
	'$(BIN)/python' -m repic.run +experiment=quickstart

# The quickstart's model, or as long as there is none the one that training starts from.
TRAINED := outputs/quickstart/default/seed_0/checkpoints/grpo
CAPTION  = '$(BIN)/python' -m repic.caption outputs/toys/album retrieval=toybox \
	$(if $(wildcard $(TRAINED)),model.path=$(TRAINED))

demo: setup ## caption an album of toys, as picture files, and open its page; a minute
	'$(BIN)/python' -m repic.toybox.album outputs/toys
	$(CAPTION) outputs/toys/photos
	@$(if $(wildcard $(TRAINED)),,echo 'The model has not been trained to name anybody yet: make quickstart, and then this again.')
	@test -z "$$DISPLAY$$WAYLAND_DISPLAY" || '$(BIN)/python' -m webbrowser "file://$$PWD/outputs/captions/album/captions.html"

docs/demo.png: # the README's picture: the demo's page, of two photos, after the quickstart; needs chromium
	$(CAPTION) outputs/toys/photos/03.png outputs/toys/photos/04.png name=picture
	chromium --headless --no-sandbox --hide-scrollbars --window-size=960,770 --screenshot=outputs/demo.png \
		"file://$$PWD/outputs/captions/picture/captions.html"
	'$(BIN)/python' -c 'from PIL import Image; \
		Image.open("outputs/demo.png").quantize(192, dither=Image.Dither.NONE).save("$@", optimize=True)'

# With whatever torch the machine has: CHECK_PYTHON= names its Python.
CHECK_PYTHON ?= python3
gpu-check: ## what only a GPU can show, in nine minutes; see experiments/gpu.md
	'$(CHECK_PYTHON)' -m repic.bench.gpu_check --out "$${OUT:-outputs/gpu_check}"

# A file's tests stay in one process and share what it makes; short files come last, to even out.
test: setup lint ## everything that CI checks, slow tests included, on two cores
	@'$(MAKE)' --no-print-directory types >'$(VENV)/types.log' 2>&1 & types=$$!; status=0; \
	HYPOTHESIS_PROFILE=full '$(BIN)/python' -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
		|| status=$$?; \
	wait $$types || { cat '$(VENV)/types.log'; status=1; }; exit $$status

test-fast: setup ## the tests to run while you edit
	'$(BIN)/python' -m pytest -m 'not slow and not gpu'

lint: setup ## ruff's rules and formatting, nothing rewritten
	'$(BIN)/ruff' check .
	'$(BIN)/ruff' format --check .

types: setup ## pyright on repic/
	'$(BIN)/pyright' --pythonpath '$(BIN)/python'

format: setup ## rewrite imports, fixable rules and layout
	'$(BIN)/ruff' check --fix .
	'$(BIN)/ruff' format .

lock: ## resolve pyproject.toml anew in a fresh environment and rewrite requirements.lock
	rm -rf '$(VENV)-lock' && '$(PYTHON)' -m venv '$(VENV)-lock'
	'$(VENV)-lock/bin/python' -m pip install --quiet -e '.[dev]'
	{ echo '# Exact versions that were tested together (Python 3.11). Remade by `make lock`.'; \
		'$(VENV)-lock/bin/python' -m pip freeze --all --exclude-editable \
		| grep -viE '^(pip|nvidia-.*|cuda-.*|triton)(==| @)' | sed -E 's/\+[a-z0-9.]+$$//'; } > requirements.lock
	rm -rf '$(VENV)-lock'

clean: ## remove the environment and every cache; outputs/ stays
	rm -rf '$(VENV)' .pytest_cache .ruff_cache .hypothesis
	find repic tests -name __pycache__ -type d -prune -exec rm -rf {} +
