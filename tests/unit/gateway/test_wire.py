"""What of a request is checked first, and what errors are to whoever asked."""

import msgspec
import pytest

from vallum.base import GateError, IntegrityError, LimitExceededError, VallumError
from vallum.base.bounds import MAX_TOKEN_BYTES
from vallum.base.proxies import Proxies
from vallum.gateway.wire import FORWARDED, Head, Request, problem_of
from vallum.schema.api import Problem
from vallum.sdk.transport import _error_of

HOSTS = frozenset({b"here"})


def shown(client: str, proxies: Proxies | None, **headers: bytes) -> Request:
    """Return a checked request that came with a certificate."""
    request = Request(client)
    request.headers = {b"host": b"here", **{name.encode(): one for name, one in headers.items()}}
    request.certificate = b"certificate"
    Head(HOSTS, proxies).check(request)
    return request


@pytest.mark.parametrize(
    ("forwarded", "client", "certificate"),
    [
        (b"192.0.2.7", "192.0.2.7", b""),  # a proxy's certificate says who it is, not for whom
        (b"192.0.2.7, 127.0.0.1", "192.0.2.7", b""),
        (b"127.0.0.1", "127.0.0.1", b""),  # for somebody on its own machine
        (b"", "127.0.0.1", b"certificate"),  # for itself
    ],
)
def test_what_a_proxy_shows_is_not_whom_it_forwards_for(
    forwarded: bytes, client: str, certificate: bytes
) -> None:
    request = Request("127.0.0.1")
    request.headers = {b"host": b"here"}
    if forwarded:
        request.headers[FORWARDED] = forwarded
    request.certificate = b"certificate"
    Head(HOSTS, Proxies(["127.0.0.0/8"])).check(request)
    assert (request.client, request.certificate) == (client, certificate)


def test_who_is_no_trusted_proxy_is_who_they_show() -> None:
    for proxies in (None, Proxies(["10.0.0.0/8"])):
        request = shown("198.51.100.1", proxies, **{FORWARDED.decode(): b"192.0.2.7"})
        assert (request.client, request.certificate) == ("198.51.100.1", b"certificate")


def test_who_sends_any_credential_is_not_known_by_a_certificate() -> None:
    for sent in (b"Basic eDp5", b"Bearer " + b"x" * (MAX_TOKEN_BYTES + 1)):
        assert shown("198.51.100.1", None, authorization=sent).certificate == b""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (GateError("it divided by 4111", code="code.run"), 500),
        (IntegrityError("the model changed", code="model.changed"), 500),
        (LimitExceededError("too many", code="score.rate", retry_after_s=2.5), 429),
        (LimitExceededError("too long", code="score.body"), 413),
    ],
)
def test_a_client_raises_what_the_gateway_refused_with(error: VallumError, status: int) -> None:
    answer = problem_of(error)
    headers = {name.decode(): value.decode() for name, value in answer.extra}
    raised = _error_of(answer.status, answer.body, headers)
    assert answer.status == status
    assert (type(raised), raised.code, raised.exit_code) == (
        type(error), error.code, error.exit_code,
    )  # fmt: skip
    assert raised.request_id == msgspec.json.decode(answer.body, type=Problem).request_id != ""
    assert b"4111" not in answer.body
