package version

import (
	"runtime/debug"
	"testing"
)

// TestOf: a stamp goes before the module's version, that before the commit.
func TestOf(t *testing.T) {
	commit := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}
	for _, c := range []struct {
		stamped string
		info    *debug.BuildInfo
		want    string
	}{
		{"v2.0.0", &debug.BuildInfo{Main: debug.Module{Version: "v1.0.0"}}, "v2.0.0"},
		{"", &debug.BuildInfo{Main: debug.Module{Version: "v1.0.0"}, Settings: commit}, "v1.0.0"},
		{"", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: commit}, "0123456789ab+dirty"},
		{"", &debug.BuildInfo{Settings: commit[:1]}, "0123456789ab"},
		{"", &debug.BuildInfo{}, "devel"},
		{"", nil, "devel"},
	} {
		if got := of(c.stamped, c.info); got != c.want {
			t.Errorf("%q %+v: %q, want %q", c.stamped, c.info, got, c.want)
		}
	}
	if Build().Version != String() || Build().Go == "" {
		t.Errorf("%+v", Build())
	}
}
