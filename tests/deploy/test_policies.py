"""The rights that the AWS nodes are given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.source import ROOT

BUCKET = {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
MACHINES = {"ec2:Describe*", "ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances"}
RIGHTS = {"xelm-worker": BUCKET, "xelm-head": BUCKET | MACHINES | {"ssm:GetParameters", "iam:PassRole"}}


def statements(role: str) -> list[dict[str, Any]]:
    """The role's policy, each statement with a list of actions."""
    policy = json.loads((ROOT / f"deploy/aws/{role}.json").read_text(encoding="utf-8"))
    for rule in policy["Statement"]:
        rule["Action"] = [rule["Action"]] if isinstance(rule["Action"], str) else rule["Action"]
    found: list[dict[str, Any]] = policy["Statement"]
    return found


@pytest.mark.parametrize("role", RIGHTS)
def test_a_role_may_do_these_things_and_no_others(role: str) -> None:
    assert {action for rule in statements(role) for action in rule["Action"]} == RIGHTS[role]


@pytest.mark.parametrize("role", RIGHTS)
def test_a_role_reaches_one_bucket(role: str) -> None:
    reached = {rule["Resource"] for rule in statements(role) if rule["Action"][0].startswith("s3:")}
    assert reached == {"arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/*"}


def test_the_head_ends_only_machines_of_its_cluster_and_hands_on_only_the_workers_role() -> None:
    by_action = {action: rule for rule in statements("xelm-head") for action in rule["Action"]}
    assert by_action["ec2:TerminateInstances"]["Condition"] == {
        "StringEquals": {"aws:ResourceTag/ray-cluster-name": "xelm"}
    }
    assert by_action["iam:PassRole"]["Resource"].endswith(":role/xelm-worker")
    assert by_action["ssm:GetParameters"]["Resource"].endswith(":parameter/xelm/image")
