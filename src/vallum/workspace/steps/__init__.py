"""Steps: what can be done, one module a noun; `table` lists them all."""
