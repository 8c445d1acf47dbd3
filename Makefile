# make quickstart   train a tiny model with mDPO and see what it does (about a minute of training)
# make study        run the paper's comparisons in miniature, and write docs/evidence/study.md (about an hour)
# make test         run the test suite
# make test-long    run the tests that take minutes
# make docs         build the pages of docs/ as a site, into build/site
# make test-nightly run more examples, more families, more kills: what the other two groups have in small

PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart study test test-long test-nightly check docs

quickstart: .venv/installed
	rm -rf runs/quickstart
	$(BIN)/mdpo-run recipes/quickstart.yaml
	@echo "  see DPO fail       $(BIN)/mdpo-run recipes/quickstart_dpo.yaml"

# Finished runs stay in runs/study, and begun ones go on: start it again after a stop.
study: .venv/installed
	$(BIN)/python -m benchmarks.study

# A file stays in one process, which shares its models and runs among the file's tests. By itself, xdist would start
# with the files of the most tests, and those of whole runs, which have few, would come last.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test: .venv/installed-test check
	$(PYTEST) -m "not long and not nightly"

test-long: .venv/installed-test
	$(PYTEST) -m "long and not nightly"

# With every example of the property tests (hypothesis), of which `make test` draws some.
test-nightly: .venv/installed-test
	MDPO_HYPOTHESIS=thorough $(PYTEST) -m "nightly or hypothesis"

check: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# NO_MKDOCS_2_WARNING: Material's notice about a later version of MkDocs, which constraints.txt keeps out.
docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "  look at it         $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site"

.venv/bin/python:
	$(PYTHON) -c "import sys; sys.exit('mdpo needs Python 3.11 or newer') if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test]"
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	touch $@
