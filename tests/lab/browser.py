"""Debian's Chromium without a screen, on a host of a lab, led by Selenium.

Chromium and its driver run in the host's network namespace. Selenium runs here, and this thread is
moved there while the browser is open, so that it reaches the driver. Owns the browser, and how what
it complains about is read. Does not know the page that it shows.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.lab.hosts import setns
from tests.lab.process import LabError, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.hosts import Host

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)

_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""
"""Runs before every page's own scripts."""

PATIENCE = 60.0
"""Seconds that something on the page may take; a browser is slow beside other tests."""


class Browser:
    """An open browser.

    Args:
        driver: Selenium's.
    """

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 - Selenium is not typed here
        self._driver = driver

    def open(self, url: str) -> None:
        """Go to an address."""
        self._driver.get(url)

    def text(self, selector: str) -> str:
        """Return the visible text of the first element."""
        return str(self._driver.find_element(By.CSS_SELECTOR, selector).text)

    def is_shown(self, selector: str) -> bool:
        """Return whether any such element is visible."""
        found = self._driver.find_elements(By.CSS_SELECTOR, selector)
        return any(element.is_displayed() for element in found)

    def click(self, selector: str) -> None:
        """Click on the first element."""
        self._driver.find_element(By.CSS_SELECTOR, selector).click()

    def type(self, selector: str, keys: str) -> None:
        """Press keys in the first element."""
        self._driver.find_element(By.CSS_SELECTOR, selector).send_keys(keys)

    def press(self, keys: str) -> None:
        """Press keys where the keyboard is."""
        self._driver.switch_to.active_element.send_keys(keys)

    def run(self, script: str) -> Any:  # noqa: ANN401 - JSON has no narrower type
        """Return what a script returns, which may await something."""
        return self._driver.execute_script(f"return (async () => {{ {script} }})()")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something to be seen; the error has the text of the page.

        Raises:
            LabError: it did not come.
        """
        try:
            eventually(condition, what, PATIENCE)
        except LabError as error:
            raise LabError(f"{error}; the page says:\n{self.text('body')}") from None

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """Give the screen a size and the system's colours."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def picture(self, file: Path) -> None:
        """Write the whole page as a PNG."""
        options = {"format": "png", "captureBeyondViewport": True}
        taken = self._driver.execute_cdp_cmd("Page.captureScreenshot", options)
        file.write_bytes(base64.b64decode(taken["data"]))

    def complaints(self) -> list[str]:
        """Return what the console has had since the last call, and what the policy stopped."""
        said = [str(line["message"]) for line in self._driver.get_log("browser")]
        return [*said, *map(str, self.run("return window.violations"))]

    def loaded(self) -> set[str]:
        """Return the addresses of all that the page has loaded, itself included."""
        script = "return performance.getEntries().map((entry) => entry.name)"
        return {name for name in self.run(script) if "://" in name}


@contextlib.contextmanager
def browser_on(host: Host) -> Iterator[Browser]:
    """Open a browser on a host; it is gone afterwards."""
    profile = Path(tempfile.mkdtemp(prefix="browser-", dir=host.lab.directory))
    options = Options()
    options.binary_location = CHROMIUM
    for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with _thread_on(host):
        driver = Chrome(options=options, service=Service(DRIVER))
        try:
            driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
            yield Browser(driver)
        finally:
            driver.quit()
            shutil.rmtree(profile, ignore_errors=True)


@contextlib.contextmanager
def _thread_on(host: Host) -> Iterator[None]:
    """Move this thread to a host's network, and back."""
    with Path("/proc/thread-self/ns/net").open("rb") as home, host.path.open("rb") as there:
        setns(there.fileno())
        try:
            yield
        finally:
            setns(home.fileno())
