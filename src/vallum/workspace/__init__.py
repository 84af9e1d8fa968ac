"""Room `workspace`: the life of assets. `perform` in `kernel`, wiring in `bootstrap`."""
