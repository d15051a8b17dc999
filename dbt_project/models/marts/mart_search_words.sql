-- One row per word that stands in a document: the stem it is found by.
{{ config(tags=['duckdb_only']) }} -- stems come from a Python function that the DuckDB adapter loads
with words as (
    select
        document_id,
        unnest({{ words_of("concat_ws(' ', title, text, words)") }}) as word
    from {{ ref('mart_search_documents') }}
)

select
    word,
    stem_of(word) as stem,
    count(distinct document_id) as documents_n
from words
group by word
