"""People become tokens and free text loses its addresses, numbers and secrets."""

from __future__ import annotations

import stat

import polars as pl
import pytest

from aftercast import privacy
from aftercast.entities import ENTITIES, TEXT, TEXTS


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("mail ann.x+y@shop.co.example now", "mail <email> now"),
        ("from 10.20.0.1 to fe80::1ff:fe23:4567:890a", "from <ip> to <ip>"),
        ("2001:db8:85a3:0:0:8a2e:370:7334 timed out", "<ip> timed out"),
        ("paid with 4111 1111 1111 1111", "paid with <card>"),
        ("paid with 378282246310005", "paid with <card>"),
        ("call +44 20 7946 0958 or (555) 123-4567", "call <phone> or <phone>"),
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer <secret>"),
        ("https://x.example/?api_key=abcd1234&page=2", "https://x.example/?api_key=<secret>&page=2"),
        ('{"password": "hunter22"}', '{"password": "<secret>"}'),
        ("key AKIAABCDEFGHIJKLMNOP leaked", "key <secret> leaked"),
        ("postgres://ann:pw@db/shop", "postgres://<secret>@db/shop"),
    ],
)
def test_personal_data_and_secrets_are_redacted(text, redacted):
    assert privacy.redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "deploy 2026-09-21T06:00:00Z of cart v1.2.3",
        "timeout after 30000 ms, 12:34:56, std::vector",
        "order 20260921-1234 at step 4",
        "sev1 in eu-west-1: p95 = 1234.5678",
        "commit 3df7b9b1c0ffee",
    ],
)
def test_times_versions_and_numbers_are_left_alone(text):
    assert privacy.redact(text) == text


def test_redacting_twice_changes_nothing_more():
    once = privacy.redact("ann@shop.example api_key=abcdef 10.0.0.1 +44 20 7946 0958 Bearer abcdefghijk")
    assert privacy.redact(once) == once


def test_a_token_is_stable_keyed_and_passes_itself():
    token = privacy.token("Ann@Shop.example ", b"k")
    assert token == privacy.token("ann@shop.example", b"k")
    assert token != privacy.token("ann@shop.example", b"other")
    assert privacy.token(token, b"k") == token
    assert "ann" not in token


def test_every_entity_says_what_is_free_text_and_every_person_is_a_token():
    assert privacy.FREE_TEXT.keys() == ENTITIES.keys()
    for entity in ENTITIES.values():
        for column in privacy.FREE_TEXT[entity.name]:
            assert entity.columns[column] in (TEXT, TEXTS)
    people = {name for entity in ENTITIES.values() for name in entity.columns if name.endswith("_token")}
    assert people == privacy.PERSON_COLUMNS


def test_lists_of_texts_are_redacted_and_keep_their_shape():
    column = pl.Series("factors", [["ask ann@shop.example", "load"], None, [], ["ok"]])
    assert privacy.redact_series(column).to_list() == [["ask <email>", "load"], None, [], ["ok"]]


def test_the_key_is_made_once_and_readable_by_its_owner_only(tmp_path, monkeypatch):
    monkeypatch.delenv("AFTERCAST_TOKEN_KEY", raising=False)
    key = privacy.token_key(tmp_path)
    assert privacy.token_key(tmp_path) == key
    path = tmp_path / "secrets" / "token.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["token.key"]
    monkeypatch.setenv("AFTERCAST_TOKEN_KEY", "given")
    assert privacy.token_key(tmp_path) == b"given"
