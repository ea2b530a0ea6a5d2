"""Getting mail out: folders of an archive, of now or of then, as a Maildir++, as mboxes or as single files.

step                     every message read, proved, and handed to a writer; what is damaged is listed
maildir  mbox  eml       the writers, one for each form
index  places            what was written, a line for each message; which folder goes into which file
mboxrd                   pure: messages in an mbox, quoted so that they come back octet for octet
writer                   the port: what a step needs of a form
"""
