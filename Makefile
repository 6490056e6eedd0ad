# Headrace: everything a person does with a checkout. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PACKAGES := infra schemas lake ml stream_jobs flows serving cli tests benchmarks docs

.DEFAULT_GOAL := help
.PHONY: help demo demo-once test test-slow test-stack test-faults fuzz audit docs-site stack-up stack-down check check-containers check-kubernetes containers-env docs format lock bench-channel bench-restore bench-latency bench-m5 clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

demo: $(READY) ## Start everything, play two retailers, show the forecasts; Ctrl-C stops it
	$(BIN)/headrace demo

demo-once: $(READY) ## The same, then stop everything; exits 0 only if all of it held
	$(BIN)/headrace demo --once

test: $(READY) ## Run the tests, with a real broker, registry, Prefect server and lake
	$(BIN)/pytest -m "not slow"

test-slow: $(READY) ## Run also what takes minutes, and what needs HEADRACE_DATA
	$(BIN)/pytest

test-stack: $(READY) ## Run the tests of streams and lake on Apache Kafka and MinIO (needs Maven, a JDK and Go)
	$(BIN)/pytest -m "not slow" --on-kafka --on-minio tests/infra tests/schemas tests/stream_jobs tests/lake tests/cli/test_stack.py tests/cli/test_secured_stack.py

test-faults: $(READY) ## Kill, cut off and fill up everything on Kafka and MinIO; ROUNDS=100, SEED=1
	$(BIN)/python -m tests.faults $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED))

stack-up: $(READY) ## Start Apache Kafka and MinIO on this machine
	$(BIN)/headrace servers up

stack-down: $(READY) ## Stop them
	$(BIN)/headrace servers down

fuzz: $(READY) ## Damaged files and messages for readers and decoder; INPUTS=1000000, SEED=1
	$(BIN)/python -m tests.fuzz $(if $(INPUTS),--inputs $(INPUTS)) $(if $(SEED),--seed $(SEED))

audit: .tools/audit/.ready ## Known weaknesses of the libraries in use, by PyPI's and OSV's advisories
	.tools/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/runtime.txt

docs-site: .tools/docs/.ready ## The documents as a site, in .tools/site; a broken link stops it
	NO_MKDOCS_2_WARNING=1 .tools/docs/bin/mkdocs build --strict --quiet --site-dir .tools/site

.tools/%/.ready: requirements/%.txt
	test -x .tools/$*/bin/python || $(PYTHON) -m venv .tools/$*
	.tools/$*/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	touch $@

check: $(READY) ## Formatting, lint, types and the direction of imports
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check-containers: $(READY) ## The container deployment, without an engine (needs Go, some minutes the first time)
	$(BIN)/hadolint infra/containers/Containerfile infra/containers/minio.Containerfile
	$(BIN)/python -m infra.containers.checking

check-kubernetes: $(READY) ## The Kubernetes deployment, without a cluster (needs Go)
	$(BIN)/python -m infra.kubernetes.checking

containers-env: ## Write infra/containers/.env with fresh passwords, if it is not there
	$(PYTHON) -m infra.containers.passwords

docs: $(READY) ## Write the pages that follow from the code (map, settings, commands)
	$(BIN)/python -m docs.reference

format: $(READY) ## Format the code and mend what lint can mend
	$(BIN)/ruff format $(PACKAGES)
	$(BIN)/ruff check --fix $(PACKAGES)

.PHONY: bench bench-validate bench-validate-kafka bench-join bench-ingest bench-codec bench-scale bench-serve
bench: $(READY) ## Run the benchmarks and write their tables; NAMES="validate join" for some
	$(BIN)/python -m benchmarks.suite $(NAMES)

bench-validate: $(READY) ## Sales judged a second, beside passing through, Quix Streams, Bytewax, Faust and Pathway
	$(BIN)/python -m benchmarks.validate

bench-validate-kafka: $(READY) ## The same on Apache Kafka, Kafka Streams among them (needs Maven and a JDK)
	$(BIN)/python -m benchmarks.validate --on-kafka

bench-join: $(READY) ## Valid sales to committed Parquet, in a directory and on S3; MINIO=1 for MinIO
	$(BIN)/python -m benchmarks.join $(if $(MINIO),--minio)

bench-ingest: $(READY) ## Files of XML, CSV and JSON Lines to messages; LARGE_MB=2000 for the size of the large one
	$(BIN)/python -m benchmarks.ingest $(if $(LARGE_MB),--large-mb $(LARGE_MB))

bench-codec: $(READY) ## Messages to columns and back, beside fastavro, confluent-kafka and pyruhvro
	$(BIN)/python -m benchmarks.codec

bench-scale: $(READY) ## Processes, partitions, and the cost of a sale as the lake grows; VOLUME=100000000 for a large one
	$(BIN)/python -m benchmarks.scale $(if $(VOLUME),--volume $(VOLUME))

bench-channel: $(READY) ## M5 from files to scored forecasts; STORE=CA_1 for one, KILLS=20 for kill -9 (needs HEADRACE_DATA)
	$(BIN)/python -m benchmarks.channel $(if $(STORE),--store $(STORE)) $(if $(KILLS),--kills $(KILLS))

bench-serve: $(READY) ## Forecasts of M5's shape by HTTP: single series by wrk, the whole run, memory (needs wrk)
	$(BIN)/python -m benchmarks.serve

bench-restore: $(READY) ## A killed validate with a million products: from a snapshot, and from the topics
	$(BIN)/python -m benchmarks.restore

bench-latency: $(READY) ## From a sale to its verdict and to the lake, at 100 to 10,000 a second; KAFKA=1 for Apache Kafka
	$(BIN)/python -m benchmarks.latency $(if $(KAFKA),--on-kafka)

bench-m5: $(READY) ## Accuracy of the models on M5; OPTIONS='--stores 1 --windows 1914' for a part (needs HEADRACE_DATA)
	$(BIN)/python -m benchmarks.m5_accuracy $(OPTIONS)

lock: $(READY) ## Resolve the dependencies of pyproject.toml anew into requirements/
	$(BIN)/uv pip compile $(LOCK) --upgrade pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile $(LOCK) --group dev -c requirements/runtime.txt pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile $(LOCK) --group docs -c requirements/dev.txt -o requirements/docs.txt
	$(BIN)/uv pip compile $(LOCK) --group audit -c requirements/dev.txt -o requirements/audit.txt
	$(BIN)/uv pip compile $(LOCK) --group build -c requirements/dev.txt -o requirements/build.txt

LOCK := -q --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

clean: ## Remove what was built; .headrace, which holds the demo's data, stays
	rm -rf .venv .tools dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Headrace needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; set PYTHON=") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)
