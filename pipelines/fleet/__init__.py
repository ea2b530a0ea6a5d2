"""Between a command and the ledgers of the fleets that its accounts belong to: what is recorded, and what is shown.

ledgers       the ledger of an account's fleet, each opened once
record        runs as they begin and end, with cause and next step
fingerprints  whether an account is as it was when nothing was left to do for it
looks         looks at accounts that found nothing new
refill        what a ledger did not know, from the archives
progress      how far accounts are, after check and verify
history       how far an account's migration is, as its archive knows it
look          how many accounts stand, by their ledgers
standing      how an account stands, as a value
table         the same as a table, and in sentences
page          the same as a page for the browser
watch         the table on a terminal, again and again
ages          ages and moments in words
at_work       whether somebody works on an archive
"""
