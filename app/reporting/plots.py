"""Pictures as SVG elements that grow and shrink with the page; text stays text."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The first six can be told apart by people who see red and green alike.
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#8a6d3b",
    "#6a51a3",
    "#5a6b7b",
    "#a6a000",
)
_INK, _SOFT = "#1b2430", "#8a95a3"
_WIDTH = 9.0
_ROW = 0.24
_BEYOND = 0.02
"""Share of the longest distance by which a merge stands beyond those below it, at least."""
_WIDE_ENOUGH = 0.028
"""Share of the bar's width that its language's code needs."""


def loss_plot(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Loss in nats against tokens; the first curve in black, dashed where colours come round again."""
    from matplotlib.ticker import EngFormatter

    figure, (axes,) = _blank(3.6)
    for place, (name, points) in enumerate(curves.items()):
        colour = _INK if not place else _COLOURS[(place - 1) % len(_COLOURS)]
        style = "-" if place <= len(_COLOURS) else "--"
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=style, linewidth=1.4, label=name)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("training tokens of the model")
    axes.set_ylabel("loss, nats per token")
    axes.grid(color="#e6eaee", linewidth=0.8)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, ncols=1 + len(curves) // 17)
    return _svg(figure, "loss")


def language_colours(languages: Sequence[str]) -> dict[str, str]:
    """One colour for each language, no two equal, dark enough for white text: even steps around the colour wheel."""
    from matplotlib.colors import hsv_to_rgb, to_hex

    tones = ((0.85, 0.6), (0.5, 0.5), (0.95, 0.42))  # neighbours also differ in saturation and brightness
    turns = [(place / max(1, len(languages)), *tones[place % len(tones)]) for place in range(len(languages))]
    return {lang: to_hex(hsv_to_rgb(turn)) for lang, turn in zip(languages, turns, strict=True)}


def composition_bars(
    experts: Sequence[str], panels: Mapping[str, Sequence[Mapping[str, float]]], languages: Sequence[str]
) -> str:
    """One bar for each expert, divided among its languages in the order of ``languages``, which also sets the colours.

    panels: what is counted -> language -> size, for each expert; they stand side by side, each on its own scale.
    """
    from matplotlib.ticker import EngFormatter

    colours = language_colours(languages)
    figure, axes = _blank(0.7 + 0.34 * len(experts), len(panels))
    for axis, (what, held) in zip(axes, panels.items(), strict=True):
        longest = max((sum(part.values()) for part in held), default=0.0) or 1.0
        for row, part in enumerate(held):
            left = 0.0
            for lang in (lang for lang in languages if part.get(lang)):
                size = part[lang]
                axis.barh(row, size, left=left, color=colours[lang], edgecolor="white", linewidth=0.8, height=0.78)
                # Panels side by side share the width, so a name needs a larger share of each.
                if size > _WIDE_ENOUGH * len(panels) * longest:
                    axis.text(left + size / 2, row, lang, ha="center", va="center_baseline", color="white", fontsize=9)
                left += size
        axis.set_yticks(range(len(experts)), experts if axis is axes[0] else [""] * len(experts))
        # Turned over: the first expert stands on top, as in the tables.
        axis.set_ylim(len(experts) - 0.4, -0.6)
        axis.set_xlim(0, longest)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.set_xlabel(what)
        axis.tick_params(axis="y", length=0)
    return _svg(figure, "bars")


def dendrogram(labels: Mapping[str, str], merges: Sequence[tuple[Sequence[str], Sequence[str], float]], k: int) -> str:
    """The tree of ``merges`` (left and right leaves, distance) drawn to scale, and the cut that leaves k clusters.

    labels: leaf -> text, from top to bottom in an order in which no branches cross. A merge stands at its distance, or
    just beyond the merges below it where its distance is smaller; the distance itself is written beside it. The cut is
    a line where one can be drawn; the colour of the branches always shows it.
    """
    figure, (axes,) = _blank(0.8 + _ROW * len(labels))
    rows = {leaf: float(row) for row, leaf in enumerate(labels)}
    ends = {frozenset([leaf]): (0.0, row) for leaf, row in rows.items()}
    longest = max((distance for _, _, distance in merges), default=0.0) or 1.0
    cut, stands = len(labels) - k, []
    for number, (left, right, distance) in enumerate(merges, 1):
        (x1, y1), (x2, y2) = ends[frozenset(left)], ends[frozenset(right)]
        # The paper's pairing may merge at a smaller distance than before: drawn there, a branch would run backwards.
        x, y = max(distance, x1 + _BEYOND * longest, x2 + _BEYOND * longest), (y1 + y2) / 2
        colour = _COLOURS[0] if number <= cut else _SOFT
        axes.plot([x1, x, x, x2], [y1, y1, y2, y2], color=colour, linewidth=1.5, solid_joinstyle="miter")
        ends[frozenset([*left, *right])] = (x, y)
        stands.append(x)
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
        axes.text(x + 0.006 * longest, y - 0.28, f"{distance:.2f}", fontsize=7.5, color=_INK, va="center", bbox=paper)
    # For the same reason merges on either side of the cut may stand mixed; then no line parts them.
    within, across = max([0.0, *stands[:cut]]), min([1.1 * longest, *stands[cut:]])
    if within < across:
        line = (within + across) / 2
        axes.axvline(line, color=_COLOURS[1], linewidth=1.2, linestyle="--")
        axes.text(line, -0.9, f"k = {k}", color=_COLOURS[1], ha="center", va="bottom", fontsize=9)
    axes.set_yticks(list(rows.values()), list(labels.values()))
    axes.set_ylim(len(labels) - 0.5, -0.8)
    axes.set_xlim(0, 1.08 * max([longest, *stands]))
    axes.set_xlabel("distance at which clusters were merged")
    axes.tick_params(axis="y", length=0)
    return _svg(figure, "tree")


def cost_plot(points: Sequence[tuple[str, float, float, bool]]) -> str:
    """Change of perplexity against parameters. points: (name, parameters, percent, on the front), which is joined."""
    from matplotlib.ticker import EngFormatter

    figure, (axes,) = _blank(3.6)
    front = sorted((x, y) for _, x, y, on_front in points if on_front)
    axes.step([x for x, _ in front], [y for _, y in front], where="post", color=_COLOURS[0], linewidth=1.2)
    for name, x, y, on_front in points:
        axes.plot(x, y, "o", color=_COLOURS[0] if on_front else _SOFT, markersize=5)
        axes.annotate(name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=7.5, color=_INK)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("parameters that run for a token")
    axes.set_ylabel("change of perplexity, %")
    axes.grid(color="#e6eaee", linewidth=0.8)
    return _svg(figure, "cost")


def family_tree_picture(nodes: Sequence[tuple[str, str, str]]) -> str:
    """Models below the one that each branched from. nodes: (name, parent, text), parents first; ``seed`` is the top."""
    children: dict[str, list[tuple[str, str]]] = {}
    for name, parent, text in nodes:
        children.setdefault(parent, []).append((name, text))
    figure, (axes,) = _blank(0.5 + _ROW * (len(nodes) + 1))
    row = deepest = 0

    def draw(name: str, text: str, depth: int) -> int:
        nonlocal row, deepest
        mine, row, deepest = row, row + 1, max(deepest, depth)
        axes.text(depth + 0.05, mine, text, fontsize=9, color=_INK, va="center")
        for child, label in children.get(name, ()):
            below = draw(child, label, depth + 1)
            axes.plot([depth + 0.02, depth + 0.02, depth + 1], [mine + 0.35, below, below], color=_SOFT, linewidth=1.2)
        return mine

    draw("seed", "seed", 0)
    axes.set_ylim(row - 0.4, -0.6)
    axes.set_xlim(0, max(8, deepest + 1))
    axes.set_axis_off()
    return _svg(figure, "family")


def _blank(height: float, panels: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """A figure with axes side by side; sizes in inches, but only their ratio matters on the page."""
    from matplotlib.figure import Figure

    # Not pyplot, which keeps every figure it makes and looks for a display.
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(wspace=0.06)
    return figure, axes


def _svg(figure: Figure, name: str) -> str:
    """The figure as one SVG element; equal figures give equal text, and ``name`` keeps ids of several apart."""
    import matplotlib

    sink = io.StringIO()
    # By default ids come of a random salt and text is drawn as outlines, which nobody can search or copy.
    settings = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 10}
    with matplotlib.rc_context(settings):
        # Without the date and the version equal figures are equal text.
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(sink, format="svg", bbox_inches="tight", pad_inches=0.05, transparent=True, metadata=nothing)
    text = sink.getvalue()
    # The XML declaration before it has no place within a page.
    text = text[text.index("<svg") :].strip()
    text = re.sub(r' id="[a-z.]+_[0-9]+"', "", text)  # the same in every figure, and nothing refers to them
    # Without a size of its own the picture is as wide as the page lets it be; its viewBox keeps the shape.
    return re.sub(r' (width|height)="[0-9.]+pt"', "", text, count=2)
