"""A rule that means every type since another --any-qtype is warned of, until it is gone."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from tests.support.whole_service import PATIENCE, Home
from xdpctl.service import widened_names

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_rules_for_any_that_mean_every_type_are_named_until_they_are_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(widened_names, "LOOK_SECONDS", 0.01)
    home = Home(monkeypatch, tmp_path)

    async def warned(*, shown: str = "") -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                found = (await home.ask("GET", "/api/v1/status")).body["warnings"]
                about = [text for text in found if "means every type" in text]
                if (about == []) == (shown == "") and all(shown in text for text in about):
                    return
                await asyncio.sleep(0.01)

    names = [f"{label}.example" for label in "abcd"]
    async with home.running("--any-qtype", "65535"):
        rules = [{"target": name, "qtype": "ANY", "action": "drop"} for name in names]
        assert (await home.ask("POST", "/api/v1/rules", json=rules)).status == 200
        home.heard()
        home.options = ()
        signal.raise_signal(signal.SIGHUP)
        await home.told("RELOADING=1")
        await home.told("READY=1")
        await warned(shown="a.example, b.example, c.example and 1 more; remove it with")
        for name in names:
            await home.ask("DELETE", "/api/v1/rules", params={"target": name})
        again = [{"target": names[0], "action": "drop"}]
        assert (await home.ask("POST", "/api/v1/rules", json=again)).status == 200
        await warned()
    home.close()
