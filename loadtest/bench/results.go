// Package bench holds what load tests have measured side by side: it reads results files, takes the
// medians of rounds, puts servers into tables with their ratios to Hark, and says which promises
// hold. It measures nothing.
package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Results is a results file: one run, or all those of a comparison.
type Results struct {
	Header
	Runs []Run `json:"runs"`
}

// Header says where, when and of what the runs are.
type Header struct {
	Date     time.Time         `json:"date"`
	Commit   string            `json:"commit,omitempty"`
	Machine  Machine           `json:"machine"`
	Versions map[string]string `json:"versions,omitempty"` // of the servers, by name
	Args     []string          `json:"args,omitempty"`     // of a comparison
	Rounds   int               `json:"rounds,omitempty"`   // of a comparison
	Quick    bool              `json:"quick,omitempty"`    // whether its sizes were small
	Skipped  []Skipped         `json:"skipped,omitempty"`
}

// Skipped is what a comparison left out.
type Skipped struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Run is one scene on one server.
type Run struct {
	Target   string `json:"target"` // the server's name for people
	Server   string `json:"server"`
	Backends string `json:"backends"`
	Scene    string `json:"scene"`
	// Flags of the scene with their values, given or not.
	Settings map[string]string `json:"settings"`
	Args     []string          `json:"args"` // as given
	Took     float64           `json:"took"` // seconds, starting the server not included
	Failed   string            `json:"failed,omitempty"`
	Figures  []Figure          `json:"figures"`
	Series   []Series          `json:"series,omitempty"`
}

// Figure is one number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Series is a curve.
type Series struct {
	Name   string  `json:"name"`
	X      Axis    `json:"x"`
	Y      Axis    `json:"y"`
	Points []Point `json:"points"`
}

// Axis says what points are measured along.
type Axis struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
}

// Label returns the name with its unit.
func (a Axis) Label() string {
	if a.Unit == "" {
		return a.Name
	}
	return a.Name + " (" + a.Unit + ")"
}

// Point is one place on a curve: x and y.
type Point [2]float64

// Wire returns how the followers were connected, empty if the scene has no choice.
func (r *Run) Wire() string { return r.Settings["wire"] }

// Figure returns a figure by its name.
func (r *Run) Figure(name string) (float64, bool) {
	i := slices.IndexFunc(r.Figures, func(f Figure) bool { return f.Name == name })
	if i < 0 {
		return 0, false
	}
	return r.Figures[i].Value, true
}

// Curve returns a series by its name.
func (r *Run) Curve(name string) (Series, bool) {
	i := slices.IndexFunc(r.Series, func(s Series) bool { return s.Name == name })
	if i < 0 {
		return Series{}, false
	}
	return r.Series[i], true
}

// Read reads results files. The first says where and when; all that was run is put together.
func Read(paths ...string) (*Results, error) {
	all := new(Results)
	for i, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var r Results
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(r.Runs) == 0 {
			return nil, fmt.Errorf("%s: no runs are in it", path)
		}
		if i == 0 {
			all.Header = r.Header
		}
		all.Runs = append(all.Runs, r.Runs...)
	}
	return all, nil
}

// Write writes a results file, a line for each run and each point of its header, so that versions
// of it can be compared.
func (r *Results) Write(w io.Writer) error {
	text, err := json.MarshalIndent(r.Header, "", "\t")
	if err != nil {
		return err
	}
	text = append(text[:len(text)-2], ",\n\t\"runs\": [\n"...) // without the brace that closes it
	for i, run := range r.Runs {
		line, err := json.Marshal(run)
		if err != nil {
			return err
		}
		if i > 0 {
			text = append(text, ",\n"...)
		}
		text = append(append(text, "\t\t"...), line...)
	}
	_, err = w.Write(append(text, "\n\t]\n}\n"...))
	return err
}

// WriteFile writes a results file to a path.
func (r *Results) WriteFile(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := r.Write(file); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}
