"""Check every locked package against known vulnerabilities (OSV, which holds PyPI's and GitHub's advisories), and say what was not checked.

    python security/audit.py                       # asks osv.dev, once for all packages
    python security/audit.py --database all.zip    # offline: https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip
    python security/audit.py --required            # not being able to check is a failure, as in a release

What is known and accepted stands in `security/accepted.yml`, with a reason and a day on which it counts again. Ends with 1 when there is
anything else, and with 2 when nothing could be checked and `--required` was said.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml
from packaging.version import InvalidVersion, Version

HERE = Path(__file__).parent
LOCKS = ("uv.lock", "bi/requirements.lock")
OSV = "https://api.osv.dev"
AT_ONCE = 500


class NotChecked(Exception):
    """The vulnerabilities could not be asked for."""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A locked package; `lock` is the file that locks it."""

    name: str
    version: str
    lock: str


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A known vulnerability of a locked package; the first of its ids names it."""

    package: Package
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A vulnerability somebody looked at."""

    id: str
    package: str
    reason: str
    until: date


def locked(folder: Path, locks: Sequence[str] = LOCKS) -> list[Package]:
    """Return what the lock files lock, without ourselves."""
    found = set()
    for name in locks:
        text = (folder / name).read_text(encoding="utf-8")
        if name.endswith(".lock") and text.startswith("version ="):
            rows = tomllib.loads(text)["package"]
            found |= {Package(row["name"], row["version"], name) for row in rows if "registry" in row.get("source", {})}
        else:
            pairs = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
            found |= {Package(re.sub(r"[-_.]+", "-", package).lower(), version, name) for package, version in pairs}
    return sorted(found)


def accepted(path: Path) -> list[Accepted]:
    """Return the rows of the list.

    Raises:
        ValueError: a row lacks something; names it.
    """
    rows = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("accepted") or []
    found = []
    for number, row in enumerate(rows, start=1):
        missing = [name for name in ("id", "package", "reason", "until") if not row.get(name)]
        if missing or not isinstance(row["until"], date):
            raise ValueError(f"{path} row {number}: give {', '.join(missing) or 'until as a day, such as 2027-01-31'}")
        found.append(Accepted(str(row["id"]), str(row["package"]), str(row["reason"]), row["until"]))
    return found


def ask(packages: Sequence[Package], address: str = OSV) -> list[Finding]:
    """Return what OSV knows of the packages; one request for each 500.

    Raises:
        NotChecked: it cannot be reached, or does not answer as it should.
    """
    found = []
    for start in range(0, len(packages), AT_ONCE):
        part = packages[start : start + AT_ONCE]
        queries = [{"package": {"name": one.name, "ecosystem": "PyPI"}, "version": one.version} for one in part]
        try:
            answer = httpx.post(f"{address}/v1/querybatch", json={"queries": queries}, timeout=30)
            answer.raise_for_status()
            results = answer.json()["results"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise NotChecked(f"{address} did not answer ({type(error).__name__}: {error})") from error
        if len(results) != len(part):
            raise NotChecked(f"{address} answered {len(results)} of {len(part)} questions")
        for one, result in zip(part, results, strict=True):
            found += [Finding(one, (str(known["id"]),)) for known in (result or {}).get("vulns") or []]
    return found


def look_up(packages: Sequence[Package], database: Path) -> list[Finding]:
    """Return what a copy of OSV's database knows of the packages.

    Raises:
        NotChecked: the file is no such copy.
    """
    by_name: dict[str, list[Package]] = {}
    for one in packages:
        by_name.setdefault(one.name, []).append(one)
    found, read = [], 0
    try:
        with zipfile.ZipFile(database) as file:
            for name in file.namelist():
                advisory = json.loads(file.read(name))
                read += 1
                if advisory.get("withdrawn"):
                    continue
                for affected in advisory.get("affected") or []:
                    known = re.sub(r"[-_.]+", "-", str((affected.get("package") or {}).get("name", ""))).lower()
                    ids = (str(advisory["id"]), *map(str, advisory.get("aliases") or ()))
                    found += [Finding(one, ids) for one in by_name.get(known, ()) if _is_affected(one.version, affected)]
    except (OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise NotChecked(f"{database} is no copy of OSV's database ({error})") from error
    if not read:
        raise NotChecked(f"{database} is empty")
    return found


def _is_affected(version: str, affected: Mapping[str, Any]) -> bool:
    if version in (affected.get("versions") or ()):
        return True
    try:
        ours = Version(version)
        for spread in affected.get("ranges") or ():
            if spread.get("type") == "ECOSYSTEM" and _is_inside(ours, spread.get("events") or ()):
                return True
    except InvalidVersion:
        return False
    return False


def _is_inside(ours: Version, events: Iterable[Mapping[str, str]]) -> bool:
    inside = False
    for event in events:
        if "introduced" in event and (event["introduced"] == "0" or ours >= Version(event["introduced"])):
            inside = True
        if "fixed" in event and ours >= Version(event["fixed"]):
            inside = False
        if "last_affected" in event and ours > Version(event["last_affected"]):
            inside = False
    return inside


def judged(found: Sequence[Finding], rows: Sequence[Accepted], today: date) -> tuple[list[str], bool]:
    """Return what is said, line by line, and whether anything is not accepted."""
    lines, bad, used = [], False, set()
    for one in sorted(set(found)):
        row = next((row for row in rows if row.package == one.package.name and row.id in one.ids), None)
        place = f"{one.package.name} {one.package.version} ({one.package.lock}): {one.ids[0]}, https://osv.dev/vulnerability/{one.ids[0]}"
        if row and row.until >= today:
            used.add(row)
            lines.append(f"accepted until {row.until}: {place}: {row.reason}")
        else:
            bad = True
            lines.append(f"known vulnerability: {place}" + (f"; accepted until {row.until}, which is over" if row else ""))
            used |= {row} if row else set()
    lines += [f"accepted, but no longer there; remove the row: {row.package} {row.id}" for row in rows if row not in used]
    return lines, bad


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Check locked packages against known vulnerabilities.")
    parser.add_argument("--database", type=Path, help="a copy of OSV's database of PyPI (all.zip), for places without a network")
    parser.add_argument("--required", action="store_true", help="fail when nothing could be checked")
    parser.add_argument("--folder", type=Path, default=HERE.parent, help="where the lock files are")
    parser.add_argument("--accepted", type=Path, default=HERE / "accepted.yml")
    given = parser.parse_args(arguments)
    packages, rows = locked(given.folder), accepted(given.accepted)
    try:
        found = look_up(packages, given.database) if given.database else ask(packages, os.environ.get("AFTERCAST_OSV", OSV))
    except NotChecked as error:
        print(f"NOT CHECKED for known vulnerabilities: {len(packages)} locked packages. {error}. See docs/security.md")
        return 2 if given.required else 0
    lines, bad = judged(found, rows, datetime.now(UTC).date())
    for line in lines:
        print(line)
    print(f"{len(packages)} locked packages checked, {len(set(found))} known vulnerabilities")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
