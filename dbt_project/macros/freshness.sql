{# Freshness is measured against the as-of time of the refresh, not the clock: a replayed month is not "late". #}
{% macro duckdb__collect_freshness_custom_sql(source, loaded_at_query) %}
    {% call statement('collect_freshness_custom_sql', fetch_result=True, auto_begin=False) -%}
        select
            ({{ loaded_at_query }}) as max_loaded_at,
            (select max(as_of) from {{ builtins.source('declared', 'run') }}) as snapshotted_at
    {% endcall %}
    {{ return(load_result('collect_freshness_custom_sql')) }}
{% endmacro %}
