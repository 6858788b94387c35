"""Pages that stand alone: no script, nothing loaded, light and dark, readable on a phone."""

import re
from html import escape

_CODE = re.compile(r"`([^`]+)`")

_STYLE = """
:root{color-scheme:light dark;--text:#1c2430;--soft:#5c6775;--line:#d9dee5;--card:#fff;
--page:#f4f6f8;--good:#1a7f4b;--warn:#a36200;--bad:#c2302e}
@media(prefers-color-scheme:dark){:root{--text:#e6eaf0;--soft:#9aa6b5;--line:#333c49;--card:#1b222c;
--page:#12171e;--good:#4cc38a;--warn:#e0a13c;--bad:#f2706d}}
*{box-sizing:border-box}
body{margin:0;padding:1rem;background:var(--page);color:var(--text);
font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:auto;overflow-wrap:anywhere}
h1{font-size:1.4rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .5rem}
.soft{color:var(--soft)}
.passed{color:var(--good)}.warned,.failed{color:var(--warn)}.blocked,.error{color:var(--bad)}
.skipped{color:var(--soft)}
.card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.8rem 1rem;
margin:.6rem 0}
.head{display:flex;flex-wrap:wrap;gap:.3rem 1rem;align-items:baseline;justify-content:space-between}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem;margin:0}
dt{color:var(--soft);font-size:.85rem}dd{margin:0;font-size:1.2rem;font-variant-numeric:tabular-nums}
.bar{width:100%;height:.7rem;display:block;margin:.6rem 0}
.scores{width:100%;height:5rem;display:block;margin-top:.4rem}
.card>p:last-child{margin:.4rem 0 0}
code{font-family:ui-monospace,monospace;font-size:.92em}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.25rem .5rem .25rem 0;border-top:1px solid var(--line);
vertical-align:top}
details th:nth-child(-n+2),details td:nth-child(-n+2){width:1%;padding-right:1rem;text-align:right;
white-space:nowrap;font-variant-numeric:tabular-nums}
summary{cursor:pointer}
.chart{width:100%;height:9rem;display:block;margin:.4rem 0 .2rem}
.axis{display:flex;font-size:.8rem;color:var(--soft)}
.axis span{min-width:0}
.axis.each span{text-align:center}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.scroll{overflow-x:auto;overflow-wrap:normal}
.scroll th:first-child,.scroll td:first-child{width:1%}
.scroll th:not(:last-child),.scroll td:not(:last-child){padding-right:1rem}
.bars{overflow-wrap:normal}
.bars td{border:0;vertical-align:middle;width:1%}
.bars td.drawn{width:auto}
@media(min-width:40rem){.bars td{white-space:nowrap}}
.bars svg{width:100%;height:1.1rem;display:block}
"""


def marked_up(text: str) -> str:
    """Escape a text, and show what stands in backticks as code.

    >>> marked_up("`a<b`: expected 1")
    '<code>a&lt;b</code>: expected 1'
    """
    return _CODE.sub(r"<code>\1</code>", escape(text))


def html_page(title: str, body: str) -> str:
    """Put the content of a page together; `body` is HTML, `title` is text."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )
