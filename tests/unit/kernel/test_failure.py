"""Errno and privilege become what helps."""

from __future__ import annotations

import errno

import pytest

from xdpctl.kernel import failure

ROOT = "Name:\troot\nCapEff:\t000001ffffffffff\n"
NOBODY = "Name:\tnobody\nCapEff:\t0000000000000000\n"
NETWORKER = f"CapEff:\t{1 << 12:016x}\n"
ADMINISTRATOR = f"CapEff:\t{1 << 21:016x}\n"
WANTED = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")


@pytest.mark.parametrize(
    ("status", "missing"),
    [
        (ROOT, ()),
        (NOBODY, WANTED),
        (NETWORKER, ("CAP_BPF", "CAP_PERFMON")),
        (ADMINISTRATOR, ("CAP_NET_ADMIN",)),
        ("nothing of the kind", WANTED),
    ],
)
def test_only_capabilities_not_in_effect_are_missing(status: str, missing: tuple[str, ...]) -> None:
    assert failure.missing_capabilities(*WANTED, status=status) == missing


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("5.10.0-30-cloud-amd64", (5, 10)),
        ("6.18.44", (6, 18)),
        ("4.19", (4, 19)),
        ("unknown", (0, 0)),
    ],
)
def test_a_release_is_its_first_two_numbers(text: str, release: tuple[int, int]) -> None:
    assert failure.kernel_release(text) == release


@pytest.fixture
def old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure, "kernel_release", lambda: (4, 19))


@pytest.fixture
def privileged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure, "missing_capabilities", lambda *_: ())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.usefixtures("old_kernel")
def test_an_old_kernel_is_told_which_it_must_be(number: int) -> None:
    assert "xdpctl needs Linux 5.10 or later, this is" in str(
        failure.kernel_error("cannot try", number)
    )


def test_a_kernel_without_the_call_is_told_which_option_it_lacks() -> None:
    error = failure.kernel_error("cannot try", errno.ENOSYS)
    assert str(error).endswith("xdpctl needs Linux 5.10 or later with CONFIG_BPF_SYSCALL")


def test_einval_on_a_kernel_that_is_new_enough_gets_no_guess() -> None:
    assert str(failure.kernel_error("cannot try", errno.EINVAL)) == (
        "cannot try: Invalid argument (EINVAL)"
    )


@pytest.mark.usefixtures("old_kernel", "privileged")
def test_eperm_with_every_capability_on_an_old_kernel_is_locked_memory() -> None:
    assert "LimitMEMLOCK=infinity" in str(failure.kernel_error("cannot try", errno.EPERM))


@pytest.mark.usefixtures("privileged")
def test_eperm_with_every_capability_points_beyond_them() -> None:
    assert "seccomp" in str(failure.kernel_error("cannot try", errno.EPERM, "CAP_BPF"))


def test_a_hint_of_the_call_itself_comes_first() -> None:
    error = failure.kernel_error("cannot try", errno.ENOMEM, hints={errno.ENOMEM: "ask for less"})
    assert str(error) == "cannot try: Cannot allocate memory (ENOMEM); ask for less"


def test_an_error_carries_its_errno() -> None:
    assert failure.kernel_error("cannot try", errno.EMFILE).errno == errno.EMFILE
