"""Several faults at once."""

from tests.chaos.search import Curves, Row, Search
from tests.chaos.site import TRAIN_WORKER, TUNE_ACTOR, Site


def test_everything_is_killed_at_once(site: Site, undisturbed: Curves, table: list[Row]) -> None:
    search = Search(site, "mixed", num_trials=4, options=("--cache", "none"))

    def strike_the_processes() -> None:
        site.kill(TRAIN_WORKER)
        site.kill(TUNE_ACTOR)
        site.kill_service("s3")
        site.kill_service("mlflow")
        site.revive_services()

    def strike_the_driver_too() -> None:
        site.kill(TRAIN_WORKER)  # first: without S3 it is soon gone of itself
        site.kill_service("s3")
        search.process.kill()
        search.process.wait()
        site.revive_services()
        search.start()

    faults = {
        "training process, trial actor, S3 and MLflow at once": strike_the_processes,
        "then S3, training process and driver at once": strike_the_driver_too,
    }
    with site.worker():
        search.start()
        rows = [search.disturb(fault, strike) for fault, strike in faults.items()]
        assert search.end() == 0
    table += [search.check(row, "training went on", undisturbed) for row in rows]
