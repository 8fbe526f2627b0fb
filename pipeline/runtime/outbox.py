"""Messages on disk until someone has taken them: what is written here survives whoever reads it."""

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError, one_line

Message = dict[str, Any]


class Outbox:
    """An append-only file of messages, and beside it how far they have been taken.

    One thread adds, another takes. A message may have a key; one whose key is there already is not
    added again, so that telling everything twice costs nothing.
    """

    def __init__(self, folder: Path, addressee: str) -> None:
        """Open the outbox in a folder.

        Args:
            folder: of the study.
            addressee: whom the messages are for; those for another one are dropped.

        Raises:
            DataError: what is there is damaged.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "mlflow.outbox"
        self._taken_path = folder / "mlflow.taken"
        self._changed = threading.Condition()
        self._keys: set[str] = set()
        self._pending = self._offset = 0
        if not self._is_for(addressee):
            self.path.write_text(json.dumps({"to": addressee}) + "\n")
            self._keys.clear()
            self._offset, self._pending = self.path.stat().st_size, 0
            self._note_offset()
        self._out = self.path.open("a")

    def _is_for(self, addressee: str) -> bool:
        try:
            return self._open(addressee)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as cause:
            raise DataError(
                f"{self.path} holds what is no message ({one_line(cause)}): delete it, MLflow then "
                "lacks what it has not been told"
            ) from cause

    def _open(self, addressee: str) -> bool:
        """Read what is there; False if it is not for this addressee."""
        if not self.path.exists():
            return False
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a line that a kill cut short is none
        if len(whole) < len(content):
            self.path.write_bytes(whole)
        lines = whole.splitlines(keepends=True)
        if not lines or json.loads(lines[0]) != {"to": addressee}:
            return False
        self._offset = max(self._noted_offset(), len(lines[0]))
        position = len(lines[0])
        for line in lines[1:]:
            told = json.loads(line)
            if not isinstance(told["message"], dict):
                raise TypeError("a message without fields")
            self._keys.add(told["key"])
            self._pending += position >= self._offset
            position += len(line)
        return True

    def add(self, message: Message, key: str = "") -> None:
        """Append a message, unless its key is there already."""
        with self._changed:
            if key and key in self._keys:
                return
            self._keys.add(key)
            self._out.write(json.dumps({"key": key, "message": message}) + "\n")
            self._out.flush()
            self._pending += 1
            self._changed.notify()

    def first(self, patience_s: float) -> Message | None:
        """Return the oldest message that was not taken; None if none comes in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._pending, patience_s):
                return None
        message: Message = json.loads(self._line())["message"]
        return message

    def take(self) -> None:
        """Say that the first message need not be kept for anyone.

        Where the disk is too full to note that, it is taken again after a restart.
        """
        with self._changed:
            self._offset += len(self._line())
            self._pending -= 1
            with suppress(OSError):
                self._note_offset()

    @property
    def pending(self) -> int:
        """Return how many messages wait."""
        return self._pending

    def close(self) -> None:
        """Close the file; what waits in it stays there."""
        self._out.close()

    def _line(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            return file.readline()

    def _noted_offset(self) -> int:
        return int(self._taken_path.read_text()) if self._taken_path.exists() else 0

    def _note_offset(self) -> None:
        partial = self._taken_path.with_suffix(".partial")
        partial.write_text(str(self._offset))
        partial.replace(self._taken_path)
