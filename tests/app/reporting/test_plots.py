from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from app.reporting.plots import composition_bars, dendrogram, loss_plot

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


def test_bars_are_as_wide_as_their_numbers_and_the_largest_stands_first() -> None:
    widths = rectangles(composition_bars(["a", "b"], [{"de": 10, "en": 30}, {"ja": 40}], "documents"))
    assert len(widths) == 3
    assert abs(widths[0] / widths[1] - 3) < 0.01 and abs(widths[2] / (widths[0] + widths[1]) - 1) < 0.01


def test_a_part_too_narrow_for_its_name_has_none() -> None:
    texts = shown(composition_bars(["a"], [{"de": 1, "en": 999}], "documents"))
    assert "en" in texts and "de" not in texts


def test_the_cut_stands_between_the_last_merge_within_and_the_first_across_clusters() -> None:
    merges = [(["a"], ["b"], 0.1), (["c"], ["d"], 0.2), (["a", "b"], ["c", "d"], 0.3)]
    labels = {name: name for name in "abcd"}
    for k in (4, 3, 2, 1):
        svg = dendrogram(labels, merges, k)
        (cut,) = re.findall(r'd="M ([0-9.]+) [^"]*"[^>]*stroke-dasharray', svg)
        branches = re.findall(r"M [0-9.]+ [0-9.]+ \nL ([0-9.]+) [0-9.]+ \nL \1 [0-9.]+ \nL", svg)
        merged_at = [float(x) for x in branches[-3:]]
        assert sum(x < float(cut) for x in merged_at) == len(labels) - k
        assert svg.count("#0072b2") == len(labels) - k  # the branches within clusters have their colour


def test_names_are_escaped() -> None:
    assert "<b>" not in composition_bars(["<b>"], [{"<i>": 1}], "x")
