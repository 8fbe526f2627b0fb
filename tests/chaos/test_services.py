"""kill -9 of each service that a search leans on; its supervisor brings it back a while later."""

import time
from functools import partial

from tests.chaos.search import Curves, Row, Search
from tests.chaos.site import Site
from tests.fault_proxy import Fault, FaultPlan, FaultProxy
from tests.postgresql import running_postgresql

_AWAY_S = 10


def test_s3_and_then_mlflow_are_killed(site: Site, undisturbed: Curves, table: list[Row]) -> None:
    search = Search(site, "services", num_trials=4, options=("--cache", "none"))
    happened = {
        "s3": "the trial waited and went on after the last epoch",
        "mlflow": "training did not notice, MLflow was told later",
    }

    def strike(service: str) -> None:
        site.kill_service(service)
        time.sleep(_AWAY_S)
        site.revive_services()

    with site.worker():
        search.start()
        rows = {
            service: search.disturb(f"{service}, away for {_AWAY_S} s", partial(strike, service))
            for service in happened
        }
        assert search.end() == 0
    assert "MLflow has not taken" not in search.log.read_text()
    table += [search.check(row, happened[name], undisturbed) for name, row in rows.items()]


def test_postgresql_is_killed(site: Site, undisturbed: Curves, table: list[Row]) -> None:
    with running_postgresql() as server, site.worker():
        search = Search(site, "without-postgresql", storage=server.url)

        def strike() -> None:
            server.kill()
            time.sleep(_AWAY_S)
            server.start()

        search.start()
        row = search.disturb(f"PostgreSQL, away for {_AWAY_S} s", strike)
        assert search.end() == 0
        table.append(search.check(row, "the driver waited, training did not notice", undisturbed))
    assert server.password not in search.log.read_text()


def test_s3_answers_errors_and_then_slowly(
    site: Site, undisturbed: Curves, table: list[Row]
) -> None:
    search = Search(site, "bad-s3", options=("--cache", "none"))
    methods = frozenset({"GET", "HEAD", "PUT"})
    faults = {Fault.INTERNAL_ERROR: 0.05, Fault.SLOW_DOWN: 0.05, Fault.RESET_IN_BODY: 0.05}
    plans = {
        "S3 breaks every seventh answer: 500, 503, reset": FaultPlan(faults, methods=methods),
        "S3 answers after 50 ms, with 400 kB/s": FaultPlan(
            {Fault.DRIP: 1.0}, latency_s=0.05, drip_bytes_per_s=400_000, methods=methods
        ),
    }
    with (
        FaultProxy(site.environment["AWS_ENDPOINT_URL_S3"], FaultPlan()) as proxy,
        site.worker(AWS_ENDPOINT_URL_S3=proxy.endpoint),
    ):
        search.start()
        rows = []
        for fault, plan in plans.items():
            rows.append(search.disturb(fault, partial(setattr, proxy, "plan", plan)))
        assert search.end() == 0
        assert proxy.injected[Fault.INTERNAL_ERROR] > 0
        assert proxy.injected[Fault.DRIP] > 0
    table += [search.check(row, "reads were tried again", undisturbed) for row in rows]
