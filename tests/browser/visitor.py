"""Somebody in front of a Chromium, who opens pages and sees what none of them may do."""

import shutil

from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Request

from tests.waiting import PATIENCE_MILLISECONDS

# What keeps it from calling home: nothing here may leave the host.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Visitor:
    """Opens pages, and keeps what none of them may do: call another host, complain on the console, open a dialog.

    `others` are hosts of ours too, as the sandbox is.
    """

    def __init__(self, browser: Browser, url: str, *others: str) -> None:
        self._browser = browser
        self._url = url
        self._own = (url, *others, "data:", "blob:", "about:")
        self._contexts: list[BrowserContext] = []
        self.strangers: list[str] = []
        self.complaints: list[str] = []
        self.dialogs: list[str] = []

    def context(
        self, *, scheme: str = "light", width: int = 1280, height: int = 800, script: bool = True
    ) -> BrowserContext:
        context = self._browser.new_context(
            base_url=self._url,
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": width, "height": height},
            java_script_enabled=script,
        )
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        if self._url.startswith("http://127.0.0.1"):  # no other plain http page has a clipboard
            context.grant_permissions(["clipboard-read", "clipboard-write"], origin=self._url)
        context.on("request", self._look_at)
        self._contexts.append(context)
        return context

    def open(self, path: str, **how: int | str | bool) -> Page:
        page = self.context(**how).new_page()  # type: ignore[arg-type]
        page.on("console", lambda message: self._listen(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._dismiss)
        page.goto(path)
        return page

    def _look_at(self, request: Request) -> None:
        if not request.url.startswith(self._own):
            self.strangers.append(request.url)

    def _listen(self, kind: str, text: str) -> None:
        if kind == "error":
            self.complaints.append(text)

    def _dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def close(self) -> None:
        for context in self._contexts:
            context.close()
