"""PnP-OVSS, the method (arXiv 2311.17095), in reading order.

`config` (settings), `presets` (settings of each model), `prompt` (words and their tokens),
`salience` (attention and GradCAM), `dropout` (Salience DropOut), `refine` (threshold, blur, dense
CRF), `result` (what comes out), `pipeline` (the five steps together). `threshold` and `resample`
are parts of the refinement, `planes` and `batched` the same in PyTorch. `departures` lists where
the released code does something else than the paper.
"""
