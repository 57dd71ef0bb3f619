"""The colour scale as a picture in the page."""

from __future__ import annotations

import numpy as np

from ...core.color import ColorScale
from .words import number

_STOPS = 24
_LEFT, _RIGHT = 18, 81  # percent: the ends' own words take the rest


def legend(scale: ColorScale, name: str) -> str:
    """Return the scale as SVG: its colours as the surfaces have them, its round values below.

    `name` tells the gradient from others in the page.
    """
    shares = np.linspace(0.0, 1.0, _STOPS)
    colors = scale.colors(scale.low + shares * (scale.high - scale.low))
    stops = "".join(
        f'<stop offset="{100 * share:.2f}%" stop-color="#{red:02x}{green:02x}{blue:02x}"/>'
        for share, (red, green, blue, _) in zip(shares, colors, strict=True)
    )
    low, *inner, high = scale.ticks()
    places = {100 * (value - scale.low) / (scale.high - scale.low): value for value in inner}
    ticks = "".join(
        f'<text x="{place:.2f}%" y="34" text-anchor="middle">{number(value)}</text>'
        for place, value in places.items()
        if _LEFT < place < _RIGHT
    )
    first = f"≤ {number(low)}" if low else number(low)
    said = f"Colours from {number(low)} to {number(high)} σ"
    return f"""<svg width="100%" height="40" role="img" aria-label="{said}">
<linearGradient id="{name}">{stops}</linearGradient>
<rect width="100%" height="14" rx="3" fill="url(#{name})"/>
<text x="0" y="34">{first}</text>{ticks}
<text x="100%" y="34" text-anchor="end">≥ {number(high)} σ</text></svg>"""
