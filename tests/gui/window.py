"""A mouse and a keyboard before Blender's window, and where on it the buttons are."""

from __future__ import annotations

import ast
import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .running import HEIGHT, Running

# A button is 20 pixels wide at least, and 20 high; a list's item, 19.
STEP = 16
# Where most buttons of a panel are met, as parts of its width. The mouse's wheel, as X names it.
COLUMNS = (0.5, 0.2, 0.8, 0.1)
UP, DOWN = 4, 5


class Box(NamedTuple):
    """A rectangle on the screen; y grows downwards."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def centre(self) -> tuple[int, int]:
        return (self.left + self.right) // 2, (self.top + self.bottom) // 2


class Window(Running):
    """Blender in a window of 1600×900 pixels, and the hands of a person before it."""

    def start_anew(self, pictures: Path) -> None:
        """Begin with a new file, with the mouse over the 3D view."""
        self.key("Escape", "Escape")
        super().start_anew(pictures)
        self.move(*self.region().centre)
        self.settle()

    def _xdotool(self, *arguments: object) -> None:
        command = ["xdotool", *map(str, arguments)]
        subprocess.run(command, env=self.environment, timeout=60, check=True)

    def move(self, x: int, y: int) -> None:
        """Move the mouse, and wait until Blender has seen it."""
        for _ in range(10):
            self._xdotool("mousemove", x, y)
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                if self.ask("pointer()") == [x, HEIGHT - 1 - y]:
                    return
            # Where the mouse was there already, no event came of it.
            self._xdotool("mousemove", x + 1, y)
        raise self.error(f"Blender does not see the mouse at {x}, {y}")

    def nudge(self, dx: int, dy: int) -> None:
        """Move the mouse from where it is, which Blender itself may hold: while walking."""
        self._xdotool("mousemove_relative", "--", dx, dy)

    def click(self, x: int, y: int, button: int = 1) -> None:
        self.move(x, y)
        self._xdotool("click", button)
        self.settle()

    def key(self, *keys: str) -> None:
        """Press keys, such as ``ctrl+z``, one after the other."""
        self._xdotool("key", "--delay", 50, *keys)
        self.settle()

    def type(self, text: str) -> None:
        self._xdotool("type", "--delay", 15, text)
        self.settle()

    @contextlib.contextmanager
    def held(self, key: str) -> Iterator[None]:
        """Hold a key down meanwhile."""
        self._xdotool("keydown", key)
        try:
            yield
        finally:
            self._xdotool("keyup", key)

    def settle(self) -> None:
        """Let Blender handle what came from mouse and keyboard, and redraw."""
        time.sleep(0.1)
        for _ in range(3):
            self.ask("None")

    def region(self, area: str = "VIEW_3D", region: str = "WINDOW") -> Box:
        """Return where a region of the largest area of a type is."""
        x, y, width, height = self.ask(
            f"r = view({area!r}, {region!r})['region']; result = r.x, r.y, r.width, r.height"
        )
        return Box(x, HEIGHT - y - height, x + width, HEIGHT - y)

    def find(
        self, what: str, /, *, area: str = "VIEW_3D", region: str = "UI", **values: Any
    ) -> tuple[int, int]:
        """Return where a button is, by moving the mouse over a region until Blender says it.

        `what` is an operator's name, with a dot in it, and `values` some of the properties that
        the button gives it; or the name of a property, with ``index=`` for one part of a vector;
        or for a menu a part of the line of Python that draws it, with a bracket in it.
        """
        step = self._step()
        for columns in (COLUMNS, ()):
            for _ in self._pages(area, region):
                for place in places(self.region(area, region), step, columns):
                    if fits(self._button_at(*place, area, region, "(" in what), what, values):
                        return place
        raise self.error(f"no {what} {values or ''} in the {region} of the {area}")

    def extent(
        self, what: str, /, *, area: str = "VIEW_3D", region: str = "UI", **values: Any
    ) -> Box:
        """Return the rectangle of a button, of an enum's row of buttons, or of a list's items."""
        x, y = self.find(what, area=area, region=region, **values)
        box = self.region(area, region)

        def button(x: int, y: int) -> dict[str, Any]:
            return self._button_at(x, y, area, region, "(" in what)

        def reach(dx: int, dy: int, limit: int) -> int:
            """Return for how many pixels in a direction it is the same button."""
            inside, outside = 0, limit
            while outside - inside > 1:
                middle = (inside + outside) // 2
                if button(x + dx * middle, y + dy * middle) == here:
                    inside = middle
                else:
                    outside = middle
            return inside

        here = button(x, y)
        return Box(
            x - reach(-1, 0, x - box.left),
            y - reach(0, -1, y - box.top),
            x + reach(1, 0, box.right - x),
            y + reach(0, 1, box.bottom - y),
        )

    def press(self, what: str, /, **where: Any) -> None:
        """Find a button, with the arguments of `find`, and click it."""
        self.click(*self.find(what, **where))

    def _button_at(self, x: int, y: int, area: str, region: str, lines: bool) -> dict[str, Any]:
        self.move(x, y)
        found: dict[str, Any] = self.ask(f"hovered({area!r}, {region!r}, {lines})")
        return found

    def _step(self) -> int:
        """Return how near to each other two places may be that miss no button between them."""
        return int(STEP * self.ask("bpy.context.preferences.system.ui_scale"))

    def _pages(self, area: str, region: str) -> Iterator[None]:
        """Show what is there, then scroll a region from its top to its end."""
        yield
        moved = False
        while self._scroll(area, region, UP):
            moved = True
        if moved:
            yield
        while self._scroll(area, region, DOWN):
            yield

    def _scroll(self, area: str, region: str, wheel: int) -> bool:
        """Scroll most of a region's height, over its margin, where no list takes the wheel."""
        box = self.region(area, region)
        self.move(box.left + 4, box.centre[1])

        def turn(times: int) -> float:
            top = f"view({area!r}, {region!r})['region'].view2d.region_to_view(0, 0)[1]"
            before = self.ask(top)
            self._xdotool("click", "--repeat", times, "--delay", 10, wheel)
            self.settle()
            return abs(float(self.ask(top) - before))

        one = turn(1)
        if one:
            turn(max(int(0.8 * (box.bottom - box.top) / one) - 1, 1))
        return one > 0

    def open_tab(self, name: str) -> None:
        """Click the tabs of the 3D view's sidebar until one of this name is open."""
        width = "view('VIEW_3D', 'UI')['region'].width"
        if self.ask(width) < 50:
            self.move(*self.region().centre)
            self.key("n")
            self.wait_for(f"{width} > 200")
        current = "view('VIEW_3D', 'UI')['region'].active_panel_category"
        box = self.region("VIEW_3D", "UI")
        for y in range(box.top + 10, box.bottom, 20):
            if self.ask(current) == name:
                return
            self.click(box.right - 10, y)
        raise self.error(f"no tab {name!r}")

    def open_panel(self, name: str) -> None:
        """Open the panel of a class in the open tab, and close all others, by their headers."""
        while self._scroll("VIEW_3D", "UI", UP):
            pass
        box, step = self.region("VIEW_3D", "UI"), self._step()
        x, top = box.centre[0], box.top + step
        # Closes all but the first.
        self.move(x, top)
        with self.held("ctrl"):
            self.click(x, top)
        if self._draws(name):
            return
        self.click(x, top)
        # Only headers are left, one below the other.
        for y in range(top + step, box.bottom, step):
            self.click(x, y)
            if self._draws(name):
                return
            self.click(x, y)
        raise self.error(f"no panel {name}")

    def _draws(self, panel: str) -> bool:
        self.ask(f"watch({panel!r})")
        self.settle()
        return bool(self.ask(f"{panel!r} in drawn"))

    def type_path(self, path: Path) -> None:
        """Type the path of a file or a folder into the file browser, and accept it with Enter."""
        self.wait_for("'FILE_BROWSER' in shown()")
        folder, name = (path, "") if path.is_dir() else (path.parent, path.name)
        params = "view('FILE_BROWSER')['area'].spaces.active.params"
        self.press("directory", area="FILE_BROWSER", region="UI")
        self.type(str(folder))
        self.key("Return")
        self.wait_for(f"{params}.directory.decode() == {str(folder)!r} + '/'")
        # Blender has no property for the field of the name, which fills the left of its region.
        box = self.region("FILE_BROWSER", "EXECUTE")
        place = ((2 * box.left + box.right) // 3, box.centre[1])
        # The field of the folder still takes the keys, and the first click only ends that.
        self.click(*place)
        if name:
            self.click(*place)
            self.key("ctrl+a")
            self.type(name)
            self.key("Return")
        self.wait_for(f"{params}.filename == {name!r}")
        self.screenshot(f"path-of-{path.name}")
        self.key("Return")
        self.wait_for("'FILE_BROWSER' not in shown()")


def places(box: Box, step: int, columns: tuple[float, ...]) -> Iterator[tuple[int, int]]:
    """Yield places in a rectangle: down some columns, or with none of them everywhere."""
    across = [round(box.left + part * (box.right - box.left)) for part in columns]
    for x in across or range(box.left + 4, box.right, step):
        for y in range(box.top + 4, box.bottom, step):
            yield x, y


def fits(hovered: dict[str, Any], what: str, values: dict[str, Any]) -> bool:
    """Tell whether a button, as inside.py's `hovered` describes it, is the one looked for."""
    if "(" in what:
        return what in hovered.get("line", "")
    if "." not in what:
        return hovered.get("property") == what and hovered["index"] == values.get("index", -1)
    if not hovered.get("operator", "").startswith(f"bpy.ops.{what}("):
        return False
    call = ast.parse(hovered["operator"], mode="eval").body
    assert isinstance(call, ast.Call)
    given = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    return values.items() <= given.items()
