"""What README files show is there."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from host_tools.firmware import FIRMWARE

PROJECT = FIRMWARE.parent
READMES = [PROJECT / "README.md", *PROJECT.glob("[!.]*/**/README.md")]
PICTURES = ["host_tools/screenshots/demo.svg", "host_tools/screenshots/monitor.svg"]
MAX_BYTES = 60_000
LINK = re.compile(r"\]\(([^)\s]+)|\b(?:href|src|srcset)=\"([^\"]+)\"")
URL = re.compile(r"url\(([^)]*)\)|\bhref=\"([^\"]*)\"|@import (\S+)")


def found(pattern: re.Pattern[str], file: Path) -> list[str]:
    matches = pattern.finditer(file.read_text(encoding="utf-8"))
    return [next(filter(None, match.groups()), "") for match in matches]


@pytest.mark.parametrize("readme", READMES, ids=lambda file: str(file.relative_to(PROJECT)))
def test_what_a_readme_links_to_is_there(readme: Path) -> None:
    paths = [link.split("#")[0] for link in found(LINK, readme) if ":" not in link]

    assert [path for path in paths if not (readme.parent / path).exists()] == []


@pytest.mark.parametrize("picture", PICTURES)
def test_readme_shows_a_picture_that_is_small_and_needs_no_other_file(picture: str) -> None:
    assert picture in found(LINK, PROJECT / "README.md")
    assert (PROJECT / picture).stat().st_size < MAX_BYTES
    ElementTree.parse(PROJECT / picture)  # or it isn't shown
    assert [url for url in found(URL, PROJECT / picture) if not url.startswith("#")] == []
