"""The colours of the report's lines: told apart from each other and from the ground, in the light and the dark scheme."""

import itertools
import math
import os
import re
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("LONGROPE_SOURCE_DIR", Path(__file__).resolve().parents[2]))
LINES = ["own-0", "own-1", "own-2", "own-3", "untouched", "pi", "ntk", "yarn", "dynamic", "published"]


def palettes():
    """The colours of the two schemes of page.css, by name: the dark scheme overrides the light one."""
    style = (ROOT / "report" / "page.css").read_text(encoding="utf-8")
    light, dark = [dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block))
                   for block in re.findall(r":root[^{]*\{([^}]*)\}", style)]
    return {"light": light, "dark": {**light, **dark}}


def linear(code):
    """Red, green and blue in linear light, 0 to 1 (IEC 61966-2-1)."""
    values = [int(code[at:at + 2], 16) / 255 for at in (1, 3, 5)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]


def luminance(code):
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear(code)))


def contrast(first, second):
    """Contrast ratio of WCAG 2."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def lab(code):
    """CIELAB under D65."""
    rgb = linear(code)
    rows = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    x, y, z = (sum(weight * value for weight, value in zip(row, rgb)) for row in rows)
    f = [t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x / 0.95047, y, z / 1.08883)]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def ciede2000(first, second):
    """Sharma, Wu and Dalal, The CIEDE2000 Color-Difference Formula, 2005."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    mean_chroma = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    g = 0.5 * (1 - math.sqrt(mean_chroma ** 7 / (mean_chroma ** 7 + 25 ** 7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = math.degrees(math.atan2(b1, a1)) % 360, math.degrees(math.atan2(b2, a2)) % 360
    turn = 0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    hue = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn) / 2)
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    mean_hue = h1 + h2 if c1 * c2 == 0 else (h1 + turn / 2) % 360

    def cos(degrees):
        return math.cos(math.radians(degrees))

    t = (1 - 0.17 * cos(mean_hue - 30) + 0.24 * cos(2 * mean_hue) + 0.32 * cos(3 * mean_hue + 6)
         - 0.20 * cos(4 * mean_hue - 63))
    by_lightness = (l2 - l1) / (1 + 0.015 * (lightness - 50) ** 2 / math.sqrt(20 + (lightness - 50) ** 2))
    by_chroma, by_hue = (c2 - c1) / (1 + 0.045 * chroma), hue / (1 + 0.015 * chroma * t)
    rotation = (-2 * math.sqrt(chroma ** 7 / (chroma ** 7 + 25 ** 7))
                * math.sin(math.radians(60 * math.exp(-((mean_hue - 275) / 25) ** 2))))
    return math.sqrt(by_lightness ** 2 + by_chroma ** 2 + by_hue ** 2 + rotation * by_chroma * by_hue)


def test_formula_gives_the_published_differences():
    for first, second, difference in (((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
                                      ((50, 2.5, 0), (73, 25, -18), 27.1492),
                                      ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
                                      ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441)):
        assert ciede2000(first, second) == pytest.approx(difference, abs=1e-4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_any_two_lines_are_told_apart(scheme):
    colours = palettes()[scheme]
    for first, second in itertools.combinations(LINES, 2):
        assert ciede2000(lab(colours[first]), lab(colours[second])) >= 30, (first, second)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_failed_bars_are_told_from_computed_and_open_ones(scheme):
    colours = palettes()[scheme]
    for other in ("own-0", "own-2", "untouched"):
        assert ciede2000(lab(colours["bad"]), lab(colours[other])) >= 30, other


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_stand_out_from_the_ground(scheme):
    colours = palettes()[scheme]
    for line in [*LINES, "bad"]:
        assert contrast(colours[line], colours["ground"]) >= 3, line


def test_every_colour_of_a_line_is_in_the_palette():
    scripts = (ROOT / "report" / "charts.js").read_text(encoding="utf-8")
    methods = re.search(r"const METHODS = .*?\n\}\)\);", scripts, re.DOTALL)[0]
    used = set(re.findall(r'colour: "--([a-z-]+)"', methods))
    assert used | {f"own-{number}" for number in range(4)} == set(LINES)
