# The image of every component: the locked environment with the extra `distributed`, DAGs, models and configuration. State is a volume, /state.
FROM python:3.11.9-slim-bookworm

# Pango prints reports as PDF; git is what code_version asks when there is a checkout, and is not needed here.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --gid 0 --create-home airflow \
    && mkdir -p /state/airflow /state/aftercast && chown -R airflow:0 /state && chmod -R g+rwX /state
RUN pip install --no-cache-dir uv==0.13.8

WORKDIR /aftercast
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY plugins plugins
RUN UV_PROJECT_ENVIRONMENT=/aftercast/.venv uv sync --frozen --no-cache --no-dev --extra distributed
COPY dags dags
COPY dbt_project dbt_project
COPY expectations expectations
COPY config config
RUN chown -R airflow:0 /aftercast/dbt_project

USER airflow
ENV PATH=/aftercast/.venv/bin:$PATH \
    AFTERCAST_HOME=/state/aftercast \
    AFTERCAST_CONFIG=/aftercast/config \
    AIRFLOW_HOME=/state/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/aftercast/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/aftercast/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__CORE__EXECUTOR=CeleryExecutor \
    AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT=60 \
    AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER=1 \
    DO_NOT_TRACK=1 \
    DBT_SEND_ANONYMOUS_USAGE_STATS=False \
    GX_ANALYTICS_ENABLED=False \
    OMP_NUM_THREADS=1 \
    PYTHONUNBUFFERED=1
CMD ["airflow", "version"]
