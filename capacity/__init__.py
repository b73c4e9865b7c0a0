"""How many machines for how many users, and what gives way first: a simulation, checked against what was measured."""
