"""`ray up`, workers and `ray down` of the AWS file against moto, in a network namespace that has nothing but loopback.

Run by tests/deploy/test_aws.py as ``unshare -n PYTHON -m tests.support.moto_cloud PROJECT``; writes found.json there.
moto gives its instances public addresses, so ssh, scp and rsync are replaced by programs that only note what they were
asked, and the namespace sees to it that nothing could leave even then.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

PORT = 5055
FOUND = "found.json"
SHIMS = ("ssh", "scp", "rsync")
SHIM = '#!/bin/sh\necho "$(basename "$0") $*" >> "$HOME/asked.log"\nexit 0\n'


def main(project: Path) -> dict[str, Any]:
    """What was brought up, which commands the nodes were asked, and what was left after `ray down`."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    _environment(project)
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", PORT, verbose=False)
    server.start()
    try:
        ec2 = boto3.client("ec2")
        _profiles(boto3.client("iam"), project)
        rules = _group(ec2)
        up = _ray(project, "up", "--no-config-cache")
        head = _instances(ec2)
        workers = {name: _launch(ec2, project, name) for name in ("gpu_spot", "gpu_on_demand")}
        down = _ray(project, "down")
        return {
            "interfaces": [name for _, name in socket.if_nameindex()],
            "can_leave": _can_leave(),
            "up": up,
            "down": down,
            "head": head,
            "workers": workers,
            "rules": {"made": rules, "after": _rules(ec2)},
            "asked": (Path.home() / "asked.log").read_text(encoding="utf-8").splitlines(),
            "left": [instance["State"]["Name"] for instance in _instances(ec2)],
        }
    finally:
        server.stop()


def _environment(project: Path) -> None:
    """A home, credentials and programs of the emulator's own; nothing of the caller's account is seen."""
    home = project / "home"
    (home / ".ray").mkdir(parents=True)
    (home / "tmp").mkdir()
    (home / ".ray" / "auth_token").write_text("0" * 64, encoding="utf-8")
    for name in SHIMS:
        program = home / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(SHIM, encoding="utf-8")
        program.chmod(0o755)
    for name in [name for name in os.environ if name.startswith(("AWS_", "RAY_"))]:
        del os.environ[name]
    os.environ |= {
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _profiles(iam: Any, project: Path) -> None:
    """The instance profiles that the how-to has the reader make."""
    trust = (project / "deploy/aws/trust.json").read_text(encoding="utf-8")
    for name in ("xelm-head", "xelm-worker"):
        policy = (project / f"deploy/aws/{name}.json").read_text(encoding="utf-8")
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        iam.put_role_policy(RoleName=name, PolicyName="xelm", PolicyDocument=policy)
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def _group(ec2: Any) -> list[dict[str, Any]]:
    """The security group that the how-to has the reader make: all from inside, SSH from one address. Its rules."""
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    group = ec2.create_security_group(GroupName="xelm", Description="xelm", VpcId=vpc["VpcId"])["GroupId"]
    inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[inside, ssh])
    return _rules(ec2)


def _rules(ec2: Any) -> list[dict[str, Any]]:
    """What may come in, over all security groups named xelm."""
    groups = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["xelm"]}])["SecurityGroups"]
    return [rule for group in groups for rule in group["IpPermissions"]]


def _ray(project: Path, verb: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "ray.scripts.scripts", verb, "-y", *arguments, "cluster.yaml"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=240)
    return {"code": done.returncode, "said": done.stdout[-4000:] + done.stderr[-4000:]}


def _instances(ec2: Any) -> list[dict[str, Any]]:
    return [instance for group in ec2.describe_instances()["Reservations"] for instance in group["Instances"]]


def _launch(ec2: Any, project: Path, name: str) -> dict[str, Any]:
    """One worker of a node type, started by the code that the head's autoscaler runs."""
    import yaml
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config

    config = bootstrap_aws(prepare_config(yaml.safe_load((project / "cluster.yaml").read_text(encoding="utf-8"))))
    before = {instance["InstanceId"] for instance in _instances(ec2)}
    tags = {"ray-node-type": "worker", "ray-cluster-name": config["cluster_name"], "ray-user-node-type": name}
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    provider.create_node(config["available_node_types"][name]["node_config"], tags, 1)
    (started,) = [instance for instance in _instances(ec2) if instance["InstanceId"] not in before]
    return started


def _can_leave() -> bool:
    """Whether a packet finds a way to an address that documentation is given (RFC 5737) and that no host has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 53))
        except OSError:
            return False
        return True


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    (folder / FOUND).write_text(json.dumps(main(folder), default=str), encoding="utf-8")
