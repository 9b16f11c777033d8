"""Network interfaces: which exist, what is attached to them, how they change.

codecs.py encodes and decodes the messages, rtnetlink.py carries them.
Everything blocks for less than a millisecond, except `watch`, which runs on the loop. Used by
service/, filter/, status/checks/, maps/xsk_destinations.py and the verbs. Owns `Netlink` and the
values that it returns. Does not own sockets and framing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from xdpctl.errors import InterfaceError, KernelError
from xdpctl.kernel.bpf.libbpf import XDP_FLAGS_DRV_MODE, XDP_FLAGS_REPLACE, XDP_FLAGS_SKB_MODE
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.kernel.failure import kernel_error
from xdpctl.kernel.net import codecs, netdev, rtnetlink, sockets
from xdpctl.kernel.net.codecs import LinkAttribute, LinkMessage, XdpAttribute
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
    XdpMode.NATIVE: XdpAttribute.DRV_PROG_ID,
    XdpMode.GENERIC: XdpAttribute.SKB_PROG_ID,
    XdpMode.OFFLOAD: XdpAttribute.HW_PROG_ID,
}
_INFO_KIND = 1  # IFLA_INFO_KIND, inside IFLA_LINKINFO
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_SKIP_STATS = codecs.attribute(LinkAttribute.EXT_MASK, struct.pack("=I", _RTEXT_FILTER_SKIP_STATS))


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
            wanted = codecs.attribute(LinkAttribute.IFNAME, os.fsencode(name) + b"\0")
            answer = _query_links(wanted, flags=0)
        except KernelError as error:
            if error.errno == errno.ENODEV:
                raise self._unknown(name) from error
            raise
        return _interface(answer[0])

    def interfaces(self) -> list[Interface]:
        """Return all interfaces."""
        return [_interface(message) for message in _query_links(b"", rtnetlink.NLM_F_DUMP)]

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
        request = codecs.request(_RTM_GETADDR, rtnetlink.NLM_F_DUMP, bytes(_ADDRESS.size))
        found = []
        for message in _query(request):
            family, *_ = _ADDRESS.unpack_from(message, codecs.HEADER.size)
            held = codecs.attributes(message[codecs.HEADER.size + _ADDRESS.size :])
            address = held.get(_IFA_LOCAL) or held.get(_IFA_ADDRESS)
            if address and family in {socket.AF_INET, socket.AF_INET6}:
                found.append(ip_address(address))
        return found

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


def _query_links(attributes: bytes, flags: int) -> list[LinkMessage]:
    """Return links.

    Raises:
        KernelError: as the kernel says.
    """
    answer = _query(codecs.link_request(_RTM_GETLINK, flags, attributes + _SKIP_STATS))
    return [codecs.link_message(message) for message in answer]


def _query(request: bytes) -> list[bytes]:
    """Return the messages of the answer to a question.

    Raises:
        KernelError: as the kernel says.
    """
    try:
        answer = rtnetlink.converse(request)
    except rtnetlink.RefusedError as refused:
        raise _error("cannot ask the kernel for network interfaces", refused) from refused
    return [message for _, message in answer]


def _names() -> dict[int, str]:
    """Return the names of all interfaces by index."""
    return {link.ifindex: link.name for link in _query_links(b"", rtnetlink.NLM_F_DUMP)}


def _set_program(ifindex: int, *, fd: int, flags: int, expected: int | None = None) -> None:
    """Attach a program to an interface, or detach it (fd -1), through RTM_SETLINK.

    Raises:
        RefusedError: the kernel or the driver refused.
    """
    content = codecs.attribute(XdpAttribute.FD, struct.pack("=i", fd))
    content += codecs.attribute(XdpAttribute.FLAGS, struct.pack("=I", flags))
    if expected is not None:
        content += codecs.attribute(XdpAttribute.EXPECTED_FD, struct.pack("=i", expected))
    xdp = codecs.nested(LinkAttribute.XDP, content)
    rtnetlink.converse(codecs.link_request(_RTM_SETLINK, rtnetlink.NLM_F_ACK, xdp, ifindex))


def _interface(link: LinkMessage) -> Interface:
    """Return an interface from a RTM_NEWLINK message and its driver's answers."""
    ethtool = Ethtool(link.name)
    channels = ethtool.channels()
    kind = codecs.attributes(link.attributes.get(LinkAttribute.LINKINFO, b"")).get(_INFO_KIND)
    queues = link.number(LinkAttribute.NUM_RX_QUEUES)
    return Interface(
        name=link.name,
        index=link.ifindex,
        mtu=link.number(LinkAttribute.MTU) or 0,
        up=bool(link.flags & _IFF_UP),
        kind=None if kind is None else codecs.text(kind),
        driver=ethtool.driver(),
        rx_queues=(channels and channels.receiving) or queues or 1,
        attached=_attached(link),
        master=link.number(LinkAttribute.MASTER),
        link_type=link.kind,
    )


def _attached(link: LinkMessage) -> Attached | None:
    """Return the program in a RTM_NEWLINK message."""
    xdp = codecs.attributes(link.attributes.get(LinkAttribute.XDP, b""))
    for mode, attribute in _PROGRAM_ATTRIBUTES.items():
        if program_id := codecs.number(xdp.get(attribute)):
            return Attached(program_id, mode)
    return None


def _changes(data: bytes, names: dict[int, str]) -> Iterator[LinkChange]:
    """Yield the changes in a datagram, and keep `names`, by index, up to date.

    A bridge reports its ports with the same types but its own address family.
    """
    for kind, _, message in rtnetlink.split(data):
        if kind not in (_RTM_NEWLINK, _RTM_DELLINK):
            continue
        link = codecs.link_message(message)
        if link.family != socket.AF_UNSPEC:
            continue
        name, index = link.name, link.ifindex
        if kind == _RTM_DELLINK:
            names.pop(index, None)
            yield LinkChange(name, index, gone=True)
            continue
        previous = names.get(index, name)
        names[index] = name
        yield LinkChange(
            name,
            index,
            up=bool(link.flags & _IFF_UP),
            attached=_attached(link),
            previous_name=previous if previous != name else None,
        )


def _error(tried: str, refused: rtnetlink.RefusedError) -> KernelError:
    """Return the error for a refusal, with the kernel's own words as its hint."""
    hints = {refused.number: refused.reason} if refused.reason else None
    return kernel_error(tried, refused.number, "CAP_NET_ADMIN", hints=hints)
