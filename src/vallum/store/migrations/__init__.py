"""Alembic's scripts, shipped in the package: `versions` holds one file a change of the tables."""
