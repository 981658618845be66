package hark_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestShellLinesSuitZsh: what the documents show for a shell is pasted into zsh too, which is that of macOS. A question mark in a URL that stands there without
// quotes is a pattern to it, which no file matches, so that the command does not run. And unless it is told otherwise it knows no comments at
// a prompt: one behind a command of the README would be arguments of that, and a quote in one would swallow what follows.
func TestShellLinesSuitZsh(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, path := range append(files, "README.md", "deploy/README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?ms)^```(\\w*)[^\n]*\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
			if block[1] != "sh" && block[1] != "" {
				continue
			}
			blocks++
			for _, complaint := range unfitForZsh(block[2], path == "README.md") {
				t.Errorf("%s: %s", path, complaint)
			}
		}
	}
	if blocks < 15 {
		t.Errorf("only %d blocks were found", blocks)
	}
}

// unfitForZsh says what zsh takes for something else in lines for a shell.
func unfitForZsh(block string, comments bool) (complaints []string) {
	if !regexp.MustCompile(`(?m)^(curl|go|make|docker|sh) `).MatchString(block) {
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
