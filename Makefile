# Every gate is one command, and CI (.ci/run) calls the same ones.

PYTHON := .venv/bin/python
C_FILES = $(shell git ls-files --cached --others --exclude-standard 'xdp/*.[ch]' 'tests/*.[ch]')
SHELL_FILES = .ci/run $(shell git ls-files --cached --others --exclude-standard '*.sh')

.DEFAULT_GOAL := help
# Every target: none of them is a file.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-18s %s\n' "$$name" "$$text"; done

setup: ## what the service needs: Debian's BCC, .venv
	@deploy/setup.sh runtime

setup-dev:
	@deploy/setup.sh dev

setup-test:
	@deploy/setup.sh test

demo: ## dnsdist, the service and real queries in namespaces, as a live table (as root)
	@deploy/setup.sh demo
	@$(PYTHON) -m contrib.demo

test: setup-test ## everything, with coverage (as root, under 10 minutes)
	@$(PYTHON) -m pytest --cov -n 2 --dist loadfile

test-unit: setup-dev ## what needs no root, in seconds
	@$(PYTHON) -m pytest -m 'not root and not slow'

KILLS ?= 50
gap: setup-test ## a stream of blocked and honest packets while the service is killed KILLS=50 times (as root)
	@KILLS=$(KILLS) $(PYTHON) -m pytest tests/net/test_never_a_gap.py

FRAMES ?= 1000000
fuzz: setup-test ## the packet engines against each other, FRAMES=1000000 mutants (as root)
	@$(PYTHON) -m tests.fuzz.agree --frames $(FRAMES)

SECONDS ?= 3600
fuzz-coverage: setup-dev ## libFuzzer with sanitizers over the C, SECONDS=3600; KEEP=--keep writes the corpus
	@deploy/setup.sh fuzz
	@$(PYTHON) -m tests.fuzz.coverage --seconds $(SECONDS) $(KEEP)

test-faults: setup-test ## every system call of a start fails in turn, a quarter of an hour (as root)
	@$(PYTHON) -m tests.faults

MINUTES ?= 10
soak: setup-test ## everything at once, MINUTES=10; is it as large as before? writes tests/bench/results/soak.* (as root)
	@deploy/setup.sh bench
	@$(PYTHON) -m tests.soak --minutes $(MINUTES)

test-kernels: ## program (of three Debians' BCC), interfaces, bonds and units on Debian's kernels 5.10 to 7.x, in qemu [KERNELS='5.10 6.1'] (as root)
	@deploy/setup.sh kernels
	@$(PYTHON) -m tests.kernels $(KERNELS)

test-kernels-short: ## the same on 5.10 and 6.1 without other BCCs, bonds and units, a minute (as root)
	@deploy/setup.sh kernels
	@$(PYTHON) -m tests.kernels --short 5.10 6.1

test-packages: ## .deb, image, DaemonSet: built, installed, upgraded, removed (as root)
	@deploy/setup.sh deb-test
	@$(PYTHON) -m tests.packages

bench: setup-dev ## ns per packet, time to ready, memory; writes bench.json (as root)
	@$(PYTHON) -m tests.bench

BASE ?= xdp
bench-program: setup-dev ## the filter beside the sample program in SAMPLE=checkout of PowerDNS (as root)
	@$(PYTHON) -m tests.bench.comparison '$(SAMPLE)'

bench-variants: setup-dev ## xdp/ beside other versions of it, BASE='../other/xdp …', in one run (as root)
	@$(PYTHON) -m tests.bench.variants xdp $(BASE)

bench-growth: setup-dev ## the same with 10 to 1,000,000 entries a map, [SAMPLE=checkout]; writes a plot (as root)
	@deploy/setup.sh bench
	@$(PYTHON) -m tests.bench.growth $(if $(SAMPLE),--sample '$(SAMPLE)')

bench-ceilings: setup-dev ## instructions and verifier steps beside their ceilings, RENEW=1 writes them (as root)
	@$(PYTHON) -m tests.bench.ceilings $(if $(RENEW),--renew)

bench-compare: setup-dev ## ratios of two files of `make bench`, A=… B=…
	@$(PYTHON) -m tests.bench.compare '$(A)' '$(B)'

bench-drop: ## one flood, every means of dropping it; writes tests/bench/results (as root, 8 minutes)
	@deploy/setup.sh bench
	@$(PYTHON) -m tests.bench.drop

bench-xsk: setup-test ## dnsdist over AF_XDP beside the kernel's socket; writes build/bench-xsk.json (as root)
	@$(PYTHON) -m tests.bench.xsk

bench-scale: setup-test ## a million rules through a running service; writes build/bench-scale.json (as root)
	@$(PYTHON) -m tests.bench.scale

bench-siege: setup-test ## panic while 2,000 connections besiege --listen: ms, memory, log lines (as root)
	@$(PYTHON) -m tests.bench.siege

lint: setup-test ## ruff, clang-format, shellcheck
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@clang-format-14 --dry-run -Werror $(C_FILES)
	@shellcheck $(SHELL_FILES)

format: setup-test ## put Python and C into form
	@$(PYTHON) -m ruff check --fix-only .
	@$(PYTHON) -m ruff format .
	@clang-format-14 -i $(C_FILES)

type: setup-dev ## mypy, strict
	@$(PYTHON) -m mypy

deb: ## dist/xdpctl_*.deb for Debian 12
	@deploy/setup.sh deb
	@$(PYTHON) deploy/debian/build.py

wheel: setup-dev ## dist/xdpctl-*.whl
	@$(PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: ## what these targets made, .venv too; Debian's packages stay
	rm -rf .venv build dist htmlcov bench.json .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
