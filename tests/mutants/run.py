"""As host_tools/desktop/run.py, but that the node makes the mistake RAFT_MUTANT."""

import os
import runpy
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
RUN = PROJECT / "host_tools" / "desktop" / "run.py"


def main() -> None:
    # In the place of this script's folder
    sys.path[0] = str(PROJECT)
    from host_tools.desktop import faults

    apply = faults.apply

    def apply_and_err() -> None:
        """Not earlier: faults are applied before anything of the node is imported."""
        apply()
        import raft.node
        from tests.mutants.named import mistake

        for name, part in mistake(os.environ["RAFT_MUTANT"]).parts.items():
            setattr(raft.node, name, part)

    faults.apply = apply_and_err
    runpy.run_path(str(RUN), run_name="__main__")


if __name__ == "__main__":
    main()
