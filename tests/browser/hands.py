"""What a hand does on a page, shared by the tests of this folder."""

from __future__ import annotations

from playwright.sync_api import Locator


def drag(handle: Locator, pixels: int, moves: int) -> None:
    """Drag a slider with the mouse, and let go."""
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse = handle.page.mouse
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + pixels, y, steps=moves)
    mouse.up()
