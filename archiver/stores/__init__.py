"""Where the bytes of an account lie, and the journal of the facts beside them."""
