from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.whole_run import WholeRun, make_whole_run


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeRun]:
    """See WholeRun; made once for all tests of the session."""
    with tempfile.TemporaryDirectory() as short:  # sockets have long names
        yield make_whole_run(tmp_path_factory.mktemp("whole"), Path(short))
