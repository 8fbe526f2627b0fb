"""The file of somebody's own classes."""

import re
from pathlib import Path

import pytest

from pipeline.core.manifest import ClassTable
from pipeline.sources.classes import MaskClasses, read_classes
from tests.unit.sources.conftest import data_error

FLOOR = '[[classes]]\nname = "floor"\ncolour = [128, 64, 128]\n'
WALL = '[[classes]]\nname = "wall"\ncolour = [1, 2, 3]\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "classes.toml"
    path.write_text(text)
    return path


def test_the_least_there_is_to_say(tmp_path: Path) -> None:
    classes = read_classes(written(tmp_path, f'name = "rooms"\n{FLOOR}{WALL}'))

    assert classes == MaskClasses(
        name="rooms",
        table=ClassTable(("floor", "wall"), ((128, 64, 128), (1, 2, 3)), ignore_index=255),
        values=(0, 1),
        ignore=255,
        ignore_colours=(),
    )
    assert classes.ids_of_values() == {0: 0, 1: 1, 255: 255}
    assert classes.ids_of_colours() == {(128, 64, 128): 0, (1, 2, 3): 1}


def test_values_of_the_mask_and_what_to_ignore(tmp_path: Path) -> None:
    text = f'name = "r"\nignore = 0\nignore_colours = [[0, 0, 0]]\n{FLOOR}id = 9\n{WALL}id = 4'
    classes = read_classes(written(tmp_path, text))

    assert classes.ids_of_values() == {9: 0, 4: 1, 0: 255}
    assert classes.ids_of_colours()[(0, 0, 0)] == classes.table.ignore_index == 255


def test_an_ignored_value_that_is_no_class_id_keeps_its_value(tmp_path: Path) -> None:
    classes = read_classes(written(tmp_path, f'name = "r"\nignore = 2\n{FLOOR}{WALL}'))

    assert classes.table.ignore_index == 2
    assert classes.ids_of_values() == {0: 0, 1: 1, 2: 2}


def test_as_many_classes_as_a_byte_has_room_for(tmp_path: Path) -> None:
    def text(count: int) -> str:
        return 'name = "many"\nignore = 255\n' + "".join(
            f'[[classes]]\nname = "c{k}"\ncolour = [0, 0, {k % 256}]\n' for k in range(count)
        )

    assert read_classes(written(tmp_path, text(255))).table.num_classes == 255
    assert "it has 256 [[classes]]" in data_error(read_classes, written(tmp_path, text(256)))


def test_the_example_in_the_readme_is_read(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    classes = read_classes(written(tmp_path, example))

    assert classes.ids_of_values() == {1: 0, 2: 1, 0: 255}
    assert classes.table.names == ("floor", "wall")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "Invalid value (at end of document)"),
        (f"{FLOOR}", "the name of the data set is None"),
        (f'name = "a/b"\n{FLOOR}', "the name of the data set is 'a/b'"),
        ('name = "r"', "it has 0 [[classes]], wanted 1 to 255"),
        ('name = "r"\nclasses = 3', "classes is 3, wanted a list"),
        ('name = "r"\nclasses = ["a"]', "class 0 is 'a', wanted a table"),
        (f'name = "r"\nignored = 3\n{FLOOR}', "the file has the field 'ignored', wanted name, ig"),
        ('name = "r"\n[[classes]]\nname = "a"\ncolor = [0, 0, 0]', "class 0 has the field 'color'"),
        ('name = "r"\n[[classes]]\nname = "a"', "the colour of class 0 is None"),
        ('name = "r"\n[[classes]]\ncolour = [0, 0, 0]', "the name of class 0 is None"),
        (f'name = "r"\n{FLOOR}'.replace("floor", "a/../b"), "the name of class 0 is 'a/../b'"),
        (f'name = "r"\n{FLOOR}'.replace("[128,", "[256,"), "the colour of class 0 is 256"),
        (f'name = "r"\n{FLOOR}'.replace("[128,", "["), "the colour of class 0 is [64, 128]"),
        (f'name = "r"\n{FLOOR}id = true', "the id of class 0 is True, wanted 0..255"),
        (f'name = "r"\n{FLOOR}id = -1', "the id of class 0 is -1, wanted 0..255"),
        (f'name = "r"\nignore = 256\n{FLOOR}', "ignore is 256, wanted 0..255"),
        (f'name = "r"\nignore = 0\n{FLOOR}', "the value 0 is there 2 times"),
        (f'name = "r"\n{FLOOR}id = 1\n{WALL}', "the value 1 is there 2 times"),
        (f'name = "r"\n{FLOOR}{FLOOR}', "the name 'floor' is there 2 times"),
        (f'name = "r"\nignore_colours = [[1, 2, 3]]\n{WALL}', "the colour (1, 2, 3) is there 2"),
        (f'name = "r"\nignore_colours = 3\n{WALL}', "ignore_colours is 3, wanted a list"),
    ],
)
def test_what_is_wrong_is_told_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)

    message = data_error(read_classes, path)
    assert message.startswith(f"{path} is no list of classes: ")
    assert said in message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    said = data_error(read_classes, tmp_path / "none.toml")

    assert said.startswith(f"{tmp_path / 'none.toml'} cannot be read (No such file or directory)")


def test_a_picture_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff")

    assert data_error(read_classes, path).startswith(f"{path} is no list of classes: ")
