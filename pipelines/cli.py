"""The command line."""

from __future__ import annotations

import sys
from pathlib import Path

from archiver.config import account_files, load_account
from archiver.errors import ArchiverError, worst
from pipelines.engine import Options, run_accounts
from pipelines.events import log_line
from pipelines.stop import STOP


def main() -> None:
    STOP.install()
    try:
        settings = [load_account(f) for f in account_files([Path(a) for a in sys.argv[2:]])]
        outcomes = run_accounts(
            settings, Options(), lambda a, e: sys.stderr.write(f"{a}: {log_line(e) or e}\n") and None
        )
        for o in outcomes:
            print(o.settings.account, o.exit_code, o.message, o.report)
        sys.exit(worst(o.exit_code for o in outcomes))
    except ArchiverError as e:
        print(e, file=sys.stderr)
        sys.exit(e.exit_code)
