"""Fixtures of real databases."""

from fixtures_store import postgresql

__all__ = ["postgresql"]
