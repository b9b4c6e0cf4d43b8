"""Load and faults: streaming clients that know their answers, while replicas are killed and versions change.

``python -m benchmarks.serving_load [--root FOLDER] [--run NAME] [--clients N] [--minutes M] [--kill-every S]
[--changes N] [--lose-machine] [--kill-ingress] [--format json]``. Serves a finished run on a Ray of its own; a second
version of it mixes evenly. Each client, played by locust, asks greedily for one of a pool of prompts (token ids, drawn)
whose answers were made beforehand by the engine in this process; some go away in the middle, some ask for too much or
send no JSON. ``--waiting``: texts that may wait for a slot of each replica; who would be one more is told 429.
``--kill-every``: seconds between kills (-9) of a process of the models; ``--changes``: times that the other version is
deployed; ``--lose-machine``: the ingress stays on the head, the models on two nodes, and one is killed at half time.
``--kill-ingress``: one more minute afterwards in which the ingress is killed; what fails then is reported, not judged.

Status 1 if any answer is wrong or cut off, anything is answered but by 2xx, 4xx or 429, or a slot is still taken when
the clients have gone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families

from app.artifacts.store import Store
from app.core.errors import XelmError
from app.core.records import JsonObject
from app.ensemble.sampling import Sampling
from benchmarks import measure
from benchmarks.served import Served, serve_config, two_versions
from benchmarks.serving_answers import Answer, Expected, Tally
from benchmarks.serving_clients import Clients
from serve.loading import load_ensemble
from serve.messages import Job, Piece
from serve.replica import Replica

_LOOK_S = 5.0
_KILLED_INGRESS_S = 60.0
_FORGOTTEN_S = 120.0
"""By then every replica has said how busy it is, and what a killed one said last is forgotten (`serve/measures.py`)."""
_SLOT_GAUGES = ("xelm_texts_running", "xelm_texts_waiting", "xelm_cache_use")
_INGRESS_ON_HEAD = {
    "name": "ingress",
    "ray_actor_options": {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}},
}
Memory = dict[str, list[tuple[float, int]]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_load", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("artifacts"))
    parser.add_argument("--run", default="demo")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--pool", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--max-replicas", type=int, help="let Serve add replicas up to this number")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--waiting", type=int, default=32)
    parser.add_argument("--kill-every", type=float, default=0.0)
    parser.add_argument("--changes", type=int, default=0)
    parser.add_argument("--lose-machine", action="store_true")
    parser.add_argument("--kill-ingress", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="xelm-load-") as folder:
        try:
            record = load(arguments, Path(folder))
        except XelmError as error:
            print(f"serving_load: {error}", file=sys.stderr)
            return 1
    print(json.dumps(record, indent=None if arguments.format == "json" else 1))
    return 1 if record["failed"] or not is_free(measure.record(record, "slots_at_end")) else 0


def load(arguments: argparse.Namespace, folder: Path) -> JsonObject:
    """Serve, ask, disturb; what was seen."""
    root, _ = two_versions(arguments.root, arguments.run, folder)
    prompts: list[list[int]] = []
    answers: dict[int, list[Answer]] = {}
    for version in (1, 2):
        ensemble = load_ensemble(Store(root), arguments.run, version)
        if not prompts:
            prompts = drawn_prompts(arguments.pool, ensemble.tokenizer.vocab_size, arguments.seed)
        answers[version] = asyncio.run(expected(Replica(ensemble, 16), prompts, arguments.tokens))
    limits = {"waiting": arguments.waiting, "concurrent": arguments.clients}
    args = {"run": arguments.run, "root": root, "slots": arguments.slots, "cpus": 0.5, "limits": limits}
    args |= {"replicas": arguments.replicas, "max_replicas": arguments.max_replicas}
    with Served(arguments.max_replicas or arguments.replicas) as served:

        def deploy(version: int) -> None:
            config = serve_config(served.port, version=version, **args)
            if arguments.lose_machine:
                config["applications"][0]["deployments"] = [_INGRESS_ON_HEAD]
            served.deploy(config)

        if arguments.lose_machine:
            served.add_machine(1)
        deploy(1)
        served.settle()
        clients = Clients(f"http://127.0.0.1:{served.port}", Expected(prompts, answers, arguments.tokens))
        disturbance = Disturbance(served, deploy, arguments)
        tally = asyncio.run(disturbance.during(clients))
        memory = {name: memory_of(samples) for name, samples in disturbance.memory.items()}
        again: JsonObject = {}
        if arguments.kill_ingress:
            again = asyncio.run(ingress_killed(served, clients, arguments.clients, arguments.seed + 1))
        return {
            "benchmark": "serving_load",
            "clients": arguments.clients,
            "minutes": arguments.minutes,
            "replicas": arguments.replicas,
            "replicas_running": disturbance.running,
            "kills": disturbance.kills,
            "changes": disturbance.changes,
            "replicas_of_lost_machine": disturbance.lost,
            **seen(tally),
            "memory_mb": memory,
            "slots_most": disturbance.slots,
            "slots_at_end": disturbance.slots_at_end,
            "ingress_killed": again,
        }


def drawn_prompts(count: int, vocab_size: int, seed: int) -> list[list[int]]:
    """Prompts of 2 to 40 ids."""
    chance = np.random.default_rng(seed)
    return [[0, *chance.integers(4, vocab_size, size=chance.integers(1, 40)).tolist()] for _ in range(count)]


async def expected(replica: Replica, prompts: Sequence[Sequence[int]], tokens: int) -> list[Answer]:
    """The greedy answer to each prompt, with the margin of each token. Closes the replica."""

    async def answer(prompt: Sequence[int]) -> Answer:
        job = Job("ensemble", [tuple(prompt)], Sampling(tokens, temperature=0.0), logprobs=2)
        events = [event async for batch in replica.answer(job) for event in batch.events]
        made = [token for event in events if isinstance(event, Piece) for token in event.tokens]
        values = [sorted(token.top.values()) for token in made]
        return Answer([token.piece for token in made], [two[-1] - two[-2] for two in values])

    found = []
    for start in range(0, len(prompts), 32):
        found += await asyncio.gather(*map(answer, prompts[start : start + 32]))
    replica.close()
    return found


async def ingress_killed(served: Served, clients: Clients, count: int, seed: int) -> JsonObject:
    """What clients see in a minute in which the process of the ingress is killed (-9), and how long nobody is ready.

    All streams go through it, so it cannot be promised that none is cut off.
    """
    asking = asyncio.create_task(clients.run(count, _KILLED_INGRESS_S, seed))
    await asyncio.sleep(_KILLED_INGRESS_S / 4)
    (pid,) = served.pids("ingress").values()
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    ready = await asyncio.to_thread(served.ready_after, killed, pid)
    tally = await asking
    return {
        "answers": dict(tally.answers),
        "statuses": dict(sorted(tally.statuses.items())),
        "failed": len(tally.failed),
        "failures": list(dict.fromkeys(said.partition(": ")[2][:80] for said in tally.failed))[:5],
        "ready_again_s": round(ready, 1),
    }


class Disturbance:
    """Kills, changes and looks at memory while clients ask."""

    def __init__(self, served: Served, deploy: Callable[[int], None], arguments: argparse.Namespace) -> None:
        self._served, self._deploy, self._arguments = served, deploy, arguments
        self._chance = random.Random(arguments.seed)
        self.kills = self.changes = 0
        self.lost: list[str] | None = None
        self.running: list[tuple[float, int]] = []
        """Seconds, and how many replicas of the models run from then on."""
        self.memory: Memory = {"models": [], "ingress": []}
        self.slots: dict[str, float] = {}
        """The most at any look, by gauge, of all replicas together."""
        self.slots_at_end: dict[str, float] = {}
        """The same when the clients have gone: what is not 0 was never given back."""

    async def during(self, clients: Clients) -> Tally:
        """Ends when the clients do; what they saw."""
        begun, seconds = time.monotonic(), self._arguments.minutes * 60
        others = [asyncio.create_task(self._look(begun))]
        if self._arguments.kill_every:
            others.append(asyncio.create_task(self._kill()))
        if self._arguments.changes:
            others.append(asyncio.create_task(self._change(seconds / (self._arguments.changes + 1))))
        if self._arguments.lose_machine:
            others.append(asyncio.create_task(self._lose(seconds / 2)))
        tally = await clients.run(self._arguments.clients, seconds, self._arguments.seed)
        given_up = time.monotonic() + _FORGOTTEN_S
        while not is_free(self.slots_at_end) and time.monotonic() < given_up:
            await asyncio.sleep(_LOOK_S)
            self.slots_at_end = await asyncio.to_thread(slots_taken, self._served.port)
        for task in others:
            task.cancel()
        for ended in await asyncio.gather(*others, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        return tally

    async def _kill(self) -> None:
        while True:
            await asyncio.sleep(self._arguments.kill_every)
            pids = await asyncio.to_thread(self._served.pids, "models")
            if len(pids) > 1:  # one of two: the other goes on
                os.kill(self._chance.choice(sorted(pids.values())), signal.SIGKILL)
                self.kills += 1

    async def _change(self, every: float) -> None:
        while self.changes < self._arguments.changes:
            await asyncio.sleep(every)
            await asyncio.to_thread(self._deploy, 2 - self.changes % 2)
            self.changes += 1

    async def _lose(self, after: float) -> None:
        await asyncio.sleep(after)
        self.lost = await asyncio.to_thread(self._served.lose_machine)

    async def _look(self, begun: float) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            for gauge, taken in (await asyncio.to_thread(slots_taken, self._served.port)).items():
                self.slots[gauge] = max(taken, self.slots.get(gauge, 0.0))
            for name, samples in self.memory.items():
                pids, at = await asyncio.to_thread(self._served.pids, name), time.monotonic() - begun
                samples += [
                    (at, psutil.Process(pid).memory_info().rss) for pid in pids.values() if psutil.pid_exists(pid)
                ]
                if name == "models" and (not self.running or self.running[-1][1] != len(pids)):
                    self.running.append((round(at, 1), len(pids)))


def seen(tally: Tally) -> JsonObject:
    """Counts, and seconds to the first token and between chunks of tokens."""
    return {
        "answers": dict(tally.answers),
        "statuses": dict(sorted(tally.statuses.items())),
        "failed": list(tally.failed[:20]),
        **tally.seconds,
    }


def slots_taken(port: int) -> dict[str, float]:
    """What the server's gauges say of its slots, summed over replicas; empty while it does not answer."""
    taken: dict[str, float] = {}
    try:
        said = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).raise_for_status().text
    except httpx.HTTPError:
        return taken
    for family in text_string_to_metric_families(said):
        if family.name in _SLOT_GAUGES:
            taken[family.name] = sum(sample.value for sample in family.samples)
    return taken


def is_free(slots: Mapping[str, object]) -> bool:
    """Whether every gauge was there and nothing is taken or waited for."""
    return set(slots) == set(_SLOT_GAUGES) and not any(slots.values())


def memory_of(samples: Sequence[tuple[float, int]]) -> JsonObject:
    """Resident MB of a process: in the second quarter of the time, when all is warm, and in the last."""
    if not samples:
        return {}
    end = samples[-1][0]
    quarters = [[size for at, size in samples if end * q / 4 < at <= end * (q + 1) / 4] for q in range(4)]
    named = {"warm": quarters[1], "end": quarters[3]}
    return {name: round(median(sizes) / 1e6, 1) for name, sizes in named.items() if sizes}


if __name__ == "__main__":
    sys.exit(main())
