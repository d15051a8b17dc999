-- One row per document and stem in it: what the stem says about the document, by BM25 over weighted fields.
{{ config(tags=['duckdb_only']) }} -- it reads mart_search_words
{% set fields = {'title': 3, 'words': 2, 'text': 1} %}
with occurrences as (
    {% for field, weight in fields.items() -%}
    select
        document_id,
        unnest({{ words_of(field) }}) as word,
        cast({{ weight }} as double) as weight
    from {{ ref('mart_search_documents') }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

counted as (
    select
        occurrences.document_id,
        words.stem,
        sum(occurrences.weight) as frequency
    from occurrences
    inner join {{ ref('mart_search_words') }} as words
        on occurrences.word = words.word
    group by all
),

measured as (
    select
        *,
        sum(frequency) over (partition by document_id) as length,
        count(*) over (partition by stem) as documents_n
    from counted
),

means as (
    select avg(length) as length
    from (select distinct document_id, length from measured) as documents
),

documents as (
    select count(*) as n
    from {{ ref('mart_search_documents') }}
)

select
    measured.stem,
    measured.document_id,
    ln(1 + (documents.n - measured.documents_n + 0.5) / (measured.documents_n + 0.5))
    * measured.frequency * 2.2 / (measured.frequency + 1.2 * (0.25 + 0.75 * measured.length / means.length)) as weight
from measured
cross join means
cross join documents
