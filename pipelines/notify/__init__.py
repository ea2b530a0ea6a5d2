"""What others get to know of a run: a notice, a ping, numbers for monitoring. None of it can harm a run.

results      how each account of a command ended, as all the others here need it
outcomes     what each account's last outcome was, kept beside the account files
occasion     pure: who is worth a notice, and why
notice       pure: the notice as text and as JSON
channel      what a channel is, and what it says if it could not deliver
mail         by SMTP (RFC 5321, with STARTTLS of RFC 3207 and AUTH of RFC 4954)
webhook      as signed JSON over HTTPS
program      as JSON on the standard input of a program
ping         one request at the start and one at the end, as for healthchecks.io
apart        deliveries in a process of their own, which is killed when the time is over
deliver      which channels get what, before and after a run, and for `check --notify`
samples      pure: the numbers of Prometheus, and their text format
metrics      the textfile, which several commands may write at once
"""
