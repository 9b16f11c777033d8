"""`watch`: sampled packets as they come, one line each, or into a pcapng or dnstap file.

Owns the line, and what the files say of a packet. Does not own samples, pcapng (samples/pcap.py) or
dnstap (samples/dnstap.py). Ctrl-C ends it, with status 0. Called by cli/main.py.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from xdpctl import __version__
from xdpctl.cli.render import count, printable
from xdpctl.cli.traffic import add_filters, filters
from xdpctl.cli.verb import Session, Verb, number_up_to
from xdpctl.errors import XdpctlError
from xdpctl.samples.pcap import PcapWriter

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from xdpctl.samples.outputs import Output

_COUNT_MAX = 10**9
_MODE = 0o640


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_filters(parser)
    parser.add_argument(
        "-n",
        dest="count",
        type=number_up_to(_COUNT_MAX),
        metavar="N",
        help="stop after N packets (default: with Ctrl-C)",
    )
    parser.add_argument(
        "--pcap",
        metavar="FILE",
        help="write packets to a pcapng file, which tcpdump and Wireshark read, each with a"
        " comment: verdict, rule, and how many packets it stands for; - is standard output",
    )
    parser.add_argument(
        "--dnstap",
        metavar="FILE|SOCKET",
        help="write queries as dnstap to a file, or to the receiver behind a unix socket",
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    query = {**filters(arguments), "samples": "all", "snapshots": "0", "by": "action"}
    if arguments.pcap or arguments.dnstap:
        query["frames"] = "1"
    watcher = _Watcher(arguments, session)
    with ExitStack() as stack:
        watcher.open(stack)
        try:
            watcher.follow(session.client(arguments).events("/api/v1/live", query))
        except KeyboardInterrupt:
            session.write("\r" if session.terminal else "")
        finally:
            watcher.tell()
    return 0


class _Watcher:
    """Writes what comes.

    Args:
        arguments: of the verb.
        session: of the verb.
    """

    def __init__(self, arguments: argparse.Namespace, session: Session) -> None:
        self._arguments = arguments
        self._session = session
        self._file: BinaryIO | None = None
        self._pcap: PcapWriter | None = None
        self._dnstap: Output | None = None
        self._seen = 0
        self._lost = 0
        self._whole = 0

    def open(self, stack: ExitStack) -> None:
        """Open the files.

        Raises:
            XdpctlError: one cannot be opened.
        """
        if self._arguments.pcap:
            self._file = _opened(self._arguments.pcap, stack)
            self._pcap = PcapWriter(f"xdpctl {__version__}")
            self._write(self._file, self._pcap.begin())
        if self._arguments.dnstap:
            self._dnstap = _receiver(Path(self._arguments.dnstap))
            self._dnstap.begin()
            stack.callback(self._dnstap.end)

    def follow(self, events: Any) -> None:  # noqa: ANN401 - an iterator that is closed
        """Write packets until there are enough.

        Raises:
            XdpctlError: the stream has ended, or a file cannot be written.
        """
        for name, document in events:
            if name == "sample":
                self._take(document)
                self._seen += 1
                if self._seen == self._arguments.count:
                    events.close()
                    return
            elif name == "talkers":
                self._lost = int(document.get("lost") or 0)
                self._session.output.flush()

    def tell(self) -> None:
        """Say what is not on the screen."""
        if self._lost:
            self._session.warn(
                f"{count(self._lost)} samples did not come in time: choose fewer packets, or write"
                " to a file"
            )
        if (self._pcap or self._dnstap) and self._arguments.pcap != "-":
            self._session.errors.write(f"{count(self._seen)} packets\n")

    def _take(self, document: Mapping[str, Any]) -> None:
        if self._pcap is not None and self._file is not None:
            self._write(self._file, _blocks(self._pcap, document))
        if self._dnstap is not None:
            self._dnstap.write(_messages(document))
        if self._pcap is not None or self._dnstap is not None:
            return
        if self._arguments.json:
            self._session.say(json.dumps(document, ensure_ascii=False))
        else:
            self._session.say(printable(line(document)))
        self._session.output.flush()

    def _write(self, file: BinaryIO, octets: bytes) -> None:
        left = memoryview(octets)
        try:
            while left:
                left = left[file.write(left) :]
            file.flush()
            self._whole += len(octets)
        except BrokenPipeError:
            raise
        except OSError as error:
            if self._arguments.pcap != "-":
                with suppress(OSError):  # a part of a packet would break the file
                    file.truncate(self._whole)
            raise XdpctlError(
                f"cannot write {self._arguments.pcap}: {error.strerror}; {count(self._seen)}"
                " packets are in it"
            ) from error


def _blocks(writer: PcapWriter, document: Mapping[str, Any]) -> bytes:
    return writer.packet(
        str(document["interface"]),
        float(document["time"]),
        base64.b64decode(document.get("frame") or ""),
        int(document["length"]),
        verdict(document),
    )


def _opened(name: str, stack: ExitStack) -> BinaryIO:
    if name == "-":
        if sys.stdout.isatty():
            raise XdpctlError(
                "cannot write pcapng to a terminal: name a file, or pipe it, as in `xdpctl watch"
                " --pcap - | tcpdump -r -`"
            )
        return sys.stdout.buffer
    try:
        made = open(name, "wb", buffering=0, opener=_for_few)  # noqa: SIM115 - with an opener
        return stack.enter_context(made)
    except OSError as error:
        raise XdpctlError(f"cannot write {name}: {error.strerror}; name another file") from error


def _for_few(name: str, flags: int) -> int:
    """Open a file that others cannot read, for it says who asks for what."""
    return os.open(name, flags, _MODE)


def _receiver(path: Path) -> Output:
    from xdpctl.samples.outputs import FileOutput, unix_output  # noqa: PLC0415 - few need it

    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - a link is followed
    except OSError:
        is_socket = False
    return unix_output(path) if is_socket else FileOutput(path)


def line(document: Mapping[str, Any]) -> str:
    """Return a packet in one line."""
    moment = float(document.get("time") or 0)
    clock = time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment % 1 * 1000):03d}"
    ends = (
        f"{_end(document.get('source'), document.get('source_port'))} >"
        f" {_end(document.get('destination'), document.get('port'))}"
    )
    words = [clock, str(document.get("interface")), ends]
    if document.get("protocol"):
        words.append(str(document["protocol"]))
    if document.get("name"):
        words += [str(document["name"]), str(document.get("qtype") or "")]
    return f"{'  '.join(words)}  {verdict(document)}"


def verdict(document: Mapping[str, Any]) -> str:
    """Return what was done with a packet, why, by which rule, and for how many it stands."""
    text = f"{document.get('action')} {document.get('reason')}"
    rule = document.get("rule")
    if rule:
        qtype = f" {rule['qtype']}" if rule.get("qtype") else ""
        text += f" rule={rule.get('target')}{qtype} origin={rule.get('origin')}"
    return f"{text} weight={document.get('weight')}"


def _end(address: object, port: object) -> str:
    if address is None:
        return "-"
    if port is None:
        return str(address)
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def _messages(document: Mapping[str, Any]) -> list[bytes]:
    """Return the dnstap message of a packet; none where it is not a query."""
    from socket import gethostname  # noqa: PLC0415 - few need it

    from xdpctl.abi import PacketAction, Reason  # noqa: PLC0415 - the same
    from xdpctl.rules import parse_target  # noqa: PLC0415 - the same
    from xdpctl.samples.dnstap import DnstapEncoder  # noqa: PLC0415 - the same
    from xdpctl.samples.packets import read_packet  # noqa: PLC0415 - the same
    from xdpctl.samples.sample import Sample  # noqa: PLC0415 - the same

    rule = document.get("rule")
    frame = base64.b64decode(document.get("frame") or "")
    sample = Sample(
        float(document["time"]),
        str(document["interface"]),
        PacketAction[str(document["action"]).upper()],
        next(reason for reason in Reason if reason.label == document["reason"]),
        int(document["weight"]),
        int(document["length"]),
        frame,
    )
    encoder = DnstapEncoder(gethostname().encode(), f"xdpctl {__version__}".encode())
    if document.get("name") is None:
        return []
    target = parse_target(rule["target"], rule.get("qtype")) if rule else None
    message = encoder.message(sample, read_packet(frame), target)
    return [] if message is None else [message]


VERBS = (
    Verb(
        "watch",
        "show packets as they come, and what is done with them",
        _add_arguments,
        _run,
        examples=(
            "xdpctl watch --source 192.0.2.0/24",
            "xdpctl watch --action drop -n 100 --json",
            "xdpctl watch --name .evil.example --pcap evil.pcapng",
        ),
    ),
)
