"""Messages, folder names, flags and dates: values and pure functions, without any input or output.

model           the small frozen values that all other packages use
content         a message's octets: digest, sizes, header block
headers         sender, recipients, subject and date, for search (RFC 5322, RFC 2047)
charsets        text of octets, by the charset that was meant (WHATWG Encoding Standard)
parts           the parts of a message: how they are nested, what they say, what is attached (RFC 2045, RFC 2046)
counts          numbers with their nouns, for people
dates           dates of messages: INTERNALDATE, and those in headers (RFC 3501, RFC 5322)
flags           one spelling for each flag, and its letter in a Maildir file name
folder_names    the octets on the wire, the path for people, the directory in the store (RFC 3501 5.1.3)
uidset          sets of UIDs as ranges: 1:5,7
fingerprint     whether the octets that a destination returns are the message that was sent
rewrite         the repaired copy that is sent after a destination refused the original octets
refusal         why a destination refused a message (RFC 5530, RFC 7889, and servers' texts)
window          folders of which a provider shows only the newest messages (Yahoo, Gmail)
unnumbered      folders without UIDVALIDITY: whether UIDs still name the same messages
reader          the port that sources and destinations share: reading the messages of one folder
"""
