"""A desk process that is a board: what runs firmware/main.py without any hardware.

Runs under CPython and MicroPython from one source, as firmware/ does.
"""
