"""How does a matplotlib figure become part of a page? SVG that takes the page's colours."""

from __future__ import annotations

import io
import re

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

# Ink and paper follow the reader's light or dark page; the arms' colours stay.
PAGE_COLORS = {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    "#404040": "var(--soft)",
    "#555555": "var(--soft)",
    "#b0b0b0": "var(--line)",
    "#e8e8e8": "var(--band)",
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
TAG = re.compile(r"<[^>]+>")
# A cloud of more points becomes one picture: in 10,000 of them nobody looks at a single one.
MOST_MARKS = 2000
DPI = 150  # of that picture
LONG_DECIMALS = re.compile(r"(\d+\.\d{2})\d+")
FONT_FAMILY = re.compile(r" font-family: [^;\"]*;?")
REFERENCE = re.compile(r"(?:url\(#|href=\"#)([\w.-]+)")
ID = re.compile(r" id=\"([^\"]+)\"")


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an <svg> element for a page: text stays text, ids begin with `name`.

    Args:
        label: what the figure shows, for readers who do not see it.
    """
    for axes in figure.axes:
        for line in axes.lines:
            line.set_rasterized(np.size(line.get_xydata()) // 2 > MOST_MARKS)
        for cloud in axes.collections:
            cloud.set_rasterized(np.size(cloud.get_offsets()) // 2 > MOST_MARKS)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, dpi=DPI, metadata=NO_METADATA)
    text = file.getvalue()
    text = TAG.sub(_smaller, text[text.index("<svg") :])
    used = set(REFERENCE.findall(text))
    text = ID.sub(lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text)
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box, "matplotlib writes a viewBox"
    start = Markup('<svg role="img" aria-label="{}" viewBox="{}">').format(label, box[1])
    body = text[text.index(">") + 1 :]
    body = re.sub(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>", "", body, count=1)
    return start + Markup(body)  # matplotlib has escaped the names that are drawn


def _smaller(tag: re.Match[str]) -> str:
    text = FONT_FAMILY.sub("", tag[0]).replace("xlink:href", "href")
    if "base64" in text:  # the colours of a colour bar
        return text.replace("\n", "")
    text = LONG_DECIMALS.sub(r"\1", text).replace("\n", " ")
    for ink, color in PAGE_COLORS.items():
        text = text.replace(ink, color)
    return text
