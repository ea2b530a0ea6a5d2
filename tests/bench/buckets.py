"""Accounts archived into a bucket of a radosgw here, whole runs, beside boto3's put_object in a bare loop; packs
exported again, also through a long line."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

from tests.bench import contenders
from tests.bench.line import long_line
from tests.bench.measured import measured
from tests.bench.sheet import Sheet
from tests.bench.sitting import Sitting, in_turn, installed
from tests.servers import radosgw
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import SMALL_FOLDERS, Shape, generate
from tests.servers.s3_endpoint import Endpoint

_MESSAGES, _QUICK, _OCTETS = 5_000, 60, 8192
_THREADS = (1, 16)
_LINES = (0, 40)  # milliseconds there and back
_S3 = """\
store = "s3"

[archive.s3]
bucket = "{bucket}"
endpoint_url = "{endpoint.url}"
region = "{endpoint.region}"
addressing_style = "path"
layout = "{layout}"
"""


def measure(sitting: Sitting) -> Sheet:
    """All rounds; each has buckets of its own."""
    sheet = Sheet("Into a bucket", "put_object")
    if missing := radosgw.missing():
        sheet.note(f"No radosgw: {missing}")
        return sheet
    count = _QUICK if sitting.quick else _MESSAGES
    work = f"{count:,} messages of 8 KB, first"
    account = generate(sitting.directory("mailbox-s3"), Shape(count, _OCTETS, 0.0, SMALL_FOLDERS))
    with Dovecot() as server, radosgw.shared(sitting.directory("radosgw")) as gateway:
        user = installed(server, account)
        for number in range(sitting.runs):
            for way in in_turn(["packs", "objects", *_THREADS], number):
                sitting.settle()
                _measure(sheet, sitting, gateway.http, way, (work, server.port, user, count, number))
    for (done, tool), rounds in sheet.rows.items():
        wall = sheet.wall(done, tool) or 0
        sheet.note(f"{done}, {tool}: {count / wall:,.0f} messages a second ({len(rounds)} rounds)")
    return sheet


def _measure(
    sheet: Sheet, sitting: Sitting, endpoint: Endpoint, way: str | int, of: tuple[str, int, str, int, int]
) -> None:
    work, port, user, count, number = of
    directory = sitting.directory("s3", way, number)
    bucket = endpoint.fresh_bucket()
    environment = {**endpoint.environment(), "BENCH_URL": endpoint.url, "BENCH_BUCKET": bucket}
    if isinstance(way, int):
        name = "put_object" if way == 1 else f"put_object, {way} threads"
        command = [sys.executable, "-m", "tests.bench.bucket_writer", str(count), str(_OCTETS), str(way)]
    else:
        name = f"archiver, {way}"
        table = _S3.format(bucket=bucket, endpoint=endpoint, layout=way)
        command = [*contenders.ARCHIVER, str(contenders.account_file(directory, port, user, table))]
    environment = {**contenders.ENVIRONMENT, **environment}
    sheet.add(work, name, measured(command, directory / "log", environment=environment))
    if way != "packs":
        return
    account = directory / f"{user}.toml"
    own = account.read_text()
    for line in _LINES:
        sitting.settle()
        with long_line(urlsplit(endpoint.url).port or 80, line / 1000) as long:
            account.write_text(own.replace(endpoint.url, f"http://127.0.0.1:{long}"))
            command = [
                *contenders.archiver_verb("export"),
                str(account),
                str(directory / f"export-{line}"),
                "--to",
                "maildir",
            ]
            took = measured(command, directory / f"log-{line}", environment=environment)
        sheet.add(f"{count:,} messages of 8 KB, export, {line} ms", name, took)
