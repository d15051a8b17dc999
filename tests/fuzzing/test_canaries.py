"""Persons and secrets planted in a payload of every kind of source: after landing, no byte below the home and no word of the log holds one.

Planted are: in every text with a space (what people write) an address, a telephone number, an IP, tokens and a database's address with its
password; in every key that names a person, a name; and the connection's own password.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import logging
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import AftercastError
from aftercast.privacy import PERSON_KEYS
from tests.answering import Answer, Asked
from tests.canaries import PERSON, PROSE, SIGNS, words
from tests.fuzzing import campaign
from tests.fuzzing.seeds import SEEDS, Seed

CONNECTION = "canarypassword4"
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d|\w{3}, \d\d \w{3}")
# Where a key that looks like a person's is none, or says which rows are wanted: planting there would only empty the payload.
NO_PERSON = {"owner", "pusher", "agent", "users", "username"}
COUNT = {"n": 0}
WORDLESS = frozenset({"jaeger", "prometheus", "sql", "tempo"})  # their payloads are numbers and names of systems


def planted(value: Any, key: str = "", *, person: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            name: planted(one, name, person=person or (PERSON_KEYS.match(name) is not None and name not in NO_PERSON))
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [planted(one, key, person=person) for one in value]
    if not isinstance(value, str) or not value or TIME.match(value):
        return value
    if person and key in ("name", "display_name", "displayName", "real_name", "email", "summary", "login", "fullName", "full_name"):
        COUNT["n"] += 1
        return PERSON
    if person and "@" in value:
        COUNT["n"] += 1
        return "ann.canary@shop.example"
    if " " in value:
        COUNT["n"] += 1
        return f"{value} {PROSE}"
    return value


def _with_words(text: str) -> str:
    COUNT["n"] += 1
    return f"{text}\n{PROSE}\n"


def _with_more(document: Any) -> Any:
    """Documents with keys that nobody knows: words, and a person."""
    if isinstance(document, list):
        return [_with_more(one) for one in document]
    COUNT["n"] += 1
    return {**document, "note": PROSE, "author": {"name": PERSON, "email": "ann.canary@shop.example"}}


def _meant(header: str, password: str) -> str:
    """A header with the password that the fake service knows instead of the planted one."""
    if header.startswith("Basic "):
        return "Basic " + base64.b64encode(base64.b64decode(header[6:]).replace(CONNECTION.encode(), password.encode())).decode()
    return header.replace(CONNECTION, password)


def with_canaries(seed: Seed) -> Seed:
    """The same payloads with canaries in them; a text file gets them at the end of its lines of words."""

    given = dict(seed.connection)
    known = str(given.get("password", ""))
    if known:
        given["password"] = CONNECTION

    def files() -> dict[str, Any]:
        assert seed.files is not None
        return {
            name: _with_words(content) if isinstance(content, str) else _with_more(planted(copy.deepcopy(content)))
            for name, content in seed.files().items()
        }

    def service() -> Any:
        assert seed.service is not None
        rule = seed.service()

        def answer(asked: Asked) -> Answer:
            said = rule(dataclasses.replace(asked, headers={one: _meant(value, known) for one, value in asked.headers.items()}))
            return said if said.raw is not None else dataclasses.replace(said, data=planted(copy.deepcopy(said.data)))

        return answer

    return dataclasses.replace(seed, files=files if seed.files else None, service=service if seed.service else None, connection=given)


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_no_person_and_no_secret_of_a_payload_stays(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    field = campaign.Field(tmp_path, with_canaries(SEEDS[name]))
    field.row = field.row.model_copy(update={"keep_raw": True})
    COUNT["n"] = 0
    landed, _ = field.run("", random.Random(0))
    assert sum(one.landed for one in landed.values()) > 0, "nothing landed, so nothing is shown"
    assert (COUNT["n"] > 0) != (name in WORDLESS), "WORDLESS names the kinds whose payloads hold no words and no people"
    seen = 0
    for number, mutation in enumerate(("", "unknown enum", "impossible time", "wrong type", "drop key", "unknown key", "truncated")):
        field.tried.clear()  # a slip that finds nothing to spoil leaves a payload that was tried before
        try:
            field.run(mutation, random.Random(number))
        except AftercastError as error:
            assert not SIGNS.search(str(error).encode()), error
        for where, content in words(field.place):
            seen += 1
            assert not SIGNS.search(content), f"{mutation}: {where}: {SIGNS.search(content)}"
    assert seen > 7
    assert not SIGNS.search(caplog.text.encode())
    assert "canary" not in str(os.environ.get("AIRFLOW_CONN_FUZZED"))
