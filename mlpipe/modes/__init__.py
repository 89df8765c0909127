"""The modes of the command line, one file each; each mode plans and runs resumable steps.

Commands that run no steps have a file here too: `main` of `mlpipe.modes.WORD` receives the arguments after the word.
"""

# Command-line options without a value, and those with one.
FLAGS = {
    "-h": "help", "--help": "help", "--version": "version", "-m": "multirun", "--multirun": "multirun",
    "--json": "json", "--dry-run": "dry_run",
}  # fmt: skip
WITH_VALUE = ("--cfg", "-c", "--config-dir", "-cd")
# Modes whose keys may also be written as `--key value`.
SCRIPTS = ("fit", "task", "analyze")
WORDS = {
    "completion": "Complete modes, groups, keys, tasks and files with the Tab key, in bash, zsh and fish: mml completion",
    "doctor": "Whether this machine and installation can train, and what differs from a stored run: mml doctor",
    "help": "What a mode, group, option or key means, and where a word occurs: mml help optimizer.lr",
    "models": "Networks by name, with parameters, input size and weights: mml models 'resnet*'",
    "version": "The version of mlpipe: mml version",
}
