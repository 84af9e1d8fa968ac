"""Online endpoints as attributes of a client."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from vallum.base import GateError, InputError, NotFoundError, Secret, UnavailableError
from vallum.schema import (
    CapturePolicy,
    DeploymentState,
    Endpoint,
    InformationBudget,
    OutputPolicy,
    QueryWatch,
    Quota,
    Rate,
    Scale,
    Traffic,
    api,
    release,
)
from vallum.schema.capture import CaptureNamed, CapturesShown
from vallum.schema.code import CodeAdd, CodeShown
from vallum.sdk.nouns import Noun, by_name, pack

WAIT_S = 120.0
"""Longer than a gateway tries to start what nobody waits for yet."""

_LOOK_S = 0.2


class Endpoints(Noun):
    """Online endpoints."""

    def create(
        self,
        name: str,
        *,
        stage: str = "development",
        rate_per_s: int = 1000,
        burst: int = 2000,
        description: str = "",
        networks: Sequence[str] = (),
        information: InformationBudget | None = None,
        rates: Sequence[Rate] = (),
        quotas: Sequence[Quota] = (),
        dry_run: bool = False,
    ) -> api.EndpointShown:
        """Create an endpoint without deployments, for callers from `networks` or anywhere.

        With `information`, what its answers tell each principal is bounded. `rates` are those of
        principals, networks or everybody together, `quotas` what there is in one window.
        """
        arguments = api.EndpointCreate(
            name=name, stage=stage, rate_per_s=rate_per_s, burst=burst, description=description,
            networks=tuple(networks), information=information,
            rates=tuple(rates), quotas=tuple(quotas),
        )  # fmt: skip
        return self._transport.call(
            "endpoint.create", arguments, api.EndpointShown, dry_run=dry_run
        )

    def list(self) -> list[Endpoint]:
        """Return every endpoint that you may read."""
        return by_name(one for page in self._pages("endpoint.list") for one in page.endpoints)

    def show(self, name: str) -> api.EndpointShown:
        """Return an endpoint and its deployments."""
        return self._transport.call("endpoint.show", api.Named(name=name), api.EndpointShown)

    def deploy(
        self,
        endpoint: str,
        model: str,
        *,
        version: int | None = None,
        deployment: str = "blue",
        traffic: int = 100,
        in_process: bool = False,
        decimals: int | None = None,
        watch: QueryWatch | None = None,
        output: OutputPolicy | None = None,
        capture: CapturePolicy | None = None,
        code: str = "",
        scale: Scale | None = None,
        dry_run: bool = False,
    ) -> api.EndpointShown:
        """Deploy a model version; refused until policy's evidence is on record.

        It gets its traffic once it runs, and until then what answered before does: see `wait`.

        With `watch`, callers are compared with the training table that it names; `output` says
        what of the answers leaves, `capture` what of requests and answers is kept. `code` is
        the id of scoring code (`add_code`) that answers instead of the model.
        `scale` says how many processes answer.
        """
        arguments = api.EndpointDeploy(
            endpoint=endpoint,
            deployment=deployment,
            model=model,
            version=version,
            traffic=traffic,
            in_process=in_process,
            decimals=decimals,
            watch=watch,
            output=output,
            capture=capture,
            code=code,
            scale=scale,
        )
        return self._transport.call(
            "endpoint.deploy", arguments, api.EndpointShown, dry_run=dry_run
        )

    def wait(
        self, name: str, deployment: str = "blue", *, timeout_s: float = WAIT_S
    ) -> api.EndpointShown:
        """Wait until the newest deployment of that name runs; it has its traffic then.

        Raises:
            GateError: It does not start; what answered before still does.
            UnavailableError: It has not started after `timeout_s`; it may yet.
            NotFoundError: There is none.
        """
        end_s = time.monotonic() + timeout_s
        while True:
            shown = self.show(name)
            one = max(
                (held for held in shown.deployments if held.name == deployment),
                key=lambda held: held.created_at,
                default=None,
            )
            if one is None:
                raise NotFoundError(
                    f"endpoint `{name}` has no deployment `{deployment}`", code="deploy.none"
                )
            if one.state is DeploymentState.RUNNING:
                return shown
            if one.state is not DeploymentState.STARTING:
                raise GateError(
                    f"`{deployment}` does not start: {one.reason}",
                    code="deploy.failed",
                    hint="what answered before, if anything, still does; the gateway's log tells"
                    " more: mend it, and deploy again",
                )
            if time.monotonic() > end_s:
                raise UnavailableError(
                    f"`{deployment}` has not started after {timeout_s:.0f} s",
                    code="deploy.wait",
                    hint="what answered before, if anything, still does;"
                    f" vallum endpoint show {name} tells when it runs: it gets its traffic then",
                )
            time.sleep(_LOOK_S)

    def add_code(
        self,
        endpoint: str,
        code: Path | str | bytes,
        *,
        entry: str = "score.py",
        dry_run: bool = False,
    ) -> CodeShown:
        """Have scoring code scanned, signed and frozen; refused unless the policy allows any.

        Args:
            endpoint: Whose deployments may run it.
            code: A folder (or a tar).
            entry: The file in it that has `init()` and `run(raw_data)`.
            dry_run: Scan it only.
        """
        content = code if isinstance(code, bytes) else pack(Path(code), code=True)
        arguments = CodeAdd(endpoint=endpoint, entry=entry)
        return self._transport.call(
            "endpoint.add-code", arguments, CodeShown, content=content, dry_run=dry_run
        )

    def update(
        self,
        name: str,
        *,
        rate_per_s: int | None = None,
        burst: int | None = None,
        max_rows: int | None = None,
        description: str | None = None,
        networks: Sequence[str] | None = None,
        information: InformationBudget | None = None,
        rates: Sequence[Rate] | None = None,
        quotas: Sequence[Quota] | None = None,
        dry_run: bool = False,
    ) -> api.EndpointShown:
        """Change what an endpoint lets in and tells; what is None stays.

        No networks are all of them; a budget of no bits is none; no rates or quotas end those
        that there are.
        """
        arguments = release.EndpointUpdate(
            name=name, rate_per_s=rate_per_s, burst=burst, max_rows=max_rows,
            description=description, networks=None if networks is None else tuple(networks),
            information=information, rates=None if rates is None else tuple(rates),
            quotas=None if quotas is None else tuple(quotas),
        )  # fmt: skip
        return self._transport.call(
            "endpoint.update", arguments, api.EndpointShown, dry_run=dry_run
        )

    def invoke(
        self,
        name: str,
        request: Mapping[str, object] | bytes,
        *,
        key: Secret | None = None,
        deployment: str = "",
    ) -> dict[str, object]:
        """Score rows over the Open Inference Protocol V2; by a deployment that you may name.

        What scoring code answers and is no object is under `answer`.
        """
        uri = self.show(name).scoring_uri
        if not uri:
            raise InputError(f"endpoint `{name}` is not served", hint="is the gateway running?")
        body = request if isinstance(request, bytes) else msgspec.json.encode(request)
        answer = self._transport.post_json(uri, body, token=key, deployment=deployment)
        said = msgspec.json.decode(answer)
        return said if isinstance(said, dict) else {"answer": said}  # of scoring code

    def metrics(self) -> Traffic:
        """Return what the deployments did, of the endpoints that you may score at."""
        for one in self.list():
            uri = self.show(one.name).scoring_uri
            if uri:
                answer = self._transport.get(uri.partition("/v2/")[0] + "/metrics.json")
                return msgspec.json.decode(answer, type=Traffic)
        raise InputError("no endpoint is served that you may read", hint="vallum endpoint list")

    def traffic(
        self,
        name: str,
        shares: Mapping[str, int],
        *,
        mirror: Mapping[str, int] | None = None,
        dry_run: bool = False,
    ) -> api.EndpointShown:
        """Share the traffic among the deployments, in per cent: those not named get none.

        With `mirror`, one deployment without traffic gets copies of so many per cent, at most 50;
        what it answers is dropped.
        """
        arguments = release.EndpointTraffic(
            endpoint=name,
            traffic=dict(shares),
            mirror=None if mirror is None else dict(mirror),
        )
        return self._transport.call(
            "endpoint.traffic", arguments, api.EndpointShown, dry_run=dry_run
        )

    def batch(
        self,
        name: str,
        data: str,
        into: str,
        *,
        version: int | None = None,
        deployment: str = "",
        features: Sequence[str] = (),
        keep: Sequence[str] = (),
        mini_batch: int = 4096,
        max_failed: int = 0,
        resume: bool = False,
        output_action: str = "append_row",
        dry_run: bool = False,
    ) -> release.BatchScored:
        """Score a data version into the data asset `into`, under your own rights on both.

        With `resume` it goes on where a crash ended the same batch; the rows are the same as of an
        undisturbed one, each once. The `output_action` `summary_only` leaves what the scores come
        to instead of a row for each row. A row is an answer that the endpoint's quotas count.

        Raises:
            NotFoundError: With `resume`: there is nothing to go on with.
            ConflictError: With `resume`: model, data or settings are others than they were.
        """
        arguments = release.EndpointBatch(
            endpoint=name, data=data, into=into, version=version, deployment=deployment,
            features=tuple(features), keep=tuple(keep), mini_batch=mini_batch,
            max_failed=max_failed, resume=resume, output_action=output_action,
        )  # fmt: skip
        return self._transport.call(
            "endpoint.batch", arguments, release.BatchScored, dry_run=dry_run
        )

    def captures(self, name: str, *, deployment: str = "") -> CapturesShown:
        """Return what was kept of requests and answers: hours or days, and when each ends."""
        arguments = CaptureNamed(endpoint=name, deployment=deployment)
        return self._transport.call("endpoint.capture", arguments, CapturesShown)

    def captured(self, name: str, *, deployment: str = "", since: str = "") -> Iterator[bytes]:
        """Yield what was kept of requests and answers, as JSON lines, chunk by chunk.

        Args:
            name: Of the endpoint.
            deployment: Its name; all of them if not given.
            since: RFC 3339 time: only what was kept from then on.
        """
        arguments = CaptureNamed(endpoint=name, deployment=deployment, since=since)
        return self._transport.download("endpoint.capture-read", arguments)

    def erase_captures(self, name: str, *, deployment: str = "", dry_run: bool = False) -> api.Done:
        """Destroy what was kept of requests and answers, and its keys."""
        arguments = CaptureNamed(endpoint=name, deployment=deployment)
        return self._transport.call("endpoint.capture-erase", arguments, api.Done, dry_run=dry_run)

    def keys(
        self, name: str, *, kind: str = "primary", expires_at: str = "", dry_run: bool = False
    ) -> api.Shown:
        """Make a new scoring key; the old one of that kind is revoked."""
        arguments = api.EndpointKeys(endpoint=name, kind=kind, expires_at=expires_at)
        return self._transport.call("endpoint.keys", arguments, api.Shown, dry_run=dry_run)

    def token(self, name: str, *, minutes: int = 60, dry_run: bool = False) -> api.Shown:
        """Get a token that scores at an endpoint and ends by itself, with your own key at last."""
        arguments = release.EndpointToken(endpoint=name, minutes=minutes)
        return self._transport.call("endpoint.token", arguments, api.Shown, dry_run=dry_run)

    def delete(self, name: str, *, dry_run: bool = False) -> api.Done:
        """Stop and delete an endpoint."""
        return self._transport.call(
            "endpoint.delete", api.Named(name=name), api.Done, dry_run=dry_run
        )
