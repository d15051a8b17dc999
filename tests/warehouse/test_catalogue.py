"""The catalogue is one page that holds every mart with its columns and lineage, and asks nobody for anything."""

from __future__ import annotations

import re

import pytest

from aftercast import transform
from aftercast.errors import TransformError
from aftercast.settings import Settings


def test_the_catalogue_is_one_page_with_every_mart_its_words_and_its_lineage(company: Settings):
    page = transform.catalogue(company)
    assert page == company.home / "catalogue" / "index.html"
    text = page.read_text(encoding="utf-8")
    for name in ("mart_incidents", "mart_slo_health", "fct_incident"):
        assert f'"model.aftercast.{name}"' in text
    assert '"depends_on"' in text and '"lost_revenue_low"' in text
    assert "Tables, columns and lineage of Aftercast" in text, "its first page is ours"
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://", text), "nothing is loaded from elsewhere"
    assert [one.name for one in page.parent.iterdir()] == ["index.html"]


def test_without_a_warehouse_it_says_what_to_run(tmp_path):
    with pytest.raises(TransformError, match="run a refresh first"):
        transform.catalogue(Settings(home=tmp_path, config=tmp_path))
