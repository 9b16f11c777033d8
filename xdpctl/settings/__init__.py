"""Settings: one frozen value from command line, environment and TOML.

    values.py     the parsers of an option's text: ports, owners, interfaces, …
    options.py    the table of options, from which everything else here derives
    arguments.py  the table as arguments of a parser
    sources.py    reads the three sources with the table; each error names its source
    tables.py     what the tables below have in common
    lists.py      the `[[list]]` tables of the file
    dnsdist.py    the `[[dnsdist]]` tables
    zones.py      own zones with a limit, and the `[[zone]]` tables
    settings.py   `Settings`, rules between options, and what a reload can change

A new option is one entry of the table and one field of `Settings`; a test compares the two.
"""

from xdpctl.settings.arguments import add_service_options
from xdpctl.settings.dnsdist import DnsdistSettings, OtherAction
from xdpctl.settings.lists import (
    Denial,
    Expire,
    Lifetime,
    ListFormat,
    ListSettings,
    Passthru,
    ZoneListSettings,
)
from xdpctl.settings.settings import (
    Changes,
    Settings,
    control_path,
    load_settings,
    reloadable_changes,
    settings_from,
)
from xdpctl.settings.values import (
    DnstapTarget,
    Levels,
    Listen,
    ModeSetting,
    OnExit,
    Owner,
    Proof,
    StalePolicy,
    XskFamily,
)
from xdpctl.settings.values import owner as parse_owner
from xdpctl.settings.zones import PrimaryAddress, ZoneSettings

__all__ = [
    "Changes",
    "Denial",
    "DnsdistSettings",
    "DnstapTarget",
    "Expire",
    "Levels",
    "Lifetime",
    "ListFormat",
    "ListSettings",
    "Listen",
    "ModeSetting",
    "OnExit",
    "OtherAction",
    "Owner",
    "Passthru",
    "PrimaryAddress",
    "Proof",
    "Settings",
    "StalePolicy",
    "XskFamily",
    "ZoneListSettings",
    "ZoneSettings",
    "add_service_options",
    "control_path",
    "load_settings",
    "parse_owner",
    "reloadable_changes",
    "settings_from",
]
