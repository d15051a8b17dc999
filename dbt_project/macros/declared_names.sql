{# Aliases: another name of a service, an environment or a region is replaced where someone declared it; nothing is merged without such a row. #}
{% macro declared_name_joins(relation, kinds) -%}
{% for kind in kinds %}
left join {{ ref('stg_aliases') }} as {{ kind }}_names
    on {{ kind }}_names.kind = '{{ kind }}' and {{ relation }}.{{ kind }} = {{ kind }}_names.alias
{% endfor %}
{%- endmacro %}

{% macro declared_name(relation, kind) -%}
{%- if kind == 'environment' -%}
coalesce(environment_names.name, nullif({{ relation }}.environment, ''), 'production')
{%- elif kind == 'region' -%}
coalesce(region_names.name, {{ relation }}.region, '')
{%- else -%}
coalesce({{ kind }}_names.name, {{ relation }}.{{ kind }})
{%- endif -%}
{%- endmacro %}
