package main

import (
	"errors"
	"os"

	"github.com/hark-push/hark/loadtest/bench"
)

// readme writes the README's section on performance anew, from results, and keeps those.
type readme struct {
	Results []string `arg:"" help:"Results files, of a comparison."`
}

// What the README says, and what it says it of; package bench tests that they agree.
const (
	readmePath   = "README.md"
	measuredPath = "loadtest/measured.json"
)

// Run rewrites both files.
func (s *readme) Run() error {
	all, err := bench.Read(s.Results...)
	if err != nil {
		return err
	}
	if all.Rounds == 0 {
		return errors.New("the first file is not that of a comparison")
	}
	kept := all.Thin()
	old, err := os.ReadFile(readmePath)
	if err != nil {
		return err
	}
	text, err := kept.Rewrite(string(old))
	if err != nil {
		return err
	}
	return errors.Join(kept.WriteFile(measuredPath), os.WriteFile(readmePath, []byte(text), 0o644))
}
