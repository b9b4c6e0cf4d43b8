from __future__ import annotations

import pytest

from benchmarks.chaos_forecast import measured_parameters, simulated_makespan


def test_undisturbed_it_is_the_longest_slots_starts_and_steps() -> None:
    quiet = measured_parameters(100.0, 3, 0, [9.0, 10.0, 30.0], 0.5, 17.0)
    assert quiet["seconds_between_interruptions"] is None
    # four experts on three slots: the fourth starts when the first has ended
    found = simulated_makespan(dict.fromkeys("abcd", 100), 3, 5, quiet)
    assert found == pytest.approx(7 + 2 * (10 + 50))  # the driver takes seven of the first seventeen seconds


def test_interruptions_are_counted_by_slot_and_cost_a_start_and_the_steps_since_the_save() -> None:
    loud = measured_parameters(200.0, 2, 4, [10.0], 0.5, 10.0)
    assert loud["seconds_between_interruptions"] == 100
    found = simulated_makespan(dict.fromkeys("abcd", 100), 2, 5, loud)
    assert 120 < found < 120 * 2.5
