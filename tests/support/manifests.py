"""What a KubeRay manifest and a SkyPilot task may say: closed JSON schemas, written from the published field names.

Sources: KubeRay's API reference (ray.io/v1, release 1.7), Kubernetes' reference of PodSpec, SkyPilot's YAML reference.
Only what a manifest of ours could want is listed, so that a misspelt or misplaced field is refused.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
QUANTITY: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$"}
NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}


def closed(*required: str, **fields: Schema) -> Schema:
    """An object with these fields and no others."""
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def listed(item: Schema, least: int = 1) -> Schema:
    """A list of at least ``least`` such items."""
    return {"type": "array", "items": item, "minItems": least}


def texts(value: Schema = TEXT) -> Schema:
    """An object from any key to such values."""
    return {"type": "object", "additionalProperties": value}


AMOUNTS = texts(QUANTITY)
SECRET = closed("secretKeyRef", secretKeyRef=closed("name", "key", name=NAME, key=TEXT))
CONTAINER = closed(
    "name",
    "image",
    "resources",
    name=NAME,
    # A tag other than `latest`, or a digest: an image that changes under a run is not the one it was tested with.
    image={"type": "string", "pattern": r"^[^\s:@]+(:[0-9]+/[^\s:@]+)?(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})$"},
    env=listed(closed("name", name=TEXT, value={"type": "string"}, valueFrom=SECRET)),
    resources=closed("limits", "requests", limits=AMOUNTS, requests=AMOUNTS),
    lifecycle=closed(preStop=closed("exec", exec=closed("command", command=listed(TEXT)))),
    ports=listed(closed("containerPort", containerPort=COUNT, name=NAME)),
)
TOLERATION = closed(
    "key",
    "operator",
    key=TEXT,
    operator={"enum": ["Exists", "Equal"]},
    value=TEXT,
    effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
)
POD = closed(
    "spec",
    metadata=closed(labels=texts(), annotations=texts()),
    spec=closed(
        "containers",
        containers=listed(CONTAINER),
        serviceAccountName=NAME,
        nodeSelector=texts(),
        tolerations=listed(TOLERATION),
        terminationGracePeriodSeconds=COUNT,
    ),
)
HEAD = closed(
    "template",
    "rayStartParams",
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    rayStartParams=texts(),
    template=POD,
)
WORKERS = closed(
    "groupName",
    "minReplicas",
    "maxReplicas",
    "rayStartParams",
    "template",
    groupName=NAME,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    priority=COUNT,
    idleTimeoutSeconds=COUNT,
    rayStartParams=texts(),
    template=POD,
)
CLUSTER_SPEC = closed(
    "rayVersion",
    "authOptions",
    "headGroupSpec",
    "workerGroupSpecs",
    rayVersion=TEXT,
    authOptions=closed("mode", mode={"enum": ["token", "disabled"]}, secretName=NAME),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=closed(
        version={"enum": ["v1", "v2"]},
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    ),
    headGroupSpec=HEAD,
    workerGroupSpecs=listed(WORKERS),
)
JOB_SPEC = closed(
    "entrypoint",
    "rayClusterSpec",
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    backoffLimit=COUNT,
    activeDeadlineSeconds=COUNT,
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    rayClusterSpec=CLUSTER_SPEC,
)
SERVICE_SPEC = closed("serveConfigV2", "rayClusterConfig", serveConfigV2=TEXT, rayClusterConfig=CLUSTER_SPEC)


def _manifest(kind: str, spec: Schema) -> Schema:
    metadata = closed("name", name=NAME, namespace=NAME, labels=texts())
    return closed(
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )


KUBERAY = {
    "raycluster": _manifest("RayCluster", CLUSTER_SPEC),
    "rayjob": _manifest("RayJob", JOB_SPEC),
    "rayservice": _manifest("RayService", SERVICE_SPEC),
}

_AT_LEAST: Schema = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\+?$"}]}
SKYPILOT = closed(
    "resources",
    "run",
    name=NAME,
    workdir=TEXT,
    num_nodes={"type": "integer", "minimum": 1},
    envs=texts({"type": ["string", "number", "null"]}),
    secrets=texts({"type": ["string", "null"]}),
    setup=TEXT,
    run=TEXT,
    resources=closed(
        infra=TEXT,
        cpus=_AT_LEAST,
        memory=_AT_LEAST,
        accelerators=listed({"type": "string", "pattern": r"^[A-Za-z0-9-]+(:[0-9]+)?$"}),
        disk_size=COUNT,
        use_spot=FLAG,
        any_of=listed(closed(infra=TEXT, use_spot=FLAG)),
        job_recovery=closed(
            strategy=TEXT, max_restarts_on_errors=COUNT, recover_on_exit_codes=listed({"type": "integer"})
        ),
    ),
)
