"""Measuring speed and memory: what `ovss bench` runs.

`salience` (Steps 2 to 4 against `full_graph`), `refine` (Step 5), `tuning`, `counting` and
`engines` each make one record; `tables` prints it. `case` and `random_models` are what is
measured, `machine` and `memory` how.
"""
