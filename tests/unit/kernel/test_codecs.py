"""The bytes of netlink: attributes and links, without a kernel."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from xdpctl.kernel.net import codecs
from xdpctl.kernel.net.codecs import LinkAttribute

VALUES = st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=20), max_size=5)
NEWLINK = 16


def encoded(values: dict[int, bytes]) -> bytes:
    return b"".join(codecs.attribute(kind, value) for kind, value in values.items())


@given(VALUES)
def test_attributes_are_read_as_they_were_written(values: dict[int, bytes]) -> None:
    assert codecs.attributes(encoded(values)) == values


@given(VALUES)
def test_attributes_inside_an_attribute_are_read_as_they_were_written(
    values: dict[int, bytes],
) -> None:
    found = codecs.attributes(codecs.nested(LinkAttribute.XDP, encoded(values)))
    assert codecs.attributes(found[LinkAttribute.XDP]) == values


@given(st.binary(max_size=100))
def test_any_bytes_are_attributes_up_to_an_end(data: bytes) -> None:
    assert sum(4 + len(value) for value in codecs.attributes(data).values()) <= len(data)


def test_an_attribute_that_was_cut_off_is_left_out() -> None:
    whole = codecs.attribute(1, b"whole") + codecs.attribute(2, b"cut off here")
    assert codecs.attributes(whole[:-1]) == {1: b"whole"}


def test_a_link_has_its_head_and_its_attributes() -> None:
    content = codecs.attribute(LinkAttribute.IFNAME, b"eth0\0")
    content += codecs.attribute(LinkAttribute.MTU, struct.pack("=I", 1500))
    link = codecs.link_message(codecs.link_request(NEWLINK, 0, content, 7))
    assert (link.ifindex, link.name, link.number(LinkAttribute.MTU)) == (7, "eth0", 1500)
    assert link.number(LinkAttribute.MASTER) is None


def test_a_name_that_is_not_utf8_is_the_one_that_the_system_has() -> None:
    assert codecs.text(b"eth\xff\0") == "eth\udcff"
