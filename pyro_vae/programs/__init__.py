"""Programs: the contract of model and guide, `program(x, index)`, and how they are run on x."""
