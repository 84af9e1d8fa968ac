"""An endpoint as attacks see it: the Open Inference Protocol V2, a key, and manners.

Every request says that it belongs to a test. A request that is not allowed ends the test: an attack
never goes on against an endpoint that its caller may not score.
"""

import ssl
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import (
    GateError,
    InputError,
    RefusedError,
    Secret,
    UnauthenticatedError,
    UnavailableError,
)
from vallum.base.bounds import MIB
from vallum.base.hosts import is_loopback

Records = NDArray[np.float32]
Scores = NDArray[np.float64]
TEST_HEADER = "Vallum-Test"
MOST_ROWS = 256
_MAX_REPLY_BYTES = 64 * MIB
_TIMEOUT_S = 30.0
_TRIES = 5
_PATIENCE_S = 60.0


class _Output(msgspec.Struct, frozen=True):
    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[float | int | str | list[float | int]]


class _Answer(msgspec.Struct, frozen=True):
    outputs: list[_Output]


_DECODER = msgspec.json.Decoder(_Answer)


class EndpointPredictor:
    """A live endpoint behind its scores, or its labels. Close it, or use it as a context manager.

    Attributes:
        url: That is asked, without a query.
    """

    def __init__(
        self,
        url: str,
        key: Secret,
        *,
        test: str,
        rate_per_s: float,
        ca_file: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Check the address; nothing is asked yet.

        Args:
            url: `https://HOST/v2/models/NAME`, with or without `/infer`.
            key: Bearer token.
            test: What the header `Vallum-Test` says, for the endpoint's log.
            rate_per_s: Requests a second at most, > 0.
            ca_file: Certificate authority of the server.
            monotonic: Clock, seconds.
            sleep: Waits for seconds.

        Raises:
            InputError: It is no such address, or it would send the key openly.
        """
        parts = urlsplit(url)
        path = parts.path.rstrip("/")
        path = path if path.endswith("/infer") else path + "/infer"
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.username
            or parts.query
            or not path.startswith("/v2/models/")
        ):
            raise InputError(
                "the address is no endpoint of the V2 protocol", code="attack.url",
                hint="write it as https://host:port/v2/models/NAME",
            )  # fmt: skip
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise InputError(
                f"`{parts.hostname}` is not this machine, and http:// would send the key openly",
                code="attack.url", hint="use https://",
            )  # fmt: skip
        if not rate_per_s > 0:
            raise InputError("--rate must be positive", code="attack.rate")
        try:
            context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"`{ca_file}` is not a readable certificate authority", code="sdk.ca"
            ) from error
        self.url = f"{parts.scheme}://{parts.netloc}{path}"
        self._key, self._test = key, test
        self._pause_s = 1.0 / rate_per_s
        self._monotonic, self._sleep = monotonic, sleep
        self._next_s = -np.inf
        self._until_s = np.inf
        self._most = MOST_ROWS
        self._client = httpx.Client(verify=context, follow_redirects=False, trust_env=False)

    def until(self, deadline_s: float) -> None:
        """Wait for nothing beyond a moment of the clock."""
        self._until_s = deadline_s

    def predict(self, x: Records) -> Scores:
        """Return scores, (n, c), or labels, (n,).

        Raises:
            RefusedError: The key may not score here.
            UnauthenticatedError: The key is wrong.
            UnavailableError: The endpoint cannot be reached, or is busy for too long.
            GateError: It fails on the input, or its answer is not of the protocol.
        """
        flat = x.reshape(len(x), -1)
        parts: list[Scores] = []
        done = 0
        while done < len(flat):
            part = flat[done : done + self._most]
            answer = self._ask(part)
            if answer is None:
                self._most = max(1, len(part) // 2)
                continue
            parts.append(answer)
            done += len(part)
        return np.concatenate(parts)

    def _ask(self, x: Records) -> Scores | None:
        """Return the answer to one request; nothing if it had too many rows."""
        body = msgspec.json.encode(
            {
                "id": "vallum-attack",
                "inputs": [
                    {
                        "name": "x", "shape": x.shape, "datatype": "FP32",
                        "data": x.astype(np.float64).ravel().tolist(),
                    }
                ],
            }
        )  # fmt: skip
        failure = ""
        for _ in range(_TRIES):
            self._wait(self._next_s - self._monotonic())
            self._next_s = max(self._monotonic(), self._next_s) + self._pause_s
            try:
                status, retry_s, content = self._post(body)
            except httpx.HTTPError as error:
                # Not its text: that may quote the address or the header.
                failure = f"cannot be reached ({type(error).__name__})"
                self._next_s = max(self._next_s, self._monotonic() + 1.0)
                continue
            failure = "is busy"
            if status == HTTPStatus.OK:
                return _scores(content, len(x))
            if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(x) > 1:
                return None
            _refuse(status, content)
            self._next_s = max(self._next_s, self._monotonic() + retry_s)
        raise UnavailableError(f"the endpoint {failure}", code="attack.endpoint")

    def _post(self, body: bytes) -> tuple[int, float, bytes]:
        headers = {
            "Authorization": f"Bearer {self._key.reveal().decode('ascii', 'replace')}",
            "Content-Type": "application/json",
            TEST_HEADER: self._test,
        }
        content = bytearray()
        timeout_s = min(_TIMEOUT_S, max(0.05, self._until_s - self._monotonic()))
        with self._client.stream(
            "POST", self.url, content=body, headers=headers, timeout=timeout_s
        ) as reply:
            for chunk in reply.iter_bytes():
                content += chunk
                if len(content) > _MAX_REPLY_BYTES:
                    raise GateError("the answer is too long", code="attack.answer")
            given = reply.headers.get("retry-after", "")
            retry_s = float(given) if given.isdigit() and len(given) < 6 else 1.0  # noqa: PLR2004
            return reply.status_code, retry_s, bytes(content)

    def _wait(self, pause_s: float) -> None:
        if pause_s <= 0:
            return
        left_s = self._until_s - self._monotonic()
        if pause_s > min(_PATIENCE_S, left_s):
            raise UnavailableError(
                f"the endpoint asks to wait {pause_s:.0f} s, longer than there is",
                code="attack.endpoint",
            )
        self._sleep(pause_s)

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _refuse(status: int, content: bytes) -> None:
    """Raise for every status after which asking again makes no sense."""
    match status:
        case HTTPStatus.UNAUTHORIZED:
            raise UnauthenticatedError(
                "the endpoint does not know this key", code="attack.endpoint"
            )
        case HTTPStatus.FORBIDDEN | HTTPStatus.NOT_FOUND:
            raise RefusedError(
                "the endpoint may not be scored with this key: nothing more is asked",
                code="attack.refused",
                hint="ask its owner for the right `score` on this endpoint",
            )
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE:
            return
    raise GateError(
        f"the endpoint fails on its own input (status {status}{_detail(content)})",
        code="attack.model",
    )


def _detail(content: bytes) -> str:
    try:
        said = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return ""
    detail = said.get("detail") if isinstance(said, dict) else None
    return f": {detail[:120]}" if isinstance(detail, str) and detail.isprintable() else ""


def _scores(content: bytes, rows: int) -> Scores:
    """Return the matrix of scores in an answer, or else its labels as numbers."""
    try:
        outputs = _DECODER.decode(content).outputs
    except (msgspec.DecodeError, RecursionError) as error:
        raise GateError("the answer is not of the V2 form", code="attack.answer") from error
    matrices = [one for one in outputs if len(one.shape) == 2 and one.datatype.startswith("FP")]  # noqa: PLR2004
    named = [one for one in matrices if "prob" in one.name.lower() or "score" in one.name.lower()]
    chosen = (named or matrices or outputs[:1])[:1]
    try:
        (output,) = chosen
        values = np.array(output.data, dtype=np.float64).reshape(output.shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise GateError("the endpoint answers no scores", code="attack.scores") from error
    if values.ndim not in {1, 2} or len(values) != rows:
        raise GateError(
            f"the endpoint answers shape {values.shape} for {rows} records", code="attack.scores"
        )
    return values
