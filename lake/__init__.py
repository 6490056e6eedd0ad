"""Tables on the blob store: append once, seal, read, verify."""
