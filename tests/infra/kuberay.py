"""What KubeRay 1.7 takes in a RayCluster and a RayJob: its fields, and the rules between them.

The field lists are those of its CRDs at that tag, closed, so that a mistyped name is refused. Pod
templates are Kubernetes' own and are checked as such.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import kubernetes_validate

Manifest = Mapping[str, Any]

KUBERNETES = "1.32"
_ANY: dict[str, Any] = {}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_FLAG = {"type": "boolean"}


def _closed(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


_HEAD = _closed(
    {
        "template": {"type": "object"},
        "rayStartParams": _TEXTS,
        "resources": _TEXTS,
        "labels": _TEXTS,
        "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        "headService": _ANY,
        "enableIngress": _FLAG,
        "ingressOptions": _ANY,
    },
    "template",
)
_WORKERS = _closed(
    {
        "groupName": _TEXT,
        "minReplicas": _COUNT,
        "maxReplicas": _COUNT,
        "replicas": _COUNT,
        "template": {"type": "object"},
        "rayStartParams": _TEXTS,
        "resources": _TEXTS,
        "labels": _TEXTS,
        "numOfHosts": _COUNT,
        "idleTimeoutSeconds": _COUNT,
        "priority": {"type": "integer"},
        "scaleStrategy": _ANY,
        "suspend": _FLAG,
    },
    "groupName",
    "minReplicas",
    "maxReplicas",
    "template",
)
_CLUSTER = _closed(
    {
        "authOptions": _closed(
            {
                "mode": {"enum": ["token", "disabled"]},
                "secretName": _TEXT,
                "enableK8sTokenAuth": _FLAG,
            }
        ),
        "autoscalerOptions": _ANY,
        "enableInTreeAutoscaling": _FLAG,
        "gcsFaultToleranceOptions": _ANY,
        "headGroupSpec": _HEAD,
        "headServiceAnnotations": _TEXTS,
        "historyServerOptions": _ANY,
        "managedBy": _TEXT,
        "networkPolicy": _ANY,
        "rayVersion": _TEXT,
        "suspend": _FLAG,
        "tlsOptions": _ANY,
        "upgradeStrategy": _ANY,
        "workerGroupSpecs": {"type": "array", "items": _WORKERS},
    },
    "headGroupSpec",
)
_JOB = _closed(
    {
        "activeDeadlineSeconds": _COUNT,
        "backoffLimit": _COUNT,
        "clusterSelector": _TEXTS,
        "deletionStrategy": _ANY,
        "entrypoint": _TEXT,
        "entrypointNumCpus": {"type": "number"},
        "entrypointNumGpus": {"type": "number"},
        "entrypointResources": _TEXT,
        "jobId": _TEXT,
        "managedBy": _TEXT,
        "metadata": _TEXTS,
        "preRunningDeadlineSeconds": {"type": "integer", "minimum": 1},
        "rayClusterSpec": _CLUSTER,
        "runtimeEnvYAML": _TEXT,
        "shutdownAfterJobFinishes": _FLAG,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        "submitterConfig": _ANY,
        "submitterPodTemplate": _ANY,
        "suspend": _FLAG,
        "ttlSecondsAfterFinished": _COUNT,
    }
)
_SPECS = {"RayCluster": _CLUSTER, "RayJob": _JOB}


def check(manifest: Manifest) -> None:
    """Check one manifest, of Ray's or of Kubernetes' own kinds.

    Raises:
        jsonschema.ValidationError: a field is not known, missing or of another type.
        kubernetes_validate.ValidationError: likewise.
        ValueError: the fields do not go together.
    """
    if manifest["kind"] not in _SPECS:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    jsonschema.validate(manifest["spec"], _SPECS[manifest["kind"]])
    for template in pod_templates(manifest):
        wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}}
        kubernetes_validate.validate(wrapped | {"template": template}, KUBERNETES, strict=True)
    if manifest["kind"] == "RayJob":
        _check_rules(manifest["spec"])


def pod_templates(manifest: Manifest) -> Iterator[Manifest]:
    """Return the templates of all pods that a manifest asks for."""
    spec = manifest.get("spec", {})
    if manifest["kind"] in ("Deployment", "StatefulSet"):
        yield spec["template"]
    elif manifest["kind"] in _SPECS:
        cluster = spec.get("rayClusterSpec", spec)
        yield cluster["headGroupSpec"]["template"]
        yield from (group["template"] for group in cluster.get("workerGroupSpecs", []))


def _check_rules(job: Manifest) -> None:
    """Check what the CRD says in CEL and the operator in its code."""
    shuts_down = job.get("shutdownAfterJobFinishes", False)
    if job.get("ttlSecondsAfterFinished", 0) > 0 and not shuts_down:
        raise ValueError("ttlSecondsAfterFinished needs shutdownAfterJobFinishes")
    if "deletionStrategy" in job and shuts_down:
        raise ValueError("deletionStrategy and shutdownAfterJobFinishes exclude each other")
    if job.get("suspend", False) and not shuts_down:
        raise ValueError("suspend needs shutdownAfterJobFinishes")
    if ("rayClusterSpec" in job) == ("clusterSelector" in job):
        raise ValueError("a job has either rayClusterSpec or clusterSelector")
