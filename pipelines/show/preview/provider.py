"""Whose server it is, as far as `check` can tell, and what is known of it (`archiver.config.providers`)."""

from __future__ import annotations

from typing import Any

from archiver.config.providers.table import Recognised, daily, providers, recognised
from archiver.config.tables.server import ServerSettings, SourceSettings
from archiver.imap.capabilities import ServerFacts
from archiver.report.units import size

_BY = {
    "account file": "by the account file",
    "host": "by its host",
    "greeting": "by what it says of itself",
    "capabilities": "by its capabilities",
}


def provider_of(settings: SourceSettings, server: ServerFacts) -> Recognised | None:
    """The provider of a server, which the account file may name; files have none."""
    if not isinstance(settings, ServerSettings):
        return None
    if (key := settings.provider) is not None:
        return Recognised(key, providers()[key], "account file")
    return recognised(settings.host, f"{server.greeting} {server.identity}", server.capabilities)


def provider_facts(settings: ServerSettings, server: ServerFacts) -> list[tuple[str, str]]:
    """The provider in rows for people."""
    if (found := provider_of(settings, server)) is None:
        return []
    provider = found.provider
    notes = list(provider.as_destination if settings.side == "destination" else provider.notes)
    deed = "uploaded" if settings.side == "destination" else "downloaded"
    if (limit := daily(provider.limits, settings.side, settings.protocol)) is not None:
        notes.append(
            f"about {size(limit)} a day can be {deed}; beyond that it throttles, and a later run continues"
        )
    if provider.guide:
        notes.append(f"more in docs/providers.md#{provider.guide}")
    return [("provider", f"{provider.name} ({_BY[found.by]})"), *(("", note) for note in notes)]


def provider_to_json(settings: SourceSettings, server: ServerFacts) -> dict[str, Any] | None:
    """The provider as a JSON object; None if it is not known."""
    if (found := provider_of(settings, server)) is None:
        return None
    side = settings.side if isinstance(settings, ServerSettings) else "source"
    limit = daily(found.provider.limits, side, settings.protocol)
    return {"key": found.key, "name": found.provider.name, "by": found.by, "octets_in_a_day": limit}


def days_words(settings: SourceSettings, server: ServerFacts | None, octets: int) -> str:
    """How many days that many octets take at the provider's daily limit, to end a line; "" if one is enough."""
    found = None if server is None else provider_of(settings, server)
    if found is None or not isinstance(settings, ServerSettings):
        return ""
    limit = daily(found.provider.limits, settings.side, settings.protocol)
    if limit is None or octets <= limit:
        return ""
    return f"; with about {size(limit)} a day at {found.provider.name} that takes {-(-octets // limit):,} days"
