"""What is brought back: the folders as they stood at a moment of the past, or messages that somebody asks for.

as_of       what a destination lacks of the folders as they were at a past moment
choice      pure: which of the messages that were asked for are sent, and why others are not
pending     the messages that were chosen, as what is missing in a folder
run         the chosen messages sent to a mailbox, by the same steps as a replay
"""
