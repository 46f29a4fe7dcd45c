# make demo   everything from nothing to a measured result
# make test   lint, types and all tests
# make test-extras   the tests that need gptqmodel, ONNX Runtime and other consumers of exports; part of `make test`
# make app    the app alone
# make stop   stop the app that `make demo` left running
# make audit  known vulnerabilities of the dependencies
# make doctor is this machine fit, and what to do if not

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := .venv-extras
# So many files of tests at once, the longest first; the real starter models follow alone.
TEST_PROCESSES ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo app stop test test-extras lint types browser doctor audit clean

demo: $(VENV)/.installed
	$(BIN)/python -m dqf.demo

app: $(VENV)/.installed
	$(BIN)/streamlit run app.py

stop:
	@$(BIN)/python -m dqf.demo --stop

doctor: $(VENV)/.installed
	$(BIN)/python -m dqf doctor

test: $(VENV)/.installed-dev lint types browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder tests/engine tests/contract tests/unit tests/app
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder tests/e2e/test_accessibility.py tests/e2e tests/jobs
	$(BIN)/python -m pytest tests/slow
	@$(MAKE) --no-print-directory test-extras

# In an environment of its own, as the program does without these packages; one of them needs a C compiler.
test-extras:
	@if $(MAKE) --no-print-directory $(EXTRAS)/.installed; then \
		DQF_TEST_EXTRAS=1 OMP_NUM_THREADS=1 $(EXTRAS)/bin/python -m pytest -m extras -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder tests/contract tests/unit; \
	else \
		echo "The packages of requirements-export.txt cannot be installed here: their tests are left out."; \
	fi

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# Known vulnerabilities of what is installed; needs the network.
audit: $(VENV)/.installed-dev
	@$(BIN)/python .ci/audit

browser:
	@sh .ci/browser

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "DQF Studio needs Python 3.11 or newer: this is " + sys.version.split()[0] + "; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt requirements.lock requirements-starter.txt | $(VENV)/bin/python
	$(BIN)/pip install -q -r requirements.txt -c requirements.lock
	$(BIN)/pip install -q --no-deps -r requirements-starter.txt
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/pip install -q -r requirements-dev.txt -c requirements.lock
	touch $@

# It sees what the first environment has, and installs only what it adds to that.
$(EXTRAS)/.installed: requirements-export.txt $(VENV)/.installed-dev
	$(PYTHON) -m venv --clear $(EXTRAS)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$($(EXTRAS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth
	$(EXTRAS)/bin/pip install -q -r requirements.txt -r requirements-export.txt -c requirements.lock
	touch $@

clean:
	rm -rf $(VENV) $(EXTRAS) .mypy_cache .ruff_cache .pytest_cache
