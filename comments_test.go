package hark_test

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestCommentsAreNarrow: no line with a comment goes beyond the width of the documents, with tabs
// of four, but for code, tables and single words in lines of their own, and directives. A comment
// that has no room behind its code stands above it, or in the block that the code opens.
func TestCommentsAreNarrow(t *testing.T) {
	files := 0
	if err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != "."):
			return filepath.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, at := range wideComments(source) {
			t.Errorf("%s:%d has a comment beyond %d columns", path, at, width)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("%d files were looked at", files)
	}
	long, digits := strings.Repeat("word ", 25), strings.Repeat("1", 100)
	for source, want := range map[string]int{
		"package a\n\n// " + long + "\nvar x = 1\n":          1,
		"package a\n\nfunc f() {\n\t// " + long + "\n}\n":    1,
		"package a\n\n//\t" + long + "\nvar x = 1\n":         0,
		"package a\n\nvar x = 1 // " + long + "\n":           1,
		"package a\n\nvar x = " + digits + " // one\n":       1,
		"package a\n\nvar x = " + digits + " //nolint:a\n":   0,
		"package a\n\nvar x = " + digits + "\n":              0,
		"package a\n\nvar x = `\n// " + long + "`\n":         0,
		"package a\n\n// " + strings.Repeat("w", 120) + "\n": 0,
	} {
		if got := wideComments([]byte(source)); len(got) != want {
			t.Errorf("%q: %v", source, got)
		}
	}
}

// wideComments returns the lines of a Go file that have comments and are too wide.
func wideComments(source []byte) (at []int) {
	files := token.NewFileSet()
	file := files.AddFile("", files.Base(), len(source))
	var s scanner.Scanner
	s.Init(file, source, nil, scanner.ScanComments)
	lines := strings.Split(string(source), "\n")
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			return at
		}
		n := file.Line(pos)
		line := lines[n-1]
		words, prose := strings.CutPrefix(text, "// ")
		alone := strings.TrimSpace(line) == strings.TrimSpace(text)
		if tok != token.COMMENT || !prose || strings.HasPrefix(words, " ") || alone && !strings.Contains(words, " ") {
			continue
		}
		if utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    ")) > width {
			at = append(at, n)
		}
	}
}
