"""An hour of five virtual boards that have all habits, lose their power and their network."""

from host_tools import micropython
from tests.cluster import hour

SECONDS = 3600
SEED = 1
FIGURES = (
    "acknowledged", "commits", "elections", "power failures", "links lost", "sockets reopened",
    "longest deaf, ms", "longest deaf, ms, flash apart", "longest without leader, ms",
)  # fmt: skip


def measure() -> dict[str, float]:
    found = micropython.interpreters()
    if not found:
        return {}
    told = hour.run(found[0].name, SECONDS, SEED)
    figures = {_key(name): told[name] for name in FIGURES}
    figures["hour.without_leader"] = 1 - told["leader"]
    return figures


def _key(name: str) -> str:
    return "hour." + name.replace(", ", "_").replace(" ", "_")
