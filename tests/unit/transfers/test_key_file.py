"""A key file is one key as tsig-keygen writes it, that nobody else can read."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.errors import TransferError
from xdpctl.transfers import key_file
from xdpctl.transfers.key_file import ALGORITHMS, parse_key, read_key

if TYPE_CHECKING:
    from pathlib import Path

TEXT = 'key "rpz-Key" {\n\talgorithm hmac-sha256;\n\tsecret "c2VjcmV0";\n};\n'


def test_a_key_as_tsig_keygen_writes_it() -> None:
    key = parse_key(TEXT.encode())
    assert (key.name.to_text(), key.algorithm, key.secret) == ("rpz-key", "hmac-sha256", b"secret")


def test_comments_order_and_bare_words_are_those_of_named_conf() -> None:
    text = '# a\n// b "\n/* c { */ key k. { secret c2VjcmV0; /* d */ algorithm HMAC-SHA512.; };'
    key = parse_key(text.encode())
    assert (key.name.to_text(), key.algorithm, key.secret) == ("k", "hmac-sha512", b"secret")


@given(st.binary(min_size=1, max_size=80), st.sampled_from(ALGORITHMS))
def test_every_secret_is_read_as_it_was_written(secret: bytes, algorithm: str) -> None:
    text = f'key "k" {{ algorithm {algorithm}; secret "{base64.b64encode(secret).decode()}"; }};'
    key = parse_key(text.encode())
    assert (key.secret, key.algorithm) == (secret, algorithm)


@given(
    st.binary(max_size=200) | st.text(alphabet='key{};" \nasecrt/*', max_size=80).map(str.encode)
)
def test_anything_else_is_refused_in_one_sentence(octets: bytes) -> None:
    with pytest.raises(TransferError):
        parse_key(octets)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("hmac-sha256", "hmac-md5", "use one of hmac-sha1"),
        ("c2VjcmV0", "c2Vj*mV0", "not valid base64"),
        ("c2VjcmV0", "", "empty"),
        ("rpz-Key", "a..b", "not a name"),
        ("secret ", "algorithm ", "one key"),
        ("};\n", "};\n" + TEXT, "one key"),
    ],
)
def test_the_sentence_says_what_is_wrong_and_never_the_secret(
    old: str, new: str, complaint: str
) -> None:
    with pytest.raises(TransferError, match=complaint.replace("*", r"\*")) as caught:
        parse_key(TEXT.replace(old, new).encode())
    assert "c2V" not in caught.value.sentence


def test_a_file_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(TEXT)
    path.chmod(0o644)
    with pytest.raises(TransferError, match="chmod o="):
        read_key(path)
    path.chmod(0o640)
    assert read_key(path).secret == b"secret"


def test_a_file_that_the_service_may_not_read_says_whose_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(key_file, "read_secret", forbid)
    with pytest.raises(TransferError, match="let the user that the service runs as own it"):
        read_key(tmp_path / "zone.key")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="tsig-keygen"):
        read_key(tmp_path / "none")


def test_the_secret_is_not_shown() -> None:
    assert "secret" not in repr(parse_key(TEXT.encode()))
