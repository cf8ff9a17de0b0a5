# One environment, made by `make setup`, in which everything else runs. ROS=jazzy or kilted.
ROS ?= jazzy
VENV ?= .venv$(if $(filter-out jazzy,$(ROS)),-$(ROS))
export ROS VENV PYTHON

# ROS 2 as the tests want it: this machine only, away from other people's robots. The demo sees to
# that itself: without a ROS_DOMAIN_ID it takes one of its own, so that two do not meet.
TEST_ROS = ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=$${ROS_DOMAIN_ID:-87}
TESTS ?= test
# A sourced ROS distribution would be mixed into the environment's own.
unexport PYTHONPATH AMENT_PREFIX_PATH LD_LIBRARY_PATH

.PHONY: help setup demo test bench soak check format clean

help: ## list what can be made
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo "  With: ROS=kilted, PYTHON=python3.12, DATA=<recordings> (demo), ARGS=<options> (test, bench, soak), TESTS=test/nodes"

setup: ## make the environment (about 2 minutes once; nothing to do after)
	@scripts/setup.sh

demo: setup ## see the package at work; DATA=<folder> for your own recordings
	@$(VENV)/bin/demo $(if $(DATA),--data "$(DATA)")

test: setup ## run the tests
	@$(TEST_ROS) $(VENV)/bin/python -m pytest $(TESTS) $(ARGS)

bench: setup ## measure the encoders against a textbook's (10 minutes; ARGS=--quick: one)
	@$(VENV)/bin/python benchmarks/bench.py $(ARGS)

soak: setup ## an hour of a bag with faults through a live node (10 minutes or more; ARGS="--minutes 5")
	@$(TEST_ROS) $(VENV)/bin/python benchmarks/soak.py $(ARGS)

check: setup ## lint, format check, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: setup ## let ruff put the code in order
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## remove the environments and what was built
	rm -rf .venv .venv-kilted build install log *.egg-info .pytest_cache .mypy_cache .ruff_cache
