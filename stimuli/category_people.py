"""Drawings of faces, and of bodies without heads."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from stimuli.category_brush import (
    CIRCLE,
    DARK,
    WHITE,
    Brush,
    Figure,
    Rgb,
    hsv,
    shade,
    vivid,
)


def _skin(rng: np.random.Generator) -> Rgb:
    dark = rng.random()
    tone = hsv(rng.uniform(14, 32), 0.28 + 0.35 * dark, 0.97 - 0.55 * dark)
    return tone


# -------------------------------------------------------------------------- face


def _long_hair(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a face with long hair."""
    _face(brush, rng, hue, "long")


def _short_hair(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a face with short hair."""
    _face(brush, rng, hue, "short")


def _hat(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a face with a hat."""
    _face(brush, rng, hue, "hat")


def _face(brush: Brush, rng: np.random.Generator, hue: float, top: str) -> None:
    skin, clothes = _skin(rng), vivid(rng, hue)
    natural = hsv(rng.uniform(15, 45), rng.uniform(0.1, 0.7), rng.uniform(0.08, 0.8))
    hair = natural if rng.random() < 0.8 else vivid(rng, hue)
    wide, jaw, yaw = (
        rng.uniform(0.56, 0.68),
        rng.uniform(0.05, 0.3),
        rng.uniform(0, 0.2),
    )
    if top == "long":
        brush.ellipse(0, -0.15, wide + 0.2, 0.82, hair)
        length = rng.uniform(0.6, 1.05)
        edge = wide + 0.2
        hem = [(edge, -0.15), (edge + 0.05, length), (-edge - 0.05, length)]
        brush.polygon([(-edge, -0.15), *hem], hair)
    brush.ellipse(0, 1.2, 0.85, 0.34, clothes)
    brush.polygon(
        [(-0.24, 0.5), (0.24, 0.5), (0.3, 1.0), (-0.3, 1.0)], shade(skin, 0.8)
    )
    for side in (-1, 1):
        brush.ellipse(side * wide, 0.05, 0.1, 0.18, shade(skin, 0.85))
    head = CIRCLE * (wide, 0.84)
    head[:, 0] *= 1 - jaw * np.clip(head[:, 1], 0, 1)
    brush.polygon(head, shade(skin, 0.86))
    brush.polygon(head * (0.9, 0.95) + (0.4 * yaw + 0.03, -0.02), skin)
    _eyes_nose_mouth(brush, rng, skin, hair, yaw)
    if top == "hat":
        brush.polygon(CIRCLE[20:] * (wide, 0.6) + (0, -0.35), clothes)
        brim = rng.uniform(0.75, 1.0)
        brush.ellipse(0.15 * brim, -0.37, brim, 0.09, shade(clothes, 0.7))
    else:
        crown = CIRCLE[20:] * (wide + 0.06, 0.9)
        line = rng.uniform(-0.55, -0.4)
        part = rng.uniform(-0.3, 0.3)
        fringe = [(wide - 0.05, -0.2), (part, line), (-wide + 0.05, -0.2)]
        brush.polygon([*crown, (wide + 0.06, 0.0), *fringe], hair)


def _eyes_nose_mouth(
    brush: Brush, rng: np.random.Generator, skin: Rgb, hair: Rgb, yaw: float
) -> None:
    apart, open_ = rng.uniform(0.24, 0.3), rng.uniform(0.05, 0.09)
    iris = hsv(rng.choice([25, 30, 110, 210]), 0.6, rng.uniform(0.2, 0.6))
    line = shade(skin, 0.62)
    brow = rng.uniform(-0.05, 0.05)
    for side in (-1, 1):
        x = yaw + side * apart
        brush.ellipse(x, -0.1, 0.13, open_ + 0.02, line)
        brush.ellipse(x, -0.095, 0.125, open_, WHITE)
        brush.ellipse(x, -0.095, 0.065, min(open_, 0.065), iris)
        brush.ellipse(x, -0.095, 0.033, 0.033, DARK)
        ends = [(x - 0.15 * side, -0.26 + brow), (x, -0.31), (x + 0.15 * side, -0.25)]
        brush.stroke(ends, 0.05, shade(hair, 0.75))
    if rng.random() < 0.2:  # glasses
        for side in (-1, 1):
            ring = CIRCLE * (0.19, 0.16) + (yaw + side * apart, -0.1)
            brush.stroke(np.vstack([ring, ring[:1]]), 0.03, DARK)
        brush.stroke([(yaw - 0.09, -0.12), (yaw + 0.09, -0.12)], 0.03, DARK)
    tip = 1.5 * yaw
    brush.stroke(
        [(yaw + 0.02, -0.05), (tip + 0.1, 0.2), (tip - 0.06, 0.23)], 0.04, line
    )
    wide, smile, gap = rng.uniform(0.15, 0.28), rng.uniform(-0.04, 0.14), rng.random()
    along = np.linspace(-1, 1, 9)
    upper = np.column_stack([yaw + wide * along, 0.45 - smile * along**2])
    lower = upper + np.column_stack([0 * along, (0.05 + 0.1 * gap) * (1 - along**2)])
    lips = (min(1.0, skin[0] * 0.95), skin[1] * 0.55, skin[2] * 0.55)
    brush.polygon(np.vstack([upper, lower[::-1]]), lips)
    if gap > 0.6:
        brush.polygon(np.vstack([upper, 0.5 * (upper + lower)[::-1]]), WHITE)


# -------------------------------------------------------------------------- body


def _standing(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a standing body without head."""
    arms = [(rng.uniform(4, 35), rng.uniform(-10, 30)) for _ in range(2)]
    legs = [(rng.uniform(1, 14), rng.uniform(-6, 6)) for _ in range(2)]
    _body(brush, rng, hue, arms, legs)


def _running(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a running body without head."""
    arms = [(rng.uniform(30, 60), -90), (rng.uniform(35, 65), rng.uniform(60, 100))]
    legs = [(rng.uniform(25, 45), -rng.uniform(20, 60)), (rng.uniform(20, 50), -5)]
    _body(brush, rng, hue, arms, legs)


def _reaching(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a body without head, with raised arms."""
    arms = [(rng.uniform(95, 160), rng.uniform(-20, 50)) for _ in range(2)]
    legs = [(rng.uniform(4, 30), rng.uniform(-12, 4)) for _ in range(2)]
    _body(brush, rng, hue, arms, legs)


def _body(
    brush: Brush,
    rng: np.random.Generator,
    hue: float,
    arms: Sequence[tuple[float, float]],
    legs: Sequence[tuple[float, float]],
) -> None:
    """Draw limbs by the angles of their two joints: outwards, then the bend."""
    skin, shirt = _skin(rng), vivid(rng, hue)
    trousers = vivid(rng, hue + rng.uniform(60, 300))
    shoulder, hip = rng.uniform(0.24, 0.32), rng.uniform(0.19, 0.25)
    bare_arm, bare_leg, skirt = rng.random(3) < (0.5, 0.35, 0.3)
    for side, (out, bend) in zip((-1, 1), legs, strict=True):
        knee, foot = _limb((side * 0.12, 0.08), side, out, bend, (0.44, 0.42))
        brush.stroke([(side * 0.12, 0.08), knee], 0.23, shade(trousers, 0.9))
        brush.stroke([knee, foot], 0.16, skin if bare_leg or skirt else trousers)
        toe = (foot[0] + 0.07 * side, foot[1] + 0.03)
        brush.stroke([foot, toe], 0.13, DARK)
    if skirt:
        hem = rng.uniform(0.35, 0.5)
        flare = [(hip, 0.0), (hip + 0.12, hem), (-hip - 0.12, hem), (-hip, 0.0)]
        brush.polygon(flare, trousers)
    brush.stroke([(0, -0.95), (0, -0.7)], 0.16, shade(skin, 0.85))
    back = [(-shoulder, -0.76), (shoulder, -0.76), (hip - 0.03, -0.3)]
    brush.polygon([*back, (hip, 0.1), (-hip, 0.1), (-hip + 0.03, -0.3)], shirt)
    lit = [(-shoulder, -0.76), (0.05, -0.76), (0, 0.1), (-hip, 0.1)]
    brush.polygon([*lit, (-hip + 0.03, -0.3)], shade(shirt, 1.12))
    brush.box(-hip, 0.05, hip, 0.12, shade(trousers, 0.5))
    for side, (out, bend) in zip((-1, 1), arms, strict=True):
        start = (side * shoulder, -0.69)
        elbow, hand = _limb(start, side, out, bend, (0.34, 0.32))
        brush.stroke([elbow, hand], 0.11, skin if bare_arm else shade(shirt, 0.9))
        brush.stroke([start, elbow], 0.15, shade(shirt, 0.9))
        brush.ellipse(*hand, 0.07, 0.08, skin)


def _limb(
    start: tuple[float, float],
    side: int,
    out_deg: float,
    bend_deg: float,
    lengths: tuple[float, float],
) -> list[tuple[float, float]]:
    ends = []
    x, y = start
    for angle, length in zip((out_deg, out_deg + bend_deg), lengths, strict=True):
        turn = np.deg2rad(angle)
        x, y = x + side * length * np.sin(turn), y + length * np.cos(turn)
        ends.append((float(x), float(y)))
    return ends


FACES: Mapping[str, Figure] = MappingProxyType(
    {"long_hair": _long_hair, "short_hair": _short_hair, "hat": _hat}
)
"""Faces by kind."""

BODIES: Mapping[str, Figure] = MappingProxyType(
    {"standing": _standing, "running": _running, "reaching": _reaching}
)
"""Bodies by kind."""
