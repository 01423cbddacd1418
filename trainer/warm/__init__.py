"""Python processes that begin with torch imported, forked from one that did so before."""
