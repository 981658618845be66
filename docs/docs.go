// Package docs reads the project's documents for the tests that hold them to what they say.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Block is a block of code in a document.
type Block struct {
	Line     int    // of its first fence
	Heading  string // the one above it
	Language string // "sh" is for whoever reads to run, and a test runs it; "console" cannot be
	Name     string // what stands behind the language, as of a file
	Text     string
}

// Read returns a document by its path from the root of the project.
func Read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(t), filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Root is the folder of the project, above the one in which the test runs.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "ARCHITECTURE.md")); err == nil {
			return dir
		}
		above := filepath.Dir(dir)
		if above == dir {
			t.Fatal("no folder above has an ARCHITECTURE.md")
		}
		dir = above
	}
}

// Guides returns the paths of the documents for whoever uses Hark: README.md and those of docs/.
func Guides(t testing.TB) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(Root(t), "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{"README.md"}
	for _, path := range found {
		paths = append(paths, "docs/"+filepath.Base(path))
	}
	return paths
}

var fence = regexp.MustCompile("^( *)```(\\w*)(?: (\\S+))?[^\n]*$")

// Blocks returns the blocks of code in a text, in order.
func Blocks(text string) (blocks []Block) {
	var heading string
	var block *Block
	var indent string
	line := 0
	for l := range strings.Lines(text) {
		line++
		l = strings.TrimSuffix(l, "\n")
		switch m := fence.FindStringSubmatch(l); {
		case block != nil && strings.TrimSpace(l) == "```":
			blocks = append(blocks, *block)
			block = nil
		case block != nil:
			block.Text += strings.TrimPrefix(l, indent) + "\n"
		case m != nil:
			indent = m[1]
			block = &Block{Line: line, Heading: heading, Language: m[2], Name: m[3]}
		case strings.HasPrefix(l, "#"):
			heading = strings.TrimLeft(l, "# ")
		}
	}
	return blocks
}

// Find returns the block of code of a language, below a heading, that begins with something. The
// test fails if there is not exactly one.
func Find(t testing.TB, path, heading, language, begin string) string {
	t.Helper()
	blocks := slices.DeleteFunc(Blocks(Read(t, path)), func(b Block) bool {
		return b.Heading != heading || b.Language != language || !strings.HasPrefix(b.Text, begin)
	})
	if len(blocks) != 1 {
		t.Fatalf("%s has %d blocks of %s below %q that begin with %q, not one",
			path, len(blocks), language, heading, begin)
	}
	return blocks[0].Text
}
