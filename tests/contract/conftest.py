from fixtures_store import *  # noqa: F403 - fixtures are found by name
