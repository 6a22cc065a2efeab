"""Which na_ray this is. A module, since it is found where the package itself is not: Python takes a folder of its name
that lies beside a script, such as a clone, for a package without `__init__.py`."""

__version__ = "0.2.0"
"""The one place that says it: packaging reads it from here."""
