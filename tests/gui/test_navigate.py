"""Walking: Blender's own walk navigation, from layer to layer, and the line in the view."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from .extension import SESSION, WALKING, WEIGHTS, build, sentences

EYE = "list(view()['area'].spaces.active.region_3d.view_matrix.inverted().translation)"
AHEAD = (
    "[-x for x in list(view()['area'].spaces.active.region_3d.view_matrix.inverted().col[2])[:3]]"
)
OWN = "[getattr(bpy.context.preferences.inputs.walk_navigation, n) for n in {}]".format(
    ("walk_speed", "mouse_speed", "use_gravity")
)
STOPS = f"[(s.label, s.y) for s in {SESSION}.record(bpy.context.scene).stops]"
HEAD = f"{SESSION}.record(bpy.context.scene).low[1] - 6.0"
OVER_VIEW = "with bpy.context.temp_override(**view()):\n"


def speed(window):
    """Return how fast the viewer moves along +Y now, in metres a second, by Blender's clock."""
    now = f"[__import__('time').monotonic(), *{EYE}]"
    begin = window.ask(now)
    time.sleep(1.0)
    end = window.ask(now)
    return (end[2] - begin[2]) / (end[0] - begin[0])


def test_walking_down_the_corridor_with_w(window, tall):
    build(window, tall, rows=12, cols=12)
    window.ask("setattr(bpy.context.preferences.inputs.walk_navigation, 'walk_speed', 3.5)")
    window.ask("setattr(bpy.context.preferences.inputs.walk_navigation, 'use_gravity', True)")
    own = window.ask(OWN)
    window.open_tab("Weights")
    window.press("weightwalk.walk")
    window.wait_for(WALKING)
    window.screenshot("head-of-the-corridor")
    assert window.ask(OWN) == own, "the person's preferences are back at once"
    start = window.ask(EYE)
    np.testing.assert_allclose(start, (0.0, window.ask(HEAD), 1.7), atol=0.01)
    np.testing.assert_allclose(window.ask(AHEAD), (0.0, 1.0, 0.0), atol=0.01)
    space = "view()['area'].spaces.active"
    low, high = window.ask(f"({space}.clip_start, {space}.clip_end)")
    assert low <= 0.1 and high >= 1000
    with window.held("w"):
        time.sleep(0.5)
        fast = speed(window)
        window.screenshot("walks")
    wanted = window.ask(f"{WEIGHTS}.walk_speed")
    assert wanted == 20
    assert 0.6 * wanted < fast < 1.4 * wanted
    there = window.ask(EYE)
    assert there[1] > start[1] + 15
    np.testing.assert_allclose((there[0], there[2]), (0.0, 1.7), atol=0.01)
    window.key("Return")
    assert not window.ask(WALKING)
    window.screenshot("stays")
    kept = window.ask(EYE)
    assert kept[1] >= there[1]
    assert window.ask(OWN) == own
    # Esc goes back to where the walk began: the head of the corridor.
    window.press("weightwalk.walk")
    window.wait_for(WALKING)
    with window.held("w"):
        time.sleep(0.7)
    window.settle()
    assert window.ask(EYE)[1] > start[1] + 5
    window.key("Escape")
    assert not window.ask(WALKING)
    np.testing.assert_allclose(window.ask(EYE), start, atol=0.01)
    assert not sentences(window)


def test_keys_and_the_menu_go_from_layer_to_layer(window, tall):
    build(window, tall, rows=12, cols=12)
    stops = window.ask(STOPS)
    assert [label for label, _ in stops] == [f"layer {i}" for i in range(16)]
    window.move(*window.region().centre)
    for i in (0, 1, 2):
        window.key("Next")
        np.testing.assert_allclose(window.ask(EYE), (0.0, stops[i][1] - 6.0, 1.7), atol=0.01)
        window.screenshot(f"layer-{i}")
    assert ["INFO", "layer 2"] in window.reports()
    window.key("Prior")
    assert abs(window.ask(EYE)[1] - (stops[1][1] - 6.0)) < 0.01
    # The menu, which names where one is.
    window.open_tab("Weights")
    place = window.find("menu(LayerMenu")
    window.click(*place)
    window.screenshot("menu")
    window.key("Down", "Down", "Down", "Return")
    window.screenshot("jumped")
    went = [i for i, (_, y) in enumerate(stops) if abs(window.ask(EYE)[1] - (y - 6.0)) < 0.01]
    assert went and went[0] != 1
    # The first and the last are the ends.
    window.move(*window.region().centre)
    for _ in range(16 - went[0]):
        window.key("Next")
    assert abs(window.ask(EYE)[1] - (stops[-1][1] - 6.0)) < 0.01
    window.screenshot("last-layer")


SHOWN = """
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Vector
v = view()
space = v["area"].spaces.active
things = [o for o in bpy.context.scene.objects if "plan" in o or o.type == "FONT"]
things = [o for o in things if o.visible_get()]
points = [o.matrix_world @ Vector(c) for o in things for c in o.bound_box]
found = [location_3d_to_region_2d(v["region"], space.region_3d, p) for p in points]
size = {r.type: (r.width, r.height) for r in v["area"].regions}
result = [[list(p) if p else None for p in found], size]
"""


def test_the_overview_shows_everything_that_the_sidebar_does_not_cover(window, tall):
    build(window, tall, rows=12, cols=12)
    window.open_tab("Weights")
    window.move(*window.region().centre)
    window.key("Next")
    window.screenshot("close")
    window.key("shift+Home")
    window.screenshot("overview")
    points, size = window.ask(SHOWN)
    assert None not in points
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    width, height = size["WINDOW"]
    assert low[0] >= size["TOOLS"][0]
    assert high[0] <= width - size["UI"][0]
    assert low[1] >= 64, "the head-up line"
    assert high[1] <= height - size["HEADER"][1]
    # It is not lost in the distance either.
    free = np.array([width - size["UI"][0] - size["TOOLS"][0], height - 64 - size["HEADER"][1]])
    assert ((high - low) / free).max() > 0.8


# Lets the line in the view tell what it writes, and how long each redraw of it takes.
LISTEN = f"""
import blf, time
head = next(f.__self__ for f in {SESSION}.at_end if hasattr(f, "__self__"))
names = bpy.app.driver_namespace
head.remove()
times, said = names["times"], names["said"] = [], []
draw = names.setdefault("blf_draw", blf.draw)
def noted(font, text):
    said.append(text)
    draw(font, text)
blf.draw = noted
def timed():
    said.clear()
    begin = time.perf_counter()
    head.draw()
    times.append(time.perf_counter() - begin)
head._handle = bpy.types.SpaceView3D.draw_handler_add(timed, (), "WINDOW", "POST_PIXEL")
"""
SAID = "bpy.app.driver_namespace['said']"
REDRAW = OVER_VIEW + "    bpy.ops.wm.redraw_timer(type='DRAW', iterations={})"
BOXES = """
from mathutils import Vector
result = [
    [o["plan"], [list(o.matrix_world @ Vector(c)) for c in o.bound_box]]
    for o in bpy.context.scene.objects if "plan" in o
]
"""


def nearest(boxes, eye, ahead):
    """Return the name of the nearest box that is not wholly behind the viewer."""
    found = []
    for name, corners in boxes:
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        if ((np.array(corners) - eye) @ ahead).max() > 0:
            away = np.maximum(np.maximum(low - eye, eye - high), 0.0)
            found.append((float(np.linalg.norm(away)), name))
    return min(found)


@pytest.mark.model
def test_the_line_in_the_view_names_what_is_near_and_costs_little(window, model_folder):
    build(window, model_folder)
    window.ask(LISTEN)
    boxes = window.ask(BOXES)
    scale = window.ask(f"(lambda s: (s.low, s.high))({SESSION}.record(bpy.context.scene).scale)")
    window.move(*window.region().centre)
    for i in range(3):
        window.key("Next")
        window.ask(REDRAW.format(1))
        layer, what, *ends = window.ask(SAID)
        away, name = nearest(boxes, np.array(window.ask(EYE)), np.array(window.ask(AHEAD)))
        assert layer == window.ask(STOPS)[i][0]
        assert name in what.replace("\u200b", "")
        assert abs(float(what.split("   ")[-1].removesuffix(" m")) - away) < 0.5
        assert f"{scale[0]:g}" in ends[0] and f"{scale[1]:g} σ" in ends[-1]
        window.screenshot(f"near-{i}")
    for where in ("close", "shift+Home"):
        if where != "close":
            window.key(where)
        window.ask("bpy.app.driver_namespace['times'].clear()")
        window.ask(REDRAW.format(50), seconds=120)
        times = window.ask("bpy.app.driver_namespace['times']")
        print(where, len(times), np.median(times), max(times))
        assert len(times) >= 50
        assert np.median(times) < 0.002
    assert len(boxes) == 102


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_line_can_be_switched_off(window, checkpoint):
    build(window, checkpoint)
    window.open_tab("Weights")
    place = window.find("head_up")
    away = window.region("VIEW_3D", "HEADER").centre
    box = window.region()

    def corner():
        window.move(*away)
        window.settle()
        shot = pixels(window.screenshot("line"))
        return shot[box.bottom - 80 : box.bottom - 10, box.left + 80 : box.left + 480]

    on = corner()
    window.click(*place)
    assert not window.ask(f"{WEIGHTS}.head_up")
    off = corner()
    window.click(*place)
    back = corner()
    assert (np.abs(on - off).max(axis=2) > 40).mean() > 0.05
    assert (np.abs(on - back).max(axis=2) > 40).mean() < 0.005
