"""Tables and charts of measured and published figures.

- `published`: figures of papers, each with its source and protocol, from `data/paper`.
- `measured`: the same of this library's own results files.
- `places`: the place of a figure among those that can be compared with it.
- `table`: both in one table, or as data.
- `markup`: that table as Markdown and HTML.
- `figures`: one run at a glance: headline, confusions, the best and worst images.
- `charts`: drawings of these.
- `examples`: images of a run, segmented again to be looked at.
"""
