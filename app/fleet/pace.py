"""How fast models of a fleet train, and how long the rest will take: steady figures from what was seen lately. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

_WINDOW_SECONDS = 60.0


class Pace:
    """Tokens against time for each model, over the last minute, from the first look that saw it move.

    What is before that look holds the start of a process, which may take longer than many steps.
    """

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, float]]] = {}
        self._moving: set[str] = set()

    def see(self, name: str, now: float, tokens: float) -> None:
        """The model has seen so many tokens; fewer than before means that it began anew from a checkpoint."""
        seen = self._seen.setdefault(name, deque())
        if seen and tokens < seen[-1][1]:
            # Tokens that are trained again would make the speed negative.
            self._moving.discard(name)
        if name not in self._moving:
            if seen and tokens > seen[-1][1]:
                self._moving.add(name)
            seen.clear()
        seen.append((now, tokens))
        # The newest look beyond the window stays: the speed is then over at least the whole of it.
        while len(seen) > 2 and now - seen[1][0] >= _WINDOW_SECONDS:
            seen.popleft()

    def speed(self, name: str) -> float:
        """Tokens a second; 0 until it has been seen to move twice."""
        seen = self._seen.get(name, deque())
        if len(seen) < 2 or seen[-1][0] == seen[0][0]:
            return 0.0
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])

    def seconds_left(self, running: Mapping[str, float], waiting: float) -> float | None:
        """Until all is trained; None while nothing moves.

        running: tokens left of each model that runs now; waiting: tokens of those that do not. All runs together keep
        their speed as long as something waits; at the end the slowest of those that run now is alone.
        """
        speeds = {name: self.speed(name) for name in running}
        together = sum(speeds.values())
        if not together:
            return None
        alone = max(left / speeds[name] for name, left in running.items() if speeds[name])
        return max(alone, (sum(running.values()) + waiting) / together)
