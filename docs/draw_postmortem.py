"""Draw the picture of a draft in docs/postmortems.md from its Markdown: `python docs/draw_postmortem.py DRAFT.md` writes it.

The page is what any viewer of Markdown shows: front matter, sections, tables, boxes to tick. A headless Chromium takes it.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image

TARGET = Path(__file__).parent / "images" / "postmortem.png"
WIDTH, HEIGHT = 1300, 1900
STYLE = """
body{margin:0;overflow:hidden;color:#1f2328;font:13px/1.42 "DejaVu Sans","Liberation Sans",Arial,sans-serif}
main{padding:26px 30px 0;columns:2;column-gap:44px;height:1874px;column-fill:auto;overflow:hidden}
pre.front{font:11.3px/1.42 "DejaVu Sans Mono",monospace;background:#f6f8fa;border:1px solid #d9dee3;border-radius:6px;padding:9px 12px;
margin:0 0 14px;color:#57606a}
h1{font-size:21px;margin:2px 0 10px;border-bottom:1px solid #d9dee3;padding-bottom:6px}
h2{font-size:16px;margin:18px 0 6px;break-after:avoid}h2.turn{break-before:column;margin-top:0}h3{font-size:13.5px;margin:10px 0 4px}
p{margin:5px 0}ul{margin:5px 0;padding-left:19px}li{margin:2px 0;break-inside:avoid}em{color:#6e7781}
table{border-collapse:collapse;margin:8px 0;font-size:10.8px;width:100%}th{background:#f6f8fa}
th,td{border:1px solid #d9dee3;padding:2px 5px;text-align:left;vertical-align:top}
td[style*="right"],th[style*="right"]{text-align:right}td[style*="right"]{white-space:nowrap}
.e{font-size:9.5px;color:#0b5cad;background:#eef4fb;border-radius:3px;padding:0 3px;margin-left:2px;white-space:nowrap}
code{font:11.3px "DejaVu Sans Mono",monospace;background:#f1f3f5;border-radius:3px;padding:0 3px}
li.task{list-style:none;margin-left:-17px}
.box{display:inline-block;width:10px;height:10px;border:1.4px solid #6e7781;border-radius:2px;margin-right:6px;vertical-align:-1px}
"""


def page(draft: str) -> str:
    """Return a draft as a page of two columns; the second begins with the hypotheses."""
    _, front, body = draft.split("---\n", 2)
    shown = re.sub(r"<!--(.*?)-->", lambda comment: f"*{comment[1].strip()}*", body)
    text = MarkdownIt("commonmark", {"html": False}).enable("table").render(shown)
    text = text.replace("<li>[ ] ", '<li class="task"><span class="box"></span>').replace("<h2>Hypotheses", '<h2 class="turn">Hypotheses')
    text = re.sub(r"\[(E\d+)\]", r'<span class="e">\1</span>', text)
    head = f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>'
    return f'{head}<main><pre class="front">{html.escape(front.strip())}</pre>{text}</main>'


def draw(draft: Path, target: Path) -> None:
    """Write the picture; its few colours keep it small."""
    with tempfile.TemporaryDirectory() as folder:
        file, shot = Path(folder, "page.html"), Path(folder, "shot.png")
        file.write_text(page(draft.read_text(encoding="utf-8")), encoding="utf-8")
        taken = [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={shot}", file.as_uri()]
        subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *taken], check=True)
        Image.open(shot).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), TARGET)
