# Every gate is one command, and CI (.ci/run) calls the same ones. Benches write tables and plots to
# tests/bench/results, a file a kind of processor, which git keeps, and raw figures to build/.

PYTHON := .venv/bin/python
C_FILES = $(shell git ls-files --cached --others --exclude-standard 'xdp/*.[ch]' 'tests/*.[ch]')
SHELL_FILES = .ci/run contrib/bpftrace/named-forwarded $(shell git ls-files --cached --others --exclude-standard '*.sh')

.DEFAULT_GOAL := help
# No target is a file.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-18s %s\n' "$$name" "$$text"; done

setup: ## install what the service needs: Debian's BCC and a .venv
	@deploy/setup.sh runtime

setup-dev:
	@deploy/setup.sh dev

setup-test:
	@deploy/setup.sh test

demo: ## show dnsdist, the service and real queries in namespaces, as a live table (root)
	@deploy/setup.sh demo
	@$(PYTHON) -m contrib.demo

demo-flood: setup-test ## flood a real BIND with 40,000 queries/s and answer an operator's questions; writes docs/ (root, 3 minutes)
	@deploy/setup.sh bench
	@$(PYTHON) -m tests.bench.first_minutes

# Hundreds of services are started, so Python keeps what it compiled, whatever the environment
# says. Files run in the order of their names: those with the longest tests are not the last ones.
# Three at once on two processors, as half of the tests wait for a time to be over. A test that
# hangs fails after five minutes, by name; none takes a third of that on a machine at rest.
test: export PYTHONDONTWRITEBYTECODE :=
test: setup-test ## run every test (root, a quarter of an hour)
	@$(PYTHON) -m pytest $(COVERAGE) -n 3 --dist loadfile --no-loadscope-reorder --timeout 300 --timeout-method signal

coverage: ## run every test and measure coverage, which slows each service that is started (root)
	@$(MAKE) --no-print-directory test COVERAGE=--cov

test-unit: setup-dev ## run the tests that need no root, in seconds
	@$(PYTHON) -m pytest -m 'not root and not slow'

KILLS ?= 50
gap: setup-test ## kill the service KILLS=50 times under a stream of packets; none may pass unfiltered (root)
	@KILLS=$(KILLS) $(PYTHON) -m pytest tests/net/test_never_a_gap.py

FRAMES ?= 1000000
fuzz: setup-test ## compare the packet engines on FRAMES=1000000 mutated frames (root)
	@$(PYTHON) -m tests.fuzz.agree --frames $(FRAMES)

MESSAGES ?= 1000000
fuzz-transfers: setup-test ## put MESSAGES=1000000 mutants of what primaries send before our readers
	@$(PYTHON) -m tests.fuzz.transfers --messages $(MESSAGES)

SECONDS ?= 3600
fuzz-coverage: setup-dev ## run libFuzzer with sanitizers over the C code, SECONDS=3600; KEEP=--keep writes the corpus
	@deploy/setup.sh fuzz
	@$(PYTHON) -m tests.fuzz.coverage --seconds $(SECONDS) $(KEEP)

test-faults: setup-test ## let every system call of a start fail in turn (root, a quarter of an hour)
	@$(PYTHON) -m tests.faults

MINUTES ?= 10
soak: setup-test ## run everything at once for MINUTES=10; nothing may grow (root)
	@deploy/setup.sh bench
	@$(PYTHON) -m tests.soak --minutes $(MINUTES)

test-kernels: ## test program, interfaces, bonds and units on Linux 5.10 to 7.x in qemu, KERNELS='5.10 6.1' (root)
	@deploy/setup.sh kernels
	@$(PYTHON) -m tests.kernels $(KERNELS)

test-kernels-short: ## the same on 5.10 and 6.1, without other BCCs, bonds and units (root, 3 minutes)
	@deploy/setup.sh kernels
	@$(PYTHON) -m tests.kernels --short 5.10 6.1

test-verifiers: ## only load every configuration on Linux 5.10 and 6.1 in qemu (root, a minute)
	@deploy/setup.sh kernels
	@$(PYTHON) -m tests.kernels --verifier 5.10 6.1

test-packages: ## build, install, upgrade and remove the .deb, the image and the DaemonSet (root)
	@deploy/setup.sh deb-test
	@$(PYTHON) -m tests.packages

bench: setup-dev ## measure ns per packet, time to ready and memory; writes bench.json (root)
	@$(PYTHON) -m tests.bench

bench-memory: setup-dev ## print the memory of the service and its loader while nobody looks (root)
	@$(PYTHON) -m tests.bench.at_rest

BASE ?= xdp
bench-program: setup-dev ## compare with the sample program in SAMPLE=checkout of PowerDNS (root)
	@$(PYTHON) -m tests.bench.comparison '$(SAMPLE)'

bench-variants: setup-dev ## compare xdp/ with other versions of it, BASE='../other/xdp …', in one run (root)
	@$(PYTHON) -m tests.bench.variants xdp $(BASE)

bench-growth: setup-dev ## measure with 10 to 1,000,000 entries a map, SAMPLE=checkout; draws a plot (root)
	@deploy/setup.sh bench
	@$(PYTHON) -m tests.bench.growth $(if $(SAMPLE),--sample '$(SAMPLE)')

bench-lists: setup-dev ## measure with 10 to 1,000,000 rules of lists, BASE=former xdp/ to compare with (root)
	@$(PYTHON) -m tests.bench.lists $(BASE)

bench-limits: setup-dev ## measure what limits cost, calm and flooded, beside an LRU hash (root)
	@$(PYTHON) -m tests.bench.limits

bench-sampling: setup-dev ## measure what samples cost a packet, while nobody looks and while somebody does (root)
	@$(PYTHON) -m tests.bench.sampling

bench-ceilings: setup-dev ## compare instructions and verifier steps with their ceilings; RENEW=1 writes them (root)
	@$(PYTHON) -m tests.bench.ceilings $(if $(RENEW),--renew)

bench-compare: setup-dev ## print the ratios of two files of `make bench`, A=… B=…
	@$(PYTHON) -m tests.bench.compare '$(A)' '$(B)'

bench-drop: ## send one flood against every means of dropping it; draws a plot (root, 10 minutes)
	@deploy/setup.sh bench
	@$(PYTHON) -m tests.bench.drop

bench-attack: setup-test ## attack a server behind every defence, and ask honestly; writes docs/ (root, 20 minutes)
	@deploy/setup.sh bench
	@$(PYTHON) -m tests.bench.attack

bench-xsk: setup-test ## compare dnsdist over AF_XDP with its ordinary socket (root)
	@$(PYTHON) -m tests.bench.xsk

bench-hold: setup-test ## flood dnsdist 1.7, 1.9 and 2.1 with blocks that are held and that are not (root, 20 minutes)
	@$(PYTHON) -m tests.bench.hold

bench-scale: setup-test ## put a million rules through a running service (root)
	@$(PYTHON) -m tests.bench.scale

bench-feeds: setup-test ## transfer zones from BIND and Knot into a running service, RECORDS=1000000 (root)
	@$(PYTHON) -m tests.bench.feeds $(if $(RECORDS),--records $(RECORDS))

bench-streams: setup-test ## measure what sixteen who look at samples cost the service (root)
	@$(PYTHON) -m tests.bench.streams

HOSTS ?= 20
bench-fleet: setup-test ## make a change that HOSTS=20 services follow, and see the last one drop (root)
	@$(PYTHON) -m tests.bench.fleet --hosts $(HOSTS)

bench-siege: setup-test ## measure panic while 2,000 connections besiege --listen (root)
	@$(PYTHON) -m tests.bench.siege

lint: setup-test ## ruff, clang-format, shellcheck
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@clang-format-14 --dry-run -Werror $(C_FILES)
	@shellcheck $(SHELL_FILES)

format: setup-test ## format Python and C
	@$(PYTHON) -m ruff check --fix-only .
	@$(PYTHON) -m ruff format .
	@clang-format-14 -i $(C_FILES)

type: setup-dev ## mypy, strict
	@$(PYTHON) -m mypy

man: setup-dev ## print the man page: make -s man | man -l -
	@.venv/bin/python deploy/debian/manual.py

deb: ## build dist/xdpctl_*.deb for Debian 12, or with SUITE=trixie for Debian 13
	@deploy/setup.sh deb
	@$(PYTHON) deploy/debian/build.py $(if $(SUITE),--suite $(SUITE))

wheel: setup-dev ## build dist/xdpctl-*.whl
	@$(PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: ## remove what these targets made, also .venv; Debian's packages stay
	rm -rf .venv build dist htmlcov bench.json .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
