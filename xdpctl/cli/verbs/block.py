"""`block`, `allow`, `unblock`: make, change and remove own rules.

Parses the targets before it sends anything, so that a target which cannot be read ends the verb
and changes nothing. Does not decide whether a rule is allowed; the service does. Called by
cli/main.py.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from xdpctl.cli.claims import about_left, about_made, is_as_it_was
from xdpctl.cli.render import count, printable
from xdpctl.cli.verb import Session, Verb
from xdpctl.errors import NotFoundError, XdpctlError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from xdpctl.cli.client import Client
    from xdpctl.rules import Target

_LINE_MAX = 6000  # characters of targets in a request line; every server takes 8,000
NAMED_MAX = 10
"""Rules that an answer names; of more it says how many."""

_TARGET_HELP = (
    "an address, a prefix, a name, .NAME for a name and every name below it, or *.NAME for the"
    " names below it; if one of several fails, none is changed"
)


def _add_targets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", nargs="+", metavar="TARGET", help=_TARGET_HELP)
    parser.add_argument(
        "--qtype",
        metavar="T",
        help="only queries of this type (AAAA, TYPE65, 65); for names and zones",
    )
    parser.add_argument(
        "--zone", action="store_true", help="every NAME stands for .NAME; for scripts"
    )
    parser.add_argument(
        "--only-addresses",
        action="store_true",
        help="accept only addresses and prefixes, no names; for scripts with targets from others",
    )


def _add_rule(parser: argparse.ArgumentParser) -> None:
    _add_targets(parser)
    parser.add_argument(
        "--reason",
        metavar="TEXT",
        help="a note that is stored with the rule (default: as it was)",
    )
    parser.add_argument(
        "--for",
        dest="duration",
        metavar="DURATION",
        help="remove the rule after 30s, 10m, 1h30m, 7d, 2w; forever: never (default: as it was, a"
        " new rule never)",
    )
    parser.add_argument(
        "--origin",
        metavar="O",
        default="cli",
        help="whose claim it is, app:NAME for a program's (default: cli); origins never change"
        " each other's claims",
    )
    parser.add_argument(
        "--waiting-ok",
        action="store_true",
        help="where dnsdist has an entry, let the rule wait until that is gone; for scripts"
        " (default: refuse it)",
    )


def _add_block(parser: argparse.ArgumentParser) -> None:
    _add_rule(parser)
    parser.add_argument(
        "--action",
        choices=("drop", "truncate"),
        default="drop",
        help="truncate: answer TC=1, so that real clients retry over TCP (default: drop)",
    )
    _add_force(
        parser,
        "allow a very short prefix, the root, a top-level domain, an address of this host, or"
        " what is in `protect`",
    )


def _add_allow(parser: argparse.ArgumentParser) -> None:
    _add_rule(parser)
    _add_force(parser, "allow a very short prefix, or every name below the root")


def _add_force(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--force", action="store_true", help=text)


def _block(arguments: argparse.Namespace, session: Session) -> int:
    return _put(arguments, session, arguments.action, force=arguments.force)


def _allow(arguments: argparse.Namespace, session: Session) -> int:
    return _put(arguments, session, "pass", force=arguments.force)


def _put(arguments: argparse.Namespace, session: Session, action: str, *, force: bool) -> int:
    from xdpctl.rules import (  # noqa: PLC0415 - other verbs do not need dnspython
        parse_end,
        parse_reason,
    )
    from xdpctl.rules.rules import own_origin  # noqa: PLC0415 - the same

    rule: dict[str, Any] = {"action": action, "origin": own_origin(arguments.origin)}
    if arguments.reason is not None:
        rule["reason"] = parse_reason(arguments.reason)
    if arguments.duration is not None:
        rule["expires_in"] = parse_end(arguments.duration)
    named = _named(arguments)
    rules = [{**each, **rule} for each in named]
    chosen = {"force": force, "waiting_ok": arguments.waiting_ok}
    query = {name: "1" for name, is_set in chosen.items() if is_set} or None
    answer = session.client(arguments).post("/api/v1/rules", rules, query)
    if arguments.json:
        session.document(answer)
        return 0
    for warning in answer.get("warnings", []):
        session.warn(warning)
    made = answer.get("rules", [])
    updated = answer.get("updated", 0) - sum(is_as_it_was(each) for each in made)
    there = f"; {_rules(updated)} changed" if updated else ""
    there = there if answer.get("created", 0) or updated else "; nothing to change"
    lasting = ""
    if arguments.duration is not None:
        lasting = f", for {arguments.duration}" if rule["expires_in"] else ", without end"
    session.say(f"{action}: {named_rules(named)}{lasting}{there}")
    for sentence in about_made(made):
        session.say(sentence)
    return 0


def named_rules(named: Sequence[dict[str, Any]]) -> str:
    """Return the targets of rules in words: `192.0.2.1, flood.example (every type)`."""
    texts = [_in_words(each) for each in named[:NAMED_MAX]]
    more = len(named) - len(texts)
    return ", ".join(texts) + (f" and {count(more)} more" if more else "")


def _in_words(named: dict[str, Any]) -> str:
    """Return a target; a name with its type, so that it is seen that it was read as a name."""
    from xdpctl.rules import Question, Zone, parse_target  # noqa: PLC0415 - other verbs do not need dnspython

    text = str(named["target"])
    if not isinstance(parse_target(text), Question | Zone):
        return text
    return f"{printable(text)} ({named['qtype'] or 'every type'})"


def _add_unblock(parser: argparse.ArgumentParser) -> None:
    _add_targets(parser)
    parser.add_argument(
        "--origin",
        metavar="O",
        help="end the claim of this origin (default: those of the operator: cli, api, file:NAME)",
    )
    parser.add_argument(
        "--missing-ok",
        action="store_true",
        help="succeed if a target has no rule; for scripts that may remove it twice",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="also remove an entry of dnsdist's; a running dnsdist does not notice, and counts it"
        " until it is restarted",
    )


def _unblock(arguments: argparse.Namespace, session: Session) -> int:
    from xdpctl.rules import parse_origin  # noqa: PLC0415 - other verbs do not need dnspython

    asked = {} if arguments.origin is None else {"claimant": parse_origin(arguments.origin)}
    asked |= {"force": "1"} if arguments.force else {}
    client = session.client(arguments)
    named = _named(arguments)
    if arguments.missing_ok:
        answers = list(_remove_those_there(client, named, asked))
    else:
        answers = list(_remove(client, named, asked, session))
    for warning in dict.fromkeys(text for each in answers for text in each.get("warnings", [])):
        session.warn(warning)
    removed = sum(answer.get("removed", 0) for answer in answers)
    left = [each for answer in answers for each in answer.get("left", [])]
    if arguments.json:
        session.document({"removed": removed, "left": left})
        return 0
    session.say(f"{_rules(removed)} removed")
    for sentence in about_left(left):
        session.say(sentence)
    return 0


def _remove_those_there(
    client: Client, named: list[dict[str, Any]], asked: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Remove each rule with its own request, so that a missing one does not affect the others."""
    for rule in named:
        query = {key: value for key, value in rule.items() if value} | asked
        with suppress(NotFoundError):
            yield client.delete("/api/v1/rules", query)


def _remove(
    client: Client, named: list[dict[str, Any]], asked: dict[str, str], session: Session
) -> Iterator[dict[str, Any]]:
    """Remove all rules, or none if one is missing."""
    removed = 0
    # One request removes all or nothing; only a very long list needs a second request.
    for part in _parts([rule["target"] for rule in named]):
        qtype = named[0]["qtype"]
        query = [*(("target", target) for target in part), *([("qtype", qtype)] if qtype else [])]
        query += asked.items()
        try:
            answer = client.delete("/api/v1/rules", query)
        except XdpctlError as error:
            if removed:
                session.warn(f"{_rules(removed)} had been removed before this error")
            raise error from None
        removed += answer.get("removed", 0)
        yield answer


def _parts(targets: list[str]) -> Iterator[list[str]]:
    """Yield the targets in parts that fit into a request line."""
    part, room = list[str](), _LINE_MAX
    for target in targets:
        size = len(quote_plus(target)) + len("&target=")
        if part and size > room:
            yield part
            part, room = [], _LINE_MAX
        part.append(target)
        room -= size
    yield part


def _rules(number: int) -> str:
    return f"{number} rule" if number == 1 else f"{number} rules"


def _named(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return target and qtype of each TARGET for the API, without duplicates.

    Raises:
        TargetError: one cannot be read, or is a name with --only-addresses; nothing has been
            sent yet.
    """
    from xdpctl.cli.typed import (  # noqa: PLC0415 - as below
        refuse_pasted,
        refuse_word,
        refuse_word_as_zone,
    )
    from xdpctl.errors import TargetError  # noqa: PLC0415 - the same
    from xdpctl.rules import (  # noqa: PLC0415 - other verbs do not need dnspython
        Question,
        Zone,
        parse_target,
    )
    from xdpctl.rules.names import shown  # noqa: PLC0415 - the same
    from xdpctl.rules.targets import reads_as_address  # noqa: PLC0415 - the same

    targets = []
    for text in arguments.targets:
        if arguments.only_addresses and not reads_as_address(text):
            raise TargetError(
                f"cannot use {shown(text)} with --only-addresses: it is neither an address nor a"
                " prefix; leave out --only-addresses to use a name",
                text=text,
            )
        refuse_pasted(text)
        target = parse_target(text, arguments.qtype, zone=arguments.zone)
        if isinstance(target, Question | Zone) and not arguments.zone:
            refuse_word(text)
        elif arguments.zone and len(arguments.targets) > 1:
            refuse_word_as_zone(text)
        targets.append(target)
    return list(_documents(targets))


def _documents(targets: Iterable[Target]) -> Iterable[dict[str, Any]]:
    from xdpctl.rules import qtype_of, qtype_text, target_text  # noqa: PLC0415 - the same

    for target in dict.fromkeys(targets):
        number = qtype_of(target)
        yield {
            "target": target_text(target),
            "qtype": None if number is None else qtype_text(number),
        }


VERBS = (
    Verb(
        "block",
        "drop what matches a target, or answer it with TC=1",
        _add_block,
        _block,
        examples=(
            'xdpctl block 192.0.2.1 --for 10m --reason "ticket 4711"',
            "xdpctl block 2001:db8::/48 .flood.example",
            "xdpctl block amplify.example --qtype TXT --action truncate",
        ),
    ),
    Verb(
        "allow",
        "let a target pass even if a wider rule drops it",
        _add_allow,
        _allow,
        examples=(
            "xdpctl allow 192.0.2.1 --for 1h",
            "xdpctl allow www.flood.example",
        ),
    ),
    Verb(
        "unblock",
        "end the operator's claims on a target, or another origin's",
        _add_unblock,
        _unblock,
        examples=(
            "xdpctl unblock 192.0.2.1",
            "xdpctl unblock flood.example --qtype TXT",
            "xdpctl unblock 192.0.2.1 --origin app:sshd",
        ),
    ),
)
