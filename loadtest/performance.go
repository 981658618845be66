package main

import (
	"errors"
	"os"

	"github.com/hark-push/hark/loadtest/bench"
)

// performance writes the figures of docs/performance.md anew, from results, and keeps those.
type performance struct {
	Results []string `arg:"" help:"Results files, of a comparison."`
}

// What the document says, and what it says it of; package bench tests that they agree.
const (
	performancePath = "docs/performance.md"
	measuredPath    = "loadtest/measured.json"
)

// Run rewrites both files.
func (s *performance) Run() error {
	all, err := bench.Read(s.Results...)
	if err != nil {
		return err
	}
	if all.Rounds == 0 {
		return errors.New("the first file is not that of a comparison")
	}
	kept := all.Thin()
	old, err := os.ReadFile(performancePath)
	if err != nil {
		return err
	}
	text, err := kept.Rewrite(string(old))
	if err != nil {
		return err
	}
	return errors.Join(
		kept.WriteFile(measuredPath), os.WriteFile(performancePath, []byte(text), 0o644))
}
