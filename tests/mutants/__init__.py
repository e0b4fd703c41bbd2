"""Mistakes made on purpose, each made by somebody once, and how fast they are found.

python -m tests.mutants
"""
