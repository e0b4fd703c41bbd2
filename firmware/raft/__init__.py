"""Raft for small boards: a replicated log among three to nine nodes.

One source for MicroPython 1.22 and later and CPython 3.11 and later. Nothing in this
package imports `machine`, `network` or `esp32`; what it needs of a board is handed in.

    from raft import Node

gives a program its node (program.py; firmware/README.md, "Programs").
"""


def __getattr__(name):
    # Loaded when asked for: a node without a program does without its heap. And MicroPython
    # asks here for this package's modules, too, when it hasn't imported them yet.
    if name[:2] == "__":
        raise AttributeError(name)
    if name == "Node":
        from raft.program import Node

        return Node
    return __import__("raft." + name, None, None, (name,))
