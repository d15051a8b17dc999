{# Spark reads a source through an external table of the same name; DuckDB reads its files directly (`external_location`).
   `dbt run-operation declare_sources` makes these tables anew, so that a column that came later is seen. It does nothing on DuckDB. #}
{% macro declare_sources() -%}{{ return(adapter.dispatch('declare_sources', 'aftercast')()) }}{%- endmacro %}

{% macro duckdb__declare_sources() -%}{%- endmacro %}

{% macro spark__declare_sources() -%}
{%- set folders = {
    'landing': env_var('AFTERCAST_LANDING', 'landing'),
    'derived': env_var('AFTERCAST_DERIVED', 'derived'),
    'declared': env_var('AFTERCAST_DECLARED', 'declared'),
} -%}
{%- for schema in folders -%}
    {%- do run_query('create schema if not exists ' ~ schema) -%}
{%- endfor -%}
{%- for source in graph.sources.values() -%}
    {%- set name = source.schema ~ '.' ~ source.name -%}
    {%- do run_query('drop table if exists ' ~ name) -%}
    {%- do run_query(
        'create table ' ~ name ~ " using parquet options (path '" ~ folders[source.schema] ~ '/' ~ source.name
        ~ "', recursiveFileLookup 'true', pathGlobFilter '*.parquet', mergeSchema 'true')"
    ) -%}
{%- endfor -%}
{%- endmacro %}
