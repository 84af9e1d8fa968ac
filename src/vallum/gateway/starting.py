"""Starts the models of deployments: fetched, verified, and in a process of their own."""

import asyncio

from vallum.base import GateError, UnavailableError, VallumError
from vallum.gateway.beside import Beside
from vallum.gateway.egress import Outgoing
from vallum.gateway.model import InProcessModel, Model
from vallum.gateway.pool import Pool
from vallum.gateway.replicas import Replicas
from vallum.gateway.scripted import ScriptedModel
from vallum.sandbox import BubblewrapRunner
from vallum.schema.release import LOCAL
from vallum.schema.serving import ModelAsk, ModelBytes, ServedDeployment
from vallum.workspace.desk import AsyncDesk
from vallum.workspace.engines.ray_room import RayPlace

HINT = "vallum up --ray-replicas"


class Starting:
    """Holds the one sandbox runner of a gateway. For one event loop."""

    def __init__(self, desk: AsyncDesk, outgoing: Outgoing, ray: RayPlace | None = None) -> None:
        """Start models here, and on `ray` if there is one."""
        self._desk = desk
        self._outgoing = outgoing
        self._ray = ray
        self._runner: BubblewrapRunner | None = None

    async def runner(self) -> BubblewrapRunner:
        """Return the sandbox runner; opened at first use.

        Raises:
            UnavailableError: No sandbox works here.
        """
        if self._runner is None:
            self._runner = await asyncio.to_thread(BubblewrapRunner.open)
        return self._runner

    async def start(self, served: ServedDeployment) -> tuple[Model, Beside | None]:
        """Return a deployment's model, answering, and what stands between it and its callers.

        Raises:
            UnavailableError: It cannot be had now.
            VallumError: It cannot be served.
        """
        got = await self._desk.call("/model", ModelAsk(deployment_id=served.id), ModelBytes)
        try:
            model = await self._run(served, got)
        except VallumError:
            raise
        except Exception as error:  # whatever it is, nobody shall wait for it
            kind = type(error).__name__
            raise GateError(f"it fails with {kind}", code="model.start") from error
        try:  # a deployment that should be watched and cannot be is not served
            return model, await Beside.of(served, got, model)
        except BaseException:
            await model.close()
            raise

    async def _run(self, served: ServedDeployment, got: ModelBytes) -> Model:
        if served.in_process:
            return await asyncio.to_thread(InProcessModel, got.data, got.sha256)
        runner = await self.runner()
        made: ScriptedModel | Pool | Replicas
        if served.code_digest:
            made = await asyncio.to_thread(ScriptedModel, served, got, runner, self._outgoing)
        elif served.scale.engine != LOCAL:
            if self._ray is None:  # the operator does not let models leave any more
                raise UnavailableError(
                    "this server starts no replicas on Ray", code="engine.none", hint=HINT
                )
            made = await asyncio.to_thread(
                Replicas, got.data, got.sha256, runner, served.scale, self._ray, name=served.id
            )
        else:
            made = await asyncio.to_thread(Pool, got.data, got.sha256, runner, served.scale)
        try:
            await made.start()
        except BaseException:
            await made.close()
            raise
        return made
