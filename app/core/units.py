"""Numbers with their unit, for people."""

from __future__ import annotations


def format_bytes(size_bytes: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        shown = round(size_bytes) if unit == "B" else round(size_bytes, 1)
        if abs(shown) < 1024:
            return f"{shown} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def format_count(count: float) -> str:
    """1500000 -> '1.5M'."""
    for unit in ("", "k", "M", "B"):
        shown = f"{count:.0f}" if unit == "" else f"{count:.3g}"
        if abs(float(shown)) < 1000:
            return f"{shown}{unit}"
        count /= 1000
    return f"{count:.3g}T"


def format_seconds(seconds: float) -> str:
    """3725 -> '1h 02m'; 65 -> '1m 05s'; 4.2 -> '4.2s'."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"
