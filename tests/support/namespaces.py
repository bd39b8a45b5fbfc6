"""Hosts, cables and switches for tests: network namespaces that nothing outside of them can see or be seen from.

A namespace here has no name: it lives as long as this process holds it open or something runs in it. So nothing is
left behind however a test ends, and two test runs do not meet. Hosts begin with loopback alone and without IPv6
addresses being probed first, which would take a second per host.

The switch carries frames in this process, because `tc netem` is not in every kernel, and because chance with a seed
does the same in every run.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import heapq
import os
import random
import selectors
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import attrs
import pytest

T = TypeVar("T")

PROGRAMS = ("ip", "tc", "ss", "nsenter", "setpriv")
_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_TUN = "/dev/net/tun"
_TUNSETIFF, _TUNSETCARRIER = 0x400454CA, 0x400454E2  # <linux/if_tun.h>
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME = 65536
_MAC, _ETHERTYPE = slice(0, 6), slice(12, 14)
_BROADCAST = b"\xff" * 6
_IPV4 = b"\x08\x00"


class Host:
    """One machine's network."""

    def __init__(self, name: str) -> None:
        """Raises OSError where namespaces cannot be made."""
        self.name = name
        self._namespace = _in_thread(_new_namespace)
        self.path = f"/proc/{os.getpid()}/fd/{self._namespace}"
        """Where programs find the namespace while this process has it."""

    def close(self) -> None:
        os.close(self._namespace)

    def inside(self, work: Callable[[], T]) -> T:
        """What `work` returns in this network. The sockets it makes and the processes it starts stay there."""

        def enter() -> T:
            _check(ctypes.CDLL(None, use_errno=True).setns(self._namespace, _CLONE_NEWNET))
            return work()

        return _in_thread(enter)

    def command(self, *command: str | Path) -> list[str]:
        """The command line of a process in this network, which dies with the thread that starts it."""
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self.path}", "--", *map(str, command)]

    def run(self, *command: str | Path) -> str:
        """The output of a command in this network. Fails the test when the command fails."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{self.name}: {command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def ip(self, *commands: str) -> None:
        """Run commands of ip(8)."""
        done = subprocess.run(
            self.command("ip", "-batch", "-"), input="\n".join(commands), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{self.name}: {commands}:\n{done.stderr}"

    def up(self, device: str, *addresses: str) -> None:
        """Bring an interface up. Without an IPv4 address it has none; IPv6 always gives it a link-local one."""
        self.ip(*(f"address add {each} broadcast + dev {device}" for each in addresses), f"link set {device} up")


def _new_namespace() -> int:
    _check(ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET))
    for setting in ("accept_dad", "dad_transmits"):
        for which in ("all", "default"):
            with suppress(FileNotFoundError):  # a kernel without IPv6
                Path(f"/proc/sys/net/ipv6/conf/{which}/{setting}").write_text("0")
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return namespace


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _in_thread(work: Callable[[], T]) -> T:
    """A thread has a namespace of its own, and takes it along when it ends."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(work).result()


@functools.cache
def missing() -> str:
    """What keeps this machine from having network namespaces for tests, "" if nothing does."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if absent := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"needs {', '.join(absent)}: apt-get install iproute2 util-linux"
    if not Path(_TUN).exists():
        return f"needs {_TUN}"
    try:
        Host("probe").close()
    except OSError as error:
        return f"needs network namespaces: {error.strerror}"
    return ""


needs_namespaces = [
    pytest.mark.root,
    pytest.mark.skipif(bool(missing()), reason=missing() or "nothing is missing"),
]
"""For `pytestmark` of a module of tests that use this."""


def cable(one: Host, device: str, other: Host, other_device: str) -> None:
    """Connect two hosts directly."""
    one.ip(f"link add {device} type veth peer name {other_device} netns {other.path}")


def limit_rate(host: Host, device: str, rate: str) -> None:
    """Let a host send so much per second and not more, with 5 ms of it in a queue, as a small switch has."""
    host.run("tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", rate, "burst", "16kb", "latency", "5ms")


# -- the switch --------------------------------------------------------------------------------------


@attrs.frozen
class Condition:
    """What becomes of a frame on its way: seconds, and chances from 0 to 1."""

    delay: float = 0.0
    jitter: float = 0.0
    """Seconds at most that chance adds to the delay: frames overtake each other."""
    loss: float = 0.0
    duplication: float = 0.0
    carries: Callable[[bytes], bool] = lambda frame: True
    """Whether a frame is let through at all."""


def no_multicast(frame: bytes) -> bool:
    """A network that carries broadcasts but not multicasts, neither of IPv4 nor of IPv6."""
    return not frame[0] & 1 or frame[_MAC] == _BROADCAST


def no_broadcast(frame: bytes) -> bool:
    """A network that carries no broadcasts of IPv4 but those of ARP, without which there is no IPv4 at all."""
    return frame[_MAC] != _BROADCAST or frame[_ETHERTYPE] != _IPV4


@attrs.define(eq=False)
class Switch:
    """One segment. It carries everything at once until it is told otherwise; may be changed while it runs."""

    seed: int = 1
    condition: Condition = Condition()
    frames: int = 0
    dropped: int = 0
    _ports: dict[int, str] = attrs.field(factory=dict)
    _islands: tuple[frozenset[str], ...] = ()
    _pulled: set[str] = attrs.field(factory=set)
    _selector: selectors.BaseSelector = attrs.field(factory=selectors.DefaultSelector)
    _waiting: list[tuple[float, int, int, bytes]] = attrs.field(factory=list)
    _learned: dict[bytes, int] = attrs.field(factory=dict)
    _stop: tuple[int, int] = attrs.field(factory=os.pipe)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._selector.register(self._stop[0], selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._carry, name="switch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.write(self._stop[1], b".")
        if self._thread is not None:
            self._thread.join(10)
        self._selector.close()
        for descriptor in (*self._ports, *self._stop):
            os.close(descriptor)

    def plug(self, host: Host, device: str = "eth0") -> None:
        """Give a host an interface whose cable ends here. A host has one at most."""

        def open_tap() -> int:
            tap = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH14x", device.encode(), _IFF_TAP | _IFF_NO_PI))
            return tap

        tap = host.inside(open_tap)
        self._ports[tap] = host.name
        self._selector.register(tap, selectors.EVENT_READ)

    def pull(self, host: Host) -> None:
        """Pull a host's cable out: its interface loses the carrier."""
        self._set_carrier(host, 0)

    def put_back(self, host: Host) -> None:
        """Put it in again."""
        self._set_carrier(host, 1)

    def part(self, *islands: Iterable[Host]) -> None:
        """Carry nothing between these groups; no host can see that from its interface. Without any: all is well."""
        self._islands = tuple(frozenset(host.name for host in island) for island in islands)

    def _set_carrier(self, host: Host, value: int) -> None:
        for tap, name in self._ports.items():
            if name == host.name:
                fcntl.ioctl(tap, _TUNSETCARRIER, struct.pack("i", value))

    def _carry(self) -> None:
        chance, waiting = random.Random(self.seed), self._waiting
        while True:
            pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            for key, _ in self._selector.select(pause):
                if key.fd == self._stop[0]:
                    return
                with suppress(OSError):  # the interface is down
                    self._take(key.fd, os.read(key.fd, _FRAME), chance)
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, tap, frame = heapq.heappop(waiting)
                with suppress(OSError):
                    os.write(tap, frame)

    def _take(self, source: int, frame: bytes, chance: random.Random) -> None:
        self._learned[frame[6:12]] = source
        known = self._learned.get(frame[_MAC])
        condition, now = self.condition, time.monotonic()
        for tap in self._others(source) if known is None else [known]:
            lost = not condition.carries(frame) or chance.random() < condition.loss
            if lost or not self._joined(self._ports[source], self._ports[tap]):
                self.dropped += 1
                continue
            for _ in range(1 + (chance.random() < condition.duplication)):
                self.frames += 1
                at = now + condition.delay + chance.uniform(0, condition.jitter)
                heapq.heappush(self._waiting, (at, self.frames, tap, frame))

    def _others(self, source: int) -> Sequence[int]:
        return [tap for tap in self._ports if tap != source]

    def _joined(self, one: str, other: str) -> bool:
        return not self._islands or any(one in island and other in island for island in self._islands)


class Place(ExitStack):
    """Makes hosts and switches, and takes them away at the end."""

    def host(self, name: str) -> Host:
        host = Host(name)
        self.callback(host.close)
        return host

    def switch(self, seed: int = 1) -> Switch:
        return self.enter_context(Switch(seed))

    def segment(self, *hosts: Host, net: str = "10.77.0", seed: int = 1) -> Switch:
        """Hosts on one switch, with addresses that end in 1, 2, ... and nothing else: no default route."""
        switch = self.switch(seed)
        for number, host in enumerate(hosts, 1):
            switch.plug(host)
            host.up("eth0", f"{net}.{number}/24")
        return switch
