# make book and make test need Python 3.11 or newer and nothing else; both are safe to run twice.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help book test notebooks check bench peers clean

help:
	@echo "make book       set everything up, build the book, say where to open it"
	@echo "make test       build the book, run every test and every notebook"
	@echo "make notebooks  run every notebook, and compare what it prints"
	@echo "make check      format, lint, types, spelling; are the notebooks what their texts say?"
	@echo "make bench      measure speed and accuracy again; writes benchmarks/results (hours)"

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("minimeta needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; say make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

# from nothing each time: a page that is not read again does not repeat its warnings, and a page that
# has left the table of contents stays
book: $(INSTALLED)
	$(BIN)/python tools/vendor.py
	rm -rf _build/html _build/.doctrees
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	@echo "The book is built. Open it in a browser: $(CURDIR)/_build/html/index.html"

# the other libraries' code that tests compare with; without it those tests are skipped and say so
peers: $(INSTALLED)
	@$(BIN)/python tools/peers.py || echo "learn2learn's source could not be fetched; tests that need it will be skipped"

# the book, because its pages are tested too
test: book peers
	$(BIN)/python -m pytest -n 2
	@$(MAKE) --no-print-directory notebooks

# a notebook's cells stay together on one worker, and each worker keeps to one thread
notebooks: $(INSTALLED)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -p no:cacheprovider --nbval-lax --nbval-cell-timeout=300 chapters

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/python tools/notebooks.py check

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check cython
	$(BIN)/python tools/peers.py --all
	$(BIN)/python -m benchmarks

clean:
	rm -rf _build dist book/_static/vendor .colab .pytest_cache .ruff_cache .mypy_cache .hypothesis
