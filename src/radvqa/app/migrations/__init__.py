"""Migrations of the app's tables, applied by `open_database`; a change of database.py needs a new file in versions/."""
