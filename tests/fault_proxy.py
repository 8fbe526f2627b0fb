"""An HTTP proxy before an S3 endpoint that breaks answers by plan and seed.

Nothing of a request is rewritten: the client signs for the proxy's address, and the server checks
the Host header that it gets.
"""

import asyncio
import contextlib
import enum
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit

_PIECE_BYTES = 64 << 10
_DRIPS_PER_S = 20


class Fault(enum.Enum):
    """What can happen to a request."""

    INTERNAL_ERROR = "500 Internal Server Error"
    SLOW_DOWN = "503 Service Unavailable"
    RESET = "reset before the answer"
    RESET_IN_BODY = "reset in the middle of the body"
    SHORT_BODY = "body ends early, connection closed in order"
    DRIP = "body comes slowly"
    STALL = "body stops, connection stays open"


_CODES = {Fault.INTERNAL_ERROR: "InternalError", Fault.SLOW_DOWN: "SlowDown"}


@dataclass(frozen=True)
class SeenRequest:
    """A request as it came; ``range`` is its Range header, empty without one."""

    method: str
    path: str
    query: str
    range: str


@dataclass(frozen=True)
class FaultPlan:
    """Which requests meet which fault.

    The draw is a function of the seed, the request and how often it came before, so that the
    order in which threads ask changes nothing but where ``max_faults`` falls.

    Args:
        probabilities: of each fault; their sum is at most 1.
        seed: of the draws.
        methods: faults happen to these only.
        path_pattern: faults happen where this regular expression is found in the path.
        max_faults: in all; None for no limit.
        max_faults_per_object: for one method and path, whatever the range; None for no limit.
        throttle_after: each further request is told to slow down, as long as the limits allow.
        cut_after_bytes: of a body, before it breaks; None draws a place in each body.
        drip_bytes_per_s: of a slow body.
        latency_s: before each request is passed on.
    """

    probabilities: Mapping[Fault, float] = field(default_factory=dict)
    seed: int = 0
    methods: frozenset[str] = frozenset({"GET"})
    path_pattern: str = ""
    max_faults: int | None = None
    max_faults_per_object: int | None = None
    throttle_after: int | None = None
    cut_after_bytes: int | None = None
    drip_bytes_per_s: int = 100_000
    latency_s: float = 0.0

    def concerns(self, request: SeenRequest) -> bool:
        """Return whether this request may meet a fault at all."""
        return request.method in self.methods and bool(re.search(self.path_pattern, request.path))

    def draw(self, request: SeenRequest, times_before: int) -> Fault | None:
        """Return the fault that the seed gives a request, without regard to limits."""
        level = random.Random(f"{self.seed} {request} {times_before}").random()
        for fault, probability in self.probabilities.items():
            level -= probability
            if level < 0:
                return fault
        return None

    def cut(self, request: SeenRequest, length: int) -> int:
        """Return after how many bytes a body breaks; always before its end."""
        if self.cut_after_bytes is not None:
            return min(self.cut_after_bytes, length - 1)
        return random.Random(f"{self.seed} {request} cut").randrange(length)


@dataclass(frozen=True)
class _Head:
    """Start line and headers; ``raw`` is passed on as it is."""

    raw: bytes
    words: tuple[str, ...]
    headers: dict[str, str]

    @property
    def length(self) -> int | None:
        return int(self.headers["content-length"]) if "content-length" in self.headers else None

    @property
    def is_chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "").lower() == "chunked"


class FaultProxy:
    """Runs in a thread while its context is open; ``endpoint`` is what clients are given.

    ``plan`` may be replaced by another one at any time.
    """

    def __init__(self, upstream: str, plan: FaultPlan, host: str = "127.0.0.1") -> None:
        self._upstream = urlsplit(upstream)
        self.plan = plan
        self._times: Counter[SeenRequest] = Counter()
        self._by_object: Counter[tuple[str, str]] = Counter()
        self._injected: Counter[Fault] = Counter()
        self._requests: list[SeenRequest] = []
        self._socket = socket.create_server((host, 0))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._ready = threading.Event()

    @property
    def endpoint(self) -> str:
        """The proxy's address as a URL."""
        return f"http://{self._host}:{self._port}"

    @property
    def requests(self) -> tuple[SeenRequest, ...]:
        """The requests so far, in the order they came."""
        return tuple(self._requests)

    @property
    def injected(self) -> Counter[Fault]:
        """How often each fault was injected so far."""
        return Counter(self._injected)

    def __enter__(self) -> "FaultProxy":
        self._host, self._port = self._socket.getsockname()
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._connection, sock=self._socket):
            self._ready.set()
            await self._stop.wait()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it goes, or until a fault ends the connection."""
        # So that drain() waits until the kernel has all: a reset drops what it has not.
        writer.transport.set_write_buffer_limits(high=0)
        # The proxy's end cancels what still is connected, which asyncio would print.
        ends = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*ends):
            while await self._exchange(await _read_head(reader), reader, writer):
                pass
        writer.close()

    async def _exchange(
        self, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; return whether the connection goes on."""
        path, _, query = head.words[1].partition("?")
        request = SeenRequest(head.words[0], path, query, head.headers.get("range", ""))
        self._requests.append(request)
        fault = self._choose(request)
        await asyncio.sleep(self.plan.latency_s)
        if fault in _CODES:
            await _refuse(fault, request, head, reader, writer)
            return False
        if fault is Fault.RESET:
            _reset(writer)
            return False
        server_reader, server_writer = await asyncio.open_connection(
            self._upstream.hostname, self._upstream.port
        )
        upload = asyncio.create_task(_forward(head, _body(head, reader), server_writer))
        try:
            answer = await _read_head(server_reader)
            while answer.words[1].startswith("1"):
                await _send(writer, answer.raw)
                answer = await _read_head(server_reader)
            if not await self._answer(request, fault, answer, server_reader, writer):
                return False
            return upload.done() and answer.headers.get("connection", "").lower() != "close"
        finally:
            upload.cancel()
            server_writer.close()

    def _choose(self, request: SeenRequest) -> Fault | None:
        plan, target = self.plan, (request.method, request.path)
        times_before, self._times[request] = self._times[request], self._times[request] + 1
        if not plan.concerns(request):
            return None
        if plan.max_faults is not None and self._injected.total() >= plan.max_faults:
            return None
        limit = plan.max_faults_per_object
        if limit is not None and self._by_object[target] >= limit:
            return None
        fault = plan.draw(request, times_before)
        if plan.throttle_after is not None and len(self._requests) > plan.throttle_after:
            fault = Fault.SLOW_DOWN
        if fault is not None:
            self._injected[fault] += 1
            self._by_object[target] += 1
        return fault

    async def _answer(
        self,
        request: SeenRequest,
        fault: Fault | None,
        answer: _Head,
        server: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Pass the server's answer on, broken as ``fault`` says; return whether it was whole."""
        has_body = request.method != "HEAD" and answer.words[1] not in ("204", "304")
        if fault in (None, Fault.DRIP) or not (has_body and answer.length):
            if fault not in (None, Fault.DRIP):
                _reset(writer)  # there is no body to break
                return False
            rate = self.plan.drip_bytes_per_s if fault else None
            await _send(writer, answer.raw)
            if has_body:
                async for piece in _body(answer, server, until_end=True):
                    await _send(writer, piece, rate)
            return not has_body or answer.is_chunked or answer.length is not None
        await _send(writer, answer.raw)
        await _send(writer, await server.readexactly(self.plan.cut(request, answer.length)))
        if fault is Fault.STALL:
            await asyncio.Event().wait()
        elif fault is Fault.RESET_IN_BODY:
            _reset(writer)
        return False


async def _read_head(reader: asyncio.StreamReader) -> _Head:
    raw = await reader.readuntil(b"\r\n\r\n")
    start, *lines = raw.decode("latin-1").strip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): text.strip() for name, _, text in pairs}
    return _Head(raw, tuple(start.split(" ", 2)), headers)


async def _body(
    head: _Head, reader: asyncio.StreamReader, *, until_end: bool = False
) -> AsyncIterator[bytes]:
    """Yield a body as it comes, chunk headers included.

    Args:
        head: what says how long it is.
        reader: behind the head.
        until_end: a body of no said length goes to the end of the connection, else it is empty.
    """
    if head.is_chunked:
        while (size := int((line := await reader.readuntil(b"\r\n")).split(b";")[0], 16)) > 0:
            yield line + await reader.readexactly(size + 2)
        yield line
        while (trailer := await reader.readuntil(b"\r\n")) != b"\r\n":
            yield trailer
        yield trailer
        return
    left = head.length if head.length is not None else (None if until_end else 0)
    while left is None or left > 0:
        piece = await reader.read(_PIECE_BYTES if left is None else min(left, _PIECE_BYTES))
        if not piece:
            return
        yield piece
        left = None if left is None else left - len(piece)


async def _forward(head: _Head, body: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    await _send(writer, head.raw)
    async for piece in body:
        await _send(writer, piece)


async def _send(
    writer: asyncio.StreamWriter, content: bytes, bytes_per_s: int | None = None
) -> None:
    step = len(content) if bytes_per_s is None else max(1, bytes_per_s // _DRIPS_PER_S)
    for start in range(0, len(content), step or 1):
        if bytes_per_s is not None:
            await asyncio.sleep(step / bytes_per_s)
        writer.write(content[start : start + step])
        await writer.drain()


async def _refuse(
    fault: Fault,
    request: SeenRequest,
    head: _Head,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Answer as S3 does when it is overloaded or broken, and close the connection."""
    if "expect" not in head.headers:
        # Closing over unread bytes would reset the connection and lose the answer.
        async for _ in _body(head, reader):
            pass
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{_CODES[fault]}</Code><Message>injected</Message>"
        f"<Resource>{request.path}</Resource><RequestId>0</RequestId></Error>"
    )
    await _send(
        writer,
        f"HTTP/1.1 {fault.value}\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode()
        + (b"" if request.method == "HEAD" else text.encode()),
    )


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST instead of FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
