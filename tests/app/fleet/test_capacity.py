from __future__ import annotations

import pytest

from app.fleet.capacity import by_name, how_many, launches_nodes, shortage

SMALL, LARGE = {"CPU": 2.0}, {"CPU": 8.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("nodes", "wanted", "count"),
    [
        ([SMALL, SMALL], {"CPU": 1.0, "GPU": 0.0}, 4),
        ([SMALL, SMALL], {"CPU": 3.0}, 0),
        ([SMALL, LARGE], {"CPU": 2.0}, 5),
        ([SMALL, LARGE], {"CPU": 1.0, "GPU": 1.0}, 2),
        ([LARGE], {"CPU": 1.0, "GPU": 0.5}, 4),
        ([], {"CPU": 1.0}, 0),
        ([{"CPU": 1.0}], {"CPU": 0.2}, 5),
        ([{"CPU": 1.0}], {"CPU": 0.1, "GPU": 0.0}, 10),
    ],
)
def test_a_worker_must_fit_one_node(nodes: list[dict[str, float]], wanted: dict[str, float], count: int) -> None:
    assert how_many(nodes, wanted) == count


def _node(whole: str, alive: bool = True) -> dict[str, object]:
    return {"NodeID": whole, "NodeManagerHostname": "gpu-3", "Alive": alive}


def test_living_nodes_are_named_by_host_and_the_first_digits_of_their_id() -> None:
    nodes = [_node("a1b2c3d4e5"), _node("f1b2c3d4e5"), _node("0000000000", alive=False)]
    assert list(by_name(nodes)) == ["gpu-3 a1b2c3", "gpu-3 f1b2c3"]
    assert by_name([]) == {}


def test_nodes_whose_ids_begin_alike_are_all_kept_and_told_apart() -> None:
    nodes = [_node("ffffffff01"), _node("ffffffff02"), _node("ffffffff12")]
    assert by_name(nodes) == {f"gpu-3 {node['NodeID']}": node for node in nodes}
    assert list(by_name(nodes[1:])) == ["gpu-3 ffffffff0", "gpu-3 ffffffff1"]


def test_nothing_is_missing_where_a_run_fits() -> None:
    assert shortage({"a": SMALL}, {}, {"CPU": 1.0}, workers=2) is None


def test_what_no_node_and_no_kind_has_has_no_hope_and_is_named() -> None:
    short = shortage({"a": SMALL}, {"cpu": SMALL}, {"CPU": 1.0, "GPU": 1.0}, workers=1)
    assert short is not None and not short.can_end
    assert "needs 1 CPU, 1 GPU" in short.missing and "0 GPU" in short.missing


def test_what_a_kind_of_node_has_can_come() -> None:
    short = shortage({"a": SMALL}, {"gpu": LARGE}, {"GPU": 1.0}, workers=2)
    assert short is not None and short.can_end and "kind gpu can be added" in short.missing
    assert "2 workers with 1 GPU each" in short.missing


def test_an_autoscaler_that_does_not_say_what_it_adds_leaves_hope() -> None:
    short = shortage({"head": {"CPU": 0.0}}, {}, {"CPU": 1.0}, workers=1, unseen=True)
    assert short is not None and short.can_end and "is not known" in short.missing


@pytest.mark.parametrize(
    ("status", "launches"),
    [
        ({"autoscaler_report": {"active_nodes": {"ray.head.default": 1}}}, True),
        ({"autoscaler_report": {"active_nodes": {"node_4f1e9c": 1, "node_77ab01": 1}}}, False),
        ({"autoscaler_report": {"active_nodes": {}}}, False),
        ({"load_metrics_report": {}}, False),
    ],
)
def test_kinds_named_after_nodes_are_of_a_cluster_that_nobody_scales(status: dict[str, object], launches: bool) -> None:
    assert launches_nodes(status) is launches
