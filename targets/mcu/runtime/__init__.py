"""The library compiled, run on the host or in an emulator, and measured."""
