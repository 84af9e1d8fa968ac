"""Rules for what travels beside models: scoring code, notebooks, dependency files, licences."""
