from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from http.client import IncompleteRead

import pytest

from app.core.errors import ConfigError
from app.training import notices
from app.training.notices import CLOUDS, poll
from tests.support.metadata import Metadata, metadata_service


@pytest.fixture
def service() -> Iterator[Metadata]:
    with metadata_service() as running:
        yield running


@pytest.mark.parametrize("cloud", CLOUDS)
def test_without_a_notice_there_is_none(cloud: str, service: Metadata) -> None:
    assert poll(cloud, service.address) is None


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_service_that_does_not_answer_is_no_notice(cloud: str) -> None:
    assert poll(cloud, "http://127.0.0.1:9") is None


def test_the_service_is_asked_directly_whatever_proxy_the_environment_names(
    service: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # urlopen reads the environment once
    service.ec2_action = '{"action": "stop", "time": "2026-11-21T08:22:00Z"}'
    notice = poll("aws", service.address)
    assert notice is not None and notice.reason == "spot stop"


def test_ec2_says_what_and_when_to_those_who_hold_a_token(service: Metadata) -> None:
    service.ec2_action = '{"action": "terminate", "time": "2026-11-21T08:22:00Z"}'
    notice = poll("aws", service.address)
    assert notice is not None and notice.reason == "spot terminate" and notice.deadline == 1795249320.0


def test_gce_says_only_that_it_is_so_and_leaves_half_a_minute(service: Metadata) -> None:
    service.gce_preempted = "TRUE"
    notice = poll("gce", service.address)
    assert notice is not None and notice.deadline == pytest.approx(time.time() + 30, abs=2)


def test_azure_lists_events_of_several_machines_and_only_our_own_counts(service: Metadata) -> None:
    event = {"EventType": "Preempt", "NotBefore": "Sat, 21 Nov 2026 08:22:00 GMT", "Resources": ["vm-8"]}
    service.azure_events = [event, {**event, "EventType": "Reboot", "Resources": ["vm-7"]}]
    assert poll("azure", service.address) is None
    service.azure_events.append({**event, "Resources": ["vm-7"]})
    notice = poll("azure", service.address)
    assert notice is not None and notice.deadline == 1795249320.0 and "Preempt" in notice.reason
    service.azure_events = [{"EventType": "Terminate", "NotBefore": "", "Resources": ["vm-7"]}]
    begun = poll("azure", service.address)
    assert begun is not None and begun.deadline == pytest.approx(time.time() + 30, abs=2)


def test_an_answer_that_is_not_understood_is_no_notice(service: Metadata) -> None:
    service.ec2_action = "<html>"
    assert poll("aws", service.address) is None


def test_an_answer_that_is_cut_off_is_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: object, **__: object) -> None:
        raise IncompleteRead(b"{")

    monkeypatch.setattr(notices._DIRECT, "open", cut_off)
    assert poll("gce") is None


def test_an_unknown_cloud_is_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown cloud 'asw'.*aws"):
        poll("asw")
