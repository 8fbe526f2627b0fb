"""What the options of a search stand for."""

import pytest

from pipeline.core.errors import UsageError
from pipeline.core.peer import Peer
from pipeline.search_options import ConfirmOptions, check_study_name


def test_real_data_is_confirmed_with_three_seeds_and_generated_streets_with_none() -> None:
    assert ConfirmOptions().num_seeds(generated=False) == 3
    assert ConfirmOptions().num_seeds(generated=True) == 0
    assert ConfirmOptions(confirm=0).num_seeds(generated=False) == 0
    assert ConfirmOptions(confirm=1).num_seeds(generated=True) == 1
    assert ConfirmOptions(peers="enet").num_seeds(generated=True) == 3, "for them to be trained"


def test_peers_are_named_with_commas() -> None:
    assert ConfirmOptions(peers="enet, espnet").checked_peers() == (Peer("enet"), Peer("espnet"))
    assert ConfirmOptions().checked_peers() == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ConfirmOptions(peers="unet"), "no peer 'unet'"),
        (ConfirmOptions(confirm=0, peers="enet"), "give it 1 or more"),
        (ConfirmOptions(confirm=-1), "at least 0, got -1"),
    ],
)
def test_what_cannot_be_confirmed_is_refused(options: ConfirmOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options.checked_peers()


@pytest.mark.parametrize("name", ["a/b", "../x", "it's", "", ".hidden", "new\nline"])
def test_what_cannot_name_a_study_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"^--name .* cannot name a study: use letters"):
        check_study_name("--name", name)


def test_the_names_that_are_made_can_name_a_study() -> None:
    check_study_name("--name", "camvid-72x96-cgnet_wide-0.5M")
    check_study_name("--name", None)
