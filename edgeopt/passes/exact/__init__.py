"""Passes that change no number: proven on the outputs of every model they run on."""
