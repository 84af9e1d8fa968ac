"""Fixtures of an open workspace."""

from conftest_workspace import place, places, reopen

__all__ = ["place", "places", "reopen"]
