"""The Kubernetes files, as kustomize puts them together."""

import copy
import json
import shlex
from collections.abc import Callable
from importlib import metadata
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import tyro
import yaml

from pipeline.preprocess import PreprocessOptions
from pipeline.search import SearchOptions
from tests.infra.kuberay import check, pod_templates
from tests.infra.programs import INFRA, run

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def manifests() -> dict[str, Manifest]:
    """By kind and name."""
    done = run("kubectl", "kustomize", INFRA / "kuberay/eks")
    assert done.returncode == 0, done.stderr
    return {
        f"{manifest['kind']}/{manifest['metadata']['name']}": manifest
        for manifest in yaml.safe_load_all(done.stdout)
    }


def test_every_manifest_is_what_its_kind_takes(manifests: dict[str, Manifest]) -> None:
    assert len(manifests) == 11
    for manifest in manifests.values():
        check(manifest)


def _misspell(job: Manifest) -> None:
    job["spec"]["entrypont"] = job["spec"].pop("entrypoint")


def _forget_groups_name(job: Manifest) -> None:
    del job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["groupName"]


def _misspell_in_pod(job: Manifest) -> None:
    pod = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    pod["containers"][0]["imagePullPolice"] = "Always"


def _mistype_in_pod(job: Manifest) -> None:
    group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    group["template"]["spec"]["terminationGracePeriodSeconds"] = "45s"


def _keep_cluster(job: Manifest) -> None:
    job["spec"]["shutdownAfterJobFinishes"] = False


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (_misspell, jsonschema.ValidationError),
        (_forget_groups_name, jsonschema.ValidationError),
        (_misspell_in_pod, kubernetes_validate.ValidationError),
        (_mistype_in_pod, kubernetes_validate.ValidationError),
        (_keep_cluster, ValueError),
    ],
)
def test_a_slip_in_a_job_is_refused(
    manifests: dict[str, Manifest], spoil: Callable[[Manifest], None], error: type[Exception]
) -> None:
    job = copy.deepcopy(manifests["RayJob/search"])
    spoil(job)

    with pytest.raises(error):
        check(job)


def test_nothing_of_ray_runs_before_it_is_asked_for(manifests: dict[str, Manifest]) -> None:
    ray = [m for name, m in manifests.items() if name.startswith("Ray")]

    assert [m["spec"]["suspend"] for m in ray] == [True] * 3


def test_heads_stay_and_workers_are_spot(manifests: dict[str, Manifest]) -> None:
    for name in ("RayCluster/cgnet", "RayJob/preprocess", "RayJob/search"):
        head, *workers = pod_templates(manifests[name])

        assert head["spec"]["nodeSelector"] == {"eks.amazonaws.com/capacityType": "ON_DEMAND"}
        assert [w["spec"]["nodeSelector"] for w in workers] == [
            {"eks.amazonaws.com/capacityType": "SPOT"}
        ]


def test_no_pod_is_roots_and_each_is_behind_the_network_policy(
    manifests: dict[str, Manifest],
) -> None:
    inside = manifests["NetworkPolicy/cgnet"]["spec"]["podSelector"]["matchLabels"]
    for manifest in manifests.values():
        for template in pod_templates(manifest):
            assert template["spec"]["securityContext"]["runAsNonRoot"] is True
            assert template["metadata"]["labels"].items() >= inside.items()
            for container in template["spec"]["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                }


def test_no_secret_is_in_the_files_nor_in_an_environment(manifests: dict[str, Manifest]) -> None:
    everything = json.dumps(manifests)

    assert not any(name.startswith("Secret/") for name in manifests)
    assert not any(word in everything for word in ("SECRET_ACCESS_KEY", "PGPASSWORD", "runtimeEnv"))


def test_ray_is_the_version_of_the_image(manifests: dict[str, Manifest]) -> None:
    job = manifests["RayJob/search"]["spec"]["rayClusterSpec"]

    assert job["rayVersion"] == manifests["RayCluster/cgnet"]["spec"]["rayVersion"]
    assert job["rayVersion"] == metadata.version("ray")


@pytest.mark.parametrize(
    ("job", "options"), [("preprocess", PreprocessOptions), ("search", SearchOptions)]
)
def test_what_a_job_types_is_a_command_of_ours_on_the_overlays_store(
    manifests: dict[str, Manifest], job: str, options: type
) -> None:
    python, _, module, *words = shlex.split(manifests[f"RayJob/{job}"]["spec"]["entrypoint"])

    parsed = tyro.cli(options, args=words)

    assert (python, module) == ("python", f"pipeline.{job}")
    assert parsed.store == manifests["ConfigMap/cgnet"]["data"]["STORE"]
