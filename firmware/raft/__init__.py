"""Raft for small boards: a replicated log among three to nine nodes.

One source for MicroPython 1.22 and later and CPython 3.11 and later. Nothing in this
package imports `machine`, `network` or `esp32`; what it needs of a board is handed in.
"""
