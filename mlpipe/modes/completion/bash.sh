# Completion of mml for bash: put eval "$(mml completion bash)" into ~/.bashrc
_mml_complete() {
    local reply command="${1/#\~/$HOME}"
    COMPREPLY=()
    # The line as it was typed and the piece of it that bash is going to replace, which begins behind the last = or :
    while IFS= read -r reply; do
        COMPREPLY+=("$reply")
    done < <(printf '%s\0' "${COMP_LINE:0:COMP_POINT}" "$2" | "$command" completion --candidates bash 2>/dev/null)
}
complete -o nospace -F _mml_complete mml
