"""Mail that lies in files, read and never changed. docs/files.md has the rules.

found           what is found: folders, files, messages, and where the octets of one lie
walk            which folders lie below a path
listing         the files of a folder, as they are now
reading         a file read for the first time, and which kind it is
contents        the octets of a message that was found
octets          line ends, and quoting undone
mbox            an mbox as a stream (RFC 4155), in each dialect
from_lines      pure: the line "From SENDER DATE" of an mbox
marks           pure: flags and labels that programs write into headers
maildir         pure: what names in a Maildir say
indexes         what our own exports and imap-backup say beside the mail
packed          files in .zip and .tar
index           what is known of files that were read
cache           where that lies
folders         the folders, by the names that the archive knows
source          all that as a source
"""
