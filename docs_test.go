package hark_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/hark-push/hark/docs"
)

// TestShellLinesSuitZsh: what the documents show for a shell is pasted into zsh too, which is that
// of macOS. A question mark in a URL that stands there without quotes is a pattern to it, which no
// file matches, so that the command does not run. And unless it is told otherwise it knows no
// comments at a prompt: one behind a command would be arguments of that, and a quote in one would
// swallow what follows.
func TestShellLinesSuitZsh(t *testing.T) {
	blocks := 0
	for _, path := range append(docs.Guides(t), "deploy/README.md") {
		for _, block := range docs.Blocks(docs.Read(t, path)) {
			switch {
			case block.Language == "sh":
				blocks++
				for _, complaint := range unfitForZsh(block.Text, path != "deploy/README.md") {
					t.Errorf("%s:%d: %s", path, block.Line, complaint)
				}
			case block.Language == "" && command.MatchString(block.Text):
				t.Errorf("%s:%d: say sh, and it is run by a test, or console", path, block.Line)
			}
		}
	}
	if blocks < 40 {
		t.Errorf("only %d blocks were found", blocks)
	}
}

// command is a line that somebody types.
var command = regexp.MustCompile(`(?m)^(\$ )?(curl|go|make|docker|sh|npm|npx|kubectl|helm) `)

// unfitForZsh says what zsh takes for something else in lines for a shell.
func unfitForZsh(block string, comments bool) (complaints []string) {
	if !command.MatchString(block) {
		return nil
	}
	quote := byte(0)
	for i := 0; i < len(block); i++ {
		line, _, _ := strings.Cut(block[strings.LastIndexByte(block[:i], '\n')+1:], "\n")
		switch c := block[i]; {
		case quote == 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '?' && strings.Contains(line, "http"):
			complaints = append(complaints, "without quotes around it: "+line)
		case c == '#' && (i == 0 || strings.ContainsRune(" \n", rune(block[i-1]))):
			comment, _, _ := strings.Cut(block[i:], "\n")
			if comments && (!strings.HasPrefix(line, comment) || strings.ContainsAny(comment, "'\"`")) {
				complaints = append(complaints, "a comment behind a command, or with a quote in it: "+line)
			}
			i += len(comment) - 1
		}
	}
	return complaints
}

func TestUnfitForZsh(t *testing.T) {
	for block, want := range map[string]int{
		"curl http://a/b?c=d\n":                            1,
		"curl 'http://a/b?c=d' \"http://a/b?c=d\"\n":       0,
		"curl http://a/b -d 'x' # more\n":                  1,
		"# it's\ncurl http://a/b\n":                        1,
		"# first\ncurl http://a/b#c -d '# none' \\\n -v\n": 0,
		"curl http://a \\\n  http://b?x\n":                 1,
		"something is said?\n":                             0,
	} {
		if got := unfitForZsh(block, true); len(got) != want {
			t.Errorf("%q: %q", block, got)
		}
	}
}

// width is that of the documents' lines, in characters.
const width = 100

// TestDocumentsAreNarrow: no line of a document is longer than a hundred characters, but for those
// that cannot be broken: rows of tables, code, and a single word, as a long link is.
func TestDocumentsAreNarrow(t *testing.T) {
	for path, text := range documents(t) {
		for n, line := range wide(text) {
			t.Errorf("%s:%d: %d characters", path, n, utf8.RuneCountInString(line))
		}
	}
}

// TestLinksLead: each relative link of a document leads to a file that is there, and each anchor to
// a heading of it.
func TestLinksLead(t *testing.T) {
	all := documents(t)
	links := 0
	for path, text := range all {
		for _, link := range linksOf(text) {
			target, anchor, _ := strings.Cut(link, "#")
			if strings.Contains(link, ":") || strings.HasPrefix(link, "/") {
				continue // elsewhere, or at a gateway
			}
			links++
			if target = filepath.Join(filepath.Dir(path), target); target == filepath.Dir(path) {
				target = path
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", path, link, err)
			} else if anchor != "" && !anchorsOf(all[target])[anchor] {
				t.Errorf("%s: %s: there is no such heading", path, link)
			}
		}
	}
	if links < 60 {
		t.Errorf("only %d links were found", links)
	}
}

// TestArchitectureNamesWhatIsThere: each file that ARCHITECTURE.md names by its path is there.
func TestArchitectureNamesWhatIsThere(t *testing.T) {
	path := regexp.MustCompile("`([\\w.-]+(?:/[\\w.-]+)+\\.(?:go|js|mjs|lua|yaml|sh))`")
	named := path.FindAllStringSubmatch(documents(t)["ARCHITECTURE.md"], -1)
	for _, m := range named {
		if _, err := os.Stat(m[1]); err != nil {
			t.Error(err)
		}
	}
	if len(named) < 100 {
		t.Errorf("only %d were found", len(named))
	}
}

// documents returns all documents of the project by their paths.
func documents(t *testing.T) map[string]string {
	all := make(map[string]string)
	if err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != "." &&
			(name[0] == '.' || name == "node_modules" || name == "bin" || name == "data"):
			return filepath.SkipDir
		case filepath.Ext(name) == ".md":
			text, err := os.ReadFile(path)
			all[path] = string(text)
			return err
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(all) < 15 {
		t.Fatalf("only %d documents were found", len(all))
	}
	return all
}

var (
	codeBlock = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	codeSpan  = regexp.MustCompile("`[^`]+`")
	headingIn = regexp.MustCompile(`(?m)^#+ (.*)$`)
	linkIn    = regexp.MustCompile(`\[([^\]]*)\]\(([^)\s]+)\)`)
)

// wide returns the lines of a document that are too long and could be broken, by their numbers.
func wide(text string) map[int]string {
	lines := make(map[int]string)
	// What stands in a block of code counts as empty lines.
	text = codeBlock.ReplaceAllStringFunc(text, func(block string) string {
		return strings.Repeat("\n", strings.Count(block, "\n"))
	})
	for n, line := range strings.Split(text, "\n") {
		words := strings.Fields(strings.TrimLeft(codeSpan.ReplaceAllString(line, "x"), " -*>"))
		table := strings.HasPrefix(strings.TrimSpace(line), "|")
		if utf8.RuneCountInString(line) > width && len(words) > 1 && !table {
			lines[n+1] = line
		}
	}
	return lines
}

// linksOf returns where the links of a document lead.
func linksOf(text string) (links []string) {
	text = codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "x")
	for _, m := range linkIn.FindAllStringSubmatch(text, -1) {
		links = append(links, m[2])
	}
	return links
}

// anchorsOf returns the anchors that GitHub gives the headings of a document.
func anchorsOf(text string) map[string]bool {
	anchors := make(map[string]bool)
	text = codeBlock.ReplaceAllString(text, "")
	for _, m := range headingIn.FindAllStringSubmatch(text, -1) {
		anchors[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, linkIn.ReplaceAllString(m[1], "$1"))] = true
	}
	return anchors
}

func TestWhatDocumentsHave(t *testing.T) {
	long := strings.Repeat("größer ", 15)
	const text = "# A `go` _b_, [c](d)…\n\n```sh\n# none [x](y)\n```\n" +
		"[one](two#three) `[no](link)` [of\ntwo](lines)\n"
	if got := linksOf(text); strings.Join(got, " ") != "d two#three lines" {
		t.Error(got)
	}
	if got := anchorsOf(text); len(got) != 1 || !got["a-go-_b_-c"] {
		t.Error(got)
	}
	got := wide("| " + long + "|\n```\n" + long + "\n```\n" + long + "\n- `" + long + "`\n- " +
		strings.Repeat("x", 120) + "\n" + long[:100] + "\n")
	if len(got) != 1 || got[5] == "" {
		t.Error(got)
	}
}

// TestEachRowIsRun: of each table that says what is in the place of what in another system every
// row has its number, and a command below the table that is said to be that row's; the other way
// round, no number is of a row that there is not.
func TestEachRowIsRun(t *testing.T) {
	_, text, _ := strings.Cut(docs.Read(t, "docs/migrate.md"), "\n## From another system\n")
	row := regexp.MustCompile(`(?m)^\| (\d+) \|`)
	named := regexp.MustCompile(`(?m)(?:^# |\brows? )((?:\d+(?:, | and )?)+)`)
	systems := strings.Split(text, "\n### ")[1:]
	for _, system := range systems {
		name, body, _ := strings.Cut(system, "\n")
		rows, run := 0, make(map[string]bool)
		for _, m := range row.FindAllStringSubmatch(body, -1) {
			if rows++; m[1] != strconv.Itoa(rows) {
				t.Errorf("%s: row %d has the number %s", name, rows, m[1])
			}
		}
		for _, m := range named.FindAllStringSubmatch(body, -1) {
			for _, n := range regexp.MustCompile(`\d+`).FindAllString(m[1], -1) {
				if at, _ := strconv.Atoi(n); at < 1 || at > rows {
					t.Errorf("%s: there is no row %s", name, n)
				}
				run[n] = true
			}
		}
		for n := 1; n <= rows; n++ {
			if !run[strconv.Itoa(n)] {
				t.Errorf("%s: nothing runs row %d", name, n)
			}
		}
		if rows < 5 {
			t.Errorf("%s: only %d rows were found", name, rows)
		}
	}
	if len(systems) != 4 {
		t.Errorf("%d systems were found", len(systems))
	}
}
