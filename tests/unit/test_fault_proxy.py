import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fault_proxy import Fault, FaultPlan, FaultProxy, SeenRequest

BODY = bytes(range(256)) * 40


class Echo(BaseHTTPRequestHandler):
    """Serves BODY, whole or from the range asked for; a PUT is answered with what it sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "bytes=0-").removeprefix("bytes=")
        self.answer(BODY[int(wanted.split("-")[0]) :])

    def do_PUT(self) -> None:
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def do_HEAD(self) -> None:
        self.answer(BODY)

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Seen-Host", self.headers["Host"])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def connect(proxy: FaultProxy, timeout_s: float = 5) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(proxy.endpoint).netloc, timeout=timeout_s)


def get(proxy: FaultProxy, path: str = "/object") -> tuple[int, bytes]:
    connection = connect(proxy)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def always(fault: Fault, **options: object) -> FaultPlan:
    return FaultPlan({fault: 1.0}, **options)


def test_without_faults_a_connection_carries_request_after_request(upstream: str) -> None:
    with FaultProxy(upstream, FaultPlan()) as proxy:
        connection = connect(proxy)
        connection.request("PUT", "/a?x=1", body=b"sent")
        put = connection.getresponse()
        sent = put.read()
        first_socket = connection.sock
        connection.request("GET", "/b", headers={"Range": "bytes=10000-"})
        got = connection.getresponse().read()
        connection.request("HEAD", "/c")
        connection.getresponse().read()

        assert (sent, got) == (b"sent", BODY[10000:])
        assert connection.sock is first_socket
        assert put.headers["Seen-Host"] == urlsplit(proxy.endpoint).netloc
        assert proxy.injected == Counter()
        assert proxy.requests == (
            SeenRequest("PUT", "/a", "x=1", ""),
            SeenRequest("GET", "/b", "", "bytes=10000-"),
            SeenRequest("HEAD", "/c", "", ""),
        )
        connection.close()


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(Fault.INTERNAL_ERROR, 500, b"InternalError"), (Fault.SLOW_DOWN, 503, b"SlowDown")],
)
def test_a_refusal_is_s3s_xml(upstream: str, fault: Fault, status: int, code: bytes) -> None:
    with FaultProxy(upstream, always(fault)) as proxy:
        got_status, body = get(proxy)

        assert got_status == status
        assert b"<Code>" + code + b"</Code>" in body
        assert proxy.injected == Counter({fault: 1})


def test_a_reset_before_the_answer_is_no_orderly_end(upstream: str) -> None:
    with FaultProxy(upstream, always(Fault.RESET)) as proxy, pytest.raises(ConnectionResetError):
        get(proxy)


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        (Fault.RESET_IN_BODY, ConnectionResetError),
        (Fault.SHORT_BODY, http.client.IncompleteRead),
        (Fault.STALL, TimeoutError),
    ],
)
def test_a_body_breaks_after_so_many_bytes(
    upstream: str, fault: Fault, end: type[Exception]
) -> None:
    with FaultProxy(upstream, always(fault, cut_after_bytes=700)) as proxy:
        connection = connect(proxy, timeout_s=0.3)
        connection.request("GET", "/object")
        answer = connection.getresponse()
        arrived = answer.read(700)
        with pytest.raises(end):
            answer.read()
        connection.close()

        assert answer.length is not None
        assert arrived == BODY[:700]


def test_a_slow_body_is_whole(upstream: str) -> None:
    with FaultProxy(upstream, always(Fault.DRIP, drip_bytes_per_s=40_000)) as proxy:
        began = time.monotonic()
        _, body = get(proxy)

        assert body == BODY
        assert time.monotonic() - began > len(BODY) / 40_000 * 0.8


def test_latency_comes_before_each_answer(upstream: str) -> None:
    with FaultProxy(upstream, FaultPlan(latency_s=0.2)) as proxy:
        began = time.monotonic()

        assert get(proxy) == (200, BODY)
        assert time.monotonic() - began > 0.19


def test_limits_hold_in_all_and_for_an_object(upstream: str) -> None:
    plan = always(Fault.SLOW_DOWN, max_faults=3, max_faults_per_object=2)
    with FaultProxy(upstream, plan) as proxy:
        codes = [get(proxy, path)[0] for path in ("/a", "/a", "/a", "/b", "/b", "/c")]

        assert codes == [503, 503, 200, 503, 200, 200]


def test_throttling_starts_after_so_many_requests(upstream: str) -> None:
    with FaultProxy(upstream, FaultPlan(throttle_after=2, max_faults=2)) as proxy:
        assert [get(proxy)[0] for _ in range(5)] == [200, 200, 503, 503, 200]


def test_faults_happen_to_the_methods_and_paths_of_the_plan(upstream: str) -> None:
    plan = always(Fault.SLOW_DOWN, methods=frozenset({"PUT"}), path_pattern=r"\.tar$")
    with FaultProxy(upstream, plan) as proxy:
        connection = connect(proxy)
        codes = []
        for method, path in (("GET", "/a.tar"), ("PUT", "/a.json"), ("PUT", "/a.tar")):
            connection.request(method, path, body=b"x" if method == "PUT" else None)
            answer = connection.getresponse()
            answer.read()
            codes.append(answer.status)

        assert codes == [200, 200, 503]


def test_an_answer_without_a_body_is_reset_where_its_body_would_break(upstream: str) -> None:
    plan = always(Fault.SHORT_BODY, methods=frozenset({"HEAD"}))
    with FaultProxy(upstream, plan) as proxy:
        connection = connect(proxy)
        connection.request("HEAD", "/object")
        with pytest.raises(ConnectionResetError):
            connection.getresponse()


@given(seed=st.integers(0, 1000), times=st.integers(0, 5), length=st.integers(1, 10**7))
def test_draws_are_functions_of_seed_and_request(seed: int, times: int, length: int) -> None:
    request = SeenRequest("GET", "/object", "", f"bytes={times}-")
    plan = FaultPlan({Fault.RESET: 0.5, Fault.DRIP: 0.5}, seed=seed)

    assert plan.draw(request, times) == plan.draw(request, times)
    assert plan.draw(request, times) in plan.probabilities
    assert 0 <= plan.cut(request, length) < length


def test_faults_come_as_often_as_planned() -> None:
    plan = FaultPlan({Fault.RESET: 0.2, Fault.SLOW_DOWN: 0.1})
    drawn = Counter(plan.draw(SeenRequest("GET", f"/{n}", "", ""), 0) for n in range(2000))

    assert 330 < drawn[Fault.RESET] < 470
    assert 150 < drawn[Fault.SLOW_DOWN] < 250
