"""The contract of a fleet's ledger. An adapter's test gives the fixture `ledger`, new and empty, and `again`, which
opens the same ledger once more, as another process would."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from archiver.errors import ConfigError
from archiver.fleet.model import Amounts, Claim, Enrolled, Run, RunBegun, RunEnded
from archiver.fleet.port import FleetLedger

AT, LATER, LAST = "2026-11-23T07:00:00Z", "2026-11-23T07:10:00Z", "2026-11-24T07:00:00Z"

ALICE = Enrolled("alice", "d1", "alice@example.org at imap.example.org", "imap.example.org:993")
BOB = Enrolled("sales/bob", "d2", "bob at imap.example.org", "imap.example.org:993", "bob at imap.example.net")
CARL = Enrolled("carl", "d3", "Carl Ölmüller at imap.example.org", "imap.example.org:993")


@pytest.fixture
def enrolled(ledger: FleetLedger) -> FleetLedger:
    ledger.accounts.enrol([ALICE, BOB, CARL])
    return ledger


def begun(account: str = "alice", run: str = "night-1", at: str = AT) -> RunBegun:
    return RunBegun(account, run, "run", at, "host:1")


def ended(account: str = "alice", run: str = "night-1", exit_code: int = 0, at: str = LATER) -> RunEnded:
    return RunEnded(account, run, "complete" if exit_code == 0 else "failed", exit_code, at, 12.5)


class LedgerContract:
    def test_a_new_ledger_knows_no_account(self, ledger: FleetLedger) -> None:
        assert ledger.accounts.known() == {}
        assert ledger.accounts.known(["alice"]) == {}

    def test_enrolled_accounts_are_known_in_order_of_their_names(self, enrolled: FleetLedger) -> None:
        assert list(enrolled.accounts.known()) == ["alice", "carl", "sales/bob"]
        assert enrolled.accounts.known(["sales/bob", "nobody"]).keys() == {"sales/bob"}
        assert [each.enrolled for each in enrolled.accounts.known().values()] == [ALICE, CARL, BOB]
        assert {each.state for each in enrolled.accounts.known().values()} == {"new"}

    def test_what_is_known_stays_when_a_file_changes(self, enrolled: FleetLedger) -> None:
        enrolled.accounts.set_state(["alice"], "frozen", AT, "admin")

        enrolled.accounts.enrol([replace(ALICE, written="d9", destination="alice at imap.example.net")])

        alice = enrolled.accounts.known()["alice"]
        assert (alice.enrolled.written, alice.enrolled.destination) == ("d9", "alice at imap.example.net")
        assert (alice.state, alice.state_since, alice.state_by) == ("frozen", AT, "admin")

    def test_a_user_may_move_to_another_server_and_a_server_may_rename_a_user(self, enrolled: FleetLedger) -> None:
        enrolled.accounts.enrol([replace(BOB, source="bob at mail.example.org")])
        enrolled.accounts.enrol([replace(BOB, source="robert at mail.example.org")])

        assert enrolled.accounts.known()["sales/bob"].enrolled.source == "robert at mail.example.org"

    def test_an_account_of_another_fleet_is_refused_and_nothing_changes(self, enrolled: FleetLedger) -> None:
        stranger = Enrolled("alice", "x", "alice@example.com at mail.example.com", "mail.example.com:993")

        with pytest.raises(ConfigError, match=r'"alice" as alice@example\.org at .* of another fleet'):
            enrolled.accounts.enrol([replace(BOB, written="new"), stranger])

        assert [each.enrolled for each in enrolled.accounts.known().values()] == [ALICE, CARL, BOB]

    def test_a_run_is_known_from_its_beginning(self, enrolled: FleetLedger) -> None:
        enrolled.accounts.begun([begun()])

        assert enrolled.accounts.known()["alice"].last == Run("night-1", "run", AT, owner="host:1")
        assert enrolled.accounts.known()["carl"].last is None

    def test_a_run_that_ended_well_is_a_success(self, enrolled: FleetLedger) -> None:
        enrolled.accounts.begun([begun()])
        amounts = Amounts(1200, 5_000_000_000, 20, 1_000)
        enrolled.accounts.ended([replace(ended(), amounts=amounts, fingerprint="f1")])

        alice = enrolled.accounts.known()["alice"]
        assert alice.last == Run(
            "night-1", "run", AT, LATER, "complete", 0, None, None, "host:1", 12.5
        )  # fmt: skip
        assert (alice.success, alice.amounts, alice.fingerprint) == (LATER, amounts, "f1")

    def test_a_failure_keeps_the_last_success_and_the_amounts_and_has_its_cause(
        self, enrolled: FleetLedger
    ) -> None:
        enrolled.accounts.begun([begun(), begun("carl")])
        enrolled.accounts.ended([replace(ended(), amounts=Amounts(7, 8), fingerprint="f1"), ended("carl")])
        enrolled.accounts.begun([begun(run="night-2", at=LAST)])
        failure = replace(ended(run="night-2", exit_code=5), cause="wrong password", next_step="set it", due=1e10)
        enrolled.accounts.ended([failure])

        alice = enrolled.accounts.known()["alice"]
        assert alice.last is not None
        assert (alice.last.run, alice.last.exit_code) == ("night-2", 5)
        assert (alice.last.cause, alice.last.next_step) == ("wrong password", "set it")
        assert (alice.success, alice.amounts, alice.fingerprint, alice.due) == (LATER, Amounts(7, 8), None, 1e10)
        assert enrolled.accounts.known()["carl"].due is None

    def test_what_waits_for_the_destination_stays_known_when_a_step_does_not_count_it(
        self, enrolled: FleetLedger
    ) -> None:
        enrolled.accounts.begun([begun()])
        enrolled.accounts.ended([replace(ended(), amounts=Amounts(7, 700, 2, 200))])
        enrolled.accounts.ended([replace(ended(), amounts=Amounts(9, 900))])

        assert enrolled.accounts.known()["alice"].amounts == Amounts(9, 900, 2, 200)

    def test_a_run_that_is_begun_again_has_not_ended(self, enrolled: FleetLedger) -> None:
        enrolled.accounts.begun([begun()])
        enrolled.accounts.ended([replace(ended(exit_code=3), cause="one message is missing")])
        enrolled.accounts.begun([begun(at=LAST)])

        assert enrolled.accounts.runs("alice", 9) == [Run("night-1", "run", LAST, owner="host:1")]

    def test_runs_are_listed_newest_first_and_forgotten_by_age_but_for_the_last(
        self, enrolled: FleetLedger
    ) -> None:
        for number in range(1, 5):
            at = f"2026-11-2{number}T07:00:00Z"
            enrolled.accounts.begun([begun(run=f"night-{number}", at=at)])
            enrolled.accounts.ended([ended(run=f"night-{number}", at=at)])
        enrolled.accounts.begun([begun("carl", at="2026-01-01T00:00:00Z")])

        assert [each.run for each in enrolled.accounts.runs("alice", 2)] == ["night-4", "night-3"]
        assert enrolled.accounts.forget_runs("2026-11-23T00:00:00Z") == 2
        assert [each.run for each in enrolled.accounts.runs("alice", 9)] == ["night-4", "night-3"]
        assert enrolled.accounts.forget_runs("2027-01-01T00:00:00Z") == 1
        assert [each.run for each in enrolled.accounts.runs("alice", 9)] == ["night-4"]
        assert [each.run for each in enrolled.accounts.runs("carl", 9)] == ["night-1"]

    def test_who_was_forgotten_may_be_another(self, enrolled: FleetLedger) -> None:
        enrolled.accounts.begun([begun()])
        enrolled.accounts.forget(["alice", "nobody"])
        assert "alice" not in enrolled.accounts.known()
        assert enrolled.accounts.runs("alice", 9) == []
        enrolled.accounts.enrol([Enrolled("alice", "", "zoe at elsewhere", "elsewhere")])
        assert enrolled.accounts.known()["alice"].last is None

    def test_states_are_set_with_who_and_when(self, enrolled: FleetLedger) -> None:
        enrolled.accounts.set_state(["alice", "sales/bob", "nobody"], "cutover", AT, "mail admin")

        states = {name: each.state for name, each in enrolled.accounts.known().items()}
        assert states == {"alice": "cutover", "carl": "new", "sales/bob": "cutover"}

    def test_what_is_written_is_there_for_others(
        self, enrolled: FleetLedger, again: Callable[[], FleetLedger]
    ) -> None:
        other = again()

        assert other.accounts.known() == enrolled.accounts.known()
        assert abs(other.now() - enrolled.now()) < 60
        other.close()
        other.close()
        assert other.accounts.known().keys() == {"alice", "carl", "sales/bob"}

    def test_a_claimed_account_is_nobody_elses(self, enrolled: FleetLedger) -> None:
        assert set(enrolled.claims.take("one", ["alice", "carl", "nobody"], 60)) == {"alice", "carl"}
        assert set(enrolled.claims.take("other", ["alice", "sales/bob"], 60)) == {"sales/bob"}
        assert set(enrolled.claims.take("one", ["alice"], 60)) == {"alice"}

        claim = enrolled.accounts.known()["alice"].claim
        assert claim is not None
        assert claim == Claim("one", claim.seconds_left)
        assert 50 < claim.seconds_left <= 60

    def test_a_claim_runs_out(self, enrolled: FleetLedger) -> None:
        enrolled.claims.take("one", ["alice", "carl"], -1)

        assert enrolled.accounts.known()["alice"].claim is None
        assert set(enrolled.claims.take("other", ["alice"], 60)) == {"alice"}
        assert set(enrolled.claims.renew("one", ["alice", "carl"], 60)) == {"carl"}
        assert set(enrolled.claims.take("other", ["carl"], 60)) == set()

    def test_a_claim_that_is_given_back_is_free_and_those_of_others_stay(self, enrolled: FleetLedger) -> None:
        enrolled.claims.take("one", ["alice"], 60)
        enrolled.claims.take("other", ["carl"], 60)

        enrolled.claims.give_back("one", ["alice", "carl"])

        known = enrolled.accounts.known()
        assert known["alice"].claim is None
        assert known["carl"].claim is not None
        assert set(enrolled.claims.renew("one", ["alice"], 60)) == set()

    def test_the_next_accounts_are_those_that_waited_longest_then_those_that_take_longest(
        self, enrolled: FleetLedger
    ) -> None:
        now = enrolled.now()
        everyone = ["alice", "carl", "sales/bob", "nobody"]
        enrolled.accounts.ended([replace(ended("alice"), seconds=5.0), replace(ended("carl"), seconds=50.0)])
        enrolled.accounts.ended([replace(ended("sales/bob"), seconds=500.0, due=now - 5)])

        assert list(enrolled.claims.take_due("one", everyone, 2, 60)) == ["carl", "alice"]
        assert list(enrolled.claims.take_due("other", everyone, 2, 60)) == ["sales/bob"]
        assert list(enrolled.claims.take_due("other", everyone, 2, 60)) == []

    def test_an_account_that_is_postponed_is_not_due(self, enrolled: FleetLedger) -> None:
        enrolled.claims.take("one", ["alice", "carl"], 60)
        enrolled.claims.give_back("one", ["alice"], enrolled.now() + 600)
        enrolled.claims.give_back("one", ["carl"], enrolled.now() - 1)

        assert list(enrolled.claims.take_due("one", ["alice", "carl"], 9, 60)) == ["carl"]
        assert set(enrolled.claims.take("one", ["alice"], 60)) == {"alice"}

    def test_what_is_to_be_done_once_is_done_by_the_first(
        self, enrolled: FleetLedger, again: Callable[[], FleetLedger]
    ) -> None:
        other = again()
        assert enrolled.claims.first("tell night-1", "one", 60)
        assert not other.claims.first("tell night-1", "other", 60)
        assert enrolled.claims.first("tell night-1", "one", 60)  # an answer was lost
        assert other.claims.first("tell night-2", "other", -1)
        assert enrolled.claims.first("tell night-2", "one", 60)
        other.close()

    def test_what_ended_since_a_moment_is_not_taken_again(self, enrolled: FleetLedger) -> None:
        enrolled.accounts.begun([begun("alice"), begun("carl"), begun("sales/bob", "night-0")])
        enrolled.accounts.ended([ended("alice"), ended("sales/bob", "night-0", at=AT)])

        everyone = ["alice", "carl", "sales/bob"]
        assert set(enrolled.claims.take_due("one", everyone, 9, 60, not_since=LATER)) == {"carl", "sales/bob"}

    def test_of_many_who_claim_at_once_one_gets_each_account(
        self, ledger: FleetLedger, again: Callable[[], FleetLedger]
    ) -> None:
        names = [f"a{number:03}" for number in range(120)]
        ledger.accounts.enrol([replace(ALICE, account=name) for name in names])
        ledgers = {f"owner-{number}": again() for number in range(4)}

        def claim(owner: str) -> list[str]:
            mine: list[str] = []
            while taken := ledgers[owner].claims.take_due(owner, names, 7, 600):
                mine += taken
            return mine

        with ThreadPoolExecutor(4) as threads:
            claimed = list(threads.map(claim, ledgers))
        for each in ledgers.values():
            each.close()

        taken = [name for mine in claimed for name in mine]
        assert sorted(taken) == names

    def test_there_are_so_many_seats_at_a_server_for_all(
        self, ledger: FleetLedger, again: Callable[[], FleetLedger]
    ) -> None:
        ledger.accounts.known()  # it is there

        def take(number: int) -> int | None:
            one = again()
            try:
                return one.servers.take_seat("imap.example.org", 5, f"process-{number}", 60)
            finally:
                one.close()

        with ThreadPoolExecutor(4) as threads:
            taken = list(threads.map(take, range(12)))
        assert sorted(each for each in taken if each is not None) == [0, 1, 2, 3, 4]
        assert ledger.servers.take_seat("imap.example.net", 1, "another", 60) == 0

        owner = f"process-{taken.index(3)}"
        ledger.servers.leave_seat("imap.example.org", 3, "somebody else")
        assert ledger.servers.take_seat("imap.example.org", 5, "late", 60) is None
        ledger.servers.leave_seat("imap.example.org", 3, owner)
        assert ledger.servers.take_seat("imap.example.org", 5, "late", 60) == 3

    def test_a_seat_that_nobody_keeps_is_free(self, ledger: FleetLedger) -> None:
        assert ledger.servers.take_seat("imap.example.org", 2, "killed", 0.05) == 0
        assert ledger.servers.take_seat("imap.example.org", 2, "alive", 0.05) == 1
        ledger.servers.keep_seats("alive", 60)
        time.sleep(0.1)
        assert ledger.servers.take_seat("imap.example.org", 2, "new", 60) == 0
        assert ledger.servers.take_seat("imap.example.org", 2, "newer", 60) is None

    def test_octets_of_all_are_one_rate(self, ledger: FleetLedger, again: Callable[[], FleetLedger]) -> None:
        other = again()
        try:
            assert ledger.servers.pass_octets("imap.example.org", 1000, 1000) == pytest.approx(0, abs=0.1)
            assert other.servers.pass_octets("imap.example.org", 2000, 1000) == pytest.approx(2, abs=0.3)
            assert ledger.servers.pass_octets("imap.example.org", 0, 1000) == pytest.approx(2, abs=0.4)
            assert ledger.servers.pass_octets("imap.example.net", 10, 1000) == 0
        finally:
            other.close()
