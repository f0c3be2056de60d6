"""Rot: every bit of every kind of file flipped, files cut at every byte, blocks swapped, old or gone [A8].

`specimens.py` makes data directories and remembers what is in them, `damage.py` harms one file of one of them,
`examine.py` opens a log in what is left and compares, `house.py` does the same with a whole broker. From tests/:

    python -m crash.rot --part 0/2                   every second one of a build's damages
    python -m crash.rot --only "clean 3:t-0/durable-mark:flip 17"        one of them again
"""
