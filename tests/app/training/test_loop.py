from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.utils import clip_grad_norm_

from app.artifacts.checkpoints import ModelCheckpoints
from app.artifacts.store import Store
from app.core.errors import ConfigError, CorruptArtifact, NonFiniteLoss, Preempted, TrainingError
from app.core.records import IntArray
from app.models.causal import CausalLM
from app.models.loss import next_token_loss
from app.training import loop
from app.training.hooks import StopRequest
from app.training.loop import TrainingSpec, autocast, freeze, make_optimizer, train
from app.training.saving import NoCheckpoints
from app.training.schedule import learning_rate_factor
from tests.support.tiny_models import tiny_model
from tests.support.tiny_training import SPEC, Counting, Recorder


@pytest.fixture(autouse=True)
def every_step_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_LOGGED_STEPS", 0.0)


def checkpoints(root: Path, keep: int = 2) -> ModelCheckpoints:
    made = ModelCheckpoints(Store(str(root)).stage("model", "m"), keep)
    made.claim()
    return made


def assert_equal_weights(one: CausalLM, other: CausalLM) -> None:
    for (name, mine), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs), name


def uninterrupted(spec: TrainingSpec) -> tuple[CausalLM, loop.TrainingResult]:
    model = tiny_model()
    return model, train(spec, model, Counting(), NoCheckpoints())


@pytest.mark.parametrize("micro", [4, 3, 1])
@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"activation_checkpointing": True}])
def test_a_run_stopped_after_three_of_eight_steps_ends_bit_for_bit_as_if_it_had_not_been(
    tmp_path: Path, micro: int, changes: dict[str, object]
) -> None:
    spec = replace(SPEC, micro_batch_rows=micro, **changes)  # type: ignore[arg-type]
    stop = StopRequest()
    with pytest.raises(Preempted, match="after step 3"):
        train(spec, tiny_model(), Counting(), checkpoints(tmp_path), [Recorder(stop_at=3, stop=stop)], stop)
    assert checkpoints(tmp_path).steps() == [3]

    resumed, rows, recorder = tiny_model(seed=99), Counting(), Recorder()
    result = train(spec, resumed, rows, checkpoints(tmp_path), [recorder])
    whole, expected = uninterrupted(spec)
    assert_equal_weights(resumed, whole)
    assert rows.asked == [(4 * step, 4 * step + 4) for step in range(3, 8)]
    assert recorder.started == [3] and [m.step for m in recorder.metrics] == [4, 5, 6, 7, 8]
    assert (result.steps, result.tokens_seen, result.final_loss) == (8, 256, expected.final_loss)


def test_a_killed_run_continues_from_its_last_checkpoint_and_ends_the_same(tmp_path: Path) -> None:
    spec = replace(SPEC, checkpoint_every_steps=2)
    hook = Recorder(fail_at=5)
    with pytest.raises(RuntimeError, match="killed"):
        train(spec, tiny_model(), Counting(), checkpoints(tmp_path), [hook])
    assert hook.closed == 1 and checkpoints(tmp_path).steps() == [2, 4]
    resumed, recorder = tiny_model(seed=99), Recorder()
    train(spec, resumed, Counting(), checkpoints(tmp_path), [recorder])
    assert recorder.started == [4]
    assert_equal_weights(resumed, uninterrupted(spec)[0])


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first, again, rows = tiny_model(), tiny_model(seed=99), Counting()
    expected = train(SPEC, first, Counting(), checkpoints(tmp_path))
    result = train(SPEC, again, rows, checkpoints(tmp_path))
    assert rows.asked == [] and result.final_loss == expected.final_loss
    assert_equal_weights(again, first)


def test_a_stop_asked_for_during_the_last_step_comes_too_late(tmp_path: Path) -> None:
    stop = StopRequest()
    result = train(SPEC, tiny_model(), Counting(), checkpoints(tmp_path), [Recorder(stop_at=8, stop=stop)], stop)
    assert result.steps == 8


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(replace(SPEC, key="old"), tiny_model(), Counting(), checkpoints(tmp_path))
    with pytest.raises(CorruptArtifact, match="old"):
        train(replace(SPEC, key="new"), tiny_model(), Counting(), checkpoints(tmp_path))


@pytest.mark.parametrize("micro", [3, 2, 1])
def test_accumulation_over_micro_batches_is_the_same_step(micro: int) -> None:
    one_step = replace(SPEC, budget_tokens=32, warmup_fraction=0.0, schedule="constant")
    whole, accumulated, recorder, other = tiny_model(), tiny_model(), Recorder(), Recorder()
    train(one_step, whole, Counting(), NoCheckpoints(), [recorder])
    train(replace(one_step, micro_batch_rows=micro), accumulated, Counting(), NoCheckpoints(), [other])
    assert other.metrics[0].loss == pytest.approx(recorder.metrics[0].loss, rel=1e-5)
    assert other.metrics[0].gradient_norm == pytest.approx(recorder.metrics[0].gradient_norm, rel=1e-4)


def test_three_steps_are_those_of_torch_written_out() -> None:
    spec = replace(SPEC, budget_tokens=3 * 32, warmup_fraction=0.0, clip_norm=0.5)
    model, reference, recorder = tiny_model(), tiny_model(), Recorder()
    train(spec, model, Counting(), NoCheckpoints(), [recorder])
    groups = [
        {"params": [w for w in reference.parameters() if w.ndim == 2], "weight_decay": 0.1},
        {"params": [w for w in reference.parameters() if w.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-8)
    for step in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * learning_rate_factor("cosine", step, 3, 0.0, 0.1)
        loss = next_token_loss(reference, torch.from_numpy(Counting().rows(4 * step, 4 * step + 4)), 1000)
        optimizer.zero_grad()
        loss.backward()
        norm = clip_grad_norm_(reference.parameters(), 0.5)
        optimizer.step()
        assert recorder.metrics[step].loss == pytest.approx(loss.item(), rel=1e-4)
        assert recorder.metrics[step].gradient_norm == pytest.approx(float(norm), rel=1e-3)
        assert recorder.metrics[step].learning_rate == pytest.approx(group["lr"])
    torch.testing.assert_close(model.head, reference.head, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", ["xglm", "llama"])
def test_the_loss_falls_on_what_can_be_learnt(architecture: str) -> None:
    spec = replace(SPEC, budget_tokens=100 * 32, learning_rate=0.02)
    recorder = Recorder()
    train(spec, tiny_model(architecture), Counting(), NoCheckpoints(), [recorder])  # type: ignore[arg-type]
    assert recorder.metrics[0].loss == pytest.approx(math.log(37), abs=0.3)
    assert recorder.metrics[-1].loss < 0.5


def test_only_matrices_decay_and_every_weight_is_in_one_group() -> None:
    model = tiny_model()
    optimizer = make_optimizer(SPEC, model)
    decay = {id(w): group["weight_decay"] for group in optimizer.param_groups for w in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(decay)
    for name, weight in model.named_parameters():
        is_vector = name.endswith("bias") or "norm" in name
        assert decay[id(weight)] == (0.0 if is_vector else 0.1), name


class Explodes(Counting):
    """Makes the model's weights infinite when the rows of the third step are read."""

    def __init__(self, model: CausalLM) -> None:
        super().__init__()
        self._model = model

    def rows(self, start: int, stop: int) -> IntArray:
        """Rows start..stop-1."""
        if start == 2 * 4:
            with torch.no_grad():
                self._model.head.fill_(math.inf)
        return super().rows(start, stop)


def test_a_loss_that_is_no_number_names_the_model_the_step_and_the_cure_and_is_not_saved(tmp_path: Path) -> None:
    model, hook = tiny_model(), Recorder()
    spec = replace(SPEC, checkpoint_every_steps=1)
    with pytest.raises(NonFiniteLoss, match=r"model k: loss .* at step 3; lower training\.learning_rate"):
        train(spec, model, Explodes(model), checkpoints(tmp_path, keep=9), [hook])
    assert hook.closed == 1 and checkpoints(tmp_path).steps() == [1, 2]


def test_metrics_say_tokens_loss_and_a_positive_speed() -> None:
    recorder = Recorder()
    train(SPEC, tiny_model(), Counting(), NoCheckpoints(), [recorder])
    assert [m.step for m in recorder.metrics] == list(range(1, 9))
    assert [m.tokens_seen for m in recorder.metrics] == [32 * step for step in range(1, 9)]
    assert all(m.tokens_per_second > 0 and m.gradient_norm > 0 for m in recorder.metrics)
    assert recorder.started == [0] and recorder.closed == 1


def test_rows_longer_than_the_models_context_are_refused() -> None:
    spec = replace(SPEC, sequence_length=13, tokens_per_step=26)
    with pytest.raises(TrainingError, match="13 is longer than the model's context of 12"):
        train(spec, tiny_model(), Counting(13), NoCheckpoints())


@pytest.mark.parametrize(
    "changes",
    [{"tokens_per_step": 33}, {"sequence_length": 1}, {"micro_batch_rows": 0}, {"checkpoint_every_steps": 0}],
)
def test_a_spec_that_would_train_something_else_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=rf"training\..*{next(iter(changes.values()))}"):
        replace(SPEC, **changes)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"activation_checkpointing": True}])
def test_two_runs_on_a_gpu_end_with_the_same_bits_and_the_global_switches_as_they_were(
    changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    spec = replace(SPEC, device="cuda", micro_batch_rows=3, **changes)  # type: ignore[arg-type]
    models = [tiny_model(), tiny_model()]
    for model in models:
        train(spec, model, Counting(), NoCheckpoints())
    assert_equal_weights(*models)
    assert not torch.are_deterministic_algorithms_enabled()


def test_precision_auto_is_float32_on_cpus() -> None:
    cpu = torch.device("cpu")
    for precision, expected in (("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(precision, cpu)():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_weights_stay_float32_under_bfloat16() -> None:
    model = tiny_model()
    train(replace(SPEC, precision="bf16"), model, Counting(), NoCheckpoints())
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_frozen_parameters_have_no_gradient_no_moments_no_decay_and_do_not_move(tmp_path: Path) -> None:
    spec = replace(SPEC, trained=("*layer_norm*",), weight_decay=0.5)
    model, before = tiny_model(), dict(tiny_model().named_parameters())
    kept = checkpoints(tmp_path)
    train(spec, model, Counting(), kept)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]) == ("layer_norm" not in name), name
        assert weight.requires_grad == ("layer_norm" in name)
    optimizer, trained = make_optimizer(spec, model), {name for name in before if "layer_norm" in name}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained)
    folder = kept.latest()
    assert folder is not None
    moments = load_file(folder / "optimizer.safetensors")
    assert {name.split("|")[0] for name in moments if "|" in name} == trained


def test_a_run_with_frozen_parameters_resumes_bit_for_bit(tmp_path: Path) -> None:
    spec, stop = replace(SPEC, trained=("*fc1*", "*fc2*")), StopRequest()
    with pytest.raises(Preempted):
        train(spec, tiny_model(), Counting(), checkpoints(tmp_path), [Recorder(stop_at=3, stop=stop)], stop)
    resumed = tiny_model(seed=99)
    train(spec, resumed, Counting(), checkpoints(tmp_path))
    assert_equal_weights(resumed, uninterrupted(spec)[0])


def test_a_pattern_that_names_no_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no parameter is named \*adapter\*; the model has .*embed_tokens"):
        freeze(tiny_model(), ["*layer_norm*", "*adapter*"])


def test_the_language_of_each_row_reaches_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []

    def loss(model: CausalLM, rows: torch.Tensor, chunk: int, languages: list[str]) -> torch.Tensor:
        told.append(list(languages))
        return next_token_loss(model, rows, chunk, languages)

    monkeypatch.setattr(loop, "next_token_loss", loss)
    train(replace(SPEC, micro_batch_rows=3, budget_tokens=2 * 32), tiny_model(), Counting(), NoCheckpoints())
    assert told == [["de", "en", "sw"], ["de"], ["en", "sw", "de"], ["en"]]
