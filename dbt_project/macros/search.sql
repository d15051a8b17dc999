{# The words of a text, in lower case and without accents, repeated as often as they stand there. Tokens of persons are no words. #}
{% macro words_of(text) -%}
regexp_extract_all(lower(strip_accents(regexp_replace({{ text }}, 'tok_[0-9a-f]{16}', ' ', 'g'))), '[\p{L}\p{N}]+')
{%- endmacro %}
