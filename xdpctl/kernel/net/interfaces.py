"""Network interfaces: which exist, what is attached to them, how they change.

pyroute2 encodes and decodes the messages (codecs.py). Its sockets are not used: each call starts
its own event loop, and none survives an overrun. rtnetlink.py carries the messages instead.
Everything blocks for less than a millisecond, except `watch`, which runs on the loop. Used by
service/, filter/, status/checks/, maps/xsk_destinations.py and the verbs. Owns `Netlink` and the
values that it returns. Does not own sockets and framing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from xdpctl.errors import InterfaceError, KernelError
from xdpctl.kernel.bpf.libbpf import XDP_FLAGS_DRV_MODE, XDP_FLAGS_REPLACE, XDP_FLAGS_SKB_MODE
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.kernel.failure import kernel_error
from xdpctl.kernel.net import netdev, rtnetlink, sockets
from xdpctl.kernel.net.codecs import ifaddrmsg, ifinfmsg
from xdpctl.kernel.net.ethtool import Channels, Ethtool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from xdpctl.kernel.bpf.programs import Program

__all__ = ["Attached", "Channels", "Interface", "LinkChange", "Netlink", "XdpMode"]

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK, _RTM_GETADDR = 16, 17, 18, 19, 22
_RTEXT_FILTER_SKIP_STATS = 1 << 3
_IFF_UP = 1
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772
_NAMES_SHOWN = 12
_LONGEST_NAME = 15

_XDP_FLAGS_UPDATE_IF_NOEXIST = 1 << 0
_MODE_FLAGS = {
    XdpMode.NATIVE: XDP_FLAGS_DRV_MODE,
    XdpMode.GENERIC: XDP_FLAGS_SKB_MODE,
    XdpMode.OFFLOAD: 1 << 3,
}
_PROGRAM_ATTRIBUTES = {
    XdpMode.NATIVE: "IFLA_XDP_DRV_PROG_ID",
    XdpMode.GENERIC: "IFLA_XDP_SKB_PROG_ID",
    XdpMode.OFFLOAD: "IFLA_XDP_HW_PROG_ID",
}


@dataclass(frozen=True, slots=True)
class Attached:
    """The XDP program on an interface: the native one if there is one, else the generic one."""

    program_id: int
    mode: XdpMode


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface.

    `kind` is the kernel's (veth, bond, vlan, …; None for hardware and loopback),
    `driver` is ethtool's. `rx_queues` counts the queues in use if the driver reports them,
    else all that exist. `master` is the index of its bond or bridge. `link_type` is the
    kernel's ARPHRD number, which tells what header a frame begins with.
    """

    name: str
    index: int
    mtu: int
    up: bool
    kind: str | None
    driver: str | None
    rx_queues: int
    attached: Attached | None
    master: int | None
    link_type: int = _ARPHRD_ETHER

    @property
    def has_ethernet_header(self) -> bool:
        """Whether its frames begin with an Ethernet header, as those of loopback do."""
        return self.link_type in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK)


@dataclass(frozen=True, slots=True)
class LinkChange:
    """A change of one interface. With `resync`, changes may have been lost: look again.

    `gone`: deleted, or moved to another namespace. `previous_name`: the name before a
    rename. Without `gone` the other fields show the present state.
    """

    name: str
    index: int
    gone: bool = False
    up: bool = False
    attached: Attached | None = None
    previous_name: str | None = None
    resync: bool = False


class Netlink:
    """Interfaces of the calling thread's network namespace. Holds no descriptor."""

    def find(self, name: str) -> Interface:
        """Return the interface of this name, or of this alternative name.

        Raises:
            InterfaceError: it does not exist; the text lists those that do.
        """
        if not 0 < len(os.fsencode(name)) <= _LONGEST_NAME:
            raise self._unknown(name)
        try:
            answer = _query_links([("IFLA_IFNAME", name)], flags=0)
        except KernelError as error:
            if error.errno == errno.ENODEV:
                raise self._unknown(name) from error
            raise
        return _interface(answer[0])

    def interfaces(self) -> list[Interface]:
        """Return all interfaces."""
        return [_interface(message) for message in _query_links([], rtnetlink.NLM_F_DUMP)]

    def index_of(self, name: str) -> int | None:
        """Return the index of an interface, None if it does not exist. Takes microseconds."""
        try:
            return socket.if_nametoindex(name)
        except OSError:
            return None

    def name_of(self, index: int) -> str | None:
        """Return the present name of an interface, None if it does not exist."""
        try:
            return socket.if_indextoname(index)
        except OSError:
            return None

    def features(self, name: str) -> frozenset[str]:
        """Return the names of the offloads that are on, as `ethtool -k` shows them."""
        return Ethtool(name).features()

    def native_xdp(self, index: int) -> bool | None:
        """Tell whether the driver runs XDP programs; None before Linux 6.3, which cannot tell."""
        return netdev.native_xdp(index)

    def vlan_offload(self, name: str) -> bool | None:
        """Tell whether VLAN tags are removed before XDP sees a frame; None if not known."""
        features = self.features(name)
        return "rx-vlan-hw-parse" in features if features else None

    def channels(self, name: str) -> Channels | None:
        """Return the numbers of queues, None if the driver does not report them."""
        return Ethtool(name).channels()

    def local_addresses(self) -> list[IPv4Address | IPv6Address]:
        """Return every address of this host."""
        return [
            ip_address(text)
            for message in _query(ifaddrmsg, _RTM_GETADDR, rtnetlink.NLM_F_DUMP)
            if (text := message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"))
        ]

    def listening_tcp(self, port: int) -> bool:
        """Tell whether anything listens on this TCP port, on any address."""
        return sockets.listening_tcp(port)

    def bound_udp(self, address: IPv4Address | IPv6Address, port: int) -> bool:
        """Tell whether a UDP socket is bound to exactly this address and port."""
        return sockets.bound_udp(address, port)

    def attach_program(self, ifindex: int, mode: XdpMode, program: Program) -> None:
        """Attach a program without a link, the old way, if no program is attached.

        Raises:
            KernelError: EBUSY or EEXIST when one is attached, EOPNOTSUPP, …; its hint is
                the driver's own reason, if the driver gives one.
        """
        flags = _MODE_FLAGS[mode] | _XDP_FLAGS_UPDATE_IF_NOEXIST
        try:
            _set_program(ifindex, fd=program.fd, flags=flags)
        except rtnetlink.RefusedError as refused:
            tried = f"cannot attach {program.label} to interface {ifindex} in {mode} mode"
            raise _error(tried, refused) from refused

    def detach_program(self, ifindex: int, mode: XdpMode, expected: Program) -> None:
        """Detach a program that was attached without a link, if it is `expected`.

        Raises:
            KernelError: EEXIST when another is attached, EBUSY when a link holds it,
                ENODEV when the interface is gone.
        """
        flags = _MODE_FLAGS[mode] | XDP_FLAGS_REPLACE
        try:
            _set_program(ifindex, fd=-1, flags=flags, expected=expected.fd)
        except rtnetlink.RefusedError as refused:
            tried = f"cannot remove {expected.label} from interface {ifindex}"
            raise _error(tried, refused) from refused

    def refusal(self, ifindex: int, mode: XdpMode, program: Program) -> str:
        """Return the driver's reason for refusing a program; may be empty.

        bpf(2) does not report the reason when a link is refused, but netlink does. So this
        tries the same attachment through netlink, and undoes it at once if it succeeds.
        """
        flags = _MODE_FLAGS[mode] | _XDP_FLAGS_UPDATE_IF_NOEXIST
        try:
            _set_program(ifindex, fd=program.fd, flags=flags)
        except rtnetlink.RefusedError as refused:
            return refused.reason
        self.detach_program(ifindex, mode, program)
        return ""

    async def watch(self) -> AsyncIterator[LinkChange]:
        """Yield changes of interfaces as they happen, until the iterator is closed.

        The first item is a `resync`: nothing is missed from then on, so look at the
        interfaces once after it. An overrun of the socket's buffer yields another `resync`.
        The kernel reports no change when a link attaches or detaches a program: ask the
        link for that.

        Raises:
            KernelError: the socket cannot be opened, or failed.
        """
        loop = asyncio.get_running_loop()
        try:
            channel = rtnetlink.open_socket(rtnetlink.GROUP_LINK)
        except rtnetlink.RefusedError as refused:
            raise _error("cannot watch network interfaces", refused) from refused
        with channel:
            channel.setblocking(False)  # noqa: FBT003 - the standard library's signature
            while True:
                names = await asyncio.to_thread(_names)
                yield LinkChange("", 0, resync=True)
                try:
                    while True:
                        data = await loop.sock_recv(channel, rtnetlink.BUFFER)
                        for change in _changes(data, names):
                            yield change
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        number = error.errno or errno.EIO
                        raise KernelError("cannot watch network interfaces", number) from error
                    rtnetlink.drain(channel)

    def _unknown(self, name: str) -> InterfaceError:
        """Return the error for an interface that does not exist."""
        from difflib import get_close_matches  # noqa: PLC0415 - only to help with a typing error

        names = sorted(interface.name for interface in self.interfaces())
        close = get_close_matches(name, names, 1)
        guess = f"did you mean {close[0]}? " if close else ""
        more = ", …" if len(names) > _NAMES_SHOWN else ""
        return InterfaceError(
            f"cannot use interface {name}: it does not exist; {guess}there are"
            f" {', '.join(names[:_NAMES_SHOWN])}{more} (with --wait the service starts without it)",
            interface=name,
        )


def _query_links(attributes: list[tuple[str, object]], flags: int) -> list[Any]:
    """Return decoded links.

    Raises:
        KernelError: as the kernel says.
    """
    skip = ("IFLA_EXT_MASK", _RTEXT_FILTER_SKIP_STATS)
    return _query(ifinfmsg, _RTM_GETLINK, flags, attrs=[*attributes, skip])


def _query(message: type[Any], kind: int, flags: int, **fields: object) -> list[Any]:
    """Return the decoded answer to a question.

    Raises:
        KernelError: as the kernel says.
    """
    try:
        answer = rtnetlink.converse(_encoded(message, kind, flags, **fields))
    except rtnetlink.RefusedError as refused:
        raise _error("cannot ask the kernel for network interfaces", refused) from refused
    return [_decoded(message, data) for _, data in answer]


def _names() -> dict[int, str]:
    """Return the names of all interfaces by index."""
    links = _query_links([], rtnetlink.NLM_F_DUMP)
    return {message["index"]: message.get_attr("IFLA_IFNAME") for message in links}


def _set_program(ifindex: int, *, fd: int, flags: int, expected: int | None = None) -> None:
    """Attach a program to an interface, or detach it (fd -1), through RTM_SETLINK.

    Raises:
        RefusedError: the kernel or the driver refused.
    """
    attributes = [("IFLA_XDP_FD", fd), ("IFLA_XDP_FLAGS", flags)]
    if expected is not None:
        attributes.append(("IFLA_XDP_EXPECTED_FD", expected))
    rtnetlink.converse(
        _encoded(
            ifinfmsg,
            _RTM_SETLINK,
            rtnetlink.NLM_F_ACK,
            index=ifindex,
            attrs=[("IFLA_XDP", {"attrs": attributes})],
        )
    )


def _encoded(message: type[Any], kind: int, flags: int, **fields: object) -> bytes:
    """Return a request in the kernel's format."""
    request = message()
    for name, value in fields.items():
        request[name] = value
    request["header"]["type"] = kind
    request["header"]["flags"] = rtnetlink.NLM_F_REQUEST | flags
    request.encode()
    return bytes(request.data)


def _decoded(message: type[Any], data: bytes) -> Any:  # noqa: ANN401 - pyroute2 has no types
    """Return a message from the kernel, decoded by pyroute2."""
    decoded = message(data)
    decoded.decode()
    return decoded


def _interface(message: Any) -> Interface:  # noqa: ANN401 - pyroute2 has no types
    """Return an interface from a RTM_NEWLINK message and its driver's answers."""
    name = message.get_attr("IFLA_IFNAME")
    ethtool = Ethtool(name)
    channels = ethtool.channels()
    info = message.get_attr("IFLA_LINKINFO")
    return Interface(
        name=name,
        index=message["index"],
        mtu=message.get_attr("IFLA_MTU"),
        up=bool(message["flags"] & _IFF_UP),
        kind=info.get_attr("IFLA_INFO_KIND") if info else None,
        driver=ethtool.driver(),
        rx_queues=(channels and channels.receiving) or message.get_attr("IFLA_NUM_RX_QUEUES") or 1,
        attached=_attached(message),
        master=message.get_attr("IFLA_MASTER"),
        link_type=message["ifi_type"],
    )


def _attached(message: Any) -> Attached | None:  # noqa: ANN401 - pyroute2 has no types
    """Return the program in a RTM_NEWLINK message."""
    if xdp := message.get_attr("IFLA_XDP"):
        for mode, attribute in _PROGRAM_ATTRIBUTES.items():
            if program_id := xdp.get_attr(attribute):
                return Attached(program_id, mode)
    return None


def _changes(data: bytes, names: dict[int, str]) -> Iterator[LinkChange]:
    """Yield the changes in a datagram, and keep `names`, by index, up to date.

    A bridge reports its ports with the same types but its own address family.
    """
    for kind, _, raw in rtnetlink.split(data):
        if kind not in (_RTM_NEWLINK, _RTM_DELLINK):
            continue
        message = _decoded(ifinfmsg, raw)
        if message["family"] != socket.AF_UNSPEC:
            continue
        name, index = message.get_attr("IFLA_IFNAME"), message["index"]
        if kind == _RTM_DELLINK:
            names.pop(index, None)
            yield LinkChange(name, index, gone=True)
            continue
        previous = names.get(index, name)
        names[index] = name
        yield LinkChange(
            name,
            index,
            up=bool(message["flags"] & _IFF_UP),
            attached=_attached(message),
            previous_name=previous if previous != name else None,
        )


def _error(tried: str, refused: rtnetlink.RefusedError) -> KernelError:
    """Return the error for a refusal, with the kernel's own words as its hint."""
    hints = {refused.number: refused.reason} if refused.reason else None
    return kernel_error(tried, refused.number, "CAP_NET_ADMIN", hints=hints)
