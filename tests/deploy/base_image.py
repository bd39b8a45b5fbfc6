"""Writes a stand-in for an image such as python:3.12-slim to standard output, as a tar for `docker import`.

Where no image registry can be reached, the product's Containerfile still has to be built for real. This cuts the base
out of the host: Debian's essential packages as dpkg has them installed, this interpreter under /usr/local, the shared
libraries of both, pip, and the host's settings for reaching a package index. Run it with the interpreter that is meant.

usage: PYTHON base_image.py | docker import - python:3.12-slim
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("passwd", "ca-certificates", "netbase")
"""Beside the essential ones: python:slim has them, and the Containerfile uses the first."""
LEFT_OUT = re.compile(r"/usr/share/(man|doc|locale|info|lintian|bug|i18n|zoneinfo)/|/usr/lib/.*/gconv/|/var/lib/dpkg/")
NOT_OF_PYTHON = {"__pycache__", "test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "tkinter"}
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "default-timeout")
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# -- Debian -----------------------------------------------------------------------------------------


def debian_packages() -> set[str]:
    """Names of the essential packages, of PACKAGES, and of everything they depend on."""
    fields = "${Package}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\t${db:Status-Status}\n"
    depends: dict[str, list[list[str]]] = {}
    providers: dict[str, str] = {}
    wanted = list(PACKAGES)
    for line in run("dpkg-query", "-W", "-f", fields).splitlines():
        package, essential, needs, provides, status = line.split("\t")
        if status == "installed":
            depends[package] = [_names(group.split("|")) for group in needs.split(",")]
            providers.update(dict.fromkeys(_names(provides.split(",")), package))
            wanted += [package] if essential == "yes" else []
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        package = name if name in depends else providers.get(name, "")
        if package and package not in found:
            found.add(package)
            for alternatives in depends[package]:
                wanted += [other for other in alternatives if other in depends or other in providers][:1]
    return found


def _names(texts: list[str]) -> list[str]:
    """Package names without versions and architectures."""
    return [match.group() for text in texts if (match := re.match(r"[a-z0-9][a-z0-9+.-]*", text.strip()))]


def debian_files(packages: set[str]) -> set[str]:
    """Absolute paths, as they really lie on the disk."""
    listed = run("dpkg-query", "--listfiles", *sorted(packages)).splitlines()
    files = {canonical(path) for path in listed if path.startswith("/") and path != "/."}
    files |= {link for link in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32") if os.path.islink(link)}
    for link in Path("/etc/alternatives").iterdir():  # such as awk, which dpkg lists nowhere
        state = Path("/var/lib/dpkg/alternatives", link.name)
        if state.exists() and canonical(os.readlink(link)) in files:
            files |= {str(link), canonical(state.read_text().splitlines()[1])}
    return {path for path in files if not LEFT_OUT.search(path)}


def canonical(path: str) -> str:
    """The path with the links among its folders followed: /bin/sh is /usr/bin/sh, itself a link."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


# -- Python -----------------------------------------------------------------------------------------


def python_files() -> Iterator[tuple[str, str]]:
    """Pairs of a path here and its path in the image, for the interpreter and its standard library."""
    library = sysconfig.get_path("stdlib")
    for folder, folders, files in os.walk(library):
        folders[:] = [name for name in folders if name not in NOT_OF_PYTHON and not name.startswith("config-")]
        for name in files:
            if not name.endswith(".a") and name != "EXTERNALLY-MANAGED":
                path = os.path.join(folder, name)
                yield path, f"/usr/local/lib/{VERSION}/{os.path.relpath(path, library)}"
    yield os.path.realpath(os.path.join(sys.base_prefix, "bin", VERSION)), f"/usr/local/bin/{VERSION}"


def shared_libraries(paths: list[str]) -> Iterator[tuple[str, str]]:
    """What the loader finds for these programs and extension modules.

    The interpreter's own go where the loader looks without a cache, as there is no ldconfig in the making of a tar.
    """
    # ldd fails for a module that is no dynamic object, and still tells about the others.
    told = subprocess.run(["ldd", *paths], check=False, capture_output=True, text=True).stdout
    for path in set(re.findall(r"=> (/\S+) \(", told)):
        if path.startswith(sys.base_prefix) and sys.base_prefix != "/usr":
            yield path, f"/usr/lib/{os.path.basename(path)}"
        else:
            here = canonical(path)
            yield here, here
            while os.path.islink(here):
                here = canonical(os.path.join(os.path.dirname(here), os.readlink(here)))
                yield here, here


def bundled_pip() -> zipfile.ZipFile:
    """The wheel that `python -m ensurepip` would install."""
    bundled = Path(sysconfig.get_path("stdlib"), "ensurepip", "_bundled")
    for folder in (bundled, Path("/usr/share/python-wheels")):  # the second is Debian's
        for wheel in sorted(folder.glob("pip-*.whl")):
            return zipfile.ZipFile(wheel)
    sys.exit("this Python brings no pip (Debian: apt-get install python3-venv)")


def pip_settings() -> str:
    """A pip.conf with what pip on this host knows of package indexes elsewhere."""
    lines = ["[global]", f"cert = {CA_BUNDLE}"]
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True
    ).stdout
    settings = dict(re.findall(r"^(?:global|:env:)\.([a-z-]+)='(.*)'$", told, re.MULTILINE))  # the environment is last
    for name in PIP_SETTINGS:
        values = [value for value in settings.get(name, "").split() if not value.startswith("file:")]
        lines += [f"{name} = {' '.join(values)}"] if values else []
    return "\n".join(lines) + "\n"


# -- the tar ----------------------------------------------------------------------------------------


class Image:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._there: set[str] = set()

    def add(self, source: str, target: str) -> None:
        """One file, folder or link, unless the image has something at that place."""
        if target not in self._there and os.path.lexists(source):
            self._there.add(target)
            self._tar.add(source, target.lstrip("/"), recursive=False)

    def put(self, target: str, content: bytes = b"", *, mode: int = 0o644, type: bytes = tarfile.REGTYPE) -> None:
        """Something that the host does not have like this. For a link, `content` is where it points."""
        self._there.add(target)
        entry = tarfile.TarInfo(target.lstrip("/"))
        entry.mode, entry.type = mode, type
        if type == tarfile.SYMTYPE:
            entry.linkname = content.decode()
        else:
            entry.size = len(content)
        self._tar.addfile(entry, io.BytesIO(content))


def write(image: Image) -> None:
    for folder, mode in (("/tmp", 0o1777), ("/var/tmp", 0o1777), ("/root", 0o700), ("/proc", 0o555), ("/sys", 0o555)):
        image.put(folder, mode=mode, type=tarfile.DIRTYPE)
    users = Path("/usr/share/base-passwd/passwd.master").read_bytes().replace(b":*:", b":x:")
    image.put("/etc/passwd", users)
    image.put("/etc/group", Path("/usr/share/base-passwd/group.master").read_bytes().replace(b":*:", b":x:"))
    locked = [line.partition(b":")[0] + b":*:19000:0:99999:7:::\n" for line in users.splitlines()]
    image.put("/etc/shadow", b"".join(locked), mode=0o640)
    image.put("/etc/gshadow", mode=0o640)
    image.put("/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
    image.put("/etc/pip.conf", pip_settings().encode())
    image.put("/etc/hosts")
    image.put("/etc/resolv.conf")

    for path in sorted(debian_files(debian_packages())):
        image.add(path, path)
    image.add(os.path.realpath(os.environ.get("SSL_CERT_FILE", CA_BUNDLE)), CA_BUNDLE)

    python = list(python_files())
    programs = [path for path, _ in python if path.endswith((".so", f"/{VERSION}"))]
    for source, target in [*python, *sorted(set(shared_libraries(programs)))]:
        image.add(source, target)
    for name in ("python", "python3"):
        image.put(f"/usr/local/bin/{name}", VERSION.encode(), mode=0o777, type=tarfile.SYMTYPE)
    with bundled_pip() as wheel:
        for member in wheel.infolist():
            # Beside the standard library: Debian's Python and others do not agree where else.
            image.put(f"/usr/local/lib/{VERSION}/{member.filename}", wheel.read(member))


if __name__ == "__main__":
    if sys.stdout.isatty():
        sys.exit(__doc__)
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", bufsize=1 << 20) as tar:
        write(Image(tar))
