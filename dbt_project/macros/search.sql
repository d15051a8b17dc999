{# The words of a text, in lower case and without accents, repeated as often as they stand there. #}
{% macro words_of(text) -%}
regexp_extract_all(lower(strip_accents({{ text }})), '[\p{L}\p{N}]+')
{%- endmacro %}
