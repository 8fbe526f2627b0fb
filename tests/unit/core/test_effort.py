"""When a search ends: at the first limit that is reached."""

import pytest

from pipeline.core.effort import Effort, Progress

REFERENCE = (10.0, 0.0)


def progress(*points: tuple[float, float] | None, epochs: int = 0) -> Progress:
    state = Progress(REFERENCE, epochs=epochs)
    for point in points:
        state.ended(point)
    return state


@pytest.mark.parametrize(
    ("effort", "state", "seconds", "said"),
    [
        (Effort(trials=2), progress(None), 0.0, None),
        (Effort(trials=2), progress(None, None), 0.0, "2 trials"),
        (Effort(epochs=5), progress(epochs=4), 0.0, None),
        (Effort(epochs=5), progress(epochs=5), 0.0, "5 epochs"),
        (Effort(seconds=60), progress(), 59.0, None),
        (Effort(seconds=60), progress(), 60.0, "the time"),
        (Effort(trials=9, epochs=5), progress(None, epochs=5), 0.0, "5 epochs"),
    ],
)
def test_the_first_limit_that_is_reached_is_named(
    effort: Effort, state: Progress, seconds: float, said: str | None
) -> None:
    assert effort.spent(state, seconds) == said


def test_trials_that_run_count_when_another_is_to_start() -> None:
    assert Effort(trials=2).spent(progress(None), 0.0, running=1) == "2 trials"
    assert Effort(trials=2).spent(progress(None), 0.0) is None


def test_patience_counts_trials_since_the_hypervolume_rose() -> None:
    state = progress((5, -0.5), (6, -0.4), None, (4, -0.1))

    assert state.since_rise == 0, "a smaller network widens the front"
    state.ended((7, -0.5))
    state.ended((8, -0.45))
    assert Effort(patience=2).spent(state, 0.0) == "no larger hypervolume in 2 trials"
    state.ended((8, -0.6))
    assert Effort(patience=2).spent(state, 0.0) is None
    assert state.hypervolume == pytest.approx(6 * 0.1 + 5 * 0.4 + 2 * 0.1)
