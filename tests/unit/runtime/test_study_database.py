"""Studies in a SQLite file, and what is told of a database that has secrets in its URL."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import URL

from pipeline.core.effort import Effort
from pipeline.core.errors import ServiceUnavailable, UsageError
from pipeline.core.space import Pool
from pipeline.runtime.simulation import simulate
from pipeline.runtime.study import Study
from pipeline.runtime.study_database import parse_url, shown, study_database
from pipeline.runtime.study_storage import study_storage
from tests.unit.runtime.test_simulation import SETTINGS, outcome, pool, training

__all__ = ["pool"]


@given(password=st.text(min_size=1))
@settings(max_examples=100)
def test_a_password_is_never_shown(password: str) -> None:
    url = URL.create("postgresql", "u", password, "h", database="d", query={"password": password})

    assert shown(parse_url(url.render_as_string(hide_password=False))) == (
        "postgresql+psycopg://u:***@h/d"
    )


@pytest.mark.parametrize(
    "text", ["mysql://u:hush-hush@h/d", "sqlite://", "postgresql:/u:hush-hush"]
)
def test_a_url_that_is_none_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(UsageError, match="--study-storage") as refused:
        parse_url(text)

    assert "hush-hush" not in str(refused.value)


def test_a_database_that_does_not_answer_is_one_line_without_the_password(tmp_path: Path) -> None:
    address = "postgresql://u:hush-hush@127.0.0.1:9/d"

    with (
        pytest.raises(ServiceUnavailable, match=r"u:\*{3}@127.0.0.1:9/d: .*refused") as refused,
        study_storage(tmp_path, "s", url=address),
    ):
        pass

    assert "hush-hush" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_sqlite_file_gives_the_proposals_of_a_journal_and_goes_on(
    tmp_path: Path, pool: Pool
) -> None:
    outcomes = []
    for url in (None, f"sqlite:///{tmp_path}/studies.db"):
        for trials in (4, 7):  # the second opens what the first left
            with study_storage(tmp_path, "s", url=url) as storage:
                study = Study(storage, "s", pool, SETTINGS, seed=1)
                simulate(study, training, workers=2, effort=Effort(trials=trials))
        outcomes.append(outcome(study))

    assert len(outcomes[0]) == 7
    assert outcomes[0] == outcomes[1]


def test_a_study_is_open_once_and_others_beside_it(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/studies.db"
    with (
        study_database(address, "s"),
        study_database(address, "another"),
        pytest.raises(UsageError, match="being searched by another process"),
        study_database(address, "s"),
    ):
        pass
    with study_database(address, "s"):
        pass


def test_a_look_makes_no_database(tmp_path: Path) -> None:
    with study_database(f"sqlite:///{tmp_path}/studies.db", "s", keep=False) as storage:
        assert storage.get_all_studies() == []

    assert not (tmp_path / "studies.db").exists()
