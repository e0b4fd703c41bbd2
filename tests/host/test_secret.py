"""secrets.toml: nobody else reads it, and nothing of it is told."""

import os
from pathlib import Path

import pytest

from host_tools import secret
from host_tools.secret import SecretsError, Wifi

PASSWORD = 'quoted " and \\ \u00fc \U0001f3e0 \x7f'


def test_what_is_saved_is_read_again_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / secret.FILE
    file.write_text("older")
    file.chmod(0o666)

    secret.save(file, Wifi("home", PASSWORD))

    assert file.stat().st_mode & 0o777 == 0o600
    assert secret.load(file) == Wifi("home", PASSWORD)
    assert PASSWORD not in repr(secret.load(file))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[wifi]", "[wlan]", "wlan is not known here"),
        ('ssid = "home"', "", "ssid is missing: give a text"),
        ('"home"', f'"{"x" * 33}"', "ssid must have 1 to 32 bytes"),
        ('"12345678"', '"1234567"', "password must have 8 to 63 characters, or none"),
        ('"12345678"', "12345678", "password must be a text"),
        ('password = "12345678"', "key = 1", "key is not known here"),
    ],
)
def test_errors_name_the_remedy_and_never_the_password(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = tmp_path / secret.FILE
    secret.save(file, Wifi("home", "12345678"))
    file.write_text(file.read_text().replace(old, new))

    with pytest.raises(SecretsError, match=message) as error:
        secret.load(file)

    assert "1234567" not in str(error.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / secret.FILE
    secret.save(file, Wifi("home", ""))
    os.chmod(file, 0o640)

    with pytest.raises(SecretsError, match=f"chmod 600 {file}"):
        secret.load(file)


def test_without_the_file_init_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match="raftctl init"):
        secret.load(tmp_path / secret.FILE)
