"""Objects as HTML in a notebook: small tables, all text escaped, that are read on light pages and on dark ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

__all__ = ["ROWS", "card", "picture", "pictures", "quiet", "short", "strong", "table", "warned"]

ROWS = 8
"""How many rows of data an object shows of itself."""

SIDE = 56
"""Side of a small picture, px."""

LONGEST = 200
"""Characters of a cell at most."""

# No colour of its own but for marks: text and lines take those of the page, and see-through greys serve both.
STYLE = Markup(
    "<style>.ccf{font:13px/1.45 system-ui,sans-serif;color:inherit;max-width:100%;overflow-x:auto}"
    ".ccf table{border-collapse:collapse;margin:4px 0;color:inherit}"
    ".ccf th,.ccf td{padding:2px 10px 2px 0;text-align:left!important;vertical-align:middle;border:0;background:none;"
    "color:inherit;white-space:nowrap}"
    ".ccf td.w{white-space:normal;min-width:12em}"
    ".ccf thead th{font-weight:600;border-bottom:1px solid rgba(128,128,128,.5)}"
    ".ccf tbody tr{background:none}.ccf tbody tr+tr td{border-top:1px solid rgba(128,128,128,.18)}"
    ".ccf img{vertical-align:middle;margin:1px 2px 1px 0}.ccf img.px{image-rendering:pixelated;"
    "border:1px solid rgba(128,128,128,.4)}.ccf img.fig{background:#fff;border-radius:4px;padding:4px}"
    ".ccf .q{opacity:.65}.ccf .bad{background:rgba(230,140,20,.28);border-radius:3px;padding:0 3px}"
    ".ccf p{margin:3px 0}</style>"
)


def card(title: Any, *parts: Any, notes: Iterable[Any] = ()) -> str:
    """The HTML of an object: its title, its parts one below the other, and notes in small grey text.

    Example:
        >>> "&lt;b&gt;" in card("<b>")
        True
    """
    head = Markup("<p><strong>{}</strong></p>").format(title)
    foot = Markup("").join(Markup('<p class="q">{}</p>').format(note) for note in notes)
    body = Markup("").join(escape(part) for part in parts)
    return str(STYLE + Markup('<div class="ccf">') + head + body + foot + Markup("</div>"))


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], *, wide: Sequence[int] = ()) -> Markup:
    """A table of cells; what is not markup is escaped.

    Args:
        head: The columns' headings.
        rows: Cells, one for each heading.
        wide: Columns whose text may break into lines.
    """

    def cell(i: int, value: Any) -> Markup:
        return Markup("<td{}>{}</td>").format(Markup(' class="w"') if i in wide else "", short(value))

    def line(cells: Sequence[Any]) -> Markup:
        return Markup("<tr>{}</tr>").format(Markup("").join(cell(i, value) for i, value in enumerate(cells)))

    top = Markup("").join(Markup("<th>{}</th>").format(short(name)) for name in head)
    body = Markup("").join(line(cells) for cells in rows)
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(top, body)


def short(value: Any) -> Any:
    """A cell's content: markup as it is, text cut where it is endless."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def picture(url: str, alt: str, *, height: int = SIDE) -> Markup:
    """A small picture whose pixels stay sharp; a style of its own, as notebooks take away heights of others."""
    style = Markup("height:{}px;width:auto;max-width:none").format(height)
    return Markup('<img class="px" src="{}" alt="{}" style="{}">').format(url, alt, style)


def pictures(*shown: Markup) -> Markup:
    """Pictures side by side in one cell."""
    return Markup("").join(shown)


def figure(url: str, alt: str, *, width: float) -> Markup:
    """A figure on white paper, so wide at most, in px."""
    style = Markup("width:{}px;max-width:100%").format(round(width))
    return Markup('<img class="fig" src="{}" alt="{}" style="{}">').format(url, alt, style)


def quiet(text: Any) -> Markup:
    """Text that steps back: what did not change."""
    return Markup('<span class="q">{}</span>').format(short(text))


def strong(text: Any) -> Markup:
    """Text that stands out: what was acted on."""
    return Markup("<strong>{}</strong>").format(short(text))


def warned(text: Any) -> Markup:
    """Text with a mark behind it: what a reader must not miss."""
    return Markup('<span class="bad">{}</span>').format(short(text))
