"""What callers may ask for: rates, which each gateway holds a share of, and quotas, which are lent.

Both are told in the fields `RateLimit-Policy` and `RateLimit`, to whoever may score: what is left
to the caller's own key and principal, and of what callers share (a network, the whole endpoint)
no more than that nothing is left: how much others ask is not theirs to know.

Where several gateways live, each lets in its share of every rate: together they let in no more
than the rate, after a burst of no more than the burst or one each. In the second after one comes
they may let in half as much more.

Source: draft-ietf-httpapi-ratelimit-headers-09 (policies and limits as lists of strings with
parameters `q`, `w`, `r` and `t`).
"""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vallum.base import LimitExceededError, network_of
from vallum.gateway.allowances import Allowances, Whose, used_up
from vallum.gateway.kept_rates import KeptRates
from vallum.gateway.routes import Known, Route
from vallum.gateway.wire import Request
from vallum.schema import Quota
from vallum.schema.serving import ServedEndpoint

POLICY: Final = b"ratelimit-policy"
LIMIT: Final = b"ratelimit"
OWN: Final = ("key", "principal")
_WHOSE: Final = {
    "key": "your key's",
    "principal": "your",
    "network": "your network's",
    "endpoint": "the endpoint's",
}
MAX_PLANS: Final = 4096
FREE_REFUSALS: Final = 20  # in a second; who asks on waits for each
REFUSAL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Bucket:
    """One rate of an endpoint."""

    per: str
    name: bytes
    rate_per_s: float
    burst: float


@dataclass(slots=True)
class _Plan:
    """The limits of one endpoint, as they are looked at for each request."""

    endpoint: ServedEndpoint
    buckets: list[_Bucket] = field(init=False)
    policy: bytes = field(init=False)

    def __post_init__(self) -> None:
        one = self.endpoint
        self.buckets = [_Bucket("key", b"rate", one.rate_per_s, one.burst)]
        self.buckets += [
            _Bucket(
                rate.per, b"rate-" + rate.per.encode(), rate.requests / rate.per_s,
                rate.burst or rate.requests,
            )
            for rate in sorted(one.rates, key=lambda rate: _ORDER.index(rate.per))
        ]  # fmt: skip
        policies = [_policy_of(bucket) for bucket in self.buckets]
        policies += [b'"%b";q=%d;w=%d' % (_name_of(q), q.requests, q.per_s) for q in one.quotas]
        self.policy = b", ".join(policies)


_ORDER: Final = ("key", "principal", "network", "endpoint")
"""Who is refused for their own sake takes nothing of what they share."""


class Admission:
    """Holds callers to rates and quotas. For one event loop."""

    def __init__(self, allowances: Allowances, spool: Path) -> None:
        """Take over what the gateway before this one kept in `spool`."""
        self._rates = KeptRates(spool)
        self._allowances = allowances
        self._plans: dict[str, _Plan] = {}
        self._refused: dict[str, tuple[float, int]] = {}  # whose, in a second that began then

    async def save(self) -> None:
        """Keep what callers are ahead of their rates."""
        await self._rates.save()

    def take(self, route: Route, who: Known, request: Request, *, gateways: int) -> None:
        """Take one request from every rate, or from none; notes in it what is left.

        Raises:
            LimitExceededError: It comes too soon; the error says when it does not.
        """
        endpoint = route.endpoint
        plan = self._plans.get(endpoint.id)
        if plan is None or plan.endpoint is not endpoint:
            plan = self._plan(endpoint)
        now_s = time.monotonic()
        said = b""
        taken: list[tuple[tuple[str, str], float]] = []
        for bucket in plan.buckets:
            per, rate_per_s, burst = bucket.per, bucket.rate_per_s, bucket.burst
            whose = who.charged if per == "key" else f"{per}:{_subject(per, who, request)}"
            key = (whose, endpoint.id)
            if gateways > 1:
                rate_per_s, burst = rate_per_s / gateways, max(1.0, burst / gateways)
            try:
                ahead_s = self._rates.take(key, rate_per_s=rate_per_s, burst=burst, now_s=now_s)
            except LimitExceededError as error:
                for other, rate in taken:
                    self._rates.give_back(other, rate_per_s=rate)
                wait_s = 1 if error.retry_after_s is None else math.ceil(error.retry_after_s)
                request.limits = _fields(plan.policy, b'"%b";r=0;t=%d' % (bucket.name, wait_s))
                self._slow_down(who, request, now_s)
                raise
            taken.append((key, rate_per_s))
            if per in OWN:
                if said:
                    said += b", "
                left = int(burst - ahead_s * rate_per_s + 1e-6)
                said += b'"%b";r=%d;t=%d' % (bucket.name, left, math.ceil(ahead_s))
        request.limits = _fields(plan.policy, said)

    async def count(self, route: Route, who: Known, request: Request) -> None:
        """Take one request from every quota, or from none; notes in it what is left.

        Raises:
            LimitExceededError: A quota is used up; the error says when there is a new one.
            UnavailableError: The control process does not answer.
        """
        quotas = route.endpoint.quotas
        policy, said = request.limits[0][1], request.limits[1][1]
        all_ = [
            (quota, Whose(route.endpoint.id, quota.per, _subject(quota.per, who, request)))
            for quota in quotas
        ]
        while True:
            held = [self._allowances.get(whose, quota) for quota, whose in all_]
            lacking = next((at for at, one in enumerate(held) if one is None or one.left < 1), None)
            if lacking is None:
                break
            (quota, whose), one = all_[lacking], held[lacking]
            if one is not None and one.over:
                used = b'"%b";r=0;t=%d' % (_name_of(quota), math.ceil(one.resets_s()))
                request.limits = _fields(policy, used)
                self._slow_down(who, request, time.monotonic())
                raise used_up(
                    f"{_WHOSE[quota.per]} quota of {quota.requests} requests in one window is used"
                    " up",
                    "score.quota",
                    one,
                )
            refused = await self._allowances.ask(whose, quota, 1)
            if refused is not None:
                refused.over = refused.left < 1
        for quota, one in zip(quotas, held, strict=True):  # nothing was waited for since
            if one is None:
                continue
            one.left -= 1
            if quota.per in OWN:
                left = max(0, quota.requests - one.spent + int(one.left))
                window = math.ceil(one.resets_s())
                said += b', "%b";r=%d;t=%d' % (_name_of(quota), left, window)
        request.limits = _fields(policy, said)

    def _slow_down(self, who: Known, request: Request, now_s: float) -> None:
        """Have who asks on and on wait for the refusals, which take the others' time."""
        begun_s, count = self._refused.get(who.charged, (now_s, 0))
        if now_s - begun_s >= 1.0:
            begun_s, count = now_s, 0
        if count >= FREE_REFUSALS:
            request.delay_s = REFUSAL_S
        elif len(self._refused) >= MAX_PLANS:
            self._refused.clear()
        self._refused[who.charged] = (begun_s, count + 1)

    def _plan(self, endpoint: ServedEndpoint) -> _Plan:
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        plan = self._plans[endpoint.id] = _Plan(endpoint)
        return plan


def _policy_of(bucket: _Bucket) -> bytes:
    """Return a rate as so many requests in a window of whole seconds."""
    window_s = max(1, math.ceil(1 / bucket.rate_per_s), round(bucket.burst / bucket.rate_per_s))
    return b'"%b";q=%d;w=%d' % (bucket.name, round(bucket.rate_per_s * window_s), window_s)


def _fields(policy: bytes, limits: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return ((POLICY, policy), (LIMIT, limits))


def _name_of(quota: Quota) -> bytes:
    return b"quota-" + quota.per.encode()


def _subject(per: str, who: Known, request: Request) -> str:
    if per == "principal":
        return who.principal_id
    if per == "network":
        return network_of(request.client)
    return who.charged if per == "key" else "all"
