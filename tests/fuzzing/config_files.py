"""Spoil every file of a configuration and see what reading it says: a deployment, or a ConfigError that names the file."""

from __future__ import annotations

import contextlib
import pickle
import random
import shutil
import time
import traceback
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from aftercast import yaml_texts
from aftercast.errors import ConfigError
from aftercast.settings import PROJECT, load_deployment
from tests.fuzzing import mutations
from tests.fuzzing.campaign import LONGEST_MESSAGE, MOST_DRAWS, SECONDS, Endless, Outcome, Report, within

MORE = {
    "postmortems.yml": "folder: postmortems\n",
    "catalog/backstage/all.yaml": """
apiVersion: backstage.io/v1alpha1
kind: Component
metadata: {name: search, title: Search, annotations: {aftercast/channel: "#search"}}
spec: {type: service, owner: group:search-team, dependsOn: [resource:index], providesApis: [search-api], consumesApis: [search-api]}
---
apiVersion: backstage.io/v1alpha1
kind: Resource
metadata: {name: index}
spec: {type: database, owner: group:search-team}
---
apiVersion: backstage.io/v1alpha1
kind: Group
metadata: {name: search-team}
spec: {type: team, profile: {displayName: Search}, children: []}
""",
}
"""Files that a deployment may have and the demo company has not."""

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in zip("abcdefghi", "bcdefghij", strict=True)
)
TEXTS = {
    "alias bomb": lambda text, chance: BOMB + text,
    "holds itself": lambda text, chance: "itself: &itself [*itself]\n" + text,
    "tabs": lambda text, chance: text.replace("  ", "\t"),
    "a day that does not exist": lambda text, chance: text + "\nwhen: 2026-02-30\n",
    "twice the same key": lambda text, chance: text + "\n" + text,
    "no end of brackets": lambda text, chance: text + "\nx: " + "[" * 3000,
    "windows": lambda text, chance: text.replace("\n", "\r\n"),
    "a python object": lambda text, chance: text + "\nx: !!python/object/apply:os.system [true]\n",
    "another document": lambda text, chance: text + "\n---\na: 1\n",
    "a comma more": lambda text, chance: "".join(line + ("," if chance.randrange(4) == 0 else "") + "\n" for line in text.splitlines()),
    "a quotation mark": lambda text, chance: _put(text, '"', chance),
    "a colon": lambda text, chance: _put(text, ": ", chance),
    "a name nobody declares": lambda text, chance: _another_name(text, chance),  # noqa: PLW0108  defined below
}


def _put(text: str, what: str, chance: random.Random) -> str:
    place = chance.randrange(len(text) + 1)
    return text[:place] + what + text[place:]


def _another_name(text: str, chance: random.Random) -> str:
    """The text with one word written otherwise, which names perhaps what is declared elsewhere."""
    words = sorted(set(text.replace(",", " ").split()))
    word = chance.choice(words)
    return text.replace(word, word + "_zzz", 1)


def make(root: Path) -> Path:
    """A whole configuration: that of the demo company and what it lacks."""
    folder = root / "config"
    shutil.copytree(PROJECT / "config", folder)
    for name, text in MORE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).write_text(text)
    return folder


def names(folder: Path) -> list[str]:
    """Every file of a configuration."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def ways(name: str) -> list[str]:
    known = [*TEXTS, *mutations.WRECKS]
    return known if not name.endswith((".yml", ".yaml")) else [*mutations.SLIPS, *mutations.REARRANGED, *known]


def spoilt(name: str, content: bytes, way: str, chance: random.Random) -> bytes:
    """The bytes of a file spoilt."""
    if way in mutations.WRECKS:
        return mutations.wreck(content, way, chance)[0]
    if way in TEXTS:
        return TEXTS[way](content.decode(), chance).encode()
    documents: list[Any] = list(yaml.safe_load_all(content))
    place = chance.randrange(len(documents))
    change = mutations.slip if way in mutations.SLIPS else mutations.rearranged
    documents[place] = change(documents[place], way, chance)
    return yaml.safe_dump_all(documents, allow_unicode=True).encode("utf-8", "surrogatepass")


@contextlib.contextmanager
def _instead(path: Path, content: bytes) -> Iterator[None]:
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(kept)


def judged(folder: Path, name: str, number: int, way: str, chance: random.Random) -> Outcome:
    """Read a configuration with one spoilt file and say what became of it."""
    path = folder / name
    try:
        content = spoilt(name, path.read_bytes(), way, chance)
        with _instead(path, content), within(SECONDS):
            load_deployment(folder)
    except ConfigError as error:
        said = str(error)
        if not any(part in said for part in (path.name, *(one.name for one in folder.rglob("*") if one.is_file()))):
            return Outcome(number, way, "crashed", f"names no file: {said[:200]}")
        if len(said) > LONGEST_MESSAGE:
            return Outcome(number, way, "crashed", f"a message of {len(said)} characters: {said[:200]}")
        return Outcome(number, way, "refused", said)
    except Endless as error:
        return Outcome(number, way, "crashed", f"endless: {error}")
    except Exception as error:  # noqa: BLE001  whatever it is, it is what the campaign looks for
        ours = [one for one in traceback.extract_tb(error.__traceback__) if "aftercast" in one.filename]
        place = f"{ours[-1].filename}:{ours[-1].lineno}" if ours else "the campaign itself"
        return Outcome(number, way, "crashed", f"{type(error).__name__}: {str(error)[:200]} at {place}")
    return Outcome(number, way, "landed")


@contextlib.contextmanager
def whole_files_read_once(folder: Path) -> Iterator[None]:
    """Remember what the texts of a whole configuration say as YAML: most of the time would go into reading again what is not spoilt."""
    read, known = yaml_texts.read_all, dict[tuple[str, Any], bytes]()

    def remembering(text: str, loader: Any = yaml.SafeLoader) -> list[Any]:
        found = read(text, loader)
        known[text, loader] = pickle.dumps(found)
        return found

    def remembered(text: str, loader: Any = yaml.SafeLoader) -> list[Any]:
        found = known.get((text, loader))
        return read(text, loader) if found is None else list(pickle.loads(found))

    with mock.patch.object(yaml_texts, "read_all", remembering):
        load_deployment(folder)
    with mock.patch.object(yaml_texts, "read_all", remembered):
        yield


def run(name: str, root: Path, *, seed: int, payloads: int) -> Report:
    """Try so many spoilt versions of one file, no two of them the same; fewer where so many do not exist."""
    folder = root / "config" if (root / "config").is_dir() else make(root)
    begun, report, possible, tried = time.monotonic(), Report(name), ways(name), set[bytes]()
    whole = (folder / name).read_bytes()
    with whole_files_read_once(folder):
        for number in range(payloads * MOST_DRAWS):
            if len(report.outcomes) == payloads:
                break
            way, draw = possible[number % len(possible)], zlib.crc32(f"{seed}/{name}/{number}".encode())
            with contextlib.suppress(Exception):  # judged says what it is
                content = spoilt(name, whole, way, random.Random(draw))
                if content in tried:
                    report.again += 1
                    continue
                tried.add(content)
            report.outcomes.append(judged(folder, name, number, way, random.Random(draw)))
    report.seconds = time.monotonic() - begun
    return report
