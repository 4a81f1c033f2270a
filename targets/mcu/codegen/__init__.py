"""C source: the calls, the library and the project around it."""
