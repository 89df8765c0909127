#compdef mml
# Completion of mml for zsh: put eval "$(mml completion zsh)" into ~/.zshrc, or this text into a file _mml of your $fpath
# zsh takes a bracket without quotes for a pattern: write callbacks=\[early, or quote the word.
_mml() {
    local word about
    local -a whole whole_shown open open_shown
    while IFS=$'\t' read -r word about; do
        if [[ $word == *[=./\#,\[] ]]; then
            open+=("$word")
            open_shown+=("$word${about:+  -- $about}")
        else
            whole+=("$word")
            whole_shown+=("$word${about:+  -- $about}")
        fi
    done < <(printf '%s\0' "${(@Q)words[2,CURRENT-1]}" "$PREFIX" | ${(Q)~words[1]} completion --candidates zsh 2>/dev/null)
    local -a listed
    [[ "${whole_shown[*]}${open_shown[*]}" == *'  -- '* ]] && listed=(-l)
    compadd -V mml $listed -d whole_shown -a whole
    compadd -V mml $listed -d open_shown -S '' -a open
}
if [[ ${funcstack[1]} == _mml ]]; then
    _mml "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _mml mml
fi
