"""The command that shows everything."""

import json
from pathlib import Path

import pytest

from tests.proof import __main__ as proof
from tests.proof.parts import PARTS, Part

SPEAKER = """
import json, sys
print("seen", sys.argv[1])
open(sys.argv[sys.argv.index("--json") + 1], "w").write(json.dumps({"x." + sys.argv[1]: 1}))
sys.exit(sys.argv[1] == "bad")
"""


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "speaker.py").write_text(SPEAKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(proof, "OUT", tmp_path / "out")
    monkeypatch.setattr(proof, "FIGURES", tmp_path / "proof.json")
    made = (Part("one", "it is so", "speaker bad"), Part("two", "that, too", "speaker good"))
    monkeypatch.setattr(proof, "PARTS", made)
    return tmp_path


def test_a_part_that_is_broken_is_told_and_the_others_are_shown(
    parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert proof.main([]) == 1
    told = capsys.readouterr().out
    assert "seen bad" in told and "seen good" in told
    assert "broken: one;" in told
    assert (parts / "out" / "one.txt").read_text() == "seen bad\n"
    figures = json.loads((parts / "proof.json").read_text())
    assert figures["x.bad"] == figures["x.good"] == 1
    assert figures["proof.two.seconds"] >= 0


def test_a_part_that_holds_is_a_success(parts: Path) -> None:
    assert proof.main(["two"]) == 0
    assert not (parts / "out" / "one.txt").exists()


def test_a_part_that_is_not_there_is_refused_with_those_that_are(parts: Path) -> None:
    with pytest.raises(SystemExit, match="'three': choose of one, two"):
        proof.main(["three"])


def test_each_part_is_a_module_of_the_tests() -> None:
    for part in PARTS:
        module = Path(*part.command.split()[0].split("."))
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists()
