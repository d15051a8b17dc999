"""`python -m contracts`: raise the version of every landing entity and mart that changed, and write the schema files again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "plugins"), str(Path(__file__).resolve().parents[1])]


def main() -> None:
    import contracts

    for kind, now in contracts.shapes().items():
        known = contracts.recorded(kind)
        after = contracts.updated(now, known)
        for name in sorted({*known, *after}):
            before, entry = known.get(name), after.get(name)
            if entry is None:
                print(f"{kind}/{name} is gone: say so in CHANGELOG.md")
            elif before is not None and before["version"] != entry["version"]:
                added, broken = contracts.changes(before["shape"], entry["shape"])
                print(f"{kind}/{name} {before['version']} -> {entry['version']} ({'; '.join(broken + added)})")
                print(f"  add a line with `{kind}/{name} {entry['version']}` to CHANGELOG.md that says what readers must do")
            elif before is None:
                print(f"{kind}/{name} 1.0 is new")
        contracts.FILES[kind].write_text(json.dumps(after, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
