"""Where studies are, each open in one process at a time: a journal here, or a database."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from pipeline.core.errors import UsageError
from pipeline.runtime.study_database import study_database


class _Ours(JournalFileSymlinkLock):
    """No lock: the study's own is held for as long as its storage is open.

    Optuna's outlives a killed driver and makes the next one wait for half a minute.
    """

    def acquire(self) -> bool:
        """Do nothing."""
        return True

    def release(self) -> None:
        """Do nothing."""


@contextmanager
def study_storage(
    state_dir: Path, name: str, keep: bool = True, url: str | None = None
) -> Iterator[BaseStorage]:
    """Open the storage of one study for this process alone.

    Args:
        state_dir: folder of this machine's studies.
        name: of the study.
        keep: whether a study that is not there is to be made; else what is written is forgotten.
        url: of the database that has the studies; None for the journals of this machine.

    Raises:
        UsageError: another process has it open.
        ServiceUnavailable: the database cannot be used.
    """
    opened = _journal(state_dir, name, keep) if url is None else study_database(url, name, keep)
    with opened as storage:
        yield storage


@contextmanager
def _journal(state_dir: Path, name: str, keep: bool) -> Iterator[BaseStorage]:
    folder = state_dir / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise UsageError(
                f"study {name} is being searched by another process: wait, or choose another --name"
            ) from cause
        lock.write(str(os.getpid()))
        lock.flush()  # on a full disk this fails now, and not in the place of what fails later
        path = folder / f"{name}.journal"
        if path.exists():
            _drop_torn_line(path)
        if keep or path.exists():
            yield JournalStorage(JournalFileBackend(str(path), _Ours(str(path))))
        else:
            yield InMemoryStorage()


def _drop_torn_line(journal: Path) -> None:
    """Drop the part of a line that a killed driver, or a full disk, left at the end.

    Optuna reads over it once, and writes the next line behind it, which nobody can read then.
    """
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(journal, whole)


def study_names(state_dir: Path) -> list[str]:
    """Return the studies of this machine, the one that was written to last at the end."""
    journals = (state_dir / "studies").glob("*.journal")
    return [path.stem for path in sorted(journals, key=lambda path: path.stat().st_mtime)]


def reading_storage(state_dir: Path, name: str) -> BaseStorage:
    """Return the storage of a study to read, also while another process writes to it.

    Raises:
        UsageError: there is no such study; says which there are.
    """
    path = state_dir / "studies" / f"{name}.journal"
    if not path.exists():
        known = ", ".join(study_names(state_dir)) or "none yet: python -m pipeline.search makes one"
        raise UsageError(f"there is no study {name!r} in {state_dir}; there are {known}")
    return JournalStorage(JournalFileBackend(str(path), _Ours(str(path))))


def study_folder(state_dir: Path, name: str) -> Path:
    """Return where the files of a study lie, beside its journal."""
    return state_dir / "studies" / name
