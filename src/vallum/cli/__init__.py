"""Room `cli`: commands. Remote ones go through the SDK, offline ones to the checks wing."""


def main() -> None:
    """Run the command line."""
    from vallum.cli.app import main as run

    run()


__all__ = ["main"]
