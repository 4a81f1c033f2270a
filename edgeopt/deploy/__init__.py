"""export(), the bundle that it leaves and its record, and what is read from them later.

Not called ``export``: a package of that name would hide the function ``edgeopt.export``.
"""
