package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/measure"
)

// report is what is printed of one run.
type report struct {
	Target string   `json:"target"`
	Scene  string   `json:"scene"`
	Args   []string `json:"args"` // as given
	Took   float64  `json:"took"` // seconds, starting the target not included
	measure.Results

	Server   string            `json:"server"`
	Backends string            `json:"backends"`
	Settings map[string]string `json:"settings"`         // flags with their values, given or not
	Failed   string            `json:"failed,omitempty"` // why there are no results
}

// write writes it as a results file, which package bench reads.
func (r *report) write(w io.Writer) error {
	return json.NewEncoder(w).Encode(struct {
		bench.Header
		Runs []*report `json:"runs"`
	}{bench.Here(), []*report{r}})
}

func (r *report) print() {
	fmt.Println(r.Target)
	if r.Table != nil {
		r.Table(os.Stdout)
		fmt.Printf("took %.0f s\n", r.Took)
		return
	}
	for _, f := range r.Figures {
		fmt.Printf("%-44s %12.2f %s\n", f.Name, f.Value, f.Unit)
	}
	for _, s := range r.Series {
		if len(s.Points) > 10 { // a plot says it better
			continue
		}
		fmt.Printf("%s: %s by %s\n", s.Name, s.Y.Label(), s.X.Label())
		for _, p := range s.Points {
			fmt.Printf("%44.6g %12.2f\n", p[0], p[1])
		}
	}
	fmt.Printf("%-44s %12.2f %s\n", "took", r.Took, "s")
}

// say says what was measured, as it was asked for.
func (r *report) say(o *options) error {
	switch {
	case r.Failed != "" && len(r.Figures) == 0:
	case o.JSON:
		if err := r.write(os.Stdout); err != nil {
			return err
		}
	default:
		r.print()
	}
	if o.Out == "" {
		return nil
	}
	file, err := os.Create(o.Out)
	if err != nil {
		return err
	}
	return errors.Join(r.write(file), file.Close())
}
