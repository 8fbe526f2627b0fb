"""Studies in a database: PostgreSQL, or a SQLite file.

A URL may hold a password. ``shown`` is what people, logs and records get to see of one; better is
a URL without, as the PostgreSQL library reads PGSERVICEFILE, PGPASSFILE and PGPASSWORD itself.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna.exceptions
import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pipeline.core.errors import ServiceUnavailable, UsageError, one_line

log = logging.getLogger(__name__)

_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite",
}
_SECRET_PARAMETERS = ("password", "sslpassword")
_HIDDEN = "***"
_CONNECT_LIMIT_S = 10
_OUTAGE_LIMIT_S = 120.0
_PAUSE_S = 1.0


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
    with _telling_why(url):
        if not (keep or _holds(url, name)):
            yield InMemoryStorage()
        elif url.drivername == "sqlite":
            with _file_lock(url, name), _opened(url) as storage:
                yield storage
        else:
            with (
                closing(_Server(url, name)) as server,
                _opened(url, creator=server.connect) as storage,
            ):
                yield storage


@contextmanager
def _opened(url: URL, **options: Any) -> Iterator[RDBStorage]:
    address = url.render_as_string(hide_password=False)
    storage = RDBStorage(address, engine_kwargs={"pool_pre_ping": True, **options})
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


class _Server:
    """Makes connections to PostgreSQL, each once a connection of its own holds the study's lock.

    The lock ends with this process, on whatever machine. SQLAlchemy asks for a connection at the
    start, and when one that it has is dead: so after an outage nothing is written without the lock.
    A server that was there once is waited for.
    """

    def __init__(self, url: URL, name: str) -> None:
        self._url, self._name = url, name
        self._dialect = sqlalchemy.create_engine(url).dialect
        self._lock: Any = None
        self._patience_s = 0.0

    def connect(self) -> Any:
        """Return a new connection of the driver's.

        Raises:
            UsageError: another process has the study open.
        """
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                self._hold_lock()
                connection = self._new()
            except (self._dialect.loaded_dbapi.OperationalError, UsageError) as cause:
                if time.monotonic() >= deadline:
                    raise
                log.warning("study storage waits: %s", one_line(cause))
                time.sleep(_PAUSE_S)
            else:
                self._patience_s = _OUTAGE_LIMIT_S
                return connection

    def close(self) -> None:
        """Let go of the lock: at once, as a server may see later that a connection was closed."""
        if self._lock is not None:
            with suppress(self._dialect.loaded_dbapi.OperationalError):
                self._lock.execute("SELECT pg_advisory_unlock_all()")
            self._lock.close()

    def _hold_lock(self) -> None:
        if self._lock is not None:
            try:
                self._lock.execute("SELECT 1")
            except self._dialect.loaded_dbapi.OperationalError:
                self._lock.close()
            else:
                return
        self._lock = self._new()
        self._lock.autocommit = True
        query = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
        if not self._lock.execute(query, [f"cgnet study {self._name}"]).fetchone()[0]:
            self._lock.close()
            raise _taken(self._url, self._name)

    def _new(self) -> Any:
        args, options = self._dialect.create_connect_args(self._url)
        return self._dialect.connect(*args, **{**options, "connect_timeout": _CONNECT_LIMIT_S})


def _taken(url: URL, name: str) -> UsageError:
    return UsageError(
        f"study {name} in {shown(url)} is being searched by another process: wait, or choose "
        "another --name"
    )


@contextmanager
def _file_lock(url: URL, name: str) -> Iterator[None]:
    path = Path(f"{url.database}.{name}.lock")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"--study-storage {shown(url)}: {path.parent} is no folder to write to: make it"
        )
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise _taken(url, name) from cause
        yield


def _holds(url: URL, name: str) -> bool:
    """Return whether the study is there, without making so much as a table."""
    if url.drivername == "sqlite" and not Path(str(url.database)).exists():
        return False
    limits = {} if url.drivername == "sqlite" else {"connect_timeout": _CONNECT_LIMIT_S}
    engine = sqlalchemy.create_engine(url, connect_args=limits)
    try:
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("studies"):
                return False
            query = sqlalchemy.text("SELECT 1 FROM studies WHERE study_name = :name")
            return connection.execute(query, {"name": name}).first() is not None
    finally:
        engine.dispose()


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
