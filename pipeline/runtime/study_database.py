"""Studies in a database: PostgreSQL, or a SQLite file.

A URL may hold a password. ``shown`` is what people, logs and records get to see of one; better is
a URL without, as the PostgreSQL library reads PGSERVICEFILE, PGPASSFILE and PGPASSWORD itself.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna.exceptions
import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pipeline.core.errors import ServiceUnavailable, UsageError

_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite",
}
_SECRET_PARAMETERS = ("password", "sslpassword")
_HIDDEN = "***"
_CONNECT_LIMIT_S = 10


def parse_url(text: str) -> URL:
    """Return the address of a database.

    Raises:
        UsageError: it is none, or of a database that we do not know.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # Not shown: what cannot be taken apart may hold a password anywhere.
        raise UsageError(
            "--study-storage is no URL: write postgresql://user@host/database or sqlite:///file"
        ) from None
    if url.drivername not in _DRIVERS or (url.drivername == "sqlite" and not url.database):
        raise UsageError(
            f"--study-storage {shown(url)} is no place for studies: write "
            "postgresql://user@host/database or sqlite:///file"
        )
    return url.set(drivername=_DRIVERS[url.drivername])


def shown(url: URL) -> str:
    """Return the address without its secrets."""
    return url.difference_update_query(_SECRET_PARAMETERS).render_as_string(hide_password=True)


@contextmanager
def study_database(address: str, name: str, keep: bool = True) -> Iterator[BaseStorage]:
    """Open a database for one study and this process alone.

    Args:
        address: URL of the database.
        name: of the study.
        keep: whether a study that is not there is to be made; else what is written is forgotten.

    Raises:
        UsageError: the URL is none, or another process has the study open.
        ServiceUnavailable: the database cannot be used, now or later on.
    """
    url = parse_url(address)
    with _telling_why(url), _locked(url, name):
        if not (keep or _holds(url, name)):
            yield InMemoryStorage()
            return
        storage = RDBStorage(
            url.render_as_string(hide_password=False), engine_kwargs={"pool_pre_ping": True}
        )
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


@contextmanager
def _locked(url: URL, name: str) -> Iterator[None]:
    with _file_lock(url, name) if url.drivername == "sqlite" else _server_lock(url, name) as free:
        if not free:
            raise UsageError(
                f"study {name} in {shown(url)} is being searched by another process: wait, or "
                "choose another --name"
            )
        yield


@contextmanager
def _server_lock(url: URL, name: str) -> Iterator[bool]:
    """Hold a lock of the server's for as long as this connection lives, on whatever machine."""
    engine = _engine(url)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            query = sqlalchemy.text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
            yield bool(connection.execute(query, {"name": f"cgnet study {name}"}).scalar())
    finally:
        engine.dispose()


@contextmanager
def _file_lock(url: URL, name: str) -> Iterator[bool]:
    path = Path(f"{url.database}.{name}.lock")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"--study-storage {shown(url)}: {path.parent} is no folder to write to: make it"
        )
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _holds(url: URL, name: str) -> bool:
    """Return whether the study is there, without making so much as a table."""
    if url.drivername == "sqlite" and not Path(str(url.database)).exists():
        return False
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("studies"):
                return False
            query = sqlalchemy.text("SELECT 1 FROM studies WHERE study_name = :name")
            return connection.execute(query, {"name": name}).first() is not None
    finally:
        engine.dispose()


def _engine(url: URL) -> sqlalchemy.Engine:
    limits = {} if url.drivername == "sqlite" else {"connect_timeout": _CONNECT_LIMIT_S}
    return sqlalchemy.create_engine(url, connect_args=limits)


@contextmanager
def _telling_why(url: URL) -> Iterator[None]:
    """Turn what the database raises into one line without the password."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as cause:
        ours = cause if isinstance(cause, SQLAlchemyError) else cause.__cause__
        root = getattr(ours, "orig", None) or cause
        reason = (str(root).strip().splitlines() or [type(root).__name__])[0]
        if url.password:
            reason = reason.replace(str(url.password), _HIDDEN)
        # Without its cause, whose text holds the statement and its values.
        raise ServiceUnavailable(
            f"study storage {shown(url)}: {reason}; check --study-storage and the database"
        ) from None
