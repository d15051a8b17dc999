{# A surrogate key is a hash of the business key, never of a time of loading. Absent parts count as empty text. #}
{% macro surrogate_key(columns) -%}
md5(concat_ws('|'{% for column in columns %}, coalesce(cast({{ column }} as string), ''){% endfor %}))
{%- endmacro %}

{# Keeps the newest version of each key; `source` and `source_id` break ties, so that the order of files never decides. #}
{% macro latest_version(key, newest_first) -%}
qualify row_number() over (
    partition by {{ key | join(', ') }}
    order by {% for column in newest_first %}{{ column }} desc nulls last, {% endfor %}source asc, source_id asc
) = 1
{%- endmacro %}

{# Text of a customer segment: its non-empty parts in a fixed order, `all` when there is none. #}
{% macro segment_label(region='region', tier='tier', plan='plan', country='country') -%}
coalesce(nullif(concat_ws(
    ',',
    {% for name, column in [('region', region), ('tier', tier), ('plan', plan), ('country', country)] -%}
    case when {{ column }} <> '' then '{{ name }}=' || {{ column }} end{{ ',' if not loop.last }}
    {% endfor %}
), ''), 'all')
{%- endmacro %}
