"""Messages on disk: in order, once, whatever is killed in between."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import DataError
from pipeline.runtime.outbox import Outbox
from tests.disk import Mount, fill


def drained(outbox: Outbox) -> list[object]:
    taken = []
    while (message := outbox.first(patience_s=0)) is not None:
        taken.append(message["n"])
        outbox.take()
    return taken


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.sampled_from(["add", "take", "kill"]), max_size=30))
def test_each_message_is_taken_once_and_in_order_over_any_number_of_kills(
    steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("outbox")
    outbox, added, taken = Outbox(folder, "run"), 0, []
    for step in steps:
        if step == "add":
            outbox.add({"n": added})
            added += 1
        elif step == "take" and (message := outbox.first(patience_s=0)):
            taken.append(message["n"])
            outbox.take()
        elif step == "kill":
            outbox = Outbox(folder, "run")
        assert outbox.pending == added - len(taken)

    assert [*taken, *drained(outbox)] == list(range(added))


def test_a_key_is_added_once_also_after_a_kill(tmp_path: Path) -> None:
    for n in range(2):
        outbox = Outbox(tmp_path, "run")
        outbox.add({"n": n}, "same")
        outbox.add({"n": n}, "same")

    assert drained(outbox) == [0]


def test_a_line_that_a_kill_cut_short_is_no_message(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, "run")
    outbox.add({"n": 0}, "a")
    with outbox.path.open("a") as file:
        file.write('{"key": "b", "mess')
    again = Outbox(tmp_path, "run")
    again.add({"n": 1}, "b")

    assert drained(again) == [0, 1]


def test_messages_for_another_run_are_dropped(tmp_path: Path) -> None:
    Outbox(tmp_path, "run").add({"n": 0}, "a")
    other = Outbox(tmp_path, "other")
    other.add({"n": 1}, "a")

    assert drained(other) == [1]


@pytest.mark.parametrize(
    "line", ['{"key": "a"me', '{"key": "a"}', "3", '{"key": "a", "message": 1}']
)
def test_a_damaged_message_is_told_with_what_to_do(tmp_path: Path, line: str) -> None:
    with Outbox(tmp_path, "run").path.open("a") as file:
        file.write(f"{line}\n")

    with pytest.raises(DataError, match=r"holds what is no message .* delete it"):
        Outbox(tmp_path, "run")


def test_on_a_full_disk_what_is_kept_can_be_taken(mount: Mount) -> None:
    """Whoever takes is a thread that must not end; a restart takes the last ones again."""
    disk = mount()
    outbox = Outbox(disk, "run")
    for n in range(3):
        outbox.add({"n": n})
    fill(disk)

    assert drained(outbox) == [0, 1, 2]
    with pytest.raises(OSError, match="No space"):
        outbox.add({"n": "x" * 8192})
