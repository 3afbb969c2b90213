#!/usr/bin/env python3
"""Repositories and plans to measure with.

cases.py small OUT ITEMS [FILES]   a repository of FILES files (50) and ITEMS branches, each with a file of its own
cases.py requests OUT REPOSITORY [MERGES]
                                   the last MERGES (400) merges of a repository, as branches that are all open at once:
                                   what each of them changed, replayed onto the commit before the first of them

Either makes OUT/repo.git, with `main` and the branches, OUT/plan.yaml with one gate, `true`, and OUT/heads, a line
for each branch: its commit and its name, in the order of the plan.
"""
import os
import subprocess
import sys

ENV = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.com", "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_NAME": "Carl", "GIT_COMMITTER_EMAIL": "carl@example.com", "GIT_COMMITTER_DATE": "1700000000 +0000",
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
}


def git(repo, *args, given=None, may_fail=False):
    done = subprocess.run(["git", "-C", repo, *args], input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
    if done.returncode and not may_fail:
        sys.exit(f"git {' '.join(args[:3])}: {done.stderr.decode(errors='replace')}")
    return None if done.returncode else done.stdout.decode(errors="surrogateescape").strip()


def finish(out, repo, heads):
    """Branches and plan for (name, commit) pairs."""
    git(repo, "update-ref", "--stdin", given="".join(f"update refs/heads/{name} {at}\n" for name, at in heads).encode())
    with open(os.path.join(out, "heads"), "w") as file:
        file.writelines(f"{at} {name}\n" for name, at in heads)
    with open(os.path.join(out, "plan.yaml"), "w") as file:
        file.write("schemaVersion: v1\ntarget: main\ngates: [{ name: unit, run: 'true' }]\nitems:\n")
        file.writelines(f"  - {{ name: {name} }}\n" for name, _ in heads)


def small(out, items, files):
    repo = os.path.join(out, "repo.git")
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repo], check=True, env=ENV)
    who = "committer Carl <carl@example.com> 1700000000 +0000\n"
    lines = [f"commit refs/heads/main\nmark :1\n{who}data 5\nbase\n"]
    for at in range(files):
        lines.append(f"M 100644 inline dir{at % 10}/file{at}\ndata 20\n{at:019}\n\n")
    names = [f"item-{at:05}" for at in range(items)]
    for at, name in enumerate(names):
        lines.append(f"commit refs/heads/{name}\n{who}data {len(name)}\n{name}\nfrom :1\n")
        lines.append(f"M 100644 inline dir{at % 10}/{name}\ndata 20\n{at:019}\n\n")
    git(repo, "fast-import", "--quiet", given="".join(lines).encode())
    heads = dict(line.split(" ")[::-1] for line in
                 git(repo, "for-each-ref", "--format=%(objectname) %(refname:short)", "refs/heads").splitlines())
    finish(out, repo, [(name, heads[name]) for name in names])


def requests(out, mirror, merges):
    repo = os.path.join(out, "repo.git")
    subprocess.run(["git", "clone", "-q", "--bare", mirror, repo], check=True, env=ENV)
    log = git(repo, "log", "--first-parent", "--min-parents=2", "--max-parents=2", f"-{merges}", "--format=%H %P")
    rows = [line.split() for line in log.splitlines()][::-1]
    if not rows:
        sys.exit(f"{mirror} has no merges on its first-parent line")
    base = rows[0][1]
    nothing = git(repo, "rev-parse", f"{base}^{{tree}}")
    heads = []
    for merge, before, _ in rows:
        made = git(repo, "merge-tree", "--write-tree", "--no-messages", f"--merge-base={before}", base, merge, may_fail=True)
        # What needs one of the others, or is nothing by itself, is no request of its own.
        if made is None or made == nothing:
            continue
        name = f"pr/{len(heads) + 1:03}"
        heads.append((name, git(repo, "commit-tree", made, "-p", base, "-m", f"what {merge[:12]} merged")))
    git(repo, "update-ref", "--no-deref", "HEAD", base)
    refs = git(repo, "for-each-ref", "--format=delete %(refname)")
    git(repo, "update-ref", "--stdin", given=(refs + "\n").encode())
    git(repo, "update-ref", "refs/heads/main", base)
    git(repo, "symbolic-ref", "HEAD", "refs/heads/main")
    finish(out, repo, heads)


def main():
    match sys.argv[1:]:
        case ["small", out, items, *files]:
            os.makedirs(out)
            small(out, int(items), int(files[0]) if files else 50)
        case ["requests", out, mirror, *merges]:
            os.makedirs(out)
            requests(out, mirror, int(merges[0]) if merges else 400)
        case _:
            sys.exit(__doc__)


main()
