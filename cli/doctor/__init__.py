"""`headrace doctor`: looks an installation over, and says of all that is wrong what to do."""
