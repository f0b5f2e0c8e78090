"""Adds everything, in the order in which one thing needs another."""

from pathlib import Path

from .animals import add_subjects
from .cache_tables import write_cache_tables
from .datasets import Shelf
from .extras import add_extras
from .library import Library
from .real import RealFiles, add_real_sessions
from .regions import add_regions
from .sessions import SessionMaker, add_odd_sessions, add_usual_sessions
from .tables import Tables
from .vocabulary import add_words


def add_everything(home: Path, scale: int, largest: int) -> None:
    """Fill the database and write the files."""
    tables = Tables()
    words = add_words(tables)
    shelf = Shelf(tables, words)
    maker = SessionMaker(tables, words, shelf, add_regions(tables))
    subjects = add_subjects(tables, words, scale)
    add_real_sessions(maker, RealFiles(shelf, words, home / "files", largest))
    add_odd_sessions(maker, subjects)
    library = Library(home / "library", home / "files", largest)
    add_usual_sessions(maker, subjects, scale, library)
    library.close()
    add_extras(tables, words, home / "uploaded", scale)
    tables.write()
    write_cache_tables(home / "tables", home / "files", list(words.tags))
