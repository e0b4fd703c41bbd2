"""What a call takes of the heap; portable."""

import gc
import sys

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from collections.abc import Callable

if sys.implementation.name == "micropython":

    def allocated(function: "Callable[..., object]", *args: object) -> int:
        """The bytes of heap that calling this takes, garbage included."""
        gc.collect()
        before = gc.mem_alloc()  # type: ignore[attr-defined]
        function(*args)
        return gc.mem_alloc() - before  # type: ignore[attr-defined]

else:
    import tracemalloc

    def allocated(function: "Callable[..., object]", *args: object) -> int:
        """The most bytes of heap that are taken while this is called."""
        tracemalloc.start()
        function(*args)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most
