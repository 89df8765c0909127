"""One file for each mode of the command line; each plans and runs resumable steps.

Words that run nothing have a file here too: `main` of `mlpipe.modes.WORD` is given what stands behind the word.
"""

# Options of the command line without a value, and those that go with one.
FLAGS = {
    "-h": "help", "--help": "help", "--version": "version", "-m": "multirun", "--multirun": "multirun",
    "--json": "json", "--dry-run": "dry_run",
}  # fmt: skip
WITH_VALUE = ("--cfg", "-c", "--config-dir", "-cd")
# Modes whose keys may be written as `--key value` too.
SCRIPTS = ("fit", "task", "analyze")
WORDS = {
    "completion": "Complete modes, groups, keys, tasks and files with the Tab key, in bash, zsh and fish: mml completion",
    "doctor": "Whether this machine and installation can train, and what differs from a stored run: mml doctor",
    "help": "What a mode, group, option or key means, and where a word occurs: mml help optimizer.lr",
    "models": "Networks by name, with parameters, input size and weights: mml models 'resnet*'",
    "version": "The version of mlpipe: mml version",
}
