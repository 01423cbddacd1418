"""What no page may do, whatever others wrote: fail in a script, break its policy, open a dialog."""

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, WebError

PWNED = "__pwned"
"""Of window: what texts that are taken for scripts set."""


class Watch:
    """Listens to all pages of a context."""

    def __init__(self, context: BrowserContext) -> None:
        self._seen: list[str] = []
        context.on("weberror", self._failed)
        context.on("console", self._said)
        context.on("dialog", self._asked)

    def check(self) -> None:
        assert not self._seen, "\n".join(self._seen)

    def _failed(self, error: WebError) -> None:
        self._seen.append(f"a script failed: {error.error}")

    def _said(self, message: ConsoleMessage) -> None:
        # What cannot be fetched is said too, as while the service is away.
        if "Content Security Policy" in message.text:
            self._seen.append(message.text)

    def _asked(self, dialog: Dialog) -> None:
        self._seen.append(f"a dialog was opened: {dialog.message}")
        dialog.dismiss()
