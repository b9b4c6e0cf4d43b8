from __future__ import annotations

from dataclasses import replace

import pytest

from app.config.load import load_config
from app.doctor.checks import Check, State, node_checks, resource_checks, table
from app.doctor.facts import Gpu, Listener, MachineFacts, Needs, NodeFacts, StorageProbe

GIB = 1 << 30
MACHINE = MachineFacts(
    host="h",
    began=1000.0,
    ended=1002.0,
    versions={"python": "3.11.7", "ray": "2.60.0"},
    token=True,
    listeners=(Listener("raylet", 4000, False),),
    storage=StorageProbe("", True, 0.2),
    gpus=(Gpu("L4", 24 * GIB, True),),
    gpu_problem="",
    cublas=":4096:8",
    free={"scratch": 40 * GIB},
)
NODE = NodeFacts("n1", {"CPU": 8.0, "GPU": 1.0}, 999.0, 1003.0, MACHINE)
CONFIG = load_config("demo", overrides=["training.gpus_per_expert=1"])
BILLION = 10**9
OF_A_BILLION = Needs(checkpoint=12 * BILLION, worker=16 * BILLION)


def checked(name: str, machine: MachineFacts, *overrides: str, needs: Needs | None = OF_A_BILLION) -> list[Check]:
    config = load_config("demo", overrides=["training.gpus_per_expert=1", *overrides])
    found = node_checks(config, replace(NODE, machine=machine), MACHINE, needs)
    return [check for check in found if check.name == name]


def test_a_node_like_the_driver_passes_every_check() -> None:
    checks = [*node_checks(CONFIG, NODE, MACHINE, OF_A_BILLION), *resource_checks(CONFIG, [NODE], {})]
    assert {check.state for check in checks} == {"ok"}
    names = {"versions", "auth", "ports", "storage", "disk", "gpus", "clock", "resources"}
    assert {check.name for check in checks} == names


def test_a_version_that_differs_is_named_beside_the_drivers() -> None:
    (check,) = checked("versions", replace(MACHINE, versions={"python": "3.11.7", "ray": "2.59.0"}))
    assert check.state == "failed" and "ray 2.59.0 where the driver has 2.60.0" in check.says
    assert "python" not in check.says.partition(";")[0]


def test_a_cluster_without_a_token_is_a_warning_for_token_and_ports() -> None:
    machine = replace(MACHINE, token=False)
    (auth,), (ports,) = checked("auth", machine), checked("ports", machine)
    assert auth.state == ports.state == "warning"
    assert "RAY_AUTH_MODE=token" in auth.says and "raylet" in ports.says


def test_a_dashboard_or_server_that_answers_everyone_has_failed_even_with_a_token() -> None:
    (check,) = checked("ports", replace(MACHINE, listeners=(Listener("dashboard", 8265, True),)))
    assert check.state == "failed" and "dashboard on port 8265" in check.says and "127.0.0.1" in check.says


@pytest.mark.parametrize(
    ("probe", "words"),
    [(StorageProbe("delete: denied", True, 0.0), "delete: denied"), (StorageProbe("", False, 0.0), "another folder")],
)
def test_storage_without_a_right_or_of_another_machine_has_failed(probe: StorageProbe, words: str) -> None:
    (check,) = checked("storage", replace(MACHINE, storage=probe))
    assert check.state == "failed" and words in check.says


@pytest.mark.parametrize(
    ("free", "state"), [(12 * BILLION - 1, "failed"), (24 * BILLION - 1, "warning"), (24 * BILLION, "ok")]
)
def test_there_is_room_for_two_checkpoints(free: int, state: State) -> None:
    (check,) = checked("disk", replace(MACHINE, free={"scratch": free}))
    assert check.state == state and "11.2 GiB" in check.says


def test_a_seed_of_unknown_size_leaves_the_disk_unchecked() -> None:
    (check,) = checked("disk", MACHINE, needs=None)
    assert check.state == "not checked" and "40.0 GiB free" in check.says


@pytest.mark.parametrize(
    ("machine", "overrides", "state", "words"),
    [
        (replace(MACHINE, gpus=(), gpu_problem="RuntimeError: no driver"), (), "failed", "no driver"),
        (replace(MACHINE, gpus=()), (), "failed", "Ray offers 1 GPUs, torch sees 0"),
        (replace(MACHINE, gpus=(Gpu("T4", 15 * GIB - GIB // 2, False),)), (), "failed", "14.9 GiB"),
        (replace(MACHINE, gpus=(Gpu("T4", 15 * GIB, False),)), ("training.precision=bf16",), "failed", "bf16"),
        (replace(MACHINE, gpus=(Gpu("T4", 15 * GIB, False),)), (), "ok", "T4"),
        (replace(MACHINE, cublas=""), (), "warning", "CUBLAS_WORKSPACE_CONFIG"),
        (MACHINE, ("training.gpus_per_expert=0",), "ok", "experts ask for 0"),
        (MACHINE, ("training.gpus_per_expert=0.5",), "failed", "training.parallelism=fsdp"),
    ],
)
def test_gpus_are_held_against_what_an_expert_needs(
    machine: MachineFacts, overrides: tuple[str, ...], state: State, words: str
) -> None:
    (check,) = checked("gpus", machine, *overrides)  # a worker takes 14.9 GiB
    assert check.state == state and words in check.says


@pytest.mark.parametrize(
    ("began", "ended", "ahead", "states"),
    [
        (1000.0, 1002.0, 0.0, ["ok", "ok"]),
        (990.0, 992.0, 0.0, ["warning", "ok"]),  # 9 s slow at least
        (1100.0, 1102.0, -6.0, ["warning", "warning"]),  # 99 s fast
        (5000.0, 5002.0, 1000.0, ["failed", "failed"]),
        (1000.0, 1002.0, None, ["ok"]),
    ],
)
def test_a_clock_is_wrong_by_what_lies_outside_of_the_drivers_looks(
    began: float, ended: float, ahead: float | None, states: list[State]
) -> None:
    machine = replace(MACHINE, began=began, ended=ended, storage=StorageProbe("", True, ahead))
    assert [check.state for check in checked("clock", machine)] == states


def test_a_node_without_an_answer_has_failed_with_its_reason() -> None:
    (check,) = node_checks(CONFIG, replace(NODE, machine=None, silence="No module named 'app'"), MACHINE, None)
    assert check.state == "failed" and "No module named 'app'" in check.says and "install" in check.says


def test_what_fits_no_node_and_no_kind_of_node_has_failed() -> None:
    head = replace(NODE, resources={"CPU": 0.0})
    small = [check.state for check in resource_checks(CONFIG, [head], {"cpu": {"CPU": 4.0}})]
    assert small == ["ok", "failed"]
    unseen = resource_checks(CONFIG, [head], {}, unseen=True)
    assert [check.state for check in unseen] == ["warning", "warning"] and "does not say" in unseen[0].says
    growing = resource_checks(CONFIG, [head], {"cpu": {"CPU": 4.0}, "gpu_spot": {"CPU": 8.0, "GPU": 1.0}})
    assert [check.state for check in growing] == ["ok", "ok"] and "gpu_spot" in growing[1].says


def test_a_trained_seed_asks_for_its_own_cores() -> None:
    config = load_config("demo", overrides=["seed.source=trained", "seed.cpus=16"])
    found = {check.says.partition(" (")[0]: check.state for check in resource_checks(config, [NODE], {})}
    assert found == {"a corpus task": "ok", "an expert": "ok", "the seed": "failed"}


def test_the_table_has_a_line_for_each_check_and_counts_what_did_not_pass() -> None:
    text = table([Check("auth", "n1", "ok", "good"), Check("storage", "driver", "failed", "bad")])
    assert text.splitlines() == [
        "ok      auth     n1      good",
        "failed  storage  driver  bad",
        "1 failed, 0 warning, 0 not checked",
    ]
