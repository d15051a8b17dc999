{# The start of the bucket a time falls into. Arithmetic on microseconds: several times cheaper than calendar functions. #}
{% macro bucket(time_column, minutes) -%}
{{ moment_of('cast(floor(' ~ microseconds_of(time_column) ~ ' / (6e7 * ' ~ minutes ~ ')) as bigint) * 60000000 * ' ~ minutes) }}
{%- endmacro %}

{# Minutes from one time to another; null when either is unknown. #}
{% macro minutes_between(earlier, later) -%}
({{ microseconds_of(later) }} - {{ microseconds_of(earlier) }}) / 6e7
{%- endmacro %}

{# Minor units (cents) to major units. #}
{% macro major_units(minor_units) -%}
cast({{ minor_units }} / 100.0 as decimal(18, 2))
{%- endmacro %}

{% macro money(amount) -%}
cast({{ amount }} as decimal(18, 2))
{%- endmacro %}

{% macro ratio(numerator, denominator) -%}
cast({{ numerator }} as double) / nullif({{ denominator }}, 0)
{%- endmacro %}

{# One end of the Wilson score interval (95 %) of k of n, six decimals. Null when n is zero. #}
{% macro wilson(k, n, end) -%}
{%- set z = 1.959964 -%}
round((
    ({{ k }} + {{ z * z / 2 }}) {{ '-' if end == 'low' else '+' }} {{ z }} * sqrt(
        greatest({{ k }} * ({{ n }} - {{ k }}), 0) / nullif(cast({{ n }} as double), 0) + {{ z * z / 4 }}
    )
) / nullif({{ n }} + {{ z * z }}, {{ z * z }}), 6)
{%- endmacro %}

{# Logarithm of the binomial probability of k of n at a chance p strictly between 0 and 1. #}
{% macro log_binomial(n, k, p) -%}
({{ log_gamma(n ~ ' + 1') }} - {{ log_gamma(k ~ ' + 1') }} - {{ log_gamma(n ~ ' - ' ~ k ~ ' + 1') }} + {{ k }} * ln({{ p }}) + ({{ n }} - {{ k }}) * ln(1 - {{ p }}))
{%- endmacro %}

{# A share as people read it: whole percent. #}
{% macro percent(share) -%}
cast(round(100 * {{ share }}) as integer) || ' %'
{%- endmacro %}
