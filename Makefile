# `make demo` and `make test` need nothing but Python >= 3.10 and make:
# each sets up .venv and installs what it needs there, again only when pyproject.toml changed.

PYTHON ?= python3
PYTHON_OLDEST ?= python3.10
PYTHON_NEWEST ?= $(PYTHON)
JOBS ?= logical
# `all`, or `more` for what the last `make test` has not passed
TESTS ?= all
BAZEL_TARGETS ?= //...
PIP = .venv/bin/python -m pip --disable-pip-version-check
# The oldest that knows of dependency groups; a new virtual environment may have an older one.
PIP_WITH_GROUPS = pip>=25.1
PYTEST = -m pytest -n $(JOBS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

.NOTPARALLEL:
.PHONY: help demo test test-all docs bench test-oldest test-newest test-gpu test-bazel test-peers lint format lock dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: .venv/.installed-demo ## train on handwritten digits, compare with Keras, write demo.png (DEMO_ARGS="--epochs 5 --seed 1")
	.venv/bin/python colab/digits.py $(DEMO_ARGS)

test: .venv/.installed-test ## run the tests and doctests (PYTEST_ARGS="-k adam", JOBS=0 for one process)
	TF_CPP_MIN_LOG_LEVEL=2 .venv/bin/python $(PYTEST)

test-all: .venv/.installed-test ## run them with every optimizer, product of parameters, format of state, and with killed processes
	TFOPT_TESTS=$(TESTS) TF_CPP_MIN_LOG_LEVEL=2 .venv/bin/python $(PYTEST)

# -a: the search index has the index entries only of pages that are written in the same run
docs: .venv/.installed-docs ## build the pages in docs/_build/html, and search them; warnings are errors
	.venv/bin/python -m sphinx -W --keep-going -a -q -b html docs docs/_build/html
	.venv/bin/python docs/check_search.py docs/_build/html
	@echo "Open docs/_build/html/index.html"

bench: .venv/.installed-bench ## compare speed and memory with Keras and others, write docs/benchmarks.md (BENCH_ARGS="--quick")
	TF_CPP_MIN_LOG_LEVEL=3 .venv/bin/python tests/benchmarks/bench.py $(BENCH_ARGS)

test-oldest: .venv-oldest/.installed ## run them on Python 3.10 with the oldest TensorFlow and Keras supported
	TF_CPP_MIN_LOG_LEVEL=2 .venv-oldest/bin/python $(PYTEST)

test-newest: .venv-newest/.installed ## run them on the newest versions that pip finds (PYTHON_NEWEST=python3.13)
	TF_CPP_MIN_LOG_LEVEL=2 .venv-newest/bin/python $(PYTEST)

test-gpu: .venv/.installed-test .venv/.installed-gpu ## run those that need a GPU, on a machine that has one
	CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES:-0} TF_CPP_MIN_LOG_LEVEL=2 .venv/bin/python -m pytest $(PYTEST_ARGS) tests/gpu

test-bazel: .venv/.installed-test ## run them by Bazel 4, Debian's bazel-bootstrap (BAZEL_TARGETS=//:hyper_test)
	PATH="$(CURDIR)/.venv/bin:$$PATH" bazel-4 --batch test --cache_test_results=no --noshow_progress -- $(BAZEL_TARGETS)

test-peers: .venv-peers/.installed ## run on tfopt the tests of Keras itself, and packages that others made
	JOBS=$(subst logical,2,$(JOBS)) .venv-peers/bin/python tests/peers/keras_tests.py $(PEERS)
	DDE_BACKEND=tensorflow TF_USE_LEGACY_KERAS=1 TF_CPP_MIN_LOG_LEVEL=2 .venv-peers/bin/python -m pytest tests/peers

lint: .venv/.installed-lint ## check style, types, spelling, stubs, that no import goes upwards, and the picture of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python tests/typing/judge.py
	.venv/bin/lint-imports
	.venv/bin/python docs/draw_packages.py --check
	.venv/bin/codespell
	.venv/bin/python tests/check_texts.py

format: .venv/.installed-lint ## sort imports and format the code
	.venv/bin/ruff check --select I --fix .
	.venv/bin/ruff format .

lock: .venv/.created ## pin the Python packages that Bazel 7.4 and later downloads
	$(PIP) install --quiet uv
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --group test --generate-hashes \
	  --no-annotate --custom-compile-command 'make lock' pyproject.toml -o tests/bazel/requirements_lock.txt

dist: .venv/.installed-release ## build wheel and sdist, twice: both must be the same, bit for bit
	rm -rf dist build-again
	.venv/bin/python -m build --quiet --outdir dist
	.venv/bin/python -m build --quiet --outdir build-again
	for file in dist/*; do cmp $$file build-again/$${file#dist/} || exit 1; done
	rm -r build-again
	.venv/bin/python -m twine check --strict dist/*
	.venv/bin/python tests/check_texts.py dist/*.whl

clean: ## remove everything that these targets made
	rm -rf .venv .venv-oldest .venv-newest .venv-peers docs/_build docs/generated dist build-again demo.png compare.html compare.json
	rm -f docs/tutorials/*.ipynb
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find tfopt tests colab -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed-%: .venv/.created pyproject.toml
	@echo "Installing tfopt and the dependency group $* into .venv"
	@$(PIP) install --quiet '$(PIP_WITH_GROUPS)'
	@$(PIP) install -e . --group $* || { \
	  echo "If pip found no TensorFlow for this Python: make clean, then name another with PYTHON=" >&2; exit 1; }
	@touch $@

.venv/.installed-gpu: .venv/.created pyproject.toml
	$(PIP) install -e '.[gpu]'
	@touch $@

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "tfopt needs Python >= 3.10; $(PYTHON) is missing or older. Name another with PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv-oldest/.installed: pyproject.toml
	@$(PYTHON_OLDEST) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' || { \
	  echo "test-oldest needs Python 3.10; name one with PYTHON_OLDEST=" >&2; exit 1; }
	$(PYTHON_OLDEST) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet '$(PIP_WITH_GROUPS)'
	.venv-oldest/bin/python -m pip install -e . --group test tensorflow==2.16.1 keras==3.0.5 tf-keras==2.16.0
	@touch $@

.venv-peers/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet '$(PIP_WITH_GROUPS)'
	.venv-peers/bin/python -m pip install -e . --group test --group peers
	.venv-peers/bin/python -m pip install --no-deps gpflow gradient-accumulator keras-tcn larq \
	  dp-accounting tensorflow-model-optimization tensorflow-privacy # which want NumPy 1 and the like
	@touch $@

.venv-newest/.installed: pyproject.toml
	$(PYTHON_NEWEST) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade pip
	.venv-newest/bin/python -m pip install --upgrade --upgrade-strategy eager -e . --group test
	@touch $@
