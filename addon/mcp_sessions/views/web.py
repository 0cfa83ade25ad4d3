"""The page in mitmweb, where there is one: put into its web application, and taken out again."""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import ctx

from .shown import Shown, View


class WebPage(View):
    """The ledger as a page."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._leave: Callable[[], None] | None = None

    def running(self) -> None:
        """Add the page to mitmweb."""
        application = getattr(ctx.master, "app", None)
        if application is not None:
            from .handlers import PATH, install  # only mitmweb has what it needs

            self._leave = install(application, self.shown)
            # With the token that stands in mitmweb's own line, if there is one.
            address, mark, token = str(ctx.master.web_url).partition("?")  # type: ignore[attr-defined]
            self.shown.page = f"{address.rstrip('/')}{PATH}{mark}{token}"

    def done(self) -> None:
        """Take it out again."""
        if self._leave is not None:
            self._leave()
            self._leave = None
