"""The files for AWS: Terraform, its CloudFormation twin, which is also executed, and `ray up`."""

import json
import re
from pathlib import Path
from typing import Any

import boto3
import hcl2
import jsonschema
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.infra.programs import INFRA, run

TEMPLATE = INFRA / "cloudformation/storage.yaml"


class _Yaml(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, of which only the text matters here."""


_Yaml.add_multi_constructor("!", lambda loader, name, node: str(node.value))


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return dict(yaml.load(TEMPLATE.read_text(), _Yaml)["Resources"])


@pytest.fixture(scope="module")
def terraform() -> dict[str, Any]:
    """Blocks by type and name, without the quotes and marks of the parser."""
    with (INFRA / "terraform/main.tf").open() as file:
        parsed = _plain(hcl2.load(file))
    return {
        f"{kind}.{name}": body
        for block in [*parsed["resource"], *parsed["data"]]
        for kind, named in block.items()
        for name, body in named.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.strip('"'): _plain(v) for key, v in value.items() if "__" not in key}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.strip('"') if isinstance(value, str) else value


def test_terraform_is_in_its_own_format() -> None:
    done = run("terraform", "fmt", "-check", "-recursive", INFRA / "terraform")

    assert (done.returncode, done.stdout) == (0, "")


def test_terraform_fmt_refuses_another_format(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('variable "x" {\ntype=string\n}\n')

    assert run("terraform", "fmt", "-check", tmp_path).returncode != 0


def test_the_bucket_is_closed_encrypted_and_swept(
    terraform: dict[str, Any], template: dict[str, Any]
) -> None:
    closed = {
        k: v
        for k, v in terraform["aws_s3_bucket_public_access_block.store"].items()
        if k != "bucket"
    }
    rule = terraform["aws_s3_bucket_lifecycle_configuration.store"]["rule"][0]
    store = template["Store"]["Properties"]

    assert closed == dict.fromkeys(closed, True)
    assert len(closed) == 4
    assert list(store["PublicAccessBlockConfiguration"].values()) == [True] * 4
    assert rule["status"] == store["LifecycleConfiguration"]["Rules"][0]["Status"] == "Enabled"
    assert rule["abort_incomplete_multipart_upload"] == [{"days_after_initiation": 3}]
    assert store["LifecycleConfiguration"]["Rules"][0]["AbortIncompleteMultipartUpload"] == {
        "DaysAfterInitiation": 3
    }
    assert "aws_s3_bucket_server_side_encryption_configuration.store" in terraform


def test_both_give_the_same_rights_and_no_more_than_the_code_uses(
    terraform: dict[str, Any], template: dict[str, Any]
) -> None:
    statements = terraform["aws_iam_policy_document.use"]["statement"]
    document = template["Use"]["Properties"]["PolicyDocument"]
    resource = "${aws_s3_bucket.store.arn}"

    assert [s["actions"] for s in statements] == [s["Action"] for s in document["Statement"]]
    assert [s["resources"] for s in statements] == [[resource], [f"{resource}/*"]]
    assert [s["Resource"] for s in document["Statement"]] == ["Store.Arn", "${Store.Arn}/*"]
    assert not any("*" in action for s in statements for action in s["actions"])


def test_the_head_alone_may_start_machines_and_end_those_of_its_cluster(
    terraform: dict[str, Any], template: dict[str, Any], cluster: dict[str, Any]
) -> None:
    statements = terraform["aws_iam_policy_document.launch"]["statement"]
    twins = template["Launch"]["Properties"]["PolicyDocument"]["Statement"]
    ending = next(s for s in twins if "ec2:TerminateInstances" in s["Action"])
    attached = {
        name.removeprefix("aws_iam_role_policy_attachment."): body
        for name, body in terraform.items()
        if name.startswith("aws_iam_role_policy_attachment.")
    }
    pull = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"
    profiles = {
        name: node["node_config"]["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        for name, node in cluster["available_node_types"].items()
    }

    assert [s["actions"] for s in statements] == [s["Action"] for s in twins]
    assert ending["Condition"] == {
        "StringEquals": {"aws:ResourceTag/ray-cluster-name": cluster["cluster_name"]}
    }
    assert statements[2]["condition"][0]["values"] == [cluster["cluster_name"]]
    assert template["Role"]["Properties"]["ManagedPolicyArns"] == ["Use", pull]
    assert template["HeadRole"]["Properties"]["ManagedPolicyArns"] == ["Use", "Launch", pull]
    assert attached["use"]["for_each"] == attached["pull"]["for_each"]
    assert attached["pull"]["policy_arn"] == pull
    assert attached["launch"]["role"] == "${aws_iam_role.head.name}"
    assert profiles == {"head": "cgnet-head", "worker": "cgnet"}


def test_cloudformation_types_are_right() -> None:
    done = run("cfn-lint", TEMPLATE)

    assert (done.returncode, done.stdout) == (0, "")


def test_cfn_lint_refuses_a_property_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TEMPLATE.read_text().replace("BucketName:", "BucketNam:"))

    done = run("cfn-lint", tmp_path / "x.yaml")

    assert done.returncode != 0
    assert "BucketNam" in done.stdout


@mock_aws
@pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy")
def test_the_stack_comes_up_with_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """In moto, which leaves out lifecycle, access block and attachments: those are read above."""
    for name, text in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(f"AWS_{name}", text)
    session = boto3.session.Session(region_name="eu-central-1")
    cloudformation, s3, iam = (session.client(n) for n in ("cloudformation", "s3", "iam"))

    cloudformation.create_stack(
        StackName="cgnet",
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": "Bucket", "ParameterValue": "streets"}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )

    stack = cloudformation.describe_stacks(StackName="cgnet")["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    encryption = s3.get_bucket_encryption(Bucket="streets")["ServerSideEncryptionConfiguration"]
    version = iam.get_policy(PolicyArn=outputs["PolicyArn"])["Policy"]["DefaultVersionId"]
    policy = iam.get_policy_version(PolicyArn=outputs["PolicyArn"], VersionId=version)
    document = policy["PolicyVersion"]["Document"]

    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert outputs["Store"] == "s3://streets"
    assert "AES256" in json.dumps(encryption)
    assert [s["Resource"] for s in document["Statement"]] == [
        "arn:aws:s3:::streets",
        "arn:aws:s3:::streets/*",
    ]
    profile = iam.get_instance_profile(InstanceProfileName="cgnet")["InstanceProfile"]
    assert profile["Arn"] == outputs["InstanceProfileArn"]
    assert [role["RoleName"] for role in profile["Roles"]] == ["cgnet"]
    head = iam.get_instance_profile(InstanceProfileName="cgnet-head")["InstanceProfile"]
    assert head["Arn"] == outputs["HeadInstanceProfileArn"]
    assert [role["RoleName"] for role in head["Roles"]] == ["cgnet-head"]


@pytest.fixture
def cluster() -> dict[str, Any]:
    return dict(yaml.safe_load((INFRA / "ray-up/aws.yaml").read_text()))


def test_ray_takes_the_cluster_file(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(cluster))


@pytest.mark.parametrize("key", ["max_worker", "providers"])
def test_ray_refuses_a_misspelt_key(cluster: dict[str, Any], key: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=key):
        validate_config(prepare_config(cluster | {key: {}}))


def test_workers_are_spot_and_the_head_is_not(cluster: dict[str, Any]) -> None:
    nodes = {name: node["node_config"] for name, node in cluster["available_node_types"].items()}

    assert "InstanceMarketOptions" not in nodes["head"]
    assert nodes["worker"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert {node["MetadataOptions"]["HttpTokens"] for node in nodes.values()} == {"required"}


def test_only_this_machine_sees_dashboard_and_mlflow_and_ray_asks_for_its_token(
    cluster: dict[str, Any],
) -> None:
    commands = " ".join(cluster["head_start_ray_commands"])

    assert re.findall(r"--(?:dashboard-)?host[= ](\S+)", commands) == ["127.0.0.1", "127.0.0.1"]
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert list(cluster["file_mounts"]) == ["/home/cgnet/ray_token"]
