"""Finding what a traced graph no longer says: attention, norms, the blocks they form and the stream between them."""
