"""What the project costs, counted where it can be counted: `python -m tests.benchmarks`."""

import host_tools.firmware  # noqa: F401 - makes the firmware's modules importable
