"""Write docs/metrics.md from the marts' YAML: grain, exclusions, and of every published column its formula and what null means.

`python -m tests.warehouse.metrics_page` writes the page again; a test compares it with the committed one.
"""

from __future__ import annotations

from typing import Any

import yaml

from aftercast.settings import PROJECT

PAGE = PROJECT / "docs" / "metrics.md"
INTRODUCTION = """# Metrics

The one home of every published number: what a row of a mart is, what is left out, how each column is made, and what null means there.
Generated from `dbt_project/models/marts/_marts.yml` by `python -m tests.warehouse.metrics_page`; edit there.

What holds everywhere:

- Times are UTC. Ages and open durations end at `as_of`, the end of the time covered; nothing reads the clock.
- Null means unknown or not applicable, never zero; a ratio without cases is null. A column with no entry for null is never null.
- Money is in major units with two decimals, beside its currency; amounts of different currencies are never added.
- Shares carry numerator and denominator, and a Wilson 95 % interval where they are compared; durations carry median, 90th percentile and n.
- A *counted* incident is one whose `exclude_from_metrics` is false: a real one, not cancelled.
- A cause is a candidate with a probability until a human confirms it.
- No mart names or ranks a person; the smallest owner is a team.
"""


def models() -> list[dict[str, Any]]:
    """Return the marts as described, by name."""
    content = yaml.safe_load((PROJECT / "dbt_project" / "models" / "marts" / "_marts.yml").read_text(encoding="utf-8"))
    return sorted(content["models"], key=lambda model: str(model["name"]))


def split(description: str) -> tuple[str, str]:
    """Return the meaning of a column and what its null means (empty when it is never null)."""
    meaning, _, null = description.partition(" Null: ")
    return meaning, null


def page() -> str:
    lines = [INTRODUCTION]
    for model in models():
        meta = model["config"]["meta"]
        lines += [f"## {model['name']}", "", model["description"], ""]
        lines += [f"- **Grain:** {meta['grain']}", f"- **Left out:** {meta['exclusions']}", f"- **Owner:** {meta['owner']}", ""]
        lines += ["| column | type | how it is made | null means |", "|---|---|---|---|"]
        for column in model["columns"]:
            meaning, null = (text.replace("|", "\\|") for text in split(column["description"]))
            lines.append(f"| {column['name']} | {column['data_type']} | {meaning} | {null or '–'} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
