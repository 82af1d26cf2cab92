"""Programs: the contract of a model and a guide, `program(x, index)`, and how the two are run on x."""
