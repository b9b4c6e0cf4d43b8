"""Notices that a spot machine is about to go, from the instance metadata of EC2, GCE and Azure.

Plain HTTP to a link-local address that only the machine itself reaches. Sources: the providers' own documentation of
spot interruption notices (EC2), preemptible instances (GCE) and scheduled events (Azure).
"""

from __future__ import annotations

import email.utils
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException

from app.core.errors import ConfigError
from app.core.suggest import unknown_value

_TIMEOUT_SECONDS = 2.0
# A proxy of the environment cannot reach an address of this machine's own link.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
NOTICE_SECONDS = {"aws": 120.0, "gce": 30.0, "azure": 30.0}
"""What each cloud promises between notice and end. GCE gives no time, nor does Azure for an event that has begun."""


@dataclass(frozen=True)
class Notice:
    """This machine goes at ``deadline`` (Unix time)."""

    cloud: str
    deadline: float
    reason: str


def poll(cloud: str, address: str | None = None) -> Notice | None:
    """The notice, or None while there is none; None too if the metadata service does not answer in two seconds.

    address: of the metadata service; None means the cloud's own. Raises ConfigError for an unknown cloud.
    """
    if cloud not in CLOUDS:
        raise ConfigError(unknown_value("cloud", cloud, CLOUDS))
    ask, usual = CLOUDS[cloud]
    try:
        return ask((address or usual).rstrip("/"))
    except (OSError, HTTPException, ValueError, KeyError):  # away, or not what was expected: the next poll will tell
        return None


def _ec2(base: str) -> Notice | None:
    # IMDSv2 answers nobody without a token. Each poll takes its own, so a minute of life is plenty.
    token = _get(f"{base}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    said = _get(f"{base}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token or ""})
    if said is None:
        return None
    action = json.loads(said)
    when = datetime.strptime(action["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    return Notice("aws", when, f"spot {action['action']}")


def _gce(base: str) -> Notice | None:
    # The header shows that the request is meant for the service and was not forwarded by mistake; without it: 403.
    said = _get(f"{base}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return Notice("gce", time.time() + NOTICE_SECONDS["gce"], "preempted") if said and said.strip() == "TRUE" else None


def _azure(base: str) -> Notice | None:
    headers = {"Metadata": "true"}
    own = _get(f"{base}/metadata/instance/compute/name?api-version=2021-02-01&format=text", headers)
    said = _get(f"{base}/metadata/scheduledevents?api-version=2020-07-01", headers)
    for event in json.loads(said or "{}").get("Events", []):
        # Events are those of a whole scale set; only one that names this machine is about it.
        if event["EventType"] in ("Preempt", "Terminate") and own in event["Resources"]:
            # A date as in HTTP headers; empty once the event has begun.
            when = event.get("NotBefore")
            least = time.time() + NOTICE_SECONDS["azure"]
            deadline = email.utils.parsedate_to_datetime(when).timestamp() if when else least
            return Notice("azure", deadline, f"scheduled event {event['EventType']}")
    return None


def _get(url: str, headers: Mapping[str, str], method: str = "GET") -> str | None:
    """The body, None for 404: nothing to say."""
    request = urllib.request.Request(url, headers=dict(headers), method=method)
    try:
        with _DIRECT.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


CLOUDS: Mapping[str, tuple[Callable[[str], Notice | None], str]] = {
    "aws": (_ec2, "http://169.254.169.254"),
    "gce": (_gce, "http://metadata.google.internal"),
    "azure": (_azure, "http://169.254.169.254"),
}
"""Cloud -> how it is asked, and where."""
