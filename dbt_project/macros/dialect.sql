{# What DuckDB and Spark say differently, and nothing else: `duckdb__` is the text the warehouse has always run, `spark__` its equal.
   A model names the macro, so that it is one text on both engines. What both understand (filter, qualify, group by all, max_by, intervals,
   lateral aliases, try_cast) stays plain SQL. #}

{# Type of a moment: a time with its zone, which Spark calls a timestamp. #}
{% macro moment_type() -%}{{ return(adapter.dispatch('moment_type', 'aftercast')()) }}{%- endmacro %}
{% macro duckdb__moment_type() -%}timestamptz{%- endmacro %}
{% macro spark__moment_type() -%}timestamp{%- endmacro %}

{# Microseconds since 1970 of a moment, and back. #}
{% macro microseconds_of(moment) -%}{{ return(adapter.dispatch('microseconds_of', 'aftercast')(moment)) }}{%- endmacro %}
{% macro duckdb__microseconds_of(moment) -%}epoch_us({{ moment }}){%- endmacro %}
{% macro spark__microseconds_of(moment) -%}unix_micros({{ moment }}){%- endmacro %}

{% macro moment_of(microseconds) -%}{{ return(adapter.dispatch('moment_of', 'aftercast')(microseconds)) }}{%- endmacro %}
{% macro duckdb__moment_of(microseconds) -%}make_timestamptz({{ microseconds }}){%- endmacro %}
{% macro spark__moment_of(microseconds) -%}timestamp_micros({{ microseconds }}){%- endmacro %}

{# A span of so many minutes. #}
{% macro minutes(n) -%}{{ return(adapter.dispatch('minutes', 'aftercast')(n)) }}{%- endmacro %}
{% macro duckdb__minutes(n) -%}to_minutes({{ n }}){%- endmacro %}
{% macro spark__minutes(n) -%}make_dt_interval(0, 0, cast({{ n }} as int), 0){%- endmacro %}

{# The hour and minute of a moment, and its ISO week, as text. #}
{% macro hour_and_minute(moment) -%}{{ return(adapter.dispatch('hour_and_minute', 'aftercast')(moment)) }}{%- endmacro %}
{% macro duckdb__hour_and_minute(moment) -%}strftime({{ moment }}, '%H:%M'){%- endmacro %}
{% macro spark__hour_and_minute(moment) -%}date_format({{ moment }}, 'HH:mm'){%- endmacro %}

{% macro iso_week(moment) -%}{{ return(adapter.dispatch('iso_week', 'aftercast')(moment)) }}{%- endmacro %}
{% macro duckdb__iso_week(moment) -%}strftime({{ moment }}, '%G-W%V'){%- endmacro %}
{% macro spark__iso_week(moment) -%}
concat(extract(yearofweek from {{ moment }}), '-W', lpad(cast(extract(week from {{ moment }}) as string), 2, '0'))
{%- endmacro %}

{# A moment as DuckDB writes it, for keys: `2026-09-01 00:00:00+00`. #}
{% macro text_of_moment(moment) -%}{{ return(adapter.dispatch('text_of_moment', 'aftercast')(moment)) }}{%- endmacro %}
{% macro duckdb__text_of_moment(moment) -%}{{ moment }}{%- endmacro %}
{% macro spark__text_of_moment(moment) -%}concat(cast({{ moment }} as string), '+00'){%- endmacro %}

{# A whole number with its thousands set apart. #}
{% macro grouped_digits(n) -%}{{ return(adapter.dispatch('grouped_digits', 'aftercast')(n)) }}{%- endmacro %}
{% macro duckdb__grouped_digits(n) -%}format('{:,}', {{ n }}){%- endmacro %}
{% macro spark__grouped_digits(n) -%}format_number({{ n }}, 0){%- endmacro %}

{# A list of expressions, its length, whether it holds a value, one element (the first is 1), its text, several lists joined to one. #}
{% macro list_of(items) -%}{{ return(adapter.dispatch('list_of', 'aftercast')(items)) }}{%- endmacro %}
{% macro duckdb__list_of(items) -%}[{{ items | join(', ') }}]{%- endmacro %}
{% macro spark__list_of(items) -%}array({{ items | join(', ') }}){%- endmacro %}

{% macro length_of(list) -%}{{ return(adapter.dispatch('length_of', 'aftercast')(list)) }}{%- endmacro %}
{% macro duckdb__length_of(list) -%}len({{ list }}){%- endmacro %}
{% macro spark__length_of(list) -%}cast(array_size({{ list }}) as bigint){%- endmacro %}

{% macro holds(list, value) -%}{{ return(adapter.dispatch('holds', 'aftercast')(list, value)) }}{%- endmacro %}
{% macro duckdb__holds(list, value) -%}list_contains({{ list }}, {{ value }}){%- endmacro %}
{% macro spark__holds(list, value) -%}array_contains({{ list }}, {{ value }}){%- endmacro %}

{% macro element(list, position) -%}{{ return(adapter.dispatch('element', 'aftercast')(list, position)) }}{%- endmacro %}
{% macro duckdb__element(list, position) -%}{{ list }}[{{ position }}]{%- endmacro %}
{% macro spark__element(list, position) -%}try_element_at({{ list }}, {{ position }}){%- endmacro %}

{% macro text_of_list(list, separator) -%}{{ return(adapter.dispatch('text_of_list', 'aftercast')(list, separator)) }}{%- endmacro %}
{% macro duckdb__text_of_list(list, separator) -%}array_to_string({{ list }}, '{{ separator }}'){%- endmacro %}
{% macro spark__text_of_list(list, separator) -%}array_join({{ list }}, '{{ separator }}'){%- endmacro %}

{% macro joined_lists(lists) -%}{{ return(adapter.dispatch('joined_lists', 'aftercast')(lists)) }}{%- endmacro %}
{% macro duckdb__joined_lists(lists) -%}list_concat({{ lists | join(', ') }}){%- endmacro %}
{% macro spark__joined_lists(lists) -%}
concat({% for list in lists %}coalesce({{ list }}, cast(array() as array<string>)){{ ', ' if not loop.last }}{% endfor %})
{%- endmacro %}

{% macro split(text, separator) -%}{{ return(adapter.dispatch('split', 'aftercast')(text, separator)) }}{%- endmacro %}
{% macro duckdb__split(text, separator) -%}string_split({{ text }}, '{{ separator }}'){%- endmacro %}
{% macro spark__split(text, separator) -%}split({{ text }}, '{{ separator }}'){%- endmacro %}

{# One row per element of a list; the position of each (the first is 1) as a second column. #}
{% macro each_of(list) -%}{{ return(adapter.dispatch('each_of', 'aftercast')(list)) }}{%- endmacro %}
{% macro duckdb__each_of(list) -%}unnest({{ list }}){%- endmacro %}
{% macro spark__each_of(list) -%}explode({{ list }}){%- endmacro %}

{% macro each_with_position(list, name, position) -%}
{{ return(adapter.dispatch('each_with_position', 'aftercast')(list, name, position)) }}
{%- endmacro %}
{% macro duckdb__each_with_position(list, name, position) -%}
unnest({{ list }}) as {{ name }}, generate_subscripts({{ list }}, 1) as {{ position }}
{%- endmacro %}
{% macro spark__each_with_position(list, name, position) -%}
inline(transform({{ list }}, (x, i) -> struct(x as {{ name }}, cast(i + 1 as bigint) as {{ position }})))
{%- endmacro %}

{% macro cross_join_each(list, relation, name) -%}
{{ return(adapter.dispatch('cross_join_each', 'aftercast')(list, relation, name)) }}
{%- endmacro %}
{% macro duckdb__cross_join_each(list, relation, name) -%}cross join unnest({{ list }}) as {{ relation }} ({{ name }}){%- endmacro %}
{% macro spark__cross_join_each(list, relation, name) -%}cross join lateral explode({{ list }}) as {{ relation }} ({{ name }}){%- endmacro %}

{# One row per whole number from the first up to, but without, the last. #}
{% macro each_number(first, last) -%}{{ return(adapter.dispatch('each_number', 'aftercast')(first, last)) }}{%- endmacro %}
{% macro duckdb__each_number(first, last) -%}unnest(range({{ first }}, {{ last }})){%- endmacro %}
{% macro spark__each_number(first, last) -%}
explode(case when {{ last }} > {{ first }} then sequence(cast({{ first }} as bigint), cast({{ last }} - 1 as bigint)) end)
{%- endmacro %}

{# One row per step from the first moment or day to the last, both included. #}
{% macro each_step(first, last, step) -%}{{ return(adapter.dispatch('each_step', 'aftercast')(first, last, step)) }}{%- endmacro %}
{% macro duckdb__each_step(first, last, step) -%}unnest(generate_series({{ first }}, {{ last }}, {{ step }})){%- endmacro %}
{% macro spark__each_step(first, last, step) -%}explode(sequence({{ first }}, {{ last }}, {{ step }})){%- endmacro %}

{# One row per key and value of a JSON object of whole numbers; none where the text is no such object. #}
{% macro each_entry(text) -%}{{ return(adapter.dispatch('each_entry', 'aftercast')(text)) }}{%- endmacro %}
{% macro duckdb__each_entry(text) -%}unnest(map_entries(try_cast(try_cast({{ text }} as json) as map (varchar, bigint)))){%- endmacro %}
{% macro spark__each_entry(text) -%}explode(map_entries(from_json({{ text }}, 'map<string, bigint>'))){%- endmacro %}

{# Aggregates. `order` is a list of expressions, smallest first. #}
{% macro listed(value, order, where=none) -%}{{ return(adapter.dispatch('listed', 'aftercast')(value, order, where)) }}{%- endmacro %}
{% macro duckdb__listed(value, order, where) -%}
list({{ value }} order by {{ order | join(', ') }}){% if where %} filter (where {{ where }}){% endif %}
{%- endmacro %}
{% macro spark__listed(value, order, where) -%}
transform(
    array_sort(collect_list(struct({% for key in order %}{{ key }} as key{{ loop.index }}, {% endfor %}{{ value }} as value)){% if where %} filter (where {{ where }}){% endif %}),
    x -> x.value
)
{%- endmacro %}

{% macro listed_once(value, where=none) -%}{{ return(adapter.dispatch('listed_once', 'aftercast')(value, where)) }}{%- endmacro %}
{% macro duckdb__listed_once(value, where) -%}
list(distinct {{ value }} order by {{ value }}){% if where %} filter (where {{ where }}){% endif %}
{%- endmacro %}
{% macro spark__listed_once(value, where) -%}
nullif(array_sort(collect_set({{ value }}){% if where %} filter (where {{ where }}){% endif %}), cast(array() as array<string>))
{%- endmacro %}

{% macro text_of_all(value, separator, order) -%}
{{ return(adapter.dispatch('text_of_all', 'aftercast')(value, separator, order)) }}
{%- endmacro %}
{% macro duckdb__text_of_all(value, separator, order) -%}string_agg({{ value }}, '{{ separator }}' order by {{ order | join(', ') }}){%- endmacro %}
{% macro spark__text_of_all(value, separator, order) -%}
listagg({{ value }}, '{{ separator }}') within group (order by {{ order | join(', ') }})
{%- endmacro %}

{# The value of the row that is largest (smallest) by several columns; rows without a value do not count. #}
{% macro value_at_max(value, columns, where=none) -%}
{{ return(adapter.dispatch('value_at_max', 'aftercast')(value, columns, where)) }}
{%- endmacro %}
{% macro duckdb__value_at_max(value, columns, where) -%}
max_by({{ value }}, ({{ columns | join(', ') }})){% if where %} filter (where {{ where }}){% endif %}
{%- endmacro %}
{% macro spark__value_at_max(value, columns, where) -%}
max_by({{ value }}, struct({{ columns | join(', ') }})) filter (where {{ value }} is not null{% if where %} and {{ where }}{% endif %})
{%- endmacro %}

{% macro value_at_min(value, columns, where=none) -%}
{{ return(adapter.dispatch('value_at_min', 'aftercast')(value, columns, where)) }}
{%- endmacro %}
{% macro duckdb__value_at_min(value, columns, where) -%}
min_by({{ value }}, ({{ columns | join(', ') }})){% if where %} filter (where {{ where }}){% endif %}
{%- endmacro %}
{% macro spark__value_at_min(value, columns, where) -%}
min_by({{ value }}, struct({{ columns | join(', ') }})) filter (where {{ value }} is not null{% if where %} and {{ where }}{% endif %})
{%- endmacro %}

{# The commonest value, the first in alphabetical order of several. #}
{% macro commonest(value) -%}{{ return(adapter.dispatch('commonest', 'aftercast')(value)) }}{%- endmacro %}
{% macro duckdb__commonest(value) -%}mode({{ value }} order by {{ value }}){%- endmacro %}
{% macro spark__commonest(value) -%}mode() within group (order by {{ value }}){%- endmacro %}

{# A quantile that is one of the values, and one that lies between them. #}
{% macro quantile_among(value, share) -%}{{ return(adapter.dispatch('quantile_among', 'aftercast')(value, share)) }}{%- endmacro %}
{% macro duckdb__quantile_among(value, share) -%}quantile_disc({{ value }}, {{ share }}){%- endmacro %}
{% macro spark__quantile_among(value, share) -%}percentile_disc({{ share }}) within group (order by {{ value }}){%- endmacro %}

{% macro quantile_between(value, share) -%}{{ return(adapter.dispatch('quantile_between', 'aftercast')(value, share)) }}{%- endmacro %}
{% macro duckdb__quantile_between(value, share) -%}quantile_cont({{ value }}, {{ share }}){%- endmacro %}
{% macro spark__quantile_between(value, share) -%}percentile_cont({{ share }}) within group (order by {{ value }}){%- endmacro %}

{# Sum and mean of floats, added in a fixed order, so that a rebuild gives the same last digit. #}
{% macro sum_in_order(value, order) -%}{{ return(adapter.dispatch('sum_in_order', 'aftercast')(value, order)) }}{%- endmacro %}
{% macro duckdb__sum_in_order(value, order) -%}sum({{ value }} order by {{ order }}){%- endmacro %}
{% macro spark__sum_in_order(value, order) -%}
aggregate(array_sort(collect_list(struct({{ order }} as moment, {{ value }} as value))), cast(null as double), (total, x) -> coalesce(total + x.value, total, x.value))
{%- endmacro %}

{% macro mean_in_order(value, order) -%}{{ return(adapter.dispatch('mean_in_order', 'aftercast')(value, order)) }}{%- endmacro %}
{% macro duckdb__mean_in_order(value, order) -%}avg({{ value }} order by {{ order }}){%- endmacro %}
{% macro spark__mean_in_order(value, order) -%}
{{ spark__sum_in_order(value, order) }} / nullif(count({{ value }}), 0)
{%- endmacro %}

{# Logarithm of the gamma function. Spark has none: Stirling's series seven steps up, exact to twelve digits for arguments from 1. #}
{% macro log_gamma(x) -%}{{ return(adapter.dispatch('log_gamma', 'aftercast')(x)) }}{%- endmacro %}
{% macro duckdb__log_gamma(x) -%}lgamma({{ x }}){%- endmacro %}
{% macro spark__log_gamma(x) -%}
{%- set y = '(cast(' ~ x ~ ' as double) + 7)' -%}
(
    ({{ y }} - 0.5e0) * ln({{ y }}) - {{ y }} + 0.91893853320467274178e0
    + 1e0 / (12 * {{ y }}) - 1e0 / (360 * power({{ y }}, 3)) + 1e0 / (1260 * power({{ y }}, 5))
    - ln({% for step in range(1, 8) %}({{ y }} - {{ step }}){{ ' * ' if not loop.last }}{% endfor %})
)
{%- endmacro %}

{# Every column but some. #}
{% macro all_but(columns) -%}{{ return(adapter.dispatch('all_but', 'aftercast')(columns)) }}{%- endmacro %}
{% macro duckdb__all_but(columns) -%}* exclude ({{ columns | join(', ') }}){%- endmacro %}
{% macro spark__all_but(columns) -%}* except ({{ columns | join(', ') }}){%- endmacro %}
