"""The version of the package, in one place: read by the build, the command line and every written picture."""

__version__ = "0.1.0"
