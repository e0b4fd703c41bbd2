"""A trace as a TLA+ module. What TLC says of it is in tests/README.md: it isn't installed here."""

import re
from pathlib import Path

import pytest

from tests.cluster.churn import ChurnWorld
from tests.specification import tla
from tests.specification.actions import ACTIONS
from tests.specification.simulated import recorded
from tests.specification.tla import EXTENSIONS, Export, NotExportable

ENOUGH = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tla") / "new"
    taken = tla.export(folder, 1, ENOUGH)
    assert sum(taken.values()) >= ENOUGH
    return folder


def test_the_module_has_each_action_that_was_taken(folder: Path) -> None:
    text = (folder / "Trace.tla").read_text()

    steps = re.findall(r'^\[seen \|-> (.*?), do \|-> "(\w+)"', text, re.MULTILINE)

    assert len(steps) >= ENOUGH
    cases = set(re.findall(r'e\.do = "(\w+)" ->', text))
    taken = {action for _, action in steps}
    assert {"Timeout", "BecomeLeader", "AppendEntries", "Receive", "DropMessage"} <= taken <= cases
    assert len([seen for seen, _ in steps if seen != "<< >>"]) > ENOUGH / 4


def test_each_extension_is_an_action_of_a_module_of_its_own(folder: Path) -> None:
    extensions = (folder / "Extensions.tla").read_text()
    assert extensions == EXTENSIONS.read_text()
    defined = set(re.findall(r"^(\w+)(?:\(.*\))? ==", extensions, re.MULTILINE))
    text = (folder / "Trace.tla").read_text()

    cases = set(re.findall(r'e\.do = "(\w+)" ->', text)) - {"Receive"}

    assert cases - set(ACTIONS) <= defined
    (next_step,) = re.findall(r"^ExtensionNext ==.*", extensions, re.MULTILINE | re.DOTALL)
    for action in cases - set(ACTIONS):
        assert f"{action}(" in next_step


def test_the_configuration_names_all_constants_of_the_specification(folder: Path) -> None:
    config = (folder / "Trace.cfg").read_text()

    constants = dict(re.findall(r"^    (\w+) = (.*)$", config, re.MULTILINE))

    assert constants["Server"] == "{1, 2, 3}" and constants["Leader"] == '"Leader"'
    values = re.findall(r'do \|-> "ClientRequest".* n \|-> (\d+)\]', _steps(folder))
    assert set(values) <= set(re.findall(r"\d+", constants["Value"]))
    assert len(constants) == 10


def _steps(folder: Path) -> str:
    return (folder / "Trace.tla").read_text()


def test_members_that_change_cannot_be_written_down() -> None:
    world, error = recorded(1, 2000, ChurnWorld)
    assert not error
    refinement = Export([board.id for board in world.boards])

    with pytest.raises(NotExportable):
        for event in world.events:
            refinement.take(event)
