package main

import (
	"errors"
	"os"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/bench/page"
)

// reportPage shows results as a page, those of several files together.
type reportPage struct {
	Results []string `arg:"" help:"Results files. The first says where and when."`
}

// Run writes the page.
func (s *reportPage) Run(o *options) error {
	all, err := bench.Read(s.Results...)
	if err != nil {
		return err
	}
	out := o.Out
	if out == "" {
		out = "report.html"
	}
	return writePage(out, all)
}

func writePage(path string, r *bench.Results) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(page.Render(file, r), file.Close())
}
