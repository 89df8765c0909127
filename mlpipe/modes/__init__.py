"""One file for each mode of the command line; each plans and runs resumable steps.

Words that run nothing have a file here too: `main` of `mlpipe.modes.WORD` is given what stands behind the word.
"""

WORDS = {
    "help": "What a mode, group, option or key means, and where a word occurs: mml help optimizer.lr",
    "models": "Networks by name, with parameters, input size and weights: mml models 'resnet*'",
    "version": "The version of mlpipe: mml version",
}
