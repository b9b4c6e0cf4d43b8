"""What Prometheus may ask: one registry for each ingress, so that tests and replicas do not share numbers."""

from __future__ import annotations

import math
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.ensemble.engine import Load
from serve.messages import Batch, Piece

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_SILENT_S = 60.0
"""Seconds after which a replica that says nothing is taken for gone; each look reaches one of them (``ingress``)."""
_NATS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3)


class Measures:
    """The metrics of one ingress, all named ``xelm_...``."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "xelm_requests", "requests by route and status", ["route", "status"], registry=registry
        )
        self.answering = Gauge("xelm_requests_answering", "requests that are being answered", registry=registry)
        self._prompt = Counter("xelm_prompt_tokens", "tokens of prompts", registry=registry)
        self._made = Counter("xelm_made_tokens", "tokens that were made", registry=registry)
        self._drafted = Counter("xelm_drafted_tokens", "drafts that were tested", registry=registry)
        self._kept = Counter(
            "xelm_kept_tokens", "drafts that were kept: over drafted, the acceptance", registry=registry
        )
        self._taken_over = Counter(
            "xelm_jobs_taken_over", "times that another replica went on with a job", registry=registry
        )
        self._first = Histogram(
            "xelm_first_token_seconds", "from request to first token", buckets=_SECONDS, registry=registry
        )
        self._between = Histogram(
            "xelm_between_tokens_seconds", "between tokens of a text", buckets=_SECONDS, registry=registry
        )
        self._entropy = Histogram(
            "xelm_weight_entropy_nats", "entropy of the experts' weights of a token", buckets=_NATS, registry=registry
        )
        self._running = Gauge("xelm_texts_running", "texts in the running batch", ["replica"], registry=registry)
        self._waiting = Gauge("xelm_texts_waiting", "texts that wait for a slot", ["replica"], registry=registry)
        self._used = Gauge("xelm_cache_use", "share of the cache's slots in use", ["replica"], registry=registry)
        self._heard: dict[str, float] = {}

    def count(self, route: str, status: int) -> None:
        """A request was answered."""
        self._requests.labels(route, str(status)).inc()

    def page(self) -> bytes:
        """The text that Prometheus reads, without replicas that nothing was heard of for a while."""
        for replica, at in list(self._heard.items()):
            if time.monotonic() - at > _SILENT_S:
                for gauge in (self._running, self._waiting, self._used):
                    gauge.remove(replica)
                del self._heard[replica]
        return generate_latest(self._registry)

    def of_job(self) -> JobMeasures:
        """Measures of one job, whose time runs from now."""
        return JobMeasures(self)

    def hear(self, replica: str, load: Load) -> None:
        """A replica has said how busy it is: with each batch, and where it answers nobody, when it describes itself."""
        self._heard[replica] = time.monotonic()
        self._running.labels(replica).set(load.running)
        self._waiting.labels(replica).set(load.waiting)
        self._used.labels(replica).set(load.running / load.slots)


class JobMeasures:
    """Follows one job; made by ``Measures.of_job``."""

    def __init__(self, measures: Measures) -> None:
        self._all = measures
        self._begun = time.monotonic()
        self._last: dict[int, float] = {}
        self._replica = ""

    def observe(self, batch: Batch) -> None:
        """A batch of the job has come."""
        now, all_ = time.monotonic(), self._all
        all_.hear(batch.replica, batch.load)
        if batch.replica != self._replica:
            if self._replica:
                all_._taken_over.inc()
            self._replica = batch.replica
        for event in batch.events:
            if not isinstance(event, Piece):
                all_._prompt.inc(sum(event.prompt_tokens))
                continue
            if event.tokens:
                before = self._last.get(event.choice)
                if before is None:
                    all_._first.observe(now - self._begun)
                else:
                    # They came in one batch: each counts with their mean, so that the histogram is of tokens.
                    for _ in event.tokens:
                        all_._between.observe((now - before) / len(event.tokens))
                self._last[event.choice] = now
            all_._made.inc(len(event.tokens))
            for token in event.tokens:
                # Of a token that was not scored the weights are NaN, which is not above 0 either.
                all_._entropy.observe(-sum(w * math.log(w) for w in token.weights if w > 0))
            if event.effort is not None:
                all_._drafted.inc(event.effort.drafted)
                all_._kept.inc(event.effort.kept)


class Counted:
    """Counts every answer by route and status, those of the doors included."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app, self._measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; count when the answer begins, or as a 500 where an exception leaves before it."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._count(scope, message["status"])
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, noted)
        except Exception:
            # Starlette answers what no handler takes outside of all that is added to it, so that 500 is not seen here.
            if not begun:
                self._count(scope, 500)
            raise

    def _count(self, scope: Scope, status: int) -> None:
        # The pattern and not the path: else whoever invents paths makes a new series with each.
        self._measures.count(getattr(scope.get("route"), "path", "other"), status)
