"""Gates: what looks at an asset and leaves evidence; `table` lists them all."""
