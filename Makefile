# SPDX-License-Identifier: Apache-2.0
# One word per chore. `make` alone lists them.

VENV := .venv/bin
PYTEST := $(VENV)/pytest
TIMED := scripts/timed
MODE ?= model
CASES ?= tests/conformance/cases/traffic.yaml

.PHONY: help demo test test-packets test-vm check conformance bench bench-vm wheel setup setup-packets rust fuzz lint types layers unit api format

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: setup-packets ## a small cluster in network namespaces, every Service dialled, one rolled while dialling
	$(VENV)/python -m kproxy lab demo

test: setup ## everything: lint, types, unit, API, conformance on the model and as real packets
	@scripts/test

test-packets: setup-packets ## real packets only; fails where they cannot run
	@scripts/test packets

test-vm: setup ## only what needs a kernel with IPVS, in an emulated machine; fails where that cannot run
	@scripts/test vm

check: setup ## the everyday loop: format, lint, types, layers, unit tests
	@$(TIMED) "lint"   $(MAKE) -s lint
	@$(TIMED) "types"  $(MAKE) -s types
	@$(TIMED) "layers" $(MAKE) -s layers
	@$(TIMED) "unit"   $(MAKE) -s unit

conformance: setup ## CASES=FILE MODE=model|nftables|iptables|ipvs|userspace: any file of unit or traffic cases
	@$(VENV)/python -m tests.conformance $(CASES) $(MODE)

bench: ## the benchmark suite; ONLY=WORD picks
	@scripts/setup bench
	@$(PYTEST) bench -q --benchmark-only $(if $(ONLY),-k "$(ONLY)") -s --timeout 1800

bench-vm: setup ## mode ipvs, and 20,000 connections through the relay, in an emulated machine: ratios only
	@scripts/setup vm
	@KPROXY_VM_SECONDS=1800 scripts/vm $(PYTEST) bench/test_ipvs.py bench/test_relay_many.py -q --benchmark-only -s --timeout 1800

wheel: setup ## one abi3 wheel for Python 3.11 and newer, in dist/
	$(VENV)/maturin build --release --strip --out dist

setup: ## Python environment and Rust core
	@scripts/setup build

setup-packets: ## as well: the kernel's tools
	@scripts/setup packets

format: setup ## write the one true format
	$(VENV)/ruff format python tests bench
	$(VENV)/ruff check --fix -q python tests bench
	cargo fmt

lint:
	@$(VENV)/ruff format --check -q python tests bench
	@$(VENV)/ruff check -q python tests bench
	@cargo fmt --check
	@cargo clippy -q --workspace --all-targets -- -D warnings

types:
	@$(VENV)/mypy --no-error-summary

layers:
	@$(VENV)/lint-imports --no-cache >/dev/null || $(VENV)/lint-imports --no-cache

unit:
	@$(PYTEST) tests/unit -q -m "not packets"

rust:
	@cargo test -q --workspace --exclude kproxy-core --profile tested

fuzz: ## spoilt bytes for every reader of bytes from outside, RELAY_FUZZ_SECONDS (20) each
	@RELAY_FUZZ_SECONDS=$${RELAY_FUZZ_SECONDS:-20} cargo test -q --profile tested -p relay --lib fuzz:: -- --nocapture

api:
	@$(PYTEST) tests/api -q
