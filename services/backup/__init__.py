"""Backups of a deployment: the rows of its database, and the objects that they name.

A backup is a folder `backups/NAME` of a place: every table as PostgreSQL's COPY prints it, the list of objects, and
last of all a manifest with the digests of these files. Objects lie beside the backups, under their hash, once for all.
"""
