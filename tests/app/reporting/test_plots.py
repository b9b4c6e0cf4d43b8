from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from app.reporting.plots import composition_bars, dendrogram, language_colours, loss_plot

SVG = "{http://www.w3.org/2000/svg}"


def shown(svg: str) -> list[str]:
    """Texts of a picture; fails unless it is well-formed."""
    return [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def rectangles(svg: str) -> list[float]:
    """Widths of the coloured bars, left to right and top to bottom."""
    paths = [p for p in ElementTree.fromstring(svg).iter(f"{SVG}path") if "stroke: #ffffff" in p.get("style", "")]
    corners = [[float(x) for x, _ in re.findall(r"(-?[0-9.]+) (-?[0-9.]+)", str(p.get("d")))] for p in paths]
    return [max(row) - min(row) for row in corners]


def test_a_picture_fills_the_width_it_is_given() -> None:
    root = ElementTree.fromstring(loss_plot({"dense": [(0, 3.0), (10, 2.0)]}))
    assert root.get("viewBox") and root.get("width") is None and root.get("height") is None


def test_the_same_figures_give_the_same_picture() -> None:
    curves = {"dense": [(0.0, 3.0), (10.0, 2.0)]}
    assert loss_plot(curves) == loss_plot(curves)


def test_every_curve_is_in_the_legend() -> None:
    curves = {f"model-{n}": [(0.0, 3.0), (10.0, 2.0)] for n in range(20)}
    assert set(curves) <= set(shown(loss_plot(curves)))


def test_bars_are_as_wide_as_their_numbers_and_stand_in_the_tables_order() -> None:
    held = [{"en": 30, "de": 10}, {"ja": 40}]
    widths = rectangles(composition_bars(["a", "b"], {"documents": held}, ["de", "en", "ja"]))
    assert len(widths) == 3
    assert abs(widths[1] / widths[0] - 3) < 0.01 and abs(widths[2] / (widths[0] + widths[1]) - 1) < 0.01


def test_what_was_trained_on_stands_beside_what_is_held_each_on_its_own_scale() -> None:
    panels = {"documents": [{"de": 10, "en": 30}], "tokens": [{"de": 5000, "en": 5000}]}
    svg = composition_bars(["a"], panels, ["de", "en"])
    widths = rectangles(svg)
    assert abs(widths[1] / widths[0] - 3) < 0.01 and abs(widths[2] / widths[3] - 1) < 0.01
    assert abs((widths[0] + widths[1]) / (widths[2] + widths[3]) - 1) < 0.01
    assert {"documents", "tokens", "a"} <= set(shown(svg))
    colours = re.findall(r"fill: (#[0-9a-f]{6}); stroke: #ffffff", svg)
    assert colours[:2] == colours[2:] and len(set(colours)) == 2


def test_no_two_of_a_hundred_languages_have_one_colour_and_white_text_stands_out_on_each() -> None:
    colours = language_colours([f"l{number}" for number in range(100)])
    assert len(set(colours.values())) == 100
    for colour in colours.values():
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) > 3.0


def test_a_part_too_narrow_for_its_name_has_none() -> None:
    texts = shown(composition_bars(["a"], {"documents": [{"de": 1, "en": 999}]}, ["de", "en"]))
    assert "en" in texts and "de" not in texts


MERGES = [(["a"], ["b"], 0.1), (["c"], ["d"], 0.2), (["a", "b"], ["c", "d"], 0.4)]
LABELS = {name: name for name in "abcd"}


def merged_at(svg: str) -> list[float]:
    """Where the branches of a tree are joined, in the picture's units from the left."""
    return [float(x) for x in re.findall(r"M [0-9.]+ [0-9.]+ \nL ([0-9.]+) [0-9.]+ \nL \1 [0-9.]+ \nL", svg)][-3:]


def test_merges_stand_at_their_distances() -> None:
    first, second, last = merged_at(dendrogram(LABELS, MERGES, 2))
    assert (last - second) / (second - first) == pytest.approx(2.0, abs=1e-3)


def test_the_cut_stands_between_the_last_merge_within_and_the_first_across_clusters() -> None:
    for k in (4, 3, 2, 1):
        svg = dendrogram(LABELS, MERGES, k)
        (cut,) = re.findall(r'd="M ([0-9.]+) [^"]*"[^>]*stroke-dasharray', svg)
        assert sum(x < float(cut) for x in merged_at(svg)) == len(LABELS) - k
        assert svg.count("#0072b2") == len(LABELS) - k  # the branches within clusters have their colour


def test_a_merge_at_a_smaller_distance_than_one_below_stands_just_beyond_it() -> None:
    falling = [(["a"], ["b"], 0.4), (["c"], ["d"], 0.2), (["a", "b"], ["c", "d"], 0.25)]
    svg = dendrogram(LABELS, falling, 2)
    first, second, last = merged_at(svg)
    assert first < last < first + 0.1 * (first - second) and "0.25" in shown(svg)


def test_where_no_line_parts_the_clusters_none_is_drawn() -> None:
    merges = [(["a"], ["b"], 0.3), (["c"], ["d"], 0.2), (["a", "b"], ["c", "d"], 0.4)]
    assert "stroke-dasharray" not in dendrogram(LABELS, merges, 3)  # the second merge is across and left of the first
    assert dendrogram(LABELS, merges, 3).count("#0072b2") == 1


def test_names_are_escaped() -> None:
    assert "<b>" not in composition_bars(["<b>"], {"x": [{"<i>": 1}]}, ["<i>"])
