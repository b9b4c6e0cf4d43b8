"""Looking at the machine on which this runs. It leaves nothing behind, and what cannot be looked at is a sentence."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import platform
import shutil
import socket
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException
from importlib import metadata, resources
from pathlib import Path

import psutil
import torch

from app.artifacts.store import Folder
from app.doctor.facts import Gpu, Listener, MachineFacts, StorageProbe

PROJECT = "xelm-ray"
DRIVERS_PROBE = "driver"
_PACKAGES = ("ray", "torch", "transformers", PROJECT)
_GUARDED = {"dashboard": ("/api/version", b"ray_version"), "serve": ("/v1/models", b"")}
"""Process -> a path that only those with a token or a key are to read, and what its answer holds.

The dashboard's process has a port of figures for Prometheus too, which answers every path with them.
"""
_HTTP_SECONDS = 3.0
# Not through a proxy of the environment: it would be asked for 127.0.0.1 and answer for itself.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def look(probes: Folder, cache: str, raylet: int | None = None) -> MachineFacts:
    """This machine's facts. probes: folder for probe files. cache: ``artifacts.cache``.

    raylet: the process whose Ray is meant; None for the parent of this one, as in a task.
    """
    began = time.time()
    gpus, gpu_problem = _gpus()
    return MachineFacts(
        host=socket.gethostname(),
        began=began,
        versions=versions(),
        token=os.environ.get("RAY_AUTH_MODE", "").lower() not in ("", "disabled"),  # a raylet hands its mode on
        listeners=tuple(_listeners(raylet or os.getppid())),
        storage=probe_storage(probes),
        gpus=gpus,
        gpu_problem=gpu_problem,
        cublas=os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""),
        free={place: free_bytes(place) for place in {tempfile.gettempdir(), cache or tempfile.gettempdir()}},
        # Arguments are evaluated in the order in which they stand: this is the clock after all the looking.
        ended=time.time(),
    )


def versions() -> dict[str, str]:
    """Version of Python and of what must be the same everywhere; the project's with a digest of its source."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return {**found, PROJECT: f"{found[PROJECT]} ({_source_digest()})"}


def _source_digest() -> str:
    """A version number alone does not tell two checkouts apart."""
    digest = hashlib.sha256()
    root = Path(str(resources.files("app")))
    # Sorted, since every file system lists in an order of its own; the zero byte keeps name and content apart.
    for file in sorted(root.rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:8]


def free_bytes(place: str) -> int:
    """Free space where a folder is or would be made."""
    folder = Path(place).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def probe_storage(probes: Folder) -> StorageProbe:
    """Do with a small file all that training does with its files; the file is gone afterwards."""
    name, content = f"probe-{uuid.uuid4().hex}", b"may be deleted"
    step, sees_driver, ahead = "write", False, None
    try:
        probes.write(name, content)
        written = time.time()
        step = "read"
        if probes.read(name) != content:
            return StorageProbe("read: other bytes than were written", False, None)
        step = "list"
        listed = probes.names()
        sees_driver = DRIVERS_PROBE in listed
        if name not in listed:
            return StorageProbe("list: what was written is not listed", False, None)
        step = "ask the time of"
        modified = probes.modified(name)
        ahead = None if modified is None else modified - written
        step = "delete"
        probes.remove(name)
        if probes.exists(name):
            return StorageProbe("delete: it is still there", sees_driver, ahead)
    except Exception as error:  # every storage has errors of its own, and a missing driver is an ImportError
        with suppress(Exception):
            probes.remove(name)
        return StorageProbe(f"{step}: {_first_line(error)}", sees_driver, ahead)
    return StorageProbe("", sees_driver, ahead)


def _gpus() -> tuple[tuple[Gpu, ...], str]:
    try:
        found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        if found:
            # Properties can be read of a GPU that cannot be used; only work on it, fetched back, raises.
            torch.ones(1, device="cuda").add_(1).item()
        bf16 = [_has_bf16(number) for number in range(len(found))]
    except (RuntimeError, AssertionError) as error:  # no driver for it, a lost device, a device in exclusive use
        return (), _first_line(error)
    return tuple(Gpu(gpu.name, gpu.total_memory, has) for gpu, has in zip(found, bf16, strict=True)), ""


def _has_bf16(number: int) -> bool:
    # Torch answers for its current GPU. Emulated bf16 counts as none: it would say yes of GPUs without it in hardware.
    with torch.cuda.device(number):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def _listeners(raylet: int) -> Iterator[Listener]:
    """Ports on all interfaces of one Ray: the raylet's children, and what has its session in the command line."""
    processes = _family(psutil.Process(raylet))
    with suppress(psutil.AccessDenied):  # some systems tell it to their administrator alone
        for connection in psutil.net_connections("inet"):
            if connection.status != psutil.CONN_LISTEN or connection.pid not in processes:
                continue
            if ipaddress.ip_address(connection.laddr.ip).is_unspecified:
                process = processes[connection.pid]
                yield Listener(process, connection.laddr.port, _opens(process, connection.laddr.port))


def _family(raylet: psutil.Process) -> Mapping[int, str]:
    """Process id -> what it is, of all that belongs to the raylet's session on this machine."""
    # The head's GCS and dashboard are no children of its raylet, but have the session's name in their command lines.
    # `session_?` is in none: a driver without Ray asks for its own process, which is no raylet.
    session = next((part for part in "".join(raylet.cmdline()).split("/") if part.startswith("session_")), "session_?")
    members = {raylet.pid: "raylet", **{child.pid: "" for child in raylet.children(recursive=True)}}
    names: dict[int, str] = {}
    for process in psutil.process_iter():
        # Processes end while they are listed, and those of other users may not be read.
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if process.pid in members or session in words:
                names[process.pid] = members.get(process.pid) or _role(process.name(), words)
    return names


def _role(name: str, words: str) -> str:
    if "dashboard/dashboard.py" in words:
        return "dashboard"
    if name.startswith(("ray::ProxyActor", "ray::HTTPProxy", "haproxy")):
        return "serve"
    return name.strip()


def _opens(process: str, port: int) -> bool:
    """Whether a guarded path is answered without token and key."""
    if process not in _GUARDED:
        return False
    path, held = _GUARDED[process]
    try:
        with _DIRECT.open(f"http://127.0.0.1:{port}{path}", timeout=_HTTP_SECONDS) as answer:
            return held in answer.read()
    except (OSError, HTTPException):  # refused, asked for a token, or another protocol
        return False


def _first_line(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"
