{# A schema is named as configured, without the target's name in front: `star`, not `main_star`. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
