// Command cross says whether the gateway and the worker compile for every system that Hark is for,
// in seconds: it type-checks them, and all that they import, from source.
//
//	go run ./scripts/cross            every target
//	go run ./scripts/cross -build     builds them instead, into bin/GOOS-GOARCH
//
// A build of one target takes some two minutes of CPU, since the standard library is compiled for
// each too, and that is what makes it wrong for each change. What a compiler refuses beyond the
// types, such as a function that only assembly has, is in no package of this module. Of the
// standard library the declarations are checked and not the bodies: its own tests do that.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

var (
	systems       = []string{"linux", "darwin", "windows", "freebsd"}
	architectures = []string{"amd64", "arm64"}
	programs      = []string{"./gateway", "./processor/cmd/worker"}
)

func main() {
	build := flag.Bool("build", false, "build the programs into bin/GOOS-GOARCH")
	flag.Parse()
	if !all(*build) {
		os.Exit(1)
	}
}

// all reports whether the programs compile for every target.
func all(build bool) bool {
	do := (&checker{programs: programs}).check
	if build {
		do = compile
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok := true
	for _, system := range systems {
		for _, architecture := range architectures {
			began := time.Now()
			said, err := do(ctx, system, architecture)
			if err != nil {
				ok = false
				fmt.Fprintf(os.Stderr, "%s/%s does not compile:\n%v\n", system, architecture, err)
				continue
			}
			fmt.Printf("%-14s %s, %.1f s\n", system+"/"+architecture, said, time.Since(began).Seconds())
		}
	}
	return ok
}

// goTool prepares a call of the go command for a target.
func goTool(ctx context.Context, system, architecture string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", arguments...) //nolint:gosec // which are those of this file
	cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+architecture, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return cmd
}

func compile(ctx context.Context, system, architecture string) (string, error) {
	folder := filepath.Join("bin", system+"-"+architecture) + string(filepath.Separator)
	arguments := append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", folder}, programs...)
	return folder, goTool(ctx, system, architecture, arguments...).Run()
}

// listed is what of a package the go command is asked for.
type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	// From what stands in the source to what is meant, where that is not the same.
	ImportMap map[string]string
	Standard  bool
	Module    *struct{ GoVersion string }
}

// checker keeps what targets have in common: most files are those of all of them.
type checker struct {
	dir      string   // where the go command runs, if not here
	programs []string // their packages

	files token.FileSet
	trees map[string]*ast.File // by path
}

// check type-checks the programs for a target, the packages in the order in which they need each
// other.
func (c *checker) check(ctx context.Context, system, architecture string) (said string, err error) {
	list := goTool(ctx, system, architecture, append([]string{"list", "-deps", "-json=ImportPath,Dir,GoFiles,ImportMap,Standard,Module"}, c.programs...)...)
	list.Dir = c.dir
	out, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	known := imports{"unsafe": types.Unsafe}
	for packages := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			return fmt.Sprintf("%d packages", len(known)), nil
		} else if err != nil {
			return "", err
		}
		if p.ImportPath == "unsafe" {
			continue
		}
		if known[p.ImportPath], err = c.pack(&p, known, architecture); err != nil {
			return "", err
		}
	}
}

// pack type-checks a package, and returns all that is wrong with it.
func (c *checker) pack(p *listed, known imports, architecture string) (*types.Package, error) {
	trees := make([]*ast.File, len(p.GoFiles))
	for i, name := range p.GoFiles {
		tree, err := c.parse(filepath.Join(p.Dir, name))
		if err != nil {
			return nil, err
		}
		trees[i] = tree
	}
	var wrong []error
	config := types.Config{
		Importer:         mapped{known, p.ImportMap},
		Sizes:            types.SizesFor("gc", architecture),
		IgnoreFuncBodies: p.Standard,
		Error:            func(err error) { wrong = append(wrong, err) },
	}
	if p.Module != nil && p.Module.GoVersion != "" {
		config.GoVersion = "go" + p.Module.GoVersion
	}
	checked, _ := config.Check(p.ImportPath, &c.files, trees, nil) // what is wrong is in wrong
	return checked, errors.Join(wrong...)
}

func (c *checker) parse(path string) (*ast.File, error) {
	if tree := c.trees[path]; tree != nil {
		return tree, nil
	}
	tree, err := parser.ParseFile(&c.files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if c.trees == nil {
		c.trees = make(map[string]*ast.File)
	}
	c.trees[path] = tree
	return tree, nil
}

// imports are the packages of a target that are checked, by path.
type imports map[string]*types.Package

// mapped implements [types.Importer] for a package.
type mapped struct {
	imports
	paths map[string]string
}

func (m mapped) Import(path string) (*types.Package, error) {
	if actual, ok := m.paths[path]; ok {
		path = actual
	}
	if p := m.imports[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%s was not listed before", path)
}
