// Package version says which version of Hark a program is.
package version

import (
	"runtime/debug"
	"strings"
)

// stamped is what whoever builds a release says, by
//
//	go build -ldflags '-X github.com/hark-push/hark/version.stamped=v1.2.3'
//
// "" where nobody did.
var stamped string

// String returns the version, in one word: that of the stamp, else that of the module, else the
// commit that it was built of (twelve digits, with +dirty behind them if there were changes), else
// "devel".
func String() string {
	info, _ := debug.ReadBuildInfo()
	return of(stamped, info)
}

func of(stamped string, info *debug.BuildInfo) string {
	if stamped != "" {
		return stamped
	}
	if info == nil {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision := setting(info, "vcs.revision")
	if revision == "" {
		return "devel"
	}
	revision = revision[:min(len(revision), 12)]
	if setting(info, "vcs.modified") == "true" {
		revision += "+dirty"
	}
	return revision
}

// Built is what is known of how a program was built. What is not known is "".
type Built struct {
	Version  string `json:"version"`
	Go       string `json:"go"`       // of the toolchain, like go1.26.0
	Revision string `json:"revision"` // of the commit
	Time     string `json:"time"`     // of the commit, RFC 3339
	Tags     string `json:"tags"`     // of the build, with commas between them
}

// Build returns that of this program.
func Build() Built {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Built{Version: String()}
	}
	return Built{
		Version: of(stamped, info), Go: info.GoVersion, Revision: setting(info, "vcs.revision"), Time: setting(info, "vcs.time"),
		Tags: strings.ReplaceAll(setting(info, "-tags"), " ", ","),
	}
}

func setting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
