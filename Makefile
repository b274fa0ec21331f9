# make fit   create .venv, install, and fit the embedded ocean
# make test  create .venv, install, and run the tests
# Others: lint, docs, clean. Choose an interpreter with PYTHON=python3.12, another folder with VENV=..., leave out the
# MKL solver (a download of 200 MB that halves the time of a fit) with SOLVER=, and set test workers with WORKERS=4.

PYTHON ?= python3
VENV ?= .venv
SOLVER ?= fast
WORKERS ?= 2
RUN ?=
PYTEST_OPTIONS ?=

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

comma := ,
brackets = $(if $(1),[$(1)])
with_solver = $(1)$(if $(SOLVER),$(if $(1),$(comma))$(SOLVER))

# $(call install,EXTRAS): with the fast solver where it exists, otherwise without it, and saying so.
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet -e
define install
$(PIP_INSTALL) ".$(call brackets,$(call with_solver,$(1)))"$(if $(SOLVER), || { \
	echo "The extra '$(SOLVER)' cannot be installed here; continuing with the built-in solver." >&2; \
	$(PIP_INSTALL) ".$(call brackets,$(1))"; })
@touch $@
endef

.PHONY: fit test lint docs notebook clean

fit: $(VENV)/.installed
	$(BIN)/invbgc fit $(RUN)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_OPTIONS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The site, in the folder site; a link that leads nowhere is an error.
docs: $(VENV)/.installed-test
	$(BIN)/python -m mkdocs build --strict

# Run the notebooks and store them with their figures.
notebook: $(VENV)/.installed-test
	$(BIN)/python docs/build.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache build dist site

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "invbgc needs Python 3.11 or newer; found: $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "Python cannot create an environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.created
	$(call install,)

$(VENV)/.installed-test: pyproject.toml | $(VENV)/.created
	$(call install,test)
