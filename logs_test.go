package hark_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hark-push/hark/logs"
)

var recordLogs = flag.Bool("record-logs", false, "write the table of messages in docs/logs.md anew")

// message is a line of the log as it stands in the source.
type message struct {
	level, pkg, text string
	attributes       []string
	at               string
}

// ofNoRequest are messages that name a request, or an attempt, of which they know no id, or of
// which there are many.
var ofNoRequest = []string{
	"delayed work of a route is not handed on any more",
	"message is no job of Hark, moved to the dead queue", "panic in a handler",
	"batches could not be gone through",
	"the work of a route does not reach its queue or exchange; what is submitted there is answered with 503, other routes go on",
	"delivery of a route that was not asked for",
}

// TestLogMessages: what the programs log are constants, each with one level, which docs/logs.md
// lists with what else is in such a line; what is about a request has its id; and each package that
// logs can have a level of its own.
func TestLogMessages(t *testing.T) {
	var all []message
	for _, room := range []string{"backends", "broker", "gateway", "hub", "lifecycle", "processor", "store", "tracing", "webhook"} {
		if err := filepath.WalkDir(room, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			found, faults := messagesIn(files, file, filepath.ToSlash(filepath.Dir(path)))
			for _, fault := range faults {
				t.Error(fault)
			}
			all = append(all, found...)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	aboutOne := regexp.MustCompile(`(^|\b(a|the|leased|pending|silent|damaged) )(request|attempt|lease|job|handler|batch|delivery|mail|record)\b`)
	covered := make(map[string]bool)
	for _, m := range all {
		name := m.pkg
		for !slices.Contains(logs.Packages, name) {
			if !strings.Contains(name, "/") {
				t.Errorf("%s: %s is not among logs.Packages", m.at, m.pkg)
				break
			}
			name = name[:strings.LastIndexByte(name, '/')]
		}
		covered[name] = true
		if aboutOne.MatchString(m.text) && !slices.Contains(m.attributes, "request") && !slices.Contains(ofNoRequest, m.text) {
			t.Errorf("%s: %q does not say of which request", m.at, m.text)
		}
	}
	for _, name := range logs.Packages {
		if !covered[name] && !slices.ContainsFunc(logs.Packages, func(other string) bool { return strings.HasPrefix(other, name+"/") && covered[other] }) {
			t.Errorf("%s is among logs.Packages and logs nothing", name)
		}
	}
	table := tableOf(t, all)
	const path = "docs/logs.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	prose, recorded, _ := bytes.Cut(text, []byte("| message |"))
	recorded = append([]byte("| message |"), recorded...)
	if *recordLogs {
		if err := os.WriteFile(path, append(prose, table...), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(recorded) != table {
		t.Errorf("the table of %s is not what the source says: go test . -run TestLogMessages -record-logs, and look at the difference", path)
	}
}

// tableOf is the table of messages: of each package those that matter most first. One message in
// several places of a package has one row.
func tableOf(t *testing.T, all []message) string {
	t.Helper()
	severity := []string{"ERROR", "WARN", "INFO", "DEBUG"}
	slices.SortStableFunc(all, func(x, y message) int {
		if n := strings.Compare(x.pkg, y.pkg); n != 0 {
			return n
		}
		if n := slices.Index(severity, x.level) - slices.Index(severity, y.level); n != 0 {
			return n
		}
		return strings.Compare(x.text, y.text)
	})
	rows := []string{"| message | level | package | members |", "| --- | --- | --- | --- |"}
	levels := make(map[string]string)
	for i, m := range all {
		if before := levels[m.text]; before != "" && before != m.level {
			t.Errorf("%s: %q is of the levels %s and %s", m.at, m.text, before, m.level)
		}
		levels[m.text] = m.level
		if i > 0 && all[i-1].pkg == m.pkg && all[i-1].text == m.text {
			continue
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s |", m.text, m.level, m.pkg, strings.Join(m.attributes, ", ")))
	}
	if len(all) < 90 {
		t.Errorf("only %d messages were found", len(all))
	}
	return strings.Join(rows, "\n") + "\n"
}

// messagesIn returns what a file logs, and what is wrong with it.
func messagesIn(files *token.FileSet, file *ast.File, pkg string) (found []message, faults []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit: // of lifecycle/burst.go
			if name, ok := n.Type.(*ast.Ident); !ok || name.Name != "burst" || len(n.Elts) == 0 {
				return true
			}
			m := message{pkg: pkg, at: files.Position(n.Pos()).String(), attributes: []string{"request", "error", "[more]"}}
			for _, e := range n.Elts {
				pair := e.(*ast.KeyValueExpr) //nolint:forcetypeassert // or the test fails
				switch pair.Key.(*ast.Ident).Name {
				case "text":
					m.text, _ = strconv.Unquote(pair.Value.(*ast.BasicLit).Value)
				case "level":
					m.level = strings.ToUpper(strings.TrimPrefix(pair.Value.(*ast.SelectorExpr).Sel.Name, "Level"))
				}
			}
			found = append(found, m)
		case *ast.CallExpr:
			if m, ok, fault := messageOf(n); fault != "" {
				faults = append(faults, files.Position(n.Pos()).String()+": "+fault)
			} else if ok {
				m.pkg, m.at = pkg, files.Position(n.Pos()).String()
				found = append(found, m)
			}
		}
		return true
	})
	return found, faults
}

// messageOf returns what a call logs; false if it is of something else.
func messageOf(call *ast.CallExpr) (m message, ok bool, fault string) {
	method, is := call.Fun.(*ast.SelectorExpr)
	if !is {
		return m, false, ""
	}
	var receiver string
	switch x := method.X.(type) {
	case *ast.Ident:
		receiver = x.Name
	case *ast.SelectorExpr:
		receiver = x.Sel.Name
	}
	if receiver != "log" && receiver != "logger" && receiver != "Logger" && receiver != "slog" {
		return m, false, ""
	}
	args := call.Args
	switch method.Sel.Name {
	case "Debug", "Info", "Warn", "Error":
		m.level = strings.ToUpper(method.Sel.Name)
	case "LogAttrs":
		level, is := args[1].(*ast.SelectorExpr)
		if !is {
			return m, false, "its level is no constant"
		}
		if level.Sel.Name == "level" { // of lifecycle/burst.go: found where that is made
			return m, false, ""
		}
		m.level, args = strings.ToUpper(strings.TrimPrefix(level.Sel.Name, "Level")), args[2:]
	default:
		return m, false, ""
	}
	text, is := args[0].(*ast.BasicLit)
	if !is {
		return m, false, "its message is no constant"
	}
	m.text, _ = strconv.Unquote(text.Value)
	for _, arg := range args[1:] {
		ast.Inspect(arg, func(n ast.Node) bool {
			inner, is := n.(*ast.CallExpr)
			if !is {
				return true
			}
			of, is := inner.Fun.(*ast.SelectorExpr)
			if is {
				if name, slogs := of.X.(*ast.Ident); slogs && name.Name == "slog" && len(inner.Args) == 2 {
					if key, constant := inner.Args[0].(*ast.BasicLit); constant {
						name, _ := strconv.Unquote(key.Value)
						m.attributes = append(m.attributes, name)
					}
				}
			}
			return true
		})
	}
	if call.Ellipsis.IsValid() {
		m.attributes = append(m.attributes, "…")
	}
	return m, true, ""
}
