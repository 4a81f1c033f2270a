"""The integer graph's nodes, one file a kind: its values, its kernel, what that asks of memory, its call in C."""
