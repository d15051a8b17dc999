{# A proportion stays a proportion. Nulls pass: unknown is not out of range. #}
{% test within_range(model, column_name, low=0, high=1) %}
select {{ column_name }}
from {{ model }}
where {{ column_name }} < {{ low }} or {{ column_name }} > {{ high }}
{% endtest %}
