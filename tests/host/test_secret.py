"""secrets.toml: nobody else reads it, and nothing of it is told."""

import os
from pathlib import Path

import pytest

from host_tools import secret
from host_tools.secret import CLUSTER, WIFI, Issued, Secrets, SecretsError, Wifi

PASSWORD = 'quoted " and \\ \u00fc \U0001f3e0 \x7f'
KEY, OTHER = "0f" * 32, "5a" * 32
ALL = Secrets((KEY, OTHER), Wifi("home", "12345678"), Issued(7, 8, "read", "1e" * 32))


def test_what_is_saved_is_read_again_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / secret.FILE
    file.write_text("")
    file.chmod(0o666)
    secrets = Secrets((KEY,), Wifi("home", PASSWORD), Issued(0xFFFF, 1, "admin", OTHER))

    secret.save(file, secrets)

    assert file.stat().st_mode & 0o777 == 0o600
    assert secret.load(file) == secrets
    for told in (PASSWORD, KEY, OTHER):
        assert told not in repr(secret.load(file))


def test_what_is_saved_takes_nothing_else_away(tmp_path: Path) -> None:
    file = tmp_path / secret.FILE
    secret.save(file, Secrets(wifi=Wifi("home", PASSWORD)))
    file.write_text("# mine\n" + file.read_text())

    secret.save(file, Secrets((KEY, OTHER)))
    secret.save(file, Secrets(wifi=Wifi("other", "")))
    secret.save(file, Secrets((OTHER,)))

    assert secret.load(file) == Secrets((OTHER,), Wifi("other", ""))
    assert file.read_text().startswith("# mine\n")


def test_a_file_that_can_not_be_read_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / secret.FILE
    file.write_text(f"[cluster\nkeys = {KEY}")

    with pytest.raises(SecretsError, match="not valid TOML") as error:
        secret.save(file, Secrets((OTHER,)))

    assert KEY in file.read_text() and KEY[:8] not in str(error.value)


def test_why_nothing_can_be_saved_is_told_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / secret.FILE

    with pytest.raises(SecretsError, match=f"^{file} can't be written: No such file or directory$"):
        secret.save(file, Secrets((KEY,)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[wifi]", "[wlan]", "wlan is not known here"),
        ('ssid = "home"', "", "ssid is missing: give a text"),
        ('"home"', f'"{"x" * 33}"', "ssid must have 1 to 32 bytes"),
        ('"12345678"', '"1234567"', "password must have 8 to 63 characters, or none"),
        ('"12345678"', "12345678", "password must be a text"),
        ('password = "12345678"', "key = 1", "key is not known here"),
        (f', "{OTHER}"', f', "{OTHER}", "{"77" * 32}"', "keys must be a list of 1 to 2"),
        (f'["{KEY}", "{OTHER}"]', "[]", "keys must be a list of 1 to 2"),
        (f'["{KEY}", "{OTHER}"]', f'"{KEY}"', "keys must be a list of 1 to 2"),
        (OTHER, KEY, "must be 64 digits .* and differ"),
        (OTHER, OTHER[1:], "must be 64 digits of 0 to 9 and a to f"),
        (f'"{OTHER}"', "12", "must be 64 digits of 0 to 9 and a to f"),
        (OTHER, OTHER.upper(), "must be 64 digits of 0 to 9 and a to f"),
        ('role = "read"', 'role = "king"', "role is king, and must be one of read, write, admin"),
        ("number = 8", "number = 65536", "must be a number from 0 to 65535"),
        ("1e1e", "1e", r"\[credential\]: key must be 64 digits"),
    ],
)
def test_errors_name_the_remedy_and_never_the_secret(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = tmp_path / secret.FILE
    secret.save(file, ALL)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))

    with pytest.raises(SecretsError, match=message) as error:
        secret.load(file)

    for told in ("1234567", KEY[:8], OTHER[:8], OTHER[:8].upper(), "1e1e1e"):
        assert told not in str(error.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / secret.FILE
    secret.save(file, Secrets(wifi=Wifi("home", "")))
    os.chmod(file, 0o640)

    with pytest.raises(SecretsError, match=f"chmod 600 {file}"):
        secret.load(file)


def test_without_the_file_it_is_told_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match=r"raftctl init.*raftctl key new"):
        secret.load(tmp_path / secret.FILE)


def test_what_is_needed_and_missing_is_told_with_its_remedy(tmp_path: Path) -> None:
    file = tmp_path / secret.FILE
    secret.save(file, Secrets(wifi=ALL.wifi))
    with pytest.raises(SecretsError, match="no key of the cluster: make one by `raftctl key new`"):
        secret.load(file, CLUSTER, WIFI)

    file.unlink()
    secret.save(file, Secrets((KEY,)))
    with pytest.raises(SecretsError, match=r"wifi is missing: add a section \[wifi\]"):
        secret.load(file, CLUSTER, WIFI)

    file.unlink()
    secret.save(file, Secrets(credential=ALL.credential))
    with pytest.raises(SecretsError, match="a client's credential, and this needs the cluster's"):
        secret.load(file, CLUSTER)
