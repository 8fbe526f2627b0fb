"""Studies in a real PostgreSQL: the same search, one process at a time, and no password told."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from pipeline.core.effort import Effort
from pipeline.core.errors import ServiceUnavailable, UsageError
from pipeline.core.space import Pool
from pipeline.runtime import study_database as study_database_module
from pipeline.runtime.simulation import simulate
from pipeline.runtime.study import Study
from pipeline.runtime.study_database import parse_url, study_database
from pipeline.runtime.study_storage import study_storage
from tests.postgresql import PASSWORD, Server, running_postgresql
from tests.unit.runtime.test_simulation import SETTINGS, outcome, pool, training

__all__ = ["pool"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_postgresql() as server:
        yield server


def test_a_search_is_the_one_it_would_be_in_sqlite_however_often_it_stops(
    server: Server, tmp_path: Path, pool: Pool
) -> None:
    outcomes = []
    for url in (server.url, f"sqlite:///{tmp_path}/studies.db"):
        for trials in (7, 12):  # the second goes on with what the first left
            with study_storage(tmp_path, "same", url=url) as storage:
                study = Study(storage, "same", pool, SETTINGS, seed=1)
                simulate(study, training, workers=3, effort=Effort(trials=trials))
        outcomes.append(outcome(study))

    assert len(outcomes[0]) == 12
    assert outcomes[0] == outcomes[1]
    assert {path.name for path in tmp_path.iterdir()} == {"studies.db", "studies.db.same.lock"}


def test_a_study_is_searched_by_one_process_and_the_next_may_when_it_dies(server: Server) -> None:
    holding = subprocess.Popen(
        [sys.executable, "-c", _HOLD, server.url], stdout=subprocess.PIPE, text=True
    )
    assert holding.stdout
    assert holding.stdout.readline() == "open\n"

    with (
        pytest.raises(UsageError, match="being searched by another process") as refused,
        study_database(server.url, "held"),
    ):
        pass
    holding.kill()
    holding.wait()
    for _ in range(50):
        if not _is_locked(server):
            break

    with study_database(server.url, "held"):
        pass
    assert PASSWORD not in str(refused.value)


_HOLD = """
import sys, time
from pipeline.runtime.study_database import study_database
with study_database(sys.argv[1], "held"):
    print("open", flush=True)
    time.sleep(60)
"""


def _is_locked(server: Server) -> bool:
    engine = sqlalchemy.create_engine(parse_url(server.url))
    with engine.connect() as connection:
        query = "SELECT count(pg_sleep(0.1)) FROM pg_locks WHERE locktype = 'advisory'"
        found = bool(connection.execute(sqlalchemy.text(query)).scalar())
    engine.dispose()
    return found


def test_a_study_may_be_opened_as_soon_as_it_was_closed(server: Server) -> None:
    locks = sqlalchemy.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    engine = sqlalchemy.create_engine(parse_url(server.url))
    with engine.connect() as other:
        for _ in range(10):
            with study_database(server.url, "again"):
                assert other.execute(locks).scalar() == 1
            assert other.execute(locks).scalar() == 0
    engine.dispose()


def test_a_look_makes_no_table(server: Server) -> None:
    address = server.url.replace("/postgres", "/template1")

    with study_database(address, "s", keep=False) as storage:
        assert storage.get_all_studies() == []

    engine = sqlalchemy.create_engine(parse_url(address))
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("hush-hush", "hush-push"), "password authentication failed"),
        (("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
    ],
)
def test_a_refusal_is_one_line_without_the_password(
    server: Server, change: tuple[str, str], said: str
) -> None:
    address = server.url.replace(*change)

    with pytest.raises(ServiceUnavailable, match=said) as refused, study_database(address, "s"):
        pass

    assert str(refused.value).count("\n") == 0
    assert not any(word in str(refused.value) for word in ("hush-hush", "hush-push"))


def test_a_database_that_goes_away_for_good_is_told_in_one_line(
    server: Server, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_database_module, "_OUTAGE_LIMIT_S", 0.0)
    _execute(server, "CREATE DATABASE doomed TEMPLATE template0")

    def search() -> None:
        with study_database(server.url.replace("/postgres", "/doomed"), "s") as storage:
            study = Study(storage, "s", pool, SETTINGS, seed=1)
            assert study.propose()
            _execute(server, "DROP DATABASE doomed WITH (FORCE)")
            study.propose()

    with pytest.raises(ServiceUnavailable, match="study storage postgresql") as lost:
        search()

    assert str(lost.value).count("\n") == 0
    assert PASSWORD not in str(lost.value)


def test_a_server_that_was_killed_is_waited_for_and_the_study_stays_locked(
    server: Server, pool: Pool
) -> None:
    def revive() -> None:
        time.sleep(2)
        server.start()

    with study_database(server.url, "revived") as storage:
        study = Study(storage, "revived", pool, SETTINGS, seed=1)
        assert study.propose()
        server.kill()
        back = threading.Thread(target=revive)
        back.start()
        assert study.propose()
        back.join()
        with (
            pytest.raises(UsageError, match="being searched by another process"),
            study_database(server.url, "revived"),
        ):
            pass

    with study_database(server.url, "revived") as storage:
        assert len(Study(storage, "revived", pool, SETTINGS, seed=1).trials()) == 2


def _execute(server: Server, statement: str) -> None:
    engine = sqlalchemy.create_engine(parse_url(server.url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()
