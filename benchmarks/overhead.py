"""What a search takes a trial beside its training, of a study that was made on this machine.

    python -m pipeline.search --budget 0.5M --space smoke --stopping none --trials 8 --name overhead
    python -m benchmarks.overhead overhead [STATE_DIR]

A trial is counted from its proposal to its last result; training is what its own loop took for
epochs and validation. The first trial of each place waits for its worker to start.
"""

import statistics
import sys
from pathlib import Path

from benchmarks.report import print_setting
from pipeline.runtime.records import TrialRecord
from pipeline.runtime.report.view import read_view


def beside_s(trial: TrialRecord) -> float:
    """Return the seconds of a trial that were not training."""
    trained_s = sum(result.train_s + result.val_s for result in trial.results)
    return (trial.latest_ms - trial.started_ms) / 1000 - trained_s


def main() -> None:
    """Print the seconds of each trial, and their median."""
    name, state_dir = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else ".cgnet")
    trials = [trial for trial in read_view(state_dir, name).trials if trial.results]
    seconds = [beside_s(trial) for trial in trials]
    print_setting(f"{len(trials)} trials of {trials[0].results[0].epochs} epochs.")
    print("beside training, s:", ", ".join(f"{s:.2f}" for s in seconds))
    print(f"median {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
