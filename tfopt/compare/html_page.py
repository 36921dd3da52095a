"""The HTML page of a contest: how it was run, the table of results, remarks and curves."""

from __future__ import annotations

import html
import string
from collections.abc import Mapping, Sequence

from tfopt.compare.contest import Run
from tfopt.compare.curves import curves
from tfopt.compare.remarks import remarks
from tfopt.compare.results_table import caption, headings_and_rows

PAGE_TEMPLATE = string.Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { color-scheme: light dark;
  --text: #1b1b1f; --page: #ffffff; --line: #d5d5da; --soft: #5c5c66 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e4e8; --page: #16161a; --line: #3d3d45; --soft: #a3a3ad }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto;
  padding: 1rem max(1rem, 3vw); color: var(--text); background: var(--page) }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere }
.scrolls { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .9rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap }
thead th { vertical-align: bottom }
th:first-child { text-align: left }
tbody th { font: .9em ui-monospace, monospace }
p, dd { overflow-wrap: anywhere }
.soft { color: var(--soft) }
.curves { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)) }
svg { width: 100%; height: auto; color: var(--text) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .9rem }
dt { color: var(--soft) }
dd { margin: 0 }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<div class="scrolls" tabindex="0" role="region" aria-label="Table of results">
<table>
<thead>$heading_row</thead>
<tbody>
$rows
</tbody>
</table>
</div>
<p class="soft">$caption</p>
$remarks
<div class="curves">
$curves
</div>
$details
</main>
</body>
</html>
""")
_WITHOUT_MATPLOTLIB = (
    "<p>The curves need Matplotlib, which is not installed: pip install matplotlib.</p>"
)


def page(runs: Sequence[Run], title: str, details: Mapping[str, str] | None = None) -> str:
    """Returns one HTML page that needs no other file.

    The page has the table of results, remarks about them, and the loss curves if Matplotlib is
    installed.

    Args:
        runs: what `compare` returned.
        title: the title and heading of the page, as plain text.
        details: how the comparison was run, as plain text by name.
    """
    headings, rows = headings_and_rows(runs)
    try:
        drawn = "\n".join(curves(runs))
    except ImportError:
        drawn = _WITHOUT_MATPLOTLIB
    return PAGE_TEMPLATE.substitute(
        title=html.escape(title),
        heading_row=_row("".join(f'<th scope="col">{html.escape(h)}</th>' for h in headings)),
        rows="\n".join(map(_result_row, rows)),
        caption=html.escape(caption(runs)),
        remarks="\n".join(f"<p>{html.escape(remark)}</p>" for remark in remarks(runs)),
        curves=drawn,
        details=_details(details or {}),
    )


def _row(cells: str) -> str:
    return f"<tr>{cells}</tr>"


def _result_row(cells: Sequence[str]) -> str:
    first, *others = map(html.escape, cells)
    return _row(f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others))


def _details(details: Mapping[str, str]) -> str:
    items = "\n".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
        for name, value in details.items()
    )
    return f"<dl>\n{items}\n</dl>" if items else ""
