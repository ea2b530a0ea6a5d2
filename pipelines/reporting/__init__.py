"""The report that every run writes at its end, whether it succeeded or not.

ending       the report is made and written, then the run's row says that it has ended
build        the report from what the ledger and the catalog have
source       its part about the source and the archive
destination  its part about the destination
files        reports and their pages as files, each whole or not there
"""
