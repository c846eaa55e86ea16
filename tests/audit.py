"""`make audit`: fail where a pinned requirement has a known vulnerability; without the data say so, and pass."""

import json
import re
import subprocess
import sys
from typing import Any

from config import ROOT

# Of those that run in production. By the pins and hashes, so that pip need not resolve or install anything.
COMMAND = ["-m", "pip_audit", "--requirement", "requirements.txt", "--require-hashes", "--disable-pip"]
OPTIONS = ["--format", "json", "--progress-spinner", "off", "--timeout", "5"]
AT_MOST_SECONDS = 120


def verdict(report: str, errors: str) -> tuple[bool, str]:
    """Return whether what pip-audit wrote passes, and what to print."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        last = (errors.strip().splitlines() or ["nothing"])[-1]
        if re.match(r"requests\.exceptions\.|urllib3\.exceptions\.|ERROR:pip_audit\._cli:.*(connect|time)", last):
            return True, "Audit: the data on vulnerabilities cannot be reached from here, so nothing was audited."
        return False, f"Audit: pip-audit could not do its work: {last}"
    found = [
        f"{each['name']} {each['version']} has {flaw['id']}; fixed in {', '.join(flaw['fix_versions']) or 'no release'}"
        for each in packages
        for flaw in each.get("vulns", [])
    ]
    if found:
        return False, "\n".join(["Audit: known vulnerabilities in requirements.txt", *found])
    missing = sum("skip_reason" in each for each in packages)
    if missing:
        return True, f"Audit: no data on {missing} of {len(packages)} requirements can be reached from here."
    return True, f"Audit: no known vulnerability in {len(packages)} requirements."


def main() -> None:
    try:
        done = subprocess.run(
            [sys.executable, *COMMAND, *OPTIONS],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=AT_MOST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        passes, words = True, f"Audit: no data on vulnerabilities within {AT_MOST_SECONDS} s, so nothing was audited."
    else:
        passes, words = verdict(done.stdout, done.stderr)
    print(words)
    sys.exit(not passes)


if __name__ == "__main__":
    main()
