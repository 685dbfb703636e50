"""A headless Chromium for the tests, where Debian's is installed."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

FLAGS = (
    *("--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
)
"""WebGL by the software renderer, so that no GPU is needed."""


Launch = Callable[..., Browser]
"""Starts a browser with these additional flags."""


@contextmanager
def chromium() -> Iterator[Launch]:
    """Starts browsers and closes them at the end; without Chromium the test skips."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium here; Debian's package chromium brings it")
    with sync_playwright() as playwright, ExitStack() as stack:

        def launch(*flags: str) -> Browser:
            browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])
            stack.callback(browser.close)
            return browser

        yield launch
