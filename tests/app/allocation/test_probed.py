from __future__ import annotations

import numpy as np
import pytest

from app.allocation.base import AllocationSettings, Evidence
from app.allocation.by_language import LanguageAllocator
from app.allocation.probed import PROBE_OF
from app.allocation.strategies import fit_allocation
from app.core.errors import AllocationError

DISTANCES = np.array([[0, 0.9, 0.1, 0.8], [0.9, 0, 0.7, 0.2], [0.1, 0.7, 0, 0.6], [0.8, 0.2, 0.6, 0]])
LANGUAGES = ("de", "hi", "nl", "ur")


@pytest.mark.parametrize("strategy", PROBE_OF)
def test_each_strategy_groups_by_the_distances_of_its_probe_alone(strategy: str) -> None:
    probes = dict.fromkeys(PROBE_OF.values(), 1.0 - DISTANCES) | {PROBE_OF[strategy]: DISTANCES}
    settings = AllocationSettings(strategy=strategy)
    allocator = fit_allocation(settings, Evidence(None, None, probes), 2, 0, LANGUAGES)
    assert allocator.describe()["languages"] == ["de", "nl", "hi", "ur"]
    with pytest.raises(AllocationError, match=f"needs probe:{PROBE_OF[strategy]}"):
        fit_allocation(settings, Evidence(None, None, {}), 2, 0, LANGUAGES)


def test_by_transfer_the_help_of_all_groups_counts_not_that_of_the_first() -> None:
    # greedy takes a-b (-3) and is left with c-d (+4); a-c and b-d help by 2 each
    help_ = np.array([[0, -3, -2, 0], [-3, 0, 0, -2], [-2, 0, 0, 4], [0, -2, 4, 0.0]])
    settings = AllocationSettings(strategy="transfer")
    allocator = fit_allocation(settings, Evidence(None, None, {"transfer": help_}), 2, 0, ("aa", "bb", "cc", "dd"))
    assert isinstance(allocator, LanguageAllocator)
    assert {frozenset(group) for group in allocator.clusters} == {frozenset(("aa", "cc")), frozenset(("bb", "dd"))}
