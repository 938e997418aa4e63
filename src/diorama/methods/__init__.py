"""Papers: one file per method, read top to bottom beside its paper."""
