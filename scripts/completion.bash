# SPDX-License-Identifier: Apache-2.0
# bash completion of `causeway`: commands from its --help, options from each command's --help.
_causeway()
{
	local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words=""

	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		words="$(causeway --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p') --help --version"
	elif [[ $word == -* ]]; then
		words=$(causeway "$command" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]*' | sort -u)
	else
		case "$command:$COMP_CWORD" in
		vm:2) words="add remove list capture" ;;
		tenant:2) words="list set reload record cdi" ;;
		card:2) words="list status reset restart" ;;
		cuda:2) words="coverage" ;;
		esac
	fi
	if [ -n "$words" ]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
	else
		compopt -o default 2>/dev/null
	fi
}
complete -F _causeway causeway
