"""Training as Prometheus metrics, through Ray's own exporter on every node."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge

from app.training.hooks import StepMetrics


class PrometheusMetrics:
    """``xelm_tokens_total``, ``xelm_loss``, ``xelm_step``, ``xelm_tokens_per_second`` with tags ``run`` and ``model``.

    Ray puts ``ray_`` before the names. A hook: made and used inside a Train worker.
    """

    def __init__(self, run: str, model: str) -> None:
        self._tags = {"run": run, "model": model}
        keys = tuple(self._tags)
        self._tokens = Counter("xelm_tokens", description="training tokens seen by this attempt", tag_keys=keys)
        self._gauges = {
            "loss": Gauge("xelm_loss", description="training loss, nats per token", tag_keys=keys),
            "step": Gauge("xelm_step", description="optimizer steps done", tag_keys=keys),
            "tokens_per_second": Gauge("xelm_tokens_per_second", description="training speed", tag_keys=keys),
        }
        self._seen: int | None = None

    def start(self, step: int) -> None:
        """The tokens before this attempt were counted by an earlier one."""
        self._seen = None if step else 0

    def step(self, metrics: StepMetrics) -> None:
        """Add what came since the last row."""
        # The first row of a resumed attempt says from where to count, and counts nothing.
        if self._seen is not None:
            self._tokens.inc(metrics.tokens_seen - self._seen, tags=self._tags)
        self._seen = metrics.tokens_seen
        for name, gauge in self._gauges.items():
            gauge.set(getattr(metrics, name), tags=self._tags)

    def close(self) -> None:
        """Ray exports what was set last."""
