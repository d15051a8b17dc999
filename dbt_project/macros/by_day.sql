{#
A table kept day by day: only the days whose landed files, configuration or code changed are computed again, each batch of days in one
transaction. The declared table `landed_days` says what the rows of a day are a function of; `<table>__days` remembers for which of it they
were computed. So a rebuild and an increment are the same, days that went away go, a kill leaves whole days, and memory is that of a batch.

A model says which entity's days it follows (`days_of`), which column of its rows tells the day (`day_column`), and where its query reads
less: `of_days('column')`, true wherever the query runs without this materialization, a unit test for example.
#}
{% macro of_days(column) -%}
({{ column }} is not null /* of days */)
{%- endmacro %}

{% macro between_days(column, days) -%}
({{ column }} >= timestamptz '{{ days | first }} 00:00:00+00' and {{ column }} < timestamptz '{{ days | last }} 00:00:00+00' + interval 1 day
and ({% for day in days %}({{ column }} >= timestamptz '{{ day }} 00:00:00+00' and {{ column }} < timestamptz '{{ day }} 00:00:00+00' + interval 1 day)
{%- if not loop.last %} or {% endif %}{% endfor %}))
{%- endmacro %}

{% materialization by_day, adapter='duckdb' %}
  {%- set target_table = this.incorporate(type='table') -%}
  {%- set known = this.incorporate(path={'identifier': this.identifier ~ '__days'}, type='table') -%}
  {%- set existing = load_cached_relation(this) -%}
  {%- set source_column, day_column = config.require('source_column'), config.require('day_column') -%}
  {%- set landed -%}
    select day, n_rows, fingerprint from {{ source('declared', 'landed_days') }} where entity = '{{ config.require("days_of") }}'
  {%- endset -%}
  {%- set made_by = local_md5(sql) -%}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {%- set stale = existing is not none -%}
  {%- if stale and existing.is_table and not should_full_refresh() and load_cached_relation(known) is not none -%}
    {#- A table of another shape has no day that still holds. -#}
    {%- set holding -%}
      select count(*) from {{ known }} as known inner join ({{ landed }}) as landed on known.day = landed.day and known.fingerprint = landed.fingerprint
      where known.made_by = '{{ made_by }}'
    {%- endset -%}
    {%- set stale = run_query(holding).columns[0].values()[0] == 0 -%}
  {%- endif -%}
  {%- call statement('main') -%}
    {% if stale %}
    {{ 'drop view' if existing.is_view else 'drop table' }} if exists {{ this }} cascade;
    drop table if exists {{ known }};
    {% endif %}
    create table if not exists {{ known }} (day varchar, fingerprint varchar, made_by varchar);
    create table if not exists {{ target_table }} as
    select * from ({{ sql | replace('is not null /* of days */', 'is null') }}) as empty limit 0;
  {%- endcall -%}
  {%- do adapter.commit() -%}

  {%- set changes -%}
    select coalesce(landed.day, known.day) as day, coalesce(landed.n_rows, 0) as n_rows, landed.fingerprint
    from ({{ landed }}) as landed
    full outer join {{ known }} as known on landed.day = known.day
    where landed.fingerprint is distinct from known.fingerprint or known.made_by is distinct from '{{ made_by }}'
    order by 1
  {%- endset -%}
  {%- set changed = run_query(changes).rows -%}
  {%- set batches, batch, size = [], [], namespace(rows=0) -%}
  {%- for day in changed -%}
    {%- if batch and size.rows + day[1] > config.get('rows_per_batch', 1000000) -%}
      {%- do batches.append(batch | list) -%}{%- do batch.clear() -%}{%- set size.rows = 0 -%}
    {%- endif -%}
    {%- do batch.append(day) -%}{%- set size.rows = size.rows + day[1] -%}
  {%- endfor -%}
  {%- if batch -%}{%- do batches.append(batch) -%}{%- endif -%}

  {%- for batch in batches -%}
    {%- set days = batch | map(attribute=0) | list -%}
    {%- call statement('day') -%}
      delete from {{ target_table }} where {{ between_days(day_column, days) }};
      delete from {{ known }} where day in ({% for day in days %}'{{ day }}'{{ ', ' if not loop.last }}{% endfor %});
      insert into {{ target_table }} by name
      {{ sql | replace(of_days(source_column), between_days(source_column, days)) }};
      {%- for day in batch if day[2] is not none %}
      insert into {{ known }} values ('{{ day[0] }}', '{{ day[2] }}', '{{ made_by }}');
      {%- endfor %}
    {%- endcall -%}
    {%- do adapter.commit() -%}
  {%- endfor -%}

  {% do persist_docs(target_table, model) %}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [target_table]}) }}
{% endmaterialization %}
