"""The table of routes: every route is a step that asks; nothing else can be mounted."""

import msgspec
import pytest

from vallum.schema import api
from vallum.schema.mlflow_routes import FILE_ROUTES, MLFLOW_ROUTES
from vallum.schema.routes import ROUTES
from vallum.server.openapi import body_type, document
from vallum.workspace.kernel import Kernel
from vallum.workspace.steps.table import STEPS

INNER = {"job.claim", "job.finish", "workspace.accept-rollback", "workspace.claim"}


def test_every_route_is_a_step_and_every_step_but_the_inner_ones_is_a_route() -> None:
    routed = {route.step for route in (*ROUTES, *MLFLOW_ROUTES, *FILE_ROUTES)}
    named = {step.name for step in STEPS}
    assert routed == named - INNER
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


@pytest.mark.guarantee("G2")
def test_a_route_without_its_step_keeps_the_process_from_starting() -> None:
    kernel = Kernel.__new__(Kernel)
    kernel._steps = {step.name: step for step in STEPS}
    for route in (*ROUTES, *MLFLOW_ROUTES, *FILE_ROUTES):
        kernel.require_step(route.step, route.arguments)
    with pytest.raises(RuntimeError):
        kernel.require_step("data.surprise", api.Named)
    with pytest.raises(RuntimeError):
        kernel.require_step("data.show", api.Page)


def test_reads_are_gets_or_named_posts_and_changes_are_never_gets() -> None:
    from vallum.workspace.step import Effect

    effects = {step.name: step.effect for step in STEPS}
    for route in (*ROUTES, *MLFLOW_ROUTES, *FILE_ROUTES):
        if route.method == "GET":
            assert effects[route.step] is Effect.READ, route.step


def test_the_openapi_document_names_every_step_once() -> None:
    bodies = {route.step: body_type(route) for route in ROUTES}
    text = msgspec.json.encode(document("0", bodies)).decode()
    for route in ROUTES:
        assert text.count(f'"operationId":"{route.step}"') == 1


def test_path_parameters_are_fields_of_the_arguments() -> None:
    from vallum.server.openapi import path_parameters

    for route in ROUTES:
        fields = {field.name for field in msgspec.structs.fields(route.arguments)}
        assert set(path_parameters(route)) <= fields, route.step
