"""Settings: command line, environment and TOML to one frozen value.

    values.py     what an option's text can mean: ports, owners, interfaces, …
    options.py    the one table of options, from which all else here derives
    arguments.py  the table as an argparse parser
    sources.py    the three sources read by the table, each error naming its source
    lists.py      the file's `[[list]]` tables
    settings.py   `Settings`, what must agree between options, what a reload can change

A new option is one entry of the table and one field of `Settings`; a test holds
the two together.
"""

from xdpctl.settings.arguments import ArgumentParser, add_service_options
from xdpctl.settings.lists import ListFormat, ListSettings
from xdpctl.settings.settings import (
    Changes,
    Settings,
    control_path,
    load_settings,
    reloadable_changes,
    settings_from,
)
from xdpctl.settings.values import Listen, ModeSetting, OnExit, Owner, XskFamily
from xdpctl.settings.values import owner as parse_owner

__all__ = [
    "ArgumentParser",
    "Changes",
    "ListFormat",
    "ListSettings",
    "Listen",
    "ModeSetting",
    "OnExit",
    "Owner",
    "Settings",
    "XskFamily",
    "add_service_options",
    "control_path",
    "load_settings",
    "parse_owner",
    "reloadable_changes",
    "settings_from",
]
