"""What a command records in the ledgers of the fleets that its accounts belong to.

ledgers  the ledger of an account's fleet, each opened once
record   runs as they begin and end, with cause and next step
"""
