"""The HTTP door: routes from one table, limits before parsing, problems as answers."""
