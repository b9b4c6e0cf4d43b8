"""Hosts without a cloud: machines made of namespaces, that sshd answers for and that can be cut off like real ones.

All of it lives in one set of namespaces, and nothing outside is touched: no bridge, no address, no mount, no file. When
the first process in there ends, however it ends, the kernel takes hosts, network, mounts and files away.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from app.core.errors import ConfigError, TrainingError

ROOT = Path(__file__).parents[1]
SHARED = Path("/tmp/shared")  # the private /tmp of the namespaces
"""What every host sees, as a bucket would be seen."""
PROGRAMS = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "rsync": "rsync",
    "ssh": "openssh-client",
    "/usr/sbin/sshd": "openssh-server",
}
"""What is needed, with its Debian package."""

_NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc")
_NETWORK = "10.77.0"
_LONGEST_SECONDS_TO_START = 60.0
# /tmp, the home and /run become the host's own; what it needs from there stays visible.
_PRIVATE = """
set -e
mount -t tmpfs tmpfs /run
mkdir /run/sshd
for place in /tmp "$HOME"; do
  mkdir -p "/run/own$place"
  for kept in "$@"; do
    case "$kept" in "$place"/*) mkdir -p "/run/own$kept"; mount --rbind "$kept" "/run/own$kept";; esac
  done
  mount --rbind "/run/own$place" "$place"
done
mount -t tmpfs -o size=1g tmpfs /dev/shm
cp -r /etc/skel/. "$HOME"
"""
_SSHD = {
    "HostKey": SHARED / "host_key",
    "AuthorizedKeysFile": SHARED / "key.pub",
    "PermitRootLogin": "prohibit-password",
    "StrictModes": "no",
    "PidFile": "none",
    "UsePAM": "no",
}


def missing() -> str:
    """What this machine lacks for hosts, with the cure; empty if nothing."""
    if os.geteuid() != 0:
        return "root is missing, for namespaces; run as root"
    lacking = {name: package for name, package in PROGRAMS.items() if shutil.which(name) is None}
    if lacking:
        return f"{', '.join(lacking)} missing; apt-get install {' '.join(sorted(set(lacking.values())))}"
    attempt = ["unshare", *_NAMESPACES, "ip", "link", "add", "bridge", "type", "bridge"]
    done = subprocess.run(attempt, capture_output=True, text=True, check=False)
    said = done.stderr.strip()
    return f"namespaces with a network bridge cannot be made ({said}); allow SYS_ADMIN" if done.returncode else ""


def run_apart(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run a command in namespaces of its own that see neither network nor home nor /tmp; its exit status.

    They end with it, and with this process, even if it is killed. Raises ConfigError where they cannot be made.
    """
    if lacking := missing():
        raise ConfigError(lacking)
    keeper = ["setpriv", "--pdeathsig", "KILL", *_unshared(_PRIVATE + 'exec "${COMMAND[@]}"', _visible(), command)]
    # A caller's temporary folder may lie in the /tmp that is not seen there.
    return subprocess.run(keeper, env=environment | {"HOME": home(), "TMPDIR": "/tmp"}, check=False).returncode


def home() -> str:
    """The home of the user that sshd lets in; not that of the environment."""
    return pwd.getpwuid(os.geteuid()).pw_dir


class Hosts:
    """Hosts named as given, under addresses of their own, each with its processes, /tmp, home and shared memory."""

    def __init__(self, names: Sequence[str]) -> None:
        self.addresses = {name: f"{_NETWORK}.{number}" for number, name in enumerate(names, 1)}
        self._keepers: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def key(self) -> str:
        """The private key that opens them all."""
        return str(SHARED / "key")

    @property
    def running(self) -> list[str]:
        """Names of those that were not cut off."""
        return list(self._keepers)

    def __enter__(self) -> Hosts:
        SHARED.mkdir()
        for name in ("key", "host_key"):
            _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(SHARED / name))
        # Ray asks for the address of the host's name where there is no route out.
        table = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in self.addresses.items())]
        (SHARED / "hosts").write_text("\n".join(table) + "\n", encoding="utf-8")
        _do("mount", "--bind", str(SHARED / "hosts"), "/etc/hosts")
        _do("ip", "link", "set", "lo", "up")
        _do("ip", "link", "add", "bridge", "type", "bridge")
        _do("ip", "address", "add", f"{_NETWORK}.254/24", "dev", "bridge")
        _do("ip", "link", "set", "bridge", "up")
        for name in self.addresses:
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for keeper in self._keepers.values():
            keeper.kill()
            keeper.wait()

    def start(self, name: str) -> None:
        """Start a host, or its replacement: the same address, nothing else of the old one."""
        sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", *(f"-o{key}={value}" for key, value in _SSHD.items())]
        script = f"hostname {name}\n{_PRIVATE}" + 'exec "${COMMAND[@]}"'
        with (SHARED / f"{name}.log").open("ab") as log:
            command = _unshared(script, [*_visible(), str(SHARED)], sshd)
            self._keepers[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        first = str(self._first_process(name).pid)
        _do("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", first)
        _do("ip", "link", "set", f"to-{name}", "master", "bridge", "up")
        within = ["nsenter", "--target", first, "--net", "ip"]
        _do(*within, "link", "set", "lo", "up")
        _do(*within, "address", "add", f"{self.addresses[name]}/24", "dev", "eth0")
        _do(*within, "link", "set", "eth0", "up")
        self._wait(name, lambda: answers(self.addresses[name], 22))

    def cut(self, name: str) -> None:
        """kill -9 its first process: everything on it is gone at once, and its address answers no more."""
        self._first_process(name).kill()
        self._keepers.pop(name).wait()
        # The kernel takes its cable away too, but later.
        subprocess.run(["ip", "link", "delete", f"to-{name}"], capture_output=True, check=False)

    def processes(self, name: str) -> dict[str, float]:
        """What runs on a host: command line -> time of its start."""
        found = {}
        for process in self._first_process(name).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                found[" ".join(process.cmdline())] = process.create_time()
        return found

    def _first_process(self, name: str) -> psutil.Process:
        keeper = psutil.Process(self._keepers[name].pid)
        self._wait(name, lambda: bool(keeper.children()))
        return keeper.children()[0]

    def _wait(self, name: str, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _LONGEST_SECONDS_TO_START
        while not reached():
            if self._keepers[name].poll() is not None or time.monotonic() > deadline:
                said = (SHARED / f"{name}.log").read_text(encoding="utf-8")
                raise TrainingError(f"host {name} does not start: {said[-1000:]}")
            time.sleep(0.05)


def answers(address: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def _unshared(script: str, visible: Sequence[str], command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` after a script, in new namespaces; the script gets ``visible``."""
    count = len(visible)
    split = f'COMMAND=("${{@:{count + 1}}}"); set -- "${{@:1:{count}}}"\n'
    return ["unshare", *_NAMESPACES, "bash", "-c", split + script, "host", *visible, *command]


def _visible() -> list[str]:
    """Folders that a host has to see wherever they lie: the project and its Python."""
    places = (ROOT, Path.cwd(), Path(sys.prefix), Path(sys.base_prefix))
    return sorted({str(path) for place in places for path in (place, place.resolve())})


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TrainingError(f"{' '.join(command)} failed: {done.stderr.strip()}")
