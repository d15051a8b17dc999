# Two commands matter: `make run` and `make test`. Both set everything up by themselves, below this folder.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.8
UV := .tools/uv/bin/uv
export UV_PYTHON = $(PYTHON)
export UV_PYTHON_DOWNLOADS = never
export UV_PROJECT_ENVIRONMENT = .venv
REAL ?= ../shared/real

.PHONY: help setup run up bi spark test check audit bench demo catalogue docs clean
help: ## show the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t12

$(UV):
	@"$(PYTHON)" -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "Aftercast needs Python 3.11, found " + sys.version.split()[0] + " (make PYTHON=/path/to/python3.11)")'
	@echo "• installing uv $(UV_VERSION) into .tools"
	@"$(PYTHON)" -m pip install --quiet --disable-pip-version-check --target .tools/uv "uv==$(UV_VERSION)"

.venv/.ready: pyproject.toml uv.lock | $(UV)
	@echo "• installing the locked environment into .venv"
	@$(UV) sync --frozen --quiet
	@touch $@

setup: .venv/.ready ## install the locked environment into .venv

run: .venv/.ready ## run the pipeline on the demo company (or EXAMPLE=petshop|shop DATA=<folder>)
	@.venv/bin/aftercast run $(if $(EXAMPLE),--example $(EXAMPLE)) $(if $(DATA),--data $(DATA)) $(if $(FROM),--from $(FROM)) $(if $(TO),--to $(TO))

up: .venv/.ready ## start Airflow with its UI, DAGs on their schedules
	@.venv/bin/aftercast up

.venv-bi/.ready: bi/requirements.lock | $(UV)
	@echo "• installing Superset into .venv-bi (700 MB)"
	@$(UV) venv --quiet --clear .venv-bi
	@$(UV) pip install --quiet --python .venv-bi/bin/python -r bi/requirements.lock
	@touch $@

bi: .venv/.ready .venv-bi/.ready ## start Superset with dashboards over the published mart
	@.venv/bin/python bi/start.py

.venv-spark/.ready: spark/requirements.lock | $(UV)
	@echo "• installing Spark into .venv-spark (560 MB)"
	@$(UV) venv --quiet --clear .venv-spark
	@$(UV) pip install --quiet --python .venv-spark/bin/python -r $<
	@cp $< $@

spark: .venv/.ready .venv-spark/.ready ## build the same tables on Spark and compare them (needs Java 17)
	@.venv-spark/bin/python spark/build.py --home $${AFTERCAST_HOME:-var}
	@.venv/bin/python spark/publish.py --home $${AFTERCAST_HOME:-var}

demo: .venv/.ready ## the five questions, answered from the published mart
	@.venv/bin/aftercast demo

test: .venv/.ready ## set up and pass all tests
	@.venv/bin/pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/.ready ## style, types, import laws, SQL, known vulnerabilities
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/sqlfluff lint --processes 2 dbt_project/models dbt_project/tests
	@.venv/bin/python security/audit.py

audit: .venv/.ready ## known vulnerabilities of locked packages (DATABASE=all.zip offline); fails when it cannot check
	@.venv/bin/python security/audit.py --required $(if $(DATABASE),--database $(DATABASE))

bench: .venv/.ready ## every benchmark beside its peers, written to docs/benchmarks.md
	@$(UV) sync --frozen --quiet --group bench
	@.venv/bin/python -m benchmarks --real $(REAL)

catalogue: .venv/.ready ## every table and column with its lineage, as one page
	@.venv/bin/aftercast catalogue

docs: .venv/.ready ## write the generated pages and figures again
	@.venv/bin/python docs/generate.py
	@.venv/bin/python docs/draw_detection.py

clean: ## remove the environment and all state below var/
	rm -rf .venv .venv-bi .venv-lineage .venv-narrative .venv-spark .tools var dbt_project/target dbt_project/logs
