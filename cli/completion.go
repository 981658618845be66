package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionVerb struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// completions are what each shell is told: it asks the program what may stand where the cursor is.
var completions = map[string]string{
	"bash": `# hark: source <(hark completion bash)
_hark() {
    local IFS=$'\n'
    COMPREPLY=($(hark __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
}
complete -o default -F _hark hark
`,
	"zsh": `#compdef hark
# hark: source <(hark completion zsh)
_hark() {
    local -a found
    found=("${(@f)$(hark __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        compadd -S '' -- ${(M)found:#*=}
        compadd -- ${found:#*=}
    else
        _files
    fi
}
compdef _hark hark
`,
	"fish": `# hark: hark completion fish | source
function __hark_complete
    set -l words (commandline -opc) (commandline -ct)
    hark __complete $words[2..-1] 2>/dev/null
end
complete -c hark -a '(__hark_complete)'
`,
}

func (v *completionVerb) run(s *Streams) error {
	_, err := io.WriteString(s.Out, completions[v.Shell])
	return err
}

// Complete prints what may stand in the place of the last of the words behind the program's name, a
// line each. grammars are those of verbs that are not of this package, by name; "" is that of the
// gateway itself.
func Complete(words []string, grammars map[string]any, out io.Writer) {
	if len(words) == 0 {
		words = []string{""}
	}
	word, before := words[len(words)-1], words[:len(words)-1]
	var found []string
	own, err := newParser(new(grammar), Streams{Out: io.Discard}, func(int) {})
	if err != nil {
		return
	}
	node := own.Model.Node
	if len(before) == 0 || !Has(before[0]) {
		verb := ""
		if len(before) > 0 && grammars[before[0]] != nil {
			verb, before = before[0], before[1:]
		}
		parser, err := kong.New(grammars[verb])
		if err != nil {
			return
		}
		if verb == "" && len(before) == 0 {
			found = append(found, verbsOf(own.Model.Node)...)
			for name := range grammars {
				if name != "" {
					found = append(found, name)
				}
			}
		}
		node = parser.Model.Node
	}
	flags := slices.Clone(node.Flags)
	for _, w := range before {
		at := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Type == kong.CommandNode && n.Name == w })
		if at >= 0 {
			node = node.Children[at]
			flags = append(flags, node.Flags...)
		}
	}
	if strings.HasPrefix(word, "-") || len(found) == 0 && len(node.Children) == 0 && len(node.Positional) == 0 {
		found = nil
		for _, f := range flags {
			switch {
			case f.Hidden:
			case f.IsBool():
				found = append(found, "--"+f.Name)
			default:
				found = append(found, "--"+f.Name+"=")
			}
		}
	} else {
		found = append(found, verbsOf(node)...)
		for _, p := range node.Positional {
			for name := range p.EnumMap() {
				if name != "" {
					found = append(found, name)
				}
			}
		}
	}
	slices.Sort(found)
	for _, f := range slices.Compact(found) {
		if strings.HasPrefix(f, word) {
			_, _ = fmt.Fprintln(out, f)
		}
	}
}

func verbsOf(n *kong.Node) (names []string) {
	for _, c := range n.Children {
		if c.Type == kong.CommandNode && !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}
