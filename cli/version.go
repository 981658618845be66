package cli

import (
	"fmt"
	"runtime"

	"github.com/hark-push/hark/version"
)

type versionVerb struct {
	Output `embed:""`
}

func (v *versionVerb) run(s *Streams) error {
	b := version.Build()
	if v.JSON {
		return line(s.Out, b)
	}
	commit := ""
	if b.Revision != "" {
		commit = ", of " + b.Revision
		if b.Time != "" {
			commit += " of " + b.Time
		}
	}
	if b.Tags != "" {
		commit += ", with " + b.Tags
	}
	_, err := fmt.Fprintf(s.Out, "hark %s (%s, %s/%s%s)\n", b.Version, b.Go, runtime.GOOS, runtime.GOARCH, commit)
	return err
}
