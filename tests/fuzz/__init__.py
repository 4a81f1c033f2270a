"""Files that are damaged or hostile: every reader refuses them in one sentence, runs nothing, writes nothing.

``python -m tests.fuzz --count 100000`` reads that many mutated files; a case is found again by its surface and number.
"""
