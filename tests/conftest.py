from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.whole_run import WholeRun, make_whole_run


@pytest.fixture(scope="session", autouse=True)
def _temporary_files_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What libraries, Ray and processes that are killed leave in the temporary folder goes with the session."""
    tmp_path_factory.getbasetemp()  # pytest keeps its own, of a few sessions, to be looked at after a failure
    folder = tempfile.mkdtemp(prefix="x")  # short: Ray's sockets have long names
    Path(folder, "ray").mkdir()  # where Ray's own test clusters write an address, and do not make the folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield
    shutil.rmtree(folder, ignore_errors=True)  # a process that just ends may still write


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeRun]:
    """See WholeRun; made once for all tests of the session."""
    with tempfile.TemporaryDirectory() as short:  # sockets have long names
        yield make_whole_run(tmp_path_factory.mktemp("whole"), Path(short))
