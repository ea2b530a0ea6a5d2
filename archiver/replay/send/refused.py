"""What follows when the destination refuses a message that was sent by itself: another variant, or a refusal."""

from __future__ import annotations

from msgspec import Struct

from archiver.destination.port import FolderOpener
from archiver.errors import BackendError, FolderNotFound, OverQuota, PermissionDenied, TemporaryError, Throttled
from archiver.facts.destination import RefusedFact
from archiver.facts.mailbox import Appended
from archiver.facts.outgoing import Outgoing
from archiver.mail.refusal import Features, Refusal, classify, describe, features_of, suspect
from archiver.mail.rewrite import repairs_for
from archiver.replay.context import JobFolder, ReplayContext
from archiver.replay.send.match import octets_of
from archiver.replay.send.outcomes import refusal_of, reopened
from archiver.replay.send.prepare import PreparedMessage, as_variant, variants_of, with_repairs


class Refusals(Struct):
    """Decides about the refused messages of the folder that is open at `destination`, with nothing in flight."""

    context: ReplayContext
    destination: FolderOpener
    folder: JobFolder

    def too_big(self, outgoing: Outgoing) -> RefusedFact | None:
        """The refusal of a message that is not even sent: above APPENDLIMIT (RFC 7889), or too large for a day."""
        limit, most = self.context.append_limit, self.context.limits.most
        if most is not None and outgoing.placement.size > most:
            reason = "it is larger than [destination.limits] octets_per_day allows for a whole day"
            return self.fact(outgoing, "too-big", reason, None)
        if limit is None or outgoing.placement.size <= limit:
            return None
        return self.fact(outgoing, "too-big", describe("too-big", limit), None)

    def fact(self, outgoing: Outgoing, refusal: str, reason: str, reply: str | None) -> RefusedFact:
        """The fact of a refusal; the caller records it."""
        return refusal_of(self.context, self.folder, outgoing, refusal, reason, reply)

    def next_step(self, message: PreparedMessage, command: Appended) -> PreparedMessage | RefusedFact:
        """What to send in place of a single refused message, if that may help; otherwise the refusal.

        Raises:
            OverQuota, Throttled, FolderNotFound, PermissionDenied, TemporaryError: it is not about this message.
        """
        error = command.error
        assert error is not None
        refusal = classify(command.reply)
        if isinstance(error, Throttled) and not self.folder.job.is_only_connection():
            raise error  # may be a limit on connections; the last connection finds out what it means
        if refusal == "throttled" and not self._is_its_own(message, error):
            raise error if isinstance(error, TemporaryError) else Throttled(error.reason, where=error.where)
        if refusal == "over-quota":
            raise OverQuota(error.reason, where=error.where, server_reply=error.server_reply)
        if refusal == "folder":
            reopened(self.context, self.destination, self.folder)  # is it there?
            if not self._others_were_taken(message):
                raise error if isinstance(error, FolderNotFound | PermissionDenied) else _of_folder(error)
            refusal = "unknown"
        if (again := self._next_variant(message, refusal)) is not None:
            return again
        if refusal != "unknown":
            return self.fact(message.outgoing, refusal, describe(refusal), error.server_reply)
        suspected = suspect(self._features(message))
        reason = describe(suspected) if suspected == "unknown" else f"probably: {describe(suspected)}"
        return self.fact(message.outgoing, suspected, reason, error.server_reply)

    def _is_its_own(self, message: PreparedMessage, error: BackendError) -> bool:
        """Whether a server that answers "not now" means this message: others were accepted, and a pause did not
        help."""
        waited_for = self.folder.job.paused_for
        waited = message.key in waited_for or message.key in self.context.refused
        waited_for.add(message.key)
        return waited and not isinstance(error, Throttled) and self._others_were_taken(message)

    def _others_were_taken(self, message: PreparedMessage) -> bool:
        """Whether others were accepted since this one was refused first, or in an earlier run that recorded it."""
        job = self.folder.job
        return message.key in self.context.refused or job.accepted > job.deferred_at[message.key]

    def _next_variant(self, message: PreparedMessage, refusal: Refusal) -> PreparedMessage | None:
        """A variant that may be accepted in place of what was refused; None if nothing is left to try."""
        opened = self.folder.opened
        variant = next((variant for variant in variants_of(message, refusal) if variant not in message.tried), None)
        if variant is not None:
            return as_variant(message, opened, variant)
        features = self._features(message)
        cause = suspect(features) if refusal == "unknown" else refusal
        kinds = {*message.repaired, *repairs_for(cause, features, self.context.repairs)}
        if refusal == "unknown":
            kinds.update(repairs_for(refusal, features, self.context.repairs))
            message = as_variant(message, opened, "as it is")  # flags and date were not to blame
        if kinds == {*message.repaired}:
            return None
        return with_repairs(self.context.store, message, sorted(kinds))

    def _features(self, message: PreparedMessage) -> Features:
        return features_of(octets_of(self.context.store, message.outgoing.placement))


def _of_folder(error: BackendError) -> FolderNotFound:
    return FolderNotFound(error.reason, where=error.where, server_reply=error.server_reply)
