from __future__ import annotations

from app.artifacts import layout


def test_paths_are_relative_and_sort_in_number_order() -> None:
    assert layout.stage_folder("tokens", "ab") == "store/tokens/ab"
    assert layout.run_folder("demo") == "runs/demo"
    assert layout.shard_folder("de", "train") == "de/train"
    assert layout.step_folder(9) < layout.step_folder(10) < layout.step_folder(100000)
    assert layout.part_name(9, 2, "bin") < layout.part_name(10, 0, "bin")
    assert layout.sidecar_name(3) == "sidecars/00003.json" and layout.rejects_name(3) == "rejects/00003.jsonl"
