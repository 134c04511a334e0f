# Every target installs what is missing (tools/install_dependencies.sh) and does nothing a second time.

PRESET := $(if $(CI),ci,release)
JOBS ?= $(shell tools/parallel_jobs.sh)
# Seconds of each fuzz target. make test replays the corpus and looks a little further; continuous integration a minute.
FUZZ_SECONDS := 60
SOAK_MINUTES ?= 20
ROOMS := cli common config coordinator evaluation finetune pipeline report tests worker
# make LONGROPE_PYTHON=$(which python) build: with the Torch of that interpreter instead of the one in .venv.
PYTHON := $(or $(LONGROPE_PYTHON),$(CURDIR)/.venv/bin/python)

.DEFAULT_GOAL := help
.PHONY: help build demo progressive test lint rooms format asan tsan fuzz soak bench clean \
  documents-dependencies build-dependencies test-dependencies configure configure-fuzz

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

documents-dependencies:
	@tools/install_dependencies.sh documents

build-dependencies:
	@tools/install_dependencies.sh build

test-dependencies:
	@tools/install_dependencies.sh test

configure: build-dependencies
	@cmake --preset $(PRESET) --log-level=WARNING -DLONGROPE_PYTHON=$(PYTHON)

configure-fuzz: test-dependencies
	@cmake --preset fuzz --log-level=WARNING -DLONGROPE_FUZZ_SECONDS=$(FUZZ_SECONDS)

build: configure ## Build the programs: build/bin/longrope, build/bin/longrope-worker
	@cmake --build --preset $(PRESET) -j $(JOBS) --target longrope longrope_worker_program

demo: build ## Search factors for the bundled model on this machine and export them
	@tools/demo.sh

progressive: documents-dependencies
progressive: build ## Carry the bundled model to 32,768 positions: searches, fine-tunings, tables, report
	@tools/progressive.sh

test: FUZZ_SECONDS := $(if $(CI),60,5)
test: lint ## Lint, then all tests, then those without Torch again under sanitizers, then fuzz targets for seconds
	@$(if $(CI),,tools/install_dependencies.sh bench || echo "no llama.cpp: the cases it reads are skipped") # not in CI
	@cmake --build --preset $(PRESET) -j $(JOBS)
	@cmake --preset asan --log-level=WARNING
	@cmake --build --preset asan -j $(JOBS)
	@cmake --build --preset fuzz -j $(JOBS)
	@ctest --preset $(PRESET) -j $(JOBS)
	@ctest --preset asan -j $(JOBS)
	@ctest --preset fuzz -j $(JOBS)

rooms: build-dependencies ## Check the table of rooms (CONTRIBUTING.md) and other rules of text, in a second
	@$(PYTHON) tools/lint.py --rooms

# Quick checks first; the last one compares the libraries with both programs.
lint: rooms configure configure-fuzz ## Check rooms, format, likely mistakes, then functions that only tests call
	@$(PYTHON) tools/lint.py --sources --jobs $(JOBS)
	@cmake --build --preset $(PRESET) -j $(JOBS) --target longrope longrope_worker_program
	@$(PYTHON) tools/lint.py --functions

format: test-dependencies ## Format all C++ files
	@find $(ROOMS) -name '*.h' -o -name '*.cpp' -o -name '*.cu' | xargs .venv/bin/clang-format -i

asan: build-dependencies ## Tests without Torch under the address and undefined-behaviour sanitizers
	@cmake --preset asan --log-level=WARNING
	@cmake --build --preset asan -j $(JOBS)
	@ctest --preset asan -j $(JOBS)

tsan: build-dependencies ## Tests without Torch under the thread sanitizer
	@cmake --preset tsan --log-level=WARNING
	@cmake --build --preset tsan -j $(JOBS)
	@ctest --preset tsan -j $(JOBS)

fuzz: configure-fuzz ## Give hostile files and frames to every reader, FUZZ_SECONDS (60) for each
	@cmake --build --preset fuzz -j $(JOBS)
	@ctest --preset fuzz -j $(JOBS)

soak: configure test-dependencies ## What is too slow for make test, SOAK_MINUTES (20); see bench/results/
	@cmake --build --preset $(PRESET) -j $(JOBS)
	@$(PYTHON) bench/soak.py --minutes $(SOAK_MINUTES) --jobs $(JOBS)

bench: build ## Time the scorer against transformers and llama.cpp
	@tools/install_dependencies.sh bench
	@$(PYTHON) bench/score_against_engines.py

clean: ## Remove what was built; the environments (.venv*) stay
	@rm -rf build
