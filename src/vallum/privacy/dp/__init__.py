"""Queries under differential privacy: declared bounds, exact noise, costs that add up."""

from vallum.privacy.dp.cost import Cost, add, as_rho, epsilon_of_rho, rho_of_epsilon, spend
from vallum.privacy.dp.declaration import Declaration, parse_declaration
from vallum.privacy.dp.engine import Answer, Figure, Group, PrivateTable
from vallum.privacy.dp.plan import Plan, make_plan
from vallum.privacy.dp.query import Aggregate, Query
from vallum.privacy.dp.sql import parse_sql

__all__ = [
    "Aggregate",
    "Answer",
    "Cost",
    "Declaration",
    "Figure",
    "Group",
    "Plan",
    "PrivateTable",
    "Query",
    "add",
    "as_rho",
    "epsilon_of_rho",
    "make_plan",
    "parse_declaration",
    "parse_sql",
    "rho_of_epsilon",
    "spend",
]
