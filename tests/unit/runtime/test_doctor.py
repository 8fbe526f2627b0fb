"""What the doctor makes of answers, clocks, versions and tokens."""

from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ServiceUnavailable
from pipeline.runtime import cluster, doctor, ray_probe

NOW = 1_790_000_000.0


@given(ahead_s=st.integers(-100_000, 100_000))
def test_a_clocks_skew_is_read_from_the_answers_date(ahead_s: int) -> None:
    headers = {"date": formatdate(NOW - ahead_s, usegmt=True)}
    answer = {"ResponseMetadata": {"HTTPHeaders": headers}}

    assert doctor.clock_skew_s(answer, NOW) == ahead_s


def test_an_answer_without_a_date_tells_no_skew() -> None:
    assert doctor.clock_skew_s({"ResponseMetadata": {"HTTPHeaders": {}}}, NOW) == 0


@pytest.mark.parametrize(
    ("server", "client", "said"),
    [
        ("3.17.2", "3.17.2", None),
        ("3.18.0", "3.17.2", None),
        ("3.17.0", "3.17.2", None),
        ("3.9.1", "3.17.2", "is 3.9.1, the client here 3.17.2"),
        ("4.0.0", "3.17.2", "is 4.0.0, the client here 3.17.2"),
        ("<html>", "3.17.2", "it is no MLflow"),
    ],
)
def test_a_server_of_mlflow_must_be_no_older(server: str, client: str, said: str | None) -> None:
    problem = doctor.version_problem(server, client)

    assert (problem is None) == (said is None)
    assert said is None or said in str(problem)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read .No such file"), ("\n", "is empty")]
)
def test_a_token_that_is_not_there_is_told(tmp_path: Path, content: str | None, said: str) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}

    with pytest.raises(ServiceUnavailable, match=said):
        ray_probe.check_token(environment, home=tmp_path)

    token.write_text("secret")
    ray_probe.check_token(environment, home=tmp_path)
    ray_probe.check_token({"RAY_AUTH_MODE": "disabled"}, home=tmp_path)
    ray_probe.check_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"}, home=tmp_path)


def test_a_search_without_its_token_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))

    with pytest.raises(ServiceUnavailable, match="copy the cluster's token there"):
        cluster.connect()


@pytest.mark.parametrize("address", ["auto", "ray://head:10001", "head", ":6379"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(ServiceUnavailable, match="write host:port"):
        ray_probe.versions(address)


def test_what_is_not_there_is_told_of_each_part_and_the_others_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "127.0.0.1:9"
    for name, text in {
        "AWS_ENDPOINT_URL_S3": f"http://{nowhere}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_TRACKING_URI": f"http://{nowhere}",
        "RAY_ADDRESS": nowhere,
    }.items():
        monkeypatch.setenv(name, text)

    findings = doctor.examine("s3://b", f"postgresql://u:hush@{nowhere}/d", tmp_path, lambda: NOW)

    assert [f.part for f in findings] == ["S3", "MLflow", "Ray", "studies"]
    for finding in findings:
        assert not finding.is_well
        assert nowhere in finding.says
        assert "\n" not in finding.says
        assert "hush" not in finding.says


def test_folders_and_files_are_tried_and_left_as_they_were(tmp_path: Path) -> None:
    store, state = tmp_path / "store", tmp_path / "state"

    assert "can be written to" in doctor.check_store(str(store), lambda: NOW)
    assert "can be written to" in doctor.check_studies(None, state)
    assert list(tmp_path.iterdir()) == []


def test_a_place_nobody_may_write_to_is_told() -> None:
    with pytest.raises(ServiceUnavailable, match="/proc/x cannot be written to"):
        doctor.check_store("/proc/x", lambda: NOW)
