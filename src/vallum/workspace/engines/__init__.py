"""The port `Engine`, which scores whole tables, and its adapters: `local` and `ray`."""
