"""Every step, in one table. A name that is not here does not exist."""

from vallum.workspace.step import Step
from vallum.workspace.steps import (
    access,
    aliases,
    bom,
    break_glass,
    claim,
    connections,
    data,
    directory,
    dp,
    endpoints,
    forget,
    jobs,
    log,
    models,
    release,
    rollback,
    rules,
    views,
)

STEPS: tuple[Step, ...] = (
    *access.STEPS,
    *aliases.STEPS,
    *bom.STEPS,
    *break_glass.STEPS,
    *claim.STEPS,
    *connections.STEPS,
    *data.STEPS,
    *directory.STEPS,
    *dp.STEPS,
    *endpoints.STEPS,
    *forget.STEPS,
    *jobs.STEPS,
    *log.STEPS,
    *models.STEPS,
    *release.STEPS,
    *rollback.STEPS,
    *rules.STEPS,
    *views.STEPS,
)
