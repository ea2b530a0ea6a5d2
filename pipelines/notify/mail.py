"""A notice by mail."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid

from msgspec import Struct

from archiver.config.secrets import resolve
from archiver.config.tables.notify import MailSettings
from pipelines.notify.channel import SILENT_SECONDS, Undelivered
from pipelines.notify.notice import Notice, one_line

_TLS_ADVICE = "check [notify.mail] host; SSL_CERT_FILE names the authority to trust, if the system does not know it"


class Mail(Struct, frozen=True):
    """One message to all recipients, over one connection."""

    settings: MailSettings

    @property
    def name(self) -> str:
        its = self.settings
        return f"mail to {', '.join(its.to)} by {its.address} ({_TLS[its.tls]})"

    def deliver(self, notice: Notice) -> str:
        its = self.settings
        password = None
        if its.user is not None and its.password is not None:
            password = resolve(its.password.kind, its.password.value, user=its.user).reveal()
        try:
            with _connected(its) as server:
                if its.tls == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if its.user is not None and password is not None:
                    server.login(its.user, password)
                # NOTE: with octets, not with the text: the policy has ended every line by CRLF.
                refused = server.sendmail(its.sender, list(its.to), message_of(notice, its).as_bytes())
        except (OSError, ValueError) as error:
            # NOTE: not `from error`, whose text may have what was sent. smtplib's errors are OSErrors.
            problem, advice = _problem(error)
        else:
            if not refused:
                return "accepted"
            problem, advice = f"not accepted for {_refused(refused)}", "check [notify.mail] to"
        raise Undelivered(problem, hint=advice)


_TLS: Mapping[str, str] = {"implicit": "TLS", "starttls": "STARTTLS", "off": "without TLS"}


def message_of(notice: Notice, settings: MailSettings) -> EmailMessage:
    """The message. Names and words of others are in its subject, which is one line."""
    message = EmailMessage(policy=SMTP)
    message["From"] = settings.sender
    message["To"] = ", ".join(settings.to)
    message["Subject"] = one_line(notice.subject)[:200]
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = make_msgid(domain=settings.sender.partition("@")[2] or "archiver.invalid")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's vacation message answers it
    message.set_content(notice.text)
    return message


def _connected(settings: MailSettings) -> smtplib.SMTP:
    """A connection after the greeting. Its name for EHLO is taken without asking DNS, which may be slow."""
    name = socket.gethostname()
    ours = name if "." in name else "[127.0.0.1]"
    if settings.tls == "implicit":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(
            settings.host, settings.port, local_hostname=ours, timeout=SILENT_SECONDS, context=context
        )
    return smtplib.SMTP(settings.host, settings.port, local_hostname=ours, timeout=SILENT_SECONDS)


def _problem(error: Exception) -> tuple[str, str | None]:
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"the login was refused: {_said(error)}", "check [notify.mail] user and password"
        case smtplib.SMTPNotSupportedError():
            return one_line(str(error)), "check [notify.mail] tls and user; nothing was sent without them"
        case smtplib.SMTPRecipientsRefused(recipients=refused):
            return f"not accepted for {_refused(refused)}", "check [notify.mail] to"
        case smtplib.SMTPResponseException():
            return f"the server says: {_said(error)}", None
        case ssl.SSLCertVerificationError():
            return f"the certificate is not trusted: {one_line(error.verify_message)}", _TLS_ADVICE
        case UnicodeError():
            return "the server's way to log in takes a user and a password in ASCII alone", None
        case TimeoutError():
            return f"no answer for {SILENT_SECONDS:g} seconds", None
        case OSError(strerror=str(text)) if text:
            return one_line(text), None
    return one_line(f"{type(error).__name__}: {error}"), None


def _refused(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return "; ".join(
        f"{address}: {code} {one_line(words.decode('utf-8', 'replace'))}"
        for address, (code, words) in refused.items()
    )


def _said(error: smtplib.SMTPResponseException) -> str:
    words = error.smtp_error
    return one_line(f"{error.smtp_code} {words.decode('utf-8', 'replace') if isinstance(words, bytes) else words}")
