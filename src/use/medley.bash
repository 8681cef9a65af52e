# bash completion of medley: commands, options and job keys, asked from the program itself.
_medley()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} medley=${COMP_WORDS[0]}
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "--help --version $("$medley" --help 2>/dev/null | sed -n 's/^  \([a-z-]*\) .*/\1/p')" -- "$word"))
    elif [ "$before" = --set ]; then
        COMPREPLY=($(compgen -S = -W "$("$medley" explain 2>/dev/null | sed -n 's/^\([a-z][^ ]*\..*\)/\1/p')" -- "$word"))
        compopt -o nospace 2>/dev/null
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$("$medley" "$command" --help 2>/dev/null | sed -n 's/^  \(--[a-z-]*\).*/\1/p')" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word"))
        compopt -o filenames 2>/dev/null
    fi
}
complete -F _medley medley
