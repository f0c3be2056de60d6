# What a person types here. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
LISTEN ?= 127.0.0.1:9092
HTTP ?= 127.0.0.1:9192
DATA_DIR ?= tidelog-data

VENV := .venv
NODE := tests/compat/node/node_modules
BIN := $(VENV)/bin
PROMETHEUS := .cache/debian/usr/bin/promtool
MACHINE := .cache/power/.fetched
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# Sets and dicts of strings have the same order in every run, so that a seed tells the whole story.
export PYTHONHASHSEED := 0

.PHONY: run
run: $(VENV)/.installed ## Start a broker; it says where it listens and where it keeps its data
	@exec $(BIN)/tidelog serve --listen $(LISTEN) --http $(HTTP) --data-dir $(DATA_DIR)

.PHONY: check
check: static ## The fast loop: lint, types, import contracts, house rules, unit tests (under 3 minutes)
	$(BIN)/pytest tests $(SLOWER:%=--ignore=%)

.PHONY: test
test: static witnesses $(NODE)/.installed ## Everything CI runs: check, real clients, crashes, packaging, the README's commands
	$(BIN)/pytest tests

.PHONY: proof
proof: $(VENV)/.installed-dev witnesses ## The crash, attack and simulation proofs at release size (long; by hand)
	@result=0; \
	TIDELOG_PROOF=1 $(BIN)/pytest -o faulthandler_timeout=21600 $(PROOFS) || result=$$?; \
	PYTHONPATH=tests $(BIN)/python -m support.proofs; \
	exit $$result

.PHONY: bench
bench: $(VENV)/.installed-dev ## Produce and consume by librdkafka beside its own mock broker; start time, memory, crowds, groups
	@$(BIN)/python benchmarks/throughput.py
	@$(BIN)/python benchmarks/connections.py
	@$(BIN)/python benchmarks/groups.py
	@$(BIN)/python benchmarks/recovery.py

.PHONY: simulate
simulate: $(VENV)/.installed-dev ## Simulate the whole broker: make simulate SEEDS=1000, or SEED=42 for one run again
	$(if $(SEED),TIDELOG_SEED=$(SEED),TIDELOG_SEEDS=$(or $(SEEDS),1000)) $(BIN)/pytest tests/simulation

.PHONY: fuzz
fuzz: $(VENV)/.installed-fuzz ## Fuzz the broker and its decoders with 50 million inputs: make fuzz RUNS=1000000 SEED=2
	@PYTHONPATH=tests $(BIN)/python -m fuzz.campaign --runs $(or $(RUNS),50000000) --seed $(or $(SEED),1)

.PHONY: powercut
powercut: $(VENV)/.installed-dev $(MACHINE) ## Cut the power of a virtual machine with the broker in it: make powercut CUTS=300 SEED=2
	TIDELOG_POWERCUTS=$(or $(CUTS),300) TIDELOG_SEED=$(or $(SEED),1) $(BIN)/pytest -o faulthandler_timeout=21600 -s tests/power/test_power_cut.py

.PHONY: docs
docs: $(VENV)/.installed-dev ## Write the generated pages of docs/ anew, from the code and the tests
	$(BIN)/python -m tidelog.broker.reference docs
	PYTHONPATH=tests $(BIN)/python tests/compat/grid.py docs
	PYTHONPATH=tests $(BIN)/python -m support.proofs

.PHONY: clean
clean: ## Remove what make and the tools made; never a broker's data
	rm -rf $(VENV) $(NODE) .cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)$$/make \1\t\2/p' Makefile | expand -t 16

# -- what the targets above are made of --

# What `make proof` carries out. Whatever it finds stands in docs/proofs.json afterwards, and what it may take is hours.
PROOFS := tests/crash tests/hostile tests/power tests/simulation

# Not in `make check`: they start processes, install packages, need Debian's tools, or play many worlds.
SLOWER := tests/compat tests/crash tests/fuzz tests/hostile tests/power/test_power_cut.py tests/simulation/test_broker.py tests/simulation/test_clocks.py tests/simulation/test_groups.py tests/simulation/test_storm.py tests/test_alerts.py tests/test_compose.py tests/test_packaging.py tests/test_readme.py

# The stamps: installed again only when pyproject.toml has changed.
$(VENV)/.installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --editable '.[dev]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-fuzz: $(VENV)/.installed-dev
	@$(PIP) install --editable '.[dev,fuzz]'
	@touch $@

# mypy takes a folder's name for the package's, and a clone may be called anything: it looks through this link.
.PHONY: static
static: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p .cache/types && ln -sfn "$(CURDIR)" .cache/types/tidelog
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --cache-dir .cache/imports

# The clients in Node.js that the compatibility suite drives, as their lock file says.
$(NODE)/.installed: tests/compat/node/package-lock.json | node
	@npm ci --silent --prefix tests/compat/node
	@touch $@

# Debian 12's own Node.js is too old for them, so it is asked for, not installed.
.PHONY: node
node:
	@major="$$(node --version 2>/dev/null | sed -nE 's/^v([0-9]+)\..*/\1/p')"; \
	if [ "$${major:-0}" -lt 20 ] || ! command -v npm >/dev/null; then \
		echo "make test needs Node.js 20 or newer, with npm: https://nodejs.org/en/download" >&2; \
		exit 1; \
	fi

# Tools written by others that the tests call as witnesses. Missing ones are installed, or this fails: nothing is skipped.
.PHONY: witnesses
witnesses: $(PROMETHEUS) $(MACHINE)
	@missing=; \
	for tool in curl docker-compose kcat strace; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	root=; \
	if [ "$$(id -u)" != 0 ]; then root='sudo -n'; fi; \
	if ! command -v apt-get >/dev/null || ! $$root true 2>/dev/null; then \
		echo "make test needs:$$missing. Please install them (Debian: apt-get install$$missing) and run it again." >&2; \
		exit 1; \
	fi; \
	echo "installing Debian packages:$$missing"; \
	$$root apt-get -qq update; \
	DEBIAN_FRONTEND=noninteractive $$root apt-get -qq install --yes --no-install-recommends $$missing >/dev/null

# Prometheus, taken out of Debian's package and not installed: that would start a server on the machine, for good.
$(PROMETHEUS):
	@if ! command -v apt-get >/dev/null; then \
		echo "make test needs prometheus and promtool: put them into $(@D)" >&2; \
		exit 1; \
	fi; \
	echo "fetching Debian's package prometheus"; \
	rm -rf .cache/debian && mkdir -p .cache/debian && cd .cache/debian; \
	fetch() { apt-get -qq -o APT::Sandbox::User="$$(id -un)" download prometheus; }; \
	if ! fetch 2>/dev/null; then \
		root=; \
		if [ "$$(id -u)" != 0 ]; then root='sudo -n'; fi; \
		$$root apt-get -qq update; \
		fetch; \
	fi; \
	dpkg-deb --extract prometheus_*.deb .; \
	rm prometheus_*.deb

# A virtual machine for the power cuts, taken out of Debian's packages and not installed either: an emulator with what
# it lacks here, a kernel, and what makes file systems.
MACHINE_PACKAGES := busybox-static e2fsprogs qemu-system-common qemu-system-data qemu-system-x86 seabios xfsprogs
$(MACHINE):
	@if ! command -v apt-get >/dev/null; then \
		echo "make test needs Debian's packages $(MACHINE_PACKAGES) and linux-image-cloud-amd64, unpacked into $(@D)" >&2; \
		exit 1; \
	fi; \
	echo "fetching Debian's packages $(MACHINE_PACKAGES)"; \
	rm -rf $(@D) && mkdir -p $(@D)/packages && cd $(@D)/packages; \
	fetch() { \
		kernel="$$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p')" && \
		missing="$$(apt-get -q --simulate --no-install-recommends install $(MACHINE_PACKAGES) | awk '/^Inst/ && $$3 !~ /^\[/ {print $$2}')" && \
		apt-get -qq -o APT::Sandbox::User="$$(id -un)" download $$(printf '%s\n' $(MACHINE_PACKAGES) $$kernel $$missing | sort -u); \
	}; \
	if ! fetch 2>/dev/null; then \
		root=; \
		if [ "$$(id -u)" != 0 ]; then root='sudo -n'; fi; \
		$$root apt-get -qq update; \
		fetch; \
	fi; \
	for package in *.deb; do dpkg-deb --extract "$$package" ..; done; \
	rm *.deb && cd - >/dev/null && touch $@
