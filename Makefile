# X-ELM on Ray. `make` alone lists the targets. Everything runs in .venv; nothing is installed elsewhere.
SHELL := /bin/bash
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EMULATOR := .local/emulator
HARNESS := .local/harness
CORPUS ?= $(XELM_CORPUS)

# What is installed, and pip's arguments. pip -q is silent for a minute, and without -q it prints hundreds of lines.
define install
	@echo "installing $(1)"
	@while sleep 10 > /dev/null 2>&1; do echo "  still at it, $$(du -sm $(VENV) | cut -f1) MB so far"; done & \
	trap "kill $$!" EXIT; $(RUN) -m pip install -q $(2)
endef

.DEFAULT_GOAL := help
.PHONY: help setup emulator harness demo check test test-cluster test-all serve experiment experiment-seeds experiment-groupings experiment-adaptation experiment-sweep experiment-recipe pictures constraints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(STAMP) ## create .venv with the pinned dependencies (PIP_ARGS=... is passed to pip)

$(STAMP): pyproject.toml constraints.txt
	@case "$(CURDIR)" in *" "*) echo "the path '$(CURDIR)' has a space, and Ray cannot start workers from there; move the project to one without"; exit 2;; esac
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); sys.exit(0 if ok else "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(call install,pip,--upgrade pip)
	$(call install,setuptools,-c constraints.txt setuptools wheel)
	$(call install,torch,-c constraints.txt $(PIP_ARGS) torch)
	$(call install,the other packages,-c constraints.txt $(PIP_ARGS) -e '.[dev]')
	@touch $(STAMP)

emulator: $(EMULATOR)/.installed ## the AWS emulator of a cluster test, in an environment of its own on top of .venv

harness: $(HARNESS)/.installed ## lm_eval, the client of a test, in an environment of its own on top of .venv

$(EMULATOR)/.installed: tests/deploy/emulator.txt
$(HARNESS)/.installed: tests/serve/harness.txt
$(EMULATOR)/.installed $(HARNESS)/.installed: constraints.txt $(STAMP)
	$(RUN) -m venv $(@D)
	$(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	grep -v '^python-dateutil==' constraints.txt > $(@D)/constraints.txt
	$(@D)/bin/python -m pip install -q -c $(@D)/constraints.txt $(PIP_ARGS) -r $(filter tests/%,$^)
	@touch $@

demo: setup ## the main job on the embedded text: offline, CPU, minutes
	$(RUN) -m jobs.all --preset demo

serve: setup ## the demo run's ensemble behind HTTP on 127.0.0.1:8000 (after make demo)
	@test -f artifacts/runs/demo/ensembles/current.json || { echo "there is no demo run yet: make demo"; exit 2; }
	umask 077; RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 $(VENV)/bin/serve run deploy/serve.yaml

check: setup ## lint, types, layers
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(RUN) -m pytest -q tests/test_layers.py tests/test_imports_are_inert.py

test: check ## check, and the default tests
	$(RUN) -m pytest -q -m "not (cluster or rare or slow or gpu or network)"

test-cluster: setup ## the tests that start several Ray nodes, a server or a browser
	$(RUN) -m pytest -q -m "cluster and not (rare or gpu or network)"

test-all: test test-cluster emulator harness ## every test but those for a GPU and for the network: also what is long and rarely breaks
	$(RUN) -m pytest -q -m "(rare or slow) and not (gpu or network)"

experiment: setup ## the comparison on real text: make experiment CORPUS=<folder in mC4's layout>
	@test -n "$(CORPUS)" || { echo "say where the text is: make experiment CORPUS=<folder in mC4's layout>"; exit 2; }
	$(RUN) -m benchmarks.experiment --corpus "$(CORPUS)"

experiment-seeds: setup ## the same with three random seeds each: make experiment-seeds CORPUS=<folder in mC4's layout>
	@test -n "$(CORPUS)" || { echo "say where the text is: make experiment-seeds CORPUS=<folder in mC4's layout>"; exit 2; }
	$(RUN) -m benchmarks.experiment_seeds --corpus "$(CORPUS)"

experiment-groupings: setup ## every way of cutting it into eight: make experiment-groupings CORPUS=<folder in mC4's layout>
	@test -n "$(CORPUS)" || { echo "say where the text is: make experiment-groupings CORPUS=<folder in mC4's layout>"; exit 2; }
	$(RUN) -m benchmarks.experiment_groupings --corpus "$(CORPUS)"

EXPERIMENT = --preset experiment --set corpus.path="$(CORPUS)"
# Without the further dense models of the preset: a search has the dense model at every setting.
ALONE = --set baselines.dense_equal_steps=null --set baselines.dense_double_rate=null
# The recipe of the experts that experiment-recipe has found.
BEST = --set training.tokens_per_step=512 --set training.learning_rate=0.004

experiment-adaptation: setup ## new languages (az he pl sv) for the typological cut, HMR against LAPT: CORPUS=<folder>
	@test -n "$(CORPUS)" || { echo "say where the text is: make experiment-adaptation CORPUS=<folder in mC4's layout>"; exit 2; }
	$(RUN) -m jobs.all $(EXPERIMENT) --set run.name=experiment-typological-k8
	$(RUN) -m jobs.adapt $(EXPERIMENT) --set run.name=experiment-typological-k8 --languages az,he,pl,sv

experiment-sweep: setup ## k = 1 to 16 by three ways of cutting: CORPUS=<folder>
	@test -n "$(CORPUS)" || { echo "say where the text is: make experiment-sweep CORPUS=<folder in mC4's layout>"; exit 2; }
	$(RUN) -m tune.sweep $(EXPERIMENT) --set run.name=experiment-sweep $(ALONE) $(BEST) --set sweep.k=1,2,4,8,16 --set sweep.strategy=typological,tfidf,random

experiment-recipe: setup ## rate and steps searched for experts and dense alike, confirmed with three fresh seeds: CORPUS=<folder>
	@test -n "$(CORPUS)" || { echo "say where the text is: make experiment-recipe CORPUS=<folder in mC4's layout>"; exit 2; }
	$(RUN) -m tune.confirm $(EXPERIMENT) --set run.name=experiment-recipe $(ALONE) --set sweep.tokens_per_step=512,2048 --set sweep.learning_rate=0.001,0.002,0.004 --set sweep.fresh_seeds=1,2,3

pictures: demo ## the README's pictures and table from the demo run (needs Debian's chromium)
	$(RUN) -m benchmarks.pictures --root artifacts --run demo

constraints: ## refresh constraints.txt from what is installed in .venv
	$(RUN) -m pip freeze --all --exclude-editable --exclude pip | sed -E 's/\+cpu$$//' | LC_ALL=C sort -f > constraints.new
	grep '^#' constraints.txt | cat - constraints.new > constraints.tmp
	mv constraints.tmp constraints.txt && rm constraints.new

clean: ## remove artifacts/ (every run and model of the default store) and the caches
	rm -rf artifacts .pytest_cache .mypy_cache .ruff_cache
