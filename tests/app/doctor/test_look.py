from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from app.artifacts.store import Folder
from app.core.errors import StorageError
from app.doctor.facts import Listener
from app.doctor.look import DRIVERS_PROBE, free_bytes, look, probe_storage, versions
from benchmarks.processes import kill_family


def test_versions_are_those_that_run_here() -> None:
    found = versions()
    assert found["python"] == platform.python_version() and found["torch"] == torch.__version__
    assert found["ray"] == importlib.metadata.version("ray") and len(found) == 5


@pytest.mark.parametrize("root", ["local", "memory://doctor"])
def test_a_storage_that_allows_everything_has_no_problem_and_keeps_nothing(root: str, tmp_path: Path) -> None:
    folder = Folder(root if "://" in root else str(tmp_path / root))
    assert not probe_storage(folder).sees_driver
    folder.write(DRIVERS_PROBE, b"x")
    probe = probe_storage(folder)
    assert probe.problem == "" and probe.sees_driver and folder.names() == [DRIVERS_PROBE]
    assert probe.seconds_ahead is not None and abs(probe.seconds_ahead) < 5


class _Forbidding(Folder):
    """A folder whose storage lacks one right."""

    lacks = ""

    def write(self, name: str, data: bytes) -> None:
        if self.lacks == "write":
            raise StorageError(f"cannot write {self.uri}")
        super().write(name, data)

    def remove(self, name: str) -> None:
        if self.lacks == "delete":
            raise PermissionError("not permitted")
        super().remove(name)


@pytest.mark.parametrize("right", ["write", "delete"])
def test_a_missing_right_is_named(right: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Forbidding, "lacks", right)
    assert probe_storage(_Forbidding(str(tmp_path))).problem.startswith(f"{right}: ")


def test_a_storage_whose_driver_is_not_installed_is_a_problem_not_an_error() -> None:
    assert "ImportError" in probe_storage(Folder("adl://nobody/x")).problem


def test_free_space_is_that_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    stat = os.statvfs(tmp_path)
    assert free_bytes(str(tmp_path / "a/b")) == pytest.approx(stat.f_bavail * stat.f_frsize, rel=0.2)


_PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
child.wait()
"""
_CHILD = """
import socket, time
for host, port in (("", 0), ("127.0.0.1", 0)):
    s = socket.create_server((host, port))
    print(s.getsockname()[1], flush=True)
    globals()[host or "any"] = s
time.sleep(60)
"""


def test_ports_on_every_interface_are_listed_for_the_family_of_the_raylet_alone(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, _CHILD], stdout=subprocess.PIPE, text=True)
    other = socket.create_server(("", 0))
    try:
        assert parent.stdout
        everywhere, loopback = (int(parent.stdout.readline()) for _ in range(2))
        ports = {item.port for item in look(Folder(str(tmp_path)), "", parent.pid).listeners}
        assert everywhere in ports and loopback not in ports and other.getsockname()[1] not in ports
    finally:
        other.close()
        kill_family(parent)


@pytest.mark.parametrize(
    ("status", "body", "opens"),
    [
        (200, b'{"ray_version": "2.60.0"}', True),
        (200, b"# HELP ray_tasks", False),
        (401, b"", False),
        (404, b"", False),
        (0, b"", False),
    ],
    ids=["dashboard", "figures for Prometheus", "token asked for", "not there", "another protocol"],
)
def test_a_port_opens_if_a_guarded_path_is_answered(
    status: int, body: bytes, opens: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not status:
                self.wfile.write(b"another protocol\r\n")
                return
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    monkeypatch.setattr("app.doctor.look._family", lambda raylet: {raylet.pid: "dashboard"})
    server = HTTPServer(("", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        found = look(Folder(str(tmp_path)), "", os.getpid()).listeners
        assert Listener("dashboard", server.server_port, opens) in found
    finally:
        server.shutdown()
        server.server_close()


def test_gpus_are_as_many_as_torch_sees(tmp_path: Path) -> None:
    facts = look(Folder(str(tmp_path)), "", os.getpid())
    assert len(facts.gpus) == torch.cuda.device_count() and facts.gpu_problem == ""
    assert facts.began <= facts.ended


def test_each_gpu_of_a_machine_is_asked_for_its_own_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, current = ["T4", "A100"], [0]

    @contextlib.contextmanager
    def device(number: int) -> Iterator[None]:
        before, current[0] = current[0], number
        yield
        current[0] = before

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda number: SimpleNamespace(name=names[number], total_memory=number)
    )
    monkeypatch.setattr(torch, "ones", lambda *_, **__: torch.zeros(1))
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: names[current[0]] == "A100")
    facts = look(Folder(str(tmp_path)), "", os.getpid())
    assert [(gpu.name, gpu.bf16) for gpu in facts.gpus] == [("T4", False), ("A100", True)]


@pytest.mark.parametrize(("mode", "token"), [("token", True), ("disabled", False), ("", False)])
def test_the_token_mode_is_that_of_the_environment(
    mode: str, token: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert look(Folder(str(tmp_path)), "", os.getpid()).token is token
