"""A report as one self-contained HTML file: no fonts, no further files, and no scripts but those of its sections."""

import base64
import hashlib
import struct
from dataclasses import dataclass
from html import escape

from dsopt.reporting.tables import ResultRow, cells, header, note

# Content security policy: the page may load only its own images and style, and run only the scripts that it was written with, each
# known by its hash, even if hostile text got past the escaping.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --faint: #5c6670; --line: #d8dde2; --paper: #fff; --shade: #f5f6f8 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --faint: #9ba5b0; --line: #363d45; --paper: #15181c; --shade: #1e2227 }
}
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif }
main { max-width: 62rem; margin: 0 auto; padding: 3rem 1.5rem 4rem }
h1 { font-size: 1.9rem; line-height: 1.25; letter-spacing: -.01em; margin: 0 0 .75rem }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 3.25rem 0 .5rem }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem }
p { max-width: 44rem; margin: 0 0 1rem; white-space: pre-line }
.lead { font-size: 1.125rem; color: var(--faint) }
.note { font-size: .875rem; color: var(--faint); margin-top: .75rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; margin: 1.75rem 0 0; 
  padding: 1rem 1.25rem;  background: var(--shade); border-radius: .5rem; font-size: .9rem }
dt { color: var(--faint) }
dd { margin: 0 }
.wide { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; min-width: 100%; font-size: .95rem; overflow-wrap: normal;
  font-variant-numeric: tabular-nums }
pre { margin: .25rem 0 1rem; padding: .75rem 1rem; background: var(--shade); border-radius: .5rem; font-size: .8rem;
  overflow-x: auto; overflow-wrap: normal }
th, td { padding: .45rem .9rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
.many th, .many td { padding: .4rem .5rem; font-size: .85rem }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
th:last-child, td:last-child { padding-right: 0 }
thead th { font-weight: 600; color: var(--faint); border-bottom-width: 2px }
tbody th { font-weight: 400 }
figure { margin: 1.25rem 0; padding: 1rem; background: #fff; border: 1px solid var(--line); border-radius: .5rem;
  overflow-x: auto }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto }
@media (prefers-color-scheme: dark) {
  figure { background: #e9ebee; border: 0 }
  figure img { mix-blend-mode: multiply }
}
@media (max-width: 40rem) {
  main { padding: 1.75rem 1rem 3rem }
  h1 { font-size: 1.5rem }
  dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .6rem }
  th, td { padding: .4rem .4rem; font-size: .85rem } tbody th { white-space: normal; min-width: 7rem }
  figure { padding: .6rem } figure img { max-width: none; width: min(var(--width), 36rem) }
}
.controls { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; align-items: center; justify-content: space-between;
  margin: .75rem 0; font-size: .9rem }
.map button, .map select, .map textarea { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line);
  border-radius: .375rem; padding: .2rem .65rem }
.map button:hover, .map select:hover { border-color: var(--faint) }
.map button[aria-pressed=true] { background: var(--ink); color: var(--paper) }
.map textarea { display: block; width: 100%; font: .8rem/1.5 ui-monospace, monospace; padding: .5rem .75rem; resize: vertical }
.map output { color: var(--faint) }
.view { position: relative; overflow: hidden; user-select: none; border: 1px solid var(--line); border-radius: .5rem }
.view > canvas { display: block; width: 100%; height: min(38rem, 80vh, 100vw); background: var(--paper); cursor: crosshair;
  touch-action: none }
.tip { position: absolute; pointer-events: none; display: flex; gap: .6rem; max-width: 22rem; padding: .5rem;
  background: var(--paper); border: 1px solid var(--line); border-radius: .375rem; box-shadow: 0 2px 10px #0003;
  font-size: .8rem; line-height: 1.45; white-space: pre-line }
.tip canvas { flex: none } .map [hidden] { display: none }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; list-style: none; margin: .75rem 0; padding: 0; font-size: .85rem }
.legend i { display: inline-block; width: .65rem; height: .65rem; border-radius: 50%; margin-right: .4rem }
@media print {
  .map .controls, .map textarea { display: none }
  :root { color-scheme: light; --ink: #000; --faint: #444; --line: #bbb; --paper: #fff; --shade: #fff }
  main { max-width: none; padding: 0 } body { font-size: 10pt } dl { border: 1px solid var(--line) }
  h2 { margin-top: 1.75rem } h2, section > p { break-after: avoid } figure, tr, dl { break-inside: avoid }
  .wide, figure { overflow: visible }
  figure { background: #fff; border: 0; padding: 0 } figure img { mix-blend-mode: normal }
}
"""


MANY = 8  # columns of a table; more are set closer


@dataclass
class Section:
    """A part of the page.

    Args:
        text: plain text; an empty line separates paragraphs.
        png: a figure at twice its displayed size; the title is its alternative text.
        html: trusted markup, such as a table; inserted without escaping.
        script: trusted JavaScript that works on this markup.
    """

    title: str
    text: str
    png: bytes | None = None
    html: str | None = None
    script: str | None = None


def page(title: str, lead: str, facts: dict[str, str], sections: list[Section]) -> str:
    """The whole page: title, a lead of one or two sentences, facts as names and values, then the sections."""
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in facts.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(sections)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
{_paragraphs(lead, "lead")}
{f"<dl>{listed}</dl>" if facts else ""}
</header>
{"".join(_section(section) for section in sections)}</main>
</body>
</html>
"""


def _policy(sections: list[Section]) -> str:
    scripts = [hashlib.sha256(section.script.encode()).digest() for section in sections if section.script]
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in scripts)
    return f"{_POLICY}; script-src {allowed}" if allowed else _POLICY


def results_table(rows: list[ResultRow]) -> str:
    """The table of results, and a line that explains its columns."""
    return f'{table(header(rows), cells(rows))}\n<p class="note">{escape(note(rows))}</p>'


def table(head: list[str], lines: list[list[str]]) -> str:
    """Any table; the first cell of each line is its heading."""
    titles = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{_padded(cell)}</td>" for cell in others)}</tr>\n'
        for name, *others in lines
    )
    kind = "wide many" if len(head) > MANY else "wide"
    return f'<div class="{kind}"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def failure(what: str, reason: str, output: list[str]) -> str:
    """What failed and why, with the lines that a program printed at its end."""
    lines = escape("\n".join(output))
    return f"<h3>{escape(what)}</h3>\n<p>{escape(reason)}</p>" + f"\n<pre>{lines}</pre>" * bool(output)


def _padded(cell: str) -> str:
    """The cell, with hidden text of the same width for its trailing blanks: means stay aligned where there is no ± part."""
    text = cell.rstrip()
    return escape(text) + '<span style="visibility:hidden"> ± 0.00</span>' * (len(text) < len(cell))


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>", _paragraphs(section.text), section.html or ""]
    if section.png:
        parts.append(figure(section.png, section.title))
    if section.script:
        parts.append(f"<script>{section.script}</script>")
    return "\n".join(part for part in parts if part) + "\n</section>\n"


def _paragraphs(text: str, kind: str = "") -> str:
    opening = f'<p class="{kind}">' if kind else "<p>"
    return "\n".join(f"{opening}{escape(part.strip())}</p>" for part in text.split("\n\n") if part.strip())


def figure(png: bytes, description: str) -> str:
    """A PNG at half its size."""
    # Bytes 16 to 24 of a PNG are its width and height. It is displayed at half of these, for screens with two pixels per CSS pixel.
    width, height = (size // 2 for size in struct.unpack(">II", png[16:24]))
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img width="{width}" height="{height}" style="--width:{width}px" alt="{escape(description)}" '
        f'src="data:image/png;base64,{data}"></figure>'
    )
