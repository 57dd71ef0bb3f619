"""The chart of a comparison: its pixels lie where the values do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weightwalk.core.color import NONFINITE
from weightwalk.core.errors import SettingsError
from weightwalk.core.flow.axis import Axis, layer_ticks, positive_axis, signed_axis
from weightwalk.core.flow.chart import chart_panels, draw_chart
from weightwalk.core.flow.compare import Comparison
from weightwalk.core.flow.page import BACKGROUND, INK, PANEL
from weightwalk.core.flow.panel import Curve, Panel, chart_colors, mixed

Array = npt.NDArray[np.float64]


def comparison(
    layers: int = 30, prompts: int = 16, departs: int | None = 9, seed: int = 0, size: float = 1.0
) -> Comparison:
    """Return what `compare` would: quantities that grow over the layers."""
    rng = np.random.default_rng(seed)
    rise = size * np.linspace(0.05, 1.0, layers)
    tables = np.exp(0.1 * rng.standard_normal((3, prompts, layers))) * rise
    shift = 6.0 * rise + 0.5 * rng.standard_normal((prompts, layers))
    return of(tables[0], tables[1] ** 2 / 2, tables[2] - 0.5 * size, shift, departs)


def of(relative: Array, angle: Array, norm: Array, shift: Array, departs: int | None) -> Comparison:
    def table(values: Array) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(row) for row in values.tolist())

    prompts, layers = relative.shape
    said = "does not depart" if departs is None else f"departs at layer {departs}"
    return Comparison(
        layers=tuple(f"layers.{i}" for i in range(layers)),
        prompts=prompts,
        relative=table(relative),
        angle=table(angle),
        norm=table(norm),
        shift=table(shift) if prompts > 2 else (),
        needed=0.05 / layers,
        p=(0.5,) * layers,
        departs=departs,
        said=said,
    )


def near(pixels: Array, color: tuple[int, ...], within: float = 40.0) -> npt.NDArray[np.bool_]:
    close: npt.NDArray[np.bool_] = np.abs(pixels.astype(float) - color[:3]).max(axis=-1) < within
    return close


def drawn(lines: list[tuple[str, Comparison]]) -> tuple[Array, tuple[Panel, ...]]:
    return np.asarray(draw_chart(lines, "one against another")), chart_panels(lines)


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_where_the_medians_are(seed: int) -> None:
    one = comparison(seed=seed)
    pixels, panels = drawn([("", one)])
    (color,) = chart_colors(1)
    for panel, table in zip(panels, (one.relative, one.angle, one.norm, one.shift), strict=True):
        medians = np.median(table, axis=0)
        lowest, highest = panel.axis.share([medians.min(), medians.max()])
        assert highest - lowest > 0.5  # the curve fills its panel
        for layer in {*range(30)} - {9}:
            x, y = panel.at(layer, medians[layer])
            assert near(pixels[round(y), round(x)], color)
            column = pixels[panel.box[1] : panel.box[3], round(x)]
            middle = np.flatnonzero(near(column, color)).mean() + panel.box[1]
            assert middle == pytest.approx(y, abs=0.75)


def test_the_band_is_between_the_quartiles() -> None:
    one = comparison()
    pixels, panels = drawn([("", one)])
    band = mixed(chart_colors(1)[0], PANEL, 0.28)
    low, high = np.quantile(one.norm, (0.25, 0.75), axis=0)
    for layer in (15, 20, 25):
        (x, bottom), (_, top) = panels[2].at(layer, low[layer]), panels[2].at(layer, high[layer])
        # A pixel beside the dot and the grid.
        column = near(pixels[:, round(x) + 7], band, 12.0)
        column[: panels[2].box[1]] = column[panels[2].box[3] :] = False
        rows = np.flatnonzero(column)
        assert rows.min() == pytest.approx(top, abs=8)
        assert rows.max() == pytest.approx(bottom, abs=8)


@pytest.mark.parametrize("departs", [0, 13, 29])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_mark_and_its_label_are_at_the_layer(departs: int, steps: int) -> None:
    lines = [(f"step {n}", comparison(departs=departs, seed=n)) for n in range(steps)]
    pixels, panels = drawn(lines)
    x = panels[0].across(departs)
    for panel in panels:
        column = near(pixels[panel.box[1] : panel.box[3], round(x)], (255, 255, 255), 60.0)
        assert column.mean() > 0.3
    row = panels[0].box[1] - 40
    letters = near(pixels[row - 6 : row + 6], INK, 60.0).any(axis=0)
    across = np.flatnonzero(letters)
    assert across[0] <= x <= across[-1]
    if departs == 13:  # at the edges it is pushed in
        assert (across[0] + across[-1]) / 2 == pytest.approx(x, abs=4)


def test_nothing_is_marked_where_nothing_departs() -> None:
    pixels, panels = drawn([("", comparison(departs=None))])
    left, top, right, bottom = panels[0].box
    assert not near(pixels[top:bottom, left:right], (255, 255, 255), 30.0).any()


def test_steps_go_from_dark_to_light_and_each_departure_has_its_ring() -> None:
    lines = [
        (f"step {n}", comparison(departs=4 * n + 3, seed=n, size=0.4 + 0.2 * n)) for n in range(6)
    ]
    pixels, panels = drawn(lines)
    colors = chart_colors(6)
    assert (np.diff(np.array(colors) @ [0.2126, 0.7152, 0.0722]) > 0).all()
    for (_, each), color in zip(lines, colors, strict=True):
        assert each.departs is not None
        x, y = panels[3].at(each.departs, np.median(each.shift, axis=0)[each.departs])
        rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
        away = np.hypot(columns - x, rows - y)
        # Pixels that lie in the ring, and in its hole, as a whole.
        assert near(pixels[(away > 3.6) & (away < 4.3)], color).all()
        assert near(pixels[away < 1.5], PANEL).all()


def test_a_layer_without_a_value_is_marked_and_the_curve_is_cut() -> None:
    tables = np.array([comparison().relative] * 4)
    tables[:, :, 12:15], tables[:, 3, 20] = np.nan, np.nan
    one = of(*tables, None)
    pixels, panels = drawn([("", one)])
    for panel in panels:
        _, top, _, bottom = panel.box
        for layer in range(30):
            column = pixels[top:bottom, round(panel.across(layer))]
            assert near(column, NONFINITE).any() == (layer in {12, 13, 14, 20})
            assert near(column, chart_colors(1)[0]).any() == (layer not in {12, 13, 14})


@pytest.mark.parametrize("value", [0.0, np.nan, 1e-30, 1e30])
@pytest.mark.parametrize(("layers", "prompts"), [(1, 1), (1, 3), (2, 2), (200, 40)])
def test_there_is_a_chart_of_anything(value: float, layers: int, prompts: int) -> None:
    tables = np.full((4, prompts, layers), value)
    draw_chart([("", of(*tables, None))], "")
    tables[:, 0, 0] = 3.0
    draw_chart([("a", of(*tables, 0)), ("b", of(*-tables, layers - 1))], "x" * 500)


def test_a_hundred_steps() -> None:
    lines = [(f"step {n}", comparison(60, 3, 30, seed=n)) for n in range(100)]
    assert draw_chart(lines, "many").size[0] == 1280


def test_nothing_to_draw() -> None:
    with pytest.raises(SettingsError, match="no comparison"):
        draw_chart([], "nothing")


values_of = st.lists(st.floats(-1e30, 1e30) | st.just(np.nan), max_size=20)


def test_a_panel_goes_from_its_lowest_value_at_the_foot_to_its_highest_at_the_top() -> None:
    curve = Curve(*np.zeros((3, 5)))
    axis = Axis("linear", -2.0, 6.0, (0.0,))
    panel = Panel("", "", (curve,), axis, str, (100, 200, 500, 600))
    found = [panel.at(2, value) for value in (-2.0, 0.0, 2.0, 6.0)]
    assert found == [(300.0, 600.0), (300.0, 500.0), (300.0, 400.0), (300.0, 200.0)]
    across = [panel.across(layer) for layer in range(5)]
    assert np.ptp(np.diff(across)) == 0.0
    assert 100 < across[0] == 600 - across[4] < 140


@given(values_of)
def test_axes_hold_all_values_in_their_order(values: list[float]) -> None:
    for axis in (positive_axis(np.abs(values)), signed_axis(values, 2.4, 80.0)):
        ticks = np.array(axis.ticks)
        assert 1 <= len(ticks) <= 24
        shares = axis.share(ticks)
        assert (np.diff(shares) > 0).all()
        assert ((shares >= 0) & (shares <= 1)).all()
        v = np.abs(values) if axis.low >= 0 else np.array(values)
        known = np.sort(v[np.isfinite(v)])
        placed = axis.share(known)
        assert (np.diff(placed) >= 0).all()
        assert np.isnan(axis.share(np.nan))
        if known.size and axis.kind != "log":
            assert known[-1] <= axis.high * (1 + 1e-12)


def test_a_logarithmic_axis_gives_equal_room_to_equal_factors_and_zero_its_place() -> None:
    axis = positive_axis([0.0, 0.003, 4.0])
    assert (axis.kind, axis.low, axis.high) == ("log", 0.002, 5.0)
    tenth, one = axis.share([0.01, 0.1]), axis.share([0.1, 1.0])
    assert tenth[1] - tenth[0] == pytest.approx(one[1] - one[0])
    assert axis.share(0.0) == 0.0 < axis.share(0.002)
    assert positive_axis([1.0, 3.0]).kind == "linear"
    rounding = positive_axis([1e-17, 1.0])
    assert (rounding.low, rounding.high, rounding.foot) == (1e-6, 1.0, True)


def test_layers_have_round_numbers() -> None:
    assert layer_ticks(30, 26) == tuple(range(0, 30, 2))
    assert layer_ticks(200, 26) == tuple(range(0, 200, 10))
    assert layer_ticks(1, 26) == (0,)


def test_the_page_is_the_houses() -> None:
    pixels, _ = drawn([("", comparison())])
    assert (pixels[0] == BACKGROUND).all()
