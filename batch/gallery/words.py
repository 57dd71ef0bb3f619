"""Text and numbers, made fit for a page."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlsplit

from ...core.text import printable

_MINUS = "\N{MINUS SIGN}"


def text(value: object, limit: int = 160) -> str:
    """Return text as HTML, safe in an element and in a quoted attribute: one harmless line."""
    return html.escape(printable(value, limit))


def prose(value: str) -> str:
    """Return text of any length as HTML; a line break is a space."""
    return text(" ".join(value.split()), 4000)


def address(*names: str) -> str:
    """Return a relative URL of folders and a file, each name percent-encoded, in HTML."""
    # A name that is not UTF-8 has lone surrogates, which stand for its bytes.
    safe = (quote(name.encode("utf-8", "surrogateescape"), safe="") for name in names)
    return html.escape("/".join(safe))


def outside(link: str) -> tuple[str, str] | None:
    """Return a link to elsewhere and its host in HTML; None where it is not http or https."""
    try:
        parts = urlsplit(link.strip())
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    where = quote(link.strip(), safe=":/?#[]@!$&'()*+,;=%~", errors="replace")
    return html.escape(where), text(host, 60)


def items(lines: Iterable[str]) -> str:
    """Return lines of text as the items of a list."""
    return "".join(f"<li>{prose(line)}</li>" for line in lines)


def facts_list(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values, text, as a list; without a value there is none."""
    told = (f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in pairs if v)
    return f'<dl class="facts">{"".join(told)}</dl>'


def table(what: str, head: Iterable[str], body: str) -> str:
    """Return a table, its rows in HTML, that scrolls within the page, by keyboard too."""
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    return f"""<div class="table" tabindex="0" role="group" aria-label="{what}"><table>
<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"""


def data(content: Any) -> str:
    """Return JSON that may stand in a script element, whatever the strings in it are."""
    said = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return said.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def size(count: float) -> str:
    """Return bytes for people: 1 MB is 1,000,000 bytes."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= one:
            return (
                f"{count / one:.3g} {unit}" if count < 999.5 * one else f"{count / one:,.0f} {unit}"
            )
    return f"{count:.0f} bytes"


def amount(count: float) -> str:
    """Return a large count for people: 22.6 million."""
    for unit, one in (("billion", 1e9), ("million", 1e6)):
        if count >= one:
            return f"{count / one:.3g} {unit}"
    return f"{count:,.0f}"


def number(value: float | None) -> str:
    """Return a number with three digits."""
    if value is None:
        return "none"
    said = f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return said.replace("-", _MINUS)


def span(low: float | None, high: float | None) -> str:
    """Return two numbers as a range, one where they are equal."""
    first, last = number(low), number(high)
    return first if first == last else f"{first} to {last}"


def plural(count: int, what: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
