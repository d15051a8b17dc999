"""Ask a language model to retell drafts of postmortems, once for each draft: what it said is kept, so the same draft gives the same text.

Off unless `narrative` is declared in postmortems.yml. What is sent is the draft, redacted as everything that was landed. Where no model
answers the draft stands as it is: a narrative is never worth a missing postmortem.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from aftercast import connections
from aftercast.errors import SourceUnavailable
from aftercast.learning.drafts import narrative
from aftercast.settings import Settings

log = logging.getLogger(__name__)

Ask = Callable[[str], str]


def narrated(settings: Settings, incident: str, document: str) -> str:
    """Return a draft with its narrative, where one is declared and its sentences can be checked.

    Raises:
        ConfigError: the connection or the library is missing.
    """
    rules = settings.deployment.postmortems.narrative
    if rules is None:
        return document
    place = settings.home / "narratives"
    asked = narrative.material(document)
    key = hashlib.sha256(f"{rules.connection}\n{rules.model}\n{narrative.INSTRUCTIONS}\n{asked}".encode()).hexdigest()[:24]
    kept = place / f"{key}.json"
    if kept.exists():
        said = str(json.loads(kept.read_text(encoding="utf-8"))["said"])
    else:
        ask = connections.language_model("postmortems.yml", rules.connection, rules.model, narrative.INSTRUCTIONS, rules.timeout_seconds)
        try:
            said = ask(asked)
        except SourceUnavailable as error:
            log.warning("%s is drafted without a narrative: %s", incident, error)
            return document
        _keep(kept, {"incident": incident, "said": said})
    told = narrative.checked(said, document)
    for sentence, why in told.left_out:
        log.info("%s: left out of the narrative, %s: %s", incident, why, sentence)
    log.info("%s: %d sentences of the narrative bear out, %d were left out", incident, len(told.kept), len(told.left_out))
    return narrative.inserted(document, told, rules.model or rules.connection)


def _keep(path: Path, what: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(what, ensure_ascii=False), encoding="utf-8")
    fresh.replace(path)
