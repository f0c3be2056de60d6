"""Crash-state enumeration [A1]: the power fails at every call on the disk, in every way that a disk may fail in.

    model       what a power cut may leave, in one place
    disk        a disk that runs a script, and knows at every call what a power cut would leave of it
    recording   the moments of a script's run: what could be left, and what had been promised
    choices     which of all that may be left is tried: systematically first, then by chance
    promises    what the one who wrote was told, and what must therefore be found: the oracle
    owner       who owns logs alone, and writes down what was sent and promised
    logs        scripts that drive logs alone, and how their images are looked at
    clients     the clients of a broker, who write down what they asked for and were told
    brokers     scripts that drive a whole broker (`world`) as its clients do, and how theirs are looked at
    inquest     each image recovered, held against the promises, cut again in its recovery, recovered again
    campaign    all scripts, all images

`python -m crash.images --quick` (with `tests` on the path) plays a part of it in a few seconds; it ends with 1 at the
first promise that is found broken.
"""
