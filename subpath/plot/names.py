"""Where the names of points go, so that none hides another: geometry in any one unit of length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ANGLES = 24
RINGS = 40


@dataclass(frozen=True)
class Box:
    """A rectangle by its sides."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, frame: Box) -> bool:
        """Whether some of it lies outside ``frame``."""
        inside = frame.left <= self.left and self.right <= frame.right
        return not (inside and frame.bottom <= self.bottom and self.top <= frame.top)


def place_names(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    marker: float,
    obstacles: Sequence[Box] = (),
) -> list[Box]:
    """A box for the name of each point, near it, inside the frame, free of all else.

    The names of the most crowded points are placed first; each takes the nearest free place, or
    the least covered one where there is none.

    Args:
        points: centres of the markers.
        sizes: width and height of each name.
        frame: where names may be.
        marker: half the width of a marker.
        obstacles: what else must not be covered.
    """
    markers = [Box(x - marker, y - marker, x + marker, y + marker) for x, y in points]
    step = max(min((height for _, height in sizes), default=1.0) / 2, 1e-9)

    def crowd(place: int) -> float:
        near = 12 * step
        return -sum(math.dist(points[place], other) < near for other in points)

    boxes: dict[int, Box] = {}
    for place in sorted(range(len(points)), key=crowd):
        width, height = sizes[place]
        x, y = points[place]
        taken = [*markers, *boxes.values(), *obstacles]
        best, least = None, math.inf
        for ring in range(RINGS):
            away = marker + step * (0.3 + ring)
            for turn in range(ANGLES):
                angle = 2 * math.pi * (turn / ANGLES + 1 / 8)
                left = x + math.cos(angle) * (away + width / 2) - width / 2
                bottom = y + math.sin(angle) * (away + height / 2) - height / 2
                box = Box(left, bottom, left + width, bottom + height)
                if box.outside(frame):
                    continue
                covered = sum(box.overlap(other) for other in taken)
                if covered < least:
                    best, least = box, covered
                if covered == 0:
                    break
            if least == 0:
                break
        boxes[place] = best or Box(x, y, x + width, y + height)
    return [boxes[place] for place in range(len(points))]
