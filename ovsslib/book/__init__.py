"""The notebooks and the book.

- `notebook`: what each notebook calls: parameters, figures, numbers for the text, provenance.
- `run`: executes the notebooks.
- `build`: builds the pages and looks for faults on them.
- `readme`, `protocol_tables`: tables of README and of the page on protocols.
"""
