import sys

if sys.implementation.name == "cpython":
    import host_tools.firmware  # noqa: F401  firmware/ on the path, for commands outside pytest
