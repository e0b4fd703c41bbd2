"""The key of all clusters of tests; portable."""

SECRET = "5ea1" * 16  # as config.json has it
