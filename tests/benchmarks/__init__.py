"""What the project costs, counted where it can be counted: `python -m tests.benchmarks`."""
