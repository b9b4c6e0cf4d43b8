from __future__ import annotations

from app.core.records import JsonObject
from app.reporting.training import status_section, took_section
from tests.support.summary import texts

DENSE: JsonObject = {
    "state": "done",
    "step": 10,
    "tokens_seen": 5000,
    "loss": 2.5,
    "tokens_per_second": 600.0,
    "parameters": 1500,
    "host": "node-1",
    "preemptions": 2,
    "failures": 0,
    "seconds_lost": 65.0,
    "wall_seconds": 120.0,
    "worker_seconds": 10.0,
    "training_seconds": 4.0,
    "saving_seconds": 0.1,
    "storage_bytes": 2048,
}
ON_GPU: JsonObject = {"gpu_hours": 2.0, "gpu_hours_forecast": 1.5, "money_spot": 1.0, "money_on_demand": 3.0}
PRICES: JsonObject = {"currency": "EUR", "gpu": "L40S", "of": "my contract"}


def test_the_status_shows_each_model_and_leaves_unknown_figures_open() -> None:
    assert texts(status_section({"dense": DENSE, "seed": {}})) == [
        ["dense", "done", "10", "5k", "2.500", "1.5k", "500", "node-1", "2", "0", "1m 05s"],
        ["seed", *["–"] * 10],
    ]
    assert status_section({}) is None


def test_what_training_took_is_added_up_where_it_can_be() -> None:
    section = took_section({"dense": DENSE, "expert-00": DENSE, "old": {}}, {})
    assert texts(section) == [
        ["dense", "2m 00s", "10.0s", "2.0 KiB", "500", "2.5%"],
        ["expert-00", "2m 00s", "10.0s", "2.0 KiB", "500", "2.5%"],
        ["old", "–", "–", "–", "–", "–"],
        ["together", "–", "20.0s", "4.0 KiB", "–", "–"],
    ]
    assert section is not None and "no cost" in section.notes[-1]


def test_gpus_have_hours_a_forecast_and_a_price() -> None:
    section = took_section({"dense": {**DENSE, **ON_GPU}, "expert-00": {**DENSE, **ON_GPU}}, PRICES)
    rows = texts(section)
    assert rows[0][4:8] == ["2.00", "1.50", "1.00", "3.00"] and rows[-1][4:8] == ["4.00", "3.00", "2.00", "6.00"]
    assert section is not None and all(word in section.notes[-1] for word in ("EUR", "L40S", "my contract"))


def test_the_speed_of_a_model_is_the_same_wherever_it_stands() -> None:
    for section, place in (
        (status_section({"dense": DENSE}), "tokens/s"),
        (took_section({"dense": DENSE}, {}), "tokens/s"),
    ):
        assert section is not None
        (row,) = texts(section)
        assert row[list(section.tables[0].header).index(place)] == "500"  # 5,000 tokens in 10 s of workers' time


def test_no_models_took_nothing() -> None:
    assert took_section({}, PRICES) is None
