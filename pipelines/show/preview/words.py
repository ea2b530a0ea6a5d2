"""What a look at an account found, in words."""

from __future__ import annotations

from archiver.config.settings import Settings
from archiver.config.tables.server import ServerSettings
from archiver.control.run import utc_today
from archiver.destination.folder_map.not_ours import NotOurs
from archiver.imap.capabilities import ServerFacts
from archiver.mail.counts import counted
from archiver.report.units import size
from pipelines.show.preview.provider import days_words, provider_facts
from pipelines.show.preview.result import Preview
from pipelines.show.preview.token import TokenPreview


def facts_of(preview: Preview) -> list[tuple[str, str]]:
    """What is known of the source's server, of the archive's place, and of its bucket, each with its name."""
    server, place = preview.server, preview.place
    assert server is not None
    state = "exists" if place.exists else "will be created"
    source = preview.settings.source
    facts = server_facts(server, source, preview.token) if isinstance(source, ServerSettings) else []
    facts.append(("archive", f"{place.path} ({state}, {size(place.free_octets)} free)"))
    return [*facts, *(preview.bucket.facts() if preview.bucket else ())]


def server_facts(
    server: ServerFacts, settings: ServerSettings, token: TokenPreview | None
) -> list[tuple[str, str]]:
    """What a server says of itself and how it is spoken to, each with its name."""
    tls = "none: anyone on the network can read the password and the mail"
    if server.tls is not None:
        tls = f"{server.tls.version}, {server.tls.cipher}"
        if server.tls.subject:
            tls += f"; certificate for {server.tls.subject}, until {server.tls.expires}"
        elif settings.fingerprint is not None:
            tls += "; the pinned certificate"
    login = server.login or "none: the server logs in by itself"
    facts = [("greeting", server.greeting or "none"), ("TLS", tls), ("login", login)]
    if token is not None:
        facts.append(("token", token.line))
    facts += provider_facts(settings, server)
    facts.append(("offers", ", ".join(server.used) or "nothing beyond the plain protocol"))
    if server.missed:
        facts.append(("lacks", ", ".join(server.missed)))
    return facts


def work_words(preview: Preview) -> str:
    """What the source has, and about how much of it a run will fetch."""
    totals = preview.totals
    has = f"{counted(totals['folders'], 'folder')}, {counted(totals['messages'], 'message')}"
    has += f", {size(totals['size'])}" if totals["size"] else ""
    if not totals["to_visit"]:
        return f"{has}; nothing to do: no folder changed"
    fetch = f"{has}; a run opens {totals['to_visit']:,}"
    fetch += f" and fetches about {counted(totals['to_fetch'], 'message')}" if totals["to_fetch"] else ""
    fetch += f", {size(totals['octets'])}" if totals["octets"] else ""
    if (criteria := preview.settings.messages.criteria(utc_today())) is not None:
        fetch += f", minus what search {criteria} leaves out"
    fetch += days_words(preview.settings.source, preview.server, totals["octets"])
    if totals["octets"] > preview.place.free_octets and not preview.medium.is_remote:
        fetch += f"; but only {size(preview.place.free_octets)} is free at {preview.place.path}"
    return fetch


def to_send_words(preview: Preview) -> str | None:
    """About how much a run will send to the destination, and whether it has room for that."""
    there, work = preview.destination, preview.to_send
    if there is None or work is None:
        return None
    messages, octets = work
    if not messages:
        return "nothing to send; only flag changes will be applied"
    text = f"about {counted(messages, 'message')} to send" + (f", {size(octets)}" if octets else "")
    if preview.settings.destination is not None:
        text += days_words(preview.settings.destination, there.server, octets)
    if there.free_octets is not None and octets > there.free_octets:
        text += f"; but only {size(there.free_octets)} is free there"
    if there.too_large and there.append_limit is not None:
        large = counted(there.too_large, "message is", "messages are")
        text += f"; {large} larger than {size(there.append_limit)}, and will be refused"
    return text


def not_ours_words(found: NotOurs, settings: Settings, *, compared: bool) -> str:
    """How much mail the destination holds that is not from this archive."""
    text = "destination: nothing there that is not from this archive"
    if found.messages:
        there = counted(found.messages, "message there is", "messages there are")
        text = f"destination: {there} not from this archive"
    if found.messages and settings.destination is not None and settings.destination.prefix:
        text += f', {found.below_prefix:,} of them below "{settings.destination.prefix}"'
    if found.messages and not compared:
        text += "; without an archive it is not known whether they are the account's own"
    if found.untold:
        text += f"; {counted(found.untold, 'folder does', 'folders do')} not report how many they hold"
    return text
