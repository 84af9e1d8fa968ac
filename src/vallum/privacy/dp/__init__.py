"""Queries under differential privacy: declared bounds, exact noise, costs that add up."""

from vallum.privacy.dp.cost import Cost, add, as_rho, epsilon_of_rho, rho_of_epsilon, spend
from vallum.privacy.dp.declaration import Declaration, parse_declaration
from vallum.privacy.dp.engine import Answer, Figure, Group, PrivateTable
from vallum.privacy.dp.local import (
    BoundedNoise,
    Estimate,
    RandomizedResponse,
    bounded_noise,
    randomized_response,
)
from vallum.privacy.dp.plan import Plan, make_plan
from vallum.privacy.dp.query import Aggregate, Query
from vallum.privacy.dp.sql import parse_sql

__all__ = [
    "Aggregate",
    "Answer",
    "BoundedNoise",
    "Cost",
    "Declaration",
    "Estimate",
    "Figure",
    "Group",
    "Plan",
    "PrivateTable",
    "Query",
    "RandomizedResponse",
    "add",
    "as_rho",
    "bounded_noise",
    "epsilon_of_rho",
    "make_plan",
    "parse_declaration",
    "parse_sql",
    "randomized_response",
    "rho_of_epsilon",
    "spend",
]
