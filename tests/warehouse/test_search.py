"""Search: one ranked index over what was published, the same from SQL and from Python; words are found by stem, beginning or near miss."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import pytest
import snowballstemmer

from aftercast import cli, publishing, searching, warehouse
from aftercast.errors import ConfigError, WarehouseError
from aftercast.page import incidents
from aftercast.page import searching as page_searching
from aftercast.page.reading import opened
from aftercast.settings import Settings
from tests.warehouse.conftest import Query


@pytest.fixture(scope="module")
def mart(company: Settings) -> Path:
    publishing.publish(company, version="search")
    return company.mart


def ids(mart: Path, asked: str, **filters: object) -> list[str]:
    return [f"{hit.kind}:{hit.entity_id}" for hit in searching.search(mart, asked, size=50, **filters).hits]  # type: ignore[arg-type]


def test_every_kind_can_be_found_by_its_id_and_comes_first(mart: Path, ask: Query):
    documents = ask("select kind, entity_id from marts.mart_search_documents").rows()
    assert {kind for kind, _ in documents} == set(searching.KINDS)
    for kind, entity in documents:
        assert f"{kind}:{entity}" in ids(mart, entity)[:3], (kind, entity)


def test_a_word_is_found_by_its_stem_its_beginning_and_one_slip_away(mart: Path):
    wanted = "runbook:restart-payments"
    assert wanted in ids(mart, "worker")  # the text says workers
    assert wanted in ids(mart, "restarting")
    assert wanted in ids(mart, "restar")
    assert wanted in ids(mart, "workres") or wanted in ids(mart, "wrkers")
    assert wanted not in ids(mart, "zebra")


def test_what_holds_more_of_the_words_comes_first(mart: Path):
    found = searching.search(mart, "restart workers queue", size=50).hits
    assert found[0].entity_id == "restart-payments"
    assert [hit.matched for hit in found] == sorted((hit.matched for hit in found), reverse=True)
    assert [hit.position for hit in found] == list(range(1, len(found) + 1))


def test_words_may_come_in_any_order_case_and_twice(mart: Path):
    assert ids(mart, "payments checkout") == ids(mart, "Checkout, PAYMENTS payments!")


def test_pages_hold_everything_once(mart: Path):
    whole = searching.search(mart, "payments", size=100)
    pages = [searching.search(mart, "payments", page=page, size=3) for page in range(1, whole.pages * 40)][: -(-whole.total // 3)]
    assert [hit for page in pages for hit in page.hits] == list(whole.hits)
    assert {page.total for page in pages} == {whole.total}
    beyond = searching.search(mart, "payments", page=99, size=3)
    assert (beyond.hits, beyond.total) == ((), whole.total)


def test_filters_leave_out_and_do_not_rank_anew(mart: Path):
    everything = ids(mart, "payments")
    incidents = ids(mart, "payments", kinds=["incident"])
    assert incidents == [one for one in everything if one.startswith("incident:")]
    served = searching.search(mart, "payments", service="payments", size=50).hits
    assert served
    assert {hit.service for hit in served} == {"payments"}
    family = next(hit.family_id for hit in searching.search(mart, "payments", kinds=["incident"], size=50).hits if hit.family_id)
    assert {hit.family_id for hit in searching.search(mart, "payments", family=family, size=50).hits} == {family}


def test_sql_ranks_as_python_does(mart: Path):
    rows = warehouse.query(mart, "select kind || ':' || entity_id as id from marts.search('checkout payments') order by position limit 50")
    assert rows["id"].to_list() == ids(mart, "checkout payments")


def test_weights_are_bm25_over_weighted_fields(ask: Query):
    """Worked again from the documents, by the formula of Robertson and Zaragoza (2009) with Lucene's idf."""
    stem = snowballstemmer.stemmer("english").stemWord
    bags: dict[str, Counter[str]] = {}
    for identity, title, text, words in ask("select document_id, title, text, words from marts.mart_search_documents").rows():
        bag: Counter[str] = Counter()
        for field, weight in ((title, 3), (words, 2), (text, 1)):
            for word in re.findall(r"[^\W_]+", field.lower()):
                bag[stem(word) if word.isalpha() and word.isascii() else word] += weight
        bags[identity] = bag
    mean = sum(bag.total() for bag in bags.values()) / len(bags)
    holders = Counter(term for bag in bags.values() for term in bag)
    expected = {
        (term, identity): math.log(1 + (len(bags) - holders[term] + 0.5) / (holders[term] + 0.5))
        * (2.2 * n / (n + 1.2 * (0.25 + 0.75 * bag.total() / mean)))
        for identity, bag in bags.items()
        for term, n in bag.items()
    }
    found = {
        (term, identity): weight for term, identity, weight in ask("select stem, document_id, weight from marts.mart_search_terms").rows()
    }
    assert found.keys() == expected.keys()
    assert all(math.isclose(found[key], expected[key], rel_tol=1e-9) for key in expected)


def test_importance_lies_between_nothing_and_one(ask: Query):
    low, high, other = ask(
        "select min(importance), max(importance), count(distinct importance) filter (incident_id is null) from marts.mart_search_documents"
    ).row(0)
    assert 0 <= low < high <= 1
    assert other == 1


@pytest.mark.parametrize("asked", ["", "  ", "!?", "__", "'; drop table marts.mart_run; --'"])
def test_signs_are_no_words_and_quotes_do_no_harm(mart: Path, asked: str):
    if "drop" in asked:
        assert isinstance(ids(mart, asked), list)
        assert warehouse.query(mart, "select count(*) from marts.mart_run").item() == 1
    else:
        with pytest.raises(ConfigError, match="give one word or more"):
            searching.search(mart, asked)


def test_a_kind_that_is_none_and_a_mart_without_an_index_say_so(mart: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="'tickets' is not searched; kinds are incident, postmortem"):
        searching.search(mart, "payments", kinds=["tickets"])
    with pytest.raises(ConfigError, match="both begin at 1"):
        searching.search(mart, "payments", page=0)
    with pytest.raises(WarehouseError, match="does not exist yet; `aftercast run` builds it"):
        searching.search(tmp_path / "none.duckdb", "payments")
    old = tmp_path / "old.duckdb"
    with warehouse.connect(old, read_only=False) as connection:
        warehouse.execute(connection, "create schema marts")
    with pytest.raises(WarehouseError, match="published by a version that had no search; `aftercast run` publishes it anew"):
        searching.search(old, "payments")


def test_the_page_finds_incidents_by_what_belongs_to_them_and_other_documents_beside(mart: Path):
    with opened(mart) as one:
        by_words = page_searching.search(one, "restart workers")
        assert by_words is not None
        assert [row["entity_id"] for row in by_words.beside] == ["restart-payments"]
        incident = one.rows("select incident_id, title from mart_incidents order by incident_id")[0]
        by_title = page_searching.search(one, incident["title"])
        assert by_title is not None
        assert incident["incident_id"] in by_title.incidents
        assert page_searching.search(one, "  ") is None
        nothing = page_searching.search(one, "zebra !?")
        assert nothing is not None
        assert (nothing.incidents, nothing.beside) == ([], [])
        shown = incidents.listed(one, incidents.Asked(q="restart workers"))
        assert [row["kind"] for row in shown["beside"]] == ["runbook"]


def test_an_excerpt_shows_where_the_words_stand():
    text = f"{'Nothing of interest here. ' * 20}Then the queue of payments stalled and workers waited. {'More of nothing. ' * 20}"
    found = searching.excerpt(text, "queues stalling")
    assert "queue of payments stalled" in found
    assert found.startswith("… ")
    assert found.endswith(" …")
    assert len(found) <= searching.EXCERPT + 4
    assert searching.excerpt(text, "zebra").startswith("Nothing of interest")
    assert searching.excerpt("Short.", "queue") == "Short."


def test_the_command_line_shows_a_page_and_how_many_there_are(
    mart: Path, company: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("AFTERCAST_HOME", str(company.home))
    cli.main(["search", "restart", "workers", "--size", "1"])
    said = capsys.readouterr().out
    assert "Restart the workers of payments" in said
    assert "runbook · restart-payments · payments" in said
    assert "page 1 of" in said
    cli.main(["search", "zebra", "--kind", "runbook"])
    assert "nothing published holds 'zebra' with these filters" in capsys.readouterr().out
