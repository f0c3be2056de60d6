"""`python -m crash.images`: see the package. Ends with 1 when a promise was found broken."""

import argparse
import sys
from dataclasses import replace

from .campaign import PLANS, names, run, with_share


def main(arguments: list[str]) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="crash.images", description="crash-state enumeration")
    parser.add_argument("--quick", action="store_const", dest="plan", const="quick", help="the same as --plan quick")
    parser.add_argument("--plan", choices=sorted(PLANS), default="build")
    parser.add_argument("--share", default="0/1", metavar="NUMBER/COUNT", help="one part of the images")
    parser.add_argument("--script", action="append", choices=names(), default=[], help="this one only; may be repeated")
    parser.add_argument("--ignore", action="append", default=[], metavar="CALL:END", help="a call that does nothing")
    parser.add_argument("--json", action="store_true", help="say it for a program")
    given = parser.parse_args(arguments)
    ignores = tuple((call, end) for call, _, end in (text.partition(":") for text in given.ignore))
    inquest = replace(with_share(PLANS[given.plan], given.share), ignores=ignores)
    figures = run(inquest, wanted=given.script)
    if given.json:
        print(figures.to_json())  # noqa: T201
    else:
        print("\n".join([*figures.violations, str(figures)]))  # noqa: T201
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
