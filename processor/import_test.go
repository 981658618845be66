package processor_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The SDK stays light: whoever writes a handler pulls in the domain and nothing
// of the servers.
func TestImports(t *testing.T) {
	const module = "github.com/hark-push/hark/"
	allowed := map[string][]string{
		".":       {module + "lifecycle", module + "broker"},
		"samples": {module + "lifecycle", module + "processor", "code.dny.dev/ssrf", "golang.org/x/"},
	}
	for dir, prefixes := range allowed {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range file.Imports {
				path, _ := strconv.Unquote(spec.Path.Value)
				standard := !strings.Contains(strings.Split(path, "/")[0], ".")
				if !standard && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(path, p) }) {
					t.Errorf("%s imports %s", name, path)
				}
			}
		}
	}
}
