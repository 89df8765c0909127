# Completion of mml for fish: put  mml completion fish | source  into ~/.config/fish/config.fish
function __mml_candidates
    set -l typed (commandline -opc)
    printf '%s\0' $typed[2..-1] (commandline -ct) | $typed[1] completion --candidates fish 2>/dev/null
end
complete -c mml -f -k -a '(__mml_candidates)'
