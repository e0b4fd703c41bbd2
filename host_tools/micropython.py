"""Finds real MicroPython interpreters, or puts them into the project's own `.tools/`.

    python -m host_tools.micropython

A `micropython` on PATH serves as the native one if it is new enough. On Debian and Ubuntu
the packages of Debian 13 are unpacked into `.tools/` and run through their own loader: nothing
is installed into the system, and root is not needed. i386 is wanted beside amd64 because its
words, its objects and its tick counter have the size they have on an ESP32.
"""

import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / ".tools"
MINIMUM = (1, 22)
PREFIX = "micropython-"
PROBE_TIMEOUT_S = 30
PROBE = (
    "import sys\n"
    "print('.'.join(str(n) for n in sys.implementation.version[:3]))\n"
    "print(64 if sys.maxsize > 1 << 32 else 32)\n"
)

# What Debian calls the machines for which it packages MicroPython.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "i686": "i386"}
ARCHIVE = "http://deb.debian.org/debian"
SUITES = ("trixie", "stable")  # two names of one release: of a mirror in mid-sync one may be whole
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_TIMEOUT_S = 300

# Read after the machine's own configuration, so that its proxies and passwords stay in force.
APT_CONFIG = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
#clear APT::Update;
APT::Update::Error-Mode "any";
Acquire::GzipIndexes "false";
Acquire::Languages "none";
Dir::State "{folder}";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Cache::pkgcache "packages.bin";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"""

WRAPPER = """\
#!/bin/sh
root="${{0%/*}}/{root}"
exec "$root/{loader}" --library-path "$root/{libraries}" "$root/usr/bin/micropython" "$@"
"""


class Unavailable(Exception):
    """An interpreter can't be had or doesn't run here; says why and what to do."""


@dataclass(frozen=True)
class Interpreter:
    """A MicroPython that runs on this machine.

    name: `micropython-` and the architecture as Debian calls it
    argv: the command, to be followed by the interpreter's own arguments
    version: such as `1.25.0`
    bits: of a machine word, 32 or 64
    """

    name: str
    argv: list[str]
    version: str
    bits: int

    def __str__(self) -> str:
        return f"MicroPython {self.version} {self.name.removeprefix(PREFIX)}"


def interpreters() -> list[Interpreter]:
    """The interpreters in `.tools/` and on PATH that run; installs nothing."""
    return survey()[0]


def survey() -> tuple[list[Interpreter], dict[str, str]]:
    """The interpreters that run, and for each other one this machine should have: why not."""
    found, missing = [], {}
    for name in expected():
        try:
            found.append(find(name))
        except Unavailable as error:
            missing[name] = str(error)
    return found, missing


def install() -> tuple[list[Interpreter], dict[str, str]]:
    """Gets what is missing, as far as that is possible here; returns `survey()` thereafter,
    with the reason why something could not be got."""
    wanted = [name for name in survey()[1] if not (TOOLS / name).exists()]
    failures = {}
    if wanted:
        print(f"Getting {' and '.join(wanted)} into {TOOLS.name}/ ...", flush=True)
        TOOLS.mkdir(exist_ok=True)
        with ThreadPoolExecutor() as pool:
            attempts = {name: pool.submit(unpack, name) for name in wanted}
        for name, attempt in attempts.items():
            error = attempt.exception()
            if isinstance(error, Unavailable):
                failures[name] = str(error)
            elif error:
                raise error
    found, missing = survey()
    return found, missing | failures


def expected() -> list[str]:
    """Names of the interpreters this machine should have: the native one, i386 beside amd64."""
    native = native_architecture()
    both = native == "amd64" and sys.platform == "linux"
    return [PREFIX + a for a in (("i386", native) if both else (native,))]


def native_architecture() -> str:
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def find(name: str) -> Interpreter:
    """The interpreter of this name. Raises Unavailable if there is none, or none that runs."""
    if (TOOLS / name).exists():
        return probe(name, TOOLS / name)
    on_path = shutil.which("micropython")
    if not on_path:
        raise Unavailable("not installed")
    interpreter = probe(PREFIX + native_architecture(), Path(on_path))
    is_i386 = interpreter.bits == 32 and native_architecture() == "amd64"
    if is_i386 != (name == PREFIX + "i386"):
        raise Unavailable(f"not installed, and {on_path} has {interpreter.bits} bits")
    return Interpreter(name, interpreter.argv, interpreter.version, interpreter.bits)


def probe(name: str, command: Path) -> Interpreter:
    """Runs the command to see what it is. Raises Unavailable if it fails or is too old."""
    try:
        version, bits = run([str(command), "-c", PROBE], PROBE_TIMEOUT_S).split()
    except (Unavailable, ValueError) as error:
        raise Unavailable(f"{command} does not run here: {error}") from error
    if tuple(int(n) for n in version.split(".")[:2]) < MINIMUM:
        minimum = ".".join(str(n) for n in MINIMUM)
        raise Unavailable(f"{command} is version {version}; {minimum} or newer is needed")
    return Interpreter(name, [str(command)], version, int(bits))


def unpack(name: str) -> None:
    """Puts Debian's MicroPython for one architecture into `.tools/`.

    Raises Unavailable if this machine has not Debian's tools, or Debian's packages can't be had.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable(how_to_install(name))
    if not KEYRING.exists():
        raise Unavailable(
            f"{KEYRING} is needed to check Debian's signatures: "
            "sudo apt install debian-archive-keyring"
        )
    with tempfile.TemporaryDirectory(prefix="unpack-", dir=TOOLS) as temporary:
        folder = Path(temporary)
        root = folder / "root"
        for package in download(name.removeprefix(PREFIX), folder):
            run(["dpkg-deb", "--extract", str(package), str(root)], APT_TIMEOUT_S)
        loader = next(root.glob("usr/lib/*/ld-linux*.so.*")).relative_to(root)
        target = TOOLS / f"root-{name}"
        shutil.rmtree(target, ignore_errors=True)
        root.rename(target)
        wrapper = folder / name
        wrapper.write_text(WRAPPER.format(root=target.name, loader=loader, libraries=loader.parent))
        wrapper.chmod(0o755)
        wrapper.rename(TOOLS / name)


def how_to_install(name: str) -> str:
    if name == PREFIX + "i386":
        return (
            "build MicroPython's unix port with MICROPY_FORCE_32BIT=1 and put it, "
            f"or a link to it, at {TOOLS / name}"
        )
    if sys.platform == "darwin":
        return "brew install micropython"
    return "install MicroPython 1.22 or newer, or build its unix port, so that it is on PATH"


def download(architecture: str, folder: Path) -> list[Path]:
    """Fetches MicroPython and all it depends on as .deb files into the folder, signatures checked.

    apt-get works on lists and a package state of its own there, and thus without root. Raises
    Unavailable with apt's messages if no mirror has the packages.
    """
    config = folder / "apt.conf"
    config.write_text(APT_CONFIG.format(architecture=architecture, folder=folder))
    (folder / "status").touch()
    apt_get = ["apt-get", f"--config-file={config}", "--quiet"]
    options = ["--yes", "--no-install-recommends", "--download-only"]
    complaints = []
    for mirror in mirrors():
        for suite in SUITES:
            source = f"deb [signed-by={KEYRING} target=Packages] {mirror} {suite} main\n"
            (folder / "sources.list").write_text(source)
            try:
                run([*apt_get, "update"], APT_TIMEOUT_S)
                run([*apt_get, "install", *options, "micropython"], APT_TIMEOUT_S)
                return sorted((folder / "archives").glob("*.deb"))
            except Unavailable as error:
                complaints.append(f"{mirror} {suite}: {error}")
    raise Unavailable("no mirror has Debian 13's packages:\n  " + "\n  ".join(complaints))


def mirrors() -> list[str]:
    """Base addresses of Debian's archive, the machine's own configured mirrors first."""
    system = platform.freedesktop_os_release()
    own = []
    if system["ID"] == "debian":
        suites = {system.get("VERSION_CODENAME"), "stable", "testing", "unstable", "sid"}
        files = run(["apt-get", "update", "--print-uris"], APT_TIMEOUT_S)
        releases = re.findall(r"^'(\S+)/dists/([^/]+)/InRelease'", files, re.MULTILINE)
        own = [base for base, suite in releases if suite in suites]
    return list(dict.fromkeys([*own, ARCHIVE]))


def run(command: list[str], timeout_s: float) -> str:
    """The output of a command. Raises Unavailable with its last words if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=timeout_s
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    if done.returncode:
        errors = re.findall(r"^E: (.+)", done.stderr, re.MULTILINE) or done.stderr.splitlines()[-1:]
        status = f"{command[0]} failed with status {done.returncode}"
        raise Unavailable(errors[0] if errors else status)
    return done.stdout


def main() -> int:
    """Installs and says what is there. Exit status 1 if no interpreter at all can be used."""
    found, missing = install()
    for interpreter in found:
        print(f"{interpreter}, {interpreter.bits} bits: {' '.join(interpreter.argv)}")
    for name, reason in missing.items():
        print(f"{name} is missing: {reason}", file=sys.stderr)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
