"""A cluster rehearsed without a cloud: `ray up`, jobs submitted to it, a machine cut off, the run finished, `ray down`.

``python -m benchmarks.ray_up --format json``, as root. cluster.yaml is brought up on three hosts made of namespaces
(benchmarks/hosts.py), with machines instead of instances and one CPU each. A wrong setting, a lost machine, a polite
stop and the same command again follow; the weights are compared with those of an undisturbed run, and in the end a new
language joins the run, its experts are merged, and a sweep goes over its models.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.core.errors import TrainingError, XelmError
from benchmarks.chaos_parts import EXPERTS, Run, Victim
from benchmarks.hosts import ROOT, SHARED, Hosts, home, run_apart
from benchmarks.laptop import HEAD, WORKERS, Ended, Job, Laptop
from benchmarks.stages import UNTIL_EXPERTS

_INSIDE = "XELM_INSIDE_HOSTS"
_LONGEST_SECONDS = 300.0
_BUDGET_TOKENS = 2_400_000
_WRONG = "allocation.k=some"


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status: 1 unless all checks hold, 2 where there can be no hosts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_up", description=__doc__)
    parser.add_argument("--tokens", type=int, default=_BUDGET_TOKENS, help="budget, so that a cut finds work")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    arguments = parser.parse_args(argv)
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        if not os.environ.get(_INSIDE):
            return run_apart([sys.executable, "-m", "benchmarks.ray_up", *given], _environment())
        record = rehearse(arguments.tokens)
    except XelmError as error:
        print(f"ray_up: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps(record) if arguments.format == "json" else json.dumps(record, indent=1))
    return 0 if record["as_it_should_be"] else 1


def rehearse(budget_tokens: int) -> dict[str, Any]:
    """The whole story, inside the namespaces: seconds of each part, what was checked, and the verdict."""
    clock = Clock()
    budget = f"training.budget_tokens={budget_tokens}"
    quiet, loud = Run(SHARED / "quiet", budget), Run(SHARED / "loud", budget)
    with Hosts((HEAD, *WORKERS)) as hosts:
        laptop = Laptop(Path(home()), hosts)
        with clock.part("ray_up"):
            laptop.up()
        up = time.time()
        with clock.part("undisturbed_run"):
            quiet.make(UNTIL_EXPERTS)
        loud.copy_inputs(quiet)
        clock.seconds["workers_after_ray_up"] = round(_joined(hosts) - up, 1)
        with laptop.dashboard():
            checks = _submitted(loud, laptop, hosts, clock)
            finished, trained = sum(model.is_done for model in loud.every()), loud.weights()
            checks |= {"weights_equal": len(trained) >= EXPERTS and trained == quiet.weights()}
            checks |= {"no_step_written_twice": sum(model.steps_twice for model in loud.every()) == 0}
            checks |= _grown(loud, laptop, clock)
        with clock.part("ray_down"):
            laptop.down()
        left = [name for name in hosts.running if any("/ray/" in line for line in hosts.processes(name))]
        checks |= {"ray_down_stops_the_head": HEAD not in left}
    return {
        "hosts": len(hosts.addresses),
        "experts": EXPERTS,
        "experts_finished": finished,
        "ray_left_on": left,
        "seconds": {**clock.seconds, "all": round(time.time() - clock.began, 1)},
        "checks": checks,
        "as_it_should_be": all(checks.values()) and finished == EXPERTS,
    }


class Clock:
    """Seconds by the name of the part, told as they pass."""

    def __init__(self) -> None:
        self.began = time.time()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done while this is open."""
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 1)
        print(f"ray_up: {name} {self.seconds[name]} s", file=sys.stderr)


def _submitted(run: Run, laptop: Laptop, hosts: Hosts, clock: Clock) -> dict[str, bool]:
    """A job with a wrong setting; one that loses a machine and is then stopped; the same again. What was checked."""
    with clock.part("wrong_setting"):
        wrong = laptop.submit("wrong", run.command("train", _WRONG)).wait()
    command = run.command("train", "cluster.address=auto")
    job = laptop.submit("first", command)
    with clock.part("until_both_workers_train"):
        _until(job, "both workers train", lambda: {victim.host for victim in run.unfinished()} == set(WORKERS))
    lost = run.unfinished()[0]
    host = lost.host
    hosts.cut(host)
    struck, saved = time.time(), lost.saved_step
    with clock.part("until_the_lost_expert_goes_on"):
        _until(job, f"the expert of {host} goes on", lambda: _goes_on(lost, host, struck))
    row = lost.loaded_after(struck)
    first = int(row["step"]) if row else 0
    with clock.part("polite_stop"):
        run.stop()
        stopped = job.wait()
    with clock.part("same_command_again"):
        finished = laptop.submit("second", command).wait()
    print(f"ray_up: {host} was cut off with step {saved} saved; {lost.host} logs step {first}", file=sys.stderr)
    return {
        "wrong_setting_ends_with_2_before_ray": wrong.code == 2
        and not wrong.reached_ray
        and _says(wrong, "allocation.k"),
        # An expert that began again would log smaller steps first.
        "lost_expert_goes_on_elsewhere_from_its_checkpoint": 0 < saved < first,
        "stop_saves_and_ends_with_75": stopped.code == 75 and _says(stopped, "stopped as asked, everything is saved"),
        "same_command_finishes": finished.code == 0 and finished.client_code == 0 and finished.reached_ray,
        "client_tells_of_failure": wrong.client_code != 0 and stopped.client_code != 0,
    }


def _grown(run: Run, laptop: Laptop, clock: Clock) -> dict[str, bool]:
    """The rest of the run, a new language, a merged model and a sweep over its models, as jobs of the cluster."""
    joined = ("cluster.address=auto", "evaluation.max_documents_per_language=4")
    with clock.part("dense_and_evaluation"):
        whole = laptop.submit("whole", run.command("all", *joined)).wait()
    before = run.weights()
    new = ("adaptation.languages=sv", "adaptation.lapt=false", "adaptation.budget_tokens=40960")
    with clock.part("new_language"):
        adapted = laptop.submit("adapted", run.command("adapt", *joined, *new)).wait()
    after = run.weights()
    with clock.part("merged_model"):
        merged = laptop.submit("merged", run.command("merge", *joined, "merges.merged={}")).wait()
    # With the merged model, which is one of the store's too.
    known = run.weights().keys()
    tried = ("run.name=swept", "sweep.weighting=posterior,uniform")
    with clock.part("sweep"):
        swept = laptop.submit("swept", run.command("tune.sweep", *joined, *tried)).wait()
    return {
        "submitted_rest_of_the_run_finishes": whole.code == 0,
        "submitted_round_adds_an_expert_and_leaves_the_others": adapted.code == 0
        and _says(adapted, "version 2 of run chaos")
        and len(after) == len(before) + 1
        and before.items() <= after.items(),
        "submitted_merge_makes_a_version": merged.code == 0 and _says(merged, "version: 3"),
        "submitted_sweep_trains_nothing_twice": swept.code == 0
        and _says(swept, "weighting-uniform")
        and run.weights().keys() == known,
    }


def _environment() -> dict[str, str]:
    """The caller's, without what could lead to a cluster or a cloud of theirs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    # The autoscaler's second version brings up only one of two machines of one's own.
    ours = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "RAY_UP_enable_autoscaler_v2": "0"}
    return {**kept, **ours, _INSIDE: "1", "PYTHONPATH": str(ROOT)}


def _joined(hosts: Hosts) -> float:
    """When the last worker's raylet was started; waits for it. Raises TrainingError if one does not come."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < deadline:
        started = [[at for line, at in hosts.processes(name).items() if "raylet/raylet" in line] for name in WORKERS]
        if all(started):
            return max(max(times) for times in started)
        time.sleep(0.5)
    raise TrainingError("`ray up` started no Ray on the workers")


def _until(job: Job, what: str, reached: Callable[[], bool]) -> None:
    """Wait for it. Raises TrainingError with the job's words if the job ends before or it does not come."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not reached():
        if not job.is_running or time.monotonic() > deadline:
            raise TrainingError(f"waited in vain until {what}: {job.said[-3000:]}")
        time.sleep(0.1)


def _goes_on(lost: Victim, host: str, struck: float) -> bool:
    return lost.host != host and lost.loaded_after(struck) is not None


def _says(ended: Ended, words: str) -> bool:
    return words in ended.said and "Traceback" not in ended.said


if __name__ == "__main__":
    sys.exit(main())
